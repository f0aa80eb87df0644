"""Bring one file over a connection of ours, whatever the server does: right bytes in the stage, or a clear error."""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path
from typing import NamedTuple

from reconciler.download import Arrived, Limits, Wanted, staged, verify
from reconciler.download.partial import RESUME, Partial
from reconciler.download.retry import REFUSED, TRANSIENT, Budget, expiry, rate_limit_reset, retry_after
from reconciler.download.watch import Teller
from reconciler.download.wire import Answer, Line, Reset, origin
from reconciler.errors import (
    AccessError,
    NotFoundError,
    Problem,
    RateLimitedError,
    ReconcilerError,
    TransferError,
)
from reconciler.located import Located
from reconciler.oserrors import telling

BUFFER = 256 * 1024
"""Bytes of one read. A read that does not fill within `Limits.stall` counts as stalled: about 4 KiB/s by default."""


class Stopped(Exception):  # noqa: N818  (nobody failed)
    """It is over: the caller wants no more."""


class Refused(Exception):  # noqa: N818  (becomes an error for people in `refusal`)
    """An HTTP status that brings no bytes."""

    def __init__(self, answer: Answer, head: bytes) -> None:
        super().__init__(answer.status)
        self.status = answer.status
        self.url = answer.url
        self.head = head
        self.code = answer.header("X-Error-Code")
        self.message = answer.header("X-Error-Message")
        asked = retry_after(answer.header("Retry-After"), time.time())
        self.asked = asked if asked is not None else rate_limit_reset(answer.header("RateLimit"))


class Bucket:
    """A limit on bytes a second, shared by threads; None lets everything through."""

    def __init__(self, rate: int | None) -> None:
        self._rate = rate
        self._free = time.monotonic()
        self._lock = threading.Lock()

    def lower(self, used: int | None) -> None:
        """Leave `used` bytes a second of the rate to somebody else; at least a tenth stays."""
        if self._rate is not None and used is not None:
            self._rate = max(self._rate // 10, self._rate - used, 1)

    def take(self, count: int, over: threading.Event) -> None:
        """Wait until `count` bytes fit under the rate."""
        if self._rate is None:
            return
        with self._lock:
            now = time.monotonic()
            self._free = max(self._free, now - 0.1) + count / self._rate
            pause = self._free - now
        if pause > 0:
            over.wait(pause)


class Tools(NamedTuple):
    """What every transfer of one download shares."""

    limits: Limits
    bucket: Bucket
    teller: Teller
    over: threading.Event


def bring(wanted: Wanted, line: Line, tools: Tools, buffer: memoryview, *, strikes: int = 2) -> Arrived:
    """Return the verified, durable file in its stage.

    Wrong bytes are asked for again, `strikes` times in all; then DigestError names both digests. Raise SourceError,
    TransferError or DiskError; Stopped when it is over.
    """
    begun = time.monotonic()
    there = staged.settle(wanted)
    if there is not None:
        tools.teller.tell(wanted, wanted.size, 0, "done")
        return Arrived(wanted, there, 0, time.monotonic() - begun)
    if staged.payload(wanted).is_symlink() or staged.payload(wanted).exists():
        staged.drop(wanted, ("", ".aria2", "_meta"))  # another engine's partial, which we cannot read
    with Partial(wanted) as partial:
        _pull_until_whole(partial, line, tools, buffer, strikes)
        path = partial.place()
    tools.teller.tell(wanted, wanted.size, partial.received, "done")
    return Arrived(wanted, path, partial.received, time.monotonic() - begun)


def _pull_until_whole(partial: Partial, line: Line, tools: Tools, buffer: memoryview, strikes: int) -> None:
    wanted, budget = partial.wanted, Budget(tools.limits, time.monotonic())
    located: Located | None = None
    renewed = best = 0
    while True:
        try:
            if partial.position < wanted.size:
                if located is None or _is_over(located):
                    located = wanted.locate()
                _pull(partial, located, line, tools, buffer)
            found = partial.found()
            if found == wanted.digest:
                return
            error: ReconcilerError = verify.wrong_bytes(wanted, found, partial.head())
            partial.restart()
            strikes -= 1
            if strikes <= 0:
                raise error
            located = None
        except Reset as reset:
            if tools.over.is_set():
                raise Stopped from None
            best = _credit(budget, partial, best)
            _pause(budget.wait(time.monotonic()), tools, _broken(wanted, str(reset)))
        except Refused as refused:
            assert located is not None
            if _may_be_stale(refused, located) and renewed < 2:
                renewed, located = renewed + 1, None
                continue
            best = _credit(budget, partial, best)
            pause = budget.wait(time.monotonic(), refused.asked, counts=refused.status != 429)
            _pause(pause if refused.status in TRANSIENT else None, tools, refusal(wanted, refused))
        except _WrongSize as wrong:
            strikes -= 1
            if strikes <= 0:
                raise wrong.error from None
            partial.restart()
            located = None


class _WrongSize(Exception):  # noqa: N818  (carries the error for people)
    def __init__(self, error: ReconcilerError) -> None:
        super().__init__(str(error))
        self.error = error


def _pull(partial: Partial, located: Located, line: Line, tools: Tools, buffer: memoryview) -> None:
    """Read one answer to its end, into `partial`. Raise Reset, Refused, _WrongSize."""
    wanted = partial.wanted
    if tools.over.is_set():
        raise Stopped
    if located.url.startswith("file:"):
        _copy(partial, located.url, tools, buffer)
        return
    answer = line.get(located.url, located.headers, partial.range())
    with line.reading(answer) as response:
        _agree(partial, answer)
        partial.begin(answer.header("ETag"), origin(answer.url))
        if wanted.size >= BUFFER:
            tools.teller.tell(wanted, partial.position, partial.received, "downloading")
        while read := response.readinto(buffer):
            line.alive()
            if partial.position + read > wanted.size:
                raise _WrongSize(verify.wrong_size(wanted, None, partial.head() or bytes(buffer[: verify.HEAD])))
            partial.write(buffer[:read])
            tools.bucket.take(read, tools.over)
            if wanted.size >= BUFFER:
                tools.teller.tell(wanted, partial.position, partial.received, "downloading")
        if partial.position < wanted.size:
            head = partial.head()
            if verify.disguise(head) is not None:
                raise _WrongSize(verify.wrong_size(wanted, len(head), head))
            raise Reset("the connection ended before the file did")


def _copy(partial: Partial, url: str, tools: Tools, buffer: memoryview) -> None:
    """Read a file of this machine instead; nothing comes over the network."""
    from urllib.parse import unquote, urlsplit

    path = Path(unquote(urlsplit(url).path))
    partial.restart()
    with telling(str(path)), open(path, "rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size != partial.wanted.size:
            size = os.fstat(file.fileno()).st_size
            raise _WrongSize(verify.wrong_size(partial.wanted, size, file.read(verify.HEAD)))
        while read := file.readinto(buffer):
            if tools.over.is_set():
                raise Stopped
            partial.write(buffer[:read])
            tools.teller.tell(partial.wanted, partial.position, 0, "downloading")
    partial.received = 0
    if partial.position != partial.wanted.size:
        raise Reset("the file changed while it was read")


def _agree(partial: Partial, answer: Answer) -> None:
    """Check that an answer continues the file where we are, and promises the locked size."""
    wanted = partial.wanted
    if answer.status == 200:
        partial.restart()
        total = answer.response.length
    elif answer.status == 206 and partial.position:
        if not continues(answer.header("Content-Range"), partial.position, wanted.size):
            partial.restart()  # another version, or a server that cannot count: from the beginning, without a range
            raise Reset("the server sent another range than the one asked for")
        total = wanted.size
    elif answer.status == 416 and partial.position:
        partial.restart()
        raise Reset("the server has not the range that is missing")
    else:
        raise Refused(answer, answer.response.read(verify.HEAD))
    if answer.header("Content-Encoding").lower() not in ("", "identity"):
        raise Reset("the server compressed what we asked for as it is")
    if total is not None and total != wanted.size:
        raise _WrongSize(verify.wrong_size(wanted, total, answer.response.read(verify.HEAD)))


def continues(content_range: str, position: int, size: int) -> bool:
    """Whether a Content-Range starts at `position` of `size` bytes and ends with the file. Pure."""
    match = re.fullmatch(r"\s*bytes\s+(\d{1,20})-(\d{1,20})/(\d{1,20})\s*", content_range)
    return match is not None and (int(match[1]), int(match[2]), int(match[3])) == (position, size - 1, size)


def refusal(wanted: Wanted, refused: Refused) -> ReconcilerError:
    """Return the error that an HTTP status means to people."""
    host = origin(refused.url)
    told = re.sub(r"[^\x20-\x7e]", "?", refused.message)[:200]
    summary = f"{host} answered HTTP {refused.status}" + (f": {told}" if told else "")
    if refused.status in (401, 403):
        hint = "accept the licence on the model's page and set the token of its site (HF_TOKEN, CIVITAI_TOKEN)"
        return AccessError(Problem(wanted.key, summary, hint))
    if refused.status in (404, 410):
        return NotFoundError(Problem(wanted.key, summary, "it was removed or renamed upstream, or access is missing"))
    if refused.status == 429:
        wait = f"it asks to wait {refused.asked:.0f} s; " if refused.asked else ""
        return RateLimitedError(Problem(wanted.key, summary, wait + _once_more(wanted, " later")))
    return TransferError(Problem(wanted.key, summary, _once_more(wanted, " later")))


def _broken(wanted: Wanted, words: str) -> TransferError:
    return TransferError(Problem(wanted.key, words, _once_more(wanted)))


def _once_more(wanted: Wanted, when: str = "") -> str:
    """Return what to try; a small file begins anew."""
    return f"run the same again{when}" + ("; partial files are kept" if wanted.size >= RESUME else "")


def _may_be_stale(refused: Refused, located: Located) -> bool:
    """Whether a fresh address may be served: this one was signed, or a redirect led to a signed one."""
    if refused.status not in REFUSED | {400, 404}:
        return False
    signed = located.expires is not None or expiry(located.url) is not None
    return signed or origin(refused.url) != origin(located.url)


def _is_over(located: Located) -> bool:
    return located.expires is not None and time.time() >= located.expires


def _credit(budget: Budget, partial: Partial, best: int) -> int:
    """Fill the budget up when more stands on disk than ever before; return the most that ever stood there."""
    if partial.position > best and partial.resumes:
        budget.progress(time.monotonic())
    if not partial.resumes:
        partial.restart()
    return max(best, partial.position)


def _pause(seconds: float | None, tools: Tools, error: ReconcilerError) -> None:
    """Wait before the next try; raise `error` when there is none, Stopped when it is over."""
    if seconds is None:
        raise error
    if tools.over.wait(seconds):
        raise Stopped
