"""Find bytes that are on this machine already: elsewhere, in the trash, or promised by an earlier step. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from reconciler.content import Contents, Question
from reconciler.plan import Method
from reconciler.state import Digest, Placement, Record, algorithm

WORTH_READING = 1 << 20
"""Files below this size (bytes) are fetched rather than searched for by reading every file of the same size."""


class Provision(NamedTuple):
    """Where bytes come from: the method, and the origin as a file row names it."""

    method: Method
    origin: str


@dataclass
class Shelf:
    """What can be had without the network, by digest; grows as steps promise more."""

    contents: Contents
    promised: dict[Digest, str] = field(default_factory=dict)
    """digest -> `LOCATION:path` of a file that an earlier step of the plan will place."""

    def provide(self, location: str, wanted: Placement) -> Provision:
        """Say how one missing file is best had: from the trash, from elsewhere on this machine, or from its source."""
        digest, url = wanted.artifact.digest, wanted.artifact.url
        trashed = self._trash.pop((location, digest), None)  # a move takes it: nobody else can have it
        if trashed:
            return Provision("move", f"{location}:trash/{trashed}")
        here = self._present.get(digest) or self._sought.get(digest)
        origin = self._nearest(location, wanted.path, here) if here else self.promised.get(digest)
        if origin:
            near = self._device(origin.partition(":")[0]) == self._device(location)
            return Provision("link" if near else "copy", origin)
        if url.startswith("file:"):
            return Provision("copy", url)
        return Provision("fetch", "")

    def promise(self, location: str, wanted: Placement) -> None:
        """Note that a file will be there once the step at hand is done."""
        self.promised.setdefault(wanted.artifact.digest, f"{location}:{wanted.path}")

    def _device(self, location: str) -> int:
        return self.contents.locations[location].device

    def _nearest(self, location: str, path: str, origins: list[str]) -> str:
        device = self._device(location)
        others = [origin for origin in origins if origin != f"{location}:{path}"] or origins
        return min(others, key=lambda origin: (self._device(origin.partition(":")[0]) != device, origin))

    @cached_property
    def _trash(self) -> dict[tuple[str, Digest], str]:
        found: dict[tuple[str, Digest], str] = {}
        for name, place in sorted(self.contents.locations.items()):
            for entry in sorted(place.trash, key=lambda e: (e.generation, e.name)):
                if place.readable and entry.digest is not None:
                    found[(name, entry.digest)] = entry.name
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

    def candidates(self, wanted: Placement) -> Iterator[Question]:
        """Name the unread files that could hold the wanted bytes: the same size, and worth reading."""
        artifact = wanted.artifact
        kind = algorithm(artifact.digest)
        if artifact.size < WORTH_READING or artifact.digest in self._present or artifact.digest in self._sought:
            return
        for location, file, _ in self._by_size.get(artifact.size, ()):
            if self.contents.digest_of(location, file, kind) is None:
                yield Question(location, file, kind)
