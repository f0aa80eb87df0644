"""Make the plan that is about to be carried out, and carry it out, under the registry's lock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler import runlog
from reconciler.errors import ReconcilerError, StaleError
from reconciler.plan import Action, Plan, Selection

if TYPE_CHECKING:
    from reconciler.apply import Applied
    from reconciler.holding import Held
    from reconciler.manifest import Loaded
    from reconciler.receipt import Outcome
    from reconciler.render.progress import Display
    from reconciler.settings import Settings
    from reconciler.survey import Means


def plan_now(saved: Plan | None, loaded: Loaded, held: Held, means: Means, wanted: Selection, *, locked: bool) -> Plan:
    """Make the plan now; of a saved one, only its own steps, and only if nothing changed since.

    Raise StaleError with what changed; LockfileError, SourceError as `survey` does.
    """
    from reconciler import stale
    from reconciler.survey import survey

    reviewed = saved.resolved if saved else None
    now = survey(loaded, held.registry, means, wanted, locked=locked, reviewed=reviewed).plan
    if saved is None:
        return now
    found = stale.differences(saved, now, continued=_is_continued(saved, held))
    if found:
        raise StaleError(found)
    # By address alone: a download that was cut short may go on as a link to what it had brought.
    known = {step.address for step in (*saved.changes, *saved.blocked)}
    return replace(now, steps=tuple(s for s in now.steps if s.address in known or s.action is Action.KEEP))


def _is_continued(saved: Plan, held: Held) -> bool:
    """Whether the registry moved on by an apply of this very plan, cut short or done, or by finishing one just now."""
    from reconciler import generations
    from reconciler.planjson import plan_id

    if saved.registry_serial == held.recovered_from:
        return True  # made while an apply stood unfinished, whose every step is compared below
    latest = generations.latest(held.registry.path)
    return latest is not None and latest.result.get("plan_id") == plan_id(saved)


def act(
    plan: Plan,
    loaded: Loaded,
    held: Held,
    means: Means,
    chosen: Settings,
    display: Display,
    *,
    approved: frozenset[Action] | None = None,
    lock: bytes | None = None,
    stop: Callable[[], bool] | None = None,
) -> Applied:
    """Carry out a plan while `display` watches; once `stop` says True it ends as by Ctrl-C.

    Raise InputError before anything is begun when the downloader that the settings name cannot be had, DiskError when
    not even the journal can be written.
    """
    from reconciler.apply import ALL, Tools, apply
    from reconciler.equipment import check_aria2c, open_downloader

    if any(row.method == "fetch" for step in plan.changes for row in step.files):
        check_aria2c(chosen)
    allowed = approved or ALL
    log = runlog.begin(loaded, held.command, chosen)
    log([runlog.of_start(plan, allowed)])
    told: list[Outcome] = []

    def ended(outcome: Outcome) -> None:
        told.append(outcome)
        log([runlog.of_outcome(outcome)])

    tools = Tools(
        open_downloader=lambda: open_downloader(chosen, held.fd, stop),
        sources=means.sources,
        digests=means.digests,
        display=display,
        manifest=loaded.identity,
        stop=stop,
        ended=ended,
    )
    files = {path.name: path.read_bytes() for path in loaded.files}
    try:
        applied = apply(plan, held.registry, tools, approved=allowed, manifest_files=files, lock=lock)
    except ReconcilerError as error:
        log([{"event": "end", "error": str(error)}])
        raise
    log(runlog.of_end(applied.receipt, {outcome.address for outcome in told}))
    return applied
