"""Put the steps of a plan in the order in which they may run. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from heapq import heapify, heappop, heappush

from reconciler.plan import ORDER, Action, FileRow, Plan, Step
from reconciler.state import Address


def runnable(plan: Plan, actions: frozenset[Action]) -> tuple[Step, ...]:
    """Return the unblocked steps of the approved actions, in order: normalize, download, remove, prune.

    A step that takes bytes from another step of the plan comes after it, whatever its action.
    """
    steps = sorted(
        (step for step in plan.changes if step.action in actions), key=lambda step: (ORDER[step.action], step.address)
    )
    position = {id(step): number for number, step in enumerate(steps)}
    makers: dict[Address, list[int]] = {}
    for step in steps:
        if step.after is not None:
            makers.setdefault(step.address, []).append(position[id(step)])
    graph = TopologicalSorter[int]()
    for key, addresses in dependencies(steps).items():
        graph.add(position[key], *(number for address in addresses for number in makers.get(address, ())))
    graph.prepare()
    ready = list(graph.get_ready())
    heapify(ready)
    ordered: list[Step] = []
    while ready:
        number = heappop(ready)
        ordered.append(steps[number])
        graph.done(number)
        for freed in graph.get_ready():
            heappush(ready, freed)
    return tuple(ordered)


def dependencies(steps: Sequence[Step]) -> Mapping[int, frozenset[Address]]:
    """Return, by id() of the step, the addresses whose steps come first: makers of its bytes, or its new place."""
    makers = {f"{step.address.location}:{row.path}": step.address for step in steps for row in _placing(step)}
    new_places = {step.address.variant: step.address for step in steps if step.after is not None}
    found: dict[int, frozenset[Address]] = {}
    for step in steps:
        needs = {makers[row.origin] for row in step.files if row.origin in makers}
        if step.reason == "superseded" and step.after is None and step.address.variant in new_places:
            needs.add(new_places[step.address.variant])
        found[id(step)] = frozenset(needs - {step.address})
    return found


def _placing(step: Step) -> Iterator[FileRow]:
    yield from (row for row in step.files if row.method != "none")
