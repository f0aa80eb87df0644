"""Look at the files of a record, bounded, and say what they are: format, quantisation, and what a reader may want."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.detect import VERSION, Detected, MalformedHeader, descend, detect_directory, jsonbound
from reconciler.detect.readme import LIMIT, read_readme
from reconciler.detect.templates import Template, capabilities
from reconciler.detect.tokens import size_label
from reconciler.hashing import hash_bytes
from reconciler.ollama import names
from reconciler.state import ObservedFile, Record, Seen

if TYPE_CHECKING:
    from reconciler.digests import Digests


def examine(record: Record) -> Seen:
    """Return what the files of a record tell, by their headers. Raise OSError or ValueError where nobody can look."""
    if names.from_path(record.home) is not None:
        from reconciler.ollama.detected import detected as of_model

        return Seen(*of_model(record))
    base, paths = where(record)
    detected = detect_directory(base, paths)
    return Seen(detected.format, detected.quant, told_of(detected, *descend(base, paths)))


def recollect(record: Record, files: Iterable[ObservedFile], digests: Digests) -> Seen | None:
    """Return what `examine` does, from the cache while `files` are as they were; None where nothing can be told."""
    said = [VERSION, record.root, record.home, [list(file) for file in files], list(record.links)]
    key = hash_bytes(json.dumps(said).encode())
    with contextlib.suppress(ValueError, TypeError, KeyError):  # what is damaged is one that we do not have
        kept = json.loads(digests.recall(key) or "null")
        if kept is not None:
            return Seen(kept["format"], kept["quant"], kept["told"])
    try:
        seen = examine(record)
    except Exception:  # as in `examined`
        return None
    if "detector" not in seen.told:
        return None
    digests.remember(key, json.dumps(seen._asdict()))
    return seen


def where(record: Record) -> tuple[Path, Sequence[str]]:
    """Return the directory of a record and its files below it, by the names under which a reader finds them."""
    links = {link.path.removeprefix(f"{record.home}/") for link in record.links}
    if links:
        return Path(record.root) / record.home, sorted(links)
    return Path(record.root), [placed.path for placed in record.files]


def examined(record: Record) -> Record:
    """Return a record that says what the bytes tell, else what it said: bad headers make no record false."""
    try:
        seen = examine(record)
    except Exception:  # whatever strangers wrote into their headers: the files are where they belong
        return record
    said = record.attributes
    attributes = replace(said, format=seen.format or said.format, quant=seen.quant or said.quant)
    return replace(record, attributes=attributes, told=seen.told)


def is_current(record: Record) -> bool:
    """Whether a record was made by the detector of this release."""
    return record.told.get("detector") == VERSION


def told_of(detected: Detected, root: Path, paths: Iterable[str]) -> dict[str, Any]:
    """Return what a record keeps of a detection; `root` and `paths` are those of the model's own directory."""
    readme = _readme(root, paths)
    told: dict[str, Any] = {
        "detector": VERSION,
        "kind": detected.kind,
        "architecture": detected.architecture,
        "parameters": detected.parameters,
        "size_label": detected.size_label or size_label(detected.parameters),
        "context_length": detected.context_length,
        "capabilities": capabilities(detected.kind, detected.template),
        "chat_template": _template(detected.template),
        "license": readme.get("license") or detected.license,
        "readme": readme,
    }
    return {key: value for key, value in told.items() if value}


def _template(template: Template | None) -> dict[str, Any] | None:
    if template is None:
        return None
    said = {
        "source": template.source, "path": template.path, "external": list(template.external),
        "embedded": template.embedded,
    }  # fmt: skip
    return {key: value for key, value in said.items() if value}


def _readme(root: Path, paths: Iterable[str]) -> dict[str, Any]:
    """Return what the README at the top of the model's directory tells; {} without one."""
    path = next((path for path in sorted(paths) if path.lower() == "readme.md"), None)
    if path is None:
        return {}
    try:
        with jsonbound.open_regular(root / path) as stream:
            text = stream.read(LIMIT).decode("utf-8", "replace")
    except (MalformedHeader, OSError):
        return {}
    return {"path": path, **read_readme(text)}
