"""The tour of taking over proves itself: whole, it holds every promise; spoilt, it says which one was broken."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from demo_kit import reconciler

from reconciler import demo
from reconciler.demo import mess
from reconciler.demo.account import to_json
from reconciler.demo.stage import TOKEN
from reconciler.demo.telling import Teller
from reconciler.hub import demo_takeover
from reconciler.hub.server import Hub


def test_the_whole_tour_keeps_every_promise_and_the_users_own_home_is_not_looked_at(world: Path) -> None:
    mine = {
        "OLLAMA_HOST": "http://127.0.0.1:1",
        "OLLAMA_MODELS": str(world / "mine"),
        "LLAMA_CACHE": str(world / "cpp"),
    }
    mess.put(world, {"cpp/mine.gguf": b"GGUF", "root/weights/me/mine/mine.gguf": b"GGUF"})
    mine["IMAGEWORKS_MODEL_ROOT"] = str(world / "root")
    done = reconciler("demo", "takeover", "--json", "--keep", str(world / "kept"), temporary=world, **mine)
    told = json.loads(done.stdout)
    broken = [check["claim"] for step in told["steps"] for check in step["checks"] if not check["ok"]]
    assert (broken, done.returncode, told["ok"], done.stderr) == ([], 0, True, "")
    commands = {step["command"].split()[1] for step in told["steps"] if step["command"].startswith("reconciler ")}
    assert commands == {
        "init", "plan", "apply", "import", "duplicates", "stats", "verify", "list", "lock", "undo", "gc"
    }  # fmt: skip
    assert sum(len(step["checks"]) for step in told["steps"]) > 40
    kept = world / "kept"
    assert "HOME=" in (kept / "env.sh").read_text()
    assert "hf:bigcorp/Reranker" in (kept / "reconciler.yaml").read_text()
    assert "mine.gguf" not in done.stdout
    assert {path.name for path in world.iterdir()} == {"kept", "cpp", "root"}


def test_a_home_that_is_not_as_it_is_told_is_a_broken_promise(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(world))
    real = mess.furnish

    def furnish(home: Path, hub: Hub, assistant: str) -> None:
        real(home, hub, assistant)
        (home / mess.LMSTUDIO / demo_takeover.GGUF / mess.Q8).write_bytes(b"GGUF, but no copy of anything")

    monkeypatch.setattr(mess, "furnish", furnish)
    told = to_json(demo.perform(Teller(), tour="takeover"))
    assert not told["ok"]
    last = told["steps"][-1]
    assert last["command"] == "reconciler init --yes --report found.csv"
    assert [check["claim"] for check in last["checks"] if not check["ok"]]
    assert list(world.iterdir()) == []


def test_a_hub_that_spoils_the_file_that_is_to_be_repaired_is_told_as_a_broken_promise(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(world))
    hub = Hub(token=TOKEN)
    hub.fault("corrupt", times=-1, path="model.safetensors")
    told = to_json(demo.perform(Teller(), tour="takeover", hub=hub))
    last = told["steps"][-1]
    assert (told["ok"], last["command"]) == (False, "reconciler verify --repair")
    assert last["checks"] == [{"claim": "exit 0: it was brought back", "ok": False}]


def test_the_hub_of_a_kept_world_has_the_commits_that_the_lock_names() -> None:
    one, other = Hub(), Hub()
    assert demo_takeover.populate(one) == demo_takeover.populate(other)
    assert one.renamed == {demo_takeover.OLD: demo_takeover.NEW}
