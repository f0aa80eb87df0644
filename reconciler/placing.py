"""Put files where they belong, between two roots: a name always holds the whole old file or the whole new one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import sys
from collections.abc import Iterator
from typing import Literal

from reconciler.beneath import EXCHANGE, NOREPLACE, UNSUPPORTED, rename_at
from reconciler.errors import DiskError
from reconciler.oserrors import disk_error, telling
from reconciler.root import Root
from reconciler.syncing import sync_directory, sync_fd, write_all

_FICLONE = 0x40049409  # https://man7.org/linux/man-pages/man2/ioctl_ficlone.2.html
_CHUNK = 1 << 30
_BUFFER = 1 << 20
_NO_LINKS = UNSUPPORTED | {errno.EPERM, errno.EMLINK, errno.EXDEV, errno.EACCES}
_NO_CLONE = UNSUPPORTED | {errno.EXDEV, errno.EPERM, errno.ETXTBSY, errno.EBADF, errno.EISDIR, errno.EACCES}


class TwoStepError(DiskError):
    """Names can neither be linked nor exchanged here: the caller journals, then moves old and new in turn."""


class _CannotCloneError(Exception):
    """Leaves the block that made the file, so that it is removed."""


def rename(src_root: Root, src: str, dst_root: Root, dst: str, *, replace: bool, sync: bool = True) -> None:
    """Rename a file, link or directory; both directories are on disk when this returns.

    Without `replace`, DiskError (errno EEXIST) when something lies at `dst`. Without `sync` the caller brings the
    directories to the disk. Raise DiskError.
    """
    with src_root.parent(src) as (src_fd, src_name), dst_root.parent(dst) as (dst_fd, dst_name):
        with telling(dst_root.where(dst)):
            if replace:
                os.rename(src_name, dst_name, src_dir_fd=src_fd, dst_dir_fd=dst_fd)
            else:
                _rename_new(src_fd, src_name, dst_fd, dst_name)
        if sync:
            sync_directory(dst_fd, dst_root.where(dst))
            sync_directory(src_fd, src_root.where(src))


def hardlink(src_root: Root, src: str, dst_root: Root, dst: str, *, sync: bool = True) -> None:
    """Give the file or symbolic link `src` a second name `dst`, which must not exist. Raise DiskError."""
    with src_root.parent(src) as (src_fd, src_name), dst_root.parent(dst) as (dst_fd, dst_name):
        with telling(dst_root.where(dst)):
            os.link(src_name, dst_name, src_dir_fd=src_fd, dst_dir_fd=dst_fd, follow_symlinks=False)
        if sync:
            sync_directory(dst_fd, dst_root.where(dst))


def install(
    stage: Root, staged: str, root: Root, final: str, *, trash: tuple[Root, str] | None, sync: bool = True
) -> os.stat_result:
    """Put the verified file `staged` under its final name and return its stat; the name is never absent in between.

    What lies at `final` gets the name `trash` first; without `trash`, or when nothing lies there, nothing may lie
    there (DiskError, errno EEXIST). File and directories are on disk when this returns. A repetition after a crash
    is fine: an old file that already has its name in the trash keeps it. Where names cannot be linked, old and new
    are exchanged, and a crash in that moment leaves the old file under the staged name. Raise TwoStepError where
    neither can be done, with nothing changed. Without `sync` the staged file must be on disk already, and the caller
    brings the directories there: many files then cost one fsync a directory.
    """
    if sync:
        _sync_file(stage, staged)
    new = stage.stat(staged)
    replace = trash is not None and set_aside(root, final, trash[0], trash[1], sync=sync)
    if replace is None:
        assert trash is not None
        _exchange(stage, staged, root, final, trash)
    else:
        rename(stage, staged, root, final, replace=replace, sync=sync)
    there = root.stat(final)
    if new is None or there is None or (there.st_ino, there.st_size) != (new.st_ino, new.st_size):
        hint = "is the file system case-folding, or is another program writing there?"
        raise DiskError("another file than the one just placed lies there", where=root.where(final), hint=hint)
    return there


def clone_or_copy(src_fd: int, dst_root: Root, dst: str) -> Literal["reflink", "copy"]:
    """Make the new file `dst` with the bytes behind `src_fd`, sharing blocks where the file system can.

    Nothing but bytes is kept; the mode is 0644 less the umask. It is on disk when this returns; verifying it is the
    caller's. A half-written `dst` is removed. Raise DiskError.
    """
    with telling(dst_root.where(dst)):
        size = os.fstat(src_fd).st_size
    with _made(dst_root, dst) as fd:
        if _clone(src_fd, fd, dst_root.where(dst)):
            return "reflink"
        with telling(dst_root.where(dst), need=size):
            _copy(src_fd, fd, size)
        return "copy"


def link_or_copy(
    src_root: Root, src: str, dst_root: Root, dst: str, *, allow_hardlink: bool = True
) -> Literal["reflink", "hardlink", "copy"]:
    """Give the new file `dst` the bytes of `src`, the cheapest way that works: reflink, hard link, copy.

    A hard link shares the inode: whoever later writes into one name writes into both. Raise DiskError.
    """
    src_fd = src_root.open_read(src)
    try:
        if _reflinked(src_fd, dst_root, dst):
            return "reflink"
        if allow_hardlink and _hardlinked(src_fd, src_root, src, dst_root, dst):
            return "hardlink"
        return clone_or_copy(src_fd, dst_root, dst)
    finally:
        os.close(src_fd)


def _sync_file(stage: Root, staged: str) -> None:
    facts = stage.stat(staged)
    if facts is not None and stat.S_ISLNK(facts.st_mode):
        return  # a link lives in its directory
    fd = stage.open_read(staged)
    try:
        sync_fd(fd, stage.where(staged))
    finally:
        os.close(fd)


def set_aside(root: Root, final: str, trash: Root, name: str, *, sync: bool = True) -> bool | None:
    """Link what lies at `final` into the trash; False when nothing lies there, None where links cannot be made."""
    old = root.stat(final)
    if old is None:
        return False
    if stat.S_ISDIR(old.st_mode):
        told = "a directory lies where the file belongs; it is not replaced"
        raise DiskError(told, where=root.where(final), hint="move it away")
    try:
        hardlink(root, final, trash, name, sync=sync)
    except DiskError as error:
        cause = error.__cause__
        code = cause.errno if isinstance(cause, OSError) else None
        if code == errno.EEXIST:
            there = trash.stat(name)
            if there is not None and os.path.samestat(there, old):
                if sync:
                    trash.fsync_dir(name.rpartition("/")[0])
                return True
        if code in _NO_LINKS:
            return None
        raise
    return True


def _exchange(stage: Root, staged: str, root: Root, final: str, trash: tuple[Root, str]) -> None:
    if trash[0].stat(trash[1]) is not None:
        raise DiskError("something already lies there", where=trash[0].where(trash[1]))
    with stage.parent(staged) as (stage_fd, stage_name), root.parent(final) as (final_fd, final_name):
        try:
            rename_at(stage_fd, stage_name, final_fd, final_name, EXCHANGE)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                raise TwoStepError("names can neither be linked nor exchanged", where=root.where(final)) from error
            raise disk_error(error, root.where(final)) from error
        sync_directory(final_fd, root.where(final))
        sync_directory(stage_fd, stage.where(staged))
    rename(stage, staged, trash[0], trash[1], replace=False)


def _rename_new(src_fd: int, src: str, dst_fd: int, dst: str) -> None:
    try:
        rename_at(src_fd, src, dst_fd, dst, NOREPLACE)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    else:
        return
    try:
        os.link(src, dst, src_dir_fd=src_fd, dst_dir_fd=dst_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS - {errno.EXDEV}:
            raise
    else:
        os.unlink(src, dir_fd=src_fd)
        return
    # Neither is known here (exFAT, some network and FUSE file systems): look, then rename. What another program
    # puts there in between would be lost; our own are kept out by the lock.
    try:
        os.stat(dst, dir_fd=dst_fd, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(src, dst, src_dir_fd=src_fd, dst_dir_fd=dst_fd)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), dst)


@contextlib.contextmanager
def _made(root: Root, rel: str) -> Iterator[int]:
    """Make the file `rel` and yield its descriptor; then bring it to the disk, or remove it when the block failed."""
    fd = root.create(rel)
    try:
        yield fd
        sync_fd(fd, root.where(rel))
        root.fsync_dir(rel.rpartition("/")[0])
    except BaseException:
        with contextlib.suppress(DiskError):
            root.unlink(rel, missing_ok=True)
        raise
    finally:
        os.close(fd)


def _clone(src_fd: int, dst_fd: int, where: str) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        fcntl.ioctl(dst_fd, _FICLONE, src_fd)
    except OSError as error:
        if error.errno in _NO_CLONE:
            return False
        raise disk_error(error, where) from error
    return True


def _reflinked(src_fd: int, root: Root, rel: str) -> bool:
    try:
        with _made(root, rel) as fd:
            if not _clone(src_fd, fd, root.where(rel)):
                raise _CannotCloneError
    except _CannotCloneError:
        return False
    return True


def _hardlinked(src_fd: int, src_root: Root, src: str, dst_root: Root, dst: str) -> bool:
    if src_root.device != dst_root.device:
        return False
    try:
        hardlink(src_root, src, dst_root, dst)
    except DiskError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_LINKS:
            return False
        raise
    there = dst_root.stat(dst)
    if there is None or not os.path.samestat(there, os.fstat(src_fd)):
        dst_root.unlink(dst, missing_ok=True)
        raise DiskError("was exchanged while it was linked", where=src_root.where(src))
    return True


def _copy(src_fd: int, dst_fd: int, size: int) -> None:
    done = _copy_in_kernel(src_fd, dst_fd, size)
    os.lseek(dst_fd, done, os.SEEK_SET)
    while chunk := os.pread(src_fd, _BUFFER, done):  # what is left, and what has been added meanwhile
        write_all(dst_fd, chunk)
        done += len(chunk)


def _copy_in_kernel(src_fd: int, dst_fd: int, size: int) -> int:
    done = 0
    if not hasattr(os, "copy_file_range"):
        return 0
    while done < size:
        try:
            count = os.copy_file_range(src_fd, dst_fd, min(_CHUNK, size - done), done, done)
        except OSError as error:
            if error.errno in _NO_CLONE:
                return done
            raise
        if count == 0:  # shorter than it was, or a file system that says 0 for "cannot"
            break
        done += count
    return done
