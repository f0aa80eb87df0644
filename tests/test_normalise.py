"""What a plan puts right in records and in the registry's entries, and that the next plan is empty then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from detect_kit import Q8_0, model_gguf, plain

from reconciler import detect, examine, generations, registry
from reconciler.registry.kinship import key_of_files
from tests.apply_kit import FakeDownloader, Ground, content, fake_network

CONFIG = json.dumps({"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 4096}).encode()
CHAT = {
    "model.safetensors": plain(), "config.json": CONFIG, "README.md": b"---\nlicense: mit\n---\nRuns in vLLM.",
    "chat_template.jinja": b"{% if tools %}{{ tools }}{% endif %}",
}  # fmt: skip
A, B = {"m.gguf": content(1)}, {"n.gguf": content(2)}
LAYER = "model_registry.discovered.json"


@pytest.fixture
def ground(world: Path) -> Iterator[Ground]:
    net = FakeDownloader()
    with fake_network(net):
        yield Ground(world, net)


def layer(ground: Ground) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((ground.registry / LAYER).read_bytes())
    return found


def rewrite(ground: Ground, entries: list[dict[str, Any]], name: str = LAYER) -> None:
    """Write a layer as another program would."""
    ground.registry.mkdir(exist_ok=True)
    (ground.registry / name).write_text(json.dumps(entries, indent=2))


def told(ground: Ground, *arguments: str) -> dict[str, str]:
    found = ground.steps(*arguments)
    return {step["address"]: f"{step['action']} {step['reason']}{'!' * bool(step['blocked'])}" for step in found}


def strangers(ground: Ground) -> dict[str, list[str]]:
    return {one["name"]: one["words"] for one in json.loads(ground.run("plan", "--json").out)["strangers"]}


def policy(ground: Ground, **change: Any) -> None:
    ground.spec["policy"] |= change
    ground.manifest.write_text(yaml.safe_dump(ground.spec, sort_keys=False))


def nothing_to_do(ground: Ground) -> bool:
    return ground.run("plan", "--detailed-exitcode").code == 0


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The detector of the next release."""
    with monkeypatch.context() as patch:
        patch.setattr(detect, "VERSION", detect.VERSION + 1)
        patch.setattr(examine, "VERSION", examine.VERSION + 1)
        yield


def older(ground: Ground, **attributes: str | None) -> None:
    """Make the records those of a release that knew nothing of what bytes tell, or read it otherwise."""
    with registry.locked(ground.registry):
        now = registry.load(ground.registry)
        old = [
            replace(record, told={}, attributes=replace(record.attributes, **attributes))
            for record in registry.records(now)
        ]
        registry.save(registry.with_records(now, old))


# -- detected again ---------------------------------------------------------------------------------------------------


def test_an_apply_keeps_what_the_bytes_tell_and_the_next_plan_is_empty(ground: Ground) -> None:
    ground.declare({"tiny-chat": ("hf:o/tiny-chat", 1, CHAT)})
    assert ground.apply().code == 0
    entry = ground.entries()["tiny-chat"]
    assert entry["chat_template"]["path"] == str(ground.path / "main/o/tiny-chat/chat_template.jinja")
    assert entry["capabilities"] == {"text": True, "tools": True}
    assert entry["metadata"]["context_length"] == 4096
    assert nothing_to_do(ground)


def test_a_record_of_an_older_release_is_brought_up_to_date_and_no_byte_moves(ground: Ground) -> None:
    ground.declare({"tiny-chat": ("hf:o/tiny-chat", 1, CHAT)})
    assert ground.apply().code == 0
    there = {path: (ground.path / "main" / path).stat() for path in ground.files()}
    older(ground, quant="awq")
    [step] = ground.steps()
    assert (step["action"], step["reason"], step["bytes"]) == (
        "normalize", "metadata", {"download": 0, "reuse": 0, "trash": 0},
    )  # fmt: skip
    assert (step["before"]["quant"], step["after"]["quant"]) == ("awq", "bf16")
    assert (step["before"].get("told"), step["after"]["told"]["context_length"]) == (None, 4096)
    assert {row["method"] for row in step["files"]} == {"none"}
    text = ground.run("plan").out
    assert "awq -> bf16" in text
    assert "(none) -> 4096" in text
    assert ground.apply().code == 0
    assert nothing_to_do(ground)
    assert ground.entries()["tiny-chat"]["quantization"] == "bf16"
    assert {path: (ground.path / "main" / path).stat() for path in there} == there


def test_a_newer_detector_looks_once_at_every_record_and_never_again(ground: Ground, newer: None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detect, "VERSION", detect.VERSION - 1)
        patch.setattr(examine, "VERSION", examine.VERSION - 1)
        ground.declare({"a": ("hf:o/a", 1, A), "b": ("hf:o/b", 1, B)})
        assert ground.apply().code == 0
        assert nothing_to_do(ground)
    assert told(ground) == {"a@main": "normalize metadata", "b@main": "normalize metadata"}
    assert ground.apply().code == 0
    assert nothing_to_do(ground)


def test_headers_are_read_by_the_first_plan_only(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.declare({"tiny-chat": ("hf:o/tiny-chat", 1, CHAT)})
    assert ground.apply().code == 0
    older(ground)
    read: list[Path] = []
    real = examine.detect_directory
    monkeypatch.setattr(examine, "detect_directory", lambda root, paths: read.append(root) or real(root, paths))
    assert [told(ground), told(ground)] == [{"tiny-chat@main": "normalize metadata"}] * 2
    assert len(read) == 1
    assert ground.apply().code == 0
    read.clear()
    assert nothing_to_do(ground)
    assert read == []


def test_a_claim_that_the_bytes_contradict_now_blocks(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, {"m.gguf": model_gguf(15)}, {"quant": "q8_0"})})
    ground.apply()
    older(ground, quant="q8_0")
    [step] = ground.steps()
    assert "claims quant q8_0, the bytes say q4_k_m" in step["blocked"]


def test_files_that_are_not_as_recorded_are_not_asked_what_they_are(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, {"m.gguf": model_gguf(15)})})
    assert ground.apply().code == 0
    older(ground, quant="q3_k_m")
    (ground.path / "main/o/m/m.gguf").write_bytes(model_gguf(7, Q8_0, 272))
    assert told(ground) == {"m@main": "download corrupt"}


def test_a_location_that_is_away_keeps_its_old_records(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A)})
    assert ground.apply().code == 0
    older(ground)
    (ground.path / "main").rename(ground.path / "unplugged")
    assert told(ground) == {"m@main": "keep unreadable!"}


def test_an_undo_of_looking_again_changes_nothing(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A)})
    assert ground.apply().code == 0
    older(ground)
    assert ground.apply().code == 0
    assert ground.run("undo", "--to", "2", "--yes").code == 0
    assert ground.files() == {"o/m/m.gguf": A["m.gguf"]}
    assert nothing_to_do(ground)


# -- what other programs changed --------------------------------------------------------------------------------------


def test_what_another_program_wrote_over_our_record_is_put_right(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A, {"backend": "vllm", "served_as": "served"})})
    assert ground.apply().code == 0
    [entry] = layer(ground)
    rewrite(
        ground, [{**entry, "served_model_id": "None", "download_files": None, "last_accessed": "2025", "license": None}]
    )
    [step] = ground.steps()
    assert f"{step['action']} {step['reason']}" == "normalize record"
    assert step["before"]["told"] == {"entry.served_model_id": "None"}
    assert step["after"]["told"] == {
        "entry.download_files": ["m.gguf"], "entry.license": "apache-2.0", "entry.served_model_id": "served",
    }  # fmt: skip
    assert ground.apply().code == 0
    assert nothing_to_do(ground)
    [entry] = layer(ground)
    assert (entry["served_model_id"], entry["download_files"], entry["last_accessed"]) == ("served", ["m.gguf"], "2025")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"served_as": "other"}, "metadata"),
        ({"backend": "sglang"}, "metadata"),
        ({"license": "mit"}, "metadata"),
        ({"protect": True}, "metadata"),
    ],
)
def test_what_the_manifest_says_of_a_variant_is_a_step(ground: Ground, change: dict[str, Any], reason: str) -> None:
    ground.declare({"m": ("hf:o/m", 1, A, {"backend": "vllm"})})
    assert ground.apply().code == 0
    ground.declare({"m": ("hf:o/m", 1, A, {"backend": "vllm", **change})})
    assert told(ground) == {"m@main": f"normalize {reason}"}
    assert ground.apply().code == 0
    assert nothing_to_do(ground)


def test_roles_and_their_order_are_steps_and_the_first_has_the_highest_number(ground: Ground) -> None:
    variants = {"a": ("hf:o/a", 1, A), "b": ("hf:o/b", 1, B)}
    ground.declare(variants, roles={"chat": ["a", "b"]})
    assert ground.apply().code == 0
    ground.declare(variants, roles={"chat": ["b", "a"]})
    assert told(ground) == {"a@main": "normalize role", "b@main": "normalize role"}
    assert ground.apply().code == 0
    assert [ground.entries()[name]["role_priority"]["chat"] for name in "ab"] == [99, 100]
    assert nothing_to_do(ground)


# -- entries of others ------------------------------------------------------------------------------------------------


def test_a_manifest_that_declares_the_files_takes_the_entry_over(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A)})
    folder = ground.path / "main/o/m"
    folder.mkdir(parents=True)
    (folder / "m.gguf").write_bytes(A["m.gguf"])
    rewrite(ground, [{"name": "m_(OLD)", "download_path": str(folder), "served_model_id": "None", "port": 24001}])
    assert told(ground) == {"m@main": "normalize adopt"}
    assert strangers(ground) == {"m_(OLD)": ["declared", "none-text"]}
    assert ground.apply().code == 0
    [entry] = layer(ground)
    assert (entry["name"], entry["port"], "served_model_id" in entry) == ("m", 24001, False)
    assert entry["download_files"] == ["m.gguf"]
    assert nothing_to_do(ground)


def test_an_undo_gives_the_entry_back_as_it_was(ground: Ground) -> None:
    test_a_manifest_that_declares_the_files_takes_the_entry_over(ground)
    old = {
        "name": "m_(OLD)", "download_path": str(ground.path / "main/o/m"), "served_model_id": "None", "port": 24001,
    }  # fmt: skip
    assert ground.run("undo", "--yes").code == 0
    assert layer(ground) == [old]
    assert ground.files() == {"o/m/m.gguf": A["m.gguf"]}
    assert ground.apply().code == 0
    assert [entry["name"] for entry in layer(ground)] == ["m"]


def odd(ground: Ground) -> list[dict[str, Any]]:
    main = ground.path / "main"
    return [
        {"name": "twin", "backend": "vllm", "download_path": str(main / "o/m")},
        {"name": "gone", "backend": "vllm", "download_path": str(main / "o/gone"), "deprecated": True},
        {"name": "away", "backend": "vllm", "download_path": "/mnt/nowhere/o/away"},
        {"name": "testzzz-1", "backend": "vllm", "download_path": "/mnt/nowhere/o/test"},
        {"name": "idea", "backend": "vllm", "roles": ["chat"]},
        {"name": "qwen3_8b", "backend": "ollama", "served_model_id": "qwen3:8b"},
        {"name": "qwen3_8.2b", "backend": "ollama", "download_path": "ollama:/qwen3:8b"},
        {"name": "alice", "backend": "ollama", "served_model_id": "alice/qwen3:8b"},
    ]


@pytest.fixture
def messy(ground: Ground) -> Ground:
    """A machine with one variant of ours and entries of others."""
    ground.declare({"m": ("hf:o/m", 1, A)})
    assert ground.apply().code == 0
    rewrite(ground, [*layer(ground), *odd(ground)])
    return ground


def test_every_plan_tells_what_is_odd_and_touches_nothing(messy: Ground) -> None:
    assert told(messy) == {}
    assert strangers(messy) == {
        "twin": ["duplicate"],
        "gone": ["gone", "deprecated"],
        "away": ["unreachable"],
        "testzzz-1": ["unreachable", "placeholder"],
        "idea": ["logical-only"],
        "qwen3_8b": ["duplicate", "unreachable"],
        "qwen3_8.2b": ["unreachable", "ollama-path"],
        "alice": ["unreachable"],
    }
    text = messy.run("plan").out
    assert "8 entries of the registry not ours (2 duplicate, 1 gone, 5 unreachable, 1 logical-only" in text
    assert "twin" not in text
    assert "twin: duplicate: of m@main, which manifest ws manages" in messy.run("plan", "--verbose").out
    assert "8 entries of the registry not ours" in messy.run("plan", "--markdown").out
    before = (messy.registry / LAYER).read_bytes()
    assert messy.apply().code == 0
    assert (messy.registry / LAYER).read_bytes() == before


def test_the_policy_takes_out_what_is_stale_or_double_and_undo_puts_it_back(messy: Ground) -> None:
    policy(messy, stale_records="prune")
    before = (messy.registry / LAYER).read_bytes()
    assert told(messy) == {
        "gone@.registry": "prune stale-record",
        "idea@.registry": "prune stale-record",
        "qwen3_8b@.registry": "prune duplicate-record",
        "testzzz-1@.registry": "prune stale-record",
        "twin@.registry": "prune duplicate-record",
    }
    files = messy.files()
    assert messy.apply().code == 0
    assert [entry["name"] for entry in layer(messy)] == ["m", "away", "qwen3_8.2b", "alice"]
    assert messy.files() == files
    assert nothing_to_do(messy)
    assert messy.run("undo", "--yes").code == 0
    assert (messy.registry / LAYER).read_bytes() == before
    pruned = messy.run("undo", "--yes")  # and of that, too
    assert "x prune      gone@.registry" in pruned.out
    assert [entry["name"] for entry in layer(messy)] == ["m", "away", "qwen3_8.2b", "alice"]


def test_equal_entries_are_pruned_and_given_back_each_for_itself(messy: Ground) -> None:
    policy(messy, stale_records="prune")
    twins = [{"name": "synthetic-test-ollama-gguf", "backend": "vllm"}] * 3
    rewrite(messy, [twins[0], *layer(messy), *twins[1:]])
    before = (messy.registry / LAYER).read_bytes()
    assert messy.apply().code == 0
    assert b"synthetic" not in (messy.registry / LAYER).read_bytes()
    assert messy.run("undo", "--yes").code == 0
    assert (messy.registry / LAYER).read_bytes() == before


def test_a_kill_between_the_save_and_its_generation_loses_no_entry(
    messy: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: without the journal's word, recovery finds the registry saved, and nothing to remember."""
    policy(messy, stale_records="prune")
    before = (messy.registry / LAYER).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(generations, "write", _killed)
        with pytest.raises(KilledError):
            messy.apply()
    assert [entry["name"] for entry in layer(messy)] == ["m", "away", "qwen3_8.2b", "alice"]
    assert messy.run("undo", "--yes").code == 0
    assert (messy.registry / LAYER).read_bytes() == before


@pytest.mark.parametrize("dump", [{}, {"indent": 2}, {"indent": 4, "ensure_ascii": False}, {"separators": (",", ":")}])
def test_a_layer_that_was_emptied_comes_back_in_its_own_hand(ground: Ground, dump: dict[str, Any]) -> None:
    """The control: an empty array shows neither indentation nor how it writes what is not ASCII."""
    ground.declare({}, policy={"stale_records": "prune"})
    ground.registry.mkdir()
    text = json.dumps([{"name": "größe", "license": "“mine”"}, {"name": "idea"}], **dump)
    for name in (LAYER, "model_registry.json"):
        (ground.registry / name).write_text(text)
    assert ground.apply().code == 0
    assert layer(ground) == []
    assert ground.run("undo", "--yes").code == 0
    for name in (LAYER, "model_registry.json"):
        assert (ground.registry / name).read_text() == text


@pytest.mark.parametrize("value", [7, 4.5, "text", ["a"], True])
def test_whatever_stood_in_a_field_of_an_entry_that_is_taken_over_breaks_nothing(ground: Ground, value: object) -> None:
    fields = ("metadata", "download_files", "capabilities", "chat_template", "artifacts", "backend_config", "roles")
    ground.declare({"m": ("hf:o/m", 1, A)})
    folder = ground.path / "main/o/m"
    folder.mkdir(parents=True)
    (folder / "m.gguf").write_bytes(A["m.gguf"])
    rewrite(ground, [{"name": "old", "download_path": str(folder), **dict.fromkeys(fields, value)}])
    before = (ground.registry / LAYER).read_bytes()
    assert ground.apply().code == 0
    assert nothing_to_do(ground)
    assert layer(ground)[0]["metadata"]["metadata"] == value  # it may mean something to somebody
    assert ground.run("undo", "--yes").code == 0
    assert (ground.registry / LAYER).read_bytes() == before


class KilledError(BaseException):
    """Nothing that runs after this one is told of it."""


def _killed(*_: object, **__: object) -> None:
    raise KilledError


@pytest.mark.parametrize("field", ["backend", "quantization", "download_path", "served_model_id", "metadata"])
@pytest.mark.parametrize("value", [[], {}, 7, True, ["x"], {"x": None}, "\ud800", "\0"])
def test_whatever_stands_in_a_field_is_looked_at_and_kept(messy: Ground, field: str, value: object) -> None:
    strange = {"name": "strange", "backend": "vllm", "download_path": "/nowhere/o/x", field: value}
    rewrite(messy, [*layer(messy), strange, {**strange, "name": "stranger"}])
    before = (messy.registry / LAYER).read_bytes()
    policy(messy, stale_records="prune")
    assert "strange" in strangers(messy)
    assert messy.apply().code == 0
    assert messy.run("undo", "--yes").code == 0
    assert (messy.registry / LAYER).read_bytes() == before


def test_a_pattern_that_is_none_is_told_and_the_others_count(messy: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEWORKS_TEST_MODEL_PATTERNS", "^id[, ^aw")
    ran = messy.run("plan")
    assert "IMAGEWORKS_TEST_MODEL_PATTERNS: `^id[` is no regular expression" in ran.out + ran.err
    assert {name: "placeholder" in words for name, words in strangers(messy).items()}["away"]


def test_what_is_marked_as_deprecated_goes_and_its_files_stay(messy: Ground) -> None:
    policy(messy, stale_records="prune")
    kept = messy.path / "main/o/kept/model.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(plain())
    known = {"name": "kept", "backend": "vllm", "download_path": str(kept.parent)}
    rewrite(messy, [*layer(messy), known, {**known, "name": "old", "backend": "lmdeploy", "deprecated": True}])
    assert told(messy)["old@.registry"] == "prune stale-record"
    assert messy.apply().code == 0
    assert [entry["name"] for entry in layer(messy)] == ["m", "away", "qwen3_8.2b", "alice", "kept"]
    assert kept.exists()


def test_what_people_speak_of_is_never_pruned(messy: Ground) -> None:
    policy(messy, stale_records="prune")
    curated = [{"name": "gone", "roles": ["chat"]}, {"name": "only-people-know"}]
    rewrite(messy, curated, "model_registry.curated.json")
    assert "gone@.registry" not in told(messy)
    assert "is not there any more (never pruned: the curated layer speaks of it)" in messy.run("plan", "--verbose").out
    assert strangers(messy)["only-people-know"] == ["logical-only"]
    assert messy.apply().code == 0
    assert json.loads((messy.registry / "model_registry.curated.json").read_bytes()) == curated


def test_a_disk_that_is_not_mounted_makes_nothing_stale(messy: Ground) -> None:
    """The control: a test for the path alone takes every model of an unmounted disk for gone."""
    policy(messy, stale_records="prune")
    (messy.path / "main").rename(messy.path / "unplugged")
    (messy.path / "main").mkdir()
    assert not (messy.path / "main/o/gone").exists()
    assert strangers(messy)["gone"] == ["unreachable", "deprecated"]
    assert "gone@.registry" not in told(messy)


def test_an_empty_directory_that_we_never_placed_anything_in_tells_nothing(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A)}, policy={"stale_records": "prune"})
    (ground.path / "main").mkdir()
    rewrite(ground, [{"name": "gone", "download_path": str(ground.path / "main/o/gone")}])
    assert strangers(ground) == {"gone": ["unreachable"]}
    assert told(ground) == {"m@main": "download missing"}


def test_a_plan_of_a_part_prunes_no_entry(messy: Ground) -> None:
    policy(messy, stale_records="prune")
    assert told(messy, "--target", "m") == {}


def test_a_saved_plan_prunes_the_entry_that_was_reviewed_or_none(messy: Ground) -> None:
    policy(messy, stale_records="prune")
    saved = str(messy.path / "plan.json")
    assert messy.run("plan", str(messy.manifest), "-o", saved).code == 0
    entries = layer(messy)
    next(entry for entry in entries if entry["name"] == "gone")["note"] = "I come back"
    rewrite(messy, entries)
    ran = messy.run("apply", saved)
    assert ran.code == 4
    assert "gone@.registry" in ran.text
    assert layer(messy) == entries


def test_a_saved_plan_prunes_what_was_reviewed(messy: Ground) -> None:
    policy(messy, stale_records="prune")
    saved = str(messy.path / "plan.json")
    assert messy.run("plan", str(messy.manifest), "-o", saved).code == 0
    assert messy.run("apply", saved).code == 0
    assert "gone" not in [entry["name"] for entry in layer(messy)]


def test_patterns_of_test_models_may_be_named(messy: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEWORKS_TEST_MODEL_PATTERNS", "^away$, [broken")
    assert strangers(messy)["away"] == ["unreachable", "placeholder"]


@pytest.mark.parametrize("name", ["model-awq_(AWQ)", "model-fp16", "custom-family-x", "synthetic-test-ollama-gguf"])
def test_what_tests_left_behind_is_a_placeholder(ground: Ground, name: str) -> None:
    ground.declare({"m": ("hf:o/m", 1, A)})
    rewrite(ground, [{"name": name}, {"name": "by-mark", "metadata": {"testing": True}}])
    assert strangers(ground) == {name: ["logical-only", "placeholder"], "by-mark": ["logical-only", "placeholder"]}


def test_a_real_repository_that_begins_like_a_test_is_no_placeholder(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A)})
    names = ["r-1-chat", "model-stock-7b", "Model-7B-AWQ", "demo"]
    rewrite(ground, [{"name": name, "download_path": f"/w/{name}"} for name in names])
    assert {name: "placeholder" in words for name, words in strangers(ground).items()} == dict.fromkeys(names, False)


def test_a_hundred_entries_of_one_directory_keep_one(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A)}, policy={"stale_records": "prune"})
    assert ground.apply().code == 0
    other = ground.path / "main/o/other"
    other.mkdir()
    (other / "x.bin").write_bytes(b"x")
    twins = [{"name": f"twin-{n:03}", "backend": "vllm", "download_path": str(other)} for n in range(100)]
    twins[57]["roles"] = ["chat"]
    rewrite(ground, [*layer(ground), *twins])
    assert ground.apply().code == 0
    assert [entry["name"] for entry in layer(ground)] == ["m", "twin-057"]
    assert len({key_of_files(twin) for twin in twins}) == 1
