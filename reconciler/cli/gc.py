"""`reconciler gc`: free what waits in the trash; the only command that frees bytes."""

from __future__ import annotations

import re
import time
from typing import Annotated

import typer

from reconciler.cli import session
from reconciler.cli.applying import ask, hold
from reconciler.errors import InputError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def command(
    manifest: session.Manifest = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="AGE", help="As 14d or 12h; default: policy.keep_trash.")
    ] = None,
    yes: session.Yes = False,
    json: session.Json = False,
) -> int:
    """Free what has waited in the trash long enough.

    Long enough is policy.keep_trash, or --older-than. What is gone cannot come back from the trash any more; `undo`
    then fetches it again.

    \b
    Examples:
      reconciler gc
      reconciler gc --older-than 0d --yes
    """
    from reconciler.inert import human_bytes
    from reconciler.manifest import load
    from reconciler.render.lines import counted, name
    from reconciler.survey import look
    from reconciler.trash import empty, waiting

    loaded = load(manifest)
    age = _seconds(older_than) if older_than is not None else loaded.manifest.policy.keep_trash
    with session.means(loaded, offline=True) as means, hold(loaded, means, "gc") as held:
        locations = look(loaded, held.registry).locations
        files = list(waiting(locations, time.time() - age))
        frees = sum(one.frees for one in files)
        if not json:
            session.say(
                f"- {name(one.location.name)}: {name(one.entry.path or one.entry.name)}  {human_bytes(one.entry.size)}"
                for one in files
            )
            told = f"{counted(len(files), 'file')} in the trash longer than that, {human_bytes(frees)} to free."
            session.say([told if files else "Nothing in the trash is that old."])
        if files and not yes:
            ask("Do you want to remove them for good?")
        freed = empty(loaded, locations, files)
    if json:
        session.say_json({"files": len(files), "bytes_freed": freed})
    elif files:
        session.say([f"Freed {human_bytes(freed)}."])
    return 0


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,6})([smhdw])", text.strip())
    if not found:
        raise InputError(f"--older-than: expected an age such as 14d or 12h, found {text[:40]!r}")
    return int(found[1]) * _UNITS[found[2]]
