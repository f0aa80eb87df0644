"""Ollama end to end where only the server's API reaches the store: pull with a guard copy, copy, create, delete."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ollama_box_kit
import ollama_kit
import pytest
from ollama_box_kit import TEMPLATE, Box, move, snapshot
from ollama_kit import Answer, ask, publish, pull

from reconciler.apply import by_api
from reconciler.errors import OllamaError
from reconciler.hub.ollama_registry import Registry
from reconciler.hub.ollama_server import OllamaServer
from reconciler.ollama.api import Api

either, registry, far = ollama_kit.either, ollama_box_kit.registry, ollama_box_kit.far

OWNED = {"tiny-a": {}, "tiny-b": {"served_as": "mine:b"}}


class Killed(BaseException):
    """What a process that ends meets in the middle of a step: nothing of it is caught."""


def source_name(box: Box, reference: str = "tiny:v1") -> str:
    return f"{box.registry.host}/acme/{reference}"


@pytest.fixture
def boxed(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same on the embedded server only, which can be spoilt."""
    ollama_box_kit.closed_store(monkeypatch)
    with OllamaServer.start(tmp_path / "models") as server:
        yield Box(tmp_path, registry, server, by_api=True)


def killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be put back by who dies: a process that is killed does not."""
    real = by_api._put_back

    def put_back(*args: Any) -> None:
        if not isinstance(sys.exception(), Killed):
            real(*args)

    monkeypatch.setattr(by_api, "_put_back", put_back)


def stop_at(monkeypatch: pytest.MonkeyPatch, verb: str, at: int, error: BaseException, *, after: bool = True) -> None:
    """Let the `at`th call of a verb of the API, or what comes right after it, be where things end."""
    real: Callable[..., Any] = getattr(Api, verb)
    left = [at]

    def call(self: Api, *args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and not after:
            raise error
        value = real(self, *args, **kwargs)
        if left[0] == 0:
            raise error
        return value

    monkeypatch.setattr(Api, verb, call)


# -- install ----------------------------------------------------------------------------------------------------------


def test_the_server_pulls_what_is_locked_and_nothing_is_written_by_us(far: Box) -> None:
    far.declare(OWNED)
    ran = far.applied()
    locked = far.lock()["tiny-a"]["revision"]
    assert far.listed() == {source_name(far): locked, "mine:b": locked}
    assert not (far.models / ".reconciler").exists()
    assert far.guards() == []
    assert "api" in ran.out
    assert far.run("verify").code == 0
    assert len(far.fetched()) == 1, "the second name is a copy"


def test_a_name_that_was_only_borrowed_for_the_pull_is_gone_again(far: Box) -> None:
    far.declare({"tiny": {"served_as": "mine"}})
    far.applied()
    assert list(far.listed()) == ["mine:latest"]
    assert far.guards() == []


def test_what_stood_under_the_borrowed_name_stands_there_again(far: Box) -> None:
    move(far.registry)
    pull(far.url, source_name(far))
    theirs = far.listed()[source_name(far)]
    publish(far.registry, "tiny", "v1", namespace="acme")
    far.declare({"tiny": {"served_as": "mine"}})
    far.applied()
    assert far.listed()[source_name(far)] == theirs
    assert far.listed()["mine:latest"] == far.lock()["tiny"]["revision"] != theirs
    assert far.guards() == []
    assert far.show(source_name(far))["details"]["quantization_level"] == "IQ4_XS", "its blobs are there"


def test_what_is_there_already_is_adopted(far: Box) -> None:
    pull(far.url, source_name(far))
    far.declare({"tiny": {}})
    assert [(step["action"], step["reason"]) for step in far.steps().values()] == [("normalize", "adopt")]
    far.registry.reset_log()
    far.applied()
    assert far.fetched() == {}


def test_a_model_under_another_name_is_copied_not_pulled(far: Box) -> None:
    pull(far.url, source_name(far))
    far.declare({"tiny": {"served_as": "mine"}})
    far.registry.reset_log()
    far.applied()
    assert far.fetched() == {}
    assert set(far.listed()) == {source_name(far), "mine:latest"}


def test_a_gguf_of_the_hub_is_blocked_with_the_way_out(boxed: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconciler.hub.ggufs import gguf_files
    from reconciler.hub.server import Hub

    with Hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.add("acme/Tiny-GGUF", gguf_files("Tiny", ["Q4_K_M"]))
        boxed.declare({"g": {"source": "hf:acme/Tiny-GGUF", "files": ["*Q4_K_M.gguf"]}, "tiny": {}})
        ran = boxed.apply()
    assert ran.code == 3, ran.text
    assert "`models`" in ran.text
    assert list(boxed.listed()) == [source_name(boxed)], "the other step was not held up"


def test_what_a_modelfile_says_is_made_by_the_server_and_known_afterwards(far: Box) -> None:
    said = {"template": TEMPLATE, "system": "Be brief.", "parameters": {"num_ctx": 64}}
    far.declare({"tiny": {"served_as": "brief", **said}})
    far.applied()
    shown = far.show("brief")
    assert (shown["template"], shown["system"]) == (TEMPLATE, "Be brief.")
    assert list(far.listed()) == ["brief:latest"], "what it was made of stands under no name"
    assert far.guards() == []
    before = far.listed()
    far.declare({"tiny": {"served_as": "brief", **said, "system": "Be long."}})
    assert [step["action"] for step in far.steps().values()] == ["download"]
    far.applied()
    assert far.show("brief")["system"] == "Be long."
    assert far.listed() != before
    assert far.run("undo", "--yes").code == 0
    assert far.listed() == before


def test_a_proxy_in_front_of_the_api_serves_as_well(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    ollama_box_kit.closed_store(monkeypatch)
    with OllamaServer.start(tmp_path / "models", prefix="/team") as server:
        box = Box(tmp_path, registry, server, by_api=True)
        box.declare(OWNED)
        box.applied()
        assert set(box.listed()) == {source_name(box), "mine:b"}


def test_upper_case_and_ports_in_names_are_kept(far: Box) -> None:
    publish(far.registry, "Tiny.X", "Q4_K_M", namespace="Acme")
    far.declare({"tiny": {"source": far.source("Tiny.X:Q4_K_M", "Acme")}, "more": {"served_as": "Team/Mine:X"}})
    far.applied()
    assert set(far.listed()) == {f"{far.registry.host}/Acme/Tiny.X:Q4_K_M", "Team/Mine:X"}


# -- upstream ----------------------------------------------------------------------------------------------------------


def test_a_tag_that_moved_is_not_pulled_and_what_was_there_stays(far: Box) -> None:
    far.declare({"tiny": {"served_as": "mine"}})
    assert far.run("lock").code == 0
    locked = far.lock()["tiny"]["revision"]
    move(far.registry)
    before = snapshot(far.models)
    far.registry.reset_log()
    ran = far.apply()
    assert ran.code == 5, ran.text
    assert locked in ran.text
    assert "lock --upgrade" in ran.text
    assert (far.fetched(), snapshot(far.models)) == ({}, before)
    assert far.run("lock", "--upgrade").code == 0
    far.applied()
    assert list(far.listed()) == ["mine:latest"]


def test_a_tag_that_moves_while_the_server_pulls_is_rolled_back(boxed: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    boxed.declare({"tiny": {}})
    boxed.applied()
    old = boxed.listed()
    publish(boxed.registry, "tiny", "v1", namespace="acme", quant="Q8_0", seed=9)
    assert boxed.run("lock", "--upgrade").code == 0
    monkeypatch.setattr(by_api, "_refuse_moved", lambda *_: move(boxed.registry))
    ran = boxed.apply()
    assert ran.code == 5, ran.text
    assert boxed.listed() == old
    assert boxed.guards() == []
    assert boxed.show(source_name(boxed))["details"]["quantization_level"] == "Q4_K_M", "the old layers are there"
    assert boxed.broken_blobs() == []


def test_a_pull_that_fails_leaves_what_was_there(boxed: Box) -> None:
    boxed.declare({"tiny": {}})
    boxed.applied()
    old = boxed.listed()
    move(boxed.registry)
    assert boxed.run("lock", "--upgrade").code == 0
    boxed.registry.fault("corrupt", times=-1, method="GET")
    ran = boxed.apply()
    assert ran.code == 5, ran.text
    assert "digest mismatch" in ran.text
    assert boxed.listed() == old
    assert boxed.guards() == []
    boxed.registry.clear_faults()
    boxed.apply()  # small blobs that came spoilt too are still there, which the server does not notice
    boxed.applied()
    assert boxed.listed() != old
    assert boxed.broken_blobs() == []


def test_an_error_in_a_stream_of_status_200_is_a_failed_step(boxed: Box) -> None:
    boxed.declare(OWNED)
    assert boxed.run("lock").code == 0
    boxed.server.fault("answer", path="/api/pull", body=b'{"status":"pulling manifest"}\n{"error":"no space left"}\n')
    ran = boxed.apply()
    assert ran.code in (0, 5), ran.text
    assert "no space left" in ran.text
    boxed.applied()
    assert set(boxed.listed()) == {source_name(boxed), "mine:b"}


# -- remove, undo, gc --------------------------------------------------------------------------------------------------


def test_a_dropped_model_waits_under_another_name_until_gc(far: Box) -> None:
    both = {"one": {}, "two": {"source": far.source("tiny:v2"), "served_as": "two"}}
    far.declare(both)
    far.applied()
    before = far.listed()
    far.declare({"two": both["two"]})
    far.applied()
    assert list(far.listed()) == ["two:latest"]
    (guard,) = far.guards()
    assert guard.startswith("reconciler-trash/tiny:g")
    assert far.run("undo", "--yes").code == 0
    assert (far.listed(), far.guards()) == (before, [])
    far.applied()
    assert far.run("gc", "--yes").code == 0
    assert len(far.guards()) == 1, "it has not waited long enough"
    assert far.run("gc", "--older-than", "0s", "--yes").code == 0
    assert (far.guards(), list(far.listed())) == ([], ["two:latest"])
    assert far.show("two")["details"]["family"] == "llama", "what it shares with the one that went is there"


def test_a_model_that_somebody_derived_from_ours_lives_on(far: Box) -> None:
    far.declare({"tiny": {"served_as": "base"}})
    far.applied()
    ask(far.url, "POST", "/api/create", {"model": "theirs", "from": "base", "system": "Mine."})
    far.declare({})
    far.applied()
    assert far.run("gc", "--older-than", "0s", "--yes").code == 0
    assert list(far.listed()) == ["theirs:latest"]
    assert far.show("theirs")["system"] == "Mine."


def test_a_model_that_somebody_changed_is_not_removed(far: Box) -> None:
    far.declare({"tiny": {"served_as": "mine"}})
    far.applied()
    pull(far.url, source_name(far, "other:latest"))
    ask(far.url, "POST", "/api/copy", {"source": source_name(far, "other:latest"), "destination": "mine"})
    theirs = far.listed()
    far.declare({})
    ran = far.apply()
    assert ran.code == 3, ran.text
    assert far.listed() == theirs


def test_another_model_under_a_declared_name_is_blocked(far: Box) -> None:
    pull(far.url, source_name(far, "other:latest"))
    ask(far.url, "POST", "/api/copy", {"source": source_name(far, "other:latest"), "destination": "mine"})
    theirs = far.listed()
    far.declare({"tiny": {"served_as": "mine"}})
    assert far.apply().code == 3
    assert far.listed() == theirs


# -- others, and ends in the middle ------------------------------------------------------------------------------------


def test_somebody_who_pulls_the_same_at_the_same_time_does_not_disturb_us(boxed: Box) -> None:
    boxed.declare(OWNED)
    assert boxed.run("lock").code == 0
    boxed.registry.fault("stall", origin="cdn", method="GET", after=1000)
    said: list[Answer] = []
    theirs = threading.Thread(target=lambda: said.append(pull(boxed.url, source_name(boxed))))
    theirs.start()
    while not boxed.registry.faults_served:
        pass
    boxed.registry.release()
    ran = boxed.apply()
    theirs.join()
    assert ran.code == 0, ran.text
    assert [(each.status, each.lines[-1]) for each in said] == [(200, {"status": "success"})]
    assert boxed.run("plan", "--detailed-exitcode").code == 0
    assert set(boxed.listed()) == {source_name(boxed), "mine:b"}
    assert boxed.broken_blobs() == []


def test_a_model_that_changes_between_plan_and_apply_makes_the_plan_stale(far: Box) -> None:
    far.declare({"tiny": {}})
    far.applied()
    move(far.registry)
    assert far.run("lock", "--upgrade").code == 0
    saved = str(far.path / "plan.json")
    assert far.run("plan", "-o", saved).code == 0
    ask(far.url, "POST", "/api/copy", {"source": source_name(far), "destination": "kept"})
    pull(far.url, source_name(far, "other:latest"))
    ask(far.url, "POST", "/api/copy", {"source": source_name(far, "other:latest"), "destination": source_name(far)})
    theirs = far.listed()
    assert far.run("apply", saved).code == 4
    assert far.listed() == theirs


def test_a_server_that_is_down_is_blocked_and_nothing_else(boxed: Box) -> None:
    boxed.declare({"tiny": {}})
    boxed.applied()
    boxed.server.close()
    ran = boxed.run("plan", "--detailed-exitcode")
    assert ran.code == 3, ran.text
    assert "ollama serve" in ran.text
    boxed.declare({})
    assert boxed.apply().code == 3, "what cannot be seen is not forgotten"
    boxed.server.restart()
    assert list(boxed.listed()) == [source_name(boxed)]


def test_a_server_that_goes_away_during_the_pull_fails_the_step_and_the_next_apply_goes_on(
    boxed: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxed.declare({"tiny": {"served_as": "mine"}})
    assert boxed.run("lock").code == 0
    real = Api.pull

    def gone(self: Api, *args: Any, **kwargs: Any) -> None:
        boxed.server.close()
        real(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Api, "pull", gone)
        ran = boxed.apply()
    assert ran.code == 5, ran.text
    boxed.server.restart()
    boxed.applied()
    assert (list(boxed.listed()), boxed.guards()) == (["mine:latest"], [])


CUTS = [("copy", 1), ("copy", 2), ("copy", 3), ("delete", 1), ("delete", 2), ("pull", 1), ("tags", 4), ("tags", 6)]


@pytest.mark.parametrize("after", [True, False], ids=["after", "before"])
@pytest.mark.parametrize(("verb", "at"), CUTS)
@pytest.mark.parametrize("how", ["killed", "interrupted", "server away"])
def test_wherever_an_apply_ends_the_next_one_finds_every_name_as_it_was_or_as_it_should_be(
    boxed: Box, monkeypatch: pytest.MonkeyPatch, verb: str, at: int, after: bool, how: str
) -> None:
    """Nothing is left under a guard's name, and what somebody else has under the borrowed name is theirs again."""
    boxed.declare({"mine": {"served_as": "mine"}, "gone": {"source": boxed.source("tiny:v2"), "served_as": "gone"}})
    boxed.applied()
    publish(boxed.registry, "tiny", "v1", namespace="acme", quant="Q8_0", seed=9)
    pull(boxed.url, source_name(boxed))  # theirs, under the name that our pull has to borrow
    old = boxed.listed()
    move(boxed.registry)
    assert boxed.run("lock", "--upgrade").code == 0
    boxed.declare({"mine": {"served_as": "mine"}})
    error: BaseException = OllamaError("it went away", where=boxed.url) if how == "server away" else Killed()
    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        if how == "killed":
            killed(patch)
        stop_at(patch, verb, at, error, after=after)
        boxed.apply()
    now = boxed.listed()
    assert now.get("mine:latest") in (None, old["mine:latest"], boxed.lock()["mine"]["revision"])
    boxed.applied()
    assert boxed.listed() == {
        source_name(boxed): old[source_name(boxed)],
        "mine:latest": boxed.lock()["mine"]["revision"],
    }
    assert boxed.broken_blobs() == []
    assert len(boxed.guards()) == 2, "the replaced and the removed model wait in the trash; no other guard is left"
    assert boxed.litter() == []


def test_a_server_that_is_away_when_an_apply_is_recovered_gets_its_names_back_later(
    boxed: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxed.declare({"mine": {"served_as": "mine"}})
    boxed.applied()
    old = boxed.listed()
    boxed.declare({})
    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        killed(patch)
        stop_at(patch, "delete", 1, Killed())
        boxed.apply()
    assert boxed.listed() == {}
    boxed.server.close()
    ran = boxed.apply()
    assert "no answer" in ran.text
    boxed.server.restart()
    boxed.declare({"mine": {"served_as": "mine"}})
    boxed.registry.reset_log()
    boxed.applied()
    assert (boxed.listed(), boxed.fetched(), boxed.guards(), boxed.litter()) == (old, {}, [], [])


@pytest.mark.parametrize("verb", ["pull", "copy", "create", "show"])
def test_what_was_made_under_a_free_name_when_the_apply_ended_does_not_stand_in_the_way(
    boxed: Box, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    boxed.declare({"brief": {"served_as": "brief", "system": "Be brief."}})
    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        killed(patch)
        stop_at(patch, verb, 1, Killed())
        pytest.fail(f"it went on: {boxed.apply()}")
    boxed.applied()
    assert list(boxed.listed()) == ["brief:latest"]
    assert boxed.show("brief")["system"] == "Be brief."
    assert boxed.litter() == []


def test_a_naive_pull_loses_what_stood_under_the_name(boxed: Box) -> None:
    """The control: without guard names the same end of the tale leaves nothing to go back to."""
    pull(boxed.url, source_name(boxed))
    old = boxed.listed()[source_name(boxed)]
    weights = boxed.blob(source_name(boxed))
    move(boxed.registry)
    Api(boxed.url).pull(source_name(boxed), insecure=True)
    assert boxed.listed()[source_name(boxed)] != old
    assert not weights.exists()
