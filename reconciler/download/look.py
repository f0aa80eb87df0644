"""Ask a server for one byte before another program is sent there: where redirects end, how large, which version."""

from __future__ import annotations

import re
import time
from typing import NamedTuple

from reconciler.download import Wanted, verify
from reconciler.download.retry import expiry
from reconciler.download.stream import Refused
from reconciler.download.wire import Line
from reconciler.errors import ReconcilerError
from reconciler.located import Located


class Found(NamedTuple):
    """Where one file's bytes really are. `ranges`: the server gives parts of it, and counts them right."""

    url: str
    etag: str
    ranges: bool
    expires: float | None
    shareable: bool = True


class WrongSize(Exception):  # noqa: N818  (carries the error for people)
    """The server offers a file of another length than the locked one."""

    def __init__(self, error: ReconcilerError) -> None:
        super().__init__(str(error))
        self.error = error


def look(wanted: Wanted, located: Located, line: Line) -> Found:
    """Follow redirects to the end and check what is there against the lock.

    A GET of one byte, not a HEAD: an address signed for GET refuses HEAD. Raise Refused, WrongSize, Reset or
    TransferError.
    """
    answer = line.get(located.url, located.headers, {"Range": "bytes=0-0"})
    with line.reading(answer) as response:
        if answer.status not in (200, 206):
            raise Refused(answer, response.read(verify.HEAD))
        counted = re.fullmatch(r"\s*bytes\s+0-0/(\d{1,20})\s*", answer.header("Content-Range"))
        ranges = answer.status == 206 and counted is not None
        total = int(counted[1]) if ranges and counted else response.length if answer.status == 200 else None
        if total is not None and total != wanted.size:
            raise WrongSize(verify.wrong_size(wanted, total, b"" if ranges else response.read(verify.HEAD)))
        if ranges:
            response.read(2)
    now = time.time()
    ends = [moment for moment in (located.expires, expiry(answer.url)) if moment is not None and moment > now]
    return Found(answer.url, answer.header("ETag"), ranges, min(ends, default=None))
