"""Tell what is known about the bytes at a path: right, missing, older, corrupt, or somebody else's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import NamedTuple

from reconciler.state import (
    Algorithm,
    Digest,
    Known,
    ObservedFile,
    ObservedLocation,
    Placed,
    Placement,
    Record,
    algorithm,
    identity_key,
)


class Held(NamedTuple):
    """A record with the label of the location that it lies in now: locations are told apart by root, not by name."""

    record: Record
    location: str


class Situation(Enum):
    """What a declared path holds."""

    RIGHT = "right"
    MISSING = "missing"
    OLD = "old"
    """Ours, as we recorded it, and not what is wanted now."""
    CORRUPT = "corrupt"
    """Ours, and neither what we recorded nor what is wanted."""
    FOREIGN = "foreign"


class Question(NamedTuple):
    """A file that must be read before a plan can be made."""

    location: str
    file: ObservedFile
    algorithm: Algorithm


@dataclass(frozen=True)
class Contents:
    """Everything that is known about bytes: where they lie by stat, what was recorded, what hashing has taught us."""

    locations: Mapping[str, ObservedLocation]
    ours: tuple[Held, ...]
    theirs: tuple[Held, ...]
    """Records of other manifests in the same registry."""
    known: Known

    @cached_property
    def placed(self) -> Mapping[tuple[str, str], Placed]:
        """(location, path) -> what this manifest recorded there."""
        return {(held.location, placed.path): placed for held in self.ours for placed in held.record.files}

    @cached_property
    def claimed(self) -> Mapping[tuple[str, str], Held]:
        """(location, path) -> the record of another manifest that holds it."""
        return {(held.location, placed.path): held for held in self.theirs for placed in held.record.files}

    @cached_property
    def _recorded(self) -> Mapping[tuple[str, str], Placed]:
        theirs = {(held.location, placed.path): placed for held in self.theirs for placed in held.record.files}
        return {**theirs, **self.placed}

    def digest_of(self, location: str, file: ObservedFile, kind: Algorithm) -> Digest | None:
        """Return the digest of a file's bytes when it is known; what was read last wins over what was recorded."""
        learnt = self.known.get(identity_key(file))
        if learnt is not None and kind in learnt:
            return learnt[kind]
        placed = self._recorded.get((location, file.path))
        if placed is not None and algorithm(placed.digest) == kind and _as_recorded(placed, file):
            return placed.digest
        return None

    def untouched(self, location: str, placed: Placed) -> bool | None:
        """Whether a placed file's bytes are as recorded; None when only reading it can tell, False when it is gone."""
        file = self.locations[location].files.get(placed.path)
        if file is None or file.size != placed.size:
            return False
        digest = self.digest_of(location, file, algorithm(placed.digest))
        return None if digest is None else digest == placed.digest

    def situation(self, location: str, wanted: Placement) -> Situation | None:
        """Tell what lies at a wanted path; None when the file must be read first."""
        place = self.locations[location]
        file = place.files.get(wanted.path)
        if file is None:
            return Situation.MISSING if self.obstacle(location, wanted.path) is None else Situation.FOREIGN
        artifact = wanted.artifact
        if file.size == artifact.size:
            digest = self.digest_of(location, file, algorithm(artifact.digest))
            if digest is None:
                return None
            if digest == artifact.digest:
                return Situation.RIGHT
        placed = self.placed.get((location, wanted.path))
        if placed is None:
            return Situation.FOREIGN
        untouched = self.untouched(location, placed)
        if untouched is None:
            return None
        return Situation.OLD if untouched and placed.digest != artifact.digest else Situation.CORRUPT

    def obstacle(self, location: str, path: str) -> str | None:
        """Return what stands at or above a path where a file should go, in words; None when the way is free."""
        place = self.locations[location]
        if path in place.links:
            return f"a symbolic link to {place.links[path]}"
        if path in place.others:
            return place.others[path]
        if path in self._directories(location):
            return "a directory"
        parent = path.rpartition("/")[0]
        while parent:
            if parent in place.links:
                return f"{parent}, a symbolic link to {place.links[parent]}"
            if parent in place.others:
                return f"{parent}, {place.others[parent]}"
            if parent in place.files:
                return f"{parent}, a file"
            parent = parent.rpartition("/")[0]
        return None

    def _directories(self, location: str) -> frozenset[str]:
        found = self._directory_cache.get(location)
        if found is None:
            place = self.locations[location]
            found = frozenset(_ancestors([*place.files, *place.links])) | set(place.empty_dirs)
            self._directory_cache[location] = found
        return found

    @cached_property
    def _directory_cache(self) -> dict[str, frozenset[str]]:
        return {}


def _as_recorded(placed: Placed, file: ObservedFile) -> bool:
    return (placed.size, placed.mtime_ns, placed.inode) == (file.size, file.mtime_ns, file.inode)


def _ancestors(paths: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for path in paths:
        parent = path.rpartition("/")[0]
        while parent and parent not in seen:
            seen.add(parent)
            yield parent
            parent = parent.rpartition("/")[0]
