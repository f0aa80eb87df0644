"""The nodes of a workflow that run: of the editor's form with its subgraphs and groups, and of the API's. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

MAX_NODES = 50_000
"""Nodes, those inside every use of a subgraph counted each time."""
MAX_DEPTH = 16
"""Subgraphs inside subgraphs."""

_ASLEEP = (2, 4)
"""`mode` of a node that never runs, and of one that is bypassed: LiteGraph's NEVER, and ComfyUI's own 4."""
_INSIDE = -10
"""The id of the node that stands for the inputs of a subgraph, inside it."""


class Node(NamedTuple):
    """A node that runs. `id` holds the way through subgraphs: `141:125`."""

    id: str
    type: str
    where: str
    """The JSON path of the node."""
    listed: tuple[Any, ...] = ()
    """Values of widgets by position, as the editor saves them."""
    named: Mapping[str, Any] = {}
    """Values of widgets by name; stronger than those by position."""
    models: tuple[Any, ...] = ()
    """`properties.models`, as it stands."""


class Graph(NamedTuple):
    """A workflow's nodes, its root `models`, and whether it is of the editor's form."""

    nodes: tuple[Node, ...]
    models: tuple[Any, ...]


class GraphError(ValueError):
    """The JSON is no workflow; `where` is the JSON path."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(reason)
        self.where = where
        self.reason = reason


def read(value: Any) -> Graph:
    """Return the nodes of a workflow that run; raise GraphError with the place for what is none."""
    if not isinstance(value, dict):
        raise GraphError("", f"expected an object with `nodes`, found {_kind(value)}")
    if isinstance(value.get("nodes"), list):
        return Graph(tuple(_of_editor(value)), _models(value.get("models"), "models"))
    if "nodes" in value:
        raise GraphError("nodes", f"expected a list, found {_kind(value['nodes'])}")
    prompt = value["prompt"] if isinstance(value.get("prompt"), dict) else value
    if prompt and all(isinstance(node, dict) and "class_type" in node for node in prompt.values()):
        return Graph(tuple(_of_api(prompt, "prompt." if prompt is not value else "")), ())
    raise GraphError("", "no workflow: expected `nodes`, or nodes with `class_type` as the API takes them")


def _of_api(prompt: Mapping[str, Any], path: str) -> Iterator[Node]:
    if len(prompt) > MAX_NODES:
        raise GraphError(path, f"{len(prompt):,} nodes; {MAX_NODES:,} are read")
    for key, node in prompt.items():
        inputs = node.get("inputs")
        if not isinstance(node["class_type"], str) or not isinstance(inputs if inputs is not None else {}, dict):
            raise GraphError(f"{path}{key}", "expected `class_type` as text and `inputs` as an object")
        # A list is a link to another node.
        values = {name: value for name, value in (inputs or {}).items() if not isinstance(value, list)}
        yield Node(key, node["class_type"], f"{path}{key}", (), values)


class _Definition(NamedTuple):
    nodes: list[Any]
    inputs: list[Any]
    links: list[Any]
    where: str


def _of_editor(value: Mapping[str, Any]) -> Iterator[Node]:
    definitions = {**_groups(value), **_subgraphs(value)}
    for count, node in enumerate(_walk(value["nodes"], "nodes", definitions, "", {}, ())):
        if count >= MAX_NODES:
            raise GraphError(node.where, f"more than {MAX_NODES:,} nodes, uses of subgraphs counted")
        yield node


def _subgraphs(value: Mapping[str, Any]) -> dict[str, _Definition]:
    found: dict[str, _Definition] = {}
    definitions = value.get("definitions")
    subgraphs = definitions.get("subgraphs") if isinstance(definitions, dict) else None
    for at, one in enumerate(subgraphs if isinstance(subgraphs, list) else []):
        where = f"definitions.subgraphs[{at}]"
        if not isinstance(one, dict) or not isinstance(one.get("nodes"), list):
            raise GraphError(where, "expected a subgraph with `nodes`")
        found[str(one.get("id"))] = _Definition(one["nodes"], _list(one, "inputs"), _list(one, "links"), where)
    return found


def _groups(value: Mapping[str, Any]) -> dict[str, _Definition]:
    """Group nodes, which subgraphs have replaced: `extra.groupNodes`, used as `workflow/NAME` or `workflow>NAME`."""
    extra = value.get("extra")
    groups = extra.get("groupNodes") if isinstance(extra, dict) else None
    found: dict[str, _Definition] = {}
    for name, one in groups.items() if isinstance(groups, dict) else ():
        if isinstance(one, dict) and isinstance(one.get("nodes"), list):
            for mark in "/>":
                found[f"workflow{mark}{name}"] = _Definition(one["nodes"], [], [], f"extra.groupNodes.{name}")
    return found


def _walk(
    nodes: list[Any],
    where: str,
    definitions: Mapping[str, _Definition],
    prefix: str,
    given: Mapping[str, Mapping[str, Any]],
    above: tuple[str, ...],
) -> Iterator[Node]:
    """Yield nodes that run; `given` are values from outside: id of a node -> name of a widget -> value."""
    for at, raw in enumerate(nodes):
        place = f"{where}[{at}]"
        if not isinstance(raw, dict) or not isinstance(raw.get("type"), str):
            raise GraphError(place, "expected a node with a `type`")
        if raw.get("mode") in _ASLEEP:
            continue
        # Nodes of a group carry no id of their own, but their index.
        key = str(raw.get("id", raw.get("index", at)))
        node = _node(raw, f"{prefix}{key}", place, given.get(key, {}))
        inner = definitions.get(node.type)
        if inner is None:
            yield node
            continue
        if node.type in above or len(above) >= MAX_DEPTH:
            raise GraphError(place, "a subgraph that holds itself, or one nested too deeply")
        inside = _given(inner, node, raw)
        yield from _walk(
            inner.nodes, f"{inner.where}.nodes", definitions, f"{node.id}:", inside, (*above, node.type)
        )  # fmt: skip


def _node(raw: Mapping[str, Any], key: str, place: str, given: Mapping[str, Any]) -> Node:
    values = raw.get("widgets_values")
    properties = raw.get("properties")
    models = properties.get("models") if isinstance(properties, dict) else None
    return Node(
        key, raw["type"], place, tuple(values) if isinstance(values, list) else (),
        {**(values if isinstance(values, dict) else {}), **given}, _models(models, f"{place}.properties.models"),
    )  # fmt: skip


def _given(inner: _Definition, node: Node, raw: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what a use of a subgraph says for widgets inside: they are shown outside, and their values kept there.

    The values stand in the order of the subgraph's inputs that lead to widgets. An input that is linked outside takes
    its value from there, and what stands in the list is old.
    """
    targets = _targets(inner)
    shown = [slot for slot in range(len(inner.inputs)) if targets.get(slot)]
    linked = {
        each.get("name") for each in _list(raw, "inputs") if isinstance(each, dict) and each.get("link") is not None
    }
    inside: dict[str, dict[str, Any]] = {}
    for at, slot in enumerate(shown):
        name = inner.inputs[slot].get("name") if isinstance(inner.inputs[slot], dict) else None
        value = node.listed[at] if len(node.listed) == len(shown) else None
        value = node.named.get(str(name), value)
        if value is not None and name not in linked:
            for target, widget in targets[slot]:
                inside.setdefault(target, {})[widget] = value
    return inside


def _targets(inner: _Definition) -> dict[int, list[tuple[str, str]]]:
    """Slot of a subgraph's input -> the widgets that it leads to: (id of the node, name of the widget)."""
    nodes = {str(raw.get("id")): raw for raw in inner.nodes if isinstance(raw, dict)}
    found: dict[int, list[tuple[str, str]]] = {}
    for link in inner.links:
        if not isinstance(link, dict) or link.get("origin_id") != _INSIDE:
            continue
        inputs = _list(nodes.get(str(link.get("target_id")), {}), "inputs")
        slot, at = link.get("origin_slot"), link.get("target_slot")
        if not isinstance(slot, int) or not isinstance(at, int) or not 0 <= at < len(inputs):
            continue
        widget = inputs[at].get("widget") if isinstance(inputs[at], dict) else None
        if isinstance(widget, dict) and isinstance(widget.get("name"), str):
            found.setdefault(slot, []).append((str(link["target_id"]), widget["name"]))
    return found


def _models(value: Any, where: str) -> tuple[Any, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise GraphError(where, f"expected a list of models, found {_kind(value)}")
    return tuple(value)


def _list(value: Mapping[str, Any], key: str) -> list[Any]:
    found = value.get(key)
    return found if isinstance(found, list) else []


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "nothing"}
    return names.get(type(value), "a number")
