"""The registry: what is managed, by whom, and what was placed, as layered JSON that other programs read as well."""

from reconciler.registry.jsontext import Entry
from reconciler.registry.statefile import LocationId
from reconciler.registry.store import (
    CURATED,
    DISCOVERED,
    MERGED,
    STATE,
    Registry,
    load,
    locked,
    merged,
    records,
    save,
    with_locations,
    with_records,
)

__all__ = [
    "CURATED",
    "DISCOVERED",
    "MERGED",
    "STATE",
    "Entry",
    "LocationId",
    "Registry",
    "load",
    "locked",
    "merged",
    "records",
    "save",
    "with_locations",
    "with_records",
]
