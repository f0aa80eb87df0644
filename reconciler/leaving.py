"""What goes: records that nobody declares any more, what a variant drops, and what lies unused in a stage. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from reconciler.content import Held
from reconciler.facts import facts_recorded
from reconciler.plan import Action, Bytes, FileRow, Step
from reconciler.state import Address, Artifact, Link, Note, Staged
from reconciler.world import World, address_of, paths_of

STAGE = ".reconciler"
"""The variant part of the address of a location's own debris; no variant can have this name."""


def leaving_step(world: World, held: Held) -> Step:
    """Return the step for a record that nobody declares any more, or whose variant is declared elsewhere."""
    record, place = held.record, world.locations[held.location]
    address, before = address_of(held), facts_recorded(held)
    hidden = _hidden(world, held)
    if hidden:
        return Step(address, Action.KEEP, "unreadable", before, before, blocked=hidden)
    rows, links, notes = tuple(leaving_rows(world, held)), leaving_links(world, held), leaving_notes(world, held)
    if rows or links or (notes and place.users):  # where the store has an index, a note in it is a model
        action = Action.REMOVE
        reason = "superseded" if address.variant in world.declared_variants else "undeclared"
    else:
        action = Action.PRUNE
        there = [placed.path for placed in record.files if placed.path in place.files]
        stays = any((place.name, path) in world.spared for path in there)
        reason = "unadopt" if stays else "duplicate-record" if there else "stale-record"
    step = Step(
        address, action, reason, before, None, rows, Bytes(trash=sum(row.size for row in rows)), trash=rows,
        links=links, notes=notes,
        renamed_from=record.address if record.address != address else None,
    )  # fmt: skip
    return replace(step, blocked=_obstacle(world, held, step))


def _hidden(world: World, held: Held) -> str | None:
    place = world.locations[held.location]
    if not place.readable:
        return f"{place.name}: {place.why}"
    hidden = (world.contents.hidden(held.location, path) for path in paths_of(held.record) if place.others)
    why = next(filter(None, hidden), None)
    return f"{place.name}: {why} (make it readable)" if why else None


def _obstacle(world: World, held: Held, step: Step) -> str | None:
    changed = modified(world, held, step.trash)
    if changed:
        return f"{changed} (put the bytes back, or run `reconciler forget {step.address.variant}`)"
    waiting = world.waiting_sources.get(held.record.pin.source)
    if step.reason == "undeclared" and waiting:
        return f"may be what {waiting} asks for, which cannot be planned now (see there)"
    return None


def modified(world: World, held: Held, rows: Sequence[FileRow]) -> str | None:
    """Say which of a record's files, about to leave, are not as they were recorded; None when all are."""
    placed = {each.path: each for each in held.record.files}
    changed = [row.path for row in rows if not world.contents.untouched(held.location, placed[row.path])]
    return f"changed since it was placed: {', '.join(changed[:3])}{' …' * (len(changed) > 3)}" if changed else None


def leaving_rows(world: World, held: Held) -> Iterator[FileRow]:
    """Yield the recorded files that are there and that nobody else keeps."""
    files = world.locations[held.location].files
    for placed in held.record.files:
        if placed.path in files and not world.keeps(held, placed.path):
            yield FileRow(placed.path, files[placed.path].size, placed.digest, "none", artifact=placed.artifact)


def leaving_links(world: World, held: Held) -> tuple[Link, ...]:
    """Return the recorded links that are there as recorded and that nobody else keeps."""
    there = world.locations[held.location].links
    return tuple(
        link for link in held.record.links if there.get(link.path) == link.target and not world.keeps(held, link.path)
    )


def leaving_notes(world: World, held: Held) -> tuple[Note, ...]:
    """Return the recorded notes that are there and that nobody else keeps; apply compares their text."""
    there = world.locations[held.location].files
    return tuple(note for note in held.record.notes if note.path in there and not world.keeps(held, note.path))


def last_named(world: World, held: Held, note: Note) -> tuple[str, ...]:
    """Return the files that nothing but the note at this path names, and that no record speaks of.

    In a store with an index a note is a model. Where somebody put another under its name, writing ours would leave its
    blobs to the server, which deletes what nothing names.
    """
    place = world.locations[held.location]
    ours = {
        path
        for one in (*world.contents.ours, *world.contents.theirs)
        if one.location == held.location
        for path in paths_of(one.record)
    }
    return tuple(
        path
        for path, users in place.users.items()
        if note.path in users and path in place.files and path not in ours and not world.keeps(held, path)
    )


def debris(world: World) -> Iterator[Step]:
    """Yield steps for what lies in a stage, or what a store has forgotten, and what no declared variant can use."""
    if world.undecided or not world.whole:
        return  # whatever is undecided may still want it
    yield from _partials(world)
    yield from _orphans(world)


def _orphans(world: World) -> Iterator[Step]:
    if not any(place.orphans for place in world.locations.values()):
        return
    wanted = {(d.address.location, path) for d in world.desired for path in paths_of(d.layout)}
    everybody = (*world.contents.ours, *world.contents.theirs)
    recorded = {(held.location, path) for held in everybody for path in paths_of(held.record)}
    for name, place in sorted(world.locations.items()):
        rows = tuple(
            FileRow(path, place.files[path].size, None, "none")
            for path in place.orphans
            if place.readable and path in place.files and (name, path) not in wanted | recorded
        )
        if rows:
            freed = Bytes(trash=sum(row.size for row in rows))
            yield Step(Address(STAGE, name), Action.PRUNE, "orphan-blob", None, None, rows, freed, trash=rows)


def _partials(world: World) -> Iterator[Step]:
    if not any(place.staged for place in world.locations.values()):
        return
    useful = {stage_name(p.artifact) for wanted in world.desired for p in wanted.layout.files}
    shared = {held.location for held in world.contents.theirs}  # what another manifest wants, nobody can tell here
    for name, place in sorted(world.locations.items()):
        rows = tuple(
            FileRow(f"stage/{staged.name}", staged.size, None, "none")
            for staged in sorted(place.staged)
            if place.readable and name not in shared and whole_name(staged) not in useful
        )
        if rows:
            freed = Bytes(trash=sum(row.size for row in rows))
            yield Step(Address(STAGE, name), Action.PRUNE, "partial", None, None, rows, freed, trash=rows)


def stage_name(artifact: Artifact) -> str:
    """Return the name that a file has while it is staged: its digest, without an extension."""
    return artifact.digest.replace(":", "-")


def whole_name(staged: Staged) -> str:
    """Return the name that a staged file has once it is whole: a partial one carries a mark behind `_`."""
    return staged.name.partition("_")[0]
