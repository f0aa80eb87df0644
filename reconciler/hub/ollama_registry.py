"""The embedded registry: two origins on loopback that speak the protocol of registry.ollama.ai and hf.co.

    GET, HEAD /v2/<namespace>/<model>/manifests/<tag or digest>
    GET, HEAD /v2/<namespace>/<model>/blobs/<digest>              GET: 307 to a signed URL on the other origin
    GET       /token?service=…&scope=…                            where a 401 sends who has no token

The origins have different host names, `127.0.0.1` and `localhost`, as a real Ollama server follows a redirect by itself
unless it leads to another host (https://github.com/ollama/ollama/blob/main/server/download.go). It pulls from here
as `<host>/<namespace>/<model>:<tag>` with `insecure`.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import time
from typing import Any, Literal, Self
from urllib.parse import urlencode

from reconciler.hub.content import serve
from reconciler.hub.faults import Faults
from reconciler.hub.ollama_ggufs import config_of, read_gguf
from reconciler.hub.repos import Blob
from reconciler.hub.service import Request, Service
from reconciler.hub.wire import Call, Response

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPE = "application/vnd.ollama.image."

Layers = Sequence[tuple[str, bytes | Path]]
"""Kind (`model`, `template`, …) or whole media type, and the bytes."""

Blobs = Literal["redirect", "location", "plain"]


class Registry(Service):
    """A running registry: `with Registry.start() as registry:`; what it holds and allows can be changed at any time."""

    fault_origin = "cdn"

    def __init__(
        self,
        *,
        auth: bool = False,
        by_digest: bool = True,
        blobs: Blobs = "redirect",
        url_ttl: float = 3600.0,
        port: int = 0,
        blob_port: int = 0,
    ) -> None:
        super().__init__({"hub": port, "cdn": blob_port})
        self.auth = auth
        """Whether a token is asked for; anybody gets one."""
        self.refuse_tokens = False
        """Nobody gets a token."""
        self.by_digest = by_digest
        """False: a manifest asked for by its digest is an internal error, as at registry.ollama.ai."""
        self.blobs: Blobs = blobs
        """`redirect`: 307 to the other origin; `location`: 200 and a Location header; `plain`: 200 without one, from
        which Ollama does not pull."""
        self.digest_header = True
        """Whether HEAD and GET of a manifest tell `ollama-content-digest`."""
        self.quants_only = False
        """True: a tag that is missing is a 400, no 404, as at hf.co."""
        self.url_ttl = url_ttl
        """How long a signed URL is good, in seconds."""
        self.url = self.blob_url = ""
        self._blobs: dict[str, Blob] = {}
        self._manifests: dict[str, bytes] = {}
        self._tags: dict[str, dict[str, str]] = {}
        self._tokens: set[str] = set()
        self._revoked: set[str] = set()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._ahead = 0.0

    @classmethod
    def start(cls, **options: Any) -> Self:
        """Return a registry that listens already; options are those of the constructor."""
        return cls(**options).__enter__()

    @property
    def host(self) -> str:
        """What names begin with: `127.0.0.1:PORT`."""
        return self.url.removeprefix("http://")

    @property
    def log(self) -> list[Request]:
        """What was asked and answered; origin `hub` is the registry itself, `cdn` where the blobs are."""
        return self.requests

    @property
    def faults(self) -> Faults:
        """The faults that are due; `fault(…)` asks for one."""
        return self._faults

    def add(
        self, namespace: str, model: str, tag: str, layers: Layers, config: Mapping[str, Any] | bytes | None = None
    ) -> bytes:
        """Publish a model under a tag, whatever that named before; return the manifest's bytes.

        Without a config it gets the one that fits its weights.
        """
        listed = [(kind if "/" in kind else LAYER_TYPE + kind, Blob(content)) for kind, content in layers]
        described = _config(listed) if config is None else config
        text = described if isinstance(described, bytes) else json.dumps(described, separators=(",", ":")).encode()
        last = (CONFIG_TYPE, Blob(text))
        value = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _entry(*last),
            "layers": [_entry(*layer) for layer in listed],
        }
        for _, blob in (*listed, last):
            self._blobs[f"sha256:{blob.sha256}"] = blob
        return self.add_manifest(namespace, model, tag, json.dumps(value, separators=(",", ":")).encode())

    def add_manifest(self, namespace: str, model: str, tag: str, manifest: bytes) -> bytes:
        """Publish these very bytes as the manifest of a tag, true or not; return them."""
        digest = _digest(manifest)
        with self._lock:
            self._manifests[digest] = manifest
            self._tags.setdefault(f"{namespace}/{model}", {})[tag] = digest
        return manifest

    def add_blob(self, content: bytes | Path, digest: str = "") -> str:
        """Hold a blob, under a digest that is not its own if one is given; return its digest."""
        blob = Blob(content)
        name = digest or f"sha256:{blob.sha256}"
        self._blobs[name] = blob
        return name

    def move(
        self, namespace: str, model: str, tag: str, layers: Layers, config: Mapping[str, Any] | bytes | None = None
    ) -> bytes:
        """Let a tag that exists name another model; raise KeyError when it does not exist. Nothing is forgotten."""
        if tag not in self._tags.get(f"{namespace}/{model}", {}):
            raise KeyError(f"{namespace}/{model}:{tag}")
        return self.add(namespace, model, tag, layers, config)

    def remove(self, namespace: str, model: str, tag: str) -> None:
        """Take a tag away; raise KeyError when there is none."""
        with self._lock:
            del self._tags[f"{namespace}/{model}"][tag]

    def remove_blob(self, digest: str) -> None:
        """Forget a blob that manifests still name."""
        del self._blobs[digest]

    def expire_tokens(self) -> None:
        """Let every token that was given be good no longer."""
        self._tokens.clear()

    def advance(self, seconds: float) -> None:
        """Move the registry's clock forward, so that nobody has to wait for a signed URL to expire."""
        self._ahead += seconds

    def revoke(self, signature: str) -> None:
        """Let a signed URL be good no longer, whatever its time says."""
        self._revoked.add(signature)

    def respond(self, call: Call) -> Response:
        """Return the answer of one origin to one call."""
        if call.method not in ("GET", "HEAD"):
            return _refuse(405, "UNSUPPORTED", "this registry is for reading")
        if call.origin == "cdn":
            return self._stored(call)
        parts = call.plain_path.strip("/").split("/")
        if parts == ["token"]:
            return self._token(call)
        if parts[0] != "v2":
            return _refuse(404, "NOT_FOUND", "there is no such page")
        repository = "/".join(parts[1:3])
        if self.auth and call.headers.get("authorization", "") not in {f"Bearer {token}" for token in self._tokens}:
            return self._challenge(repository)
        if len(parts) == 1:
            return _json({})
        if len(parts) == 5 and parts[3] == "manifests":
            return self._manifest(repository, parts[4])
        if len(parts) == 5 and parts[3] == "blobs":
            return self._blob(call, parts[4])
        return _refuse(404, "NAME_UNKNOWN", "repository name not known to registry")

    def _open(self) -> None:
        self.url = self._listen("hub")
        self.blob_url = self._listen("cdn").replace("127.0.0.1", "localhost")

    def _manifest(self, repository: str, reference: str) -> Response:
        tags = self._tags.get(repository)
        if tags is None:
            return _refuse(404, "NAME_UNKNOWN", "repository name not known to registry")
        if reference.startswith("sha256:"):
            if not self.by_digest:
                return _refuse(500, "INTERNAL_ERROR", "internal error")
            digest = reference if reference in self._manifests else ""
        else:
            digest = tags.get(reference, "")
        if not digest and self.quants_only and ":" not in reference:
            text = f"The specified tag is not a valid quantization scheme: {reference}"
            return Response(400, (("Content-Type", "application/json"),), Blob(json.dumps({"error": text}).encode()))
        if not digest:
            return _refuse(404, "MANIFEST_UNKNOWN", "manifest unknown")
        headers = {"Content-Type": MANIFEST_TYPE}
        if self.digest_header:
            headers |= {"ollama-content-digest": digest, "Docker-Content-Digest": digest}
        return Response(200, tuple(headers.items()), Blob(self._manifests[digest]))

    def _blob(self, call: Call, digest: str) -> Response:
        blob = self._blobs.get(digest.replace("sha256-", "sha256:"))
        if blob is None:
            return _refuse(404, "BLOB_UNKNOWN", "blob unknown to registry")
        headers = {"Content-Type": "application/octet-stream"}
        if call.method == "GET" and self.blobs == "redirect":
            return Response(307, (("Location", self._signed(digest)), ("Content-Type", "text/html; charset=utf-8")))
        if self.blobs == "location":
            headers["Location"] = f"{self.url}{call.path}"
        return serve(call, blob, digest.partition(":")[2], headers)

    def _stored(self, call: Call) -> Response:
        if "authorization" in call.headers:
            return _refuse(400, "INVALID_REQUEST", "only one way to authenticate is allowed, and the URL is signed")
        expires, signature = call.query.get("Expires", ""), call.query.get("Signature", "")
        right = hmac.compare_digest(signature.encode(), self._sign(call.plain_path, expires).encode())
        if not right or signature in self._revoked or int(expires.partition(".")[0]) < time() + self._ahead:
            return _refuse(403, "ACCESS_DENIED", "request has expired, or its signature does not match")
        digest = call.plain_path.rsplit("/", 1)[-1]
        blob = self._blobs.get(digest)
        if blob is None:
            return _refuse(404, "NO_SUCH_KEY", "there is no such object")
        return serve(call, blob, digest.partition(":")[2], {"Content-Type": "application/octet-stream"})

    def _signed(self, digest: str) -> str:
        path = f"/blobs/{digest}"
        expires = f"{int(time() + self._ahead + self.url_ttl)}.{next(self._numbers)}"  # no two addresses are the same
        return f"{self.blob_url}{path}?{urlencode({'Expires': expires, 'Signature': self._sign(path, expires)})}"

    def _sign(self, path: str, expires: str) -> str:
        return hmac.new(b"a registry on loopback", f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()

    def _challenge(self, repository: str) -> Response:
        told = f'Bearer realm="{self.url}/token",service="{self.host}",scope="repository:{repository}:pull"'
        return _refuse(401, "UNAUTHORIZED", "authentication required", {"Www-Authenticate": told})

    def _token(self, call: Call) -> Response:
        if self.refuse_tokens or call.query.get("service") != self.host or not call.query.get("scope"):
            return _refuse(401, "DENIED", "no token for this scope")
        token = self._sign(call.query["scope"], f"token {next(self._numbers)}")
        self._tokens.add(token)
        return _json({"token": token})


def _config(layers: Sequence[tuple[str, Blob]]) -> bytes:
    model = next((blob for media_type, blob in layers if media_type == LAYER_TYPE + "model"), None)
    if model is None:
        return config_of(None)
    try:
        return config_of(read_gguf(b"".join(model.blocks())))
    except ValueError:
        return config_of(None)


def _entry(media_type: str, blob: Blob) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{blob.sha256}", "size": blob.size}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _json(value: object) -> Response:
    return Response(200, (("Content-Type", "application/json"),), Blob(json.dumps(value).encode()))


def _refuse(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Response(status, tuple({**(headers or {}), "Content-Type": "application/json"}.items()), Blob(body))
