"""Part the files of a repository into variants: one a quantisation where there are several, else all of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from reconciler.detect import is_pickle_name, rules
from reconciler.inert import few

_WEIGHTS = (".gguf", ".safetensors", ".onnx", ".h5", ".msgpack")
_GIT = frozenset({".gitattributes", ".gitignore"})
"""What a manifest takes only when it is named."""
_MANY = 3
"""More files than this are told by patterns of their endings, where no list of the repository is at hand."""


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
    is one.
    """
    files = tuple(sorted(paths))
    if not any(map(is_weight, files)):
        return ()
    quants = rules.quants_of(files)
    if len(quants) < 2:
        return (Part(files, next(iter(quants), "")),)
    projectors = [path for path in files if path.lower().endswith(".gguf") and rules.is_mmproj(path)]
    return tuple(Part(tuple(sorted((*chosen, *projectors))), quant, alone=False) for quant, chosen in quants.items())


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


def patterns(part: Part, listing: Iterable[str] | None) -> list[str]:
    """Return the `files:` that mean this part of a repository; none where that is all of it.

    `listing` is everything that the repository holds, None when nobody was asked. Then many files are told by their
    endings, so that the manifest stays readable and never means formats that are not there.
    """
    everything = sorted(path for path in listing if not is_gits(path)) if listing is not None else None
    if everything == list(part.files):
        return []
    exact = [_exact(path) for path in part.files]
    others = [path for path in part.files if not path.lower().endswith(".gguf")]
    if len(others) <= _MANY:
        return exact
    ends = [_exact(path) for path in part.files if path not in others] + _ends(others)
    return ends if everything is None or _means(ends, everything) == set(part.files) else exact


def _ends(paths: Iterable[str]) -> list[str]:
    told = {f"*{name[name.rindex('.') :]}" if "." in name[1:] else _exact(name) for name in map(_base, paths)}
    return sorted(told)


def _means(chosen: Sequence[str], paths: Iterable[str]) -> set[str]:
    from reconciler.globs import matches

    return {path for path in paths if any(matches(pattern, path) for pattern in chosen)}


def _exact(path: str) -> str:
    """Return the pattern that means one path: what is special in a glob is put between brackets."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def _base(path: str) -> str:
    return path.rpartition("/")[2]
