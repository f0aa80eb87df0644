"""Entries of the registry that no manifest manages, told in a line, or one line each. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from reconciler.plan import Plan, Stranger
from reconciler.render.lines import counted, name

_ORDER = (
    "declared", "duplicate", "gone", "unreachable", "logical-only", "placeholder", "deprecated", "none-text",
    "ollama-path",
)  # fmt: skip


def summary(plan: Plan) -> str:
    """Return how many entries are not ours, and what is odd about them; '' when there are none."""
    if not plan.strangers:
        return ""
    count = Counter(word for stranger in plan.strangers for word in stranger.words)
    said = ", ".join(f"{count[word]} {word}" for word in _ORDER if count[word])
    return f"{counted(len(plan.strangers), 'entry')} of the registry not ours{f' ({said})' if said else ''}."


def details(plan: Plan) -> Iterator[str]:
    """Yield a line for every entry that is not ours, inert."""
    for stranger in plan.strangers:
        pairs = zip(stranger.words, stranger.details, strict=True)
        said = "; ".join(f"{word}: {name(detail)}" for word, detail in pairs)
        yield f"{_called(stranger)}: {said or 'nothing odd'}"


def _called(stranger: Stranger) -> str:
    return name(stranger.name) + (" (curated)" if stranger.layer == "curated" else "")
