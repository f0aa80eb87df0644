"""Tell what is known about the bytes at a path: right, missing, older, corrupt, or somebody else's. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, lru_cache
from typing import NamedTuple

from reconciler.state import (
    Algorithm,
    Digest,
    Known,
    Link,
    Note,
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
        """(location, path) -> the record of another manifest that holds it, as a file or a note."""
        notes = {(held.location, note.path): held for held in self.theirs for note in held.record.notes}
        return notes | {(held.location, placed.path): held for held in self.theirs for placed in held.record.files}

    @cached_property
    def _recorded(self) -> Mapping[tuple[str, str], tuple[Placed, ...]]:
        """(location, path) -> what every record says of it: several may hold one file, each as it saw it last."""
        found: dict[tuple[str, str], tuple[Placed, ...]] = {}
        for held in (*self.ours, *self.theirs):
            for placed in held.record.files:
                key = (held.location, placed.path)
                found[key] = (*found.get(key, ()), placed)
        return found

    @cached_property
    def _extras(self) -> frozenset[tuple[str, str]]:
        """(location, path) of every link and note that this manifest recorded."""
        links = {(held.location, link.path) for held in self.ours for link in held.record.links}
        return frozenset(links | {(held.location, note.path) for held in self.ours for note in held.record.notes})

    def digest_of(self, location: str, file: ObservedFile, kind: Algorithm) -> Digest | None:
        """Return the digest of a file's bytes when it is known; what was read last wins over what was recorded."""
        learnt = self.known.get(identity_key(file))
        if learnt is not None and kind in learnt:
            return learnt[kind]
        for placed in self._recorded.get((location, file.path), ()):
            if _as_recorded(placed, file) and algorithm(placed.digest) == kind:
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

    def note_situation(self, location: str, note: Note) -> Situation | None:
        """Tell what lies at the path of a wanted note; None when the file must be read first."""
        file = self.locations[location].files.get(note.path)
        if file is None:
            return Situation.MISSING if self.obstacle(location, note.path) is None else Situation.FOREIGN
        if file.size == len(note.text.encode()):
            known = self.digest_of(location, file, "sha256")
            if known is None:
                return None
            if known == note_digest(note):
                return Situation.RIGHT
        return Situation.OLD if (location, note.path) in self._extras else Situation.FOREIGN

    def link_situation(self, location: str, link: Link) -> Situation:
        """Tell what lies at the path of a wanted link."""
        place = self.locations[location]
        target = place.links.get(link.path)
        if target == link.target:
            return Situation.RIGHT
        if target is not None:
            return Situation.OLD if (location, link.path) in self._extras else Situation.FOREIGN
        free = link.path not in place.files and self.obstacle(location, link.path) is None
        return Situation.MISSING if free else Situation.FOREIGN

    def hidden(self, location: str, path: str) -> str | None:
        """Return what keeps anyone from knowing what lies at a path: it, or a directory above it, cannot be read."""
        others = self.locations[location].others
        while path and others:
            why = others.get(path, "")
            if why.startswith("cannot be read"):
                return f"{path} {why}"
            path = path.rpartition("/")[0]
        return None

    def whole(self, location: str, path: str) -> str:
        """Return the absolute path: the same for one file that is seen from two locations, one below the other."""
        return f"{self.locations[location].root}/{path}"

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


def note_digest(note: Note) -> Digest:
    """Return the digest of the file that a note is."""
    return _text_digest(note.text)


@lru_cache(maxsize=1 << 16)  # a plan asks for each note many times
def _text_digest(text: str) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")


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
