"""Carry out a plan, and go back; mend, forget, and free what waits in the trash."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciler.api.ground import (
    Cancel,
    Flags,
    ManifestLike,
    Progress,
    hold,
    loaded_of,
    many,
    means,
    say,
    settings_of,
    stopping,
    telling,
)
from reconciler.plan import Plan, Selection

if TYPE_CHECKING:
    from reconciler.holding import Held
    from reconciler.manifest import Loaded
    from reconciler.receipt import Receipt
    from reconciler.render.progress import Display
    from reconciler.settings import Settings
    from reconciler.state import Address
    from reconciler.survey import Means
    from reconciler.verify import Verification


class Repaired(NamedTuple):
    """What was found before a repair and after it, and what it did; `receipt` is None where there was nothing to do."""

    before: Verification
    receipt: Receipt | None
    after: Verification


class Forgotten(NamedTuple):
    """The addresses whose records are gone, the variants that are declared no more, and the files that were written."""

    addresses: tuple[Address, ...]
    variants: tuple[str, ...]
    written: tuple[Path, ...]


class Freed(NamedTuple):
    """What `gc` removed for good: how many files, and the bytes that came free."""

    files: int
    bytes: int


def apply(
    what: Plan | ManifestLike = None,
    *,
    approve: str | Iterable[str] | None = None,
    target: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    allow_remove: str | Iterable[str] = (),
    locked: bool = False,
    offline: bool = False,
    settings: Flags = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Receipt:
    """Carry out a plan exactly as it was reviewed, or that of a manifest, made now. Calling it is the approval.

    `approve` limits what may run to some of `download`, `normalize`, `remove`, `prune`; the other steps are told as
    blocked. A step that fails is told in the receipt and stops only those that need it: look at `receipt.exit_code`,
    or at its `outcomes`. Ctrl-C gives a receipt with `interrupted`; the next apply goes on. So does `cancel`, once it
    says True: it is asked before every step, and a few times a second while bytes come.
    Raise StaleError when the world is not as it was when the plan was made, BusyError when another apply runs,
    DiskError when not even the journal can be written; nothing is touched then.
    """
    from reconciler.apply import resolved_lock
    from reconciler.approving import actions, without_unapproved
    from reconciler.doing import plan_now

    approved = None if approve is None else actions(map(str, many(approve)), "approve")
    saved = what if isinstance(what, Plan) else None
    loaded = loaded_of(what.manifest_path if isinstance(what, Plan) else what)
    chosen = settings_of(loaded, settings)
    wanted = saved.selection if saved else Selection(many(target), many(exclude), many(allow_remove))
    with means(loaded, chosen, progress, offline=offline) as given, hold(loaded, given, "apply", progress) as held:
        plan = without_unapproved(plan_now(saved, loaded, held, given, wanted, locked=locked), approved)
        lock = resolved_lock(Path(plan.lock_path), plan, loaded.manifest.variants)
        return _done(plan, loaded, held, given, chosen, progress, cancel, lock=lock)


def plan_undo(
    manifest: ManifestLike = None,
    *,
    to: int | None = None,
    settings: Flags = None,
    progress: Progress | None = None,
) -> Plan:
    """Return the plan that `undo` would carry out. Raise InputError when there is nothing to undo."""
    from reconciler import back
    from reconciler.holding import open_registry

    loaded = loaded_of(manifest)
    tell = telling(progress)
    with means(loaded, settings_of(loaded, settings), progress) as given:
        return back.plan_undo(loaded, open_registry(loaded, tell), given, to, tell)[0]


def undo(
    manifest: ManifestLike = None,
    *,
    to: int | None = None,
    settings: Flags = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Receipt:
    """Bring disk and registry back to before the last generation that changed anything, or all down to before `to`.

    The manifest and the lock stay as they are. An undo is a generation too. Raise InputError when there is nothing to
    undo, BusyError, DiskError.
    """
    from reconciler import back

    loaded = loaded_of(manifest)
    chosen = settings_of(loaded, settings)
    with means(loaded, chosen, progress) as given, hold(loaded, given, "undo", progress) as held:
        plan, _ = back.plan_undo(loaded, held.registry, given, to, telling(progress))
        return _done(plan, loaded, held, given, chosen, progress, cancel)


def repair(
    manifest: ManifestLike = None,
    *,
    variants: str | Iterable[str] = (),
    full: bool = False,
    settings: Flags = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Repaired:
    """Verify, and bring back what is corrupt or missing exactly as it was recorded; bad bytes go to the trash.

    `variants` are globs over VARIANT or VARIANT@LOCATION; `full` reads every byte again. Raise InputError for a glob
    that names nothing, BusyError, DiskError.
    """
    from reconciler.registry import load
    from reconciler.survey import look
    from reconciler.verifying import check, plan_repair

    loaded = loaded_of(manifest)
    chosen = settings_of(loaded, settings)
    with means(loaded, chosen, progress) as given, hold(loaded, given, "verify", progress) as held:
        before = check(look(loaded, held.registry), given, many(variants), full=full)
        plan = plan_repair(before, loaded, held.registry, given) if before.bad else None
        if plan is None or not plan.changes:
            return Repaired(before, None, before)
        receipt = _done(plan, loaded, held, given, chosen, progress, cancel)
        mended = sorted({str(finding.address) for finding in before.bad})
        after = check(look(loaded, load(held.registry.path)), given, mended, full=False)
        return Repaired(before, receipt, after)


def forget(
    names: str | Iterable[str],
    manifest: ManifestLike = None,
    *,
    record_only: bool = False,
    settings: Flags = None,
    progress: Progress | None = None,
) -> Forgotten:
    """Stop managing variants: they leave manifest, roles, lock and registry; the files stay, and are nobody's.

    `names` are VARIANT, VARIANT@LOCATION (its record there, and the declaration if that is where it is declared) or
    globs over either. With `record_only` manifest and lock stay, and what is declared is adopted again by the next
    apply. Raise InputError for a name that is none, ManifestError for a file that cannot be edited safely, BusyError.
    """
    from reconciler import forgetting

    loaded = loaded_of(manifest)
    chosen = settings_of(loaded, settings)
    with (
        means(loaded, chosen, progress, offline=True) as given,
        hold(loaded, given, "forget", progress) as held,
    ):
        farewell = forgetting.consider(loaded, held.registry, many(names), record_only=record_only)
        written = forgetting.forget(held.registry, farewell, chosen)
        return Forgotten(tuple(record.address for record in farewell.records), farewell.variants, written)


def gc(
    manifest: ManifestLike = None,
    *,
    older_than: timedelta | float | None = None,
    settings: Flags = None,
    progress: Progress | None = None,
) -> Freed:
    """Remove for good what has waited in the trash longer than `older_than` (seconds, or a timedelta).

    None means the manifest's `policy.keep_trash`. Raise InputError for less than 0, BusyError, DiskError.
    """
    from reconciler.errors import InputError
    from reconciler.survey import look
    from reconciler.trash import empty, waiting

    loaded = loaded_of(manifest)
    age = loaded.manifest.policy.keep_trash if older_than is None else older_than
    seconds = age.total_seconds() if isinstance(age, timedelta) else age
    if not seconds >= 0:
        raise InputError(f"expected 0 seconds or more, found {older_than!r}", where="older_than")
    chosen = settings_of(loaded, settings)
    with means(loaded, chosen, progress, offline=True) as given, hold(loaded, given, "gc", progress) as held:
        locations = look(loaded, held.registry).locations
        files = tuple(waiting(locations, time.time() - seconds))
        return Freed(len(files), empty(loaded, locations, files, chosen))


def _done(
    plan: Plan,
    loaded: Loaded,
    held: Held,
    given: Means,
    chosen: Settings,
    progress: Progress | None,
    cancel: Cancel | None,
    *,
    lock: bytes | None = None,
) -> Receipt:
    """Carry out what a plan changes, and return the account of it; of nothing to do, an account too."""
    from reconciler.doing import act
    from reconciler.planjson import plan_id
    from reconciler.receipt import Outcome, Receipt

    if not plan.changes:
        blocked = tuple(Outcome(s.address, s.action, s.reason, "blocked", s.blocked or "") for s in plan.blocked)
        return Receipt(plan_id(plan), None, blocked, 0.0, 0)
    applied = act(plan, loaded, held, given, chosen, _display(progress), lock=lock, stop=stopping(cancel))
    if applied.unrecorded is not None:
        raise applied.unrecorded
    return applied.receipt


def _display(progress: Progress | None) -> Display:
    from reconciler.render.progress import events

    def hear(kind: str, fields: Mapping[str, Any]) -> None:
        if progress is not None:
            say(progress, kind, fields)

    return events(hear)
