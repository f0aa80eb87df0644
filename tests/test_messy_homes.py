"""Homes that nobody cleaned are taken over as they are: nothing but our books changes, and the way back is exact."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from importing_kit import Machine, a_machine
from messy_kit import MESS, Home, Print, furnish, inventory

from reconciler import editing
from reconciler.importing.parts import is_weight
from reconciler.manifest import load

SEEDS = (1, 2, 3)
_SUBJECTS = {"huggingface": "tree", "flat": "tree", "a1111": "comfyui", "forge": "comfyui", "sdnext": "comfyui"}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Machine]:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("CIVITAI_ENDPOINT", "http://127.0.0.1:59999")
    with a_machine(tmp_path, monkeypatch, capsys) as made:
        yield made


def taken_over(machine: Machine) -> dict[str, Any]:
    told = machine.run("init", "box.yaml", "--yes", "--offline", "--json")
    assert told.code == 0, told.err
    value: dict[str, Any] = told.json
    return value


def planned(machine: Machine) -> dict[str, Any]:
    told = machine.run("plan", "box.yaml", "--json", "--offline")
    assert told.code == 0, told.err
    value: dict[str, Any] = told.json
    return value


def declared(plan: dict[str, Any]) -> set[Path]:
    """Return where a plan wants files."""
    roots = {name: Path(place["root"]).resolve() for name, place in plan["locations"].items()}
    return {roots[step["address"].rpartition("@")[2]] / row["path"] for step in plan["steps"] for row in step["files"]}


def sound(home: Home, paths: set[Path]) -> bool:
    """Whether nothing among these is a file that only looks like a model."""
    return not home.bad & paths


def without_notes(found: Mapping[str, Print]) -> dict[str, Print | str]:
    """Return an inventory of which links and notes count by what they say: they are written anew, files come back."""
    noted = {
        path for path, print_ in found.items() if stat.S_ISLNK(print_[0]) or "/refs/" in path or "/manifests/" in path
    }
    return {path: print_[-1] if path in noted else print_ for path, print_ in found.items()}


def books(home: Path) -> dict[Path, bytes]:
    """Return the bytes of our registry; its lock tells who held it last."""
    registry = home / ".local/share/reconciler/registry"
    return {path: path.read_bytes() for path in registry.rglob("*") if path.is_file() and path.name != "lock"}


def ours(machine: Machine) -> tuple[bytes, bytes]:
    return machine.manifest.read_bytes(), machine.manifest.with_name("box.lock.json").read_bytes()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_messy_home_is_taken_over_and_given_back_and_no_file_of_it_changes(machine: Machine, seed: int) -> None:
    home = furnish(Path.home(), seed)
    before = inventory(home.path)

    told = taken_over(machine)
    assert machine.run("validate", "box.yaml").code == 0
    plan = planned(machine)
    assert inventory(home.path) == before

    assert {(step["action"], step["reason"], step["blocked"]) for step in plan["steps"]} == {
        ("normalize", "adopt", None)
    }
    assert sound(home, declared(plan))
    left = [row["where"] for row in told["rows"] if row["kind"] in ("left-out", "problem")]
    assert [path for path in home.bad if not any(str(path).startswith(where) for where in left)] == []

    written = ours(machine)
    assert machine.run("apply", "box.yaml", "--yes", "--offline").code == 0
    assert machine.run("plan", "box.yaml", "--offline", "--detailed-exitcode").code == 0
    assert machine.run("verify", "box.yaml", "--full").code == 0
    recorded = books(home.path)
    assert machine.run("apply", "box.yaml", "--yes", "--offline").code == 0
    assert books(home.path) == recorded

    for place in load(machine.manifest).manifest.locations.values():
        subject = _SUBJECTS.get(place.store, place.store)
        where = [] if subject == "ollama" else [str(place.root)]
        local = ["--local"] if subject in ("tree", "lmstudio") else []
        machine.take(subject, *where, *local, "--offline")
    assert ours(machine) == written
    assert inventory(home.path) == before

    assert machine.run("undo", "box.yaml", "--yes").code == 0
    assert inventory(home.path) == before


def test_a_clean_up_takes_what_it_says_and_undo_brings_every_file_back(machine: Machine) -> None:
    home = furnish(Path.home(), 4)
    before = inventory(home.path)
    taken_over(machine)
    assert machine.run("apply", "box.yaml", "--yes", "--offline").code == 0
    whole = machine.manifest.read_text()
    names = list(load(machine.manifest).manifest.variants)[::3]

    kept = whole.replace("\n# What else", "\npolicy: {max_remove: 100%, min_free: 1MiB}\n# What else", 1)
    machine.manifest.write_text(editing.remove_variants(kept, names, where="box.yaml"))
    leaving = {step["address"].partition("@")[0] for step in planned(machine)["steps"] if step["action"] == "remove"}
    assert leaving == set(names)
    assert machine.run("apply", "box.yaml", "--yes", "--offline").code == 0
    after = inventory(home.path)
    assert after.items() < before.items()

    assert machine.run("undo", "box.yaml", "--to", "1", "--yes").code == 0
    assert without_notes(inventory(home.path)) == without_notes(before)
    assert machine.run("gc", "box.yaml", "--older-than", "0d", "--yes").code == 0
    assert without_notes(inventory(home.path)) == without_notes(before)


def test_an_importer_that_trusts_names_would_be_caught(tmp_path: Path) -> None:
    home = furnish(tmp_path, 0)
    for mess in MESS:
        mess(home)
    by_name = {path for path in home.path.rglob("*") if is_weight(path.name) and not path.is_symlink()}

    assert not sound(home, by_name)
