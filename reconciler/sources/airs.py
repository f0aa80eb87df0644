"""AIRs (`urn:air:…`): each is served by the source that it names, Civitai or the Hub.

https://developer.civitai.com/site/guide/air
"""

from __future__ import annotations

from difflib import get_close_matches

from reconciler.errors import NotFoundError, SourceError
from reconciler.inert import inert
from reconciler.located import Located
from reconciler.references import Reference, parse
from reconciler.sources import Request, World, civitai, huggingface, selection
from reconciler.state import Artifact, Pin


def check(reference: str, *, insecure: bool = False) -> None:
    """Raise ValueError, with the reason, when `reference` is no AIR of something that can be fetched."""
    parse(reference)


def resolve(request: Request, world: World) -> Pin:
    """Resolve as the source that is named does. An AIR of the Hub with a path means that one file."""
    reference = _reference(request.source)
    if reference.scheme == "civitai":
        return civitai.resolve(request, world)
    found = huggingface.listing(_hub(reference), request.revision, world)
    files = found.files
    if reference.path:
        files = tuple(file for file in files if file.path == reference.path)
        if not files:
            near = get_close_matches(reference.path, [file.path for file in found.files], n=1)
            hint = f"did you mean {inert(near[0])}?" if near else "look at the files of the repository"
            what = f"there is no {inert(reference.path)[:200]} at this revision"
            raise NotFoundError(what, where=request.source, hint=hint)
    return Pin(request.source, found.revision, selection.select(files, request), found.license)


def current(request: Request, world: World) -> str | None:
    """Ask which revision is meant now."""
    reference = _reference(request.source)
    if reference.scheme == "civitai":
        return civitai.current(request, world)
    return huggingface.current(request._replace(source=_hub(reference)), world)


def locate(source: str, revision: str | None, artifact: Artifact, world: World) -> Located:
    """Say where the bytes are now, as the source that is named does."""
    reference = _reference(source)
    if reference.scheme == "civitai":
        return civitai.locate(source, revision, artifact, world)
    return huggingface.locate(_hub(reference), revision, artifact, world)


def access(pin: Pin, world: World) -> str | None:
    """Say why the files could not be fetched now, as the source that is named does."""
    reference = _reference(pin.source)
    if reference.scheme == "civitai":
        return civitai.access(pin, world)
    return huggingface.access(Pin(_hub(reference), pin.revision, pin.files), world)


def _reference(source: str) -> Reference:
    try:
        return parse(source)
    except ValueError as error:
        raise SourceError(str(error), where=source[:200]) from None


def _hub(reference: Reference) -> str:
    """Return an AIR of the Hub as a source of its own form: without the path, which selects a file."""
    at = f"@{reference.revision}" if reference.revision else ""
    return f"hf:{reference.repository}{at}"
