"""`<owner>/<repo>[@branch]/<path in the repository>`: a tree as vLLM, transformers and people like it. Pure."""

from __future__ import annotations

from reconciler.state import Identity, Layout, Pin, Placement, Wish
from reconciler.stores.shelf import house, parts_of, placed, shelf, skip

__all__ = ["house", "identify", "layout", "skip"]


def layout(pin: Pin, wish: Wish = Wish()) -> Layout:  # noqa: B008  a frozen value
    """Return every file at its path in the repository, below the shelf of its source."""
    home = shelf(pin)
    return Layout(home, tuple(Placement(placed(f"{home}/{file.path}"), file) for file in pin.files))


def identify(path: str) -> Identity | None:
    """Return repository, branch (as written, `/` is `_`) and path; None above the third level."""
    return parts_of(path)
