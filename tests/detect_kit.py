"""Makers of GGUF and safetensors files, byte by byte, so that a test can also make them wrong."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

STRING, ARRAY, U32, U16 = 8, 9, 4, 2
F32, F16, Q4_0, Q8_0, Q4_K, Q6_K, BF16 = 0, 1, 2, 8, 12, 14, 30


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def pair(key: str, value: Any) -> bytes:
    """One metadata pair: str, bool, int (u32), float, or a list of str or int."""
    return text(key) + typed(value)


def typed(value: Any) -> bytes:
    match value:
        case bytes():
            return value  # a type number and its value, written by the test
        case bool():
            return struct.pack("<I?", 7, value)
        case int():
            return struct.pack("<II", U32, value)
        case float():
            return struct.pack("<If", 6, value)
        case str():
            return struct.pack("<I", STRING) + text(value)
        case [str(), *_]:
            return struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(text, value))
        case list():
            return struct.pack("<IIQ", ARRAY, U32, len(value)) + struct.pack(f"<{len(value)}I", *value)
    raise TypeError(value)


def tensor(name: str, shape: Sequence[int], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def gguf(
    metadata: Mapping[str, Any],
    tensors: Sequence[tuple[str, Sequence[int], int, int]] = (),
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    """A GGUF file; `tensors` are (name, shape, type, bytes), laid out one after another at 32 bytes."""
    infos, offset = b"", 0
    for name, shape, kind, size in tensors:
        infos += tensor(name, shape, kind, offset)
        offset += -(-size // 32) * 32
    claimed = counts or (len(tensors), len(metadata))
    head = b"GGUF" + struct.pack("<IQQ", version, *claimed)
    head += b"".join(pair(key, value) for key, value in metadata.items()) + infos
    return head + bytes(-len(head) % 32) + bytes(offset)


def model_gguf(file_type: int | None = 15, kind: int = Q4_K, size: int = 144, **more: Any) -> bytes:
    """A one-layer model: a weight of 256 elements in `kind`, which takes `size` bytes, and a norm."""
    metadata: dict[str, Any] = {"general.architecture": "llama", "general.name": "Tiny"}
    metadata |= {"tokenizer.ggml.tokens": ["<s>", "</s>", "a"], "tokenizer.ggml.scores": [1, 2, 3]}
    if file_type is not None:
        metadata["general.file_type"] = file_type  # after the vocabulary, where llama-quantize puts it
    metadata |= {key.replace("__", "."): value for key, value in more.items()}
    return gguf(metadata, [("blk.0.ffn.weight", (256, 1), kind, size), ("output_norm.weight", (32,), F32, 128)])


SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I8": 1, "U8": 1, "I32": 4}


def safetensors(tensors: Mapping[str, tuple[str, Sequence[int]]], metadata: Mapping[str, str] | None = None) -> bytes:
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        size = SIZES[dtype]
        for extent in shape:
            size *= extent
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    return with_header(header, offset)


def with_header(header: Any, data: int = 0) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(data)


def plain(dtype: str = "BF16") -> bytes:
    """A safetensors file of a language model's layer in one dtype."""
    return safetensors({"model.layers.0.self_attn.q_proj.weight": (dtype, (8, 8)), "lm_head.weight": (dtype, (4, 8))})


def write(root: Path, files: Mapping[str, Any]) -> list[str]:
    """Write `files` below `root`: bytes as they are, text as text, everything else as JSON. Return their paths."""
    for name, content in files.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        raw = content if isinstance(content, str | bytes) else json.dumps(content)
        target.write_bytes(raw.encode() if isinstance(raw, str) else raw)
    return list(files)
