"""Find where the bytes of one transfer are, and decide what follows when they cannot be had there."""

from __future__ import annotations

import time
from typing import NamedTuple

from reconciler.download import Arrived, staged
from reconciler.download.look import Found, WrongSize, look
from reconciler.download.retry import TRANSIENT
from reconciler.download.stream import Refused, Stopped, Tools, refusal
from reconciler.download.transfer import State, Transfer
from reconciler.download.wire import Lines, Reset
from reconciler.errors import ReconcilerError, TransferError


class Again(NamedTuple):
    """It may go better after a pause: `asked` seconds, when the server said so; `counts` as a failure."""

    error: ReconcilerError
    asked: float | None = None
    counts: bool = True


class Over(NamedTuple):
    """It will not go better."""

    error: ReconcilerError


def find(transfer: Transfer, tools: Tools, lines: Lines) -> Found | Arrived | Exception:
    """Ask the source and the server, and return the answer, whatever it is. A whole file that is staged has arrived."""
    wanted = transfer.wanted
    try:
        if transfer.state is State.FINDING and not transfer.settled:
            transfer.settled = True
            if staged.payload(wanted).exists():
                tools.teller.tell(wanted, 0, 0, "verifying")
            there = staged.settle(wanted)
            if there is not None:
                return Arrived(wanted, there, 0, time.monotonic() - transfer.begun)
        located = wanted.locate()
        if not located.shareable or located.headers or not _encodes(str(wanted.stage)):
            return Found("", "", False, None, shareable=False)
        with lines.line() as line:
            return look(wanted, located, line)
    except Exception as error:
        return error


def verdict(transfer: Transfer, error: Exception) -> Again | Over:
    """Return what follows from an answer that is an error, and count it. Raise Stopped where that was the answer."""
    wanted = transfer.wanted
    match error:
        case Stopped():
            raise error
        case Reset():
            return Again(TransferError(str(error), where=wanted.key, hint="run the same again"))
        case Refused() if error.status in TRANSIENT:
            return Again(refusal(wanted, error), error.asked, counts=error.status != 429)
        case Refused() if error.status != 404 and transfer.refusals < 2:
            transfer.refusals += 1
            return Again(refusal(wanted, error))
        case Refused():
            return Over(refusal(wanted, error))
        case WrongSize() if not transfer.resized:
            transfer.resized = True
            return Again(error.error)
        case WrongSize():
            return Over(error.error)
        case ReconcilerError():
            return Over(error)
    surprise = TransferError(f"{type(error).__name__}: {error}", where=wanted.key)
    surprise.__cause__ = error
    return Over(surprise)


def _encodes(text: str) -> bool:
    """Whether a path survives JSON and aria2c: valid Unicode, no control characters."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return text.isprintable()
