"""Store directories as an Ollama server makes them, from a few words."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler.ollama import names
from reconciler.ollama.manifests import CONFIG_TYPE, LAYER_TYPE, MEDIA_TYPE
from reconciler.state import ObservedFile

HOURS = 3600 * 10**9


def blob(root: Path, data: bytes) -> str:
    """Put bytes into a store, and return their digest."""
    digest = hashlib.sha256(data).hexdigest()
    path = root / "blobs" / f"sha256-{digest}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return f"sha256:{digest}"


def manifest_text(layers: list[tuple[str, str, int]], config: tuple[str, int], extra: Mapping[str, Any] = {}) -> str:
    value = {
        "schemaVersion": 2,
        "mediaType": MEDIA_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": config[0], "size": config[1]},
        "layers": [{"mediaType": LAYER_TYPE + kind, "digest": digest, "size": size} for kind, digest, size in layers],
        **extra,
    }
    return json.dumps(value, separators=(",", ":")) + "\n"


def model(root: Path, name: str, layers: Mapping[str, bytes] | None = None, config: bytes = b'{"a":1}') -> Path:
    """Put a model into a store, and return the path of its manifest."""
    parts = layers if layers is not None else {"model": f"weights of {name}".encode(), "template": b"{{ .Prompt }}"}
    rows = [(kind, blob(root, data), len(data)) for kind, data in parts.items()]
    path = root / names.parse(name).path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(manifest_text(rows, (blob(root, config), len(config))))
    return path


def files_below(root: Path) -> dict[str, ObservedFile]:
    """Return what an observer sees of a store: every regular file."""
    found = {}
    for folder, _, entries in os.walk(root):
        for entry in entries:
            path = Path(folder, entry)
            facts = path.lstat()
            if not path.is_symlink():
                shown = str(path.relative_to(root))
                found[shown] = ObservedFile(shown, facts.st_size, facts.st_mtime_ns, facts.st_ino, facts.st_dev)
    return found


def age(path: Path, hours: float, now: float) -> None:
    """Make a file as old as that."""
    then = int((now - hours * 3600) * 1e9)
    os.utime(path, ns=(then, then), follow_symlinks=False)


def do_as_told(remedy: str) -> None:
    """Run the command at the end of a remedy, as a person would who copies it into a shell."""
    shell = shutil.which("bash")
    if shell is None:
        pytest.skip("names that are no text are quoted for bash, zsh and the like, and there is none here")
    subprocess.run([shell, "-c", remedy[remedy.index("rm -- ") :]], check=True)
