"""`reconciler apply`: make it so, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import session
from reconciler.cli.applying import act, announce, approved_actions, ask, hold, nothing_done, terminated_is_interrupted
from reconciler.errors import DeclinedError, StaleError
from reconciler.plan import Action, Plan, Selection, Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.cli.applying import Held
    from reconciler.manifest import Loaded
    from reconciler.state import Address
    from reconciler.survey import Means


def command(
    manifest: Annotated[
        str | None,
        typer.Argument(metavar="[MANIFEST|PLAN]", help="A manifest (file or directory), or a plan saved with -o."),
    ] = None,
    yes: session.Yes = False,
    approve: Annotated[
        str | None,
        typer.Option("--approve", metavar="ACTIONS", help="Run these without asking: download,normalize,remove,prune."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line: progress, steps, receipt.")
    ] = False,
    target: session.Target = None,
    exclude: session.Exclude = None,
    allow_remove: session.AllowRemove = None,
    locked: session.Locked = False,
    offline: session.Offline = False,
    limit_rate: Annotated[
        str | None, typer.Option("--limit-rate", metavar="RATE", help="Bytes a second over everything, as 20MiB.")
    ] = None,
    verbose: session.Verbose = False,
) -> int:
    """Carry out a plan: download, link, record, move to the trash.

    Interrupted, it goes on where it was. Everything it does can be undone with `reconciler undo`.

    \b
    Examples:
      reconciler apply
      reconciler apply plan.json
      reconciler apply manifests/ --approve download,normalize --json
    """
    from reconciler import planfile
    from reconciler.apply import resolved_lock
    from reconciler.manifest import load

    terminated_is_interrupted()
    unattended = approved_actions(approve)
    saved = planfile.read(manifest) if manifest is not None and _is_plan(Path(manifest)) else None
    loaded = load(saved.manifest_path if saved else manifest)
    chosen = session.settings({"limit_rate": limit_rate}, loaded)
    wanted = saved.selection if saved else session.selection(target, exclude, allow_remove)
    with session.means(loaded, offline=offline) as means, hold(loaded, means, "apply") as held:
        plan = _plan(saved, loaded, held, means, wanted, locked)
        announce(plan, chosen, json=json, verbose=verbose)
        wanted_at_all = plan.changes
        plan = _without_unapproved(plan, unattended)
        if wanted_at_all and not plan.changes:
            raise DeclinedError("none of the changes is approved", hint=f"--approve {approve} leaves out all of them")
        if not plan.changes and not plan.resolved:
            return nothing_done(plan, json=json)
        if saved is None and not yes and unattended is None:
            ask("Do you want to carry this out?")
        lock = resolved_lock(Path(plan.lock_path), plan, loaded.manifest.variants)
        if not plan.changes:
            session.tell(f"wrote {plan.lock_path}")
            return nothing_done(plan, json=json)
        return act(plan, loaded, held, means, chosen, json=json, lock=lock).exit_code


def _is_plan(path: Path) -> bool:
    """Whether a file holds JSON: a manifest is YAML in block style, a saved plan never is."""
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip()[:1] == b"{"
    except OSError:
        return False


def _plan(saved: Plan | None, loaded: Loaded, held: Held, means: Means, wanted: Selection, locked: bool) -> Plan:
    """Make the plan now; of a saved one, only its own steps, and only if nothing changed since."""
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


def _lacks(step: Step, approved: frozenset[Action]) -> str:
    """Return the approvals that a step needs and has not: files that leave with a change are removed as well."""
    needed = [step.action] + ([Action.REMOVE] if step.trash and step.action is not Action.PRUNE else [])
    return ",".join(dict.fromkeys(action for action in needed if action not in approved))


def _without_unapproved(plan: Plan, approved: frozenset[Action] | None) -> Plan:
    """Hold back the steps that may not run unattended; they are told as blocked."""
    if approved is None:
        return plan
    steps = [
        step
        if step.blocked or step.action is Action.KEEP or not (lacking := _lacks(step, approved))
        else replace(step, blocked=f"not approved (approve it with --approve {lacking})")
        for step in plan.steps
    ]
    while True:  # what needs a step that is held back is held back with it
        held_back = [step for step in steps if step.blocked and step.after is not None]
        places = {f"{step.address.location}:{row.path}": step.address for step in held_back for row in step.files}
        variants = {step.address.variant: step.address for step in held_back}
        found = {index: need for index, step in enumerate(steps) if (need := _needs(step, places, variants))}
        if not found:
            return replace(plan, steps=tuple(steps))
        for index, need in found.items():
            steps[index] = replace(steps[index], blocked=f"needs {need}, which is blocked")


def _needs(step: Step, places: Mapping[str, Address], variants: Mapping[str, Address]) -> Address | None:
    """Return the address of a step that is held back, and that this one cannot do without."""
    if step.blocked or step.action is Action.KEEP:
        return None
    if step.after is None:
        return variants.get(step.address.variant) if step.reason == "superseded" else None
    return next((places[row.origin] for row in step.files if row.origin in places), None)
