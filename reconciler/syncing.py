"""Make what was written last: fsync of files and directories, and the atomic replacement of a small file.

A failed fsync is final: the kernel has dropped the pages, so that a second try would lie
(https://wiki.postgresql.org/wiki/Fsync_Errors).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from reconciler.errors import DiskError, Problem
from reconciler.oserrors import disk_error, telling

_SUFFIX = ".reconciler-tmp"
_WITHOUT_SYNC = frozenset({errno.EINVAL, errno.EBADF, errno.EOPNOTSUPP, errno.ENOSYS})


def sync_fd(fd: int, where: str) -> None:
    """Bring the bytes behind `fd` to the disk; raise DiskError, after which nothing of it may be relied on."""
    try:
        if sys.platform == "darwin":
            fcntl.fcntl(fd, 51)  # F_FULLFSYNC: there fsync alone stops at the drive's cache
        else:
            os.fsync(fd)
    except OSError as error:
        told = disk_error(error, where).problems[0]
        summary = f"what was written did not reach the disk: {told.summary}"
        raise DiskError(Problem(where, summary, told.hint)) from error


def sync_directory(fd: int, where: str) -> None:
    """Bring the names in the directory behind `fd` to the disk; some file systems have no such thing and need none."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno in _WITHOUT_SYNC:
            return
        told = disk_error(error, where).problems[0]
        raise DiskError(Problem(where, f"the directory did not reach the disk: {told.summary}", told.hint)) from error


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write every byte; a short write is gone on with."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace the file at `path`: whoever reads it, and whatever dies, finds all of the old bytes or all of the new.

    A file that is there keeps its permissions; a new one gets `mode`, less the umask. A symbolic link at `path` is
    replaced, not followed. The directory must exist. Raise DiskError.
    """
    with telling(str(path), need=len(data)):
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        replace_at(directory, path.name, data, mode=mode, where=str(path))
    finally:
        os.close(directory)


def write_out(path: Path, data: bytes, *, mode: int = 0o644) -> bool:
    """Write to where somebody asked for it: a file as `write_atomic` does, a device or pipe (`/dev/stdout`) as it is.

    Return whether it was a file. A device is never replaced by one. Raise DiskError.
    """
    if not _is_stream(path):
        write_atomic(path, data, mode=mode)
        return True
    with telling(str(path)):
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            write_all(fd, data)
        finally:
            os.close(fd)
    return False


def _is_stream(path: Path) -> bool:
    try:
        kind = path.stat().st_mode
        way = str(path.readlink()) if path.is_symlink() else str(path)
    except OSError:
        return False
    return not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)) or way.startswith(("/proc/", "/dev/fd/"))


def replace_at(directory: int, name: str, data: bytes, *, mode: int, where: str) -> None:
    """Do what `write_atomic` does, in the directory behind a descriptor."""
    with telling(where, need=len(data)):
        _sweep(directory, name)
        kept = _mode_of(directory, name)
        with _temporary(directory, name, mode if kept is None else mode & kept) as (fd, temporary):
            if kept is not None:
                os.fchmod(fd, kept)
            write_all(fd, data)
            sync_fd(fd, where)
            os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        sync_directory(directory, where)


@contextlib.contextmanager
def _temporary(directory: int, name: str, mode: int) -> Iterator[tuple[int, str]]:
    """Create a file beside `name`, locked while its writer lives, so that `_sweep` can tell debris from work."""
    prefix = name.encode()[:180].decode(errors="ignore")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        temporary = f".{prefix}.{secrets.token_hex(8)}{_SUFFIX}"
        fd = os.open(temporary, flags, mode, dir_fd=directory)
        if _lock(fd) is not False and os.fstat(fd).st_nlink:
            break
        os.close(fd)  # swept between open and lock
    try:
        yield fd, temporary
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=directory)
        raise
    finally:
        os.close(fd)


def _sweep(directory: int, name: str) -> None:
    """Remove what writers of `name` left behind when they were killed."""
    prefix = f".{name.encode()[:180].decode(errors='ignore')}."
    for found in os.listdir(directory):
        if not (found.startswith(prefix) and found.endswith(_SUFFIX)):
            continue
        with contextlib.suppress(OSError):
            fd = os.open(found, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
            try:
                if _lock(fd):
                    os.unlink(found, dir_fd=directory)
            finally:
                os.close(fd)


def _lock(fd: int) -> bool | None:
    """Lock `fd`; None where the file system has no locks and nobody can say who is alive."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            return None
        raise
    return True


def _mode_of(directory: int, name: str) -> int | None:
    try:
        facts = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return stat.S_IMODE(facts.st_mode) if stat.S_ISREG(facts.st_mode) else None
