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
    that was cut short goes on.
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
    return (*found, *_steps(saved, now))


def _only_completed(saved: Plan, now: Plan) -> bool:
    """Whether the lock differs only by what the saved plan itself resolved, which an apply of it writes first."""
    return bool(saved.resolved) and not now.resolved


def _steps(saved: Plan, now: Plan) -> Iterator[Problem]:
    current: dict[Address, list[Step]] = {}
    for step in now.steps:
        current.setdefault(step.address, []).append(step)
    for step in saved.changes:
        there = current.get(step.address, [])
        if any(_is_done(step, other) for other in there) or (step.after is None and not there):
            continue
        if not any(_same(step, other) for other in there):
            yield Problem(str(step.address), f"planned was {_told(step)}, now it would be {_now(there)}", "plan again")
    moved = {r: r for r in now.relies_on}
    known = {(r.location, r.path): r.stat for r in moved}
    done = {s.address for s in saved.changes for o in current.get(s.address, []) if _is_done(s, o)}
    open_paths = {
        (s.address.location, row.path) for s in saved.changes if s.address not in done for row in (*s.files, *s.trash)
    }
    for reliance in saved.relies_on:
        key = (reliance.location, reliance.path)
        if key in open_paths and key in known and known[key] != reliance.stat:
            yield Problem(f"{reliance.location}: {reliance.path}", "the file is not as it was", "plan again")


def _is_done(saved: Step, now: Step) -> bool:
    return now.action is Action.KEEP and now.blocked is None and saved.after is not None


def _same(saved: Step, now: Step) -> bool:
    if (saved.action, saved.after, saved.renamed_from) != (now.action, now.after, now.renamed_from) or now.blocked:
        return False
    rows = [(row.path, row.digest, row.method, row.replaces) for row in saved.files]
    return rows == [(row.path, row.digest, row.method, row.replaces) for row in now.files]


def _told(step: Step) -> str:
    return f"{step.action} ({step.reason})"


def _now(steps: list[Step]) -> str:
    return " and ".join(f"blocked: {s.blocked}" if s.blocked else _told(s) for s in steps) or "nothing"


def _changed(where: str, what: str, then: object, now: object) -> Problem:
    return Problem(where, f"{what} changed since the plan was made: {then} then, {now} now", "plan again and review it")
