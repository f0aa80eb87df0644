"""`reconciler list`: what is managed, as the registry has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciler.cli import session

if TYPE_CHECKING:
    from reconciler.content import Contents, Held
    from reconciler.state import ObservedLocation

_HEADERS = ("variant", "format", "quant", "size", "files", "revision", "roles", "source")
_LEAST_WANTED = ("source", "revision", "files", "roles", "quant", "format")
"""The columns that a narrow terminal goes without, the first first."""


class _Unmanaged(NamedTuple):
    files: int
    bytes: int


def command(manifest: session.Manifest = None, json: session.Json = False) -> int:
    """List the managed variants, as they were recorded.

    What is recorded was placed or adopted by an apply; whether it is still there is for `status` and `verify` to say.
    Files that are nobody's are counted for each location. Asks nobody on the network. A narrow terminal is shown fewer
    columns; a pipe and --json get them all.

    \b
    Examples:
      reconciler list
      reconciler list workstation.yaml --json
      reconciler list | grep gguf

    \b
    Exit codes: 0 listed; 1 error.
    """
    from reconciler.manifest import load
    from reconciler.survey import look

    loaded = load(manifest)
    contents = look(loaded, session.open_registry(loaded))
    ours = sorted(contents.ours, key=lambda held: (held.location, held.record.address.variant))
    unmanaged = {name: _unmanaged(contents, place) for name, place in contents.locations.items()}
    if json:
        session.say_json({
            "manifest": {"path": str(loaded.path), "name": loaded.name},
            "registry": {"path": str(loaded.registry)},
            "variants": [_variant(held) for held in ours],
            "locations": {name: _place(place, unmanaged[name]) for name, place in contents.locations.items()},
        })  # fmt: skip
    else:
        session.say(_text(ours, contents.locations, unmanaged))
    return 0


def _unmanaged(contents: Contents, place: ObservedLocation) -> _Unmanaged:
    """Count the files of a location that no manifest recorded, and their bytes."""
    notes = {(h.location, note.path) for h in (*contents.ours, *contents.theirs) for note in h.record.notes}
    nobodys = [
        file.size
        for path, file in place.files.items()
        if not any((place.name, path) in held for held in (contents.placed, contents.claimed, notes))
    ]
    return _Unmanaged(len(nobodys), sum(nobodys))


def _text(
    ours: Sequence[Held], locations: Mapping[str, ObservedLocation], unmanaged: Mapping[str, _Unmanaged]
) -> Iterator[str]:
    from reconciler.inert import human_bytes
    from reconciler.render.lines import counted, name
    from reconciler.render.tables import table

    width, colour = session.width(), session.colour(session.settings())
    if ours:
        rows = [_row(held) for held in ours]
        kept = _columns(rows, width)
        chosen = [tuple(row[column] for column in kept) for row in rows]
        yield from table(chosen, [_HEADERS[column] for column in kept], width=width, colour=colour)
        yield ""
    places = [
        (
            place.name, place.store, place.root, human_bytes(place.free_bytes) if place.readable else None,
            _state(place, unmanaged[place.name]),
        )
        for place in locations.values()
    ]  # fmt: skip
    if places:
        yield from table(places, ("location", "store", "root", "free", "unmanaged"), width=width, colour=colour)
        yield ""
    for place in locations.values():
        if not place.readable:
            yield f"unreadable: {name(place.name)}: {name(place.why)}"
    size = sum(_size(held) for held in ours)
    yield f"{counted(len(ours), 'variant')} managed ({human_bytes(size)})." if ours else "Nothing is managed yet."


def _state(place: ObservedLocation, unmanaged: _Unmanaged) -> str:
    from reconciler.inert import human_bytes
    from reconciler.render.lines import counted

    if not place.readable:
        return "unreadable"
    if not place.exists:
        return "not there yet"
    return f"{counted(unmanaged.files, 'file')} ({human_bytes(unmanaged.bytes)})" if unmanaged.files else "none"


def _size(held: Held) -> int:
    return sum(placed.size for placed in held.record.files)


def _row(held: Held) -> tuple[object, ...]:
    from reconciler.inert import human_bytes, short_revision

    said, pin = held.record.attributes, held.record.pin
    return (
        f"{held.record.address.variant}@{held.location}", said.format, said.quant, human_bytes(_size(held)),
        len(held.record.files), short_revision(pin.revision) if pin.revision else None,
        ", ".join(f"{role}:{position}" for role, position in said.roles), pin.source,
    )  # fmt: skip


def _columns(rows: Sequence[Sequence[object]], width: int | None) -> list[int]:
    """Return the columns to show: all, or without the least wanted ones until what is left fits."""
    from reconciler.render.lines import cells

    needs = [
        max(cells(header), *(cells(str(row[column] or "")) for row in rows)) for column, header in enumerate(_HEADERS)
    ]
    kept = list(range(len(_HEADERS)))
    for header in _LEAST_WANTED:
        if width is None or sum(needs[column] + 2 for column in kept) - 2 <= width:
            break
        kept.remove(_HEADERS.index(header))
    return kept


def _variant(held: Held) -> dict[str, Any]:
    record, said = held.record, held.record.attributes
    return {
        "address": f"{record.address.variant}@{held.location}",
        "source": record.pin.source,
        "revision": record.pin.revision,
        "format": said.format,
        "quant": said.quant,
        "backend": said.backend,
        "served_as": said.served_as,
        "license": said.license,
        "protect": said.protect,
        "roles": dict(said.roles),
        "root": record.root,
        "path": record.home,
        "bytes": _size(held),
        "files": [{"path": each.path, "size": each.size, "digest": each.digest} for each in record.files],
        "generation": record.generation,
    }


def _place(place: ObservedLocation, unmanaged: _Unmanaged) -> dict[str, Any]:
    return {
        "store": place.store,
        "root": place.root,
        "exists": place.exists,
        "readable": place.readable,
        "why": place.why or None,
        "free_bytes": place.free_bytes,
        "unmanaged": unmanaged._asdict(),
    }
