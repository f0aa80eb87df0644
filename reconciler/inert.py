"""Text of others, made harmless for terminals and Markdown; sizes and times for people; the nearest name. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

_NAMED = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]")
"""Characters that count as printable, or as unassigned, and show nothing: fillers, variation selectors, tags."""

_PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 .,_+()/=-]|(?<=[A-Za-z0-9)])[@:](?=[A-Za-z0-9]))*")
_LINKS = re.compile(r"www\.|\bgh-[0-9]", re.IGNORECASE)
_ZERO_WIDTH = "&#8203;"


def inert(text: str) -> str:
    r"""Return `text` with every character that could steer a terminal, or hide, shown as `\x1b` or `\u{202e}`."""
    if text.isprintable() and (text.isascii() or not _BLANK.search(text)):
        return text
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _NAMED and not _BLANK.match(character):
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{{{code:04x}}}"


def inert_markdown(text: str) -> str:
    """Return `text` as one piece of Markdown code, for a table cell or a line, that can only ever be read.

    Ordinary names become a code span. Whatever else goes into a `<code>` element with every mark of punctuation as
    a character reference, which can form no markup (https://spec.commonmark.org/0.31.2/#entity-and-numeric-character-references),
    neither in Markdown nor inside an HTML block; a zero-width space breaks mentions, references and links.
    Do not put it between backticks of your own. '' stays ''.
    """
    text = inert(text)
    if not text:
        return ""
    if _PLAIN.fullmatch(text) and not text.endswith(" ") and not _LINKS.search(text):
        return f"`{text}`"
    safe = "".join(map(_reference, text))
    return f"<code>{_LINKS.sub(lambda found: found.group()[:3] + _ZERO_WIDTH + found.group()[3:], safe)}</code>"


def _reference(character: str) -> str:
    if character.isalnum() or character in " -.,/" or (not character.isascii() and character.isprintable()):
        return character
    reference = f"&#{ord(character)};"
    return reference + _ZERO_WIDTH if character in "@#:" else reference


def human_bytes(n: int) -> str:
    """Return a number of bytes as people read it: `0 B`, `812 B`, `1.9 GiB`; IEC units, one decimal."""
    if abs(n) < 1024:
        return f"{n} B"
    size = float(n)
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        size /= 1024
        if abs(size) < 1023.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} EiB"


def short_revision(revision: str | None) -> str:
    """Return the part of a revision that people compare: 7 digits of a commit, 12 of a digest as `ollama list` does."""
    if revision is None:
        return "-"
    digest = revision.removeprefix("sha256:")
    return digest[:12] if digest != revision else revision[:7]


def human_seconds(s: float) -> str:
    """Return seconds as people read them: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`, `3 d 4 h`."""
    if s < 9.95:
        return f"{max(s, 0.0):.1f} s"
    if s == float("inf"):
        return "forever"
    seconds = round(s)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    minutes = seconds // 60
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def suggest(word: str, words: Iterable[str]) -> str | None:
    """Return the name among `words` that `word` was probably meant to be, or None."""
    from difflib import get_close_matches
    from heapq import nlargest

    folded: dict[str, str] = {}
    for other in words:
        folded.setdefault(other.casefold(), other)
    wanted = word.casefold()
    if wanted in folded:
        return folded[wanted]
    # difflib compares every pair of letters: among thousands of names only those of like length and ends are tried.
    near: Iterable[str] = folded
    if len(folded) > 200:
        like = [other for other in folded if abs(len(other) - len(wanted)) <= 3]
        near = nlargest(100, like, key=lambda other: _shared(wanted, other) + _shared(wanted[::-1], other[::-1]))
    found = get_close_matches(wanted, near, n=1, cutoff=0.7)
    return folded[found[0]] if found else None


def _shared(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


_LOOKALIKES = str.maketrans(
    {
        **dict(zip("аеорсухіјѕһԁԛԝвкмнтьгпӏ", "aeopcyxijshdqwbkmhtbrnl", strict=True)),  # Cyrillic
        **dict(zip("αβγεηικνορτυχω", "abyenikvoptuxw", strict=True)),  # Greek
        **dict(zip("ıɑɡⅼ", "iagl", strict=True)),  # noqa: RUF001 - Latin beyond ASCII
    }
)
"""Letters that look like a Latin one in common fonts, lower case; after https://www.unicode.org/reports/tr39/."""


def skeleton(name: str) -> str:
    """Return what `name` looks like: folded, with Cyrillic and Greek look-alikes as their Latin letters."""
    if name.isascii():
        return name.lower()
    folded = unicodedata.normalize("NFKC", name).casefold()
    plain = "".join(c for c in unicodedata.normalize("NFD", folded) if unicodedata.category(c) not in {"Mn", "Cf"})
    return plain.translate(_LOOKALIKES)


def confusable(name: str, others: Iterable[str]) -> str | None:
    """Return the other name that `name` looks like though it is written with other letters, or None.

    Names that are plain ASCII both are told apart by eye, and never count.
    """
    look = skeleton(name)
    for other in others:
        if other != name and not (name.isascii() and other.isascii()) and skeleton(other) == look:
            return other
    return None


def few(names: Sequence[str]) -> str:
    """Name the first three, and count the rest."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
