"""What one field of a manifest cannot see of image models: keys that mean nothing where a variant goes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from reconciler.errors import Problem
from reconciler.ui.kinds import UIS, ui_of

if TYPE_CHECKING:
    from reconciler.manifest import Manifest

KEYS = ("kind", "subfolder", "preview")


def of_images(manifest: Manifest, where: Callable[..., str]) -> Iterator[Problem]:
    """Yield variants that say what only locations of image models understand, and go to another kind of location.

    Where routes decide, nobody knows yet where a variant goes: then one location of image models is enough.
    """
    stores = {name: place.store for name, place in manifest.locations.items()}
    anywhere = any(ui_of(store) for store in stores.values())
    for name, variant in manifest.variants.items():
        said = [key for key in KEYS if getattr(variant, key) is not None]
        if variant.location is not None and variant.location not in stores:
            continue  # told already
        takes = ui_of(stores[variant.location]) is not None if variant.location is not None else anywhere
        if said and not takes:
            place = f"`{variant.location}` is a `{stores[variant.location]}` location" if variant.location else ""
            yield Problem(
                where("variants", name, said[0]),
                f"`{said[0]}` is for locations of image models ({', '.join(UIS)})"
                + (f"; {place}" if variant.location else ", and there is none"),
                f"remove `{said[0]}`, or give another `location`",
            )
