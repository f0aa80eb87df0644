"""Worlds for tests of sources: a hub on loopback, waits that are noted instead of slept, warnings that are kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.hub.server import Hub
from reconciler.secrets import Secret
from reconciler.sources import Request, World

CANARY = "hf_CANARYcanaryCANARYcanary012345"


@dataclass
class Heard:
    """What a world said, and how long it would have slept."""

    warnings: list[str] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)


def a_world(hub: Hub | str, *, token: str | None = None, heard: Heard | None = None, **more: object) -> World:
    heard = heard or Heard()
    endpoint = hub if isinstance(hub, str) else hub.url
    secret = Secret(token) if token else None
    return World(endpoint, secret, warn=heard.warnings.append, sleep=heard.slept.append, timeout=5.0, **more)  # type: ignore[arg-type]


def ask(source: str, *files: str, **more: object) -> Request:
    return Request("tiny", "workstation.yaml:3:5", source, files, **more)  # type: ignore[arg-type]
