"""Load and save the registry: three layers, our state beside them, the last backups.

Order of a save: backups, `state.json` saying what comes next, discovered, merged, `state.json` as it now is. Each is
replaced atomically; a crash between any two leaves a registry that loads as the old or as the new one, by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from reconciler.disk import Root, exclusive_lock, hash_bytes
from reconciler.errors import NEWER, NewerError, Problem, RegistryError, StaleError
from reconciler.oserrors import nearest
from reconciler.registry import backups, statefile
from reconciler.registry.backups import read_file
from reconciler.registry.block import decode
from reconciler.registry.entry import block_of
from reconciler.registry.jsontext import (
    Entry,
    Style,
    array_text,
    canonical,
    object_text,
    parse_entries,
    shows,
    spans,
    style_of,
    text_of,
)
from reconciler.registry.layers import merge
from reconciler.registry.statefile import LocationId, Snapshot, StateFile
from reconciler.state import Digest, Record

CURATED = "model_registry.curated.json"
DISCOVERED = "model_registry.discovered.json"
MERGED = "model_registry.json"
STATE = "state.json"

_SHOWN = 5
"""How many damaged entries are told one by one."""

_T = TypeVar("_T")
_Raw = TypeVar("_Raw")


@dataclass(frozen=True, slots=True)
class Basis:
    """What was on disk when the registry was loaded; what `save` compares with."""

    state: StateFile | None = None
    current: Snapshot | None = None
    raw_state: Digest | None = None
    discovered: Digest | None = None
    entries: tuple[Entry, ...] = ()
    locations: Mapping[str, LocationId] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Registry:
    """The record as one value. `digest` is that of what was loaded; `lineage` is '' until the first save."""

    path: Path
    serial: int = 0
    lineage: str = ""
    curated: tuple[Entry, ...] = ()
    discovered: tuple[Entry, ...] = ()
    locations: Mapping[str, LocationId] = field(default_factory=dict)
    digest: Digest = field(default_factory=lambda: hash_bytes(b""))
    basis: Basis = field(default_factory=Basis, compare=False, repr=False)


def check_directory(path: Path) -> None:
    """Raise RegistryError where no directory `path` can be, since something else has its name, or one above it."""
    there = nearest(path)
    if os.path.isdir(there):  # noqa: PTH112  never raises; what may not be looked at is told by who reads it
        return
    what = "a link that leads nowhere" if there.is_symlink() else "a file"
    hint = "move it away, or name another directory (`registry:` in the manifest, RECONCILER_REGISTRY)"
    raise RegistryError(f"{what}, where the registry should be a directory", where=str(there), hint=hint)


def load(path: Path) -> Registry:
    """Return the registry in the directory `path`; an empty one of serial 0 when there is no such directory.

    Never writes. Raise RegistryError for what is no directory, and for what is damaged, naming the newest good backup.
    """
    check_directory(path)
    raw_state, raw_curated = read_file(path / STATE), read_file(path / CURATED)
    state = _parsed(path, STATE, raw_state, statefile.loads)
    curated = _parsed(path, CURATED, raw_curated, parse_entries) or ()
    seen, entries = _read_discovered(path)
    current = _recognized(path, state, seen, entries)
    locations = current.locations if current else {}
    return Registry(
        path=path,
        serial=current.serial if current else 0,
        lineage=state.lineage if state else "",
        curated=curated,
        discovered=entries,
        locations=locations,
        digest=_digest(raw_curated, seen.digest, locations),
        basis=Basis(state, current, _hash(raw_state), seen.digest, entries, locations),
    )


def records(registry: Registry) -> tuple[Record, ...]:
    """Return what we manage, in the order of the layer; raise RegistryError for a damaged block."""
    found: list[Record] = []
    problems: list[Problem] = []
    for entry in registry.discovered:
        block = block_of(entry)
        if block is None:
            continue
        try:
            found.append(decode(block))
        except ValueError as error:
            where = f"{registry.path / DISCOVERED}: {entry['name']}"
            problems.append(Problem(where, f"metadata.reconciler: {error}", _hint(registry.path, error)))
    if problems:
        raise RegistryError(_first(problems))
    return tuple(found)


def _first(problems: Sequence[Problem]) -> Sequence[Problem]:
    """Return a few problems that stand for all: one cause, such as a bad merge, damages every entry alike."""
    if len(problems) <= _SHOWN:
        return problems
    last = problems[_SHOWN - 1]
    more = f"{last.summary}, and {len(problems) - _SHOWN} more entries are damaged"
    return (*problems[: _SHOWN - 1], last._replace(summary=more))


def merged(registry: Registry) -> tuple[Entry, ...]:
    """Return what serving tools read: curated over discovered, field by field."""
    return merge(registry.discovered, registry.curated)


def with_locations(registry: Registry, locations: Mapping[str, LocationId]) -> Registry:
    """Return the registry with these locations known; others that it knows stay."""
    return replace(registry, locations={**registry.locations, **locations})


@contextlib.contextmanager
def locked(path: Path, *, holder: str = "reconciler") -> Iterator[int]:
    """Hold the registry at `path` for writing; raise BusyError naming who has it, RegistryError for no directory."""
    check_directory(path)
    with exclusive_lock(path / "lock", holder=holder) as fd:
        yield fd


def save(registry: Registry, *, backup: bool = True) -> Registry:
    """Write what changed since `load` and return the registry as it is now, one serial later.

    When nothing changed, nothing is written. Curated is never written. Raise StaleError when another program wrote
    since the registry was loaded; hold `locked` from before `load` until after `save`. Raise DiskError.
    """
    raw = {name: read_file(registry.path / name) for name in (DISCOVERED, MERGED, STATE)}
    _refuse_stale(registry, raw[DISCOVERED], raw[STATE])
    basis = registry.basis
    changed = registry.discovered is not basis.entries and registry.discovered != basis.entries
    moved = dict(registry.locations) != dict(basis.locations)
    if basis.state is None and not changed and not moved:
        return registry
    draft = _draft(registry, raw[DISCOVERED], raw[MERGED], changed)
    last = basis.current
    fresh = changed or moved or last is None or hash_bytes(draft.merged) != last.merged
    unfinished = basis.state is not None and basis.state.next is not None and basis.state.next == last
    if not fresh and not unfinished and raw[MERGED] is not None:
        return registry
    snapshot = Snapshot(
        registry.serial + 1 if fresh else registry.serial,
        _hash(draft.discovered),
        hash_bytes(draft.merged),
        statefile.records_digest(registry.discovered),
        dict(registry.locations),
    )
    state = StateFile(registry.lineage or str(uuid.uuid4()), snapshot)
    with Root.open(registry.path, create=True) as root:
        if backup and fresh:
            backups.keep(root, registry.serial, raw[DISCOVERED], raw[STATE])
        if changed and draft.discovered is not None:
            before = last or Snapshot(
                registry.serial, basis.discovered, None, statefile.records_digest(basis.entries), basis.locations
            )
            root.write(STATE, statefile.dumps(StateFile(state.lineage, before, snapshot)))
            root.write(DISCOVERED, draft.discovered)
        if draft.merged != raw[MERGED]:
            root.write(MERGED, draft.merged)
        root.write(STATE, statefile.dumps(state))
    return _saved(registry, state)


class _Draft(NamedTuple):
    """The bytes that the generated layers should have."""

    discovered: bytes | None
    merged: bytes


def _draft(registry: Registry, discovered: bytes | None, combined: bytes | None, changed: bool) -> _Draft:
    """Entries that are as they were keep their text to the letter; the others take the style of their file."""
    texts: dict[int, str] = {}
    if discovered is not None:
        texts = {id(entry): text for entry, text in zip(registry.basis.entries, spans(discovered), strict=True)}
    new = [entry for entry in registry.discovered if id(entry) not in texts]
    style = _style(registry.path, discovered, new) if discovered else Style()
    texts |= {id(entry): object_text(entry, style) for entry in new}
    if changed:
        discovered = array_text([texts[id(entry)] for entry in registry.discovered], style)
    arranged, escaped = shows(combined) if combined else (False, False)
    other = style_of(combined) if combined and arranged else style
    other = other if escaped else replace(other, ascii=style.ascii)
    reusable = texts if other == style else {}
    both = merged(registry)
    return _Draft(
        discovered, array_text([reusable.get(id(entry)) or object_text(entry, other) for entry in both], other)
    )


def _style(path: Path, layer: bytes, new: list[Entry]) -> Style:
    """Return the style of a layer; what it does not show, as it is nearly empty, the layers before it do.

    So that an entry that comes back has the bytes that it had.
    """
    style = style_of(layer)
    arranged, escaped = shows(layer)
    if arranged and (escaped or all(object_text(entry, style).isascii() for entry in new)):
        return style
    for older in backups.layers(path):
        known, (is_arranged, is_escaped) = style_of(older), shows(older)
        if is_arranged and not arranged:
            style, arranged = replace(known, ascii=style.ascii), True
        if is_escaped and not escaped:
            style, escaped = replace(style, ascii=known.ascii), True
    return style


def _saved(registry: Registry, state: StateFile) -> Registry:
    snapshot = state.current
    return replace(
        registry,
        serial=snapshot.serial,
        lineage=state.lineage,
        digest=_digest(read_file(registry.path / CURATED), snapshot.discovered, snapshot.locations),
        basis=Basis(
            state, snapshot, hash_bytes(statefile.dumps(state)), snapshot.discovered, registry.discovered,
            snapshot.locations,
        ),
    )  # fmt: skip


def _hash(raw: bytes | None) -> Digest | None:
    return None if raw is None else hash_bytes(raw)


def _digest(curated: bytes | None, discovered: Digest | None, locations: Mapping[str, LocationId]) -> Digest:
    return hash_bytes(canonical([_hash(curated), discovered, {name: list(found) for name, found in locations.items()}]))


class _Seen(NamedTuple):
    """The discovered layer as it lies there: its digest, and what that would be with one more newline."""

    digest: Digest | None = None
    with_newline: Digest | None = None


def _read_discovered(path: Path) -> tuple[_Seen, tuple[Entry, ...]]:
    raw = read_file(path / DISCOVERED)
    if raw is None:
        return _Seen(), ()
    seen = _Seen(hash_bytes(raw), hash_bytes(raw + b"\n"))
    text = _parsed(path, DISCOVERED, raw, text_of)
    del raw  # 20 MB in a large registry, while the values below take thrice as much
    return seen, _parsed(path, DISCOVERED, text, parse_entries) or ()


def _parsed(path: Path, name: str, raw: _Raw | None, parser: Callable[[_Raw], _T]) -> _T | None:
    if raw is None:
        return None
    try:
        return parser(raw)
    except ValueError as error:
        where, said = str(path / name), str(error)
        if isinstance(error, json.JSONDecodeError):
            where, said = f"{where}:{error.lineno}:{error.colno}", f"{error.msg}; it is damaged or cut off"
        hint = "correct it; people write this layer, the tool never does" if name == CURATED else _hint(path, error)
        raise RegistryError(Problem(where, said, hint)) from error


def _hint(path: Path, error: ValueError) -> str:
    return NEWER if isinstance(error, NewerError) else backups.hint(path)


def _recognized(path: Path, state: StateFile | None, seen: _Seen, entries: tuple[Entry, ...]) -> Snapshot | None:
    """Return the snapshot that the layer on disk is of; None when we have never saved here. Raise RegistryError."""
    if state is None:
        return None
    expected = [snapshot for snapshot in (state.next, state.current) if snapshot is not None]
    for snapshot in expected:
        if snapshot.discovered == seen.digest:
            return snapshot
    where = str(path / DISCOVERED)
    if seen.digest is None:
        summary = f"missing, though serial {state.current.serial} was saved here"
        raise RegistryError(Problem(where, summary, backups.hint(path)))
    if seen.with_newline in [snapshot.discovered for snapshot in expected]:
        raise RegistryError(Problem(where, "its last byte is cut off", backups.hint(path)))
    # Other programs may edit their own entries; ours are as we wrote them, or somebody must look.
    ours = statefile.records_digest(entries)
    for snapshot in expected:
        if snapshot.records == ours:
            return snapshot
    summary = f"another program changed what we recorded (serial {state.current.serial})"
    accept = f"or remove {STATE} to take it as it stands"
    raise RegistryError(Problem(where, summary, f"{backups.hint(path)}; {accept}"))


def _refuse_stale(registry: Registry, discovered: bytes | None, state: bytes | None) -> None:
    if (_hash(discovered), _hash(state)) != (registry.basis.discovered, registry.basis.raw_state):
        summary = f"the registry is not as it was when it was loaded (serial {registry.serial})"
        raise StaleError(summary, where=str(registry.path), hint="run the same again")
