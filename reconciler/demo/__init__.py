"""The demo: the main job end to end, on an embedded hub, each promise checked as it is made.

It runs the real command line as a user types it, with the real huggingface_hub client and the real aria2c, in a
directory of its own. Nothing of the user's is read or written.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from reconciler.demo.account import Account
from reconciler.demo.stage import TOKEN, Broken, Stage, environment
from reconciler.demo.telling import Teller
from reconciler.demo.tours import Chapter, Tour, tour_of
from reconciler.errors import InputError
from reconciler.home import expand
from reconciler.hub.server import Hub


def perform(teller: Teller, *, tour: str = "models", keep: Path | None = None, hub: Hub | None = None) -> Account:
    """Play every chapter of a tour, or up to the first check that fails, and return the account.

    `keep` is a directory, absent or empty, in which the demo's world stays; without it nothing does. `hub` is one that
    is not running yet, for those who want to spoil it. Raise InputError for a directory that is in use and for a tour
    that is none, OSError when there is no room.
    """
    from reconciler.demo.farewell import leave

    begun = time.monotonic()
    chosen = tour_of(tour)
    hub = hub or Hub(token=TOKEN)
    with _directory(keep) as directory, hub, chosen.furnish(directory, hub) as props:
        around = {**environment(directory, hub.url, os.environ), **props.variables}
        stage = Stage(directory, hub, teller, around, servers=props.servers)
        (directory / ".tmp").mkdir()
        teller.says(
            f"A tour of reconciler in {len(chosen.chapters)} short chapters. All of it happens in {directory}"
            f"{'' if keep else ', which is removed at the end'}; your own files, caches and tokens are not touched."
        )
        played = _played(stage, chosen)
        account = Account(tuple(stage.steps), played, time.monotonic() - begun, str(directory) if keep else None)
        leave(teller, account, hub, chosen, props)
    return account


def _played(stage: Stage, tour: Tour) -> int:
    """Play the chapters until one breaks; return how many did not."""
    for number, chapter in enumerate(tour.chapters, 1):
        stage.teller.heading(number, len(tour.chapters), chapter.title)
        stage.teller.says(chapter.text)
        if not _play(replace(stage, title=chapter.title), chapter):
            return number - 1
    return len(tour.chapters)


def _play(stage: Stage, chapter: Chapter) -> bool:
    """Return whether every promise of a chapter was kept."""
    try:
        chapter.play(stage)
    except Broken:
        return False
    except (OSError, LookupError, ValueError) as error:  # what a check looks at is not there, or not what it was
        with contextlib.suppress(Broken):
            stage.check(f"it can be looked into ({type(error).__name__}: {error})", False)
        return False
    return True


@contextlib.contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        directory = Path(tempfile.mkdtemp(prefix="reconciler-demo-")).resolve()
        try:
            yield directory
        finally:
            shutil.rmtree(directory)
        return
    keep = expand(str(keep)).absolute()
    if keep.is_symlink() or (keep.exists() and (not keep.is_dir() or any(keep.iterdir()))):
        raise InputError("expected a directory that is empty or not there yet", where=f"--keep {keep}")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep.resolve()
    shutil.rmtree(keep / ".tmp", ignore_errors=True)
