"""A registry as the ImageWorks downloader leaves it, for tests of taking over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from importing_kit import CHAT, GGUF, Machine, put

from reconciler.demo.mess import record

_LAYERS = {"curated": "model_registry.curated.json", "discovered": "model_registry.discovered.json"}


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
