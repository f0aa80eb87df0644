"""Small weights in real formats, the same bytes for a seed on any machine: what the demo and the tests are made of."""

from __future__ import annotations

from reconciler.hub.checkpoints import llama_files, safetensors
from reconciler.hub.filler import filler, filler_blocks, write_filler
from reconciler.hub.ggufs import gguf, gguf_files

__all__ = ["filler", "filler_blocks", "gguf", "gguf_files", "llama_files", "safetensors", "write_filler"]
