"""Walk over the bytes of a GGUF header, bounded: no count, length or offset is believed before it is checked.

Arrays are walked over, not kept: a vocabulary costs its bytes once and no objects.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO, NamedTuple

from reconciler.detect.ggml import TYPES
from reconciler.detect.malformed import MalformedHeader

Scalar = int | float | bool | str

HEADER_LIMIT = 32 << 20
"""Bytes of header that we are willing to read."""

_STEP = 1 << 20
_MAX_KEYS = 1 << 16
_MAX_TENSORS = 1 << 16
_MAX_KEPT = 4 << 20  # characters of keys and values kept
_MAX_NAMES = 8 << 20  # bytes of tensor names kept, to find doubles
_MAX_STRING = 4096  # longer strings (licences) are passed over
_MAX_TEMPLATE = 1 << 16  # a chat template may be longer: what it can do is told from its text
_TEMPLATE = "tokenizer.chat_template"
_MAX_NAME = 1024
_MAX_DIMS = 4  # GGML_MAX_DIMS
_MAX_DEPTH = 4
_MAX_NESTED = 1 << 14

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


class CutShort(MalformedHeader):
    """The bytes at hand end before the header does; those that are there were right."""


class TypeCount(NamedTuple):
    """How many tensors have a type, and how many elements they hold."""

    tensors: int
    elements: int


class Source(NamedTuple):
    """The open file, its size, and the part of it that has been read so far."""

    stream: BinaryIO
    size: int
    buffer: bytearray


def read_preamble(source: Source) -> tuple[int, int, int]:
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


def _fill(source: Source, end: int) -> None:
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
            raise CutShort(f"the file ended at byte {len(source.buffer)} while it was read")
        source.buffer.extend(chunk)


def _read_u32(source: Source, position: int) -> tuple[int, int]:
    _fill(source, position + 4)
    return _U32.unpack_from(source.buffer, position)[0], position + 4


def _read_u64(source: Source, position: int) -> tuple[int, int]:
    _fill(source, position + 8)
    return _U64.unpack_from(source.buffer, position)[0], position + 8


def _read_string(source: Source, position: int, limit: int, what: str) -> tuple[str, int]:
    length, position = _read_u64(source, position)
    if length > limit:
        raise MalformedHeader(f"{what} of {length} bytes; expected at most {limit}")
    _fill(source, position + length)
    raw = bytes(source.buffer[position : position + length])
    try:
        return raw.decode("utf-8"), position + length
    except UnicodeDecodeError:
        raise MalformedHeader(f"{what} is not UTF-8: {raw[:60]!r}") from None


def read_metadata(source: Source, count: int, position: int) -> tuple[dict[str, Scalar], dict[str, str], int]:
    """Return (scalars and short strings, chat templates by key, where the tensors begin); a too long template is ''."""
    metadata: dict[str, Scalar] = {}
    templates: dict[str, str] = {}
    for key, value, after in walk_metadata(source, count, position):
        if key.startswith(_TEMPLATE):
            templates[key] = value if isinstance(value, str) else ""
        if value is not None and not (isinstance(value, str) and len(value) > _MAX_STRING):
            metadata[key] = value
        position = after
    return metadata, templates, position


def walk_metadata(source: Source, count: int, position: int) -> Iterator[tuple[str, Scalar | None, int]]:
    """Yield (key, scalar or short string, position behind it) of every key; None for an array or a long string."""
    seen: set[str] = set()
    nested = kept = 0
    for _ in range(count):
        key, position = _read_string(source, position, _MAX_NAME, "a metadata key")
        if key in seen:
            raise MalformedHeader(f"metadata key {key!r} stands twice")
        seen.add(key)
        kind, position = _read_u32(source, position)
        value: Scalar | None = None
        if kind == _ARRAY:
            position, more = _skip_array(source, position)
            nested += more
            if nested > _MAX_NESTED:
                raise MalformedHeader(f"more than {_MAX_NESTED} nested arrays")
        else:
            limit = _MAX_TEMPLATE if key.startswith(_TEMPLATE) else _MAX_STRING
            value, position = _read_value(source, kind, position, limit)
            kept += len(key) + (len(value) if isinstance(value, str) else 8)
            if kept > _MAX_KEPT:
                raise MalformedHeader(f"more than {_MAX_KEPT} bytes of metadata")
        yield key, value, position


def _read_value(source: Source, kind: int, position: int, limit: int) -> tuple[Scalar | None, int]:
    """Return (value, next position); None for a string of more than `limit` bytes."""
    if kind == _STRING:
        length, body = _read_u64(source, position)
        _fill(source, body + length)
        if length > limit:
            return None, body + length
        # llama.cpp takes any bytes here; a description in another encoding is no reason to refuse a model.
        return bytes(source.buffer[body : body + length]).decode("utf-8", "replace"), body + length
    if kind not in _SCALARS:
        raise MalformedHeader(f"metadata of unknown type {kind}")
    form = _SCALARS[kind]
    _fill(source, position + form.size)
    return form.unpack_from(source.buffer, position)[0], position + form.size


def _skip_array(source: Source, position: int) -> tuple[int, int]:
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


def _skip_strings(source: Source, position: int, count: int) -> int:
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


def read_tensors(source: Source, count: int, position: int, alignment: int) -> tuple[dict[str, TypeCount], int, int]:
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


def _read_shape(source: Source, position: int, name: str) -> tuple[tuple[int, ...], int]:
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
