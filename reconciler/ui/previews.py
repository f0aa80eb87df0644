"""Preview images and videos beside a model: what counts as one, which one is taken. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

from reconciler.state import Artifact

Rating = Literal["pg", "pg-13", "r", "x", "xxx"]
RATINGS: Mapping[Rating, int] = MappingProxyType(
    {rating: 1 << position for position, rating in enumerate(get_args(Rating))}
)
"""Civitai's levels of what a picture shows, as `nsfwLevel` counts them: 1, 2, 4, 8, 16; 0 is not rated yet."""

MAX_BYTES = 32 << 20
"""Of one preview."""
HEAD = 32
"""Bytes from which `media_of` tells what a file is."""

SUFFIXES: Mapping[str, str] = MappingProxyType(
    {
        "image/png": ".png", "image/jpeg": ".jpeg", "image/webp": ".webp", "image/gif": ".gif", "image/avif": ".avif",
        "video/mp4": ".mp4", "video/webm": ".webm",
    }
)  # fmt: skip
"""What a preview may be, and the extension that viewers look for."""


def media_of(head: bytes) -> str | None:
    """Return the media type that the first bytes of a file tell, None for what is no picture or video of ours.

    The name and the header of a server are claims: A1111 and ComfyUI open what lies there. SVG is text that can hold a
    program, and is none.
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "video/webm"
    if head[4:8] == b"ftyp":
        return "image/avif" if head[8:12] in (b"avif", b"avis") else "video/mp4"
    return None


def is_cut(media: str, data: bytes) -> bool:
    """Whether a picture ends before its end; `data` is all of it. Of videos, and of AVIF, nobody tells it cheaply.

    PNG ends with IEND (https://www.w3.org/TR/png-3/#11IEND), JPEG with EOI, GIF with a semicolon; RIFF says its length.
    """
    match media:
        case "image/png":
            return b"IEND" not in data[-64:]
        case "image/jpeg":
            return b"\xff\xd9" not in data[-4096:]
        case "image/gif":
            return b";" not in data[-64:]
        case "image/webp":
            return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return False


_PATHS = frozenset(f"preview{suffix}" for suffix in SUFFIXES.values())


def is_preview(artifact: Artifact) -> bool:
    """Whether a file of a pin is the preview: it has this name and an address of its own, whatever the source."""
    return artifact.path in _PATHS and bool(artifact.url)


def artifact_path(media: str) -> str:
    """Return the path of a preview among the files of a pin: `preview.jpeg`."""
    return f"preview{SUFFIXES[media]}"


def is_allowed(level: Any, rating: Rating) -> bool:
    """Whether a picture of this level may be shown where `rating` is the most; one that nobody rated only at `xxx`."""
    if not isinstance(level, int) or isinstance(level, bool) or level <= 0:
        return rating == "xxx"
    return level < RATINGS[rating] << 1


def may_be_shown(artifact: Artifact, previews: Any, rating: str) -> bool:
    """Whether a locked preview keeps to a rating; one that upstream did not name was chosen by hand, and does."""
    level = next((each.get("nsfw_level") for each in _told(previews) if each.get("url") == artifact.url), None)
    known = next((each for each in RATINGS if each == rating), None)
    return known is None or level is None or is_allowed(level, known)


def _told(previews: Any) -> Iterable[Mapping[str, Any]]:
    return (each for each in previews if isinstance(each, Mapping)) if isinstance(previews, list | tuple) else ()


def allowed(previews: Any, rating: Rating) -> Iterable[Mapping[str, Any]]:
    """Yield the pictures and videos that the rating allows, in upstream's order."""
    for each in _told(previews):
        if not str(each.get("url", "")).startswith(("https://", "http://")):
            continue
        if each.get("type", "image") in ("image", "video") and is_allowed(each.get("nsfw_level"), rating):
            yield each
