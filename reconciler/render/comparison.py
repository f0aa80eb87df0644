"""The differences of two manifests as text and as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reconciler.inert import human_bytes, inert_markdown
from reconciler.render.lines import counted, name, paint, shorten
from reconciler.yamlwrite import flow

if TYPE_CHECKING:
    from reconciler.audit.comparing import Change

_MARKS = {"added": ("+", "32"), "removed": ("-", "31"), "renamed": ("~", "36"), "changed": ("~", "36")}
_TITLES = {"variants": "variant", "locations": "location", "roles": "role"}
_LONGEST = 120
_ROOM = 60_000
"""Characters of a comment."""


def comparison_text(changes: Sequence[Change], totals: Mapping[str, int], *, colour: bool) -> Iterator[str]:
    """Yield one line for each entry, and one for each of its fields that differs."""
    for change in changes:
        mark, code = _MARKS[change.kind]
        what = f"{_TITLES[change.section]} {change.name}" if change.section in _TITLES else change.section
        line = f"{mark} {what}"
        if change.was:
            line = f"{mark} variant {change.was} -> {change.name}"
        yield paint(name(line) + _moved(change), code, colour)
        for field in change.fields:
            yield f"    {name(field.name)}: {_way(change.kind, field.old, field.new)}"
    if changes:
        yield ""
    yield comparison_summary(totals) if changes else "Both mean the same."


def comparison_summary(totals: Mapping[str, int]) -> str:
    """Return the counts in one line."""
    said = ", ".join(f"{totals[kind]} {kind}" for kind in ("added", "removed", "renamed", "changed"))
    more = f", {counted(totals['other'], 'other change')}" if totals["other"] else ""
    sizes = f"{human_bytes(totals['bytes_added'])} new, {human_bytes(totals['bytes_removed'])} gone"
    return f"Variants: {said}{more}; {sizes}."


def comparison_markdown(changes: Sequence[Change], totals: Mapping[str, int], *, limit: int = _ROOM) -> str:
    """Return the differences for a comment of at most `limit` characters."""
    if not changes:
        return "Both mean the same.\n"
    head = f"{comparison_summary(totals)}\n\n| | what | fields | new | gone |\n|---|---|---|---|---|\n"
    rows: list[str] = []
    room = limit - len(head) - 60
    for number, change in enumerate(changes):
        row = _row(change)
        if len(row) > room:
            rows.append(f"\n{len(changes) - number} more are not shown.\n")
            break
        rows.append(row)
        room -= len(row)
    return head + "".join(rows)


def _row(change: Change) -> str:
    title = change.name if not change.was else f"{change.was} -> {change.name}"
    what = f"{_TITLES.get(change.section, '')} {inert_markdown(shorten(title, 200))}".strip()
    fields = "<br>".join(
        f"{inert_markdown(shorten(field.name, 80))}: {inert_markdown(_way(change.kind, field.old, field.new))}"
        for field in change.fields
    )
    sizes = [human_bytes(size) if size else "" for size in change.bytes[:2]]
    return f"| {change.kind} | {what} | {fields} | {sizes[0]} | {sizes[1]} |\n"


def _moved(change: Change) -> str:
    parts = [
        f"{sign}{human_bytes(size)}" for sign, size in (("+", change.bytes.added), ("-", change.bytes.removed)) if size
    ]
    return f"  ({', '.join(parts)})" if parts else ""


def _way(kind: str, old: Any, new: Any) -> str:
    if kind == "added":
        return _value(new)
    if kind == "removed":
        return _value(old)
    return f"{_value(old)} -> {_value(new)}"


def _value(value: Any) -> str:
    """Return a value as a manifest would say it, on one line."""
    if value is None:
        return "(none)"
    text = value if isinstance(value, str) else flow(value)
    return shorten(name(text), _LONGEST) or '""'
