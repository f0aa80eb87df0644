"""Plan the way back: from the records that were true before some generations to a plan that makes them true again."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace

from reconciler import generations, planfile
from reconciler.apply import undone
from reconciler.content import Contents
from reconciler.decide import settle
from reconciler.errors import InputError
from reconciler.inert import few
from reconciler.manifest import Loaded
from reconciler.plan import ORDER, Plan, Selection, Step
from reconciler.registry import Change, Registry, layer_before, records
from reconciler.registry.entry import Key, key_of
from reconciler.roots import at_home
from reconciler.safety import Limits
from reconciler.state import Address, Artifact, Desired, Digest, Layout, Link, Placement, Record
from reconciler.strangers import giving_back
from reconciler.survey import Means, assemble, comfortable, look, read_unread, recalled
from reconciler.ui.beside import is_companion
from reconciler.ui.kinds import ui_of
from reconciler.world import World


def plan_back(loaded: Loaded, registry: Registry, means: Means, to: int | None = None) -> tuple[Plan, int]:
    """Return the plan that undoes the last generation of this manifest, or all down to before `to`, and its number.

    Bytes come back from the trash where they still are, from elsewhere on this machine, else from their source at the
    recorded revision. What an apply adopted and a later one took away lay there before both: it comes back with its
    record, and once it is in its place the same way leads to before the adoption. The manifest and the lock are the
    user's and stay as they are. Raise InputError when there is nothing to undo.
    """
    ours = _ours(loaded, registry)
    if not ours:
        raise InputError("nothing was applied yet, so there is nothing to undo", where=str(registry.path))
    first = ours[-1] if to is None else to
    if first not in ours:
        known = ", ".join(map(str, ours[-10:]))
        raise InputError(f"no generation {first} of this manifest", where=str(registry.path), hint=f"known: {known}")
    steps_back = []
    adopted: set[tuple[str, str, Digest]] = set()
    noted: set[tuple[str, str, str]] = set()
    changed: list[list[Change]] = []
    for number in reversed([number for number in ours if number >= first]):
        generation = generations.read(registry.path, number)
        touched = [Address(*entry) for entry in generation.result["touched"]]
        steps_back.append((touched, generation.before))
        if applied := _plan_of(generation):
            adopted |= _adopted(applied)
            noted |= _noted(applied)
        changed.append([Change.read(value) for value in generation.result.get("others", ())])
    back = undone((record for record in records(registry) if record.manifest == loaded.identity), steps_back)
    found = _found(steps_back, adopted, back)
    contents = look(loaded, registry, (*back, *found))
    returning = tuple(record for record in found if _is_away(record, contents, adopted))
    back = (*back, *returning)
    plan = plan_records(back, contents, registry, means, loaded, spared=_spared(contents, adopted, noted))
    mine = {Key(record.manifest, record.address) for record in back}
    keys = (key_of(entry) for entry in registry.discovered)
    stays = mine | {key for key in keys if key is None or key.manifest != loaded.identity}
    steps: tuple[Step, ...] = (*plan.steps, *giving_back(layer_before(registry, stays, changed), registry))
    steps = tuple(sorted(steps, key=lambda step: (ORDER[step.action], step.address)))
    return replace(plan, steps=steps, warnings=(*plan.warnings, *_told(returning))), first


def plan_undo(
    loaded: Loaded, registry: Registry, means: Means, to: int | None, tell: Callable[[str], None]
) -> tuple[Plan, int]:
    """As `plan_back`; without `to`, generations that changed nothing are passed over, which `tell` hears.

    Raise InputError where the last one took blobs away that nobody named: they are in the trash, and nothing of a
    variant is to be undone for them.
    """
    plan, first = plan_back(loaded, registry, means, to)
    while to is None and plan.is_empty and (earlier := generation_before(loaded, registry, first)):
        _refuse_pruned(registry, first, earlier)
        tell(f"generation {first} changed nothing that is not as it was")
        plan, first = plan_back(loaded, registry, means, earlier)
    return plan, first


def _refuse_pruned(registry: Registry, number: int, earlier: int) -> None:
    plan = _plan_of(generations.read(registry.path, number))
    rows = [row for step in (plan.changes if plan else ()) if step.reason == "orphan-blob" for row in step.trash]
    if rows:
        raise InputError(
            f"generation {number} only pruned {len(rows)} blobs that no model named: no variant is to be undone",
            where=str(registry.path),
            hint=f"they wait in the trash until `gc`; `reconciler undo --to {earlier}` undoes the one before as well",
        )


def _plan_of(generation: generations.Generation) -> Plan | None:
    """Return the plan of an apply; None of one that was cut short: what it adopted is told from nothing."""
    if not generation.plan:
        return None
    return planfile.loads(generation.plan, str(generation.directory / "plan"))


def _adopted(plan: Plan) -> set[tuple[str, str, Digest]]:
    """Return (root, path, digest) of the files that were there before an apply recorded them."""
    return {
        (plan.locations[step.address.location].root, row.path, row.digest)
        for step in plan.changes
        if step.before is None and step.after is not None
        for row in step.files
        if row.method == "none" and not row.origin and row.digest is not None
    }


def _found(
    steps_back: Iterable[tuple[Iterable[Address], Iterable[Record]]],
    adopted: Collection[tuple[str, str, Digest]],
    back: Iterable[Record],
) -> tuple[Record, ...]:
    """Return the oldest record of each variant that was adopted meanwhile and is not among those that come back."""
    oldest: dict[Address, Record] = {}
    for _, before in steps_back:  # newest first
        for record in before:
            if any((record.root, placed.path, placed.digest) in adopted for placed in record.files):
                oldest[record.address] = record
    for record in back:
        oldest.pop(record.address, None)
    return tuple(oldest[address] for address in sorted(oldest))


def _is_away(record: Record, contents: Contents, adopted: Collection[tuple[str, str, Digest]]) -> bool:
    """Whether a file that was adopted under this record no longer lies in its place, by what we did."""
    names = {place.root: name for name, place in contents.locations.items()}
    here = at_home(record, contents.locations.values())
    if here.root not in names or not contents.locations[names[here.root]].readable:
        return False
    location = names[here.root]
    held = {(each.location, placed.path): placed.digest for each in contents.ours for placed in each.record.files}
    there = contents.locations[location].files
    return any(
        placed.path not in there if (location, placed.path) not in held
        else held[location, placed.path] != placed.digest
        for placed in record.files if (record.root, placed.path, placed.digest) in adopted
    )  # fmt: skip


def _told(returning: Collection[Record]) -> Iterator[str]:
    if returning:
        names = few([str(record.address) for record in returning])
        yield (
            f"{names}: here before an apply took them over; they come back, still managed, and the same undo once more "
            "leaves them where they are, unmanaged"
        )


def _noted(plan: Plan) -> set[tuple[str, str, str]]:
    """Return (root, path, text) of the notes that were there before an apply recorded them, beside all of their files.

    A variant is adopted, and not linked, where its notes and links were there too; but for what lies beside a model of
    a web interface, which may have been written.
    """
    return {
        (plan.locations[step.address.location].root, note.path, note.text)
        for step in plan.changes
        if step.before is None and step.reason == "adopt" and not ui_of(plan.locations[step.address.location].store)
        for note in step.notes
    }


def _spared(
    contents: Contents, adopted: Collection[tuple[str, str, Digest]], noted: Collection[tuple[str, str, str]]
) -> frozenset[tuple[str, str]]:
    """Return (location, path) of adopted files and notes that are what they were, and of the links to the files."""
    found: set[tuple[str, str]] = set()
    for held in contents.ours:
        root = contents.locations[held.location].root
        kept = {placed.path for placed in held.record.files if (root, placed.path, placed.digest) in adopted}
        links = (link.path for link in held.record.links if _reaches(link, kept))
        notes = (note.path for note in held.record.notes if (root, note.path, note.text) in noted)
        found.update((held.location, path) for path in (*kept, *links, *notes))
    return frozenset(found)


def _reaches(link: Link, paths: Collection[str]) -> bool:
    return posixpath.normpath(posixpath.join(posixpath.dirname(link.path), link.target)) in paths


def plan_records(
    true: Iterable[Record],
    contents: Contents,
    registry: Registry,
    means: Means,
    loaded: Loaded,
    *,
    only: bool = False,
    spared: frozenset[tuple[str, str]] = frozenset(),
) -> Plan:
    """Return the plan that makes the records `true`: these and no others of this manifest; with `only`, these alone.

    `spared` are files (location, path) that stay where they are even where no record is left of them.
    """
    names = {place.root: name for name, place in contents.locations.items()}
    true = [at_home(record, contents.locations.values()) for record in true]
    wanted = tuple(
        desired_from(record, names[record.root], contents.locations[names[record.root]].store)
        for record in true
        if record.root in names
    )
    contents = replace(contents, known=recalled(contents, wanted, means.digests))
    world = World(wanted, contents, whole=False, scope=(lambda _: not only), spared=spared)
    world, theirs = comfortable(world, means)
    world = read_unread(world, means)
    limits = Limits(1.0, loaded.manifest.policy.min_free)
    selection = Selection(allow=("*",))  # who undoes has asked for exactly these removals
    world, steps = settle(world, limits, selection, lambda _: {})
    plan = assemble(world, steps, selection, registry)
    return replace(
        plan, manifest_path=str(loaded.path), manifest_name=loaded.name, manifest_digest=loaded.digest,
        warnings=(*theirs, *plan.warnings),
    )  # fmt: skip


def desired_from(record: Record, location: str, store: str = "") -> Desired:
    """Return what a record says as something to be wanted; beside image models, some of it for comfort only."""
    known = {artifact.path: artifact for artifact in record.pin.files}
    files = tuple(
        Placement(placed.path, known.get(placed.artifact) or Artifact(placed.artifact, placed.size, placed.digest))
        for placed in record.files
    )
    paths = (*(each.path for each in record.files), *(each.path for each in record.notes)) if ui_of(store) else ()
    layout = Layout(record.home, files, record.links, record.notes, frozenset(filter(is_companion, paths)))
    said = record.attributes
    return Desired(
        Address(record.address.variant, location), record.pin, layout, said, format=said.format, quant=said.quant
    )


def generation_before(loaded: Loaded, registry: Registry, number: int) -> int | None:
    """Return the number of this manifest's generation before `number`, None when that is the first."""
    return max((each for each in _ours(loaded, registry) if each < number), default=None)


def _ours(loaded: Loaded, registry: Registry) -> list[int]:
    found = []
    for number in generations.listing(registry.path):
        if generations.read(registry.path, number).result.get("manifest") == loaded.identity:
            found.append(number)
    return found
