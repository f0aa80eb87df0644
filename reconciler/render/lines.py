"""What every rendering of a step shares: symbol, rank, size, where bytes come from, what changes. Pure."""

from __future__ import annotations

import json
import posixpath
import re
import textwrap
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from reconciler.inert import human_bytes, inert, short_revision
from reconciler.plan import Action, Facts, FileRow, Step

SYMBOLS: Mapping[Action, str] = {
    Action.REMOVE: "-",
    Action.PRUNE: "x",
    Action.DOWNLOAD: "+",
    Action.NORMALIZE: "~",
    Action.KEEP: "=",
}
BLOCKED = "!"

_RED, _YELLOW, _GREEN, _CYAN, _DIM, _BOLD = "31", "33", "32", "36", "2", "1"
COLOURS: Mapping[Action, str] = {
    Action.REMOVE: _RED,
    Action.PRUNE: _RED,
    Action.DOWNLOAD: _GREEN,
    Action.NORMALIZE: _CYAN,
    Action.KEEP: _DIM,
}

_COMMAND = re.compile(r"(?<!\S)::")
_HASH = re.compile(r"(?<![0-9a-f])(?:[0-9a-f]{40}|[0-9a-f]{64})(?![0-9a-f])")
_SCALARS = ("source", "revision", "format", "quant", "path", "backend", "served_as", "license", "support", "protect")
_SIZE = re.compile(r"(\d) ((?:[KMGTP]i)?B)\b")
_DETECTED = ("format", "quant")


class Change(NamedTuple):
    """One attribute that a step changes, as people read it."""

    name: str
    old: str
    new: str


def name(text: str) -> str:
    """Return a name that is safe in a terminal and in a log: inert, and no command to a runner that reads the log.

    A runner acts on `##[` wherever it stands in a line, and on `::` where a line begins with it.
    """
    shown = inert(text)
    if "##[" in shown:
        shown = shown.replace("##[", "#\\x23[")
    return unled(shown) if "::" in shown else shown


def unled(text: str) -> str:
    """Return a line of which no word begins with `::`, wherever it may be broken."""
    return _COMMAND.sub(r"\\x3a:", text)


def is_destructive(step: Step) -> bool:
    """Whether bytes of ours leave their place."""
    return (
        step.action is Action.REMOVE
        or step.action is Action.PRUNE
        or bool(step.trash)
        or step.bytes.trash > 0
        or any(row.replaces for row in step.files)
    )


def rank(step: Step) -> int:
    """Return the place of a step among its neighbours: what destroys first, what is blocked last, what stays after."""
    if step.action is Action.KEEP and step.blocked is None:
        return 6
    if step.blocked is not None:
        return 5
    if step.action is Action.REMOVE:
        return 0
    if step.action is Action.PRUNE:
        return 1
    if is_destructive(step):
        return 2
    return 3 if step.action is Action.DOWNLOAD else 4


def symbol(step: Step) -> str:
    """Return the one or two characters that stand for a step; a leading `-` says that bytes of ours leave."""
    if step.blocked is not None:
        return BLOCKED
    plain = SYMBOLS[step.action]
    return f"-{plain}" if step.action in (Action.DOWNLOAD, Action.NORMALIZE) and is_destructive(step) else plain


def colour_of(step: Step) -> str:
    """Return the ANSI code of a step."""
    if step.blocked is not None:
        return _YELLOW
    return _RED if is_destructive(step) else COLOURS[step.action]


def paint(text: str, code: str, colour: bool) -> str:
    """Return `text` in a colour (an ANSI code such as `31`), or as it is."""
    return f"\x1b[{code}m{text}\x1b[0m" if colour and text and code else text


def size(step: Step) -> int:
    """Return the bytes that a step is about: those that come, are reused or adopted, or those that leave."""
    if step.action is Action.DOWNLOAD:
        return step.bytes.download
    if step.action in (Action.REMOVE, Action.PRUNE):
        return step.bytes.trash
    moved = step.bytes.reuse + step.bytes.download  # a picture beside a model may come with it
    if step.action is Action.NORMALIZE and (moved or step.before is not None):
        return moved
    return sum(row.size for row in step.files)


def movement(step: Step) -> str:
    """Return `from -> to` of a step, inert; '' when there is nothing to say."""
    if step.action in (Action.REMOVE, Action.PRUNE):
        return _departure(step)
    here = (step.after or step.before or Facts()).path or ""
    if step.action is Action.DOWNLOAD:
        text = _arrow(_source(step), here)
    elif step.renamed_from is not None:
        text = f"{name(str(step.renamed_from))} -> {name(str(step.address))}"
    else:
        text = _arrow(_origin(step.files), here)
    return text


def leaving(step: Step) -> str:
    """Return what a step that brings bytes puts into the trash, in brackets; '' for nothing."""
    if step.action in (Action.REMOVE, Action.PRUNE) or not step.bytes.trash:
        return ""
    return f"({human_bytes(step.bytes.trash)} to trash)"


def arrow(old: str, new: str, width: int | None) -> str:
    """Return `old -> new` in at most `width` columns; what one side does not need the other may have."""
    if width is None or cells(old) + cells(new) + 4 <= width:
        return f"{old} -> {new}"
    room = max(width - 4, 2)
    left = max(room // 2, room - cells(new))
    old = shorten(old, left)
    return f"{old} -> {shorten(new, room - cells(old))}"


def fit(text: str, width: int | None) -> str:
    """Return `text` in at most `width` columns; of `from -> to` both ends stay."""
    old, way, new = text.partition(" -> ")
    return arrow(old, new, width) if way else shorten(text, width)


def changes(step: Step) -> Iterator[Change]:
    """Yield the attributes that differ between before and after; nothing where either is absent."""
    before, after = step.before, step.after
    if before is None or after is None or before == after:
        return
    for field in _SCALARS:
        old, new = getattr(before, field), getattr(after, field)
        if new is None and field in _DETECTED and step.action is Action.DOWNLOAD:
            continue  # nobody knows before the bytes are here
        if old != new:
            yield _change(field, old, new)
    for role in sorted(before.roles.keys() | after.roles.keys()):
        if before.roles.get(role) != after.roles.get(role):
            yield _change(f"roles.{role}", before.roles.get(role), after.roles.get(role))
    for field in ("metadata", "modelfile"):
        old, new = getattr(before, field), getattr(after, field)
        if old != new:
            yield from _nested({field: old}, {field: new})
    if before.told != after.told:
        yield from _nested(before.told, after.told)


def cells(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )


def pad(text: str, width: int) -> str:
    """Return `text` filled with spaces up to `width` columns."""
    return text + " " * (width - cells(text))


def shorten(text: str, width: int | None) -> str:
    """Return `text` in at most `width` columns, cut in the middle: both ends of a name tell it apart."""
    if width is None or cells(text) <= width:
        return text
    if width <= 5:
        return _head(text, width)
    tail = (width - 3) * 3 // 5
    return f"{_head(text, width - 3 - tail)}...{_head(text[::-1], tail)[::-1]}"


def folded(text: str, width: int | None, indent: str = "", *, cut: bool = True) -> list[str]:
    """Return `text` in lines of at most `width` columns, broken at words where it can be; later lines are indented.

    Without `cut` a word that is longer stays whole, such as a path that people copy: the terminal goes on with it.
    """
    if width is None or cells(text) <= width:
        return [text]
    kept = _SIZE.sub("\\1\u00a0\\2", text)  # textwrap breaks at plain spaces only
    room = max(width, len(indent) + 10)
    parts = textwrap.wrap(kept, room, subsequent_indent=indent, break_on_hyphens=False, break_long_words=cut)
    return [unled(part.replace("\u00a0", " ")) for part in parts]  # a long word may have been broken before `::`


def counted(number: int, noun: str) -> str:
    """Return `1 file`, `2 files`, `3 entries`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun[:-1]}ies" if noun.endswith("y") else f"{number} {noun}s"


def base(path: str) -> str:
    """Return the last part of a path of any system."""
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def _departure(step: Step) -> str:
    rows = step.trash or step.files
    here = step.before.path if step.before is not None and step.before.path else rows[0].path if rows else ""
    if not here:
        return ""
    more = f" and {len(rows) - 1} more" if len(rows) > 1 and (step.before is None or not step.before.path) else ""
    if rows or step.bytes.trash:
        return f"{name(here)}{more} -> trash"
    alone = step.action is Action.REMOVE and (step.links or step.notes)
    return f"{name(here)} (the name alone; its bytes are shared)" if alone else name(here)


def _source(step: Step) -> str:
    after = step.after
    if after is None or not after.source:
        return ""
    if after.revision and step.before is None and after.revision not in after.source:
        return f"{after.source.partition('@')[0]}@{short_revision(after.revision)}"
    return after.source


def _origin(files: tuple[FileRow, ...]) -> str:
    rows = [row for row in files if row.origin]
    if len(rows) < 2:
        return rows[0].origin if rows else ""
    folders = [posixpath.dirname(row.origin) for row in rows]
    # Small files are often the same in many models, and come from anywhere: the largest one says where the model is.
    largest = max(rows, key=lambda row: row.size).origin
    return posixpath.commonpath(folders) or posixpath.dirname(largest) or largest


def _arrow(start: str, end: str) -> str:
    return " -> ".join(name(part) for part in (start, end) if part)


def _change(field: str, old: Any, new: Any) -> Change:
    short_old, short_new = _short(old, 7), _short(new, 7)
    if short_old == short_new:
        short_old, short_new = _short(old, 64), _short(new, 64)
    return Change(name(field), short_old, short_new)


def _short(value: Any, digits: int) -> str:
    if value is None:
        return "(none)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (Mapping, list, tuple)) and not value:
        return "(empty)"
    if isinstance(value, (Mapping, list, tuple)):
        value = json.dumps(value, ensure_ascii=False, default=str)
    text = name(_HASH.sub(lambda found: found[0][:digits], str(value)))
    return shorten(text, 120) or '""'


def _nested(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    """Yield what differs inside one record's nested values, each under its dotted path."""
    from deepdiff import DeepDiff
    from deepdiff.helper import NotPresent

    found = DeepDiff(before, after, view="tree", verbose_level=2, threshold_to_diff_deeper=0)
    rows = []
    for items in found.values():
        for item in items:
            path = ".".join(str(part) for part in item.path(output_format="list"))
            sides = [None if isinstance(side, NotPresent) else side for side in (item.t1, item.t2)]
            rows.append(_change(path, *sides))
    yield from sorted(rows)


def _head(text: str, width: int) -> str:
    if text.isascii():
        return text[:width]
    taken = 0
    for position, each in enumerate(text):
        taken += cells(each)
        if taken > width:
            return text[:position]
    return text
