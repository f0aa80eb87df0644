"""Where bytes come from: one module a kind of source, and the table of them.

A source module is a `Source`: it judges a reference, resolves it to exact files, and says where their bytes are.
The modules are imported when they are first needed.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import NamedTuple, Protocol, cast

from reconciler.errors import SourceError
from reconciler.located import Located
from reconciler.references import EXPECTED, meant
from reconciler.secrets import Secret
from reconciler.sources.world import World
from reconciler.state import Artifact, Pin
from reconciler.ui.previews import is_preview

__all__ = [
    "SOURCES", "Located", "Request", "Secret", "Source", "World", "access", "check", "locate", "resolve",
    "scheme_of", "source_of",
]  # fmt: skip

SOURCES: Mapping[str, str] = {
    "hf": "huggingface", "https": "https", "http": "https", "file": "file", "ollama": "ollama",
    "civitai": "civitai", "urn": "airs",
}  # fmt: skip
"""Scheme -> module of this package."""


class Request(NamedTuple):
    """What the manifest asks of one variant's source. `where` is `file:line:column` of its declaration.

    `files` and `exclude` are globs; no `files` means all. `revision` and `sha256` are the pin by hand: a commit, tag
    or branch (of an Ollama model the digest of its manifest), and a digest (of the one file, or by path, 64 hex).
    `support` is the source that lends missing config and tokenizer files; `support_revision` keeps it at a commit that
    is locked already. `headers` asks for what GGUF files say of themselves, from which a store makes small files.
    `listing` asks for names and sizes alone: no body is read, and a digest that only a body tells is `UNREAD`.
    """

    variant: str
    where: str
    source: str
    files: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    support: str | None = None
    revision: str | None = None
    sha256: str | Mapping[str, str] | None = None
    insecure: bool = False
    support_revision: str | None = None
    headers: bool = False
    listing: bool = False
    preview: str | None = None
    """The picture beside an image model: an address, '' for the first that `rating` allows, None for none."""
    rating: str = "pg"


class Source(Protocol):
    """One kind of source. Everything but `check` may ask upstream, and raises a SourceError when that fails."""

    def check(self, reference: str, *, insecure: bool = False) -> None:
        """Raise ValueError, with the reason, when `reference` is not of this source's shape. Pure."""

    def resolve(self, request: Request, world: World) -> Pin:
        """Ask upstream now: revision, and path, size and digest of every selected file. Without the support files."""

    def current(self, request: Request, world: World) -> str | None:
        """Ask upstream which revision `request` means now; None where a source has no revisions."""

    def locate(self, source: str, revision: str | None, artifact: Artifact, world: World) -> Located:
        """Say where the bytes are now, and that upstream still has the locked ones there. Called by many threads."""

    def access(self, pin: Pin, world: World) -> str | None:
        """Say why the files of `pin` could not be fetched now, None when they could or nobody can tell."""


def scheme_of(reference: str) -> str:
    """Return what stands before the first colon, lower case; '' when there is none."""
    scheme, colon, _ = reference.partition(":")
    return scheme.lower() if colon else ""


def source_of(reference: str) -> Source:
    """Return the source that serves `reference`; raise ValueError, with the reason, when there is none."""
    scheme = scheme_of(reference)
    if scheme in SOURCES:
        return cast("Source", importlib.import_module(f"{__name__}.{SOURCES[scheme]}"))
    near = meant(reference)
    more = f"did you mean {near[:200]}?" if near else f"expected {EXPECTED}"
    raise ValueError(f"{reference[:100]!r} names no kind of source; {more}")


def check(reference: str, *, insecure: bool = False) -> None:
    """Raise ValueError, with the reason, when a manifest must not say `source: reference`. Pure."""
    source_of(reference).check(reference, insecure=insecure)


def resolve(request: Request, world: World) -> Pin:
    """Ask upstream now for everything that the lock holds of one variant, support files included.

    Raise ValueError for a reference of the wrong shape, SourceError when upstream refuses.
    """
    from reconciler.sources.support import lend

    pin = source_of(request.source).resolve(request, world)
    pin = lend(pin, request, world)
    if request.preview is not None:
        from reconciler.sources.previews import with_preview

        pin = with_preview(pin, request, world)
    if request.headers:
        from reconciler.sources.headers import with_headers

        return with_headers(pin, world)
    return pin


def locate(source: str, revision: str | None, artifact: Artifact, world: World) -> Located:
    """Say where the bytes of `artifact` are now.

    `source` and `revision` are the pin's, or those of its support repository when the artifact is a support file.
    Raise a SourceError when they are not there, not ours to have, or not the locked ones any more.
    """
    try:
        if is_preview(artifact):
            from reconciler.sources.previews import locate as locate_preview

            return locate_preview(artifact, world)
        return source_of(source).locate(source, revision, artifact, world)
    except ValueError as error:
        raise SourceError(str(error), where=source) from None


def access(pin: Pin, world: World) -> str | None:
    """Say why the files of `pin` could not be fetched now (gated, private, gone), None when they could."""
    reason = source_of(pin.source).access(pin, world)
    if reason is None and pin.support is not None:
        lent = tuple(file._replace(support=False) for file in pin.files if file.support)
        support = Pin(pin.support.source, pin.support.revision, lent)
        reason = source_of(support.source).access(support, world)
    return reason
