"""`reconciler show`: print a saved plan, and touch nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli import session
from reconciler.errors import InputError


def command(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="A plan saved with `reconciler plan -o PLAN`.")],
    json: session.Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the form for a pull request comment.")] = False,
    verbose: session.Verbose = False,
) -> int:
    """Print a saved plan.

    Reads that one file: manifest, lock, registry and disks may be elsewhere, or gone. Whether the plan can still be
    applied is for `reconciler apply PLAN` to say.

    \b
    Examples:
      reconciler show plan.json
      reconciler show plan.json --verbose
      reconciler show plan.json --markdown > comment.md

    \b
    Exit codes: 0 shown; 1 this is no plan that can be read.
    """
    if json and markdown:
        raise InputError("--json and --markdown exclude each other", hint="choose one of them")
    from reconciler import planfile

    saved = planfile.read(plan)
    if json:
        session.say_json(planfile.to_json(saved))
    elif markdown:
        from reconciler.render.markdown import plan_markdown

        session.say([plan_markdown(saved)])
    else:
        session.show_plan(saved, session.settings(), verbose=verbose)
    return 0
