"""Import what an Ollama has: one variant an installed model, its manifest as the lock, and the place it is in.

Blobs are read, once: the server never looks at them again, and the plan needs to know that they are right.
Where the store can be read, nobody is asked. Where only the server answers, its API gives no manifests: the registry
is asked for the tag, and a model is taken when the registry still has what is installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler import naming, resolve, sources
from reconciler.detect import MalformedHeader, gguf, jsonbound, rules, told_by_names
from reconciler.errors import InputError, ReconcilerError
from reconciler.home import expand
from reconciler.importing.found import Found, Request, Row
from reconciler.importing.looking import UNREAD, spoilt
from reconciler.inert import few, inert
from reconciler.naming import Named
from reconciler.ollama import configs, licenses, manifests, modelfile, names
from reconciler.ollama.manifests import Layer, Manifest
from reconciler.ollama.names import Name
from reconciler.state import Pin

if TYPE_CHECKING:
    from reconciler.ollama.api import Listed
    from reconciler.ollama.look import Seen
    from reconciler.ollama.storage import Stored, StoredModel

_ELSEWHERE = "it runs on another machine, and has no weights here"


def gather(request: Request) -> Iterator[Found | Row]:
    """Yield a variant for each model of the server at `URL` or the store at `DIR`, or of the one that is usual."""
    seen = _seen(request)
    if not seen.mode:
        raise InputError(
            f"no Ollama: {seen.why_no_api or 'no server answers'}", where=inert(seen.url),
            hint="start it, or name its address or its directory: `reconciler import ollama http://HOST:11434`",
        )  # fmt: skip
    place = ("ollama", _location(seen, request))
    listed = {model.key: model for model in seen.listed}
    if seen.stored is None:
        for model in seen.listed:
            yield _asked(model, request, place)
        return
    for broken in seen.stored.broken:
        yield Row("problem", broken.path, f"{broken.what}; {broken.remedy}", f"{seen.stored.directory}/{broken.path}")
    bad = _spoilt(seen.stored, request)
    for stored in seen.stored.models:
        yield _stored(stored, seen.stored, bad, place)
    known = {model.name.key for model in seen.stored.models}
    for key in sorted(listed.keys() - known):
        why = "the server lists it, and its directory does not hold it: another server's directory?"
        yield Row("problem", listed[key].name, why, seen.stored.directory)


def _seen(request: Request) -> Seen:
    from reconciler.ollama.look import look

    if len(request.args) > 1:
        raise InputError(f"unexpected {request.args[1]!r}", hint="`reconciler import ollama [URL]`")
    given = request.args[0] if request.args else None
    if given is not None and (given.startswith(("/", "~", ".")) or Path(given).is_dir()):
        directory = expand(given).absolute()
        if not directory.is_dir():
            raise InputError("there is no such directory", where=inert(str(directory)), hint="name Ollama's `models`")
        return look("ollama", None, str(directory), request.environ)
    return look("ollama", given, None, request.environ)


def _location(seen: Seen, request: Request) -> dict[str, Any]:
    """Return the location as the manifest says it: the address when a server answers or was named, and the store."""
    said: dict[str, Any] = {"store": "ollama"}
    named_directory = bool(request.args) and seen.directory is not None and not seen.api
    if not named_directory:
        said["url"] = seen.url
    if seen.stored is not None:
        said["models"] = seen.stored.directory
    return said


def _spoilt(stored: Stored, request: Request) -> Mapping[str, str]:
    """Return path -> what is wrong, for the blobs of models that do not hold what their names say: they are read."""
    from reconciler.ollama.storage import blob_files

    root = Path(stored.directory)
    files = blob_files(root)
    wanted = {manifests.blob_path(blob.digest): blob for model in stored.models for blob in model.manifest.blobs}
    there = [(files[path], blob.digest) for path, blob in wanted.items() if path in files and _has(stored, blob)]
    return spoilt(root, there, request)


def _stored(
    model: StoredModel, stored: Stored, bad: Mapping[str, str], place: tuple[str, Mapping[str, Any]]
) -> Found | Row:
    """Return the variant of a model whose manifest can be read."""
    where = f"{stored.directory}/{model.path}"
    if why := _unfit(model.name, model.manifest) or _out_of_reach(model, stored):
        return Row("left-out", model.name.short, why, where)
    missing = [layer for layer in model.manifest.blobs if not _has(stored, layer)]
    if missing:
        why = f"incomplete: {len(missing)} of {len(model.manifest.blobs)} blobs are missing; `ollama pull` fetches them"
        return Row("left-out", model.name.short, why, where)
    if damaged := [path for blob in model.manifest.blobs if (path := manifests.blob_path(blob.digest)) in bad]:
        remedy = f"delete it, then `ollama pull {model.name.short}` fetches it anew"
        why = f"damaged: {few(damaged)}: {bad[damaged[0]]}; {remedy}"
        if UNREAD in map(bad.__getitem__, damaged):
            why = f"{UNREAD}: {few(damaged)}; look at its permissions, and run the same again"
        return Row("problem", model.name.short, why, f"{stored.directory}/{damaged[0]}")
    source = f"{names.SCHEME}{model.name.short}"
    pin = manifests.pin_of(source, model.data)
    about = {**pin.about, **_parameters(stored, model.manifest)}
    pin = replace(pin, license=_license(stored, model.manifest), about=about)
    config = _config(stored, model.manifest)
    quant, notes = _quant(stored, model, config)
    return _found(model.name, pin, config.model_format, quant, place, notes, where)


def _asked(model: Listed, request: Request, place: tuple[str, Mapping[str, Any]]) -> Found | Row:
    """Return the variant of a model that only the server tells of: the registry must still have the same."""
    where = str(place[1].get("url", ""))
    try:
        name = names.parse(model.name)
    except ValueError as error:
        return Row("problem", model.name, str(error), where)
    if model.remote_host:
        return Row("left-out", model.name, _ELSEWHERE, where)
    if names.is_reserved(name.tag):
        return Row("left-out", model.name, _reserved(name), where)
    if request.world.offline:
        why = "the API shows no manifests, and offline the registry is not asked; run the same without --offline"
        return Row("left-out", model.name, why, where)
    said = _said(name)
    try:
        upstream = sources.Request("", where, said["source"], insecure=bool(said.get("insecure")))
        pin = resolve.ask(upstream, request.world)
    except (ReconcilerError, ValueError) as error:
        why = error.problems[0].summary if isinstance(error, ReconcilerError) else str(error)
        return Row("left-out", model.name, f"the registry does not give its manifest: {why}", where)
    if not manifests.is_digest_of(model.digest, manifests.text_of(pin).encode()):
        why = f"the registry has another by now, {pin.revision}, and the API does not show the manifest of this one"
        return Row("left-out", model.name, why, where)
    details = {key: value for key, value in model.details.items() if isinstance(value, str)}
    quant = rules.quant_from_name(details.get("quantization_level", "")) or rules.quant_from_name(name.tag)
    return _found(name, pin, details.get("format", ""), quant, place, (), where)


def _found(
    name: Name,
    pin: Pin,
    format_: str,
    quant: str | None,
    place: tuple[str, Mapping[str, Any]],
    notes: tuple[str, ...],
    where: str,
) -> Found:
    said = _said(name)
    container = format_ if format_ in ("gguf", "safetensors") else ""
    if container:
        said["format"] = container
    told = told_by_names(pin.source, [file.path for file in pin.files])[1]
    if quant and told is None:
        said["quant"] = quant
    owner = "" if name.namespace.lower() == names.NAMESPACE else name.namespace
    host = "" if name.host.lower() == names.HOST else name.host
    named = Named(
        "", naming.family_of(pin.source), "ollama", container, quant or told or "", owner=owner or host, branch=host,
    )  # fmt: skip
    return Found(said, pin, named=named, location=place, notes=notes, where=where, identified="store")


def _said(name: Name) -> dict[str, Any]:
    """Return source, and `insecure` where the source needs it."""
    source = f"{names.SCHEME}{name.short}"
    try:
        sources.check(source)
    except ValueError:
        return {"source": source, "insecure": True}
    return {"source": source}


def _unfit(name: Name, manifest: Manifest) -> str:
    """Return why a model cannot be taken over, '' when it can."""
    if not manifest.layers:
        return _ELSEWHERE
    return _reserved(name) if names.is_reserved(name.tag) else ""


def _out_of_reach(model: StoredModel, stored: Stored) -> str:
    """Return why the files of a model could not be managed as they lie, '' when they could."""
    if not model.path.startswith("manifests/"):
        return f"{model.path} is of a layout that is read and never written"
    if model.link is not None:
        return f"its manifest is a symbolic link to {model.link}; put the file itself there"
    links = [
        blob for blob in model.manifest.blobs if Path(stored.directory, manifests.blob_path(blob.digest)).is_symlink()
    ]
    if links:
        count = f"{len(links)} of its {len(model.manifest.blobs)} blobs"
        return f"{count} are symbolic links to files elsewhere, which are not managed; hard links or the files would be"
    return ""


def _reserved(name: Name) -> str:
    return f"the tag `{name.tag}` is reserved: the server can neither show nor delete it; copy it to another name"


def _has(stored: Stored, layer: Layer) -> bool:
    try:
        return (Path(stored.directory) / manifests.blob_path(layer.digest)).stat().st_size == layer.size
    except OSError:
        return False


def _config(stored: Stored, manifest: Manifest) -> configs.Config:
    try:
        return configs.read(_read(stored, manifest.config, configs.LARGEST))
    except (OSError, ValueError, MalformedHeader):
        return configs.Config()


def _license(stored: Stored, manifest: Manifest) -> str | None:
    """Return the name of the licence, as the source would tell it."""
    for layer in manifest.layers:
        if layer.kind == "license" and layer.size < licenses.LARGEST:
            try:
                return licenses.license_of(_read(stored, layer, licenses.LARGEST).decode("utf-8", "replace"))
            except (OSError, MalformedHeader):
                return None
    return None


def _parameters(stored: Stored, manifest: Manifest) -> dict[str, Any]:
    """Return the model's own parameters, as the source would tell them."""
    layer = next((each for each in manifest.layers if each.kind == "params"), None)
    if layer is None or layer.size > modelfile.LARGEST:
        return {}
    try:
        return {manifests.PARAMS: modelfile.parameters_of(_read(stored, layer, modelfile.LARGEST))}
    except (OSError, ValueError, MalformedHeader):
        return {}


def _read(stored: Stored, layer: Layer, limit: int) -> bytes:
    return jsonbound.read(Path(stored.directory) / manifests.blob_path(layer.digest), limit)


def _quant(stored: Stored, model: StoredModel, config: configs.Config) -> tuple[str | None, tuple[str, ...]]:
    """Return the quant by header, config and name, and a note where they do not say the same."""
    told = rules.quant_from_name(model.name.tag) or rules.quant_from_name(model.name.model)
    claimed = rules.quant_from_name(config.file_type) if config.file_type != configs.UNKNOWN else None
    held = None
    weights = next((layer for layer in model.manifest.layers if layer.kind == "model"), None)
    if weights is not None and config.model_format in ("", "gguf"):
        try:
            held = gguf.read_header(Path(stored.directory) / manifests.blob_path(weights.digest)).quant
        except (OSError, MalformedHeader):
            held = None
    decided = rules.refine_quant(configs.quant_of(config, held), told)
    words = {"the file": held, "its config": claimed, "its name": told}
    said = {word: quant for word, quant in words.items() if quant and quant != decided}
    if not said:
        return decided, ()
    differing = ", ".join(f"{word} says {quant}" for word, quant in said.items())
    return decided, (f"taken for {decided}, though {differing}",)
