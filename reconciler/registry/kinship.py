"""Tell which files an entry speaks of, and which entries speak of the files that a record holds. Pure.

An entry of ImageWorks names a directory or a file in `download_path`, or an Ollama model: as `ollama://TAG`, which
its own path handling has often turned into `ollama:/TAG`, or in `served_model_id` alone.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from reconciler.ollama import names
from reconciler.registry.jsontext import Entry
from reconciler.state import Desired, Record

_OLLAMA = re.compile(r"ollama:/{1,2}(.+)")
_FOLD = str.maketrans("", "", "-_. ")


class Kin(NamedTuple):
    """What a record or a wanted variant holds: absolute paths (its home's first), or the key of an Ollama model.

    `folder` is the one directory of all its files where another variant may lie there too; then `quant` tells them
    apart.
    """

    keys: tuple[str, ...]
    folder: str = ""
    quant: str | None = None
    files: frozenset[str] = frozenset()
    """Base names."""
    backend: str | None = None
    """What serves it, where that is said: the same files served by another are another entry."""


def kin_of(record: Record) -> Kin:
    """Return what a record holds."""
    said = record.attributes
    kin = _kin(record.root, record.home, [placed.path for placed in record.files], said.format, said.quant)
    return kin._replace(backend=said.backend)


def kin_of_wanted(wanted: Desired, root: str) -> Kin:
    """Return what a wanted variant will hold below the root of its location."""
    said, layout = wanted.attributes, wanted.layout
    paths = [placement.path for placement in layout.files]
    kin = _kin(root, layout.home, paths, said.format or wanted.format, said.quant or wanted.quant)
    return kin._replace(backend=said.backend)


def _kin(root: str, home: str, paths: Iterable[str], form: str | None, quant: str | None) -> Kin:
    name = names.from_path(home)
    if name is not None:
        return Kin((f"ollama:{name.key}",))
    paths = list(paths)
    whole = [posixpath.join(root, path) for path in paths]
    base = posixpath.join(root, home)
    folder = ""
    if form == "gguf":  # several quantisations of one repository share a directory
        parents = {posixpath.dirname(path) for path in whole}
        folder = parents.pop() if len(parents) == 1 else base
        folder = "" if folder == root else folder
    return Kin((base, *whole), folder, quant, frozenset(posixpath.basename(path) for path in paths))


def key_of_files(entry: Entry) -> str:
    """Return what an entry speaks of: an absolute path, `ollama:` and the key of a model, or '' for nothing on disk."""
    tag = tag_of(entry)
    if tag:
        try:
            return f"ollama:{names.parse(tag).key}"
        except ValueError:
            return f"ollama:{tag.lower()}"
    config = entry.get("backend_config")
    inner = config.get("model_path") if isinstance(config, Mapping) else None
    for path in (entry.get("download_path"), inner):
        if isinstance(path, str) and path.startswith("/") and "\0" not in path:
            return posixpath.normpath(path)
    return ""


def tag_of(entry: Entry) -> str:
    """Return the Ollama tag that an entry speaks of, '' for none."""
    path = entry.get("download_path")
    found = _OLLAMA.fullmatch(path) if isinstance(path, str) else None
    if found and found[1] != "None":
        return found[1]
    served = entry.get("served_model_id")
    is_served = entry.get("backend") == "ollama" and isinstance(served, str) and served not in ("", "None")
    return str(served) if is_served and not _is_path(path) else ""


def _is_path(path: object) -> bool:
    return isinstance(path, str) and path.startswith("/")


class Index:
    """Entries by what they speak of: who asks for a thousand records looks each up once."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._by_key: dict[str, list[Entry]] = {}
        for entry in entries:
            key = key_of_files(entry)
            if key:
                self._by_key.setdefault(key, []).append(entry)

    def __bool__(self) -> bool:
        return bool(self._by_key)

    def of(self, kin: Kin) -> Iterator[Entry]:
        """Yield the entries that speak of the same files."""
        shared = (kin.folder,) if kin.folder and kin.folder not in kin.keys else ()
        for key in (*kin.keys, *shared):
            for entry in self._by_key.get(key, ()):
                if _is_served_alike(entry, kin) and (key != kin.folder or _fits(entry, kin)):
                    yield entry


def best(entries: Iterable[Entry], name: str) -> Entry | None:
    """Return the entry that a variant of this name continues: its namesake, else the one that says most."""
    return min(entries, key=lambda entry: (entry["name"] != name, *preference(entry)), default=None)


def preference(entry: Entry) -> tuple[object, ...]:
    """Return by what of several entries of one model the first is told: it has a path, it says much, its name."""
    said = sum(1 for value in entry.values() if value not in (None, "", "None", [], {}))
    return (not entry.get("download_path"), bool(entry.get("deprecated")), -said, entry["name"])


def _is_served_alike(entry: Entry, kin: Kin) -> bool:
    backend = entry.get("backend")
    return backend in (None, "", "None", "unassigned", kin.backend) or not kin.backend


def _fits(entry: Entry, kin: Kin) -> bool:
    """Whether an entry of a shared directory means this quantisation: by its files where it names them."""
    listed = entry.get("download_files")
    files = {posixpath.basename(str(path)) for path in listed} if isinstance(listed, (list, tuple)) else set()
    weights = {name for name in files if name.lower().endswith(".gguf")}
    if weights:
        return weights <= kin.files
    quant = entry.get("quantization")
    if not isinstance(quant, str) or quant in ("", "None") or not kin.quant:
        return True
    return quant.lower().translate(_FOLD) == kin.quant.lower().translate(_FOLD)
