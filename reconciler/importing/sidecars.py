"""What the notes beside a model claim of it: numbers of Civitai, digests. Claims only, until the bytes agree."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.ui.filenames import civitdl_of, split

ENDINGS = (".civitai.info", ".metadata.json", ".cm-info.json")
"""Of Civitai's helpers, LoRA-Manager and Stability Matrix, in the order in which they are believed."""
_LARGEST = 4 << 20


class Claim(NamedTuple):
    """What somebody wrote of a file; numbers are 0 and texts '' where nobody did. Digests in lower-case hex."""

    by: str = ""
    model: int = 0
    version: int = 0
    sha256: str = ""
    autov3: str = ""
    about: Mapping[str, Any] = {}
    name: str = ""
    """The upstream name of the file."""


def claim_of(path: Path) -> Claim:
    """Return what is claimed of the model at `path`: by the notes beside it, else by its own name.

    A note that cannot be read claims nothing.
    """
    stem = split(path.name)[0]
    for ending in ENDINGS:
        note = path.with_name(stem + ending)
        found = _read(note, ending, path.name)
        if found.version or found.sha256:
            return found
    told = civitdl_of(path.name)
    return Claim("its name", int(told[0]), int(told[1])) if told else Claim()


def _read(note: Path, ending: str, name: str) -> Claim:
    try:
        with open(note, "rb") as file:
            value = json.loads(file.read(_LARGEST + 1)[:_LARGEST])
    except (OSError, ValueError, RecursionError):
        return Claim()
    if not isinstance(value, dict):
        return Claim()
    if ending == ".cm-info.json":
        hashes = _map(value.get("Hashes"))
        return Claim(note.name, _number(value.get("ModelId")), _number(value.get("VersionId")), _hex(hashes, "SHA256"))
    version = _map(value.get("civitai")) if ending == ".metadata.json" else value
    model, version_id = _number(version.get("modelId")), _number(version.get("id"))
    entry = _file(version, name)
    hashes = _map(entry.get("hashes"))
    sha256 = _hex(value, "sha256") or _hex(hashes, "SHA256")
    autov3 = _hex(value, "autov3") or _hex(hashes, "AutoV3")
    return Claim(
        note.name, model, version_id, sha256, autov3[:12], _about(version, model, version_id), _text(entry, "name")
    )


def _file(version: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the entry of the file: the one of its name, else the primary one, else the first."""
    told = version.get("files")
    files = [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []
    exact = [each for each in files if each.get("name") == name]
    return next(iter([*exact, *(each for each in files if each.get("primary") is True), *files]), {})


def _about(version: Mapping[str, Any], model: int, number: int) -> dict[str, Any]:
    owner = _map(version.get("model"))
    words = version.get("trainedWords")
    facts: dict[str, Any] = {
        "model": _text(owner, "name"),
        "model_id": model,
        "version": _text(version, "name"),
        "version_id": number,
        "type": _text(owner, "type"),
        "base_model": _text(version, "baseModel"),
        "trained_words": [word for word in words if isinstance(word, str)] if isinstance(words, list) else [],
        "air": _text(version, "air"),
    }
    return {key: value for key, value in facts.items() if value not in ("", [], 0)}


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 63 else 0


def _text(value: Mapping[str, Any], key: str) -> str:
    return value[key][:1000] if isinstance(value.get(key), str) else ""


def _hex(value: Mapping[str, Any], key: str) -> str:
    text = _text(value, key).strip().lower()
    return text if text and all(digit in "0123456789abcdef" for digit in text) else ""
