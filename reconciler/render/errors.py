"""An error as the user reads it: where, what, and what to try; every problem, never just the first. Pure."""

from __future__ import annotations

from reconciler.errors import ReconcilerError
from reconciler.render.lines import name, paint
from reconciler.secrets import redact


def error_text(error: ReconcilerError, colour: bool = False) -> list[str]:
    """Return the lines of an error: `error: where: summary` and `  hint: …` each, then a count.

    What looks like a secret is left out: an address may be quoted as somebody pasted it.
    """
    shown = []
    for problem in error.problems:
        text = (
            f"{name(redact(problem.where))}: {_inert_lines(problem.summary)}"
            if problem.where
            else _inert_lines(problem.summary)
        )
        shown.append(f"{paint('error:', '1;31', colour)} {text}")
        if problem.hint:
            shown.append(f"  {paint('hint:', '36', colour)} {_inert_lines(problem.hint)}")
    if not error.problems:
        shown.append(f"{paint('error:', '1;31', colour)} {name(type(error).__name__)}")
    if len(error.problems) > 1:
        shown.append(f"{len(error.problems)} problems.")
    return shown


def _inert_lines(text: str) -> str:
    """Return a message in one line, whatever line breaks it came with."""
    return name(redact(" ".join(text.split("\n"))))
