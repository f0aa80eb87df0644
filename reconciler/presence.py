"""Whether the image models that a manifest wants are here, wherever they lie: present, absent, or unknown. Pure.

A plan says what is right at its place; this says what is on this machine: under another name, in the folders of another
web interface, or with a header that somebody rewrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from reconciler.content import Question
from reconciler.references import parse
from reconciler.state import Address, Desired, ObservedFile, ObservedLocation, identity_key
from reconciler.ui.detection import Names, Sighting, Wanted, detect, together, unread
from reconciler.ui.kinds import ui_of
from reconciler.ui.visible import is_weights
from reconciler.world import World


class Presence(NamedTuple):
    """What became of each image model, and of each pair for high and low noise, by name."""

    variants: Mapping[Address, Sighting]
    pairs: tuple[Sighting, ...] = ()


def questions(world: World) -> Iterator[Question]:
    """Yield the files that must be read before `presence` can tell: those of the size of a model that is missing."""
    wanted = [one for each in _image_models(world) for one in _files(world, each)]
    places = _places(world) if wanted else []
    for location, file in unread(wanted, places, lambda *one: _known(world, *one)):
        yield Question(location, file, "sha256")


def presence(world: World) -> Presence:
    """Look for every wanted image model in all locations of image models; nothing is read, what is known decides."""
    wants = _image_models(world)
    files = [tuple(_files(world, each)) for each in wants]
    places = _places(world) if wants else []
    found = iter(detect([one for each in files for one in each], places, lambda *one: _known(world, *one)))
    variants: dict[Address, Sighting] = {}
    for each, own in zip(wants, files, strict=True):
        parts = [next(found) for _ in own]
        variants[each.address] = parts[0] if len(parts) == 1 else together(str(each.address), parts)
    for entry in world.undecided:
        if entry.location in world.locations and ui_of(world.locations[entry.location].store):
            address = Address(entry.variant, entry.location)
            variants[address] = Sighting(str(address), "unknown", why=entry.why)
    return Presence(variants, tuple(_pairs(wants, variants)))


def _image_models(world: World) -> list[Desired]:
    return [each for each in world.desired if ui_of(world.locations[each.address.location].store)]


def _places(world: World) -> list[ObservedLocation]:
    return [place for place in world.locations.values() if ui_of(place.store)]


def _files(world: World, wanted: Desired) -> Iterator[Wanted]:
    reference = parse(wanted.pin.source)
    version = (wanted.pin.revision or "") if reference.scheme == "civitai" else ""
    held = world.record_of(wanted)
    for placement in wanted.layout.files:
        artifact = placement.artifact
        if placement.path in wanted.layout.optional or not is_weights(placement.path):
            continue
        kind, _, text = artifact.digest.partition(":")
        placed = held.record.files if held else ()
        recorded = tuple((held.location, each.path) for each in placed if held and each.digest == artifact.digest)
        yield Wanted(
            str(wanted.address), version, artifact.size,
            (((kind, text),) if kind == "sha256" else ()) + artifact.also,
            recorded, artifact.path.rpartition("/")[2],
        )  # fmt: skip


def _known(world: World, location: str, file: ObservedFile) -> Names:
    digest = world.contents.digest_of(location, file, "sha256")
    if digest is not None:
        return {"sha256": digest.partition(":")[2]}
    learnt = world.contents.known.get(identity_key(file), {})
    return {str(kind): text.partition(":")[2] for kind, text in learnt.items()}


def _pairs(wants: list[Desired], variants: Mapping[Address, Sighting]) -> Iterator[Sighting]:
    halves: dict[tuple[str, str], dict[str, Desired]] = {}
    for each in wants:
        said = each.attributes.metadata
        if isinstance(pair := said.get("pair"), str) and isinstance(noise := said.get("noise"), str):
            halves.setdefault((each.address.location, pair), {})[noise] = each
    for (location, pair), both in sorted(halves.items()):
        name = f"{pair}@{location}"
        missing = [noise for noise in ("high", "low") if noise not in both]
        lacking = [Sighting(f"the half for {noise} noise", "absent", why="is not declared") for noise in missing]
        yield together(name, [*(variants[each.address] for each in both.values()), *lacking])
