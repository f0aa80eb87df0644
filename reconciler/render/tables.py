"""Rows and columns for `list`, `status`, `roles`, `verify`, `doctor` and `config`: aligned, inert, no boxes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from reconciler.render.lines import cells, folded, name, pad, paint, shorten

_GAP = 2
_LEAST = 6
"""A column is never cut below this."""
_FEW = 14
"""To this width a column gives way to the names of the rows."""


def table(
    rows: Iterable[Sequence[object]],
    headers: Sequence[str],
    *,
    width: int | None,
    colour: bool,
    folds: str = "",
    names: str = "",
    spare: Sequence[str] = (),
) -> Iterator[str]:
    """Yield a header and the rows, columns aligned; numbers to the right; cut to `width`, whole when it is None.

    None is shown as nothing. Every cell is shown inert. What stands in the column `folds` is folded and never cut.
    Where there is not enough room, the columns `spare` are left out, one after the other, and then `names`, by which
    rows are told apart, is cut last.
    """
    body = [[_cell(value) for value in row] for row in rows]
    widths = [max([cells(header), *(cells(row[column]) for row in body)]) for column, header in enumerate(headers)]
    if width is not None:
        kept = _kept(headers, widths, width, spare)
        body = [[row[column] for column in kept] for row in body]
        headers, widths = [headers[column] for column in kept], [widths[column] for column in kept]
        widths = _narrowed(widths, width, headers.index(names) if names else None)
    right = [_is_numeric(body, column) for column in range(len(headers))]
    yield paint(_line(headers, widths, right, width), "1", colour)
    for row in body:
        for line in _unfolded(row, headers, widths, width, folds):
            yield _line(line, widths, right, width)


def _unfolded(
    row: Sequence[str], headers: Sequence[str], widths: Sequence[int], width: int | None, folds: str
) -> Iterator[Sequence[str]]:
    """Yield the lines of a row: one, unless the column that folds has too much for its room."""
    if width is None or folds not in headers:
        yield row
        return
    column = headers.index(folds)
    first, *more = folded(row[column], widths[column])
    yield [*row[:column], first, *row[column + 1 :]]
    for part in more:
        yield ["" if position != column else part for position in range(len(row))]


def _cell(value: object) -> str:
    return "" if value is None else name(str(value))


def _is_numeric(body: Sequence[Sequence[str]], column: int) -> bool:
    """Whether every cell that is not empty begins with a digit and holds a plain number or a size."""
    filled = [row[column] for row in body if row[column]]
    return bool(filled) and all(_is_number(cell) for cell in filled)


def _is_number(cell: str) -> bool:
    number, _, unit = cell.partition(" ")
    return number.replace(".", "", 1).lstrip("-").isdigit() and unit in {"", "B", "KiB", "MiB", "GiB", "TiB", "PiB"}


def _excess(widths: Sequence[int], width: int) -> int:
    return sum(widths) + _GAP * (len(widths) - 1) - width


def _kept(headers: Sequence[str], widths: Sequence[int], width: int, spare: Sequence[str]) -> list[int]:
    """Return the columns that are shown: all, or fewer while they do not fit."""
    kept = list(range(len(headers)))
    for header in spare:
        if _excess([widths[column] for column in kept], width) > 0:
            kept.remove(headers.index(header))
    return kept


def _narrowed(widths: Sequence[int], width: int, names: int | None = None) -> list[int]:
    """Return the widths with the widest columns cut until the table fits, as far as it can.

    The column `names` is cut once no other is wider than `_FEW`.
    """
    widths = list(widths)
    excess = _excess(widths, width)
    for column in sorted(range(len(widths)), key=widths.__getitem__, reverse=True) if names is not None else ():
        if column != names and excess > 0:
            step = min(excess, max(widths[column] - _FEW, 0))
            widths[column] -= step
            excess -= step
    while excess > 0:
        widest = max(range(len(widths)), key=widths.__getitem__)
        others = [each for position, each in enumerate(widths) if position != widest]
        step = min(excess, max(widths[widest] - max([*others, _LEAST]), 1))
        if widths[widest] <= _LEAST:
            break
        widths[widest] -= step
        excess -= step
    return widths


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool], width: int | None) -> str:
    parts = []
    for cell, room, to_right in zip(row, widths, right, strict=True):
        shown = cell if width is None else shorten(cell, room)
        parts.append(" " * (room - cells(shown)) + shown if to_right else pad(shown, room))
    return (" " * _GAP).join(parts).rstrip()
