"""The journal of one apply: append-only JSON lines, each on disk before the deed that it announces.

A line is `{"n": 1, "kind": "…", …fields, "crc": "0a1b2c3d"}`: a sequence number from 1 and the crc32 of the line
without its crc. A crash can tear the last line only; anything else that does not add up is damage.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from reconciler.disk import Root, sync_fd, telling, write_all
from reconciler.errors import DiskError, RegistryError

SUFFIX = ".journal"
VERSION = 1
"""Of the entries; `begin` says it."""
BEGIN, END = "begin", "end"
OTHERS = "others"
"""Kind of the entry that tells, before a registry is saved, which entries of others it has no more, or once more."""

Line = dict[str, Any]
_RESERVED = frozenset({"n", "kind", "crc"})


@dataclass(slots=True)
class Journal:
    """An open journal; a context manager. Closing it says nothing: only an `end` entry finishes it."""

    path: Path
    fd: int
    _count: int = field(default=0, repr=False)
    broken: bool = field(default=False, repr=False)
    """An entry could not be written: nothing more may be, or a torn line would stand in the middle."""

    def write(self, kind: str, **fields: Any) -> int:
        """Append one entry and return its number; it is on disk when this returns.

        Raise DiskError, after which nothing may be done.
        """
        if self.broken:
            raise DiskError("the journal could not be written, so nothing more is done", where=str(self.path))
        if reserved := fields.keys() & _RESERVED:
            raise ValueError(f"reserved: {', '.join(sorted(reserved))}")
        body = {"n": self._count + 1, "kind": kind, **fields}
        self.broken = True
        with telling(str(self.path)):
            write_all(self.fd, _line(body))
        sync_fd(self.fd, str(self.path))
        self.broken = False
        self._count += 1
        return self._count

    def end(self, **fields: Any) -> None:
        """Say that nothing is left to finish or to roll back."""
        self.write(END, **fields)

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_journal(directory: Path, name: str) -> Journal:
    """Open the journal `name` in `directory`, making both when absent; go on after its last whole line.

    A torn last line is cut off. Raise RegistryError when the journal is damaged, DiskError.
    """
    file = f"{name}{SUFFIX}"
    path = directory / file
    with Root.open(directory, create=True) as root:
        new = root.stat(file) is None
        fd = root.open_write(file)
        try:
            entries, good = _scan(path, _all(fd, path))
            with telling(str(path)):
                os.ftruncate(fd, good)
                os.lseek(fd, good, os.SEEK_SET)
            if new:
                root.fsync_dir("")
        except BaseException:
            os.close(fd)
            raise
    return Journal(path, fd, len(entries))


def read(path: Path) -> tuple[list[Line], bool]:
    """Return the entries of the journal at `path`, without their crc, and whether its last line is torn.

    Raise RegistryError when anything but the last line is damaged.
    """
    with telling(str(path)):
        data = path.read_bytes()
    entries, good = _scan(path, data)
    return entries, good != len(data)


def unfinished(directory: Path) -> tuple[Path, ...]:
    """Return the journals in `directory` that no `end` finishes, sorted by name; () when there is no directory.

    Raise DiskError, RegistryError.
    """
    return tuple(path for path in _journals(directory) if not _is_finished(path))


def finished(directory: Path) -> tuple[Path, ...]:
    """Return the journals in `directory` that are at their end; only a kill leaves any."""
    return tuple(path for path in _journals(directory) if _is_finished(path))


def remove(path: Path) -> None:
    """Remove a journal that is no longer needed, durably."""
    with Root.open(path.parent) as root:
        root.unlink(path.name, missing_ok=True)
        root.fsync_dir("")


def _journals(directory: Path) -> list[Path]:
    with telling(str(directory)):
        names = os.listdir(directory) if os.path.lexists(directory) else []
    return sorted(directory / name for name in names if name.endswith(SUFFIX))


def _is_finished(path: Path) -> bool:
    entries, _ = read(path)
    return any(entry["kind"] == END for entry in entries[-1:])


def _line(body: Line) -> bytes:
    text = json.dumps(body, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    crc = zlib.crc32(text.encode())
    return f'{text[:-1]},"crc":"{crc:08x}"}}\n'.encode()


def _scan(path: Path, data: bytes) -> tuple[list[Line], int]:
    """Return the whole entries and the length of the bytes that hold them."""
    entries: list[Line] = []
    good = 0
    for raw in data.splitlines(keepends=True):
        entry = _entry(raw, len(entries) + 1)
        if entry is None:
            break
        entries.append(entry)
        good += len(raw)
    rest = data[good:]
    # Appending tears at the end only. A whole line that does not add up, or more after it, is somebody's doing or a
    # bad disk; to guess here could mean to forget a deed.
    if b"\n" in rest.rstrip(b"\n\0"):
        hint = "look at it; move it away when the plan that follows is what you want"
        raise RegistryError(f"line {len(entries) + 1} is damaged", where=str(path), hint=hint)
    return entries, good


def _entry(raw: bytes, number: int) -> Line | None:
    if not raw.endswith(b"\n"):
        return None
    with contextlib.suppress(ValueError, RecursionError):
        body = json.loads(raw)
        if isinstance(body, dict) and body.pop("crc", None) is not None and body.get("n") == number:
            return body if isinstance(body.get("kind"), str) and _line(body) == raw else None
    return None


def _all(fd: int, path: Path) -> bytes:
    with telling(str(path)):
        chunks = []
        while chunk := os.read(fd, 1 << 20):
            chunks.append(chunk)
        return b"".join(chunks)
