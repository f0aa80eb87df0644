"""Put into a pin what the headers of its GGUF files say: architecture, type, size. Their first bytes are asked for.

A store such as Ollama's makes small files from it, so that it must be known when the plan is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from reconciler import sources
from reconciler.abreast import abreast
from reconciler.detect.gguf import Start, read_start
from reconciler.errors import ReconcilerError, SourceError
from reconciler.inert import inert
from reconciler.located import Located
from reconciler.secrets import redact
from reconciler.sources import urls
from reconciler.sources.world import World
from reconciler.state import Artifact, Pin

KEY = "gguf"
"""Key of `Pin.about`: path of an artifact -> what its header says."""

FIRST, MOST = 64 << 10, 1 << 20
"""Bytes of a file that are asked for, and once more when they were too few: a quantiser writes `general.file_type`
behind the vocabulary, which has some hundred KiB in small models and some MiB in large ones. There we give up."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def is_header(path: str) -> bool:
    """Whether a file at `path` has a header that we read."""
    return path.lower().endswith(".gguf")


def with_headers(pin: Pin, world: World) -> Pin:
    """Return `pin` with `about["gguf"]`, when it has such files. Never fatal.

    A file whose header cannot be read is left out with a warning; the key is there all the same, so that nobody asks
    again until the lock is upgraded.
    """
    files = [file for file in pin.files if is_header(file.path) and not file.support]
    if not files:
        return pin
    world = replace(world, small=0)  # `locate` is to say where the bytes are, not whom to ask
    told = abreast(lambda file: _told(pin, file, world), files, 4, "headers")
    facts = {file.path: said for file, said in zip(files, told, strict=True) if said is not None}
    return replace(pin, about={**pin.about, KEY: facts})


def facts_of(start: Start) -> Mapping[str, Any]:
    """Return what the lock keeps of a header: JSON values; None and '' where the header does not say. Pure."""
    counted = start.metadata.get("general.parameter_count")
    parameters = counted if start.parameters is None and type(counted) is int else start.parameters
    return {
        "architecture": start.architecture,
        "file_type": start.file_type,
        "size_label": start.size_label,
        "parameters": parameters,
        "type": start.kind,
    }


def _told(pin: Pin, file: Artifact, world: World) -> Mapping[str, Any] | None:
    try:
        located = sources.locate(pin.source, pin.revision, file, world)
        trusted = _is_trusted(located.url, pin.source, world)
        start = read_start(_first_bytes(located, min(FIRST, file.size), trusted, world), file.size)
        if file.size > FIRST and not start.whole:
            start = read_start(_first_bytes(located, min(MOST, file.size), trusted, world), file.size)
    except (ReconcilerError, ValueError, OSError) as error:  # MalformedHeader is a ValueError
        why = inert(redact(str(error), [world.token]))[:300]
        world.warn(f"{pin.source}: the header of {inert(file.path)} cannot be read, names must do: {why}")
        return None
    return facts_of(start)


def _first_bytes(located: Located, count: int, trusted: bool, world: World) -> bytes:
    """Return at most `count` bytes from the beginning, also of a server that knows no ranges."""
    if located.url.startswith("file:"):
        with Path(unquote(urlsplit(located.url).path)).open("rb") as stream:
            return stream.read(count)
    from reconciler.sources import wire

    url, headers = located.url, dict(located.headers)
    for _ in range(urls.HOPS + 1):
        sent = {**headers, "Range": f"bytes=0-{count - 1}"}
        answer = wire.send("GET", url, world, sent, limit=count, public=not trusted)
        location = answer.headers.get("location")
        if answer.status not in _REDIRECTS or not location:
            break
        target = urls.follow(url, location, private=trusted)
        if urls.origin(target) != urls.origin(url):
            headers = {}
        url = target
    if answer.status not in (200, 206):
        raise SourceError(f"{urls.origin(url)[1]} answers {answer.status}", where=redact(url))
    return answer.body


def _is_trusted(url: str, source: str, world: World) -> bool:
    """Whether the address may lead to this machine or a private network: the manifest or HF_ENDPOINT says so."""
    host = urls.origin(url)[1]
    mirrored = sources.scheme_of(source) == "hf" and urls.origin(world.endpoint) != urls.origin(urls.HUB)
    return host in world.insecure or mirrored
