"""What must not happen unattended: too many removals, protected variants, a disk filled to the brim. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from reconciler.content import Held
from reconciler.inert import few, human_bytes
from reconciler.plan import Action, Selection, Step
from reconciler.rules import Rule, crowded, forbid, room_of
from reconciler.state import Address, ObservedLocation

ENOUGH_TO_COUNT = 4
"""Below this many managed variants a share of them means nothing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The policy of a manifest as far as it stops steps.

    A share (0..1) of managed variants, bytes kept free, and what arrives or changes must keep to.
    """

    max_remove: float
    min_free: int
    rules: tuple[Rule, ...] = ()


def guard(
    steps: Sequence[Step],
    held: Mapping[Address, Held],
    locations: Mapping[str, ObservedLocation],
    limits: Limits,
    selection: Selection,
) -> tuple[Step, ...]:
    """Block the steps that policy or protection forbids, each with the flag or fact that would lift it."""
    guarded = [_protected(_writable(step, locations), held, selection) for step in forbid(steps, limits.rules)]
    guarded = _too_many(guarded, held, limits, selection)
    return after_its_new_place(_too_full(guarded, locations, limits))


def selects(patterns: Iterable[str], address: Address) -> bool:
    """Whether a glob over addresses (`VARIANT@LOCATION`, or the variant's name alone) names this one."""
    return any(fnmatchcase(str(address), p) or fnmatchcase(address.variant, p) for p in patterns)


def _writable(step: Step, locations: Mapping[str, ObservedLocation]) -> Step:
    place = locations.get(step.address.location)
    if place is None or not place.read_only or step.blocked or step.action is Action.KEEP:
        return step
    return replace(step, blocked=place.read_only)


def _protected(step: Step, held: Mapping[Address, Held], selection: Selection) -> Step:
    record = held.get(step.address)
    leaves = step.after is None and (step.action is Action.REMOVE or step.reason in ("duplicate-record", "unadopt"))
    loses = leaves or bool(step.trash)  # files that the variant no longer wants go with a change of it, too
    if not loses or step.blocked or record is None or (step.after is not None and not step.after.protect):
        return step
    if not record.record.attributes.protect or selects(selection.allow, step.address):
        return step
    way = "" if step.reason == "superseded" else "declare it with `protect: false` and apply, or "
    what = "protected" if leaves else f"protected, and {few([row.path for row in step.trash])} would go to the trash"
    return replace(step, blocked=f"{what} ({way}allow it once with --allow-remove {step.address})")


def _too_many(steps: list[Step], held: Mapping[Address, Held], limits: Limits, selection: Selection) -> list[Step]:
    leaving = [step for step in steps if not step.blocked and _gives_up(step, held.get(step.address))]
    counted = [step for step in leaving if not selects(selection.allow, step.address)]
    if len(held) < ENOUGH_TO_COUNT or len(counted) <= limits.max_remove * len(held):
        return steps
    why = (
        f"too many removals: {len(counted)} of {len(held)} managed variants, more than policy.max_remove "
        f"{limits.max_remove:.0%} "
        "(allow them by address with --allow-remove GLOB, or raise the policy)"
    )
    surplus = set(map(id, counted))
    return [replace(step, blocked=why) if id(step) in surplus else step for step in steps]


def _gives_up(step: Step, record: Held | None) -> bool:
    """Whether a step takes away a variant as it was: it is no longer declared, or none of its files stays in use."""
    if step.action is Action.REMOVE and step.reason == "undeclared":
        return True
    if step.after is None or record is None or not step.trash:
        return False
    return {placed.path for placed in record.record.files} <= {row.path for row in step.trash}


def after_its_new_place(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Hold back a superseded copy, and the record of it, until their variant can stand in the new place."""
    steps = tuple(steps)
    stuck = {s.address.variant for s in steps if s.blocked and s.after is not None}
    return tuple(
        replace(step, blocked="its new place is blocked (see there)")
        if step.after is None and not step.blocked and step.address.variant in stuck and step.reason != "stale-record"
        else step
        for step in steps
    )


def _too_full(steps: Iterable[Step], locations: Mapping[str, ObservedLocation], limits: Limits) -> Iterable[Step]:
    """Block what would not fit, in the order of apply, so that as much as possible still goes."""
    free = room_of(locations)
    errors = [rule for rule in limits.rules if rule.severity == "error"]
    for step in steps:
        place = locations.get(step.address.location)
        needed = step.needs
        if step.blocked or place is None or place.by_api or needed == 0:
            yield step
            continue
        left = free[place.device] - needed
        if left < limits.min_free:
            yield replace(step, blocked=_no_room(needed, free[place.device], limits.min_free))
        elif crowding := list(crowded(step, place, left, errors)):
            yield replace(step, blocked="; ".join(finding.text for finding in crowding))
        else:
            free[place.device] = left
            yield step


def _no_room(needed: int, free: int, min_free: int) -> str:
    reserve = f" with policy.min_free {human_bytes(min_free)}" if min_free else ""
    have = f"needs {human_bytes(needed)}, {human_bytes(free)} free{reserve}"
    return f"not enough space: {have} (`reconciler gc` frees the trash; or choose another location)"
