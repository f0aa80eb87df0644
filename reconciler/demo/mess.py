"""A home as people have it: a tree in every store, an old registry, copies, half downloads, a bad byte."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.demo.evidence import flip
from reconciler.hub import demo_takeover as world
from reconciler.hub.checkpoints import llama_files
from reconciler.hub.diffusion import image_model
from reconciler.hub.world import World

TREE, CACHE, LMSTUDIO = "ai-models/weights", ".cache/huggingface/hub", ".lmstudio/models"
COMFYUI, OLLAMA = "ComfyUI/models", ".ollama/models"
REGISTRY = "ai-models/registry"
WEIGHTS, Q8 = "model.safetensors", "TinyLlama-Chat-Q8_0.gguf"
INK_COPY = "old/ink (copy).safetensors"
HALVES = {
    f"{CACHE}/models--acme--TinyLlama-Embed/blobs/{'0' * 64}.incomplete": 3 << 20,
    f"{LMSTUDIO}/acme/Other-GGUF/Other-Q4_K_M.gguf.part": 1 << 20,
}
"""Downloads of other programs that nobody went on with: path below the home -> bytes."""

_NOTES = ".cache/huggingface/download"
_MIB = 1 << 20


def furnish(home: Path, hub: World, assistant: str) -> None:
    """Leave in a home what years of use leave there; `assistant` is a model that the Ollama has."""
    commits, held = world.populate(hub), world.files()
    tree = home / TREE
    for name in (world.CHAT, world.CLASSIFY, world.OLD):
        downloaded(tree / name, commits[name], held[name])
    flip(tree / world.CLASSIFY / WEIGHTS)
    put(tree / "me/finetune", llama_files(21, hidden=128, name="Finetune"))
    put(tree / world.GGUF, {Q8: held[world.GGUF][Q8]})
    cached(home / CACHE, world.EMBED, commits[world.EMBED], held[world.EMBED])
    put(home / LMSTUDIO / world.GGUF, {name: data for name, data in held[world.GGUF].items() if name.endswith(".gguf")})
    models = home / COMFYUI
    put(models / "checkpoints", {"dream.safetensors": image_model("checkpoint", 31, size=_MIB)})
    put(models / "loras", {path: image_model("lora", 32, size=2 * _MIB) for path in ("ink.safetensors", INK_COPY)})
    for path, size in HALVES.items():
        put(home, {path: b"GGUF" + b"\0" * size})
    registry(home, assistant)


def registry(home: Path, assistant: str) -> None:
    """Leave a registry as the ImageWorks downloader writes one, with what went wrong in it."""
    tree = home / TREE
    discovered = [
        _of_hub("tinyllama-chat_(FP32)", tree, world.CHAT, roles=["chat"], role_priority={"chat": 90}, license="mit"),
        _of_hub("tinyllama-chat-fp32", tree, world.CHAT, roles=["caption"], role_priority={"caption": 50}),
        _of_hub("reranker_(FP32)", tree, world.OLD, roles=["rerank"]),
        _of_hub("gone-7b_(AWQ)", tree, "acme/Gone-7B", roles=["vision"]),
        _of_ollama("assistant_(Q4_K_M)", assistant, roles=["chat"], role_priority={"chat": 40}),
        record("old-model", deprecated=True, source={"huggingface_id": "acme/Old"}, source_provider="hf"),
        record("placeholder"),
        record(
            "testzzz-model_(Q4)", source={"huggingface_id": "testzzz/model"},
            download_path="/tmp/pytest-of-me/pytest-1/w/testzzz/model",  # noqa: S108 - what a test suite once wrote
        ),
    ]  # fmt: skip
    for layer, records in {"curated": [], "discovered": discovered}.items():
        put(home / REGISTRY, {f"model_registry.{layer}.json": json.dumps(records, indent=2).encode()})
    put(home / REGISTRY, {"model_registry.json": json.dumps(discovered, indent=2).encode()})


def put(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files below a directory."""
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def downloaded(folder: Path, commit: str, files: Mapping[str, bytes]) -> None:
    """Write files as `hf download --local-dir` does, its notes included."""
    put(folder, files)
    notes = {
        f"{_NOTES}/{path}.metadata": f"{commit}\n{_etag(path, data)}\n{(folder / path).stat().st_mtime}\n".encode()
        for path, data in files.items()
    }
    put(folder, notes)


def cached(root: Path, repository: str, commit: str, files: Mapping[str, bytes]) -> None:
    """Write files as the cache of huggingface_hub has them."""
    folder = root / f"models--{repository.replace('/', '--')}"
    for path, data in files.items():
        put(folder, {f"blobs/{_etag(path, data)}": data})
        link = folder / "snapshots" / commit / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to("../" * (2 + path.count("/")) + f"blobs/{_etag(path, data)}")
    put(folder, {"refs/main": commit.encode()})


def _etag(path: str, data: bytes) -> str:
    """Return what the Hub calls the bytes of a file: sha256 of weights, git's digest of the others."""
    if path.endswith((".gguf", ".safetensors")):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def record(name: str, **said: Any) -> dict[str, Any]:
    """Return one record with the fields that every record of the old registry has, and what is said besides."""
    empty: dict[str, Any] = {
        "name": name, "display_name": name.replace("_", " "), "backend": "vllm",
        "backend_config": {"port": 24001, "model_path": "", "extra_args": []},
        "capabilities": {"text": True, "vision": False, "multimodal": False}, "generation_defaults": {},
        "artifacts": {"aggregate_sha256": "", "files": []}, "chat_template": {"source": "embedded", "path": None},
        "version_lock": {"locked": False, "expected_aggregate_sha256": None, "last_verified": None},
        "performance": {"rolling_samples": 0}, "probes": {"vision": None}, "profiles_placeholder": None,
        "metadata": {}, "served_model_id": "None", "model_aliases": [], "roles": [], "license": None, "source": None,
        "deprecated": False, "family": None, "source_provider": "hf", "quantization": None, "backend_alternatives": [],
        "role_priority": {}, "download_format": None, "download_location": None, "download_path": None,
        "download_size_bytes": None, "download_files": [], "download_directory_checksum": "", "downloaded_at": None,
        "last_accessed": None,
    }  # fmt: skip
    return {**empty, **said}


def _of_hub(name: str, root: Path, repository: str, **said: Any) -> dict[str, Any]:
    source, path = {"huggingface_id": repository}, f"{root}/{repository}"
    return record(name, source=source, download_path=path, download_location="linux_wsl", **said)


def _of_ollama(name: str, tag: str, **said: Any) -> dict[str, Any]:
    path = f"ollama:/{tag}"
    return record(name, backend="ollama", source_provider="ollama", served_model_id=tag, download_path=path, **said)
