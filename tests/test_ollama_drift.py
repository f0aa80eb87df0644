"""What others, or another way to reach the same store, made of our Ollama models, end to end."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import ollama_box_kit
import ollama_kit
import pytest
from ollama_box_kit import Box, closed_store, snapshot
from ollama_kit import ask, pull

from reconciler.hub.ollama_server import OllamaServer
from reconciler.ollama import names

either, registry, box, far = ollama_kit.either, ollama_box_kit.registry, ollama_box_kit.box, ollama_box_kit.far

OWN = b"weights that somebody trained, and that are nowhere else"


def train(box: Box, name: str) -> None:
    """Let somebody make a model of their own weights under a name."""
    digest = f"sha256:{hashlib.sha256(OWN).hexdigest()}"
    ollama_kit.install(box.models, names.parse(name).path.removeprefix("manifests/"), {"model": OWN})
    assert digest in box.text(name).decode()


def restart(box: Box) -> None:
    """Let the server start anew an hour later, which deletes what no manifest names."""
    for path in box.blobs().values():
        os.utime(path, (1, 1))
    box.server.restart()


# -- another model under a name of ours --------------------------------------------------------------------------------


@pytest.fixture
def tuned(tmp_path: Path, registry: Any) -> Any:
    with OllamaServer.start(tmp_path / "models") as server:
        box = Box(tmp_path, registry, server)
        box.declare({"tiny": {"served_as": "mine"}})
        box.applied()
        train(box, "mine")
        yield box


def test_weights_that_somebody_put_under_our_name_are_not_left_to_the_server_to_delete(tuned: Box) -> None:
    before = snapshot(tuned.models)
    step = tuned.steps()["tiny"]
    assert "mine/latest holds another model by now" in step["blocked"]
    assert "nothing else names 2 of its blobs" in step["blocked"]
    assert tuned.apply().code == 3
    assert snapshot(tuned.models) == before
    restart(tuned)
    assert OWN in snapshot(tuned.models).values()


def test_writing_our_manifest_over_it_loses_them_at_the_next_start_of_the_server(tuned: Box) -> None:
    """The control: what a naive apply does."""
    name = tuned.models / "manifests/registry.ollama.ai/library/mine/latest"
    ours = next(iter(tuned.lock().values()))["revision"]
    name.write_bytes(b"{}")
    assert tuned.applied().code == 0  # nonsense names nothing, and is written anew
    assert f"sha256:{hashlib.sha256(name.read_bytes()).hexdigest()}" == ours
    restart(tuned)
    assert OWN not in snapshot(tuned.models).values()


def test_under_another_name_it_is_safe_and_ours_is_written_anew(tuned: Box) -> None:
    ask(tuned.url, "POST", "/api/copy", {"source": "mine", "destination": "theirs"})
    tuned.applied()
    restart(tuned)
    assert OWN in snapshot(tuned.models).values()
    assert sorted(tuned.listed()) == ["mine:latest", "theirs:latest"]


def test_a_system_text_that_somebody_gave_our_model_is_theirs(tuned: Box) -> None:
    ask(tuned.url, "DELETE", "/api/delete", {"model": "mine"})
    tuned.applied()
    ask(tuned.url, "POST", "/api/create", {"model": "mine", "from": "mine", "system": "You are mine."})
    assert "holds another model by now" in tuned.steps()["tiny"]["blocked"]
    assert tuned.apply().code == 3
    assert tuned.show("mine")["system"] == "You are mine."


def test_a_newer_model_that_somebody_pulled_is_taken_by_upgrading_the_lock(box: Box) -> None:
    box.declare({"tiny": {}})
    box.applied()
    ollama_box_kit.move(box.registry)
    pull(box.url, f"{box.registry.host}/acme/tiny:v1")
    before = snapshot(box.models)
    assert "reconciler lock --upgrade tiny" in box.steps()["tiny"]["blocked"]
    assert box.run("lock", "--upgrade", "tiny").code == 0
    assert {step["action"] for step in box.steps().values()} == {"normalize"}
    box.applied()
    assert snapshot(box.models) == before


# -- other names, by the API -------------------------------------------------------------------------------------------


def test_a_variant_renamed_in_the_manifest_has_one_record(far: Box) -> None:
    far.declare({"tiny": {"served_as": "mine"}})
    far.applied()
    far.declare({"renamed": {"served_as": "mine"}})
    assert far.steps()["renamed"]["reason"] == "rename"
    far.applied()
    assert [row["address"] for row in json.loads(far.run("list", "--json").out)["variants"]] == ["renamed@ollama"]


def test_another_served_as_takes_the_old_name_away_and_undo_brings_it_back(far: Box) -> None:
    far.declare({"tiny": {"served_as": "mine"}})
    far.applied()
    (digest,) = set(far.listed().values())
    far.declare({"tiny": {"served_as": "yours"}})
    far.applied()
    assert far.listed() == {"yours:latest": digest}
    assert len(far.guards()) == 1
    assert far.run("undo", "--yes").code == 0
    assert far.listed() == {"mine:latest": digest}


def test_what_the_server_made_is_written_as_declared_once_the_store_is_ours(
    tmp_path: Path,
    registry: Any,
    either: Any,
) -> None:
    box = Box(tmp_path, registry, either, by_api=True)
    box.declare({"tiny": {"served_as": "mine", "system": "Be brief.", "parameters": {"num_ctx": 64}}})
    with pytest.MonkeyPatch.context() as patch:
        closed_store(patch)
        box.applied()
    box.by_api = False
    box.declare({"tiny": {"served_as": "mine", "system": "Be brief.", "parameters": {"num_ctx": 64}}})
    box.applied()
    assert box.show("mine")["system"] == "Be brief."


def test_what_we_wrote_ourselves_is_nobody_elses(box: Box) -> None:  # the layers of a Modelfile are notes of ours
    box.declare({"tiny": {"served_as": "mine", "system": "Be brief.", "parameters": {"num_ctx": 64}}})
    box.applied()
    box.declare({"tiny": {"served_as": "mine"}})
    box.applied()
    assert box.run("undo", "--yes").code == 0
    assert box.show("mine")["system"] == "Be brief."


# -- verify where only the server may write --------------------------------------------------------------------------


def test_blobs_that_may_be_read_are_read_though_only_the_server_may_write_them(far: Box) -> None:
    far.location = {"models": str(far.models)}
    far.declare({"tiny": {"served_as": "mine"}})
    far.applied()
    assert far.run("verify", "--full").code == 0
    blob = far.blob("mine")
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    ran = far.run("verify", "--full", "--json")
    assert ran.code == 8
    assert [(bad["path"], bad["verdict"]) for bad in ran.json["files"]] == [(f"blobs/{blob.name}", "corrupt")]
    assert ran.json["unread"] == []
    blob.unlink()
    assert far.run("verify").code == 16


def test_where_no_file_can_be_read_verify_says_what_it_compared(far: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconciler.ollama import finding

    monkeypatch.setattr(finding, "find", lambda *args: finding.Found())
    far.declare({"tiny": {"served_as": "mine"}})
    far.applied()
    ran = far.run("verify")
    assert ran.code == 0
    assert "only the list of its server was compared" in ran.out


def test_a_registry_that_is_away_is_told_without_the_words_of_a_library(box: Box) -> None:
    box.declare({"tiny": {}})
    box.registry.close()
    told = box.run("plan").text
    assert "no answer: Failed to establish a new connection" in told
    assert "Connection(" not in told
