"""Compose what an Ollama store holds of one variant: blobs, and the manifest that names them. Pure.

A model of a registry is kept as it is locked. Where the manifest of ours says something of its own (a template, a
system text, parameters), and where the weights are a GGUF from elsewhere, the model is one that we make: layers and
config with the very bytes that a server's `create` would write
(https://github.com/ollama/ollama/blob/main/server/create.go), without the rewriting of the GGUF that `create` does, so
that its bytes can be shared with other programs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from reconciler.detect.rules import is_mmproj, kind_of, quant_of_path, shards_of
from reconciler.globs import matches
from reconciler.inert import few, inert
from reconciler.ollama import configs, manifests, modelfile, names
from reconciler.ollama.manifests import CONFIG_TYPE, LAYER_TYPE, Layer, blob_path
from reconciler.state import Artifact, Digest, Note, Pin, Placement, Wish, algorithm

_REPLACED = {"template": ("template", "prompt"), "system": ("system",), "params": ("params",), "license": ()}
"""Kind of a layer that we add, in the order of adding -> the kinds that it takes the place of."""


class Composed(NamedTuple):
    """A model as its store holds it. The last of `notes` is the manifest.

    `digest` is the model's, `size` in bytes what a server calls its size. `derived`: the manifest is of our making, and
    no registry has it.
    """

    name: names.Name
    files: tuple[Placement, ...]
    notes: tuple[Note, ...]
    digest: Digest
    size: int
    derived: bool


class _Blob(NamedTuple):
    """A layer or a config, and what it consists of: a locked file, or a text of ours."""

    layer: Layer
    content: Artifact | str


def compose(pin: Pin, wish: Wish) -> Composed:
    """Return what the store holds of a variant; raise ValueError, with what to do, for what Ollama cannot hold."""
    name = names.wanted(wish.variant, pin.source, wish.served_as)
    if not pin.source.startswith(names.SCHEME):
        return _assembled(name, *_packed(pin, wish))
    if wish.modelfile:
        return _assembled(name, *_overlaid(pin, wish))
    text = manifests.text_of(pin)
    manifest = manifests.read(text.encode())
    return _placed(name, text, [_locked(pin, layer) for layer in manifest.blobs], derived=False)


def cautions(pin: Pin, wish: Wish) -> Iterator[str]:
    """Yield what people should know of a variant that can be composed."""
    if pin.source.startswith(names.SCHEME):
        return
    model = _ggufs(pin, wish).model
    header = _headers(pin).get(model.path, {})
    differs = configs.disagreement(model.path, header)
    if differs:
        yield f"{model.path}: {differs}"
    chats = kind_of([model.path], architecture=str(header.get("architecture", ""))) not in ("embedding", "reranker")
    if "template" not in wish.modelfile and chats:
        yield f"no `template`, so Ollama hands on the raw prompt (declare one, or take {_with_template(pin, model)})"


def _assembled(name: names.Name, config: _Blob, layers: list[_Blob]) -> Composed:
    """Return the model with this config and these layers, under a manifest of ours."""
    text = manifests.compact(config.layer, (blob.layer for blob in layers))
    return _placed(name, text, [*layers, config], derived=True)


def _placed(name: names.Name, text: str, blobs: Iterable[_Blob], *, derived: bool) -> Composed:
    """Place every blob once, and the manifest after them."""
    files: dict[str, Placement] = {}
    notes: dict[str, Note] = {}
    for layer, content in blobs:
        path = blob_path(layer.digest)
        if isinstance(content, str):
            notes[path] = Note(path, content)
        else:
            files.setdefault(path, Placement(path, content))
    data = text.encode()
    return Composed(
        name,
        tuple(files.values()),
        (*(note for path, note in notes.items() if path not in files), Note(name.path, text)),
        manifests.digest_of(data),
        manifests.read(data).size,
        derived,
    )


def _locked(pin: Pin, layer: Layer) -> _Blob:
    """Return a layer of a locked manifest with its file."""
    file = next((file for file in pin.files if file.digest == layer.digest), None)
    if file is None or file.size != layer.size:
        raise ValueError(
            f"the lock's manifest names {layer.digest}, which is not among its files (run `reconciler lock --upgrade`)"
        )
    return _Blob(layer, file)


def _made(kind: str, text: str, media_type: str = "") -> _Blob:
    data = text.encode()
    digest = Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")
    return _Blob(Layer(media_type or LAYER_TYPE + kind, digest, len(data)), text)


# -- on a model of a registry ------------------------------------------------------------------------------------------


def _overlaid(pin: Pin, wish: Wish) -> tuple[_Blob, list[_Blob]]:
    """Lay what the manifest says over the layers of a locked model. The config stays the base's."""
    if wish.modelfile.get("adapters"):
        raise ValueError("`adapters` are files of the source, and an `ollama:` source has none (leave `adapters` out)")
    manifest = manifests.read(manifests.text_of(pin).encode())
    base = [_locked(pin, _unnamed(layer)) for layer in manifest.layers]
    license_ = wish.license if wish.license != pin.license else None  # upstream's is among the layers
    own = _own_layers(wish.modelfile, license_, _inherited(pin, wish, base))
    return _locked(pin, manifest.config), _overlay(base, own)


def _unnamed(layer: Layer) -> Layer:
    """Leave out `from`, the local name of the model that a layer was taken from.

    It may not be there, or be another one tomorrow: no server reads it, and the digest must not depend on it.
    """
    return layer._replace(rest=tuple((key, value) for key, value in layer.rest if key != "from"))


def _inherited(pin: Pin, wish: Wish, base: Iterable[_Blob]) -> Mapping[str, Any]:
    """Return the parameters of the base, which the lock holds; they go on where ours say nothing."""
    if "parameters" not in wish.modelfile or not any(blob.layer.kind == "params" for blob in base):
        return {}
    said = pin.about.get(manifests.PARAMS)
    if not isinstance(said, Mapping):
        raise ValueError(
            "the lock does not hold the parameters of the model that these are added to "
            f"(run `reconciler lock --upgrade {wish.variant}`)"
        )
    return said


def _own_layers(said: Mapping[str, Any], license_: str | None, inherited: Mapping[str, Any]) -> Iterator[_Blob]:
    """Yield the layers that the manifest asks for, in the order in which `create` adds them."""
    if "template" in said:
        yield _made("template", said["template"])
    if "system" in said:
        yield _made("system", said["system"])
    if license_:
        yield _made("license", license_)
    if said.get("parameters"):
        yield _made("params", modelfile.parameters_text(said["parameters"], inherited))


def _overlay(base: Iterable[_Blob], own: Iterable[_Blob]) -> list[_Blob]:
    """Add layers: a template, a system text and parameters replace those that are there, a licence joins them."""
    layers = list(base)
    for blob in own:
        if blob.layer.kind == "license" and any(blob.layer.digest == other.layer.digest for other in layers):
            continue  # it is among them already
        layers = [other for other in layers if other.layer.kind not in _REPLACED[blob.layer.kind]]
        layers.append(blob)
    return layers


# -- on a GGUF from elsewhere ------------------------------------------------------------------------------------------


class _Ggufs(NamedTuple):
    """The files of a source that make one model."""

    model: Artifact
    projector: Artifact | None
    adapters: tuple[Artifact, ...]


def _packed(pin: Pin, wish: Wish) -> tuple[_Blob, list[_Blob]]:
    """Make a model of GGUF files; whatever else the source holds is left out."""
    found = _ggufs(pin, wish)
    config = configs.of_gguf(found.model.path, _headers(pin).get(found.model.path, {}))
    layers = [_weights("model", found.model)]
    if found.projector is not None:
        layers.append(_weights("projector", found.projector))
    layers += (_weights("adapter", adapter) for adapter in found.adapters)
    own = _own_layers(wish.modelfile, wish.license or pin.license, {})
    return _made(manifests.CONFIG, configs.write(config), CONFIG_TYPE), _overlay(layers, own)


def _weights(kind: str, file: Artifact) -> _Blob:
    if algorithm(file.digest) != "sha256":
        raise ValueError(
            f"{inert(file.path)} is locked by its git digest, as the Hub keeps this file in git itself, and Ollama "
            "names blobs by sha256 (give the file's address as an `https:` source, which is locked by sha256)"
        )
    return _Blob(Layer(LAYER_TYPE + kind, file.digest, file.size), file)


def _ggufs(pin: Pin, wish: Wish) -> _Ggufs:
    """Tell model, projector and adapters of a source apart; raise ValueError when they are not one model."""
    headers = _headers(pin)
    files = [file for file in pin.files if not file.support and file.path.lower().endswith(".gguf")]
    adapters = _chosen(wish.modelfile.get("adapters", ()), files)
    rest = [file for file in files if file not in adapters]
    projectors = [file for file in rest if _is_projector(file.path, headers.get(file.path, {}))]
    models = [file for file in rest if file not in projectors]
    _refuse_parts([file.path for file in models])
    if not models:
        raise ValueError(_no_model(pin, [*projectors, *adapters]))
    if len(models) > 1:
        raise ValueError(f"{len(models)} GGUF models: {_few(models)}; Ollama takes one (choose it with `files`)")
    if headers.get(models[0].path, {}).get("type") == "adapter":
        raise ValueError(f"{inert(models[0].path)} is an adapter and no model (name it in `adapters` beside its model)")
    if len(projectors) > 1:
        raise ValueError(f"{len(projectors)} projectors: {_few(projectors)}; choose one with `files` or `exclude`")
    return _Ggufs(models[0], projectors[0] if projectors else None, adapters)


def _chosen(patterns: Iterable[str], files: Iterable[Artifact]) -> tuple[Artifact, ...]:
    there = list(files)
    for pattern in patterns:
        if not any(matches(pattern, file.path) for file in there):
            raise ValueError(
                f"`adapters`: nothing matches {inert(pattern)!r} among the GGUF files that are locked: "
                f"{_few(there) or 'none'} (what `files` leaves out is not there)"
            )
    return tuple(file for file in there if any(matches(pattern, file.path) for pattern in patterns))


def _refuse_parts(paths: list[str]) -> None:
    for shards in shards_of(paths):
        if len(shards.present) + len(shards.missing) > 1:
            raise ValueError(
                f"{inert(shards.present[0])} is one part of a split GGUF, which Ollama does not load "
                "(choose a file that is whole, or join the parts with `llama-gguf-split --merge` and take that)"
            )


def _no_model(pin: Pin, others: Iterable[Artifact]) -> str:
    paths = [file.path for file in pin.files if not file.support]
    if named := _few(others):
        return f"only projectors and adapters: {named}; the model is missing (add it to `files`)"
    if any(path.lower().endswith(".safetensors") for path in paths):
        return "safetensors, and Ollama takes GGUF (choose a repository of GGUF files, or an `ollama:` source)"
    return f"no GGUF file among what is locked: {few(list(map(inert, paths))) or 'nothing'} (see `files`)"


def _is_projector(path: str, header: Mapping[str, Any]) -> bool:
    return header.get("architecture") == "clip" or header.get("type") in ("mmproj", "projector") or is_mmproj(path)


def _headers(pin: Pin) -> Mapping[str, Mapping[str, Any]]:
    """Return what the lock holds of the headers of GGUF files, by path; nothing for what is no object."""
    said = pin.about.get("gguf")
    return (
        {path: value for path, value in said.items() if isinstance(value, Mapping)} if isinstance(said, Mapping) else {}
    )


def _with_template(pin: Pin, model: Artifact) -> str:
    """Return the source that brings the same model with a template."""
    repository = pin.source.removeprefix("hf:").partition("@")[0] if pin.source.startswith("hf:") else "OWNER/REPO"
    quant = configs.shown(quant_of_path(model.path) or "") or "QUANT"
    return f"`source: ollama:hf.co/{inert(repository)}:{quant}`, which brings the Hub's"


def _few(files: Iterable[Artifact]) -> str:
    return few([inert(file.path) for file in files])
