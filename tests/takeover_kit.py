"""A registry as the ImageWorks downloader leaves it, for tests of taking over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from importing_kit import CHAT, GGUF, Machine, put

_LAYERS = {"curated": "model_registry.curated.json", "discovered": "model_registry.discovered.json"}


def record(name: str, **said: Any) -> dict[str, Any]:
    """Return one record with the fields that every record has, and what is said besides."""
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


def of_hub(name: str, root: Path | str, repository: str, **said: Any) -> dict[str, Any]:
    """Return the record of a repository below a root."""
    path = f"{root}/{repository}"
    return record(
        name,
        **{"source": {"huggingface_id": repository}, "download_path": path, "download_location": "linux_wsl", **said},
    )


def of_ollama(name: str, tag: str, **said: Any) -> dict[str, Any]:
    """Return the record of a model of Ollama, its address as a path made of it."""
    more = {"backend": "ollama", "source_provider": "ollama", "served_model_id": tag, "download_path": f"ollama:/{tag}"}
    return record(name, **{**more, **said})


def registry(folder: Path, **layers: list[dict[str, Any]]) -> Path:
    """Write layers: `curated`, `discovered`, or others under the names of their files (`.` as `__`)."""
    folder.mkdir(parents=True, exist_ok=True)
    for layer, records in layers.items():
        name = _LAYERS.get(layer, f"{layer.replace('__', '.')}.json")
        (folder / name).write_text(json.dumps(records, indent=2))
    return folder


def weights(machine: Machine) -> Path:
    """Put both repositories of the hub below `weights`, and return that."""
    root = machine.here / "weights"
    put(root / CHAT, machine.chat)
    put(root / GGUF, machine.ggufs)
    return root
