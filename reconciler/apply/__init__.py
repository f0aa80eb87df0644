"""Carry out a plan: journalled, verified, into the trash and never away. The plan decides; nothing is decided here."""

from __future__ import annotations

import time
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciler.apply.order import runnable
from reconciler.apply.record import displaced, others_of
from reconciler.apply.run import run
from reconciler.apply.signals import uninterrupted
from reconciler.apply.sites import Sites
from reconciler.apply.work import Tools, Work
from reconciler.disk import disk_error
from reconciler.errors import ReconcilerError
from reconciler.plan import Action, Plan, Step
from reconciler.planjson import dumps as plan_json
from reconciler.planjson import plan_id
from reconciler.receipt import Outcome, Receipt
from reconciler.registry import (
    LocationId,
    Registry,
    records,
    save,
    with_entries,
    with_locations,
    with_records,
)
from reconciler.registry.block import encode
from reconciler.state import Address, Record

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ALL", "Applied", "Tools", "apply", "resolved_lock", "undone"]

ALL = frozenset(action for action in Action if action is not Action.KEEP)
"""Every action, for an apply that was approved as a whole."""


class Applied(NamedTuple):
    """What an apply leaves: the account of it, and the registry as it is now.

    `unrecorded` says why what was done is not in the registry yet; the journal holds it, and the next apply records it.
    """

    receipt: Receipt
    registry: Registry
    unrecorded: ReconcilerError | None = None


def apply(
    plan: Plan,
    registry: Registry,
    tools: Tools,
    *,
    approved: frozenset[Action] = ALL,
    manifest_files: Mapping[str, bytes] | None = None,
    lock: bytes | None = None,
) -> Applied:
    """Run the unblocked steps of the approved actions. The caller holds the registry's lock.

    A step that fails is told in the receipt and stops only those that need it. `manifest_files` (by relative path) and
    `lock` are kept with the generation. Raise DiskError when not even the journal can be begun;
    nothing is touched then.
    """
    from reconciler import generations, journal

    steps = runnable(plan, approved)
    started = time.monotonic()
    held = records(registry)
    stats = {(reliance.location, reliance.path): reliance.stat for reliance in plan.relies_on}
    number = generations.next_number(registry.path)
    unrecorded: ReconcilerError | None = None
    with (
        journal.open_journal(registry.path / "journal", f"{number:010d}") as log,
        Sites(plan.locations, number) as sites,
    ):
        work = Work(plan, tools, sites, log, number, held, stats)
        touched = _touched(steps, work)
        before = [work.mine[address] for address in touched if address in work.mine]
        log.write(
            journal.BEGIN, version=journal.VERSION, generation=number, plan_id=plan_id(plan), manifest=tools.manifest,
            touched=[list(address) for address in touched], before=[encode(record) for record in before],
            roots={place.root: {"name": name, "store": place.store} for name, place in plan.locations.items()},
        )  # fmt: skip
        work.show(lambda display: display.plan_started(len(steps), sum(step.bytes.download for step in steps)))
        run(work, steps)
        receipt = _receipt(plan, steps, work, number, time.monotonic() - started)
        before_it = registry
        try:
            with uninterrupted():
                registry = _recorded(registry, work)
                others = others_of(log, before_it, registry)
                registry = save(registry)
                generations.write(
                    registry.path, number, manifest_files=manifest_files or {}, lock=lock,
                    plan=plan_json(plan).encode(), before=before,
                    result={
                        **_result(receipt, touched, tools.manifest, others),
                        "when": int(tools.now()),
                    },
                )  # fmt: skip
                if not work.unfinished and not log.broken:
                    log.end()
                    journal.remove(log.path)
        except (ReconcilerError, OSError) as error:
            unrecorded = error if isinstance(error, ReconcilerError) else disk_error(error, str(registry.path))
            receipt = replace(receipt, generation=None)  # it will have one when the next apply has recorded it
    return Applied(receipt, registry, unrecorded)


def _touched(steps: Iterable[Step], work: Work) -> list[Address]:
    """Return the addresses whose records the steps make, change or drop; old copies may get the name of their root."""
    steps = [step for step in steps if step.entry is None]
    found = {step.address: None for step in steps if step.before is not None or step.after is not None}
    found |= {step.renamed_from: None for step in steps if step.renamed_from is not None}
    names = work.names
    for address in list(found):
        old, place = work.mine.get(address), work.plan.locations.get(address.location)
        if old is not None and place is not None and old.root != place.root and old.root in names:
            found[Address(address.variant, names[old.root])] = None
    return list(found)


def _recorded(registry: Registry, work: Work) -> Registry:
    """Return the registry with what was done: records, and the ids of the locations that were opened."""
    came = {step.address for step in work.plan.steps if work.received.get(id(step))}
    now = datetime.fromtimestamp(work.tools.now(), UTC).isoformat(timespec="seconds")
    put = (*work.put.values(), *displaced(work.put, work.mine, work.drop, work.names))
    drop = [(work.tools.manifest, address) for address in work.drop if address not in work.put]
    registry = with_locations(registry, _locations(work))
    theirs = [(step.place, step.entry) for step in work.entries if step.entry is not None]
    registry = with_entries(registry, [], [entry for place, entry in theirs if place is None])
    registry = with_records(registry, put, drop, downloaded_at=dict.fromkeys(came, now))
    return with_entries(registry, [(place, entry) for place, entry in theirs if place is not None], [])


def _locations(work: Work) -> dict[str, LocationId]:
    """Locations are known by their root: names belong to one manifest, and a registry may serve several."""
    return {
        place.root: LocationId(place.root, work.sites.ids[place.root], place.store)
        for place in work.plan.locations.values()
        if place.root in work.sites.ids
    }


def _receipt(plan: Plan, steps: tuple[Step, ...], work: Work, number: int, seconds: float) -> Receipt:
    outcomes = [work.outcomes.get(id(step)) or _never(step) for step in steps]
    ran = {id(step) for step in steps}
    unapproved = [_never(step) for step in plan.changes if id(step) not in ran]
    blocked = [Outcome(step.address, step.action, step.reason, "blocked", step.blocked or "") for step in plan.blocked]
    return Receipt(
        plan_id(plan), number, (*outcomes, *unapproved, *blocked), seconds, sum(work.received.values()),
        work.interrupted, work.downloader,
    )  # fmt: skip


def _never(step: Step) -> Outcome:
    return Outcome(step.address, step.action, step.reason, "not-started")


def _result(receipt: Receipt, touched: list[Address], manifest: str, others: list[dict[str, Any]]) -> dict[str, Any]:
    from reconciler.render.receipt import receipt_json

    return {
        "plan_id": receipt.plan_id,
        "manifest": manifest,
        "touched": [list(address) for address in touched],
        "others": others,
        "receipt": receipt_json(receipt),
    }


def resolved_lock(path: Path, plan: Plan, declared: Container[str]) -> bytes | None:
    """Write what the plan resolved into the lock file, and return the lock's bytes; None when there is none.

    Entries that nobody declares any more are left out when it is written.
    """
    from reconciler import lockfile

    if plan.resolved:
        lock = lockfile.read(path)
        kept = {name: pin for name, pin in (lock.pins if lock else {}).items() if name in declared}
        lockfile.write(path, lockfile.Lock(pins={**kept, **plan.resolved}))
    return path.read_bytes() if path.exists() else None


def undone(
    current: Iterable[Record], steps_back: Iterable[tuple[Iterable[Address], Iterable[Record]]]
) -> tuple[Record, ...]:
    """Return the records as they were before some generations, given newest first as (touched, before). Pure."""
    state = {record.address: record for record in current}
    for touched, before in steps_back:
        for address in touched:
            state.pop(address, None)
        state.update((record.address, record) for record in before)
    return tuple(state[address] for address in sorted(state))
