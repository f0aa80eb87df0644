"""What the bytes of a record told, as the fields of an entry that the programs around us read. Pure.

The names are those of ImageWorks (https://github.com/mrpid12org/imageworks): `capabilities`, `chat_template`,
`artifacts`, and in `metadata` what its normaliser writes there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from reconciler.state import Record

_CAPABILITIES = ("text", "vision", "audio", "embedding", "tools", "thinking")
_ALSO = {"thinking": ("reasoning",)}


def with_facts(entry: dict[str, Any], record: Record, was: Record | None, old: Mapping[str, Any]) -> None:
    """Write into `entry` what the record's bytes told. `old` is the entry as it was, made of the record `was`.

    What others wrote stays, where it is not what we had written: a template that somebody chose, a capability that
    somebody tried.
    """
    entry["capabilities"] = _capabilities(record.told, was.told if was is not None else {}, old.get("capabilities"))
    template = _template(record)
    chosen = old.get("chat_template")
    is_chosen = isinstance(chosen, Mapping) and chosen.get("source") not in (None, "none")
    is_ours = was is not None and chosen == _template(was)
    if template is not None and (is_ours or not is_chosen):
        entry["chat_template"] = template
    elif is_ours:
        entry.pop("chat_template", None)
    if isinstance(old.get("artifacts"), Mapping):  # only where a reader has asked for it: it repeats every digest
        entry["artifacts"] = {**old["artifacts"], **_artifacts(record)}
    listed = old.get("download_files")
    names = sorted(map(str, listed)) if isinstance(listed, (list, tuple)) else []
    same = (old.get("download_size_bytes"), names) == (
        entry.get("download_size_bytes"), sorted(entry.get("download_files", ()))
    )  # fmt: skip
    if "download_directory_checksum" in entry and not same:
        del entry["download_directory_checksum"]  # of names and sizes that are others now


def metadata_of(record: Record) -> dict[str, Any]:
    """Return the keys of `metadata` that the facts of a record make."""
    told = record.told
    template, readme = told.get("chat_template", {}), told.get("readme", {})
    external = template.get("external", [])
    signals = {
        "quant_schemes": readme.get("quants"), "quant_details": readme.get("details"),
        "backends": readme.get("backends"), "license_hint": readme.get("license") or readme.get("license_hint"),
    }  # fmt: skip
    said: dict[str, Any] = {
        "kind": told.get("kind"),
        "parameter_size": told.get("size_label"),
        "context_length": told.get("context_length"),
        "readme_file": readme.get("path"),
        "readme_sha256": _sha256(record, readme.get("path")),
        "readme_signals": {key: value for key, value in signals.items() if value} or None,
    }
    if template:
        said |= {
            "has_chat_template": template.get("source") != "missing",
            "has_embedded_chat_template": bool(template.get("embedded")) or template.get("source") == "embedded",
            "external_chat_template_files": external or None,
            "primary_chat_template_file": external[0] if external else None,
            "primary_chat_template_sha256": _sha256(record, external[0]) if external else None,
        }
    return {key: value for key, value in said.items() if value is not None}


def _capabilities(told: Mapping[str, Any], old_told: Mapping[str, Any], there: Any) -> dict[str, Any]:
    kept = dict(there) if isinstance(there, Mapping) else {}
    ours = _flags(told)
    for key in _flags(old_told):
        if key not in ours and kept.get(key) is True:
            del kept[key]
    return {**kept, **dict.fromkeys(ours, True)}


def _flags(told: Mapping[str, Any]) -> list[str]:
    said = told.get("capabilities", ())
    return [flag for word in _CAPABILITIES if word in said for flag in (word, *_ALSO.get(word, ()))]


def _template(record: Record) -> dict[str, Any] | None:
    told = record.told.get("chat_template")
    if not told:
        return None
    if told["source"] == "missing":
        return {"source": "none", "path": None, "sha256": None}
    if told["source"] == "embedded" or not told.get("external"):
        return {"source": told["source"], "path": None, "sha256": None}
    path = told["path"]
    return {"source": "external", "path": _absolute(record, path), "sha256": _sha256(record, path)}


def _absolute(record: Record, path: str) -> str:
    found = next((placed.path for placed in record.files if _is_at(placed.path, placed.artifact, path)), None)
    return str(PurePosixPath(record.root, found or f"{record.home}/{path}"))


def _sha256(record: Record, path: str | None) -> str | None:
    """Return the hex digits of a file's sha256, where the record has it; small files may be known by another digest."""
    for placed in record.files if path else ():
        if path and _is_at(placed.path, placed.artifact, path) and placed.digest.startswith("sha256:"):
            return placed.digest.removeprefix("sha256:")
    return None


def _is_at(placed: str, artifact: str, path: str) -> bool:
    return path in (artifact, placed) or placed.endswith(f"/{path}")


def _artifacts(record: Record) -> dict[str, Any]:
    """Return the inventory as ImageWorks keeps it: digests by path, and one of them all where every file has one."""
    home = record.home.rstrip("/") + "/"
    known = [(placed.path.removeprefix(home), placed.digest) for placed in record.files]
    files = sorted((path, digest.removeprefix("sha256:")) for path, digest in known if digest.startswith("sha256:"))
    whole = len(files) == len(known)
    lines = "\n".join(sorted(f"{digest}  {path}" for path, digest in files))
    return {
        "aggregate_sha256": hashlib.sha256(lines.encode()).hexdigest() if whole else None,
        "files": [{"path": path, "sha256": digest} for path, digest in files],
    }
