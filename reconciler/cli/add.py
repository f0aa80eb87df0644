"""`reconciler add`: put one more variant into the manifest and its lock."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli import session
from reconciler.errors import InputError

if TYPE_CHECKING:
    from reconciler.importing.merge import Merged
    from reconciler.importing.target import Target
    from reconciler.sources import World
    from reconciler.state import Pin

_INTO = "added.yaml"
"""The file of a directory of manifests that takes what is added."""


def command(
    words: Annotated[
        list[str], typer.Argument(metavar="[MANIFEST] SOURCE", help="The manifest, then hf:owner/repo or the like.")
    ],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Its name; default: made by the rule.")] = None,
    location: Annotated[str | None, typer.Option(metavar="LOCATION", help="Where; default: by the routes.")] = None,
    files: Annotated[
        list[str] | None, typer.Option("--files", metavar="GLOB", help="Files to take; may stand several times.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Files to leave out.")] = None,
    role: Annotated[
        list[str] | None, typer.Option("--role", metavar="ROLE", help="A role that it serves, as the last choice.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow plain http, or an address in a private network.")
    ] = False,
    json: session.Json = False,
) -> int:
    """Add a variant to the manifest: ask its source, name it, write manifest and lock.

    Comments and order of the manifest stay. Nothing is downloaded: `plan` shows what apply would do. A repository of
    several GGUF quants is refused until --files says which.

    \b
    Examples:
      reconciler add hf:Qwen/Qwen2.5-7B-Instruct-GGUF --files '*q4_k_m*.gguf'
      reconciler add workstation.yaml hf:Qwen/Qwen2.5-7B-Instruct --role chat
      reconciler add hf:owner/repo@branch --name mine --location weights
    """
    from reconciler.importing import Found
    from reconciler.importing.merge import merge, write
    from reconciler.importing.target import open_target

    if len(words) > 2:
        raise InputError(f"unexpected {words[2]!r}", hint="one at a time: `reconciler add [MANIFEST] SOURCE`")
    source = words[-1]
    target = open_target(words[0] if len(words) == 2 else None, _INTO)
    said: dict[str, Any] = {"source": source, **({"insecure": True} if insecure else {})}
    said |= {key: list(given) for key, given in (("files", files), ("exclude", exclude)) if given}
    if location is not None:
        said["location"] = location
    _check(target, name, location)
    world = session.upstream(target.loaded, offline=False)
    pin = _resolved(said, world)
    if not files:
        _refuse_several_quants(pin, source)
    merged = merge(target, [Found(said, pin, name, roles=tuple(role or ()))], roles_of_known=True)
    merged = _completed(merged, world)
    [row] = merged.rows
    if row.kind in ("problem", "left-out"):
        raise InputError(row.why, where=source)
    written = write(merged)
    _tell(merged, pin, [str(path) for path in written], json)
    return 0


def _check(target: Target, name: str | None, location: str | None) -> None:
    """Raise InputError for a name that is taken, and a location that is not there."""
    from reconciler.inert import inert, suggest

    manifest = target.loaded.manifest if target.loaded else None
    if name is not None:
        from reconciler.declared import check_name

        try:
            check_name(name)
        except ValueError as error:
            raise InputError(str(error), where="--name") from None
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


def _resolved(said: dict[str, Any], world: World) -> Pin:
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
    from dataclasses import replace

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
    from reconciler.inert import human_bytes, inert

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


def _tell(merged: Merged, pin: Pin, written: Sequence[str], json: bool) -> None:
    from reconciler.inert import human_bytes, inert

    [row] = merged.rows
    known = row.kind == "known"
    if json:
        size = sum(file.size for file in pin.files)
        session.say_json({
            "variant": row.what, "known": known, "written": list(written), "revision": pin.revision,
            "files": len(pin.files), "bytes": size,
        })  # fmt: skip
        return
    if known and not written:
        session.say([f"{inert(row.what)} is that already; nothing changed."])
        return
    session.say([
        f"+ {inert(row.what)}  {inert(pin.source)}  {(pin.revision or '')[:7]}  "
        f"{human_bytes(sum(file.size for file in pin.files))}",
        f"Wrote {' and '.join(map(inert, written))}.",
    ])  # fmt: skip
