"""One thing that was looked at, and how it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from reconciler.errors import ReconcilerError

State = Literal["ok", "warning", "problem"]


class Check(NamedTuple):
    """What was looked at, how it is, what was found, and what to do about it ('' when nothing must be done)."""

    name: str
    state: State
    found: str
    hint: str = ""


def guarded(name: str, examine: Callable[[], Iterable[Check]]) -> list[Check]:
    """Return the checks that `examine` makes; an error of ours becomes one problem for each thing that is wrong."""
    done: list[Check] = []
    try:
        done.extend(examine())
    except ReconcilerError as error:
        for problem in error.problems:
            text = f"{problem.where}: {problem.summary}" if problem.where else problem.summary
            done.append(Check(name, "problem", text, problem.hint))
    return done
