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
