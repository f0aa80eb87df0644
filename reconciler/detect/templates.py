"""Find the chat template of a model and tell what it can do, without running it.

Where templates stand: https://huggingface.co/docs/transformers/chat_templating (`chat_template.jinja` beside the
model wins over the tokenizer's own), https://github.com/ggml-org/ggml/blob/master/docs/gguf.md for GGUF files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from reconciler.detect import jsonbound
from reconciler.detect.gguf import GgufHeader
from reconciler.detect.malformed import MalformedHeader

_LIMIT = 2 << 20
"""Bytes of a template file that are read."""
_NAMES = ("chat_template.jinja", "chat_template.json")
_CHAT = re.compile(r"(?<![^\W_])(?:instruct|chat|it|assistant|sft|dpo|rlhf)(?![^\W_])", re.IGNORECASE)
_TOOLS = re.compile(r"\b(?:tools|tool_calls|builtin_tools|xml_tools)\b")
_THINKING = re.compile(r"\benable_thinking\b|\breasoning_content\b|\breasoning_effort\b|<think>")
_STATEMENT = re.compile(r"\{[{%#].*?[}%#]\}", re.DOTALL)

_CAPABILITIES: Mapping[str, tuple[str, ...]] = {
    "llm": ("text",),
    "vision-language": ("text", "vision"),
    "embedding": ("embedding",),
    "reranker": ("reranking",),
    "speech": ("audio",),
}


class Template(NamedTuple):
    """Where the chat template of a model is: in a file of its own, inside another file, or nowhere.

    `path` names the file, relative to the model's directory. `external` are all template files, `embedded` says that
    the tokenizer's configuration or the GGUF file holds one, too. `tools` and `thinking` are read off its statements.
    """

    source: Literal["external", "embedded", "missing"]
    path: str = ""
    external: tuple[str, ...] = ()
    embedded: bool = False
    tools: bool = False
    thinking: bool = False


def find_template(
    root: Path,
    paths: Sequence[str],
    configs: Mapping[str, Mapping[str, Any]],
    ggufs: Mapping[str, GgufHeader],
    *,
    name: str,
    kind: str | None,
) -> Template | None:
    """Return the chat template of a model; None when it has none and nothing says that it should.

    `missing` is told of language models whose `name` says that they talk: without a template a server makes one up.
    """
    files = dict(_files(root, paths))
    inner = dict(_embedded(configs, ggufs))
    if not files and not inner:
        talks = kind in ("llm", "vision-language") and _CHAT.search(name) is not None
        return Template("missing") if talks else None
    path, text = next(iter((files or inner).items()))
    statements = " ".join(_STATEMENT.findall(text))
    return Template(
        "external" if files else "embedded",
        path,
        tuple(files),
        bool(inner),
        _TOOLS.search(statements) is not None,
        _THINKING.search(text) is not None,
    )


def capabilities(kind: str | None, template: Template | None) -> list[str]:
    """Return what a model can do, as far as its kind and its template show it; never by words in its name alone."""
    found = {*_CAPABILITIES.get(kind or "", ())}
    if template is not None and kind in ("llm", "vision-language"):
        found |= {"tools"} if template.tools else set()
        found |= {"thinking"} if template.thinking else set()
    return sorted(found)


def _files(root: Path, paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the template files at the top of the directory, the one that a loader takes first."""
    there = set(paths)
    others = sorted(path for path in there if path.endswith((".jinja", ".jinja2")) and "/" not in path)
    for path in dict.fromkeys((*(name for name in _NAMES if name in there), *others)):
        try:
            raw = jsonbound.read(root / path, _LIMIT)
            text = _of_json(jsonbound.load(root / path, _LIMIT)) if path.endswith(".json") else raw.decode()
        except (MalformedHeader, OSError, UnicodeDecodeError):
            continue
        if _is_template(text):
            yield path, text


def _embedded(configs: Mapping[str, Mapping[str, Any]], ggufs: Mapping[str, GgufHeader]) -> Iterator[tuple[str, str]]:
    text = _of_json(configs.get("tokenizer_config.json", {}))
    if _is_template(text):
        yield "tokenizer_config.json", text
    for path in sorted(ggufs):
        if ggufs[path].chat_templates:
            yield path, ggufs[path].chat_template
            return  # the parts of a split file hold one model


def _of_json(value: Any) -> str:
    """Return the template of a tokenizer's configuration: a text, or the default one of a list of named ones."""
    held = value.get("chat_template") if isinstance(value, Mapping) else None
    if isinstance(held, list):
        named = {each["name"]: each.get("template") for each in held if isinstance(each, dict) and "name" in each}
        held = named.get("default") or next(iter(named.values()), None)
    return held if isinstance(held, str) else ""


def _is_template(text: str) -> bool:
    return "{{" in text or "{%" in text
