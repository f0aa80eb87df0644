"""The manifest of the demo, and how it is edited on the way. Pure."""

from __future__ import annotations

FILE = "reconciler.yaml"

MANIFEST = """\
version: 1
name: demo

locations:
  weights:  {{ store: huggingface, root: {directory}/weights }}
  lmstudio: {{ store: lmstudio, root: {directory}/lmstudio }}
  cache:    {{ store: hf-cache, root: {directory}/hf/hub }}

routes:                       # where a variant without `location` goes
  - {{ format: gguf, location: lmstudio }}
  - {{ location: weights }}

variants:
  tinyllama-chat:
    source: hf:acme/TinyLlama-Chat
    backend: vllm
  tinyllama-chat-awq:
    source: hf:acme/TinyLlama-Chat-AWQ
    backend: vllm
  tinyllama-chat-q4_k_m:
    source: hf:acme/TinyLlama-Chat-GGUF
    files: ["*Q4_K_M.gguf"]
  tinyllama-chat-q8_0:
    source: hf:acme/TinyLlama-Chat-GGUF
    files: ["*Q8_0.gguf"]

roles:                        # the order is the preference
  chat: [tinyllama-chat-q8_0, tinyllama-chat]
"""

AWQ = """\
  tinyllama-chat-awq:
    source: hf:acme/TinyLlama-Chat-AWQ
    backend: vllm
"""

Q4 = """\
  tinyllama-chat-q4_k_m:
    source: hf:acme/TinyLlama-Chat-GGUF
    files: ["*Q4_K_M.gguf"]
"""

IQ4 = """\
  tinyllama-chat-iq4_xs:
    source: hf:acme/TinyLlama-Chat-GGUF
    files: ["*IQ4_XS.gguf"]
"""

CACHED = """\
  tinyllama-chat-q8_0-cached:
    source: hf:acme/TinyLlama-Chat-GGUF
    files: ["*Q8_0.gguf"]
    location: cache
"""

GUARDED = """\
  guarded-7b:
    source: hf:acme/Guarded-7B
"""

LARGE = """\
  tinyllama-chat-f16:
    source: hf:acme/TinyLlama-Chat-GGUF
    files: ["*F16.gguf"]
"""


def added(manifest: str, variant: str) -> str:
    """Return the manifest with one more variant, the last."""
    before, mark, after = manifest.partition("\nroles:")
    return f"{before}{variant}{mark}{after}"


def without(manifest: str, variant: str) -> str:
    """Return the manifest without a variant."""
    return manifest.replace(variant, "")
