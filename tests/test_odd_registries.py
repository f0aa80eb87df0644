"""Registries of any shape: read and planned without a stumble, nothing lost, curated left alone, the same again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from importing_kit import Machine, a_machine, put
from takeover_kit import record

from reconciler.hub.checkpoints import llama_files
from reconciler.registry import CURATED, DISCOVERED, MERGED

HERE = "@HERE@"
"""Stands for the directory of the weights, which is known only when a test runs."""

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 1 << 70), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
    st.sampled_from([
        "None", "ollama://None", "ollama:/x:1", "ollama:/hf.co/a/b:Q4_K_M", "/", "", "~", f"{HERE}/acme/m",
        f"{HERE}/acme/gone", "/tmp/pytest-of-me/pytest-1/w/o/x", "/a\0b", "größe", "a\nb", "../..", "acme/m@dev",
        "existing/m", "q4_k_m", "ollama", "vllm", "\ud800", "x" * 300, "'\"[]{}:#", "|",
    ]),
)  # fmt: skip
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
FIELDS = sorted(record("x"))
NAMES = ("a", "b", "r-1", "größe_(Q4)", "x y", "None", "", "n@l", "_", "testzzz", "/a/b")


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    """A record with some fields that are missing, and some that hold anything at all."""
    said = record(draw(st.sampled_from(NAMES)))
    if draw(st.booleans()):
        said |= {"download_path": f"{HERE}/acme/m", "source": {"huggingface_id": "acme/m"}}
    for field in draw(st.lists(st.sampled_from(FIELDS), max_size=5)):
        said[field] = draw(VALUES)
    for field in draw(st.lists(st.sampled_from(FIELDS), max_size=3)):
        said.pop(field, None)
    inner = st.sampled_from(["huggingface_id", "path", "branch", "model_path", "locked", "testing", "chat", "text"])
    for field in draw(st.lists(st.sampled_from(["source", "metadata", "backend_config", "version_lock"]), max_size=3)):
        if isinstance(said.get(field), dict):
            said[field] = {**said[field], draw(inner): draw(VALUES)}
    return said


def named(said: dict[str, Any]) -> dict[str, Any]:
    return said if isinstance(said.get("name"), str) else {**said, "name": "z"}


LAYERS = st.lists(entries().map(named), max_size=4)
SHAPES = st.one_of(
    st.lists(entries() | VALUES, max_size=4), st.dictionaries(st.text(max_size=4), entries(), max_size=3), VALUES,
    st.builds(lambda listed: {"models": listed}, st.lists(entries(), max_size=3)),
)  # fmt: skip
OFTEN = settings(
    max_examples=40, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Machine]:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")  # nobody listens there
    with a_machine(tmp_path, monkeypatch, capsys) as made:
        put(made.here / "weights/acme/m", llama_files(seed=1))
        yield made


def written(machine: Machine, **layers: Any) -> Path:
    """Write a registry; `HERE` becomes the place of the weights. Return its directory, without what was there."""
    folder = machine.here / "old"
    shutil.rmtree(folder, ignore_errors=True)
    for path in machine.here.glob("box.*"):
        path.unlink()
    folder.mkdir()
    for name, value in layers.items():
        text = json.dumps(value, indent=2).replace(HERE, str(machine.here / "weights"))
        (folder / f"{name.replace('__', '.')}.json").write_text(text)
    return folder


def ran(machine: Machine, *arguments: str) -> int:
    """Run a command; nothing of it may be our mistake."""
    told = machine.run(*arguments)
    assert "this is a defect" not in told.err, told.err
    return told.code


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("model*.json")}


def box(machine: Machine) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in machine.here.glob("box.*")}


@OFTEN
@given(discovered=SHAPES, curated=SHAPES, merged=SHAPES, backup=SHAPES)
def test_any_shape_is_imported_or_told_never_written_and_known_the_second_time(
    machine: Machine, discovered: object, curated: object, merged: object, backup: object
) -> None:
    bak = {"model_registry__discovered__20251013T101010Z__bak": backup}
    layers = {"model_registry__discovered": discovered, "model_registry__curated": curated, "model_registry": merged}
    before = files_of(written(machine, **layers, **bak))
    command = ("import", "imageworks", "old", "--manifest", "box.yaml", "--offline", "--local", "--include-testing")

    assert ran(machine, *command) == 0
    once = box(machine)
    assert ran(machine, *command) == 0

    assert box(machine) == once
    assert files_of(machine.here / "old") == before
    assert not once or ran(machine, "validate", "box.yaml") == 0


@OFTEN
@given(discovered=LAYERS, curated=LAYERS)
def test_any_layer_is_planned_pruned_taken_over_and_given_back_to_the_byte(
    machine: Machine, discovered: list[dict[str, Any]], curated: list[dict[str, Any]]
) -> None:
    folder = written(machine, model_registry__discovered=discovered, model_registry__curated=curated)
    before = files_of(folder)
    assert ran(machine, "import", "imageworks", "old", "--manifest", "box.yaml", "--offline", "--local") == 0
    text = machine.manifest.read_text() if machine.manifest.exists() else "version: 1\nvariants: {}\n"
    place = f"registry: {folder}\npolicy: {{ stale_records: prune }}\n"
    machine.manifest.write_text(text.replace("version: 1\n", f"version: 1\n{place}"))

    code = ran(machine, "apply", "box.yaml", "--yes", "--offline")
    if code == 1:  # what no lock can know offline stands in the way of all
        assert "not in the lock" in machine.run("plan", "box.yaml", "--offline").err
        assert files_of(folder) == before
        return
    after = files_of(folder)
    assert ran(machine, "plan", "box.yaml", "--offline", "--detailed-exitcode") == code
    assert ran(machine, "apply", "box.yaml", "--yes", "--offline") == code
    assert files_of(folder) == after
    assert after[CURATED] == before[CURATED]
    if MERGED in after:
        kept = [entry for entry in json.loads(after[DISCOVERED]) if "reconciler" not in (entry.get("metadata") or {})]
        assert all(entry in json.loads(before[DISCOVERED]) for entry in kept)
        assert ran(machine, "undo", "box.yaml", "--yes") == 0
        assert files_of(folder)[DISCOVERED] == before[DISCOVERED]
