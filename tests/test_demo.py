"""The demo is a tour that proves itself: whole, it holds every promise; spoilt, it says which one was broken."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from demo_kit import reconciler

from reconciler import demo
from reconciler.demo import manifest
from reconciler.demo.account import Account, Check, Step, to_json
from reconciler.demo.stage import TOKEN, environment
from reconciler.demo.telling import Teller
from reconciler.demo.tours import TOURS, Props, tour_of
from reconciler.errors import InputError
from reconciler.house import is_payload, staged
from reconciler.hub import Hub

FULL = ["validate", "plan", "apply", "list", "roles", "verify", "lock", "undo", "gc"]


def test_the_whole_demo_keeps_every_promise_and_leaves_nothing_behind(world: Path) -> None:
    done = reconciler("demo", "--json", temporary=world, HF_TOKEN="hf_mine_and_nobody_elses")
    told = json.loads(done.stdout)
    broken = [check["claim"] for step in told["steps"] for check in step["checks"] if not check["ok"]]
    assert (broken, done.returncode, told["ok"], done.stderr) == ([], 0, True, "")
    commands = [step["command"].removeprefix("HF_TOKEN=hf_*** ") for step in told["steps"] if step["exit"] is not None]
    assert {command.split()[1] for command in commands if command.startswith("reconciler ")} == set(FULL)
    assert {step["exit"] for step in told["steps"]} == {0, 2, 3, 8, -9, None}
    assert sum(len(step["checks"]) for step in told["steps"]) > 40
    assert told["directory"] is None
    assert list(world.iterdir()) == []
    assert [path for path in Path(os.environ["HOME"]).rglob("*") if path.is_file()] == [], "the user's own stays alone"


IMAGES = {"validate", "plan", "apply", "import", "detect", "status", "lock", "verify"}


def test_the_tour_of_image_models_keeps_every_promise_and_leaves_nothing_behind(world: Path) -> None:
    done = reconciler("demo", "comfyui", "--json", temporary=world, CIVITAI_TOKEN="mine_and_nobody_elses")
    told = json.loads(done.stdout)
    broken = [check["claim"] for step in told["steps"] for check in step["checks"] if not check["ok"]]
    assert (broken, done.returncode, told["ok"], done.stderr) == ([], 0, True, "")
    commands = [step["command"].split() for step in told["steps"] if step["exit"] is not None]
    assert {command[1] for command in commands if command[0] == "reconciler"} == IMAGES
    assert {step["exit"] for step in told["steps"]} == {0, 3, 24, None}
    assert sum(len(step["checks"]) for step in told["steps"]) > 60
    assert list(world.iterdir()) == []
    assert [path for path in Path(os.environ["HOME"]).rglob("*") if path.is_file()] == [], "the user's own stays alone"


def test_a_hub_that_spoils_an_image_model_is_told_as_a_broken_promise(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(world))
    hub = Hub(token=TOKEN)
    hub.fault("corrupt", times=-1, path="allround_xl.safetensors")
    told = to_json(demo.perform(Teller(), tour="comfyui", hub=hub))
    assert not told["ok"]
    last = told["steps"][-1]
    assert (last["command"], last["exit"]) == ("reconciler apply --yes", 5)
    assert "allround_xl.safetensors" in last["output"]
    assert list(world.iterdir()) == []


def test_a_kept_world_of_images_goes_on(world: Path) -> None:
    done = reconciler("demo", "comfyui", "--json", "--keep", str(world / "kept"), temporary=world)
    assert done.returncode == 0
    kept = world / "kept"
    variables = dict(
        line.removeprefix("export ").split("=", 1) for line in (kept / "env.sh").read_text().splitlines()[1:]
    )
    assert variables["CIVITAI_ENDPOINT"].startswith("http://127.0.0.1:")
    with pytest.raises(InputError, match="empty"):
        demo.perform(Teller(), tour="comfyui", keep=kept)


def test_a_tour_that_is_none_is_one_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    from reconciler.cli import run

    assert run(["demo", "comfui"]) == 1
    assert "did you mean `comfyui`?" in capsys.readouterr().err


def test_every_tour_is_named_by_the_help_of_the_command() -> None:
    from reconciler.cli.demo import command

    for name in TOURS:
        assert f"`{name}`" in (command.__doc__ or "")


def test_a_hub_that_spoils_what_it_sends_is_told_as_a_broken_promise(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(world))
    hub = Hub(token=TOKEN)
    hub.fault("corrupt", times=-1, path="Q4_K_M.gguf")
    account = demo.perform(Teller(), hub=hub)
    told = to_json(account)
    assert not told["ok"]
    last = told["steps"][-1]
    assert (last["command"], last["exit"]) == ("reconciler apply --yes", 5)
    assert last["checks"] == [{"claim": "exit 0: all of it is done", "ok": False}]
    assert "Q4_K_M.gguf" in last["output"]
    assert list(world.iterdir()) == []


def test_a_broken_promise_is_exit_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from reconciler.cli import run

    for ok, code in ((True, 0), (False, 1)):
        step = Step("Title", "reconciler plan", 0, 0.1, (Check("exit 0", ok),), "what it said")
        monkeypatch.setattr(demo, "perform", lambda *_, step=step, **__: Account((step,), 1, 0.1))
        assert run(["demo", "--json"]) == code
        told = json.loads(capsys.readouterr().out)
        assert told["ok"] is ok
        assert ("output" in told["steps"][0]) is not ok, "what was said matters where a check failed"


def test_only_an_empty_directory_is_kept_in(world: Path) -> None:
    (world / "mine").write_text("mine")
    (world / "link").symlink_to(world / "elsewhere")
    for wrong in (world, world / "mine", world / "link"):
        with pytest.raises(InputError, match="empty"):
            demo.perform(Teller(), keep=wrong)
    assert sorted(path.name for path in world.iterdir()) == ["link", "mine"]


def test_a_kept_world_goes_on_with_the_hub_that_is_told(world: Path) -> None:
    hub = Hub(token=TOKEN)
    spoken = io.StringIO()
    account = Account((Step("Title", "reconciler plan", 0, 0.1, (Check("exit 0", True),)),), 1, 0.1, str(world))
    from reconciler.demo.farewell import leave

    with hub:
        leave(Teller(spoken), account, hub, tour_of("models"), Props())
        url = hub.url
    text = spoken.getvalue()
    assert f"--port {url.rpartition(':')[2]} " in text
    shown = subprocess.run(
        ["sh", "-c", ". ./env.sh && echo $HF_ENDPOINT $XDG_DATA_HOME"],
        cwd=world,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split() == [url, str(world / ".local/share")]


def test_nothing_of_the_user_reaches_the_commands_of_the_demo(world: Path) -> None:
    mine = {
        "HF_TOKEN": "hf_mine", "HF_HOME": "/mine", "HUGGING_FACE_HUB_TOKEN": "hf_mine", "https_proxy": "http://mine",
        "ALL_PROXY": "http://mine", "RECONCILER_REGISTRY": "/mine", "XDG_DATA_HOME": "/mine",
        "XDG_CONFIG_HOME": "/mine", "HF_HUB_OFFLINE": "1", "CIVITAI_TOKEN": "mine",
    }  # fmt: skip
    given = environment(world, "http://127.0.0.1:1", {**mine, "NO_COLOR": "1", "PATH": "/bin"})
    assert [name for name, value in given.items() if "mine" in value or name == "HF_HUB_OFFLINE"] == []
    assert (given["NO_COLOR"], given["PATH"]) == ("1", "/bin")


def test_narration_is_plain_where_there_is_no_colour_and_no_unicode() -> None:
    raw = io.BytesIO()
    teller = Teller(io.TextIOWrapper(raw, encoding="ascii"))
    teller.heading(1, 2, "Title")
    teller.says("word " * 40)
    teller.check("kept", True)
    teller.check("broken", False)
    text = raw.getvalue().decode("ascii")
    assert "ok kept\nNOT OK broken\n" in text
    assert max(map(len, text.splitlines())) <= 79
    coloured = io.StringIO()
    Teller(coloured, colour=True).check("kept", True)
    assert coloured.getvalue() == "\x1b[32m✓ kept\x1b[0m\n"


def test_an_edit_of_the_manifest_is_what_it_says() -> None:
    once = manifest.added(manifest.MANIFEST, manifest.LARGE)
    assert once.count(manifest.LARGE) == 1
    assert once.index(manifest.LARGE) < once.index("roles:")
    assert manifest.without(once, manifest.LARGE) == manifest.MANIFEST
    for block in (manifest.AWQ, manifest.Q4):
        assert manifest.MANIFEST.count(block) == 1


def test_what_stands_beside_a_partial_file_is_no_file_on_its_way(world: Path) -> None:
    name = "sha256-" + "0" * 64
    assert is_payload(name)
    assert is_payload(f"{name}_part")
    assert not any(is_payload(name + mark) for mark in ("_meta", "_meta_new", ".aria2"))
    stage = world / "stage"
    stage.mkdir()
    with (stage / name).open("wb") as file:
        file.truncate(50 << 20)
    (found,) = staged(str(world))[0]
    assert found.size < 1 << 20, "a file with holes is as large as what is there"
