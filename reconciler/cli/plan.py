"""`reconciler plan`: say what apply would do, and touch nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli import session


def command(
    manifest: session.Manifest = None,
    json: session.Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the form for a pull request comment.")] = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE", help="Save the plan for apply.")] = None,
    base: Annotated[
        str | None,
        typer.Option("--from", metavar="MANIFEST", help="Plan as if that one had been applied; look at no disk."),
    ] = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 2 when there are changes.")
    ] = False,
    target: session.Target = None,
    exclude: session.Exclude = None,
    allow_remove: session.AllowRemove = None,
    locked: session.Locked = False,
    offline: session.Offline = False,
    verbose: session.Verbose = False,
) -> int:
    """Say what apply would do, and touch nothing.

    The manifest and its lock are compared with this machine. Nothing is written but the plan itself and the cache of
    digests; only hosts of declared sources are asked.

    \b
    Examples:
      reconciler plan
      reconciler plan workstation.yaml -o plan.json
      reconciler plan manifests/ --locked --detailed-exitcode --markdown
      reconciler plan --target 'llama-*'
      reconciler plan box.yaml --from main/box.yaml --markdown
    """
    from reconciler import planfile
    from reconciler.manifest import load
    from reconciler.planjson import to_json
    from reconciler.render.markdown import plan_markdown
    from reconciler.survey import survey

    loaded = load(manifest)
    chosen = session.settings(loaded=loaded)
    wanted = session.selection(target, exclude, allow_remove)
    if base is not None:
        from reconciler.supposed import plan_from

        plan = plan_from(loaded, load(base), session.upstream(loaded, offline=offline), wanted, locked=locked)
    else:
        with session.means(loaded, offline=offline) as means:
            registry = session.open_registry(loaded)
            plan = survey(loaded, registry, means, wanted, locked=locked).plan
    if out is not None:
        planfile.write(out, plan)
    if json:
        session.say_json(to_json(plan))
    elif markdown:
        session.say([plan_markdown(plan)])
    else:
        session.show_plan(plan, chosen, verbose=verbose)
        if out is not None:
            session.tell(f"saved: {out} (apply it with `reconciler apply {out}`)")
    if plan.blocked:
        return 3
    return 2 if detailed_exitcode and not plan.is_empty else 0
