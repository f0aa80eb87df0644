"""The world of the tour `takeover`: where the models of a messy home once came from. One repository has a new name."""

from __future__ import annotations

from reconciler.hub.checkpoints import llama_files
from reconciler.hub.ggufs import gguf
from reconciler.hub.world import World

CHAT, EMBED, CLASSIFY = "acme/TinyLlama-Chat", "acme/TinyLlama-Embed", "acme/TinyLlama-Classify"
GGUF = "acme/TinyLlama-Chat-GGUF"
OLD, NEW = "startup/Reranker", "bigcorp/Reranker"
"""What the renamed repository was called, and is called now."""

_MIB = 1 << 20


def files() -> dict[str, dict[str, bytes]]:
    """Return the files of each repository, under the names that they had when they were downloaded."""
    ggufs = {
        f"TinyLlama-Chat-{quant}.gguf": gguf(quant, name="TinyLlama-Chat", seed=3, size=size)
        for quant, size in (("Q4_K_M", 6 * _MIB), ("Q8_0", 8 * _MIB))
    }
    return {
        CHAT: llama_files(1, hidden=256, layers=3, name="TinyLlama-Chat"),
        EMBED: llama_files(2, hidden=256, layers=2, name="TinyLlama-Embed"),
        CLASSIFY: llama_files(3, hidden=256, layers=2, name="TinyLlama-Classify"),
        GGUF: {**ggufs, "README.md": b"# TinyLlama-Chat-GGUF\n"},
        OLD: llama_files(4, hidden=256, layers=2, name="Reranker"),
    }


def populate(world: World) -> dict[str, str]:
    """Add the repositories, and rename one; return the commit of each, under the names of `files`."""
    commits = {name: world.add(name, held) for name, held in files().items()}
    world.rename(OLD, NEW)
    return commits
