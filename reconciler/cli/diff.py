"""`reconciler diff`: what two manifests with their locks mean differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import session
from reconciler.errors import InputError

if TYPE_CHECKING:
    from reconciler.audit.comparing import Side


def command(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A manifest: file or directory.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The manifest to compare with it.")],
    json: session.Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the form for a pull request comment.")] = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 2 when they mean different things.")
    ] = False,
) -> int:
    """Show what two manifests with their locks mean differently.

    Variants that came, went, were renamed or changed, field by field, with bytes from the locks and where the routes
    send them; locations, routes, roles, policy. Layout, order and comments do not count. Looks at no disk and asks
    nobody.

    \b
    Examples:
      reconciler diff main/workstation.yaml workstation.yaml
      reconciler diff laptop.yaml workstation.yaml --json
      reconciler diff old/ new/ --markdown --detailed-exitcode

    \b
    Exit codes: 0 shown; 1 error; 2 they differ (--detailed-exitcode).
    """
    from reconciler.audit.comparing import as_value, compare, totals
    from reconciler.render.comparison import comparison_markdown, comparison_text

    if json and markdown:
        raise InputError("--json and --markdown exclude each other", hint="choose one of them")
    changes = compare(_side(old), _side(new))
    if json:
        session.say_json(as_value(changes))
    elif markdown:
        session.say([comparison_markdown(changes, totals(changes)).rstrip("\n")])
    else:
        session.say(comparison_text(changes, totals(changes), colour=session.colour(session.settings())))
    return 2 if detailed_exitcode and changes else 0


def _side(path: str) -> Side:
    from reconciler.audit.comparing import Side
    from reconciler.audit.knowing import pins_of
    from reconciler.manifest import load

    loaded = load(path)
    return Side(loaded, pins_of(loaded))
