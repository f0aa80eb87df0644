"""Records and entries of models in an Ollama store: what their blobs tell, tags taken for paths, double entries."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import ollama_box_kit
import ollama_kit
import pytest
from ollama_box_kit import Box, closed_store

from reconciler import registry as registries

either, registry, box = ollama_kit.either, ollama_box_kit.registry, ollama_box_kit.box
LAYER = "registry/model_registry.discovered.json"


def entries(box: Box) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((box.path / LAYER).read_bytes())
    return found


def others(box: Box, *more: dict[str, Any]) -> None:
    """Write entries of somebody else behind those that are there."""
    path = box.path / LAYER
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([*(entries(box) if path.exists() else ()), *more], indent=2))


def words(box: Box) -> dict[str, list[str]]:
    return {stranger["name"]: stranger["words"] for stranger in box.plan()["strangers"]}


def test_what_the_blobs_of_a_model_tell_stands_in_its_entry(box: Box) -> None:
    box.declare({"tiny": {}})
    box.applied()
    [entry] = entries(box)
    told = entry["metadata"]["reconciler"]["told"]
    assert (entry["quantization"], entry["download_format"], told["kind"]) == ("q4_k_m", "gguf", "llm")
    assert told["architecture"] == "llama"
    assert told["parameters"] > 0
    assert told["chat_template"]["source"] == "external"
    assert entry["capabilities"] == {"text": True}


def test_a_record_of_an_older_release_is_looked_at_again_once(box: Box) -> None:
    box.declare({"tiny": {}})
    box.applied()
    with registries.locked(box.path / "registry"):
        now = registries.load(box.path / "registry")
        [record] = registries.records(now)
        registries.save(registries.with_records(now, [replace(record, told={})]))
    [step] = box.steps().values()
    assert (step["action"], step["reason"]) == ("normalize", "metadata")
    box.applied()


def test_behind_a_server_nothing_is_told_and_nothing_is_asked_again(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    closed_store(monkeypatch)
    box.by_api = True
    box.declare({"tiny": {}})
    box.applied()
    [entry] = entries(box)
    assert "told" not in entry["metadata"]["reconciler"]


def test_a_tag_that_was_taken_for_a_path_is_taken_over_by_the_variant_of_that_model(box: Box) -> None:
    box.declare({"tiny": {"served_as": "tiny:v1"}})
    others(
        box,
        {"name": "tiny_(Q4_K_M)", "backend": "ollama", "download_path": "ollama:/tiny:v1", "port": 1},
        {"name": "tiny_8b_(Q4_K_M)", "backend": "ollama", "served_model_id": "TINY:v1"},
        {"name": "alice", "backend": "ollama", "served_model_id": "alice/tiny:v1"},
    )
    assert words(box) == {
        "tiny_(Q4_K_M)": ["declared", "gone", "ollama-path"],
        "tiny_8b_(Q4_K_M)": ["duplicate", "gone"],
        "alice": ["gone"],
    }
    box.applied()
    [ours, *_] = entries(box)
    assert (ours["name"], ours["port"], ours["download_path"].startswith("/")) == ("tiny", 1, True)
    assert words(box) == {"tiny_8b_(Q4_K_M)": ["duplicate"], "alice": ["gone"]}


def test_entries_of_removed_tags_are_pruned_where_the_policy_says_so(box: Box) -> None:
    box.declare({"tiny": {}}, policy={"stale_records": "prune"})
    box.applied()
    name = next(iter(box.listed()))
    others(
        box,
        {"name": "there", "backend": "ollama", "served_model_id": name, "quantization": "x"},
        {"name": "removed", "backend": "ollama", "download_path": "ollama://llama3:8b"},
    )
    assert {step["address"]: step["reason"] for step in box.steps().values()} == {
        "there@.registry": "duplicate-record",
        "removed@.registry": "stale-record",
    }
    before = box.listed()
    box.applied()
    assert box.listed() == before
    assert [entry["name"] for entry in entries(box)] == ["tiny"]


def test_while_the_store_is_away_no_entry_is_gone(box: Box) -> None:
    box.declare({"tiny": {}}, policy={"stale_records": "prune"})
    box.applied()
    others(box, {"name": "removed", "backend": "ollama", "download_path": "ollama://llama3:8b"})
    box.models.rename(box.path / "unplugged")
    box.server = None
    box.declare({"tiny": {}}, policy={"stale_records": "prune"})
    assert words(box) == {"removed": ["unreachable"]}
    assert box.plan()["summary"]["prune"] == 0
