"""Lock the picture that a new variant wants beside it, where its location keeps previews."""

from __future__ import annotations

from dataclasses import replace

from reconciler import lockfile
from reconciler.abreast import abreast
from reconciler.importing.merge import Merged
from reconciler.sources import World
from reconciler.state import Pin
from reconciler.ui.previews import is_preview

_THREADS = 8


def with_pictures(merged: Merged, world: World) -> Merged:
    """Return what was merged with a preview in each new pin that wants one; each is read once, for its digest.

    Whoever cannot be asked, or has none, gets none: that keeps no model back. `world.warn` is told.
    """
    if merged.loaded is None or world.offline:
        return merged
    from reconciler import resolve
    from reconciler.sources.previews import with_preview

    pins = dict(merged.lock.pins)
    wanted = [
        each
        for each in resolve.requests(merged.loaded)
        if each.variant in merged.names and each.preview is not None and _lacks(pins.get(each.variant))
    ]
    found = abreast(lambda each: with_preview(pins[each.variant], each, world), wanted, _THREADS, "preview")
    pins.update(zip((each.variant for each in wanted), found, strict=True))
    return replace(merged, lock=lockfile.Lock(pins=pins))


def _lacks(pin: Pin | None) -> bool:
    return pin is not None and not any(map(is_preview, pin.files))
