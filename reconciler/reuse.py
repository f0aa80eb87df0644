"""Find bytes that are on this machine already: elsewhere, in the trash, or promised by an earlier step. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from reconciler.content import Contents, Question
from reconciler.plan import FileRow, Method
from reconciler.state import Address, Digest, ObservedFile, Placement, Record, Trashed, algorithm

WORTH_READING = 1 << 20
"""Files below this size (bytes) are fetched rather than searched for by reading every file of the same size."""


class Provision(NamedTuple):
    """Where bytes come from: the method, and the origin as a file row names it."""

    method: Method
    origin: str


@dataclass
class Shelf:
    """What can be had without the network, by digest; grows as steps promise more.

    `leaving` are origins (`LOCATION:path`) that may be gone or other bytes by the time that another step looks there,
    with the one address whose step still finds them.
    """

    contents: Contents
    leaving: Mapping[str, Address] = field(default_factory=dict)
    joining: frozenset[str] = frozenset()
    _promised: dict[Digest, list[str]] = field(default_factory=dict)
    _places: set[str] = field(default_factory=set)

    def provide(self, address: Address, wanted: Placement) -> Provision:
        """Say how one missing file is best had: from the trash, from elsewhere on this machine, or from its source."""
        digest, url = wanted.artifact.digest, wanted.artifact.url
        trashed = self._trash.get((address.location, digest))
        if trashed:
            # The file that lay here is itself again, though another of the same bytes may have left later.
            entry = max(trashed, key=lambda each: (each.path == wanted.path, each.generation, each.name))
            return Provision("move", f"{address.location}:trash/{entry.name}")
        origin = self._nearest(address, digest)
        if origin:
            near = self._device(origin.partition(":")[0]) == self._device(address.location)
            return Provision("link" if near else "copy", origin)
        if url.startswith("file:") and unquote(urlsplit(url).path) != self._path(address.location, wanted.path):
            return Provision("copy", url)
        return Provision("fetch", "")

    def twin(self, address: Address, wanted: Placement) -> str:
        """Return the managed file of which a managed copy may become another name, '' for none.

        Of all that hold these bytes on one file system the first stays, and the others follow it.
        """
        if address.location not in self.joining or wanted.artifact.size < WORTH_READING:
            return ""
        here, file = f"{address.location}:{wanted.path}", self._file(address.location, wanted.path)
        key = (address.location, wanted.path)
        if file is None or key not in self.contents.placed or key in self.contents.claimed:
            return ""  # somebody else's, or somebody else's too
        first = min(
            (
                origin
                for origin in self._present.get(wanted.artifact.digest, ())
                if origin.partition(":")[0] in self.joining
                and self._device(origin.partition(":")[0]) == self._device(address.location)
                and self.leaving.get(origin, address) == address
            ),
            default=here,
        )
        other = self._file(first.partition(":")[0], first.partition(":")[2])
        return first if first < here and other is not None and other.inode != file.inode else ""

    def _file(self, location: str, path: str) -> ObservedFile | None:
        return self.contents.locations[location].files.get(path)

    def places(self, location: str, wanted: Placement) -> bool:
        """Whether an earlier step of the plan places this very file."""
        return f"{location}:{wanted.path}" in self._places

    def promise(self, location: str, row: FileRow) -> None:
        """Note that a file will be there once the step at hand is done."""
        assert row.digest is not None
        origin = f"{location}:{row.path}"
        self._promised.setdefault(row.digest, []).append(origin)
        self._places.add(origin)
        if row.method == "move":  # a move takes it: nobody else can have it
            held = self._trash.get((location, row.digest), [])
            held[:] = [each for each in held if row.origin != f"{location}:trash/{each.name}"]

    def _is_beyond(self, location: str, origin: str) -> bool:
        """Whether no bytes can be had from an origin: a server that is reached by its API shares with itself alone."""
        there = origin.partition(":")[0]
        served = (self.contents.locations[location].by_api, self.contents.locations[there].by_api)
        return any(served) and there != location

    def _path(self, location: str, path: str) -> str:
        """Return the absolute path of a file; one that comes from there and is gone cannot be copied from there."""
        return f"{self.contents.locations[location].root}/{path}"

    def _device(self, location: str) -> int:
        return self.contents.locations[location].device

    def _nearest(self, address: Address, digest: Digest) -> str:
        """Return the best origin: on the same file system, managed before promised before anybody's; '' for none."""
        device = self._device(address.location)
        best: tuple[bool, int, str] | None = None
        for rank, origins in enumerate((self._present, self._promised, self._sought)):
            for origin in origins.get(digest, ()):
                if self._is_beyond(address.location, origin):
                    continue
                if origins is self._promised or self.leaving.get(origin, address) == address:
                    found = (self._device(origin.partition(":")[0]) != device, rank, origin)
                    best = found if best is None else min(best, found)
        return best[2] if best else ""

    @cached_property
    def _trash(self) -> dict[tuple[str, Digest], list[Trashed]]:
        found: dict[tuple[str, Digest], list[Trashed]] = {}
        for name, place in self.contents.locations.items():
            for entry in place.trash:
                if place.readable and entry.digest is not None:
                    found.setdefault((name, entry.digest), []).append(entry)
        return found

    @cached_property
    def _present(self) -> dict[Digest, list[str]]:
        """Files whose bytes are recorded by a manifest and untouched."""
        found: dict[Digest, list[str]] = {}
        for held in (*self.contents.ours, *self.contents.theirs):
            if self.contents.locations[held.location].readable:
                for digest, origin in self._intact(held.record, held.location):
                    found.setdefault(digest, []).append(origin)
        return found

    def _intact(self, record: Record, location: str) -> Iterator[tuple[Digest, str]]:
        for placed in record.files:
            if self.contents.untouched(location, placed):
                yield placed.digest, f"{location}:{placed.path}"

    @cached_property
    def _by_size(self) -> dict[int, list[Question]]:
        found: dict[int, list[Question]] = {}
        for name, place in sorted(self.contents.locations.items()):
            for path in sorted(place.files) if place.readable else ():
                file = place.files[path]
                found.setdefault(file.size, []).append(Question(name, file, "sha256"))
        return found

    @cached_property
    def _sought(self) -> dict[Digest, list[str]]:
        """Any other file whose digest has been learnt, whoever put it there."""
        found: dict[Digest, list[str]] = {}
        for questions in self._by_size.values():
            for location, file, _ in questions:
                for digest in self.contents.known.get((file.device, file.inode, file.size, file.mtime_ns), {}).values():
                    found.setdefault(digest, []).append(f"{location}:{file.path}")
        return found

    def candidates(self, address: Address, wanted: Placement) -> Iterator[Question]:
        """Name the unread files that could hold the wanted bytes: the same size, and worth reading."""
        artifact = wanted.artifact
        kind = algorithm(artifact.digest)
        if artifact.size < WORTH_READING or self._nearest(address, artifact.digest):
            return
        for location, file, _ in self._by_size.get(artifact.size, ()):
            if self.contents.digest_of(location, file, kind) is None:
                yield Question(location, file, kind)
