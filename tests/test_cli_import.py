"""`reconciler import`: the account, the report, the exit codes."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from importing_kit import CHAT, GGUF, Machine, a_machine, as_json, cache, put


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Machine]:
    with a_machine(tmp_path, monkeypatch, capsys) as made:
        cache(made.here / "hub", CHAT, made.chat_commit, made.chat, {"main": made.chat_commit})
        put(made.here / "hub", {"datasets--a--b/blobs/x": b"x"})
        yield made


def test_the_account_says_what_was_taken_what_was_not_and_what_to_do_next(machine: Machine) -> None:
    told = machine.run("import", "hf-cache", "hub", "--manifest", "box.yaml")

    lines = told.out.splitlines()
    assert told.code == 0
    assert lines[0].startswith(f"imported  tiny-chat-safetensors: hf:{CHAT} in hf_cache, ")
    assert lines[1].startswith("left-out  datasets--a--b: no model")
    assert lines[2] == (
        f"1 variant imported, 0 known, 1 left out. Wrote {machine.here}/box.yaml and {machine.here}/box.lock.json."
    )
    assert lines[3] == "Next: `reconciler plan box.yaml` shows what apply would record."


def test_a_second_run_says_that_nothing_changed(machine: Machine) -> None:
    machine.run("import", "hf-cache", "hub", "--manifest", "box.yaml")

    told = machine.run("import", "hf-cache", "hub", "--manifest", "box.yaml")

    assert told.out.splitlines()[-1] == "0 variants imported, 1 known, 1 left out. Nothing changed."
    verbose = machine.run("import", "hf-cache", "hub", "--manifest", "box.yaml", "-v")
    assert "known     tiny-chat-safetensors: declared already" in verbose.out


def test_after_import_and_apply_there_is_nothing_to_do_and_nothing_moved(machine: Machine) -> None:
    put(machine.here / "weights" / GGUF, machine.ggufs)
    before = {path: path.stat().st_ino for path in machine.here.rglob("*") if path.is_file()}
    machine.take("hf-cache", "hub")
    machine.take("tree", "weights")
    machine.hub.reset_log()

    assert machine.run("apply", "box.yaml", "--yes").code == 0

    told = machine.run("plan", "box.yaml", "--detailed-exitcode", "--locked", "--offline")
    assert told.code == 0, told.out
    assert {path: path.stat().st_ino for path in before} == before
    assert not [call for call in machine.hub.requests if call.bytes_sent > 100_000]


def test_the_report_is_csv_or_json_by_its_name(machine: Machine) -> None:
    machine.run("import", "hf-cache", "hub", "--manifest", "box.yaml", "--report", "found.csv")
    machine.run("import", "hf-cache", "hub", "--manifest", "box.yaml", "--report", "found.json")

    with open("found.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == ["left-out", "imported"]
    assert as_json(Path("found.json"))["summary"]["known"] == 1


def test_a_report_of_another_kind_is_refused_before_anything_is_written(machine: Machine) -> None:
    told = machine.run("import", "hf-cache", "hub", "--manifest", "box.yaml", "--report", "found.txt")

    assert told.code == 1
    assert ".csv or .json" in told.err
    assert not machine.manifest.exists()


def test_without_a_manifest_the_default_one_is_made(machine: Machine) -> None:
    assert machine.run("import", "hf-cache", "hub").code == 0
    assert (machine.here / "reconciler.yaml").exists()
    assert (machine.here / "reconciler.lock.json").exists()


def test_a_directory_of_manifests_takes_what_is_imported(machine: Machine) -> None:
    (machine.here / "manifests").mkdir()
    (machine.here / "manifests/own.yaml").write_text("version: 1\n")

    assert machine.run("import", "hf-cache", "hub").code == 0

    assert (machine.here / "manifests/imported.yaml").exists()
    assert (machine.here / "manifests/own.yaml").read_text() == "version: 1\n"
    assert machine.run("validate").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["hf-cahce", "hub"], "hf-cache"),
        (["tree"], "reconciler import tree DIR"),
        (["tree", "nowhere"], "no such directory"),
        (["hf-cache", "hub", "more"], "'more'"),
        (["tree", "hub"], "reconciler import hf-cache DIR"),
        (["tree", "hub", "--manifest", "box.json"], "box.json.yaml"),
        (["hf-cache", "hub", "--manifest", "nowhere/box.yaml"], "nowhere: there is no such directory"),
        (["hf-cache", "hub", "--report", "nowhere/found.csv"], "nowhere: there is no such directory"),
    ],
)
def test_a_wrong_use_is_one_clear_error(machine: Machine, arguments: list[str], said: str) -> None:
    told = machine.run("import", *arguments)

    assert told.code == 1
    assert said in told.err
    assert "Traceback" not in told.err
    assert not (machine.here / "reconciler.yaml").exists()


def test_a_manifest_with_a_mistake_is_told_and_stays_as_it_is(machine: Machine) -> None:
    machine.manifest.write_text("version: 1\nvariant: {}\n")

    told = machine.run("import", "hf-cache", "hub", "--manifest", "box.yaml")

    assert told.code == 1
    assert "box.yaml:2:1" in told.err
    assert machine.manifest.read_text() == "version: 1\nvariant: {}\n"


def test_names_of_strangers_are_printed_harmless(machine: Machine) -> None:
    put(machine.here / "weights/acme/\x1b[31mred", {"x.gguf": b""})

    told = machine.run("import", "tree", "weights", "--manifest", "box.yaml")

    assert "\x1b" not in told.out + told.err
