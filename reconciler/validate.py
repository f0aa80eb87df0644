"""Judge a manifest and the lock beside it by what they say, asking nobody: no network, no location, no registry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.errors import InputError, LockfileError, Problem
from reconciler.inert import inert

if TYPE_CHECKING:
    from reconciler.lockfile import Lock
    from reconciler.manifest import Loaded


@dataclass(frozen=True, slots=True)
class Validation:
    """Everything that was found. `loaded` is None when the manifest cannot be taken, `lock` when there is none."""

    problems: tuple[Problem, ...]
    warnings: tuple[str, ...] = ()
    loaded: Loaded | None = None
    lock_path: Path | None = None
    lock: Lock | None = None

    @property
    def is_valid(self) -> bool:
        """Whether nothing is wrong; warnings do not count."""
        return not self.problems


def validate(manifest: str | None) -> Validation:
    """Return what is right and wrong with a manifest and its lock; every problem of both. Raises nothing for them."""
    from reconciler.manifest import load

    try:
        loaded = load(manifest)
    except InputError as error:
        return Validation((*error.problems, *_damage_beside(manifest)))
    return _with_lock(loaded)


def _with_lock(loaded: Loaded) -> Validation:
    from reconciler import lockfile
    from reconciler.manifestfiles import command
    from reconciler.resolve import gaps

    path = lockfile.path_for(loaded.path)
    try:
        lock = lockfile.read(path)
    except LockfileError as error:
        return Validation(error.problems, loaded.warnings, loaded, path)
    if lock is None:
        return Validation((), loaded.warnings, loaded, path)
    problems, warnings = _placed(loaded, lock)
    surplus = sorted(lock.pins.keys() - loaded.manifest.variants.keys())
    if surplus:
        shown = ", ".join(map(inert, surplus[:3])) + (f" and {len(surplus) - 3} more" if len(surplus) > 3 else "")
        how = command("lock", loaded.path)
        warnings = (*warnings, f"{path}: not declared any more: {shown} (`{how}` drops what is too much)")
    return Validation((*gaps(loaded, lock.pins), *problems), (*loaded.warnings, *warnings), loaded, path, lock)


def _placed(loaded: Loaded, lock: Lock) -> tuple[tuple[Problem, ...], tuple[str, ...]]:
    """Place what is locked, as a plan would: files tell whether a claim, a policy or a destination is broken."""
    from reconciler.desired import desire
    from reconciler.resolve import fits, requests

    fitting = {
        each.variant: lock.pins[each.variant]
        for each in requests(loaded)
        if each.variant in lock.pins and fits(lock.pins[each.variant], each)
    }
    wanted = desire(loaded, fitting, {})
    blocked = [Problem(d.where, f"{d.address.variant}: {d.blocked}") for d in wanted.variants if d.blocked]
    unplaced = [
        Problem(loaded.where("variants", entry.variant), f"{entry.variant}: {entry.why}")
        for entry in wanted.undecided
        if entry.variant in fitting
    ]
    return (*blocked, *unplaced), wanted.warnings


def _damage_beside(manifest: str | None) -> tuple[Problem, ...]:
    """Return what is wrong with the lock of a manifest that cannot be taken itself."""
    from reconciler import lockfile
    from reconciler.manifestfiles import find

    try:
        lockfile.read(lockfile.path_for(Path(find(manifest).path).absolute()))
    except LockfileError as error:
        return error.problems
    except (InputError, OSError):
        pass  # nothing there to have a lock
    return ()
