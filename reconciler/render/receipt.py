"""The closing account of an apply, as text and as JSON: what was done and what not, with bytes and time. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconciler.inert import human_bytes, human_seconds
from reconciler.receipt import Outcome, Receipt, Result
from reconciler.render.lines import BLOCKED, SYMBOLS, cells, folded, name, pad, paint, shorten

_SHOWN: tuple[Result, ...] = ("done", "blocked", "not-started", "skipped", "failed")
"""What needs an eye stands last, next to the counts."""
_COLOURS: dict[Result, str] = {"done": "32", "blocked": "33", "not-started": "33", "skipped": "33", "failed": "31"}
_RESULT = len("not started")
_ACTION = len("normalize")
_INDENT = 2 + _RESULT + 2
_BEFORE = _INDENT + 2 + _ACTION + 2
"""Columns before the address."""


def receipt_text(receipt: Receipt, *, width: int | None = None, colour: bool = False) -> Iterator[str]:
    """Yield the lines that close an apply; nothing wraps when `width` is None."""
    widest = max((cells(name(str(outcome.address))) for outcome in receipt.outcomes), default=0)
    longest = max((cells(_rest(outcome)) for outcome in receipt.outcomes), default=0)
    is_folded = width is not None and _BEFORE + widest + 2 + longest > width
    for result in _SHOWN:
        for outcome in receipt.outcomes:
            if outcome.result == result:
                yield from _outcome(outcome, widest, width if is_folded else None, colour)
    if receipt.outcomes:
        yield ""
    yield paint(counts_line(receipt), "1", colour)
    yield from _next(receipt)


def counts_line(receipt: Receipt) -> str:
    """Return the counts, bytes and time of an apply in one line."""
    verb = "Interrupted" if receipt.interrupted else "Apply"
    counts = f"{receipt.done} done, {receipt.failed} failed, {receipt.skipped} skipped"
    counts += f", {receipt.not_started} not started"
    if receipt.blocked:
        counts += f", {receipt.blocked} blocked"
    moved = f"{human_bytes(receipt.received)} received"
    if receipt.received and receipt.seconds >= 1:
        moved += f" ({human_bytes(round(receipt.received / receipt.seconds))}/s)"
    moved += f", {human_bytes(receipt.reused)} reused, {human_bytes(receipt.trashed)} to trash"
    return f"{verb}: {counts}. {moved}, {human_seconds(receipt.seconds)}."


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    """Return an apply's account as programs read it; bytes and seconds are plain numbers."""
    return {
        "plan_id": receipt.plan_id,
        "generation": receipt.generation,
        "exit_code": receipt.exit_code,
        "interrupted": receipt.interrupted,
        "downloader": receipt.downloader,
        "seconds": round(receipt.seconds, 3),
        "summary": {
            "done": receipt.done,
            "failed": receipt.failed,
            "skipped": receipt.skipped,
            "not_started": receipt.not_started,
            "blocked": receipt.blocked,
            "bytes_received": receipt.received,
            "bytes_reused": receipt.reused,
            "bytes_trash": receipt.trashed,
        },
        "outcomes": [outcome_json(outcome) for outcome in receipt.outcomes],
    }


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """Return one step's end as programs read it."""
    value: dict[str, Any] = {
        "address": str(outcome.address),
        "action": outcome.action.value,
        "reason": outcome.reason,
        "result": outcome.result,
        "bytes": {"received": outcome.received, "reused": outcome.reused, "trash": outcome.trashed},
        "seconds": round(outcome.seconds, 3),
    }
    if outcome.error:
        value["error"] = outcome.error
    if outcome.hint:
        value["hint"] = outcome.hint
    return value


def _rest(outcome: Outcome) -> str:
    parts = [name(outcome.reason)]
    if outcome.received:
        parts.append(f"{human_bytes(outcome.received)} received")
    if outcome.reused:
        parts.append(f"{human_bytes(outcome.reused)} reused")
    if outcome.trashed:
        parts.append(f"{human_bytes(outcome.trashed)} to trash")
    if outcome.seconds >= 0.05:
        parts.append(human_seconds(outcome.seconds))
    return ", ".join(part for part in parts if part)


def _outcome(outcome: Outcome, widest: int, width: int | None, colour: bool) -> Iterator[str]:
    """Yield a step's end: result, symbol, action, address, reason, bytes, time; in two lines where `width` is given."""
    mark = BLOCKED if outcome.result == "blocked" else SYMBOLS[outcome.action]
    result = paint(f"{outcome.result.replace('-', ' '):<{_RESULT}}", _COLOURS[outcome.result], colour)
    start, address = f"  {result}  {mark} {outcome.action.value:<{_ACTION}}", name(str(outcome.address))
    if width is None:
        yield f"{start}  {pad(address, widest)}  {_rest(outcome)}".rstrip()
    elif _BEFORE + cells(address) + 2 + cells(_rest(outcome)) <= width:
        yield f"{start}  {address}  {_rest(outcome)}"
    else:
        yield f"{start}  {shorten(address, max(width - _BEFORE, 12))}"
        yield from (" " * _BEFORE + part for part in folded(_rest(outcome), max(width - _BEFORE, 12)))
    label = "blocked" if outcome.result == "blocked" else "error"
    if outcome.error:
        yield " " * _BEFORE + paint(f"{label}: {name(outcome.error)}", _COLOURS[outcome.result], colour)
    if outcome.hint:
        yield " " * _BEFORE + f"hint: {name(outcome.hint)}"


def _next(receipt: Receipt) -> Iterator[str]:
    """Yield what the user can do from here."""
    if receipt.downloader:
        yield f"Downloaded with {name(receipt.downloader)}."
    if receipt.exit_code in (5, 130):
        yield "Run `reconciler apply` again: it goes on where this one stopped."
    if receipt.generation is not None:
        yield f"Recorded as generation {receipt.generation}; `reconciler undo` plans the way back."
