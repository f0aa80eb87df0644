"""Tell whether a saved plan still fits the world: what was reviewed is what runs, or nothing does. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.errors import Problem
from reconciler.plan import Action, Plan, Step
from reconciler.state import Address


def differences(saved: Plan, now: Plan, *, continued: bool = False) -> tuple[Problem, ...]:
    """Return what is not as it was when `saved` was made; () when it may be applied.

    `now` is the plan made again from the same manifest with the saved plan's pins and selection. A step whose goal is
    reached meanwhile does not count. `continued` says that the registry moved on by this very plan: an apply of it
    that was cut short goes on, and a step may be done in part.
    """
    found: list[Problem] = []
    if saved.manifest_digest != now.manifest_digest:
        found.append(_changed(saved.manifest_path, "the manifest", saved.manifest_digest, now.manifest_digest))
    if saved.lock_digest != now.lock_digest and not _only_completed(saved, now):
        found.append(_changed(saved.lock_path, "the lock", saved.lock_digest, now.lock_digest))
    if saved.registry_serial != now.registry_serial and not continued:
        where = f"{saved.registry_path}"
        found.append(
            _changed(where, "the registry", f"serial {saved.registry_serial}", f"serial {now.registry_serial}")
        )
    if saved.curated != now.curated:
        found.append(_changed(saved.registry_path, "the curated layer", saved.curated or "none", now.curated or "none"))
    return (*found, *_moved(saved, now), *_steps(saved, now, continued))


def _only_completed(saved: Plan, now: Plan) -> bool:
    """Whether the lock differs only by what the saved plan itself resolved, which an apply of it writes first."""
    if not saved.resolved or now.resolved:
        return False
    then = {step.address: _pinned(step) for step in saved.steps if step.after is not None}
    return all(then.get(step.address) in (None, pin) for step in now.steps if (pin := _pinned(step)) is not None)


def _pinned(step: Step) -> tuple[str | None, frozenset[tuple[str, str | None]]] | None:
    """Return what a step says of its variant's pin: the revision, and every path with its digest."""
    if step.after is None or not step.files:
        return None
    return step.after.revision, frozenset((row.path, row.digest) for row in step.files)


def _moved(saved: Plan, now: Plan) -> Iterator[Problem]:
    """Name the locations that are other directories, or other disks, than the plan was made for."""
    for name in sorted({step.address.location for step in saved.changes} & saved.locations.keys()):
        then, there = saved.locations[name], now.locations.get(name)
        if there is None or there.root != then.root:
            yield _changed(name, "the location", then.root, there.root if there else "none")
        elif then.id is not None and there.id != then.id:
            yield _changed(name, "the location", f"id {then.id}", f"id {there.id}")


def _steps(saved: Plan, now: Plan, continued: bool) -> Iterator[Problem]:
    current: dict[Address, list[Step]] = {}
    for step in now.steps:
        current.setdefault(step.address, []).append(step)
    open_paths: set[tuple[str, str]] = set()
    for step in saved.changes:
        there = current.get(step.address, [])
        if any(_is_done(step, other) for other in there) or (step.after is None and not there):
            continue
        if any(_same(step, other) for other in there):
            open_paths.update((step.address.location, row.path) for row in (*step.files, *step.trash))
        elif not (continued and any(_goes_on(step, other) for other in there)):
            yield Problem(str(step.address), f"planned was {_told(step)}, now it would be {_now(there)}", "plan again")
    known = {(reliance.location, reliance.path): reliance.stat for reliance in now.relies_on}
    for reliance in saved.relies_on:
        key = (reliance.location, reliance.path)
        if key in open_paths and key in known and known[key] != reliance.stat:
            yield Problem(f"{reliance.location}: {reliance.path}", "the file is not as it was", "plan again")


def _is_done(saved: Step, now: Step) -> bool:
    return now.action is Action.KEEP and now.blocked is None and saved.after is not None


def _same(saved: Step, now: Step) -> bool:
    if (saved.action, saved.after, saved.renamed_from) != (now.action, now.after, now.renamed_from) or now.blocked:
        return False
    if saved.entry != now.entry:
        return False
    if _leaving(saved) != _leaving(now):
        return False
    if (saved.links, saved.notes, saved.unlinks, saved.unnotes) != (now.links, now.notes, now.unlinks, now.unnotes):
        return False
    rows = [(row.path, row.digest, row.method, row.replaces) for row in saved.files]
    return rows == [(row.path, row.digest, row.method, row.replaces) for row in now.files]


def _goes_on(saved: Step, now: Step) -> bool:
    """Whether a step is what is left of one that was cut off: the same goal, and nothing leaves that was not to."""
    if now.blocked or saved.after is None or now.after != saved.after or now.action not in (saved.action, *_FROM_HERE):
        return False
    if [(row.path, row.digest) for row in saved.files] != [(row.path, row.digest) for row in now.files]:
        return False
    replaced = {row.path for row in saved.files if row.replaces}
    return set(_leaving(now)) <= set(_leaving(saved)) and {row.path for row in now.files if row.replaces} <= replaced


_FROM_HERE = (Action.NORMALIZE,)
"""What is left of a download once all its bytes are here."""


def _leaving(step: Step) -> list[tuple[str, str | None]]:
    return [(row.path, row.digest) for row in step.trash]


def _told(step: Step) -> str:
    return f"{step.action} ({step.reason})"


def _now(steps: list[Step]) -> str:
    return " and ".join(f"blocked: {s.blocked}" if s.blocked else _told(s) for s in steps) or "nothing"


def _changed(where: str, what: str, then: object, now: object) -> Problem:
    return Problem(where, f"{what} changed since the plan was made: {then} then, {now} now", "plan again and review it")
