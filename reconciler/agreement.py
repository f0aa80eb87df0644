"""Whether a locked pin still answers what the manifest asks, and in what it does not. Pure: nobody is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping

from reconciler import sources
from reconciler.globs import matches
from reconciler.inert import inert
from reconciler.references import parse
from reconciler.sources import Request, headers, selection
from reconciler.state import Artifact, Pin
from reconciler.ui.previews import is_preview

_HEX = re.compile(r"[0-9a-f]{7,40}")


def fits(pin: Pin, request: Request) -> bool:
    """Whether the locked pin still answers what the manifest asks.

    The lock holds no globs, so the pin's own paths decide: each must be selected, and each pattern must select one.
    """
    return mismatch(pin, request) is None


def mismatch(pin: Pin, request: Request) -> str | None:
    """Say in what the locked pin does not answer what the manifest asks, None when it does."""
    if pin.source != asked_source(request):
        return f"the lock is of {inert(pin.source)}"
    if pins_another(request, pin):
        return f"the lock is at {pin.revision}, and the manifest pins {inert(request.revision or '')}"
    if (pin.support.source if pin.support else None) != request.support:
        return "the support repository is another"
    # One that could not be had is missing in the lock: that keeps nothing back, and `lock --upgrade` tries again.
    if request.preview and any(is_preview(file) and file.url != request.preview for file in pin.files):
        return "the preview is another"
    own = [file for file in pin.files if not file.support and not is_preview(file)]
    for file in own:
        if not selection.is_selected(file.path, request):
            return f"{inert(file.path)} is locked and not selected any more"
    for pattern in request.files:
        if not any(matches(pattern, file.path) for file in own):
            return f"nothing that is locked matches {inert(pattern)!r}"
    if not own:
        return "no files are locked"
    if request.headers and headers.KEY not in pin.about and any(headers.is_header(file.path) for file in own):
        return "it does not hold what the headers of the GGUF files say, and an Ollama location needs that"
    return _hand_mismatch(own, request)


def asked_source(request: Request) -> str:
    """Return the source as the lock names it: a branch or tag pinned by hand stands in it, so that a change shows."""
    if request.revision is None or _HEX.fullmatch(request.revision) or sources.scheme_of(request.source) != "hf":
        return request.source
    return f"{request.source.partition('@')[0]}@{request.revision}"


def pins_another(request: Request, pin: Pin) -> bool:
    """Whether the manifest pins by hand what never moves, and not what is locked."""
    if request.revision is None:
        return False
    if sources.scheme_of(request.source) == "ollama":
        digest = request.revision.lower().replace("-", ":", 1).removeprefix("sha256:")
        return (pin.revision or "") != f"sha256:{digest}"
    if parse(request.source).scheme == "civitai":  # a number of a version, whole: 123 is not 1234
        return pin.revision != request.revision
    return _HEX.fullmatch(request.revision) is not None and not (pin.revision or "").startswith(request.revision)


def _hand_mismatch(own: list[Artifact], request: Request) -> str | None:
    if request.sha256 is None:
        return None
    if isinstance(request.sha256, str) and len(own) != 1:
        return "the manifest gives one sha256 for several files"
    if isinstance(request.sha256, Mapping) and not request.sha256.keys() <= {file.path for file in own}:
        return "the manifest gives a sha256 for a file that is not locked"
    for file in own:
        given = selection.hand_digest(file.path, request, len(own))
        if given is not None and given != file.digest:
            return f"{inert(file.path)} is locked as {file.digest}, and the manifest pins {given}"
    return None
