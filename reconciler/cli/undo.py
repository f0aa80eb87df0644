"""`reconciler undo`: plan the way back, and go it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import session
from reconciler.cli.applying import act, announce, ask, hold, nothing_done, terminated_is_interrupted

if TYPE_CHECKING:
    from reconciler.audit.past import Deed
    from reconciler.manifest import Loaded


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
        return _list(loaded, json)
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


def _list(loaded: Loaded, json: bool) -> int:
    from reconciler.audit.past import deeds, stamp
    from reconciler.render.tables import table

    found = [deed for deed in deeds(loaded) if deed.result not in ("running", "unfinished")][::-1]
    if json:
        session.say_json({
            "generations": [
                {
                    "number": deed.number, "variants": deed.touched, "result": _told(deed),
                    "when": stamp(deed.when) if deed.when else None,
                }
                for deed in found
            ]
        })  # fmt: skip
    elif found:
        rows = [
            (deed.number, stamp(deed.when)[:19].replace("T", " ") if deed.when else None, deed.touched, _told(deed))
            for deed in found
        ]
        headers = ("generation", "when (UTC)", "variants", "result")
        session.say(table(rows, headers, width=session.width(), colour=False))
    else:
        session.say(["Nothing was applied yet."])
    return 0


def _told(deed: Deed) -> str:
    if deed.result == "unreadable":
        return deed.problem
    ends = deed.ends or {}
    told = f"{ends.get('done', 0)} done, {ends.get('failed', 0)} failed"
    return f"cut short, {told}" if deed.result == "interrupted" else told
