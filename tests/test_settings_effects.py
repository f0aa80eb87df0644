"""Every setting changes what it says it changes, from every place that may say it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_kit import Box, a_box
from guide_kit import safetensors

import reconciler
from reconciler import download, settings
from reconciler.hub.server import Hub
from reconciler.settings import Settings

ORIGINS = ("call", "environment", "own", "project")
SHARED = ("limit_rate", "connections", "files", "connections_per_host", "retries", "downloader", "color")
VARIABLES = {
    "endpoint": "HF_ENDPOINT", "civitai_endpoint": "CIVITAI_ENDPOINT", "civitai_token_file": "CIVITAI_TOKEN_FILE",
    **{key: f"RECONCILER_{key.upper()}" for key in (*SHARED, "aria2c", "cache", "registry", "log_dir")},
}  # fmt: skip


@pytest.fixture
def box(world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Box]:
    with a_box(world, monkeypatch, capsys) as made:
        yield made


def test_no_setting_is_without_a_test_of_its_effect() -> None:
    fields = set(Settings.__dataclass_fields__) - {"origins", "token", "civitai_token"}
    assert set(VARIABLES) == fields
    assert {key for key, setting in settings._SETTINGS.items() if setting.shared} == set(SHARED)


def say(box: Box, monkeypatch: pytest.MonkeyPatch, origin: str, values: Mapping[str, object]) -> dict[str, object]:
    """Say settings in one of the places; return what a call is given."""
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
    match origin:
        case "call":
            return dict(values)
        case "environment":
            for key, value in values.items():
                monkeypatch.setenv(VARIABLES[key], str(value))
        case "own":
            for key in values:
                monkeypatch.delenv(VARIABLES[key], raising=False)
            path = settings.user_file(os.environ)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        case "project":
            (box.here / "pyproject.toml").write_text(f"[tool.reconciler]\n{text}")
    return {}


@pytest.mark.parametrize("origin", ORIGINS)
def test_how_it_is_downloaded(box: Box, monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    """limit_rate, connections, files, connections_per_host, retries, downloader."""
    seen: list[Any] = []
    opened = download.open_downloader

    @contextmanager
    def watched(limits: download.Limits, **more: Any) -> Iterator[download.Downloader]:
        seen.append((limits, more["choice"]))
        with opened(limits, **more) as downloader:
            yield downloader

    monkeypatch.setattr(download, "open_downloader", watched)
    values = {"limit_rate": "40MiB", "connections": 2, "files": 3, "connections_per_host": 5, "retries": 7}
    given = say(box, monkeypatch, origin, {**values, "downloader": "huggingface_hub"})

    assert reconciler.apply("box.yaml", settings=given).exit_code == 0

    [(limits, choice)] = seen
    assert (limits.rate, limits.connections_per_file, limits.files) == (40 << 20, 2, 3)
    assert (limits.connections_per_host, limits.retries, choice) == (5, 7, "huggingface_hub")


@pytest.mark.parametrize("origin", ORIGINS[:3])
def test_an_endpoint_is_where_is_asked(box: Box, monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    with Hub() as mirror:
        mirror.add("acme/Only-There", {"model.safetensors": safetensors(3)})
        with pytest.raises(reconciler.SourceError):
            reconciler.resolve_source("hf:acme/Only-There")
        given = say(box, monkeypatch, origin, {"endpoint": mirror.url})
        assert [file.path for file in reconciler.resolve_source("hf:acme/Only-There", settings=given).files]


@pytest.mark.parametrize("origin", ORIGINS[:3])
def test_civitai_is_asked_where_it_is_said_with_the_token_of_the_file(
    box: Box, monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    token = box.here / "token"
    token.write_text("tok-civitai")
    token.chmod(0o600)
    given = say(
        box, monkeypatch, origin, {"civitai_endpoint": "http://127.0.0.1:59123", "civitai_token_file": str(token)}
    )
    chosen = settings.load(os.environ, given)
    world = reconciler.api.ground.upstream(None, chosen, None, offline=False)
    assert (world.civitai, world.civitai_token and world.civitai_token.reveal()) == (
        "http://127.0.0.1:59123",
        "tok-civitai",
    )
    with pytest.raises(reconciler.SourceError, match=r"127\.0\.0\.1:59123"):
        reconciler.resolve_source("civitai:1@2", settings={**given, "retries": 0})


@pytest.mark.parametrize("origin", ORIGINS[:3])
def test_an_aria2c_that_is_not_there_is_refused_with_the_place_that_names_it(
    box: Box, monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    given = say(box, monkeypatch, origin, {"aria2c": "/nowhere/aria2c"})
    with pytest.raises(reconciler.InputError) as caught:
        reconciler.apply("box.yaml", settings=given)
    where = {"call": "--aria2c", "environment": "RECONCILER_ARIA2C", "own": f"{settings.user_file(os.environ)}:1"}
    assert caught.value.problems[0].where == where[origin]
    assert reconciler.list_records("box.yaml") == ()


@pytest.mark.parametrize("origin", ORIGINS[:3])
def test_cache_and_log_lie_where_it_is_said(box: Box, monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    cache, log = box.here / "cache", box.here / "log"
    given = say(box, monkeypatch, origin, {"cache": str(cache), "log_dir": str(log)})
    assert reconciler.apply("box.yaml", settings=given).exit_code == 0
    reconciler.verify("box.yaml", full=True, settings=given)
    assert (cache / "digests.sqlite").exists()
    [end] = [
        line for line in map(json.loads, (log / "reconciler.jsonl").read_text().splitlines()) if line["event"] == "end"
    ]
    assert end["command"] == "apply"
    assert not (box.here / "registry/log").exists()


@pytest.mark.parametrize("origin", ORIGINS[1:3])
def test_a_manifest_that_names_no_registry_has_that_of_the_settings(
    box: Box, monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    box.write({f"registry: {box.here}/registry\n": ""})
    say(box, monkeypatch, origin, {"registry": str(box.here / "books")})
    box.apply()
    assert (box.here / "books/model_registry.json").exists()
    with pytest.raises(reconciler.InputError, match="RECONCILER_REGISTRY"):
        reconciler.apply("box.yaml", settings={"registry": box.here / "others"})


@pytest.mark.parametrize("origin", ORIGINS[1:])
def test_colour_is_as_it_is_said(box: Box, monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    assert "\x1b[" not in box.run("plan", "box.yaml").out
    say(box, monkeypatch, origin, {"color": "always"})
    assert "\x1b[" in box.run("plan", "box.yaml").out
