"""Keep secrets out of sight: a value that shows itself as `***`, and a filter for text that others wrote."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any, NoReturn
from urllib.parse import quote, quote_plus

HIDDEN = "***"
"""What stands where a secret stood."""

_QUERY = (
    r"x-amz-signature|x-amz-credential|x-amz-security-token|x-goog-signature|x-goog-credential|signature|sig|policy"
    r"|key-pair-id|access_token|refresh_token|token|api_key|apikey|api-key|key|secret|password|auth"
)
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"(?i)((?:proxy-)?authorization['\"]?\s*[:=]\s*['\"]?)(?:(?:bearer|basic|token)\s+)?[^\s'\",;]+"),
        r"\1***",
    ),
    (re.compile(r"(?i)((?:set-)?cookie['\"]?\s*[:=]\s*['\"]?)[^\r\n'\"]+"), r"\1***"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 ***"),
    (re.compile(rf"(?i)([?&;](?:{_QUERY})=)[^&;\s'\"<>)\]]*"), r"\1***"),
    (re.compile(r"(?i)\b((?:x-amz-signature|x-amz-security-token|signature|token)=)[^&;\s'\"<>)\]]*"), r"\1***"),
    (re.compile(r"\bhf_[A-Za-z0-9_-]{6,}"), "hf_***"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), HIDDEN),
    (re.compile(r"(?i)(https?://)[^/\s@'\"?#]+@"), r"\1***@"),
)
"""Headers, query values (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html), tokens of the
Hub, JSON web tokens, and credentials before the `@` of a URL."""


class Secret:
    """A token. Printing, formatting, logging or `dataclasses.asdict` of what holds it never shows the value.

    Not a dataclass for that very reason. It cannot be pickled: `reveal()` is the only way to the value.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value; call it only where a header is made."""
        return self._value

    def __str__(self) -> str:
        return HIDDEN

    def __repr__(self) -> str:
        return "Secret(***)"

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not written anywhere")


def redact(text: str, secrets: Iterable[Secret | str | None] = ()) -> str:
    """Return `text` without `secrets` (also percent- or base64-encoded) and without what looks like one. Pure."""
    for secret in secrets:
        value = secret.reveal() if isinstance(secret, Secret) else secret
        if value:
            for form in _forms(value):
                text = text.replace(form, HIDDEN)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def _forms(value: str) -> tuple[str, ...]:
    raw = value.encode("utf-8", "surrogateescape")
    encoded = base64.b64encode(raw).decode().rstrip("=")
    return tuple(dict.fromkeys((value, quote(value, safe=""), quote_plus(value), encoded)))
