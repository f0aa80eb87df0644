"""What one step does to names, as the journal holds it: all that recovery needs to finish the step. Values only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from reconciler.registry.block import decode, encode
from reconciler.state import Address, Digest, Link, Note, Record, parse_digest

LARGEST_NOTE = 16 << 20
"""Bytes; an Ollama manifest of thousands of tensors has some hundred KiB."""

Stat = tuple[int, int, int]
"""(size, mtime_ns, inode)"""


class Move(NamedTuple):
    """A verified, durable file that gets its final name: its stat, and what lies there now (`old`, None: nothing).

    The old file goes to the trash as `trash`; its digest is None when it is not as it was recorded.
    """

    path: str
    source: Literal["stage", "trash"]
    staged: str
    stat: Stat
    device: int
    digest: Digest
    old: Stat | None = None
    trash: str = ""
    old_digest: Digest | None = None


class Exit(NamedTuple):
    """A file that leaves for the trash, as `trash`."""

    path: str
    stat: Stat
    trash: str
    digest: Digest | None = None


class Extra(NamedTuple):
    """A link (its target) or a note (its text) to be made; one that says `ours` may be replaced, no other.

    What a replaced note said goes to the trash as `trash` where it was not what we wrote; '' means that it was.
    """

    path: str
    text: str
    ours: tuple[str, ...] = ()
    trash: str = ""


@dataclass(frozen=True, slots=True)
class Deed:
    """One step. `record` is what becomes true (None: nothing is left), `drop` the address whose record ends."""

    address: Address
    root: str
    id: str
    since: float
    """Unix seconds; since when its old files are in the trash."""
    moves: tuple[Move, ...] = ()
    exits: tuple[Exit, ...] = ()
    links: tuple[Extra, ...] = ()
    notes: tuple[Extra, ...] = ()
    unlinks: tuple[Link, ...] = ()
    unnotes: tuple[Note, ...] = ()
    record: Record | None = None
    drop: Address | None = None

    @property
    def is_record_only(self) -> bool:
        """Whether no name on disk changes, so that a crash leaves nothing to finish."""
        return not (self.moves or self.exits or self.links or self.notes or self.unlinks or self.unnotes)


def stat_of(found: os.stat_result | None) -> Stat | None:
    """Return what we tell a file's identity by."""
    return None if found is None else (found.st_size, found.st_mtime_ns, found.st_ino)


def to_json(deed: Deed) -> dict[str, Any]:
    """Return the deed as the fields of a journal entry."""
    lists = {name: [list(each) for each in getattr(deed, name)] for name in _LISTS}
    return {
        "address": list(deed.address), "root": deed.root, "id": deed.id, "since": deed.since, **lists,
        "record": None if deed.record is None else encode(deed.record),
        "drop": None if deed.drop is None else list(deed.drop),
    }  # fmt: skip


def done(number: int, record: Record | None, drop: Address | None) -> dict[str, Any]:
    """Return the fields of the journal entry that tells the intent `number` as done."""
    return {
        "of": number, "record": None if record is None else encode(record), "drop": None if drop is None else list(drop)
    }  # fmt: skip


def from_json(fields: Mapping[str, Any]) -> Deed:
    """Return the deed that a journal entry holds; raise ValueError, KeyError or TypeError for another shape."""
    drop, record = fields["drop"], fields["record"]
    return Deed(
        Address(*fields["address"]), str(fields["root"]), str(fields["id"]), float(fields["since"]),
        moves=tuple(_move(*row) for row in fields["moves"]),
        exits=tuple(Exit(path, _stat(stat), trash, _digest(digest)) for path, stat, trash, digest in fields["exits"]),
        links=tuple(_extra(*row) for row in fields["links"]),
        notes=tuple(_extra(*row) for row in fields["notes"]),
        unlinks=tuple(Link(*row) for row in fields["unlinks"]),
        unnotes=tuple(Note(*row) for row in fields["unnotes"]),
        record=None if record is None else decode(record),
        drop=None if drop is None else Address(*drop),
    )  # fmt: skip


_LISTS = ("moves", "exits", "links", "notes", "unlinks", "unnotes")


def _move(
    path: str, source: Literal["stage", "trash"], staged: str, stat: list[int], device: int, digest: str,
    old: list[int] | None, trash: str, old_digest: str | None,
) -> Move:  # fmt: skip
    before = None if old is None else _stat(old)
    return Move(path, source, staged, _stat(stat), device, parse_digest(digest), before, trash, _digest(old_digest))


def _extra(path: str, text: str, ours: list[str], trash: str = "") -> Extra:
    return Extra(path, text, tuple(ours), trash)


def _stat(row: list[int]) -> Stat:
    size, mtime_ns, inode = row
    return size, mtime_ns, inode


def _digest(text: str | None) -> Digest | None:
    return None if text is None else parse_digest(text)
