"""The generations of a manifest as people read them: when, what, which plan, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconciler.manifest import Loaded


@dataclass(frozen=True, slots=True)
class Deed:
    """One apply. `problem` says why nobody can tell what it did; everything else is then empty."""

    number: int
    when: float = 0.0
    """Unix seconds."""
    counts: Mapping[str, int] | None = None
    """Action -> steps that were done."""
    ends: Mapping[str, int] | None = None
    """done, failed, skipped, not-started, blocked -> steps."""
    bytes: Mapping[str, int] | None = None
    """received, reused, trash -> bytes."""
    seconds: float = 0.0
    plan_id: str = ""
    result: str = ""
    """`done`, `partly`, `interrupted`, `unreadable`; `running`, or `unfinished` when it was killed."""
    problem: str = ""
    touched: int = 0
    """Variants whose records it made, changed or dropped."""


def deeds(loaded: Loaded) -> list[Deed]:
    """Return what each apply of this manifest did, the newest first; a damaged one is told, and hides no other."""
    from reconciler import generations
    from reconciler.errors import ReconcilerError

    found = []
    for number in generations.listing(loaded.registry):
        try:
            kept = generations.read(loaded.registry, number)
        except ReconcilerError as error:
            found.append(Deed(number, result="unreadable", problem=error.problems[0].summary))
            continue
        if kept.result.get("manifest") == loaded.identity:
            found.append(_deed(number, kept.directory, kept.result))
    known = {deed.number for deed in found}
    return [*(deed for deed in _open(loaded) if deed.number not in known), *found[::-1]]


def _open(loaded: Loaded) -> Iterator[Deed]:
    """Yield the apply of this manifest that has not come to its end: one that runs, or one that was killed."""
    from reconciler import journal
    from reconciler.errors import ReconcilerError
    from reconciler.locking import is_held

    running = is_held(loaded.registry / "lock")
    try:
        for path in journal.unfinished(loaded.registry / "journal"):
            entries, _ = journal.read(path)
            first = entries[0] if entries else {}
            if first.get("manifest") == loaded.identity and isinstance(first.get("generation"), int):
                yield Deed(
                    first["generation"], path.stat().st_mtime, plan_id=str(first.get("plan_id", "")),
                    result="running" if running else "unfinished",
                    problem="" if running else "it was cut off; the next apply finishes it first",
                )  # fmt: skip
    except (ReconcilerError, OSError):
        return  # whoever is about to write tells it


def as_value(deed: Deed) -> dict[str, Any]:
    """Return a deed as programs read it; the time in UTC, ISO 8601."""
    return {
        "generation": deed.number,
        "when": stamp(deed.when) if deed.when else None,
        "result": deed.result,
        "done": dict(deed.counts or {}),
        "steps": dict(deed.ends or {}),
        "bytes": dict(deed.bytes or {}),
        "seconds": deed.seconds,
        "plan_id": deed.plan_id or None,
        "problem": deed.problem or None,
    }


def stamp(when: float) -> str:
    """Return a time as `2026-03-01T12:00:00+00:00`."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(int(when), UTC).isoformat()


def _deed(number: int, directory: Path, result: Mapping[str, Any]) -> Deed:
    receipt = result.get("receipt") or {}
    was_cut = bool(receipt.get("interrupted") or result.get("interrupted"))
    summary = receipt.get("summary") or {"done": result.get("done", 0)}  # of one that was killed no more is known
    counts: dict[str, int] = {}
    for outcome in receipt.get("outcomes") or ():
        if outcome.get("result") == "done":
            counts[outcome["action"]] = counts.get(outcome["action"], 0) + 1
    code = receipt.get("exit_code", 0)
    return Deed(
        number,
        _when(directory, result),
        counts,
        {
            word: summary.get(word.replace("-", "_"), 0)
            for word in ("done", "failed", "skipped", "not-started", "blocked")
        },
        {word: summary.get(f"bytes_{word}", 0) for word in ("received", "reused", "trash")},
        receipt.get("seconds", 0.0),
        str(result.get("plan_id", "")),
        "interrupted" if was_cut else "partly" if code == 5 else "done",
        touched=len(result.get("touched") or ()),
    )


def _when(directory: Path, result: Mapping[str, Any]) -> float:
    """Return when it was done; for those that do not say it, when it was kept, which nobody changes."""
    told = result.get("when")
    if isinstance(told, int | float):
        return float(told)
    try:
        return (directory / "generation.json").stat().st_mtime
    except OSError:
        return 0.0
