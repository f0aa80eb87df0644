"""The config blob of an Ollama model: what a server lists of it. Read tolerantly, written as a server writes it. Pure.

    {"model_format":"gguf","model_family":"llama","model_families":["llama"],"model_type":"8.0B","file_type":"Q4_K_M",
     "architecture":"amd64","os":"linux"}

https://github.com/ollama/ollama/blob/main/types/model/config.go
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from reconciler.detect.ggml import FILE_TYPES
from reconciler.detect.rules import parameters_from_name, quant_from_name, quant_of_path, refine_quant
from reconciler.ollama import gojson

LARGEST = 1 << 20
"""Bytes; a config has a few hundred."""

UNKNOWN = "unknown"
"""What a server calls a file type that it does not know."""

_PLAIN = {"fp16": "F16", "fp32": "F32"}
_GUESSED = 1024
"""A flag of `general.file_type`: whoever wrote the file was not sure."""


class Config(NamedTuple):
    """What a config says; '' and 0 where it says nothing. `model_type` is the size in parameters, as people read it.

    `remote_host` and `remote_model` are those of a stub: a model that runs elsewhere, and has no layers here.
    """

    model_format: str = ""
    model_family: str = ""
    model_families: tuple[str, ...] = ()
    model_type: str = ""
    file_type: str = ""
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    remote_host: str = ""
    remote_model: str = ""
    capabilities: tuple[str, ...] = ()
    context_length: int = 0
    embedding_length: int = 0
    base_name: str = ""


_ALWAYS = frozenset({"model_format", "model_family", "model_families", "model_type", "file_type"})
"""Written even when empty; every other field is left out then."""


def read(data: bytes) -> Config:
    """Read the bytes of a config; raise ValueError when they are no JSON object.

    Keys that nobody knows are passed over, and a value of another type counts as none: a config is for showing.
    """
    try:
        value = json.loads(data) if len(data) <= LARGEST else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError("no config of a model: expected a JSON object")
    empty = Config()
    return Config(*(_like(getattr(empty, name), value.get(name)) for name in Config._fields))


def write(config: Config) -> str:
    """Return a config's text.

    Architecture and system are those of most servers, whatever this machine is: the same model has the same digest
    everywhere, and no server reads them.
    """
    said = [
        (name, (value or None) if name == "model_families" else value)  # an empty list of Go's is null
        for name, value in zip(Config._fields, config, strict=True)
        if value or name in _ALWAYS
    ]
    return gojson.encode_struct([*said, ("architecture", "amd64"), ("os", "linux")])


def of_gguf(path: str, header: Mapping[str, Any]) -> Config:
    """Return the config of a GGUF file from its path in the source and what the lock holds of its header.

    `header` may hold `architecture`, `file_type` (the number), `parameters` and `size_label`; what it lacks the name
    tells, as far as it does.
    """
    family = _text(header.get("architecture"))
    return Config(
        "gguf", family, (family,) if family else (), _size(path, header), _file_type(path, header) or UNKNOWN
    )  # fmt: skip


def disagreement(path: str, header: Mapping[str, Any]) -> str | None:
    """Say how name and header of a GGUF file differ about the quantisation; None when they agree, or one is silent."""
    told, seen = quant_of_path(path), _quant(header)
    if told is None or seen is None or refine_quant(seen, told) == told:
        return None
    return f"the name says {shown(told)}, the header {shown(seen)}"


def quant_of(config: Config, header: str | None) -> str | None:
    """Return the quantisation of a model from its config and what the header of its weights says.

    Who made the model may have known a finer one than a header holds; where they contradict, the weights are right.
    """
    said = "" if config.file_type == UNKNOWN else config.file_type
    return refine_quant(header, quant_from_name(said)) or said.lower() or None


def human_number(count: int) -> str:
    """Return a number of parameters as a server prints it: `25K`, `1.24M`, `8.0B`, and without a point where whole.

    https://github.com/ollama/ollama/blob/main/format/format.go
    """
    if count >= 10**9:
        return f"{count / 10**9:.{0 if count % 10**9 == 0 else 1}f}B"
    if count >= 10**6:
        return f"{count / 10**6:.{0 if count % 10**6 == 0 else 2}f}M"
    return f"{count / 1000:.0f}K" if count >= 1000 else str(count)


def _size(path: str, header: Mapping[str, Any]) -> str:
    count = header.get("parameters")
    if type(count) is not int or count <= 0:
        label = _text(header.get("size_label"))
        if label:
            return label
        count = parameters_from_name(path.rpartition("/")[2])
    return human_number(count) if count else ""


def _file_type(path: str, header: Mapping[str, Any]) -> str:
    quant = refine_quant(_quant(header), quant_of_path(path))
    return shown(quant) if quant else ""


def _quant(header: Mapping[str, Any]) -> str | None:
    number = header.get("file_type")
    return FILE_TYPES.get(number & ~_GUESSED) if type(number) is int else None


def shown(quant: str) -> str:
    """Return a quantisation in the spelling of Ollama and of file names: `Q4_K_M`, `F16`."""
    return _PLAIN.get(quant, quant.upper())


def _text(value: Any) -> str:
    return value[:64] if isinstance(value, str) and value.isprintable() else ""


def _like(empty: Any, value: Any) -> Any:
    """Return `value` when it is of the type of `empty`, else `empty`."""
    if isinstance(empty, tuple):
        return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else empty
    return value if type(value) is type(empty) else empty
