"""What an importer is asked: the user's words, and what the manifest and its lock already tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.errors import InputError
from reconciler.importing.claims import of_manifest
from reconciler.importing.found import Origin, Request
from reconciler.importing.places import root_of
from reconciler.importing.target import Target
from reconciler.state import Digest, Pin

if TYPE_CHECKING:
    from reconciler.digests import Digests, Watch
    from reconciler.sources import World


def request_of(
    target: Target, args: Sequence[str], environ: Mapping[str, str], world: World, digests: Digests,
    watch: Watch | None = None, *, local: bool = False, online: bool = False, also: Iterable[str] = (),
) -> Request:  # fmt: skip
    """Return the request of an import into `target`; `args` is what stood behind the subject."""
    request = _known(target, args, environ, world, digests, watch)
    return replace(request, local=local, online=online, also=frozenset(also))


def refuse_both(*, online: bool, offline: bool) -> None:
    """Raise InputError when the Hub is to be searched and nobody is to be asked."""
    if online and offline:
        raise InputError(
            "--online and --offline exclude each other", hint="--online searches the Hub, --offline asks nobody"
        )


def _known(
    target: Target, args: Sequence[str], environ: Mapping[str, str], world: World, digests: Digests,
    watch: Watch | None,
) -> Request:  # fmt: skip
    pins, loaded = target.lock.pins, target.loaded
    known = _origins(pins.values())
    if loaded is None:
        return Request(tuple(args), environ, world, digests, watch, known=known)
    places = [place.model_dump(exclude_none=True) for place in loaded.manifest.locations.values()]
    return Request(
        tuple(args), environ, world, digests, watch, loaded.manifest.policy.pickle, known,
        of_manifest(loaded, pins).files(), {root_of(said): said["store"] for said in places if root_of(said)},
        has_routes=bool(loaded.manifest.routes),
    )  # fmt: skip


def _origins(pins: Iterable[Pin]) -> dict[Digest, Origin]:
    """Return digest -> pin and file for bytes that a lock knows a source of: the Hub before the others."""
    found: dict[Digest, Origin] = {}
    for pin in sorted(pins, key=lambda each: (not each.source.startswith("hf:"), each.source)):
        for file in pin.files:
            if not file.support and not pin.source.startswith("file:"):
                found.setdefault(file.digest, (pin, file))
    return found
