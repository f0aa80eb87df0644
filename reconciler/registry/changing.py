"""Put records and entries into a registry, and take them out. Pure: nothing is saved."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from reconciler.registry.entry import Key, block_of, free_name, key_of, misstatements, render, root_of
from reconciler.registry.jsontext import Entry
from reconciler.registry.kinship import Index, best, kin_of
from reconciler.registry.store import Registry
from reconciler.state import Address, Record

_Keys = Iterable[tuple[str, Address]]


def with_records(
    registry: Registry, put: Iterable[Record], drop: _Keys = (), *, downloaded_at: Mapping[Address, str] | None = None
) -> Registry:
    """Return the registry with these records in it, and without those of the keys in `drop` (manifest, address).

    A record replaces the one of the same manifest and address, in its place. A new one takes the place of an entry that
    speaks of the same files and is nobody's, or whose record of ours is dropped with this: what others wrote in it
    stays. Further new ones follow, sorted. No other entry of others is ever touched. `downloaded_at` is set only for
    addresses whose bytes have just come (ISO 8601).
    """
    wanted = {Key(record.manifest, record.address): record for record in put}
    gone = {Key(*key) for key in drop} - wanted.keys()
    times = downloaded_at or {}
    kept: list[Entry | None] = []
    free: list[Entry] = []
    places: dict[int, int] = {}
    for entry in registry.discovered:
        key = key_of(entry)
        if block_of(entry) is None or (key is not None and key in gone):
            free.append(entry)
            places[id(entry)] = len(kept)
            kept.append(entry if key is None else None)
            continue
        record = wanted.pop(key, None) if key is not None else None
        if key is not None and record is not None:
            gone.add(key)  # a copy of it further down says what was, not what is
        kept.append(entry if record is None else _entry(record, entry["name"], entry, times))
    _put_new(registry, kept, [record for _, record in sorted(wanted.items())], free, places, times)
    return replace(registry, discovered=tuple(entry for entry in kept if entry is not None))


def _put_new(
    registry: Registry, kept: list[Entry | None], new: Iterable[Record], free: Iterable[Entry],
    places: Mapping[int, int], times: Mapping[Address, str],
) -> None:  # fmt: skip
    """Put new records where an entry of the same files stands free, else at the end."""
    index, used = Index(free), set[int]()
    by_hand = {entry["name"] for entry in registry.curated}
    taken = {entry["name"] for entry in kept if entry is not None}
    for record in new:
        candidates = [entry for entry in index.of(kin_of(record)) if id(entry) not in used] if index else []
        old = best(candidates, record.address.variant)
        if old is not None and kept[places[id(old)]] is not None:
            taken.discard(old["name"])
        # By its name the curated layer is laid over it: what people wrote there must not lose its ground.
        name = old["name"] if old is not None and old["name"] in by_hand else free_name(record, taken)
        taken.add(name)
        if old is None:
            kept.append(_entry(record, name, None, times))
        else:
            used.add(id(old))
            kept[places[id(old)]] = _entry(record, name, old, times)


def with_entries(registry: Registry, put: Iterable[Entry], drop: Iterable[Entry]) -> Registry:
    """Return the registry without the entries of others that equal those of `drop`, each once, and with those of `put`.

    Never an entry of ours.
    """
    leaving = list(drop)
    kept: list[Entry] = []
    for entry in registry.discovered:
        if leaving and block_of(entry) is None and entry in leaving:
            leaving.remove(entry)
        else:
            kept.append(entry)
    kept += [entry for entry in put if block_of(entry) is None]
    if len(kept) == len(registry.discovered) and all(map(operator.is_, kept, registry.discovered)):
        return registry
    return replace(registry, discovered=tuple(kept))


def left(before: Registry, after: Registry) -> list[Entry]:
    """Return the entries of others that one registry has and a later one, made of it, has not."""
    there = {id(entry) for entry in after.discovered}
    return [entry for entry in before.discovered if block_of(entry) is None and id(entry) not in there]


def misstated(registry: Registry, held: Iterable[Record]) -> dict[Address, dict[str, tuple[Any, Any]]]:
    """Return the addresses of one manifest's records whose entry other programs have changed, and in which fields."""
    records = {Key(record.manifest, record.address): record for record in held}
    found: dict[Address, dict[str, tuple[Any, Any]]] = {}
    for entry in registry.discovered:
        key = key_of(entry)
        record = records.get(key) if key is not None else None
        if record is None or record.root != root_of(entry):  # else it is told as reached in another way
            continue
        wrong = misstatements(record, entry)
        if wrong:
            found[record.address] = wrong
    return found


def _entry(record: Record, name: str, old: Entry | None, times: Mapping[Address, str]) -> Entry:
    return render(record, name, old, times.get(record.address))
