"""Read the header of a GGUF file, bounded: no count, length or offset is believed before it is checked.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Versions 2 and 3, little-endian. Arrays are walked
over, not kept: a vocabulary costs its bytes once and no objects. At most 32 MiB are read (the largest header seen in
the wild has 16 MiB) and at most about 40 MiB held. The writer may put `general.file_type` after the vocabulary, so the
whole header is walked.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from reconciler.detect.ggml import FILE_TYPES, PLAIN, TYPES
from reconciler.detect.malformed import MalformedHeader

Scalar = int | float | bool | str

HEADER_LIMIT = 32 << 20
"""Bytes of header that we are willing to read."""

_STEP = 1 << 20
_MAX_KEYS = 1 << 16
_MAX_TENSORS = 1 << 16
_MAX_KEPT = 4 << 20  # characters of keys and values kept
_MAX_NAMES = 8 << 20  # bytes of tensor names kept, to find doubles
_MAX_STRING = 4096  # longer strings (templates, licences) are passed over
_MAX_NAME = 1024
_MAX_DIMS = 4  # GGML_MAX_DIMS
_MAX_DEPTH = 4
_MAX_NESTED = 1 << 14
_GUESSED = 1024

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_SCALARS: Mapping[int, struct.Struct] = {
    kind: struct.Struct("<" + code)
    for kind, code in {
        0: "B",
        1: "b",
        2: "H",
        3: "h",
        4: "I",
        5: "i",
        6: "f",
        7: "?",
        10: "Q",
        11: "q",
        12: "d",
    }.items()
}
_STRING, _ARRAY = 8, 9


class TypeCount(NamedTuple):
    """How many tensors have a type, and how many elements they hold."""

    tensors: int
    elements: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says of itself."""

    version: int
    architecture: str
    name: str
    kind: str
    """`general.type`: model, adapter, mmproj, …; '' when absent."""
    file_type: int | None
    size_label: str
    metadata: Mapping[str, Scalar] = field(repr=False)
    """Scalars and strings of at most 4096 bytes; arrays and long strings are left out."""
    tensor_count: int
    types: Mapping[str, TypeCount]
    """ggml type -> its tensors; `type<N>` for a number that our table lacks."""
    parameters: int
    """Elements of all tensors."""
    split_number: int
    split_count: int
    """0 when the file is not one of several."""
    data_offset: int
    """Where tensor data begins, in bytes."""
    expected_bytes: int
    """The least size of the file that holds every tensor."""
    file_bytes: int
    chat_templates: tuple[str, ...] = ()
    """Keys of templates that a server would run."""

    @property
    def fits(self) -> bool:
        """Whether every tensor lies inside the file."""
        return self.expected_bytes <= self.file_bytes

    @property
    def quant(self) -> str | None:
        """`general.file_type` when it is known and not a guess, else the type that most elements have."""
        known = FILE_TYPES.get(self.file_type) if self.file_type is not None else None
        return known or self.dominating

    @property
    def dominating(self) -> str | None:
        """The type of most weights; F32, the type of norms, counts only when there is no other."""
        weights = {kind: count.elements for kind, count in self.types.items() if not kind.startswith("type")}
        others = {kind: elements for kind, elements in weights.items() if kind != "f32" and elements} or weights
        if not others:
            return None
        kind = min(others, key=lambda name: (-others[name], name))
        return PLAIN.get(kind, kind)


class _Source(NamedTuple):
    """The open file, its size, and the part of it that has been read so far."""

    stream: BinaryIO
    size: int
    buffer: bytearray


def read_header(file: Path | BinaryIO) -> GgufHeader:
    """Return the header of `file`; raise MalformedHeader with the reason, or OSError when it cannot be read."""
    with open(file, "rb", buffering=0) if isinstance(file, Path) else nullcontext(file) as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        return _parse(_Source(stream, size, bytearray()))


def _parse(source: _Source) -> GgufHeader:
    version, tensors, keys = _read_preamble(source)
    metadata, templates, position = _read_metadata(source, keys, 24)
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or alignment <= 0 or alignment & (alignment - 1):
        raise MalformedHeader(f"general.alignment is {alignment!r}; expected a power of two")
    types, extent, position = _read_tensors(source, tensors, position, alignment)
    data_offset = -(-position // alignment) * alignment
    file_type = _integer(metadata, "general.file_type")
    return GgufHeader(
        version=version,
        architecture=_text(metadata, "general.architecture"),
        name=_text(metadata, "general.name"),
        kind=_text(metadata, "general.type"),
        file_type=None if file_type is None or file_type & _GUESSED else file_type,
        size_label=_text(metadata, "general.size_label"),
        metadata=metadata,
        tensor_count=tensors,
        types=types,
        parameters=sum(count.elements for count in types.values()),
        split_number=_integer(metadata, "split.no") or 0,
        split_count=_integer(metadata, "split.count") or 0,
        data_offset=data_offset,
        expected_bytes=data_offset + extent if tensors else position,
        file_bytes=source.size,
        chat_templates=templates,
    )


def _text(metadata: Mapping[str, Scalar], key: str) -> str:
    value = metadata.get(key, "")
    return value if isinstance(value, str) else ""


def _integer(metadata: Mapping[str, Scalar], key: str) -> int | None:
    value = metadata.get(key)
    return value if type(value) is int else None


def _read_preamble(source: _Source) -> tuple[int, int, int]:
    """Return (version, tensors, metadata keys), each possible in a file of this size."""
    if source.size < 24:
        raise MalformedHeader(f"{source.size} bytes are too few for a GGUF file")
    _fill(source, 24)
    magic, version, tensors, keys = struct.unpack_from("<4sIQQ", source.buffer)
    if magic != b"GGUF":
        raise MalformedHeader(f"starts with {magic!r}; expected b'GGUF'")
    if version not in (2, 3):
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        found = f"big-endian version {swapped}" if swapped in (2, 3) else f"version {version}"
        raise MalformedHeader(f"GGUF {found}; expected little-endian version 2 or 3")
    # The smallest key takes 8 + 0 + 4 + 1 bytes, the smallest tensor 8 + 0 + 4 + 4 + 8.
    if keys > min(_MAX_KEYS, source.size // 13):
        raise MalformedHeader(f"{keys} metadata keys are more than the file can hold")
    if tensors > min(_MAX_TENSORS, source.size // 24):
        raise MalformedHeader(f"{tensors} tensors are more than the file can hold")
    return version, tensors, keys


def _fill(source: _Source, end: int) -> None:
    """Have bytes up to `end` in the buffer, or say why not."""
    if end <= len(source.buffer):
        return
    if end > source.size:
        raise MalformedHeader(f"the header reaches to byte {end}, the file has {source.size}")
    if end > HEADER_LIMIT:
        raise MalformedHeader(f"the header reaches to byte {end}, beyond the {HEADER_LIMIT} that are read")
    while len(source.buffer) < end:
        chunk = source.stream.read(_STEP)
        if not chunk:
            raise MalformedHeader(f"the file ended at byte {len(source.buffer)} while it was read")
        source.buffer.extend(chunk)


def _read_u32(source: _Source, position: int) -> tuple[int, int]:
    _fill(source, position + 4)
    return _U32.unpack_from(source.buffer, position)[0], position + 4


def _read_u64(source: _Source, position: int) -> tuple[int, int]:
    _fill(source, position + 8)
    return _U64.unpack_from(source.buffer, position)[0], position + 8


def _read_string(source: _Source, position: int, limit: int, what: str) -> tuple[str, int]:
    length, position = _read_u64(source, position)
    if length > limit:
        raise MalformedHeader(f"{what} of {length} bytes; expected at most {limit}")
    _fill(source, position + length)
    raw = bytes(source.buffer[position : position + length])
    try:
        return raw.decode("utf-8"), position + length
    except UnicodeDecodeError:
        raise MalformedHeader(f"{what} is not UTF-8: {raw[:60]!r}") from None


def _read_metadata(source: _Source, count: int, position: int) -> tuple[dict[str, Scalar], tuple[str, ...], int]:
    """Return (scalars and short strings, keys of chat templates, where the tensors begin)."""
    metadata: dict[str, Scalar] = {}
    seen: set[str] = set()
    templates: list[str] = []
    nested = kept = 0
    for _ in range(count):
        key, position = _read_string(source, position, _MAX_NAME, "a metadata key")
        if key in seen:
            raise MalformedHeader(f"metadata key {key!r} stands twice")
        seen.add(key)
        kind, position = _read_u32(source, position)
        if key.startswith("tokenizer.chat_template"):
            templates.append(key)
        if kind == _ARRAY:
            position, more = _skip_array(source, position)
            nested += more
            if nested > _MAX_NESTED:
                raise MalformedHeader(f"more than {_MAX_NESTED} nested arrays")
            continue
        value, position = _read_value(source, kind, position)
        if value is not None:
            metadata[key] = value
        kept += len(key) + (len(value) if isinstance(value, str) else 8)
        if kept > _MAX_KEPT:
            raise MalformedHeader(f"more than {_MAX_KEPT} bytes of metadata")
    return metadata, tuple(sorted(templates)), position


def _read_value(source: _Source, kind: int, position: int) -> tuple[Scalar | None, int]:
    """Return (value, next position); None for a string too long to be kept."""
    if kind == _STRING:
        length, body = _read_u64(source, position)
        _fill(source, body + length)
        if length > _MAX_STRING:
            return None, body + length
        # llama.cpp takes any bytes here; a description in another encoding is no reason to refuse a model.
        return bytes(source.buffer[body : body + length]).decode("utf-8", "replace"), body + length
    if kind not in _SCALARS:
        raise MalformedHeader(f"metadata of unknown type {kind}")
    form = _SCALARS[kind]
    _fill(source, position + form.size)
    return form.unpack_from(source.buffer, position)[0], position + form.size


def _skip_array(source: _Source, position: int) -> tuple[int, int]:
    """Return (position after the array, arrays inside it). Without recursion: `open_counts` is the stack."""
    open_counts = [1]
    nested = -1
    while open_counts:
        if open_counts[-1] == 0:
            open_counts.pop()
            continue
        open_counts[-1] -= 1
        nested += 1
        if nested > _MAX_NESTED:
            raise MalformedHeader(f"more than {_MAX_NESTED} nested arrays")
        kind, position = _read_u32(source, position)
        count, position = _read_u64(source, position)
        if kind == _ARRAY:
            if len(open_counts) >= _MAX_DEPTH:
                raise MalformedHeader(f"arrays nested more than {_MAX_DEPTH} deep")
            _fill(source, position + 12 * count)
            open_counts.append(count)
        elif kind == _STRING:
            position = _skip_strings(source, position, count)
        elif kind in _SCALARS:
            position += count * _SCALARS[kind].size
            _fill(source, position)
        else:
            raise MalformedHeader(f"array of unknown type {kind}")
    return position, nested


def _skip_strings(source: _Source, position: int, count: int) -> int:
    """Return the position after `count` strings; the one loop that large vocabularies spend their time in."""
    if position + 8 * count > min(source.size, HEADER_LIMIT):
        raise MalformedHeader(f"an array of {count} strings is more than the file can hold")
    buffer, unpack, filled = source.buffer, _U64.unpack_from, len(source.buffer)
    for _ in range(count):
        if position + 8 > filled:
            _fill(source, position + 8)
            filled = len(buffer)
        position += 8 + unpack(buffer, position)[0]
    _fill(source, position)
    return position


def _read_tensors(source: _Source, count: int, position: int, alignment: int) -> tuple[dict[str, TypeCount], int, int]:
    """Return (tensors and elements by type, bytes of tensor data, position after the list)."""
    tensors: dict[str, int] = {}
    elements: dict[str, int] = {}
    names: set[str] = set()
    extent = 0
    begin = position
    for _ in range(count):
        name, position = _read_string(source, position, _MAX_NAME, "a tensor name")
        if name in names:
            raise MalformedHeader(f"tensor {name!r} stands twice")
        names.add(name)
        if position - begin > _MAX_NAMES:
            raise MalformedHeader(f"the list of tensors takes more than {_MAX_NAMES} bytes")
        shape, position = _read_shape(source, position, name)
        _fill(source, position + 12)
        number, offset = struct.unpack_from("<IQ", source.buffer, position)
        position += 12
        if offset % alignment:
            raise MalformedHeader(f"tensor {name!r} begins at {offset}, not a multiple of {alignment}")
        size, kind, held = _measure(name, shape, number)
        extent = max(extent, offset + size)
        tensors[kind] = tensors.get(kind, 0) + 1
        elements[kind] = elements.get(kind, 0) + held
    return {kind: TypeCount(tensors[kind], elements[kind]) for kind in sorted(tensors)}, extent, position


def _read_shape(source: _Source, position: int, name: str) -> tuple[tuple[int, ...], int]:
    dimensions, position = _read_u32(source, position)
    if dimensions > _MAX_DIMS:
        raise MalformedHeader(f"tensor {name!r} has {dimensions} dimensions; expected at most {_MAX_DIMS}")
    _fill(source, position + 8 * dimensions)
    return struct.unpack_from(f"<{dimensions}Q", source.buffer, position), position + 8 * dimensions


def _measure(name: str, shape: tuple[int, ...], number: int) -> tuple[int, str, int]:
    """Return (bytes, type name, elements) of a tensor. A type that we do not know counts no bytes."""
    held = 1
    for extent in shape:
        held *= extent
    if held >= 1 << 63:
        raise MalformedHeader(f"tensor {name!r} claims {held} elements")
    known = TYPES.get(number)
    if known is None:
        if number >= 1 << 16:
            raise MalformedHeader(f"tensor {name!r} has the impossible type {number}")
        return 0, f"type{number}", held
    if (shape[0] if shape else 1) % known.block:
        raise MalformedHeader(f"tensor {name!r}: rows of {shape[:1]} do not divide into {known.name} blocks")
    return held // known.block * known.size, known.name, held
