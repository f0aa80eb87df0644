"""Bring the lock beside a manifest up to date: what it lacks is asked upstream, what nobody declares is dropped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler import lockfile, resolve, runlog
from reconciler.errors import Problem
from reconciler.state import Pin

if TYPE_CHECKING:
    from reconciler.manifest import Loaded
    from reconciler.sources import World


@dataclass(frozen=True, slots=True)
class Locked:
    """A lock that was written at `path`: its `pins`, and those `before`, by variant."""

    path: Path
    pins: Mapping[str, Pin]
    before: Mapping[str, Pin] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    """Variants whose pin is new or another one, sorted."""
    dropped: tuple[str, ...] = ()
    """Variants that were locked and are not declared any more, sorted."""
    problems: tuple[Problem, ...] = ()
    """Why some could not be resolved; what was locked of them is kept."""


def pin(loaded: Loaded, world: World, *, upgrade: bool = False, names: Iterable[str] = ()) -> Locked:
    """Write the lock of a manifest and return it: what is locked stays, unless `upgrade` moves all or the named ones.

    Raise LockfileError for a lock that is damaged and for a name that is not declared, DiskError.
    """
    path = lockfile.path_for(loaded.path)
    lock = lockfile.read(path)
    if upgrade:
        found = resolve.upgrade(loaded, lock, world, names)
    else:
        found = resolve.complete(loaded, lock, world, relist=True)
    old = dict(lock.pins) if lock else {}
    undecided = {name: old[name] for name in found.problems if name in old}
    pins = {**undecided, **found.pins}
    lockfile.write(path, lockfile.Lock(pins=pins))
    dropped = tuple(sorted(old.keys() - loaded.manifest.variants.keys()))
    locked = Locked(path, found.pins, old, tuple(sorted(found.resolved)), dropped, tuple(found.problems.values()))
    runlog.note(loaded, "lock", _lines(locked))
    return locked


def _lines(locked: Locked) -> Iterable[runlog.Line]:
    """Return what the log of runs says: a line for every pin that is another one now, or gone."""
    for name in locked.changed:
        before = locked.before.get(name)
        yield {
            "event": "step", "action": "lock", "variant": name, "from": before.revision if before else None,
            "to": locked.pins[name].revision,
        }  # fmt: skip
    yield from ({"event": "step", "action": "unlock", "variant": name} for name in locked.dropped)
