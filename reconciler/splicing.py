"""Find where a key, an entry or an item of a YAML text stands, and where a new one goes; the rest stays, byte for byte.

A round trip through a dumper (ruamel.yaml's, too) would fold, quote and indent what nobody asked to change, so the text
is cut open instead: the parser that reads manifests says where every node begins and ends, and new text goes between.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from reconciler import yamlwrite

Node = Any
"""A node as PyYAML and ruamel.yaml compose it: `id` (scalar, sequence, mapping), `value`, and marks with an `index`."""

_COMMENT = re.compile(r"([ ]*)#[^\n]*(?:\n|\Z)|[ \t\r]*(?:\n|\Z)")

_ALONE = re.compile(r"[ \t]*,[ \t]*(#[^\n]*)?\r?\n|[ \t]+#[^\n]*\n|[ \t]*\r?\n")
_COMMA = re.compile(r"\s*,(?:[ \t]*(?![ \t#])|)")


class Cut(NamedTuple):
    """Replace what stands between two offsets."""

    start: int
    end: int
    text: str


class Pair(NamedTuple):
    """A key and its value, as nodes."""

    key: Node
    value: Node


@dataclass(frozen=True, slots=True)
class Sheet:
    """A YAML text and its nodes. `root` is None for a text of comments only. `step` is how deep its levels go in."""

    text: str
    root: Node
    newline: str
    step: int


def sheet(text: str) -> Sheet:
    """Take a text (without byte order mark) apart; raise ValueError when it is no YAML."""
    compose, errors = _composer()
    try:
        root = compose(text)
    except errors as error:
        raise ValueError(str(error)) from None
    newline = "\r\n" if 2 * text.count("\r\n") > text.count("\n") else "\n"
    return Sheet(text, root, newline, _step(root))


def _composer() -> tuple[Callable[[str], Node], type[Exception]]:
    """Return the function that makes nodes of a text, and its error: of the parser that `yamlread` takes, too."""
    try:
        import yaml  # type: ignore[import-untyped]

        return partial(yaml.compose, Loader=yaml.CSafeLoader), yaml.YAMLError
    except (ImportError, AttributeError):  # no PyYAML, or one without libyaml
        pass
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    return YAML(typ="rt", pure=True).compose, YAMLError


def cut(text: str, cuts: Sequence[Cut]) -> str:
    """Return the text with these cuts made. Cuts at one place are made in their order."""
    parts: list[str] = []
    at = 0
    for one in sorted(cuts, key=lambda each: (each.start, each.end)):
        parts += (text[at : one.start], one.text)
        at = one.end
    return "".join((*parts, text[at:]))


def find(mapping: Node, key: str) -> Pair | None:
    """Return the pair of a mapping with this key."""
    pairs = _pairs(mapping)
    return next((pair for pair in pairs if pair.key.value == key), None)


def is_empty(node: Node) -> bool:
    """Whether a node says nothing: null, `~`, or nothing at all."""
    return _is(node, "scalar") and not node.style and node.value in ("", "~", "null", "Null", "NULL")


def put(page: Sheet, owner: Pair | None, entries: Mapping[str, Any]) -> list[Cut]:
    """Add entries at the end of the mapping that `owner` holds (None: of the whole text), in that mapping's style."""
    node = owner.value if owner else page.root
    if owner is None and (node is None or is_empty(node)):
        return [_at_line(page, len(page.text), _lines(page, entries, 0))]
    if _is(node, "mapping") and not node.flow_style:
        column = node.value[0][0].start_mark.column
        apart = [""] if owner is None else []  # a new section stands apart from the one above
        return [_at_line(page, _below(page, _end(page, node), column), [*apart, *_lines(page, entries, column)])]
    if owner is not None and _opens(page, owner):
        column = owner.key.start_mark.column + page.step
        below = _below(page, _colon(page, owner) if is_empty(owner.value) else owner.value.end_mark.index, column)
        return [*_emptied(page, owner), _at_line(page, below, _lines(page, entries, column))]
    said = ", ".join(f"{yamlwrite.scalar(key, flow=True)}: {yamlwrite.flow(value)}" for key, value in entries.items())
    return [_between_brackets(page, node, said)]


def append(page: Sheet, owner: Pair, items: Sequence[str]) -> list[Cut]:
    """Add items at the end of the list that `owner` holds, in that list's style."""
    node = owner.value
    said = ", ".join(yamlwrite.flow(item) for item in items)
    if not _is(node, "sequence"):
        return [*_emptied(page, owner), Cut(_colon(page, owner), _colon(page, owner), f" [{said}]")]
    if node.flow_style:
        return [_between_brackets(page, node, said)]
    column = node.start_mark.column
    lines = [f"{' ' * column}- {yamlwrite.scalar(item)}" for item in items]
    return [_at_line(page, _below(page, _end(page, node), column), lines)]


def drop(page: Sheet, node: Node, indexes: Collection[int]) -> list[Cut]:
    """Take the entries or items at these indexes out of a mapping or list; comments on lines of their own stay."""
    spans = [(_first(each), _end(page, each)) for each in _members(node)]
    if not node.flow_style:
        return [_lines_of(page, *spans[index]) for index in sorted(indexes)]
    own = {at: lines for at in indexes if (lines := _own_lines(page, *spans[at]))}
    made = own | {at: cut for at in indexes if at not in own and (cut := _with_comma(page, *spans[at]))}
    last = len(spans) - 1
    if last in indexes and last not in made:  # no comma follows it, so the one before goes
        first = last
        while first - 1 in made and first - 1 not in own:
            first -= 1
        begin = spans[first - 1][1] if first and first - 1 not in made else spans[first][0]
        if "#" in page.text[begin : spans[last][0]]:
            first, begin = last, spans[last][0]
        made = {at: cut for at, cut in made.items() if at < first} | {last: Cut(begin, spans[last][1], "")}
    return list(made.values())


def emptied_list(page: Sheet, owner: Pair) -> list[Cut]:
    """Make the block list that `owner` holds an empty one: its lines go, `[]` stands behind the colon."""
    colon = _colon(page, owner)
    return [Cut(colon, colon, " []"), *drop(page, owner.value, range(len(owner.value.value)))]


def reword(node: Node, text: str) -> Cut:
    """Replace a scalar; one that stood in quotes stays in quotes."""
    said = yamlwrite.quoted(text) if node.style else yamlwrite.scalar(text, flow=True)
    return Cut(node.start_mark.index, node.end_mark.index, said)


def items(node: Node) -> Sequence[Node]:
    """Return the items of a list, none for anything else."""
    return tuple(node.value) if _is(node, "sequence") else ()


def pairs(node: Node) -> Sequence[Pair]:
    """Return the pairs of a mapping, none for anything else."""
    return tuple(_pairs(node))


def _is(node: Node, kind: str) -> bool:
    return node is not None and bool(node.id == kind)


def _pairs(node: Node) -> list[Pair]:
    return [Pair(*each) for each in node.value] if _is(node, "mapping") else []


def _members(node: Node) -> Sequence[Node | Pair]:
    return _pairs(node) if _is(node, "mapping") else tuple(node.value)


def _first(member: Node | Pair) -> int:
    return int((member.key if isinstance(member, Pair) else member).start_mark.index)


def _end(page: Sheet, member: Node | Pair) -> int:
    """Return the offset behind the last character that belongs to a node, without the comments that follow."""
    if isinstance(member, Pair):
        if _is(member.value, "scalar") and member.value.start_mark.index == member.value.end_mark.index:
            return _colon(page, member)
        return _end(page, member.value)
    if _is(member, "scalar") or member.flow_style or not member.value:
        return int(member.end_mark.index)
    return _end(page, _members(member)[-1])


def _lines_of(page: Sheet, start: int, end: int) -> Cut:
    """Cut the lines from the one of an offset to the one of another, comments behind them too."""
    return Cut(page.text.rfind("\n", 0, start) + 1, _next_line(page.text, end), "")


def _own_lines(page: Sheet, start: int, end: int) -> Cut | None:
    """Cut the lines of an entry between brackets that shares them with nothing but its comma and a comment."""
    before = page.text[page.text.rfind("\n", 0, start) + 1 : start]
    return _lines_of(page, start, end) if not before.strip(" \t") and _ALONE.match(page.text, end) else None


def _with_comma(page: Sheet, start: int, end: int) -> Cut | None:
    """Cut an entry between brackets and the comma behind it; None when there is none."""
    found = _COMMA.match(page.text, end)
    if found is None:
        return None
    if page.text.startswith(("\n", "\r"), found.end()):
        start = len(page.text[:start].rstrip(" \t"))
    return Cut(start, found.end(), "")


def _colon(page: Sheet, owner: Pair) -> int:
    """Return the offset behind the colon of a pair."""
    return page.text.index(":", owner.key.end_mark.index) + 1


def _opens(page: Sheet, owner: Pair) -> bool:
    """Whether the value is nothing, or `{}` on the line of its key, so that a block may take its place."""
    if owner.key.start_mark.column != _indent(page.text, owner.key.start_mark.index):
        return False  # between brackets, there are no blocks
    said = page.text[_colon(page, owner) : owner.value.end_mark.index]
    return is_empty(owner.value) or (not owner.value.value and "\n" not in said)


def _emptied(page: Sheet, owner: Pair) -> list[Cut]:
    """Take away what stands behind the colon: `{}`, `[]`, `~`."""
    node = owner.value
    if node.start_mark.index == node.end_mark.index:
        return []
    return [Cut(_colon(page, owner), node.end_mark.index, "")]


def _between_brackets(page: Sheet, node: Any, said: str) -> Cut:
    if node.value:
        at = _end(page, _members(node)[-1])
        return Cut(at, at, f", {said}")
    return Cut(node.start_mark.index + 1, node.start_mark.index + 1, said)


def _lines(page: Sheet, entries: Mapping[str, Any], column: int) -> list[str]:
    return [line for key, value in entries.items() for line in yamlwrite.block(key, value, column, page.step)]


def _at_line(page: Sheet, at: int, lines: Sequence[str]) -> Cut:
    """Put whole lines at the beginning of a line, or at the end of a text whose last line does not end."""
    said = page.newline.join(lines)
    if at == len(page.text) and page.text and not page.text.endswith("\n"):
        return Cut(at, at, page.newline + said)
    return Cut(at, at, said + page.newline)


def _below(page: Sheet, at: int, column: int) -> int:
    """Return where the next entry goes: the line below, and below comments that stand as deep as the entries."""
    at = _next_line(page.text, at)
    seen = at
    while seen < len(page.text) and (found := _COMMENT.match(page.text, seen)):
        seen = found.end()
        if found[1] is not None:
            if len(found[1]) < max(column, 1):
                break
            at = seen
    return at


def _next_line(text: str, at: int) -> int:
    if at and text[at - 1] == "\n":
        return at  # a block scalar ends with its line
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def _indent(text: str, at: int) -> int:
    """Return how many spaces the line of an offset begins with."""
    begin = text.rfind("\n", 0, at) + 1
    return len(text) - begin - len(text[begin:].lstrip(" "))


def _step(root: Node) -> int:
    for pair in _pairs(root):
        if _is(pair.value, "mapping") and not pair.value.flow_style:
            return max(1, int(pair.value.value[0][0].start_mark.column) - int(pair.key.start_mark.column))
    return 2
