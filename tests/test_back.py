from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from reconciler.errors import DiskError, TransferError
from tests.apply_kit import FakeDownloader, Ground, content, fake_network, sha256

A, B, C = {"m.gguf": content(1)}, {"m.gguf": content(2)}, {"n.gguf": content(3)}
TWO = {"main": "huggingface", "other": "huggingface"}


@pytest.fixture
def ground(world: Path) -> Iterator[Ground]:
    net = FakeDownloader()
    with fake_network(net):
        yield Ground(world, net)


def applied(ground: Ground) -> None:
    ran = ground.apply()
    assert ran.code == 0, ran.text
    ground.net.fetched.clear()


def undo(ground: Ground, *arguments: str) -> None:
    ran = ground.run("undo", "--yes", *arguments)
    assert ran.code == 0, ran.text


def _move_root(ground: Ground, name: str) -> None:
    ground.spec["locations"]["main"]["root"] = str(ground.path / name)
    ground.manifest.write_text(yaml.safe_dump(ground.spec, sort_keys=False))


def state(ground: Ground, *locations: str) -> tuple[object, ...]:
    records = {
        name: (block["address"], block["root"], [(f["path"], f["digest"]) for f in block["files"]])
        for name, entry in ground.entries().items()
        if (block := entry["metadata"].get("reconciler"))
    }
    return (*(ground.files(location) for location in locations or ("main",)), records)


def test_nothing_applied_is_nothing_to_undo(ground: Ground) -> None:
    ground.declare({})
    assert "nothing was applied yet" in ground.run("undo", "--yes").text


def test_undoing_the_first_apply_takes_everything_away_again(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A)})
    applied(ground)
    undo(ground)
    assert state(ground) == ({}, {})


def test_undo_of_a_replacement_brings_the_old_file_from_the_trash(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A)})
    applied(ground)
    before = state(ground)
    ground.declare({"m": ("hf:o/m", 2, B)})
    applied(ground)
    undo(ground)
    assert state(ground) == before
    assert ground.net.fetched == []


def test_undo_of_a_removal_brings_the_files_back(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A), "n": ("hf:o/n", 1, C)})
    applied(ground)
    before = state(ground)
    ground.declare({"m": ("hf:o/m", 1, A)})
    applied(ground)
    assert len(ground.files()) == 1
    undo(ground)
    assert state(ground) == before
    assert ground.net.fetched == []


def test_undo_of_a_rename_gives_the_old_name_back(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A)})
    applied(ground)
    before = state(ground)
    ground.declare({"new-name": ("hf:o/m", 1, A)})
    assert [step["reason"] for step in ground.steps()] == ["rename"]
    applied(ground)
    undo(ground)
    assert state(ground) == before


def test_undo_of_a_move_brings_the_files_back_to_the_old_place(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A)}, locations=TWO)
    applied(ground)
    before = state(ground, *TWO)
    ground.declare({"m": ("hf:o/m", 1, A, {"location": "other"})}, locations=TWO)
    applied(ground)
    assert ground.files("main") == {}
    undo(ground)
    assert state(ground, *TWO) == before
    assert ground.net.fetched == []


def test_undo_of_an_adoption_leaves_the_files_where_they_were(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A), "n": ("hf:o/n", 1, C)})
    mine = ground.path / "main/o/m/m.gguf"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(A["m.gguf"])
    applied(ground)
    undo(ground)
    assert state(ground) == ({"o/m/m.gguf": A["m.gguf"]}, {})
    assert mine.read_bytes() == A["m.gguf"]


def test_undo_twice_is_redo(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A)})
    applied(ground)
    ground.declare({"m": ("hf:o/m", 2, B), "n": ("hf:o/n", 1, C)})
    applied(ground)
    after = state(ground)
    undo(ground)
    undo(ground)
    assert state(ground) == after
    assert ground.steps() == []


def test_undo_to_a_generation_undoes_all_later_ones(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A)})
    applied(ground)
    first = state(ground)
    for revision, files in ((2, B), (3, A | C)):
        ground.declare({"m": ("hf:o/m", revision, files)})
        applied(ground)
    undo(ground, "--to", "2")
    assert state(ground) == first


def test_a_generation_that_is_not_there_is_told(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A)})
    applied(ground)
    said = ground.run("undo", "--yes", "--to", "9").text
    assert "no generation 9 of this manifest" in said
    assert "known: 1" in said


def test_undo_of_a_changed_root_goes_back_to_the_old_one(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A)})
    applied(ground)
    _move_root(ground, "elsewhere")
    assert {(s["address"], s["action"], s["reason"]) for s in ground.steps()} == {
        ("m@main", "normalize", "move"),
        ("m@main.old", "remove", "superseded"),
    }
    applied(ground)
    assert (ground.files("elsewhere"), ground.files("main")) == ({"o/m/m.gguf": A["m.gguf"]}, {})
    assert ground.steps() == []
    undo(ground)
    assert (ground.files("elsewhere"), ground.files("main")) == ({}, {"o/m/m.gguf": A["m.gguf"]})
    ground.declare({"m": ("hf:o/m", 1, A)})
    assert [step["reason"] for step in ground.steps()] in ([], ["record"])


def test_undo_passes_over_an_apply_that_changed_nothing(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A)})
    applied(ground)
    ground.declare({"m": ("hf:o/m", 1, A), "n": ("hf:o/n", 1, C)})
    ground.net.broken[sha256(content(3))] = TransferError("no route")
    assert ground.apply().code == 5
    ran = ground.run("undo", "--yes")
    assert "generation 2 changed nothing that is not as it was" in ran.text
    assert state(ground) == ({}, {})


def test_the_old_copy_is_not_forgotten_while_it_may_not_leave(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, {"m.gguf": content(1), "x": content(9)})})
    applied(ground)
    (ground.path / "main/o/m/x").write_bytes(b"changed")
    _move_root(ground, "elsewhere")
    assert ground.apply().code == 3
    addresses = {e["metadata"]["reconciler"]["address"] for e in ground.entries().values()}
    assert addresses == {"m@main", "m@main.old"}
    assert "changed since it was placed" in ground.run("plan").text


def test_the_same_bytes_twice_come_back_from_the_trash(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A)})
    applied(ground)
    ground.declare({})
    applied(ground)
    ground.declare({"m": ("hf:o/m", 1, {"a.gguf": content(1), "b.gguf": content(1)})})
    applied(ground)
    assert ground.files("main")["o/m/a.gguf"] == ground.files("main")["o/m/b.gguf"] == content(1)


def test_who_only_looks_takes_an_interrupted_apply_for_finished(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.declare({"m": ("hf:o/m", 1, A)})
    with monkeypatch.context() as patch:
        patch.setattr("reconciler.apply._recorded", _refuse)
        ground.apply()
    assert not (ground.registry / "model_registry.json").exists()
    ground.declare({"m": ("hf:o/m", 2, B)})
    ran = ground.run("plan")
    assert ran.code == 0, ran.text
    assert "new-revision" in ran.text
    assert "is taken for finished here" in ran.text


def _refuse(*_: object) -> None:
    raise DiskError("the disk is full", where="registry")
