"""Read JSON strictly and write it in the style that the file already has. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Any, NoReturn

Entry = Mapping[str, Any]
"""One model of a layer: a plain JSON object, in the order of its file."""

_SPACE = re.compile(r"[ \t\r\n]*")
_ESCAPED = re.compile(r"\\u(?:00[89a-fA-F]|0[1-9a-fA-F]|[1-9a-fA-F])")


@dataclass(frozen=True, slots=True)
class Style:
    """How a file arranges an array of objects.

    `before` stands before every object and after the opening bracket, `after` before the closing bracket, `end` at
    the end of the file. `indent` is one step ('' for everything on one line), `ascii` escapes what is not ASCII.
    """

    before: str = "\n  "
    after: str = "\n"
    end: str = "\n"
    indent: str = "  "
    colon: str = ": "
    comma: str = ","
    ascii: bool = False


def parse(data: bytes | str) -> Any:
    """Return the value in `data`; raise ValueError for what is cut off, not UTF-8, or ambiguous.

    Ambiguous are a key given twice and the numbers NaN and Infinity, which JSON does not know.
    """
    try:
        return _DECODER.decode(data if isinstance(data, str) else text_of(data))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_entries(data: bytes | str) -> tuple[Entry, ...]:
    """Return the array of named objects in `data`; raise ValueError when it holds anything else."""
    value = parse(data)
    if not isinstance(value, list):
        raise ValueError(f"expected an array of models, found {_kind(value)}")
    for position, entry in enumerate(value):
        if not isinstance(entry, dict):
            raise ValueError(f"entry {position}: expected an object, found {_kind(entry)}")
        if not isinstance(entry.get("name"), str):
            raise ValueError(f"entry {position}: expected a name, found {_kind(entry.get('name'))}")
    return tuple(value)


def spans(data: bytes) -> list[str]:
    """Return the text of every object of the array in `data`, to the letter. `data` has been parsed before."""
    text = text_of(data)
    found: list[str] = []
    at = _SPACE.match(text, _SPACE.match(text).end() + 1).end()  # type: ignore[union-attr]
    while text[at] != "]":
        _, end = _DECODER.raw_decode(text, at)
        found.append(text[at:end])
        at = _SPACE.match(text, end).end()  # type: ignore[union-attr]
        if text[at] == ",":
            at = _SPACE.match(text, at + 1).end()  # type: ignore[union-attr]
    return found


def style_of(data: bytes) -> Style:
    """Return the style of the array in `data`; the plain one where nothing can be seen."""
    text = data.decode("utf-8", "replace")
    opening = re.match(r"\s*\[(\s*)\{", text)
    closing = re.search(r"\}(\s*)\](\s*)\Z", text)
    ascii_only = text.isascii() and _ESCAPED.search(text) is not None
    if opening is None or closing is None:
        empty = re.fullmatch(r"\s*\[\s*\](\s*)", text)
        return Style(end=empty[1] if empty else "\n", ascii=ascii_only)
    before = opening[1]
    nested = re.compile(r"\{(\s*)\"").search(text, opening.end() - 1)
    inner = nested[1] if nested and "\n" in before else ""
    indent = inner[len(before) :] if inner.startswith(before) else ""
    colon = ": " if re.search(r'": ', text) else ":"
    comma = "," if indent or not re.search(r', "', text) else ", "
    return Style(before, closing[1], closing[2], indent, colon, comma, ascii_only)


def shows(data: bytes) -> tuple[bool, bool]:
    """Return whether a file shows how it arranges objects, and whether it escapes what is not ASCII."""
    text = data.decode("utf-8", "replace")
    return re.match(r"\s*\[\s*\{", text) is not None, not text.isascii() or _ESCAPED.search(text) is not None


def array_text(texts: Sequence[str], style: Style) -> bytes:
    """Return the file that holds these objects, each already in text."""
    if not texts:
        return f"[]{style.end}".encode()
    separator = "," + style.before
    if not style.before and style.comma == ", ":
        separator = ", "
    whole = f"[{style.before}{separator.join(texts)}{style.after}]{style.end}"
    return whole.encode("utf-8")


def object_text(entry: Entry, style: Style) -> str:
    """Return one object as it stands in a file of that style."""
    return _encodable(entry, style.before if style.indent else "", style, style.ascii)


def plain_text(value: Any) -> bytes:
    """Return `value` as a file of ours: indented by 2, in its own order, one newline at the end."""
    return (_encodable(value, "\n", Style(), False) + "\n").encode("utf-8")


def canonical(value: Any) -> bytes:
    """Return the one text of `value` from which digests are made."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _encodable(value: Any, line: str, style: Style, ascii_only: bool) -> str:
    text = _dump(value, line, style, ascii_only)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can write
        text = _dump(value, line, style, True)
    return text


def _dump(value: Any, line: str, style: Style, ascii_only: bool) -> str:
    """`line` is the newline and indentation at which `value` begins; '' for a style on one line."""
    quote = encode_basestring_ascii if ascii_only else encode_basestring
    colon, indent, comma = style.colon, style.indent if line else "", style.comma

    def dump(value: Any, line: str) -> str:
        if isinstance(value, str):
            return quote(value)
        if isinstance(value, Mapping):
            if not value:
                return "{}"
            below = line + indent
            items = (comma + below).join([f"{quote(key)}{colon}{dump(item, below)}" for key, item in value.items()])
            return f"{{{below}{items}{line}}}"
        if isinstance(value, (list, tuple)):
            if not value:
                return "[]"
            below = line + indent
            items = (comma + below).join([dump(item, below) for item in value])
            return f"[{below}{items}{line}]"
        if type(value) is int:
            return str(value)
        return json.dumps(value, allow_nan=False)

    return dump(value, line)


def text_of(data: bytes) -> str:
    """Return `data` as text; raise ValueError for what is empty, blank or not UTF-8."""
    if not data.strip(b"\0 \t\r\n"):
        raise ValueError("empty" if not data else f"nothing but {len(data)} blank bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "an array", str: "text", type(None): "nothing"}
    return kinds.get(type(value), type(value).__name__)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
