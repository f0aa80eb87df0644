"""A small world in which the examples of the pages are run as they stand: a hub, a manifest, the real program."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.hub.ggufs import gguf_files
from reconciler.hub.server import Hub

DOCS = Path(__file__).parent.parent / "docs"
FENCE = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

VL = "Qwen/Qwen2.5-VL-7B-Instruct-AWQ"
LLAMA = "bartowski/Llama-3.2-3B-Instruct-GGUF"
DIALO = "microsoft/DialoGPT-medium"

MANIFEST = """\
version: 1
name: workstation
registry: ~/ai-models/registry

locations:
  linux_wsl: { store: huggingface, root: ~/ai-models/weights }
  windows_lmstudio: { store: lmstudio, root: ~/lm studio/models }

routes:
  - { format: gguf, location: windows_lmstudio }
  - { location: linux_wsl }

variants:
  qwen2.5-vl-7b-instruct-vllm-awq:
    source: hf:Qwen/Qwen2.5-VL-7B-Instruct-AWQ
    backend: vllm
  llama-3.2-3b-instruct-lmstudio-gguf-q4_k_m:
    source: hf:bartowski/Llama-3.2-3B-Instruct-GGUF
    files: ["*Q4_K_M.gguf"]
    backend: lmstudio

roles:
  caption: [qwen2.5-vl-7b-instruct-vllm-awq]
  chat: [llama-3.2-3b-instruct-lmstudio-gguf-q4_k_m]
"""


def safetensors(seed: int) -> bytes:
    """A small sound file of weights."""
    header = json.dumps({"w": {"dtype": "F16", "shape": [64], "data_offsets": [0, 128]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes((seed + each) % 256 for each in range(128))


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of a page in one language."""
    return [found[2] for found in FENCE.finditer((DOCS / page).read_text(encoding="utf-8")) if found[1] == language]


@contextmanager
def a_workstation(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Start a hub with the repositories of the pages, and stand in a directory with their manifest."""
    tokenizer = {"tokenizer.json": b"{}\n", "tokenizer_config.json": b'{"chat_template": "{{ messages }}"}\n'}
    awq = {"model_type": "qwen2_5_vl", "quantization_config": {"quant_method": "awq", "bits": 4}}
    with Hub() as hub:
        hub.add(
            VL, {"config.json": json.dumps(awq).encode(), "model.safetensors": safetensors(1), **tokenizer},
        )  # fmt: skip
        hub.add(
            DIALO,
            {
                "config.json": b'{"model_type": "gpt2", "torch_dtype": "float16"}\n',
                "model.safetensors": safetensors(2),
                "README.md": b"---\nlicense: mit\n---\nTalks.\n",
                **tokenizer,
            },
            license="mit",
        )
        for name in ("microsoft/DialoGPT-medium", "microsoft/DialoGPT-large"):
            files = {"config.json": b'{"model_type": "gpt2"}\n', "model.safetensors": safetensors(len(name))}
            hub.add(name, {**files, "README.md": b"Talks, in development.\n"}, branch="dev", license="mit")
        hub.add("microsoft/DialoGPT-small", {"config.json": b"{}\n", "model.safetensors": safetensors(9)})
        hub.add(LLAMA, gguf_files("Llama-3.2-3B-Instruct", ["Q4_K_M", "Q8_0"], seed=7))
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.chdir(here)
        (here / "workstation.yaml").write_text(MANIFEST, encoding="utf-8")
        yield hub
