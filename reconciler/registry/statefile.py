"""`state.json`: what the registry looked like when we last wrote it, and what it is about to look like. Pure.

`next` is written before the layers and taken away after them, so that a crash in between is understood: the layer
on disk is either the one of `current` or the one of `next`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from reconciler.errors import NewerError
from reconciler.hashing import hash_bytes
from reconciler.registry.entry import block_of
from reconciler.registry.jsontext import Entry, canonical, parse, plain_text
from reconciler.state import Digest, parse_digest

VERSION = 1


class LocationId(NamedTuple):
    """Where a location was when we recorded something there, the id that it was given, and how files are arranged."""

    root: str
    id: str
    store: str = "flat"


class Snapshot(NamedTuple):
    """One saved registry: digests of both layers that we write (None: absent) and of our own blocks in them."""

    serial: int
    discovered: Digest | None
    merged: Digest | None
    records: Digest
    locations: Mapping[str, LocationId]


class StateFile(NamedTuple):
    """The file: whose history it is, where it stands, where it was going when it was written."""

    lineage: str
    current: Snapshot
    next: Snapshot | None = None


def records_digest(entries: Iterable[Entry]) -> Digest:
    """Return the digest of our own blocks, whatever others did around them."""
    blocks = [block for entry in entries if (block := block_of(entry)) is not None]
    return hash_bytes(b"\n".join(sorted([canonical(block) for block in blocks])))


def dumps(state: StateFile) -> bytes:
    """Return the bytes of the file."""
    fields: dict[str, Any] = {"version": VERSION, "lineage": state.lineage, **_fields(state.current)}
    if state.next is not None:
        fields["next"] = _fields(state.next)
    return plain_text(fields)


def loads(data: bytes) -> StateFile:
    """Return the state in `data`; raise ValueError saying what is wrong."""
    value = parse(data)
    if not isinstance(value, dict):
        raise ValueError("expected an object")
    version = value.get("version")
    if type(version) is int and version > VERSION:
        raise NewerError("it is", version, VERSION)
    if type(version) is not int or version != VERSION:
        raise ValueError(f"version: expected {VERSION}, found {version!r:.40}")
    lineage = value.get("lineage")
    if not isinstance(lineage, str) or not lineage:
        raise ValueError("lineage: expected text")
    return StateFile(lineage, _snapshot(value), _snapshot(value["next"]) if "next" in value else None)


def _fields(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "serial": snapshot.serial,
        "discovered": snapshot.discovered,
        "merged": snapshot.merged,
        "records": snapshot.records,
        "locations": {name: found._asdict() for name, found in sorted(snapshot.locations.items())},
    }


def _snapshot(value: Any) -> Snapshot:
    if not isinstance(value, dict):
        raise ValueError("next: expected an object")
    serial = value.get("serial")
    if type(serial) is not int or serial < 0:
        raise ValueError(f"serial: expected a whole number, found {serial!r:.40}")
    digests = [_digest(value, key) for key in ("discovered", "merged", "records")]
    if digests[2] is None:
        raise ValueError("records: expected a digest")
    locations = value.get("locations")
    if not isinstance(locations, dict):
        raise ValueError("locations: expected an object")
    return Snapshot(serial, digests[0], digests[1], digests[2], {key: _location(row) for key, row in locations.items()})


def _digest(value: Mapping[str, Any], key: str) -> Digest | None:
    if key not in value:
        raise ValueError(f"{key}: missing")
    text = value[key]
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{key}: expected a digest")
    return None if text is None else parse_digest(text)


def _location(row: Any) -> LocationId:
    fields = (row.get("root"), row.get("id")) if isinstance(row, dict) else (None, None)
    if not isinstance(fields[0], str) or not isinstance(fields[1], str):
        raise ValueError("locations: expected a root and an id for every location")
    store = row.get("store", "flat")
    if not isinstance(store, str):
        raise ValueError("locations: expected the store of every location as text")
    return LocationId(fields[0], fields[1], store)
