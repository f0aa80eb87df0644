"""Whether what a role names can serve it, by what the files are: warnings, never refusals. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from reconciler.detect.rules import format_of, is_mmproj, kind_of
from reconciler.state import Pin, Record

_TEXT = frozenset({"llm", "vision-language"})
_VISION = frozenset({"vision-language"})

_EXPECTED: Mapping[frozenset[str], frozenset[str]] = {
    frozenset({
        "assistant", "chat", "code", "coder", "coding", "completion", "draft", "instruct", "reasoning", "rewrite",
        "summarize", "summary", "tools", "translate", "translation", "writing",
    }): _TEXT,
    frozenset({
        "caption", "captioning", "description", "image-description", "keywords", "narration", "ocr", "vision", "vqa",
    }): _VISION,
    frozenset({"embed", "embedding", "embeddings", "retrieval", "similarity"}): frozenset({"embedding"}),
    frozenset({"rerank", "reranker", "reranking"}): frozenset({"reranker", "classifier"}),
    frozenset({"asr", "speech", "stt", "transcribe", "transcription", "tts"}): frozenset({"speech"}),
    frozenset({"image", "image-generation", "text-to-image", "txt2img"}): frozenset({"diffusion"}),
}  # fmt: skip
"""Names of roles that say what they need -> the kinds of model that can. A role of another name is not judged."""

_OWN_TOOLS = frozenset({"tools", "tool-calls"})


class Judged(NamedTuple):
    """What a variant is, as far as anybody can tell; why it may not serve a role, '' when nothing speaks against it."""

    kind: str | None
    warning: str = ""


def judge(role: str, record: Record | None, pin: Pin | None) -> Judged:
    """Say whether a variant can serve a role: by what the bytes told when it was recorded, else by its names."""
    kind = _kind(record, pin)
    return Judged(kind, _warning(role, kind, record, pin))


def expected(role: str) -> frozenset[str]:
    """Return the kinds of model that can serve a role; empty when its name does not say."""
    word = role.casefold().replace("_", "-")
    return next((kinds for names, kinds in _EXPECTED.items() if word in names), frozenset())


def _kind(record: Record | None, pin: Pin | None) -> str | None:
    if record is not None and isinstance(told := record.told.get("kind"), str):
        return told
    pin = record.pin if record is not None else pin
    if pin is None:
        return None
    return kind_of([file.path for file in pin.files], source=pin.source.partition(":")[2].partition("@")[0])


def _warning(role: str, kind: str | None, record: Record | None, pin: Pin | None) -> str:
    wanted = expected(role)
    if wanted and kind is not None and kind not in wanted:
        projector = kind == "llm" and wanted == _VISION and _has_projector(record, pin)
        if not projector:
            hint = "; no projector (mmproj) is among its files" if kind == "llm" and wanted == _VISION else ""
            return f"{_a(kind)} model, where {role} needs {' or '.join(sorted(wanted))}{hint}"
    if wanted == _VISION and kind == "vision-language" and _is_blind(record, pin):
        return f"a GGUF without its projector (mmproj): it cannot see, and {role} needs that"
    if role.casefold() in _OWN_TOOLS and record is not None and _is_toolless(record):
        return f"its chat template knows no tools, and {role} needs them"
    return ""


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" or kind in ("llm", "mmproj") else f"a {kind}"


def _paths(record: Record | None, pin: Pin | None) -> Iterable[str]:
    files = (record.pin if record is not None else pin or Pin("", None, ())).files
    return [file.path for file in files]


def _has_projector(record: Record | None, pin: Pin | None) -> bool:
    files = (record.pin if record is not None else pin or Pin("", None, ())).files
    return any(is_mmproj(file.path) or file.media_type.endswith(".projector") for file in files)


def _is_blind(record: Record | None, pin: Pin | None) -> bool:
    """Whether the weights are plain GGUF files, which keep their vision half in a file of its own."""
    return format_of(_paths(record, pin)) == "gguf" and not _has_projector(record, pin)


def _is_toolless(record: Record) -> bool:
    said = record.told.get("capabilities")
    return isinstance(said, list | tuple) and "text" in said and "tools" not in said
