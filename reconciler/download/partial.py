"""One file as it arrives over a connection of ours: written, hashed in flight, gone on with, put in its place."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import TracebackType

from reconciler.download import MIB, Wanted, staged, verify
from reconciler.oserrors import disk_error
from reconciler.state import Digest

RESUME = 4 * MIB
"""Files below this size start again instead of being resumed: a range costs as much as they do."""


class Partial:
    """The growing `_part` file of one wanted file. `position` bytes stand on disk, hashed; use it as a context."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.position = 0
        self.received = 0
        self.etag = ""
        self.resumes = wanted.size >= RESUME
        self._path = staged.beside(wanted, "_part")
        self._hasher = verify.start(wanted.digest, wanted.size)
        self._fd = -1

    def __enter__(self) -> Partial:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | (0 if self.resumes else os.O_TRUNC)
            self._fd = os.open(self._path, flags, 0o644)
            if self.resumes:
                self._take_up()
        except OSError as error:
            raise disk_error(error, str(self._path), need=self.wanted.size) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            if not self.resumes or not self.position:  # nothing can be made of it
                staged.drop(self.wanted, ("_part", "_meta"))

    def range(self) -> dict[str, str]:
        """Return the headers that ask for what is missing, from the same version of the file where it has a name."""
        if not self.position:
            return {}
        headers = {"Range": f"bytes={self.position}-"}
        if self.etag:
            headers["If-Range"] = self.etag
        return headers

    def begin(self, etag: str, origin: str) -> None:
        """Note which version the bytes that follow belong to (`etag` as the server sent it; weak ones name nothing)."""
        etag = "" if etag.startswith("W/") else etag
        if self.resumes and (etag != self.etag or not self.position):
            staged.write_meta(self.wanted, etag, origin)
        self.etag = etag

    def write(self, data: memoryview) -> None:
        """Append bytes that came over the network; raise DiskError."""
        self._hasher.update(data)
        count = len(data)
        try:
            written = os.pwrite(self._fd, data, self.position)
            while written < count:
                written += os.pwrite(self._fd, data[written:], self.position + written)
        except OSError as error:
            raise disk_error(error, str(self._path), need=self.wanted.size - self.position) from error
        self.position += count
        self.received += count

    def restart(self) -> None:
        """Forget every byte."""
        if self.position:
            self.position = 0
            self._hasher = verify.start(self.wanted.digest, self.wanted.size)
            os.ftruncate(self._fd, 0)

    def found(self) -> Digest:
        """Return the digest of what stands there."""
        return verify.finish(self._hasher, self.wanted.digest)

    def head(self) -> bytes:
        """Return the first bytes."""
        return os.pread(self._fd, verify.HEAD, 0)

    def place(self) -> Path:
        """Make the whole file durable and give it its staged name; return its path. Raise DiskError."""
        target = staged.payload(self.wanted)
        try:
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._path.rename(target)
        except OSError as error:
            raise disk_error(error, str(target)) from error
        if self.resumes:
            staged.clear(self.wanted)
        return target

    def _take_up(self) -> None:
        facts = os.fstat(self._fd)
        meta = staged.read_meta(self.wanted)
        same = meta is not None and (meta.size, meta.digest) == (self.wanted.size, self.wanted.digest)
        if not same or not stat.S_ISREG(facts.st_mode) or not 0 < facts.st_size < self.wanted.size:
            os.ftruncate(self._fd, 0)
            return
        assert meta is not None
        self.etag = meta.etag
        buffer = memoryview(bytearray(MIB))
        while read := os.preadv(self._fd, [buffer], self.position):
            self._hasher.update(buffer[:read])
            self.position += read
