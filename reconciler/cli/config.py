"""`reconciler config`: every setting, its value, and where that came from."""

from __future__ import annotations

import os

from reconciler.cli import session


def command(json: session.Json = False) -> int:
    """Show every setting and where its value comes from.

    A flag goes before the environment, that before your file `~/.config/reconciler/config.toml`, that before the
    default. Of a token only whether it is there is shown.

    \b
    Examples:
      reconciler config
      RECONCILER_LIMIT_RATE=20MiB reconciler config
      reconciler config --json

    \b
    Exit codes: 0 shown; 1 a setting is wrong.
    """
    from reconciler.settings import rows, to_json, user_file

    chosen = session.settings()
    if json:
        session.say_json(to_json(chosen))
        return 0
    from reconciler.render.lines import name
    from reconciler.render.tables import table

    headers = ("setting", "value", "origin")
    session.say(table(rows(chosen), headers, width=session.width(), colour=session.colour(chosen)))
    path = user_file(os.environ)
    session.say(["", f"Your settings file: {name(str(path))}" + ("" if path.exists() else " (there is none)")])
    return 0
