"""`reconciler doctor`: look for what would make a plan or an apply fail."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from reconciler.cli import session

if TYPE_CHECKING:
    from reconciler.doctor import Check
    from reconciler.settings import Settings


def command(manifest: session.Manifest = None, json: session.Json = False, offline: session.Offline = False) -> int:
    """Check this machine, the Hub, the registry and every location.

    Writes nothing. Without a manifest only the machine is looked at. A token's value is never shown.

    \b
    Examples:
      reconciler doctor
      reconciler doctor workstation.yaml --offline
      reconciler doctor --json

    \b
    Exit codes: 0 no problem (there may be warnings); 1 a problem.
    """
    from reconciler.doctor import examine

    checks = tuple(examine(manifest, os.environ, offline=offline))
    counts = {state: sum(check.state == state for check in checks) for state in ("ok", "warning", "problem")}
    if json:
        session.say_json({"checks": [check._asdict() for check in checks], "summary": counts})
    else:
        session.say(_text(checks, counts["problem"], counts["warning"]))
    return 1 if counts["problem"] else 0


def _text(checks: Sequence[Check], problems: int, warnings: int) -> Iterator[str]:
    from reconciler.render.lines import counted, name, paint
    from reconciler.render.tables import table

    colour = _colour()
    rows = [(check.state, check.name, check.found) for check in checks]
    yield from table(rows, ("state", "check", "found"), width=session.width(), colour=colour, folds="found")
    yield ""
    for check in checks:
        if check.hint and check.state != "ok":
            code = "1;31" if check.state == "problem" else "33"
            yield f"{paint(f'{check.state}:', code, colour)} {name(check.name)}: {name(check.found)}"
            yield f"  {paint('hint:', '36', colour)} {name(check.hint)}"
    yield f"{counted(problems, 'problem')}, {counted(warnings, 'warning')}." if problems + warnings else "All is well."


def _colour() -> bool:
    """Whether to write colours; settings that cannot be read are one of the things to tell, not a reason to stop."""
    from reconciler.errors import InputError

    try:
        chosen: Settings = session.settings()
    except InputError:
        return False
    return session.colour(chosen)
