"""What importers of image models share: where a folder leads, how a variant says it, and asking upstream for all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

from reconciler import links, sources
from reconciler.errors import NotFoundError, ReconcilerError
from reconciler.importing.claims import request_of
from reconciler.importing.found import Found, Request, Row
from reconciler.inert import inert
from reconciler.naming import Named
from reconciler.references import parse
from reconciler.ui.kinds import DRAWERS, UIS, WEIGHTS, Kind, Ui, kind_named, ui_of

ROOTS: Mapping[Ui, str] = {
    "comfyui": "~/ComfyUI/models", "a1111": "~/stable-diffusion-webui", "forge": "~/stable-diffusion-webui-forge",
    "sdnext": "~/automatic",
}  # fmt: skip
"""Where each web interface is looked for when the manifest has no location of it: its own clone of the repository."""

_THREADS = 8
_ASKED = ("hf", "civitai")
"""Kinds of sources that say size and digest of a file without its bytes."""
_NAMES: Mapping[Ui, str] = {"comfyui": "comfyui", "a1111": "a1111", "forge": "forge", "sdnext": "sdnext"}


class Spot(NamedTuple):
    """Where a model belongs: a location to suggest, and what a variant says of its folder."""

    location: tuple[str, Mapping[str, Any]]
    kind: Kind | None
    subfolder: str
    notes: tuple[str, ...] = ()


def spot(folder: str, request: Request) -> Spot:
    """Return where a folder below the home of a web interface leads: `models/loras/SDXL`, `embeddings`.

    The manifest's own location of that interface is taken; where it has but one of any, that one; else a new one at
    the usual place. Raises ValueError for a folder that is not for models.
    """
    parts = folder.split("/")
    below = parts[1:] if parts[0].lower() == "models" else parts
    if parts[0].lower() != "models" and folder.split("/")[0].lower() != "embeddings":
        raise ValueError(f"`{folder}` is no folder of models")
    if not below:
        raise ValueError("`models` itself holds nothing that a loader reads; name the folder of a kind")
    ui = _ui(below[0], request)
    kind, subfolder = kind_named(below[0]), "/".join(below[1:])
    if kind is None or kind not in DRAWERS[ui]:
        # No loader of the core looks there; the folder is kept as it is named.
        kind, subfolder = "other", "/".join(below if ui == "comfyui" else parts)
    return Spot(*_location(ui, request), kind, subfolder, ())._with_note(ui, request)
