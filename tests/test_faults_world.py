"""What people, other programs and signals do while apply is at work: nothing is lost, nothing is torn."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apply_kit import FakeDownloader, Ground, content, fake_network, sha256

pytestmark = pytest.mark.faults

ONE = {"model.safetensors": content(1), "config.json": b"{1}"}
TWO = {"model.safetensors": content(2), "config.json": b"{2}"}


@pytest.fixture
def ground(world: Path) -> Iterator[Ground]:
    net = FakeDownloader()
    with fake_network(net):
        yield Ground(world, net)


def at(folder: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{path}": data for path, data in sorted(files.items())}


def settled(ground: Ground) -> None:
    assert ground.run("plan", "--detailed-exitcode").code == 0, ground.run("plan").out
    assert ground.run("verify", "--full").code == 0
    assert ground.litter() == []


# -- interruptions ----------------------------------------------------------------------------------------------------


def test_an_interrupted_download_ends_with_130_and_an_account_and_goes_on_next_time(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE), "b": ("hf:acme/b", 1, TWO)})

    def interrupt(item: Any) -> None:
        if item.key.startswith("b"):
            raise KeyboardInterrupt

    ground.net.before = interrupt
    ran = ground.apply()
    assert ran.code == 130
    assert "1 done" in ran.out
    assert "1 not started" in ran.out
    assert ground.files() == at("acme/a", ONE)
    assert set(ground.entries()) == {"a"}
    ground.net.before = lambda _: None
    assert ground.apply().code == 0
    settled(ground)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_names_change_waits_until_the_step_is_done(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    from reconciler.apply import settle as module

    kept = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    real = module.install

    def install(*args: Any, **more: Any) -> Any:
        os.kill(os.getpid(), number)
        return real(*args, **more)

    ground.declare({"a": ("hf:acme/a", 1, ONE), "b": ("hf:acme/b", 1, {"x.gguf": content(7)})})
    try:
        with monkeypatch.context() as patch:
            patch.setattr(module, "install", install)
            ran = ground.apply()
    finally:
        for each, handler in zip((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), kept, strict=True):
            signal.signal(each, handler)
    assert ran.code == 130, ran.text
    assert ground.files() == at("acme/a", ONE)
    assert set(ground.entries()) == {"a"}
    assert ground.journals() == []
    assert ground.apply().code == 0
    settled(ground)


def test_a_display_that_breaks_stops_nobody(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconciler.render import progress

    def gone(*_: object) -> None:
        raise BrokenPipeError("nobody reads")

    for name in ("step_started", "step_done", "plan_started", "file"):
        monkeypatch.setattr(progress._Lines, name, gone)
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    assert ground.apply().code == 0
    settled(ground)


def test_headers_that_nobody_can_read_never_fail_a_step(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RecursionError("a header that bites")

    monkeypatch.setattr("reconciler.detect.detect_directory", broken)
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    assert ground.apply().code == 0
    settled(ground)


# -- what other people do ---------------------------------------------------------------------------------------------


def test_a_foreign_file_at_the_destination_is_blocked_and_never_touched(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE), "b": ("hf:acme/b", 1, TWO)})
    foreign = ground.path / "main/acme/a/model.safetensors"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"theirs")
    then = foreign.stat()
    ran = ground.apply()
    assert ran.code == 3
    now = foreign.stat()
    assert (foreign.read_bytes(), now.st_ino, now.st_mtime_ns) == (b"theirs", then.st_ino, then.st_mtime_ns)
    assert ground.files() == {"acme/a/model.safetensors": b"theirs", **at("acme/b", TWO)}


@pytest.mark.parametrize("when", ["after the plan", "while bytes come"])
def test_a_foreign_file_that_appears_later_fails_the_step_and_stays(ground: Ground, when: str) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    foreign = ground.path / "main/acme/a/model.safetensors"

    def appears(item: Any) -> None:
        foreign.parent.mkdir(parents=True, exist_ok=True)
        foreign.write_bytes(b"theirs")

    if when == "while bytes come":
        ground.net.before = appears
        ran = ground.apply()
        assert ran.code == 5, ran.text
    else:
        plan = ground.path / "plan.json"
        ground.run("plan", "-o", str(plan), str(ground.manifest))
        appears(None)
        ran = ground.run("apply", str(plan))
        assert ran.code == 4, ran.text
    assert foreign.read_bytes() == b"theirs"
    ground.net.before = lambda _: None
    assert ground.apply().code == 3
    foreign.unlink()
    assert ground.apply().code == 0
    settled(ground)


def test_a_file_that_the_user_edits_while_bytes_come_is_not_replaced(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    ground.apply()
    ground.declare({"a": ("hf:acme/a", 2, TWO)})
    mine = ground.path / "main/acme/a/config.json"
    ground.net.before = lambda _: mine.write_bytes(b"edited by hand")
    ran = ground.apply()
    assert ran.code == 5
    assert "changed since the plan was made" in ran.text
    assert mine.read_bytes() == b"edited by hand"
    assert ground.files()["acme/a/model.safetensors"] == ONE["model.safetensors"]
    assert ground.trash() == {}


def test_a_file_that_the_user_edits_before_it_leaves_stays(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE), "b": ("hf:acme/b", 1, TWO)})
    ground.apply()
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    mine = ground.path / "main/acme/b/config.json"
    mine.write_bytes(b"edited by hand")
    assert ground.apply().code == 3
    assert mine.read_bytes() == b"edited by hand"


@pytest.mark.parametrize("what", ["directory", "file"])
@pytest.mark.parametrize("when", ["before", "while bytes come"])
def test_a_link_planted_below_the_root_leads_nowhere(ground: Ground, what: str, when: str) -> None:
    outside = ground.path / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"victim")
    ground.declare({"a": ("hf:acme/a", 1, ONE), "b": ("hf:acme/b", 1, TWO)})

    def plant(_: Any = None) -> None:
        if what == "directory":
            (ground.path / "main/acme").mkdir(parents=True, exist_ok=True)
            if not (ground.path / "main/acme/a").is_symlink():
                (ground.path / "main/acme/a").symlink_to(outside)
        else:
            (ground.path / "main/acme/a").mkdir(parents=True, exist_ok=True)
            if not (ground.path / "main/acme/a/config.json").is_symlink():
                (ground.path / "main/acme/a/config.json").symlink_to(outside / "victim")

    if when == "before":
        plant()
    else:
        ground.net.before = plant
    ran = ground.apply()
    assert ran.code == (3 if when == "before" else 5), ran.text
    assert os.listdir(outside) == ["victim"]
    assert (outside / "victim").read_bytes() == b"victim"
    assert "acme/b/config.json" in ground.files()


def test_naively_the_same_link_is_followed(world: Path) -> None:
    (world / "outside").mkdir()
    (world / "main").symlink_to(world / "outside")
    (world / "main/config.json").write_bytes(b"ours")
    assert (world / "outside/config.json").exists()


# -- two at once ------------------------------------------------------------------------------------------------------

_HOLDER = """
import sys, time
from reconciler.registry import locked
from pathlib import Path
with locked(Path(sys.argv[1]), holder="reconciler apply"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_apply_is_told_who_is_at_work_and_goes_on_when_that_one_was_killed(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    words = [sys.executable, "-c", _HOLDER, str(ground.registry)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        ran = ground.apply()
        assert ran.code == 6
        assert str(holder.pid) in ran.err
        assert ground.run("plan").code == 0  # looking is always allowed
        assert not (ground.path / "main").exists()
        holder.kill()
    assert ground.apply().code == 0
    settled(ground)


# -- damaged state ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model_registry.discovered.json", "state.json"])
def test_a_registry_cut_off_anywhere_is_never_taken_for_an_empty_one(ground: Ground, name: str) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    ground.apply()
    path = ground.registry / name
    whole = path.read_bytes()
    then = ground.files()
    ground.declare({})
    last = len(whole) - (2 if name == "state.json" else 1)  # JSON without its last newline still says all
    for end in {*range(0, last, max(1, len(whole) // 40)), last}:
        path.write_bytes(whole[:end])
        ran = ground.apply()
        assert ran.code == 1, f"{end} of {len(whole)}: {ran.text}"
        assert "hint" in ran.err
        assert "defect" not in ran.err
        assert ground.files() == then
    path.write_bytes(whole)
    assert ground.apply().code == 0


def test_a_damaged_journal_is_told_and_nothing_is_done(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    folder = ground.registry / "journal"
    folder.mkdir(parents=True)
    (folder / "0000000001.journal").write_bytes(b"garbage\nmore garbage\n")
    ran = ground.apply()
    assert ran.code == 1
    assert "damaged" in ran.err
    assert not (ground.path / "main").exists()


def test_a_journal_of_another_version_is_told_and_nothing_is_done(ground: Ground) -> None:
    from reconciler.journal import BEGIN, open_journal

    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    with open_journal(ground.registry / "journal", "0000000001") as log:
        log.write(BEGIN, version=2, generation=1, manifest="ws", roots={}, later="words")
    assert "a newer one wrote it" in ground.run("status").err
    ran = ground.apply()
    assert ran.code == 1
    assert "it is of version 2, and this reconciler reads 1: a newer one wrote it" in ran.err
    assert "defect" not in ran.err
    assert not (ground.path / "main").exists()


def test_a_journal_that_says_no_version_is_one_of_the_first(ground: Ground) -> None:
    from reconciler.journal import BEGIN, open_journal

    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    with open_journal(ground.registry / "journal", "0000000001") as log:
        log.write(BEGIN, generation=1, plan_id="", manifest="ws", touched=[], before=[], roots={})
    assert ground.apply().code == 0
    settled(ground)


def test_a_journal_torn_in_its_last_line_is_taken_up(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    with monkeypatch.context() as patch:
        patch.setattr("reconciler.apply._recorded", lambda *_: (_ for _ in ()).throw(OSError(28, "No space")))
        assert ground.apply().code == 1
    journal = ground.registry / "journal" / ground.journals()[0]
    whole = journal.read_bytes()
    journal.write_bytes(whole[: len(whole) - 20])
    assert ground.apply().code == 0
    settled(ground)
    assert ground.run("undo", "--yes").code == 0
    assert ground.files() == {}


def test_a_disk_that_was_taken_away_after_a_kill_is_finished_when_it_is_back(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reconciler.apply import carry
    from reconciler.errors import DiskError

    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    ground.apply()
    ground.declare({"a": ("hf:acme/a", 2, TWO)})

    def away(*_: object) -> None:
        raise DiskError("the device has vanished", where="main")

    with monkeypatch.context() as patch:
        patch.setattr(carry, "settle", away)
        assert ground.apply().code == 5
    (ground.path / "main").rename(ground.path / "unplugged")
    ran = ground.apply()
    assert ran.code == 3, ran.text
    assert not (ground.path / "main").exists()
    (ground.path / "unplugged").rename(ground.path / "main")
    assert ground.apply().code == 0
    assert ground.files() == at("acme/a", TWO)
    settled(ground)


def test_a_saved_plan_whose_text_was_changed_is_refused(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    plan = ground.path / "plan.json"
    ground.run("plan", "-o", str(plan), str(ground.manifest))
    plan.write_text(plan.read_text().replace(sha256(ONE["config.json"]), sha256(b"other")))
    ran = ground.run("apply", str(plan))
    assert ran.code == 1
    assert not (ground.path / "main").exists()
    assert json.loads(plan.read_text())
