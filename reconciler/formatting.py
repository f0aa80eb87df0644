"""Give the text of a manifest its one layout: indentation, blank lines, line ends. Words, order and comments stay.

Nothing but white space ever changes, and what was laid out anew is read back: it must say what it said before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from reconciler.errors import ManifestError
from reconciler.inert import inert
from reconciler.yamlread import read

STEP = 2
"""Columns that each level goes in; a list below its key goes in too."""

_BOM = "\ufeff"
_SPACE = re.compile(r"\s+")


class _Shift(NamedTuple):
    """A column as it is, and as it will be."""

    old: int
    new: int


@dataclass(slots=True)
class _Page:
    """What is known of each line, by its number from 0."""

    lines: list[str]
    starts: dict[int, list[_Shift]] = field(default_factory=dict)
    """Where keys, dashes and what follows a dash stand on the line that they begin."""
    around: dict[int, tuple[_Shift, ...]] = field(default_factory=dict)
    """The columns of everything open where a line begins, its own last."""
    inner: dict[int, int] = field(default_factory=dict)
    """Lines that continue a value: by how many columns they move."""
    ends: set[int] = field(default_factory=set)
    """Lines whose end belongs to a text."""
    gaps: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Lines with more than a space behind the colon: from where to where."""


def formatted(text: str, *, where: str = "manifest") -> str:
    """Return a manifest's text in its layout; a text in its layout comes back as it is.

    No byte order mark, a line feed at the end of every line and no other white space before it, two columns a level,
    one blank line where there were several, one space behind a colon unless values stand below each other. Texts of
    several lines keep their inside. Raise ManifestError for what is no YAML of ours, or cannot be laid out safely.
    """
    said = read(text.encode(), where).value
    plain = text.removeprefix(_BOM).replace("\r\n", "\n")
    from reconciler import splicing

    try:
        root = splicing.sheet(plain).root
    except ValueError as error:
        raise _refused(where, str(error)) from None
    page = _Page(plain.split("\n"))
    if root is not None:
        _walk(page, root, 0, ())
    after = "\n".join(_spaced(_laid_out(page)))
    after = after + "\n" if after and not after.endswith("\n") else after
    if _SPACE.sub("", after) != _SPACE.sub("", plain) or not _same(read(after.encode(), where).value, said):
        raise _refused(where, "it would say something else")
    return after


def _refused(where: str, why: str) -> ManifestError:
    hint = "write its sections in block style, one entry a line"
    return ManifestError(f"this file cannot be laid out safely: {inert(why)[:200]}", where=where, hint=hint)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same in the same order, types included."""
    return repr(one) == repr(other)


# -- looking ----------------------------------------------------------------------------------------------------------


def _walk(page: _Page, node: Any, new: int, around: tuple[_Shift, ...]) -> None:
    """Note where everything below a block collection goes, whose own column becomes `new`."""
    if not _is_block(node):
        _note_value(page, node, 0)
        return
    here = _Shift(node.start_mark.column if node.id == "sequence" else node.value[0][0].start_mark.column, new)
    around = (*around, here)
    if node.id == "mapping":
        for key, value in node.value:
            _begin(page, key.start_mark.line, here, around)
            _note_value(page, key, new - here.old)
            if value.start_mark.line > key.end_mark.line and not _is_block(value):
                page.inner.setdefault(value.start_mark.line, new - here.old)
            _below(page, value, here, around)
        _note_gaps(page, node)
        return
    above = node.start_mark.line
    for item in node.value:
        line = _dash(page, above, item.start_mark.line, here.old)
        above = item.end_mark.line
        _begin(page, line, here, around)
        if item.start_mark.line == line and item.start_mark.index != item.end_mark.index and not _is_block(item):
            _begin(page, line, _Shift(item.start_mark.column, new + STEP), around)
        _below(page, item, here, around)


def _below(page: _Page, value: Any, here: _Shift, around: tuple[_Shift, ...]) -> None:
    if _is_block(value):
        _walk(page, value, here.new + STEP, around)
    else:
        _note_value(page, value, here.new - here.old)


def _is_block(node: Any) -> bool:
    return node.id != "scalar" and not node.flow_style and bool(node.value)


def _begin(page: _Page, line: int, shift: _Shift, around: tuple[_Shift, ...]) -> None:
    page.starts.setdefault(line, []).append(shift)
    page.around[line] = around


def _dash(page: _Page, first: int, last: int, column: int) -> int:
    """Return the line of an item's dash, which stands between the end of the item above and its own beginning."""
    for line in range(last, first - 1, -1):
        if page.lines[line][column : column + 1] == "-":
            return line
    return last


def _note_value(page: _Page, node: Any, shift: int) -> None:
    """Note the lines that a scalar, or what stands between brackets, goes on over."""
    first, last = node.start_mark.line, node.end_mark.line
    is_text = node.id == "scalar" and node.style in ("|", ">")
    if is_text and node.end_mark.column == 0:
        last -= 1
    if is_text and "+" not in page.lines[first][node.start_mark.column :].partition("#")[0]:
        while last > first and not page.lines[last].strip():
            last -= 1  # blank lines below a text are its own only where it keeps them
    for line in range(first + 1, last + 1):
        page.inner[line] = shift
    if node.id == "scalar":
        if is_text:
            page.ends.update(range(first + 1, last + 1))
        elif node.style:
            page.ends.update(range(first, last))
        return
    for member in node.value:
        for inner in member if node.id == "mapping" else (member,):
            _note_value(page, inner, shift)


def _note_gaps(page: _Page, mapping: Any) -> None:
    """Note where more than one space stands behind a colon, and values of neighbours do not stand below each other."""
    columns: dict[int, int] = {}
    wide: dict[int, tuple[int, int]] = {}
    for key, value in mapping.value:
        line = key.start_mark.line
        if _is_block(value) or value.start_mark.line != line or value.start_mark.index == value.end_mark.index:
            continue
        colon = page.lines[line].index(":", key.end_mark.column) + 1
        columns[line] = value.start_mark.column
        if page.lines[line][colon : columns[line]] != " ":
            wide[line] = (colon, columns[line])
    for line, gap in wide.items():
        is_aligned = page.lines[line][slice(*gap)].isspace() and "\t" not in page.lines[line][slice(*gap)]
        if not (is_aligned and gap[1] in (columns.get(line - 1), columns.get(line + 1))):
            page.gaps[line] = gap


# -- laying out -------------------------------------------------------------------------------------------------------


def _laid_out(page: _Page) -> list[str | None]:
    """Return every line as it will be; None for a blank one that is nobody's."""
    made: list[str | None] = []
    for number, line in enumerate(page.lines):
        if number in page.starts:
            made.append(_ended(page, number, _started(page, number)))
        elif number in page.inner:
            made.append(_ended(page, number, _shifted(line, page.inner[number])))
        elif not line.strip():
            made.append(None)
        elif line.lstrip().startswith("#"):
            made.append(" " * _comment_column(page, number, made) + line.strip())
        else:
            made.append(line.rstrip())
    return made


def _ended(page: _Page, number: int, line: str) -> str:
    return line if number in page.ends else line.rstrip()


def _shifted(line: str, shift: int) -> str:
    if shift >= 0:
        return " " * shift + line if line else line
    spaces = len(line) - len(line.lstrip(" "))
    return line[min(spaces, -shift) :]


def _started(page: _Page, number: int) -> str:
    """Return a line on which keys or dashes begin, each in its new column."""
    line, starts = page.lines[number], page.starts[number]
    if number in page.gaps:
        begin, end = page.gaps[number]
        line = f"{line[:begin]} {line[end:]}"
    made = " " * starts[0].new
    for here, following in pairwise(starts):
        made += line[here.old : following.old].rstrip().ljust(following.new - here.new)
    return made + line[starts[-1].old :]


def _comment_column(page: _Page, number: int, made: Sequence[str | None]) -> int:
    """Return where a comment on a line of its own goes: with what it stood with, else with what follows it."""
    line = page.lines[number]
    column = len(line) - len(line.lstrip())
    if number and page.lines[number - 1][column : column + 1] == "#" and (above := made[number - 1]) is not None:
        return column + len(above) - len(page.lines[number - 1].rstrip())
    before, after = _around(page, range(number - 1, -1, -1)), _around(page, range(number + 1, len(page.lines)))
    for shift in (*before, *after):
        if shift.old == column:
            return shift.new
    return after[-1].new if after else 0


def _around(page: _Page, lines: Sequence[int]) -> tuple[_Shift, ...]:
    return next((page.around[line] for line in lines if line in page.around), ())


def _spaced(lines: Sequence[str | None]) -> Iterator[str]:
    """Yield the lines with at most one blank between them, none first and none last."""
    blank = False
    begun = False
    for line in lines:
        if line is None:
            blank = begun
            continue
        if blank:
            yield ""
        yield line
        blank, begun = False, True
