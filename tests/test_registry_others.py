"""Entries of others: which speak of the same files as a record, what is taken over, what stays as somebody wrote it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from registry_kit import DISCOVERED_ENTRIES, record, somebody_elses

from reconciler.registry import (
    CURATED,
    DISCOVERED,
    Change,
    changes,
    layer_before,
    load,
    merged,
    misstated,
    save,
    with_entries,
    with_records,
)
from reconciler.registry.entry import render
from reconciler.registry.kinship import Index, key_of_files, kin_of
from reconciler.state import Digest, Placed, Record

ROOT = "/srv/models"


def here(path: Path, *entries: dict[str, Any], curated: tuple[dict[str, Any], ...] = ()) -> Path:
    """Write a registry of somebody else."""
    path.mkdir(exist_ok=True)
    (path / DISCOVERED).write_text(json.dumps([{"name": "?", **entry} for entry in entries], indent=2))
    if curated:
        (path / CURATED).write_text(json.dumps(list(curated)))
    return path


def entry_of(path: Path, name: str) -> dict[str, Any]:
    return next(dict(entry) for entry in load(path).discovered if entry["name"] == name)


def gguf(variant: str, quant: str, home: str = "own/repo-GGUF") -> Record:
    placed = (Placed(f"{home}/m-{quant}.gguf", 10, Digest("sha256:" + "0" * 64), 1, 1, f"m-{quant}.gguf"),)
    return replace(record(variant, format="gguf", quant=quant), home=home, files=placed)


def in_ollama(variant: str, tag: str) -> Record:
    home = f"manifests/registry.ollama.ai/library/{tag.replace(':', '/')}"
    return replace(record(variant, location="ollama"), root="/srv/ollama", home=home)


# -- kinship ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"download_path": "/srv/models/own/m/"}, "/srv/models/own/m"),
        ({"download_path": "/srv/models/./own//m"}, "/srv/models/own/m"),
        ({"backend_config": {"model_path": "/srv/m"}}, "/srv/m"),
        ({"download_path": "ollama://qwen3:8b"}, "ollama:registry.ollama.ai/library/qwen3:8b"),
        ({"download_path": "ollama:/qwen3:8b"}, "ollama:registry.ollama.ai/library/qwen3:8b"),
        ({"backend": "ollama", "served_model_id": "Qwen3:8b"}, "ollama:registry.ollama.ai/library/qwen3:8b"),
        ({"backend": "ollama", "served_model_id": "hf.co/o/r:Q4_0"}, "ollama:hf.co/o/r:q4_0"),
        ({"backend": "ollama", "served_model_id": "None"}, ""),
        ({"backend": "vllm", "served_model_id": "qwen3:8b"}, ""),
        ({"download_path": "ollama://None"}, ""),
        ({"download_path": "None"}, ""),
        ({"download_path": "weights/own/m"}, ""),
        ({"download_path": 7, "backend_config": "?"}, ""),
        ({}, ""),
    ],
)
def test_an_entry_speaks_of_files_or_of_a_model_or_of_nothing(entry: dict[str, Any], key: str) -> None:
    assert key_of_files(entry) == key


def test_two_owners_two_branches_and_two_tags_are_never_the_same() -> None:
    paths = ["/w/alice/m", "/w/bob/m", "/w/alice/m@dev", "/w/alice/m@main"]
    tags = ["alice/m:q4_0", "bob/m:q4_0", "m:q4_0", "m:q8_0", "hf.co/alice/m:q4_0"]
    keys = [key_of_files({"download_path": path}) for path in paths]
    keys += [key_of_files({"backend": "ollama", "served_model_id": tag}) for tag in tags]
    assert len(set(keys)) == len(paths) + len(tags)


def test_of_a_directory_with_several_quantisations_each_entry_means_its_own() -> None:
    path = f"{ROOT}/own/repo-GGUF"
    entries = [
        {"name": "a", "download_path": path, "quantization": "Q4_K_M"},
        {"name": "b", "download_path": path, "quantization": "q8_0"},
        {"name": "c", "download_path": path, "quantization": None, "download_files": ["m-q8_0.gguf", "README.md"]},
        {"name": "d", "download_path": f"{path}/m-q8_0.gguf", "quantization": "?"},
    ]
    index = Index(entries)
    assert [entry["name"] for entry in index.of(kin_of(gguf("m", "q4_k_m")))] == ["a"]
    assert sorted(entry["name"] for entry in index.of(kin_of(gguf("m", "q8_0")))) == ["b", "c", "d"]


def test_a_directory_of_safetensors_is_one_model_whatever_anybody_called_its_quantisation() -> None:
    """One directory had six verdicts of format and quantisation in six weeks."""
    entries = [
        {"name": quant, "download_path": f"{ROOT}/own/m", "quantization": quant}
        for quant in ("awq", "gptq-or-awq", "fp16")
    ]
    awq = record(format="safetensors", quant="awq-w4g128")
    assert len(list(Index(entries).of(kin_of(awq)))) == 3


def test_the_same_files_served_by_another_backend_are_another_entry() -> None:
    entries = [{"name": name, "download_path": f"{ROOT}/own/m", "backend": name} for name in ("vllm", "lmdeploy")]
    entries.append({"name": "unassigned", "download_path": f"{ROOT}/own/m", "backend": "unassigned"})
    served = {backend: Index(entries).of(kin_of(record(backend=backend))) for backend in ("vllm", None)}
    assert [entry["name"] for entry in served["vllm"]] == ["vllm", "unassigned"]
    assert [entry["name"] for entry in served[None]] == ["vllm", "lmdeploy", "unassigned"]


def test_the_root_of_a_flat_location_is_no_model() -> None:
    flat = replace(gguf("m", "q8_0", home="m-q8_0.gguf"), files=(replace_path(gguf("m", "q8_0"), "m-q8_0.gguf"),))
    assert list(Index([{"name": "all", "download_path": ROOT}]).of(kin_of(flat))) == []


def replace_path(held: Record, path: str) -> Placed:
    return held.files[0]._replace(path=path)


# -- taking over ------------------------------------------------------------------------------------------------------

OLD: dict[str, Any] = {
    "name": "m_(AWQ)", "backend": "vllm", "backend_config": {"port": 24001, "model_path": "/elsewhere"},
    "served_model_id": "None", "quantization": "gptq-or-awq", "deprecated": True, "x_unknown": [1, None],
    "generation_defaults": {"temperature": 0.5}, "role_priority": {"caption": 75}, "roles": ["caption"],
    "download_path": f"{ROOT}/own/m", "downloaded_at": "2025-10-31T23:24:29+00:00", "download_files": ["gone.bin"],
    "download_directory_checksum": "0bc0136d63c7a51f", "artifacts": {"aggregate_sha256": "f8", "files": [], "x": 1},
    "capabilities": {"vision": True, "text": False}, "metadata": {"registry_layer": "old", "note": "mine"},
    "chat_template": {"source": "external", "path": "/srv/mine.jinja", "sha256": "94"},
}  # fmt: skip


def taken(path: Path, held: Record | None = None, **curated: Any) -> dict[str, Any]:
    here(path, {"name": "before"}, OLD, {"name": "after"}, **curated)
    save(with_records(load(path), [held or record(quant="awq", format="safetensors")]))
    [ours] = [dict(entry) for entry in load(path).discovered if "reconciler" in entry.get("metadata", {})]
    return ours


def test_an_entry_of_the_same_files_becomes_ours_in_its_place(world: Path) -> None:
    ours = taken(world)
    assert [entry["name"] for entry in load(world).discovered] == ["before", "m", "after"]
    assert ours["name"] == ours["display_name"] == "m"


def test_what_we_do_not_know_of_it_stays(world: Path) -> None:
    ours = taken(world)
    assert ours["x_unknown"] == [1, None]
    assert ours["generation_defaults"] == {"temperature": 0.5}
    assert ours["backend_config"]["port"] == 24001
    assert (ours["metadata"]["registry_layer"], ours["metadata"]["note"]) == ("old", "mine")
    assert ours["downloaded_at"] == "2025-10-31T23:24:29+00:00"
    assert ours["chat_template"]["path"] == "/srv/mine.jinja"
    assert ours["capabilities"]["vision"] is True


def test_what_is_ours_to_say_is_made_true(world: Path) -> None:
    ours = taken(world)
    assert "served_model_id" not in ours
    assert ours["backend_config"]["model_path"] == ours["download_path"] == f"{ROOT}/own/m"
    assert (ours["quantization"], ours["deprecated"], ours["roles"]) == ("awq", False, [])
    assert ours["download_files"] == ["f0.gguf", "f1.gguf"]
    assert ours["download_size_bytes"] == 21
    assert "None" not in json.dumps({key: value for key, value in ours.items() if key != "x_unknown"})


def test_an_inventory_that_was_there_is_rebuilt_and_a_checksum_of_other_files_goes(world: Path) -> None:
    ours = taken(world)
    assert [file["path"] for file in ours["artifacts"]["files"]] == ["f0.gguf", "f1.gguf"]
    assert len(ours["artifacts"]["aggregate_sha256"]) == 64
    assert ours["artifacts"]["x"] == 1
    assert "download_directory_checksum" not in ours


def test_a_checksum_of_the_same_names_and_sizes_stays(world: Path) -> None:
    here(world, {**OLD, "download_files": ["f1.gguf", "f0.gguf"], "download_size_bytes": 21})
    save(with_records(load(world), [record()]))
    assert entry_of(world, "m")["download_directory_checksum"] == "0bc0136d63c7a51f"


def test_an_inventory_without_every_digest_says_none_of_them_all(world: Path) -> None:
    held = record()
    small = held.files[0]._replace(digest=Digest("git-sha1:" + "0" * 40))
    ours = taken(world, replace(held, files=(small, held.files[1])))
    assert ours["artifacts"]["aggregate_sha256"] is None
    assert [file["path"] for file in ours["artifacts"]["files"]] == ["f1.gguf"]


def test_an_entry_that_the_curated_layer_speaks_of_keeps_its_name(world: Path) -> None:
    taken(world, curated=({"name": "m_(AWQ)", "license": "mit", "roles": ["chat"]},))
    [both] = [entry for entry in merged(load(world)) if entry["name"] == "m_(AWQ)"]
    assert (both["license"], both["roles"], both["display_name"]) == ("mit", ["chat"], "m")


def test_the_namesake_is_taken_of_several_and_the_others_stay(world: Path) -> None:
    here(world, {**OLD, "name": "rich"}, {"name": "m", "download_path": f"{ROOT}/own/m"})
    save(with_records(load(world), [record()]))
    assert [(entry["name"], "x_unknown" in entry) for entry in load(world).discovered] == [("rich", True), ("m", False)]


def test_two_records_never_take_the_same_entry(world: Path) -> None:
    path = f"{ROOT}/own/repo-GGUF"
    here(world, {"name": "both", "download_path": path, "x": 1})
    save(with_records(load(world), [gguf("a", "q4_0"), gguf("b", "q8_0")]))
    assert [(entry["name"], "x" in entry) for entry in load(world).discovered] == [("a", True), ("b", False)]


def test_an_ollama_tag_is_taken_by_its_name_however_it_is_written(world: Path) -> None:
    here(world, {"name": "q", "backend": "ollama", "download_path": "ollama:/qwen3:8b", "x": 1})
    save(with_records(load(world), [in_ollama("qwen", "qwen3:8b")]))
    assert entry_of(world, "qwen")["x"] == 1


def test_a_variant_under_a_new_name_takes_its_entry_along(world: Path) -> None:
    save(with_records(load(world), [record("old")]))
    raw = json.loads((world / DISCOVERED).read_bytes())
    (world / DISCOVERED).write_text(json.dumps([{**raw[0], "port": 24001}]))
    registry = load(world)
    renamed = replace(record("old"), address=record("new").address)
    save(with_records(registry, [renamed], [("ws", record("old").address)]))
    assert [(entry["name"], entry["port"]) for entry in load(world).discovered] == [("new", 24001)]


def test_an_entry_of_other_files_is_never_touched(world: Path) -> None:
    somebody_elses(world)
    before = load(world)
    after = with_records(before, [record("twice"), record("größe-模型")])
    assert [dict(entry) for entry in after.discovered[: len(DISCOVERED_ENTRIES)]] == DISCOVERED_ENTRIES
    assert changes(before, after) == []


# -- taking out and putting back --------------------------------------------------------------------------------------


def test_what_leaves_and_comes_back_is_the_same_entry(world: Path) -> None:
    here(world, {"name": "a", "x": 1}, {"name": "b"})
    registry = load(world)
    out = with_entries(registry, [], [{"name": "a", "x": 1}])
    assert changes(registry, out) == [Change({"name": "a", "x": 1}, (0,))]
    assert layer_before(out, (), [changes(registry, out)]) == list(registry.discovered)
    assert with_entries(out, [(0, {"name": "a", "x": 1})], []).discovered == registry.discovered


def test_equal_entries_come_back_all_of_them_and_each_to_its_place(world: Path) -> None:
    here(world, {"name": "twin"}, {"name": "a"}, {"name": "twin"}, {"name": "b"}, {"name": "twin"})
    registry = load(world)
    first = with_entries(registry, [], [{"name": "twin"}, {"name": "b"}])
    second = with_entries(first, [], [{"name": "twin"}, {"name": "a"}])
    undone = [changes(first, second), changes(registry, second)]
    assert [entry["name"] for entry in second.discovered] == ["twin"]
    assert layer_before(second, (), undone) == list(registry.discovered)
    assert layer_before(registry, (), undone) == list(registry.discovered)  # once more changes nothing


def test_an_entry_that_is_not_as_it_was_stays(world: Path) -> None:
    here(world, {"name": "a", "x": 2})
    registry = load(world)
    assert with_entries(registry, [], [{"name": "a", "x": 1}]) is registry


def test_of_equal_entries_as_many_leave_as_are_named(world: Path) -> None:
    here(world, *[{"name": "synthetic"}] * 4)
    assert len(with_entries(load(world), [], [{"name": "synthetic"}] * 3).discovered) == 1


def test_an_entry_of_ours_neither_leaves_nor_comes_that_way() -> None:
    ours = render(record(), "m", None, None)
    registry = replace(load(Path("/nowhere")), discovered=(ours,))
    assert with_entries(registry, [], [ours]).discovered == (ours,)
    assert with_entries(replace(registry, discovered=()), [(0, ours)], []).discovered == ()


# -- what others change -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"quantization": "None"}, {"quantization"}),
        ({"served_model_id": "None", "roles": ["caption"]}, {"served_model_id", "roles"}),
        ({"download_files": []}, {"download_files"}),
        ({"served_model_id": None, "license": None}, set()),  # absent, as others write it
        ({"x_unknown": 1, "deprecated": True, "capabilities": {}}, set()),  # theirs to say
    ],
)
def test_what_another_program_says_of_our_records_is_seen(change: dict[str, Any], fields: set[str]) -> None:
    held = record(quant="awq")
    entry = {**render(held, "m", None, None), **change}
    registry = replace(load(Path("/nowhere")), discovered=(entry,))
    assert set(misstated(registry, [held]).get(held.address, {})) == fields


def test_a_record_that_is_reached_in_another_way_is_not_misstated() -> None:
    held = record()
    registry = replace(load(Path("/nowhere")), discovered=(render(held, "m", None, None),))
    assert misstated(registry, [replace(held, root="http://127.0.0.1:11434", home="other")]) == {}


# -- what bytes told, as others read it -------------------------------------------------------------------------------

TOLD = {
    "detector": 1, "kind": "vision-language", "size_label": "8B", "context_length": 4096, "license": "mit",
    "capabilities": ["text", "thinking", "vision"],
    "chat_template": {"source": "external", "path": "f0.gguf", "external": ["f0.gguf"], "embedded": True},
    "readme": {"path": "f1.gguf", "quants": ["awq"], "backends": ["vllm"]},
}  # fmt: skip


def test_facts_stand_where_others_look_for_them() -> None:
    entry = render(replace(record(), told=TOLD), "m", None, None)
    assert entry["capabilities"] == {"text": True, "vision": True, "thinking": True, "reasoning": True}
    assert entry["chat_template"] == {"source": "external", "path": f"{ROOT}/own/m/f0.gguf", "sha256": "00" * 32}
    assert entry["license"] == "mit"
    said = {key: value for key, value in entry["metadata"].items() if key != "reconciler"}
    assert said == {
        "kind": "vision-language", "parameter_size": "8B", "context_length": 4096, "readme_file": "f1.gguf",
        "readme_sha256": "01" * 32, "readme_signals": {"quant_schemes": ["awq"], "backends": ["vllm"]},
        "has_chat_template": True, "has_embedded_chat_template": True, "external_chat_template_files": ["f0.gguf"],
        "primary_chat_template_file": "f0.gguf", "primary_chat_template_sha256": "00" * 32,
    }  # fmt: skip


@pytest.mark.parametrize(("source", "is_inside"), [("embedded", True), ("external", False), ("missing", False)])
def test_a_template_that_a_server_finds_in_the_weights_is_embedded(source: str, is_inside: bool) -> None:
    told = {"detector": 1, "chat_template": {"source": source, "path": "model"}}
    assert render(replace(record(), told=told), "m", None, None)["metadata"]["has_embedded_chat_template"] is is_inside


def test_facts_that_are_no_more_leave_the_entry_and_what_others_wrote_stays() -> None:
    old = dict(render(replace(record(), told=TOLD), "m", None, None))
    old["capabilities"] = {**old["capabilities"], "audio": True}
    old["metadata"] = {**old["metadata"], "note": "mine"}
    entry = render(replace(record(), told={"detector": 2, "capabilities": ["text"]}), "m", old, None)
    assert entry["capabilities"] == {"text": True, "audio": True}
    assert "chat_template" not in entry
    assert set(entry["metadata"]) == {"note", "reconciler"}


def test_what_the_manifest_says_is_stronger_than_what_bytes_tell() -> None:
    entry = render(replace(record(license="apache-2.0", metadata={"kind": "mine"}), told=TOLD), "m", None, None)
    assert (entry["license"], entry["metadata"]["kind"]) == ("apache-2.0", "mine")


def test_rendering_again_changes_nothing() -> None:
    held = replace(record(), told=TOLD)
    entry = render(held, "m", OLD, None)
    assert render(held, "m", entry, None) is entry


def test_a_backend_is_for_others_to_say_while_the_manifest_says_none() -> None:
    taken_over = render(record(), "m", {"name": "m", "backend": "vllm"}, None)
    assert taken_over["backend"] == "vllm"
    assert misstated(replace(load(Path("/nowhere")), discovered=(taken_over,)), [record()]) == {}
    declared = render(record(backend="sglang"), "m", taken_over, None)
    assert declared["backend"] == "sglang"
    assert render(record(), "m", declared, None)["backend"] == "unassigned"


def test_a_model_of_an_ollama_says_by_which_name_it_is_served() -> None:
    entry = render(in_ollama("qwen", "qwen3:8b"), "qwen", None, None)
    assert (entry["backend"], entry["served_model_id"]) == ("ollama", "qwen3:8b")
