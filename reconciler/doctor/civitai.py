"""Civitai: is there a token, and does Civitai know it. Nobody is asked when there is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.doctor.checks import Check
from reconciler.errors import ReconcilerError
from reconciler.inert import inert

if TYPE_CHECKING:
    from reconciler.sources.world import World

_NAME = "civitai token"
_TIMEOUT = 3.0
"""Seconds for a connection, and again for an answer."""


def examine(world: World, origin: str, *, offline: bool) -> Iterator[Check]:
    """Yield whether a token for Civitai is set, and whether Civitai knows it. `origin` is where it came from."""
    if world.civitai_token is None:
        yield Check(_NAME, "ok", "not set: nothing can be downloaded from Civitai (set CIVITAI_TOKEN for that)")
        return
    yield Check(_NAME, "ok", f"set, from {origin}" if origin else "set")
    if not offline and not world.offline:
        yield _known(world)


def _known(world: World) -> Check:
    """Ask who we are: https://developer.civitai.com/site/guide/authentication."""
    from reconciler.doctor.upstream import DEADLINE, within
    from reconciler.sources import civitaiapi, wire

    url = f"{world.civitai}/api/v1/me"
    hasty = replace(world, timeout=_TIMEOUT, patience=0.0)
    try:
        answer = within(
            DEADLINE, lambda: wire.send("GET", url, hasty, civitaiapi.headers_for(url, world), limit=1 << 16)
        )
    except ReconcilerError as error:
        problem = error.problems[0]
        return Check(_NAME, "problem", f"{world.civitai}: {problem.summary}", problem.hint)
    if answer.status in (401, 403):
        return Check(_NAME, "problem", "Civitai does not accept the token", civitaiapi.token_hint(world))
    try:
        name = json.loads(answer.body)["username"]
    except (ValueError, TypeError, KeyError, RecursionError):
        name = None
    if answer.status == 200 and isinstance(name, str):
        return Check(_NAME, "ok", f"Civitai knows it as {inert(name)[:100]!r}")
    hint = f"is {world.civitai} a Civitai?"
    return Check(_NAME, "warning", f"Civitai cannot say whose the token is ({answer.status})", hint)
