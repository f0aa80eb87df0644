"""Plan the way back: from the records that were true before some generations to a plan that makes them true again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from reconciler import generations
from reconciler.apply import undone
from reconciler.content import Contents
from reconciler.diff import World
from reconciler.errors import InputError
from reconciler.manifest import Loaded
from reconciler.plan import Plan, Selection
from reconciler.registry import Registry
from reconciler.safety import Limits
from reconciler.state import Address, Artifact, Desired, Layout, Placement, Record
from reconciler.survey import Means, assemble, look, read_unread, recalled, settle


def plan_back(loaded: Loaded, registry: Registry, means: Means, to: int | None = None) -> tuple[Plan, int]:
    """Return the plan that undoes the last generation of this manifest, or all down to before `to`, and its number.

    Bytes come back from the trash where they still are, from elsewhere on this machine, else from their source at the
    recorded revision. The manifest and the lock are the user's and stay as they are. Raise InputError when there is
    nothing to undo.
    """
    ours = _ours(loaded, registry)
    if not ours:
        raise InputError("nothing was applied yet, so there is nothing to undo", where=str(registry.path))
    first = ours[-1] if to is None else to
    if first not in ours:
        known = ", ".join(map(str, ours[-10:]))
        raise InputError(f"no generation {first} of this manifest", where=str(registry.path), hint=f"known: {known}")
    contents = look(loaded, registry)
    steps_back = []
    for number in reversed([number for number in ours if number >= first]):
        generation = generations.read(registry.path, number)
        touched = [Address(*entry) for entry in generation.result["touched"]]
        steps_back.append((touched, generation.before))
    records = undone((held.record for held in contents.ours), steps_back)
    return plan_records(records, contents, registry, means, loaded), first


def plan_records(
    records: Iterable[Record],
    contents: Contents,
    registry: Registry,
    means: Means,
    loaded: Loaded,
    *,
    only: bool = False,
) -> Plan:
    """Return the plan that makes `records` true: these and no others of this manifest, or with `only`, these alone."""
    names = {place.root: name for name, place in contents.locations.items()}
    wanted = tuple(desired_from(record, names[record.root]) for record in records if record.root in names)
    contents = replace(contents, known=recalled(contents, wanted, means.digests))
    world = World(wanted, contents, whole=False, scope=(lambda _: not only))
    world = read_unread(world, means)
    limits = Limits(1.0, loaded.manifest.policy.min_free)
    selection = Selection(allow=("*",))  # who undoes has asked for exactly these removals
    world, steps = settle(world, limits, selection, lambda _: None)
    plan = assemble(world, steps, selection, registry)
    return replace(plan, manifest_path=str(loaded.path), manifest_name=loaded.name, manifest_digest=loaded.digest)


def desired_from(record: Record, location: str) -> Desired:
    """Return what a record says as something to be wanted."""
    known = {artifact.path: artifact for artifact in record.pin.files}
    files = tuple(
        Placement(placed.path, known.get(placed.artifact) or Artifact(placed.artifact, placed.size, placed.digest))
        for placed in record.files
    )
    layout = Layout(record.home, files, record.links, record.notes)
    said = record.attributes
    return Desired(
        Address(record.address.variant, location), record.pin, layout, said, format=said.format, quant=said.quant
    )


def _ours(loaded: Loaded, registry: Registry) -> list[int]:
    found = []
    for number in generations.listing(registry.path):
        if generations.read(registry.path, number).result.get("manifest") == loaded.identity:
            found.append(number)
    return found
