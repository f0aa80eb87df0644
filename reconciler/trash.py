"""What waits in the trash, and the only verb that frees bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reconciler import runlog
from reconciler.disk import Root
from reconciler.house import INFO, is_payload
from reconciler.state import ObservedLocation, Trashed
from reconciler.stores import store_of

if TYPE_CHECKING:
    from reconciler.manifest import Loaded
    from reconciler.settings import Settings


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


def empty(
    loaded: Loaded,
    locations: Mapping[str, ObservedLocation],
    files: Sequence[Waiting],
    chosen: Settings | None = None,
) -> int:
    """Free these files, log it, tidy what is left, and return the bytes that came free. Raise DiskError.

    `chosen` are the settings that hold, None: those of environment and files.
    """
    freed = free(files)
    step = {"event": "step", "action": "free"}
    lines = [
        {**step, "location": one.location.name, "path": one.entry.path, "bytes": one.frees} for one in files
    ]  # fmt: skip
    runlog.note(loaded, "gc", lines, chosen)
    tidy(locations.values())
    return freed


def free(files: Iterable[Waiting]) -> int:
    """Remove these files for good and return the bytes that came free. Raise DiskError.

    The file goes before its description; a description that a kill left alone goes with the next `gc`.
    """
    freed = 0
    by_place: dict[str, list[Waiting]] = {}
    for one in files:
        by_place.setdefault(one.location.name, []).append(one)
    for group in by_place.values():
        if group[0].location.by_api:
            _free_served(group)
            continue
        with Root.open(_trash(group[0].location)) as trash:
            for one in group:
                freed += _frees(one.location, one.entry)
                trash.unlink(one.entry.name, missing_ok=True)
                trash.unlink(one.entry.name + INFO, missing_ok=True)
            trash.fsync_dir("")
    return freed


def _free_served(group: Iterable[Waiting]) -> None:
    """Let a server throw away what it kept for us under names of our own; how many bytes that frees, only it knows."""
    from reconciler.ollama.api import Api

    for one in group:
        Api(one.location.root).delete(one.entry.name)


def tidy(locations: Iterable[ObservedLocation]) -> None:
    """Remove descriptions in the trash of readable locations that describe nothing. Raise DiskError."""
    for place in locations:
        folder = _trash(place)
        if place.readable and folder.is_dir():
            with Root.open(folder) as trash:
                sweep(trash)


def sweep(trash: Root) -> None:
    """Remove the descriptions of files that never reached this trash, or have left it. Raise DiskError."""
    names = set(trash.names())
    for name in names:
        payload = name.removesuffix(INFO)
        if name.endswith(INFO) and is_payload(payload) and payload not in names:
            trash.unlink(name, missing_ok=True)


def _trash(place: ObservedLocation) -> Path:
    return Path(store_of(place.store).house(place.root)) / "trash"


def _frees(place: ObservedLocation, entry: Trashed) -> int:
    try:
        found = (_trash(place) / entry.name).lstat()
    except OSError:
        return 0
    return found.st_blocks * 512 if found.st_nlink == 1 else 0
