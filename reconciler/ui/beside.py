"""What lies beside a model already: which files are such, and what is wrong with their bytes. Pure."""

from __future__ import annotations

import json

from reconciler.ui.companions import ENDINGS
from reconciler.ui.previews import SUFFIXES, is_cut, media_of


def is_companion(path: str) -> bool:
    """Whether a file of this name is what lies beside a model: a note of one of our formats, or a preview."""
    name = path.lower()
    return name.endswith(tuple(ENDINGS.values())) or any(name.endswith(f".preview{each}") for each in SUFFIXES.values())


def broken(path: str, data: bytes) -> str | None:
    """Say why a companion cannot be what its name says; `data` is all of its bytes. None for one that can be."""
    if not path.endswith(tuple(ENDINGS.values())):
        media = media_of(data)
        suffix = f".{path.rpartition('.')[2].lower()}"
        if media is None:
            return "no picture or video that can be shown"
        if SUFFIXES[media] != suffix.replace(".jpg", ".jpeg"):
            return f"the bytes are {media}, not {suffix}"
        return "the picture ends in the middle" if is_cut(media, data) else None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "not UTF-8 text"
    if path.endswith(".md"):
        return "an empty page" if not text.strip() else "no text" if "\0" in text else None
    try:
        return None if isinstance(json.loads(text), dict) else "not a JSON object"
    except (ValueError, RecursionError):
        return "not JSON"
