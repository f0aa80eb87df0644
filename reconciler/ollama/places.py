"""What was seen of an Ollama as a location: its store as a directory, or what its server lists."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from zlib import crc32

from reconciler.ollama import manifests, names
from reconciler.ollama.fitting import MANIFEST
from reconciler.ollama.look import Seen
from reconciler.ollama.storage import Stored, orphans, read_store
from reconciler.state import Artifact, Digest, Note, ObservedFile, ObservedLocation, Placed, Record, Trashed

TRASH = "reconciler-trash"
"""The namespace under which a server that we reach by its API alone keeps what was removed."""


def with_index(place: ObservedLocation, seen: Seen | None) -> ObservedLocation:
    """Add to an observed store directory what its manifests say: who names which blob, and what nobody names."""
    if not place.readable:
        return place
    stored = seen.stored if seen is not None and seen.stored is not None else read_store(Path(place.root))
    mode, warnings = (seen.mode, seen.warnings) if seen is not None else ("store-only", ())
    return replace(
        place,
        observed=mode,
        users=_users(stored, place),
        orphans=orphans(stored, place.files, time.time()),
        told=_told(stored, place),
        read_only=_read_only(place, seen),
        warnings=(*place.warnings, *(f"{place.name}: {warning}" for warning in warnings)),
    )


def served(name: str, url: str, seen: Seen | None) -> ObservedLocation:
    """Return what a server lists as a location: a file for every model, whose digest is the model's."""
    place = ObservedLocation(name, "ollama", url, observed="api-only")
    if seen is None or not seen.api:
        why = seen.why_no_api if seen is not None else "it was not asked"
        return replace(place, observed="", readable=False, exists=False, why=why)
    files: dict[str, ObservedFile] = {}
    told: dict[str, Digest] = {}
    trash: list[Trashed] = []
    for model in seen.listed:
        try:
            full = names.parse(model.name)
        except ValueError:
            continue  # a name that only other versions know: shown by the server, nothing that we could ask for
        if full.namespace == TRASH:
            trash.append(_trashed(full, model.size, model.digest))
            continue
        files[full.path] = ObservedFile(full.path, model.size, 0, inode_of(model.digest), -1)
        told[full.path] = model.digest
    warnings = tuple(f"{name}: {warning}" for warning in seen.warnings)
    # A device of its own: no bytes of another place can be linked here.
    device = crc32(url.encode()) | 1 << 62
    return replace(
        place, observed=seen.mode, files=files, told=told, trash=tuple(trash), warnings=warnings, device=device
    )


def translated(record: Record, place: ObservedLocation) -> Record:
    """Return a record of this location, made when it was reached in another way, as it reads now.

    By the API a model is one file, its manifest, as large as the model; in the store it is blobs and a note.
    """
    if place.by_api:
        return _as_listed(record, place.root) if record.notes else replace(record, root=place.root)
    (placed, *more) = record.files or (None,)
    if placed is None or more or placed.artifact != MANIFEST:
        return replace(record, root=place.root)
    here = replace(record, root=place.root)
    try:
        data = Path(place.root, placed.path).read_bytes()[: manifests.LARGEST]
        named = manifests.pin_of(record.pin.source, data).files
    except (OSError, ValueError):
        return here
    if manifests.digest_of(data) != placed.digest:
        return here  # somebody has changed it, and what it named is not known any more
    files = (_placed(artifact, place) for artifact in named if manifests.blob_path(artifact.digest) in place.files)
    return replace(here, files=tuple(files), notes=(Note(placed.path, data.decode()),))


def _as_listed(record: Record, url: str) -> Record:
    path, text = record.notes[-1]
    data = text.encode()
    digest = manifests.digest_of(data)
    placed = Placed(path, manifests.read(data).size, digest, 0, inode_of(digest), MANIFEST)
    return replace(record, root=url, files=(placed,), notes=(), links=())


def _placed(artifact: Artifact, place: ObservedLocation) -> Placed:
    file = place.files[manifests.blob_path(artifact.digest)]
    # Nobody has read it: a time that no file has makes the next reader look.
    return Placed(file.path, artifact.size, artifact.digest, -1, 0, artifact.path)


def inode_of(digest: str) -> int:
    """Return what stands for the inode of a model that only its server sees: one that changed has another."""
    return int(digest.partition(":")[2][:15], 16)


def trash_name(model: str, generation: int, number: int, since: int) -> str:
    """Return the name under which a server keeps a removed model; `since` in unix seconds. `served` reads it back."""
    return f"{TRASH}/{model}:g{generation:06d}-{number:06d}-{since}"


def _trashed(name: names.Name, size: int, digest: Digest) -> Trashed:
    generation, _, rest = name.tag.removeprefix("g").partition("-")
    since = rest.partition("-")[2]
    known = generation.isdecimal() and since.isdecimal()
    return Trashed(
        name.short, name.path, size, digest, float(since) if known else time.time(), int(generation) if known else 0, ""
    )


def _users(stored: Stored, place: ObservedLocation) -> Mapping[str, frozenset[str]]:
    """Return who names which blob; what hides its content may name every one."""
    hidden = frozenset(broken.path for broken in stored.broken if broken.hides)
    if not hidden:
        return stored.users
    return {path: stored.users.get(path, frozenset()) | hidden for path in place.files if path.startswith("blobs/")}


def _read_only(place: ObservedLocation, seen: Seen | None) -> str:
    if seen is None or seen.writable:
        return ""
    return f"{place.root} cannot be written by you, and the server does not answer (start it, or ask its owner)"


def _told(stored: Stored, place: ObservedLocation) -> dict[str, Digest]:
    return {
        model.path: model.digest
        for model in stored.models
        if model.path in place.files and place.files[model.path].mtime_ns == model.mtime_ns
    }
