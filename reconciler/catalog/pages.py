"""A page of a catalog: Markdown with front matter -> code blocks -> commands. Pure, and nothing is ever run.

Code stands in fences, in indented lines or between backticks (https://spec.commonmark.org/0.31.2/#fenced-code-blocks);
a page is a note that people wrote by hand, so fences may also be indented, quoted or left open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from reconciler.errors import ManifestError

MAX_PAGE = 1 << 20
"""Bytes of one page."""
MAX_LINES = 20_000

_FENCE = re.compile(r"^(?P<quote>(?:[ \t]*>)*)(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})(?P<info>.*)$")
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(?P<text>.+?)[ \t#]*$")
_INDENTED = re.compile(r"^(?: {4}|\t)[ \t]*(?=\S)")
_SPAN = re.compile(r"(?<!`)`(?!`)([^`\n]{8,})`(?!`)")
_FIELD = re.compile(r"^(?P<key>[A-Za-z][\w-]*)[ \t]*:[ \t]*(?P<value>.*?)[ \t]*$")
_AIR_LINE = re.compile(r"^[ \t>*_-]*AIR[*_]*[ \t]*:[*_]*[ \t]*(?P<value>\S.*?)[ \t]*$", re.IGNORECASE)
_FRONT_LINE = re.compile(r"[\w-]+[ \t]*:|[ \t]+\S|- ")


class Block(NamedTuple):
    """Code in a page. `line` is that of its first line, from 1; `how` is `fence`, `indent` or `span`."""

    text: str
    line: int
    how: str
    language: str = ""
    heading: str = ""
    """The nearest heading above."""

    @property
    def is_bash(self) -> bool:
        """Whether the syntax rules of catalogs count it: a fence that says `bash`, or nothing."""
        return self.how == "fence" and self.language in ("", "bash")


@dataclass(frozen=True)
class Page:
    """A page, read. `trouble` says why its front matter or text cannot be taken as it stands."""

    path: str
    front: Mapping[str, Any] = field(default_factory=dict)
    """The front matter's fields; keys in lower case, values as YAML reads them."""
    air: str | None = None
    """What stands behind `AIR:` in the front matter, quotation marks taken off: an AIR, or a name of somebody's own."""
    air_line: int = 0
    body_air: tuple[str, int] | None = None
    """An `AIR:` line outside the front matter, and its line."""
    title: str = ""
    blocks: tuple[Block, ...] = ()
    trouble: str = ""
    trouble_line: int = 0


def read(data: bytes, path: str) -> Page:
    """Read a page; never raises. What is no text, or too large, has nothing but `trouble`."""
    if len(data) > MAX_PAGE:
        return Page(path, trouble=f"{len(data):,} bytes; a page has at most {MAX_PAGE:,}")
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Page(path, trouble=f"the byte 0x{data[error.start]:02x} is not UTF-8", trouble_line=line)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        return Page(path, trouble="a NUL character: this is no text", trouble_line=line)
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if len(lines) > MAX_LINES:
        return Page(path, trouble=f"{len(lines):,} lines; a page has at most {MAX_LINES:,}")
    return _read_lines(lines, path)


def _read_lines(lines: list[str], path: str) -> Page:
    end, trouble, trouble_line = _front_end(lines)
    front: Mapping[str, Any] = {}
    if end:
        front, wrong, wrong_line = _front(lines[1:end])
        trouble, trouble_line = trouble or wrong, trouble_line or wrong_line
    air, air_line = _front_air(front, lines[:end])
    blocks = tuple(_blocks(lines, end))
    return Page(
        path, front, air, air_line, _body_air(lines, end, blocks), _title(front, lines, end), blocks, trouble,
        trouble_line,
    )  # fmt: skip


def _front_end(lines: list[str]) -> tuple[int, str, int]:
    """Return how many lines the front matter takes with its two `---`, and what is wrong with that."""
    if lines[0].rstrip() != "---":
        return 0, "", 0
    end = next((at for at, line in enumerate(lines[1:], start=1) if line.rstrip() in ("---", "...")), None)
    if end is not None:
        return end + 1, "", 0
    # Fields up to the first line that is none: people forget the closing line.
    last = next((at for at, line in enumerate(lines[1:], start=1) if not _FRONT_LINE.match(line)), len(lines))
    return last, "the front matter that begins here is not closed by `---`", 1


def _front(lines: Sequence[str]) -> tuple[Mapping[str, Any], str, int]:
    """Return the fields; where they are no YAML, those that can be told line by line, and what is wrong."""
    from reconciler import yamlread

    inner = [line for line in lines if line.rstrip() not in ("---", "...")]
    try:
        value = yamlread.read("\n".join(["", *inner, ""]).encode(), "page").value
    except ManifestError as error:
        problem = error.problems[0]
        line = int(problem.where.split(":")[1]) if problem.where.count(":") >= 2 else 1
        return _line_by_line(inner), f"the front matter is no YAML that we read: {problem.summary}", line
    if value is None:
        return {}, "", 0
    if not isinstance(value, dict):
        return {}, "the front matter holds no fields", 1
    return {str(key).lower(): each for key, each in value.items()}, "", 0


def _line_by_line(lines: Sequence[str]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for line in lines:
        if one := _FIELD.match(line):
            found.setdefault(one["key"].lower(), _unquoted(one["value"]))
    return found


def _front_air(front: Mapping[str, Any], lines: Sequence[str]) -> tuple[str | None, int]:
    value = front.get("air")
    if value is None or isinstance(value, dict | list):
        return None, 0
    line = next((at for at, text in enumerate(lines, start=1) if re.match(r"air[ \t]*:", text, re.IGNORECASE)), 0)
    return _unquoted(str(value)) or None, line


def _body_air(lines: Sequence[str], start: int, blocks: Sequence[Block]) -> tuple[str, int] | None:
    code = {block.line + at for block in blocks if block.how == "fence" for at in range(block.text.count("\n") + 1)}
    for number, line in enumerate(lines[start:], start=start + 1):
        if number not in code and (found := _AIR_LINE.match(line)):
            return _unquoted(found["value"]), number
    return None


def _unquoted(text: str) -> str:
    text = text.strip()
    while len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`":
        text = text[1:-1].strip()
    return text


def _title(front: Mapping[str, Any], lines: Sequence[str], start: int) -> str:
    if isinstance(told := front.get("title"), str) and told.strip():
        return told.strip()
    first = next((found["text"] for line in lines[start:] if (found := _HEADING.match(line))), "")
    return "" if first.lower() in ("description", "download") else first


def _blocks(lines: Sequence[str], start: int) -> Iterator[Block]:
    """Yield the code of a page, from line `start` (counted from 0) on."""
    at, heading = start, ""
    while at < len(lines):
        line = lines[at]
        if (opened := _FENCE.match(line)) and (opened["fence"][0] == "~" or "`" not in opened["info"]):
            inner, after = _fenced(lines, at, opened)
            yield Block("\n".join(inner), at + 2, "fence", _language(opened["info"]), heading)
            at = after
        elif _INDENTED.match(line):
            inner, after = _indented(lines, at)
            yield Block("\n".join(inner), at + 1, "indent", "", heading)
            at = after
        else:
            if found := _HEADING.match(line):
                heading = found["text"]
            yield from (Block(found[1].strip(), at + 1, "span", "", heading) for found in _SPAN.finditer(line))
            at += 1


def _language(info: str) -> str:
    return info.strip().split()[0].lower().strip("{}.") if info.strip() else ""


def _fenced(lines: Sequence[str], at: int, opened: re.Match[str]) -> tuple[list[str], int]:
    """Return the lines inside a fence, and the line after it. A fence that nobody closes ends with the page."""
    mark, depth, indent = opened["fence"], opened["quote"].count(">"), opened["indent"]
    inner: list[str] = []
    for number in range(at + 1, len(lines)):
        line = re.sub(rf"^(?:[ \t]*>){{0,{depth}}}", "", lines[number]) if depth else lines[number]
        if re.fullmatch(rf"[ \t]*{re.escape(mark[0])}{{{len(mark)},}}[ \t]*", line):
            return inner, number + 1
        inner.append(line.removeprefix(indent))
    return inner, len(lines)


def _indented(lines: Sequence[str], at: int) -> tuple[list[str], int]:
    inner: list[str] = []
    while at < len(lines) and (_INDENTED.match(lines[at]) or not lines[at].strip()):
        inner.append(lines[at].strip())
        at += 1
    while inner and not inner[-1]:
        inner.pop()
        at -= 1
    return inner, at
