"""The log of runs: a line a step of whatever changes something, without secrets, bounded, never in the way."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_kit import Box, a_box

import reconciler
from reconciler import runlog
from reconciler.errors import DiskError


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Box]:
    with a_box(tmp_path, monkeypatch, capsys) as made:
        yield made


def lines(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / runlog.NAME).read_text().splitlines()]


def test_an_apply_is_a_line_a_step_and_one_for_the_whole(box: Box) -> None:
    box.apply()

    told = lines(box.here / "registry" / "log")

    assert {line["command"] for line in told} == {"apply"}
    assert [line["event"] for line in told] == ["start", "step", "step", "step", "end"]
    assert len({line["run"] for line in told}) == 1
    assert (told[0]["steps"], told[0]["plan_id"]) == (3, told[-1]["plan_id"])
    assert {line["result"] for line in told[1:4]} == {"done"}
    assert told[-1]["generation"] == 1


def test_a_run_that_is_killed_has_told_what_it_did_until_then(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    child = os.fork()
    if child == 0:
        monkeypatch.setattr("reconciler.apply.save", lambda _: os.kill(os.getpid(), signal.SIGKILL))
        box.apply()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

    told = lines(box.here / "registry" / "log")
    [cut] = box.run("history", "box.yaml", "--json").json["generations"]
    box.apply()
    after = box.run("history", "box.yaml", "--json").json["generations"]

    assert [line["event"] for line in told] == ["start", "step", "step", "step"]
    assert {line["result"] for line in told[1:]} == {"done"}
    assert (cut["generation"], cut["result"], cut["plan_id"]) == (1, "unfinished", told[0]["plan_id"])
    assert [(deed["result"], deed["steps"]["done"]) for deed in after] == [("interrupted", 3)]
    assert "3 done" in box.run("history", "box.yaml").out


def test_an_apply_that_cannot_begin_tells_why(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise DiskError("no space left")

    monkeypatch.setattr("reconciler.journal.open_journal", full)

    assert box.run("apply", "box.yaml", "--yes").code == 1

    told = lines(box.here / "registry" / "log")
    assert [line["event"] for line in told] == ["start", "end"]
    assert "no space left" in told[1]["error"]


def test_every_command_that_writes_is_logged_and_none_that_reads(box: Box) -> None:
    box.apply()
    before = len(lines(box.here / "registry" / "log"))
    for reading in ("plan", "status", "list", "stats", "outdated"):
        box.run(reading, "box.yaml")
    assert len(lines(box.here / "registry" / "log")) == before

    assert box.run("mv", "box.yaml", "tiny-chat", "small-chat").code == 0
    assert box.run("add", "box.yaml", "hf:acme/Tiny-Chat", "--name", "again", "--location", "lmstudio").code == 0
    assert box.run("forget", "box.yaml", "tiny-gguf-iq4_xs", "--yes").code == 0
    box.without("tiny-chat")
    box.apply()
    assert box.run("gc", "box.yaml", "--older-than", "0s", "--yes").code == 0
    assert box.run("undo", "box.yaml", "--yes").code == 0

    commands = list(dict.fromkeys(line["command"] for line in lines(box.here / "registry" / "log")))
    assert commands == ["apply", "mv", "add", "forget", "gc", "undo"]


def test_calls_from_python_are_logged_as_the_commands_are(box: Box) -> None:
    """The control is that the two logs are not empty, and say what was done."""

    def by_command() -> None:
        box.run("add", "box.yaml", "hf:acme/Tiny-Chat", "--name", "again", "--location", "lmstudio")
        box.run("mv", "box.yaml", "tiny-chat", "small-chat")
        box.run("import", "list", "models.txt", "--manifest", "box.yaml")
        box.run("forget", "box.yaml", "tiny-gguf-iq4_xs", "--yes")
        box.run("gc", "box.yaml", "--older-than", "0s", "--yes")

    def by_call() -> None:
        reconciler.add("hf:acme/Tiny-Chat", "box.yaml", name="again", location="lmstudio")
        reconciler.rename("tiny-chat", "small-chat", "box.yaml")
        reconciler.import_models("list", "models.txt", manifest="box.yaml")
        reconciler.forget("tiny-gguf-iq4_xs", "box.yaml")
        reconciler.gc("box.yaml", older_than=0)

    (box.here / "models.txt").write_text("hf download acme/Tiny-GGUF --include '*Q4_K_M.gguf'\n")
    told = []
    for work in (by_command, by_call):
        box.write()
        box.apply()
        box.without("tiny-gguf-q4_k_m")
        box.apply()
        before = len(lines(box.here / "registry" / "log"))
        work()
        new = lines(box.here / "registry" / "log")[before:]
        told.append([{key: line[key] for key in line if key not in ("time", "run")} for line in new])
        shutil.rmtree(box.here / "registry")
        shutil.rmtree(box.here / "weights", ignore_errors=True)

    assert told[0] == told[1]
    assert list(dict.fromkeys(line["command"] for line in told[0])) == ["add", "mv", "import", "forget", "gc"]


@pytest.mark.parametrize("variable", ["RECONCILER_LOG_DIR", "IMAGEWORKS_LOG_DIR"])
def test_the_log_goes_where_it_is_told(box: Box, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, str(box.here / "logs"))

    box.run("lock", "box.yaml")

    assert [line["action"] for line in lines(box.here / "logs")] == ["lock"] * 3
    assert not (box.here / "registry").exists()


def test_a_command_that_only_writes_the_lock_makes_no_registry(box: Box) -> None:
    assert box.run("lock", "box.yaml").code == 0

    assert not (box.here / "registry").exists()


def test_secrets_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIVITAI_TOKEN", "0123canary4567")
    told = {
        "error": "GET https://x.org/f?X-Amz-Signature=canary1&a=b with hf_canary23456",
        "nested": [{"why": "0123canary4567 was refused"}],
    }

    assert runlog.append(tmp_path, [told])

    assert "canary" not in (tmp_path / runlog.NAME).read_text()
    assert json.dumps(told).count("canary") == 3, "the control: they were there"


def test_the_file_is_rotated_and_only_some_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runlog, "LIMIT", 200)

    for number in range(40):
        assert runlog.append(tmp_path, [{"number": number, "text": "x" * 60}])

    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [runlog.NAME, *(f"{runlog.NAME}.{number}" for number in range(1, runlog.KEPT + 1))]
    assert all(path.stat().st_size <= 200 for path in tmp_path.iterdir())
    assert lines(tmp_path)[-1]["number"] == 39


def test_runs_that_log_at_the_same_time_lose_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one run rotates, another waits; the control is that somebody else could take the lock before and after."""
    monkeypatch.setattr(runlog, "LIMIT", 200)
    held: list[bool] = []

    def is_held() -> bool:
        fd = os.open(tmp_path, os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    replace = Path.replace

    def watched(path: Path, target: Path) -> Path:
        held.append(is_held())
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", watched)
    assert not is_held()
    for number in range(12):
        assert runlog.append(tmp_path, [{"number": number, "text": "x" * 60}])

    assert held
    assert all(held)
    assert not is_held()


def test_lines_of_many_processes_are_all_there(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from reconciler import runlog; runlog.LIMIT = 3000\n"
        "for number in range(50): assert runlog.append(Path(sys.argv[1]), [{'who': sys.argv[2], 'number': number}])"
    )
    runs = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), who]) for who in "abc"]

    assert [run.wait(60) for run in runs] == [0, 0, 0]
    told = [json.loads(line) for path in tmp_path.iterdir() for line in path.read_text().splitlines()]
    assert sorted((line["who"], line["number"]) for line in told) == [(who, n) for who in "abc" for n in range(50)]


def test_a_log_that_cannot_be_written_stops_nobody(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    (box.here / "taken").write_text("a file")
    monkeypatch.setenv("RECONCILER_LOG_DIR", str(box.here / "taken"))

    assert box.run("apply", "box.yaml", "--yes").code == 0
    assert (box.here / "taken").read_text() == "a file"


def test_a_link_in_place_of_the_log_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    directory = tmp_path / "log"
    directory.mkdir()
    (directory / runlog.NAME).symlink_to(victim)

    assert not runlog.append(directory, [{"a": 1}])
    assert victim.read_text() == "mine"
