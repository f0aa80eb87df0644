"""A messy machine for tests of import: a hub, trees as tools leave them, and the real command line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_kit import Shell

from reconciler import lockfile
from reconciler.hub.checkpoints import llama_files
from reconciler.hub.ggufs import gguf_files
from reconciler.hub.server import Hub
from reconciler.manifest import Loaded, load
from reconciler.state import Pin

CHAT = "acme/Tiny-Chat"
GGUF = "acme/Tiny-GGUF"


class Machine(Shell):
    """A directory to stand in, and a hub that has `acme/Tiny-Chat` and `acme/Tiny-GGUF`."""

    def __init__(self, here: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(capsys)
        self.here, self.hub = here, hub
        self.chat = llama_files(seed=3)
        self.ggufs = gguf_files("Tiny", ["Q4_K_M", "IQ4_XS"], seed=5)
        self.chat_commit = hub.add(CHAT, self.chat)
        self.gguf_commit = hub.add(GGUF, self.ggufs)
        hub.reset_log()
        self.manifest = here / "box.yaml"

    def loaded(self) -> Loaded:
        """Return the manifest."""
        return load(self.manifest)

    def pins(self) -> Mapping[str, Pin]:
        """Return the lock's pins."""
        lock = lockfile.read(lockfile.path_for(self.manifest))
        assert lock is not None
        return lock.pins

    def steps(self, *arguments: str) -> dict[str, tuple[str, str, str | None]]:
        """Plan offline and return address -> (action, reason, why it is blocked)."""
        told = self.run("plan", "box.yaml", "--json", "--offline", *arguments)
        assert told.code in (0, 3), told.err
        return {step["address"]: (step["action"], step["reason"], step["blocked"]) for step in told.json["steps"]}

    def asked(self) -> int:
        """Count the requests that the hub got."""
        return len(self.hub.requests)


@contextmanager
def a_machine(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Machine]:
    """Start a hub and stand in an empty directory."""
    with Hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.chdir(here)
        yield Machine(here, hub, capsys)


def put(root: Path, files: Mapping[str, bytes]) -> None:
    """Write files below `root`."""
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def etag(path: str, data: bytes) -> str:
    """Return what the Hub calls the bytes of a file: sha256 of weights, git's digest of the others."""
    if path.endswith((".gguf", ".safetensors")):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def note_downloads(folder: Path, commit: str, files: Mapping[str, bytes]) -> None:
    """Leave the notes of `hf download --local-dir`."""
    notes = {
        f".cache/huggingface/download/{path}.metadata": f"{commit}\n{etag(path, data)}\n1700000000.0\n".encode()
        for path, data in files.items()
    }
    put(folder, notes)


def cache(root: Path, repository: str, commit: str, files: Mapping[str, bytes], refs: Mapping[str, str]) -> Path:
    """Lay out files as huggingface_hub's cache does; return the folder of the repository."""
    folder = root / f"models--{repository.replace('/', '--')}"
    for path, data in files.items():
        put(folder, {f"blobs/{etag(path, data)}": data})
        link = folder / "snapshots" / commit / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to("../" * (2 + path.count("/")) + f"blobs/{etag(path, data)}")
    put(folder, {f"refs/{name}": held.encode() for name, held in refs.items()})
    return folder


def whys(report: Mapping[str, Any], kind: str) -> dict[str, str]:
    """Return what -> why of the report's rows of one kind."""
    return {row["what"]: row["why"] for row in report["rows"] if row["kind"] == kind}


def manifest_text(here: Path) -> str:
    """Return the text of box.yaml."""
    return (here / "box.yaml").read_text()


def as_json(path: Path) -> Any:
    """Return a JSON file's value."""
    return json.loads(path.read_text())
