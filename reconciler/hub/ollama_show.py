"""What the embedded Ollama server tells of a model: its entry in the list, and everything that `show` shows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.hub import ollama_files as files
from reconciler.hub.ollama_files import Bad, Found, Store
from reconciler.hub.ollama_ggufs import Gguf, model_info, read_file, tensors_of
from reconciler.hub.ollama_names import Name

_IMAGE = "application/vnd.ollama.image."
_DEFAULT_TEMPLATE = "{{ .Prompt }}"


class Model(NamedTuple):
    """A model, with its blobs: what its layers say in words, and the paths of those that are too large for that."""

    missing: tuple[str, ...]
    config: Mapping[str, Any]
    gguf: Gguf | None
    weights: str
    adapters: tuple[str, ...]
    projectors: tuple[str, ...]
    template: str
    system: str
    licenses: tuple[str, ...]
    parameters: Mapping[str, Any]
    messages: tuple[Mapping[str, str], ...]

    @property
    def details(self) -> dict[str, Any]:
        """What both the list and `show` call details."""
        return {
            "parent_model": "",
            "format": self.config.get("model_format", ""),
            "family": (self.gguf and self.gguf.architecture) or self.config.get("model_family", ""),
            "families": self.config.get("model_families"),
            "parameter_size": self.config.get("model_type", ""),
            "quantization_level": self.config.get("file_type", ""),
        }

    @property
    def capabilities(self) -> list[str]:
        """What the model can do, as far as its files tell."""
        if self.gguf is None:
            return list(self.config.get("capabilities") or ())
        if self.gguf.own("pooling_type") is not None:
            return ["embedding"]
        more = {
            "vision": bool(self.projectors) or self.gguf.own("vision.block_count") is not None,
            "tools": ".Tools" in self.template,
            "insert": ".Suffix" in self.template,
        }
        return ["completion", *(word for word, known in more.items() if known)]


def config_of(store: Store, found: Found) -> Mapping[str, Any]:
    """Return the config that a manifest names; raise FileNotFoundError when it is not there, Bad for what it is not."""
    digest = (found.value.get("config") or {}).get("digest")
    if not digest:
        return {}
    path = files.blob_path(store, str(digest))
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise Bad(files.said("open", problem)) from None
    except ValueError:
        raise Bad("unexpected EOF") from None
    return value if isinstance(value, dict) else {}


def model_of(store: Store, found: Found) -> Model:
    """Read a model; `missing` says which blobs are not there. Raises FileNotFoundError without its config, and Bad."""
    words: dict[str, list[str]] = {}
    missing: list[str] = []
    paths: dict[str, list[str]] = {}
    for layer in found.value.get("layers") or []:
        kind = str(layer.get("mediaType", "")).removeprefix(_IMAGE)
        path = files.blob_path(store, str(layer.get("digest", "")))
        if not path.is_file():
            missing.append(str(path))
        elif kind in ("model", "adapter", "projector"):
            paths.setdefault(kind, []).append(str(path))
        elif kind in ("template", "prompt", "system", "params", "messages", "license"):
            words.setdefault(kind, []).append(_text(path))
    weights = next(iter(paths.get("model", ())), "")
    return Model(
        tuple(missing),
        config_of(store, found),
        _gguf(weights),
        weights,
        tuple(paths.get("adapter", ())),
        tuple(paths.get("projector", ())),
        next(iter(words.get("template") or words.get("prompt") or ()), _DEFAULT_TEMPLATE),
        next(iter(words.get("system", ())), ""),
        tuple(words.get("license", ())),
        _json(words.get("params"), {}),
        tuple(_json(words.get("messages"), [])),
    )


def listed(store: Store, found: Found) -> dict[str, Any]:
    """Return what the list tells of a model, all but its name; raise FileNotFoundError without its config, and Bad."""
    model = model_of(store, found)
    config = model.config
    remote = {key: config[key] for key in ("remote_model", "remote_host") if config.get(key)}
    lengths = {"context_length": config.get("context_length"), "embedding_length": config.get("embedding_length")}
    if model.gguf is not None:
        lengths = {key: model.gguf.own(key) for key in lengths}
    details = {**model.details, **{key: value for key, value in lengths.items() if value}}
    able = {"capabilities": model.capabilities} if model.capabilities else {}
    times = {"modified_at": rfc3339(found.modified_ns)}
    return {**remote, **times, "size": found.size, "digest": found.digest, "details": details, **able}


def shown(store: Store, name: Name, found: Found, *, verbose: bool) -> dict[str, Any]:
    """Return what `show` tells; raise Bad, or FileNotFoundError when the weights are not there."""
    model = model_of(store, found)
    if model.missing:
        raise FileNotFoundError(model.missing[0])
    if model.gguf is None and model.weights:
        raise Bad("invalid file magic")
    pieces: dict[str, Any] = {
        "license": "\n".join(model.licenses),
        "modelfile": modelfile(_as_told(store, model), name),
        "parameters": "\n".join(f"{key:<30} {_go(value)}" for key, value in _each(model.parameters)),
        "template": model.template,
        "system": model.system,
        "renderer": model.config.get("renderer"),
        "parser": model.config.get("parser"),
        "details": model.details,
        "messages": list(model.messages),
        "model_info": model_info(model.gguf, verbose=verbose) if model.gguf else {},
        "tensors": tensors_of(model.gguf) if model.gguf else [],
        "capabilities": model.capabilities,
        "modified_at": rfc3339(found.modified_ns),
        "requires": model.config.get("requires"),
    }
    if model.projectors:
        pieces["projector_info"] = model_info(read_file(Path(model.projectors[0])), verbose=verbose)
    return {key: value for key, value in pieces.items() if value}


def _as_told(store: Store, model: Model) -> Model:
    """Return a model whose paths are those that the server tells."""
    if not store.shown:
        return model

    def told(path: str) -> str:
        return path.replace(str(store.root), store.shown, 1)

    return model._replace(
        weights=told(model.weights), adapters=tuple(map(told, model.adapters)),
        projectors=tuple(map(told, model.projectors)),
    )  # fmt: skip


def modelfile(model: Model, name: Name) -> str:
    """Return the Modelfile that would make the model again; the only place where the API tells of a path."""
    lines = [
        '# Modelfile generated by "ollama show"',
        "# To build a new Modelfile based on this, replace FROM with:",
        f"# FROM {name.short}",
        "",
        f"FROM {model.weights or name.short}",
        *(f"FROM {path}" for path in model.projectors),
        *(f"ADAPTER {path}" for path in model.adapters),
        f"TEMPLATE {_quoted(model.template)}",
        *([f"SYSTEM {_quoted(model.system)}"] if model.system else []),
        *(f"{key.upper()} {model.config[key]}" for key in ("renderer", "parser") if model.config.get(key)),
        *(f"PARAMETER {key} {_quoted(_plain(value))}" for key, value in _each(model.parameters)),
        *(f"LICENSE {_quoted(text)}" for text in model.licenses),
        *(f"MESSAGE {message['role']} {_quoted(message['content'])}" for message in model.messages),
    ]
    return "\n".join(lines) + "\n"


def rfc3339(nanoseconds: int) -> str:
    """Return a time as Go writes it: `2026-11-21T01:15:58.860708823Z`."""
    seconds, rest = divmod(nanoseconds, 10**9)
    fraction = f".{rest:09}".rstrip("0").rstrip(".")
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"


def _gguf(path: str) -> Gguf | None:
    try:
        return read_file(Path(path)) if path else None
    except (OSError, ValueError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError as problem:
        raise Bad(files.said("open", problem)) from None


def _json(texts: list[str] | None, default: Any) -> Any:
    try:
        return json.loads(texts[0]) if texts else default
    except ValueError:
        raise Bad("invalid character in a layer") from None


def _each(parameters: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in sorted(parameters):
        value = parameters[key]
        yield from ((key, each) for each in (value if isinstance(value, list) else [value]))


def _go(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    if "\n" not in text and text == text.strip(" "):
        return text
    return f'"""{text}"""' if '"' in text else f'"{text}"'
