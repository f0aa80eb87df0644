"""Read the header of a GGUF file, bounded: no count, length or offset is believed before it is checked.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Versions 2 and 3, little-endian. Arrays are walked
over, not kept: a vocabulary costs its bytes once and no objects. At most 32 MiB are read (the largest header seen in
the wild has 16 MiB) and at most about 40 MiB held. The writer may put `general.file_type` after the vocabulary, so the
whole header is walked.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from reconciler.detect.ggml import FILE_TYPES, PLAIN
from reconciler.detect.ggufwalk import (
    CutShort,
    Scalar,
    Source,
    TypeCount,
    read_metadata,
    read_preamble,
    read_tensors,
    walk_metadata,
)
from reconciler.detect.malformed import MalformedHeader

_GUESSED = 1024


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
    chat_template: str = field(default="", repr=False)
    """The text of the first of them, '' where it has more than 64 KiB."""

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


class Start(NamedTuple):
    """What the first bytes of a GGUF file say of it; '' and None for what stands behind them, or nowhere."""

    architecture: str
    kind: str
    """`general.type`: model, adapter, mmproj, …"""
    file_type: int | None
    size_label: str
    parameters: int | None
    """Elements of all tensors."""
    metadata: Mapping[str, Scalar]
    """Scalars and strings of at most 4096 bytes whose keys begin with `general.` or with the architecture."""
    whole: bool
    """Whether the header ends within these bytes."""


def read_start(data: bytes, size: int) -> Start:
    """Return what `data`, the first bytes of a file of `size` bytes, tells; raise MalformedHeader for what is no GGUF.

    That the header goes on behind them is no fault.
    """
    source = Source(io.BytesIO(data), size, bytearray())
    metadata: dict[str, Scalar] = {}
    parameters, whole = None, False
    try:
        _, tensors, keys = read_preamble(source)
        position = 24
        for key, value, after in walk_metadata(source, keys, position):
            if value is not None:
                metadata[key] = value
            position = after
        alignment = _alignment(metadata)
        types, _, _ = read_tensors(source, tensors, position, alignment)
        parameters, whole = sum(count.elements for count in types.values()), True
    except CutShort:
        if not metadata:
            raise
    architecture = _text(metadata, "general.architecture")
    told = {key: value for key, value in metadata.items() if key.partition(".")[0] in ("general", architecture)}
    kind, label = _text(metadata, "general.type"), _text(metadata, "general.size_label")
    return Start(architecture, kind, _file_type(metadata), label, parameters, told, whole)


def read_header(file: Path | BinaryIO) -> GgufHeader:
    """Return the header of `file`; raise MalformedHeader with the reason, or OSError when it cannot be read."""
    with open(file, "rb", buffering=0) if isinstance(file, Path) else nullcontext(file) as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        return _parse(Source(stream, size, bytearray()))


def _parse(source: Source) -> GgufHeader:
    version, tensors, keys = read_preamble(source)
    metadata, templates, position = read_metadata(source, keys, 24)
    alignment = _alignment(metadata)
    types, extent, position = read_tensors(source, tensors, position, alignment)
    data_offset = -(-position // alignment) * alignment
    return GgufHeader(
        version=version,
        architecture=_text(metadata, "general.architecture"),
        name=_text(metadata, "general.name"),
        kind=_text(metadata, "general.type"),
        file_type=_file_type(metadata),
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
        chat_templates=tuple(sorted(templates)),
        chat_template=templates[min(templates)] if templates else "",
    )


def _alignment(metadata: Mapping[str, Scalar]) -> int:
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or alignment <= 0 or alignment & (alignment - 1):
        raise MalformedHeader(f"general.alignment is {alignment!r}; expected a power of two")
    return alignment


def _file_type(metadata: Mapping[str, Scalar]) -> int | None:
    file_type = _integer(metadata, "general.file_type")
    return None if file_type is None or file_type & _GUESSED else file_type


def _text(metadata: Mapping[str, Scalar], key: str) -> str:
    value = metadata.get(key, "")
    return value if isinstance(value, str) else ""


def _integer(metadata: Mapping[str, Scalar], key: str) -> int | None:
    value = metadata.get(key)
    return value if type(value) is int else None
