"""Tell progress, about ten times a second a file."""

from __future__ import annotations

import threading
import time

from reconciler.download import Phase, Progress, Wanted, Watch

_EVERY = 0.1
"""Seconds between two words about one file in one phase."""


class Teller:
    """Passes on progress, thinned out; every change of phase gets through. Safe to call from any thread.

    A watcher that raises is not called again; its error waits in `trouble`, for the thread that reads the results.
    """

    __slots__ = ("_last", "_lock", "_watch", "trouble")

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._last: dict[str, tuple[float, Phase]] = {}
        self._lock = threading.Lock()
        self.trouble: Exception | None = None

    def tell(self, wanted: Wanted, done: int, received: int, phase: Phase) -> None:
        """Say how far `wanted` is, unless it was said a moment ago."""
        now = time.monotonic()
        with self._lock:
            last = self._last.get(wanted.key)
            if last is not None and last[1] == phase and now - last[0] < _EVERY:
                return
            self._last[wanted.key] = (now, phase)
        if self.trouble is None:
            try:
                self._watch(Progress(wanted.key, done, wanted.size, received, phase))
            except Exception as error:
                self.trouble = error
