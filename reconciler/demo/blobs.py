"""Look for oneself at an Ollama: what its server lists, what its store holds, what its registry was asked for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, cast

from reconciler.demo import evidence
from reconciler.demo.stage import Stage
from reconciler.hub.ollama_registry import Registry
from reconciler.hub.ollama_server import OllamaServer
from reconciler.ollama import manifests, names
from reconciler.ollama.api import Api

TRASH = "reconciler-trash/"
"""What names begin with under which a server keeps what was removed by its API."""


def server(stage: Stage, which: str = "ollama") -> OllamaServer:
    """Return a server of the tour."""
    return cast(OllamaServer, stage.servers[which])


def registry(stage: Stage) -> Registry:
    """Return the registry that models are pulled from."""
    return cast(Registry, stage.servers["registry"])


def listed(stage: Stage, which: str = "ollama") -> dict[str, str]:
    """Return what a server lists: names and digests."""
    return {model.name: model.digest for model in Api(server(stage, which).url).tags()}


def text(stage: Stage, name: str, which: str = "ollama") -> bytes:
    """Return the bytes of the manifest that a store holds for a name."""
    return (server(stage, which).models / names.parse(name).path).read_bytes()


def weights(stage: Stage, name: str, which: str = "ollama") -> Path:
    """Return the blob with the weights of a model."""
    read = manifests.read(text(stage, name, which))
    digest = next(layer.digest for layer in read.layers if layer.media_type.endswith(".model"))
    return server(stage, which).models / manifests.blob_path(digest)


def store(stage: Stage, which: str = "ollama") -> dict[str, str]:
    """Return every blob and manifest of a store with the sha256 of its bytes."""
    models = server(stage, which).models
    paths = [path for folder in ("blobs", "manifests") for path in sorted((models / folder).rglob("*"))]
    return {
        str(path.relative_to(models)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()
    }


def sent(stage: Stage) -> dict[str, int]:
    """Return how many bytes of which blob the registry sent since its log was last cleared."""
    found: dict[str, int] = {}
    for request in registry(stage).requests:
        if request.origin == "cdn" and request.method == "GET":
            digest = request.path.partition("?")[0].rpartition("/")[2]
            found[digest] = found.get(digest, 0) + request.bytes_sent
    return found


def locked(stage: Stage, variant: str) -> str:
    """Return the digest of the manifest that the lock names for a variant."""
    lock = json.loads((stage.directory / "reconciler.lock.json").read_bytes())
    return str(lock["variants"][variant]["revision"])


def verdicts(stage: Stage) -> dict[str, list[str]]:
    """Ask `verify` once more, as a program does: which variants, and which models of others, have a bad file."""
    rows: list[dict[str, Any]] = evidence.told(stage, "verify")["files"]
    return {
        "variants": sorted({row["address"].partition("@")[0] for row in rows}),
        "others": sorted({name for row in rows for name in row.get("breaks", ())}),
    }
