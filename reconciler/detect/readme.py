"""Read what a model's README says of itself: the licence of its front matter, and words that mean something. Pure.

The front matter is that of the Hub's model cards: https://huggingface.co/docs/hub/model-cards. Words in running text
are hints for people, never evidence: they decide nothing.
"""

from __future__ import annotations

import re
from typing import Any

LIMIT = 512 << 10
"""Bytes of a README that are read."""

_FRONT = re.compile(r"\A\ufeff?\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_LICENSE = re.compile(r"^license:[ \t]*(?:\r?\n[ \t]*-[ \t]+)?[\"'\[]?[ \t]*([A-Za-z0-9][\w.+-]{0,60})", re.MULTILINE)
_LICENSES_SAID = re.compile(r"^license:[ \t]*(?:\[([^\]\n]+)\]|((?:\r?\n[ \t]*-[ \t]+[^\r\n]+){2,}))", re.MULTILINE)
_LICENSE_NAME = re.compile(r"^license_name:[ \t]*[\"']?([^\"'\r\n]{1,80}?)[\"']?[ \t]*$", re.MULTILINE)
_SECTION = re.compile(r"^#{1,4}[ \t]*licen[cs]e\b[^\n]*\n(.{0,600})", re.MULTILINE | re.IGNORECASE | re.DOTALL)

_QUANTS = (
    "awq", "gptq", "mxfp4", "nvfp4", "bitsandbytes", "fp8", "fp16", "bf16", "int4", "int8", "squeezellm", "exl2",
    "hqq", "aqlm", "gguf", "mlx", "compressed-tensors", "autoround",
)  # fmt: skip
_QUANT_WORDS = {"bnb": "bitsandbytes", "bfloat16": "bf16", "float16": "fp16", "auto-round": "autoround"}
_DETAILS = re.compile(
    r"(?<![^\W_])(?:w\d{1,2}a\d{1,2}|[2-8]-?bit|q\d(?:_[a-z0-9]{1,3}){0,2}|iq\d_[a-z]{1,3})(?![^\W_])"
)
_BACKENDS = {
    "vllm": r"vllm", "sglang": r"sglang", "llama.cpp": r"llama\.cpp|llama-(?:server|cli)", "ollama": r"ollama",
    "lmstudio": r"lm[ -]?studio", "lmdeploy": r"lmdeploy", "tensorrt-llm": r"tensorrt-llm", "mlx": r"mlx(?:[-_]lm)?",
    "tgi": r"tgi|text-generation-inference", "exllamav2": r"exllama(?:v2)?", "koboldcpp": r"koboldcpp",
    "transformers": r"transformers", "diffusers": r"diffusers", "comfyui": r"comfyui",
    "text-generation-webui": r"text-generation-webui|oobabooga", "jan": r"jan\.ai",
}  # fmt: skip
_LICENSES = {
    "apache-2.0": r"apache(?:[- ]license)?[-, ]*(?:version )?2(?:\.0)?",
    "mit": r"mit",
    "gpl-3.0": r"gpl[- ]?v?3(?:\.0)?",
    "cc-by-4.0": r"cc[- ]by[- ]4\.0",
    "cc-by-nc-4.0": r"cc[- ]by[- ]nc[- ]4\.0",
    "llama3": r"llama ?3 community licen[cs]e",
    "gemma": r"gemma terms of use",
}


def read_readme(text: str) -> dict[str, Any]:
    """Return what a README tells: `license`, `license_hint`, `quants`, `details`, `backends`; nothing else is in it.

    `license` comes from the front matter alone; several are joined with commas, as the Hub tells them. Lists are sorted
    and short.
    """
    front = _FRONT.match(text)
    said = front[1] if front else ""
    body = text[front.end() :].lower() if front else text.lower()
    found: dict[str, Any] = {
        "license": _license(said),
        "license_hint": _hint(body),
        "quants": _quants(body),
        "details": sorted(set(_DETAILS.findall(body)))[:20],
        "backends": sorted(name for name, pattern in _BACKENDS.items() if _stands(pattern, body)),
    }
    return {key: value for key, value in found.items() if value}


def _license(front: str) -> str | None:
    if several := _LICENSES_SAID.search(front):
        words = re.split(r"[,\n]", several[1] or several[2])
        return ", ".join(word.strip(" \t\r-\"'").lower() for word in words if word.strip(" \t\r-\"'"))[:100] or None
    found = _LICENSE.search(front)
    if found is None:
        return None
    if found[1].lower() == "other" and (named := _LICENSE_NAME.search(front)):
        return named[1].strip()
    return found[1].lower()


def _hint(body: str) -> str | None:
    """Return the licence that a section of that name speaks of, where it speaks of one we know."""
    section = _SECTION.search(body)
    named = [name for name, pattern in _LICENSES.items() if section and _stands(pattern, section[1])]
    return named[0] if len(named) == 1 else None


def _quants(body: str) -> list[str]:
    words = {quant for quant in _QUANTS if _stands(re.escape(quant), body)}
    return sorted(words | {quant for word, quant in _QUANT_WORDS.items() if _stands(re.escape(word), body)})


def _stands(pattern: str, body: str) -> bool:
    """Whether a word stands in the text by itself, and not inside another one."""
    return re.search(rf"(?<![^\W_])(?:{pattern})(?![^\W_])", body) is not None
