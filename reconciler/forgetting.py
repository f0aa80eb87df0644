"""Stop managing variants: record, declaration and pin go, the files stay where they are and are nobody's.

The record goes first. A declaration without a record is adopted again, while a record without a declaration would be
planned for removal: cut short between any two writes, nothing is lost, and the same again finishes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler import editing, lockfile, resolve, runlog
from reconciler.desired import desire
from reconciler.errors import InputError, Problem
from reconciler.inert import inert, suggest
from reconciler.manifestfiles import command
from reconciler.plan import Selection
from reconciler.registry import Registry, save, with_records
from reconciler.safety import selects
from reconciler.selecting import scope
from reconciler.state import Address, Record, Undecided
from reconciler.survey import fitted, look
from reconciler.world import World, address_of, paths_of

if TYPE_CHECKING:
    from reconciler.lockfile import Lock
    from reconciler.manifest import Loaded
    from reconciler.settings import Settings


@dataclass(frozen=True, slots=True)
class Farewell:
    """What is to go: records of the registry, declarations with their roles, pins of the lock; nothing is written yet.

    `before` are the manifest's files as they are, `after` as they will be; `pinned` are the names that leave the lock.
    """

    loaded: Loaded
    records: tuple[Record, ...]
    variants: tuple[str, ...]
    before: Mapping[Path, str]
    after: Mapping[Path, str]
    lock_path: Path
    lock: Lock | None
    pinned: tuple[str, ...]

    @property
    def changed(self) -> tuple[Path, ...]:
        """The files of the manifest that change."""
        return tuple(path for path, text in self.after.items() if text != self.before[path])


def consider(loaded: Loaded, registry: Registry, words: Sequence[str], *, record_only: bool = False) -> Farewell:
    """Return what goes with `words`: VARIANT, VARIANT@LOCATION, or globs over either.

    A variant goes as a whole, from all its places. With a location, its record there goes, and the declaration if that
    is where it is declared. `record_only` leaves manifest and lock as they are. Raise InputError for a word that names
    nothing, and where what is left would have files removed that are to stay; ManifestError for a file that cannot be
    edited safely. The caller holds the registry's lock.
    """
    path = lockfile.path_for(loaded.path)
    lock = lockfile.read(path)
    world = _world(loaded, registry, lock)
    pins = {} if record_only or lock is None else lock.pins
    gone, names, stray = _chosen(world, words, pins, declared=not record_only)
    gone |= {address_of(held) for address, held in world.renames.items() if address.variant in names}
    _refuse_removal(world, gone, names, command("lock", loaded.path))
    before = {file: editing.read_text(file) for file in loaded.files}
    after = {file: editing.remove_variants(text, names, where=inert(str(file))) for file, text in before.items()}
    if after != before:
        editing.judged(loaded, after)
    pinned = tuple(sorted((names | stray) & pins.keys()))
    variants = tuple(name for name in loaded.manifest.variants if name in names)
    records = tuple(world.held[address].record for address in sorted(gone))
    return Farewell(loaded, records, variants, before, after, path, lock, pinned)


def forget(registry: Registry, farewell: Farewell, chosen: Settings | None = None) -> tuple[Path, ...]:
    """Let go of it all, and return the files of manifest and lock that changed; the caller holds the registry's lock.

    `chosen` are the settings that hold, None: those of environment and files. Raise InputError when somebody changed
    one of these files since they were read, StaleError, DiskError.
    """
    _refuse_changed(farewell)
    written = _let_go(registry, farewell)
    runlog.note(farewell.loaded, "forget", _lines(farewell), chosen)
    return written


def _lines(farewell: Farewell) -> Iterator[runlog.Line]:
    """Yield what the log of runs says: a line for every record, and for every variant that had none."""
    step = {"event": "step", "action": "forget"}
    yield from ({**step, "address": str(record.address)} for record in farewell.records)
    recorded = {record.address.variant for record in farewell.records}
    yield from ({**step, "variant": name} for name in farewell.variants if name not in recorded)


def _let_go(registry: Registry, farewell: Farewell) -> tuple[Path, ...]:
    save(with_records(registry, (), [(record.manifest, record.address) for record in farewell.records]))
    # A role of a variant that no file declares would be a mistake: first the roles, then the declarations.
    for path in farewell.changed if len(farewell.changed) > 1 else ():
        editing.write_text(path, editing.out_of_roles(farewell.before[path], farewell.variants, where=inert(str(path))))
    for path in farewell.changed:
        editing.write_text(path, farewell.after[path])
    if not farewell.pinned or farewell.lock is None:
        return farewell.changed
    pins = {name: pin for name, pin in farewell.lock.pins.items() if name not in farewell.pinned}
    lockfile.write(farewell.lock_path, replace(farewell.lock, pins=pins))
    return (*farewell.changed, farewell.lock_path)


def _world(loaded: Loaded, registry: Registry, lock: Lock | None) -> World:
    """Return what is declared and what is recorded, each in its place; nobody is asked, and no file is read."""
    locked = lock.pins if lock else {}
    asked = {request.variant: request for request in resolve.requests(loaded)}
    pins = {name: pin for name, pin in locked.items() if name in asked and resolve.fits(pin, asked[name])}
    desires = desire(loaded, pins, {})
    located = look(loaded, registry)
    wanted = fitted(desires.variants, located)
    return World(wanted, located, desires.undecided, scope=scope(wanted, desires.undecided, Selection()))


def _chosen(
    world: World, words: Sequence[str], pins: Iterable[str], *, declared: bool
) -> tuple[set[Address], set[str], set[str]]:
    """Return the addresses whose records go, the names that are declared no more, and undeclared ones whose pin goes.

    Raise InputError for words that name nothing.
    """
    at = {wanted.address.variant: wanted.address for wanted in world.desired}
    at |= {entry.variant: Address(entry.variant, entry.location) for entry in world.undecided}
    at = at if declared else {}
    loose = set(pins) - at.keys()  # what a forget cut short has left, among others
    gone: set[Address] = set()
    names: set[str] = set()
    stray: set[str] = set()
    problems = []
    for word in words:
        records = {address for address in world.held if _means(word, address)}
        leaving = {name for name, address in at.items() if _means(word, address)}
        unlocked = {name for name in loose if _means(word.partition("@")[0], Address(name, ""))}
        if not records and not leaving and not unlocked:
            problems.append(_unknown(word, [*world.held, *at.values()], world.undecided if declared else ()))
        gone |= records
        names |= leaving
        stray |= unlocked
    if problems:
        raise InputError(problems)
    return gone, names, stray


def _means(word: str, address: Address) -> bool:
    return word in (address.variant, str(address)) or selects((word,), address)


def _unknown(word: str, known: Sequence[Address], undecided: Iterable[Undecided]) -> Problem:
    variant = word.partition("@")[0]
    if variant != word and any(entry.variant == variant and not entry.location for entry in undecided):
        return Problem(inert(word), "is not locked, so nobody can tell where it goes", f"forget {variant} as a whole")
    places = sorted({str(address) for address in known if address.variant == variant and address.location})
    near = suggest(word, [address.variant for address in known])
    hint = f"it is {' and '.join(places)}" if places else f"did you mean {near}?" if near else ""
    return Problem(inert(word), "nobody declares or manages it here", hint or "`reconciler list` shows what is managed")


def _refuse_removal(world: World, gone: set[Address], names: set[str], locking: str) -> None:
    """Raise InputError when a plan without what goes would remove files that are to stay; `locking` is a command."""
    problems = [
        *_places_left(world, gone, names), *_old_names(world, gone, names, locking), *_files_shared(world, gone, names)
    ]  # fmt: skip
    if problems:
        raise InputError(dict.fromkeys(sorted(problems)))


def _places_left(world: World, gone: set[Address], names: set[str]) -> Iterator[Problem]:
    """Yield records in other places of what is declared no more."""
    for address in world.held.keys() - gone:
        if address.variant in names:
            why = "is managed too, and would be removed once it is declared nowhere"
            yield Problem(str(address), why, f"forget {address.variant} as a whole, or use --record-only")


def _old_names(world: World, gone: set[Address], names: set[str], locking: str) -> Iterator[Problem]:
    """Yield records that may be of a variant under its old name: unlocked, nobody can tell."""
    waiting = {entry.source: entry.variant for entry in world.undecided if entry.variant in names}
    for held in world.leaving:
        address, other = address_of(held), waiting.get(held.record.pin.source)
        if other is not None and address not in gone:
            why = f"may be what {other} asks for, which is not locked, and would be removed without it"
            yield Problem(str(address), why, f"run `{locking}` first, or forget {address.variant} too")


def _files_shared(world: World, gone: set[Address], names: set[str]) -> Iterator[Problem]:
    """Yield records that let go of files which only what is to be forgotten still holds or wants."""
    whole = world.contents.whole
    kept = {
        whole(address.location, path): address for address in gone for path in paths_of(world.held[address].record)
    } | {
        whole(wanted.address.location, path): wanted.address
        for wanted in world.desired if wanted.address.variant in names for path in paths_of(wanted.layout)
    }  # fmt: skip
    going = [(held, set(paths_of(held.record))) for held in world.leaving]
    for wanted in world.desired:
        held = world.record_of(wanted)
        if held is not None and wanted.address.variant not in names:
            going.append((held, set(paths_of(held.record)).difference(paths_of(wanted.layout))))
    open_ended = {entry.variant for entry in world.undecided} - names
    going += [
        (held, set(paths_of(held.record))) for held in world.held.values() if held.record.address.variant in open_ended
    ]
    for held, paths in going:
        address = address_of(held)
        shared = next((kept[full] for path in sorted(paths) if (full := whole(held.location, path)) in kept), None)
        if shared is not None and address not in gone:
            why = f"is about to let go of files of {shared}, which would leave with it"
            if address.variant in open_ended:
                why = f"is not locked as it is declared, and may let go of files of {shared}"
            yield Problem(str(address), why, f"forget {address.variant} too, or apply first")


def _refuse_changed(farewell: Farewell) -> None:
    now = lockfile.read(farewell.lock_path)
    stale = [path for path in farewell.changed if editing.read_text(path) != farewell.before[path]]
    if farewell.pinned and now != farewell.lock:
        stale.append(farewell.lock_path)
    if stale:
        raise InputError(Problem(inert(str(path)), "changed while we looked", "run the same again") for path in stale)
