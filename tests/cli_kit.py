"""A machine with a manifest and a hub, for tests of commands: real files, the real command line, stable output."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from reconciler.cli import run
from reconciler.hub.ggufs import gguf_files
from reconciler.hub.server import Hub

GGUF = "acme/Tiny-GGUF"
CHAT = "acme/Tiny-Chat"

MANIFEST = """\
version: 1
name: box
registry: {here}/registry
locations:
  weights: {{ store: huggingface, root: {here}/weights }}
  lmstudio: {{ store: lmstudio, root: {here}/lm studio/models }}
routes:
  - {{ format: gguf, location: lmstudio }}
  - {{ location: weights }}
variants:
  tiny-chat:
    source: hf:acme/Tiny-Chat
    backend: vllm
    served_as: tiny
  tiny-gguf-q4_k_m:
    source: hf:acme/Tiny-GGUF
    files: ["*Q4_K_M.gguf"]
  tiny-gguf-iq4_xs:
    source: hf:acme/Tiny-GGUF
    files: ["*IQ4_XS.gguf"]
roles:
  chat: [tiny-gguf-q4_k_m, tiny-chat]
  draft: [tiny-gguf-iq4_xs]
"""


class Told(NamedTuple):
    """What one command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, as the one strict JSON document that it must be."""
        return json.loads(self.out)


class Shell:
    """The real command line, in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *arguments: str) -> Told:
        """Run one command."""
        self._capsys.readouterr()
        code = run(arguments)
        return Told(code, *self._capsys.readouterr())

    def take(self, *arguments: str) -> dict[str, Any]:
        """Run `import` into box.yaml and return its JSON."""
        told = self.run("import", *arguments, "--manifest", "box.yaml", "--json")
        assert told.code == 0, told.err
        value: dict[str, Any] = told.json
        return value


class Box(Shell):
    """A directory with `box.yaml` and what it speaks of; the current directory of the test."""

    def __init__(self, here: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(capsys)
        self.here, self.hub = here, hub
        self.manifest = here / "box.yaml"
        self.write()

    def write(self, changes: Mapping[str, str] | None = None) -> None:
        """Write the manifest, with pieces of its text replaced."""
        text = MANIFEST.format(here=self.here)
        for old, new in (changes or {}).items():
            assert old in text
            text = text.replace(old, new)
        self.manifest.write_text(text)

    def without(self, variant: str) -> None:
        """Write the manifest without one variant, in no role either."""
        text = re.sub(rf"  {variant}:\n(    .*\n)+", "", MANIFEST.format(here=self.here))
        self.manifest.write_text(re.sub(rf"{variant},? ?", "", text))

    def apply(self) -> None:
        """Make it so."""
        told = self.run("apply", "box.yaml", "--yes")
        assert told.code == 0, told.err

    def weight(self, end: str) -> Path:
        """Return the one placed file whose name ends so."""
        [found] = [path for path in self.here.rglob(f"*{end}") if ".reconciler" not in path.parts]
        return found

    def stable(self, text: str) -> str:
        """Return output without what differs from run to run: paths, ports, commits, ids, free space."""
        text = text.replace(str(self.here), "HERE").replace(self.hub.url, "http://HUB")
        text = re.sub(r"\b[0-9a-f]{40}\b", "COMMIT", text)
        text = re.sub(r"root +free", "root  free", text)
        return re.sub(r" *\b[0-9.]+ [TGM]iB(?= +(?:\d+ files?|none|not there|unreadable))", "  FREE", text)


@contextmanager
def a_box(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Box]:
    """Start a hub with two repositories, and stand in a directory with a manifest of them."""
    with Hub() as hub:
        chat = {"config.json": b'{"model_type": "llama"}\n', "tokenizer.json": b"{}\n", "model.safetensors": _tensors()}
        hub.add(CHAT, chat)
        hub.add(GGUF, gguf_files("Tiny", ["Q4_K_M", "IQ4_XS"], seed=5))
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.chdir(here)
        yield Box(here, hub, capsys)


def _tensors() -> bytes:
    header = json.dumps({"w": {"dtype": "F16", "shape": [64], "data_offsets": [0, 128]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(range(128))
