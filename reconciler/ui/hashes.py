"""The short hashes by which image people name files: AutoV1, AutoV2, AutoV3. Pure over an open file.

| name | of what | digits |
|---|---|---|
| AutoV1 | SHA256 of 64 KiB at 1 MiB: two files may share it | 8 |
| AutoV2 | SHA256 of the file | 10 |
| AutoV3 | SHA256 of a safetensors file behind its header: the tensors alone | 12 |

https://developer.civitai.com/docs/api/public-rest. A program that writes notes into the header of a safetensors file
(SwarmUI does) changes SHA256 and AutoV2, and leaves AutoV3.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Literal, NamedTuple

_CHUNK = 1 << 20
_LONGEST_HEADER = 100_000_000
"""Bytes; what the safetensors library itself takes."""

Kinship = Literal["same", "rewritten", "other", "unknown"]


class Hashes(NamedTuple):
    """Names of a file in lower-case hex; `autov3` is '' for what is not safetensors, `autov1` for short files."""

    sha256: str
    autov1: str = ""
    autov3: str = ""

    @property
    def autov2(self) -> str:
        """The first ten digits of the SHA256."""
        return self.sha256[:10]

    def named(self) -> dict[str, str]:
        """Return name -> digits, as catalogues name them, without those that there are not."""
        found = {"sha256": self.sha256, "autov1": self.autov1, "autov2": self.autov2, "autov3": self.autov3}
        return {name: digits for name, digits in found.items() if digits}


def read(file: BinaryIO) -> Hashes:
    """Read a file, open in binary at any position, once, and return its hashes; OSError passes through."""
    begins = data_of(file)
    file.seek(0)
    whole, data, window = hashlib.sha256(), hashlib.sha256(), bytearray()
    position = 0
    for chunk in _chunks(file):
        whole.update(chunk)
        if begins is not None and position + len(chunk) > begins:
            data.update(chunk[max(0, begins - position) :])
        if position < 0x110000 and position + len(chunk) > 0x100000:
            window += chunk[max(0, 0x100000 - position) : 0x110000 - position]
        position += len(chunk)
    return Hashes(
        whole.hexdigest(),
        hashlib.sha256(window).hexdigest()[:8] if window else "",
        data.hexdigest()[:12] if begins is not None else "",
    )


def data_of(file: BinaryIO) -> int | None:
    """Return where the tensors of a safetensors file begin, in bytes; None when it is none.

    Eight bytes say how long the header is, which is a JSON object: https://huggingface.co/docs/safetensors.
    """
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= _LONGEST_HEADER:
        return None
    header = file.read(length)
    if len(header) != length or header[:1] != b"{":
        return None
    try:
        return 8 + length if isinstance(json.loads(header), dict) else None
    except (ValueError, RecursionError):
        return None


def kinship(claimed: Mapping[str, str], found: Mapping[str, str]) -> Kinship:
    """Tell what two sets of names say of two files: name (lower case) -> digits in any case.

    `rewritten` says that the tensors are equal and the header is not: somebody's notes were written into it.
    """
    one = {name: digits.lower() for name, digits in claimed.items()}
    two = {name: digits.lower() for name, digits in found.items()}
    for name in ("sha256", "blake3", "autov2"):
        mine, theirs = one.get(name) or _short(one, name), two.get(name) or _short(two, name)
        if mine and theirs:
            if mine == theirs:
                return "same"
            third, other = one.get("autov3"), two.get("autov3")
            return "rewritten" if third and third[:12] == (other or "")[:12] else "other"
    return "unknown"


def _short(names: Mapping[str, str], name: str) -> str:
    return names.get("sha256", "")[:10] if name == "autov2" else ""


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk
