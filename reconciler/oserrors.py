"""Say in words what the operating system refused."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from reconciler.errors import DiskError, Problem

_WORDS: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", "free some space (`reconciler gc` empties the trash) and run the same again"),
    errno.EDQUOT: ("the disk quota is used up", "free some space or raise the quota, then run the same again"),
    errno.EFBIG: ("the file is larger than this file system or process may write", "raise the limit (`ulimit -f`)"),
    errno.EROFS: ("the file system is read-only", "remount it writable; a disk with errors is remounted read-only"),
    errno.EACCES: ("permission denied", "check who owns it and its mode"),
    errno.EPERM: ("the system does not permit it", "check its owner and attributes (`lsattr`)"),
    errno.EIO: ("the disk reports an input/output error", "look at `dmesg`; the disk may be failing"),
    errno.ENOENT: ("no such file or directory", "check the path, and that its disk is mounted"),
    errno.EEXIST: ("something already lies there", "look at it; it is not overwritten"),
    errno.ENOTEMPTY: ("the directory is not empty", ""),
    errno.EXDEV: ("it lies on another file system", "keep both on one file system"),
    errno.ELOOP: ("a symbolic link stands in the path and is not followed", "replace the link by a real directory"),
    errno.ENOTDIR: ("a file stands where a directory was expected", "move it away"),
    errno.EISDIR: ("a directory stands where a file was expected", "move it away"),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "choose a shorter name or root"),
    errno.EMFILE: ("too many open files", "raise the limit (`ulimit -n`)"),
    errno.ENFILE: ("too many open files on this machine", "close some programs"),
    errno.EBUSY: ("it is in use", "close the program that uses it"),
    errno.ESTALE: ("the network file system lost it", "remount it"),
    errno.ENODEV: ("the device has vanished", "check that the disk is connected"),
    errno.EOPNOTSUPP: ("this file system cannot do that", ""),
}


def disk_error(error: OSError, where: str, *, need: int | None = None) -> DiskError:
    """Return `error` as a DiskError at `where`; raise it `from error`.

    `need` is the number of bytes that were to be written; on a full disk the message says it beside what is free.
    """
    code = error.errno or 0
    summary, hint = _WORDS.get(code, (os.strerror(code) if code else str(error), ""))
    if code in (errno.ENOSPC, errno.EDQUOT):
        summary += _need_and_have(where, need)
    return DiskError(Problem(where, summary, hint))


def remedy(error: OSError) -> str:
    """Return what to try where the operating system refused, '' when there is nothing useful to say."""
    return _WORDS.get(error.errno or 0, ("", ""))[1]


def errno_of(error: DiskError) -> int | None:
    """Return the number behind `error`: errno of the OSError that caused it, None when there was none."""
    return error.__cause__.errno if isinstance(error.__cause__, OSError) else None


@contextlib.contextmanager
def telling(where: str, *, need: int | None = None) -> Iterator[None]:
    """Turn any OSError of the block into a DiskError at `where`."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, where, need=need) from error


def free_bytes(path: Path | str) -> int:
    """Return the bytes that an ordinary user may still write on the file system that holds `path`.

    `path` need not exist; its nearest ancestor that does is asked.
    """
    found = nearest(Path(path))
    with telling(str(found)):
        facts = os.statvfs(found)
    return facts.f_bavail * facts.f_frsize


def nearest(path: Path) -> Path:
    """Return `path`, or its nearest ancestor that exists."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def _need_and_have(where: str, need: int | None) -> str:
    from reconciler.inert import human_bytes

    try:
        have = f"{human_bytes(free_bytes(where))} free" if where.startswith("/") else ""
    except DiskError:
        have = ""
    wanted = f"{human_bytes(need)} needed" if need is not None else ""
    both = ", ".join(part for part in (wanted, have) if part)
    return f" ({both})" if both else ""
