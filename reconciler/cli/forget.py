"""`reconciler forget`: stop managing a variant and leave its files where they are."""

from __future__ import annotations

from typing import Annotated

import typer

from reconciler import runlog
from reconciler.cli import session
from reconciler.cli.applying import ask, hold
from reconciler.errors import InputError


def command(
    words: Annotated[
        list[str], typer.Argument(metavar="[MANIFEST] VARIANT", help="The manifest, then VARIANT or VARIANT@LOCATION.")
    ],
    yes: session.Yes = False,
    json: session.Json = False,
) -> int:
    """Stop managing a variant; its files stay where they are.

    The files are nobody's from then on. A variant that is still declared is adopted again by the next apply.

    \b
    Examples:
      reconciler forget llama-3.2-3b-instruct-lmstudio-gguf-q4_k_m
      reconciler forget workstation.yaml old-model@lmstudio --yes
    """
    from reconciler.forgetting import forget, recorded
    from reconciler.manifest import load
    from reconciler.render.lines import counted
    from reconciler.render.lines import name as shown

    if len(words) > 2:
        raise InputError(
            f"unexpected {words[2]!r}", hint="one variant at a time: `reconciler forget [MANIFEST] VARIANT`"
        )
    name = words[-1]
    loaded = load(words[0] if len(words) == 2 else None)
    with session.means(loaded, offline=True) as means, hold(loaded, means, "forget") as held:
        found = recorded(loaded, held.registry, name)
        if not yes:
            ask(f"Forget {', '.join(str(record.address) for record in found)}? The files stay.")
        forget(held.registry, found)
        lines = [{"event": "step", "action": "forget", "address": str(record.address)} for record in found]
        runlog.note(loaded, "forget", lines)
    files = sum(len(record.files) for record in found)
    if json:
        session.say_json({"forgotten": [str(record.address) for record in found], "files_left": files})
    else:
        session.say(f"Forgot {shown(str(r.address))}; {counted(len(r.files), 'file')} left in place." for r in found)
    return 0
