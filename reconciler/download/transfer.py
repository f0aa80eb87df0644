"""One large file under way through aria2c: its state, how far it is, and what it may still spend on failures."""

from __future__ import annotations

import time
from enum import Enum, auto

from reconciler.download import Limits, Wanted
from reconciler.download.look import Found
from reconciler.download.prefix import Prefix
from reconciler.download.retry import Budget


class State(Enum):
    """Where a transfer stands."""

    WAITING = auto()
    """for its turn, or for a pause to pass"""
    FINDING = auto()
    READY = auto()
    ADDED = auto()
    """aria2c has it"""
    BREAKING = auto()
    """aria2c was told to let it go and has not yet"""
    HASHING = auto()
    ENDED = auto()


class Transfer:
    """A record that the mover's thread changes; `begun` and all times are monotonic seconds, `renew_at` is unix."""

    def __init__(self, wanted: Wanted, limits: Limits) -> None:
        now = time.monotonic()
        self.wanted = wanted
        self.state = State.WAITING
        self.begun = now
        self.not_before = 0.0
        self.budget = Budget(limits, now)
        self.found: Found | None = None
        self.gid = ""
        self.prefix: Prefix | None = None
        self.renew_at: float | None = None
        self.settled = self.resized = self.came = False
        self.refusals = 0
        self.wrong: list[str] = []
        self.completed = self.received = 0
        self.speed = 0.0
        self._limits = limits
        self._seen: tuple[float, int] = (now, 0)
        self._mark: tuple[float, int] = (now, 0)
        self._most = 0

    @property
    def remaining(self) -> int:
        """Bytes that are missing."""
        return self.wanted.size - self.completed

    def added(self, gid: str, prefix: Prefix, there: int) -> None:
        """Aria2c has it under `gid` and goes on from `there` bytes."""
        now = time.monotonic()
        self.gid, self.prefix, self.state = gid, prefix, State.ADDED
        self._seen, self.speed, self.came, self.completed = (now, there), 0.0, False, there
        self._most = max(self._most, there)
        self.mark(now)

    def advance(self, completed: int, now: float) -> bool:
        """Note how many bytes are there now; return whether more are there than ever before."""
        before, count = self._seen
        if completed > count:
            self.received += completed - count
            self.came = True
            self.refusals = 0
            self.speed = (completed - count) / max(now - before, 0.001)
            # A transfer that was added again reports 0 until its control file is read: never counted twice.
            self._seen, self.completed = (now, completed), completed
        if completed <= self._most:
            return False
        self._most = completed
        self.budget.progress(now)
        return True

    def mark(self, now: float) -> None:
        """Begin to watch for a stall here."""
        self._mark = (now, self.completed)

    def is_stalled(self, now: float) -> bool:
        """Whether less than the floor came for as long as is allowed."""
        since, count = self._mark
        if self.completed - count >= self._floor():
            self.mark(now)
            return False
        return now - since > self._limits.stall

    def wait_until(self, moment: float) -> None:
        """Wait for the next try."""
        self.state, self.not_before = State.WAITING, moment

    def forget_prefix(self) -> None:
        """Stop hashing: bytes below what was hashed may change from here on."""
        if self.prefix is not None:
            self.prefix.drop()
            self.prefix = None

    def _floor(self) -> int:
        slow = self._limits.floor
        if self._limits.rate is not None:
            slow = min(slow, int(self._limits.rate * self._limits.stall / (4 * self._limits.files)))
        return max(1, slow)
