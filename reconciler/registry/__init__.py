"""The registry: what is managed, by whom, and what was placed, as layered JSON that other programs read as well."""

from reconciler.registry.changing import Change, changes, layer_before, misstated, with_entries, with_records
from reconciler.registry.jsontext import Entry
from reconciler.registry.statefile import LocationId
from reconciler.registry.store import (
    CURATED,
    DISCOVERED,
    MERGED,
    STATE,
    Registry,
    check_directory,
    load,
    locked,
    merged,
    records,
    save,
    with_locations,
)

__all__ = [
    "CURATED",
    "DISCOVERED",
    "MERGED",
    "STATE",
    "Change",
    "Entry",
    "LocationId",
    "Registry",
    "changes",
    "check_directory",
    "layer_before",
    "load",
    "locked",
    "merged",
    "misstated",
    "records",
    "save",
    "with_entries",
    "with_locations",
    "with_records",
]
