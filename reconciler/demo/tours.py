"""The tours that the demo gives: the chapters of each, and what it needs beside the hub."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from reconciler.demo.stage import Stage
from reconciler.errors import InputError
from reconciler.hub.server import Hub
from reconciler.hub.service import Service
from reconciler.inert import inert, suggest

TOURS: Mapping[str, str] = {
    "models": "reconciler.demo.story",
    "comfyui": "reconciler.demo.images",
    "ollama": "reconciler.demo.ollama",
    "takeover": "reconciler.demo.takeover",
}
"""Name -> the module whose `TOUR` it is; the first is the one that is given when nobody says which."""


class Chapter(NamedTuple):
    """One part of the tale; `text` is told before anything runs."""

    title: str
    text: str
    play: Callable[[Stage], None]


class Props(NamedTuple):
    """What stands on the stage beside the hub: servers by name, and the variables that lead to them.

    `later` are variables that only a shell gets which goes on in a kept world.
    """

    servers: Mapping[str, Service] = {}
    variables: Mapping[str, str] = {}
    later: Mapping[str, str] = {}


class Tour(NamedTuple):
    """One tour. `furnish` fills the hub and the directory, and holds whatever else runs while the tour lasts.

    For a world that was kept: `serve` returns the options of `python -m reconciler.hub` that bring it back, and
    `ending` says what is to be found there.
    """

    chapters: tuple[Chapter, ...]
    furnish: Callable[[Path, Hub], AbstractContextManager[Props]]
    serve: Callable[[Hub, Props], str]
    ending: str


def tour_of(name: str) -> Tour:
    """Return a tour; raise InputError for a name that is none."""
    if name not in TOURS:
        near = suggest(name, tuple(TOURS))
        hint = f"did you mean `{near}`?" if near else f"there are: {', '.join(TOURS)}"
        raise InputError(f"there is no tour `{inert(name)}`", hint=hint)
    tour: Tour = importlib.import_module(TOURS[name]).TOUR
    return tour
