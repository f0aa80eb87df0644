"""Show an apply while it runs: bars on a terminal, one line a finished file elsewhere, JSON lines for programs.

Every display may be called from any thread. rich is imported only where bars are drawn.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import RLock
from typing import IO, Any, Literal, Protocol

from reconciler.inert import human_bytes
from reconciler.plan import Step
from reconciler.receipt import Outcome, Receipt
from reconciler.render.lines import name
from reconciler.render.receipt import outcome_json, receipt_json

Kind = Literal["bars", "lines", "json", "quiet"]

_EVERY = 0.5
"""Seconds between two JSON lines about one file; a change of phase is always told."""
_ENDED = frozenset({"done", "failed"})


class FileProgress(Protocol):
    """How far one file is, in bytes; `reconciler.download.Progress` is one."""

    @property
    def key(self) -> str:
        """The name of the file, for people."""

    @property
    def done(self) -> int:
        """Bytes on disk."""

    @property
    def size(self) -> int:
        """Bytes of the whole file."""

    @property
    def received(self) -> int:
        """Bytes that came over the network now."""

    @property
    def phase(self) -> str:
        """waiting, downloading, verifying, done or failed."""


class Display(Protocol):
    """Whoever watches an apply."""

    def plan_started(self, steps: int, size: int) -> None:
        """Take note of how many steps will run and how many bytes will come."""

    def step_started(self, step: Step) -> None:
        """Take note that a step begins."""

    def file(self, progress: FileProgress) -> None:
        """Take note of how far one file is."""

    def step_done(self, outcome: Outcome) -> None:
        """Take note of how a step ended."""

    def message(self, text: str) -> None:
        """Tell the user something in passing."""

    def close(self) -> None:
        """Leave the terminal as it was; may be called twice."""


@contextmanager
def open_display(
    kind: Kind, stream: IO[str], *, colour: bool = True, clock: Callable[[], float] = time.monotonic
) -> Iterator[Display]:
    """Give a display that writes to `stream`, and close it at the end whatever happens."""
    display: Display
    match kind:
        case "bars":
            from reconciler.render.bars import Bars

            display = Bars(stream, colour)
        case "lines":
            display = _Lines(stream)
        case "json":
            display = _Events(_writing(stream), clock)
        case "quiet":
            display = _Quiet()
    try:
        yield display
    finally:
        display.close()


def events(hear: Callable[[str, Mapping[str, Any]], None], clock: Callable[[], float] = time.monotonic) -> Display:
    """Return a display that calls `hear` with the type and the fields of every line that `--json` would print."""
    return _Events(hear, clock)


def event(kind: str, fields: Mapping[str, Any]) -> str:
    """Return one strict JSON object in one line, `type` first, as `--json` prints while an apply runs."""
    return json.dumps({"type": kind, **fields}, ensure_ascii=True, allow_nan=False)


def receipt_event(receipt: Receipt) -> str:
    """Return the last JSON line of an apply."""
    return event("receipt", receipt_json(receipt))


class _Quiet:
    """Say nothing while it runs."""

    def plan_started(self, steps: int, size: int) -> None: ...
    def step_started(self, step: Step) -> None: ...
    def file(self, progress: FileProgress) -> None: ...
    def step_done(self, outcome: Outcome) -> None: ...
    def message(self, text: str) -> None: ...
    def close(self) -> None: ...


class _Lines(_Quiet):
    """Say one plain line for every file that ended: what a log can hold."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = RLock()

    def file(self, progress: FileProgress) -> None:
        if progress.phase in _ENDED:
            word = "fetched" if progress.phase == "done" else "failed "
            self.message(f"{word}  {human_bytes(progress.size):>10}  {progress.key}")

    def message(self, text: str) -> None:
        with self._lock:
            self._stream.write(f"{name(text)}\n")
            self._stream.flush()


def _pace(received: int, missing: int, seconds: float) -> dict[str, Any]:
    """Return speed (bytes a second) and time left (seconds); None while nobody can tell."""
    speed = received / seconds if seconds > 0 else 0.0
    left = round(missing / speed, 1) if speed else (0.0 if not missing else None)
    return {"speed": round(speed) if speed else None, "seconds_left": left}


class _Events:
    """Say everything as events, one call each: its type, and its fields as plain JSON values."""

    def __init__(self, hear: Callable[[str, Mapping[str, Any]], None], clock: Callable[[], float]) -> None:
        self._hear = hear
        self._clock = clock
        self._told: dict[str, tuple[str, float]] = {}
        self._begun: dict[str, float] = {}
        self._seen: dict[str, FileProgress] = {}
        self._size = 0
        self._overall: float | None = None
        self._lock = RLock()

    def plan_started(self, steps: int, size: int) -> None:
        self._size = size
        self._tell("plan", {"steps": steps, "bytes": size})

    def step_started(self, step: Step) -> None:
        fields = {"address": str(step.address), "action": step.action.value, "reason": step.reason}
        self._tell("step-started", fields)

    def file(self, progress: FileProgress) -> None:
        with self._lock:
            now = self._clock()
            phase, since = self._told.get(progress.key, ("", now))
            if phase == progress.phase and now - since < _EVERY:
                return
            self._told[progress.key] = (progress.phase, now)
            self._seen[progress.key] = progress
            begun = self._begun.setdefault(progress.key, now)
            fields = {key: getattr(progress, key) for key in ("done", "size", "received", "phase")}
            pace = _pace(progress.received, progress.size - progress.done, now - begun)
            self._tell("progress", {"file": progress.key, **fields, **pace})
            last = self._overall if self._overall is not None else now
            self._overall = last
            if now - last >= _EVERY or progress.phase in _ENDED:
                self._overall = now
                received = sum(seen.received for seen in self._seen.values())
                pace = _pace(received, max(0, self._size - received), now - min(self._begun.values()))
                self._tell("overall", {"received": received, "size": self._size, **pace})

    def step_done(self, outcome: Outcome) -> None:
        self._tell("step", outcome_json(outcome))

    def message(self, text: str) -> None:
        self._tell("message", {"text": text})

    def close(self) -> None: ...

    def _tell(self, kind: str, fields: Mapping[str, Any]) -> None:
        with self._lock:
            self._hear(kind, fields)


def _writing(stream: IO[str]) -> Callable[[str, Mapping[str, Any]], None]:
    """Return what writes events to `stream`, one JSON object a line."""

    def hear(kind: str, fields: Mapping[str, Any]) -> None:
        stream.write(event(kind, fields) + "\n")
        stream.flush()

    return hear
