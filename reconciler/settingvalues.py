"""What a setting may be: text of flags, variables and files, or plain values of TOML -> values. Asks nobody."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from reconciler import home
from reconciler.inert import suggest
from reconciler.paths import check_root

_UNITS = {"": 1, "b": 1}
_UNITS |= {unit: 1024**power for power, letter in enumerate("kmgt", 1) for unit in (letter, f"{letter}ib")}
_UNITS |= {f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)}
_RATE = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([a-z]*?)(?:/s|ps)?\s*", re.IGNORECASE)


def parse_rate(text: str) -> int | None:
    """Return bytes a second of `20MiB`, `1.5 MB/s`, `500K` or `0`; None means no limit. Raises ValueError."""
    found = _RATE.fullmatch(text)
    if not found or found[2].lower() not in _UNITS:
        raise ValueError(f"expected a rate such as 20MiB (a second), found {text[:80]!r}")
    rate = round(float(found[1]) * _UNITS[found[2].lower()])
    if rate == 0 and float(found[1]) > 0:
        raise ValueError(f"expected at least 1 byte a second, found {text[:80]!r}")
    return rate or None


def path(value: object, environ: Mapping[str, str]) -> Path:
    """Return a path with `~` expanded; whether it must be absolute depends on who says it. Raises ValueError."""
    if isinstance(value, Path):
        return value
    return home.expand(_text(value), environ)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(f"expected text, found {str(value)[:80]!r}")
    return value


def program(value: object, environ: Mapping[str, str]) -> str:
    """Return the name or the absolute path of a program: a relative one is another in every directory."""
    text = str(path(value, environ))
    if "/" in text and not text.startswith("/"):
        raise ValueError(f"expected a name, or an absolute path, found {text[:80]!r}")
    return text


def records(value: object, environ: Mapping[str, str]) -> Path:
    """Return a directory that may hold a registry: none of the system, of other programs, or home itself."""
    there = path(value, environ)
    return Path(check_root(str(there))) if there.is_absolute() else there


def url(value: object, environ: Mapping[str, str]) -> str:
    """Return an address that we would open, without a slash at its end; a wrong one is not repeated with secrets."""
    del environ
    from reconciler.sources import urls

    text = _text(value).strip().rstrip("/")
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError("expected a URL such as https://huggingface.co") from None
    if parts.username or parts.password or "@" in parts.netloc:
        raise ValueError("expected a URL without user name and password")
    if parts.query or parts.fragment:
        raise ValueError("expected a URL without `?` and `#`")
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise ValueError(f"expected a URL such as https://huggingface.co, found {text[:80]!r}")
    urls.check(text)
    return text


def rate(value: object, environ: Mapping[str, str]) -> int | None:
    """Return bytes a second, None for no limit; a plain number counts bytes."""
    del environ
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value or None
    if not isinstance(value, str):
        raise ValueError(f"expected a rate such as 20MiB (a second), found {str(value)[:80]!r}")
    return parse_rate(value)


def number(least: int, most: int) -> Callable[[object, Mapping[str, str]], int]:
    """Return what reads a whole number of this range."""

    def parse(value: object, environ: Mapping[str, str]) -> int:
        del environ
        number = int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value.strip()) else value
        if type(number) is not int or not least <= number <= most:
            raise ValueError(f"expected a whole number from {least} to {most}, found {str(value)[:80]!r}")
        return number

    return parse


def word(*words: str) -> Callable[[object, Mapping[str, str]], str]:
    """Return what takes one of these words."""

    def parse(value: object, environ: Mapping[str, str]) -> str:
        del environ
        if value in words:
            return str(value)
        near = suggest(str(value), words)
        hint = f"; did you mean {near}?" if near else ""
        raise ValueError(f"expected one of {', '.join(words)}, found {str(value)[:80]!r}{hint}")

    return parse
