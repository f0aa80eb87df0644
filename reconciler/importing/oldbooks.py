"""Read the registries of the ImageWorks downloader: its layers, its snapshot, its backups, and what was before them.

`model_registry.curated.json` is laid over `model_registry.discovered.json`; `model_registry.json` is both merged.
Before October 2025 it was the only file, and before that `models.json`, an object of what had been downloaded.
Nothing is written, and nothing is lost: what cannot be read, or stands in a backup only, is told.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.detect import MalformedHeader, jsonbound
from reconciler.errors import InputError
from reconciler.importing.found import Row
from reconciler.inert import inert
from reconciler.registry.entry import block_of
from reconciler.registry.layers import merge

LARGEST = 64 << 20
"""Bytes of one file."""

_CURATED, _DISCOVERED, _MERGED = "model_registry.curated.json", "model_registry.discovered.json", "model_registry.json"
_FIRST = "models.json"
_BACKUP = re.compile(r"model_registry(\.[a-z]+)?\.(\d{8}-?T?\d{6}.*\.bak|backup\..+|.*\.bak)\.json")
_LEVELS = ("", "configs", "registry")
"""Directories, below the one that is named, in which a registry stands."""


class Entry(NamedTuple):
    """One record, layers merged; `file` is the one that it was found in."""

    name: str
    said: Mapping[str, Any]
    file: str


class Books(NamedTuple):
    """Everything that a registry holds. `old` are records that stand in backups only, newest first."""

    entries: tuple[Entry, ...]
    old: tuple[Entry, ...] = ()
    rows: tuple[Row, ...] = ()
    """What is wrong with the files themselves."""


def read(path: Path) -> Books:
    """Read a registry: its directory, the one above it, or one file; raise InputError when there is none."""
    if path.is_file():
        found, rows = _file(path)
        if not found and rows:
            raise InputError(rows[0].why, where=inert(str(path)), hint="name a registry of ImageWorks")
        return Books(tuple(Entry(_name(each), each, str(path)) for each in _last(found, path, rows)), (), tuple(rows))
    folder = next((path / level for level in _LEVELS if _is_registry(path / level)), None)
    if folder is None:
        raise InputError(
            f"no registry of ImageWorks: neither {_MERGED} nor its layers", where=inert(str(path)),
            hint="name the directory that holds `model_registry.json`",
        )  # fmt: skip
    return _directory(folder)


def identity(said: Mapping[str, Any]) -> str:
    """Return what tells two records of a model apart whatever they are called: its path, else its source, else ''."""
    path = text(said, "download_path") or text(as_map(said, "source"), "path")
    source = text(as_map(said, "source"), "huggingface_id")
    return (path or source or text(said, "served_model_id") or "").replace("ollama://", "ollama:/").rstrip("/")


def text(said: Mapping[str, Any], key: str) -> str:
    """Return a text field; what says nothing ('', null, the word `None`) is ''."""
    value = said.get(key)
    return value.strip() if isinstance(value, str) and value.strip() not in ("", "None", "null") else ""


def _is_registry(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (_CURATED, _DISCOVERED, _MERGED, _FIRST)) or bool(_backups(folder))


def _backups(folder: Path) -> list[Path]:
    """Return the backups of a directory, newest first, as their names tell."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _BACKUP.fullmatch(path.name) and path.is_file()]
    return sorted(found, key=lambda path: (re.sub(r"\D", "", path.name), path.name), reverse=True)


def _directory(folder: Path) -> Books:
    rows: list[Row] = []
    layers: dict[str, list[dict[str, Any]]] = {}
    for name in (_DISCOVERED, _CURATED, _MERGED, _FIRST):
        if (folder / name).is_file():
            found, wrong = _file(folder / name)
            layers[name] = _last(found, folder / name, wrong)
            rows += wrong
    entries = [Entry(_name(each), each, str(folder / _where(each, layers))) for each in _merged(layers)]
    names = {entry.name for entry in entries}
    split = _DISCOVERED in layers or _CURATED in layers
    for each in layers.get(_MERGED, ()):
        if _name(each) not in names:
            entries.append(Entry(_name(each), each, str(folder / _MERGED)))
            if split:
                why = "stands in the merged snapshot only: no layer has it"
                rows.append(Row("finding", _name(each), why, str(folder / _MERGED)))
    known = {identity(entry.said) for entry in entries}
    entries += [
        Entry(_name(each), each, str(folder / _FIRST)) for each in layers.get(_FIRST, ()) if identity(each) not in known
    ]
    old, wrong = _only_in_backups(folder, entries)
    return Books(tuple(entries), tuple(old), (*rows, *wrong))


def _merged(layers: Mapping[str, list[dict[str, Any]]]) -> Iterable[Mapping[str, Any]]:
    return merge(layers.get(_DISCOVERED, ()), layers.get(_CURATED, ()))


def _where(said: Mapping[str, Any], layers: Mapping[str, list[dict[str, Any]]]) -> str:
    held = {_name(each) for each in layers.get(_DISCOVERED, ())}
    return _DISCOVERED if _name(said) in held else _CURATED


def _only_in_backups(folder: Path, entries: Iterable[Entry]) -> tuple[list[Entry], list[Row]]:
    """Return the records of the backups that are in no layer any more, each from the newest backup that has it."""
    known = {key for entry in entries for key in (entry.name, identity(entry.said)) if key}
    found: list[Entry] = []
    rows: list[Row] = []
    for path in _backups(folder):
        held, wrong = _file(path)
        rows += wrong
        for each in held:
            keys = {key for key in (_name(each), identity(each)) if key}
            if not keys & known:
                found.append(Entry(_name(each), each, str(path)))
            known |= keys
    return found, rows


def _last(found: list[dict[str, Any]], path: Path, rows: list[Row]) -> list[dict[str, Any]]:
    """Return the last record of each name, in the place of the first; tell of those that stand there several times."""
    counts = Counter(_name(each) for each in found)
    for name, count in counts.items():
        if count > 1:
            rows.append(Row("finding", name, f"stands there {count} times; the last one counts", str(path)))
    last = {_name(each): each for each in found}
    return list(last.values())


def _file(path: Path) -> tuple[list[dict[str, Any]], list[Row]]:
    """Read one file, whatever its shape; what cannot be read is a row."""
    try:
        value = jsonbound.load(path, LARGEST)
    except (OSError, MalformedHeader) as error:
        return [], [Row("problem", path.name, f"cannot be read: {error}", str(path))]
    listed = value if isinstance(value, list) else list(_named(value))
    rows = [
        Row("problem", path.name, f"its entry {number} is no record", str(path))
        for number, each in enumerate(listed, start=1) if not isinstance(each, dict)
    ]  # fmt: skip
    records = [_as_record(each) for each in listed if isinstance(each, dict) and not _is_ours(each)]
    named = [{**each, "name": _name(each) or identity(each)} for each in records]
    rows += [Row("problem", path.name, "a record without a name", str(path)) for each in named if not each["name"]]
    return [each for each in named if each["name"]], rows


def _is_ours(said: Mapping[str, Any]) -> bool:
    """Whether a record was written by this program: the manifest that manages it has it already."""
    return block_of(said) is not None


def _named(value: object) -> Iterator[object]:
    """Yield the records of an object: below `models` or `entries`, else each of its values under its own name."""
    if not isinstance(value, dict):
        yield value
        return
    for key in ("models", "entries"):
        if isinstance(value.get(key), (list, dict)):
            inner = value[key]
            yield from inner if isinstance(inner, list) else _named(inner)
            return
    for name, each in value.items():
        yield {"name": name, **each} if isinstance(each, dict) else each


_OLDEST: Mapping[str, str] = {
    "path": "download_path", "format_type": "download_format", "location": "download_location",
    "files": "download_files", "size_bytes": "download_size_bytes", "model_name": "display_name",
}  # fmt: skip


def _as_record(said: dict[str, Any]) -> dict[str, Any]:
    """Return a record of `models.json` with the names that its fields got later; any other as it is."""
    if "model_name" not in said and "name" in said:
        return said
    renamed = {_OLDEST.get(key, key): value for key, value in said.items()}
    repository = text(as_map(said, "metadata"), "huggingface_id") or text(said, "model_name")
    if repository and not repository.startswith("existing/"):  # the owner of what was there before the downloader
        renamed["source"] = {"huggingface_id": repository}
    return renamed


def _name(said: Mapping[str, Any]) -> str:
    return text(said, "name") or text(said, "display_name")


def as_map(said: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a field that should be an object; {} where it is none."""
    value = said.get(key)
    return value if isinstance(value, Mapping) else {}
