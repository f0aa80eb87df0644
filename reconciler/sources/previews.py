"""The picture or video beside an image model: chosen, read once for its digest, and found again when it is fetched."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import cast

from reconciler.errors import SourceError
from reconciler.inert import inert
from reconciler.located import Located
from reconciler.references import parse
from reconciler.secrets import redact
from reconciler.sources import Request, World, file, https, urls
from reconciler.state import Artifact, Digest, Pin
from reconciler.ui.previews import HEAD, MAX_BYTES, Rating, allowed, artifact_path, media_of

_TRIES = 3
"""Pictures of a model that are looked at before it goes without one."""


def with_preview(pin: Pin, request: Request, world: World) -> Pin:
    """Return `pin` with the preview that the request asks for, as one more file; without one where there is none.

    A model is never kept back by its picture: what cannot be had, is no picture or is too large is a warning.
    """
    if request.preview is None:
        return pin
    about = pin.about.get("civitai")
    told = about.get("previews") if isinstance(about, dict) else ()
    most = cast("Rating", request.rating)
    chosen = [request.preview] if request.preview else [str(each["url"]) for each in allowed(told, most)][:_TRIES]
    for url in chosen:
        try:
            found = learn(url, world)
        except SourceError as error:
            world.warn(f"{request.variant}: no preview from {inert(redact(url))[:200]}: {error.problems[0].summary}")
        else:
            return replace(pin, files=tuple(sorted((*pin.files, found), key=lambda each: each.path)))
    return pin


def learn(url: str, world: World) -> Artifact:
    """Read a picture or video and return it as a file of a pin; raise SourceError for what is none, or too large."""
    data = _local(url) if url.startswith("file:") else https.read(url, _trusting(url, world), MAX_BYTES)
    media = media_of(data[:HEAD])
    if media is None:
        raise SourceError("this is no picture or video that a viewer of previews shows", where=redact(url))
    digest = Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")
    address = _path(url).as_uri() if url.startswith("file:") else url
    return Artifact(artifact_path(media), len(data), digest, url=address, media_type=media)


def locate(artifact: Artifact, world: World) -> Located:
    """Say where a preview is now; raise SourceError when it is gone or another."""
    if artifact.url.startswith("file:"):
        return file.locate(artifact.url, None, artifact, world)
    return https.locate(artifact.url, None, artifact, _trusting(artifact.url, world))


def _trusting(url: str, world: World) -> World:
    """Allow the pictures of the Civitai that was chosen: one on this machine keeps them on this machine."""
    host = urls.origin(url)[1]
    return world.trusting([host]) if host == urls.origin(world.civitai)[1] else world


def _path(url: str) -> Path:
    return Path(parse(url).path)


def _local(url: str) -> bytes:
    try:
        with open(_path(url), "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror}", where=url) from None
    if len(data) > MAX_BYTES:
        raise SourceError(f"larger than {MAX_BYTES >> 20} MiB", where=url)
    return data
