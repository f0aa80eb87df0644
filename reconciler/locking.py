"""One at a time: an exclusive lock that the kernel gives back when its holder dies."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reconciler.errors import BusyError, DiskError
from reconciler.oserrors import telling


@contextlib.contextmanager
def exclusive_lock(path: Path, *, holder: str) -> Iterator[int]:
    """Hold the lock file at `path`; yield its descriptor, which a child may be given (it is not inheritable by itself).

    The file is never deleted; it says who holds it (pid, host, start, `holder`: the command). The lock ends with the
    last process that holds the descriptor, however it dies. Raise BusyError naming the holder, at once; DiskError
    where the file system has no locks.
    """
    with telling(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = _take(path)
    try:
        with telling(str(path)):
            _sign(fd, holder)
        yield fd
    finally:
        # Not LOCK_UN: that would take it from a child as well.
        os.close(fd)


def holder_of(path: Path) -> dict[str, Any]:
    """Return what the lock file at `path` says of its last holder; {} when it says nothing. Advisory only."""
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock file at `path`, told without taking it where the system says so itself."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        inode = os.fstat(fd).st_ino
        try:
            # https://man7.org/linux/man-pages/man5/proc_locks.5.html; devices are left out: those of btrfs differ.
            rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        except OSError:
            return _is_refused(fd)
        pid = str(holder_of(path).get("pid", ""))
        return any("FLOCK" in row and row[-3].endswith(f":{inode}") and pid in row for row in rows if len(row) >= 8)
    finally:
        os.close(fd)


def _is_refused(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def _take(path: Path) -> int:
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, fd):
                return fd
        except BlockingIOError:
            os.close(fd)
            raise _busy(path) from None
        except OSError as error:
            os.close(fd)
            if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                hint = "keep the registry on a local disk"
                raise DiskError("this file system has no locks", where=str(path), hint=hint) from error
            raise
        os.close(fd)  # somebody deleted the file between open and flock; lock the one that is there now


def _is_still(path: Path, fd: int) -> bool:
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(fd))


def _sign(fd: int, holder: str) -> None:
    start = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    said = {"pid": os.getpid(), "host": socket.gethostname(), "start": start, "command": holder}
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(said).encode() + b"\n", 0)


def _busy(path: Path) -> BusyError:
    said = holder_of(path)
    who = "another process"
    if said:
        who = (
            f"`{said.get('command', '?')}`, process {said.get('pid', '?')} on {said.get('host', '?')} "
            f"since {said.get('start', '?')},"
        )
    hint = "wait until it has ended; a lock never outlives its process, there is nothing to remove"
    return BusyError(f"{who} holds the lock", where=str(path), hint=hint)
