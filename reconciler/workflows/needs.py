"""From a workflow's text to the models that it needs, each once, with its address where the workflow says it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from reconciler.errors import InputError
from reconciler.inert import inert
from reconciler.paths import check_relative
from reconciler.ui.kinds import Kind, kind_named
from reconciler.workflows import graph
from reconciler.workflows.graph import Graph, GraphError, Node
from reconciler.workflows.loaders import LOADERS, NO_FILES, WITHOUT_MODELS, guess, is_file

MAX_BYTES = 64 << 20
"""Of one workflow."""

MAX_MODELS = 2000
"""Different models of one workflow."""

How = Literal["models", "properties", "widget", "note"]

_HEX = re.compile(r"[0-9a-fA-F]{8,128}")
_LINK = re.compile(r"https?://[^\s<>()\[\]\"'`]+")


class Needed(NamedTuple):
    """A model that a workflow needs. `name` is below `folder`, with `/`: `SDXL/detail.safetensors`.

    `folder` is ComfyUI's own name of it, '' where nobody tells; `kind` what it is for. `url` and `hash` (lower-case
    hex, of `hash_type`) are '' where the workflow does not say them. `node` is the id of the node, through subgraphs.
    """

    folder: str
    name: str
    kind: Kind | None = None
    url: str = ""
    hash: str = ""
    hash_type: str = ""
    node: str = ""
    where: str = ""
    how: How = "widget"
    """What said it: the root's `models`, a node's `properties.models`, a widget; `note` when the address comes from a
    note for people."""


class Needs(NamedTuple):
    """What a workflow needs, and what is odd about it."""

    models: tuple[Needed, ...]
    warnings: tuple[str, ...] = ()


def read(data: bytes, name: str) -> Needs:
    """Return the models that a workflow needs; `name` is how the user calls the file.

    Raises InputError, with `file:line:column` or `file: JSON path`, for what is no workflow.
    """
    value = _value(data, name)
    try:
        found = graph.read(value)
        raw = list(_raw(found))
    except GraphError as error:
        where = f"{name}: {error.where}" if error.where else name
        raise InputError(error.reason, where=inert(where), hint="save it again from ComfyUI") from None
    warnings: list[str] = []
    safe = [model for one in raw if (model := _safe(one, warnings)) is not None]
    models = _distinct(safe, warnings)
    if len(models) == MAX_MODELS:
        raise InputError(f"{MAX_MODELS:,} models or more; a workflow needs fewer", where=inert(name))
    notes = _noted(found)
    return Needs(tuple(_with_note(model, notes) for model in models), tuple(dict.fromkeys(warnings)))


def _value(data: bytes, name: str) -> Any:
    if len(data) > MAX_BYTES:
        raise InputError(f"{len(data):,} bytes; a workflow has at most {MAX_BYTES:,}", where=inert(name))
    try:
        # The API's form may hold NaN, which Python writes; it means nothing to us.
        return json.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except UnicodeDecodeError:
        raise InputError("this is no text; expected a workflow as JSON", where=inert(name)) from None
    except json.JSONDecodeError as error:
        place = f"{name}:{error.lineno}:{error.colno}"
        raise InputError(f"not JSON: {error.msg}", where=inert(place), hint="save it again from ComfyUI") from None
    except (RecursionError, ValueError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:100]
        raise InputError(why, where=inert(name)) from None


def _raw(found: Graph) -> Iterator[Needed]:
    """Yield everything that names a model, unchecked and as often as it stands."""
    for at, entry in enumerate(found.models):
        yield _entry(entry, f"models[{at}]", "", "models")
    for node in found.nodes:
        values = list(_values(node))
        chosen = {_base(value.name) for value in values}
        chosen = chosen or {_base(text) for text in _texts([*node.listed, *node.named.values()])}
        for at, entry in enumerate(node.models):
            model = _entry(entry, f"{node.where}.properties.models[{at}]", node.id, "properties")
            # The editor keeps the entries of models that were chosen before; only a chosen one counts.
            if not chosen or _base(model.name) in chosen:
                yield model
        yield from values


def _entry(entry: Any, where: str, node: str, how: How) -> Needed:
    """A `models` entry: name, url, directory, and a hash with its kind where there is one."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise GraphError(where, "expected a model with a `name`")
    texts: dict[str, str] = {}
    for key in ("url", "directory", "hash", "hash_type"):
        value = entry.get(key)
        if value is not None and not isinstance(value, str):
            raise GraphError(f"{where}.{key}", "expected text")
        texts[key] = (value or "").strip()
    digest = texts["hash"].removeprefix("sha256:").lower()
    kind = texts["hash_type"].lower().replace("-", "") or ("sha256" if len(digest) == 64 else "")
    if not _HEX.fullmatch(digest):
        digest = kind = ""
    return Needed(texts["directory"], entry["name"], None, texts["url"], digest, kind, node, where, how)


def _values(node: Node) -> Iterator[Needed]:
    """Yield the models that the widgets of a node name."""
    if node.type in WITHOUT_MODELS:
        return
    known = LOADERS.get(node.type, ())
    for widget in known:
        value = node.named.get(widget.name)
        if value is None and widget.position < len(node.listed):
            value = node.listed[widget.position]
        if isinstance(value, str) and value.strip().lower() not in NO_FILES and "\n" not in value:
            yield Needed(widget.folder, value, node=node.id, where=f"{node.where} ({node.type}, {widget.name})")
    told = {widget.name for widget in known}, {widget.position for widget in known}
    others: list[tuple[str, Any]] = [(key, value) for key, value in node.named.items() if key not in told[0]]
    if not told[0] & set(node.named):
        others += [("", value) for at, value in enumerate(node.listed) if at not in told[1]]
    for key, value in others:
        for text, inner in _files(value, key):
            yield Needed(guess(node.type, inner), text, node=node.id, where=f"{node.where} ({node.type})")


def _files(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield (name of a file, name of its widget) in a value; a row that is switched off (`on: false`) has none."""
    if isinstance(value, str) and is_file(value):
        yield value.strip(), key
    elif isinstance(value, dict) and value.get("on") is not False:
        for name, inner in value.items():
            if isinstance(inner, str) and is_file(inner):
                yield inner.strip(), str(name)


def _texts(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from (inner for inner in value.values() if isinstance(inner, str))


def _base(name: str) -> str:
    return name.strip().replace("\\", "/").rpartition("/")[2].lower()


def _safe(model: Needed, warnings: list[str]) -> Needed | None:
    """Return a model with a path of ours, its kind told; None, with a warning, for one that would lead elsewhere."""
    folder, _, below = model.folder.replace("\\", "/").strip("/").removeprefix("models/").partition("/")
    path = "/".join(part for part in (below, model.name.strip().replace("\\", "/").removeprefix("./")) if part)
    try:
        check_relative(path)
        if folder:
            check_relative(folder)
    except ValueError as error:
        warnings.append(inert(f"{model.where}: {error}; it is left out"))
        return None
    return model._replace(folder=folder, name=path, kind=kind_named(folder) if folder else None)


def _distinct(models: Iterable[Needed], warnings: list[str]) -> list[Needed]:
    """Return every model once: what an entry says of its address is joined with what a widget says of its folder."""
    kept: dict[str, list[Needed]] = {}
    order: list[tuple[str, int]] = []
    for model in models:
        same = kept.setdefault(_base(model.name), [])
        at = next((at for at, other in enumerate(same) if _is_same(model, other)), None)
        if at is None and len(order) == MAX_MODELS:
            break
        if at is None:
            order.append((_base(model.name), len(same)))
            same.append(model)
            continue
        if model.url and same[at].url and model.url != same[at].url:
            warnings.append(inert(f"{model.where}: {model.name} has two addresses; the first is taken"))
        same[at] = _joined(same[at], model)
    return [kept[base][at] for base, at in order]


def _is_same(one: Needed, other: Needed) -> bool:
    folders = one.folder == other.folder or not (one.folder and other.folder) or (one.kind or 1) == (other.kind or 2)
    names = one.name == other.name or "/" not in one.name or "/" not in other.name
    return folders and names


def _joined(first: Needed, second: Needed) -> Needed:
    longer = max(first.name, second.name, key=lambda name: name.count("/"))
    told = first if first.url else second
    return first._replace(
        name=longer, folder=first.folder or second.folder, kind=first.kind or second.kind, url=told.url,
        hash=first.hash or second.hash, hash_type=first.hash_type or second.hash_type,
        how=told.how if told.url else first.how, node=first.node or second.node,
    )  # fmt: skip


def _noted(found: Graph) -> Mapping[str, str]:
    """Return the addresses of files that notes for people name, by the file's name; '' for a name with several."""
    notes: dict[str, str] = {}
    for node in found.nodes:
        if node.type in ("Note", "MarkdownNote"):
            for text in _texts(node.listed):
                for url in _LINK.findall(text):
                    base = _base(re.split(r"[?#]", url)[0])
                    if is_file(base):
                        notes[base] = url if notes.get(base, url) == url else ""
    return notes


def _with_note(model: Needed, notes: Mapping[str, str]) -> Needed:
    url = "" if model.url else notes.get(_base(model.name), "")
    return model._replace(url=url, how="note") if url else model
