"""An artifact as JSON and back, the same in the lock, the record and the plan. Pure and strict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from reconciler.state import Artifact, Digest

KEYS = frozenset({"path", "size", "digest", "support", "url", "media_type", "also"})
"""What a file of a lock may say."""

_KIND = re.compile(r"[a-z0-9]{1,20}")
_HEX = re.compile(r"[0-9a-f]{8,128}")
_MEDIA = re.compile(r"[a-z0-9][a-z0-9.+/_-]{0,126}", re.IGNORECASE)


def value_of(file: Artifact) -> dict[str, Any]:
    """Return an artifact as a JSON object; what is empty is left out."""
    value: dict[str, Any] = {"path": file.path, "size": file.size, "digest": file.digest}
    if file.support:
        value["support"] = True
    if file.url:
        value["url"] = file.url
    if file.media_type:
        value["media_type"] = file.media_type
    if file.also:
        value["also"] = dict(file.also)
    return value


def with_rest(value: Mapping[str, Any], path: str, size: int, digest: Digest) -> Artifact:
    """Return the artifact of `path`, `size` and `digest`, with what else `value` says; raise ValueError."""
    if len(value) == 3:
        return Artifact(path, size, digest)
    unknown = value.keys() - KEYS
    if unknown:
        raise ValueError(f"unknown key {min(map(str, unknown))[:80]!r}")
    support, url, media_type = value.get("support", False), value.get("url", ""), value.get("media_type", "")
    if type(support) is not bool:
        raise ValueError("expected support: true or false")
    if type(url) is not str or (url and not url.startswith(("https://", "http://", "file:///"))):
        raise ValueError("expected url: an https:, http: or file: URL")
    if type(media_type) is not str or (media_type and not _MEDIA.fullmatch(media_type)):
        raise ValueError("expected media_type: text such as application/vnd.ollama.image.model")
    return Artifact(path, size, digest, support, url, media_type, _also(value.get("also", {})))


def _also(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, Mapping) or not all(
        type(kind) is str is type(text) and _KIND.fullmatch(kind) and _HEX.fullmatch(text)
        for kind, text in value.items()
    ):
        raise ValueError('expected also: hexadecimal digests by kind, such as {"autov2": "0123456789"}')
    return tuple(sorted(value.items()))
