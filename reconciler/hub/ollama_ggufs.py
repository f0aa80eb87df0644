"""GGUF as an Ollama server deals with it: what it tells of a file, the config it makes of it, the file it rewrites.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Read here a second time, apart from our own reader,
so that each can test the other; for files of our own making and of tests, not for hostile ones.
"""

from __future__ import annotations

import json
import mmap
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.hub.ggufs import MIXES, TYPES

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_U32, _F32, _STRING, _ARRAY = 4, 6, 8, 9
_NAMES = {number: name for name, (number, _, _) in TYPES.items()}
_SIZES = {number: (block, stored) for number, block, stored in TYPES.values()}
_FILE_TYPES = {mix.file_type: name for name, mix in MIXES.items()}
_KEPT_AS_THEY_ARE = ("a.", "mm.", "mtp.", "s.", "v.")
_HIDDEN = ("general.name", "tokenizer.chat_template")
_ORDER = re.compile(r"blk\.(\d+)\.")


class Tensor(NamedTuple):
    """A tensor's entry; the row length is the first of the shape, `at` is where its bytes are in the file."""

    name: str
    shape: tuple[int, ...]
    kind: int
    at: int

    @property
    def size(self) -> int:
        """Bytes."""
        block, stored = _SIZES.get(self.kind, (1, 1))
        return prod(self.shape) // block * stored


class Gguf(NamedTuple):
    """A file, read. `raw` holds each value as it stands, type number included, in the order of the file."""

    raw: Mapping[str, bytes]
    keys: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    alignment: int

    @property
    def architecture(self) -> str:
        """What kind of model it is: `llama`, `bert`."""
        return str(self.keys.get("general.architecture", "unknown"))

    @property
    def parameters(self) -> int:
        """Elements of all tensors."""
        return sum(prod(tensor.shape) for tensor in self.tensors)

    @property
    def file_type(self) -> str:
        """`F16`, `Q4_K_M`, …; `unknown` where the file does not say."""
        return _FILE_TYPES.get(self.keys.get("general.file_type", -1), "unknown")

    def own(self, key: str) -> Any:
        """Return the value of `<architecture>.<key>`, or None."""
        return self.keys.get(f"{self.architecture}.{key}")


@contextmanager
def opened(path: Path) -> Iterator[mmap.mmap]:
    """Give the bytes of a file without reading them all; raise OSError, or ValueError when it is empty."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def read_file(path: Path) -> Gguf:
    """Read the file at `path`; raise ValueError when it is no GGUF, OSError when it cannot be read."""
    with opened(path) as data:
        return read_gguf(data)


def read_gguf(data: bytes | mmap.mmap) -> Gguf:
    """Read a GGUF; raise ValueError when it is none."""
    if len(data) < 24 or data[:4] != b"GGUF":
        raise ValueError("supplied file was not in GGUF format")
    try:
        _, tensors, keys = struct.unpack_from("<IQQ", data, 4)
        raw, values, position = _read_keys(data, keys)
        alignment = int(values.get("general.alignment", 32))
        return Gguf(raw, values, tuple(_read_tensors(data, tensors, position, alignment)), alignment)
    except (struct.error, KeyError, UnicodeDecodeError) as problem:
        raise ValueError(f"invalid GGUF: {problem}") from None


def is_copied(gguf: Gguf) -> bool:
    """Whether `create` runs a file through llama-quantize; adapters, projectors and some models stay as they are."""
    if is_projector(gguf) or gguf.keys.get("general.type") == "adapter":
        return False
    return not any(tensor.name.startswith(_KEPT_AS_THEY_ARE) for tensor in gguf.tensors)


def is_projector(gguf: Gguf) -> bool:
    """Whether a file goes beside a model to let it see."""
    return gguf.architecture == "clip" or gguf.keys.get("general.type") in ("mmproj", "projector")


def rewritten(data: bytes | mmap.mmap, gguf: Gguf) -> bytes:
    """Return what `llama-quantize … COPY` makes of a file: the same weights, other bytes.

    The quantisation's version and the file type go behind all other keys, and the tensors are sorted by layer and name.
    """
    raw = dict(gguf.raw)
    file_type = raw.pop("general.file_type", struct.pack("<II", _U32, 0))
    raw.pop("general.quantization_version", None)
    raw |= {"general.quantization_version": struct.pack("<II", _U32, 2), "general.file_type": file_type}
    tensors = sorted(gguf.tensors, key=_in_order)
    infos, content = bytearray(), bytearray()
    for tensor in tensors:
        infos += _text(tensor.name) + struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        infos += struct.pack("<IQ", tensor.kind, len(content))
        content += data[tensor.at : tensor.at + tensor.size]
        content += bytes(-len(content) % gguf.alignment)
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(raw))
    head += b"".join(_text(key) + value for key, value in raw.items()) + infos
    return head + bytes(-len(head) % gguf.alignment) + content


def config_of(gguf: Gguf | None, more: Mapping[str, Any] | None = None) -> bytes:
    """Return the config that `create` writes for a model; `more` are other values, and fields behind `file_type`."""
    value = {
        "model_format": "gguf",
        "model_family": gguf.architecture if gguf else "",
        "model_families": [gguf.architecture] if gguf else None,
        "model_type": human(gguf.parameters) if gguf else "",
        "file_type": gguf.file_type if gguf else "",
        **(more or {}),
        "architecture": "amd64",
        "os": "linux",
    }
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def human(number: int) -> str:
    """Return a number of parameters as the server prints it: `25K`, `494.03M`, `8.0B`."""
    for unit, letter, digits in ((10**9, "B", 1), (10**6, "M", 2), (10**3, "K", 0)):
        if number >= unit:
            return f"{number / unit:.{0 if number % unit == 0 else digits}f}{letter}"
    return str(number)


def model_info(gguf: Gguf, *, verbose: bool) -> dict[str, Any]:
    """Return what `show` tells of the keys: sorted, long arrays only when asked for."""
    told = {key: value for key, value in gguf.keys.items() if key not in _HIDDEN}
    told["general.parameter_count"] = gguf.parameters
    return {key: None if isinstance(told[key], list) and not verbose else told[key] for key in sorted(told)}


def tensors_of(gguf: Gguf) -> list[dict[str, Any]]:
    """Return what `show` tells of the tensors."""
    return [
        {"name": tensor.name, "type": _NAMES.get(tensor.kind, "unknown"), "shape": list(tensor.shape)}
        for tensor in gguf.tensors
    ]


def _in_order(tensor: Tensor) -> tuple[int, str]:
    layer = _ORDER.match(tensor.name)
    return int(layer[1]) if layer else -1, tensor.name


def _read_keys(data: bytes | mmap.mmap, count: int) -> tuple[dict[str, bytes], dict[str, Any], int]:
    raw: dict[str, bytes] = {}
    values: dict[str, Any] = {}
    position = 24
    for _ in range(count):
        key, begin = _read_text(data, position)
        (kind,) = struct.unpack_from("<I", data, begin)
        values[key], position = _read_value(data, kind, begin + 4)
        raw[key] = data[begin:position]
    return raw, values, position


def _read_value(data: bytes | mmap.mmap, kind: int, position: int) -> tuple[Any, int]:
    if kind == _STRING:
        return _read_text(data, position)
    if kind == _ARRAY:
        of, count = struct.unpack_from("<IQ", data, position)
        position += 12
        items = []
        for _ in range(count):
            item, position = _read_value(data, of, position)
            items.append(item)
        return items, position
    (value,) = struct.unpack_from(_SCALARS[kind], data, position)
    return float(f"{value:.6g}") if kind == _F32 else value, position + struct.calcsize(_SCALARS[kind])


def _read_text(data: bytes | mmap.mmap, position: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", data, position)
    begin = position + 8
    return data[begin : begin + length].decode(), begin + length


def _read_tensors(data: bytes | mmap.mmap, count: int, position: int, alignment: int) -> list[Tensor]:
    found: list[tuple[str, tuple[int, ...], int, int]] = []
    for _ in range(count):
        name, position = _read_text(data, position)
        (dimensions,) = struct.unpack_from("<I", data, position)
        shape = struct.unpack_from(f"<{dimensions}Q", data, position + 4)
        kind, offset = struct.unpack_from("<IQ", data, position + 4 + 8 * dimensions)
        position += 16 + 8 * dimensions
        found.append((name, shape, kind, offset))
    begin = -(-position // alignment) * alignment
    return [Tensor(name, shape, kind, begin + offset) for name, shape, kind, offset in found]


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded
