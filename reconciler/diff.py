"""Compare desired variants with what is there and what is recorded; the answer is steps. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from reconciler.content import Contents, Held, Question, Situation
from reconciler.plan import ORDER, Action, Bytes, Facts, FileRow, Step
from reconciler.reuse import Provision, Shelf
from reconciler.state import (
    Address,
    Artifact,
    Attributes,
    Desired,
    Digest,
    Layout,
    ObservedLocation,
    Pin,
    Placed,
    Record,
    Staged,
    Undecided,
    algorithm,
)

STAGE = ".reconciler"
"""The variant part of the address of a location's own debris; no variant can have this name."""


def everything(address: Address) -> bool:
    """Leave nothing out."""
    return True


@dataclass(frozen=True)
class World:
    """All that a plan is made from. `denied` says why upstream would refuse a variant's bytes.

    `stuck` are addresses whose step turned out to be blocked: nobody may count on the files that they would place.
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

    @property
    def locations(self) -> Mapping[str, ObservedLocation]:
        """The observed locations by label."""
        return self.contents.locations

    @cached_property
    def held(self) -> Mapping[Address, Held]:
        """Our records, by the address that they have now."""
        return {Address(held.record.address.variant, held.location): held for held in self.contents.ours}

    @cached_property
    def _kept_paths(self) -> frozenset[tuple[str, str]]:
        """Every path that somebody wants or holds: desired variants, other manifests, records out of scope."""
        wanted = {(d.address.location, path) for d in self.desired for path in paths_of(d.layout)}
        leaving = {held.record.address for held in self.undeclared}
        declared = {d.address for d in self.desired}
        staying = [h for a, h in self.held.items() if h.record.address not in leaving and a not in declared]
        held = {(h.location, path) for h in (*self.contents.theirs, *staying) for path in paths_of(h.record)}
        return frozenset(wanted | held)

    def keeps(self, leaving: Held, path: str) -> bool:
        """Whether somebody besides a leaving record still wants or holds a path."""
        return (leaving.location, path) in self._kept_paths

    @cached_property
    def undeclared(self) -> tuple[Held, ...]:
        """Our records that no desired variant continues at its address."""
        wanted = {wanted.address for wanted in self.desired}
        waiting = {entry.variant for entry in self.undecided}
        return tuple(
            held
            for address, held in self.held.items()
            if address not in wanted and address.variant not in waiting and self.scope(address)
        )


def paths_of(thing: Layout | Record) -> Iterator[str]:
    """Yield every path that a layout or a record speaks of: files, links and notes."""
    yield from (file.path for file in thing.files)
    yield from (link.path for link in thing.links)
    yield from (note.path for note in thing.notes)


def questions(world: World) -> tuple[Question, ...]:
    """Name the files that must be read before the plan can be made; none in the ordinary case."""
    contents, shelf = world.contents, Shelf(world.contents)
    asked: dict[Question, None] = {}
    for wanted in world.desired:
        place = world.locations[wanted.address.location]
        if not place.readable:
            continue
        for placement in wanted.layout.files:
            situation = contents.situation(place.name, placement)
            if situation is None:
                asked.update(dict.fromkeys(_unread(contents, place, placement.path, placement.artifact)))
            elif situation is not Situation.RIGHT:
                asked.update(dict.fromkeys(shelf.candidates(placement)))
    for held in world.undeclared:
        place = world.locations[held.location]
        for placed in held.record.files if place.readable else ():
            if contents.untouched(place.name, placed) is None:
                asked[Question(place.name, place.files[placed.path], algorithm(placed.digest))] = None
    return tuple(asked)


def _unread(contents: Contents, place: ObservedLocation, path: str, artifact: Artifact) -> Iterator[Question]:
    file = place.files[path]
    yield Question(place.name, file, algorithm(artifact.digest))
    placed = contents.placed.get((place.name, path))
    if placed is not None and algorithm(placed.digest) != algorithm(artifact.digest):
        yield Question(place.name, file, algorithm(placed.digest))


def diff(world: World) -> tuple[Step, ...]:
    """Return one step for every variant and every leftover, in the order of apply, then by address.

    Every question of `questions` must have been answered, or its file is taken for somebody else's.
    """
    shelf = Shelf(world.contents)
    renames = dict(_renames(world))
    steps = [_undecided_step(world, entry) for entry in world.undecided]
    for wanted in world.desired:
        step = _step(world, shelf, wanted, renames.get(wanted.address))
        if step.blocked is None and step.address not in world.stuck:
            for placement, row in zip(wanted.layout.files, step.files, strict=True):
                if row.method != "none":
                    shelf.promise(wanted.address.location, placement)
        steps.append(step)
    continued = {held.record.address for held in renames.values()}
    steps += [_leaving(world, held) for held in world.undeclared if held.record.address not in continued]
    steps += _debris(world)
    return tuple(sorted(steps, key=lambda step: (ORDER[step.action], step.address)))


# -- variants that are declared -------------------------------------------------------------------------------------


def _undecided_step(world: World, entry: Undecided) -> Step:
    held = next((h for a, h in world.held.items() if a.variant == entry.variant), None)
    location = entry.location or (held.location if held else "?")
    before = facts_of(held.record.pin, held.record.attributes, held.record.home) if held else None
    action = Action.KEEP if held else Action.DOWNLOAD
    reason = "undecided" if held else "missing"
    return Step(Address(entry.variant, location), action, reason, before, before, blocked=entry.why)


def _step(world: World, shelf: Shelf, wanted: Desired, renamed: Held | None) -> Step:
    place = world.locations[wanted.address.location]
    held = world.held.get(wanted.address) or renamed
    before = facts_of(held.record.pin, held.record.attributes, held.record.home) if held else None
    after = _facts_wanted(wanted, held)
    if not place.readable:
        return Step(wanted.address, Action.KEEP, "unreadable", before, after, blocked=f"{place.name}: {place.why}")
    situations = [world.contents.situation(place.name, placement) for placement in wanted.layout.files]
    rows = _rows(world, shelf, wanted, situations)
    trash = tuple(_leaving_rows(world, held)) if held and held is not renamed and _has_dropped(held, wanted) else ()
    action, reason = _verdict(world, wanted, held, renamed, situations, rows, trash)
    step = Step(
        wanted.address, action, reason, before, after, rows, _bytes(world, rows, trash, place),
        trash=trash, links=wanted.layout.links, notes=wanted.layout.notes,
        renamed_from=_renamed_from(held, wanted.address),
    )  # fmt: skip
    return replace(step, blocked=_obstacle(world, wanted, step, situations))


def _renamed_from(held: Held | None, address: Address) -> Address | None:
    return held.record.address if held and held.record.address != address else None


def _rows(world: World, shelf: Shelf, wanted: Desired, situations: Sequence[Situation | None]) -> tuple[FileRow, ...]:
    location = wanted.address.location
    own: dict[Digest, str] = {}
    rows: list[FileRow] = []
    for placement, situation in zip(wanted.layout.files, situations, strict=True):
        artifact = placement.artifact
        here = f"{location}:{placement.path}"
        if situation in (Situation.RIGHT, Situation.FOREIGN, None):
            method, origin = Provision("none", "")
        elif shelf.promised.get(artifact.digest) == here:
            method, origin = Provision("none", here)  # an earlier step places this very file
        elif artifact.digest in own:
            method, origin = Provision("link", own[artifact.digest])  # the same bytes twice in one variant
        else:
            method, origin = shelf.provide(location, placement)
            own[artifact.digest] = here
        rows.append(
            FileRow(
                placement.path, artifact.size, artifact.digest, method, origin,
                artifact.path, artifact.support, artifact.url, situation in (Situation.OLD, Situation.CORRUPT),
            )
        )  # fmt: skip
    return tuple(rows)


def _has_dropped(held: Held, wanted: Desired) -> bool:
    """Whether the record holds a path that the variant does not want any more."""
    return not {placed.path for placed in held.record.files} <= {placement.path for placement in wanted.layout.files}


def _verdict(
    world: World,
    wanted: Desired,
    held: Held | None,
    renamed: Held | None,
    situations: Sequence[Situation | None],
    rows: Sequence[FileRow],
    trash: Sequence[FileRow],
) -> tuple[Action, str]:
    methods = {row.method for row in rows}
    if "fetch" in methods:
        return Action.DOWNLOAD, _why_download(world, wanted, held, situations)
    if methods - {"none"}:
        return Action.NORMALIZE, _why_placed(world, wanted, rows)
    if held is renamed and renamed is not None:
        return Action.NORMALIZE, "rename"
    if held is None:
        return Action.NORMALIZE, "adopt"
    if trash:
        return Action.REMOVE, "superseded"
    if not _extras_stand(world, wanted):
        return Action.NORMALIZE, "link"
    difference = _record_differs(held, wanted)
    return (Action.NORMALIZE, difference) if difference else (Action.KEEP, "as declared")


def _why_download(world: World, wanted: Desired, held: Held | None, situations: Sequence[Situation | None]) -> str:
    if held and held.record.pin.revision != wanted.pin.revision:
        return "new-revision"
    if Situation.CORRUPT in situations:
        return "corrupt"
    if Situation.OLD in situations:
        return "new-revision"
    started = {_whole_name(staged) for staged in world.locations[wanted.address.location].staged}
    names = {stage_name(placement.artifact) for placement in wanted.layout.files}
    return "incomplete" if Situation.RIGHT in situations or started & names else "missing"


def stage_name(artifact: Artifact) -> str:
    """Return the name that a file has while it is staged: its digest, without an extension."""
    return artifact.digest.replace(":", "-")


def _whole_name(staged: Staged) -> str:
    """Return the name that a staged file has once it is whole: a partial one carries a mark behind `_`."""
    return staged.name.partition("_")[0]


def _why_placed(world: World, wanted: Desired, rows: Sequence[FileRow]) -> str:
    if any(held.record.address.variant == wanted.address.variant for held in world.undeclared):
        return "move"
    methods = {row.method for row in rows}
    return next(method for method in ("move", "copy", "link") if method in methods)


def _extras_stand(world: World, wanted: Desired) -> bool:
    place = world.locations[wanted.address.location]
    notes = all(
        note.path in place.files and place.files[note.path].size == len(note.text) for note in wanted.layout.notes
    )
    return notes and all(place.links.get(link.path) == link.target for link in wanted.layout.links)


def _record_differs(held: Held, wanted: Desired) -> str | None:
    """Name what kind of difference there is between a record and what is declared, bytes aside."""
    record, ours = held.record, wanted.attributes
    theirs = record.attributes
    if record.address != wanted.address or record.pin.source != wanted.pin.source:
        return "record"
    if record.pin.revision != wanted.pin.revision or record.home != wanted.layout.home:
        return "record"
    if {(p.path, p.digest) for p in record.files} != {(p.path, p.artifact.digest) for p in wanted.layout.files}:
        return "record"
    if (record.links, record.notes) != (wanted.layout.links, wanted.layout.notes):
        return "record"
    if ours.roles != theirs.roles:
        return "role"
    same = (ours.backend, ours.served_as, ours.license, ours.protect, dict(ours.metadata))
    return None if same == (
        theirs.backend, theirs.served_as, theirs.license, theirs.protect, dict(theirs.metadata)
    ) else "metadata"  # fmt: skip


def _obstacle(world: World, wanted: Desired, step: Step, situations: Sequence[Situation | None]) -> str | None:
    location = wanted.address.location
    for placement, situation in zip(wanted.layout.files, situations, strict=True):
        if situation in (Situation.FOREIGN, None):
            return _foreign(world, location, placement.path)
    if wanted.blocked:
        return wanted.blocked
    if step.before is not None and step.before.revision == wanted.pin.revision:
        for word, claim, seen in (
            ("format", wanted.attributes.format, step.before.format),
            ("quant", wanted.attributes.quant, step.before.quant),
        ):
            if claim and seen and claim.lower() != seen.lower():
                return f"the manifest claims {word} {claim}, the bytes say {seen} (correct `{word}` or `files`)"
    for link in wanted.layout.links:
        if link.path in world.locations[location].files:
            return f"{link.path} is a file that is not ours, where a link to the blob should be (move it away)"
    if step.action is Action.DOWNLOAD and wanted.address.variant in world.denied:
        return world.denied[wanted.address.variant]
    return None


def _foreign(world: World, location: str, path: str) -> str:
    in_the_way = world.contents.obstacle(location, path)
    if in_the_way:
        return f"{path}: in the way is {in_the_way} (move it away)"
    claimed = world.contents.claimed.get((location, path))
    if claimed:
        other = claimed.record.manifest
        return f"{path} is managed by manifest {other} with other bytes (give one of them another location)"
    files = world.locations[location].files
    partial = ", half downloaded by another program" if f"{path}.aria2" in files else ""
    return f"{path} already holds other bytes that are not ours ({files[path].size} bytes{partial}; move the file away)"


def _bytes(world: World, rows: Sequence[FileRow], trash: Sequence[FileRow], place: ObservedLocation) -> Bytes:
    partial = {_whole_name(staged): staged.size for staged in place.staged}
    download = sum(
        max(0, row.size - partial.get((row.digest or "").replace(":", "-"), 0)) for row in rows if row.method == "fetch"
    )
    reuse = sum(row.size for row in rows if row.method in ("link", "copy", "move"))
    replaced = sum(place.files[row.path].size for row in rows if row.replaces)
    return Bytes(download, reuse, replaced + sum(row.size for row in trash))


# -- variants that are not declared any more --------------------------------------------------------------------------


def _renames(world: World) -> Iterator[tuple[Address, Held]]:
    """Pair a new variant with an undeclared record of the same content in the same place."""
    free = {held.record.address: held for held in world.undeclared}
    by_content: dict[tuple[str, frozenset[tuple[str, str]]], list[Held]] = {}
    for held in free.values():
        content = frozenset((placed.path, str(placed.digest)) for placed in held.record.files)
        by_content.setdefault((held.location, content), []).append(held)
    for wanted in world.desired if free else ():
        if wanted.address in world.held:
            continue
        content = frozenset((p.path, str(p.artifact.digest)) for p in wanted.layout.files)
        matches = by_content.get((wanted.address.location, content))
        if matches:
            yield wanted.address, matches.pop(0)


def _leaving(world: World, held: Held) -> Step:
    """Return the step for a record that nobody declares any more, or whose variant is declared elsewhere."""
    record, place = held.record, world.locations[held.location]
    address = Address(record.address.variant, held.location)
    before = facts_of(record.pin, record.attributes, record.home)
    elsewhere = any(wanted.address.variant == address.variant for wanted in world.desired)
    reason = "superseded" if elsewhere else "undeclared"
    if not place.readable:
        return Step(address, Action.KEEP, "unreadable", before, before, blocked=f"{place.name}: {place.why}")
    rows = tuple(_leaving_rows(world, held))
    links = tuple(
        link for link in record.links if place.links.get(link.path) == link.target and not world.keeps(held, link.path)
    )
    notes = tuple(note for note in record.notes if note.path in place.files and not world.keeps(held, note.path))
    modified = [row.path for row in rows if not world.contents.untouched(held.location, _placed(record, row.path))]
    action = Action.REMOVE if rows or links else Action.PRUNE
    step = Step(
        address, action, reason if action is Action.REMOVE else "stale-record", before, None, rows,
        Bytes(trash=sum(row.size for row in rows)), trash=rows, links=links, notes=notes,
        renamed_from=_renamed_from(held, address),
    )  # fmt: skip
    if modified:
        changed = f"changed since it was placed: {', '.join(modified[:3])}{' …' * (len(modified) > 3)}"
        return replace(step, blocked=f"{changed} (put the bytes back, or run `reconciler forget {address.variant}`)")
    return step


def _leaving_rows(world: World, held: Held) -> Iterator[FileRow]:
    """Yield the recorded files that are there and that nobody else keeps."""
    files = world.locations[held.location].files
    for placed in held.record.files:
        if placed.path in files and not world.keeps(held, placed.path):
            yield FileRow(placed.path, files[placed.path].size, placed.digest, "none", artifact=placed.artifact)


def _placed(record: Record, path: str) -> Placed:
    return next(placed for placed in record.files if placed.path == path)


def _debris(world: World) -> Iterator[Step]:
    """Yield a step for what lies in a stage and can serve no declared variant any more."""
    if world.undecided or not world.whole:
        return  # whatever is undecided may still want it
    useful = (
        {stage_name(p.artifact) for wanted in world.desired for p in wanted.layout.files}
        if _any_staged(world)
        else set()
    )
    for name, place in sorted(world.locations.items()):
        rows = tuple(
            FileRow(f"stage/{staged.name}", staged.size, None, "none")
            for staged in place.staged
            if place.readable and _whole_name(staged) not in useful
        )
        if rows:
            freed = Bytes(trash=sum(row.size for row in rows))
            yield Step(Address(STAGE, name), Action.PRUNE, "partial", None, None, rows, freed, trash=rows)


def _any_staged(world: World) -> bool:
    return any(place.staged for place in world.locations.values())


# -- facts ------------------------------------------------------------------------------------------------------------


def facts_of(pin: Pin, attributes: Attributes, home: str) -> Facts:
    """Return a variant as people read it."""
    return Facts(
        source=pin.source,
        revision=pin.revision,
        format=attributes.format,
        quant=attributes.quant,
        path=home,
        backend=attributes.backend,
        served_as=attributes.served_as,
        license=attributes.license,
        support=f"{pin.support.source} at {pin.support.revision}" if pin.support else None,
        protect=attributes.protect,
        roles=dict(attributes.roles),
        metadata=attributes.metadata,
    )


def _facts_wanted(wanted: Desired, held: Held | None) -> Facts:
    """Return what a record will say; format and quantisation: as claimed, else as recorded, else as names tell.

    A claim that the recorded bytes contradict blocks the step, so a claim never hides what the bytes are.
    """
    facts = facts_of(wanted.pin, wanted.attributes, wanted.layout.home)
    same = held is not None and held.record.pin.revision == wanted.pin.revision
    seen = held.record.attributes if held is not None and same else None
    return replace(
        facts,
        format=facts.format or (seen.format if seen else None) or wanted.format,
        quant=facts.quant or (seen.quant if seen else None) or wanted.quant,
    )
