"""What tests of Ollama share: a registry, a server that pulls from it, models to put into both, and plain calls.

A test module takes the fixtures by name: `registry, ollama = ollama_kit.registry, ollama_kit.ollama`.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from reconciler.hub.ggufs import gguf
from reconciler.hub.ollama_registry import Registry
from reconciler.hub.ollama_server import OllamaServer

TEMPLATE = b"{{ .System }} {{ .Prompt }}"
LICENSE = b"MIT License\n\nCopyright (c) Acme\n"
PARAMS = b'{"stop":["</s>"],"temperature":0.1}'


class Answer(NamedTuple):
    """What a call came to; `lines` are those of a stream."""

    status: int
    text: str

    @property
    def value(self) -> Any:
        return json.loads(self.text)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines() if line.strip()]

    @property
    def error(self) -> str:
        """The error, wherever it stands; '' when there is none."""
        return str(self.lines[-1].get("error", "")) if self.text.strip() else ""


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry.start() as running:
        yield running


@pytest.fixture
def ollama(tmp_path: Path, registry: Registry) -> Iterator[OllamaServer]:
    """A server over `tmp_path/models`, whose registry.ollama.ai and hf.co are the registry on loopback."""
    with serve(tmp_path / "models", registry) as running:
        yield running


class RealServer:
    """A real Ollama server over a directory: the binary that `OLLAMA_BIN` names, with a home of its own."""

    def __init__(self, models: Path, binary: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            host = f"127.0.0.1:{listener.getsockname()[1]}"
        self.url, self.models, self._binary = f"http://{host}", models, binary
        home = models.parent / "home"
        home.mkdir(exist_ok=True)
        own = {"OLLAMA_HOST": host, "OLLAMA_MODELS": str(models), "HOME": str(home), "OLLAMA_NO_CLOUD": "1"}
        self._environment = {**{k: v for k, v in os.environ.items() if not k.startswith("OLLAMA_")}, **own}
        self._begin()

    def restart(self) -> None:
        self.close()
        self._begin()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        self._listener.join()

    def _begin(self) -> None:
        self._process = subprocess.Popen(
            [self._binary, "serve"], env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line)
            if "Listening on" in line:
                break
        else:
            raise RuntimeError(f"{self._binary} did not start: {''.join(said)[-2000:]}")
        self._listener = threading.Thread(target=self._process.stderr.read, daemon=True)  # a full pipe would stop it
        self._listener.start()


@pytest.fixture(params=["embedded", "real"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OllamaServer | RealServer]:
    """A server over `tmp_path/models`: ours, and again a real one where there is one."""
    if request.param == "embedded":
        with OllamaServer.start(tmp_path / "models") as running:
            yield running
        return
    binary = os.environ.get("OLLAMA_BIN")
    if not binary:
        pytest.skip("set OLLAMA_BIN to a binary of Ollama to run these against a real server")
    real = RealServer(tmp_path / "models", binary)
    try:
        yield real
    finally:
        real.close()


def serve(models: Path, registry: Registry, **options: Any) -> OllamaServer:
    """Return a server of a directory that listens already."""
    stand_ins = {"registry.ollama.ai": registry.url, "hf.co": registry.url}
    return OllamaServer.start(models, **{"registries": stand_ins, **options})


def ask(url: str, method: str, path: str, body: object = None) -> Answer:
    """Call a server; a dict goes as JSON, bytes as they are."""
    parts = urlsplit(url)
    sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.request(method, parts.path + path, sent)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read().decode())
    finally:
        connection.close()


def pull(url: str, model: str, **more: Any) -> Answer:
    """Pull a model, over plain HTTP unless `more` says otherwise."""
    return ask(url, "POST", "/api/pull", {"model": model, "insecure": True, **more})


def listed(url: str) -> dict[str, dict[str, Any]]:
    """The models that a server lists, by name."""
    return {entry["name"]: entry for entry in ask(url, "GET", "/api/tags").value["models"]}


def publish(
    registry: Registry,
    model: str = "tiny",
    tag: str = "latest",
    *,
    namespace: str = "library",
    quant: str = "Q4_K_M",
    seed: int = 0,
    size: int | None = None,
    **layers: bytes,
) -> bytes:
    """Publish a small model of real format; `layers` are further ones by kind. Returns its manifest."""
    weights = gguf(quant, name=model, seed=seed, size=size)
    kinds = layers or {"template": TEMPLATE, "license": LICENSE, "params": PARAMS}
    return registry.add(namespace, model, tag, [("model", weights), *kinds.items()])


def install(models: Path, name: str, layers: Mapping[str, bytes], config: bytes = b"{}") -> bytes:
    """Write a model into a store by hand: `host/namespace/model/tag` and blobs. Returns its manifest."""
    entries = []
    for kind, data in layers.items():
        entries.append({"mediaType": f"application/vnd.ollama.image.{kind}", **_stored(models, data)})
    value = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", **_stored(models, config)},
        "layers": entries,
    }
    data = json.dumps(value, separators=(",", ":")).encode()
    path = models / "manifests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return data


def blob(models: Path, data: bytes | str) -> Path:
    """Where a store keeps a blob, given its bytes or its digest."""
    digest = data if isinstance(data, str) else f"sha256:{hashlib.sha256(data).hexdigest()}"
    return models / "blobs" / digest.replace(":", "-")


def digests(manifest: bytes) -> list[str]:
    """The digests that a manifest names, the config last."""
    value = json.loads(manifest)
    return [layer["digest"] for layer in [*(value["layers"] or []), value["config"]]]


def tree(models: Path) -> set[str]:
    """Every file of a store, relative to it."""
    return {path.relative_to(models).as_posix() for path in models.rglob("*") if not path.is_dir()}


def _stored(models: Path, data: bytes) -> dict[str, Any]:
    path = blob(models, data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}
