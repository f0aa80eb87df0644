"""`<owner>/<repo>[@branch]/<path in the repository>`: a tree as vLLM, transformers and people like it. Pure."""

from __future__ import annotations

from reconciler.state import Identity, Layout, Pin, Placement, Wish
from reconciler.stores.shelf import at_home, house, parts_of, placed, shelf, skip

__all__ = ["house", "identify", "layout", "skip"]


def layout(pin: Pin, wish: Wish = Wish()) -> Layout:  # noqa: B008  a frozen value
    """Return every file at its path in the repository, below the shelf of its source.

    A `file:` source below the root stays where it is.
    """
    here = at_home(pin, wish.root)
    home = shelf(pin) if here is None else here
    below = f"{home}/" if home else ""
    placements = tuple(Placement(placed(f"{below}{file.path}"), file) for file in pin.files)
    return Layout(home or (placements[0].path if len(placements) == 1 else "."), placements)


def identify(path: str) -> Identity | None:
    """Return repository, branch (as written, `/` is `_`) and path; None above the third level."""
    return parts_of(path)
