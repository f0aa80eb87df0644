"""What an installed model of an Ollama store is: format and quantisation, as its config says, else its weights."""

from __future__ import annotations

from pathlib import Path

from reconciler.ollama import configs, manifests
from reconciler.state import Record

_CONFIG = 1 << 20
"""Bytes; a config has some hundred."""


def detected(record: Record) -> tuple[str | None, str | None]:
    """Return (format, quantisation) of a recorded model, None for what nothing tells. Raise OSError, ValueError."""
    if not record.notes:
        return None, None  # by its server's API: nobody here reads its files
    manifest = manifests.read(record.notes[-1].text.encode())
    config = configs.read(_blob(record, manifests.blob_path(manifest.config.digest)))
    format_ = config.model_format.lower() or None
    quant = config.file_type.lower()
    if quant in ("", "unknown"):
        return format_, _of_weights(record, manifest)
    return format_, quant


def _blob(record: Record, path: str) -> bytes:
    noted = next((note.text for note in record.notes if note.path == path), None)
    if noted is not None:
        return noted.encode()
    with Path(record.root, path).open("rb") as file:
        return file.read(_CONFIG)


def _of_weights(record: Record, manifest: manifests.Manifest) -> str | None:
    from reconciler.detect import gguf, jsonbound

    model = next((layer for layer in manifest.layers if layer.kind == "model"), None)
    if model is None:
        return None
    with jsonbound.open_regular(Path(record.root, manifests.blob_path(model.digest))) as stream:
        quant = gguf.read_header(stream).quant
    return quant.lower() if quant else None
