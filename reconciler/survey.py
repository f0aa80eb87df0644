"""Look at everything that a plan is made from, and make the plan: manifest, lock, sources, registry, disks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler import lockfile, resolve, sources, strangers
from reconciler.abreast import abreast
from reconciler.comfort import changed, comfort_questions, yielding
from reconciler.content import Contents, Held
from reconciler.content import Question as Unread
from reconciler.decide import settle
from reconciler.desired import Desires, desire
from reconciler.diff import questions
from reconciler.digests import Digests, Question, Watch
from reconciler.errors import SourceError
from reconciler.hashing import hash_bytes
from reconciler.lockfile import Lock
from reconciler.manifest import Loaded
from reconciler.plan import ORDER, Action, Place, Plan, Reliance, Selection, Step
from reconciler.registry import Registry, misstated, records
from reconciler.registry.jsontext import canonical
from reconciler.resolve import Resolution
from reconciler.roots import at_home, observe_roots, roots_of
from reconciler.rules import cautions, findings, rules_of
from reconciler.safety import Limits
from reconciler.selecting import check_selection, is_selected, is_selected_undecided, left_out, scope
from reconciler.spoilt import spoilt
from reconciler.state import (
    Algorithm,
    Desired,
    Digest,
    Known,
    ObservedFile,
    ObservedLocation,
    Pin,
    Record,
    algorithm,
    identity_key,
)
from reconciler.world import World, address_of, paths_of


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found, and the plan that follows from it."""

    loaded: Loaded
    registry: Registry
    world: World
    plan: Plan
    resolution: Resolution


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
    _refuse_nothing(loaded, registry, resolution)
    located = look(loaded, registry)
    desires = desires._replace(variants=fitted(desires.variants, located))
    check_selection(selection, desires.variants, desires.undecided, map(address_of, located.ours))
    world, theirs = comfortable(_world(loaded, located, desires, selection, means), means)
    world = looked_at(read_unread(world, means), registry, means.digests)
    limits = Limits(loaded.manifest.policy.max_remove, loaded.manifest.policy.min_free, rules_of(loaded))
    world, steps = settle(world, limits, selection, lambda pins: denied(pins, means.sources))
    plan = assemble(world, steps, selection, registry)
    odd = strangers.look_at(registry, world)
    if odd and world.whole and not world.undecided and loaded.manifest.policy.stale_records == "prune":
        gone = strangers.pruning(odd, registry)
        plan = replace(plan, steps=tuple(sorted((*steps, *gone), key=lambda step: (ORDER[step.action], step.address))))
    found = findings(steps, world.locations, limits.rules)
    patterns = (f"{strangers.PATTERNS}: {why}" for why in (strangers.bad_patterns() if odd else ()))
    plan = replace(
        plan,
        findings=found,
        strangers=tuple(each.stranger for each in odd),
        manifest_path=str(loaded.path),
        manifest_name=loaded.name,
        manifest_digest=loaded.digest,
        lock_path=str(lock_path),
        lock_digest=lockfile.digest(lock_path),
        resolved={**unwritten, **resolution.resolved},
        warnings=(*loaded.warnings, *desires.warnings, *theirs, *plan.warnings, *cautions(found), *patterns),
    )
    return Survey(loaded, registry, world, plan, resolution)


def _world(loaded: Loaded, located: Contents, desires: Desires, selection: Selection, means: Means) -> World:
    """Return what the plan is about: of all that is declared what was selected, and what is there."""
    wanted = tuple(d for d in desires.variants if is_selected(selection, d.address))
    return World(
        wanted,
        replace(located, known=recalled(located, wanted, means.digests)),
        tuple(entry for entry in desires.undecided if is_selected_undecided(selection, entry)),
        scope=scope(desires.variants, desires.undecided, selection),
        whole=not (selection.target or selection.exclude),
        unselected=tuple(left_out(desires.variants, selection)),
        joining=_joining(loaded, located.locations),
    )


def _joining(loaded: Loaded, locations: Mapping[str, ObservedLocation]) -> frozenset[str]:
    if loaded.manifest.policy.duplicates != "link":
        return frozenset()
    from reconciler.filesystems import joinable

    return joinable(locations)


def _refuse_nothing(loaded: Loaded, registry: Registry, resolution: Resolution) -> None:
    """Raise SourceError when nothing can be planned because upstream answered for no variant at all."""
    problems = resolution.problems
    if problems and not resolution.pins and not any(r.manifest == loaded.identity for r in records(registry)):
        raise SourceError(problems.values())


def _completed(lock: Lock | None, reviewed: Mapping[str, Pin]) -> Lock | None:
    if not reviewed:
        return lock
    return replace(lock or Lock(1, {}), pins={**(lock.pins if lock else {}), **reviewed})


# -- looking ----------------------------------------------------------------------------------------------------------


def look(loaded: Loaded, registry: Registry, also: Iterable[Record] = ()) -> Contents:
    """Observe every declared location, and every root that only our records, or those of `also`, still name."""
    recorded = records(registry)
    ours = [record for record in recorded if record.manifest == loaded.identity]
    roots = roots_of(loaded, (*ours, *also), registry)
    seen = observe_roots(roots, registry)
    names = {root.path: root.name for root in roots}
    at_home_now = (at_home(record, seen.values()) for record in recorded)
    held = [Held(record, names[record.root]) for record in at_home_now if record.root in names]
    return Contents(
        seen,
        tuple(h for h in held if h.record.manifest == loaded.identity),
        tuple(h for h in held if h.record.manifest != loaded.identity),
        {},
    )


def fitted(variants: tuple[Desired, ...], contents: Contents) -> tuple[Desired, ...]:
    """Return desired variants as their places can hold them, now that these have been seen."""
    if all(place.store != "ollama" for place in contents.locations.values()):
        return variants
    from reconciler.ollama.fitting import fit

    ours = {held.record.address: held.record for held in contents.ours}
    places = [contents.locations[wanted.address.location] for wanted in variants]
    return tuple(
        fit(wanted, place, ours.get(wanted.address)) if place.store == "ollama" else wanted
        for wanted, place in zip(variants, places, strict=True)
    )


def recalled(contents: Contents, wanted: Sequence[Desired], digests: Digests) -> Known:
    """Ask the cache about the files that the plan speaks of; about every file when bytes must be searched for."""
    paths: list[tuple[str, str, Digest | None]] = [
        (d.address.location, p.path, p.artifact.digest) for d in wanted for p in d.layout.files
    ]
    paths += [(d.address.location, note.path, None) for d in wanted for note in d.layout.notes]
    paths += [(held.location, placed.path, None) for held in contents.ours for placed in held.record.files]
    files: dict[tuple[int, int, int, int], ObservedFile] = {}
    searching = False
    for location, path, digest in paths:
        file = contents.locations[location].files.get(path)
        if file is not None:
            files[identity_key(file)] = file
        if digest is not None and (file is None or contents.digest_of(location, file, algorithm(digest)) != digest):
            searching = True
    if searching:
        for place in contents.locations.values():
            files.update((identity_key(file), file) for file in place.files.values())
    known = dict(digests.known(files.values())) if files else {}
    for place in contents.locations.values():
        for path, digest in place.told.items():
            known[identity_key(place.files[path])] = {"sha256": digest}
    return known


def comfortable(world: World, means: Means) -> tuple[World, tuple[str, ...]]:
    """Let what lies beside models give way to what people put there, with a warning each; what is damaged does not."""
    world = read(world, means, comfort_questions(world))
    return yielding(world, spoilt(changed(world)))


def read_unread(world: World, means: Means) -> World:
    """Read the files that the plan depends on and whose digest nobody knows; the answers are cached."""
    for _ in range(2):  # what was read may make other files worth reading, once
        before, world = world, read(world, means, questions(world))
        if world is before:
            break
    return world


def read(world: World, means: Means, wanted: Iterable[Unread]) -> World:
    """Return a world that knows the digests of these files; the same one when there was nothing to read."""
    known: dict[tuple[int, int, int, int], Mapping[Algorithm, Digest]] = dict(world.contents.known)
    asked = [q for q in wanted if q.algorithm not in known.get(identity_key(q.file), {})]
    if not asked:
        return world
    put = _grouped(world, asked)
    answers = means.digests.compute(put, means.watch)
    for question in put:
        key = identity_key(question.file)
        known[key] = {**known.get(key, {}), **answers[question.path].digests}
    return replace(world, contents=replace(world.contents, known=known))


def _grouped(world: World, asked: Iterable[Unread]) -> list[Question]:
    kinds: dict[tuple[str, ObservedFile], list[Algorithm]] = {}
    for question in asked:
        kinds.setdefault((question.location, question.file), []).append(question.algorithm)
    return [
        Question(Path(world.locations[location].root) / file.path, file, tuple(algorithms))
        for (location, file), algorithms in kinds.items()
    ]


def looked_at(world: World, registry: Registry, digests: Digests) -> World:
    """Return a world that knows what the bytes of our records tell, and which entries are not as we wrote them.

    Only the headers of records that an older detector made, or none, are read, and only while their files are as they
    were recorded and are still wanted.
    """
    wanted = {w.address: held for w in world.desired if (held := world.record_of(w)) is not None}
    old = {w.address: wanted[w.address] for w in world.desired if w.address in wanted and _is_outdated(world, w)}
    if old:
        from reconciler.examine import recollect

        seen = {address: recollect(held.record, _files(world, held), digests) for address, held in old.items()}
        world = replace(world, seen={address: each for address, each in seen.items() if each is not None})
    odd = misstated(registry, (held.record for held in wanted.values()))
    if odd:
        at = {held.record.address: address for address, held in wanted.items()}
        world = replace(world, misstated={at[address]: fields for address, fields in odd.items()})
    return world


def _fits(wanted: Desired, held: Held) -> bool:
    """Whether a record is of the very files that are wanted."""
    there = [(placed.path, placed.digest) for placed in held.record.files]
    asked = [(each.path, each.artifact.digest) for each in wanted.layout.files]
    return there == asked or set(there) == set(asked)


def _is_outdated(world: World, wanted: Desired) -> bool:
    from reconciler.examine import is_current

    held = world.record_of(wanted)
    if held is None or is_current(held.record):
        return False
    place = world.locations[held.location]
    if not place.readable or place.by_api or not _fits(wanted, held):
        return False
    return all(world.contents.untouched(held.location, placed) for placed in held.record.files)


def _files(world: World, held: Held) -> list[ObservedFile]:
    there = world.locations[held.location].files
    return [there[placed.path] for placed in held.record.files]


# -- deciding ---------------------------------------------------------------------------------------------------------


def denied(pins: Mapping[str, Pin], upstream: sources.World) -> dict[str, str]:
    """Say why upstream would refuse the bytes of variants; all are asked at once, most are one round trip away."""
    answers = abreast(lambda pin: sources.access(pin, upstream), pins.values(), 8, "access")
    return {variant: why for variant, why in zip(pins, answers, strict=True) if why}


def assemble(world: World, steps: tuple[Step, ...], selection: Selection, registry: Registry) -> Plan:
    """Put the plan together from its steps and from what was seen; the manifest's and lock's part is the caller's."""
    files, size = _unmanaged(world, steps)
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
        curated=hash_bytes(canonical(list(registry.curated))) if registry.curated else None,
    )


def _place(seen: ObservedLocation) -> Place:
    return Place(
        seen.store, seen.root, seen.id, seen.free_bytes, seen.readable, seen.why, seen.device, seen.observed,
        seen.total_bytes,
    )  # fmt: skip


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


def _unmanaged(world: World, steps: Iterable[Step]) -> tuple[int, int]:
    """Count the files (and bytes) that nobody recorded and nobody wants, and that the plan leaves alone."""
    contents = world.contents
    debris = {(step.address.location, row.path) for step in steps if step.blocked is None for row in step.trash}
    wanted = {(d.address.location, path) for d in world.desired for path in paths_of(d.layout)}
    recorded = (*contents.ours, *contents.theirs)
    noted = {(held.location, note.path) for held in recorded for note in held.record.notes}
    count = size = 0
    for place in world.locations.values():
        for path, file in place.files.items():
            key = (place.name, path)
            if any(key in known for known in (contents.placed, contents.claimed, wanted, noted, debris)):
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
