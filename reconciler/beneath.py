"""Open and rename beneath a directory, never through a symbolic link and never out of it.

On Linux 5.6 and later the kernel holds the promise (`openat2` with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
RESOLVE_NO_MAGICLINKS, https://man7.org/linux/man-pages/man2/openat2.2.html); elsewhere every component is opened by
itself with O_NOFOLLOW. Functions raise OSError; paths are relative posix paths, '' is the directory itself.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import stat
import sys
from typing import Any

_OPENAT2 = 437  # the same number on every architecture that Python runs on, but alpha
_RESOLVE = 0x02 | 0x04 | 0x08  # NO_MAGICLINKS | NO_SYMLINKS | BENEATH
_AT_ONCE = 64  # EAGAIN means: a rename elsewhere raced with us, try again

NOREPLACE = 1
EXCHANGE = 2

UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOTTY})
"""What a file system or kernel answers when it does not know an operation."""


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(root_fd: int, path: str, flags: int, mode: int = 0) -> int:
    """Open `path` below `root_fd`; the descriptor is not inheritable. Raise OSError, ELOOP for a link in the way."""
    flags |= os.O_CLOEXEC
    if has_openat2():
        return _openat2(root_fd, path or ".", flags, mode)
    return walk_open(root_fd, path, flags, mode)


def open_directory(root_fd: int, path: str) -> int:
    """Open the directory `path` below `root_fd`."""
    return open_beneath(root_fd, path, os.O_RDONLY | os.O_DIRECTORY)


def walk_open(root_fd: int, path: str, flags: int, mode: int = 0) -> int:
    """Do what `open_beneath` does, one component after the other, where the kernel has no openat2."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    if not parts:
        return os.open(".", flags | os.O_CLOEXEC, dir_fd=root_fd)
    here = os.dup(root_fd)
    try:
        for part in parts[:-1]:
            below = _open_one(here, part, os.O_RDONLY | os.O_DIRECTORY, 0)
            os.close(here)
            here = below
        return _open_one(here, parts[-1], flags, mode)
    finally:
        os.close(here)


def rename_at(src_fd: int, src: str, dst_fd: int, dst: str, flags: int) -> None:
    """Rename with NOREPLACE or EXCHANGE in one step. Raise OSError; one of UNSUPPORTED where that cannot be done."""
    call, numbers = _renamer()
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), src)
    if call(src_fd, os.fsencode(src), dst_fd, os.fsencode(dst), numbers[flags]) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), src, None, dst)


@functools.cache
def has_openat2() -> bool:
    """Whether this kernel has openat2 (older ones lack it, some sandboxes forbid it)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.close(_openat2(fd, ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, 0))
        finally:
            os.close(fd)
    except OSError:
        return False
    return True


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _openat2(root_fd: int, path: str, flags: int, mode: int) -> int:
    how = _OpenHow(flags, mode if flags & os.O_CREAT else 0, _RESOLVE)
    code = 0
    for _ in range(_AT_ONCE):
        fd: int = _libc().syscall(
            ctypes.c_long(_OPENAT2), ctypes.c_int(root_fd), ctypes.c_char_p(os.fsencode(path)),
            ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)),
        )  # fmt: skip
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(code, os.strerror(code), path)


def _open_one(here: int, name: str, flags: int, mode: int) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=here)
    except NotADirectoryError:
        # O_DIRECTORY | O_NOFOLLOW on a link says ENOTDIR; callers need to know that it is a link.
        if stat.S_ISLNK(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from None
        raise


@functools.cache
def _renamer() -> tuple[Any, dict[int, int]]:
    # Linux: renameat2(2). macOS: renameatx_np(2) with RENAME_EXCL = 4 and RENAME_SWAP = 2.
    name, numbers = ("renameatx_np", {NOREPLACE: 4, EXCHANGE: 2}) if sys.platform == "darwin" else ("renameat2", {})
    try:
        call = getattr(_libc(), name)
    except AttributeError:
        return None, numbers
    call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return call, numbers or {NOREPLACE: NOREPLACE, EXCHANGE: EXCHANGE}
