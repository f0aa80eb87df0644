"""Write plain values as YAML that every reader understands alike, whichever version of YAML it follows. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 100
"""Columns: a list of scalars stands on one line up to here, and on lines of its own beyond. Nothing is ever folded."""

_PLAIN = re.compile(r"(?:~/|[A-Za-z/])(?:[A-Za-z0-9_./@+()~-]|:(?=[^\s])| (?=[A-Za-z0-9(/]))*")
# What a reader of YAML 1.1 (https://yaml.org/type/) takes for something else than text.
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def scalar(value: Any, *, flow: bool = False) -> str:
    """Return a scalar in the plainest form that is safe; `flow` for one that stands between brackets.

    Raise ValueError for what no manifest can hold: infinities, NaN, half characters, other types.
    """
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float() if math.isfinite(value):
            return repr(value)
        case str():
            return value if _is_plain(value, flow) else quoted(value)
    raise ValueError(f"a manifest cannot hold {value!r:.80}")


def quoted(text: str) -> str:
    """Return a text in double quotes (https://yaml.org/spec/1.2.2/#731-double-quoted-style)."""
    return '"' + "".join(map(_escaped, text)) + '"'


def flow(value: Any) -> str:
    """Return a value on one line: `{source: "hf:owner/repo", files: [a, b]}`."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key, flow=True)}: {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value, flow=True)


def block(key: str, value: Any, column: int, step: int) -> list[str]:
    """Return the lines of `key: value` in block style, beginning at `column`, each level `step` columns deeper."""
    lead = " " * column + scalar(key) + ":"
    if isinstance(value, Mapping) and value:
        return [lead, *(line for name, inner in value.items() for line in block(name, inner, column + step, step))]
    if isinstance(value, (list, tuple)) and not _fits(lead, value):
        return [lead, *(f"{' ' * (column + step)}- {_item(inner)}" for inner in value)]
    return [f"{lead} {flow(value) if isinstance(value, (Mapping, list, tuple)) else scalar(value)}"]


def _item(value: Any) -> str:
    return flow(value) if isinstance(value, (Mapping, list, tuple)) else scalar(value)


def _fits(lead: str, values: Sequence[Any]) -> bool:
    return len(lead) + 1 + len(flow(values)) <= WIDTH


def _is_plain(text: str, flow: bool) -> bool:
    if not _PLAIN.fullmatch(text) or text.lower() in _WORDS:
        return False
    return not (flow and ":" in text)  # readers differ in what a colon ends between brackets


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if 0xD800 <= code <= 0xDFFF:
        raise ValueError("a manifest cannot hold half a character")
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
