"""`reconciler config`: every setting, its value, and where that came from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli import session

if TYPE_CHECKING:
    from reconciler.settings import Settings


def command(manifest: session.Manifest = None, json: session.Json = False) -> int:
    """Show every setting and where its value comes from.

    A flag goes before the environment, that before your own file `~/.config/reconciler/config.toml`, that before
    `[tool.reconciler]` in the nearest `pyproject.toml` from the manifest upward, that before the default. Of a token
    only whether it is there is shown.

    \b
    Examples:
      reconciler config
      RECONCILER_LIMIT_RATE=20MiB reconciler config
      reconciler config --json

    \b
    Exit codes: 0 shown; 1 a setting is wrong.
    """
    from reconciler.settings import load, to_json
    from reconciler.settingsfiles import start_of

    chosen = load(os.environ, project=start_of(manifest))
    if json:
        session.say_json(to_json(chosen))
    else:
        session.say(_text(chosen, start_of(manifest)))
    return 0


def _text(chosen: Settings, start: Path | None) -> Iterator[str]:
    from reconciler.render.lines import name
    from reconciler.render.tables import table
    from reconciler.settings import rows, user_file
    from reconciler.settingsfiles import read_project

    headers = ("setting", "value", "origin")
    yield from table(rows(chosen), headers, width=session.width(), colour=session.colour(chosen), folds="value")
    path = user_file(os.environ)
    project = read_project(start, []).path if start else None
    yield ""
    yield f"Your settings file: {name(str(path))}" + ("" if path.exists() else " (there is none)")
    yield (
        f"The project's: {name(str(project))}" if project else "The project's: no pyproject.toml with [tool.reconciler]"
    )
