"""`reconciler roles`: what serves what, in order of preference, and what of it is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciler.cli import session

if TYPE_CHECKING:
    from reconciler.manifest import Loaded
    from reconciler.state import Record


class _Place(NamedTuple):
    """One variant's place in the order of a role; `record` is None while it is not there."""

    role: str
    position: int
    variant: str
    record: Record | None


def command(manifest: session.Manifest = None, json: session.Json = False) -> int:
    """List each role with its variants in order of preference.

    A variant is recorded once an apply has placed or adopted it, and missing until then. Asks nobody on the network.

    \b
    Examples:
      reconciler roles
      reconciler roles workstation.yaml --json

    \b
    Exit codes: 0 listed; 1 error.
    """
    from reconciler.manifest import load
    from reconciler.registry import records

    loaded = load(manifest)
    registry = session.open_registry(loaded)
    ours = {
        record.address.variant: record for record in records(registry) if record.manifest == loaded.identity
    }  # fmt: skip
    places = _places(loaded, ours)
    if json:
        session.say_json({"manifest": {"path": str(loaded.path), "name": loaded.name}, "roles": _document(places)})
        return 0
    from reconciler.render.lines import counted
    from reconciler.render.tables import table

    if not places:
        session.say(["The manifest declares no roles."])
        return 0
    rows = [(p.role, p.position, p.variant, *_found(p.record), "recorded" if p.record else "missing") for p in places]
    headers = ("role", "order", "variant", "location", "served as", "state")
    session.say(table(rows, headers, width=session.width(), colour=session.colour(session.settings())))
    missing = len({place.variant for place in places if place.record is None})
    roles = counted(len({place.role for place in places}), "role")
    session.say(["", f"{roles}, {counted(missing, 'variant')} missing." if missing else f"{roles}, nothing missing."])
    return 0


def _places(loaded: Loaded, ours: Mapping[str, Record]) -> list[_Place]:
    return [
        _Place(role, position, variant, ours.get(variant))
        for role, variants in loaded.manifest.roles.items()
        for position, variant in enumerate(variants, start=1)
    ]


def _found(record: Record | None) -> tuple[str | None, str | None]:
    return (record.address.location, record.attributes.served_as) if record else (None, None)


def _document(places: Sequence[_Place]) -> dict[str, Any]:
    document: dict[str, list[dict[str, Any]]] = {}
    for place in places:
        record = place.record
        document.setdefault(place.role, []).append({
            "variant": place.variant,
            "position": place.position,
            "recorded": record is not None,
            "address": str(record.address) if record else None,
            "root": record.root if record else None,
            "path": record.home if record else None,
            "served_as": record.attributes.served_as if record else None,
        })  # fmt: skip
    return document
