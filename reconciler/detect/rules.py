"""Decide format, completeness and variants from names alone; and the door to the other rules. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from reconciler.detect.configs import (
    QUANTIZE_FILES,
    precision_from_config,
    quant_from_config,
    quant_from_quantize_config,
    quant_from_recipe,
)
from reconciler.detect.ggml import FILE_TYPES
from reconciler.detect.kinds import is_mmproj, kind_from_names, kind_of
from reconciler.detect.tokens import parameters_from_name, quant_from_name

__all__ = [
    "QUANTIZE_FILES", "Shards", "container_of", "format_of", "is_active", "is_mmproj", "is_pickle_name", "is_program",
    "kind_from_names", "kind_of", "parameters_from_name", "precision_from_config", "quant_from_config",
    "quant_from_name", "quant_from_quantize_config", "quant_from_recipe", "quants_of", "refine_quant", "shards_of",
]  # fmt: skip

_PICKLE = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".pt2", ".npy", ".joblib", ".dill")
_NOT_PICKLE = re.compile(r"^(tokenizer|spiece|sentencepiece|vocab)[^/]*\.bin$")
_PROGRAM = (
    ".py", ".pyc", ".pyo", ".pyd", ".pyz", ".so", ".dll", ".dylib", ".exe", ".sh", ".bash", ".bat", ".cmd", ".ps1",
    ".js", ".mjs", ".jar", ".lua", ".whl",
)  # fmt: skip
_SHARD = re.compile(r"^(?P<stem>.+?)[-_.](?P<number>\d{1,6})-of-(?P<count>\d{1,6})(?P<suffix>\.[A-Za-z0-9]+)$")
_UNFINISHED = (".aria2", ".incomplete", ".part", ".crdownload", ".download", ".tmp")


class Shards(NamedTuple):
    """One model in numbered files: the files that are there, and the names of those that are not."""

    present: tuple[str, ...]
    missing: tuple[str, ...]


def _base(path: str) -> str:
    """The last component, lower case; a plan over ten thousand variants has no time for path objects."""
    return path.rpartition("/")[2].lower()


def _suffix(path: str) -> str:
    stem, dot, suffix = _base(path).rpartition(".")
    return dot + suffix if stem else ""


def format_of(names: Iterable[str]) -> str | None:
    """Return `gguf` if any file is one, else `safetensors`, else None: what readers of the registry expect."""
    suffixes = {_suffix(name) for name in names}
    if ".gguf" in suffixes:
        return "gguf"
    return "safetensors" if ".safetensors" in suffixes else None


def container_of(names: Iterable[str]) -> str | None:
    """Return the format, or for want of one what else holds the weights: `onnx`, `pickle`, `h5`, `msgpack`."""
    paths = list(names)
    found = format_of(paths)
    if found:
        return found
    suffixes = {_suffix(name) for name in paths}
    for suffix, kind in ((".onnx", "onnx"), (".h5", "h5"), (".msgpack", "msgpack")):
        if suffix in suffixes:
            return kind
    return "pickle" if any(is_pickle_name(name) for name in paths) else None


def is_pickle_name(path: str) -> bool:
    """Whether a file with this name is commonly a pickle, which runs code when it is loaded."""
    base = _base(path)
    return base.endswith(_PICKLE) and not _NOT_PICKLE.match(base)


def is_active(path: str) -> bool:
    """Whether a file with this name is a program or a template that a server would run."""
    base = _base(path)
    return base.endswith((".py", ".jinja", ".jinja2", ".j2")) or base in ("chat_template.json", "chat_template.txt")


def is_program(path: str) -> bool:
    """Whether a file with this name is a program: a script, a compiled module or library, an executable."""
    return _base(path).endswith(_PROGRAM)


def is_unfinished(path: str) -> bool:
    """Whether a file with this name is what a broken-off download leaves."""
    return _base(path).endswith(_UNFINISHED)


def shards_of(names: Iterable[str]) -> tuple[Shards, ...]:
    """Group `…-00001-of-00003…` files; the same folder, stem, count and suffix make one model."""
    groups: dict[tuple[str, int, str], dict[int, str]] = {}
    templates: dict[tuple[str, int, str], tuple[str, int, int]] = {}
    for path in sorted(names):
        found = _SHARD.match(path)
        if not found or not 0 < int(found["count"]) <= 10_000:
            continue
        key = (found["stem"], int(found["count"]), found["suffix"].lower())
        groups.setdefault(key, {})[int(found["number"])] = path
        templates.setdefault(key, (path, found.start("number"), len(found["number"])))
    shards: list[Shards] = []
    for key in sorted(groups):
        there = groups[key]
        path, start, width = templates[key]
        numbers = range(1, key[1] + 1)
        missing = [f"{path[:start]}{n:0{width}d}{path[start + width :]}" for n in numbers if n not in there]
        shards.append(Shards(tuple(there[number] for number in sorted(there)), tuple(missing)))
    return tuple(shards)


def quants_of(names: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """Group GGUF files by the quant that their names tell ('' for none), each group sorted; projectors left out.

    The file name decides; where it is silent, the folder (`Q8_0/model-00001-of-00002.gguf`).
    """
    groups: dict[str, list[str]] = {}
    for path in sorted(names):
        if path.lower().endswith(".gguf") and not is_mmproj(path):
            groups.setdefault(quant_of_path(path) or "", []).append(path)
    return {quant: tuple(paths) for quant, paths in sorted(groups.items())}


def quant_of_path(path: str) -> str | None:
    """Return the quant that a path tells: the file's name first, then the nearest folder that tells one."""
    for part in reversed(PurePosixPath(path).parts):
        if quant := quant_from_name(part):
            return quant
    return None


_BITS = re.compile(r"(?:ud-)?[a-z]*(\d)")


def refine_quant(header: str | None, name: str | None) -> str | None:
    """Join what a GGUF header and a file name tell.

    The header holds a base type only: `Q6_K_L`, `Q3_K_XL` and `UD-…` exist in names alone. A name is believed when it
    is finer than the header at the same number of bits; otherwise the header is.
    """
    if not header or not name or header == name:
        return header or name
    if name.startswith(f"{header}_"):
        return name
    finer = name not in FILE_TYPES.values() and header in FILE_TYPES.values()
    mine, theirs = _BITS.match(header), _BITS.match(name)
    return name if finer and mine and theirs and mine[1] == theirs[1] else header
