"""Lay what people wrote over what the tool found. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.registry.jsontext import Entry


def merge(discovered: Iterable[Entry], curated: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return one entry a name: discovered ones in their order, then those that only people know.

    Curated wins field by field, inside objects too; a list is replaced as a whole; null never overrides. Of two
    discovered entries of one name the later counts, in the place of the first. Entries that nothing was laid over
    are the very same objects.
    """
    merged: dict[str, Entry] = {}
    for entry in discovered:
        merged[entry["name"]] = entry
    for entry in curated:
        below = merged.get(entry["name"])
        merged[entry["name"]] = entry if below is None else overlay(below, entry)
    return tuple(merged.values())


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `below` with the fields of `above` over it; keys keep their places, new ones follow."""
    result = dict(below)
    for key, value in above.items():
        if value is None:
            result.setdefault(key, None)
            continue
        under = result.get(key)
        both = isinstance(value, Mapping) and isinstance(under, Mapping)
        result[key] = overlay(under, value) if both else value  # type: ignore[arg-type]
    return result
