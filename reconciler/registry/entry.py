"""A record as an entry that the programs around us can read, and the records among entries. Pure.

The field names are those of ImageWorks (https://github.com/mrpid12org/imageworks); what serving tools read stands
at the top level, the truth in `metadata.reconciler`. What others have added to an entry of ours stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from reconciler.ollama import names
from reconciler.registry.block import decode, encode
from reconciler.registry.facts import metadata_of, with_facts
from reconciler.registry.jsontext import Entry
from reconciler.state import Address, Record

BLOCK = "reconciler"
_NOTHING: tuple[object, ...] = (None, "", "None", [])
HIGHEST = 100


class Key(NamedTuple):
    """What tells entries of ours apart: the manifest that declares the variant, and its address."""

    manifest: str
    address: Address


def block_of(entry: Entry) -> object | None:
    """Return the block of ours in `entry`, as it stands; None for an entry of somebody else."""
    metadata = entry.get("metadata")
    return metadata.get(BLOCK) if isinstance(metadata, Mapping) else None


def key_of(entry: Entry) -> Key | None:
    """Return whose entry it is; None when it is not ours, or cannot be told."""
    block = block_of(entry)
    if not isinstance(block, Mapping):
        return None
    manifest, address = block.get("manifest"), block.get("address")
    if not isinstance(manifest, str) or not isinstance(address, str):
        return None
    variant, _, location = address.rpartition("@")
    return Key(manifest, Address(variant, location))


def root_of(entry: Entry) -> object:
    """Return the root of the location under which an entry of ours was recorded; None where it is not ours."""
    block = block_of(entry)
    return block.get("root") if isinstance(block, Mapping) else None


def priority(position: int) -> int:
    """Return the number that readers compare (the highest wins) for a position in the manifest's order, 1 first."""
    return max(1, HIGHEST + 1 - position)


def free_name(record: Record, taken: Mapping[str, object] | set[str]) -> str:
    """Return the name of a new entry: the variant's, or one that says more when others have that."""
    variant, location = record.address
    for name in (variant, f"{variant}@{location}", f"{variant}@{location}#{record.manifest}"):
        if name not in taken:
            return name
    number = 2
    while f"{variant}@{location}#{record.manifest}#{number}" in taken:
        number += 1
    return f"{variant}@{location}#{record.manifest}#{number}"


def render(record: Record, name: str, old: Entry | None, downloaded_at: str | None) -> Entry:
    """Return the entry of `record`; fields of `old` that are not ours are kept, in their places."""
    was = _record_before(old)
    ours = _ours(record, name)
    ours["backend"] = _backend(record, was, old)
    entry = {key: value for key, value in (old or {}).items() if key not in _FIELDS or key in ours}
    entry.update(ours)
    entry.setdefault("deprecated", False)
    if old is not None and block_of(old) is None:
        entry["deprecated"] = False  # somebody else's, taken over: what is declared is wanted
    there = (old or {}).get("backend_config")
    config = dict(there) if isinstance(there, Mapping) else {}
    config.pop("model_path", None)
    entry["backend_config"] = {"model_path": ours["download_path"], **config} if "download_path" in ours else config
    if downloaded_at is not None:
        entry["downloaded_at"] = downloaded_at
    with_facts(entry, record, was, old or {})
    entry["metadata"] = _metadata(record, was, old)
    return entry if old is None or entry != old else old


def misstatements(record: Record, entry: Entry) -> dict[str, tuple[Any, Any]]:
    """Return the fields of ours in which an entry is not as `render` wrote it: what it says, and what it should.

    Null and absent are the same: other programs write every field that they know. A backend is theirs to say while the
    manifest says none.
    """
    right = _ours(record, entry["name"])
    if not record.attributes.backend and entry.get("backend"):
        right["backend"] = entry["backend"]
    return {field: (entry.get(field), right.get(field)) for field in _FIELDS if entry.get(field) != right.get(field)}


def _backend(record: Record, was: Record | None, old: Entry | None) -> str:
    """Return what serves it: as declared, else as others say who have not taken it from us."""
    if record.attributes.backend:
        return record.attributes.backend
    there = (old or {}).get("backend")
    is_theirs = isinstance(there, str) and there not in ("", "None")
    if is_theirs and not (was is not None and was.attributes.backend == there):
        return str(there)
    return "ollama" if names.from_path(record.home) is not None else "unassigned"


_FIELDS = frozenset({
    "name", "display_name", "backend", "quantization", "family", "source", "source_provider", "served_model_id",
    "roles", "role_priority", "license", "download_format", "download_location", "download_path",
    "download_size_bytes", "download_files",
})  # fmt: skip


def _ours(record: Record, name: str) -> dict[str, Any]:
    said = record.attributes
    provider = _provider(record.pin.source)
    # From the first to the last in order of preference, so that a reader of the list alone prefers the same.
    roles = sorted(said.roles, key=lambda role: (role[1], role[0]))
    fields: dict[str, Any] = {
        "name": name,
        "display_name": record.address.variant,
        "backend": said.backend or "unassigned",
        "backend_config": {},
        "capabilities": None,
        "quantization": said.quant,
        "family": _family(record.pin.source, provider),
        "source": _source(record, provider),
        "source_provider": provider,
        "served_model_id": said.served_as or _tag(record),
        "roles": [role for role, _ in roles],
        "role_priority": {role: priority(position) for role, position in roles},
        "license": said.license or record.pin.license or record.told.get("license"),
        "deprecated": None,
        "download_format": said.format,
        "download_location": record.address.location,
        "download_path": str(PurePosixPath(record.root, record.home)) if record.root else None,
        "download_size_bytes": sum([file.size for file in record.files]),
        "download_files": _names(record),
    }
    return {key: value for key, value in fields.items() if value is not None}


def _tag(record: Record) -> str | None:
    """Return the name by which an Ollama serves a model of its store; None for other records."""
    name = names.from_path(record.home)
    return name.short if name is not None else None


def _metadata(record: Record, was: Record | None, old: Entry | None) -> dict[str, Any]:
    there = (old or {}).get("metadata")
    before = dict(there) if isinstance(there, Mapping) else {} if there in _NOTHING else {"metadata": there}
    block = before.pop(BLOCK, None)
    if isinstance(block, Mapping):
        said = {**block.get("attributes", {}).get("metadata", {}), **(metadata_of(was) if was is not None else {})}
        before = {key: value for key, value in before.items() if key not in said}
    return {**before, **metadata_of(record), **record.attributes.metadata, BLOCK: encode(record)}


def _record_before(old: Entry | None) -> Record | None:
    """Return the record of which an entry was made; None where it is not ours, or nobody can read it."""
    block = block_of(old) if old is not None else None
    try:
        return None if block is None else decode(block)
    except ValueError:
        return None


def _provider(source: str) -> str:
    if source.startswith("urn:air:"):
        return "civitai"
    return source.partition(":")[0] or "unknown"


def _source(record: Record, provider: str) -> dict[str, str]:
    source = record.pin.source
    if provider == "hf":
        return {"huggingface_id": source.removeprefix("hf:").partition("@")[0]}
    return {"reference": source}


def _family(source: str, provider: str) -> str | None:
    if provider not in ("hf", "ollama"):
        return None
    path = source.partition(":")[2].partition("@")[0]
    return path.rpartition("/")[2].partition(":")[0].lower() or None


def _names(record: Record) -> list[str]:
    home = record.home.rstrip("/") + "/"
    if [file.path for file in record.files] == [record.home]:
        return [record.home.rpartition("/")[2]]
    return [file.path.removeprefix(home) for file in record.files]
