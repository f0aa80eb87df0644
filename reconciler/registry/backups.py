"""The last few registries, kept beside it under names that no other reader takes for a registry."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from reconciler.disk import Root, telling
from reconciler.errors import DiskError
from reconciler.registry import statefile
from reconciler.registry.jsontext import parse_entries

KEPT = 5
FOLDER = "backups"
_NAME = re.compile(r"serial-(\d{10})\.(discovered|state)\.bak")


def keep(root: Root, serial: int, discovered: bytes | None, state: bytes | None) -> None:
    """Keep what is about to be replaced, and drop what is older than the last few serials."""
    root.mkdirs(FOLDER)
    for kind, data in (("discovered", discovered), ("state", state)):
        if data is not None:
            root.write(f"{FOLDER}/{_name(serial, kind)}", data)
    old = sorted({int(match[1]) for name in root.names(FOLDER) if (match := _NAME.fullmatch(name))})[:-KEPT]
    for gone in old:
        for kind in ("discovered", "state"):
            root.unlink(f"{FOLDER}/{_name(gone, kind)}", missing_ok=True)


def newest_good(path: Path) -> tuple[Path, ...]:
    """Return the files of the newest backup that can be read, () when there is none. `path` is the registry's."""
    folder = path / FOLDER
    for serial in _serials(folder):
        with contextlib.suppress(ValueError, DiskError):
            discovered, state = (folder / _name(serial, kind) for kind in ("discovered", "state"))
            raw = read_file(discovered)
            if raw is None:
                continue
            parse_entries(raw)
            raw_state = read_file(state)
            if raw_state is None:
                return (discovered,)
            statefile.loads(raw_state)
            return (discovered, state)
    return ()


def layers(path: Path) -> Iterator[bytes]:
    """Yield the discovered layers that are kept, newest first; what cannot be read is left out."""
    for serial in _serials(path / FOLDER):
        with contextlib.suppress(DiskError):
            if (raw := read_file(path / FOLDER / _name(serial, "discovered"))) is not None:
                yield raw


def _serials(folder: Path) -> list[int]:
    """Return the serials of the backups, newest first; none of a folder that cannot be read."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return sorted({int(match[1]) for name in names if (match := _NAME.fullmatch(name))}, reverse=True)


def hint(path: Path) -> str:
    """Return what to try when the registry at `path` is damaged."""
    good = newest_good(path)
    if not good:
        return "there is no backup; restore the directory from yours, or move it away and adopt the files again"
    targets = ("model_registry.discovered.json", "state.json")
    copies = " && ".join(f"cp {FOLDER}/{source.name} {target}" for source, target in zip(good, targets, strict=False))
    drop = "" if len(good) == 2 else " && rm -f state.json"
    return f"the newest good backup: cd {path} && {copies}{drop}"


def read_file(path: Path) -> bytes | None:
    """Return the bytes of a regular file, None when there is none. Raise DiskError."""
    with telling(str(path)):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise DiskError("expected a file, found something else", where=str(path))
            return file.read()


def _name(serial: int, kind: str) -> str:
    return f"serial-{serial:010d}.{kind}.bak"
