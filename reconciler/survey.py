"""Look at everything that a plan is made from, and make the plan: manifest, lock, sources, registry, disks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from reconciler import lockfile, resolve, sources
from reconciler.content import Contents, Held
from reconciler.content import Question as Unread
from reconciler.desired import desire
from reconciler.diff import World, diff, paths_of, questions
from reconciler.digests import Digests, Question, Watch
from reconciler.errors import InputError, Problem
from reconciler.inert import suggest
from reconciler.lockfile import Lock
from reconciler.manifest import Loaded
from reconciler.observe import Question as Sight
from reconciler.observe import observe_all
from reconciler.plan import Action, Place, Plan, Reliance, Selection, Step
from reconciler.registry import Registry, records
from reconciler.resolve import Resolution
from reconciler.safety import Limits, guard, selects
from reconciler.state import (
    Address,
    Algorithm,
    Desired,
    Digest,
    Known,
    ObservedFile,
    ObservedLocation,
    Pin,
    Record,
    Undecided,
    identity_key,
)

_ROUNDS = 4
"""How often a plan is made anew because a step that others counted on turned out to be blocked."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found, and the plan that follows from it."""

    loaded: Loaded
    registry: Registry
    world: World
    plan: Plan
    resolution: Resolution


class Root(NamedTuple):
    """A location to look at: declared ones, and those that only records still name."""

    name: str
    store: str
    path: str


@dataclass(frozen=True, slots=True)
class Means:
    """What looking needs: upstream, the cache of digests, and somebody to tell how far the reading of files is."""

    sources: sources.World
    digests: Digests
    watch: Watch | None = None
    """Called while files are read for their digests."""


def survey(
    loaded: Loaded,
    registry: Registry,
    means: Means,
    selection: Selection,
    *,
    locked: bool = False,
    reviewed: Mapping[str, Pin] | None = None,
) -> Survey:
    """Make the plan for a manifest. Raise InputError, SourceError only for what makes any plan impossible.

    A variant that cannot be resolved or placed is in the plan as blocked. `reviewed` are pins that a saved plan
    resolved: they complete the lock, so that exactly what was reviewed is planned again.
    """
    lock_path = lockfile.path_for(loaded.path)
    lock = lockfile.read(lock_path)
    resolution = resolve.complete(loaded, _completed(lock, reviewed or {}), means.sources, locked=locked)
    unwritten = {name: pin for name, pin in (reviewed or {}).items() if lock is None or lock.pins.get(name) != pin}
    desires = desire(loaded, resolution.pins, resolution.problems)
    located = look(loaded, registry)
    _check_selection(loaded, located, selection)
    wanted = tuple(d for d in desires.variants if _selected(selection, d.address))
    undecided = tuple(u for u in desires.undecided if _selected(selection, Address(u.variant, u.location or "?")))
    contents = replace(located, known=recalled(located, wanted, means.digests))
    whole = not (selection.target or selection.exclude)
    scope = _scope(desires.variants, desires.undecided, selection)
    world = World(wanted, contents, undecided, scope=scope, whole=whole)
    world = read_unread(world, means)
    limits = Limits(loaded.manifest.policy.max_remove, loaded.manifest.policy.min_free)
    world, steps = settle(world, limits, selection, lambda pin: sources.access(pin, means.sources))
    plan = assemble(world, steps, selection, registry)
    plan = replace(
        plan,
        manifest_path=str(loaded.path),
        manifest_name=loaded.name,
        manifest_digest=loaded.digest,
        lock_path=str(lock_path),
        lock_digest=lockfile.digest(lock_path),
        resolved={**unwritten, **resolution.resolved},
        warnings=(*loaded.warnings, *desires.warnings, *plan.warnings),
    )
    return Survey(loaded, registry, world, plan, resolution)


def _completed(lock: Lock | None, reviewed: Mapping[str, Pin]) -> Lock | None:
    if not reviewed:
        return lock
    return replace(lock or Lock(1, {}), pins={**(lock.pins if lock else {}), **reviewed})


# -- looking ----------------------------------------------------------------------------------------------------------


def look(loaded: Loaded, registry: Registry) -> Contents:
    """Observe every declared location, and every root that only our records still name."""
    recorded = records(registry)
    ours = [record for record in recorded if record.manifest == loaded.identity]
    roots = roots_of(loaded, ours, registry)
    expected = {location.root: location.id for location in registry.locations.values()}
    seen = observe_all(Sight(root.name, root.store, root.path, expected.get(root.path)) for root in roots)
    names = {root.path: root.name for root in roots}
    held = [Held(record, names[record.root]) for record in recorded if record.root in names]
    return Contents(
        seen,
        tuple(h for h in held if h.record.manifest == loaded.identity),
        tuple(h for h in held if h.record.manifest != loaded.identity),
        {},
    )


def roots_of(loaded: Loaded, ours: Iterable[Record], registry: Registry) -> tuple[Root, ...]:
    """Return the declared locations and, under names that do not clash, roots that only records still name."""
    declared = [Root(name, spec.store, str(spec.root)) for name, spec in loaded.manifest.locations.items()]
    names = {root.name for root in declared}
    paths = {root.path for root in declared}
    more: dict[str, Root] = {}
    stores = {location.root: location.store for location in registry.locations.values()}
    for record in ours:
        if record.root not in paths and record.root not in more:
            name = record.address.location
            name = name if name not in names else record.root
            names.add(name)
            more[record.root] = Root(name, stores.get(record.root, "flat"), record.root)
    return (*declared, *more.values())


def recalled(contents: Contents, wanted: Sequence[Desired], digests: Digests) -> Known:
    """Ask the cache about the files that the plan speaks of; about every file when bytes must be searched for."""
    paths: list[tuple[str, str]] = [(d.address.location, p.path) for d in wanted for p in d.layout.files]
    paths += [(held.location, placed.path) for held in contents.ours for placed in held.record.files]
    files: dict[tuple[int, int, int, int], ObservedFile] = {}
    missing = False
    for location, path in paths:
        file = contents.locations[location].files.get(path)
        if file is None:
            missing = True
        else:
            files[identity_key(file)] = file
    if missing:
        for place in contents.locations.values():
            files.update((identity_key(file), file) for file in place.files.values())
    return digests.known(files.values()) if files else {}


def read_unread(world: World, means: Means) -> World:
    """Read the files that the plan depends on and whose digest nobody knows; the answers are cached."""
    known: dict[tuple[int, int, int, int], Mapping[Algorithm, Digest]] = dict(world.contents.known)
    for _ in range(2):  # what was read may make other files worth reading, once
        asked = [q for q in questions(world) if q.algorithm not in known.get(identity_key(q.file), {})]
        if not asked:
            break
        put = _grouped(world, asked)
        answers = means.digests.compute(put, means.watch)
        for question in put:
            key = identity_key(question.file)
            known[key] = {**known.get(key, {}), **answers[question.path].digests}
        world = replace(world, contents=replace(world.contents, known=known))
    return world


def _grouped(world: World, asked: Iterable[Unread]) -> list[Question]:
    kinds: dict[tuple[str, ObservedFile], list[Algorithm]] = {}
    for question in asked:
        kinds.setdefault((question.location, question.file), []).append(question.algorithm)
    return [
        Question(Path(world.locations[location].root) / file.path, file, tuple(algorithms))
        for (location, file), algorithms in kinds.items()
    ]


# -- deciding ---------------------------------------------------------------------------------------------------------


def settle(
    world: World, limits: Limits, selection: Selection, access: Callable[[Pin], str | None]
) -> tuple[World, tuple[Step, ...]]:
    """Make steps, probe access for what must be fetched, and make them anew while a blocked step was counted on."""
    for _ in range(_ROUNDS):
        steps = guard(diff(world), world.held, world.locations, limits, selection)
        pins = {d.address: d.pin for d in world.desired}
        denied = dict(world.denied)
        fetching = [s.address for s in steps if s.action is Action.DOWNLOAD and not s.blocked]
        denied.update(_denied({a.variant: pins[a] for a in fetching if a.variant not in denied}, access))
        stuck = frozenset(step.address for step in steps if step.blocked and step.after is not None) | world.stuck
        if denied == dict(world.denied) and not _counted_on(steps, stuck - world.stuck):
            break
        world = replace(world, denied=denied, stuck=stuck)
    return world, steps


def _denied(pins: Mapping[str, Pin], access: Callable[[Pin], str | None]) -> dict[str, str]:
    """Ask upstream for every variant at once; most answers are one round trip away."""
    if not pins:
        return {}
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(8, len(pins)), thread_name_prefix="access") as pool:
        answers = zip(pins, pool.map(access, pins.values()), strict=True)
        return {variant: why for variant, why in answers if why}


def _counted_on(steps: Sequence[Step], blocked: frozenset[Address]) -> bool:
    paths = {f"{s.address.location}:{row.path}" for s in steps if s.address in blocked for row in s.files}
    return any(row.origin in paths for step in steps if not step.blocked for row in step.files)


def assemble(world: World, steps: tuple[Step, ...], selection: Selection, registry: Registry) -> Plan:
    """Put the plan together from its steps and from what was seen; the manifest's and lock's part is the caller's."""
    files, size = _unmanaged(world)
    warnings = [warning for place in world.locations.values() for warning in place.warnings]
    return Plan(
        manifest_path="",
        manifest_name="",
        manifest_digest=Digest(""),
        lock_path="",
        lock_digest=None,
        registry_path=str(registry.path),
        registry_serial=registry.serial,
        locations={name: _place(place) for name, place in sorted(world.locations.items())},
        steps=steps,
        unmanaged_files=files,
        unmanaged_bytes=size,
        selection=selection,
        relies_on=tuple(sorted(_reliances(world, steps), key=lambda r: (r.location, r.path))),
        warnings=(*warnings, *_active(steps)),
    )


def _place(seen: ObservedLocation) -> Place:
    return Place(seen.store, seen.root, seen.id, seen.free_bytes, seen.readable, seen.why, seen.device)


def _reliances(world: World, steps: Iterable[Step]) -> set[Reliance]:
    found: set[Reliance] = set()
    for step in steps:
        if step.action is Action.KEEP or step.address.location not in world.locations or step.before is step.after:
            continue
        place = world.locations[step.address.location]
        for row in (*step.files, *step.trash):
            file = place.files.get(row.path)
            found.add(Reliance(place.name, row.path, (file.size, file.mtime_ns, file.inode) if file else None))
            origin, _, path = row.origin.partition(":")
            source = world.locations.get(origin)
            if source is not None and path in source.files and row.method in ("link", "copy"):
                other = source.files[path]
                found.add(Reliance(origin, path, (other.size, other.mtime_ns, other.inode)))
    return found


def _unmanaged(world: World) -> tuple[int, int]:
    """Count the files (and bytes) that nobody recorded and nobody wants."""
    contents = world.contents
    wanted = {(d.address.location, path) for d in world.desired for path in paths_of(d.layout)}
    count = size = 0
    for place in world.locations.values():
        for path, file in place.files.items():
            key = (place.name, path)
            if key in contents.placed or key in contents.claimed or key in wanted:
                continue
            count += 1
            size += file.size
    return count, size


def _active(steps: Iterable[Step]) -> Iterable[str]:
    """Name programs that would arrive with a new revision: whoever loads the model may run them."""
    for step in steps:
        if step.action is Action.DOWNLOAD and not step.blocked:
            code = [row.artifact for row in step.files if row.artifact.endswith(".py") and row.method == "fetch"]
            if code:
                yield f"{step.address}: Python code arrives with it: {', '.join(code[:3])}{' …' * (len(code) > 3)}"


# -- selecting --------------------------------------------------------------------------------------------------------


def _selected(selection: Selection, address: Address) -> bool:
    if selection.target and not selects(selection.target, address):
        return False
    return not selects(selection.exclude, address)


def _scope(
    variants: Iterable[Desired], undecided: Iterable[Undecided], selection: Selection
) -> Callable[[Address], bool]:
    """Return which records the plan may speak of: with a selection, only those that it names."""
    declared_elsewhere = {u.variant for u in undecided}
    declared = {d.address for d in variants}

    def within(address: Address) -> bool:
        if address in declared or address.variant in declared_elsewhere:
            return False  # declared; not leaving, whether selected or not
        return _selected(selection, address)

    return within


def _check_selection(loaded: Loaded, contents: Contents, selection: Selection) -> None:
    """Raise InputError for a pattern that names nothing: a typo must not pass for `nothing to do`."""
    names = {*loaded.manifest.variants, *(held.record.address.variant for held in contents.ours)}
    locations = {*loaded.manifest.locations, *(held.location for held in contents.ours)}
    problems = []
    flags = {"--target": selection.target, "--exclude": selection.exclude, "--allow-remove": selection.allow}
    for flag, patterns in flags.items():
        for pattern in patterns:
            if not any(selects([pattern], Address(name, place)) for name in names for place in locations):
                near = suggest(pattern, names)
                hint = f"did you mean {near}?" if near else "`reconciler list` shows them"
                problems.append(Problem(f"{flag} {pattern}", "names no variant", hint))
    if problems:
        raise InputError(problems)
