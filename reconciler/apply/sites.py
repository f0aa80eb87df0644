"""The locations of an apply, held open: root, stage and trash of each, and the verbs that bring bytes into a stage."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.apply.owners import Owner, owner_of
from reconciler.disk import Root, link_or_copy, rename, sync_fd, telling, write_all
from reconciler.errors import DiskError
from reconciler.house import INFO, VERSION, prepare
from reconciler.plan import FileRow, Place
from reconciler.state import Digest
from reconciler.stores import store_of

if TYPE_CHECKING:
    from reconciler.apply.deed import Deed

_LOCAL = re.compile(r"local-\d+-\w+")


@dataclass(frozen=True, slots=True)
class Site:
    """One location, open. The stage and the trash lie in its house, on the same file system."""

    name: str
    root: Root
    stage: Root
    trash: Root
    id: str
    generation: int
    owner: Owner | None = None
    """To whom new files are given, where they are not ours to keep."""

    @property
    def stage_path(self) -> Path:
        """The directory into which downloads go."""
        return self.stage.path

    def local(self, mark: object) -> str:
        """Return the staged name of something that was made from what is on this machine; `sweep_stage` takes it."""
        return f"local-{self.generation}-{mark}"

    def describe(self, trash: str, path: str, size: int, digest: Digest | None, deed: Deed) -> None:
        """Write down what a trashed file was, before it goes; on disk when this returns."""
        info = {
            "version": VERSION, "path": path, "size": size, "digest": digest, "since": deed.since,
            "generation": self.generation, "address": str(deed.address),
        }  # fmt: skip
        name = trash + INFO
        self.trash.unlink(name, missing_ok=True)
        fd = self.trash.create(name, 0o600)
        try:
            with telling(self.trash.where(name)):
                write_all(fd, json.dumps(info, sort_keys=True).encode() + b"\n")
            sync_fd(fd, self.trash.where(name))
        finally:
            os.close(fd)

    def forget(self, trash: str) -> None:
        """Take away the description of a file that has left the trash."""
        self.trash.unlink(trash + INFO, missing_ok=True)

    def discard_staged(self, name: str, trash: str) -> None:
        """Move a staged file into the trash."""
        rename(self.stage, name, self.trash, trash, replace=False)

    def bring(self, row: FileRow, origin: Site | None, staged: str) -> None:
        """Make `staged` from bytes of this machine: reflink, else hard link, else copy. Raise DiskError."""
        self.stage.unlink(staged, missing_ok=True)
        if origin is None:
            _copy_from(row.origin, self.stage, staged)
        else:
            link_or_copy(origin.root, row.origin.partition(":")[2], self.stage, staged)

    def twin(self, source: Root, staged: str, name: str) -> None:
        """Give a file of the stage or the trash a second, staged name: a variant may hold the same bytes twice."""
        self.stage.unlink(name, missing_ok=True)
        link_or_copy(source, staged, self.stage, name)

    def sweep_stage(self) -> None:
        """Remove what steps that were cut off had made from files of this machine: it holds nothing of its own."""
        for name in self.stage.names():
            if _LOCAL.fullmatch(name):
                self.stage.unlink(name, missing_ok=True)


class Sites:
    """Opens locations when they are first needed, closes them all at the end."""

    def __init__(self, places: Mapping[str, Place], generation: int) -> None:
        self._places = places
        self._generation = generation
        self._open: dict[str, Site] = {}
        self._stack = ExitStack()
        self._number = 0
        self.mode = _ordinary_mode()
        """The mode of an ordinary new file: 0666 less the umask."""

    def __enter__(self) -> Sites:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def ids(self) -> dict[str, str]:
        """Root -> id of every location that was opened."""
        return {self._places[name].root: site.id for name, site in self._open.items()}

    def site(self, name: str) -> Site:
        """Open a location; make its root and house when they are absent. Raise DiskError."""
        if name not in self._open:
            place = self._places[name]
            with telling(place.root):
                identity = prepare(place.root, place.store, name)
            house = Path(store_of(place.store).house(place.root))
            with ExitStack() as opening:
                root = opening.enter_context(Root.open(Path(place.root)))
                stage = opening.enter_context(Root.open(house / "stage"))
                trash = opening.enter_context(Root.open(house / "trash"))
                self._stack.push(opening.pop_all())
            owner = owner_of(place.root, place.store)
            self._open[name] = Site(name, root, stage, trash, identity, self._generation, owner)
        return self._open[name]

    def trash_name(self) -> str:
        """Return a name for the next file that goes to the trash; never used before."""
        self._number += 1
        return f"{self._generation:06d}-{self._number:06d}"


def give_mode(root: Root, name: str, mode: int) -> None:
    """Give a staged file its mode, where the file system knows modes."""
    fd = root.open_read(name)
    try:
        with contextlib.suppress(PermissionError):
            os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _copy_from(url: str, stage: Root, staged: str) -> None:
    from urllib.parse import unquote, urlsplit

    from reconciler.disk import clone_or_copy

    path = unquote(urlsplit(url).path)
    with telling(path):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise DiskError("not a regular file", where=path)
        clone_or_copy(fd, stage, staged)
    finally:
        os.close(fd)


def _ordinary_mode() -> int:
    return 0o666 & ~_umask()


def _umask() -> int:
    """Return the umask, where it can be told without setting it: that would be seen by other threads of a program."""
    with (
        contextlib.suppress(OSError, StopIteration, ValueError),
        open("/proc/self/status", encoding="ascii", errors="replace") as file,
    ):
        return int(next(line for line in file if line.startswith("Umask:")).split()[1], 8)
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
