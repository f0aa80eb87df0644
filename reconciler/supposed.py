"""Plan a manifest as if another one had been applied: for reviews, where no disk of the machine can be seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reconciler import lockfile, resolve
from reconciler.content import Contents, Held, note_digest
from reconciler.decide import settle
from reconciler.desired import desire
from reconciler.inert import inert
from reconciler.plan import SUPPOSED, Plan, Selection
from reconciler.registry import Registry
from reconciler.rules import cautions, findings, rules_of
from reconciler.safety import Limits
from reconciler.selecting import check_selection, is_selected, is_selected_undecided, left_out, scope
from reconciler.state import (
    Algorithm,
    Desired,
    Digest,
    Layout,
    ObservedFile,
    ObservedLocation,
    Placed,
    Record,
    algorithm,
    identity_key,
)
from reconciler.survey import assemble, denied
from reconciler.world import World, address_of
from reconciler.yamlwrite import flow

if TYPE_CHECKING:
    from reconciler.manifest import Loaded
    from reconciler.sources import World as Upstream

_ROOMY = 1 << 62
"""Bytes that are free on a disk that nobody has seen: what fits is not for a review to say."""


def plan_from(loaded: Loaded, base: Loaded, upstream: Upstream, selection: Selection, *, locked: bool = False) -> Plan:
    """Return the plan for a manifest on a machine where `base`, with the lock beside it, stands as declared.

    Looks at no location and no registry. What `base` declares and its lock lacks, or what is blocked there, is not
    supposed to be there. Raise InputError and SourceError as `survey` does.
    """
    lock_path = lockfile.path_for(loaded.path)
    resolution = resolve.complete(loaded, lockfile.read(lock_path), upstream, locked=locked)
    desires = desire(loaded, resolution.pins, resolution.problems)
    contents = suppose(_standing(base), base, loaded)
    check_selection(selection, desires.variants, desires.undecided, map(address_of, contents.ours))
    world = World(
        tuple(wanted for wanted in desires.variants if is_selected(selection, wanted.address)),
        contents,
        tuple(entry for entry in desires.undecided if is_selected_undecided(selection, entry)),
        scope=scope(desires.variants, desires.undecided, selection),
        whole=not (selection.target or selection.exclude),
        unselected=tuple(left_out(desires.variants, selection)),
    )
    policy = loaded.manifest.policy
    limits = Limits(policy.max_remove, policy.min_free, rules_of(loaded))
    world, steps = settle(world, limits, selection, lambda pins: denied(pins, upstream))
    plan = assemble(world, steps, selection, Registry(loaded.registry))
    found = findings(steps, world.locations, limits.rules)
    told = f"planned as if {inert(str(base.path))} had been applied: no disk and no record was looked at"
    return replace(
        plan,
        manifest_path=str(loaded.path),
        manifest_name=loaded.name,
        manifest_digest=loaded.digest,
        lock_path=str(lock_path),
        lock_digest=lockfile.digest(lock_path),
        locations={name: replace(place, free_bytes=0) for name, place in plan.locations.items()},
        resolved=resolution.resolved,
        relies_on=(),
        findings=found,
        warnings=(told, *_terms(base, loaded), *loaded.warnings, *desires.warnings, *plan.warnings, *cautions(found)),
    )


def _terms(base: Loaded, loaded: Loaded) -> Iterator[str]:
    """Yield what a review must not miss though no step tells it: rules and limits that are not what they were."""
    from reconciler.audit.comparing import terms

    for change in terms(base, loaded):
        above = "" if change.section == "manifest" else f"{change.section}."
        for field in change.fields:
            yield f"{above}{field.name} changes: {_said(field.old)} -> {_said(field.new)}"


def _said(value: Any) -> str:
    return "(none)" if value is None else inert(flow(value))


def _standing(base: Loaded) -> tuple[Desired, ...]:
    """Return what a manifest declares, as far as its lock answers it and nothing is in the way."""
    lock = lockfile.read(lockfile.path_for(base.path))
    known = lock.pins if lock is not None else {}
    pins = {
        request.variant: known[request.variant]
        for request in resolve.requests(base)
        if request.variant in known and resolve.fits(known[request.variant], request)
    }
    return tuple(wanted for wanted in desire(base, pins, {}).variants if wanted.blocked is None)


def suppose(standing: Iterable[Desired], base: Loaded, loaded: Loaded) -> Contents:
    """Return what would be there, and recorded by the manifest `loaded`, if everything that stands had been placed."""
    then, now = _roots(base), _roots(loaded)
    labels = _labels(then, now)
    places = {labels[name]: place for name, place in then.items()} | now
    files: dict[str, dict[str, ObservedFile]] = {label: {} for label in places}
    links: dict[str, dict[str, str]] = {label: {} for label in places}
    known: dict[tuple[int, int, int, int], Mapping[Algorithm, Digest]] = {}
    held: list[Held] = []
    for one in standing:
        label = labels[one.address.location]
        for path, size, digest in _bytes(one.layout):
            file = files[label].setdefault(path, ObservedFile(path, size, 0, len(known) + 1, 1))
            known[identity_key(file)] = {algorithm(digest): digest}
        links[label].update(one.layout.links)
        held.append(Held(_record(one, loaded.identity, files[label], places[label][1]), label))
    locations = {
        label: ObservedLocation(
            label, store, root, device=1, free_bytes=_ROOMY, files=files[label], links=links[label], observed=SUPPOSED
        )
        for label, (store, root) in places.items()
    }
    return Contents(locations, tuple(held), (), known)


def _bytes(layout: Layout) -> Iterator[tuple[str, int, Digest]]:
    """Yield path, size and digest of every file of a layout, small ones of its store included."""
    for path, artifact in layout.files:
        yield path, artifact.size, artifact.digest
    for note in layout.notes:
        yield note.path, len(note.text.encode()), note_digest(note)


def _record(one: Desired, manifest: str, there: Mapping[str, ObservedFile], root: str) -> Record:
    said, layout = one.attributes, one.layout
    told = replace(said, format=said.format or one.format, quant=said.quant or one.quant)
    placed = tuple(
        Placed(path, artifact.size, artifact.digest, there[path].mtime_ns, there[path].inode, artifact.path)
        for path, artifact in layout.files
    )
    return Record(one.address, manifest, one.pin, layout.home, placed, layout.links, layout.notes, told, 1, root)


def _roots(loaded: Loaded) -> dict[str, tuple[str, str]]:
    """Return (store, root) of every location; that of an Ollama whose directory is not declared has a name only."""
    return {
        name: (spec.store, spec.root or spec.models or f"({name})") for name, spec in loaded.manifest.locations.items()
    }


def _labels(base: Mapping[str, tuple[str, str]], roots: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Return under which name each location of `base` is known now: that of the same root, else one of its own."""
    now = {root: name for name, (_, root) in roots.items()}
    labels: dict[str, str] = {}
    for name, (_, root) in base.items():
        label = now.get(root, name)
        while root not in now and (label in roots or label in labels.values()):
            label += ".old"
        labels[name] = label
    return labels
