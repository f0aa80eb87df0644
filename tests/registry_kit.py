"""Small registries with the shapes and oddities of real ones, and records to put into them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reconciler.registry import CURATED, DISCOVERED, MERGED
from reconciler.state import Address, Artifact, Attributes, Digest, Pin, Placed, Record

DISCOVERED_ENTRIES: list[dict[str, Any]] = [
    {
        "name": "gemma_(Q3)",
        "backend": "ollama",
        "served_model_id": "None",
        "source": None,
        "roles": [],
        "x_unknown": [1],
    },
    {"name": "twice", "backend": "vllm", "generation_defaults": {"temperature": 0.95, "top_k": 64}, "license": None},
    {"name": "twice", "backend": "vllm", "role_priority": {"caption": 75}, "metadata": {"registry_layer": "old"}},
    {"name": "größe-模型", "backend": "vllm", "backend_config": {"port": 1, "extra_args": ["--a", "b"]}, "probes": {}},
]
CURATED_ENTRIES: list[dict[str, Any]] = [
    {
        "name": "twice",
        "license": "mit",
        "backend": None,
        "generation_defaults": {"temperature": 0.5},
        "roles": ["chat"],
    },
    {"name": "only-people-know", "backend": "vllm"},
]


def somebody_elses(path: Path, **dump: Any) -> Path:
    """Write a registry that another program made."""
    path.mkdir(parents=True, exist_ok=True)
    dump = {"indent": 2, "ensure_ascii": False, **dump}
    for name, entries in ((CURATED, CURATED_ENTRIES), (DISCOVERED, DISCOVERED_ENTRIES), (MERGED, DISCOVERED_ENTRIES)):
        (path / name).write_text(json.dumps(entries, **dump) + "\n")
    return path


def files_of(path: Path) -> dict[str, bytes]:
    """Return every file below `path`."""
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def record(variant: str = "m", *, location: str = "disk", manifest: str = "ws", files: int = 2, **said: Any) -> Record:
    """Return a record with a few files; `said` are attributes."""
    placed = tuple(
        Placed(
            f"own/{variant}/f{n}.gguf",
            10 + n,
            Digest("sha256:" + f"{n:02x}" * 32),
            1_700_000_000_000_000_000 + n,
            n,
            f"f{n}",
        )
        for n in range(files)
    )
    artifacts = tuple(Artifact(file.artifact, file.size, file.digest) for file in placed)
    pin = Pin(f"hf:own/{variant}", "c" * 40, artifacts)
    return Record(
        address=Address(variant, location), manifest=manifest, root="/srv/models", pin=pin, home=f"own/{variant}",
        files=placed, links=(), notes=(), attributes=Attributes(**said), generation=1,
    )  # fmt: skip
