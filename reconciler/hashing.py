"""Digest the bytes of a file, and notice when it changes meanwhile."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.errors import DiskError
from reconciler.oserrors import telling
from reconciler.state import Algorithm, Digest

if TYPE_CHECKING:
    from hashlib import _Hash

_SMALLEST, _LARGEST = 1 << 16, 1 << 20
"""Buffer sizes, in bytes: one that stays in the core's cache hashes fastest."""

_CHANGED = "changed while it was read"


def hash_fd(
    fd: int,
    size_hint: int = 0,
    algorithm: Algorithm = "sha256",
    *,
    where: str = "",
    tick: Callable[[int], None] | None = None,
) -> Digest:
    """Return the digest of everything in the regular file behind `fd`, whose position moves to the end.

    `size_hint` is the expected size in bytes (0: unknown). `tick` is called with the bytes of each chunk. A git
    digest is that of the blob (https://git-scm.com/book/en/v2/Git-Internals-Git-Objects). Raise DiskError when the
    file cannot be read or changed while it was read.
    """
    where = where or f"descriptor {fd}"
    with telling(where):
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise DiskError("not a regular file; it is not read", where=where)
        hasher = _start(algorithm, before.st_size)
        count = _feed(hasher, fd, before.st_size, size_hint or before.st_size, tick)
        after = os.fstat(fd)
    if count != before.st_size or _differs(before, after):
        raise DiskError(_CHANGED, where=where, hint="close the program that writes it, then run the same again")
    return Digest(f"{algorithm}:{hasher.hexdigest()}")


def hash_file(path: Path, algorithm: Algorithm = "sha256", *, tick: Callable[[int], None] | None = None) -> Digest:
    """Return the digest of the regular file at `path`; raise DiskError as `hash_fd` does."""
    with telling(str(path)):
        if not stat.S_ISREG(path.stat().st_mode):  # to open a pipe or a device is already too much
            raise DiskError("not a regular file; it is not read", where=str(path))
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return hash_fd(fd, 0, algorithm, where=str(path), tick=tick)
    finally:
        os.close(fd)


def hash_bytes(data: bytes, algorithm: Algorithm = "sha256") -> Digest:
    """Return the digest of `data`. Pure."""
    hasher = _start(algorithm, len(data))
    hasher.update(data)
    return Digest(f"{algorithm}:{hasher.hexdigest()}")


def _start(algorithm: Algorithm, size: int) -> _Hash:
    if algorithm == "sha256":
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def _feed(hasher: _Hash, fd: int, size: int, hint: int, tick: Callable[[int], None] | None) -> int:
    """Read to the end, or until there is more than there was: a file that keeps growing must not hold us for ever."""
    os.lseek(fd, 0, os.SEEK_SET)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    buffer = memoryview(bytearray(max(_SMALLEST, min(_LARGEST, hint))))
    total = 0
    while total <= size and (read := os.readv(fd, [buffer])):
        hasher.update(buffer[:read])
        total += read
        if tick is not None:
            tick(read)
    return total


def _differs(before: os.stat_result, after: os.stat_result) -> bool:
    if (before.st_ino, before.st_size, before.st_mtime_ns) != (after.st_ino, after.st_size, after.st_mtime_ns):
        return True
    # A new or lost hard link (ours, of the same blob elsewhere) touches ctime as well and leaves the bytes alone.
    return before.st_ctime_ns != after.st_ctime_ns and before.st_nlink == after.st_nlink
