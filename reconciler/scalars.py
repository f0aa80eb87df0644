"""Texts, globs, sizes, shares and times as a manifest writes them: types for `declared`. Loads pydantic."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from reconciler import globs
from reconciler.inert import inert

DAY = 86_400

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([KMGTP]i?)?B?", re.IGNORECASE)
_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(s|min|h|d|w)")
_SPANS = {"s": 1, "min": 60, "h": 3600, "d": DAY, "w": 7 * DAY}
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?%")


def check_text(text: str) -> str:
    """Return `text` when a manifest may say it: 1 to 1024 visible characters; raise ValueError with the reason."""
    if not text.strip():
        raise ValueError("expected text, found nothing")
    if len(text) > 1024:
        raise ValueError(f"a text of {len(text)} characters; 1024 are allowed")
    if inert(text) != text:
        raise ValueError(f"invisible or control characters: `{inert(text)[:200]}`")
    return text


def parse_ratio(value: Any) -> Any:
    """Return the share that a manifest writes as `30%` or 0.3; raise ValueError with what was expected."""
    share = value
    if isinstance(value, str) and (found := _PERCENT.fullmatch(value)):
        share = float(found[1]) / 100
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ValueError(f"expected a share such as `30%` or 0.3, found `{inert(str(value))[:80]}`")
    return float(share)


def parse_size(value: Any) -> Any:
    """Return the bytes that a manifest writes as `20GiB`, `20GB` or a number; raise ValueError for others."""
    size = value
    if isinstance(value, str) and (found := _SIZE.fullmatch(value)):
        letter = (found[2] or "").lower()
        base = 1024 if letter.endswith("i") else 1000
        size = round(float(found[1]) * base ** " kmgtp".index(letter[:1] or " "))
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < 2**63:
        raise ValueError(f"expected a size such as `20GiB` or a number of bytes, found `{inert(str(value))[:80]}`")
    return size


def _span(value: Any) -> Any:
    span = value
    if isinstance(value, str) and (found := _SPAN.fullmatch(value)):
        span = round(float(found[1]) * _SPANS[found[2]])
    if isinstance(span, bool) or not isinstance(span, int) or not 0 <= span < 2**40:
        raise ValueError(
            f"expected a time such as `14d`, `12h` or a number of seconds, found `{inert(str(value))[:80]}`"
        )
    return span


def _check_patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        try:
            globs.check_pattern(pattern)
        except ValueError as error:
            raise ValueError(f"`{inert(pattern)[:120]}`: {error}") from None
    return patterns


_TEXT_SCHEMA = {"type": ["string", "number"], "minLength": 1, "maxLength": 1024}


Text = Annotated[str, AfterValidator(check_text), WithJsonSchema(_TEXT_SCHEMA)]
Glob = Annotated[str, AfterValidator(check_text), WithJsonSchema(_TEXT_SCHEMA)]
Patterns = Annotated[tuple[str, ...], AfterValidator(_check_patterns)]
Ratio = Annotated[
    float,
    BeforeValidator(parse_ratio),
    WithJsonSchema(
        {
            "oneOf": [
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?%$"},
                {"type": "number", "minimum": 0, "maximum": 1},
            ]
        }
    ),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema(
        {
            "oneOf": [
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?([KMGTPkmgtp]i?)?[Bb]?$"},
                {"type": "integer", "minimum": 0},
            ]
        }
    ),
]
Span = Annotated[
    int,
    BeforeValidator(_span),
    WithJsonSchema(
        {
            "oneOf": [
                {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?(s|min|h|d|w)$"},
                {"type": "integer", "minimum": 0},
            ]
        }
    ),
]
