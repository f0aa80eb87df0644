"""`reconciler list`: what is managed, as the registry has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from reconciler.cli import session
from reconciler.errors import InputError

if TYPE_CHECKING:
    from reconciler.audit.inventory import Filter, Item
    from reconciler.content import Contents
    from reconciler.manifest import Loaded
    from reconciler.registry import Registry
    from reconciler.state import ObservedLocation

_DEFAULT = ("variant", "format", "quant", "size", "files", "revision", "roles", "source")
_LEAST_WANTED = ("source", "revision", "files", "roles", "quant", "format", "state")
"""The columns that a narrow terminal goes without, the first first; not those that were asked for."""


_NAME = 30
"""Columns that a name is left at least."""
_FEW = 12
"""Values of a column that are named where none of them was meant."""


class _Unmanaged(NamedTuple):
    files: int
    bytes: int


def command(
    manifest: session.Manifest = None,
    format_: Annotated[list[str] | None, typer.Option("--format", metavar="GLOB", help="As gguf.")] = None,
    quant: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="As 'q4_*'; - for none.")] = None,
    location: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Only those there.")] = None,
    backend: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="As vllm; - for none.")] = None,
    role: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="As chat; - for none.")] = None,
    license_: Annotated[list[str] | None, typer.Option("--license", metavar="GLOB", help="As 'apache-*'.")] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="ok, modified, missing, unreadable, undeclared, absent (declared only)."),
    ] = None,
    details: Annotated[bool, typer.Option("--details", help="Print every fact of each, one a line.")] = False,
    columns: Annotated[str | None, typer.Option(metavar="A,B,C", help="These columns, in this order.")] = None,
    json: session.Json = False,
) -> int:
    """List the managed variants, as they were recorded.

    What is recorded was placed or adopted by an apply; --state and --details look at the files too, and read those
    that changed. Files that are nobody's are counted for each location. Filters may stand several times; different
    ones must all fit. Asks nobody on the network. A narrow terminal is shown fewer columns; a pipe and --json get them
    all.

    \b
    Examples:
      reconciler list
      reconciler list workstation.yaml --json
      reconciler list --format gguf --quant 'q4_*' --columns name,size,path
      reconciler list --state missing --state modified --details

    \b
    Exit codes: 0 listed; 1 error.
    """
    from reconciler.audit.inventory import Filter, as_value
    from reconciler.manifest import load

    chosen = _chosen(columns)
    states = _states(state)
    loaded = load(manifest)
    looked = bool(states) or details or "state" in chosen
    contents, items = _look(loaded, session.open_registry(loaded), states=looked, declared="absent" in states)
    wanted = Filter({
        "format": format_ or (), "quant": quant or (), "location": location or (), "backend": backend or (),
        "role": role or (), "license": license_ or (), "state": states,
    })  # fmt: skip
    filtered = any(wanted.wanted.values())
    everything, items = items, [item for item in items if wanted.takes(item)]
    unmanaged = {name: _unmanaged(contents, place) for name, place in contents.locations.items()}
    if json:
        session.say_json({
            "manifest": {"path": str(loaded.path), "name": loaded.name},
            "registry": {"path": str(loaded.registry)},
            "variants": [as_value(item) for item in items],
            "locations": {name: _place(place, unmanaged[name]) for name, place in contents.locations.items()},
        })  # fmt: skip
    elif details:
        session.say(_details(items))
        session.say(() if items else _nothing(wanted, everything))
    else:
        session.say(_table(items, chosen, asked=columns is not None or bool(states)))
        session.say(() if filtered else _locations(contents.locations, unmanaged))
        if items or not filtered:
            session.say([_ending(items, loaded, filtered=filtered)])
        else:
            session.say(_nothing(wanted, everything))
    return 0


def _chosen(columns: str | None) -> tuple[str, ...]:
    """Return the columns that were asked for. Raise InputError for one that there is not."""
    if columns is None:
        return _DEFAULT
    from reconciler.audit.inventory import COLUMNS
    from reconciler.inert import suggest

    names = tuple(name.strip() for name in columns.split(",") if name.strip())
    for name in names:
        if name not in COLUMNS:
            near = suggest(name, COLUMNS)
            raise InputError(
                f"--columns: no column {name[:40]!r}",
                hint=f"did you mean {near}?" if near else f"there are {', '.join(COLUMNS)}",
            )
    if not names:
        raise InputError("--columns: names no column", hint=f"there are {', '.join(COLUMNS)}")
    return names


def _states(globs: Sequence[str] | None) -> tuple[str, ...]:
    """Return the states that globs mean. Raise InputError for a glob that means none."""
    from reconciler.audit.inventory import STATES
    from reconciler.globs import matches_text

    for glob in globs or ():
        if not any(matches_text(glob, state) for state in STATES):
            raise InputError(f"--state: {glob[:40]!r} is no state", hint=f"there are {', '.join(STATES)}")
    return tuple(state for state in STATES if any(matches_text(glob, state) for glob in globs or ()))


def _look(loaded: Loaded, registry: Registry, *, states: bool, declared: bool) -> tuple[Contents, list[Item]]:
    """Look at what is recorded, with `states` at its files, and with `declared` at what is only declared as well."""
    from reconciler.audit import inventory
    from reconciler.survey import look
    from reconciler.verify import verify

    contents = look(loaded, registry)
    findings = None
    if states:
        with session.means(loaded, offline=True) as means:
            records = [held.record for held in contents.ours]
            findings = verify(records, contents.locations, means.digests, full=False, watch=means.watch).findings
    items = inventory.recorded(contents.ours, loaded.manifest.variants, findings)
    if declared:
        from reconciler.audit.knowing import only_declared

        items += only_declared(loaded, items)
    return contents, items


def _unmanaged(contents: Contents, place: ObservedLocation) -> _Unmanaged:
    """Count the files of a location that no manifest recorded, and their bytes."""
    notes = {(h.location, note.path) for h in (*contents.ours, *contents.theirs) for note in h.record.notes}
    nobodys = [
        file.size
        for path, file in place.files.items()
        if not any((place.name, path) in held for held in (contents.placed, contents.claimed, notes))
    ]
    return _Unmanaged(len(nobodys), sum(nobodys))


def _table(items: Sequence[Item], chosen: Sequence[str], *, asked: bool) -> Iterator[str]:
    from reconciler.audit.inventory import COLUMNS
    from reconciler.render.tables import table

    if not items:
        return
    width, colour = session.width(), session.colour(session.settings())
    usual = tuple(chosen) == _DEFAULT
    if usual and asked and any(item.state for item in items):
        chosen = ("variant", "state", *_DEFAULT[1:])
    rows = [tuple(COLUMNS[column](item) for column in chosen) for item in items]
    kept = _fitting(rows, chosen, width) if usual else range(len(chosen))
    yield from table(
        [tuple(row[column] for column in kept) for row in rows], [chosen[column].replace("_", " ") for column in kept],
        width=width, colour=colour,
    )  # fmt: skip
    yield ""


def _details(items: Iterable[Item]) -> Iterator[str]:
    """Yield each item with every fact that is known, and each file that is not as recorded."""
    from reconciler.audit.inventory import COLUMNS
    from reconciler.render.lines import name

    for number, item in enumerate(items):
        if number:
            yield ""
        yield name(str(COLUMNS["variant"](item)))
        for column, told in COLUMNS.items():
            value = told(item)
            if column not in ("variant", "name", "bytes") and value is not None:
                yield f"  {column.replace('_', ' '):<15}{name(str(value))}"
        yield from (f"  {'bad':<15}{name(path)}" for path in item.bad)


def _locations(locations: Mapping[str, ObservedLocation], unmanaged: Mapping[str, _Unmanaged]) -> Iterator[str]:
    from reconciler.inert import human_bytes
    from reconciler.render.lines import name
    from reconciler.render.tables import table

    places = [
        (
            place.name, place.store, place.root,
            human_bytes(place.free_bytes) if place.readable and not place.by_api else None,
            _state(place, unmanaged[place.name]),
        )
        for place in locations.values()
    ]  # fmt: skip
    if places:
        headers = ("location", "store", "root", "free", "unmanaged")
        yield from table(places, headers, width=session.width(), colour=session.colour(session.settings()))
        yield ""
    for place in locations.values():
        if not place.readable:
            yield f"unreadable: {name(place.name)}: {name(place.why)}"


def _ending(items: Sequence[Item], loaded: Loaded, *, filtered: bool) -> str:
    from reconciler.inert import human_bytes
    from reconciler.render.lines import counted

    size = human_bytes(sum(item.size for item in items))
    if filtered:
        return f"{counted(len(items), 'variant')} ({size})."
    lacking = len(loaded.manifest.variants.keys() - {item.address.variant for item in items})
    more = f"; {lacking} declared and not recorded (`--state absent`)" if lacking else ""
    return (f"{counted(len(items), 'variant')} managed ({size})" if items else "Nothing is managed yet") + more + "."


def _nothing(wanted: Filter, items: Sequence[Item]) -> Iterator[str]:
    """Say that filters left nothing, and which of them nothing fits, with what there is instead."""
    from reconciler.audit.inventory import values
    from reconciler.render.lines import name

    yield "No variant is so."
    for column, globs in wanted.wanted.items():
        there = sorted({value for item in items for value in values(item, column)})
        if globs and there and not any(wanted.means(column, value) for value in there):
            said = ", ".join(globs)
            yield name(f"--{column} {said}: there are {', '.join(there[:_FEW])}{', …' * (len(there) > _FEW)}")


def _state(place: ObservedLocation, unmanaged: _Unmanaged) -> str:
    from reconciler.inert import human_bytes
    from reconciler.render.lines import counted

    if not place.readable:
        return "unreadable"
    if not place.exists:
        return "not there yet"
    return f"{counted(unmanaged.files, 'file')} ({human_bytes(unmanaged.bytes)})" if unmanaged.files else "none"


def _fitting(rows: Sequence[Sequence[object]], chosen: Sequence[str], width: int | None) -> list[int]:
    """Return the columns to show: all, or without the least wanted ones until what is left fits.

    A name that is longer than half of the terminal takes no column away: it is cut.
    """
    from reconciler.render.lines import cells

    needs = [
        max(cells(header), *(cells(str(row[column] or "")) for row in rows)) for column, header in enumerate(chosen)
    ]
    if width is not None:
        needs[0] = min(needs[0], max(width // 2, _NAME))
    kept = list(range(len(chosen)))
    for header in _LEAST_WANTED:
        if width is None or sum(needs[column] + 2 for column in kept) - 2 <= width:
            break
        if header in chosen:
            kept.remove(chosen.index(header))
    return kept


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
