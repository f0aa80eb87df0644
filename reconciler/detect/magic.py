"""Tell when a file is not what its name says, by its first bytes."""

from __future__ import annotations

from pathlib import Path

from reconciler.detect.jsonbound import open_regular
from reconciler.detect.malformed import MalformedHeader

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file it points to"),
    (b"PK\x03\x04", "a zip archive (a PyTorch pickle, perhaps)"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x7fELF", "an ELF program"),
    (b"MZ", "a Windows program"),
    (b"\xcf\xfa\xed\xfe", "a macOS program"),
    (b"\xca\xfe\xba\xbe", "a macOS program"),
    (b"#!", "a script"),
    (b"\x89HDF", "an HDF5 file"),
    (b"%PDF", "a PDF document"),
)
_PROTOCOLS = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))


def sniff(head: bytes) -> str | None:
    """Return what the first bytes of a file say it is, when it is something that weights never are."""
    for magic, what in _MAGIC:
        if head.startswith(magic):
            return what
    if head.startswith(_PROTOCOLS):
        return "a Python pickle"
    text = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<script")):
        return "a web page"
    if text.startswith((b'{"error', b"{'error", b'{"message"', b"access to model", b"entry not found", b"invalid")):
        return "an error message"
    return None


def check_magic(path: Path) -> str | None:
    """Return why the content of a `.gguf` or `.safetensors` file contradicts its name; None when it does not.

    Other names are not judged. Raise OSError when the file cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix not in (".gguf", ".safetensors"):
        return None
    try:
        with open_regular(path) as stream:
            head = stream.read(512)
    except MalformedHeader as error:
        return str(error)
    if not head:
        return "an empty file"
    what = _contradiction(suffix, head)
    return f"{what}, named {suffix}" if what else None


def _contradiction(suffix: str, head: bytes) -> str | None:
    if suffix == ".gguf":
        if head.startswith(b"GGUF"):
            return None
        return sniff(head) or (_other(head) if len(head) >= 4 else f"only {len(head)} bytes")
    if head.startswith(b"GGUF"):
        return "a GGUF file"
    # Eight bytes of length, of which the format allows 100 MB; the ninth opens the JSON.
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= 100_000_000:
        return None
    return sniff(head) or "no safetensors header"


def _other(head: bytes) -> str:
    return "a safetensors file" if head[8:9] == b"{" else f"starts with {head[:4]!r}"
