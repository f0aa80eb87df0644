"""JSON as Go's encoder writes it, byte for byte: the blobs that a server makes have these bytes, and so these digests.

https://pkg.go.dev/encoding/json#Marshal: compact, the keys of a map sorted, `<`, `>`, `&` and the two line separators
escaped, numbers in the shortest form and without an exponent from 1e-6 to 1e21. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

_ESCAPED = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&\u2028\u2029"}


def encode_map(value: Mapping[str, Any]) -> str:
    """Return a map of JSON values with its keys sorted, and a line break after it, as `json.Encoder` ends."""
    return _any(value) + "\n"


def encode_struct(fields: Iterable[tuple[str, Any]]) -> str:
    """Return a struct's fields in the order given, and a line break after it."""
    return "{" + ",".join(f"{_text(name)}:{_any(value)}" for name, value in fields) + "}\n"


def _any(value: Any) -> str:
    match value:
        case None | bool():
            return json.dumps(value)
        case str():
            return _text(value)
        case int():
            return str(value)
        case float():
            return _number(value)
        case Mapping():
            return "{" + ",".join(f"{_text(key)}:{_any(value[key])}" for key in sorted(value)) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_any, value)) + "]"
        case _:
            raise TypeError(f"no JSON value: {type(value).__name__}")


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).translate(_ESCAPED)


def _number(value: float) -> str:
    """Write a finite number; a whole one has no point, as the server knows one kind of number only."""
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int), "NaN and infinities are no JSON"
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        return format(Decimal((sign, digits, exponent)), "f")
    rest = "".join(map(str, digits[1:]))
    power = exponent + len(digits) - 1
    mantissa = f"{'-' * sign}{digits[0]}{'.' * bool(rest)}{rest}"
    return f"{mantissa}e{'+' if power > 0 else '-'}{abs(power)}"
