"""What each apply left behind for `undo`: manifest, lock, plan, the records before, the result. Never changed again.

A generation is a directory `generations/0000000007` of the registry; it is written under a name that no reader
takes, then renamed.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.disk import Root, rename, sync_fd, telling, write_all
from reconciler.errors import NEWER, DiskError, NewerError, RegistryError
from reconciler.paths import check_relative
from reconciler.registry import check_directory
from reconciler.registry.block import decode, encode
from reconciler.registry.jsontext import parse, plain_text
from reconciler.state import Record

FOLDER = "generations"
_NAME = re.compile(r"\d{10}")
_PARTIAL = ".partial-"
_VERSION = 1
_LATER = "restore it from a backup of yours; later generations can be undone without it"


@dataclass(frozen=True, slots=True)
class Generation:
    """One apply, as kept in `directory`. `lock` is None when the manifest had none."""

    number: int
    directory: Path
    manifest_files: Mapping[str, bytes] = field(default_factory=dict)
    lock: bytes | None = None
    plan: bytes = b""
    before: tuple[Record, ...] = ()
    result: Mapping[str, Any] = field(default_factory=dict)


def next_number(registry_path: Path) -> int:
    """Return the number that the next generation gets, from 1."""
    return max(listing(registry_path), default=0) + 1


def listing(registry_path: Path) -> tuple[int, ...]:
    """Return the numbers of the generations that are there, ascending. Raise RegistryError, DiskError."""
    check_directory(registry_path)
    folder = registry_path / FOLDER
    with telling(str(folder)):
        names = os.listdir(folder) if os.path.lexists(folder) else []
    return tuple(sorted(int(name) for name in names if _NAME.fullmatch(name)))


def latest(registry_path: Path) -> Generation | None:
    """Return the newest generation, None when there is none. Raise RegistryError when it is damaged."""
    numbers = listing(registry_path)
    return read(registry_path, numbers[-1]) if numbers else None


def write(
    registry_path: Path,
    number: int,
    *,
    manifest_files: Mapping[str, bytes],
    lock: bytes | None,
    plan: bytes,
    before: Sequence[Record],
    result: Mapping[str, Any],
) -> Generation:
    """Keep one generation: all of it is there and on disk when this returns, or nothing of it ever is.

    `manifest_files` are named by relative path; `result` is plain JSON. Raise DiskError, also when the number is taken.
    """
    facts = {
        "version": _VERSION,
        "number": number,
        "manifest": sorted(manifest_files),
        "lock": lock is not None,
        "before": [encode(record) for record in before],
        "result": dict(result),
    }
    name = f"{number:010d}"
    with Root.open(registry_path / FOLDER, create=True) as root:
        _sweep(root)
        partial = f"{_PARTIAL}{secrets.token_hex(8)}"
        try:
            for path, data in sorted(manifest_files.items()):
                _put(root, f"{partial}/manifest/{check_relative(path)}", data)
            if lock is not None:
                _put(root, f"{partial}/lock", lock)
            _put(root, f"{partial}/plan", plan)
            _put(root, f"{partial}/generation.json", plain_text(facts))
            rename(root, partial, root, name, replace=False)
        except BaseException:
            with contextlib.suppress(DiskError):
                _remove(root, partial)
            raise
    return Generation(number, registry_path / FOLDER / name, manifest_files, lock, plan, tuple(before), result)


def read(registry_path: Path, number: int) -> Generation:
    """Return the generation `number`; raise RegistryError when there is no such, or it is damaged."""
    directory = registry_path / FOLDER / f"{number:010d}"
    try:
        with Root.open(directory) as root:
            facts = parse(root.read("generation.json", 1 << 30))
            if facts["version"] > _VERSION:
                raise NewerError("it is", facts["version"], _VERSION)
            if facts["version"] != _VERSION or facts["number"] != number:
                raise ValueError("it is of another version or number")
            return Generation(
                number,
                directory,
                {path: root.read(f"manifest/{path}", 1 << 30) for path in facts["manifest"]},
                root.read("lock", 1 << 30) if facts["lock"] else None,
                root.read("plan", 1 << 30),
                tuple(decode(block) for block in facts["before"]),
                facts["result"],
            )
    except DiskError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise _unreadable(registry_path, number, directory) from error
        raise
    except NewerError as error:
        raise RegistryError(f"generation {number}: {error}", where=str(directory), hint=NEWER) from error
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryError(f"generation {number} is damaged: {error}", where=str(directory), hint=_LATER) from error


def drop(registry_path: Path, number: int) -> None:
    """Forget one generation."""
    with Root.open(registry_path / FOLDER) as root:
        name, gone = f"{number:010d}", f"{_PARTIAL}{secrets.token_hex(8)}"
        rename(root, name, root, gone, replace=False)
        _remove(root, gone)


def _unreadable(registry_path: Path, number: int, directory: Path) -> RegistryError:
    if directory.is_dir():
        told = f"generation {number} is damaged: a file of it is missing"
        return RegistryError(told, where=str(directory), hint=_LATER)
    known = ", ".join(map(str, listing(registry_path)[-10:])) or "none"
    return RegistryError(f"no generation {number}", where=str(registry_path), hint=f"known are: {known}")


def _put(root: Root, path: str, data: bytes) -> None:
    root.mkdirs(path.rpartition("/")[0])
    fd = root.create(path)
    try:
        with telling(root.where(path), need=len(data)):
            write_all(fd, data)
        sync_fd(fd, root.where(path))
    finally:
        os.close(fd)
    root.fsync_dir(path.rpartition("/")[0])


def _sweep(root: Root) -> None:
    """Remove what a killed writer left; writers hold the registry's lock, so that nobody else is at it."""
    for name in root.names():
        if name.startswith(_PARTIAL):
            _remove(root, name)


def _remove(root: Root, path: str) -> None:
    for name in root.names(path):
        below = f"{path}/{name}"
        try:
            root.unlink(below)
        except DiskError as error:
            if not isinstance(error.__cause__, (IsADirectoryError, PermissionError)):
                raise
            _remove(root, below)
    root.rmdir_empty_up(path)
