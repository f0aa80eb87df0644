"""Drift beside the plan: for every variant what has become of what we recorded, and what apply would do. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from reconciler.content import Held
from reconciler.leaving import STAGE
from reconciler.plan import REGISTRY, Plan, Step
from reconciler.state import Address
from reconciler.verify import Finding, Verdict

Drift = Literal["ok", "modified", "missing", "unreadable", "-"]
"""What has become of a recorded variant since it was recorded; `-` when nothing is recorded."""

DRIFTS: tuple[Drift, ...] = ("unreadable", "missing", "modified", "ok", "-")
"""The worst first: a variant is what the worst of its files is."""

_OF_VERDICT: Mapping[Verdict, Drift] = {
    "ok": "ok", "corrupt": "modified", "missing": "missing", "unreadable": "unreadable",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One variant. `bad` are its recorded files, links and notes that are not as recorded.

    `step` is what the plan says of it; None when the plan says nothing.
    """

    address: Address
    drift: Drift
    bad: tuple[Finding, ...] = ()
    step: Step | None = None

    @property
    def has_drifted(self) -> bool:
        """Whether what is there is not what was recorded, or cannot be seen."""
        return self.drift not in ("ok", "-")


def rows(plan: Plan, ours: Iterable[Held], findings: Sequence[Finding]) -> tuple[Row, ...]:
    """Return a row for every step of a plan, and for every record of ours that no step speaks of; by location, name.

    `findings` are those of `verify.verify` about the records of `ours`.
    """
    found: dict[Address, list[Finding]] = {}
    for finding in findings:
        found.setdefault(finding.address, []).append(finding)
    recorded = {Address(held.record.address.variant, held.location): held.record.address for held in ours}
    unspoken = set(recorded.values())
    result = []
    for step in plan.steps:
        record = step.renamed_from or recorded.get(step.address)
        if record in unspoken:
            unspoken.discard(record)
        else:
            record = None
        result.append(_row(step.address, found.get(record, []) if record else None, step))
    for address, record in recorded.items():
        if record in unspoken:
            result.append(_row(address, found.get(record, []), None))
    return tuple(sorted(result, key=lambda row: (row.address.location, row.address.variant)))


def counts(of: Iterable[Row]) -> dict[Drift, int]:
    """Return how many variants there are of each kind of drift; debris, and entries of others, are no variants."""
    counted: dict[Drift, int] = dict.fromkeys(DRIFTS, 0)
    for row in of:
        if row.address.variant != STAGE and row.address.location != REGISTRY:
            counted[row.drift] += 1
    return counted


def _row(address: Address, findings: Sequence[Finding] | None, step: Step | None) -> Row:
    if findings is None:
        return Row(address, "-", (), step)
    drifts = {_OF_VERDICT[finding.verdict] for finding in findings}
    worst: Drift = next((drift for drift in DRIFTS if drift in drifts), "ok")
    return Row(address, worst, tuple(finding for finding in findings if finding.verdict != "ok"), step)
