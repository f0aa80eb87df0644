"""The Hub: is there a token, does the endpoint answer, does it know the token, and do the clocks agree."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from reconciler.doctor import civitai
from reconciler.doctor.checks import Check, guarded
from reconciler.errors import ReconcilerError, SourceError
from reconciler.inert import human_seconds

if TYPE_CHECKING:
    from reconciler.settings import Settings
    from reconciler.sources.patience import Answer
    from reconciler.sources.world import World

_TIMEOUT = 3.0
"""Seconds for a connection, and again for an answer."""
DEADLINE = 8.0
"""Seconds for everything, looking the name up included: no timeout of a socket covers that."""
_SKEW = 300.0
"""Seconds by which clocks may differ; signed URLs are good from 15 minutes to an hour."""


def examine(
    environ: Mapping[str, str], chosen: Settings | None, *, offline: bool, clock: Callable[[], float]
) -> Iterator[Check]:
    """Yield what can be said of the Hub; with `offline` (or HF_HUB_OFFLINE) nobody is asked.

    `chosen` is None when the settings cannot be read.
    """
    warnings: list[str] = []
    worlds: list[World] = []
    yield from guarded("hub", lambda: _world(environ, chosen, warnings, worlds))
    if not worlds:
        return
    world = worlds[0]
    yield from _token(world, chosen.origins["token"] if chosen else "", warnings)
    yield from civitai.examine(world, chosen.origins["civitai_token"] if chosen else "", offline=offline)
    if offline or world.offline:
        why = "--offline" if offline else "HF_HUB_OFFLINE is set"
        yield Check("endpoint", "ok", f"{world.endpoint} was not asked ({why})")
        return
    yield from _asked(world, clock)


def _world(
    environ: Mapping[str, str], chosen: Settings | None, warnings: list[str], worlds: list[World]
) -> Iterable[Check]:
    from reconciler.sources import World

    file = chosen.civitai_token_file if chosen else None
    world = World.from_environment(environ, warn=warnings.append, civitai_file=file)
    worlds.append(replace(world, endpoint=chosen.endpoint, civitai=chosen.civitai_endpoint) if chosen else world)
    return ()


def _token(world: World, origin: str, warnings: list[str]) -> Iterator[Check]:
    for warning in warnings:
        what, _, hint = warning.partition("; ")
        yield Check("token", "warning", what, hint)
    if world.token is None:
        yield Check("token", "ok", "not set: public repositories only, at the lower rate limit (set HF_TOKEN for more)")
        return
    yield Check("token", "ok", f"set, from {origin}" if origin else "set")


def _asked(world: World, clock: Callable[[], float]) -> Iterator[Check]:
    try:
        answer = within(DEADLINE, lambda: _ask(world))
    except ReconcilerError as error:
        problem = error.problems[0]
        yield Check("endpoint", "problem", f"{world.endpoint}: {problem.summary}", problem.hint)
        return
    yield Check("endpoint", "ok", f"{world.endpoint} answers")
    yield clocks(answer.headers.get("date", ""), clock())
    if world.token is not None:
        yield _whoami(answer, world)


def _ask(world: World) -> Answer:
    """Ask who we are: the one question that tells reachability, time and token at once."""
    from reconciler.sources import wire

    world = replace(world, timeout=_TIMEOUT, patience=0.0)
    headers = {"Authorization": f"Bearer {world.token.reveal()}"} if world.token else {}
    return wire.send("GET", f"{world.endpoint}/api/whoami-v2", world, headers, limit=1 << 16)


def within(seconds: float, ask: Callable[[], Answer]) -> Answer:
    """Return `ask()`; raise SourceError when it takes longer, whatever it hangs in."""
    answers: queue.SimpleQueue[Answer | BaseException] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put(ask())
        except BaseException as error:
            answers.put(error)

    threading.Thread(target=work, daemon=True, name="doctor").start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        hint = "is the network up, and does the name server answer?"
        raise SourceError(f"no answer within {seconds:.0f} s", hint=hint) from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def clocks(date: str, now: float) -> Check:
    """Compare an HTTP date with our own clock (unix seconds). Pure."""
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return Check("clock", "warning", "the endpoint does not say what time it is", "compare the clock yourself")
    ahead = now - theirs
    way = "ahead of" if ahead > 0 else "behind"
    if abs(ahead) > _SKEW:
        told = f"{human_seconds(abs(ahead))} {way} the endpoint's: signed URLs and certificates will look expired"
        return Check("clock", "problem", told, "set the clock, and let the system keep it (`timedatectl set-ntp true`)")
    return Check("clock", "ok", "agrees with the endpoint's")


def _whoami(answer: Answer, world: World) -> Check:
    if answer.status == 200:
        try:
            name = json.loads(answer.body)["name"]
        except (ValueError, TypeError, KeyError, RecursionError):
            name = None
        if isinstance(name, str):
            return Check("whoami", "ok", f"the endpoint knows the token as {name[:100]!r}")
        return Check("whoami", "warning", "the endpoint's answer is not what we understand", "is it a Hub?")
    if answer.status in (401, 403):
        hint = f"make a new one at {world.endpoint}/settings/tokens and put it into HF_TOKEN"
        return Check("whoami", "problem", "the endpoint does not accept the token", hint)
    return Check(
        "whoami", "warning", f"the endpoint cannot say whose the token is ({answer.status})", "is it a mirror?"
    )
