"""The whole program against a loopback Civitai, well-behaved and not: what arrives, what is told, who sees a token."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from apply_kit import FakeDownloader, Ground
from test_faults_hub import QUICK, declare
from test_faults_secrets import CANARY, Watcher, leaks, run

from reconciler.download import find_aria2c
from reconciler.hub.civitai import Civitai
from reconciler.hub.diffusion import image_model

pytestmark = pytest.mark.faults

LARGE = image_model("lora", 1, size=3 << 20)
SMALL = image_model("embedding", 2)


@pytest.fixture
def civitai(monkeypatch: pytest.MonkeyPatch) -> Iterator[Civitai]:
    with Civitai(token=CANARY) as running:
        running.add_model(7, "Storybook")
        running.add_version(7, 71, {"story.safetensors": LARGE})
        running.add_model(8, "Bad Hands", "TextualInversion")
        running.add_version(8, 81, {"hands.safetensors": SMALL})
        monkeypatch.setenv("CIVITAI_ENDPOINT", running.url)
        monkeypatch.setenv("CIVITAI_TOKEN", CANARY)
        yield running


@pytest.fixture
def ground(world: Path, civitai: Civitai, monkeypatch: pytest.MonkeyPatch) -> Ground:
    from reconciler import download

    real = download.open_downloader
    monkeypatch.setattr(download, "open_downloader", lambda _limits, **more: real(QUICK, **more))
    made = Ground(world, FakeDownloader())
    declare(made, {"story": "civitai:7", "hands": "urn:air:sdxl:embedding:civitai:8@81"})
    return made


def placed(ground: Ground) -> dict[str, bytes]:
    found = [path for path in (ground.path / "main").rglob("*.safetensors") if ".reconciler" not in path.parts]
    return {path.name: path.read_bytes() for path in found}


def test_models_come_are_verified_and_then_nothing_is_left_to_do(ground: Ground, civitai: Civitai) -> None:
    told = ground.apply()

    assert told.code == 0, told.text
    assert placed(ground) == {"story.safetensors": LARGE, "hands.safetensors": SMALL}
    lock = json.loads((ground.path / "ws.lock.json").read_text())
    assert lock["variants"]["story"]["revision"] == "71"
    civitai.reset_log()
    assert ground.run("plan", "--detailed-exitcode", "--locked").code == 0
    assert civitai.requests == [], "what is there and locked is nobody's business"
    assert ground.run("verify", "--full").code == 0


def test_a_newer_version_is_told_and_taken_on_purpose_only(ground: Ground, civitai: Civitai) -> None:
    assert ground.apply().code == 0
    civitai.add_version(7, 72, {"story_v2.safetensors": SMALL})

    assert ground.run("lock", "--check").code == 2
    assert ground.steps() == []
    assert ground.run("lock", "--upgrade", "story").code == 0
    assert ground.apply().code == 0
    assert placed(ground) == {"story_v2.safetensors": SMALL, "hands.safetensors": SMALL}


def test_one_that_may_not_be_had_is_blocked_with_the_reason_and_the_others_come(
    ground: Ground, civitai: Civitai
) -> None:
    civitai.versions[71].early_access = civitai.now() + 86_400

    told = ground.run("plan")
    assert "blocked: it is in early access until 20" in told.out
    assert ground.apply().code == 3
    assert list(placed(ground)) == ["hands.safetensors"]
    civitai.advance(86_500)
    assert ground.apply().code == 0


def test_without_a_token_the_plan_says_what_to_do(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CIVITAI_TOKEN")
    told = ground.run("plan")
    assert told.out.count("no token is set") == 2
    assert "set CIVITAI_TOKEN" in told.out
    assert (ground.path / "main").exists() is False


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("expire", {"after": 1 << 20}), ("truncate", {}), ("reset", {"after": 1 << 20}), ("status", {"code": 503})],
    ids=["expire", "truncate", "reset", "503"],
)
def test_trouble_on_the_way_is_overcome(ground: Ground, civitai: Civitai, kind: str, settings: dict[str, int]) -> None:
    assert ground.run("lock").code == 0
    looks = 2 if find_aria2c() is None else 3
    civitai.fault(kind, times=1, path="story", skip=looks, **settings)  # past those who ask for one byte
    civitai.reset_log()
    told = ground.apply()
    assert told.code == 0, told.text
    assert placed(ground)["story.safetensors"] == LARGE
    ranges = [r.headers.get("range") for r in civitai.requests if r.path.endswith("story.safetensors")]
    assert ranges[:looks] == ["bytes=0-0"] * looks
    assert ranges[looks] != "bytes=0-0"
    assert civitai.faults_served == 1


@pytest.mark.parametrize("kind", ["corrupt", "html"])
def test_what_is_not_the_locked_file_is_never_placed(ground: Ground, civitai: Civitai, kind: str) -> None:
    assert ground.run("lock").code == 0
    civitai.fault(kind, times=-1, path="story")
    told = ground.apply()

    assert told.code in (3, 5), told.text
    assert list(placed(ground)) == ["hands.safetensors"]
    assert ("a web page" if kind == "html" else "sha256:") in told.text


def test_a_file_that_was_rewritten_upstream_is_an_error_that_names_both(ground: Ground, civitai: Civitai) -> None:
    from reconciler.hub.repos import Blob

    assert ground.run("lock").code == 0
    civitai.replace_file(71, "story.safetensors", SMALL)
    told = ground.apply()

    assert told.code in (3, 5), told.text
    assert f"sha256:{Blob(LARGE).sha256}" in told.text
    assert f"sha256:{Blob(SMALL).sha256}" in told.text
    assert list(placed(ground)) == ["hands.safetensors"]


def test_the_token_stays_between_us_and_civitai(ground: Ground, civitai: Civitai) -> None:
    civitai.add_version(7, 71, {"story.safetensors": image_model("lora", 3, size=14 << 20)})
    found: set[str] = set()
    for arguments in (("config", "--json"), ("doctor", "--json", "--offline"), ("plan", "--markdown")):
        assert not leaks(ground.run(*arguments).text.encode())
    for arguments in (("plan", "--json", "-o", str(ground.path / "plan.json")), ("apply", "--yes", "--json")):
        ran = run(ground, found, *arguments)
        assert ran.code == 0, f"{arguments}: {ran.text}"
    with Watcher(os.getpid(), (ground.path, Path(os.environ["HOME"]))) as watcher:
        watcher.look_at_files()
    for request in civitai.requests:
        if leaks(repr((request.path, request.query)).encode()):
            found.add(f"an address: {request.path}")
        if request.origin == "cdn" and leaks(repr(request.headers).encode()):
            found.add(f"a request to where the bytes are: {request.path}")

    assert {each for each in found | watcher.found if not each.startswith("saw ")} == set()
    if find_aria2c() is not None:
        assert "saw aria2c" in found, "the watcher never saw aria2c at work"
    assert any(leaks(repr(request.headers).encode()) for request in civitai.requests), "the token was never used"


@pytest.mark.parametrize("code", [401, 403, 500])
@pytest.mark.parametrize("origin", ["hub", "cdn"])
def test_no_error_says_the_token(
    ground: Ground, civitai: Civitai, monkeypatch: pytest.MonkeyPatch, code: int, origin: str
) -> None:
    from test_faults_hub import _impatient

    from reconciler.sources import World

    assert ground.run("lock").code == 0
    environment = World.from_environment
    monkeypatch.setattr(World, "from_environment", lambda *a, **k: _impatient(environment(*a, **k)))
    echo = json.dumps({"error": f"who is {CANARY}?"}).encode()
    if code == 500:
        civitai.fault("status", code=500, times=-1, origin=origin)  # type: ignore[arg-type]
    else:
        civitai.fault("answer", code=code, body=echo, times=-1, origin=origin)  # type: ignore[arg-type]
    told = ground.apply("--json")
    assert told.code in (1, 3, 5), told.text
    watcher = Watcher(os.getpid(), (ground.path, Path(os.environ["HOME"])))
    watcher.look_at_files()
    assert watcher.found == set()
    assert not leaks(told.text.encode()), told.text
