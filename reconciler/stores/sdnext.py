"""`models/<folder of the kind>/<file>`, as SD.Next has it. Pure."""

from __future__ import annotations

from reconciler.state import Layout, Pin, Wish
from reconciler.stores.cabinet import arrange, house, identify, skip

__all__ = ["house", "identify", "layout", "skip"]


def layout(pin: Pin, wish: Wish = Wish()) -> Layout:  # noqa: B008  a frozen value
    """Return each file of weights in the folder of its kind; see `cabinet.arrange`."""
    return arrange("sdnext", pin, wish)
