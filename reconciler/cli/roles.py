"""`reconciler roles`: what serves what, in order of preference, what of it is there, and whether it can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciler.cli import session

if TYPE_CHECKING:
    from reconciler.audit.serving import Judged
    from reconciler.manifest import Loaded
    from reconciler.state import Pin, Record


class _Place(NamedTuple):
    """One variant's place in the order of a role; `record` is None while it is not there."""

    role: str
    position: int
    variant: str
    record: Record | None
    judged: Judged


def command(manifest: session.Manifest = None, json: session.Json = False) -> int:
    """List each role with its variants in order of preference.

    A variant is recorded once an apply has placed or adopted it, and missing until then. What it is, by its files, is
    compared with what the role's name asks for (an embedding model under chat, a GGUF without its projector under
    caption), and a role that nothing can serve is told. Asks nobody on the network.

    \b
    Examples:
      reconciler roles
      reconciler roles workstation.yaml --json

    \b
    Exit codes: 0 listed; 1 error.
    """
    from reconciler.audit.knowing import pins_of
    from reconciler.manifest import load
    from reconciler.registry import records

    loaded = load(manifest)
    registry = session.open_registry(loaded)
    ours = {
        record.address.variant: record for record in records(registry) if record.manifest == loaded.identity
    }  # fmt: skip
    places = _places(loaded, ours, pins_of(loaded))
    if json:
        session.say_json({
            "manifest": {"path": str(loaded.path), "name": loaded.name},
            "roles": _document(loaded, places),
            "unfilled": _unfilled(loaded, places),
        })  # fmt: skip
    else:
        session.say(_text(loaded, places))
    return 0


def _text(loaded: Loaded, places: Sequence[_Place]) -> Iterator[str]:
    from reconciler.render.lines import counted, name
    from reconciler.render.tables import table

    if not loaded.manifest.roles:
        yield "The manifest declares no roles."
        return
    rows = [
        (p.role, p.position, p.variant, *_found(p.record), p.judged.kind, "recorded" if p.record else "missing")
        for p in places
    ]
    headers = ("role", "order", "variant", "location", "served as", "kind", "state")
    if rows:
        yield from table(
            rows, headers, width=session.width(), colour=session.colour(session.settings()),
            names="variant", spare=("kind", "served as"),
        )  # fmt: skip
        yield ""
    for place in places:
        if place.judged.warning:
            yield name(f"warning: {place.role}: {place.variant}: {place.judged.warning}")
    for role in _unfilled(loaded, places):
        yield name(f"unfilled: {role}: nothing that serves it is there")
    missing = len({place.variant for place in places if place.record is None})
    lacks = [f"{unfilled} unfilled"] if (unfilled := len(_unfilled(loaded, places))) else []
    lacks += [f"{counted(missing, 'variant')} missing"] if missing else []
    yield f"{counted(len(loaded.manifest.roles), 'role')}, {', '.join(lacks) or 'nothing missing'}."


def _places(loaded: Loaded, ours: Mapping[str, Record], pins: Mapping[str, Pin]) -> list[_Place]:
    from reconciler.audit.serving import judge

    return [
        _Place(role, position, variant, ours.get(variant), judge(role, ours.get(variant), pins.get(variant)))
        for role, variants in loaded.manifest.roles.items()
        for position, variant in enumerate(variants, start=1)
    ]


def _unfilled(loaded: Loaded, places: Sequence[_Place]) -> list[str]:
    """Return the roles that nothing recorded serves."""
    served = {place.role for place in places if place.record is not None}
    return [role for role in loaded.manifest.roles if role not in served]


def _found(record: Record | None) -> tuple[str | None, str | None]:
    return (record.address.location, record.attributes.served_as) if record else (None, None)


def _document(loaded: Loaded, places: Sequence[_Place]) -> dict[str, Any]:
    document: dict[str, list[dict[str, Any]]] = {role: [] for role in loaded.manifest.roles}
    for place in places:
        record = place.record
        document[place.role].append({
            "variant": place.variant,
            "position": place.position,
            "recorded": record is not None,
            "address": str(record.address) if record else None,
            "root": record.root if record else None,
            "path": record.home if record else None,
            "served_as": record.attributes.served_as if record else None,
            "kind": place.judged.kind,
            "warning": place.judged.warning or None,
        })  # fmt: skip
    return document
