"""Every command in odd surroundings: no home, no current directory, streams that fail or are missing.

It works as ever, or ends with one clear error; never with a traceback, never with a half-told defect.
"""

from __future__ import annotations

import errno
import io
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_kit import Box, Told, a_box

from reconciler import home
from reconciler.cli import COMMANDS
from reconciler.errors import InputError
from reconciler.paths import check_root

ARGUMENTS = {
    "plan": "MANIFEST", "apply": "MANIFEST --yes", "lock": "MANIFEST", "validate": "MANIFEST", "show": "HERE/plan.json",
    "status": "MANIFEST", "list": "MANIFEST", "roles": "MANIFEST", "stats": "MANIFEST", "duplicates": "MANIFEST",
    "outdated": "MANIFEST", "why": "MANIFEST tiny-chat", "diff": "MANIFEST MANIFEST", "analyze": "hf:acme/Tiny-Chat",
    "export": "MANIFEST", "history": "MANIFEST", "verify": "MANIFEST", "undo": "MANIFEST --list",
    "gc": "MANIFEST --yes", "init": "HERE/new.yaml --yes --offline",
    "import": "tree HERE/weights --manifest HERE/found.yaml --offline",
    "detect": "HERE/empty --manifest MANIFEST", "add": "MANIFEST hf:acme/Tiny-GGUF --name other --files *Q4_K_M.gguf",
    "mv": "MANIFEST tiny-chat chatty", "forget": "MANIFEST tiny-gguf-iq4_xs --yes", "fmt": "MANIFEST",
    "doctor": "MANIFEST --offline", "config": "MANIFEST", "schema": "", "demo": "nothing",
}  # fmt: skip
"""What each command is given. The demo is asked for a tour that there is not: whole ones have tests of their own."""


@pytest.fixture
def box(world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Box]:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    (world / "empty").mkdir()
    with a_box(world, monkeypatch, capsys) as made:
        made.apply()
        assert made.run("plan", "box.yaml", "-o", "plan.json").code == 0
        yield made


def words(command: str, box: Box) -> list[str]:
    text = f"{command} {ARGUMENTS[command]}"
    return [w.replace("MANIFEST", str(box.manifest)).replace("HERE", str(box.here)) for w in text.split()]


def test_the_table_holds_every_command() -> None:
    assert set(ARGUMENTS) == set(COMMANDS)


def told_of_all(box: Box) -> dict[str, Told]:
    """Run every command; return what those said that did not simply work. None may speak of a defect."""
    told = {command: box.run(*words(command, box)) for command in COMMANDS}
    for command, each in told.items():
        assert "defect" not in each.err, (command, each.err)
        assert "Traceback" not in each.err, (command, each.err)
        assert each.code == 0 or each.err.startswith("error: ") or command == "doctor", (command, each)
    del told["demo"]
    return {command: each for command, each in told.items() if each.code}


def without_base_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name)


def test_every_command_works_to_begin_with(box: Box) -> None:
    assert told_of_all(box) == {}


# -- home -------------------------------------------------------------------------------------------------------------


def test_a_user_of_whom_nobody_knows_a_home(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that runs as a number, a service without HOME."""
    without_base_directories(monkeypatch)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    told = told_of_all(box)
    assert {"plan", "apply", "config", "doctor", "init", "list"} <= set(told)
    assert [command for command, each in told.items() if "home" not in each.out + each.err] == []


def test_with_base_directories_of_its_own_no_home_is_needed(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert box.run("plan", "box.yaml", "--detailed-exitcode").code == 0
    assert box.run("config").code == 0


@pytest.mark.parametrize(
    "words",
    [
        "import tree ~/x --manifest new.yaml", "import hf-cache --manifest new.yaml",
        "import lmstudio --manifest new.yaml", "import comfyui ~/x --manifest new.yaml",
        "import imageworks ~/x --manifest new.yaml", "import list ~/x --manifest new.yaml",
        "import ollama ~/x --manifest new.yaml", "init new.yaml --yes --offline", "analyze ~/x",
    ],
)  # fmt: skip
def test_what_is_looked_for_at_home_is_told_where_there_is_none(
    box: Box, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    for variable in ("HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    monkeypatch.setenv("XDG_CACHE_HOME", "~/.cache")
    monkeypatch.setenv("RECONCILER_CACHE", str(box.here / "cache"))
    monkeypatch.setenv("RECONCILER_REGISTRY", str(box.here / "registry"))

    told = box.run(*words.split())

    assert (told.code, told.out) == (1, "")
    assert "this user has no home directory" in told.err


def test_a_home_that_is_relative_is_refused(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the registry would be another one in every directory."""
    without_base_directories(monkeypatch)
    monkeypatch.setenv("HOME", "rel")
    told = told_of_all(box)
    assert {"plan", "apply", "config", "doctor", "init", "list"} <= set(told)
    assert [command for command, each in told.items() if "HOME: expected an absolute" not in each.out + each.err] == []
    assert not (box.here / "rel").exists()


@pytest.mark.parametrize("place", ["/proc/1/none", "/etc/passwd"])
def test_a_home_that_is_not_there_or_cannot_be_written(box: Box, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    without_base_directories(monkeypatch)
    monkeypatch.setenv("HOME", place)
    assert told_of_all(box) == {}


def test_the_root_directory_as_home_and_an_empty_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a container gives to a user whom it does not know."""
    monkeypatch.setenv("HOME", "/")
    assert check_root("~/weights") == "/weights"
    assert str(home.expand("~/x")) == "/x"
    assert str(home.base({"HOME": "/"}, "XDG_CACHE_HOME", ".cache")) == "/.cache"
    assert home.home({"HOME": ""}) == pwd.getpwuid(os.getuid()).pw_dir
    with pytest.raises(InputError, match="HOME"):
        home.home({"HOME": "here"})


# -- the current directory --------------------------------------------------------------------------------------------


@pytest.fixture
def gone(box: Box) -> Iterator[Path]:
    """Stand in a directory that was removed."""
    directory = box.here / "gone"
    directory.mkdir()
    os.chdir(directory)
    directory.rmdir()
    yield directory
    os.chdir(box.here)


def test_a_current_directory_that_was_removed_matters_to_nobody(box: Box, gone: Path) -> None:
    assert told_of_all(box) == {}


@pytest.mark.parametrize(
    ("command", "code"), [("plan", 1), ("plan box.yaml", 1), ("config", 0), ("config box.yaml", 0), ("fmt x.yaml", 1)]
)
def test_nothing_is_found_from_a_directory_that_was_removed(box: Box, gone: Path, command: str, code: int) -> None:
    told = box.run(*command.split())
    assert (told.code, "defect" in told.err) == (code, False), told.err


# -- streams ----------------------------------------------------------------------------------------------------------


class Failing(io.StringIO):
    """A stream whose disk is full, or whose reader has gone."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code

    def write(self, text: str) -> int:
        raise OSError(self.code, os.strerror(self.code))

    def flush(self) -> None:
        raise OSError(self.code, os.strerror(self.code))


def run_all(box: Box, monkeypatch: pytest.MonkeyPatch, stream: str, code: int) -> dict[str, Told]:
    told = {}
    for command in COMMANDS:
        if command != "demo":
            with monkeypatch.context() as patch:
                patch.setattr(sys, stream, Failing(code))
                told[command] = box.run(*words(command, box))
    return told


def test_output_that_cannot_be_written_is_one_error(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    told = run_all(box, monkeypatch, "stdout", errno.ENOSPC)
    told.pop("fmt")  # which has nothing to say
    expected = ["error: standard output: cannot be written: No space left on device"]
    for command, each in told.items():
        errors = [line for line in each.err.splitlines() if line.startswith("error: ")]
        assert (each.code, errors) == (1, expected), (command, each)


def test_a_reader_that_has_gone_is_no_error_to_tell(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    told = run_all(box, monkeypatch, "stdout", errno.EPIPE)
    assert {command: each.err for command, each in told.items() if "error" in each.err} == {}


def test_what_cannot_be_said_on_standard_error_stops_nobody(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    told = run_all(box, monkeypatch, "stderr", errno.ENOSPC)
    assert {command: each for command, each in told.items() if each.code} == {}


def a_process(box: Box, command: str, redirected: str) -> subprocess.CompletedProcess[bytes]:
    arguments = [sys.executable, "-m", "reconciler", *words(command, box)]
    return subprocess.run(["sh", "-c", f'"$@" {redirected}', "sh", *arguments], capture_output=True, check=False)


def test_an_apply_whose_reader_goes_away_is_done_all_the_same(box: Box) -> None:
    box.weight("Q4_K_M.gguf").unlink()
    command = [sys.executable, "-m", "reconciler", "apply", "box.yaml", "--yes", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 1
    assert box.run("plan", "box.yaml", "--detailed-exitcode").code == 0


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_process_without_streams_writes_to_no_file_in_their_stead(box: Box, closed: str) -> None:
    """The next file to be opened would have the number of a closed stream, and get what is meant for people."""
    box.weight("Q4_K_M.gguf").unlink()
    done = a_process(box, "apply", closed)
    assert done.returncode == 0
    assert box.run("verify", "box.yaml", "--full").code == 0


def test_output_on_a_full_disk_ends_with_our_code_and_nothing_of_python(box: Box) -> None:
    done = a_process(box, "list", ">/dev/full")
    assert done.returncode == 1
    assert done.stderr == b"error: standard output: cannot be written: No space left on device\n"


# -- a server that does not answer -----------------------------------------------------------------------------------


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that accepts, and says nothing for as long as it is there."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.mark.parametrize("command", ["lock", "plan", "apply --yes"])
def test_ctrl_c_waits_for_no_server_and_is_told(world: Path, silent: socket.socket, command: str) -> None:
    variants = "".join(f"  m{number}: {{ source: 'hf:acme/m{number}' }}\n" for number in range(3))
    start = f"version: 1\nregistry: {world}/registry\nlocations:\n  x: {{ store: flat, root: {world}/x }}\nvariants:\n"
    (world / "box.yaml").write_text(start + variants)
    name, *flags = command.split()
    asking = [sys.executable, "-m", "reconciler", name, "box.yaml", *flags]
    env = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}
    with subprocess.Popen(asking, cwd=world, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        held = [silent.accept() for _ in range(3)]
        running.send_signal(signal.SIGINT)
        # Each question alone would be tried three times, for half a minute each.
        told = running.communicate(timeout=25)[1]
        for connection, _ in held:
            connection.close()
    assert (running.returncode, told) == (130, b"interrupted\n")


# -- the registry -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "what"), [(Path.touch, "a file"), (lambda path: path.symlink_to("nowhere"), "a link that leads nowhere")]
)
def test_a_registry_that_is_no_directory_is_told_in_the_same_words_by_all(
    box: Box, spoil: Callable[[Path], None], what: str
) -> None:
    shutil.rmtree(box.here / "registry")
    spoil(box.here / "registry")

    told = told_of_all(box)

    assert {"plan", "apply", "status", "list", "verify", "undo", "gc", "forget", "history", "doctor"} <= told.keys()
    for command, each in told.items():
        said = each.err + each.out
        assert f"{box.here}/registry: {what}, where the registry should be a directory" in said, command
        assert "RECONCILER_REGISTRY" in said, command
