"""`--local`: what has no known origin is declared where it lies, and the plan adopts it there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from importing_kit import CHAT, GGUF, Machine, a_machine, cache, put, whys

from reconciler.hub.checkpoints import llama_files
from reconciler.hub.ggufs import gguf_files
from reconciler.importing.loose import UNNAMEABLE


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Machine]:
    with a_machine(tmp_path, monkeypatch, capsys) as made:
        yield made


def settled(machine: Machine) -> dict[str, str]:
    """Plan, apply, plan again: nothing is ever fetched, copied or removed; return variant -> its first action."""
    before = {path: path.stat().st_ino for path in machine.here.rglob("*") if path.is_file()}
    steps = machine.steps()
    assert all(reason == "adopt" or action == "keep" for action, reason, _ in steps.values()), steps
    assert all(blocked is None for _, _, blocked in steps.values()), steps
    assert machine.run("apply", "box.yaml", "--yes", "--offline").code == 0
    assert machine.run("plan", "box.yaml", "--offline", "--detailed-exitcode").code == 0
    assert {
        path: path.stat().st_ino for path in before if path.suffix in (".gguf", ".safetensors")
    }.items() <= before.items()
    return {address: action for address, (action, _, _) in steps.items()}


def test_a_model_that_no_repository_holds_is_adopted_where_it_lies(machine: Machine) -> None:
    put(machine.here / "weights/me/my-own", llama_files(seed=99))
    put(machine.here / "weights" / CHAT, machine.chat)

    report = machine.take("tree", "weights", "--local")

    sources = {each.source for each in machine.loaded().manifest.variants.values()}
    assert sources == {f"hf:{CHAT}", f"file:{machine.here}/weights/me/my-own"}
    assert report["summary"]["left-out"] == 0
    assert len(settled(machine)) == 2


def test_without_local_it_is_left_out_with_the_reason(machine: Machine) -> None:
    put(machine.here / "weights/me/my-own", llama_files(seed=99))

    report = machine.take("tree", "weights")

    assert list(whys(report, "left-out")) == ["hf:me/my-own"]


def test_offline_everything_in_lm_studios_tree_is_adopted(machine: Machine) -> None:
    put(machine.here / "lms/acme/Tiny-GGUF", machine.ggufs)
    put(machine.here / "lms/me/Mine", gguf_files("Mine", ["Q8_0"], seed=8))

    machine.take("lmstudio", "lms", "--local", "--offline")

    assert machine.asked() == 0
    assert len(machine.loaded().manifest.variants) == 3
    assert len(settled(machine)) == 3


def test_bytes_that_the_lock_knows_get_their_source_back_though_nobody_is_asked(machine: Machine) -> None:
    cache(machine.here / "hub", GGUF, machine.gguf_commit, machine.ggufs, {"main": machine.gguf_commit})
    put(machine.here / "lms" / GGUF, machine.ggufs)
    machine.take("hf-cache", "hub")

    machine.take("lmstudio", "lms", "--offline")

    there = [each for each in machine.loaded().manifest.variants.values() if each.location == "lmstudio"]
    assert [each.source for each in there] == [f"hf:{GGUF}"] * 2
    assert machine.asked() == 0
    assert len(settled(machine)) == 4


def test_a_single_file_deep_in_a_directory_of_two_levels_is_adopted_where_it_lies(machine: Machine) -> None:
    put(machine.here / "weights/deep/a/b/c", gguf_files("Mine", ["Q8_0"], seed=8))
    (machine.here / "weights/deep/a/b/c/README.md").unlink()

    report = machine.take("tree", "weights", "--local", "--offline")

    assert report["summary"]["left-out"] == 0
    assert len(settled(machine)) == 1


def test_files_at_any_depth_are_adopted(machine: Machine) -> None:
    one, two, three, four = (gguf_files(name, ["Q8_0"], seed=number) for number, name in enumerate("ABCD"))
    put(machine.here / "models", one)
    put(machine.here / "models/folder", two)
    put(machine.here / "models/a/b", three)
    put(machine.here / "models/a/b/c/d", four)

    machine.take("tree", "models", "--local", "--offline")

    assert sum(file.path.endswith(".gguf") for pin in machine.pins().values() for file in pin.files) == 4
    assert len(settled(machine)) == 3  # a directory <owner>/<repo> is one model, with what lies below it


def test_a_folder_of_folders_is_adopted_without_owners(machine: Machine) -> None:
    put(machine.here / "models/acme_tiny", machine.chat)
    put(machine.here / "models", gguf_files("Loose", ["Q8_0"], seed=1))

    machine.take("tree", "models", "--local", "--offline")

    assert {each.source.rpartition("/")[2] for each in machine.loaded().manifest.variants.values()} == {
        "acme_tiny", "Loose-Q8_0.gguf",
    }  # fmt: skip
    assert len(settled(machine)) == 2


def test_a_second_run_changes_no_byte(machine: Machine) -> None:
    put(machine.here / "weights/me/my-own", llama_files(seed=99))
    put(machine.here / "weights/deep/er/still/x", gguf_files("X", ["Q8_0"], seed=1))
    machine.take("tree", "weights", "--local")
    before = {path.name: path.read_bytes() for path in machine.here.glob("box.*")}

    report = machine.take("tree", "weights", "--local")

    assert report["summary"]["imported"] == 0
    assert {path.name: path.read_bytes() for path in machine.here.glob("box.*")} == before


def test_a_removed_file_of_that_kind_cannot_be_had_again_and_the_plan_says_so(machine: Machine) -> None:
    put(machine.here / "weights/me/my-own", llama_files(seed=99))
    machine.take("tree", "weights", "--local")
    settled(machine)
    (machine.here / "weights/me/my-own/model.safetensors").unlink()

    [(action, reason, _)] = machine.steps().values()
    told = machine.run("apply", "box.yaml", "--yes", "--offline")

    assert (action, reason) == ("download", "incomplete")
    assert told.code != 0
    assert "the file is gone" in told.out + told.err
    assert "mount its disk" in told.out + told.err


def test_models_of_two_owners_are_told_apart_by_their_owners(machine: Machine) -> None:
    for number, owner in enumerate(("alpha", "beta")):
        put(machine.here / f"weights/{owner}/Tail", gguf_files("Tail", ["Q4_K_M"], seed=40 + number))

    machine.take("tree", "weights", "--local", "--offline")

    assert set(machine.loaded().manifest.variants) == {"alpha-tail-gguf-q4_k_m", "beta-tail-gguf-q4_k_m"}


def test_weights_beside_several_quants_are_taken_at_once_and_not_by_a_second_run(machine: Machine) -> None:
    put(machine.here / "weights/me/Mixed", {**gguf_files("Mixed", ["Q4_K_M", "Q8_0"], seed=50), **llama_files(seed=51)})

    machine.take("tree", "weights", "--local", "--offline")
    text = machine.manifest.read_text()

    assert len(settled(machine)) == 3
    assert machine.take("tree", "weights", "--local", "--offline")["summary"]["imported"] == 0
    assert machine.manifest.read_text() == text


def test_programs_among_models_are_one_line_and_never_managed(machine: Machine) -> None:
    put(machine.here / "weights/me/my-own", llama_files(seed=99))
    put(
        machine.here / "weights/venv", {"pyvenv.cfg": b"home = /usr", "lib/python3/site-packages/x/t.onnx": b"\x08\x07"}
    )
    put(
        machine.here / "weights/ui/app", {"node_modules/y/model.safetensors": llama_files(seed=98)["model.safetensors"]}
    )

    report = machine.take("tree", "weights", "--local", "--offline")

    assert [each.source for each in machine.loaded().manifest.variants.values()] == [
        f"file:{machine.here}/weights/me/my-own"
    ]
    assert whys(report, "left-out") == {"venv": "programs, no models", "ui/app/node_modules": "programs, no models"}


def test_what_is_left_out_is_told_by_its_directory_and_not_by_its_first_files(machine: Machine) -> None:
    short = {path: data for path, data in llama_files(seed=60, shards=3).items() if "00002" not in path}
    put(machine.here / "weights/me/short", short)

    report = machine.take("tree", "weights", "--local", "--offline")

    assert whys(report, "left-out") == {"me/short": "incomplete: model-00002-of-00003.safetensors missing"}


def test_links_are_told_with_where_they_lead_also_those_of_directories(machine: Machine) -> None:
    put(machine.here / "weights/me/my-own", llama_files(seed=99))
    put(machine.here / "big", llama_files(seed=70))
    (machine.here / "weights/me/linked").symlink_to(machine.here / "big")
    (machine.here / "weights/me/gone.gguf").symlink_to("/nowhere/gone.gguf")
    (machine.here / "weights/me/itself").symlink_to(".")

    report = machine.take("tree", "weights", "--local", "--offline")

    assert whys(report, "left-out") == {
        "me/linked": f"a link to a directory, {machine.here}/big; import the place that it leads to",
        "me/gone.gguf": "a link to /nowhere/gone.gguf, which is gone",
    }


def test_a_name_that_some_system_does_not_take_is_left_out_with_what_to_do(machine: Machine) -> None:
    put(machine.here / "weights/me/con", llama_files(seed=99))

    report = machine.take("tree", "weights", "--local", "--offline")

    assert whys(report, "left-out") == {"me/con": UNNAMEABLE}
