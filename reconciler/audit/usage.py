"""What the bytes are: by location, format, family and quant, shared ones counted once; what could be freed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciler.audit import duplicates
from reconciler.detect.rules import is_unfinished
from reconciler.naming import family_of

if TYPE_CHECKING:
    from reconciler.content import Contents, Held
    from reconciler.state import ObservedLocation, Pin, Placed

BY = ("location", "format", "family", "quant")
"""What managed bytes are added up by."""

_Key = tuple[int | str, int | str]
"""(device, inode), or (location, path) where nothing was seen: what tells stored bytes apart."""


class Share(NamedTuple):
    """One row: variants, names of files, and the bytes that they take; an inode counts once in a row."""

    name: str
    variants: int
    files: int
    bytes: int


class Disk(NamedTuple):
    """A location: all its files, whoever manages them. `unmanaged` bytes are nobody's."""

    name: str
    store: str
    readable: bool
    files: int
    bytes: int
    managed: int
    unmanaged: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """The account. `total` counts every inode once; `shared` are the bytes that second names do not take."""

    disks: tuple[Disk, ...]
    shares: Mapping[str, tuple[Share, ...]]
    variants: int
    total: int
    managed: int
    shared: int
    reclaimable: Mapping[str, int]
    """`trash`, `orphans`, `partials`, `duplicates` -> bytes."""
    unread: int
    """Bytes of files that may be duplicates, and whose content nobody knows."""


def titles_of(pins: Mapping[str, Pin]) -> dict[str, str]:
    """Return the title of every variant that Civitai only numbers, as the lock has it."""
    told = {name: pin.about.get("civitai") for name, pin in pins.items()}
    titles = {name: about.get("model") for name, about in told.items() if isinstance(about, Mapping)}
    return {name: title for name, title in titles.items() if isinstance(title, str) and title}


def account(contents: Contents, trash: int, titles: Mapping[str, str] = MappingProxyType({})) -> Usage:
    """Add everything up.

    `trash`: the bytes that freeing all trash would give back. `titles`: the family of variants whose source does not
    tell it.
    """
    here = [place for place in contents.locations.values() if place.readable]
    files = {(place.name, path): file for place in here if not place.by_api for path, file in place.files.items()}
    inodes: dict[_Key, int] = {(file.device, file.inode): file.size for file in files.values()}
    served = {(place.name, path): file for place in here if place.by_api for path, file in place.files.items()}
    inodes |= {key: file.size for key, file in served.items()}
    apparent = sum(file.size for file in (*files.values(), *served.values()))
    twice = duplicates.find(contents)

    def key(location: str, placed: Placed) -> _Key:
        file = files.get((location, placed.path))
        return (file.device, file.inode) if file else (location, placed.path)

    def family(held: Held) -> str:
        return titles.get(held.record.address.variant) or family_of(held.record.pin.source)

    labels = {by: family if by == "family" else _LABELS[by] for by in BY}
    managed = {key(held.location, placed): placed.size for held in contents.ours for placed in held.record.files}
    return Usage(
        tuple(_disk(contents, place) for place in contents.locations.values()),
        {by: _shares(contents.ours, label, key) for by, label in labels.items()},
        len(contents.ours),
        sum(inodes.values()),
        sum(managed.values()),
        apparent - sum(inodes.values()),
        {
            "trash": trash,
            "orphans": sum(_orphans(place) for place in contents.locations.values()),
            "partials": sum(_partials(contents, place) for place in contents.locations.values()),
            "duplicates": twice.frees,
        },
        sum(each.file.size for each in twice.unread),
    )


def as_value(usage: Usage) -> dict[str, Any]:
    """Return the account as programs read it; bytes throughout."""
    return {
        "variants": usage.variants,
        "bytes": usage.total,
        "managed": usage.managed,
        "shared": usage.shared,
        "locations": {disk.name: {k: v for k, v in disk._asdict().items() if k != "name"} for disk in usage.disks},
        "by": {by: {share.name: _numbers(share) for share in shares} for by, shares in usage.shares.items()},
        "reclaimable": {**usage.reclaimable, "unread": usage.unread},
    }


def _numbers(share: Share) -> dict[str, int]:
    return {"variants": share.variants, "files": share.files, "bytes": share.bytes}


_LABELS: Mapping[str, Callable[[Held], str]] = {
    "location": lambda held: held.location,
    "format": lambda held: held.record.attributes.format or "-",
    "quant": lambda held: held.record.attributes.quant or "-",
}


def _shares(
    ours: Iterable[Held], label: Callable[[Held], str], key: Callable[[str, Placed], _Key]
) -> tuple[Share, ...]:
    rows: dict[str, list[Held]] = {}
    for held in ours:
        rows.setdefault(label(held), []).append(held)
    shares = []
    for name, helds in rows.items():
        sizes = {key(held.location, placed): placed.size for held in helds for placed in held.record.files}
        names = {(held.location, placed.path) for held in helds for placed in held.record.files}
        shares.append(Share(name, len(helds), len(names), sum(sizes.values())))
    return tuple(sorted(shares, key=lambda share: (-share.bytes, share.name)))


def _disk(contents: Contents, place: ObservedLocation) -> Disk:
    everything: dict[tuple[object, object], int] = {}
    mine: dict[tuple[object, object], int] = {}
    nobodys: dict[tuple[object, object], int] = {}
    notes = {note.path for held in (*contents.ours, *contents.theirs) if held.location == place.name
             for note in held.record.notes}  # fmt: skip
    for path, file in place.files.items() if place.readable else ():
        inode = (place.name, path) if place.by_api else (file.device, file.inode)
        everything[inode] = file.size
        if (place.name, path) in contents.placed:
            mine[inode] = file.size
        elif (place.name, path) not in contents.claimed and path not in notes:
            nobodys[inode] = file.size
    return Disk(
        place.name, place.store, place.readable, len(place.files) if place.readable else 0, sum(everything.values()),
        sum(mine.values()), sum(size for inode, size in nobodys.items() if inode not in mine), place.free_bytes,
    )  # fmt: skip


def _orphans(place: ObservedLocation) -> int:
    if not place.readable:
        return 0
    return sum(place.files[path].size for path in set(place.orphans) if path in place.files)


def _partials(contents: Contents, place: ObservedLocation) -> int:
    """Return the bytes of what broken-off downloads left: ours in the stage, those of other tools beside the models."""
    if not place.readable:
        return 0
    others = [
        file.size
        for path, file in place.files.items()
        if is_unfinished(path) and (place.name, path) not in contents.placed and path not in place.orphans
    ]
    return sum(staged.size for staged in place.staged) + sum(others)
