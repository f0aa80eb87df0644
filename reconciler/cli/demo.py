"""`reconciler demo`: the main job end to end, on an embedded hub, in a directory of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli import completing, session

_TOURS = ("models", "comfyui", "ollama", "takeover")


def command(
    tour: Annotated[
        str,
        typer.Argument(metavar="TOUR", help=f"Which: {', '.join(_TOURS)}.", autocompletion=completing.one_of(_TOURS)),
    ] = "models",
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="DIR", help="Leave the demo's world in DIR (empty, or not there yet)."),
    ] = None,
    json: session.Json = False,
) -> int:
    """Show the main job end to end, each promise checked.

    Runs the real commands against small servers on loopback, in a temporary directory. Your own files, caches, tokens
    and registry are neither read nor written. Takes about half a minute and 250 MiB.

    The tour `models` shows the loop of manifest, lock, plan and apply; `comfyui` a catalog of image models, from its
    pages to the folders of two web interfaces; `ollama` one copy of the bytes for two programs, tags under a lock, and
    a server that only its API reaches; `takeover` a messy home that becomes a manifest, and is cleaned up by it.

    \b
    Examples:
      reconciler demo
      reconciler demo comfyui
      reconciler demo ollama
      reconciler demo takeover
      reconciler demo --keep ~/reconciler-demo
      reconciler demo --json

    \b
    Exit codes: 0 all was as promised; 1 something was not.
    """
    from reconciler.cli.applying import terminated_is_interrupted
    from reconciler.demo import perform
    from reconciler.demo.account import to_json
    from reconciler.demo.telling import Teller

    terminated_is_interrupted()
    teller = Teller() if json else Teller(sys.stdout, session.colour(session.settings()), session.width())
    account = perform(teller, tour=tour, keep=keep)
    if json:
        session.say_json(to_json(account))
    return 0 if account.ok else 1
