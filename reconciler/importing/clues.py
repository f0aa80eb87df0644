"""What may tell where a model came from: repositories that its header names, and words to search the Hub for.

Nothing here is believed: a clue says where to look, and only equal bytes are a match.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reconciler import links
from reconciler.detect import MalformedHeader, jsonbound
from reconciler.detect.gguf import read_start
from reconciler.detect.tokens import without_quant
from reconciler.references import parse

SEARCHES = 4
"""Words of one model that the Hub is searched for."""
_NAMED = 4
"""Repositories that are looked at because something names them."""
_START = 1 << 20
"""Bytes of a GGUF file that are read: its `general.` keys come first."""
_CONFIG = 4 << 20
_SHORTEST = 3
"""Letters of a word that are worth a search."""
_BASES = 4

# https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#source-metadata
_REPOSITORY_KEYS = ("general.source.huggingface.repository", "general.source.repo_url", "general.repo_url")
_GENERIC = frozenset(
    ("model", "models", "main", "weights", "ggml-model", "ggml", "gguf", "consolidated", "pytorch_model", "checkpoint",
     "checkpoints", "diffusion_pytorch_model", "adapter_model", "unet", "vae", "lora", "default", "test", "safetensors",
     "snapshot", "snapshots", "download", "downloads", "local", "open_clip_pytorch_model", "llama", "qwen", "flux")
)  # fmt: skip
"""Names that say nothing of one model, or of far too many."""
_SHARD = re.compile(r"[-_.]\d{1,6}-of-\d{1,6}$")
_CONTAINER = re.compile(r"[-_. ](?:i1|imat|imatrix|gguf|ggml|ggmlv3|safetensors|emaonly|pruned)$", re.IGNORECASE)


class Clues(NamedTuple):
    """Repositories that something names, the header's first, and words to search for, the most telling first.

    `wider` are words for where those find nothing: the beginning of a name.
    """

    repositories: tuple[str, ...]
    words: tuple[str, ...]
    wider: tuple[str, ...] = ()


def clues(root: Path, folder: str, paths: Sequence[str]) -> Clues:
    """Read what the files of one model in `folder` (below `root`, '' for it) tell; what cannot be read tells nothing.

    `paths` are inside the folder.
    """
    here = root / folder
    first = next((path for path in sorted(paths) if path.lower().endswith(".gguf")), None)
    header = _header(here / first) if first else {}
    config = _config(here / "config.json") if "config.json" in paths else ""
    stems = [Path(path).stem for path in paths if path.lower().endswith((".gguf", ".safetensors"))] or [
        Path(path).stem for path in paths
    ]
    everybody = [*_of_header(header, stems[0]), *_of_names(folder, stems[:1]), *_repository(config)]
    named = list(dict.fromkeys(everybody))[:_NAMED]
    told = [
        *(_plain(stem[len(_joined(stem)) :].lstrip("_") if _joined(stem) else stem) for stem in stems[:1]),
        _plain(_text(header, "general.name")), *map(_plain, reversed(folder.split("/"))),
        _plain(_conventional(header)),
        *(_plain(repository.partition("/")[2]) for repository in named),
    ]  # fmt: skip
    words: dict[str, str] = {}
    for word in filter(_tells, told):
        words.setdefault(word.casefold(), word)
    if not words and not folder and _tells(name := _plain(root.name)):
        words[name.casefold()] = name
    chosen = tuple(words.values())[:SEARCHES]
    return Clues(tuple(named), chosen, _wider(chosen)[: SEARCHES - len(chosen)])


def _header(path: Path) -> Mapping[str, Any]:
    try:
        with jsonbound.open_regular(path) as stream:
            size = stream.seek(0, 2)
            stream.seek(0)
            return read_start(stream.read(_START), size).metadata
    except (OSError, MalformedHeader):
        return {}


def _conventional(header: Mapping[str, Any]) -> str:
    """Return the name that a header tells in parts, '' where it tells no base.

    https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#gguf-naming-convention
    """
    told = [_text(header, f"general.{key}") for key in ("basename", "size_label", "finetune", "version")]
    return "-".join(filter(None, told)) if told[0] else ""


def _config(path: Path) -> str:
    """Return what transformers noted of the place that a model was loaded from; '' for nothing."""
    try:
        value = jsonbound.load(path, _CONFIG)
    except (OSError, MalformedHeader):
        return ""
    said = value.get("_name_or_path") if isinstance(value, dict) else None
    return said if isinstance(said, str) else ""


def _of_header(header: Mapping[str, Any], stem: str) -> Iterator[str]:
    """Yield what a header names, and what who quantised a model may have called its repository."""
    for key in (*_REPOSITORY_KEYS, *(f"general.base_model.{number}.repo_url" for number in range(_BASES))):
        yield from _repository(_text(header, key))
    if (owner := _text(header, "general.quantized_by").strip()) and (name := _plain(stem)):
        yield from _repository(f"{owner}/{name}-GGUF")


def _of_names(folder: str, stems: Sequence[str]) -> Iterator[str]:
    """Yield repositories as directories and files are called after them.

    `owner/repo` (LM Studio, Jan), `owner_repo` (text-generation-webui), `owner_repo_file` (llama.cpp's cache).
    """
    yield from _repository("/".join(folder.split("/")[-2:]))
    for text in (folder.rpartition("/")[2], *map(_joined, stems)):
        yield from _repository(text.replace("_", "/", 1))


def _joined(stem: str) -> str:
    """Return the `owner_repo` of a name `owner_repo_file`, '' for another one; a file's own name has quants in it."""
    owner, _, rest = stem.partition("_")
    repo = re.match(r"(.+-gguf)_(?=.)", rest, re.IGNORECASE)
    return f"{owner}_{repo[1]}" if owner and repo else ""


def _repository(text: str) -> Iterator[str]:
    """Yield the repository that a text names: `owner/repo` or an address of the Hub."""
    source = links.read(text).source if text.startswith(("https://", "http://")) else f"hf:{text}"
    try:
        found = parse(source)
    except ValueError:
        return
    if found.scheme == "hf":
        yield found.repository


def is_repository(name: str) -> bool:
    """Whether a name is one that a repository of the Hub can have: there are old ones without an owner."""
    return next(_repository(name), None) == name


def _plain(name: str) -> str:
    """Return a name as repositories are called: without quants, containers, numbers of shards, with `-` for spaces."""
    text = _SHARD.sub("", name.strip())
    text = without_quant(re.sub(r"\s+", "-", text))
    while (cut := _CONTAINER.sub("", text)) != text:
        text = cut
    return text if text.isprintable() else ""


def _wider(words: Sequence[str]) -> tuple[str, ...]:
    """Return the beginnings of the first word that still say something, the longest first."""
    found = []
    word = words[0] if words else ""
    while (cut := re.search(r"[-_. ]+[^-_. ]*$", word)) is not None:
        word = word[: cut.start()]
        if _tells(word) and len(word) > _SHORTEST:
            found.append(word)
    return tuple(found)


def _tells(word: str) -> bool:
    return len(word) >= _SHORTEST and word.casefold() not in _GENERIC and not word.isdecimal() and len(word) <= 96


def _text(header: Mapping[str, Any], key: str) -> str:
    value = header.get(key, "")
    return value if isinstance(value, str) and len(value) <= 300 else ""
