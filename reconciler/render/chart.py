"""Bars for a terminal, in characters alone: a name, a bar, a size and a share, one a line. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reconciler.inert import human_bytes
from reconciler.render.lines import cells, name, pad, shorten

_NAME = 40
"""Columns that a name takes at most."""
_LEAST, _MOST = 10, 48
"""Columns of a bar; without a terminal it is 24."""
_PLAIN = 24
_NUMBERS = 18
"""Columns for size and share, with the spaces before them."""
_EIGHTHS = " ▏▎▍▌▋▊▉"


def bars(rows: Sequence[tuple[str, int]], *, total: int, width: int | None, ascii_only: bool = False) -> Iterator[str]:
    """Yield a line for each (name, bytes), the longest bar for the largest; shares are of `total`.

    `width` is that of the terminal, None where there is none. With `ascii_only`, bars are made of `#`.
    """
    if not rows:
        return
    widest = min(max(cells(name(each)) for each, _ in rows), _NAME)
    room = _PLAIN if width is None else min(max(width - widest - _NUMBERS - 2, _LEAST), _MOST)
    if width is not None:
        widest = max(min(widest, width - room - _NUMBERS - 2), 6)
    largest = max((size for _, size in rows), default=0)
    for each, size in rows:
        bar = _bar(size, largest, room, ascii_only)
        share = f"{100 * size / total:.0f}%" if total else ""
        yield f"{pad(shorten(name(each), widest), widest)}  {pad(bar, room)}  {human_bytes(size):>10} {share:>5}"


def _bar(size: int, largest: int, room: int, ascii_only: bool) -> str:
    """Return a bar of at most `room` columns; what is not nothing shows."""
    if size <= 0 or largest <= 0:
        return ""
    eighths = max(1, round(8 * room * size / largest))
    if ascii_only:
        return "#" * max(1, round(eighths / 8))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
