"""Read the header of a safetensors file, and the index of a sharded model; bounded.

Format: https://huggingface.co/docs/safetensors (u64 little-endian length, JSON, data). The format allows 100 MB of
header; we read 16 MiB, which holds more tensors than any model has, and refuse more with that reason. The JSON is
scanned entry by entry, so that what is held is one small tuple a tensor and never a tree.
Memory stays under 64 MiB and time under a second for any input.
"""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from reconciler.detect import jsonbound
from reconciler.detect.malformed import MalformedHeader

HEADER_LIMIT = 16 << 20
"""Bytes of header that we are willing to read; the format's own cap is 100,000,000."""

INDEX_LIMIT = 16 << 20

_FORMAT_LIMIT = 100_000_000
_MAX_TENSORS = 100_000
_MAX_ENTRY = 4096
_MAX_KEPT = 4096  # characters of one kept metadata value
_MAX_METADATA = 1024
_MAX_DIMS = 64

BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64,
    "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""dtype -> bits of an element: https://docs.rs/safetensors/latest/safetensors/tensor/enum.Dtype.html."""

_WS = rb"[ \t\r\n]*+"
_TEXT = rb'"([^"\\\x00-\x1f]*+(?:\\[^\x00-\x1f][^"\\\x00-\x1f]*+)*+)"'
_KEY = re.compile(_WS + _TEXT + _WS + rb":" + _WS)
_VALUE = re.compile(_TEXT)
_FLAT = re.compile(rb'\{(?:[^{}"]|"[^"\\{}]{0,64}"){0,2048}+\}')
_OPEN, _CLOSE, _NEXT = (re.compile(_WS + mark + _WS) for mark in (rb"\{", rb"\}", rb","))


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """What a safetensors file says of itself."""

    elements: Mapping[str, int]
    """dtype -> elements of all tensors that have it."""
    weights: Mapping[str, int]
    """The same without the side tables of quantisation (scales, zero points, permutations)."""
    tensor_count: int
    names: tuple[str, ...] = field(repr=False)
    """Tensor names, sorted; at most the first 4096."""
    marks: frozenset[str]
    """Last parts of tensor names, which tell quantisation and adapters: `qweight`, `g_idx`, `lora_A.weight`, …"""
    metadata: Mapping[str, str] = field(repr=False)
    """`__metadata__`; values longer than 4096 characters are left out."""
    data_offset: int
    expected_bytes: int
    file_bytes: int

    @property
    def fits(self) -> bool:
        """Whether all the data is there."""
        return self.expected_bytes <= self.file_bytes

    @property
    def parameters(self) -> int:
        """Elements of all weights as stored; packed weights count their containers."""
        return sum(self.weights.values())

    @property
    def dominating(self) -> str | None:
        """The dtype that most elements of weights have."""
        held = {dtype: count for dtype, count in self.weights.items() if count}
        return min(held, key=lambda dtype: (-held[dtype], dtype)) if held else None


class Index(NamedTuple):
    """The weight files that `*.safetensors.index.json` names, sorted, and the bytes that it claims (0: none)."""

    files: tuple[str, ...]
    total_size: int


class _Entry(NamedTuple):
    name: str
    dtype: str
    elements: int
    begin: int
    end: int


AUXILIARY = frozenset({
    "scales", "qzeros", "g_idx", "absmax", "quant_map", "nested_absmax", "nested_quant_map", "SCB", "weight_format",
    "weight_scale", "weight_scale_inv", "weight_scale_2", "weight_zero_point", "weight_shape", "weight_g_idx",
    "input_scale", "output_scale", "k_scale", "v_scale", "scale_weight", "scale_input", "weight_global_scale",
    "input_global_scale", "biases_scale", "down_proj_scales", "gate_up_proj_scales", "comfy_quant",
    "bitsandbytes__nf4", "bitsandbytes__fp4",
})  # fmt: skip
"""Last parts of tensor names that hold no parameters of their own."""


def read_header(file: Path | BinaryIO, limit: int = HEADER_LIMIT) -> SafetensorsHeader:
    """Return the header of `file`; raise MalformedHeader with the reason, or OSError when it cannot be read."""
    with open(file, "rb", buffering=0) if isinstance(file, Path) else nullcontext(file) as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        raw = _read_json(stream, size, limit)
    entries, metadata = _scan(raw)
    return _summarize(entries, metadata, 8 + len(raw), size)


def _read_json(stream: BinaryIO, size: int, limit: int) -> bytes:
    if size < 10:
        raise MalformedHeader(f"{size} bytes are too few for a safetensors file")
    length = int.from_bytes(_read_exactly(stream, 8), "little")
    if length > _FORMAT_LIMIT:
        raise MalformedHeader(f"header of {length} bytes; the format allows {_FORMAT_LIMIT}")
    if length > size - 8:
        raise MalformedHeader(f"header of {length} bytes in a file of {size}")
    if length > limit:
        raise MalformedHeader(f"header of {length} bytes; at most {limit} are read")
    raw = _read_exactly(stream, length)
    if not raw.startswith(b"{"):
        raise MalformedHeader(f"header starts with {raw[:8]!r}; expected '{{'")
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, length, 1 << 16):
            decoder.decode(raw[start : start + (1 << 16)], start + (1 << 16) >= length)
    except UnicodeDecodeError:
        raise MalformedHeader("header is not UTF-8") from None
    return raw


def _read_exactly(stream: BinaryIO, length: int) -> bytes:
    raw = bytearray()
    while len(raw) < length:
        chunk = stream.read(min(length - len(raw), 1 << 20))
        if not chunk:
            raise MalformedHeader(f"the file ended at byte {len(raw)} while it was read")
        raw += chunk
    return bytes(raw)


def _scan(raw: bytes) -> tuple[list[_Entry], dict[str, str]]:
    """Return (tensors in the order of the header, metadata)."""
    entries: list[_Entry] = []
    metadata: dict[str, str] | None = None
    seen: set[str] = set()
    position = _expect(_OPEN, raw, 0, "{")
    if closed := _CLOSE.match(raw, position):
        position = closed.end()
    else:
        while True:
            name, position = _key(raw, position)
            if name in seen:
                raise MalformedHeader(f"{name!r} stands twice in the header")
            seen.add(name)
            if name == "__metadata__":
                metadata, position = _scan_metadata(raw, position)
            else:
                entry, position = _entry(raw, position, name)
                entries.append(entry)
                if len(entries) > _MAX_TENSORS:
                    raise MalformedHeader(f"more than {_MAX_TENSORS} tensors")
            if step := _NEXT.match(raw, position):
                position = step.end()
            else:
                position = _expect(_CLOSE, raw, position, "}")
                break
    if raw[position:].strip(b" \t\r\n\0"):
        raise MalformedHeader("bytes after the end of the header's JSON")
    return entries, metadata or {}


def _expect(pattern: re.Pattern[bytes], raw: bytes, position: int, mark: str) -> int:
    found = pattern.match(raw, position)
    if not found:
        raise MalformedHeader(f"header byte {position}: {raw[position : position + 20]!r}; expected {mark!r}")
    return found.end()


def _key(raw: bytes, position: int) -> tuple[str, int]:
    found = _KEY.match(raw, position)
    if not found or found.end(1) - found.start(1) > 1024:
        raise MalformedHeader(f"header byte {position}: expected a name of at most 1024 bytes and a colon")
    return _unquote(found[1]), found.end()


def _unquote(text: bytes) -> str:
    """Return what stands between quotes; already known to be UTF-8 without control characters."""
    if b"\\" not in text:
        return text.decode()
    try:
        value = json.loads(b'"' + text + b'"')
        value.encode()
    except ValueError:
        raise MalformedHeader(f"bad escape in {text[:60]!r}") from None
    return str(value)


def _scan_metadata(raw: bytes, position: int) -> tuple[dict[str, str], int]:
    """Return (short values, position after the object). Values are text and nothing else, says the format."""
    kept: dict[str, str] = {}
    seen: set[str] = set()
    position = _expect(_OPEN, raw, position, "{")
    if closed := _CLOSE.match(raw, position):
        return kept, closed.end()
    while True:
        key, position = _key(raw, position)
        value = _VALUE.match(raw, position)
        if not value:
            raise MalformedHeader(f"__metadata__.{key[:60]} is not text")
        if key in seen or len(seen) >= _MAX_METADATA:
            raise MalformedHeader(f"__metadata__ has {key[:60]!r} twice, or more than {_MAX_METADATA} keys")
        seen.add(key)
        if value.end(1) - value.start(1) <= _MAX_KEPT:
            kept[key] = _unquote(value[1])
        position = value.end()
        if step := _NEXT.match(raw, position):
            position = step.end()
        else:
            return kept, _expect(_CLOSE, raw, position, "}")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedHeader("a tensor's entry has a key twice")
    return found


def _entry(raw: bytes, position: int, name: str) -> tuple[_Entry, int]:
    """Return one tensor, its fields checked against each other, and the position after it."""
    found = _FLAT.match(raw, position, position + _MAX_ENTRY)
    if not found:
        raise MalformedHeader(f"tensor {name[:100]!r} has no entry of at most {_MAX_ENTRY} bytes")
    try:
        fields = json.loads(found[0], object_pairs_hook=_pairs)
    except MalformedHeader:
        raise
    except ValueError as error:
        raise MalformedHeader(f"tensor {name[:100]!r}: not JSON: {str(error)[:100]}") from None
    if set(fields) != {"dtype", "shape", "data_offsets"}:
        raise MalformedHeader(f"tensor {name[:100]!r}: expected dtype, shape and data_offsets")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or not re.fullmatch(r"[A-Z0-9_]{1,16}", dtype):
        raise MalformedHeader(f"tensor {name[:100]!r}: {str(dtype)[:60]!r} is not a dtype")
    if not _is_counts(shape) or len(shape) > _MAX_DIMS or not _is_counts(offsets) or len(offsets) != 2:
        raise MalformedHeader(f"tensor {name[:100]!r}: shape and data_offsets must be lists of whole numbers")
    begin, end = offsets
    elements = _multiply(shape, name)
    bits = elements * BITS[dtype] if dtype in BITS else 8 * (end - begin)
    if end < begin or bits != 8 * (end - begin):
        raise MalformedHeader(f"tensor {name[:100]!r}: {end - begin} bytes for {dtype} of shape {str(shape)[:60]}")
    return _Entry(name, dtype, elements, begin, end), found.end()


def _is_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 63 for item in value)


def _multiply(shape: list[int], name: str) -> int:
    held = 1
    for extent in shape:
        held *= extent
        if held >= 1 << 63:
            raise MalformedHeader(f"tensor {name[:100]!r} claims more elements than a file can hold")
    return held


def _summarize(entries: list[_Entry], metadata: dict[str, str], offset: int, size: int) -> SafetensorsHeader:
    """Check that the tensors tile the data, and count."""
    end = 0
    for entry in sorted(entries, key=lambda one: (one.begin, one.end)):
        if entry.begin != end:
            fault = "overlaps the tensor before it" if entry.begin < end else "leaves a hole before it"
            raise MalformedHeader(f"tensor {entry.name[:100]!r} {fault} (byte {entry.begin}, expected {end})")
        end = entry.end
    if offset + end < size:
        raise MalformedHeader(f"{size - offset - end} bytes after the last tensor")
    elements: dict[str, int] = {}
    weights: dict[str, int] = {}
    marks: set[str] = set()
    for entry in entries:
        elements[entry.dtype] = elements.get(entry.dtype, 0) + entry.elements
        last = entry.name.rsplit(".", 1)[-1]
        if len(marks) < 4096:
            marks.update((last, ".".join(entry.name.rsplit(".", 2)[-2:])))
        if last not in AUXILIARY:
            weights[entry.dtype] = weights.get(entry.dtype, 0) + entry.elements
    return SafetensorsHeader(
        elements=dict(sorted(elements.items())),
        weights=dict(sorted(weights.items())),
        tensor_count=len(entries),
        names=tuple(sorted(entry.name for entry in entries)[:4096]),
        marks=frozenset(marks),
        metadata=metadata,
        data_offset=offset,
        expected_bytes=offset + end,
        file_bytes=size,
    )


def read_index(path: Path) -> Index:
    """Return the weight files that an index names; raise MalformedHeader with the reason, or OSError.

    Names are plain relative paths beside the index; anything else is refused, because somebody will open them.
    """
    found = jsonbound.load(path, INDEX_LIMIT)
    weights = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(weights, dict) or not weights:
        raise MalformedHeader("no weight_map in the index")
    files = set(weights.values()) if all(isinstance(name, str) for name in weights.values()) else {""}
    for name in files:
        parts = name.split("/")
        if "" in parts or "." in parts or ".." in parts or "\\" in name or ":" in name or not name.isprintable():
            raise MalformedHeader(f"the index names {name[:100]!r}, which is no file beside it")
    metadata = found.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    return Index(tuple(sorted(files)), total if type(total) is int and total > 0 else 0)
