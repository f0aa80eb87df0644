"""All that a plan is made from, and who wants, holds or lets go of which path. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from reconciler.content import Contents, Held, Situation
from reconciler.state import Address, Desired, Layout, Note, ObservedLocation, Record, Seen, Undecided


def everything(address: Address) -> bool:
    """Leave nothing out."""
    return True


@dataclass(frozen=True)
class World:
    """All that a plan is made from. `denied` says why upstream would refuse a variant's bytes.

    `stuck` are addresses whose step turned out to be blocked: nobody may count on the files that they would place, and
    their records go on holding what they hold.
    """

    desired: tuple[Desired, ...]
    contents: Contents
    undecided: tuple[Undecided, ...] = ()
    denied: Mapping[str, str] = field(default_factory=dict)
    stuck: frozenset[Address] = frozenset()
    scope: Callable[[Address], bool] = everything
    """Which records may leave when no desired variant continues them: all, or those that the user selected."""
    whole: bool = True
    """Whether nothing was left out: only then is what lies unused in a stage debris."""
    unselected: tuple[Desired, ...] = ()
    """Declared, and left out by the user's selection: what they want is not for others to take away."""
    spared: frozenset[tuple[str, str]] = frozenset()
    """(location, path) of files that stay where they are, whoever lets go of them: they were there before us."""
    seen: Mapping[Address, Seen] = field(default_factory=dict)
    """What the bytes of recorded variants tell now, where an older detector made the record or none did."""
    misstated: Mapping[Address, Mapping[str, tuple[Any, Any]]] = field(default_factory=dict)
    """Fields in which the registry's entry of a record is not as we wrote it: what it says, and what it should."""

    joining: frozenset[str] = frozenset()
    """Locations in which managed copies of the same bytes become names of one file."""

    @property
    def locations(self) -> Mapping[str, ObservedLocation]:
        """The observed locations by label."""
        return self.contents.locations

    @cached_property
    def held(self) -> Mapping[Address, Held]:
        """Our records, by the address that they have now."""
        return {address_of(held): held for held in self.contents.ours}

    @cached_property
    def undeclared(self) -> tuple[Held, ...]:
        """Our records that no desired variant continues at its address, in the order of addresses."""
        wanted = {wanted.address for wanted in self.desired}
        waiting = {entry.variant for entry in self.undecided}
        left = (a for a in self.held if a not in wanted and a.variant not in waiting and self.scope(a))
        return tuple(self.held[address] for address in sorted(left))

    @cached_property
    def renames(self) -> Mapping[Address, Held]:
        """New variants, each with the undeclared record of the same content in the same place that it continues."""
        by_content: dict[tuple[str, frozenset[tuple[str, str]]], list[Held]] = {}
        for held in self.undeclared:
            content = frozenset((placed.path, str(placed.digest)) for placed in held.record.files)
            by_content.setdefault((held.location, content), []).append(held)
        found: dict[Address, Held] = {}
        new = [wanted for wanted in self.desired if wanted.address not in self.held] if by_content else []
        for wanted in sorted(new, key=lambda wanted: wanted.address):
            content = frozenset((p.path, str(p.artifact.digest)) for p in wanted.layout.files)
            matches = by_content.get((wanted.address.location, content))
            if matches:
                found[wanted.address] = matches.pop(0)
        return found

    @cached_property
    def leaving(self) -> tuple[Held, ...]:
        """Our records that nothing continues, under any name."""
        continued = {address_of(held) for held in self.renames.values()}
        return tuple(held for held in self.undeclared if address_of(held) not in continued)

    @cached_property
    def leaving_variants(self) -> frozenset[str]:
        """The variants of the records that leave."""
        return frozenset(held.record.address.variant for held in self.undeclared)

    @cached_property
    def declared_variants(self) -> frozenset[str]:
        """Every variant that is declared and has a place, selected or not."""
        return frozenset(wanted.address.variant for wanted in (*self.desired, *self.unselected))

    @cached_property
    def by_variant(self) -> Mapping[str, Held]:
        """Each variant's record, the first by location where it has several."""
        return {address.variant: self.held[address] for address in sorted(self.held, reverse=True)}

    @cached_property
    def waiting_sources(self) -> Mapping[str, str]:
        """Sources of undecided variants without a record, each with such a variant: a new name of an old one, maybe."""
        waiting = sorted(entry for entry in self.undecided if entry.source and entry.variant not in self.by_variant)
        return {entry.source: entry.variant for entry in reversed(waiting)}

    def record_of(self, wanted: Desired) -> Held | None:
        """Return the record that a desired variant continues."""
        return self.held.get(wanted.address) or self.renames.get(wanted.address)

    def keeps(self, leaving: Held, path: str) -> bool:
        """Whether a path that a record lets go of stays: somebody wants it, holds it, or takes it away himself."""
        whole = self.contents.whole(leaving.location, path)
        if whole in self._wanted or (leaving.location, path) in self.spared:
            return True
        if any(held is not leaving for held in self._bound.get(whole, ())):
            return True
        users = self.locations[leaving.location].users.get(path, frozenset())
        if any((leaving.location, user) not in self._rewritten for user in users):
            return True  # an index of the store that stays as it is names it, whoever wrote that
        address = self._continued.get(address_of(leaving), address_of(leaving))
        return self._takers.get(whole, (True, address))[1] != address

    def holder(self, wanted: Desired, path: str) -> Held | None:
        """Return a record that stays as it is and vouches for other bytes at a path than a variant wants there."""
        whole = self.contents.whole(wanted.address.location, path)
        own = self.record_of(wanted)
        digest = next(p.artifact.digest for p in wanted.layout.files if p.path == path)
        for held in self._bound.get(whole, ()):
            said = next((placed for placed in held.record.files if placed.path == path), None)
            if held is not own and said is not None and said.digest != digest:
                return held
        return None

    @cached_property
    def _wanted(self) -> frozenset[str]:
        return frozenset(
            self.contents.whole(d.address.location, path)
            for d in (*self.desired, *self.unselected)
            for path in paths_of(d.layout)
        )

    @cached_property
    def _bound(self) -> Mapping[str, list[Held]]:
        """Absolute path -> the records that go on holding it: others' manifests', those out of scope, blocked ones."""
        moving = {wanted.address for wanted in self.desired} | {address_of(held) for held in self.undeclared}
        staying = [held for address, held in self.held.items() if address not in moving or address in self.stuck]
        found: dict[str, list[Held]] = {}
        for held in (*self.contents.theirs, *staying):
            for path in paths_of(held.record):
                found.setdefault(self.contents.whole(held.location, path), []).append(held)
        return found

    @cached_property
    def _rewritten(self) -> frozenset[tuple[str, str]]:
        """(location, path) of the notes that are written anew, or go as they were recorded."""
        going = [wanted for wanted in self.desired if wanted.address not in self.stuck]
        found = {(wanted.address.location, note.path) for wanted in going for note in wanted.layout.notes}
        for held in (*self.leaving, *map(self.record_of, going)):
            if held is not None and address_of(held) not in self.stuck:
                found.update((held.location, note.path) for note in held.record.notes if self._stands(held, note))
        return frozenset(found)

    def _stands(self, held: Held, note: Note) -> bool:
        return self.contents.note_situation(held.location, note) is Situation.RIGHT

    @cached_property
    def _continued(self) -> Mapping[Address, Address]:
        return {address_of(held): address for address, held in self.renames.items()}

    @cached_property
    def _takers(self) -> Mapping[str, tuple[bool, Address]]:
        """Absolute path -> who takes it away, of all the records that let go of it: a leaving one, and the last."""
        found: dict[str, tuple[bool, Address]] = {}

        def let_go(held: Held, path: str, taker: tuple[bool, Address]) -> None:
            whole = self.contents.whole(held.location, path)
            found[whole] = max(found.get(whole, taker), taker)

        for held in self.leaving:
            address = address_of(held)
            for path in paths_of(held.record) if address not in self.stuck else ():
                let_go(held, path, (True, address))
        for wanted in self.desired:
            record = self.record_of(wanted)
            if record is not None and wanted.address not in self.stuck and drops(record, wanted.layout):
                for path in set(paths_of(record.record)).difference(paths_of(wanted.layout)):
                    let_go(record, path, (False, wanted.address))
        return found


def address_of(held: Held) -> Address:
    """Return the address that a record has now."""
    return Address(held.record.address.variant, held.location)


def paths_of(thing: Layout | Record) -> Iterator[str]:
    """Yield every path that a layout or a record speaks of: files, links and notes."""
    yield from (file.path for file in thing.files)
    yield from (link.path for link in thing.links)
    yield from (note.path for note in thing.notes)


def drops(held: Held, layout: Layout) -> bool:
    """Whether a record holds a path that its variant does not want any more."""
    had, has = list(paths_of(held.record)), list(paths_of(layout))
    return had != has and not set(had) <= set(has)
