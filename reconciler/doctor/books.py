"""The registry: does it load, was an apply cut short, does somebody hold it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.doctor.checks import Check, guarded
from reconciler.locking import holder_of

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
    there = nearest(registry.path)
    if not os.access(there, os.W_OK):
        yield Check("registry", "problem", f"{there} is not writable", "check who owns it and its mode")
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


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock file at `path`, told without taking it where the system says so itself."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        inode = os.fstat(fd).st_ino
        try:
            # https://man7.org/linux/man-pages/man5/proc_locks.5.html; devices are left out: those of btrfs differ.
            rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        except OSError:
            return _is_refused(fd)
        pid = str(holder_of(path).get("pid", ""))
        return any("FLOCK" in row and row[-3].endswith(f":{inode}") and pid in row for row in rows if len(row) >= 8)
    finally:
        os.close(fd)


def _is_refused(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False
