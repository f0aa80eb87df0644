"""Compare desired variants with what is there and what is recorded; the answer is steps. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import NamedTuple

from reconciler.content import Contents, Held, Question, Situation, note_digest
from reconciler.facts import facts_recorded, facts_wanted, with_told
from reconciler.leaving import (
    debris,
    leaving_links,
    leaving_notes,
    leaving_rows,
    leaving_step,
    stage_name,
    whole_name,
)
from reconciler.obstacles import REPLACED, Situations, obstacle
from reconciler.plan import NOWHERE, ORDER, Action, Bytes, FileRow, Step
from reconciler.reuse import Provision, Shelf
from reconciler.state import (
    Address,
    Artifact,
    Desired,
    Digest,
    Link,
    Note,
    ObservedLocation,
    Undecided,
    algorithm,
)
from reconciler.ui.beside import is_companion
from reconciler.ui.kinds import ui_of
from reconciler.world import World, drops, paths_of

_NOBODY = Address("", "")


def questions(world: World) -> tuple[Question, ...]:
    """Name the files that must be read before the plan can be made; none in the ordinary case."""
    contents = world.contents
    found = _situations(world)
    shelf = Shelf(contents, _leaving_origins(world, found))
    asked: dict[Question, None] = {}
    for wanted, situations in found.values():
        place = world.locations[wanted.address.location]
        for placement, situation in zip(wanted.layout.files, situations, strict=True):
            if situation is None:
                asked.update(dict.fromkeys(_unread(contents, place, placement.path, placement.artifact)))
            elif situation is not Situation.RIGHT:
                asked.update(dict.fromkeys(shelf.candidates(wanted.address, placement)))
        for note in wanted.layout.notes:
            if contents.note_situation(place.name, note) is None:
                asked[Question(place.name, place.files[note.path], algorithm(note_digest(note)))] = None
        held = world.record_of(wanted)
        if held is not None and drops(held, wanted.layout):
            asked.update(dict.fromkeys(_unsure(world, held)))
    for held in world.undeclared:
        asked.update(dict.fromkeys(_unsure(world, held)))
    return tuple(asked)


def _unread(contents: Contents, place: ObservedLocation, path: str, artifact: Artifact) -> Iterator[Question]:
    file = place.files[path]
    yield Question(place.name, file, algorithm(artifact.digest))
    placed = contents.placed.get((place.name, path))
    if placed is not None and algorithm(placed.digest) != algorithm(artifact.digest):
        yield Question(place.name, file, algorithm(placed.digest))


def _unsure(world: World, held: Held) -> Iterator[Question]:
    """Yield the recorded files of which only reading can tell whether they are as recorded."""
    place = world.locations[held.location]
    for placed in held.record.files if place.readable else ():
        if world.contents.untouched(place.name, placed) is None:
            yield Question(place.name, place.files[placed.path], algorithm(placed.digest))


def diff(world: World) -> tuple[Step, ...]:
    """Return one step for every variant and every leftover, in the order of apply, then by address.

    Every question of `questions` must have been answered, or its file is taken for one that cannot be read.
    """
    found = _situations(world)
    shelf = Shelf(world.contents, _leaving_origins(world, found), world.joining)
    steps = [_undecided_step(world, entry) for entry in world.undecided]
    for wanted in sorted(world.desired, key=lambda wanted: wanted.address):
        step = _step(world, shelf, wanted, found[wanted.address].situations if wanted.address in found else ())
        if step.blocked is None and step.address not in world.stuck:
            for row in step.files:
                if row.method != "none":
                    shelf.promise(step.address.location, row)
        steps.append(step)
    steps += [leaving_step(world, held) for held in world.leaving]
    steps += debris(world)
    return tuple(sorted(steps, key=lambda step: (ORDER[step.action], step.address)))


class _Found(NamedTuple):
    wanted: Desired
    situations: Situations


def _situations(world: World) -> Mapping[Address, _Found]:
    """Tell what lies at the paths of every desired variant whose location can be read."""
    situation = world.contents.situation
    return {
        wanted.address: _Found(wanted, [situation(wanted.address.location, each) for each in wanted.layout.files])
        for wanted in world.desired
        if world.locations[wanted.address.location].readable
    }


def _leaving_origins(world: World, found: Mapping[Address, _Found]) -> Mapping[str, Address]:
    """Name the files that may be other bytes, or gone, before every step that could use them has run.

    What is replaced is of no use to anybody; what a step drops while it brings in others, to that step alone.
    """
    leaving: dict[str, Address] = {}
    for address, (wanted, situations) in found.items():
        for note in wanted.layout.notes:
            if world.contents.note_situation(address.location, note) is Situation.OLD:
                leaving[f"{address.location}:{note.path}"] = _NOBODY
        if all(situation is Situation.RIGHT for situation in situations):
            continue
        for placement, situation in zip(wanted.layout.files, situations, strict=True):
            if situation in REPLACED:
                leaving[f"{address.location}:{placement.path}"] = _NOBODY
        held = world.record_of(wanted)
        if held is not None and drops(held, wanted.layout):
            wants = {placement.path for placement in wanted.layout.files}
            for placed in held.record.files:
                if placed.path not in wants:
                    leaving.setdefault(f"{held.location}:{placed.path}", address)
    return leaving


def _undecided_step(world: World, entry: Undecided) -> Step:
    held = world.by_variant.get(entry.variant)
    location = entry.location or (held.location if held else NOWHERE)
    before = facts_recorded(held) if held else None
    action = Action.KEEP if held else Action.DOWNLOAD
    reason = "undecided" if held else "missing"
    return Step(Address(entry.variant, location), action, reason, before, before, blocked=entry.why)


def _step(world: World, shelf: Shelf, wanted: Desired, situations: Situations) -> Step:
    place = world.locations[wanted.address.location]
    held = world.record_of(wanted)
    before = facts_recorded(held) if held else None
    now = world.seen.get(wanted.address)
    after = facts_wanted(wanted, held, now)
    hidden = _hidden(world, wanted, held)
    if hidden:
        return Step(wanted.address, Action.KEEP, "unreadable", before, after, blocked=hidden)
    rows = _rows(shelf, wanted, situations)
    trash: tuple[FileRow, ...] = ()
    unlinks: tuple[Link, ...] = ()
    unnotes: tuple[Note, ...] = ()
    if held is not None and drops(held, wanted.layout):
        trash = tuple(leaving_rows(world, held))
        unlinks, unnotes = leaving_links(world, held), leaving_notes(world, held)
    went = [*(row.path for row in trash), *(link.path for link in unlinks), *(note.path for note in unnotes)]
    action, reason = _verdict(world, wanted, situations, rows, went, is_superseded=_loses_weights(place, trash))
    if before is not None and held is not None and action is Action.NORMALIZE:
        before, after = with_told(before, after, held.record, now, world.misstated.get(wanted.address, {}))
    step = Step(
        wanted.address, action, reason, before, after, rows, _bytes(rows, trash, place),
        trash=trash, links=wanted.layout.links, notes=wanted.layout.notes,
        renamed_from=held.record.address if held and held.record.address != wanted.address else None,
        unlinks=unlinks, unnotes=unnotes,
    )  # fmt: skip
    return replace(step, blocked=obstacle(world, wanted, step, situations))


def _hidden(world: World, wanted: Desired, held: Held | None) -> str | None:
    """Say why nobody can tell what is there: the location, or a directory in it, cannot be read."""
    place = world.locations[wanted.address.location]
    if not place.readable:
        return f"{place.name}: {place.why}"
    for path in (*paths_of(wanted.layout), *(paths_of(held.record) if held else ())) if place.others else ():
        why = world.contents.hidden(place.name, path)
        if why:
            return f"{place.name}: {why} (make it readable)"
    return None


def _rows(shelf: Shelf, wanted: Desired, situations: Situations) -> tuple[FileRow, ...]:
    location = wanted.address.location
    own: dict[Digest, str] = {}
    rows: list[FileRow] = []
    for placement, situation in zip(wanted.layout.files, situations, strict=True):
        artifact = placement.artifact
        here = f"{location}:{placement.path}"
        replaces = situation in REPLACED
        if situation is Situation.RIGHT and (twin := shelf.twin(wanted.address, placement)):
            method, origin = Provision("link", twin)
            replaces = True
        elif situation in (Situation.RIGHT, Situation.FOREIGN, None):
            method, origin = Provision("none", "")
        elif shelf.places(location, placement):
            method, origin = Provision("none", here)  # an earlier step places this very file
            replaces = False
        elif artifact.digest in own:
            method, origin = Provision("link", own[artifact.digest])  # the same bytes twice in one variant
        else:
            method, origin = shelf.provide(wanted.address, placement)
            own[artifact.digest] = here
        rows.append(
            FileRow(
                placement.path, artifact.size, artifact.digest, method, origin,
                artifact.path, artifact.support, artifact.url, replaces, placement.path in wanted.layout.optional,
            )
        )  # fmt: skip
    return tuple(rows)


def _verdict(
    world: World,
    wanted: Desired,
    situations: Situations,
    rows: Sequence[FileRow],
    went: Sequence[str],
    *,
    is_superseded: bool,
) -> tuple[Action, str]:
    """Tell what a step is, by the files that count; what lies beside a model for comfort only is its metadata.

    `went` are the paths of files, links and notes that are no longer wanted.
    """
    held = world.held.get(wanted.address)
    methods = {row.method for row in rows if not row.optional}
    place = world.locations[wanted.address.location]
    drops_extras = not all(_is_comfort(place, path) for path in went)
    changes_comfort = bool(went) or any(row.method != "none" for row in rows if row.optional)
    if "fetch" in methods or Situation.FOREIGN in situations:  # somebody else's bytes: these would have to come
        return Action.DOWNLOAD, _why_download(world, wanted, situations)
    if methods - {"none"}:
        return Action.NORMALIZE, _why_placed(world, wanted, methods)
    if held is None:
        if wanted.address in world.renames:
            return Action.NORMALIZE, "rename"
        stands = _extras_stand(world, wanted) or _only_comfort(world, wanted)
        return (Action.NORMALIZE, "adopt") if stands else (Action.NORMALIZE, "link")
    if is_superseded:
        return Action.REMOVE, "superseded"
    if drops_extras or changes_comfort or not _extras_stand(world, wanted):
        return Action.NORMALIZE, "metadata" if not drops_extras and _only_comfort(world, wanted) else "link"
    if any(row.origin for row in rows):
        return Action.NORMALIZE, "record"  # another step places a file that this record vouches for too
    difference = _record_differs(held, wanted)
    if difference is None and wanted.address in world.misstated:
        return Action.NORMALIZE, "record"
    if difference is None and wanted.address in world.seen:
        return Action.NORMALIZE, "metadata"
    return (Action.NORMALIZE, difference) if difference else (Action.KEEP, "as declared")


def _is_comfort(place: ObservedLocation, path: str) -> bool:
    return ui_of(place.store) is not None and is_companion(path)


def _loses_weights(place: ObservedLocation, trash: Sequence[FileRow]) -> bool:
    return not all(_is_comfort(place, row.path) for row in trash)


def _why_download(world: World, wanted: Desired, situations: Situations) -> str:
    held = world.record_of(wanted)
    if held and held.record.pin.revision != wanted.pin.revision:
        return "new-revision"
    if Situation.CORRUPT in situations:
        return "corrupt"
    if Situation.OLD in situations:
        return "new-revision"
    started = {whole_name(staged) for staged in world.locations[wanted.address.location].staged}
    names = {stage_name(placement.artifact) for placement in wanted.layout.files}
    return "incomplete" if Situation.RIGHT in situations or started & names else "missing"


def _why_placed(world: World, wanted: Desired, methods: Set[str]) -> str:
    if wanted.address.variant in world.leaving_variants:
        return "move"
    return next(method for method in ("move", "copy", "link") if method in methods)


def _extras_stand(world: World, wanted: Desired) -> bool:
    contents, location = world.contents, wanted.address.location
    return all(contents.link_situation(location, link) is Situation.RIGHT for link in wanted.layout.links) and all(
        contents.note_situation(location, note) is Situation.RIGHT for note in wanted.layout.notes
    )


def _only_comfort(world: World, wanted: Desired) -> bool:
    """Whether every link and note that is not right lies beside a model for comfort only."""
    kept = [note for note in wanted.layout.notes if note.path not in wanted.layout.optional]
    return _extras_stand(world, replace(wanted, layout=replace(wanted.layout, notes=tuple(kept))))


def _record_differs(held: Held, wanted: Desired) -> str | None:
    """Name what kind of difference there is between a record and what is declared, bytes aside."""
    record, ours = held.record, wanted.attributes
    theirs = record.attributes
    if record.address != wanted.address or record.home != wanted.layout.home:
        return "record"
    if (record.pin.source, record.pin.revision, record.pin.support) != (
        wanted.pin.source, wanted.pin.revision, wanted.pin.support
    ):  # fmt: skip
        return "record"
    if {(p.path, p.digest) for p in record.files} != {(p.path, p.artifact.digest) for p in wanted.layout.files}:
        return "record"
    if (record.links, record.notes) != (wanted.layout.links, wanted.layout.notes):
        return "record"
    if ours.roles != theirs.roles:
        return "role"
    if (ours.format and not theirs.format) or (ours.quant and not theirs.quant):
        return "metadata"  # claimed, and the bytes say nothing
    same = (ours.backend, ours.served_as, ours.license, ours.protect, dict(ours.metadata), dict(ours.modelfile))
    return None if same == (
        theirs.backend, theirs.served_as, theirs.license, theirs.protect, dict(theirs.metadata), dict(theirs.modelfile)
    ) else "metadata"  # fmt: skip


def _bytes(rows: Sequence[FileRow], trash: Sequence[FileRow], place: ObservedLocation) -> Bytes:
    partial = {whole_name(staged): staged.size for staged in place.staged}
    download = sum(
        max(0, row.size - partial.get((row.digest or "").replace(":", "-"), 0)) for row in rows if row.method == "fetch"
    )
    reuse = sum(row.size for row in rows if row.method in ("link", "copy", "move"))
    replaced = sum(place.files[row.path].size for row in rows if row.replaces)
    return Bytes(download, reuse, replaced + sum(row.size for row in trash))
