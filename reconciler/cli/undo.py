"""`reconciler undo`: plan the way back, and go it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli import session
from reconciler.cli.applying import act, announce, ask, hold, nothing_done, terminated_is_interrupted


def command(
    manifest: session.Manifest = None,
    to: Annotated[
        int | None, typer.Option("--to", metavar="GENERATION", help="Undo this generation and all later ones.")
    ] = None,
    generations: Annotated[bool, typer.Option("--list", help="List the generations and do nothing.")] = False,
    yes: session.Yes = False,
    json: session.Json = False,
    verbose: session.Verbose = False,
) -> int:
    """Bring disk and registry back to before an apply.

    What was removed or replaced comes back from the trash, the same file. The manifest and the lock are yours and stay
    as they are: revert them in git, or the next plan proposes the same change again. An undo can be undone.

    \b
    Examples:
      reconciler undo
      reconciler undo --list
      reconciler undo workstation.yaml --to 3
    """
    from reconciler.back import plan_undo
    from reconciler.manifest import load

    loaded = load(manifest)
    chosen = session.settings(loaded=loaded)
    if generations:
        return _list(loaded.registry, loaded.identity, json)
    terminated_is_interrupted()
    with session.means(loaded) as means, hold(loaded, means, "undo") as held:
        plan, first = plan_undo(loaded, held.registry, means, to, session.tell)
        if not json:
            session.say([f"The way back to before generation {first}:", ""])
        announce(plan, chosen, json=json, verbose=verbose)
        if not plan.changes:
            return nothing_done(plan, json=json)
        if not yes:
            ask("Do you want to go back?")
        return act(plan, loaded, held, means, chosen, json=json).exit_code


def _list(registry: Path, manifest: str, json: bool) -> int:
    from reconciler import generations
    from reconciler.render.tables import table

    rows = []
    for number in generations.listing(registry):
        result = generations.read(registry, number).result
        if result.get("manifest") == manifest:
            counts = result.get("receipt", {}).get("summary", {})
            told = f"{counts.get('done', 0)} done, {counts.get('failed', 0)} failed"
            rows.append((number, len(result.get("touched", ())), "cut short" if result.get("interrupted") else told))
    if json:
        session.say_json({"generations": [{"number": n, "variants": t, "result": r} for n, t, r in rows]})
    elif rows:
        session.say(table(rows, ("generation", "variants", "result"), width=session.width(), colour=False))
    else:
        session.say(["Nothing was applied yet."])
    return 0
