"""What a record says of a variant that is declared already: what the manifest lacks of it, and what differs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from reconciler.importing.found import Found, Row
from reconciler.inert import few, inert
from reconciler.ui.kinds import ui_of

_SAID = ("backend", "license", "served_as", "protect")
_LONGEST = 60
"""Characters of a value that are told."""


class Filling(NamedTuple):
    """Keys to add to a variant (those below `metadata` are added to what stands there), and what differs, in words."""

    added: Mapping[str, Any]
    differs: tuple[str, ...] = ()


def filling(name: str, found: Found, said: Mapping[str, Any], store: str, locked: str | None) -> Filling:
    """Return what the record of `found` adds to the variant `name`, which the manifest declares as `said`.

    What the manifest says stays. `store` is that of its location: a name that is a file's or a model's there, and a
    licence that is a layer, would move bytes, and are not taken. `locked` is the licence in the lock.
    """
    own = str(said.get("source", "")).startswith("ollama:")
    unfit = {"served_as"} if store == "ollama" or ui_of(store) is not None else set()
    unfit |= {"license"} if store == "ollama" and not own else set()
    told = {key: found.record[key] for key in _SAID if key in found.record and key not in unfit}
    if told.get("served_as") == name:
        del told["served_as"]
    if told.get("license") == locked and "license" not in said:
        told.pop("license", None)
    added: dict[str, Any] = {key: value for key, value in told.items() if key not in said}
    differs = [_differing(key, value, said[key]) for key, value in told.items() if key in said and said[key] != value]
    metadata: Mapping[str, Any] = found.record.get("metadata") or {}
    held: Mapping[str, Any] = said.get("metadata") or {}
    if fresh := {key: value for key, value in metadata.items() if key not in held}:
        added["metadata"] = fresh
    other = [key for key, value in metadata.items() if key in held and held[key] != value]
    differs += [f"its record has another metadata.{inert(key)}; the manifest stays as it is" for key in other]
    return Filling(added, tuple(differs))


def brought(found: Found, added: Mapping[str, Any], held: Mapping[str, Sequence[str]], name: str) -> str:
    """Say what a variant that is declared already gets, '' for nothing; `held` are the roles of the manifest."""
    roles = [role for role in found.roles if name not in held.get(role, ())]
    parts = [*added, *([f"the role {few(roles)}" if len(roles) == 1 else f"the roles {few(roles)}"] if roles else [])]
    whose = f" of its record{f' {inert(found.name)}' if found.name else ''}" if found.record else ""
    return f"; it gets {', '.join(parts)}{whose}" if parts else ""


def orders(held: Mapping[str, Sequence[str]], ranks: Mapping[tuple[str, str], int], where: str) -> Iterator[Row]:
    """Yield a row for each role that the manifest orders otherwise than the records; `ranks` by (role, variant)."""
    for role, names in held.items():
        ranked = [(ranks[role, name], name) for name in names if (role, name) in ranks]
        for (one, first), (other, second) in pairwise(ranked):
            if one < other:
                why = (
                    f"the manifest prefers {first} to {second}, the records the other way; the manifest stays as it is"
                )
                yield Row("finding", f"role {role}", why, where)
                break


def differences(name: str, differs: Iterable[str], where: str) -> Iterator[Row]:
    """Yield a row for each difference."""
    yield from (Row("finding", name, each, where) for each in differs)


def _differing(key: str, recorded: object, said: object) -> str:
    return f"its record says {key} {_short(recorded)}, the manifest {_short(said)}; the manifest stays as it is"


def _short(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return inert(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
