"""Put records and entries into a registry, and take them out. Pure: nothing is saved."""

from __future__ import annotations

import operator
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from reconciler.registry.entry import Key, block_of, free_name, key_of, misstatements, render, root_of
from reconciler.registry.jsontext import Entry, canonical
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


def with_entries(registry: Registry, put: Iterable[tuple[int, Entry]], drop: Iterable[Entry]) -> Registry:
    """Return the registry without the entries of others that equal those of `drop`, each once, and with those of `put`.

    Each of those comes with its place: how many entries stand before it then. Never an entry of ours.
    """
    leaving = list(drop)
    kept: list[Entry] = []
    for entry in registry.discovered:
        if leaving and block_of(entry) is None and entry in leaving:
            leaving.remove(entry)
        else:
            kept.append(entry)
    for place, entry in sorted(put, key=operator.itemgetter(0)):
        if block_of(entry) is None:
            kept.insert(place, entry)
    if len(kept) == len(registry.discovered) and all(map(operator.is_, kept, registry.discovered)):
        return registry
    return replace(registry, discovered=tuple(kept))


class Change(NamedTuple):
    """An entry of somebody else of which a later registry holds more or fewer; `places` are those of its equals before.

    A place is how many entries stand before it; none says that it was not there.
    """

    entry: Entry
    places: tuple[int, ...]

    def value(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"entry": self.entry, "places": list(self.places)}

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Change:
        """Return what `value` wrote."""
        return cls(value["entry"], tuple(value["places"]))


def changes(before: Registry, after: Registry) -> list[Change]:
    """Return what an apply makes of the entries of others, so that it can be undone."""
    there, then = _ids(after), _ids(before)
    moved = [entry for ident, entry in then.items() if ident not in there]
    moved += [entry for ident, entry in there.items() if ident not in then]
    if not moved:
        return []
    places: dict[bytes, list[int]] = {canonical(entry): [] for entry in moved}
    for place, entry in enumerate(before.discovered):
        if block_of(entry) is None and (text := canonical(entry)) in places:
            places[text].append(place)
    return [Change(entry, tuple(places[text])) for text, entry in {canonical(each): each for each in moved}.items()]


def layer_before(registry: Registry, stays: Container[Key | None], undone: Iterable[Iterable[Change]]) -> list[Entry]:
    """Return the discovered layer as it was before some applies, given newest first.

    Entries of ours stand in it where `stays` has their key.
    """
    layer = [entry for entry in registry.discovered if block_of(entry) is None or key_of(entry) in stays]
    for changed in undone:
        by_text = {canonical(change.entry): change for change in changed}
        layer = [entry for entry in layer if block_of(entry) is not None or canonical(entry) not in by_text]
        back = [(place, change.entry) for change in by_text.values() for place in change.places]
        for place, entry in sorted(back, key=operator.itemgetter(0)):
            layer.insert(place, entry)
    return layer


def _ids(registry: Registry) -> dict[int, Entry]:
    return {id(entry): entry for entry in registry.discovered if block_of(entry) is None}


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
