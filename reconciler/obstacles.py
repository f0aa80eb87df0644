"""Say what stands in the way of one step, and what would lift it: other bytes, false claims, other records. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.content import Situation
from reconciler.inert import human_bytes
from reconciler.leaving import last_named, modified
from reconciler.plan import Action, Step
from reconciler.state import Desired, Note, Seen
from reconciler.world import World, address_of

Situations = Sequence[Situation | None]
"""What lies at each path of a layout's files, in their order."""

REPLACED = (Situation.OLD, Situation.CORRUPT)
"""What a wanted file takes the place of."""


def obstacle(world: World, wanted: Desired, step: Step, situations: Situations) -> str | None:
    """Say why a step must not run, and what would lift that; None when nothing is in the way."""
    location = wanted.address.location
    for placement, situation in zip(wanted.layout.files, situations, strict=True):
        if situation in (Situation.FOREIGN, None):
            return _foreign(world, location, placement.path, read=situation is not None)
    return (
        _extra_in_the_way(world, wanted)
        or wanted.blocked
        or _contradicted(wanted, step, world.seen.get(wanted.address))
        or _held_by_others(world, wanted, situations)
        or _dropped_changed(world, wanted, step)
        or (world.denied.get(wanted.address.variant) if step.action is Action.DOWNLOAD else None)
    )


def _foreign(world: World, location: str, path: str, *, read: bool) -> str:
    in_the_way = world.contents.obstacle(location, path)
    if in_the_way:
        return f"{path}: in the way is {in_the_way} (move it away)"
    if not read:
        return f"{path} cannot be read, so nobody knows what it holds (make it readable, or move it away)"
    claimed = world.contents.claimed.get((location, path))
    if claimed:
        other = claimed.record.manifest
        return f"{path} is managed by manifest {other} with other bytes (give one of them another location)"
    files = world.locations[location].files
    partial = ", half downloaded by another program" if f"{path}.aria2" in files else ""
    return f"{path} already holds other bytes that are not ours ({files[path].size} bytes{partial}; move the file away)"


def _extra_in_the_way(world: World, wanted: Desired) -> str | None:
    """Say which link or note cannot be made without touching what is not ours."""
    contents, location = world.contents, wanted.address.location
    for link in wanted.layout.links:
        if contents.link_situation(location, link) is Situation.FOREIGN:
            if link.path in world.locations[location].files:
                return f"{link.path} is a file that is not ours, where a link to the blob should be (move it away)"
            return f"{link.path}: in the way is {contents.obstacle(location, link.path)} (move it away)"
    for note in wanted.layout.notes:
        situation = contents.note_situation(location, note)
        if situation in (Situation.FOREIGN, None):
            return _foreign(world, location, note.path, read=situation is not None)
        if situation is Situation.OLD and (taken := _taken_over(world, wanted, note)):
            return taken
    return None


def _taken_over(world: World, wanted: Desired, note: Note) -> str | None:
    """Say what would be lost of a model that somebody put under a name of ours in a store with an index."""
    held, place = world.record_of(wanted), world.locations[wanted.address.location]
    lost = last_named(world, held, note) if held is not None and place.users else ()
    if not lost:
        return None
    size = human_bytes(sum(place.files[path].size for path in lost))
    return (
        f"{note.path} holds another model by now, and nothing else names {len(lost)} of its blobs, {size} (copy it to "
        "another name with `ollama cp`, or remove it with `ollama rm`; `reconciler lock --upgrade "
        f"{wanted.address.variant}` takes it if it is the newer one of the tag)"
    )


def _contradicted(wanted: Desired, step: Step, now: Seen | None) -> str | None:
    if step.before is None or step.before.revision != wanted.pin.revision:
        return None
    for word, claim, seen in (
        ("format", wanted.attributes.format, (now and now.format) or step.before.format),
        ("quant", wanted.attributes.quant, (now and now.quant) or step.before.quant),
    ):
        if claim and seen and claim.lower() != seen.lower():
            return f"the manifest claims {word} {claim}, the bytes say {seen} (correct `{word}` or `files`)"
    return None


def _held_by_others(world: World, wanted: Desired, situations: Situations) -> str | None:
    """Say whose record would be false if the files that are to be replaced were."""
    for placement, situation in zip(wanted.layout.files, situations, strict=True):
        holder = world.holder(wanted, placement.path) if situation in REPLACED else None
        if holder is not None:
            ours = world.held.get(address_of(holder)) is holder
            name = str(address_of(holder)) if ours else f"manifest {holder.record.manifest}"
            return f"{placement.path} is held by {name} too, with the bytes of now (change both, or forget one of them)"
    return None


def _dropped_changed(world: World, wanted: Desired, step: Step) -> str | None:
    held = world.record_of(wanted)
    changed = modified(world, held, step.trash) if held else None
    return f"{changed} (put the bytes back, or move the file away)" if changed else None
