"""The small world of the demo: three builds of one model, a gated one, and a way for upstream to move on."""

from __future__ import annotations

from reconciler.hub.checkpoints import llama_files
from reconciler.hub.ggufs import gguf, gguf_files
from reconciler.hub.world import World

CHAT = "acme/TinyLlama-Chat"
AWQ = "acme/TinyLlama-Chat-AWQ"
GGUF = "acme/TinyLlama-Chat-GGUF"
GATED = "acme/Guarded-7B"

_NAME = "TinyLlama-Chat"
_AWQ_CONFIG = {
    "quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemm",
    "modules_to_not_convert": None,
}  # fmt: skip
_LARGE = {"Q8_0": 20 * 1024 * 1024, "F16": 48 * 1024 * 1024}


def populate(world: World) -> dict[str, str]:
    """Add the demo's repositories; return the commit of each. About 90 MiB, made in well under a second."""
    small = gguf_files(_NAME, ["Q4_K_M", "IQ4_XS"], seed=3)
    large = {f"{_NAME}-{quant}.gguf": gguf(quant, name=_NAME, seed=3, size=size) for quant, size in _LARGE.items()}
    awq = llama_files(2, shards=3, quantization_config=_AWQ_CONFIG, dtype="F16", hidden=128, name=f"{_NAME} AWQ")
    return {
        CHAT: world.add(CHAT, llama_files(1, hidden=512, layers=3, name=_NAME), message="First release"),
        AWQ: world.add(AWQ, awq, message="4-bit AWQ"),
        GGUF: world.add(GGUF, {**small, **large}, message="Quantised with llama.cpp"),
        GATED: world.add(
            GATED,
            llama_files(4, license="other", name="Guarded-7B"),
            gated="manual",
            license="other",
            message="Release",
        ),
    }


def new_revision(world: World) -> dict[str, str]:
    """Let upstream move on: new chat weights and a new Q4_K_M build; return the new commits."""
    chat = llama_files(11, hidden=512, layers=3, name=_NAME)
    quant = f"{_NAME}-Q4_K_M.gguf"
    return {
        CHAT: world.update(CHAT, {"model.safetensors": chat["model.safetensors"]}),
        GGUF: world.update(GGUF, {quant: gguf("Q4_K_M", name=_NAME, seed=13)}),
    }
