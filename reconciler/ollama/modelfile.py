"""What a Modelfile would say of a model: its texts checked, its parameters written. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from reconciler.inert import inert
from reconciler.ollama import gojson

FIELDS = ("template", "system", "parameters", "adapters")
"""The keys of a variant that make a model of its own."""

LARGEST = 64 << 10
"""Bytes of a template or a system text."""

OBSOLETE = frozenset({
    "f16_kv", "logits_all", "low_vram", "mirostat", "mirostat_eta", "mirostat_tau", "numa", "penalize_newline", "tfs_z",
    "typical_p", "use_mlock", "vocab_only",
})  # fmt: skip
"""Parameters of older servers; one of today warns of them, or refuses them."""

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_COMMENT_BEGINS = re.compile(r"\{\{(?:-\s)?/\*")
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
    return check_characters(text)


def check_characters(text: str) -> str:
    """Return a text without control characters but line breaks and tabs; raise ValueError naming the first."""
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
    if _COMMENT_BEGINS.match(text, start):
        comment = _COMMENT.match(text, start)
        if comment:
            return comment.end()
    else:
        at = start + 2
        while (found := _MARK.search(text, at)) and len(found[0]) > 1:
            if found[0] == "}}":
                return found.end()
            at = found.end()
    raise ValueError(f"`{inert(text[start : start + 40])}` opens what is never closed")


def parameters_text(own: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """Return the text of a params layer as `create` writes it: those of the base, each replaced where `own` has it."""
    return gojson.encode_map({**base, **own})


def parameters_of(data: bytes) -> dict[str, Any]:
    """Read the bytes of a params layer; raise ValueError when they are no JSON object, or far too many."""
    try:
        value = json.loads(data) if len(data) <= LARGEST else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError("no parameters of a model: expected a JSON object")
    return value
