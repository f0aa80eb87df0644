"""The registry: does it load, was an apply cut short, does somebody hold it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.doctor.checks import Check, guarded
from reconciler.doctor.places import unwritable
from reconciler.locking import holder_of, is_held

if TYPE_CHECKING:
    from reconciler.manifest import Loaded
    from reconciler.registry import Registry


def examine(loaded: Loaded) -> tuple[Registry, list[Check]]:
    """Return the registry (an empty one when it cannot be read) and how it is."""
    from reconciler.registry import Registry

    path = loaded.registry
    found: list[Registry] = []
    checks = guarded("registry", lambda: _loaded(loaded, found))
    held = _held(path / "lock")
    if path.is_dir():
        checks += held or guarded("journal", lambda: _journal(path))
    return (found[0] if found else Registry(path)), checks


def _loaded(loaded: Loaded, found: list[Registry]) -> Iterator[Check]:
    from reconciler.oserrors import nearest
    from reconciler.registry import load, records
    from reconciler.render.lines import counted

    registry = load(loaded.registry)
    recorded = records(registry)
    found.append(registry)
    ours = sum(1 for record in recorded if record.manifest == loaded.identity)
    others = f", {len(recorded) - ours} of other manifests" if len(recorded) > ours else ""
    there = str(nearest(registry.path))
    if why := unwritable(there):
        yield Check("registry", "problem", f"{there}: {why}", "check who owns it and its mode")
    if not registry.path.exists():
        yield Check("registry", "ok", f"{registry.path} is not there yet; the first apply makes it")
        return
    yield Check(
        "registry", "ok", f"{registry.path}, serial {registry.serial}: {counted(ours, 'record')} of ours{others}"
    )


def _journal(path: Path) -> Iterator[Check]:
    from reconciler import journal

    if journal.unfinished(path / "journal"):
        told = "an apply was cut short"
        yield Check("journal", "warning", told, "the next `reconciler apply` finishes it by itself")


def _held(path: Path) -> list[Check]:
    if not is_held(path):
        return []
    said = holder_of(path)
    who = f"`{said.get('command', '?')}`, process {said.get('pid', '?')} on {said.get('host', '?')}"
    told = f"held by {who} since {said.get('start', '?')}" if said else "held by another process"
    return [Check("registry lock", "warning", told, "wait until it has ended; a lock never outlives its process")]
