"""Unite the documents of a manifest: maps are joined, a name stands once, every position is kept. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from reconciler.errors import Problem
from reconciler.inert import inert
from reconciler.yamlread import Document

SECTIONS = ("locations", "variants", "roles", "policy")
_AS_NUMBERS = frozenset({"version", "policy", "metadata", "parameters"})
"""Below these keys a number is a number; everywhere else a manifest holds text. They may be names in a section too."""

_PLACES = frozenset({"root", "registry"})


class Merged(NamedTuple):
    """The united value, what was wrong in uniting, and which document holds what (for more documents than one)."""

    value: Any
    problems: tuple[Problem, ...]
    documents: tuple[Document, ...]
    owners: dict[tuple[str | int, ...], tuple[Document, tuple[str | int, ...]]]

    def where(self, *loc: str | int) -> str:
        """Return `file:line:column` of a key path of the united value."""
        for length in (2, 1):
            if len(loc) >= length and (owned := self.owners.get(loc[:length])):
                return owned[0].where((*owned[1], *loc[length:]))
        return self.documents[0].where(loc)


def merge(documents: Sequence[Document]) -> Merged:
    """Unite documents in their order; lists are joined, scalars may repeat when they say the same."""
    values = [_written(document.value, document, ()) for document in documents]
    if len(documents) == 1:
        return Merged(_without_empty(values[0]), (), tuple(documents), {})
    united: dict[str, Any] = {}
    merged = Merged(united, (), tuple(documents), {})
    problems: list[Problem] = []
    for document, value in zip(documents, values, strict=True):
        if value is None:
            continue
        if not isinstance(value, dict):
            problems.append(Problem(document.where(()), "expected a map at the top, as every manifest has"))
            continue
        for key, said in _without_empty(value).items():
            _unite(merged, document, key, said, problems)
    return merged._replace(problems=tuple(problems))


def _unite(merged: Merged, document: Document, key: str, said: Any, problems: list[Problem]) -> None:
    have = merged.value.get(key)
    if key in SECTIONS and isinstance(said, dict) and (have is None or isinstance(have, dict)):
        have = merged.value.setdefault(key, {})
        merged.owners.setdefault((key,), (document, (key,)))
        for name, entry in said.items():
            if name in have:
                problems.append(_twice(f"`{inert(name)}` in `{key}`", document.where((key, name)), merged, (key, name)))
            else:
                have[name] = entry
                merged.owners[key, name] = (document, (key, name))
    elif key == "routes" and isinstance(said, list) and (have is None or isinstance(have, list)):
        have = merged.value.setdefault(key, [])
        merged.owners.setdefault((key,), (document, (key,)))
        for index, entry in enumerate(said):
            merged.owners[key, len(have)] = (document, (key, index))
            have.append(entry)
    elif key not in merged.value:
        merged.value[key] = said
        merged.owners[(key,)] = (document, (key,))
    elif type(have) is not type(said) or have != said:
        problems.append(_twice(f"another `{inert(key)}`", document.where((key,)), merged, (key,)))


def _twice(what: str, where: str, merged: Merged, loc: tuple[str | int, ...]) -> Problem:
    return Problem(where, f"{what} stands here a second time; the first is at {merged.where(*loc)}", "keep one of them")


def _without_empty(value: Any) -> Any:
    """Leave out sections whose entries are all commented out."""
    if not isinstance(value, dict):
        return value
    sections = (*SECTIONS, "routes")
    return {key: said for key, said in value.items() if said is not None or key not in sections}


def _written(value: Any, document: Document, loc: tuple[str | int, ...]) -> Any:
    """Return `value` with numbers as they are written: `0123456` is a revision, not a number."""
    kind = type(value)
    if kind is dict:
        for key, inner in value.items():
            if inner is None:
                # `~` is YAML's null; whoever writes `root: ~` means the home directory, and is told about it.
                value[key] = "~" if key in _PLACES and document.text((*loc, key)) == "~" else None
            elif type(inner) is not str and (len(loc) == 1 or key not in _AS_NUMBERS):
                value[key] = _written(inner, document, (*loc, key))
    elif kind is list:
        for index, inner in enumerate(value):
            if type(inner) is not str:
                value[index] = _written(inner, document, (*loc, index))
    elif kind is int or kind is float:
        return document.text(loc) or value
    return value
