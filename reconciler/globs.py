"""Which files a pattern means: shell globs over posix paths, in time that grows with the text and not beyond."""

from __future__ import annotations

import re
from fnmatch import translate
from functools import lru_cache

MAX_PATTERN = 512
"""Characters; a longer pattern is a mistake or an attack."""
MAX_STARS = 16
"""Wildcards `*` in one pattern: matching takes at most so many passes over a name."""

_DRIVE = re.compile(r"[A-Za-z]:")
_ANY_DEPTH = None


def check_pattern(pattern: str) -> str:
    """Return `pattern` when it may choose files of a source; raise ValueError with the reason."""
    if not pattern:
        raise ValueError("an empty pattern")
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"a pattern of {len(pattern)} characters; {MAX_PATTERN} are allowed")
    if not pattern.isprintable():
        raise ValueError("a pattern with control or invisible characters")
    if pattern[0] == "!":
        raise ValueError("a pattern cannot be negated with `!`; use `exclude`")
    if pattern[0] in "/~" or "\\" in pattern or _DRIVE.match(pattern):
        raise ValueError("a pattern is relative to the source and uses `/`")
    if {".", "..", ""} & set(pattern.rstrip("/").split("/")) or pattern.endswith("//"):
        raise ValueError("a pattern must not hold `.`, `..` or empty components")
    if pattern.count("*") > MAX_STARS:
        raise ValueError(f"a pattern with more than {MAX_STARS} `*`")
    return pattern


def exact(path: str) -> str:
    """Return the pattern that means one path: what is special in a glob is put between brackets."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def matches(pattern: str, path: str) -> bool:
    """Whether `pattern` means the file at `path` (posix, relative; case counts).

    Without `/` a pattern is compared with the base name, in any directory. With `/` it is compared with the whole
    path, component by component: `*` and `?` cross no `/`, `**` stands for any number of directories, a trailing `/`
    for everything below.
    """
    parts = path.split("/") if "/" in pattern else [path.rsplit("/", 1)[-1]]
    return _match_components(_compiled(pattern), parts)


def matches_text(pattern: str, text: str) -> bool:
    """Whether `pattern` means the whole of `text`; case does not count and `*` crosses everything (names, sources)."""
    return _compiled_text(pattern).match(text.lower()) is not None


def _match_components(wanted: tuple[re.Pattern[str] | None, ...], parts: list[str]) -> bool:
    # Two fingers, and the last `**` to come back to: a later `**` never needs an earlier one to be tried again.
    at = part = 0
    back: tuple[int, int] | None = None
    while part < len(parts):
        if at < len(wanted):
            here = wanted[at]
            if here is _ANY_DEPTH:
                back = (at, part)
                at += 1
                continue
            if here is not None and here.match(parts[part]):
                at += 1
                part += 1
                continue
        if back is None:
            return False
        back = (back[0], back[1] + 1)
        at, part = back[0] + 1, back[1]
    return all(here is _ANY_DEPTH for here in wanted[at:])


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> tuple[re.Pattern[str] | None, ...]:
    if "/" not in pattern:
        return (re.compile(translate(pattern)),)
    parts = pattern.split("/")
    if parts[-1] in {"", "**"}:
        parts[-1:] = ["**", "*"]
    return tuple(_ANY_DEPTH if part == "**" else re.compile(translate(part)) for part in parts)


@lru_cache(maxsize=1024)
def _compiled_text(pattern: str) -> re.Pattern[str]:
    # fnmatch.translate writes atomic groups since Python 3.9, so that many `*` do not multiply each other's work.
    return re.compile(translate(pattern.lower()))
