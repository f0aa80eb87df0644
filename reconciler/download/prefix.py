"""Hash a file while it arrives: the whole pieces at its beginning, so that nothing is left to verify at the end."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

from reconciler.download import MIB, Wanted, staged, verify
from reconciler.errors import DiskError, ReconcilerError
from reconciler.hashing import hash_file
from reconciler.oserrors import disk_error
from reconciler.state import Digest, algorithm

_BUFFER = MIB
_FLUSH = 32 * MIB
_SYNC_FILE_RANGE_WRITE = 2

Told = Callable[["Digest | ReconcilerError"], None]


def leading_bytes(bitfield: str, piece: int, size: int) -> int:
    """Return how many bytes at the beginning are whole, from aria2's hexadecimal bitfield (first piece first). Pure."""
    pieces = 0
    for digit in bitfield:
        if digit in "fF":
            pieces += 4
            continue
        value = int(digit, 16)
        pieces += 0 if value < 8 else 1 if value < 12 else 2 if value < 14 else 3
        break
    return min(pieces * piece, size)


class Prefix:
    """Follows one payload with a hash; work runs in `threads`, the digest is told once, after an fsync.

    Bytes below what was offered must not change any more: after an interruption a new Prefix begins at zero.
    """

    def __init__(self, wanted: Wanted, threads: ThreadPoolExecutor, told: Told) -> None:
        self._wanted = wanted
        self._threads = threads
        self._told = told
        self._lock = threading.Lock()
        self._offered = 0
        self._hashed = 0
        self._flushed = 0
        self._whole = False
        self._running = False
        self._dropped = False
        self._fd = -1
        self._hasher = verify.start(wanted.digest, wanted.size)

    @property
    def hashed(self) -> int:
        """How many bytes have been hashed."""
        return self._hashed

    def offer(self, upto: int, *, whole: bool = False) -> None:
        """Say that the first `upto` bytes stand on disk for good; `whole`: and that is all of them."""
        with self._lock:
            self._offered = max(self._offered, upto)
            self._whole = self._whole or whole
            if self._running or self._dropped or not (self._whole or self._offered - self._hashed >= _BUFFER):
                return
            self._running = True
        self._threads.submit(self._follow)

    def drop(self) -> None:
        """Forget it; nothing is told any more."""
        with self._lock:
            self._dropped = True
            if not self._running:
                self._close()

    def _follow(self) -> None:
        outcome: Digest | ReconcilerError | None = None
        try:
            buffer = memoryview(bytearray(_BUFFER))
            while True:
                with self._lock:
                    upto, whole, dropped = self._offered, self._whole, self._dropped
                    if dropped or (self._hashed >= upto and not whole):
                        self._running = False
                        if dropped:
                            self._close()
                        return
                if self._hashed >= upto:
                    break
                self._read(upto, buffer)
            outcome = self._judge()
        except ReconcilerError as error:
            outcome = error
        except OSError as error:
            outcome = disk_error(error, str(staged.payload(self._wanted)))
        self._close()
        with self._lock:
            if not self._whole:  # it could not be read yet: begin again with what is offered next
                self._hasher = verify.start(self._wanted.digest, self._wanted.size)
                self._hashed = self._flushed = 0
                self._running = False
                return
        if not self._dropped:
            self._told(outcome)

    def _read(self, upto: int, buffer: memoryview) -> None:
        if self._fd < 0:
            self._fd = os.open(staged.payload(self._wanted), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        while self._hashed < upto and not self._dropped:
            read = os.preadv(self._fd, [buffer[: min(_BUFFER, upto - self._hashed)]], self._hashed)
            if not read:
                raise DiskError("it is shorter than what was written", where=str(staged.payload(self._wanted)))
            self._hasher.update(buffer[:read])
            self._hashed += read
            if self._hashed - self._flushed >= _FLUSH:
                _write_back(self._fd, self._flushed, self._hashed - self._flushed)
                self._flushed = self._hashed

    def _judge(self) -> Digest:
        """Make the payload durable and return its digest."""
        path = staged.payload(self._wanted)
        if self._fd < 0:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.fsync(self._fd)
        except OSError:
            staged.drop(self._wanted, ("", ".aria2"))  # reading shows bytes that the disk may not have
            raise
        found = verify.finish(self._hasher, self._wanted.digest)
        facts, named = os.fstat(self._fd), os.lstat(path)
        same = (facts.st_dev, facts.st_ino, facts.st_size) == (named.st_dev, named.st_ino, self._wanted.size)
        if found == self._wanted.digest and same:
            return found
        return hash_file(path, algorithm(self._wanted.digest))  # what stands there now decides, read once more

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _write_back(fd: int, offset: int, count: int) -> None:
    """Let the kernel begin to write these bytes to the disk, so that the fsync at the end finds little to do."""
    call = _sync_file_range()
    if call is not None:
        call(fd, ctypes.c_int64(offset), ctypes.c_int64(count), _SYNC_FILE_RANGE_WRITE)


@lru_cache(maxsize=1)
def _sync_file_range() -> Any:
    if sys.platform != "linux":
        return None
    try:
        return ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
