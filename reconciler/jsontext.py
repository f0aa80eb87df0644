"""Read JSON strictly, and say on which line a value stands when something is wrong with it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, NoReturn

Path = tuple[str | int, ...]
"""Keys and indexes from the top to a value."""

_CONFLICT = re.compile(r"^(?:<{7}|={7}|>{7}|\|{7})(?: |$)", re.MULTILINE)
_SPACE = re.compile(r"[ \t\r\n]*")
_ATOM = re.compile(r"[^\s,\]}]+")
_DEEPEST = 64


class JsonTextError(ValueError):
    """The text is not the JSON that we accept; `line` counts from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


class _DuplicateError(ValueError):
    """A key stands twice in one object."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def loads(text: str) -> Any:
    """Return the value of `text`; raise JsonTextError for what is no JSON, for duplicate keys and for NaN."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        if marker := _CONFLICT.search(text):
            raise JsonTextError(
                line_at(text, marker.start()), "a git conflict marker; the merge is not finished"
            ) from None
        cut_off = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        whole = "the text ends too early" if cut_off else f"not JSON: {error.msg}"
        raise JsonTextError(error.lineno, whole) from None
    except _DuplicateError as error:
        line = _line_of_duplicate(text, error.key)
        raise JsonTextError(line, f"the key {error.key[:100]!r} stands twice") from None
    except RecursionError:
        raise JsonTextError(1, "nested too deeply") from None
    except ValueError as error:  # NaN, or a number of thousands of digits
        raise JsonTextError(_line_of_constant(text), str(error)[:100]) from None


def line_of(text: str, path: Sequence[str | int]) -> int:
    """Return the line on which the value at `path` begins in a text that `loads` accepts; the nearest that there is."""
    position = 0
    try:
        for key in path:
            position = _child(text, position, key)
    except (ValueError, IndexError, RecursionError):
        pass
    return line_at(text, _SPACE.match(text, position).end())  # type: ignore[union-attr]


def line_at(text: str, position: int) -> int:
    """Return the line, from 1, of a character position."""
    return text.count("\n", 0, position) + 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _DuplicateError(next(key for key in keys if keys.count(key) > 1))
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _child(text: str, position: int, key: str | int) -> int:
    """Return where the value of `key` begins inside the object or array that begins at `position`."""
    for found, start, _ in _members(text, _skip(text, position)):
        if found == key:
            return start
    raise ValueError(key)


def _members(text: str, position: int) -> list[tuple[str | int, int, int]]:
    """Return (key or index, start of the value, start of the key) of everything in the object or array there."""
    is_object = text[position] == "{"
    close = "}" if is_object else "]"
    members: list[tuple[str | int, int, int]] = []
    position = _skip(text, position + 1)
    while text[position] != close:
        at: int = position
        key: str | int = len(members)
        if is_object:
            key, position = scanstring(text, position + 1, True)
            position = _skip(text, _skip(text, position) + 1)
        members.append((key, position, at))
        position = _skip(text, _end(text, position, 0))
        if text[position] == ",":
            position = _skip(text, position + 1)
    return members


def _end(text: str, position: int, depth: int) -> int:
    """Return where the value that begins at `position` ends."""
    first = text[position]
    if first == '"':
        return int(scanstring(text, position + 1, True)[1])
    if first not in "{[":
        return _ATOM.match(text, position).end()  # type: ignore[union-attr]
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    position = _skip(text, position + 1)
    while text[position] not in "}]":
        position = position + 1 if text[position] in ",:" else _end(text, position, depth + 1)
        position = _skip(text, position)
    return position + 1


def _skip(text: str, position: int) -> int:
    return _SPACE.match(text, position).end()  # type: ignore[union-attr]


def _line_of_duplicate(text: str, key: str) -> int:
    """Return the line of the second of two equal keys of one object."""
    pending = [_skip(text, 0)]
    try:
        while pending:
            seen: set[str | int] = set()
            for found, start, at in _members(text, pending.pop()):
                if found in seen and found == key:
                    return line_at(text, at)
                seen.add(found)
                if text[start] in "{[":
                    pending.append(start)
    except (ValueError, IndexError, RecursionError):
        pass
    return 1


def _line_of_constant(text: str) -> int:
    found = re.search(r"[:\[,]\s*(-?(?:NaN|Infinity)|-?\d{4300,})", text)
    return line_at(text, found.start(1)) if found else 1
