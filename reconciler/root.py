"""A directory held open, and the verbs that stay beneath it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from reconciler.beneath import open_beneath, open_directory
from reconciler.errors import DiskError
from reconciler.oserrors import disk_error, telling
from reconciler.paths import check_relative
from reconciler.syncing import replace_at, sync_directory

_KINDS = {stat.S_IFDIR: "directory", stat.S_IFLNK: "symbolic link", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}


@dataclass(frozen=True, slots=True)
class Root:
    """The one sink: paths are relative, posix, and cannot lead out, neither by `..` nor by a symbolic link.

    Verbs raise DiskError; `oserrors.errno_of` tells why. The directory itself may be reached through a link, since
    the user named it. Use as a context manager.
    """

    path: Path
    fd: int

    @classmethod
    def open(cls, path: Path, *, create: bool = False) -> Root:
        """Open the directory at `path`; `create` makes it and its parents when absent."""
        with telling(str(path)):
            if create and not path.is_dir():
                _make_with_parents(path)
            return cls(path, os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def close(self) -> None:
        """Close the descriptor; the root is of no use afterwards."""
        os.close(self.fd)

    def __enter__(self) -> Root:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def where(self, rel: str) -> str:
        """Return `rel` as people read it."""
        return str(self.path / rel) if rel else str(self.path)

    @property
    def device(self) -> int:
        """The number of the file system."""
        return os.fstat(self.fd).st_dev

    @contextlib.contextmanager
    def directory(self, rel: str) -> Iterator[int]:
        """Open the directory `rel` ('' is the root itself) and yield its descriptor."""
        with telling(self.where(rel)):
            fd = open_directory(self.fd, self._checked(rel) if rel else "")
        try:
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def parent(self, rel: str, create: bool = False) -> Iterator[tuple[int, str]]:
        """Yield (descriptor of the directory that holds `rel`, last name of `rel`); `create` makes the directory."""
        above, _, name = self._checked(rel).rpartition("/")
        if create and above:
            self.mkdirs(above)
        with self.directory(above) as fd:
            yield fd, name

    def mkdirs(self, rel: str, mode: int = 0o777) -> None:
        """Make the directory `rel` and those above it; each new one is on disk when this returns."""
        self._checked(rel)
        with telling(self.where(rel)):
            try:
                os.close(open_directory(self.fd, rel))
            except FileNotFoundError:
                self._make(rel.split("/"), mode)

    def stat(self, rel: str) -> os.stat_result | None:
        """Return what lies at `rel` (a link as a link), None when nothing does."""
        try:
            with self.parent(rel) as (fd, name), telling(self.where(rel)):
                return os.stat(name, dir_fd=fd, follow_symlinks=False)
        except DiskError as error:
            if isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError)):
                return None
            raise

    def names(self, rel: str = "") -> tuple[str, ...]:
        """Return the names in the directory `rel`, sorted; () when there is no such directory."""
        try:
            with self.directory(rel) as fd, telling(self.where(rel)):
                return tuple(sorted(os.listdir(fd)))
        except DiskError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return ()
            raise

    def open_read(self, rel: str) -> int:
        """Open the regular file `rel`; refuse a link, pipe, device or directory without opening it."""
        return self._open_regular(rel, os.O_RDONLY)

    def open_write(self, rel: str) -> int:
        """Open the regular file `rel` for reading and writing, as it is; make it when absent."""
        if self.stat(rel) is None:
            with contextlib.suppress(FileExistsError), telling(self.where(rel)):
                return open_beneath(self.fd, rel, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        return self._open_regular(rel, os.O_RDWR)

    def create(self, rel: str, mode: int = 0o644) -> int:
        """Make the file `rel`, which must not exist, and open it for reading and writing; less the umask."""
        with telling(self.where(self._checked(rel))):
            return open_beneath(self.fd, rel, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)

    def read(self, rel: str, limit: int) -> bytes:
        """Return the bytes of the small regular file `rel`; DiskError when it is longer than `limit` bytes."""
        fd = self.open_read(rel)
        with os.fdopen(fd, "rb") as file, telling(self.where(rel)):
            data = file.read(limit + 1)
        if len(data) > limit:
            raise DiskError(f"longer than {limit} bytes, which is not expected here", where=self.where(rel))
        return data

    def write(self, rel: str, data: bytes, mode: int = 0o644) -> None:
        """Replace the small file `rel` atomically, as `write_atomic` does."""
        with self.parent(rel) as (fd, name):
            replace_at(fd, name, data, mode=mode, where=self.where(rel))

    def symlink(self, target: str, rel: str) -> None:
        """Make the symbolic link `rel`, which must not exist. The target is text; nothing here ever follows it."""
        with self.parent(rel) as (fd, name), telling(self.where(rel)):
            os.symlink(target, name, dir_fd=fd)

    def readlink(self, rel: str) -> str:
        """Return the target of the symbolic link `rel`."""
        with self.parent(rel) as (fd, name), telling(self.where(rel)):
            return os.readlink(name, dir_fd=fd)

    def unlink(self, rel: str, *, missing_ok: bool = False) -> None:
        """Remove the file or link `rel`, never a directory."""
        try:
            with self.parent(rel) as (fd, name), telling(self.where(rel)):
                os.unlink(name, dir_fd=fd)
        except DiskError as error:
            if not (missing_ok and isinstance(error.__cause__, FileNotFoundError)):
                raise

    def rmdir_empty_up(self, rel: str) -> tuple[str, ...]:
        """Remove the directory `rel` if it is empty, then those above it that have become so; return the removed.

        `rel` may as well be gone, or a file: then the directories above it are looked at. The root itself stays.
        """
        removed: list[str] = []
        self._checked(rel)
        while rel:
            above = rel.rpartition("/")[0]
            try:
                with self.parent(rel) as (fd, name), telling(self.where(rel)):
                    os.rmdir(name, dir_fd=fd)
                    sync_directory(fd, self.where(above))
                removed.append(rel)
            except DiskError as error:
                cause = error.__cause__
                full = isinstance(cause, OSError) and cause.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY)
                if full:
                    break
                if not isinstance(cause, (FileNotFoundError, NotADirectoryError)):
                    raise
            rel = above
        return tuple(removed)

    def fsync_dir(self, rel: str) -> None:
        """Bring the names in the directory `rel` ('' is the root itself) to the disk."""
        with self.directory(rel) as fd:
            sync_directory(fd, self.where(rel))

    def _checked(self, rel: str) -> str:
        try:
            return check_relative(rel)
        except ValueError as error:
            raise DiskError(f"not a path that may be used here: {error}", where=str(self.path)) from error

    def _open_regular(self, rel: str, flags: int) -> int:
        facts = self.stat(rel)
        where = self.where(rel)
        if facts is None:
            missing = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), rel)
            raise disk_error(missing, where) from missing
        _refuse_special(facts, where)
        with telling(where):
            fd = open_beneath(self.fd, rel, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            _refuse_special(os.fstat(fd), where)  # what was there before may have been swapped
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _make(self, parts: list[str], mode: int) -> None:
        here = os.dup(self.fd)
        try:
            for part in parts:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, mode, dir_fd=here)
                    sync_directory(here, self.where("/".join(parts)))
                below = open_directory(here, part)
                os.close(here)
                here = below
        finally:
            os.close(here)


def _refuse_special(facts: os.stat_result, where: str) -> None:
    if not stat.S_ISREG(facts.st_mode):
        kind = _KINDS.get(stat.S_IFMT(facts.st_mode), "device")
        raise DiskError(f"a {kind} lies where a regular file was expected; it is not opened", where=where)


def _make_with_parents(path: Path) -> None:
    missing = [path, *path.parents]
    missing = missing[: next(at for at, above in enumerate(missing) if above.is_dir())]
    for each in reversed(missing):
        with contextlib.suppress(FileExistsError):
            each.mkdir()
            above = os.open(each.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                sync_directory(above, str(each.parent))
            finally:
                os.close(above)
