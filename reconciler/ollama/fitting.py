"""Fit a desired variant to the Ollama that was seen: names that are there, and what a server alone can hold. Pure."""

from __future__ import annotations

from dataclasses import replace

from reconciler.ollama import manifests, names
from reconciler.state import Artifact, Desired, Layout, Note, ObservedLocation, Placement, Record

MANIFEST = "manifest"
"""Name of the one artifact of a variant where only the server's API reaches."""


def fit(wanted: Desired, place: ObservedLocation, record: Record | None) -> Desired:
    """Return a variant as an Ollama location holds it.

    In a store directory its manifest keeps the spelling of the name that is there: case means nothing to the server.
    Where only the API reaches, it is one file, the manifest, whose size is that of the model. `record` is the variant's
    own: what a server once made of a template and the like is known from it alone.
    """
    if not wanted.layout.notes:
        return wanted
    wanted = _respelt(wanted, place)
    return _by_api(wanted, record) if place.by_api else wanted


def _respelt(wanted: Desired, place: ObservedLocation) -> Desired:
    manifest = wanted.layout.notes[-1]
    if manifest.path in place.files or manifest.path in place.links:
        return wanted
    key = manifest.path.lower()
    there = next((path for path in (*place.files, *place.links) if path.lower() == key and names.from_path(path)), None)
    if there is None:
        return wanted
    layout = wanted.layout
    notes = (*layout.notes[:-1], Note(there, manifest.text))
    return replace(wanted, layout=replace(layout, home=there, notes=notes))


def _by_api(wanted: Desired, record: Record | None) -> Desired:
    manifest = wanted.layout.notes[-1]
    data = manifest.text.encode()
    digest, size = manifests.digest_of(data), manifests.read(data).size
    blocked = wanted.blocked
    if not wanted.pin.source.startswith("ollama:"):
        blocked = blocked or (
            "only the server's API reaches this store, and it would write the GGUF anew (name the store's directory "
            "with `models` where you can write it, or take `source: ollama:hf.co/OWNER/REPO:QUANT`)"
        )
    elif wanted.attributes.modelfile and record is not None and _is_made_of(record, wanted):
        digest, size = record.files[0].digest, record.files[0].size
    artifact = Artifact(MANIFEST, size, digest)
    layout = Layout(manifest.path, (Placement(manifest.path, artifact),))
    return replace(wanted, layout=layout, blocked=blocked)


def _is_made_of(record: Record, wanted: Desired) -> bool:
    same = record.pin.revision == wanted.pin.revision and record.attributes.modelfile == wanted.attributes.modelfile
    return same and len(record.files) == 1 and record.files[0].artifact == MANIFEST
