"""Ollama end to end where the store is ours to write: what a plan says, what an apply leaves, what the server lists."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import ollama_box_kit
import ollama_kit
import pytest
from ollama_box_kit import NOBODY, TEMPLATE, Box, move, snapshot
from ollama_kit import Answer, ask, publish, pull

from reconciler.hub.ggufs import gguf_files
from reconciler.hub.ollama_registry import Registry
from reconciler.hub.ollama_server import OllamaServer
from reconciler.hub.server import Hub

either, registry, box = ollama_kit.either, ollama_box_kit.registry, ollama_box_kit.box

HOUR = 3600.0
OWNED = {"tiny-a": {}, "tiny-b": {"served_as": "mine:b"}}
GGUF = "acme/Tiny-GGUF"


@pytest.fixture
def down(tmp_path: Path, registry: Registry) -> Box:
    """A machine whose server is down."""
    return Box(tmp_path, registry)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        running.add(GGUF, gguf_files("Tiny", ["Q4_K_M", "Q8_0"]))
        yield running


def started(box: Box) -> OllamaServer:
    """Start the server of a machine, at the address that its manifest says once it is declared anew."""
    box.server = OllamaServer.start(box.models)
    return box.server


# -- install ----------------------------------------------------------------------------------------------------------


def test_a_model_is_installed_as_locked_and_the_server_lists_it_at_once(box: Box) -> None:
    box.declare(OWNED)
    ran = box.applied()
    locked = box.lock()["tiny-a"]["revision"]
    assert box.listed() == {f"{box.registry.host}/acme/tiny:v1": locked, "mine:b": locked}
    assert hashlib.sha256(box.text("mine:b")).hexdigest() == locked.removeprefix("sha256:")
    assert box.show("mine:b")["license"].startswith("MIT License")
    assert box.broken_blobs() == []
    assert box.run("verify", "--full").code == 0
    assert box.litter() == []
    weights = box.blob("mine:b")
    assert box.fetched() == {weights.name.replace("-", ":"): weights.stat().st_size}, "the weights came once"
    assert "api+store" in ran.out


def test_what_the_server_pulled_itself_is_adopted_without_a_byte(box: Box) -> None:
    pull(box.url, f"{box.registry.host}/acme/tiny:v1")
    before = snapshot(box.models)
    box.registry.reset_log()
    box.declare({"tiny": {}})
    assert {name: (step["action"], step["reason"]) for name, step in box.steps().items()} == {
        "tiny": ("normalize", "adopt")
    }
    box.applied()
    assert box.fetched() == {}
    assert snapshot(box.models) == before


def test_an_apply_while_the_server_is_down_is_there_when_it_starts(down: Box) -> None:
    down.declare(OWNED)
    ran = down.applied()
    assert "store-only" in ran.out
    assert "Connection refused" in ran.err + ran.out
    with started(down) as server:
        assert server.warnings == []
        assert set(down.listed()) == {f"{down.registry.host}/acme/tiny:v1", "mine:b"}
        assert down.listed()["mine:b"] == down.lock()["tiny-b"]["revision"]
        down.declare(OWNED)
        assert down.run("plan", "--detailed-exitcode").code == 0


def test_a_server_that_goes_down_between_plan_and_apply_changes_nothing(tmp_path: Path, registry: Registry) -> None:
    with OllamaServer.start(tmp_path / "models") as server:
        box = Box(tmp_path, registry, server)
        box.declare(OWNED)
        assert box.run("plan", "-o", str(tmp_path / "plan.json")).code == 0
    ran = box.run("apply", str(tmp_path / "plan.json"))
    assert ran.code == 0, ran.text
    assert box.run("plan", "--detailed-exitcode").code == 0


def test_a_server_that_starts_in_the_middle_of_an_apply_prunes_none_of_it(
    down: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: list[OllamaServer] = []
    answered = Registry._stored

    def starting(self: Registry, call: object) -> object:
        if not running:
            running.append(started(down))
        return answered(self, call)  # type: ignore[arg-type]

    monkeypatch.setattr(Registry, "_stored", starting)
    down.declare(OWNED)
    assert down.apply().code == 0
    assert down.run("verify", "--full").code == 0
    assert running
    with running[0]:
        assert down.listed()["mine:b"] == down.lock()["tiny-b"]["revision"]


def test_two_tags_of_one_manifest_are_two_variants_of_one_set_of_blobs(box: Box) -> None:
    publish(box.registry, "tiny", "same", namespace="acme")
    box.declare({"one": {}, "two": {"source": box.source("tiny:same")}})
    box.applied()
    first, second = box.lock().values()
    assert first["revision"] == second["revision"]
    assert len(box.blobs()) == len(first["files"])
    assert set(box.listed().values()) == {first["revision"]}


def test_a_model_without_a_name_of_its_own_is_served_under_the_name_of_its_source(box: Box) -> None:
    publish(box.registry, "Tiny.X", "Q4_K_M", namespace="Acme")
    box.declare({"tiny": {"source": box.source("Tiny.X:Q4_K_M", "Acme")}})
    box.applied()
    assert set(box.listed()) == {f"{box.registry.host}/Acme/Tiny.X:Q4_K_M"}


def test_a_name_that_is_there_in_another_case_is_the_same_name(box: Box) -> None:
    pull(box.url, f"{box.registry.host}/acme/tiny:v1")
    ask(box.url, "POST", "/api/copy", {"source": f"{box.registry.host}/acme/tiny:v1", "destination": "Mine:Q4"})
    box.declare({"mine": {"served_as": "mine:q4"}})
    assert [step["reason"] for step in box.steps().values()] == ["adopt"]
    box.applied()
    assert sorted(box.listed()) == sorted([f"{box.registry.host}/acme/tiny:v1", "Mine:Q4"])


@pytest.mark.parametrize("tag", ["local", "cloud", "120b-cloud"])
def test_tags_that_mean_a_place_are_refused(down: Box, tag: str) -> None:
    down.declare({"tiny": {"served_as": f"mine:{tag}"}})
    ran = down.run("validate")
    assert ran.code == 1
    assert tag in ran.text


# -- one copy of the bytes ---------------------------------------------------------------------------------------------


def shared(box: Box) -> dict[str, dict[str, object]]:
    return {
        "tiny-lmstudio": {"source": f"hf:{GGUF}", "files": ["*Q4_K_M.gguf"], "location": "lmstudio"},
        "tiny-ollama": {"source": f"hf:{GGUF}", "files": ["*Q4_K_M.gguf"], "served_as": "tiny:q4"},
    }


def lmstudio(box: Box) -> dict[str, dict[str, object]]:
    return {"lmstudio": {"store": "lmstudio", "root": str(box.path / "lmstudio")}}


def test_one_gguf_for_lmstudio_and_ollama_is_downloaded_once_and_is_one_file(box: Box, hub: Hub) -> None:
    box.declare(shared(box), locations=lmstudio(box))
    ran = box.applied()
    here = box.path / "lmstudio" / GGUF / "Tiny-Q4_K_M.gguf"
    there = box.blob("tiny:q4")
    assert here.read_bytes() == there.read_bytes()
    assert here.samefile(there) or "reflink" in ran.out
    assert here.stat().st_size <= hub.bytes_served("cdn") < 1.5 * here.stat().st_size, "once, and a look at its head"
    assert list(box.listed()) == ["tiny:q4"]
    assert box.show("tiny:q4")["details"]["quantization_level"] == "Q4_K_M"


@pytest.mark.parametrize("names", [("first", "second"), ("second", "first")])
def test_a_layer_that_one_model_declares_and_another_fetches_serves_both(
    down: Box, hub: Hub, names: tuple[str, str]
) -> None:
    fetched, made = names
    like_upstream = ollama_kit.TEMPLATE.decode()
    lmstudio_too = {"source": f"hf:{GGUF}", "files": ["*Q4_K_M.gguf"], "location": "lmstudio"}
    down.declare({"there": lmstudio_too}, locations=lmstudio(down))
    down.applied()
    of_the_hub = {**lmstudio_too, "location": "ollama", "served_as": "made", "template": like_upstream}
    down.declare({"there": lmstudio_too, fetched: {}, made: of_the_hub}, locations=lmstudio(down))
    down.applied()
    assert down.litter() == []
    down.declare({"there": lmstudio_too, fetched: {}}, locations=lmstudio(down))
    down.applied()
    assert down.run("verify", "--full").code == 0, "what the other still needs stays"


def test_dropping_it_from_ollama_leaves_lmstudios_file_alone(box: Box, hub: Hub) -> None:
    box.declare(shared(box), locations=lmstudio(box))
    box.applied()
    here = box.path / "lmstudio" / GGUF / "Tiny-Q4_K_M.gguf"
    whole = here.read_bytes()
    box.declare({k: v for k, v in shared(box).items() if "lmstudio" in k}, locations=lmstudio(box))
    box.applied()
    assert box.listed() == {}
    assert here.read_bytes() == whole


def test_from_another_disk_the_bytes_are_copied_not_fetched(down: Box, hub: Hub) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or not os.access(other, os.W_OK) or other.stat().st_dev == down.path.stat().st_dev:
        pytest.skip("there is no second file system here")
    folder = other / f"reconciler-{os.getpid()}"
    try:
        places = {"lmstudio": {"store": "lmstudio", "root": str(folder)}}
        down.declare({k: v for k, v in shared(down).items() if "lmstudio" in k}, locations=places)
        down.applied()
        down.declare(shared(down), locations=places)
        assert down.run("lock").code == 0
        hub.reset_log()
        rows = {row["method"] for step in down.steps().values() for row in step["files"] if "sha256-" in row["path"]}
        assert "copy" in rows
        down.applied()
        assert hub.bytes_served("cdn") == 0
        assert not down.blob("tiny:q4").samefile(folder / GGUF / "Tiny-Q4_K_M.gguf")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_what_a_modelfile_says_has_the_digest_that_the_plan_foretold(box: Box, hub: Hub) -> None:
    said = {"template": TEMPLATE, "system": "Be brief.", "parameters": {"num_ctx": 64}, "license": "MIT"}
    box.declare(
        {
            "gguf": {"source": f"hf:{GGUF}", "files": ["*Q8_0.gguf"], "served_as": "from-gguf", **said},
            "derived": {"served_as": "derived", **said},
        }
    )
    foretold = {name: step["notes"][-1]["text"].encode() for name, step in box.steps().items()}
    box.applied()
    for name, variant in (("from-gguf", "gguf"), ("derived", "derived")):
        assert box.listed()[f"{name}:latest"] == f"sha256:{hashlib.sha256(foretold[variant]).hexdigest()}"
        shown = box.show(name)
        assert (shown["template"], shown["system"]) == (TEMPLATE, "Be brief.")
        assert "num_ctx" in shown["parameters"]
    assert box.broken_blobs() == []


# -- upstream ----------------------------------------------------------------------------------------------------------


def test_a_tag_that_moved_is_told_and_changes_nothing_until_the_lock_is_upgraded(box: Box) -> None:
    box.declare({"tiny": {}})
    box.applied()
    old, before = box.lock()["tiny"]["revision"], snapshot(box.models)
    new = f"sha256:{hashlib.sha256(move(box.registry)).hexdigest()}"
    assert box.run("plan", "--detailed-exitcode").code == 0
    check = box.run("lock", "--check")
    assert check.code == 2
    assert (old[7:19] in check.out, new[7:19] in check.out) == (True, True)
    assert (box.apply().code, snapshot(box.models)) == (0, before)
    assert box.run("lock", "--upgrade").code == 0
    assert [(step["action"], step["reason"]) for step in box.steps().values()] == [("download", "new-revision")]
    box.applied()
    assert box.listed() == {f"{box.registry.host}/acme/tiny:v1": new}
    assert set(snapshot(box.models)) & set(before) != set(), "what both revisions have was not moved"
    assert box.run("undo", "--yes").code == 0
    assert box.listed() == {f"{box.registry.host}/acme/tiny:v1": old}
    assert snapshot(box.models) == before


def test_a_locked_model_is_installed_although_the_tag_moved(box: Box) -> None:
    box.declare({"tiny": {}})
    assert box.run("lock").code == 0
    locked = box.lock()["tiny"]["revision"]
    move(box.registry)
    box.applied()
    assert list(box.listed().values()) == [locked]


def test_a_blob_that_is_not_what_it_says_never_gets_its_name(box: Box) -> None:
    box.declare({"tiny": {}})
    assert box.run("lock").code == 0
    box.registry.fault("corrupt", times=-1, method="GET")
    ran = box.apply()
    assert ran.code == 5, ran.text
    assert box.listed() == {}
    assert box.broken_blobs() == []
    box.registry.clear_faults()
    box.applied()
    assert len(box.listed()) == 1


# -- verify and repair -------------------------------------------------------------------------------------------------


def spoil(path: Path) -> None:
    """Flip a byte in place: nobody but who reads it can tell."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 255]))


def test_a_corrupt_blob_names_every_model_that_it_breaks_and_only_it_comes_anew(box: Box) -> None:
    box.declare({"one": {}, "two": {"source": box.source("tiny:v2")}, "three": {"source": box.source("other")}})
    box.applied()
    ask(box.url, "POST", "/api/copy", {"source": f"{box.registry.host}/acme/tiny:v1", "destination": "somebodys"})
    before = snapshot(box.models)
    weights = box.blob(f"{box.registry.host}/acme/tiny:v1")
    spoil(weights)
    bad = box.run("verify")
    assert bad.code == 8
    for name in ("one@ollama", "two@ollama", "breaks somebodys:latest too"):
        assert name in bad.text, bad.text
    assert "three" not in bad.text
    box.registry.reset_log()
    mended = box.run("verify", "--repair")
    assert mended.code == 0, mended.text
    assert box.fetched() == {weights.name.replace("-", ":"): weights.stat().st_size}
    assert snapshot(box.models) == before
    assert box.run("verify", "--full").code == 0


def test_a_pull_by_the_server_does_not_mend_it_which_is_why_we_do(box: Box) -> None:
    box.declare({"one": {}})
    box.applied()
    spoil(box.blob(f"{box.registry.host}/acme/tiny:v1"))
    assert pull(box.url, f"{box.registry.host}/acme/tiny:v1").lines[-1] == {"status": "success"}
    assert len(box.broken_blobs()) == 1
    assert box.run("verify", "--repair").code == 0
    assert box.broken_blobs() == []


def test_a_blob_that_somebody_deleted_is_missing_and_comes_back(box: Box) -> None:
    box.declare(OWNED)
    box.applied()
    before = snapshot(box.models)
    box.blob("mine:b").unlink()
    assert box.run("verify").code == 16
    assert {step["action"] for step in box.steps().values()} <= {"download", "normalize"}
    box.applied()
    assert snapshot(box.models) == before


# -- remove, undo, prune ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", ["up", "down"])
def test_a_dropped_model_leaves_what_others_share_and_comes_back_byte_identical(
    tmp_path: Path, registry: Registry, server: str
) -> None:
    with OllamaServer.start(tmp_path / "models") as running:
        box = Box(tmp_path, registry, running if server == "up" else None)
        both = {"one": {}, "two": {"source": box.source("tiny:v2"), "served_as": "two"}}
        box.declare(both)
        box.applied()
        before = snapshot(box.models)
        box.declare({"two": both["two"]})
        assert [(step["action"], step["reason"]) for step in box.steps().values()] == [("remove", "undeclared")]
        box.applied()
        box.server = running
        assert list(box.listed()) == ["two:latest"]
        assert box.broken_blobs() == []
        assert box.blob("two").exists()
        gone = set(before) - set(snapshot(box.models))
        assert f"manifests/{box.registry.host}/acme/tiny/v1" in gone
        assert len([path for path in gone if path.startswith("blobs/")]) >= 1, "what only it had is in the trash"
        assert box.run("undo", "--yes").code == 0
        assert snapshot(box.models) == before
        assert set(box.listed()) == {f"{box.registry.host}/acme/tiny:v1", "two:latest"}


def test_a_model_that_somebody_derived_from_ours_lives_on_when_ours_goes(box: Box) -> None:
    box.declare({"tiny": {"served_as": "base"}})
    box.applied()
    made = ask(box.url, "POST", "/api/create", {"model": "theirs", "from": "base", "system": "Mine."})
    assert made.lines[-1] == {"status": "success"}
    theirs = box.listed()["theirs:latest"]
    box.declare({})
    box.applied()
    assert box.listed() == {"theirs:latest": theirs}
    assert box.blob("theirs").exists()
    assert box.show("theirs")["system"] == "Mine."
    assert box.broken_blobs() == []


def test_a_model_that_somebody_pulled_is_never_touched(box: Box) -> None:
    pull(box.url, f"{box.registry.host}/acme/other:latest")
    before = snapshot(box.models)
    box.declare({"tiny": {}})
    box.applied()
    box.declare({})
    box.applied()
    assert box.run("gc", "--older-than", "0s", "--yes").code == 0
    assert snapshot(box.models) == before


def test_a_declared_name_that_holds_another_model_is_blocked(box: Box) -> None:
    pull(box.url, f"{box.registry.host}/acme/other:latest")
    ask(box.url, "POST", "/api/copy", {"source": f"{box.registry.host}/acme/other:latest", "destination": "mine"})
    theirs = box.listed()["mine:latest"]
    box.declare({"tiny": {"served_as": "mine"}})
    ran = box.apply()
    assert ran.code == 3, ran.text
    assert box.listed()["mine:latest"] == theirs


def aged(path: Path, hours: float) -> Path:
    then = time.time() - hours * HOUR
    os.utime(path, (then, then))
    return path


def test_orphans_that_the_server_itself_would_prune_go_to_the_trash(box: Box) -> None:
    box.declare({"tiny": {}})
    box.applied()
    folder = box.models / "blobs"
    data = b"left by somebody"
    lost = folder / f"sha256-{hashlib.sha256(data).hexdigest()}"
    partial = folder / f"sha256-{'b' * 64}-partial"
    for path in (lost, partial):
        path.write_bytes(data)
        aged(path, 2)
    (step,) = box.steps().values()
    assert (step["action"], step["reason"]) == ("prune", "orphan-blob")
    assert box.run("plan", "--json").json["unmanaged"] == {"files": 0, "bytes": 0}  # what leaves is not left alone
    box.applied()
    assert not lost.exists()
    assert not partial.exists()
    assert box.run("verify", "--full").code == 0


@pytest.mark.parametrize("why", ["a pull is running", "it is young", "a manifest cannot be read"])
def test_orphans_are_left_alone_while(box: Box, why: str) -> None:
    box.declare({"tiny": {}})
    box.applied()
    lost = box.models / "blobs" / f"sha256-{'a' * 64}"
    lost.write_bytes(b"x")
    aged(lost, 0.1 if why == "it is young" else 3)
    if why == "a pull is running":
        (box.models / "blobs" / f"sha256-{'b' * 64}-partial").write_bytes(b"y")
    if why == "a manifest cannot be read":
        bad = box.models / "manifests/registry.ollama.ai/library/bad/latest"
        bad.parent.mkdir(parents=True)
        bad.write_bytes(b"{")
    assert box.steps() == {}
    assert box.run("plan", "--json").json["unmanaged"]["files"] > 0
    assert box.apply().code == 0
    assert lost.exists()


# -- what is broken or strange -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [b"", b"{", b"{}"])
def test_a_manifest_of_ours_that_became_nonsense_is_written_anew(box: Box, bad: bytes) -> None:
    box.declare(OWNED)
    box.applied()
    before = snapshot(box.models)
    path = box.models / "manifests/registry.ollama.ai/library/mine/b"
    path.write_bytes(bad)
    assert list(box.steps()) == ["tiny-b"]
    box.applied()
    assert snapshot(box.models) == before
    assert "mine:b" in box.listed()


def test_a_0_byte_manifest_of_somebody_is_told_with_its_remedy_and_left_alone(box: Box) -> None:
    box.declare({"tiny": {}})
    bad = box.models / "manifests/registry.ollama.ai/library/bad/latest"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"")
    ran = box.apply()
    assert ran.code == 0, ran.text
    assert f"rm -- {bad}" in ran.text
    assert bad.read_bytes() == b""
    assert box.run("plan", "--detailed-exitcode").code == 0


def test_a_dangling_manifest_that_disables_the_server_does_not_disable_us(box: Box) -> None:
    box.declare({"tiny": {}})
    bad = box.models / "manifests/registry.ollama.ai/library/bad/latest"
    bad.parent.mkdir(parents=True)
    bad.symlink_to("nowhere")
    ran = box.apply()
    assert ran.code == 0, ran.text
    assert "rm -- " in ran.text
    bad.unlink()
    assert list(box.listed()) == [f"{box.registry.host}/acme/tiny:v1"]


def test_stubs_and_tensors_are_shown_and_left_as_they_are(box: Box) -> None:
    stub = ollama_kit.install(box.models, "registry.ollama.ai/library/big/cloud", {}, b'{"remote_host":"https://x"}')
    ollama_kit.install(box.models, "registry.ollama.ai/library/mlx/latest", {"tensor": b"t", "json": b"{}"})
    before = snapshot(box.models)
    box.declare({"tiny": {}})
    box.applied()
    box.declare({})
    box.applied()
    assert snapshot(box.models) == before
    assert (box.models / "manifests/registry.ollama.ai/library/big/cloud").read_bytes() == stub


@pytest.mark.parametrize("quote", ["{}", '"{}"', " '{}' "])
def test_a_directory_of_the_environment_may_stand_in_quotes_and_have_spaces(
    down: Box, monkeypatch: pytest.MonkeyPatch, quote: str
) -> None:
    folder = down.path / "my models"
    (folder / "blobs").mkdir(parents=True)
    monkeypatch.setenv("OLLAMA_MODELS", quote.format(folder))
    monkeypatch.setenv("OLLAMA_HOST", NOBODY)
    down.declare({"tiny": {}})
    text = down.manifest.read_text()
    place = text[text.index("    url:") : text.index("variants:")]
    down.manifest.write_text(text.replace(place, ""))
    down.applied()
    assert len(list((folder / "blobs").iterdir())) == 5
    assert (folder / "manifests" / down.registry.host / "acme/tiny/v1").is_file()


def test_a_server_behind_the_path_of_a_proxy_is_served_the_same(tmp_path: Path, registry: Registry) -> None:
    with OllamaServer.start(tmp_path / "models", prefix="/team") as server:
        box = Box(tmp_path, registry, server)
        box.declare(OWNED)
        assert "api+store" in box.applied().out
        assert set(box.listed()) == {f"{registry.host}/acme/tiny:v1", "mine:b"}


def test_a_model_that_somebody_pulls_between_plan_and_apply_makes_the_plan_stale_or_is_taken(box: Box) -> None:
    box.declare({"tiny": {}})
    saved = str(box.path / "plan.json")
    assert box.run("plan", "-o", saved).code == 0
    pull(box.url, f"{box.registry.host}/acme/tiny:v1")
    before = snapshot(box.models)
    assert box.run("apply", saved).code in (0, 4)
    box.applied()
    assert snapshot(box.models) == before


def test_another_model_under_the_name_between_plan_and_apply_is_not_overwritten(box: Box) -> None:
    box.declare({"tiny": {"served_as": "mine"}})
    saved = str(box.path / "plan.json")
    assert box.run("plan", "-o", saved).code == 0
    pull(box.url, f"{box.registry.host}/acme/other:latest")
    ask(box.url, "POST", "/api/copy", {"source": f"{box.registry.host}/acme/other:latest", "destination": "mine"})
    theirs = box.listed()["mine:latest"]
    assert box.run("apply", saved).code in (3, 4, 5)
    assert box.listed()["mine:latest"] == theirs


def test_a_store_that_we_may_not_write_while_the_server_is_down_is_blocked_with_the_way_out(
    down: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    (down.models / "blobs").mkdir(parents=True)
    ollama_box_kit.closed_store(monkeypatch)
    down.declare({"tiny": {}})
    ran = down.apply()
    assert ran.code == 3, ran.text
    assert "start it" in ran.text
    assert snapshot(down.models) == {}


def test_somebody_who_pulls_the_same_at_the_same_time_does_not_disturb_us(tmp_path: Path, registry: Registry) -> None:
    with OllamaServer.start(tmp_path / "models") as server:
        box = Box(tmp_path, registry, server)
        box.declare(OWNED)
        assert box.run("lock").code == 0
        registry.fault("stall", origin="cdn", method="GET", after=1000)
        said: list[Answer] = []
        theirs = threading.Thread(target=lambda: said.append(pull(server.url, f"{registry.host}/acme/tiny:v1")))
        theirs.start()
        while not registry.faults_served:
            pass
        ran = box.apply()
        registry.release()
        theirs.join()
        assert ran.code == 0, ran.text
        assert [(each.status, each.lines[-1]) for each in said] == [(200, {"status": "success"})]
        assert box.run("plan", "--detailed-exitcode").code == 0
        assert box.run("verify", "--full").code == 0
        assert (box.broken_blobs(), set(box.listed())) == ([], {f"{registry.host}/acme/tiny:v1", "mine:b"})
