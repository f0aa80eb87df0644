"""Threads that bring files over kept connections: small files, many at once, and whatever aria2c must not see."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from reconciler.download import Arrived, Failed, Wanted
from reconciler.download.stream import BUFFER, Stopped, Tools, bring
from reconciler.download.wire import Line, Lines
from reconciler.errors import ReconcilerError, TransferError

Emit = Callable[[Arrived | Failed], None]
Bring = Callable[[Wanted, Line, Tools, memoryview], Arrived]


class Pool:
    """At most `Limits.connections_per_host` threads, each with connections of its own; started as files come."""

    def __init__(self, tools: Tools, lines: Lines, emit: Emit) -> None:
        self._tools = tools
        self._lines = lines
        self._emit = emit
        self._jobs: queue.SimpleQueue[tuple[Wanted, Bring] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._submitted = 0
        self._lock = threading.Lock()

    def submit(self, wanted: Wanted, how: Bring = bring) -> None:
        """Have one file brought; its result is emitted, never raised."""
        with self._lock:
            self._jobs.put((wanted, how))
            self._submitted += 1
            if len(self._threads) < min(self._submitted, self._tools.limits.connections_per_host):
                thread = threading.Thread(target=self._work, name="download-pool", daemon=True)
                self._threads.append(thread)
                thread.start()

    def close(self) -> None:
        """End every thread; what they were at stays as a partial. `Tools.over` is set before, the lines are cut."""
        with self._lock:
            for _ in self._threads:
                self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        buffer = memoryview(bytearray(BUFFER))
        with self._lines.line() as line:
            while (job := self._jobs.get()) is not None and not self._tools.over.is_set():
                wanted, how = job
                try:
                    self._emit(how(wanted, line, self._tools, buffer))
                except Stopped:
                    return
                except ReconcilerError as error:
                    self._fail(wanted, error)
                except Exception as error:
                    self._fail(wanted, _surprise(wanted, error))

    def _fail(self, wanted: Wanted, error: ReconcilerError) -> None:
        self._tools.teller.tell(wanted, 0, 0, "failed")
        self._emit(Failed(wanted, error))


def _surprise(wanted: Wanted, error: Exception) -> TransferError:
    surprise = TransferError(f"{type(error).__name__}: {error}", where=wanted.key)
    surprise.__cause__ = error
    return surprise
