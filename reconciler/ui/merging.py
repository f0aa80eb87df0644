"""Companions that are there already: merged where their format says how, judged where they look broken. Pure.

What a user or another program wrote stays: ours only adds what is not there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from reconciler.ui.companions import ENDINGS
from reconciler.ui.previews import SUFFIXES, is_cut, media_of

_KEY = re.compile(r"([A-Za-z_][\w-]*):")
_HEADING = re.compile(r"^# +(.+?)[ \t\r]*$", re.MULTILINE)


def is_companion(path: str) -> bool:
    """Whether a file of this name is what lies beside a model: a note of one of our formats, or a preview."""
    name = path.lower()
    return name.endswith(tuple(ENDINGS.values())) or any(name.endswith(f".preview{each}") for each in SUFFIXES.values())


def merge(path: str, existing: str, ours: str) -> str | None:
    """Return the text that keeps all of `existing` and adds what only `ours` says; None when nobody can tell how.

    Objects of JSON gain keys that they lack, at every depth; pages gain keys of the front matter and sections that
    they lack. The text comes back as it is, byte for byte, when nothing is missing. Raises nothing.
    """
    if path.endswith(".md"):
        return _merged_pages(existing, ours)
    try:
        theirs, mine = json.loads(existing), json.loads(ours)
    except (ValueError, RecursionError):
        return None
    if not isinstance(theirs, dict) or not isinstance(mine, dict):
        return None
    whole = _union(theirs, mine)
    return existing if whole == theirs else json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def broken(path: str, data: bytes) -> str | None:
    """Say why a companion cannot be what its name says; `data` is all of its bytes. None for one that can be."""
    if not path.endswith(tuple(ENDINGS.values())):
        media = media_of(data)
        suffix = f".{path.rpartition('.')[2].lower()}"
        if media is None:
            return "no picture or video that can be shown"
        if SUFFIXES[media] != suffix.replace(".jpg", ".jpeg"):
            return f"the bytes are {media}, not {suffix}"
        return "the picture ends in the middle" if is_cut(media, data) else None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "not UTF-8 text"
    if path.endswith(".md"):
        return "an empty page" if not text.strip() else "no text" if "\0" in text else None
    try:
        return None if isinstance(json.loads(text), dict) else "not a JSON object"
    except (ValueError, RecursionError):
        return "not JSON"


def _union(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> dict[str, Any]:
    whole = dict(theirs)
    for key, value in mine.items():
        if key not in whole:
            whole[key] = value
        elif isinstance(whole[key], dict) and isinstance(value, dict):
            whole[key] = _union(whole[key], value)
    return whole


def _merged_pages(existing: str, ours: str) -> str | None:
    """Add keys and sections to a page with front matter; without it nobody can tell where facts belong."""
    theirs, mine = _front(existing), _front(ours)
    if theirs is None or mine is None:
        return None
    keys = {found[1] for line in theirs[0] if (found := _KEY.match(line))}
    added = [line for key, lines in _entries(mine[0]) if key not in keys for line in lines]
    headings = {title.casefold() for title in _HEADING.findall(theirs[1])}
    sections = [text for title, text in _sections(mine[1])[1:] if title.casefold() not in headings]
    if not added and not sections:
        return existing
    newline = "\r\n" if "\r\n" in existing else "\n"
    front = newline.join(["---", *theirs[0], *added, "---"])
    body = theirs[1]
    for text in sections:
        body = body.rstrip("\r\n") + newline * 2 + text.strip("\n").replace("\n", newline) + newline
    return front + newline + body


def _front(page: str) -> tuple[list[str], str] | None:
    """Part a page into the lines of its front matter and what follows; None when it has none."""
    lines = page.removeprefix("\ufeff").splitlines(keepends=True)
    if not lines or lines[0].rstrip() != "---":
        return None
    for number, line in enumerate(lines[1:], start=1):
        if line.rstrip() == "---":
            return [each.rstrip("\r\n") for each in lines[1:number]], "".join(lines[number + 1 :])
    return None


def _entries(lines: list[str]) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        if key := _KEY.match(line):
            found.append((key[1], [line]))
        elif found:
            found[-1][1].append(line)
    return found


def _sections(body: str) -> list[tuple[str, str]]:
    starts = [*_HEADING.finditer(body)]
    ends = [*(each.start() for each in starts[1:]), len(body)]
    return [(start[1], body[start.start() : end]) for start, end in zip(starts, ends, strict=True)]
