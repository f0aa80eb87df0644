"""How the embedded Ollama server makes a model: of another one, or of files that were sent before.

Layers, their order and their bytes are those of https://github.com/ollama/ollama/blob/main/server/create.go; weights
that a user sent are rewritten on the way, as since 0.30, and the sent blob stays behind.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple

from reconciler.hub import ollama_files as files
from reconciler.hub.ollama_files import Bad, Found, Store
from reconciler.hub.ollama_ggufs import (
    Gguf,
    config_of,
    is_copied,
    is_projector,
    opened,
    read_file,
    read_gguf,
    rewritten,
)
from reconciler.hub.ollama_names import Name, parse
from reconciler.hub.ollama_show import config_of as read_config
from reconciler.hub.ollama_streams import Line, Refused, Steps, go_json

_IMAGE = "application/vnd.ollama.image."
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_CARRIED = ("renderer", "parser", "requires")

Body = Mapping[str, Any]
Puller = Callable[[Name], Steps]


class Layer(NamedTuple):
    """A layer of the model to be: its entry in the manifest, and what the server says of it."""

    entry: Mapping[str, Any]
    status: str

    @property
    def kind(self) -> str:
        """What the layer is: `model`, `template`."""
        return str(self.entry["mediaType"]).removeprefix(_IMAGE)


def create(store: Store, name: Name, body: Body, pull: Puller) -> Steps:
    """Yield what the server says while it makes `name`; raise Refused, or Bad."""
    old = _old(store, name)
    if body.get("remote_host"):
        yield {"status": "writing manifest"}
        _write(store, name, _remote_config(body), None)
    else:
        layers, carried = yield from _base(store, body, pull)
        layers += yield from _from_files(store, body.get("adapters") or {}, adapters=True)
        layers = _dressed(store, layers, body)
        yield from ({"status": f"{layer.status} {layer.entry['digest']}"} for layer in layers)
        yield {"status": "writing manifest"}
        asked = {key: body[key] for key in _CARRIED if body.get(key)}
        _write(store, name, config_of(_weights(store, layers), {**carried, **asked}), layers)
    if old is not None and not store.noprune:
        files.remove_unused(store, {str(layer["digest"]) for layer in old.layers})
    yield {"status": "success"}


def _base(store: Store, body: Body, pull: Puller) -> Generator[Line, None, tuple[list[Layer], Mapping[str, Any]]]:
    if body.get("quantize"):
        raise Refused(400, "quantization is not something that this server can do")
    if body.get("from"):
        return (yield from _from_model(store, str(body["from"]), pull))
    if body.get("files"):
        return (yield from _from_files(store, body["files"], adapters=False)), {}
    raise Refused(400, "neither 'from' or 'files' was specified")


def _from_model(store: Store, text: str, pull: Puller) -> Generator[Line, None, tuple[list[Layer], Mapping[str, Any]]]:
    """Take the layers of another model, which is pulled when it is not there. Each blob in use is touched."""
    given = parse(text)
    if not given.is_valid:
        raise Refused(400, "invalid model name")
    name = files.existing(store, given)
    try:
        found = files.read(store, name)
    except FileNotFoundError:
        for line in pull(name):
            if line.get("status") != "success":
                yield line
        found = files.read(store, name)
    layers = []
    for entry in found.value.get("layers") or []:
        files.touch(store, str(entry["digest"]))
        plain = {key: entry[key] for key in ("mediaType", "digest", "size")}
        layers.append(Layer({**plain, "from": name.short}, "using existing layer"))
    config = read_config(store, found)
    return layers, {key: config[key] for key in _CARRIED if config.get(key)}


def _from_files(store: Store, named: Mapping[str, str], *, adapters: bool) -> Generator[Line, None, list[Layer]]:
    layers = []
    for digest in named.values():
        yield {"status": "parsing GGUF"}
        path = files.blob_path(store, digest)
        try:
            with opened(path) as data:
                gguf = read_gguf(data)
                if int(gguf.keys.get("split.count", 0)) > 1:
                    raise Refused(400, "split files are not something that this server can merge")
                copied = is_copied(gguf) and not adapters
                output = rewritten(data, gguf) if copied else b""
        except OSError as problem:
            raise Bad(files.said("open", problem)) from None
        except ValueError as problem:
            empty = path.stat().st_size == 0
            raise Bad("supplied file was not in GGUF format" if empty else str(problem)) from None
        if copied:
            yield {"status": "verifying conversion"}
            layers.append(_layer(store, "model", output))
        else:
            kind = "adapter" if adapters else "projector" if is_projector(gguf) else "model"
            entry = {"mediaType": _IMAGE + kind, "digest": digest, "size": path.stat().st_size}
            layers.append(Layer(entry, "using existing layer"))
    return layers


def _dressed(store: Store, layers: list[Layer], body: Body) -> list[Layer]:
    """Replace or add what is asked for: template and system replace, licences are added, parameters are merged."""
    for kind in ("template", "system"):
        if body.get(kind):
            layers = [layer for layer in layers if layer.kind != kind]
            layers.append(_layer(store, kind, str(body[kind]).encode()))
    licenses = body.get("license") or []
    for text in [licenses] if isinstance(licenses, str) else licenses:
        layers = [*layers, _layer(store, "license", str(text).encode())]
    parameters = _parameters(store, layers, body.get("parameters") or {})
    if parameters:
        layers = [layer for layer in layers if layer.kind != "params"]
        ordered = {key: parameters[key] for key in sorted(parameters)}
        layers.append(_layer(store, "params", f"{go_json(ordered)}\n".encode()))
    if body.get("messages"):
        layers = [layer for layer in layers if layer.kind != "messages"]
        layers.append(_layer(store, "messages", f"{go_json(body['messages'])}\n".encode()))
    return layers


def _parameters(store: Store, layers: list[Layer], asked: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(asked)
    for layer in layers:
        if layer.kind == "params":
            merged = {**json.loads(files.blob_path(store, str(layer.entry["digest"])).read_bytes()), **merged}
    return merged


def _layer(store: Store, kind: str, data: bytes) -> Layer:
    digest, is_new = files.put(store, data)
    entry = {"mediaType": _IMAGE + kind, "digest": digest, "size": len(data)}
    return Layer(entry, "creating new layer" if is_new else "using existing layer")


def _weights(store: Store, layers: list[Layer]) -> Gguf | None:
    path = next((files.blob_path(store, str(each.entry["digest"])) for each in layers if each.kind == "model"), None)
    try:
        return read_file(path) if path else None
    except OSError as problem:
        raise Bad(files.said("open", problem)) from None
    except ValueError as problem:
        raise Bad(str(problem)) from None


def _remote_config(body: Body) -> bytes:
    info = body.get("info") or {}
    family = info.get("model_family", "")
    known = ("capabilities", "context_length", "embedding_length", "base_name")
    more = {
        "model_format": "",
        "model_family": family,
        "model_families": [family] if family else None,
        "model_type": info.get("parameter_size", ""),
        "file_type": info.get("quantization_level", ""),
        "remote_host": body["remote_host"],
        "remote_model": body.get("from", ""),
        **{key: info[key] for key in known if info.get(key)},
    }
    return config_of(None, more)


def _write(store: Store, name: Name, config: bytes, layers: list[Layer] | None) -> None:
    digest, _ = files.put(store, config)
    value = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": _CONFIG, "digest": digest, "size": len(config)},
        "layers": None if layers is None else [layer.entry for layer in layers],
    }
    files.write(store, name, f"{go_json(value)}\n".encode())


def _old(store: Store, name: Name) -> Found | None:
    try:
        return files.read(store, name)
    except (Bad, FileNotFoundError):
        return None
