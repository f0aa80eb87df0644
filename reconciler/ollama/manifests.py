"""The manifest of an Ollama model: its bytes, its layers, its digest, and the pin that a lock holds of it. Pure.

    manifests/<host>/<namespace>/<model>/<tag>   {"schemaVersion":2,"mediaType":…,"config":{…},"layers":[{…},…]}
    blobs/sha256-<hex>                           every layer, and the config

The model's digest is the sha256 of the manifest's bytes (https://github.com/ollama/ollama/blob/main/manifest).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from reconciler.state import Artifact, Digest, Pin, parse_digest

MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPE = "application/vnd.ollama.image."
"""What the media types of layers begin with; a kind follows: model, projector, adapter, template, system, params…"""

CONFIG = "config"
"""Name of the config blob among a pin's artifacts."""

PARAMS = "params"
"""Key of a pin's `about` under which the model's own parameters stand, the JSON object of its params layer: what a
variant adds to a model needs them."""

LARGEST = 16 << 20
"""Bytes; a model of thousands of tensors has a manifest of a few hundred KiB."""

_KIND = re.compile(r"[a-z][a-z0-9_]{0,30}")


class Layer(NamedTuple):
    """One blob that a manifest names. `rest` are keys that the format does not promise (`from`, `name`), as found."""

    media_type: str
    digest: Digest
    size: int
    rest: tuple[tuple[str, Any], ...] = ()

    @property
    def kind(self) -> str:
        """`model`, `template`, …; `config` for the config, `layer` for a media type that nobody knows."""
        if self.media_type == CONFIG_TYPE:
            return CONFIG
        kind = self.media_type.removeprefix(LAYER_TYPE)
        return kind if kind != self.media_type and _KIND.fullmatch(kind) else "layer"


class Manifest(NamedTuple):
    """A manifest, read. A stub of a model that runs elsewhere has no layers; only a damaged one has no config."""

    config: Layer
    layers: tuple[Layer, ...]

    @property
    def blobs(self) -> tuple[Layer, ...]:
        """Every layer, the config last."""
        return (*self.layers, self.config)

    @property
    def size(self) -> int:
        """What the server calls the size of the model, in bytes: all layers and the config, as declared."""
        return sum(layer.size for layer in self.blobs)


def read(data: bytes) -> Manifest:
    """Read the bytes of a manifest; raise ValueError saying what is wrong. Unknown keys and media types are kept."""
    if len(data) > LARGEST:
        raise ValueError(f"{len(data)} bytes; a manifest has at most {LARGEST}")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("empty" if not data.strip() else "not JSON") from None
    if not isinstance(value, dict) or not isinstance(value.get("config"), dict):
        raise ValueError("no manifest of a model: it names no config")
    layers = value.get("layers") or []  # null in the stubs of remote models
    if not isinstance(layers, list):
        raise ValueError("layers: expected a list")
    return Manifest(_layer(value["config"]), tuple(_layer(layer) for layer in layers))


def digest_of(data: bytes) -> Digest:
    """Return the digest of a model from the bytes of its manifest."""
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


def is_digest_of(digest: str, data: bytes) -> bool:
    """Whether a server may call a model with this manifest by `digest` (`sha256:<hex>`).

    It hashes what its JSON decoder consumed: for some lengths that is all but the last line break.
    """
    return digest in (digest_of(data), digest_of(data.rstrip(b"\n")))


def compact(config: Layer, layers: Iterable[Layer]) -> str:
    """Return the text of a manifest as the server itself writes one, line break included."""
    value = {
        "schemaVersion": 2,
        "mediaType": MEDIA_TYPE,
        "config": _value(config),
        "layers": [_value(layer) for layer in layers],
    }
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n"


def blob_path(digest: Digest) -> str:
    """Return where the store keeps a blob, relative to its directory."""
    return f"blobs/{digest.replace(':', '-')}"


def pin_of(source: str, data: bytes, license_: str | None = None) -> Pin:
    """Return what a lock holds of the model with this manifest; raise ValueError when it is damaged.

    Artifacts are named `config` and `<position>.<kind>`, so that their order is that of the layers. The manifest's own
    text is kept in `about` where the artifacts alone would not give it back, byte for byte.
    """
    manifest = read(data)
    width = len(str(len(manifest.layers)))
    named = [
        Artifact(f"{number:0{width}}.{layer.kind}", layer.size, layer.digest, media_type=layer.media_type)
        for number, layer in enumerate(manifest.layers, start=1)
    ]
    config = Artifact(CONFIG, manifest.config.size, manifest.config.digest, media_type=manifest.config.media_type)
    files = tuple(sorted((*named, config), key=lambda file: file.path))
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    pin = Pin(source, digest_of(data), files, license_)
    made = _made(pin)
    return pin if text in (made, made.rstrip("\n")) else replace(pin, about={"manifest": text})


def text_of(pin: Pin) -> str:
    """Return the text of the manifest that a pin was made from; raise ValueError when the pin does not give it."""
    said = pin.about.get("manifest")
    for text in (said,) if isinstance(said, str) else (_made(pin), _made(pin).rstrip("\n")):
        if digest_of(text.encode()) == pin.revision:
            return text
    raise ValueError(f"the lock does not give the manifest {pin.revision} back (run `reconciler lock --upgrade`)")


def _made(pin: Pin) -> str:
    config = next((file for file in pin.files if file.path == CONFIG), None)
    if config is None:
        raise ValueError("the lock names no config")
    layers = [file for file in pin.files if file is not config]  # sorted by name is sorted by position
    return compact(_of(config), map(_of, layers))


def _of(file: Artifact) -> Layer:
    return Layer(file.media_type, file.digest, file.size)


def _layer(value: Any) -> Layer:
    if not isinstance(value, dict):
        raise ValueError("a layer: expected an object")
    media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
    if not (isinstance(media_type, str) and isinstance(digest, str) and type(size) is int and size >= 0):
        raise ValueError("a layer: expected mediaType, digest and size")
    digest = parse_digest(digest.replace("-", ":", 1))
    if not digest.startswith("sha256:"):
        raise ValueError(f"a layer: {digest[:80]!r} is no sha256")
    rest = tuple((key, each) for key, each in value.items() if key not in ("mediaType", "digest", "size"))
    return Layer(media_type, digest, size, rest)


def _value(layer: Layer) -> Mapping[str, Any]:
    return {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size, **dict(layer.rest)}
