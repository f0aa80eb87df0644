"""A model of an Ollama registry: `ollama:[host/][namespace/]model[:tag]`, the Hub's as `ollama:hf.co/owner/repo:QUANT`.

A model is taken whole: its manifest names every blob with digest and size, so the lock is the manifest. A tag may move;
what is locked is fetched by digest and does not move with it. A tag `sha256-<64 hex>`, as mirrors use them, names its
manifest's digest and is held to it. No local server is asked.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from reconciler.errors import AccessError, NotFoundError, SourceError
from reconciler.inert import inert
from reconciler.located import Located
from reconciler.ollama import manifests, names
from reconciler.ollama.licenses import LARGEST, license_of
from reconciler.ollama.modelfile import parameters_of
from reconciler.ollama.names import Name
from reconciler.references import parse
from reconciler.sources import Request, World, refusals, selection, urls
from reconciler.sources import ollamaregistry as registry
from reconciler.state import Artifact, Digest, Pin, parse_digest

_DIGEST_TAG = re.compile(r"sha256-([0-9a-f]{64})")
_HAND = re.compile(r"(?:sha256[:-])?([0-9a-fA-F]{64})")


def check(reference: str, *, insecure: bool = False) -> None:
    """Raise ValueError, with the reason, when `reference` is not a model of a registry that we would ask."""
    name = name_of(reference)
    if names.is_reserved(name.tag):
        raise ValueError(
            f"the tag {name.tag!r} is reserved: the server takes it for a mark of where the model runs, and can "
            "neither show nor delete what is stored under it; name the tag of the weights"
        )
    host = urls.check(f"https://{name.host}").hostname or ""
    if urls.is_private(host) and not insecure:
        raise ValueError(f"{host} is a private address; say `insecure: true` if this variant may use it")


def resolve(request: Request, world: World) -> Pin:
    """Ask the registry what the tag means now, or what the locked digest means still; the licence's name besides.

    Raise ValueError for what does not go with such a source, SourceError when upstream refuses or has moved on.
    """
    _refuse_choices(request)
    model = _model(request.source, world, trusted=request.insecure)
    data = _held(model, _pinned(request, model), request, world)
    try:
        pin = manifests.pin_of(request.source, data)
    except ValueError as error:
        raise SourceError(f"the registry's manifest cannot be used: {error}", where=request.source) from None
    about = dict(pin.about)
    if is_stub(pin):
        about["remote"] = _remote(model, pin, world)
    about |= _parameters(model, pin, world)
    pin = replace(pin, license=_license(model, pin, world), about=about)
    return replace(pin, files=selection.select(pin.files, request))


def current(request: Request, world: World) -> str | None:
    """Return the digest of the manifest that the tag means now; a digest pinned by hand means itself for ever."""
    model = _model(request.source, world, trusted=request.insecure)
    if request.revision is not None:
        return _pinned(request, model)
    return manifests.digest_of(registry.manifest(model, model.name.tag, world))


def locate(source: str, revision: str | None, artifact: Artifact, world: World) -> Located:
    """Say where a blob is now, by its digest: whatever its tag means today."""
    model = _model(source, world)
    if not artifact.digest.startswith("sha256:"):
        raise SourceError(f"{artifact.digest} names no blob of a registry", where=source)
    return registry.find(model, artifact.digest, artifact.size, world)


def access(pin: Pin, world: World) -> str | None:
    """Ask for the largest blob of the model, once. Trouble of the moment is a warning and no reason."""
    if is_stub(pin):
        return _stub(pin)
    if world.offline or not pin.files:
        return None
    probe = max(pin.files, key=lambda file: file.size)

    def ask() -> str | None:
        try:
            registry.may_have(_model(pin.source, world), probe.digest, world)
        except (AccessError, NotFoundError) as error:
            problem = error.problems[0]
            return f"{problem.summary}; {problem.hint}" if problem.hint else problem.summary
        except SourceError as error:
            world.warn(f"whether {pin.source} may be downloaded is not known: {error}")
        return None

    return world.memory.once(("ollama access", pin.source, probe.digest), ask)


def name_of(source: str) -> Name:
    """Return the full name that a source says; raise ValueError when it is none."""
    parse(source)
    scheme, _, rest = source.partition(":")
    if scheme != "ollama":
        raise ValueError(f"not a model of Ollama: {source[:200]!r}; expected ollama:[host/][namespace/]model[:tag]")
    return names.parse(rest)


def host_of(source: str) -> str:
    """Return the host that a source names, without its port, lower case; raise ValueError when it is none."""
    return urls.origin(f"https://{name_of(source).host.lower()}")[1]


def is_stub(pin: Pin) -> bool:
    """Whether a model has no weights of its own: it runs on another machine, and only its name is here."""
    return all(file.path == manifests.CONFIG for file in pin.files)


def _model(source: str, world: World, *, trusted: bool | None = None) -> registry.Model:
    """Return where to ask, when we may; `trusted` None: as the whole manifest says of the host."""
    try:
        host = host_of(source)
        trusted = host in world.insecure if trusted is None else trusted
        check(source, insecure=trusted)
    except ValueError as error:
        raise SourceError(str(error), where=source[:200]) from None
    if world.offline:
        raise refusals.offline(source)
    return registry.model_of(name_of(source), trusted=trusted)


def _refuse_choices(request: Request) -> None:
    for key, given in (("files", request.files), ("exclude", request.exclude), ("support", request.support)):
        if given:
            raise ValueError(f"{key} does not go with {request.source}: a model of Ollama is taken whole; remove {key}")


def _pinned(request: Request, model: registry.Model) -> Digest | None:
    """Return the digest that the manifest must have: by hand, by lock, or because the tag says so; None for any.

    Raise ValueError for a revision that is no digest.
    """
    tagged = _DIGEST_TAG.fullmatch(model.name.tag)
    by_tag = parse_digest(f"sha256:{tagged[1]}") if tagged else None
    if request.revision is None:
        return by_tag
    given = _HAND.fullmatch(request.revision)
    if given is None:
        raise ValueError(
            f"lock.revision {inert(request.revision)[:80]!r} is no digest of a manifest; expected sha256:<64 hex>, as "
            "the lock says it (a tag stands in `source`)"
        )
    by_hand = parse_digest(f"sha256:{given[1].lower()}")
    if by_tag is not None and by_hand != by_tag:
        raise ValueError(f"lock.revision {by_hand} is not what the tag {model.name.tag} names; drop one of them")
    return by_hand


def _held(model: registry.Model, wanted: Digest | None, request: Request, world: World) -> bytes:
    """Return the manifest of the tag when it is the wanted one, else the one that the registry has by that digest."""
    found = _tagged(model, wanted, world)
    if found is not None and (wanted is None or manifests.digest_of(found) == wanted):
        return found
    assert wanted is not None
    if not _DIGEST_TAG.fullmatch(model.name.tag):
        try:  # others give it by digest; registry.ollama.ai answers that it is in trouble, for which nobody need wait
            by_digest = registry.manifest(model, wanted, replace(world, patience=0.0))
        except SourceError:
            by_digest = b""
        if manifests.digest_of(by_digest) == wanted:
            return by_digest
    now = manifests.digest_of(found) if found is not None else "nothing: the tag is gone"
    raise SourceError(
        f"upstream moved from {wanted} to {now}, and the registry gives no manifest of the old one",
        where=request.source,
        hint=f"`reconciler lock --upgrade {request.variant}` takes the new one (a pin by hand must go first)",
    )


def _tagged(model: registry.Model, wanted: Digest | None, world: World) -> bytes | None:
    """Return the manifest of the tag; None when there is no such tag any more and a digest is wanted anyway."""
    try:
        return registry.manifest(model, model.name.tag, world)
    except NotFoundError:
        if wanted is None:
            raise
        return None


def _license(model: registry.Model, pin: Pin, world: World) -> str | None:
    """Return the name of the first licence that is small enough to be asked for and says what it is."""
    for file in pin.files:
        if file.media_type != f"{manifests.LAYER_TYPE}license" or file.size >= LARGEST:
            continue
        try:
            text = _small(model, file, world).decode(errors="replace")
        except SourceError as error:
            world.warn(f"the licence of {pin.source} is not known: {error}")
            return None
        return license_of(text)
    return None


def _parameters(model: registry.Model, pin: Pin, world: World) -> dict[str, Any]:
    """Return the model's own parameters under the key that a composed model looks for them; {} where it has none."""
    file = next((each for each in pin.files if each.media_type == f"{manifests.LAYER_TYPE}params"), None)
    if file is None or file.size > LARGEST:
        return {}
    try:
        return {manifests.PARAMS: parameters_of(_small(model, file, world))}
    except ValueError as error:
        raise SourceError(f"its parameters cannot be read: {error}", where=pin.source) from None


def _remote(model: registry.Model, pin: Pin, world: World) -> dict[str, str]:
    """Return where a model without weights runs, as its config says: `host` and `model`, as far as it says so."""
    config = next(file for file in pin.files if file.path == manifests.CONFIG)
    if config.size > LARGEST:
        return {}
    try:
        value = json.loads(_small(model, config, world))
    except (SourceError, ValueError, RecursionError):  # that it has no weights is known without its config
        return {}
    said = {key: value.get(f"remote_{key}") for key in ("host", "model")} if isinstance(value, dict) else {}
    return {key: text[:500] for key, text in said.items() if isinstance(text, str) and text}


def _small(model: registry.Model, file: Artifact, world: World) -> bytes:
    key = ("ollama blob", model.base, file.digest)
    return world.memory.once(key, lambda: registry.small_blob(model, file.digest, file.size, world))


def _stub(pin: Pin) -> str:
    remote = pin.about.get("remote")
    host = remote.get("host") if isinstance(remote, dict) else None
    where = f"at {inert(str(host))[:200]}" if host else "on another machine"
    return (
        f"{pin.source} has no weights: the model runs {where}; take it out of the manifest, or name a tag with weights"
    )
