"""`reconciler apply`: make it so, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconciler.approving import approved_actions, without_unapproved
from reconciler.cli import session
from reconciler.cli.applying import act, announce, ask, hold, nothing_done, terminated_is_interrupted
from reconciler.errors import DeclinedError


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
    from reconciler.doing import plan_now
    from reconciler.manifest import load

    terminated_is_interrupted()
    unattended = approved_actions(approve)
    saved = planfile.read(manifest) if manifest is not None and _is_plan(Path(manifest)) else None
    loaded = load(saved.manifest_path if saved else manifest)
    chosen = session.settings({"limit_rate": limit_rate}, loaded)
    wanted = saved.selection if saved else session.selection(target, exclude, allow_remove)
    with session.means(loaded, offline=offline) as means, hold(loaded, means, "apply") as held:
        plan = plan_now(saved, loaded, held, means, wanted, locked=locked)
        announce(plan, chosen, json=json, verbose=verbose)
        wanted_at_all = plan.changes
        plan = without_unapproved(plan, unattended)
        if wanted_at_all and not plan.changes:
            raise DeclinedError("none of the changes is approved", hint=f"--approve {approve} leaves out all of them")
        if not plan.changes and not plan.resolved:
            return nothing_done(plan, json=json)
        if saved is None and not yes and unattended is None:
            approval = "--yes, --approve ACTIONS or a saved plan (`plan -o`) approves it"
            ask("Do you want to carry this out?", instead=approval)
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
