"""What a manifest says of a variant beyond its bytes, as the layout of its store needs it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from reconciler.state import Desired, Wish
from reconciler.ui.extra_paths import ExtraPaths
from reconciler.ui.kinds import ui_of
from reconciler.ui.places import Places, places
from reconciler.ui.previews import is_preview
from reconciler.ui.visible import hidden_because, is_weights

if TYPE_CHECKING:
    from reconciler.manifest import Loaded, Location, Variant


def wish_of(name: str, loaded: Loaded, location: str) -> Wish:
    """Return what the manifest says of the variant `name` and of its location.

    Raises ValueError when the location's `extra_model_paths` cannot be read: nobody knows then where its files go.
    """
    variant, place = loaded.manifest.variants[name], loaded.manifest.locations[location]
    found = places_of(loaded, location)
    return Wish(
        variant=name,
        served_as=variant.served_as,
        license=variant.license,
        modelfile=modelfile_of(variant),
        kind=variant.kind,
        subfolder=variant.subfolder or "",
        names=place.names or "",
        companions=_companions(place, variant),
        rating=place.rating if found else "",
        folders=found.placed if found else {},
        root=place.root or "",
    )


def modelfile_of(variant: Variant) -> dict[str, Any]:
    """Return what the manifest says of a variant as a Modelfile would, in JSON values; empty when it says nothing."""
    said = {
        "template": variant.template,
        "system": variant.system,
        "parameters": variant.parameters.said() if variant.parameters else None,
        "adapters": list(variant.adapters),
    }
    return {key: value for key, value in said.items() if value}


def misplaced(modelfile: Iterable[str], store: str) -> str | None:
    """Say which keys mean nothing where a variant goes; None when all mean something."""
    keys = [f"`{key}`" for key in modelfile] if store != "ollama" else []
    if not keys:
        return None
    return f"{', '.join(keys)}: of Ollama models only, and it goes to a {store} location (leave out, or set `location`)"


def cautions_of(wanted: Desired, loaded: Loaded) -> Iterator[str]:
    """Say what people should know of an Ollama model that is made of files from elsewhere."""
    address = wanted.address
    if loaded.manifest.locations[address.location].store != "ollama":
        return
    from reconciler.ollama.compose import cautions

    yield from (
        f"{address}: {each}" for each in cautions(wanted.pin, wish_of(address.variant, loaded, address.location))
    )


def _companions(place: Location, variant: Variant) -> tuple[str, ...]:
    others = tuple(each for each in place.companions if each != "preview")
    wanted = variant.preview is not None or "preview" in place.companions
    return (*others, "preview") if wanted and variant.preview != "none" else others


def places_of(loaded: Loaded, location: str) -> Places | None:
    """Return the folders of a location of image models, None for a location of another store.

    Raises ValueError when its `extra_model_paths` cannot be read.
    """
    place, extra = loaded.manifest.locations[location], loaded.extra_paths.get(location)
    ui = ui_of(place.store)
    if ui is None or place.root is None:
        return None
    if extra is not None and not isinstance(extra, ExtraPaths):
        raise ValueError(str(extra))
    return places(ui, place.root, extra)


def unseen(wanted: Desired, loaded: Loaded) -> Iterator[str]:
    """Say which files of an image model the loader of its kind would not list, and why."""
    place = loaded.manifest.locations[wanted.address.location]
    ui, found = ui_of(place.store), places_of(loaded, wanted.address.location)
    if ui is None or found is None or place.root is None:
        return
    from reconciler.stores.cabinet import kind_of_file

    wish = wish_of(wanted.address.variant, loaded, wanted.address.location)
    variant = loaded.manifest.variants[wanted.address.variant]
    if variant.preview not in (None, "none") and not any(map(is_preview, wanted.pin.files)):
        name = wanted.address.variant
        yield f"{wanted.address}: its preview is not in the lock; `reconciler lock --upgrade {name}` fetches it"
    for path, artifact in wanted.layout.files:
        if path in wanted.layout.optional or not is_weights(path):
            continue
        kind = kind_of_file(wanted.pin, wish, artifact)
        why = hidden_because(ui, kind, f"{place.root}/{path}", found.searched, size=artifact.size)
        if why:
            yield f"{wanted.address}: {place.store} will not list {path}: {why}"
