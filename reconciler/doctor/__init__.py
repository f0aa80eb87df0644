"""Look for what would make a plan or an apply fail: machine, network, registry, locations. Writes nothing, anywhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.doctor.checks import Check, State, guarded

if TYPE_CHECKING:
    from reconciler.manifest import Loaded
    from reconciler.settings import Settings

__all__ = ["Check", "State", "examine"]


def examine(
    manifest: str | None, environ: Mapping[str, str], *, offline: bool, clock: Callable[[], float] = time.time
) -> Iterator[Check]:
    """Yield every check, as each is made. Without a manifest, named or found, only the machine is looked at.

    `clock` returns unix seconds. With `offline` nobody is asked. What is wrong is a check of state `problem`; nothing
    is raised for it.
    """
    from reconciler.doctor import machine, ollama, upstream

    chosen: list[Settings] = []
    settled = list(guarded("settings", lambda: _settings(manifest, environ, chosen)))
    yield from machine.examine(chosen[0].aria2c if chosen else None)
    yield from settled
    yield from upstream.examine(environ, chosen[0] if chosen else None, offline=offline, clock=clock)
    if manifest is None and not _is_manifest_here():
        if chosen:
            yield from machine.examine_registry(chosen[0].registry)
        yield from guarded("ollama", lambda: ollama.examine_default(environ))
        yield Check("manifest", "ok", "there is none here; only the machine was looked at")
        return
    yield from _examine_manifest(manifest, environ, offline=offline)


def _settings(manifest: str | None, environ: Mapping[str, str], chosen: list[Settings]) -> Iterator[Check]:
    from reconciler import settings
    from reconciler.doctor import machine
    from reconciler.settingsfiles import start_of

    chosen.append(settings.load(environ, project=start_of(manifest)))
    yield from machine.examine_settings(chosen[0], environ)


def _is_manifest_here() -> bool:
    from reconciler.manifestfiles import DEFAULT_DIRECTORY, DEFAULT_FILE

    return Path(DEFAULT_DIRECTORY).is_dir() or os.path.lexists(DEFAULT_FILE)


def _examine_manifest(manifest: str | None, environ: Mapping[str, str], *, offline: bool) -> Iterator[Check]:
    from reconciler.manifestfiles import command
    from reconciler.validate import validate

    found = validate(manifest)
    loaded = found.loaded
    for problem in found.problems:
        text = f"{problem.where}: {problem.summary}" if problem.where else problem.summary
        yield Check("manifest", "problem", text, problem.hint)
    for warning in found.warnings:
        yield Check("manifest", "warning", warning)
    if loaded is None:
        return
    if found.is_valid and found.lock is None:
        hint = f"`{command('lock', loaded.path)}` or the first apply writes it"
        yield Check("lock", "warning", f"{found.lock_path} is not there", hint)
    elif found.is_valid:
        yield Check("lock", "ok", f"{found.lock_path} has all {len(loaded.manifest.variants)} variants")
    yield from _examine_world(loaded, environ, offline=offline)


def _examine_world(loaded: Loaded, environ: Mapping[str, str], *, offline: bool) -> Iterator[Check]:
    from reconciler.doctor import books, ollama, places

    registry, checks = books.examine(loaded)
    yield from checks
    yield from guarded("locations", lambda: places.examine(loaded, registry))
    yield from guarded("ollama", lambda: ollama.examine(loaded, environ, offline=offline))
