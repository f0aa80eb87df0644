"""Tell which companions of image models are damaged, by their bytes: what nobody can have meant to leave there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from reconciler.oserrors import disk_error
from reconciler.ui.beside import broken, is_companion
from reconciler.ui.previews import MAX_BYTES

MAX_NOTE = 4 << 20
"""Bytes; what is larger is no note of ours, and is left to whoever wrote it."""


def damage(root: str, path: str) -> str | None:
    """Say why the companion at `path` below `root` cannot be what its name says; None for one that may be meant so."""
    if not is_companion(path):
        return None
    try:
        with Path(root, path).open("rb") as file:
            data = file.read(MAX_BYTES + 1 if _is_shown(path) else MAX_NOTE + 1)
    except OSError as error:
        return disk_error(error, path).problems[0].summary
    return broken(path, data) if len(data) <= (MAX_BYTES if _is_shown(path) else MAX_NOTE) else None


def spoilt(roots: Iterable[tuple[str, str, str]]) -> frozenset[tuple[str, str]]:
    """Return (location, path) of those that are damaged, of (location, root, path)."""
    return frozenset((location, path) for location, root, path in roots if damage(root, path))


def _is_shown(path: str) -> bool:
    return ".preview." in path.rpartition("/")[2]
