"""What the demo did: one step for each command, with what was checked. Values, and their JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Check(NamedTuple):
    """One promise that the demo looked into."""

    claim: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One command that ran, or one thing that the demo did in its place; `exit` is None where nothing ran."""

    title: str
    command: str
    exit: int | None
    seconds: float
    checks: tuple[Check, ...] = ()
    output: str = ""
    """What it printed, where the output was not shown."""


class Account(NamedTuple):
    """The whole demo; `directory` is where its world still is, None when nothing was left."""

    steps: tuple[Step, ...]
    chapters: int
    seconds: float
    directory: str | None = None

    @property
    def ok(self) -> bool:
        """Whether every check held."""
        return all(check.ok for step in self.steps for check in step.checks)

    @property
    def checks(self) -> int:
        """How many checks were made."""
        return sum(len(step.checks) for step in self.steps)


def to_json(account: Account) -> dict[str, Any]:
    """Return the account as programs read it; a step whose check failed holds its output too."""
    return {
        "steps": [_step(step) for step in account.steps],
        "ok": account.ok,
        "seconds": round(account.seconds, 1),
        "directory": account.directory,
    }


def _step(step: Step) -> dict[str, Any]:
    told: dict[str, Any] = {
        "title": step.title,
        "command": step.command,
        "exit": step.exit,
        "seconds": round(step.seconds, 2),
        "checks": _checks(step.checks),
    }
    return told if all(check.ok for check in step.checks) else {**told, "output": step.output}


def _checks(checks: Sequence[Check]) -> list[dict[str, Any]]:
    return [check._asdict() for check in checks]
