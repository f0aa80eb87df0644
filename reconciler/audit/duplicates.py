"""The same bytes kept more than once, over all locations, and what linking them would free. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciler.state import Digest, ObservedFile

if TYPE_CHECKING:
    from reconciler.content import Contents, Question

WORTHWHILE = 1 << 20
"""Bytes: what is smaller is only counted unless it is asked for; configurations are alike everywhere."""


class Copy(NamedTuple):
    """One name of the bytes. `variants` are those that a record says hold it; none: nobody's, or another's."""

    location: str
    path: str
    device: int
    inode: int
    variants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """One content that lies in more than one inode. `frees`: bytes that links on each file system would give back.

    Copies that a file system shares by itself (reflinks) look like others: what they hold together is counted too.
    """

    digest: Digest
    size: int
    copies: tuple[Copy, ...]

    @property
    def inodes(self) -> int:
        """How many times the bytes are kept."""
        return len({(copy.device, copy.inode) for copy in self.copies})

    @property
    def frees(self) -> int:
        """What remains once each file system keeps them once."""
        return self.size * (self.inodes - len({copy.device for copy in self.copies}))


class Smaller(NamedTuple):
    """What was left out for its size: contents that are kept twice, what linking them frees, files that might be."""

    contents: int = 0
    frees: int = 0
    unread: int = 0


_NONE = Smaller()


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What is kept twice. `unread` are files that might be: others have their size, and nobody knows their bytes."""

    groups: tuple[Duplicate, ...]
    unread: tuple[Question, ...] = ()
    smaller: Smaller = _NONE

    @property
    def frees(self) -> int:
        """Bytes that linking would free."""
        return sum(group.frees for group in self.groups)


def find(contents: Contents, least: int = WORTHWHILE) -> Duplicates:
    """Group the files of all readable locations by content; those below `least` bytes are only counted."""
    from reconciler.content import Question

    files = list(_files(contents))
    by_size: dict[int, list[tuple[str, ObservedFile]]] = {}
    for location, file in files:
        by_size.setdefault(file.size, []).append((location, file))
    holders = _holders(contents)
    groups: dict[Digest, list[tuple[str, ObservedFile]]] = {}
    unread: dict[tuple[int, int], Question] = {}
    for alike in by_size.values():
        if len({(file.device, file.inode) for _, file in alike}) < 2:
            continue
        for location, file in alike:
            digest = contents.digest_of(location, file, "sha256")
            if digest is None:
                unread.setdefault((file.device, file.inode), Question(location, file, "sha256"))
            else:
                groups.setdefault(digest, []).append((location, file))
    found = [
        Duplicate(digest, same[0][1].size, tuple(_copies(same, holders)))
        for digest, same in groups.items()
        if len({(file.device, file.inode) for _, file in same}) > 1
    ]
    large, small = ([each for each in found if (each.size >= least) is wanted] for wanted in (True, False))
    asked = [each for each in unread.values() if each.file.size >= least]
    return Duplicates(
        tuple(sorted(large, key=lambda each: (-each.frees, -each.size, each.digest))),
        tuple(sorted(asked, key=lambda each: (each.location, each.file.path))),
        Smaller(len(small), sum(each.frees for each in small), len(unread) - len(asked)),
    )


def as_value(found: Duplicates) -> dict[str, Any]:
    """Return what was found as programs read it."""
    return {
        "duplicates": [
            {
                "digest": each.digest,
                "size": each.size,
                "kept": each.inodes,
                "frees": each.frees,
                "copies": [
                    {
                        "location": copy.location, "path": copy.path, "variants": list(copy.variants),
                        "inode": f"{copy.device}:{copy.inode}",
                    }
                    for copy in each.copies
                ],
            }
            for each in found.groups
        ],
        "frees": found.frees,
        "unread": {"files": len(found.unread), "bytes": sum(each.file.size for each in found.unread)},
        "smaller": found.smaller._asdict(),
    }  # fmt: skip


def _files(contents: Contents) -> Iterator[tuple[str, ObservedFile]]:
    for place in contents.locations.values():
        if place.readable and not place.by_api:
            yield from ((place.name, file) for file in place.files.values() if file.size)


def _holders(contents: Contents) -> dict[tuple[str, str], tuple[str, ...]]:
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for held in contents.ours:
        for placed in held.record.files:
            key = (held.location, placed.path)
            found[key] = (*found.get(key, ()), held.record.address.variant)
    return found


def _copies(
    same: Sequence[tuple[str, ObservedFile]], holders: dict[tuple[str, str], tuple[str, ...]]
) -> Iterable[Copy]:
    for location, file in sorted(same, key=lambda each: (each[0], each[1].path)):
        yield Copy(location, file.path, file.device, file.inode, holders.get((location, file.path), ()))
