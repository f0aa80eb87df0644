"""The tour of Ollama proves itself: whole, it holds every promise; spoilt, it says which one was broken."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from demo_kit import reconciler

from reconciler import demo
from reconciler.demo.account import to_json
from reconciler.demo.telling import Teller
from reconciler.hub.ollama_registry import Registry


def test_the_whole_tour_keeps_every_promise_and_leaves_nothing_behind(world: Path) -> None:
    mine = {"OLLAMA_HOST": "http://127.0.0.1:1", "OLLAMA_MODELS": str(world / "mine")}
    done = reconciler("demo", "ollama", "--json", temporary=world, **mine)
    told = json.loads(done.stdout)
    broken = [check["claim"] for step in told["steps"] for check in step["checks"] if not check["ok"]]
    assert (broken, done.returncode, told["ok"], done.stderr) == ([], 0, True, "")
    commands = {step["command"].split()[1] for step in told["steps"] if step["command"].startswith("reconciler ")}
    assert commands == {"validate", "plan", "lock", "apply", "verify", "undo", "import"}
    assert sum(len(step["checks"]) for step in told["steps"]) > 40
    assert list(world.iterdir()) == []


def test_a_registry_that_spoils_what_it_sends_is_told_as_a_broken_promise(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(world))
    real = Registry.add

    def add(self: Registry, *args: object, **more: object) -> bytes:
        data = real(self, *args, **more)  # type: ignore[arg-type]
        digest = json.loads(data)["layers"][0]["digest"]
        self.fault("corrupt", times=-1, path=digest, method="GET")
        return data

    monkeypatch.setattr(Registry, "add", add)
    told = to_json(demo.perform(Teller(), tour="ollama"))
    assert not told["ok"]
    last = told["steps"][-1]
    assert (last["command"], last["exit"]) == ("reconciler apply --yes", 5)
    assert last["checks"] == [{"claim": "exit 0: all of it is done", "ok": False}]
    assert list(world.iterdir()) == []
