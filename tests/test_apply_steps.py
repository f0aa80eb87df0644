"""What apply does for every action and reason, told by the whole program over a network that is a dict."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from apply_kit import FakeDownloader, Ground, content, fake_network, sha256


@pytest.fixture
def ground(world: Path) -> Iterator[Ground]:
    net = FakeDownloader()
    with fake_network(net):
        yield Ground(world, net)


ONE = {"model.safetensors": content(1), "config.json": b"{}"}
TWO = {"model.safetensors": content(2), "config.json": b"{}"}
BOTH = {"main": "huggingface", "other": "huggingface"}


def at(folder: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{path}": data for path, data in sorted(files.items())}


def settled(ground: Ground) -> None:
    """Assert what must hold after every apply: nothing to do, nothing wrong, nothing left over."""
    assert ground.run("plan", "--detailed-exitcode").code == 0, ground.run("plan").out
    ran = ground.run("verify", "--full")
    assert ran.code == 0, ran.text
    assert ground.litter() == []


def reasons(ground: Ground) -> list[tuple[str, str]]:
    return [(step["action"], step["reason"]) for step in ground.steps()]


def test_what_is_missing_is_downloaded_and_applying_again_plans_nothing(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    ran = ground.apply()
    assert ran.code == 0, ran.text
    assert ground.files() == at("acme/a", ONE)
    settled(ground)
    assert ground.apply().code == 0
    assert ground.net.fetched == ["a: config.json", "a: model.safetensors"]


def test_a_location_that_does_not_exist_yet_is_made(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    ground.manifest.write_text(ground.manifest.read_text().replace("/main", "/deep/down/main"))
    assert ground.apply().code == 0
    assert ground.files("deep/down/main") == at("acme/a", ONE)
    settled(ground)


def test_files_get_the_mode_of_ordinary_files_and_the_stage_is_private(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    mask = os.umask(0o027)
    try:
        ground.apply()
    finally:
        os.umask(mask)
    assert stat.S_IMODE((ground.path / "main/acme/a/config.json").stat().st_mode) == 0o640
    assert stat.S_IMODE((ground.house() / "stage").stat().st_mode) == 0o700


def test_the_right_bytes_in_the_right_place_are_adopted_and_not_touched(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    for path, data in at("acme/a", ONE).items():
        (ground.path / "main" / path).parent.mkdir(parents=True, exist_ok=True)
        (ground.path / "main" / path).write_bytes(data)
    then = (ground.path / "main/acme/a/config.json").stat()
    assert reasons(ground) == [("normalize", "adopt")]
    assert ground.apply().code == 0
    now = (ground.path / "main/acme/a/config.json").stat()
    assert (now.st_ino, now.st_mtime_ns, now.st_mode) == (then.st_ino, then.st_mtime_ns, then.st_mode)
    assert ground.net.fetched == []
    settled(ground)


def test_the_same_bytes_in_a_second_location_are_linked(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE), "b": ("hf:acme/b", 1, ONE, {"location": "other"})}, locations=BOTH)
    assert ground.apply().code == 0
    assert ground.files("other") == at("acme/b", ONE)
    assert len(ground.net.fetched) == 2
    settled(ground)


def test_the_same_bytes_twice_in_one_variant_come_once(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, {"x.gguf": content(1), "y.gguf": content(1)})})
    assert ground.apply().code == 0
    assert len(ground.net.fetched) == 1
    assert len(ground.files()) == 2
    settled(ground)


def test_a_new_revision_replaces_what_changed_drops_what_is_gone_and_keeps_both_in_the_trash(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, {**ONE, "sub/old.txt": b"old"})})
    ground.apply()
    ground.declare({"a": ("hf:acme/a", 2, TWO)})
    assert reasons(ground) == [("download", "new-revision")]
    assert ground.apply().code == 0
    assert ground.files() == at("acme/a", TWO)
    assert sorted(ground.trash().values()) == sorted([ONE["model.safetensors"], b"old"])
    assert not (ground.path / "main/acme/a/sub").exists()
    assert ground.entries()["a"]["metadata"]["reconciler"]["revision"].endswith("2")
    settled(ground)


def test_a_dropped_file_alone_is_a_removal(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, {**ONE, "more.txt": b"more"})})
    ground.apply()
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    assert reasons(ground) == [("remove", "superseded")]
    assert ground.apply().code == 0
    assert ground.files() == at("acme/a", ONE)
    assert list(ground.trash().values()) == [b"more"]
    settled(ground)


def test_corrupt_bytes_of_ours_are_replaced_and_kept_aside(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    ground.apply()
    (ground.path / "main/acme/a/model.safetensors").write_bytes(content(9))
    assert ground.run("verify").code == 8
    assert reasons(ground) == [("download", "corrupt")]
    assert ground.apply().code == 0
    assert ground.files() == at("acme/a", ONE)
    assert list(ground.trash().values()) == [content(9)]
    settled(ground)


def test_a_variant_declared_under_another_name_keeps_its_files(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    ground.apply()
    then = (ground.path / "main/acme/a/model.safetensors").stat().st_ino
    ground.declare({"z": ("hf:acme/a", 1, ONE)})
    assert reasons(ground) == [("normalize", "rename")]
    assert ground.apply().code == 0
    assert (ground.path / "main/acme/a/model.safetensors").stat().st_ino == then
    assert set(ground.entries()) == {"z"}
    settled(ground)


def test_a_variant_that_moves_stands_in_the_new_place_before_it_leaves_the_old_one(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)}, locations=BOTH)
    ground.apply()
    ground.declare({"a": ("hf:acme/a", 1, ONE, {"location": "other"})}, locations=BOTH)
    assert reasons(ground) == [("normalize", "move"), ("remove", "superseded")]
    assert ground.apply().code == 0
    assert (ground.files("main"), ground.files("other")) == ({}, at("acme/a", ONE))
    assert len(ground.net.fetched) == 2
    settled(ground)


def test_the_old_place_is_kept_when_the_new_one_fails(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)}, locations=BOTH)
    ground.apply()
    ground.declare({"a": ("hf:acme/a", 2, TWO, {"location": "other"})}, locations=BOTH)
    ground.net.broken[sha256(TWO["model.safetensors"])] = OSError("the line is dead")
    ran = ground.apply("--json")
    assert ran.code == 5
    steps = {(line["action"], line["result"]) for line in events(ran.out) if line["type"] == "step"}
    assert steps == {("download", "failed"), ("remove", "skipped")}
    assert ground.files("main") == at("acme/a", ONE)
    ground.net.broken.clear()
    assert ground.apply().code == 0
    settled(ground)


def test_what_nobody_declares_goes_to_the_trash_and_undo_brings_the_same_file_back(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE), "b": ("hf:acme/b", 1, TWO)})
    ground.apply()
    path = ground.path / "main/acme/b/model.safetensors"
    os.utime(path, ns=(1, 1_600_000_000_000_000_000))
    path.chmod(0o640)
    ground.apply()
    then = path.stat()
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    assert reasons(ground) == [("remove", "undeclared")]
    assert ground.apply().code == 0
    assert ground.files() == at("acme/a", ONE)
    settled(ground)
    fetched = list(ground.net.fetched)
    ran = ground.run("undo", "--yes")
    assert ran.code == 0, ran.text
    now = path.stat()
    assert (now.st_ino, now.st_mtime_ns, now.st_mode) == (then.st_ino, then.st_mtime_ns, then.st_mode)
    assert ground.files() == {**at("acme/a", ONE), **at("acme/b", TWO)}
    assert ground.trash() == {}
    assert ground.net.fetched == fetched
    assert ground.litter() == []


def test_an_undo_can_be_undone_and_undo_reaches_further_back(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    ground.apply()
    ground.declare({"a": ("hf:acme/a", 2, TWO)})
    ground.apply()
    assert ground.run("undo", "--yes").code == 0
    assert ground.files() == at("acme/a", ONE)
    assert ground.run("undo", "--yes").code == 0
    assert ground.files() == at("acme/a", TWO)
    assert ground.run("undo", "--to", "1", "--yes").code == 0
    assert ground.files() == {}
    assert ground.entries() == {}
    assert ground.litter() == []


def test_undo_fetches_again_what_gc_has_freed(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    ground.apply()
    ground.declare({})
    ground.apply()
    assert len(ground.trash()) == 2
    ran = ground.run("gc", "--older-than", "0s", "--yes")
    assert (ran.code, ground.trash()) == (0, {})
    assert ground.litter() == []
    ground.net.fetched.clear()
    assert ground.run("undo", "--yes").code == 0
    assert ground.files() == at("acme/a", ONE)
    assert len(ground.net.fetched) == 2


def test_gc_leaves_what_is_young_and_needs_approval(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    ground.apply()
    ground.declare({})
    ground.apply()
    assert ground.run("gc", "--yes").code == 0
    assert len(ground.trash()) == 2
    assert ground.run("gc", "--older-than", "0s").code == 7
    assert len(ground.trash()) == 2


def test_debris_in_a_stage_is_pruned_with_its_companions(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    ground.apply()
    stage = ground.house() / "stage"
    name = "sha256-" + "0" * 64
    (stage / name).write_bytes(b"half")
    (stage / f"{name}.aria2").write_bytes(b"control")
    (stage / f"{name}_meta").write_bytes(b"{}")
    assert reasons(ground) == [("prune", "partial")]
    assert ground.apply().code == 0
    assert list(ground.trash().values()) == [b"half"]
    settled(ground)


def test_a_staged_file_that_is_complete_already_is_not_fetched_again(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    stage = ground.house() / "stage"
    stage.mkdir(parents=True)
    for data in ONE.values():
        (stage / sha256(data).replace(":", "-")).write_bytes(data)
    assert ground.apply().code == 0
    assert ground.net.fetched == []
    assert ground.files() == at("acme/a", ONE)
    settled(ground)


def test_two_steps_that_want_one_file_of_the_trash_get_one_each(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    ground.apply()
    ground.declare({})
    ground.apply()
    ground.declare({"a": ("hf:acme/a", 1, ONE), "b": ("hf:acme/b", 1, ONE)})
    ground.net.fetched.clear()
    assert ground.apply().code == 0
    assert ground.net.fetched == []
    assert ground.files() == {**at("acme/a", ONE), **at("acme/b", ONE)}
    settled(ground)


def test_roles_and_metadata_change_the_record_alone(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    ground.apply()
    ground.declare({"a": ("hf:acme/a", 1, ONE, {"served_as": "chat"})}, roles={"chat": ["a"]})
    then = {path: path.stat().st_mtime_ns for path in (ground.path / "main").rglob("*")}
    assert ground.apply().code == 0
    assert {path: path.stat().st_mtime_ns for path in (ground.path / "main").rglob("*")} == then
    assert ground.entries()["a"]["roles"] == ["chat"]
    settled(ground)
    assert ground.run("undo", "--yes").code == 0
    assert ground.entries()["a"]["roles"] == []


def test_a_file_source_is_copied_and_one_that_changed_since_it_was_locked_is_refused(ground: Ground) -> None:
    upstream = ground.path / "upstream"
    upstream.mkdir()
    (upstream / "w.gguf").write_bytes(content(1))
    ground.declare({"a": (f"file:{upstream}", 1, {})})
    (ground.path / "ws.lock.json").unlink()
    assert ground.run("lock").code == 0
    (upstream / "w.gguf").write_bytes(content(2))
    ran = ground.apply("--locked")
    assert ran.code in (1, 3, 5), ran.text
    assert sha256(content(1)) in ran.text or "changed" in ran.text or "digest" in ran.text, ran.text
    assert ground.files() == {}
    (upstream / "w.gguf").write_bytes(content(1))
    assert ground.apply("--locked").code == 0
    assert list(ground.files().values()) == [content(1)]
    assert ground.litter() == []


# -- approval, selection, saved plans ---------------------------------------------------------------------------------


def events(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_without_a_terminal_and_without_approval_nothing_happens(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    ran = ground.run("apply")
    assert ran.code == 7
    assert not (ground.path / "main").exists()


def test_approve_runs_those_actions_and_holds_the_others_back(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE), "b": ("hf:acme/b", 1, TWO)})
    ground.apply()
    ground.declare({"c": ("hf:acme/c", 1, ONE), "b": ("hf:acme/b", 2, {"model.safetensors": content(3)})})
    ran = ground.run("apply", "--approve", "normalize")
    assert ran.code == 3, ran.text
    assert ground.files() == {**at("acme/a", ONE), **at("acme/b", TWO), **at("acme/c", ONE)}


def test_a_step_that_needs_an_unapproved_one_waits_with_it(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE), "b": ("hf:acme/b", 1, ONE, {"location": "other"})}, locations=BOTH)
    ran = ground.run("apply", "--approve", "remove")
    assert ran.code == 7
    ground.declare(
        {
            "a": ("hf:acme/a", 1, ONE),
            "b": ("hf:acme/b", 1, ONE, {"location": "other"}),
            "c": ("hf:acme/c", 1, TWO, {"location": "third"}),
        },
        locations={**BOTH, "third": "flat"},
    )
    (ground.path / "third").mkdir()
    ran = ground.run("apply", "--approve", "normalize")
    assert ran.code in (3, 7), ran.text
    assert "failed" not in ran.text.replace("0 failed", "")
    assert (ground.files("main"), ground.files("other")) == ({}, {})


def test_a_saved_plan_is_applied_once_and_then_counts_as_done(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    plan = ground.path / "plan.json"
    assert ground.run("plan", "-o", str(plan), str(ground.manifest)).code == 0
    assert ground.run("apply", str(plan)).code == 0
    assert ground.files() == at("acme/a", ONE)
    ran = ground.run("apply", str(plan))
    assert ran.code == 0, ran.text
    assert len(ground.net.fetched) == 2


@pytest.mark.parametrize("change", ["manifest", "lock", "registry", "curated", "file"])
def test_a_saved_plan_is_refused_when_the_world_moved_and_nothing_is_touched(ground: Ground, change: str) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    ground.apply()
    ground.declare({"a": ("hf:acme/a", 2, TWO)})
    plan = ground.path / "plan.json"
    ground.run("plan", "-o", str(plan), str(ground.manifest))
    if change == "manifest":
        ground.manifest.write_text(ground.manifest.read_text() + "\n# another thought\n")
    elif change == "lock":
        lock = ground.path / "ws.lock.json"
        lock.write_text(lock.read_text().replace("apache-2.0", "mit"))
    elif change == "curated":
        curated = ground.registry / "model_registry.curated.json"
        curated.write_text('[{"name": "a", "display_name": "A, by hand"}]\n')
    elif change == "registry":
        assert ground.run("forget", "a", "--yes", str(ground.manifest)).code in (0, 1)
        ground.run("forget", str(ground.manifest), "a", "--yes")
    else:
        (ground.path / "main/acme/a/model.safetensors").write_bytes(content(8))
    then = ground.files()
    ran = ground.run("apply", str(plan))
    assert ran.code == 4, ran.text
    assert "Traceback" not in ran.text
    assert ground.files() == then
    assert ground.trash() == {}


def test_a_plan_made_while_an_apply_stood_unfinished_may_be_applied(ground: Ground, monkeypatch) -> None:
    from reconciler import journal
    from reconciler.errors import DiskError

    ground.declare({"a": ("hf:acme/a", 1, ONE), "b": ("hf:acme/b", 1, TWO)})
    with monkeypatch.context() as patch:
        patch.setattr("reconciler.apply._recorded", _refuse(DiskError("the disk is full", where="registry")))
        assert ground.apply().code == 1
    assert len(journal.unfinished(ground.registry / "journal")) == 1
    ground.declare(
        {"a": ("hf:acme/a", 1, ONE), "b": ("hf:acme/b", 1, TWO), "c": ("hf:acme/c", 1, {"x.gguf": content(5)})}
    )
    plan = ground.path / "plan.json"
    ground.run("plan", "-o", str(plan), str(ground.manifest))
    ran = ground.run("apply", str(plan))
    assert ran.code == 0, ran.text
    settled(ground)


def _refuse(error: Exception):
    def refuse(*_: object, **__: object) -> None:
        raise error

    return refuse


def test_the_account_adds_up(ground: Ground) -> None:
    ground.declare(
        {"a": ("hf:acme/a", 1, ONE), "b": ("hf:acme/b", 1, TWO), "c": ("hf:acme/c", 1, {"z.gguf": content(5)})}
    )
    ground.net.broken[sha256(TWO["model.safetensors"])] = OSError("the line is dead")
    foreign = ground.path / "main/acme/c/z.gguf"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"mine")
    ran = ground.apply("--json")
    assert ran.code == 5
    receipt = next(line for line in events(ran.out) if line["type"] == "receipt")
    summary = receipt.get("summary") or receipt["receipt"]["summary"]  # type: ignore[index]
    assert (summary["done"], summary["failed"], summary["blocked"]) == (1, 1, 1), receipt
    assert "the line is dead" in ran.out
    assert foreign.read_bytes() == b"mine"
    assert set(ground.entries()) == {"a"}


# -- the HF cache -----------------------------------------------------------------------------------------------------

CACHE = {"cache": "hf-cache"}


def test_a_cache_gets_blobs_links_and_the_branch_and_undo_takes_the_new_snapshot_back(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)}, locations=CACHE)
    assert ground.apply().code == 0
    refs = ground.path / "cache/models--acme--a/refs/main"
    links = ground.links("cache")
    assert refs.read_text().endswith("1")
    assert len(links) == 2
    for path in links:
        assert (ground.path / "cache" / path).exists()
    settled(ground)
    ground.declare({"a": ("hf:acme/a", 2, TWO)}, locations=CACHE)
    assert ground.apply().code == 0
    assert refs.read_text().endswith("2")
    for path in ground.links("cache"):
        assert (ground.path / "cache" / path).exists(), "a link of the old snapshot dangles"
    settled(ground)
    assert ground.run("undo", "--yes").code == 0
    assert refs.read_text().endswith("1")
    assert ground.links("cache").keys() >= links.keys()
    for path in links:
        assert (ground.path / "cache" / path).exists()
    assert ground.litter() == []


def test_a_branch_that_the_stores_own_tool_has_moved_is_drift_and_is_shown_before_it_is_put_back(
    ground: Ground,
) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)}, locations=CACHE)
    ground.apply()
    refs = ground.path / "cache/models--acme--a/refs/main"
    then = refs.read_text()
    refs.write_text("f" * 40)
    assert reasons(ground) == [("normalize", "link")]
    assert ground.apply().code == 0
    assert refs.read_text() == then
    settled(ground)


def test_a_branch_that_moves_while_bytes_come_is_not_overwritten(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)}, locations=CACHE)
    refs = ground.path / "cache/models--acme--a/refs/main"

    def moves(_: object) -> None:
        refs.parent.mkdir(parents=True, exist_ok=True)
        refs.write_text("f" * 40)

    ground.net.before = moves
    ran = ground.apply()
    assert ran.code == 0, ran.text
    assert refs.read_text() == "f" * 40


def test_a_branch_that_was_never_ours_blocks_and_stays(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)}, locations=CACHE)
    refs = ground.path / "cache/models--acme--a/refs/main"
    refs.parent.mkdir(parents=True)
    refs.write_text("f" * 40)
    assert ground.apply().code == 3
    assert refs.read_text() == "f" * 40


def test_a_branch_that_points_elsewhere_stays_when_its_snapshot_leaves(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)}, locations=CACHE)
    ground.apply()
    refs = ground.path / "cache/models--acme--a/refs/main"
    refs.write_text("f" * 40)
    ground.declare({}, locations=CACHE)
    assert ground.apply().code == 0
    assert refs.read_text() == "f" * 40


def test_a_removed_cache_leaves_no_link_that_dangles(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)}, locations=CACHE)
    ground.apply()
    ground.declare({}, locations=CACHE)
    assert ground.apply().code == 0
    assert ground.links("cache") == {}
    assert ground.files("cache") == {}
    assert ground.run("undo", "--yes").code == 0
    assert len(ground.links("cache")) == 2
    assert ground.run("verify", "--full").code == 0


# -- many -------------------------------------------------------------------------------------------------------------


def test_many_small_files_cost_a_few_calls_to_the_disk_and_not_a_few_a_file(ground: Ground, monkeypatch) -> None:
    files = {f"part/{number:04}.txt": b"%d" % number for number in range(2000)}
    ground.declare({"a": ("hf:acme/a", 1, files)})
    stage = ground.house() / "stage"
    stage.mkdir(parents=True)
    for data in files.values():  # they have come already: only placing is counted
        (stage / sha256(data).replace(":", "-")).write_bytes(data)
    counted = [0]
    real = os.fsync

    def fsync(fd: int) -> None:
        counted[0] += 1
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    assert ground.apply().code == 0
    assert len(ground.files()) == 2000
    assert counted[0] < 100


def test_many_records_without_bytes_need_no_entry_in_the_journal(ground: Ground, monkeypatch) -> None:
    from reconciler.journal import Journal

    variants = {f"v{number}": (f"hf:acme/v{number}", 1, {"x.gguf": b"%d" % number}) for number in range(300)}
    ground.declare(variants)
    ground.apply()
    written: list[str] = []
    real = Journal.write
    monkeypatch.setattr(Journal, "write", lambda self, kind, **more: written.append(kind) or real(self, kind, **more))
    ground.declare(variants, roles={"chat": sorted(variants)})
    assert ground.apply().code == 0
    assert written == ["begin", "end"]
    assert ground.entries()["v299"]["roles"] == ["chat"]
