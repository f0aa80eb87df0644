"""What an apply did: one outcome for every step, and what it cost. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from reconciler.plan import Action
from reconciler.state import Address

Result = Literal["done", "failed", "skipped", "not-started", "blocked"]
"""Done; failed; left out because a step that it needs failed; never reached; blocked by the plan."""


class Outcome(NamedTuple):
    """What became of one step. `received`, `reused` and `trashed` are bytes; `error` and `hint` are for people."""

    address: Address
    action: Action
    reason: str
    result: Result
    error: str = ""
    hint: str = ""
    received: int = 0
    reused: int = 0
    trashed: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Receipt:
    """The account of one apply. `generation` is None when nothing was recorded; `received` are bytes of the network."""

    plan_id: str
    generation: int | None
    outcomes: tuple[Outcome, ...]
    seconds: float
    received: int
    interrupted: bool = False
    downloader: str = ""

    def count(self, result: Result) -> int:
        """Return how many steps ended so."""
        return sum(1 for outcome in self.outcomes if outcome.result == result)

    @property
    def done(self) -> int:
        """Steps that reached their goal."""
        return self.count("done")

    @property
    def failed(self) -> int:
        """Steps that were tried and did not reach their goal."""
        return self.count("failed")

    @property
    def skipped(self) -> int:
        """Steps left out because one that they need failed."""
        return self.count("skipped")

    @property
    def not_started(self) -> int:
        """Steps that the apply never reached."""
        return self.count("not-started")

    @property
    def blocked(self) -> int:
        """Steps that the plan itself held back."""
        return self.count("blocked")

    @property
    def reused(self) -> int:
        """Bytes that were on this machine already."""
        return sum(outcome.reused for outcome in self.outcomes)

    @property
    def trashed(self) -> int:
        """Bytes that went to the trash."""
        return sum(outcome.trashed for outcome in self.outcomes)

    @property
    def exit_code(self) -> int:
        """0 all done, 3 only blocked steps remain, 5 part of it done, 130 interrupted."""
        if self.interrupted:
            return 130
        if self.failed or self.skipped or self.not_started:
            return 5
        return 3 if self.blocked else 0
