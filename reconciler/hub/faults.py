"""Faults that the embedded hub commits on request: what each kind does to an answer, and when.

    kind          settings (defaults)                    what the caller meets
    status        code (503), retry_after (None)         that status; at the hub with a spent `RateLimit` for 429
    answer        code (200), body, headers              that very answer, whatever was asked
    redirect      location, code (302)                   a redirect to there
    html          -                                      200 with a web page
    truncate      after (half), declare (True)           the body stops, the connection closes; without `declare` no
                                                         Content-Length told how long it should have been
    reset         after (None)                           TCP reset there; None: in place of an answer
    stall         after (half), head (True)              nothing more comes, the connection stays open; without `head`,
                                                         or where no body is due, nothing comes at all
    drip          rate (1 byte/s), after (0), step (1)   from there on, a trickle
    corrupt       offset (the middle)                    the byte at this offset of the file is another one
    expire        after (half) or requests               the signature is good for so many bytes or requests, then 403;
                                                         `cut` (True) also ends the body that crosses the mark
    etag_change   at (the middle)                        the object is replaced by one of the same size, with another
                                                         ETag, when this offset is reached: a body that crosses it is
                                                         cut there, what starts behind it is the other one's
    no_range      -                                      200 and the whole file, whatever range was asked
    wrong_range   shift (1)                              206 with another range than asked
    endless       limit (1 GiB), chunked (True)          the body does not end
    wrong_length  delta (100) or length, twice (False)   a Content-Length that is not true; `twice`: beside the true

Offsets and lengths are in bytes; a `half` is half of the body that was asked. Settings of every kind: `skip` (let so
many matching calls pass first) and `method` ("GET": only those).

A client with several connections may fetch a spoilt part again over another one and never notice (aria2c does); ask
with `times=-1` for what must reach it.
"""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from reconciler.hub.content import serve
from reconciler.hub.repos import Blob
from reconciler.hub.wire import Call, Delivery, Response

PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Please sign in</h1></body></html>\n"

Settings = Mapping[str, Any]


class Effect(NamedTuple):
    """What a fault made of an answer; one that was not `spent` stays for the next call."""

    response: Response
    spent: bool = True
    revoke: str = ""
    """A signature that is not good for another call."""


@dataclass
class Fault:
    """One fault that was asked for, and how often it is still due (-1: for ever)."""

    kind: str
    times: int
    path: str | None
    origin: Literal["hub", "cdn", "any"]
    settings: Settings
    skip: int = 0
    memory: dict[str, int] = field(default_factory=dict)

    def matches(self, call: Call) -> bool:
        """Return whether the fault is meant for this call: origin, method, and part or glob of the decoded path."""
        if not self.times or self.origin not in ("any", call.origin):
            return False
        if self.settings.get("method", call.method) != call.method:
            return False
        path = call.plain_path
        return self.path is None or self.path in path or fnmatch.fnmatchcase(path, f"*{self.path}")


class Faults:
    """The faults that are due, in the order in which they were asked for; the first that matches is committed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: list[Fault] = []
        self.committed = 0
        """How many answers were spoilt."""

    def ask(
        self, kind: str, times: int, path: str | None, origin: Literal["hub", "cdn", "any"], **settings: Any
    ) -> None:
        """Have `kind` happen; raise ValueError for a kind or a setting that does not exist."""
        if kind not in KINDS:
            raise ValueError(f"no fault {kind!r}; there are {', '.join(sorted(KINDS))}")
        unknown = set(settings) - {"skip", "method", *KINDS[kind].settings}
        if unknown:
            raise ValueError(f"fault {kind!r} takes no {', '.join(sorted(unknown))}")
        fault = Fault(kind, times, path, origin, settings, settings.get("skip", 0))
        with self._lock:
            self._due.append(fault)

    def clear(self) -> None:
        """Forget every fault."""
        with self._lock:
            self._due.clear()

    def commit(self, call: Call, response: Response, *, bodies: bool | None = None) -> Effect:
        """Return what becomes of `response`. `bodies`: only kinds that spoil bodies (True), or only others (False)."""
        with self._lock:
            for fault in self._due:
                if not fault.matches(call):
                    continue
                kind = KINDS[fault.kind]
                if bodies is not None and bodies != kind.body_only:
                    continue
                is_body = (call.method == "GET" or response.stream is not None) and response.status in (200, 206)
                if kind.body_only and not is_body:
                    continue
                memory = dict(fault.memory) if fault.skip else fault.memory
                effect = kind.effect(call, response, fault.settings, memory)
                if effect is None:
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                if effect.spent:
                    fault.times -= fault.times > 0
                    self.committed += 1
                return effect
        return Effect(response, spent=False)


def _status(call: Call, _: Response, settings: Settings, memory: dict[str, int]) -> Effect:
    code, wait = int(settings.get("code", 503)), settings.get("retry_after")
    headers = {"Content-Type": "text/plain"}
    if wait is not None:
        headers["Retry-After"] = str(wait)
    if code == 429 and call.origin == "hub":
        policy = "api" if call.path.startswith("/api/") else "resolvers"
        headers["RateLimit"] = f'"{policy}";r=0;t={wait if isinstance(wait, int) else 1}'
    return Effect(Response(code, tuple(headers.items()), Blob(b"This was asked for.\n")))


def _answer(call: Call, _: Response, settings: Settings, memory: dict[str, int]) -> Effect:
    headers = {"Content-Type": "application/json", **settings.get("headers", {})}
    return Effect(Response(int(settings.get("code", 200)), tuple(headers.items()), Blob(settings.get("body", b""))))


def _redirect(call: Call, _: Response, settings: Settings, memory: dict[str, int]) -> Effect:
    return Effect(Response(int(settings.get("code", 302)), (("Location", str(settings["location"])),)))


def _html(call: Call, _: Response, settings: Settings, memory: dict[str, int]) -> Effect:
    return Effect(Response(200, (("Content-Type", "text/html; charset=utf-8"),), Blob(PAGE)))


def _truncate(call: Call, response: Response, settings: Settings, memory: dict[str, int]) -> Effect:
    delivery = Delivery(after=_after(response, settings), length=None if settings.get("declare", True) else -1)
    return Effect(replace(response, delivery=delivery))


def _reset(call: Call, response: Response, settings: Settings, memory: dict[str, int]) -> Effect:
    after = settings.get("after")
    return Effect(replace(response, delivery=Delivery(after=int(after or 0), then="reset", mute=after is None)))


def _stall(call: Call, response: Response, settings: Settings, memory: dict[str, int]) -> Effect:
    delivery = Delivery(after=_after(response, settings), then="stall", mute=not settings.get("head", True))
    return Effect(replace(response, delivery=delivery))


def _drip(call: Call, response: Response, settings: Settings, memory: dict[str, int]) -> Effect:
    rate, step = float(settings.get("rate", 1.0)), int(settings.get("step", 1))
    return Effect(replace(response, delivery=Delivery(rate=rate, step=step, rush=int(settings.get("after", 0)))))


def _corrupt(call: Call, response: Response, settings: Settings, memory: dict[str, int]) -> Effect | None:
    offset = int(settings.get("offset", response.blob.size // 2))
    if not response.start <= offset < response.end:
        return None

    def flip(position: int, data: bytes) -> bytes:
        if not position <= offset < position + len(data):
            return data
        changed = bytearray(data)
        changed[offset - position] ^= 0xFF
        return bytes(changed)

    return Effect(replace(response, delivery=Delivery(alter=flip)))


def _expire(call: Call, response: Response, settings: Settings, memory: dict[str, int]) -> Effect | None:
    signature = call.query.get("Signature") or call.query.get("X-Amz-Signature", "")
    if not signature:
        return None
    if "requests" in settings:
        memory[signature] = memory.get(signature, 0) + 1
        last = memory[signature] >= int(settings["requests"])
        return Effect(response, spent=last, revoke=signature if last else "")
    mark = int(settings.get("after", response.blob.size // 2))
    before = memory.get(signature, 0)
    memory[signature] = before + response.end - response.start
    if memory[signature] <= mark:
        return Effect(response, spent=False)
    if settings.get("cut", True):
        response = replace(response, delivery=Delivery(after=max(0, mark - before)))
    return Effect(response, revoke=signature)


def _etag_change(call: Call, response: Response, settings: Settings, memory: dict[str, int]) -> Effect | None:
    at = int(settings.get("at", response.blob.size // 2))
    etag = "".join(f"{15 - int(digit, 16):x}" for digit in (response.header("ETag") or "").strip('"'))
    if call.headers.get("if-range") != f'"{etag}"':
        if response.end <= at:
            return None
        if response.start < at:
            return Effect(replace(response, delivery=Delivery(after=at - response.start)), spent=False)
    headers = {name: value for name, value in response.headers if name != "Content-Range"}
    other = serve(call, response.blob, etag, headers)
    return Effect(replace(other, delivery=Delivery(alter=lambda _, data: bytes(data).translate(_INVERTED))))


def _no_range(call: Call, response: Response, settings: Settings, memory: dict[str, int]) -> Effect | None:
    if "range" not in call.headers:
        return None
    whole = _whole(response)
    return Effect(replace(whole, headers=tuple(row for row in whole.headers if row[0] != "Accept-Ranges")))


def _wrong_range(call: Call, response: Response, settings: Settings, memory: dict[str, int]) -> Effect | None:
    if response.status != 206:
        return None
    shift = int(settings.get("shift", 1))
    if response.end + shift > response.blob.size:
        shift = -min(shift, response.start)
    if not shift:
        return None
    start, stop = response.start + shift, response.end + shift
    told = _with(response, "Content-Range", f"bytes {start}-{stop - 1}/{response.blob.size}")
    return Effect(replace(response, headers=told, start=start, stop=stop))


def _endless(call: Call, response: Response, settings: Settings, memory: dict[str, int]) -> Effect:
    limit, chunked = int(settings.get("limit", 1 << 30)), bool(settings.get("chunked", True))
    return Effect(replace(response, delivery=Delivery(endless=limit, length=-1, chunked=chunked)))


def _wrong_length(call: Call, response: Response, settings: Settings, memory: dict[str, int]) -> Effect:
    true = response.end - response.start
    length = int(settings.get("length", true + int(settings.get("delta", 100))))
    if settings.get("twice"):
        return Effect(replace(response, headers=(*response.headers, ("Content-Length", str(length)))))
    return Effect(replace(response, delivery=Delivery(length=max(0, length), after=min(true, max(0, length)))))


class Kind(NamedTuple):
    """A kind of fault: its effect (None: nothing to spoil here), its settings, and whether it spoils bodies only."""

    effect: Callable[[Call, Response, Settings, dict[str, int]], Effect | None]
    settings: tuple[str, ...] = ()
    body_only: bool = True


KINDS: dict[str, Kind] = {
    "status": Kind(_status, ("code", "retry_after"), body_only=False),
    "answer": Kind(_answer, ("code", "body", "headers"), body_only=False),
    "redirect": Kind(_redirect, ("location", "code"), body_only=False),
    "html": Kind(_html, (), body_only=False),
    "truncate": Kind(_truncate, ("after", "declare")),
    "reset": Kind(_reset, ("after",), body_only=False),
    "stall": Kind(_stall, ("after", "head"), body_only=False),
    "drip": Kind(_drip, ("rate", "after", "step")),
    "corrupt": Kind(_corrupt, ("offset",)),
    "expire": Kind(_expire, ("after", "requests", "cut")),
    "etag_change": Kind(_etag_change, ("at",)),
    "no_range": Kind(_no_range),
    "wrong_range": Kind(_wrong_range, ("shift",)),
    "endless": Kind(_endless, ("limit", "chunked")),
    "wrong_length": Kind(_wrong_length, ("delta", "length", "twice")),
}

_INVERTED = bytes(255 - value for value in range(256))


def _after(response: Response, settings: Settings) -> int:
    return int(settings.get("after", (response.end - response.start) // 2))


def _whole(response: Response) -> Response:
    headers = tuple(row for row in response.headers if row[0] != "Content-Range")
    return replace(response, status=200, headers=headers, start=0, stop=None)


def _with(response: Response, name: str, value: str) -> tuple[tuple[str, str], ...]:
    return tuple((key, value if key == name else old) for key, old in response.headers)
