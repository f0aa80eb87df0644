"""Declare one more variant: ask its source what it is, name it, and give it a place in manifest and lock."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reconciler.errors import InputError
from reconciler.inert import human_bytes, inert, suggest

if TYPE_CHECKING:
    from reconciler.importing.merge import Merged
    from reconciler.importing.target import Target
    from reconciler.sources import World
    from reconciler.state import Pin

INTO = "added.yaml"
"""The file of a directory of manifests that takes what is added."""


def add(
    target: Target, said: Mapping[str, Any], world: World, *, name: str | None = None, roles: Sequence[str] = ()
) -> tuple[Merged, Pin]:
    """Return manifest and lock with one more variant, and its pin; `importing.writing.write` writes them.

    `said` is what the manifest will say of it, `source` at least, which may be the web address of a model of the Hub
    or of Civitai; without `name` the rule makes one; `roles` are those that it serves as the last choice. Raise
    InputError for what cannot be added, and for several quants side by side that no `files` chooses from; SourceError
    when the source refuses.
    """
    from reconciler.importing import Found
    from reconciler.importing.merge import merge
    from reconciler.importing.pictures import with_pictures

    said = _of_page(said)
    _check(target, name, said.get("location"))
    pin = _resolved(said, world)
    if not said.get("files"):
        _refuse_several_quants(pin, said["source"])
    merged = merge(target, [Found(said, pin, name, roles=tuple(roles))])
    merged = with_pictures(_completed(merged, world), world)
    [row] = merged.rows
    if row.kind in ("problem", "left-out"):
        raise InputError(row.why, where=said["source"])
    return merged, pin


def _of_page(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the manifest will say, where the web address of a page or file was given instead of a source."""
    from reconciler import links

    source = str(said["source"])
    try:
        meant, _ = links.fields_of(source)
    except ValueError as error:
        raise InputError(str(error), where=source.partition("?")[0]) from None
    return {**meant, **said, "source": meant["source"]}


def _check(target: Target, name: str | None, location: str | None) -> None:
    """Raise InputError for a name that is taken, and a location that is not there."""
    manifest = target.loaded.manifest if target.loaded else None
    if name is not None:
        from reconciler.declared import check_name

        try:
            check_name(name)
        except ValueError as error:
            raise InputError(str(error), where=inert(name)) from None
        if manifest is not None and name in manifest.variants:
            raise InputError(
                f"there is a variant `{inert(name)}` already", where=target.shown, hint="choose another name"
            )
    places = list(manifest.locations) if manifest else []
    if location is not None and location not in places:
        near = suggest(location, places)
        there = f"there are: {', '.join(places)}" if places else "declare one in `locations`"
        hint = f"did you mean `{near}`?" if near else there
        raise InputError(f"there is no location `{inert(location)}`", where=target.shown, hint=hint)


def _resolved(said: Mapping[str, Any], world: World) -> Pin:
    """Ask the source what it means now; raise InputError for what is no source, SourceError when it refuses."""
    from reconciler import resolve, sources
    from reconciler.importing.claims import request_of

    try:
        sources.check(said["source"], insecure="insecure" in said)
        return resolve.ask(request_of("", said), world)
    except ValueError as error:
        raise InputError(str(error), where=said["source"]) from None


def _completed(merged: Merged, world: World) -> Merged:
    """Ask again for what the place of the variant wants in its pin besides (headers of GGUF files, a preview)."""
    from reconciler import lockfile, resolve

    if merged.loaded is None:
        return merged
    pins = dict(merged.lock.pins)
    for request in resolve.requests(merged.loaded):
        if request.variant in merged.names and not (
            request.variant in pins and resolve.fits(pins[request.variant], request)
        ):
            pins[request.variant] = resolve.ask(request, world)
    return replace(merged, lock=lockfile.Lock(pins=pins))


def _refuse_several_quants(pin: Pin, source: str) -> None:
    from reconciler.detect import rules

    size = {file.path: file.size for file in pin.files}
    quants = rules.quants_of(size)
    if len(quants) < 2:
        return
    told = ", ".join(
        f"{inert(quant) or '?'} ({human_bytes(sum(size[path] for path in paths))})" for quant, paths in quants.items()
    )
    first = next(iter(quants.values()))[0]
    raise InputError(
        f"several quants side by side: {told}",
        where=source,
        hint=f"say which: `--files {shlex.quote(inert(first))}`, or a glob",
    )
