"""`import imageworks`: every record of an old registry becomes a variant, or is told with the reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from importing_kit import CHAT, GGUF, Machine, a_machine, manifest_text, put, whys
from ollama_kit import install
from takeover_kit import of_hub, of_ollama, record, registry, weights

from reconciler.hub.checkpoints import llama_files
from reconciler.hub.ggufs import gguf
from reconciler.importing.oldbooks import read


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Machine]:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")  # nobody listens there
    with a_machine(tmp_path, monkeypatch, capsys) as made:
        yield made


def variants(machine: Machine) -> dict[str, Any]:
    return dict(machine.loaded().manifest.variants)


def test_a_record_gives_name_place_roles_backend_and_licence_and_the_bytes_give_the_lock(machine: Machine) -> None:
    root = weights(machine)
    registry(machine.here / "old", discovered=[
        of_hub("tiny-chat_(FP32)", root, CHAT, roles=["chat", "caption"], role_priority={"chat": 90, "caption": 10},
               license="mit", served_model_id="tiny", version_lock={"locked": True}),
    ])  # fmt: skip

    report = machine.take("imageworks", "old")

    [(name, said)] = variants(machine).items()
    assert name == "tiny-chat_(FP32)"
    assert (said.source, said.backend, said.license, said.served_as) == (f"hf:{CHAT}", "vllm", "mit", "tiny")
    assert (said.location, said.protect) == ("linux_wsl", True)
    assert machine.loaded().manifest.roles == {"chat": [name], "caption": [name]}
    assert machine.pins()[name].revision == machine.chat_commit
    assert set(whys(report, "imported")) == {name}
    assert {action for action, _, _ in machine.steps().values()} == {"normalize"}


def test_the_registry_is_read_and_never_written(machine: Machine) -> None:
    old = registry(machine.here / "old", discovered=[of_hub("a", weights(machine), CHAT)], curated=[record("a")])
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in old.iterdir()}

    machine.take("imageworks", "old")

    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in old.iterdir()} == before


def test_a_second_run_changes_no_byte(machine: Machine) -> None:
    root = weights(machine)
    registry(machine.here / "old", discovered=[
        of_hub("a", root, CHAT, roles=["chat"]), of_ollama("b", "qwen3:8b"), of_hub("c", "/gone/w", "x/y"),
    ])  # fmt: skip
    machine.take("imageworks", "old")
    before = {path.name: path.read_bytes() for path in machine.here.glob("box.*")}

    report = machine.take("imageworks", "old")

    assert (report["written"], report["summary"]["imported"], report["summary"]["known"]) == ([], 0, 3)
    assert {path.name: path.read_bytes() for path in machine.here.glob("box.*")} == before


def test_priorities_become_the_order_of_a_role_the_highest_first(machine: Machine) -> None:
    registry(machine.here / "old", discovered=[
        of_ollama("low", "low:1", roles=["chat"], role_priority={"chat": 10}),
        of_ollama("none", "none:1", roles=["chat"]),
        of_ollama("high", "high:1", roles=["chat"], role_priority={"chat": 95}),
    ])  # fmt: skip

    machine.take("imageworks", "old", "--offline")

    assert machine.loaded().manifest.roles == {"chat": ["high", "low", "none"]}


def test_curated_is_laid_over_discovered_field_by_field(machine: Machine) -> None:
    root = weights(machine)
    people = {"name": "a", "roles": ["caption"], "license": "of-my-own", "backend": None}
    registry(machine.here / "old", discovered=[of_hub("a", root, CHAT, roles=["chat"])], curated=[people])

    machine.take("imageworks", "old")

    said = variants(machine)["a"]
    assert (said.license, said.backend) == ("of-my-own", "vllm")
    assert machine.loaded().manifest.roles == {"caption": ["a"]}


def test_the_word_none_is_taken_for_nothing_and_told(machine: Machine) -> None:
    registry(machine.here / "old", discovered=[of_hub("a", weights(machine), CHAT, license="None")])

    report = machine.take("imageworks", "old")

    said = variants(machine)["a"]
    assert said.served_as is None
    assert said.license is None
    assert sum("the word None" in why for why in (row["why"] for row in report["rows"])) == 2
    assert "None" not in manifest_text(machine.here)


@pytest.mark.parametrize("path", ["ollama:/tiny:latest", "ollama://tiny:latest", "ollama://tiny", None])
def test_a_model_of_ollama_is_known_however_its_address_was_written(machine: Machine, path: str | None) -> None:
    registry(machine.here / "old", discovered=[of_ollama("t", "tiny:latest", download_path=path)])

    machine.take("imageworks", "old", "--offline")

    assert variants(machine)["t"].source == "ollama:tiny:latest"


def test_two_namespaces_stay_two_models(machine: Machine) -> None:
    registry(machine.here / "old", discovered=[of_ollama("m_(Q4)", "alice/m:q4"), of_ollama("m2_(Q4)", "bob/m:q4")])

    machine.take("imageworks", "old", "--offline")

    assert {said.source for said in variants(machine).values()} == {"ollama:alice/m:q4", "ollama:bob/m:q4"}


def test_an_ollama_that_is_here_gives_the_lock(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    models = machine.here / "ollama"
    install(models, "registry.ollama.ai/library/tiny/latest", {"model": gguf("Q4_K_M", name="t", seed=1)}, b"{}")
    install(models, "registry.ollama.ai/library/other/latest", {"model": gguf("Q4_K_M", name="o", seed=2)}, b"{}")
    monkeypatch.setenv("OLLAMA_MODELS", str(models))
    registry(machine.here / "old", discovered=[of_ollama("mine_(Q4_K_M)", "tiny:latest"), of_ollama("gone", "gone:1")])

    report = machine.take("imageworks", "old", "--offline")

    assert list(variants(machine)) == ["mine_(Q4_K_M)"]
    assert machine.pins()["mine_(Q4_K_M)"].revision is not None
    assert "does not have it" in whys(report, "left-out")["gone"]
    assert {action for action, _, _ in machine.steps().values()} == {"normalize"}


def test_double_records_are_one_variant_with_the_roles_of_all(machine: Machine) -> None:
    registry(machine.here / "old", discovered=[
        of_ollama("qwen3_8b_(Q4_K_M)", "qwen3:8b", download_path=None, roles=["chat"], role_priority={"chat": 50}),
        of_ollama("qwen3_8.2b_(Q4_K_M)", "qwen3:8b", roles=["caption"], role_priority={"caption": 70}),
    ])  # fmt: skip

    report = machine.take("imageworks", "old", "--offline")

    assert list(variants(machine)) == ["qwen3_8.2b_(Q4_K_M)"]
    assert machine.loaded().manifest.roles.keys() == {"chat", "caption"}
    assert "a second record of what qwen3_8.2b_(Q4_K_M) is" in whys(report, "finding")["qwen3_8b_(Q4_K_M)"]


def test_one_directory_under_seven_names_is_one_variant(machine: Machine) -> None:
    root = weights(machine)
    names = [f"tiny_({quant})" for quant in ("AWQ", "GPTQ", "FP16", "FP32", "INT4", "BF16", "NONE")]
    registry(machine.here / "old", discovered=[of_hub(name, root, CHAT) for name in names])

    report = machine.take("imageworks", "old")

    assert len(variants(machine)) == 1
    assert report["summary"]["finding"] >= 6


def test_each_quant_of_a_directory_gets_the_record_of_its_quant(machine: Machine) -> None:
    root = weights(machine)
    files = [f for f in machine.ggufs if f.endswith(".gguf")]
    registry(machine.here / "old", discovered=[
        of_hub("four", root, GGUF, quantization="q4_k_m", download_files=files),
        of_hub("xs", root, GGUF, quantization="iq4_xs", download_files=files),
    ])  # fmt: skip

    machine.take("imageworks", "old")

    quant = {name: said.files for name, said in variants(machine).items()}
    assert any("Q4_K_M" in file for file in quant["four"])
    assert any("IQ4_XS" in file for file in quant["xs"])


def test_a_record_of_several_quants_is_of_the_one_that_it_names_whatever_stands_first(machine: Machine) -> None:
    """The control: in the order of names IQ4_XS comes first, and would get the name and the roles of the other."""
    root = weights(machine)
    registry(machine.here / "old", discovered=[
        of_hub("tiny_(Q4_K_M)", root, GGUF, quantization="q4_k_m", download_files=sorted(machine.ggufs), roles=["chat"])
    ])  # fmt: skip

    machine.take("imageworks", "old")

    said = variants(machine)
    assert list(said["tiny_(Q4_K_M)"].files) == ["Tiny-Q4_K_M.gguf"]
    assert len(said) == 2
    assert machine.loaded().manifest.roles == {"chat": ["tiny_(Q4_K_M)"]}


def test_what_only_lay_in_the_directory_is_not_asked_of_the_repository(machine: Machine) -> None:
    litter = ["config.json:Zone.Identifier", "chat_template.jinja:mshield", "logs/server.log", "config.json.orig",
              "config - Copy.json", "desktop.ini", ".git/HEAD", "config.json~"]  # fmt: skip
    root = weights(machine)
    files = [*machine.chat, *litter]
    registry(machine.here / "old", discovered=[of_hub("a", root, CHAT, download_files=files)])
    registry(machine.here / "away", discovered=[of_hub("b", "/away/w", CHAT, download_files=files)])
    put(root / CHAT, dict.fromkeys(litter, b"x"))

    machine.take("imageworks", "old", "--offline")
    machine.take("imageworks", "away", "--offline")

    assert [list(said.files) for said in variants(machine).values()] == [sorted(machine.chat)] * 2
    assert machine.run("lock", "box.yaml").code == 0


def test_a_placeholder_is_not_promised_to_be_fetched(machine: Machine) -> None:
    registry(machine.here / "old", discovered=[
        of_ollama("nothing", "None", download_path="ollama://None"), of_hub("lost", machine.here / "w", "existing/x"),
    ], curated=[{"name": "people", "roles": ["chat"]}])  # fmt: skip
    (machine.here / "w").mkdir()

    told = whys(machine.take("imageworks", "old", "--include-missing"), "left-out")

    assert told["nothing"] == "neither a source nor a path: a placeholder"
    assert told["people"] == "neither a source nor a path: a placeholder; it served chat"
    assert "--include-missing" not in told["lost"]  # the owner is a word of the downloader's, not one of the Hub's


def test_another_way_to_write_the_name_of_a_model_is_no_other_name(machine: Machine) -> None:
    registry(
        machine.here / "old", discovered=[of_ollama("m", "alice/model"), of_ollama("n", "b:1", served_model_id="x")]
    )

    machine.take("imageworks", "old", "--offline")

    assert {name: said.served_as for name, said in variants(machine).items()} == {"m": None, "n": "x"}


def test_what_no_manifest_can_hold_is_told_and_all_else_is_taken(machine: Machine) -> None:
    deep: Any = 1
    for _ in range(99):
        deep = [deep]
    odd = {
        "": 1,
        "nul": "a\0b",
        "half": "\ud800",
        "deep": deep,
        "keys": {"": 1},
        "many": [1] * 9999,
        "fine": {"a": [1]},
    }
    registry(machine.here / "old", discovered=[
        of_hub("a", weights(machine), CHAT, metadata=odd, roles=["chat", "a\nb", "<<"],
               generation_defaults={"\ufb01": 1, "fi": 2, "top_k": 3})
    ])  # fmt: skip

    report = machine.take("imageworks", "old")

    [said] = variants(machine).values()
    assert {key: value for key, value in said.metadata.items() if key != "imageworks"} == {"fine": {"a": [1]}}
    assert "generation_defaults" not in said.metadata["imageworks"]
    why = whys(report, "imported")["a"]
    assert "too long for a manifest, and left in its registry: metadata.many" in why
    assert machine.loaded().manifest.roles == {"chat": ["a"]}
    assert "no name that a role can have: " in why
    for field in ("metadata.nul", "metadata.half", "generation_defaults"):
        assert field in why or "and 1 more" in why
    assert machine.run("validate", "box.yaml").code == 0


def test_a_verdict_that_the_files_contradict_is_told_and_not_taken_over(machine: Machine) -> None:
    registry(machine.here / "old", discovered=[of_hub("a", weights(machine), CHAT, quantization="awq")])

    report = machine.take("imageworks", "old")

    assert variants(machine)["a"].quant is None
    assert "its record says awq, the files say" in whys(report, "imported")["a"]


@pytest.mark.parametrize("name", ["testmodel-x", "model-awq_(AWQ)", "R-1", "synthetic-test-ollama-gguf", "zebra-mine"])
def test_records_of_tests_are_told_and_taken_only_when_asked(
    machine: Machine, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEWORKS_TEST_MODEL_PATTERNS", "^zebra,[")
    registry(machine.here / "old", discovered=[of_hub(name, weights(machine), CHAT)])

    report = machine.take("imageworks", "old")
    assert "the record of a test" in whys(report, "left-out")[name]

    machine.take("imageworks", "old", "--include-testing")
    assert list(variants(machine)) == [name]


def test_what_a_test_suite_wrote_is_known_by_its_path_and_its_mark(machine: Machine) -> None:
    registry(machine.here / "old", discovered=[
        of_hub("ordinary", "/tmp/pytest-of-me/pytest-1/w", "a/b"),
        of_ollama("marked", "x:1", metadata={"testing": True}),
    ])  # fmt: skip

    assert set(whys(machine.take("imageworks", "old"), "left-out")) == {"ordinary", "marked"}


def test_a_pattern_of_tests_that_is_none_is_told(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEWORKS_TEST_MODEL_PATTERNS", "[zebra")
    registry(machine.here / "old", discovered=[of_ollama("zebra", "z:1")])

    report = machine.take("imageworks", "old", "--offline")

    assert "`[zebra` is no regular expression" in whys(report, "finding")["IMAGEWORKS_TEST_MODEL_PATTERNS"]
    assert list(variants(machine)) == ["zebra"]


def test_deprecated_and_empty_records_are_told(machine: Machine) -> None:
    registry(machine.here / "old", discovered=[
        of_hub("old", weights(machine), CHAT, deprecated=True), record("empty", source_provider=None),
    ])  # fmt: skip

    out = whys(machine.take("imageworks", "old"), "left-out")

    assert "deprecated" in out["old"]
    assert "unmanaged" in out["old"]
    assert "placeholder" in out["empty"]


def test_files_that_are_gone_are_told_with_the_roles_and_declared_only_when_asked(machine: Machine) -> None:
    root = weights(machine)
    registry(machine.here / "old", discovered=[
        of_hub("gone", root, "acme/Gone", roles=["caption"]),
        record("name-only", source={"huggingface_id": CHAT}, roles=["chat"]),
    ])  # fmt: skip

    out = whys(machine.take("imageworks", "old"), "left-out")
    assert "its files are gone" in out["gone"]
    assert "it served caption" in out["gone"]
    assert "no path is recorded" in out["name-only"]

    machine.take("imageworks", "old", "--include-missing")
    assert variants(machine).keys() == {"gone", "name-only"}


def test_a_root_that_is_not_there_is_no_proof_that_the_files_are_gone(machine: Machine) -> None:
    registry(machine.here / "old", discovered=[
        of_hub("far", "/mnt/unplugged/weights", "acme/Far", download_files=["a.safetensors", "config.json"]),
    ])  # fmt: skip

    report = machine.take("imageworks", "old")

    said = variants(machine)["far"]
    assert (said.source, said.files) == ("hf:acme/Far", ("a.safetensors", "config.json"))
    assert "not seen: /mnt/unplugged/weights is not there" in whys(report, "imported")["far"]


def test_offline_a_record_with_files_is_declared_and_locked_by_the_next_import(machine: Machine) -> None:
    registry(machine.here / "old", discovered=[of_hub("a", weights(machine), CHAT)])

    report = machine.take("imageworks", "old", "--offline")
    assert "not locked" in whys(report, "imported")["a"]
    assert machine.asked() == 0

    report = machine.take("imageworks", "old")
    assert report["summary"]["imported"] == 0
    assert machine.pins()["a"].revision == machine.chat_commit


def test_a_model_that_no_repository_holds_is_told_and_taken_with_local(machine: Machine) -> None:
    root = machine.here / "weights"
    put(root / "existing/Mine", llama_files(seed=77))
    registry(machine.here / "old", discovered=[
        of_hub("mine", root, "existing/Mine", source={"huggingface_id": "qwen-vl/Mine"}, roles=["chat"]),
    ])  # fmt: skip

    assert "recorded as mine" in next(iter(whys(machine.take("imageworks", "old"), "left-out").values()))

    machine.take("imageworks", "old", "--local")
    assert variants(machine)["mine"].source == f"file:{root}/existing/Mine"


def test_what_the_manifest_has_no_field_for_is_kept_as_metadata(machine: Machine) -> None:
    metadata = {"notes": "keep me", "registry_layer": "curated", "ollama_license": "x" * 5000, "empty": None}
    registry(machine.here / "old", discovered=[
        of_hub("a", weights(machine), CHAT, metadata=metadata, generation_defaults={"temperature": 0.5},
               backend_config={"port": 24001, "model_path": "/x", "extra_args": ["--max-model-len", "4096"]}),
    ])  # fmt: skip

    report = machine.take("imageworks", "old")

    assert variants(machine)["a"].metadata == {
        "notes": "keep me",
        "imageworks": {
            "generation_defaults": {"temperature": 0.5}, "capabilities": ["text"],
            "backend_config": {"port": 24001, "extra_args": ["--max-model-len", "4096"]},
        },
    }  # fmt: skip
    assert "metadata.ollama_license" in whys(report, "imported")["a"]


def test_what_stands_in_a_backup_only_is_told_and_can_be_taken_from_there(machine: Machine) -> None:
    root = weights(machine)
    registry(
        machine.here / "old", discovered=[of_hub("a", root, CHAT)],
        **{"model_registry.20251002-181258.bak": [of_hub("a", root, CHAT), of_hub("b", root, GGUF)]},
    )  # fmt: skip

    out = whys(machine.take("imageworks", "old"), "left-out")
    assert "in a backup only" in out["b"]

    machine.take("imageworks", "old/model_registry.20251002-181258.bak.json")
    assert "b" in variants(machine)


def test_what_stands_in_the_snapshot_only_is_taken_and_told(machine: Machine) -> None:
    root = weights(machine)
    registry(
        machine.here / "old", discovered=[of_hub("a", root, CHAT)], curated=[],
        model_registry=[of_hub("a", root, CHAT), of_ollama("b", "x:1")],
    )  # fmt: skip

    report = machine.take("imageworks", "old")

    assert variants(machine).keys() == {"a", "b"}
    assert "snapshot only" in whys(report, "finding")["b"]


def test_the_manifest_of_before_registries_is_read(machine: Machine) -> None:
    root = weights(machine)
    oldest = {
        "acme_tiny_chat_safetensors_linux_wsl": {
            "checksum": "d659ee647a141964", "files": ["model.safetensors"], "format_type": "safetensors",
            "location": "linux_wsl", "metadata": {"huggingface_id": CHAT, "branch": "main"}, "model_name": CHAT,
            "path": f"{root}/{CHAT}", "size_bytes": 1,
        },
    }  # fmt: skip
    (machine.here / "models.json").write_text(json.dumps(oldest))

    machine.take("imageworks", str(machine.here))

    assert [said.source for said in variants(machine).values()] == [f"hf:{CHAT}"]
    assert "acme_tiny_chat_safetensors_linux_wsl" not in variants(machine)


def test_the_directory_above_the_registry_may_be_named_too(machine: Machine) -> None:
    registry(machine.here / "repo/configs", discovered=[of_ollama("a", "x:1")])

    machine.take("imageworks", "repo", "--offline")

    assert list(variants(machine)) == ["a"]


def test_a_broken_file_is_told_and_the_others_are_read(machine: Machine) -> None:
    registry(machine.here / "old", discovered=[of_ollama("a", "x:1"), of_ollama("a", "x:1"), "text"])  # type: ignore[list-item]
    (machine.here / "old/model_registry.curated.json").write_text("[{")

    report = machine.take("imageworks", "old", "--offline")

    assert list(variants(machine)) == ["a"]
    assert report["summary"]["problem"] == 2
    assert "2 times" in whys(report, "finding")["a"]


def test_no_registry_and_no_directory_are_clear_errors(machine: Machine) -> None:
    for arguments in (["imageworks", "."], ["imageworks"], ["imageworks", "nowhere"]):
        told = machine.run("import", *arguments, "--manifest", "box.yaml")
        assert told.code == 1
        assert "Traceback" not in told.err
    assert not machine.manifest.exists()


def test_what_this_program_has_recorded_itself_is_left_to_its_manifest(machine: Machine) -> None:
    weights(machine)
    machine.manifest.write_text(f"version: 1\nregistry: {machine.here}/old\n")
    machine.take("tree", "weights")
    assert machine.run("apply", "box.yaml", "--yes", "--offline").code == 0

    assert read(machine.here / "old").entries == ()


@pytest.mark.parametrize("more", [{}, {"deprecated": True}])
def test_a_path_that_the_system_refuses_to_look_at_is_one_that_is_not_there(
    machine: Machine, more: dict[str, Any]
) -> None:
    root = "/" + "a" * 300
    registry(machine.here / "registry", discovered=[of_hub("far_(FP32)", root, CHAT, **more)])

    report = machine.take("imageworks", "registry", "--offline")

    assert report["rows"]
