"""Choose the downloader of this machine, split the work between its parts, and gather the results."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from reconciler.download import Arrived, Downloader, Failed, Limits, Wanted, Watch, program
from reconciler.download.pool import Pool
from reconciler.download.program import Aria2c
from reconciler.download.stream import Bucket, Tools, bring
from reconciler.download.watch import Teller
from reconciler.download.wire import Lines
from reconciler.errors import InputError

_AT_ONCE = 8
"""Files that huggingface_hub brings at the same time, as its own snapshot_download does."""
_NOTICE = 0.2
"""Seconds in which a wish to stop is noticed."""

Stop = Callable[[], bool] | None
"""Says whether whoever waits wants no more; None: nobody but Ctrl-C ever does."""


@contextlib.contextmanager
def open_downloader(
    limits: Limits,
    *,
    keep_fds: tuple[int, ...] = (),
    choice: Literal["auto", "aria2c", "huggingface_hub"] = "auto",
    aria2c: str | None = None,
    stop: Stop = None,
) -> Iterator[Downloader]:
    """Open aria2c with our pool where aria2c is found and new enough, else huggingface_hub with our pool."""
    if choice == "huggingface_hub":
        yield WithHubClient(limits, " (chosen by the settings)", stop)
        return
    found = program.find_aria2c(aria2c)
    if (choice == "aria2c" or aria2c is not None) and (found is None or not found.usable):
        what = f"{found} is older than 1.36" if found is not None else f"there is no {aria2c or 'aria2c'} here"
        raise InputError(what, where="aria2c", hint="name another program, or take the setting away")
    if found is not None and found.usable:
        warm = threading.Thread(target=_warm, name="download-warm", daemon=True)
        warm.start()
        yield WithAria2(limits, found, keep_fds, stop)
        warm.join()
        return
    too_old = f" ({found} is older than 1.36)" if found is not None else " (no aria2c here)"
    yield WithHubClient(limits, too_old, stop)


@dataclass(frozen=True)
class WithAria2:
    """Large files through aria2c, the others over our own connections."""

    limits: Limits
    program: Aria2c
    keep_fds: tuple[int, ...] = ()
    stop: Stop = None

    @property
    def name(self) -> str:
        """Which aria2c it is."""
        return str(self.program)

    def fetch(self, wanted: Sequence[Wanted], watch: Watch) -> Iterator[Arrived | Failed]:
        """Yield a result for each; see Downloader."""
        return _fetch(self.limits, wanted, watch, self._begin, self.stop)

    def _begin(self, run: Run) -> None:
        large = [item for item in run.wanted if item.size >= self.limits.small]
        if large:
            from reconciler.download.aria2 import Mover

            sizes = sum(item.size for item in large), sum(item.size for item in run.wanted)
            rate = share_of_rate(self.limits.rate, *sizes)
            run.tools.bucket.lower(rate)
            tools = run.tools._replace(limits=replace(self.limits, rate=rate))
            mover = Mover(self.program, large, tools, run.lines, run.pool, run.results.put, self.keep_fds)
            mover.start()
            run.closing.append(mover.join)
            run.closing.append(mover.wake)
        for item in run.wanted:
            if item.size < self.limits.small:
                run.pool.submit(item)


@dataclass(frozen=True)
class WithHubClient:
    """Files of a Hub through huggingface_hub, the others over our own connections."""

    limits: Limits
    why: str = ""
    stop: Stop = None

    @property
    def name(self) -> str:
        """What it is, and why not aria2c."""
        return f"huggingface_hub{self.why}"

    def fetch(self, wanted: Sequence[Wanted], watch: Watch) -> Iterator[Arrived | Failed]:
        """Yield a result for each; see Downloader."""
        return _fetch(self.limits, wanted, watch, self._begin, self.stop)

    def _begin(self, run: Run) -> None:
        from reconciler.download.hub_client import bring_from_hub

        turns = threading.BoundedSemaphore(_AT_ONCE)

        def in_turn(*args: object) -> Arrived:
            with turns:
                return bring_from_hub(*args)  # type: ignore[arg-type]

        for item in run.wanted:
            run.pool.submit(item, in_turn if item.hub is not None else bring)


@dataclass(frozen=True)
class WithPool:
    """Everything over our own connections."""

    limits: Limits

    @property
    def name(self) -> str:
        """What it is."""
        return "own connections"

    def fetch(self, wanted: Sequence[Wanted], watch: Watch) -> Iterator[Arrived | Failed]:
        """Yield a result for each; see Downloader."""

        def begin(run: Run) -> None:
            for item in run.wanted:
                run.pool.submit(item, bring)

        return _fetch(self.limits, wanted, watch, begin)


@dataclass(frozen=True)
class Run:
    """One fetch: what it wants, what its parts share, where results go, and what to call when it is over."""

    wanted: Sequence[Wanted]
    tools: Tools
    lines: Lines
    pool: Pool
    results: queue.SimpleQueue[Arrived | Failed]
    closing: list[Callable[[], None]]


def share_of_rate(rate: int | None, part: int, whole: int) -> int | None:
    """Return the part of a rate that `part` of `whole` bytes may use: never less than a tenth, nor all of it.

    aria2c takes its limit at the start only (changing it later was erratic), so the two shares are fixed. Pure.
    """
    if rate is None or part >= whole:
        return rate
    return max(1, int(rate * min(0.9, max(0.1, part / whole))))


def _fetch(
    limits: Limits, wanted: Sequence[Wanted], watch: Watch, begin: Callable[[Run], None], stop: Stop = None
) -> Iterator[Arrived | Failed]:
    """Begin, then yield results until each has one; on an early close stop everything before returning."""
    sharers: dict[tuple[Path, str], list[Wanted]] = {}
    for item in wanted:  # the same bytes in the same stage come once
        sharers.setdefault((item.stage, item.name), []).append(item)
    if not sharers:
        return
    lines = Lines(limits)
    tools = Tools(limits, Bucket(limits.rate), Teller(watch), lines.over)
    results: queue.SimpleQueue[Arrived | Failed] = queue.SimpleQueue()
    pool = Pool(tools, lines, results.put)
    run = Run([items[0] for items in sharers.values()], tools, lines, pool, results, [])
    try:
        begin(run)
        for _ in sharers:
            result = _next(results, stop)
            if tools.teller.trouble is not None:
                raise tools.teller.trouble
            for sharer in sharers[(result.wanted.stage, result.wanted.name)]:
                if sharer is not result.wanted:
                    there = isinstance(result, Arrived)
                    tools.teller.tell(sharer, sharer.size if there else 0, 0, "done" if there else "failed")
                yield result._replace(wanted=sharer)
    finally:
        lines.close()  # cuts every connection: whoever reads is freed
        for end in reversed(run.closing):
            end()
        pool.close()


def _next(results: queue.SimpleQueue[Arrived | Failed], stop: Stop) -> Arrived | Failed:
    """Wait for a result. Raise KeyboardInterrupt once `stop` says so."""
    while True:
        if stop is not None and stop():
            raise KeyboardInterrupt
        with contextlib.suppress(queue.Empty):
            return results.get(timeout=None if stop is None else _NOTICE)


def _warm() -> None:
    """Import what the daemon needs while addresses are still being asked for."""
    with contextlib.suppress(ImportError):
        import reconciler.download.aria2
        import reconciler.download.daemon  # noqa: F401
