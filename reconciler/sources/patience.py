"""Ask again when upstream asks for it, and give up in time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from reconciler.errors import RateLimitedError, SourceError
from reconciler.inert import inert
from reconciler.secrets import redact
from reconciler.sources import urls
from reconciler.sources.world import World

BUSY = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed."""

_TRIES, _TRIES_UNREACHABLE = 6, 3
_RATE = re.compile(r'"[^"]*"\s*;\s*r=(\d{1,12})\s*;\s*t=(\d{1,12})')


class Answer(NamedTuple):
    """What came back of one request. Header names in lower case."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class UnreachableError(Exception):
    """No answer came. `passing`: asking again may help."""

    def __init__(self, reason: str, *, passing: bool = True) -> None:
        super().__init__(reason)
        self.passing = passing


def persist(send: Callable[[], Answer], world: World, url: str) -> Answer:
    """Return the first answer of `send` that is not "later, please".

    Waits as upstream says, else 0.5 s, 1 s, 2 s and so on, and altogether no longer than the world's patience. Raise
    RateLimitedError or SourceError when that was not enough.
    """
    waited = 0.0
    for attempt in range(_TRIES):
        pause = 0.5 * 2**attempt
        last = attempt == _TRIES - 1
        try:
            answer = send()
        except UnreachableError as error:
            if not error.passing or attempt == _TRIES_UNREACHABLE - 1:
                raise SourceError(
                    redact(str(error), world.secrets),
                    where=redact(url, world.secrets),
                    hint=f"{_doubt(url)}? run the same again later",
                ) from None
        else:
            if answer.status not in BUSY:
                return answer
            pause = max(pause, asked_to_wait(answer.headers, time.time()) or 0.0)
            if last or waited + pause > world.patience:
                raise _refused(answer, pause, world)
        world.sleep(pause)
        waited += pause
    raise AssertionError("the last attempt returns or raises")


def proxy_for(url: str) -> str:
    """Return the proxy that the environment names for `url`, '' for none."""
    from urllib.request import getproxies, proxy_bypass  # it brings TLS along

    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    return "" if not proxy or proxy_bypass(parts.hostname or "") else proxy


def _doubt(url: str) -> str:
    """Return what to ask oneself where no answer came; of a proxy its place only, which is no secret."""
    proxy = proxy_for(url)
    if not proxy:
        return "is the network up, and the address right"
    place = urlsplit(proxy if "://" in proxy else f"http://{proxy}").netloc.rpartition("@")[2]
    return f"is the proxy {inert(place)} up ({urlsplit(url).scheme}_proxy, no_proxy), and the address right"


def asked_to_wait(headers: Mapping[str, str], now: float) -> float | None:
    """Return for how many seconds upstream asks us to wait; None when it does not say, or says nonsense.

    `RateLimit: "api";r=0;t=55` (https://huggingface.co/docs/hub/rate-limits) or Retry-After in seconds or as a date.
    """
    if (rate := _RATE.search(headers.get("ratelimit", ""))) and rate.group(1) == "0":
        return float(rate.group(2)) + 1
    after = headers.get("retry-after", "").strip()
    if after.isascii() and after.isdecimal():
        return float(after[:12])
    try:
        return max(0.0, parsedate_to_datetime(after).timestamp() - now) if after else None
    except (ValueError, TypeError, OverflowError):
        return None


def _refused(answer: Answer, pause: float, world: World) -> SourceError:
    where = redact(answer.url, world.secrets)
    if answer.status == 429:
        anonymous = world.token is None and urls.origin(answer.url) == urls.origin(world.endpoint)
        hint = "a token raises the limit: set HF_TOKEN" if anonymous else "run the same again after that"
        return RateLimitedError(f"too many requests (429); upstream asks to wait {pause:.0f} s", where=where, hint=hint)
    return SourceError(f"the server is in trouble ({answer.status})", where=where, hint="run the same again later")
