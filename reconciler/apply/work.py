"""What one apply holds in its hands while it runs, and what each step leaves behind."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from reconciler.apply.sites import Sites
from reconciler.content import note_digest
from reconciler.plan import Plan, Step
from reconciler.receipt import Outcome, Result
from reconciler.state import Address, Digest, Placed, Record, is_address

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
    stop: Callable[[], bool] | None = None
    """Says whether whoever waits wants no more: then no further step begins."""
    ended: Callable[[Outcome], object] = lambda _: None
    """Hears of the end of every step, to write it down."""


@dataclass
class Work:
    """One apply under way. `held` are all records of the registry."""

    plan: Plan
    tools: Tools
    sites: Sites
    journal: Journal
    generation: int
    held: tuple[Record, ...]
    stats: Mapping[tuple[str, str], tuple[int, int, int] | None]
    """(location, path) -> (size, mtime_ns, inode) when the plan was made, None for absent."""
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    put: dict[Address, Record] = field(default_factory=dict)
    drop: list[Address] = field(default_factory=list)
    entries: list[Step] = field(default_factory=list)
    """Steps done that take entries of others out of the registry, or put them back."""
    received: dict[int, int] = field(default_factory=dict)
    """id of a step -> bytes that came over the network for it."""
    unfinished: set[int] = field(default_factory=set)
    """id of steps that failed while names were changing; the journal stays, and the next apply finishes them.

    Below zero: the number of an intent by which a server may hold names in another way than it should.
    """
    downloader: str = ""
    interrupted: bool = False
    _absent: dict[int, set[Digest]] = field(default_factory=dict)
    _since: dict[int, float] = field(default_factory=dict)
    _noted: dict[tuple[str, str], Digest] = field(default_factory=dict)
    """(location, path) -> digest of the notes of steps that are done."""

    @cached_property
    def known(self) -> dict[tuple[str, str], Placed]:
        """Files that a record vouches for, by (root, path); what this apply places is added."""
        return {(record.root, placed.path): placed for record in self.held for placed in record.files}

    @cached_property
    def mine(self) -> Mapping[Address, Record]:
        """The records of this manifest."""
        return {record.address: record for record in self.held if record.manifest == self.tools.manifest}

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Root -> the name by which the plan calls it."""
        return {place.root: name for name, place in self.plan.locations.items()}

    def holds(self, root: str, path: str) -> bool:
        """Whether a record speaks of a link or note at this path: then what lies there is ours, whatever it says."""
        return (root, path) in self._extras

    def said(self, root: str, path: str) -> str | None:
        """Return the target of a recorded link, or the text of a recorded note; None where no record has one."""
        return self._extras.get((root, path))

    def served(self, root: str, path: str) -> Digest | None:
        """Return the digest of a model of ours that lies there now, recorded while only its server was in reach."""
        return self._served.get((root, path))

    @cached_property
    def _served(self) -> Mapping[tuple[str, str], Digest]:
        """By the roots of now: such a record knows the address of the server, and not its directory."""
        roots = {name: root for root, name in self.names.items() if not is_address(root)}
        return {
            (roots[record.address.location], placed.path): placed.digest
            for record in self.mine.values()
            if is_address(record.root) and record.address.location in roots
            for placed in record.files
        }

    @cached_property
    def _extras(self) -> Mapping[tuple[str, str], str]:
        return {(record.root, path): text for record in self.held for path, text in (*record.links, *record.notes)}

    def awaited(self, step: Step) -> set[str]:
        """Return the staged names that other steps of the same location still wait for."""
        return {
            (row.digest or "").replace(":", "-")
            for other in self.plan.changes
            if other is not step and other.address.location == step.address.location and id(other) not in self.outcomes
            for row in other.files
            if row.method == "fetch"
        }

    def does_without(self, step: Step, digest: Digest) -> bool:
        """Leave out of a step the files of this digest, which did not come; False when it cannot do without them."""
        rows = [row for row in step.files if row.digest == digest and row.method == "fetch"]
        if not all(row.optional for row in rows):
            return False
        self._absent.setdefault(id(step), set()).add(digest)
        return True

    def as_it_came(self, step: Step) -> Step:
        """Return a step without the files that it does without, and what another step wrote for itself as there.

        What one model of an Ollama declares, its template say, may be a layer that another brings from a registry.
        """
        absent, at = self._absent.get(id(step), ()), step.address.location
        files = tuple(
            row._replace(method="none", origin=f"{at}:{row.path}", replaces=False)
            if row.method != "none" and self._noted.get((at, row.path)) == row.digest
            else row
            for row in step.files
            if row.digest not in absent or not row.optional
        )
        return step if files == step.files else replace(step, files=files)

    def started(self, step: Step) -> None:
        """Take note that a step begins. Raise KeyboardInterrupt when none shall begin any more."""
        if self.tools.stop is not None and self.tools.stop():
            raise KeyboardInterrupt
        self._since[id(step)] = time.monotonic()
        self.show(lambda display: display.step_started(step))

    def say(self, text: str) -> None:
        """Tell whoever watches something in passing."""
        self.show(lambda display: display.message(text))

    def show(self, tell: Callable[[Display], object]) -> None:
        """Tell whoever watches; a display that breaks (its reader has gone, say) stops nobody."""
        with contextlib.suppress(Exception):
            tell(self.tools.display)

    def record(self, record: Record) -> None:
        """Keep the record of a step that was done."""
        self.put[record.address] = record
        self._noted.update(((record.address.location, note.path), note_digest(note)) for note in record.notes)
        self.known.update(((record.root, placed.path), placed) for placed in record.files)

    def finish(self, step: Step, result: Result, error: str = "", hint: str = "") -> Outcome:
        """Write down what became of a step and tell whoever watches."""
        done = result == "done"
        seconds = time.monotonic() - self._since.get(id(step), time.monotonic())
        outcome = Outcome(
            step.address, step.action, step.reason, result, error, hint, self.received.get(id(step), 0),
            step.bytes.reuse if done else 0, step.bytes.trash if done else 0, seconds,
        )  # fmt: skip
        self.outcomes[id(step)] = outcome
        self.tools.ended(outcome)
        self.show(lambda display: display.step_done(outcome))
        return outcome
