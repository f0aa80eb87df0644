"""What waits in the trash, and the only verb that frees bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from reconciler.disk import Root
from reconciler.house import INFO
from reconciler.state import ObservedLocation, Trashed
from reconciler.stores import store_of


class Waiting(NamedTuple):
    """A file in a location's trash. `frees`: bytes that its removal gives back, 0 while another name has them."""

    location: ObservedLocation
    entry: Trashed
    frees: int


def waiting(locations: Mapping[str, ObservedLocation], before: float) -> Iterator[Waiting]:
    """Yield what has been in the trash of readable locations since before a time (unix seconds), oldest first."""
    for place in locations.values():
        if place.readable:
            for entry in sorted(place.trash, key=lambda entry: (entry.since, entry.name)):
                if entry.since <= before:
                    yield Waiting(place, entry, _frees(place, entry))


def free(files: Iterable[Waiting]) -> int:
    """Remove these files for good and return the bytes that came free. Raise DiskError."""
    freed = 0
    for one in files:
        with Root.open(_trash(one.location)) as trash:
            freed += _frees(one.location, one.entry)
            trash.unlink(one.entry.name, missing_ok=True)
            trash.unlink(one.entry.name + INFO, missing_ok=True)
    return freed


def _trash(place: ObservedLocation) -> Path:
    return Path(store_of(place.store).house(place.root)) / "trash"


def _frees(place: ObservedLocation, entry: Trashed) -> int:
    try:
        found = (_trash(place) / entry.name).lstat()
    except OSError:
        return 0
    return found.st_blocks * 512 if found.st_nlink == 1 else 0
