"""A home in which all ten tools have their models, copies and their own names included, for tests of taking over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from civitai_kit import FULL, LORA, TOKEN, populate
from importing_kit import CHAT, GGUF, Machine, cache, note_downloads, put
from ollama_kit import install

from reconciler.hub.checkpoints import llama_files
from reconciler.hub.civitai import Civitai
from reconciler.hub.ggufs import gguf, gguf_files
from reconciler.hub.server import Hub

Q4, IQ4 = "Tiny-Q4_K_M.gguf", "Tiny-IQ4_XS.gguf"


class TenTools(Machine):
    """A machine with a hub and a Civitai, whose home has something in a place of every tool."""

    def __init__(self, here: Path, hub: Hub, civitai: Civitai, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(here, hub, capsys)
        self.civitai, self.home = civitai, Path.home()
        self.furnish()

    def init(self, *arguments: str) -> Mapping[str, Any]:
        """Run `init --yes` into box.yaml and return its JSON."""
        told = self.run("init", "box.yaml", "--yes", "--json", *arguments)
        assert told.code == 0, told.err
        value: dict[str, Any] = told.json
        return value

    def furnish(self) -> None:
        """Put models of known and of unknown origin into every place, the same ones several times."""
        home = self.home
        for name, commit, files in ((GGUF, self.gguf_commit, self.ggufs), (CHAT, self.chat_commit, self.chat)):
            cache(home / ".cache/huggingface/hub", name, commit, files, {"main": commit})
        put(home / ".lmstudio/models" / GGUF, self.ggufs)
        put(home / ".lmstudio/models/me/Own", gguf_files("Own", ["Q8_0"], seed=20))
        put(home / "ai-models/weights" / CHAT, self.chat)
        note_downloads(home / "ai-models/weights" / CHAT, self.chat_commit, self.chat)
        put(home / "ai-models/weights/me/finetune", llama_files(seed=21))
        put(home / ".cache/llama.cpp", {f"acme_Tiny-GGUF_{Q4}": self.ggufs[Q4]})
        webui = home / "text-generation-webui/user_data/models"
        put(webui, {IQ4: self.ggufs[IQ4]})
        put(webui / "acme_folder", llama_files(seed=24))
        put(home / ".local/share/nomic.ai/GPT4All", {"orca.Q4_0.gguf": gguf("Q4_0", name="orca", seed=25)})
        put(home / ".config/Jan/data/llamacpp/models/acme/jan", {"model.gguf": gguf("Q4_0", name="orca", seed=25)})
        put(home / "ComfyUI/models", {"checkpoints/dream.safetensors": FULL, "loras/story.safetensors": LORA})
        web = home / "stable-diffusion-webui/models"
        put(web, {"Lora/my style.safetensors": LORA, "Stable-diffusion/put checkpoints here.txt": b""})
        models = home / ".ollama/models"
        install(models, "registry.ollama.ai/library/tiny/latest", {"model": self.ggufs[Q4]}, b"{}")

    def prints(self) -> dict[str, tuple[int, int, int]]:
        """Return path -> (inode, size, mtime_ns) of every file in the home that is not ours."""
        facts = {path: path.lstat() for path in self.home.rglob("*") if path.is_file() or path.is_symlink()}
        return {
            str(path): (told.st_ino, told.st_size, told.st_mtime_ns)
            for path, told in facts.items()
            if "reconciler" not in str(path.relative_to(self.home))
        }

    def weights_fetched(self) -> list[str]:
        """Return the requests by which the hub or Civitai sent a file."""
        sent = [call.path for call in self.hub.requests if "/resolve/" in call.path and call.bytes_sent]
        return sent + [call.path for call in self.civitai.requests if call.bytes_sent > 10_000]


@contextmanager
def a_home_of_ten_tools(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[TenTools]:
    """Start a hub and a Civitai, and furnish the home."""
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")  # nobody listens there
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    with Civitai(token=TOKEN) as civitai, Hub() as hub:
        populate(civitai)
        monkeypatch.setenv("CIVITAI_ENDPOINT", civitai.url)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.chdir(here)
        yield TenTools(here, hub, civitai, capsys)
