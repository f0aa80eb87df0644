"""Read a YAML document into plain values with positions, and refuse what a manifest must not hold.

Values follow the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema), keys are always text.
The parser's events are taken one by one and nothing is built that was not asked for: an alias is never followed,
depth, bytes and events are bounded, and refusing takes no more than reading.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from reconciler.errors import ManifestError, Problem
from reconciler.inert import inert

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64
MAX_EVENTS = 250_000
"""Parser events in one document; 10,000 variants take about 130,000."""
MAX_DIGITS = 100
MAX_PROBLEMS = 100

_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_OTHER_BASE = re.compile(r"0(?:o[0-7]+|x[0-9a-fA-F]+)")
_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_MAYBE_OTHER = frozenset("+-.0123456789~ntfNTF")
"""What a plain scalar that is not text can begin with."""

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]|\r(?!\n)")
_HIDDEN = re.compile("[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufff9-\ufffb\U000e0000-\U000e0fff]")

_CONFLICT = re.compile("^(?:<<<<<<< |>>>>>>> )", re.MULTILINE)

_LINE = 1 << 24
"""A position is one integer: line * _LINE + column, both from 0. A column is below the byte cap of 2**23."""


class _Node(NamedTuple):
    """Positions of a container: its own, and those of what it holds, by key or index."""

    mark: int
    below: Any


class _Number(NamedTuple):
    """Position and source text of a scalar that is not text."""

    mark: int
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A document read: `value` in plain Python values; where everything stands; what hides in it.

    `hidden` are (`name:line:column`, character) of characters that are not seen or turn the text around them.
    """

    value: Any
    name: str
    marks: Any
    hidden: tuple[tuple[str, str], ...] = ()

    def where(self, loc: tuple[str | int, ...]) -> str:
        """Return `name:line:column` (from 1) of the key or item at `loc`, or of its nearest ancestor that exists."""
        return _place(self.name, _mark(self._find(loc)[0]))

    def text(self, loc: tuple[str | int, ...]) -> str | None:
        """Return the source text of the number, boolean or null at `loc`; None for anything else."""
        found, exact = self._find(loc)
        return found.text if exact and isinstance(found, _Number) else None

    def _find(self, loc: tuple[str | int, ...]) -> tuple[Any, bool]:
        here = self.marks
        for step in loc:
            try:
                here = here.below[step]
            except (AttributeError, KeyError, IndexError, TypeError):
                return here, False
        return here, True


def read(data: bytes, name: str) -> Document:
    """Read one YAML document; `name` is how the user calls the file.

    Raises ManifestError with as many problems as can be told, each at `name:line:column`.
    """
    text = _decode(data, name)
    problems: list[Problem] = []
    value, marks = _construct(_events(text, name), name, problems)
    if problems:
        raise ManifestError(problems)
    return Document(value, name, marks, () if text.isascii() else _hidden(text, name))


def _place(name: str, mark: int) -> str:
    return f"{name}:{mark // _LINE + 1}:{mark % _LINE + 1}"


def _mark(node: Any) -> int:
    return node if isinstance(node, int) else int(node.mark)


def _decode(data: bytes, name: str) -> str:
    """Return the text of a file; refuse what is not UTF-8 text before any parser sees it."""
    if len(data) > MAX_BYTES:
        raise ManifestError(f"{len(data):,} bytes; a manifest has at most {MAX_BYTES:,}", where=name)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or (len(data) > 1 and 0 in data[:2]):
        raise ManifestError("this is UTF-16 or UTF-32, or not text", where=f"{name}:1:1", hint="save it as UTF-8")
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError as error:
        lead = data[: error.start]
        line, column = lead.count(b"\n"), len(lead) - lead.rfind(b"\n")
        raise ManifestError(
            f"the byte 0x{data[error.start]:02x} is not UTF-8", where=f"{name}:{line + 1}:{column}",
            hint="save the file as UTF-8",
        ) from None  # fmt: skip
    if found := _CONTROL.search(text):
        raise ManifestError(
            f"the control character U+{ord(found.group()[0]):04X}", where=_spot(text, found.start(), name),
            hint="remove it; lines end with LF or CR LF, a byte order mark stands only at the start",
        )  # fmt: skip
    if text.count("\n") + text.count(",") > MAX_EVENTS:
        raise _too_many(name)  # every line or comma begins something, if only a comment: no need to parse
    return text


def _too_many(name: str) -> ManifestError:
    return ManifestError(f"more than {MAX_EVENTS:,} keys and values", where=name, hint="split the manifest")


def _spot(text: str, offset: int, name: str) -> str:
    return f"{name}:{text.count(chr(10), 0, offset) + 1}:{offset - text.rfind(chr(10), 0, offset)}"


def _hidden(text: str, name: str) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for one in _HIDDEN.finditer(text):
        found.append((_spot(text, one.start(), name), one.group()))
        if len(found) == 10:
            break
    return tuple(found)


def _events(text: str, name: str) -> Iterator[Any]:
    """Yield the parser's events; its exceptions become a ManifestError that says where.

    libyaml through PyYAML: the parser inside ruamel.yaml.clib 0.2 takes no `:` in a plain scalar of a flow
    collection, as in `{source: hf:owner/repo}`. Where libyaml's binding is missing the same events come from
    ruamel.yaml's Python code, many times slower.
    """
    parse, errors = _parser()
    try:
        yield from parse(text)
    except errors as error:
        raise ManifestError(_syntax(error, text, name)) from None
    except (ValueError, OverflowError) as error:  # the one in Python, for an escape beyond Unicode
        raise ManifestError(f"not YAML: {inert(str(error))[:200]}", where=name) from None


def _parser() -> tuple[Callable[[str], Iterable[Any]], type[Exception]]:
    """Return the function that makes events of a text, and the error that it raises."""
    try:
        import yaml  # type: ignore[import-untyped]

        return partial(yaml.parse, Loader=yaml.CSafeLoader), yaml.YAMLError
    except (ImportError, AttributeError):  # no PyYAML, or one without libyaml
        pass
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    return YAML(typ="safe", pure=True).parse, YAMLError


def _syntax(error: Any, text: str, name: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be parsed")
    if mark is None:
        return Problem(name, f"not YAML: {inert(problem)[:200]}", "")
    line = text.split("\n", mark.line + 1)[mark.line] if mark.line < text.count("\n") + 1 else ""
    hint = ""
    if line[: mark.column + 1].lstrip(" ").startswith("\t"):
        problem, hint = "a tab where only spaces may indent", "use spaces"
    elif (found := _CONFLICT.search(text)) is not None:
        where = _spot(text, found.start(), name)
        return Problem(where, "not YAML: a conflict marker of git", "finish the merge")
    elif "alias" in str(getattr(error, "context", "")):
        problem, hint = "a `*` that is not quoted", 'quote a pattern: "*.gguf"'
        mark = error.context_mark or mark
    elif "mapping values" in problem:
        hint = "quote a value that holds `: `, or leave the space out"
    elif "incompatible" in problem:
        problem, hint = "another version of YAML", "leave the %YAML line out"
    return Problem(f"{name}:{mark.line + 1}:{mark.column + 1}", f"not YAML: {inert(problem)[:200]}", hint)


_NODES = frozenset({"ScalarEvent", "MappingStartEvent", "SequenceStartEvent", "AliasEvent"})
_ENDS = frozenset({"MappingEndEvent", "SequenceEndEvent"})


class _Frame(NamedTuple):
    """A mapping or sequence under construction."""

    value: Any
    below: Any
    mark: int
    seen: dict[str, int] | None
    """Of a mapping: the normalised key -> where it stands. None for a sequence."""


def _construct(events: Iterator[Any], name: str, problems: list[Problem]) -> tuple[Any, Any]:
    """Build values and positions from events; append what must not be there to `problems`."""
    stack: list[_Frame] = []
    root = frame = _Frame([], [], 0, None)
    key: tuple[str, int] | None = None
    for count, event in enumerate(events):
        if count > MAX_EVENTS:
            raise _too_many(name)
        kind = type(event).__name__
        mark = event.start_mark.line * _LINE + event.start_mark.column
        if kind in _ENDS:
            frame, key = stack.pop(), None
            continue
        if kind not in _NODES:
            if (found := _of_stream(event, name, mark, root)) is not None:
                raise ManifestError([*problems, found])
            continue
        _refuse_marks(event, kind, name, mark, problems)
        if frame.seen is not None and key is None:
            key = _take_key(event, mark, frame.seen, name, problems)
            continue
        place = key[1] if key else mark
        if kind == "ScalarEvent":
            value, text = _scalar(event, name, mark, problems)
            _put(frame, key, value, place if text is None else _Number(place, text))
        elif kind != "AliasEvent":
            inner = _opened(kind == "MappingStartEvent", mark)
            _put(frame, key, inner.value, _Node(place, inner.below))
            stack.append(frame)
            frame = inner
            if len(stack) > MAX_DEPTH:
                raise ManifestError(f"nested more than {MAX_DEPTH} deep", where=_place(name, mark))
        key = None
    return (root.value[0], root.below[0]) if root.value else (None, 0)


def _opened(is_mapping: bool, mark: int) -> _Frame:
    return _Frame({}, {}, mark, {}) if is_mapping else _Frame([], [], mark, None)


def _put(frame: _Frame, key: tuple[str, int] | None, value: Any, marks: Any) -> None:
    if frame.seen is None:
        frame.value.append(value)
        frame.below.append(marks)
    elif key is not None:
        frame.value[key[0]] = value
        frame.below[key[0]] = marks


def _report(problems: list[Problem], problem: Problem) -> None:
    problems.append(problem)
    if len(problems) >= MAX_PROBLEMS:
        raise ManifestError([*problems, Problem("", f"and perhaps more; shown are the first {MAX_PROBLEMS}")])


def _refuse_marks(event: Any, kind: str, name: str, mark: int, problems: list[Problem]) -> None:
    """Report aliases, tags and anchors."""
    if kind == "AliasEvent":
        _report(
            problems, Problem(_place(name, mark), "an alias (`*…`); a manifest has none", "quote it or write it out")
        )
    elif event.tag is not None:
        what = f"the tag `{inert(str(event.tag))[:80]}`; a manifest has none"
        _report(problems, Problem(_place(name, mark), what, "leave it out, or quote the text"))
    elif event.anchor is not None:
        what = f"the anchor `&{inert(str(event.anchor))[:80]}`; a manifest has none"
        _report(problems, Problem(_place(name, mark), what, "leave it out, or quote the text"))


def _of_stream(event: Any, name: str, mark: int, root: _Frame) -> Problem | None:
    """Judge the start of a document: the first, of YAML 1.2, without tag shorthands."""
    if type(event).__name__ != "DocumentStartEvent":
        return None
    if root.value:
        return Problem(_place(name, mark), "a second document (`---`)", "one file holds one manifest")
    version = getattr(event, "version", None)
    if version is not None and tuple(version) != (1, 2):
        # Parsers differ in where they say that a document with directives starts: directives stand at the top.
        return Problem(_place(name, 0), "another version of YAML than 1.2", "leave the %YAML line out")
    if getattr(event, "tags", None):
        return Problem(_place(name, mark), "a %TAG directive; a manifest has no tags", "leave it out")
    return None


def _take_key(event: Any, mark: int, seen: dict[str, int], name: str, problems: list[Problem]) -> tuple[str, int]:
    """Return the key as text, as it is written; report one that stands there already or can be none."""
    text = getattr(event, "value", None)
    if not isinstance(text, str):
        # What belongs to it has nowhere to go: there is no reading on.
        raise ManifestError([*problems, Problem(_place(name, mark), "a key that is not plain text", "a key is a name")])
    if text == "<<" and event.implicit[0]:
        _report(problems, Problem(_place(name, mark), "a merge key (`<<`)", "write the fields out"))
    elif not text:
        _report(problems, Problem(_place(name, mark), "an empty key", "a key is a name"))
    elif "\0" in text or _unencodable(text):
        _report(problems, Problem(_place(name, mark), "a key with NUL or half a character in it", "a key is a name"))
    normal = text if text.isascii() else unicodedata.normalize("NFKC", text)
    first = seen.setdefault(normal, mark)
    if first != mark:
        what = f"`{inert(text)[:200]}` stands here a second time; the first is at {_place(name, first)}"
        _report(problems, Problem(_place(name, mark), what, "remove or rename one of them"))
    return text, mark


def _unencodable(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _scalar(event: Any, name: str, mark: int, problems: list[Problem]) -> tuple[Any, str | None]:
    """Return a scalar's value by the core schema, and its source text when the value is not text."""
    text: str = event.value
    if not event.implicit[0]:
        if "\0" in text or _unencodable(text):
            _report(problems, Problem(_place(name, mark), "NUL or half a character in a text", "remove the escape"))
        return text, None
    if text and text[0] not in _MAYBE_OTHER and text[0] != ".":
        return text, None
    if text in _WORDS:
        return _WORDS[text], text
    whole = _INT.fullmatch(text)
    if not (whole or _FLOAT.fullmatch(text) or _OTHER_BASE.fullmatch(text)):
        return text, None
    if len(text) > MAX_DIGITS:
        _report(
            problems, Problem(_place(name, mark), f"a number of {len(text):,} characters", "quote it if it is text")
        )
        return None, text[:MAX_DIGITS]
    if whole:
        return int(text), text
    return (int(text, 0), text) if text[:2] in {"0o", "0x"} else (float(text), text)
