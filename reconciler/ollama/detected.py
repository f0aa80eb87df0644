"""What an installed model of an Ollama store is: as its weights say, else its config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reconciler.detect import VERSION, MalformedHeader, gguf, jsonbound
from reconciler.detect.gguf import GgufHeader
from reconciler.detect.kinds import kind_of
from reconciler.detect.templates import Template, capabilities
from reconciler.ollama import configs, manifests
from reconciler.state import Record

_CONFIG = 1 << 20
"""Bytes; a config has some hundred."""


def detected(record: Record) -> tuple[str | None, str | None, dict[str, Any]]:
    """Return (format, quantisation, what else is told) of a recorded model. Raise OSError, ValueError.

    Nothing is told, not even by which detector, of a model that only its server's API reaches.
    """
    if not record.notes:
        return None, None, {}  # by its server's API: nobody here reads its files
    manifest = manifests.read(record.notes[-1].text.encode())
    config = configs.read(_blob(record, manifests.blob_path(manifest.config.digest)))
    header = _header(record, manifest)
    format_ = config.model_format.lower() or None
    quant = configs.quant_of(config, header.quant if header is not None else None)
    return format_, quant, _told(config, manifest, header)


def _told(config: configs.Config, manifest: manifests.Manifest, header: GgufHeader | None) -> dict[str, Any]:
    kinds = [layer.kind for layer in manifest.layers]
    whole = kinds.count("model") == 1  # a split model has its parameters in all its layers
    architecture = (header.architecture if header else "") or config.model_family
    length = header.metadata.get(f"{header.architecture}.context_length") if header else None
    kind = kind_of((), architecture=architecture, general_type=header.kind if header else "")
    if kind == "llm" and "projector" in kinds:
        kind = "vision-language"
    template = Template("external", "template") if "template" in kinds else None
    if template is None and header is not None and header.chat_templates:
        template = Template("embedded", "model", embedded=True)
    said = {
        "detector": VERSION,
        "kind": kind,
        "architecture": architecture,
        "parameters": header.parameters if header and whole else None,
        "size_label": config.model_type or (header.size_label if header else ""),
        "context_length": config.context_length or (length if type(length) is int else None),
        "capabilities": capabilities(kind, template),
        "chat_template": None if template is None else {"source": template.source, "path": template.path},
        "license": str(header.metadata.get("general.license") or "")[:80] if header else "",
    }
    return {key: value for key, value in said.items() if value}


def _blob(record: Record, path: str) -> bytes:
    noted = next((note.text for note in record.notes if note.path == path), None)
    if noted is not None:
        return noted.encode()
    with Path(record.root, path).open("rb") as file:
        return file.read(_CONFIG)


def _header(record: Record, manifest: manifests.Manifest) -> GgufHeader | None:
    """Return the header of the model's first GGUF file; None where it has none, or a bad one."""
    model = next((layer for layer in manifest.layers if layer.kind == "model"), None)
    if model is None:
        return None
    try:
        with jsonbound.open_regular(Path(record.root, manifests.blob_path(model.digest))) as stream:
            return gguf.read_header(stream)
    except MalformedHeader:
        return None
