"""`<file>`: everything side by side in one directory, as llama.cpp's `--models-dir` and many folders are. Pure."""

from __future__ import annotations

from reconciler.paths import collision_key
from reconciler.state import Identity, Layout, Pin, Placement, Wish
from reconciler.stores.shelf import house, placed, refuse_layers, skip

__all__ = ["house", "identify", "layout", "skip"]


def layout(pin: Pin, wish: Wish = Wish()) -> Layout:  # noqa: B008  a frozen value
    """Return every file by its base name; raise ValueError naming both when two files of a pin share one.

    `home` is the file when there is one, else `.`, the root itself.
    """
    refuse_layers(pin)
    seen: dict[str, str] = {}
    placements: list[Placement] = []
    for file in pin.files:
        name = placed(file.path).rpartition("/")[2]
        other = seen.setdefault(collision_key(name), file.path)
        if other != file.path:
            raise ValueError(
                f"{other!r} and {file.path!r} would both be {name!r}: a flat store has no directories; "
                "choose one with `files`, or another location"
            )
        placements.append(Placement(name, file))
    return Layout(placements[0].path if len(placements) == 1 else ".", tuple(placements))


def identify(path: str) -> Identity | None:
    """Return the name, which is all that a flat store keeps; None for what lies in a directory."""
    return None if "/" in path else Identity("", "", path)
