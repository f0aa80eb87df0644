"""`reconciler stats`: where the bytes are, and which of them could be freed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from reconciler.cli import session

if TYPE_CHECKING:
    from reconciler.audit.usage import Usage

_ROWS = 12
"""Rows of one picture; the rest is added up."""
_FREED_BY = {
    "trash": "`reconciler gc`",
    "orphans": "`reconciler apply`, or the store's own tool",
    "partials": "`reconciler apply` for ours; those of other tools by hand",
    "duplicates": "`reconciler duplicates` tells which",
}


def command(manifest: session.Manifest = None, json: session.Json = False) -> int:
    """Show where the bytes are, and what could be freed.

    By location, format, family and quant. Files with several names count once in a row, and once in the total. What
    could be freed: trash, orphans of a store, partial downloads, and what linking equal files would give back. Asks
    nobody on the network, and reads no file.

    \b
    Examples:
      reconciler stats
      reconciler stats workstation.yaml --json

    \b
    Exit codes: 0 shown; 1 error.
    """
    from reconciler.audit import usage
    from reconciler.audit.knowing import contents_of, pins_of
    from reconciler.manifest import load
    from reconciler.trash import waiting

    loaded = load(manifest)
    with session.means(loaded, offline=True) as means:
        contents = contents_of(loaded, session.open_registry(loaded), means)
    trash = sum(one.frees for one in waiting(contents.locations, float("inf")))
    found = usage.account(contents, trash, usage.titles_of(pins_of(loaded)))
    if json:
        session.say_json({"manifest": {"path": str(loaded.path), "name": loaded.name}, **usage.as_value(found)})
    else:
        session.say(_text(found))
    return 0


def _text(found: Usage) -> Iterator[str]:
    from reconciler.inert import human_bytes
    from reconciler.render.chart import bars
    from reconciler.render.lines import counted, name, paint

    width, colour = session.width(), session.colour(session.settings())
    ascii_only = "utf" not in (sys.stdout.encoding or "utf").lower()
    disks = sorted(found.disks, key=lambda disk: -disk.bytes)
    pictures = [("on disk, by location", [(disk.name, disk.bytes) for disk in disks], found.total)]
    pictures += [
        (f"managed, by {by}", [(share.name, share.bytes) for share in shares], found.managed)
        for by, shares in found.shares.items()
        if by != "location"
    ]
    for title, rows, total in pictures:
        shown = rows[:_ROWS]
        if len(rows) > _ROWS:
            shown.append((f"({len(rows) - _ROWS} more)", sum(size for _, size in rows[_ROWS:])))
        if shown:
            yield paint(title, "1", colour)
            yield from bars(shown, total=total, width=width, ascii_only=ascii_only)
            yield ""
    for disk in found.disks:
        if not disk.readable:
            yield f"unreadable, not counted: {name(disk.name)}"
    yield from _reclaimable(found)
    shared = f"; {human_bytes(found.shared)} more in second names of the same files" if found.shared else ""
    yield (
        f"{counted(found.variants, 'variant')} managed ({human_bytes(found.managed)}) of {human_bytes(found.total)} "
        f"on disk{shared}."
    )


def _reclaimable(found: Usage) -> Iterator[str]:
    from reconciler.inert import human_bytes

    rows = [(what, size) for what, size in found.reclaimable.items() if size]
    for what, size in rows:
        yield f"could be freed: {human_bytes(size)} of {what} ({_FREED_BY[what]})"
    if found.unread:
        yield f"may be duplicates: {human_bytes(found.unread)} not read yet (`reconciler duplicates --read`)"
    if rows or found.unread:
        yield ""
