"""The locations of an apply, held open: root, stage and trash of each, and the verbs that move files between them."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from reconciler.disk import Root, install, link_or_copy, rename
from reconciler.errors import DiskError
from reconciler.house import INFO, prepare
from reconciler.plan import FileRow, Place
from reconciler.state import Address
from reconciler.stores import store_of


@dataclass(frozen=True, slots=True)
class Site:
    """One location, open. The stage and the trash lie in its house, on the same file system."""

    name: str
    root: Root
    stage: Root
    trash: Root

    @property
    def stage_path(self) -> Path:
        """The directory into which downloads go."""
        return self.stage.path


class Sites:
    """Opens locations when they are first needed, closes them all at the end."""

    def __init__(self, places: Mapping[str, Place], generation: int) -> None:
        self._places = places
        self._generation = generation
        self._open: dict[str, Site] = {}
        self._stack = ExitStack()
        self._number = 0
        self.ids: dict[str, str] = {}
        """root -> id of every location that was opened."""

    def __enter__(self) -> Sites:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def site(self, name: str) -> Site:
        """Open a location; make its root and house when they are absent. Raise DiskError."""
        if name not in self._open:
            place = self._places[name]
            self.ids[place.root] = prepare(place.root, place.store, name)
            house = Path(store_of(place.store).house(place.root))
            self._open[name] = Site(
                name,
                self._stack.enter_context(Root.open(Path(place.root))),
                self._stack.enter_context(Root.open(house / "stage")),
                self._stack.enter_context(Root.open(house / "trash")),
            )
        return self._open[name]

    def trash_name(self) -> str:
        """Return a name for the next file that goes to the trash; never used before."""
        self._number += 1
        return f"{self._generation:06d}-{self._number:06d}"

    def bring(self, row: FileRow, site: Site, staged: str) -> None:
        """Make `staged` from bytes of this machine: reflink, else hard link, else copy. Raise DiskError."""
        _discard(site.stage, staged)
        if row.origin.startswith("file:"):
            _copy_from(row.origin, site.stage, staged)
            return
        location, _, path = row.origin.partition(":")
        link_or_copy(self.site(location).root, path, site.stage, staged)

    def twin(self, site: Site, staged: str, name: str) -> None:
        """Give a staged file a second staged name, for a variant that holds the same bytes twice."""
        _discard(site.stage, name)
        link_or_copy(site.stage, staged, site.stage, name)

    def restore(self, row: FileRow, site: Site) -> str:
        """Return the trash name that a row's origin means."""
        return row.origin.removeprefix(f"{site.name}:trash/")

    def place(
        self, site: Site, source: Root, staged: str, row: FileRow, trash: str | None, mode: int | None
    ) -> os.stat_result:
        """Install a verified file under its final name; the old one, if there may be one, goes to the trash."""
        if mode is not None:
            _give_mode(source, staged, mode)
        parent = row.path.rpartition("/")[0]
        if parent:
            site.root.mkdirs(parent)
        return install(source, staged, site.root, row.path, trash=(site.trash, trash) if trash else None)

    def describe(self, site: Site, trash: str, row: FileRow, address: Address, since: float) -> None:
        """Write down what a trashed file was, before it goes."""
        info = {
            "path": row.path, "size": row.size, "digest": row.digest, "since": since,
            "generation": self._generation, "address": str(address),
        }  # fmt: skip
        site.trash.write(trash + INFO, json.dumps(info, sort_keys=True).encode() + b"\n", 0o600)

    def throw(self, site: Site, path: str, trash: str) -> None:
        """Move a file into the trash, and take away the directories that it leaves empty."""
        rename(site.root, path, site.trash, trash, replace=False)
        parent = path.rpartition("/")[0]
        if parent:
            site.root.rmdir_empty_up(parent)

    def forget(self, site: Site, trash: str) -> None:
        """Take away the description of a file that has left the trash."""
        site.trash.unlink(trash + INFO, missing_ok=True)

    def discard_staged(self, site: Site, name: str, trash: str) -> None:
        """Move a staged file into the trash."""
        rename(site.stage, name, site.trash, trash, replace=False)


def _discard(root: Root, name: str) -> None:
    root.unlink(name, missing_ok=True)


def _copy_from(url: str, stage: Root, staged: str) -> None:
    from urllib.parse import unquote, urlsplit

    from reconciler.disk import clone_or_copy, telling

    path = unquote(urlsplit(url).path)
    with telling(path):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise DiskError("not a regular file", where=path)
        clone_or_copy(fd, stage, staged)
    finally:
        os.close(fd)


def _give_mode(root: Root, name: str, mode: int) -> None:
    fd = root.open_read(name)
    try:
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def ordinary_mode() -> int:
    """Return the mode of an ordinary new file: 0666 less the umask."""
    mask = os.umask(0o022)
    os.umask(mask)
    return 0o666 & ~mask
