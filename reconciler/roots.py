"""Which directories and servers a manifest and our records speak of, and what each holds now."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reconciler.observe import Question, observe_all
from reconciler.state import ObservedLocation, Record, is_address

if TYPE_CHECKING:
    from reconciler.manifest import Loaded
    from reconciler.ollama.look import Seen
    from reconciler.registry import Registry


@dataclass(frozen=True, slots=True)
class Root:
    """A location to look at: a declared one, or one that only records still name.

    `path` is absolute, or the address of a server. `also` are roots under which this location was recorded when it was
    reached in another way. `seen` is what an Ollama server and its store told.
    """

    name: str
    store: str
    path: str
    also: frozenset[str] = frozenset()
    seen: Seen | None = None


def roots_of(loaded: Loaded, ours: Iterable[Record], registry: Registry) -> tuple[Root, ...]:
    """Return the declared locations and, under names that do not clash, roots that only records still name."""
    ours = tuple(ours)
    declared = [*_directories(loaded), *_servers(loaded, ours)]
    names = {root.name for root in declared}
    paths = {path for root in declared for path in (root.path, *root.also)}
    more: dict[str, Root] = {}
    stores = {location.root: location.store for location in registry.locations.values()}
    for record in ours:
        if record.root not in paths and record.root not in more:
            name = record.address.location
            while name in names:
                name += ".old"  # not its path: an address is the same on every machine
            names.add(name)
            more[record.root] = _undeclared(name, record.root, stores)
    return (*declared, *more.values())


def observe_roots(roots: Iterable[Root], registry: Registry) -> dict[str, ObservedLocation]:
    """Look at every root, and say of each what is there. Never raises for a bad one."""
    expected = {location.root: location.id for location in registry.locations.values()}
    roots = tuple(roots)
    found = observe_all(
        Question(root.name, root.store, root.path, expected.get(root.path)) for root in roots if not _is_served(root)
    )
    for root in roots:
        if root.store == "ollama":
            from reconciler.ollama import places

            place = (
                places.served(root.name, root.path, root.seen)
                if _is_served(root)
                else places.with_index(found[root.name], root.seen)
            )
            found[root.name] = replace(place, also=root.also)
    return {root.name: found[root.name] for root in roots}


def at_home(record: Record, locations: Iterable[ObservedLocation]) -> Record:
    """Return a record as it reads in the way in which its location is reached now."""
    for place in locations:
        if record.root in place.also and record.address.location == place.name:
            from reconciler.ollama.places import translated

            return translated(record, place)
    return record


def _is_served(root: Root) -> bool:
    return is_address(root.path) or (root.store == "ollama" and not root.path)


def _directories(loaded: Loaded) -> Iterable[Root]:
    for name, spec in loaded.manifest.locations.items():
        if spec.root is not None:
            yield Root(name, spec.store, spec.root)


def _servers(loaded: Loaded, ours: Iterable[Record], environ: Mapping[str, str] = os.environ) -> Iterable[Root]:
    # While a server is down nobody says which directory is its own: it is the one that it was.
    known = {r.address.location: r.root for r in ours if r.manifest == loaded.identity and not is_address(r.root)}
    for name, spec in loaded.manifest.locations.items():
        if spec.store == "ollama":
            from reconciler.ollama.look import look, root_of

            seen = look(name, spec.url, spec.models, environ)
            if not seen.api and spec.models is None and name in known:
                seen = look(name, spec.url, known[name], environ)
            path = root_of(seen)
            others = frozenset({seen.url, seen.directory or seen.url} - {path})
            yield Root(name, spec.store, path, others, seen)


def _undeclared(name: str, path: str, stores: Mapping[str, str]) -> Root:
    store = stores.get(path, "ollama" if is_address(path) else "flat")
    if store == "ollama" and is_address(path):
        from reconciler.ollama.look import look

        return Root(name, store, path, seen=look(name, path, None, {}))
    return Root(name, store, path)
