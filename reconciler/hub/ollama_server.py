"""The embedded Ollama server: its HTTP API over a real store directory, quirks included, as version 0.32 behaves.

    GET    /, /api/version, /api/status, /api/tags, /api/ps
    POST   /api/show, /api/pull, /api/copy, /api/create;  DELETE /api/delete
    HEAD, POST /api/blobs/<digest>

https://github.com/ollama/ollama/blob/main/docs/api.md. What that page does not say was seen on a real server: errors at
the end of a stream with status 200, names matched without case part by part, blobs that exist and are never looked
into, unused layers removed when a tag is replaced, pruning at the start with an hour of grace and never while one
manifest is bad, weights rewritten by `create`. It runs no models, converts no safetensors and pushes nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self
from weakref import WeakSet

from reconciler.hub import ollama_files as files
from reconciler.hub import ollama_show as show
from reconciler.hub.ollama_create import create
from reconciler.hub.ollama_files import Bad, Store
from reconciler.hub.ollama_names import Name, is_cloud, parse, without_source
from reconciler.hub.ollama_pull import Upstream, pull
from reconciler.hub.ollama_streams import Halt, Refused, answer, refusal, told
from reconciler.hub.repos import Blob
from reconciler.hub.service import Request, Service
from reconciler.hub.wire import Call, Response

VERSION = "0.32.15"

_TEXT = (("Content-Type", "text/plain; charset=utf-8"),)
_HOSTS = re.compile(r"(localhost|[0-9.]+|\[[0-9a-fA-F:.]+\]|[\w.-]+\.(localhost|local|internal))?(:\d+)?")

Body = Mapping[str, Any]


class OllamaServer(Service):
    """A running server: `with OllamaServer.start(models) as server:`; its files are those of the directory `models`."""

    body_limit = 1 << 30

    def __init__(
        self,
        models: Path,
        *,
        registries: Mapping[str, str] | None = None,
        prefix: str = "",
        readonly: bool = False,
        uid: int | None = None,
        noprune: bool = False,
        shown: str = "",
        version: str = VERSION,
        port: int = 0,
    ) -> None:
        super().__init__({"hub": port, "cdn": 0})
        self.models = models
        """The directory that holds `blobs` and `manifests`."""
        self.registries = dict(registries or {})
        """Host of a name -> URL of the registry that stands in for it; no other host of the internet is ever asked."""
        self.prefix = prefix.rstrip("/")
        """A path before every other, as a proxy in front of the server may want one."""
        self.readonly = readonly
        """Whether the server may not write its directory."""
        self.uid = uid
        """The user that the server is; `create` fails with blobs of another one. None: it may touch all files."""
        self.noprune = noprune
        """The server's `OLLAMA_NOPRUNE`."""
        self.shown = shown
        """What it calls its directory, as one in a container does; '': as it is called here."""
        self.version = version
        self.url = ""
        self.warnings: list[str] = []
        """What it logged at its starts."""
        self._entries: dict[str, dict[str, Any]] = {}
        self._pulling = threading.Lock()
        self._halts: WeakSet[Halt] = WeakSet()

    @classmethod
    def start(cls, models: Path, **options: Any) -> Self:
        """Return a server of this directory that listens already; options are those of the constructor."""
        return cls(models, **options).__enter__()

    @property
    def host(self) -> str:
        """What `OLLAMA_HOST` would say: `127.0.0.1:PORT`."""
        return self.url.removeprefix("http://").partition("/")[0]

    @property
    def log(self) -> list[Request]:
        """What was asked and answered."""
        return self.requests

    def close(self) -> None:
        """Stop listening, and end what is being pulled or made."""
        for halt in list(self._halts):
            halt.call()
        super().close()

    def restart(self) -> None:
        """Stop, and start again at the same place, pruning as a start does."""
        self.close()
        self._entries.clear()
        self._begin()

    def respond(self, call: Call) -> Response:
        """Return the answer to one call."""
        path = call.plain_path.removeprefix(self.prefix)
        if not call.plain_path.startswith(self.prefix):
            return Response(404, _TEXT, Blob(b"404 page not found"))
        if not _HOSTS.fullmatch(call.headers.get("host", "")):
            return Response(403)
        try:
            return self._route(call, path)
        except Refused as problem:
            return refusal(problem.status, problem.text)
        except Bad as problem:
            return refusal(500, str(problem))

    def answer(self, call: Call) -> Response:
        """Return the answer to one call; what a fault answers in the server's place, the server does not do."""
        effect = self._faults.commit(call, Response(200), bodies=False)
        if effect.spent:
            return effect.response
        return self._faults.commit(call, self.respond(call), bodies=True).response

    @property
    def _store(self) -> Store:
        return Store(self.models, self.readonly, self.uid, self.noprune, self.shown)

    def _open(self) -> None:
        if not self.readonly:
            files.prepare(self._store)
        if not (self.noprune or self.readonly) and (why := files.prune(self._store, time.time())):
            self.warnings.append(why)
        self.url = self._listen("hub") + self.prefix

    def _route(self, call: Call, path: str) -> Response:
        if path.startswith("/api/blobs/"):
            return self._blob(call, path.removeprefix("/api/blobs/"))
        verbs = _ROUTES.get(path, {})
        verb = verbs.get(call.method) or (verbs.get("GET") if call.method == "HEAD" else None)
        if verb is not None:
            return verb(self, call)
        status, text = (405, b"405 method not allowed") if verbs else (404, b"404 page not found")
        return Response(status, _TEXT, Blob(text))

    def _running(self, call: Call) -> Response:
        return Response(200, _TEXT, Blob(b"Ollama is running"))

    def _version(self, call: Call) -> Response:
        return answer({"version": self.version})

    def _status(self, call: Call) -> Response:
        return answer({"cloud": {"disabled": True, "source": "env"}})

    def _loaded(self, call: Call) -> Response:
        return answer({"models": []})

    def _tags(self, call: Call) -> Response:
        rows = []
        for name, found in files.manifests(self._store).items():
            try:
                # Kept by the manifest's digest: a blob that changed or went afterwards is not noticed here.
                entry = self._entries.get(found.digest) or show.listed(self._store, found)
            except (Bad, FileNotFoundError):
                continue
            if "capabilities" in entry:
                self._entries[found.digest] = entry
            named = {"name": name.short, "model": name.short}
            rows.append((found.modified_ns, {**named, **entry, "modified_at": show.rfc3339(found.modified_ns)}))
        rows.sort(key=lambda row: -(row[0] // 10**9))
        return answer({"models": [entry for _, entry in rows]})

    def _show(self, call: Call) -> Response:
        body = _body(call)
        text = _named(body)
        if not text:
            raise Refused(400, "model is required")
        given = parse(text)
        if not given.is_valid:
            raise Refused(400, "invalid model name")
        if is_cloud(given):
            raise Refused(403, "ollama cloud is disabled: remote model details are unavailable")
        name = self._existing(without_source(given))
        try:
            found = files.read(self._store, name)
            if show.config_of(self._store, found).get("remote_host"):
                raise Refused(403, "ollama cloud is disabled: remote model details are unavailable")
            return answer(show.shown(self._store, name, found, verbose=bool(body.get("verbose"))))
        except FileNotFoundError:
            raise Refused(404, f"model '{name.short}' not found") from None

    def _pull(self, call: Call) -> Response:
        body = _body(call)
        given = parse(_named(body))
        if not given.is_valid:
            raise Refused(400, "invalid model name")
        name, halt = self._existing(without_source(given)), self._halt()
        steps = pull(self._store, name, self._upstream, halt, insecure=bool(body.get("insecure")))
        return told(steps, halt, stream=body.get("stream") is not False)

    def _copy(self, call: Call) -> Response:
        body = _body(call)
        names = []
        for key in ("source", "destination"):
            given = parse(str(body.get(key, "")))
            if not given.is_valid:
                raise Refused(400, f"{key} {_go_quoted(str(body.get(key, '')))} is invalid")
            names.append(self._existing(given))
        source, destination = names
        if source != destination:
            try:
                data = (self.models / "manifests" / source.path).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                raise Refused(404, f"model {_go_quoted(str(body['source']))} not found") from None
            files.write(self._store, destination, data)
        return Response(200)

    def _delete(self, call: Call) -> Response:
        body = _body(call)
        text = _named(body)
        given = parse(text)
        if not given.is_valid:
            raise Refused(400, f"name {_go_quoted(text)} is invalid")
        try:
            name = files.existing(self._store, without_source(given))
            files.remove(self._store, files.read(self._store, name))
        except FileNotFoundError:
            raise Refused(404, f"model '{text}' not found") from None
        except Bad as problem:
            if str(problem).startswith("stat "):  # a dangling link: nothing is found
                raise Refused(404, f"model '{text}' not found") from None
            raise
        return Response(200)

    def _create(self, call: Call) -> Response:
        body = _body(call)
        given = parse(_named(body))
        if not given.is_valid:
            raise Refused(400, "invalid model name")
        for key in ("files", "adapters"):
            if not isinstance(body.get(key) or {}, dict):
                raise Refused(400, f"json: cannot unmarshal into Go struct field CreateRequest.{key} of type map")
        name, halt = self._existing(given), self._halt()
        steps = create(
            self._store, name, body, lambda base: pull(self._store, base, self._upstream, halt, insecure=False)
        )
        return told(steps, halt, stream=body.get("stream") is not False)

    def _blob(self, call: Call, digest: str) -> Response:
        if not files.DIGEST.fullmatch(digest):
            raise Refused(400, "invalid digest format")
        digest = digest.replace("-", ":")
        exists = files.blob_path(self._store, digest).is_file()
        if call.method == "HEAD":
            return Response(200 if exists else 404)
        if call.method != "POST":
            return Response(405, _TEXT, Blob(b"405 method not allowed"))
        if exists:
            return Response(200)
        found = f"sha256:{hashlib.sha256(call.body).hexdigest()}"
        if found != digest:
            raise Refused(400, f"digest mismatch, expected {_go_quoted(digest)}, got {_go_quoted(found)}")
        files.put(self._store, call.body)
        return Response(201)

    def _halt(self) -> Halt:
        halt = Halt()
        self._halts.add(halt)
        return halt

    @property
    def _upstream(self) -> Upstream:
        return Upstream({host.lower(): url for host, url in self.registries.items()}, self._pulling)

    def _existing(self, name: Name) -> Name:
        try:
            return files.existing(self._store, name)
        except Bad as problem:
            raise Refused(400, str(problem)) from None


_ROUTES: Mapping[str, Mapping[str, Callable[[OllamaServer, Call], Response]]] = {
    "/": {"GET": OllamaServer._running},
    "/api/version": {"GET": OllamaServer._version},
    "/api/status": {"GET": OllamaServer._status},
    "/api/ps": {"GET": OllamaServer._loaded},
    "/api/tags": {"GET": OllamaServer._tags},
    "/api/show": {"POST": OllamaServer._show},
    "/api/pull": {"POST": OllamaServer._pull},
    "/api/copy": {"POST": OllamaServer._copy},
    "/api/delete": {"DELETE": OllamaServer._delete},
    "/api/create": {"POST": OllamaServer._create},
}


def _body(call: Call) -> Body:
    if not call.body.strip():
        raise Refused(400, "missing request body")
    try:
        value = json.loads(call.body)
    except ValueError:
        first = call.body.strip()[:1].decode("latin-1")
        raise Refused(400, f"invalid character '{first}' looking for beginning of value") from None
    if not isinstance(value, dict):
        raise Refused(400, "json: cannot unmarshal into Go value of a request")
    return value


def _named(body: Body) -> str:
    return str(body.get("model") or body.get("name") or "")


def _go_quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
