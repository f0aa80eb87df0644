"""`<publisher>/<model>[@branch]/<file>`: the two levels that LM Studio looks through. Pure.

LM Studio lists a model only when its file is two directories below the root
(https://lmstudio.ai/docs/app/basics/import-model). Repositories that keep each quant in a directory of its own are
therefore placed flat.
"""

from __future__ import annotations

from collections import Counter

from reconciler.paths import collision_key
from reconciler.state import Identity, Layout, Pin, Placement, Wish
from reconciler.stores.shelf import at_home, house, parts_of, placed, shelf, skip

__all__ = ["house", "identify", "layout", "skip"]


def layout(pin: Pin, wish: Wish = Wish()) -> Layout:  # noqa: B008  a frozen value
    """Return every file by its base name below the shelf of its source; one whose base name is shared keeps its path.

    Base names are compared as Windows compares them, where LM Studio mostly runs. A `file:` source that lies below the
    root, and where LM Studio looks, stays where it is.
    """
    here = at_home(pin, wish.root)
    if here is not None and here.count("/") == 1:
        return Layout(here, tuple(Placement(placed(f"{here}/{file.path}"), file) for file in pin.files))
    home = shelf(pin)
    names = _names([placed(file.path) for file in pin.files])
    return Layout(
        home,
        tuple(Placement(placed(f"{home}/{name}"), file) for name, file in zip(names, pin.files, strict=True)),
    )


def identify(path: str) -> Identity | None:
    """Return repository, branch and the path below them, which may have lost its directories."""
    return parts_of(path)


def _names(paths: list[str]) -> list[str]:
    counts = Counter(collision_key(_base(path)) for path in paths)
    names = [_base(path) if counts[collision_key(_base(path))] == 1 else path for path in paths]
    folders = {collision_key(name.partition("/")[0]) for name in names if "/" in name}
    # A flattened name could be that of a directory which another file keeps.
    return paths if any(collision_key(name) in folders for name in names) else names


def _base(path: str) -> str:
    return path.rpartition("/")[2]
