"""What the commands share: where output goes, which settings hold, and the way from arguments to a survey."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli import completing, streams
from reconciler.plan import Selection

if TYPE_CHECKING:
    from reconciler.digests import Digests, Watch
    from reconciler.errors import ReconcilerError
    from reconciler.manifest import Loaded
    from reconciler.plan import Plan
    from reconciler.registry import Registry
    from reconciler.settings import Settings
    from reconciler.sources import World
    from reconciler.survey import Means

Manifest = Annotated[
    str | None,
    typer.Argument(metavar="MANIFEST", help="File or directory; default: manifests/, else reconciler.yaml."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one strict JSON document.")]
Target = Annotated[
    list[str] | None,
    typer.Option(
        "--target", metavar="GLOB", help="Only these: VARIANT or VARIANT@LOCATION.", autocompletion=completing.variants
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="GLOB", help="All but these.", autocompletion=completing.variants),
]
AllowRemove = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-remove",
        metavar="GLOB",
        help="Lift protection and policy.max_remove for these, this once.",
        autocompletion=completing.variants,
    ),
]
Locked = Annotated[bool, typer.Option("--locked", help="Refuse an incomplete or outdated lock instead of resolving.")]
Offline = Annotated[bool, typer.Option("--offline", help="Ask nobody on the network.")]
Online = Annotated[bool, typer.Option("--online", help="Search the Hub for what has no known origin, by content.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="List kept variants and every file.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def selection(target: Iterable[str] | None, exclude: Iterable[str] | None, allow: Iterable[str] | None) -> Selection:
    """Return what the user asked the plan to be about."""
    return Selection(tuple(target or ()), tuple(exclude or ()), tuple(allow or ()))


def say(lines: Iterable[str]) -> None:
    """Print lines for people on standard output, before anything that follows on standard error."""
    streams.say("".join(f"{line}\n" for line in lines))


def tell(text: str) -> None:
    """Print one line on standard error, beside the result; whoever cannot be told stops nobody."""
    sys.stdout.flush()
    streams.tell(text)


def say_json(value: Mapping[str, Any]) -> None:
    """Print one strict JSON document."""
    import json

    say([json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False)])


def say_document(text: str) -> None:
    """Print a document for programs as it is: UTF-8 and its own line ends, whatever the terminal's are."""
    raw = getattr(sys.stdout, "buffer", None)
    streams.say(text if raw is None else text.encode())  # None: somebody caught the output as text


def width(stream: Any = None) -> int | None:
    """Return the width of the terminal, None where output does not go to one: then nothing wraps."""
    stream = stream or sys.stdout
    return shutil.get_terminal_size((80, 24)).columns if stream.isatty() else None


def settings(flags: Mapping[str, object] | None = None, loaded: Loaded | None = None) -> Settings:
    """Return the settings that hold for this run; a project's are looked for from the manifest upward, else from here.

    Raise InputError when any of them is wrong.
    """
    from reconciler.settings import load
    from reconciler.settingsfiles import here

    return load(os.environ, flags, loaded.path if loaded else here())


def colour(chosen: Settings, stream: Any = None) -> bool:
    """Whether to write colours."""
    from reconciler.settings import wants_colour

    return wants_colour(chosen, (stream or sys.stdout).isatty(), os.environ)


def upstream(loaded: Loaded | None, *, offline: bool, warn: Callable[[str], None] | None = None) -> World:
    """Return what sources may use: addresses, tokens, and the hosts that the manifest trusts."""
    from reconciler import equipment

    return equipment.upstream(settings(loaded=loaded), loaded, offline=offline, warn=warn or caution)


@contextmanager
def means(loaded: Loaded, *, offline: bool = False) -> Iterator[Means]:
    """Give what a survey needs; reading many files is told on standard error."""
    from reconciler import equipment

    with equipment.means(settings(loaded=loaded), loaded, offline=offline, warn=caution, watch=reading()) as given:
        yield given


def caution(text: str, kept: list[str] | None = None) -> None:
    """Print a warning on standard error; `kept` remembers it for a document."""
    from reconciler.inert import inert

    tell(f"warning: {inert(text)}")
    if kept is not None:
        kept.append(text)


def digest_cache() -> Path | None:
    """Return where digests are remembered; None leaves it to the default."""
    return settings().cache / "digests.sqlite"


def reading() -> Watch:
    """Return a watcher that says on standard error how far the reading of files is, at most every two seconds."""
    import time

    from reconciler.inert import human_bytes, inert

    state = {"read": 0, "told": time.monotonic()}

    def watch(question: Any, count: int) -> None:
        state["read"] += count
        if time.monotonic() - state["told"] > 2:
            state["told"] = time.monotonic()
            tell(f"reading files to know their digests: {human_bytes(int(state['read']))}, {inert(question.path.name)}")

    return watch


def open_registry(loaded: Loaded) -> Registry:
    """Load the registry for reading, with what an interrupted apply has still to record laid over it, and say so."""
    from reconciler import holding

    return holding.open_registry(loaded, caution)


def show_plan(plan: Plan, chosen: Settings, *, verbose: bool = False) -> None:
    """Print a plan for people."""
    from reconciler.render.text import plan_text

    say(plan_text(plan, width=width(), colour=colour(chosen), verbose=verbose))


def show_errors(error: ReconcilerError, chosen: Settings) -> None:
    """Print what is wrong on standard error."""
    from reconciler.render.errors import error_text

    for line in error_text(error, colour(chosen, sys.stderr)):
        tell(line)


__all__ = [
    "AllowRemove", "Digests", "Exclude", "Json", "Locked", "Manifest", "Offline", "Target", "Verbose", "Yes",
    "caution", "colour", "digest_cache", "means", "open_registry", "reading", "say", "say_document", "say_json",
    "selection", "settings", "show_errors", "show_plan", "tell", "upstream", "width",
]  # fmt: skip
