"""`reconciler config`: every setting, its value and its origin; no secret among them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from reconciler.cli import run


def test_every_setting_is_told_with_its_origin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], snapshot: SnapshotAssertion
) -> None:
    monkeypatch.setenv("RECONCILER_LIMIT_RATE", "20MiB")
    monkeypatch.setenv("RECONCILER_CACHE", "/var/cache/reconciler")
    monkeypatch.setenv("RECONCILER_REGISTRY", "/srv/registry")
    path = Path.home() / ".config" / "reconciler" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text("files = 2\n")

    assert run(["config"]) == 0

    told = capsys.readouterr().out
    assert f"Your settings file: {path}\n" in told
    padded = [" ".join(line.split()) for line in told.replace(str(Path.home()), "HOME").splitlines()]
    assert padded == snapshot


def test_json_has_values_as_programs_want_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RECONCILER_LIMIT_RATE", "20MiB")

    assert run(["config", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told["limit_rate"] == {"value": 20 * 1024 * 1024, "origin": "RECONCILER_LIMIT_RATE"}
    assert told["endpoint"] == {"value": "https://huggingface.co", "origin": "default"}


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_token_is_only_said_to_be_there(
    form: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canarycanary")

    assert run(["config", *form]) == 0

    told = capsys.readouterr()
    assert "canary" not in told.out + told.err
    assert "HF_TOKEN" in told.out


def test_every_wrong_setting_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RECONCILER_FILES", "many")
    monkeypatch.setenv("RECONCILER_RETRIES", "-1")

    assert run(["config"]) == 1

    told = capsys.readouterr()
    assert told.out == ""
    assert "RECONCILER_FILES" in told.err
    assert "RECONCILER_RETRIES" in told.err


def test_a_project_says_for_everybody_and_the_line_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], world: Path
) -> None:
    (world / "deploy").mkdir()
    project = world / "pyproject.toml"
    project.write_text('[project]\nname = "weights"\n\n[tool.reconciler]\nretries = 9\n')
    monkeypatch.chdir(world / "deploy")

    assert run(["config"]) == 0

    told = capsys.readouterr().out
    assert [line.split() for line in told.splitlines() if line.startswith("retries")] == [
        ["retries", "9", f"{project}:5"]
    ]
    assert f"The project's: {project}\n" in told


def test_the_project_of_a_manifest_elsewhere_counts_not_that_of_the_current_directory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], world: Path
) -> None:
    for name, retries in (("here", 1), ("there", 2)):
        (world / name).mkdir()
        (world / name / "pyproject.toml").write_text(f"[tool.reconciler]\nretries = {retries}\n")
    monkeypatch.chdir(world / "here")

    assert run(["config", str(world / "there" / "box.yaml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["retries"]["value"] == 2
    assert run(["config", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["retries"]["value"] == 1


@pytest.mark.parametrize("command", [["plan"], ["apply", "--yes"], ["verify"], ["undo", "--yes"], ["lock"]])
def test_every_command_heeds_the_project_of_its_manifest(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], world: Path
) -> None:
    (world / "there").mkdir()
    (world / "here").mkdir()
    (world / "there/pyproject.toml").write_text("[tool.reconciler]\nretries = -1\n")
    manifest = world / "there/box.yaml"
    manifest.write_text(f"version: 1\nlocations:\n  a: {{ store: flat, root: {world}/weights }}\n")
    monkeypatch.chdir(world / "here")

    assert run([command[0], str(manifest), *command[1:]]) == 1
    assert f"{world}/there/pyproject.toml:2: retries: expected a whole number" in capsys.readouterr().err
