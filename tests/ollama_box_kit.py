"""A machine with an Ollama: a registry and a server on loopback, a manifest, and the whole program.

A test module takes the fixtures by name: `registry, either, box = kit.registry, ollama_kit.either, kit.box`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from apply_kit import Ran, ran
from ollama_kit import ask, listed, publish

from reconciler.hub.ollama_registry import Registry
from reconciler.hub.server import Hub
from reconciler.ollama import manifests, names

NOBODY = "http://127.0.0.1:1"
"""Where no server is."""
TEMPLATE = "{{ .System }}|{{ .Prompt }}"


class _Plain(yaml.SafeDumper):
    """Without anchors, which a manifest must not have."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


@dataclass
class Box:
    """One machine below `path`: the store is `models`, and `server` may be None, which is down.

    `by_api`: the store is not ours to write, so that all goes by the server's API.
    """

    path: Path
    registry: Registry
    server: Any = None
    by_api: bool = False
    hub: Hub | None = None
    location: dict[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)

    @property
    def models(self) -> Path:
        return self.path / "models"

    @property
    def manifest(self) -> Path:
        return self.path / "box.yaml"

    @property
    def url(self) -> str:
        return self.server.url if self.server is not None else NOBODY

    def source(self, reference: str = "tiny:v1", namespace: str = "acme") -> str:
        return f"ollama:{self.registry.host}/{namespace}/{reference}"

    def declare(self, variants: Mapping[str, Mapping[str, Any]], **more: Any) -> None:
        """Write the manifest; a variant without a source is `acme/tiny:v1` of the registry, and all are insecure."""
        place = {"store": "ollama", "url": self.url, **({} if self.by_api else {"models": str(self.models)})}
        locations = {"ollama": {**place, **self.location}, **more.pop("locations", {})}
        self.spec = {
            "version": 1, "name": "box", "registry": str(self.path / "registry"), "locations": locations,
            "variants": {}, "policy": {"max_remove": "100%", "min_free": "0B"},
        } | more  # fmt: skip
        for name, said in variants.items():
            value = {"source": self.source(), "location": "ollama", **said}
            if self.registry.host in value["source"]:
                value = {"insecure": True, **value}
            self.spec["variants"][name] = value
        self.manifest.write_text(yaml.dump(self.spec, Dumper=_Plain, sort_keys=False))

    def run(self, *arguments: str) -> Ran:
        """Run the program in this process; the manifest goes second unless a saved plan is named."""
        words = list(arguments)
        if not (words[0] in ("apply", "show") and any(word.endswith(".json") for word in words)):
            words.insert(1, str(self.manifest))
        return ran(words)

    def apply(self, *arguments: str) -> Ran:
        return self.run("apply", "--yes", *arguments)

    def applied(self, *arguments: str) -> Ran:
        """Apply, and see that all of it was done and nothing is left to do."""
        ran = self.apply(*arguments)
        assert ran.code == 0, ran.text
        plan = self.run("plan", "--detailed-exitcode")
        assert plan.code == 0, plan.text
        return ran

    def plan(self, *arguments: str) -> dict[str, Any]:
        ran = self.run("plan", "--json", *arguments)
        assert ran.out, ran.err
        return dict(ran.json)

    def steps(self) -> dict[str, dict[str, Any]]:
        """Return the steps of the plan that are not `keep`, by variant."""
        steps = self.plan()["steps"]
        return {step["address"].partition("@")[0]: step for step in steps if step["action"] != "keep"}

    def lock(self) -> dict[str, Any]:
        return dict(json.loads(self.path.joinpath("box.lock.json").read_bytes())["variants"])

    def listed(self) -> dict[str, str]:
        """Return the digests that the server lists, by name; what waits in the trash left out."""
        found = {name: f"sha256:{entry['digest']}" for name, entry in listed(self.url).items()}
        return {name: digest for name, digest in found.items() if not name.startswith("reconciler-trash/")}

    def guards(self) -> list[str]:
        """Return the names under which the server keeps what was removed or replaced, or was about to be."""
        return sorted(name for name in listed(self.url) if name.startswith("reconciler-trash/"))

    def show(self, name: str) -> dict[str, Any]:
        return dict(ask(self.url, "POST", "/api/show", {"model": name}).value)

    def text(self, name: str) -> bytes:
        """Return the manifest that the store holds for a name."""
        return (self.models / names.parse(name).path).read_bytes()

    def blobs(self) -> dict[str, Path]:
        folder = self.models / "blobs"
        return {path.name: path for path in folder.iterdir()} if folder.exists() else {}

    def blob(self, name: str, kind: str = "model") -> Path:
        """Return where the store keeps the layer of a model."""
        read = manifests.read(self.text(name))
        digest = next(layer.digest for layer in read.layers if layer.media_type.endswith(f".{kind}"))
        return self.models / manifests.blob_path(digest)

    def broken_blobs(self) -> list[str]:
        """Return the blobs whose bytes are not what their name says."""
        return [
            name
            for name, path in self.blobs().items()
            if hashlib.sha256(path.read_bytes()).hexdigest() != name.removeprefix("sha256-")
        ]

    def fetched(self, least: int = 4096) -> dict[str, int]:
        """Return how many bytes of which blob the registry sent; small ones, which the lock reads, are left out."""
        found: dict[str, int] = {}
        for request in self.registry.log:
            if request.origin == "cdn" and request.method == "GET":
                digest = request.path.split("?")[0].rpartition("/")[2]
                found[digest] = found.get(digest, 0) + request.bytes_sent
        return {digest: size for digest, size in found.items() if size >= least}

    def litter(self) -> list[str]:
        """Name what an apply should not have left behind."""
        folder = self.path / "registry/journal"
        found = [f"journal/{name}" for name in (os.listdir(folder) if folder.exists() else ())]
        stage = self.models / ".reconciler/stage"
        found += [f"stage/{name}" for name in (os.listdir(stage) if stage.exists() else ())]
        found += [str(path) for path in self.path.rglob("*") if path.name.endswith(".reconciler-tmp")]
        return found


def snapshot(models: Path) -> dict[str, bytes]:
    """Return every file of a store's own, by path; our house left out."""
    return {
        str(path.relative_to(models)): path.read_bytes()
        for folder in ("blobs", "manifests")
        for path in sorted((models / folder).rglob("*"))
        if path.is_file()
    }


def closed_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no store be ours to write, whoever runs the tests (root may write everything)."""
    from reconciler.ollama import look

    monkeypatch.setattr(look, "unwritable", lambda _: "blobs")


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A registry that has acme/tiny:v1 and v2, which share their weights, and acme/other."""
    with Registry.start() as running:
        stock(running)
        yield running


def stock(registry: Registry) -> None:
    publish(registry, "tiny", "v1", namespace="acme")
    publish(registry, "tiny", "v2", namespace="acme", template=b"{{ .Prompt }}!")
    publish(registry, "other", "latest", namespace="acme", quant="Q8_0", seed=7)


def move(registry: Registry) -> bytes:
    """Let acme/tiny:v1 be another model from now on."""
    return publish(registry, "tiny", "v1", namespace="acme", quant="IQ4_XS", seed=3)


@pytest.fixture
def box(tmp_path: Path, registry: Registry, either: Any) -> Box:
    """A machine whose store is ours to write and whose server is up."""
    return Box(tmp_path, registry, either)


@pytest.fixture
def far(tmp_path: Path, registry: Registry, either: Any, monkeypatch: pytest.MonkeyPatch) -> Box:
    """A machine of which only the server's API reaches the store."""
    closed_store(monkeypatch)
    return Box(tmp_path, registry, either, by_api=True)
