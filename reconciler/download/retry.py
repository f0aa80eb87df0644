"""When to try again, and how long to wait. Pure but for the clock that is passed in."""

from __future__ import annotations

import email.utils
import random
import re
import urllib.parse
from datetime import UTC, datetime

from reconciler.download import Limits

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 530})
"""HTTP statuses that may be another one a moment later."""
REFUSED = frozenset({401, 403, 410})
"""What a signed address answers when its time is over; a fresh one may be welcome."""


def backoff(failures: int, limits: Limits) -> float:
    """Return the seconds to wait after `failures` in a row (1 is the first): doubling, jittered by half."""
    ceiling = min(limits.slowest, limits.backoff * float(1 << min(failures - 1, 16)))
    return ceiling * (0.5 + random.random() / 2)  # noqa: S311  (spreads requests; guards nothing)


def retry_after(value: str, now: float) -> float | None:
    """Return the seconds that a Retry-After header asks for, at least 0; None when it says nothing usable.

    https://www.rfc-editor.org/rfc/rfc9110#name-retry-after: seconds, or a date. `now` is in unix seconds.
    """
    value = value.strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
        return max(0.0, moment.timestamp() - now)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def rate_limit_reset(value: str) -> float | None:
    """Return `t` of `RateLimit: "api";r=0;t=55` when nothing remains (r=0), as the Hub sends it with a 429."""
    remaining = re.search(r";\s*r=(\d{1,9})", value)
    seconds = re.search(r";\s*t=(\d{1,9})", value)
    if remaining is None or seconds is None or int(remaining[1]) > 0:
        return None
    return float(seconds[1]) + 1.0


def expiry(url: str) -> float | None:
    """Return the unix time at which a signed address ends (CloudFront `Expires`, S3 `X-Amz-Date` + `X-Amz-Expires`)."""
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)

    def first(name: str) -> str:
        return next((values[0] for key, values in query.items() if key.lower() == name), "")

    if re.fullmatch(r"[0-9]{9,11}", first("expires")):
        return float(first("expires"))
    if re.fullmatch(r"[0-9]{1,7}", first("x-amz-expires")):
        try:
            signed = datetime.strptime(first("x-amz-date"), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            return None
        return signed.timestamp() + float(first("x-amz-expires"))
    return None


def renewal(expires: float | None, now: float) -> float | None:
    """Return the unix time at which to ask for a fresh address: at 70 % of what is left of its life."""
    return None if expires is None else now + max(0.0, expires - now) * 0.7


class Budget:
    """What one file may still spend on failures; a byte of progress fills it up again. Times are monotonic seconds."""

    __slots__ = ("_limits", "_since", "failures")

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._since = now
        self.failures = 0

    def progress(self, now: float) -> None:
        """Bytes came."""
        self.failures = 0
        self._since = now

    def wait(self, now: float, asked: float | None = None, *, counts: bool = True) -> float | None:
        """Note a failure; return the seconds to wait before the next try, or None when it is enough.

        `asked` is what the server asked for. Being asked to wait does not count as a failure, it only takes time.
        """
        if asked is None or counts:
            self.failures += 1
        pause = backoff(max(1, self.failures), self._limits) if asked is None else asked
        if self.failures > self._limits.retries or now - self._since + pause > self._limits.patience:
            return None
        return pause
