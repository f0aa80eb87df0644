"""Make steps, and make them anew while one of them counts on another that turned out to be blocked. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from reconciler.content import Held
from reconciler.diff import diff
from reconciler.plan import Action, Selection, Step
from reconciler.safety import Limits, after_its_new_place, guard
from reconciler.state import Address, Pin
from reconciler.world import World, paths_of

_ROUNDS = 4
"""How often the whole plan is made anew; what then still counts on a blocked step is blocked with it."""

Access = Callable[[Mapping[str, Pin]], Mapping[str, str]]
"""Asked for the pins of variants, says of those whose bytes upstream would refuse why."""


def settle(world: World, limits: Limits, selection: Selection, access: Access) -> tuple[World, tuple[Step, ...]]:
    """Return the steps of a world, none of which counts on a blocked one, and the world as they see it."""
    pins = {wanted.address: wanted.pin for wanted in world.desired}
    asked: set[str] = set(world.denied)
    for number in range(_ROUNDS):
        steps = guard(diff(world), world.held, world.locations, limits, selection)
        fetching = [step.address for step in steps if _needs_access(step)]
        denied = access({a.variant: pins[a] for a in fetching if a.variant not in asked})
        asked.update(address.variant for address in fetching)
        blocked = frozenset(step.address for step in steps if step.blocked)
        if not denied and not any(_counting(world, steps, blocked - world.stuck)):
            break
        if number + 1 == _ROUNDS:
            steps = _given_up(world, steps, denied)
            break
        world = replace(world, denied={**world.denied, **denied}, stuck=world.stuck | blocked)
    return world, steps


def _needs_access(step: Step) -> bool:
    """Whether a step would fetch what its source may refuse: all but a picture beside a model, which lies elsewhere."""
    needed = any(row.method == "fetch" and not row.optional for row in step.files)
    return step.action is Action.DOWNLOAD and not step.blocked and needed


def _given_up(world: World, steps: Sequence[Step], denied: Mapping[str, str]) -> tuple[Step, ...]:
    """Block what is denied, then whatever counts on a blocked step, and so on."""
    given = [
        replace(step, blocked=denied[step.address.variant])
        if step.action is Action.DOWNLOAD and not step.blocked and step.address.variant in denied
        else step
        for step in steps
    ]
    while True:
        blocked = frozenset(step.address for step in given if step.blocked) - world.stuck
        counting = {id(step) for step in _counting(world, given, blocked)}
        if counting:
            why = "counts on a step that is blocked (see there)"
            given = [replace(step, blocked=why) if id(step) in counting else step for step in given]
            continue
        staying = after_its_new_place(given)
        if all(map(operator.is_, staying, given)):
            return staying
        given = list(staying)  # what stays after all holds its files, too


def _counting(world: World, steps: Sequence[Step], blocked: frozenset[Address]) -> Iterator[Step]:
    """Yield the steps that take bytes from a blocked one, or take away what its record goes on holding."""
    if not blocked:
        return
    promised = {
        f"{step.address.location}:{row.path}"
        for step in steps
        if step.address in blocked
        for row in step.files
        if row.method != "none"
    }
    held = {
        f"{address.location}:{path}": address
        for address, one in _records(world, blocked)
        for path in paths_of(one.record)
    }
    for step in steps:
        if step.blocked or step.address in blocked:
            continue
        taken = {f"{step.address.location}:{path}" for path in _taken(step)}
        if any(row.origin in promised for row in step.files) or not taken.isdisjoint(held):
            yield step


def _records(world: World, blocked: frozenset[Address]) -> Iterator[tuple[Address, Held]]:
    for address in blocked:
        held = world.held.get(address) or world.renames.get(address)
        if held is not None:
            yield address, held


def _taken(step: Step) -> Iterator[str]:
    """Yield the paths that a step takes away or replaces."""
    yield from (row.path for row in step.trash)
    yield from (row.path for row in step.files if row.replaces)
    yield from (link.path for link in (step.unlinks if step.after else step.links))
    yield from (note.path for note in (step.unnotes if step.after else step.notes))
