"""Let what lies beside a model for people's comfort give way to what people put there themselves. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from reconciler.content import Question, note_digest
from reconciler.inert import few
from reconciler.state import Desired, Layout, algorithm
from reconciler.world import World


def comfort_questions(world: World) -> Iterator[Question]:
    """Yield the files that must be read before `yielding` can tell whose they are."""
    for wanted in world.desired:
        location = wanted.address.location
        place = world.locations[location]
        for path in wanted.layout.optional if place.readable else ():
            file = place.files.get(path)
            if file is not None and world.contents.digest_of(location, file, "sha256") is None:
                yield Question(location, file, "sha256")


def changed(world: World) -> Iterator[tuple[str, str, str]]:
    """Yield (location, root, path) of optional files that we wrote and that hold other bytes now."""
    for wanted in world.desired:
        if wanted.layout.optional and (held := world.record_of(wanted)) is not None:
            ours = {placed.path for placed in held.record.files} | {note.path for note in held.record.notes}
            location = wanted.address.location
            place = world.locations[location]
            for path in sorted(_theirs(world, wanted) & ours & place.files.keys()):
                yield location, place.root, path


def yielding(world: World, spoilt: Collection[tuple[str, str]] = frozenset()) -> tuple[World, tuple[str, ...]]:
    """Return the world without the optional files and notes whose place somebody else has taken, and a warning each.

    What we wrote and a user changed since is the user's, too; but for `spoilt`, (location, path) of what we wrote and
    nobody can have meant to leave so.
    """
    desired: list[Desired] = []
    warnings: list[str] = []
    spared = set(world.spared)
    for wanted in world.desired:
        theirs = _theirs(world, wanted) if wanted.layout.optional else frozenset()
        theirs = frozenset(path for path in theirs if (wanted.address.location, path) not in spoilt)
        if theirs:
            warnings.append(f"{wanted.address}: left as they are, since they are not ours: {few(sorted(theirs))}")
            spared.update((wanted.address.location, path) for path in theirs)
            wanted = replace(wanted, layout=_without(wanted.layout, theirs))  # noqa: PLW2901
        desired.append(wanted)
    if not warnings:
        return world, ()
    return replace(world, desired=tuple(desired), spared=frozenset(spared)), tuple(warnings)


def _theirs(world: World, wanted: Desired) -> frozenset[str]:
    location = wanted.address.location
    held = world.record_of(wanted)
    placed = {each.path: each.digest for each in held.record.files} if held else {}
    placed |= {note.path: note_digest(note) for note in held.record.notes} if held else {}
    wants = {file.path: file.artifact.digest for file in wanted.layout.files}
    wants |= {note.path: note_digest(note) for note in wanted.layout.notes}
    found = set()
    for path in wanted.layout.optional & wants.keys():
        file = world.locations[location].files.get(path)
        if file is None:
            if world.contents.obstacle(location, path) is not None:
                found.add(path)
        elif world.contents.digest_of(location, file, algorithm(wants[path])) not in (wants[path], placed.get(path)):
            found.add(path)
    return frozenset(found)


def _without(layout: Layout, paths: frozenset[str]) -> Layout:
    return replace(
        layout,
        files=tuple(file for file in layout.files if file.path not in paths),
        notes=tuple(note for note in layout.notes if note.path not in paths),
        optional=layout.optional - paths,
    )
