"""Part the files of a repository into variants: one a quantisation where there are several, else all of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from reconciler.detect import is_pickle_name, rules
from reconciler.globs import exact
from reconciler.inert import few

_WEIGHTS = (".gguf", ".safetensors", ".onnx", ".h5", ".msgpack")
_GIT = frozenset({".gitattributes", ".gitignore"})
"""What a manifest takes only when it is named."""
_DIRECTORIES = "*/**"
"""The pattern of everything that lies in a directory."""
_MANY = 3
"""More files than this are told by patterns of their endings, where a list of the repository is at hand."""


class Part(NamedTuple):
    """Files that are one variant: `files` sorted, `quant` as their names tell it ('' for nothing)."""

    files: tuple[str, ...]
    quant: str = ""
    alone: bool = True
    """Whether these are all the files there are, so that the manifest may mean the whole repository."""


def is_weight(path: str) -> bool:
    """Whether a file holds weights, by its name."""
    return path.lower().endswith(_WEIGHTS) or is_pickle_name(path)


def is_gits(path: str) -> bool:
    """Whether a file is git's own."""
    return path.rpartition("/")[2] in _GIT


def is_book(path: str) -> bool:
    """Whether a file belongs to the books of a program: it, or a directory above it, begins with a dot."""
    return (path.startswith(".") or "/." in path) and not is_gits(path)


def parts(paths: Iterable[str]) -> tuple[Part, ...]:
    """Part the files of one repository; without weights there is none.

    GGUF files of several quants are several variants, each with the projectors that lie beside them; everything else
    is one, also beside them where it holds weights.
    """
    files = tuple(sorted(paths))
    if not any(map(is_weight, files)):
        return ()
    quants = rules.quants_of(files)
    if len(quants) < 2:
        return (Part(files, next(iter(quants), "")),)
    projectors = [path for path in files if path.lower().endswith(".gguf") and rules.is_mmproj(path)]
    found = [Part(tuple(sorted((*chosen, *projectors))), quant, alone=False) for quant, chosen in quants.items()]
    others = tuple(path for path in files if not path.lower().endswith(".gguf"))
    return (*found, Part(others, alone=False)) if any(map(is_weight, others)) else tuple(found)


def lacks(paths: Sequence[str]) -> str:
    """Return what keeps these files from being a whole model, in words; '' for nothing that names could tell."""
    missing = [name for shards in rules.shards_of(paths) for name in shards.missing]
    if missing:
        return f"incomplete: {few(missing)} missing"
    return ""


def denied(paths: Sequence[str], pickle: str) -> str:
    """Return why a policy keeps these files out: nothing but pickles hold the weights; '' when it does not."""
    weights = [path for path in paths if is_weight(path)]
    if pickle == "allow" or not all(map(is_pickle_name, weights)):
        return ""
    return f"pickle files can run code when they are loaded: {few(weights)} (`policy: {{pickle: allow}}` takes them)"


def selection(part: Part, listing: Iterable[str] | None) -> dict[str, list[str]]:
    """Return the `files:` and `exclude:` that mean this part of a repository; none where that is all of it.

    `listing` is everything that the repository holds; many files are then told by their endings where that means the
    same. It is None when nobody was asked: then names are exact, and directories are left out where the part has none,
    so that the manifest never means more than is there (the same weights once more in another form).
    """
    named = {"files": list(dict.fromkeys(map(_shards, part.files)))}
    flat = {**named, "exclude": [_DIRECTORIES]}
    others = [path for path in part.files if not path.lower().endswith(".gguf")]
    if listing is None:
        return flat if others and not any("/" in path for path in part.files) else named
    everything = sorted(path for path in listing if not is_gits(path))
    if everything == list(part.files):
        return {}
    ends = {"files": [exact(path) for path in part.files if path not in others] + _ends(others)}
    short = [ends] if len(others) > _MANY else []
    return next((said for said in (*short, named, flat) if _means(said, everything) == set(part.files)), named)


def _ends(paths: Iterable[str]) -> list[str]:
    told = {f"*{name[name.rindex('.') :]}" if "." in name[1:] else exact(name) for name in map(_base, paths)}
    return sorted(told)


def _means(said: Mapping[str, Sequence[str]], paths: Iterable[str]) -> set[str]:
    from reconciler.globs import matches

    def is_meant(path: str, key: str) -> bool:
        return any(matches(pattern, path) for pattern in said.get(key, ()))

    return {path for path in paths if is_meant(path, "files") and not is_meant(path, "exclude")}


def _shards(path: str) -> str:
    """Return the pattern that means a file, or all shards of it: `model-*-of-00004.safetensors`."""
    return re.sub(r"-\d{5}-of-(\d{5})(?=\.[a-z]+$)", r"-*-of-\1", exact(path))


def _base(path: str) -> str:
    return path.rpartition("/")[2]
