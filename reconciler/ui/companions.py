"""What lies beside a model as text: `.civitai.info`, `.metadata.json`, `.md`; made from what the lock knows. Pure.

The texts depend on the lock alone, so that the same lock makes the same bytes everywhere: no time, no path of a
machine, no counters. Where upstream is gone and the lock knows nothing of it, the facts of the file remain. Nothing
secret comes in: addresses lose their queries, and there is no picture inside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from reconciler.inert import inert
from reconciler.references import parse as parse_reference
from reconciler.state import Artifact, Note, Pin
from reconciler.ui.filenames import split
from reconciler.ui.kinds import Kind, file_facts

Companion = Literal["civitai-info", "metadata-json", "markdown", "preview"]

ENDINGS: Mapping[Companion, str] = MappingProxyType(
    {"civitai-info": ".civitai.info", "metadata-json": ".metadata.json", "markdown": ".md"}
)
"""Companion -> what follows the stem of the model's file."""

_PLAIN = json.JSONEncoder(ensure_ascii=False)
_INDENTED = json.JSONEncoder(ensure_ascii=False, indent=2)

LONGEST = 20_000
"""Characters of a description."""
_PAGES = "https://civitai.com/models"


class Subject(NamedTuple):
    """One file of weights and what is known of it; texts are '' and lists empty where nobody knows."""

    stem: str
    artifact: Artifact
    kind: str
    source: str
    title: str
    version: str
    base_model: str
    words: tuple[str, ...]
    tags: tuple[str, ...]
    published: str
    author: str
    description: str
    air: str
    model_id: int
    version_id: int
    type: str
    file: Mapping[str, Any]
    """What upstream says of this very file: its number, its type."""
    previews: tuple[Mapping[str, Any], ...]
    preview: str
    """Name of the preview that lies beside it."""


def notes(pin: Pin, artifact: Artifact, path: str, kind: Kind, wanted: Sequence[str], preview: str) -> tuple[Note, ...]:
    """Return the notes that belong beside the file at `path` (below the root), in the order of the formats.

    `preview` is the name of the preview beside it, '' when there is none.
    """
    about = subject(pin, artifact, path, kind, preview)
    stem = split(path)[0]
    return tuple(
        Note(stem + ending, _WRITERS[companion](about))
        for companion, ending in ENDINGS.items()
        if companion in wanted and not (companion == "civitai-info" and not about.version_id)
    )


def subject(pin: Pin, artifact: Artifact, path: str, kind: Kind, preview: str) -> Subject:
    """Gather what the lock says of a file. Facts of upstream that are not of their shape are left out."""
    said = pin.about.get("civitai")
    facts: Mapping[str, Any] = said if isinstance(said, Mapping) else {}
    reference = parse_reference(pin.source)
    ours = reference.scheme == "civitai"
    stem = split(path.rpartition("/")[2])[0]
    previews = facts.get("previews")
    return Subject(
        stem,
        artifact,
        kind,
        _public(pin.source),
        _text(facts.get("model")) or split(artifact.path.rpartition("/")[2])[0],
        _text(facts.get("version")),
        _text(facts.get("base_model")),
        _texts(facts.get("trained_words")),
        _texts(facts.get("tags")),
        _text(facts.get("published")),
        _text(facts.get("creator")),
        "\n\n".join(filter(None, (_block(facts.get("version_description")), _block(facts.get("description"))))),
        _text(facts.get("air")),
        int(reference.repository) if ours else 0,
        int(pin.revision or 0) if ours and (pin.revision or "").isdecimal() else 0,
        _text(facts.get("type")),
        _of_file(facts, artifact),
        tuple(each for each in previews if isinstance(each, Mapping)) if isinstance(previews, list | tuple) else (),
        preview,
    )


def _of_file(facts: Mapping[str, Any], artifact: Artifact) -> dict[str, Any]:
    told = file_facts(facts, artifact.path)
    metadata = {key: told[key] for key in ("format", "fp", "size") if isinstance(told.get(key), str)}
    found = {"id": told["id"]} if isinstance(told.get("id"), int) else {}
    return {**found, "type": _text(told.get("type")) or "Model", **({"metadata": metadata} if metadata else {})}


def _info(about: Subject) -> str:
    return _json(_version(about))


def _version(about: Subject) -> dict[str, Any]:
    """Return what sd-webui's Civitai helpers keep: an answer of `/api/v1/model-versions/:id`, as far as it is known."""
    images = [
        {"url": _public(str(each.get("url", ""))), "nsfwLevel": each.get("nsfw_level", 0)}
        | {key: each[key] for key in ("type", "width", "height") if key in each}
        for each in about.previews
    ]
    return {
        "id": about.version_id,
        "modelId": about.model_id,
        "name": about.version,
        "publishedAt": about.published or None,
        "trainedWords": list(about.words),
        "baseModel": about.base_model,
        "description": about.description,
        "model": {"name": about.title, "type": about.type, "tags": list(about.tags)},
        "files": [
            {
                **about.file,
                "name": about.artifact.path.rpartition("/")[2],
                "sizeKB": about.artifact.size / 1024,
                "hashes": _hashes(about.artifact),
            }
        ],
        "images": images,
        "air": about.air,
    }


def _metadata(about: Subject) -> str:
    """Write what LoRA-Manager reads; it wants every one of the first eight, and corrects paths and times by itself.

    https://github.com/willmiao/ComfyUI-Lora-Manager, `py/utils/models.py`: a file without them hides the model.
    """
    known = bool(about.version_id)
    civitai = _version(about) if known else {}
    return _json(
        {
            "file_name": about.stem,
            "model_name": about.title,
            "file_path": "",
            "size": about.artifact.size,
            "modified": 0.0,
            "sha256": _sha256(about.artifact),
            "base_model": about.base_model or "Unknown",
            "preview_url": "",
            "preview_nsfw_level": 0,
            "from_civitai": known,
            "civitai": civitai,
            "tags": list(about.tags),
            "modelDescription": about.description,
            "hash_status": "completed" if _sha256(about.artifact) else "pending",
        }
    )


def _markdown(about: Subject) -> str:
    """Write a page: YAML front matter in the keys of ComfyUI's model managers, trigger words, what upstream says."""
    front: dict[str, Any] = {
        "title": about.title,
        "version": about.version,
        "type": about.kind,
        "AIR": about.air,
        "website": "Civitai" if about.model_id else "",
        "modelPage": _page(about),
        "author": about.author,
        "baseModel": about.base_model,
        "published": about.published,
        "source": about.source,
        "size": about.artifact.size,
        "preview": about.preview,
    }
    lines = [f"{key}: {_scalar(value)}" for key, value in front.items() if value not in ("", 0)]
    lines += ["hashes:", *(f"  {name}: {_scalar(value)}" for name, value in _hashes(about.artifact).items())]
    page = ["---", *lines, "---", "", f"# {_line(about.title)}", ""]
    if about.words:
        page += ["# Trigger Words", "", *(f"- `{_line(word).replace('`', chr(39))}`" for word in about.words), ""]
    if about.description:
        page += ["# About this version", "", *(_quoted(line) for line in about.description.splitlines()), ""]
    return "\n".join(page)


_WRITERS = {"civitai-info": _info, "metadata-json": _metadata, "markdown": _markdown}


def _page(about: Subject) -> str:
    if not about.model_id:
        return ""
    version = f"?modelVersionId={about.version_id}" if about.version_id else ""
    return f"{_PAGES}/{about.model_id}{version}"


def _hashes(artifact: Artifact) -> dict[str, str]:
    names = {"autov1": "AutoV1", "autov2": "AutoV2", "autov3": "AutoV3", "blake3": "BLAKE3", "crc32": "CRC32"}
    found = {names[kind]: text.upper() for kind, text in artifact.also if kind in names}
    if _sha256(artifact):
        found["SHA256"] = _sha256(artifact).upper()
        found.setdefault("AutoV2", found["SHA256"][:10])
    else:
        found["GitSHA1"] = artifact.digest.partition(":")[2].upper()
    return dict(sorted(found.items()))


def _sha256(artifact: Artifact) -> str:
    kind, _, text = artifact.digest.partition(":")
    return text if kind == "sha256" else ""


def _public(url: str) -> str:
    """Return an address without what may be a secret: user, password, query, fragment; '' for a path of a machine."""
    if url.startswith("file:"):
        return ""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _text(value: Any) -> str:
    return _line(value) if isinstance(value, str) else ""


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(filter(None, map(_text, value))) if isinstance(value, list | tuple) else ()


def _line(text: str) -> str:
    return inert(" ".join(text.split()))[:1024]


def _block(value: Any) -> str:
    text = value[:LONGEST] if isinstance(value, str) else ""
    return "\n".join(inert(line.rstrip()) for line in text.strip().splitlines())


def _quoted(line: str) -> str:
    """Keep a line of upstream's text from being a heading or the end of the front matter of ours."""
    return "\\" + line if line.startswith(("#", "---", "```")) else line


def _scalar(value: Any) -> str:
    return _PLAIN.encode(value)  # every JSON scalar is a YAML one


def _json(value: Mapping[str, Any]) -> str:
    return _INDENTED.encode(value) + "\n"
