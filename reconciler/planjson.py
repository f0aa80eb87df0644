"""A plan as one strict JSON document, the same for `--json` and for `-o FILE`. Pure.

`plan_id` covers what is the same on any machine; `checksum` covers the whole document and tells
damage from a plan. Neither is a signature: apply checks every path and every byte again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from reconciler.artifacts import value_of
from reconciler.plan import Facts, FileRow, Place, Plan, Selection, Step, Stranger
from reconciler.planread import checksum, portable_id
from reconciler.state import Pin

FORMAT_VERSION = "1.0"
"""Major: readers refuse what they do not know. Minor: keys are added, and readers pass over them."""

_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(", ", ": ")).encode

_LISTS = ("steps", "relies_on")
"""Lists that are written one item a line, so that two saved plans compare well."""


def to_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as the JSON document that programs read."""
    document: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "plan_id": "",
        "manifest": {"path": plan.manifest_path, "name": plan.manifest_name, "digest": plan.manifest_digest},
        "lock": {"path": plan.lock_path, "digest": plan.lock_digest},
        "registry": {"path": plan.registry_path, "serial": plan.registry_serial, "curated": plan.curated},
        "locations": {name: _place(place) for name, place in plan.locations.items()},
        "steps": [_step(step) for step in plan.steps],
        "unmanaged": {"files": plan.unmanaged_files, "bytes": plan.unmanaged_bytes},
        "summary": plan.summary._asdict(),
        "resolved": {name: _pin(pin) for name, pin in plan.resolved.items()},
        "selection": _selection(plan.selection),
        "relies_on": [
            [item.location, item.path, None if item.stat is None else list(item.stat)] for item in plan.relies_on
        ],
        "warnings": list(plan.warnings),
        "strangers": [_stranger(stranger) for stranger in plan.strangers],
        "findings": [{**found._asdict(), "address": str(found.address)} for found in plan.findings],
    }
    document["plan_id"] = portable_id(document)
    document["checksum"] = checksum(document)
    return document


def dumps(plan: Plan) -> str:
    """Return the plan as text: strict JSON in ASCII, a key a line and a step a line."""
    parts = []
    for key, value in to_json(plan).items():
        if key in _LISTS and value:
            items = ",\n    ".join(map(_encode, value))
            parts.append(f"  {_encode(key)}: [\n    {items}\n  ]")
        else:
            parts.append(f"  {_encode(key)}: {_encode(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def plan_id(plan: Plan) -> str:
    """Return `sha256:<64 hex>` of what the plan does: the same on any machine for the same inputs.

    Left out is what differs between machines or from minute to minute: paths of manifest, lock, registry and roots,
    ids, devices, free bytes, stats, and the words (not the fact) of a block.
    """
    return portable_id(
        {
            "format_version": FORMAT_VERSION,
            "manifest": {"name": plan.manifest_name, "digest": plan.manifest_digest},
            "lock": {"digest": plan.lock_digest},
            "registry": {"serial": plan.registry_serial},
            "steps": [_step(step) for step in plan.steps],
            "resolved": {name: _pin(pin) for name, pin in plan.resolved.items()},
            "selection": _selection(plan.selection),
        }
    )


def _stranger(stranger: Stranger) -> dict[str, Any]:
    return {**stranger._asdict(), "words": list(stranger.words), "details": list(stranger.details)}


def _selection(selection: Selection) -> dict[str, Any]:
    return {key: list(value) for key, value in zip(("target", "exclude", "allow"), _asked(selection), strict=True)}


def _asked(selection: Selection) -> tuple[tuple[str, ...], ...]:
    return selection.target, selection.exclude, selection.allow


def _place(place: Place) -> dict[str, Any]:
    value: dict[str, Any] = {
        "store": place.store,
        "root": place.root,
        "id": place.id,
        "free_bytes": place.free_bytes,
        "readable": place.readable,
    }
    if place.why:
        value["why"] = place.why
    if place.device:
        value["device"] = place.device
    if place.observed:
        value["observed"] = place.observed
    if place.total_bytes:
        value["total_bytes"] = place.total_bytes
    return value


def _step(step: Step) -> dict[str, Any]:
    value: dict[str, Any] = {
        "address": f"{step.address.variant}@{step.address.location}",
        "action": step.action.value,
        "reason": step.reason,
        "blocked": step.blocked,
        "before": None if step.before is None else _facts(step.before),
        "after": None if step.after is None else _facts(step.after),
        "files": [_row(row) for row in step.files],
        "bytes": {"download": step.bytes.download, "reuse": step.bytes.reuse, "trash": step.bytes.trash},
    }
    if step.trash:
        value["trash"] = [_row(row) for row in step.trash]
    if step.links:
        value["links"] = [{"path": link.path, "target": link.target} for link in step.links]
    if step.notes:
        value["notes"] = [{"path": note.path, "text": note.text} for note in step.notes]
    if step.renamed_from is not None:
        value["renamed_from"] = str(step.renamed_from)
    if step.unlinks:
        value["unlinks"] = [{"path": link.path, "target": link.target} for link in step.unlinks]
    if step.unnotes:
        value["unnotes"] = [{"path": note.path, "text": note.text} for note in step.unnotes]
    if step.entry is not None:
        value["entry"] = _strict(step.entry)
    if step.place is not None:
        value["place"] = step.place
    return value


_RARE = ("origin", "artifact", "support", "url", "replaces", "optional")


def _row(row: FileRow) -> dict[str, Any]:
    path, size, digest, method, *rare = row
    value: dict[str, Any] = {"path": path, "size": size, "digest": digest, "method": method}
    if any(rare):
        value |= {key: each for key, each in zip(_RARE, rare) if each}  # noqa: B905
    return value


def _facts(facts: Facts) -> dict[str, Any]:
    value: dict[str, Any] = {
        "revision": facts.revision,
        "format": facts.format,
        "quant": facts.quant,
        "path": facts.path,
        "roles": dict(facts.roles),
    }
    for key in ("source", "backend", "served_as", "license", "support"):
        if (text := getattr(facts, key)) is not None:
            value[key] = text
    for key in ("protect", "gated"):
        if getattr(facts, key):
            value[key] = True
    for key in ("metadata", "modelfile", "told"):
        if said := getattr(facts, key):
            value[key] = _strict(said)
    return value


def _pin(pin: Pin) -> dict[str, Any]:
    value: dict[str, Any] = {"source": pin.source, "revision": pin.revision, "license": pin.license}
    if pin.support is not None:
        value["support"] = {"source": pin.support.source, "revision": pin.support.revision}
    if pin.about:
        value["about"] = _strict(pin.about)
    value["files"] = [value_of(file) for file in pin.files]
    return value


def _strict(value: Any) -> Any:
    """Return `value` as JSON can hold it: a number that is none (NaN, infinity) becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _strict(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
