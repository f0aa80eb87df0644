"""What a manifest may say of image models: types for `declared`. Imported by it only, because pydantic is heavy."""

from __future__ import annotations

from collections.abc import Set
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import AfterValidator, WithJsonSchema

from reconciler.inert import inert
from reconciler.paths import check_relative
from reconciler.ui.filenames import check_template

OF_IMAGES = ("names", "companions", "rating", "extra_model_paths")
"""Keys of a location that only the stores of web interfaces have."""


def _check_subfolder(text: str) -> str:
    return check_relative(text.rstrip("/"))


def _check_preview(text: str) -> str:
    if text.startswith("file:/") and not text.startswith("file://"):
        return "file://" + quote(text.removeprefix("file:"))
    if text == "none" or text.startswith(("https://", "http://", "file:///")):
        return text
    raise ValueError(f"expected `none`, https://… or file:/…, found `{inert(text)[:80]}`")


def of_images_only(said: Set[str], store: str, stores: tuple[str, ...]) -> None:
    """Raise ValueError when a location of another store says what only web interfaces have.

    `said` holds the keys that the manifest gives.
    """
    wrong = [key for key in OF_IMAGES if key in said]
    if wrong and store not in stores:
        raise ValueError(f"`{wrong[0]}` belongs to locations of {', '.join(f'`{each}`' for each in stores)}")
    if "extra_model_paths" in wrong and store != "comfyui":
        raise ValueError("`extra_model_paths` is a file of ComfyUI; it belongs to a `comfyui` location")


Template = Annotated[
    str,
    AfterValidator(check_template),
    WithJsonSchema({"type": "string", "pattern": r"\{(stem|version|variant)\}", "maxLength": 200}),
]
Subfolder = Annotated[
    str,
    AfterValidator(_check_subfolder),
    WithJsonSchema({"type": "string", "pattern": r"^[^/\\~.][^\\]*$", "maxLength": 1024}),
]
Preview = Annotated[
    str, AfterValidator(_check_preview), WithJsonSchema({"type": "string", "pattern": "^(none$|https?://|file:)"})
]

SCHEMA: dict[str, Any] = {
    "allOf": [
        {
            "if": {"properties": {"store": {"enum": ["comfyui", "a1111", "forge", "sdnext"]}}},
            "else": {"properties": dict.fromkeys(OF_IMAGES, False)},
        },
        {
            "if": {"properties": {"store": {"const": "comfyui"}}},
            "else": {"properties": {"extra_model_paths": False}},
        },
    ]
}
"""The same rules for editors."""
