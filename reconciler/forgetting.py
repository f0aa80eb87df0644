"""Stop managing a variant: its record goes, its files stay where they are and are nobody's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from reconciler.errors import InputError
from reconciler.inert import suggest
from reconciler.registry import Registry, records, save, with_records

if TYPE_CHECKING:
    from reconciler.manifest import Loaded
    from reconciler.state import Record


def recorded(loaded: Loaded, registry: Registry, name: str) -> tuple[Record, ...]:
    """Return the manifest's records of `VARIANT`, or the one of `VARIANT@LOCATION`; raise InputError for none."""
    ours = [record for record in records(registry) if record.manifest == loaded.identity]
    found = tuple(record for record in ours if name in (record.address.variant, str(record.address)))
    if not found:
        near = suggest(name, [record.address.variant for record in ours])
        hint = f"did you mean {near}?" if near else "`reconciler list` shows what is managed"
        raise InputError(f"no managed variant {name!r}", where=str(loaded.registry), hint=hint)
    return found


def forget(registry: Registry, gone: Iterable[Record]) -> Registry:
    """Save the registry without these records; the caller holds its lock. Raise StaleError, DiskError."""
    return save(with_records(registry, (), [(record.manifest, record.address) for record in gone]))
