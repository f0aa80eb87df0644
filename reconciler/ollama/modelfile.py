"""What a manifest may say of a model that a Modelfile would: texts and parameters, checked and written. Pure.

The parameters are those that a server reads from a model
(https://github.com/ollama/ollama/blob/main/api/types.go, `Options` and `Runner`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from reconciler.inert import inert, suggest
from reconciler.ollama import gojson

FIELDS = ("template", "system", "parameters", "adapters")
"""The keys of a variant that make a model of its own."""

LARGEST = 64 << 10
"""Bytes of a template or a system text."""

PARAMETERS: Mapping[str, str] = {
    "draft_num_predict": "integer",
    "frequency_penalty": "number",
    "main_gpu": "integer",
    "min_p": "number",
    "num_batch": "integer",
    "num_ctx": "integer",
    "num_gpu": "integer",
    "num_keep": "integer",
    "num_predict": "integer",
    "num_thread": "integer",
    "presence_penalty": "number",
    "repeat_last_n": "integer",
    "repeat_penalty": "number",
    "seed": "integer",
    "stop": "texts",
    "temperature": "number",
    "top_k": "integer",
    "top_p": "number",
    "use_mmap": "boolean",
}
"""Parameter -> what it takes: `integer`, `number`, `boolean` (as in a JSON Schema), or `texts`."""

OBSOLETE = frozenset({
    "f16_kv", "logits_all", "low_vram", "mirostat", "mirostat_eta", "mirostat_tau", "numa", "penalize_newline", "tfs_z",
    "typical_p", "use_mlock", "vocab_only",
})  # fmt: skip
"""Parameters of older servers, which a server of today warns of, or refuses."""

_WANTED = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "texts": "a list of texts"}
_MOST = 2**53
"""The largest whole number that a server, which reads every number as a double, gives back."""
_MOST_STOPS = 64

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_COMMENT = re.compile(r"\{\{(?:-\s)?/\*.*?\*/(?:\s-)?\}\}", re.DOTALL)
_MARK = re.compile(r""""(?:\\.|[^"\\\n])*"|`[^`]*`|'(?:\\.|[^'\\\n])+'|\}\}|["`']""")
"""What may end an action, and what may hide its end; a quote by itself is one that is never closed."""
_WORD = re.compile(r"\{\{(?:-\s)?\s*([a-z]+)")
_OPENING = frozenset({"if", "range", "with", "define", "block"})


def check_text(text: str) -> str:
    """Return a text of several lines when a layer may hold it; raise ValueError with the reason."""
    if not text.strip():
        raise ValueError("expected text, found nothing")
    if len(text) > LARGEST or len(text.encode(errors="replace")) > LARGEST:
        raise ValueError(f"a text of {len(text.encode(errors='replace'))} bytes; {LARGEST} are allowed")
    if found := _CONTROL.search(text):
        raise ValueError(f"holds the control character `{inert(found[0])}`")
    return text


def check_template(text: str) -> str:
    """Return a template when its actions are closed; raise ValueError with the reason.

    A server cannot load a model whose template it cannot parse. What the actions mean is left to it
    (https://pkg.go.dev/text/template).
    """
    check_text(text)
    at, blocks = 0, 0
    while (start := text.find("{{", at)) >= 0:
        at = _end_of_action(text, start)
        word = _WORD.match(text, start, at)
        if word and word[1] in _OPENING:
            blocks += 1
        elif word and word[1] == "end":
            blocks -= 1
        if blocks < 0:
            raise ValueError(f"`{inert(text[start:at])[:40]}` ends nothing")
    if blocks:
        raise ValueError("an `if`, `range` or `with` without its `{{ end }}`")
    return text


def _end_of_action(text: str, start: int) -> int:
    if comment := _COMMENT.match(text, start):
        return comment.end()
    at = start + 2
    while found := _MARK.search(text, at):
        if found[0] == "}}":
            return found.end()
        if len(found[0]) == 1:
            break
        at = found.end()
    raise ValueError(f"`{inert(text[start : start + 40])}` opens what is never closed")


def check_parameters(value: Any) -> Any:
    """Return parameters, `stop` as a list of texts; raise ValueError naming the first that is wrong and what to do."""
    if not isinstance(value, dict):
        raise ValueError("expected a map such as `{ num_ctx: 8192, temperature: 0.7 }`")
    if not value:
        raise ValueError("holds no parameter; expected some, such as `num_ctx: 8192`")
    return {name: _checked(name, given) for name, given in value.items()}


def _checked(name: Any, given: Any) -> Any:
    kind = PARAMETERS.get(name)
    if kind is None:
        raise ValueError(_unknown(str(name)))
    if kind == "texts":
        given = [given] if isinstance(given, str) else given
    if not _FITS[kind](given):
        shown = inert(str(given))[:80]
        raise ValueError(f"`{name}`: expected {_WANTED[kind]}, found `{shown}`")
    return given


def _unknown(name: str) -> str:
    shown = inert(name)[:80]
    if name in OBSOLETE:
        return f"`{shown}` means nothing to Ollama any more (leave it out)"
    near = suggest(name, PARAMETERS)
    known = ", ".join(PARAMETERS)
    return f"unknown parameter `{shown}` " + (f"(did you mean `{near}`?)" if near else f"(known: {known})")


def _is_whole(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and abs(given) <= _MOST


def _is_number(given: Any) -> bool:
    return _is_whole(given) or (isinstance(given, float) and math.isfinite(given))


def _are_texts(given: Any) -> bool:
    return (
        isinstance(given, list)
        and 0 < len(given) <= _MOST_STOPS
        and all(isinstance(each, str) and 0 < len(each) <= 1024 and not _CONTROL.search(each) for each in given)
    )


_FITS = {
    "integer": _is_whole,
    "number": _is_number,
    "boolean": lambda given: isinstance(given, bool),
    "texts": _are_texts,
}


def parameters_text(own: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """Return the text of a params layer as `create` writes it: those of the base, each replaced where `own` has it."""
    return gojson.encode_map({**base, **own})


def parameters_schema() -> dict[str, Any]:
    """Return the JSON Schema of a map of parameters."""
    text = {"type": "string", "minLength": 1, "maxLength": 1024}
    texts = {"anyOf": [text, {"type": "array", "items": text, "minItems": 1, "maxItems": _MOST_STOPS}]}
    properties = {name: texts if kind == "texts" else {"type": kind} for name, kind in PARAMETERS.items()}
    return {"type": "object", "properties": properties, "additionalProperties": False, "minProperties": 1}
