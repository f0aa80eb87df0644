"""To undo an adoption leaves all that was there: files, links, and the notes by which a program finds them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from importing_kit import CHAT, GGUF, Machine, a_machine, cache, put
from ollama_kit import install, tree

from reconciler.hub.ggufs import gguf, gguf_files


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Machine]:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    with a_machine(tmp_path, monkeypatch, capsys) as made:
        yield made


def undone(machine: Machine) -> None:
    for command in ("apply", "undo"):
        told = machine.run(command, "box.yaml", "--yes")
        assert told.code == 0, told.err
    assert " unadopt " in told.out
    assert {step[:2] for step in machine.steps().values()} == {("normalize", "adopt")}


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if not path.is_dir() and not any(part.startswith(".reconciler") for part in path.parts)
    }


def test_an_ollama_still_lists_the_model(machine: Machine) -> None:
    models = machine.here / "ollama"
    install(models, "registry.ollama.ai/library/tiny/latest", {"model": gguf("Q4_K_M", name="o", seed=29)}, b"{}")
    machine.take("ollama", "--offline")
    before = files(models)

    undone(machine)

    assert "manifests/registry.ollama.ai/library/tiny/latest" in tree(models)
    assert files(models) == before


def test_the_cache_of_huggingface_hub_still_knows_its_branch(machine: Machine) -> None:
    root = machine.here / "hub"
    folder = cache(root, GGUF, machine.gguf_commit, machine.ggufs, {"main": machine.gguf_commit})
    machine.take("hf-cache", str(root), "--offline")
    before = files(root)

    undone(machine)

    assert (folder / "refs/main").read_text() == machine.gguf_commit
    assert files(root) == before


def test_what_the_adoption_wrote_goes_again(machine: Machine) -> None:
    root = machine.here / "hub"
    folder = cache(root, GGUF, machine.gguf_commit, machine.ggufs, {"main": machine.gguf_commit})
    machine.take("hf-cache", str(root), "--offline")
    (folder / "refs/main").unlink()

    for command in ("apply", "undo"):
        assert machine.run(command, "box.yaml", "--yes").code == 0

    assert not (folder / "refs/main").exists()


def test_what_was_adopted_and_removed_later_comes_back_from_before_both(machine: Machine) -> None:
    root = machine.here / "weights"
    put(root / "me/one", gguf_files("one", ["Q4_K_M"], seed=31))
    put(root / "me/two", gguf_files("two", ["Q4_K_M"], seed=32))
    machine.take("tree", str(root), "--local", "--offline")
    before = files(root)
    assert machine.run("apply", "box.yaml", "--yes").code == 0
    forgotten = machine.manifest.read_text().partition("  two-")[0]
    machine.manifest.write_text(forgotten)
    assert machine.run("apply", "box.yaml", "--yes").code == 0
    assert files(root) != before

    told = machine.run("undo", "box.yaml", "--to", "1", "--yes")

    assert told.code == 0, told.err
    assert "here before an apply took them over" in told.out + told.err
    assert files(root) == before
    assert machine.run("undo", "box.yaml", "--to", "1", "--yes").code == 0
    assert files(root) == before
    assert not machine.run("list", "box.yaml", "--json").json["variants"]
    assert machine.run("gc", "box.yaml", "--older-than", "0d", "--yes").code == 0
    assert files(root) == before


def test_what_was_adopted_and_replaced_later_comes_back_from_before_both(machine: Machine) -> None:
    root = machine.here / "weights"
    put(root / CHAT, machine.chat)
    machine.take("tree", str(root))
    before = files(root)
    assert machine.run("apply", "box.yaml", "--yes").code == 0
    machine.hub.add(CHAT, {**machine.chat, "config.json": b'{"new": 1}'})
    assert machine.run("lock", "box.yaml", "--upgrade").code == 0
    assert machine.run("apply", "box.yaml", "--yes").code == 0
    assert files(root) != before

    for _ in range(2):
        assert machine.run("undo", "box.yaml", "--to", "1", "--yes").code == 0
        assert files(root) == before
    assert not machine.run("list", "box.yaml", "--json").json["variants"]
