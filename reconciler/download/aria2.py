"""Move large files with one aria2c: find the final address, add, follow, hash, renew, break off, take up again.

One thread owns every transfer (an actor with an inbox); addresses are asked for and bytes are hashed in others. aria2c
is taken for an untrusted mover of bytes: it sees final addresses and names made of digests, and no header, ever.
Only ever imported where aria2c moves files.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aria2p

from reconciler.download import Arrived, Failed, Limits, Wanted, exitcodes, staged, verify
from reconciler.download.daemon import Daemon, running
from reconciler.download.finding import Again, Over, find, verdict
from reconciler.download.look import Found
from reconciler.download.pool import Emit, Pool
from reconciler.download.prefix import Prefix, leading_bytes
from reconciler.download.program import Aria2c
from reconciler.download.retry import renewal
from reconciler.download.stream import Stopped, Tools, bring
from reconciler.download.transfer import State, Transfer
from reconciler.download.wire import Lines, Reset, origin
from reconciler.errors import ReconcilerError, TransferError
from reconciler.state import Digest

_KEYS = ["gid", "status", "completedLength", "errorCode", "errorMessage", "bitfield", "pieceLength"]
_TICK, _QUICK = 0.1, 0.01
_LOOKERS = 8
_HUGE = 50_000_000_000
_LAUNCHES = 5
"""How often a daemon that died is started again without a byte of progress."""

Event = tuple[Transfer, Any]


class Mover(threading.Thread):
    """Moves large files until each has a result; what aria2c must not or cannot bring goes to the pool."""

    def __init__(
        self, program: Aria2c, wanted: Sequence[Wanted], tools: Tools, lines: Lines, pool: Pool, emit: Emit,
        keep_fds: Sequence[int],
    ) -> None:  # fmt: skip
        super().__init__(name="download-aria2", daemon=True)
        self._program = program
        self._tools = tools
        self._lines = lines
        self._pool = pool
        self._emit = emit
        self._keep_fds = tuple(keep_fds)
        self._transfers = [Transfer(item, tools.limits) for item in wanted]
        self._inbox: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._launches = 0
        self._lookers = ThreadPoolExecutor(_LOOKERS, "download-look")
        self._hashers = ThreadPoolExecutor(2, "download-hash")

    def run(self) -> None:
        """Work until every transfer has ended or it is over."""
        try:
            self._schedule()
            while self._open() and not self._tools.over.is_set():
                self._one_daemon()
        except Stopped:
            pass
        except ReconcilerError:  # aria2c does not start: our own connections can do all of it
            for transfer in self._open():
                self._hand_over(transfer)
        except Exception as error:
            self._fail_all(TransferError(f"{type(error).__name__}: {error}", where=str(self._program)))
        finally:
            for transfer in self._transfers:
                transfer.forget_prefix()
            self._lookers.shutdown(cancel_futures=True)
            self._hashers.shutdown(cancel_futures=True)

    def wake(self) -> None:
        """Make the thread look at the world at once."""
        self._inbox.put(None)

    # One daemon's life ----------------------------------------------------------------------------------------------

    def _one_daemon(self) -> None:
        """Run a daemon until all is done or it dies; then every transfer it had waits for the next one."""
        self._launches += 1
        if self._launches > _LAUNCHES:
            for transfer in self._open():
                self._hand_over(transfer)
            return
        limits = self._tools.limits
        largest = max(transfer.wanted.size for transfer in self._transfers)
        split = connections(limits, len(self._transfers))
        with running(self._program, limits, largest=largest, split=split, keep_fds=self._keep_fds) as daemon:
            try:
                while self._open() and not self._tools.over.is_set():
                    self._turn(daemon)
            except (OSError, http.client.HTTPException, aria2p.ClientException, ValueError):
                if self._tools.over.is_set():
                    return
        for transfer in self._transfers:
            if transfer.state in (State.ADDED, State.BREAKING):
                self._again(transfer, TransferError("aria2c ended unexpectedly", where=transfer.wanted.key))

    def _turn(self, daemon: Daemon) -> None:
        """Look at the daemon once, then act on what came in meanwhile."""
        if not daemon.is_alive():
            raise ValueError("aria2c has ended")
        self._poll(daemon)
        self._schedule()
        self._add(daemon)
        with contextlib.suppress(queue.Empty):
            event = self._inbox.get(timeout=self._pause())
            while True:
                if event is not None:
                    with self._failing(event[0]):
                        self._take(daemon, *event)
                event = self._inbox.get_nowait()

    def _pause(self) -> float:
        """Return how long nothing new is expected, in seconds."""
        near = any(
            transfer.state is State.ADDED and transfer.remaining <= transfer.speed * 3 * _TICK
            for transfer in self._transfers
        )
        return _QUICK if near else _TICK

    def _open(self) -> list[Transfer]:
        return [transfer for transfer in self._transfers if transfer.state is not State.ENDED]

    # Finding addresses ----------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        """Ask for addresses: as many as may start soon, so that none ages while it waits."""
        now = time.monotonic()
        busy = sum(transfer.state in (State.FINDING, State.READY, State.ADDED) for transfer in self._transfers)
        for transfer in self._transfers:
            if busy >= 2 * self._tools.limits.files:
                break
            if transfer.state is State.WAITING and now >= transfer.not_before:
                transfer.state = State.FINDING
                self._lookers.submit(self._find, transfer)
                busy += 1
        for transfer in self._transfers:
            if transfer.state is State.ADDED and transfer.renew_at is not None and time.time() >= transfer.renew_at:
                transfer.renew_at = None
                self._lookers.submit(self._find, transfer)

    def _find(self, transfer: Transfer) -> None:
        self._inbox.put((transfer, find(transfer, self._tools, self._lines)))

    # What comes in --------------------------------------------------------------------------------------------------

    def _take(self, daemon: Daemon, transfer: Transfer, what: Any) -> None:
        """Act on one message about one transfer."""
        if transfer.state is State.ENDED:
            return
        match what:
            case Arrived():
                self._end(transfer, what)
            case Found() if transfer.state is State.FINDING:
                self._found(transfer, what)
            case Found() if transfer.state is State.ADDED:
                self._renew(daemon, transfer, what)
            case str():
                self._hashed(transfer, what)
            case Exception() if transfer.state is not State.ADDED:
                self._trouble(transfer, what)

    def _found(self, transfer: Transfer, found: Found) -> None:
        if not found.shareable or not found.ranges:
            self._hand_over(transfer)
            return
        transfer.found = found
        transfer.state = State.READY

    def _renew(self, daemon: Daemon, transfer: Transfer, fresh: Found) -> None:
        """Give a running transfer a fresh address for the same version; another version starts again."""
        old = transfer.found
        if old is None or not fresh.shareable or not fresh.ranges or fresh.etag != old.etag:
            self._break_off(daemon, transfer)
            return
        with contextlib.suppress(aria2p.ClientException):  # it may have ended since we looked
            daemon.client.change_uri(transfer.gid, 1, [old.url], [fresh.url])
        transfer.found = fresh
        transfer.renew_at = renewal(fresh.expires, time.time())

    def _trouble(self, transfer: Transfer, error: Exception) -> None:
        """Act on an address that could not be had."""
        if isinstance(error, Reset) and self._tools.over.is_set():
            raise Stopped
        match verdict(transfer, error):
            case Again(cause, asked, counts):
                self._again(transfer, cause, asked=asked, counts=counts)
            case Over(cause):
                self._fail(transfer, cause)

    def _hashed(self, transfer: Transfer, digest: str) -> None:
        """Judge a whole file."""
        wanted = transfer.wanted
        if digest == wanted.digest:
            staged.clear(wanted)
            seconds = time.monotonic() - transfer.begun
            self._end(transfer, Arrived(wanted, staged.payload(wanted), transfer.received, seconds))
            return
        transfer.wrong.append(digest)
        error = verify.wrong_bytes(wanted, Digest(digest), verify.head_of(staged.payload(wanted)))
        staged.drop(wanted)
        if len(transfer.wrong) >= 2 and len(set(transfer.wrong)) == 1:
            self._fail(transfer, error)  # the same other bytes twice: that is what upstream has
        elif len(transfer.wrong) >= 2:
            self._hand_over(transfer)
        else:
            transfer.forget_prefix()
            transfer.wait_until(0.0)

    # Talking to the daemon ------------------------------------------------------------------------------------------

    def _add(self, daemon: Daemon) -> None:
        """Hand aria2c what is ready."""
        for transfer in self._transfers:
            if transfer.state is not State.READY:
                continue
            wanted, found = transfer.wanted, transfer.found
            assert found is not None
            try:
                staged.check_stage(wanted)
                there = staged.resumable(wanted, found.etag)
                if there is None:
                    staged.write_meta(wanted, found.etag, origin(found.url))
            except ReconcilerError as error:
                self._fail(transfer, error)
                continue
            options = {"dir": str(wanted.stage.resolve()), "out": wanted.name}
            if transfer.wrong:  # wrong bytes came over many connections: ask once over one
                options |= {"split": "1", "max-connection-per-server": "1"}
            if wanted.size > _HUGE:
                options["use-head"] = "true"  # a first request without a range is refused for files of this size
            try:
                gid = daemon.client.add_uri([found.url], options)
            except aria2p.ClientException:  # an address or a directory that aria2c does not take
                self._hand_over(transfer)
                continue
            transfer.added(gid, Prefix(wanted, self._hashers, functools.partial(self._tell, transfer)), there or 0)
            transfer.renew_at = renewal(found.expires, time.time())

    def _tell(self, transfer: Transfer, outcome: object) -> None:
        self._inbox.put((transfer, outcome))

    def _poll(self, daemon: Daemon) -> None:
        """Ask after every transfer that aria2c has, in one call."""
        live = [transfer for transfer in self._transfers if transfer.state in (State.ADDED, State.BREAKING)]
        if not live:
            return
        calls: Any = [(daemon.client.TELL_STATUS, [transfer.gid, _KEYS]) for transfer in live]
        answers: Any = daemon.client.multicall2(calls)
        for transfer, answer in zip(live, answers, strict=True):
            if not isinstance(answer, list):
                self._again(transfer, TransferError("aria2c lost sight of it", where=transfer.wanted.key))
                continue
            with self._failing(transfer):
                self._follow(daemon, transfer, answer[0])

    @contextlib.contextmanager
    def _failing(self, transfer: Transfer) -> Iterator[None]:
        """Let an error end one transfer and no other."""
        try:
            yield
        except ReconcilerError as error:
            self._fail(transfer, error)

    def _follow(self, daemon: Daemon, transfer: Transfer, status: dict[str, str]) -> None:
        """Act on what aria2c says about one transfer."""
        wanted, now = transfer.wanted, time.monotonic()
        if transfer.advance(int(status.get("completedLength", 0)), now):
            self._launches = 1
        state = status.get("status")
        if state in ("active", "waiting", "paused"):
            if transfer.state is State.ADDED and transfer.prefix is not None and "bitfield" in status:
                piece = int(status.get("pieceLength", 0))
                transfer.prefix.offer(leading_bytes(status["bitfield"], piece, wanted.size))
            if state != "active":
                transfer.mark(now)
            elif transfer.state is State.ADDED:
                self._tools.teller.tell(wanted, transfer.completed, transfer.received, "downloading")
                if transfer.is_stalled(now):
                    self._break_off(daemon, transfer)
            return
        with contextlib.suppress(aria2p.ClientException):
            daemon.client.remove_download_result(transfer.gid)
        if state == "complete" and transfer.completed == wanted.size and transfer.prefix is not None:
            transfer.state = State.HASHING
            self._tools.teller.tell(wanted, wanted.size, transfer.received, "verifying")
            transfer.prefix.offer(wanted.size, whole=True)
            return
        self._ended_badly(transfer, status.get("errorCode", "1"), broken_off=transfer.state is State.BREAKING)

    def _ended_badly(self, transfer: Transfer, code: str, *, broken_off: bool) -> None:
        wanted = transfer.wanted
        overgrown = staged.is_overgrown(wanted)
        if exitcodes.is_of_disk(code) and not overgrown and not broken_off:
            self._fail(transfer, exitcodes.disk_trouble(code, wanted, transfer.remaining))
            return
        # Not a byte came: what was to be resumed may be the cause. Without a control file nothing can be resumed.
        resumable = staged.beside(wanted, ".aria2").exists() and not overgrown
        if not resumable or not (transfer.came or broken_off):
            staged.drop(wanted)
        self._again(transfer, exitcodes.trouble(exitcodes.STALLED if broken_off else code, wanted))

    def _break_off(self, daemon: Daemon, transfer: Transfer) -> None:
        """Stop a transfer that stands still; it is taken up again once aria2c has let go of the file."""
        transfer.state = State.BREAKING
        with contextlib.suppress(aria2p.ClientException):
            daemon.client.force_remove(transfer.gid)

    # Ways on --------------------------------------------------------------------------------------------------------

    def _again(
        self, transfer: Transfer, error: ReconcilerError, *, asked: float | None = None, counts: bool = True
    ) -> None:
        """Try again after a pause; when it was tried enough, over our own connections if the server gives bytes."""
        transfer.forget_prefix()
        pause = transfer.budget.wait(time.monotonic(), asked, counts=counts)
        if pause is not None:
            self._tools.teller.tell(transfer.wanted, transfer.completed, transfer.received, "waiting")
            transfer.wait_until(time.monotonic() + pause)
        elif transfer.state in (State.ADDED, State.BREAKING):
            self._hand_over(transfer)
        else:
            self._fail(transfer, error)

    def _hand_over(self, transfer: Transfer) -> None:
        """Have the pool bring it; the pool emits its result."""
        transfer.forget_prefix()
        transfer.state = State.ENDED
        strikes = 1 if transfer.wrong else 2
        self._pool.submit(transfer.wanted, functools.partial(bring, strikes=strikes))

    def _fail(self, transfer: Transfer, error: ReconcilerError) -> None:
        self._tools.teller.tell(transfer.wanted, transfer.completed, transfer.received, "failed")
        self._end(transfer, Failed(transfer.wanted, error))

    def _fail_all(self, error: ReconcilerError) -> None:
        for transfer in self._open():
            self._fail(transfer, error)

    def _end(self, transfer: Transfer, result: Arrived | Failed) -> None:
        transfer.forget_prefix()
        transfer.state = State.ENDED
        if isinstance(result, Arrived):
            self._tools.teller.tell(transfer.wanted, transfer.wanted.size, transfer.received, "done")
        self._emit(result)


def connections(limits: Limits, files: int) -> int:
    """Return how many connections aria2c opens for one file; few files share what many would have used."""
    together = max(1, min(limits.files, files))
    share = max(1, limits.connections_per_host // together)
    most = limits.connections_per_file * 2 if together <= 2 and limits.connections_per_file >= 8 else None
    return min(16, share, most or limits.connections_per_file)
