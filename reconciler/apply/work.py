"""What one apply holds in its hands while it runs, and what each step leaves behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.apply.sites import Sites
from reconciler.plan import Plan, Step
from reconciler.receipt import Outcome, Result
from reconciler.state import Address, Placed, Record

if TYPE_CHECKING:
    from reconciler.digests import Digests
    from reconciler.download import Downloader
    from reconciler.journal import Journal
    from reconciler.render.progress import Display
    from reconciler.sources.world import World


@dataclass(frozen=True, slots=True)
class Tools:
    """What an apply works with: the ports to the network, the cache of digests, and whoever watches."""

    open_downloader: Callable[[], AbstractContextManager[Downloader]]
    sources: World
    digests: Digests
    display: Display
    manifest: str
    """Identity of the manifest whose records these are."""
    now: Callable[[], float] = time.time


@dataclass(slots=True)
class Work:
    """One apply under way. `known` are files that a record vouches for, by (root, path)."""

    plan: Plan
    tools: Tools
    sites: Sites
    journal: Journal
    generation: int
    known: Mapping[tuple[str, str], Placed]
    stats: Mapping[tuple[str, str], tuple[int, int, int] | None]
    """(location, path) -> (size, mtime_ns, inode) when the plan was made, None for absent."""
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    put: dict[Address, Record] = field(default_factory=dict)
    drop: list[Address] = field(default_factory=list)
    received: dict[int, int] = field(default_factory=dict)
    """id of a step -> bytes that came over the network for it."""
    downloader: str = ""
    interrupted: bool = False

    def finish(self, step: Step, result: Result, error: str = "", hint: str = "", seconds: float = 0.0) -> Outcome:
        """Write down what became of a step and tell whoever watches."""
        done = result == "done"
        outcome = Outcome(
            step.address, step.action, step.reason, result, error, hint, self.received.get(id(step), 0),
            step.bytes.reuse if done else 0, step.bytes.trash if done else 0, seconds,
        )  # fmt: skip
        self.outcomes[id(step)] = outcome
        self.tools.display.step_done(outcome)
        return outcome
