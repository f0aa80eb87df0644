"""Speak with a registry of Ollama models: manifests by tag or digest, blobs by digest, tokens for strangers.

    GET  /v2/<namespace>/<model>/manifests/<tag>       the manifest's own bytes
    HEAD /v2/<namespace>/<model>/blobs/sha256:<hex>    whether a blob may be had
    GET  /v2/<namespace>/<model>/blobs/sha256:<hex>    its bytes, or a redirect (mostly 307) to a signed address

The protocol is that of https://github.com/opencontainers/distribution-spec; how Ollama's own client speaks it stands in
https://github.com/ollama/ollama/blob/main/server/download.go. A 401 with `Www-Authenticate: Bearer realm=…` is answered
with a token that the realm gives to anybody (https://distribution.github.io/distribution/spec/auth/token/); private
models of ollama.com, for which it wants a key of the Ollama installation, cannot be had here.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from reconciler.errors import AccessError, NotFoundError, RateLimitedError, SourceError
from reconciler.inert import inert
from reconciler.located import Located
from reconciler.ollama import manifests
from reconciler.ollama.names import HOST, Name
from reconciler.secrets import redact
from reconciler.sources import refusals, urls
from reconciler.sources.patience import Answer
from reconciler.sources.world import World
from reconciler.state import Digest

HUBS = frozenset({"hf.co", "huggingface.co"})
"""Hosts of the Hugging Face Hub: it speaks this protocol for its GGUF repositories, and knows the Hub's tokens."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHALLENGE = re.compile(r'([a-z]+)="([^"]*)"', re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,16384}")
_ERROR = 4096
_FIRST_BYTE = {"Range": "bytes=0-0"}


class Model(NamedTuple):
    """One model of a registry: `base` is scheme://host[:port]; `trusted` allows plain http and private addresses."""

    name: Name
    base: str
    trusted: bool

    @property
    def where(self) -> str:
        """As a source names it."""
        return f"ollama:{self.name.short}"

    def url(self, kind: str, reference: str) -> str:
        """Return the address of a manifest or a blob; every part of a name is fit for a URL as it is."""
        return f"{self.base}/v2/{self.name.namespace}/{self.name.model}/{kind}/{reference}"

    @property
    def is_on_hub(self) -> bool:
        """Whether the registry is the Hugging Face Hub."""
        return urls.origin(self.base)[1] in HUBS


def model_of(name: Name, *, trusted: bool) -> Model:
    """Return where a model is asked for: https, and plain http where the manifest says `insecure: true`.

    So does Ollama's own client with its option of that name.
    """
    return Model(name, f"{'http' if trusted else 'https'}://{name.host.lower()}", trusted)


def manifest(model: Model, reference: str, world: World) -> bytes:
    """Return the bytes of the manifest that a tag or digest means now; once a run. Raise SourceError."""

    def ask() -> bytes:
        headers = {"Accept": manifests.MEDIA_TYPE}
        answer = _follow(model, model.url("manifests", reference), headers, manifests.LARGEST + 1, world)
        if answer.status != 200:
            raise _refused(answer, model, f"manifest {reference}", world)
        if answer.headers.get("content-type", "").lower().startswith("text/html"):
            hint = "is it a registry of Ollama models?"
            raise SourceError("the registry sends a web page instead of a manifest", where=model.where, hint=hint)
        return answer.body

    return world.memory.once(("ollama", model.base, *model.name[1:3], reference), ask)


def small_blob(model: Model, digest: Digest, size: int, world: World) -> bytes:
    """Return the bytes of a small blob, verified; raise SourceError when they are not there or not right."""
    answer = _follow(model, model.url("blobs", digest), {}, size + 1, world)
    if answer.status != 200:
        raise _refused(answer, model, f"blob {digest}", world)
    if f"sha256:{hashlib.sha256(answer.body).hexdigest()}" != digest:
        raise SourceError(f"the registry's blob is not the one that it calls {digest}", where=model.where)
    return answer.body


def find(model: Model, digest: Digest, size: int, world: World) -> Located:
    """Ask where a blob's bytes are now. Raise SourceError when they are not there, or their number is another.

    Where the registry sends us to another origin, the address alone is enough and holds no token of ours.
    """
    url = model.url("blobs", digest)
    for _ in range(urls.HOPS + 1):
        answer = _ask("GET", url, model, _FIRST_BYTE, 1, world)
        if answer.status in _REDIRECTS and (location := answer.headers.get("location")):
            target = _hop(model, url, location, world)
            if urls.origin(target) != urls.origin(model.base) and not _is_hub(target):
                return _elsewhere(model, target, digest, size, world)
            url = target
            continue
        if answer.status not in (200, 206):
            raise _refused(answer, model, f"blob {digest}", world)
        etag = _checked(answer, model, digest, size)
        headers = _credentials(url, model, world)
        return Located(url, headers, not headers, urls.expires(url), size, etag)
    raise SourceError(f"more than {urls.HOPS} redirects", where=model.where)


def may_have(model: Model, digest: Digest, world: World) -> bool:
    """Ask whether a blob may be had; raise AccessError or NotFoundError with the reason when it may not.

    False when the registry's answer says neither: some know no HEAD.
    """
    answer = _ask("HEAD", model.url("blobs", digest), model, {}, 0, world)
    if answer.status in (401, 403, 404, 410):
        raise _refused(answer, model, f"blob {digest}", world)
    return answer.status == 200 or answer.status in _REDIRECTS


def _elsewhere(model: Model, url: str, digest: Digest, size: int, world: World) -> Located:
    """Judge the first address beyond the registry: it is the answer, and what lies behind it has the right size.

    A small blob is not asked for twice: its digest is the judge of what comes.
    """
    if size < world.small:
        return Located(url, {}, True, urls.expires(url))
    answer = _answer("GET", url, _FIRST_BYTE, 1, model, world)
    if answer.status in _REDIRECTS:  # the downloader follows, and judges each hop
        return Located(url, {}, True, urls.expires(url))
    if answer.status not in (200, 206):
        said = f"{urls.origin(url)[1]} answers {refusals.status_text(answer.status)}"
        raise SourceError(said, where=model.where, hint="run the same again later")
    etag = _checked(answer, model, digest, size)
    return Located(url, {}, True, urls.expires(url), size, etag)


def _checked(answer: Answer, model: Model, digest: Digest, size: int) -> str:
    """Return the ETag of an answer with a blob's first byte; raise SourceError when the blob is of another size."""
    if answer.headers.get("content-type", "").lower().startswith("text/html"):
        raise SourceError("the registry sends a web page instead of a blob", where=model.where, hint="try later")
    if answer.status == 206:
        total = answer.headers.get("content-range", "").rpartition("/")[2]
    else:
        total = answer.headers.get("content-length", "")
    if total.isdecimal() and int(total[:20]) != size:
        raise SourceError(
            f"upstream has changed the bytes of a locked blob: {digest} is locked with {size} bytes, and has {total}",
            where=model.where,
            hint="a digest names the same bytes for ever: the registry, or something on the way to it, is broken",
        )
    return answer.headers.get("etag", "").removeprefix("W/").strip('"')


def _follow(model: Model, url: str, headers: dict[str, str], limit: int, world: World) -> Answer:
    """Return the last answer of a chain of redirects; what belongs to the registry stays with it."""
    for _ in range(urls.HOPS + 1):
        answer = _ask("GET", url, model, headers, limit, world)
        location = answer.headers.get("location")
        if answer.status not in _REDIRECTS or not location:
            return answer
        url = _hop(model, url, location, world)
    raise SourceError(f"more than {urls.HOPS} redirects", where=model.where)


def _ask(method: str, url: str, model: Model, headers: dict[str, str], limit: int, world: World) -> Answer:
    """Ask with the token that belongs to the address; where the registry itself wants one, get it, and renew it."""
    tokens: dict[tuple[str, str, str], str] = world.memory.once(("ollama tokens",), dict)
    key = (model.base, model.name.namespace, model.name.model)
    for attempt in range(3):
        sent = _credentials(url, model, world)
        answer = _answer(method, url, headers | sent, max(limit, _ERROR if method == "GET" else 0), model, world)
        if answer.status != 401 or attempt == 2 or urls.origin(url) != urls.origin(model.base):
            break
        if tokens.get(key) is None or sent == _bearer(tokens[key]):  # else another thread has renewed it meanwhile
            fresh = _token(answer, model, world)
            if fresh is None:
                break
            tokens[key] = fresh
    return answer


def _answer(method: str, url: str, headers: dict[str, str], limit: int, model: Model, world: World) -> Answer:
    from reconciler.sources import wire

    try:
        return wire.send(method, url, world, headers, limit=limit, public=not model.trusted)
    except RateLimitedError as error:
        if model.is_on_hub:
            raise
        hint = "run the same again after that"
        raise RateLimitedError(error.problems[0].summary, where=error.problems[0].where, hint=hint) from None


def _credentials(url: str, model: Model, world: World) -> dict[str, str]:
    """Return the registry's token for its own origin, the Hub's for the Hub, nothing for any other."""
    tokens: dict[tuple[str, str, str], str] = world.memory.once(("ollama tokens",), dict)
    token = tokens.get((model.base, model.name.namespace, model.name.model))
    if token is not None and urls.origin(url) == urls.origin(model.base):
        return _bearer(token)
    return _hub_token(url, world)


def _hub_token(url: str, world: World) -> dict[str, str]:
    """Return the Hub's token where `url` is the Hub itself, over https; with a mirror, it is the mirror's token."""
    if world.token is None or not _is_hub(url) or urls.origin(world.endpoint) != urls.origin(urls.HUB):
        return {}
    return _bearer(world.token.reveal())


def _is_hub(url: str) -> bool:
    return any(urls.origin(url) == ("https", host, 443) for host in HUBS)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _token(answer: Answer, model: Model, world: World) -> str | None:
    """Return a token of the realm that a 401 names, None when it names none. Raise AccessError, SourceError."""
    scheme, _, rest = answer.headers.get("www-authenticate", "").partition(" ")
    said = {key.lower(): value for key, value in _CHALLENGE.findall(rest)}
    realm = said.get("realm", "")
    if scheme.lower() != "bearer" or "://" not in realm:  # the Hub's realm is a sentence, and it gives no tokens
        return None
    realm = _realm(realm, model)
    parts = urlsplit(realm)
    query = parse_qsl(parts.query) + [(key, said[key]) for key in ("service", "scope") if said.get(key)]
    url = urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))
    given = _answer("GET", url, _hub_token(url, world), 64 << 10, model, world)
    if given.status != 200:
        raise _private(model, f"it gives strangers no token ({given.status})", world)
    try:
        value = json.loads(given.body)
        token = value.get("token") or value.get("access_token")
    except (ValueError, RecursionError, AttributeError):
        token = None
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise SourceError("the registry's answer holds no token", where=redact(realm))
    return token


def _realm(realm: str, model: Model) -> str:
    """Return the address that gives tokens when it is the registry's own; raise SourceError for any other."""
    try:
        target = urls.follow(model.base, realm, private=model.trusted)
    except ValueError as error:
        raise SourceError(f"the registry sends us for a token where we do not go: {error}", where=model.where) from None
    host, own = urls.origin(target)[1], urls.origin(model.base)[1]
    if not is_of_one_site(host, own):
        raise SourceError(
            f"the registry at {own} sends us for a token to {inert(host)[:100]}, which is not its own",
            where=model.where,
            hint="Ollama's own client refuses that too",
        )
    return target


def is_of_one_site(host: str, registry: str) -> bool:
    """Whether a host may give tokens for a registry: itself, or one of the same site (`auth.` beside `registry.`)."""
    site = registry.partition(".")[2]
    if host == registry or urls.is_private_address(registry) or site.count(".") == 0:
        return host == registry
    return host == site or host.endswith(f".{site}")


def _hop(model: Model, url: str, location: str, world: World) -> str:
    try:
        return urls.follow(url, location, private=model.trusted)
    except ValueError as error:
        raise SourceError(redact(str(error), [world.token]), where=model.where) from None


def _refused(answer: Answer, model: Model, what: str, world: World) -> SourceError:
    """Return the error for an answer of a registry that is not the one we asked for."""
    status, said = answer.status, _said(answer.body, world)
    told = f": {said}" if said else ""
    if status in (401, 403):
        return _private(model, f"the registry refuses it ({status}){told}", world)
    if status in (404, 410):
        if what.startswith("blob"):
            hint = "the tag has moved and the old bytes are gone: `reconciler lock --upgrade` takes the new ones"
            return NotFoundError(f"the registry has no {what} any more ({status})", where=model.where, hint=hint)
        return NotFoundError(
            f"the registry has no model {model.name.short} ({status}{told})", where=model.where, hint=_page(model)
        )
    said = f"the registry answers {refusals.status_text(status)}"
    return SourceError(f"{said} when asked for {what}{told}", where=model.where, hint=_page(model))


def _private(model: Model, why: str, world: World) -> AccessError:
    if model.is_on_hub and world.token is None:
        hint = "check the name; for a private or gated repository set HF_TOKEN"
    elif model.is_on_hub:
        hint = f"may the token read it? see https://huggingface.co/{model.name.namespace}/{model.name.model}"
    else:
        hint = "check the name; a model that its owner keeps private can be had through `ollama pull` only"
    return AccessError(f"{model.name.short} is private, or not there: {why}", where=model.where, hint=hint)


def _page(model: Model) -> str:
    name = model.name
    if model.is_on_hub:
        return f"is there a GGUF {inert(name.tag)} at https://huggingface.co/{name.namespace}/{name.model}?"
    if name.host.lower() == HOST:
        below = f"{name.namespace}/{name.model}"
        return f"see its tags at https://ollama.com/{below}/tags"
    return "check its name and tag; a model that exists only on your machine is no source"


def _said(body: bytes, world: World) -> str:
    """Return what an error of a registry says: `{"errors": [{"message"}]}`, or `{"error"}`."""
    try:
        value: Any = json.loads(body)
        errors = value.get("errors")
        text = errors[0].get("message") if errors else value.get("error")
    except (ValueError, RecursionError, AttributeError, TypeError, LookupError):
        return ""
    return inert(redact(text, [world.token]))[:200] if isinstance(text, str) else ""
