"""The command line as people meet it: help, examples, exit codes, usage errors, quick starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler import __version__
from reconciler.cli import COMMANDS, run

HEAVY = {
    "pydantic", "rich", "huggingface_hub", "aria2p", "deepdiff", "ruamel", "urllib3", "sqlite3", "httpx", "yaml",
}  # fmt: skip


def help_of(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    assert run([*command, "--help"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    return told.out


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")


def test_the_list_of_commands_has_every_one_of_them_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    lines = help_of(capsys).splitlines()
    listed = {
        line.split()[0]: line
        for line in lines[lines.index("Commands:") + 1 :]
        if line.startswith("  ") and line.split()
    }

    for command in COMMANDS:
        assert len(listed[command].split()) > 3, f"{command}: no sentence"
        assert len(listed[command]) <= 80


def test_the_exit_codes_stand_in_the_first_help(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(help_of(capsys).split())

    for code in (
        "0 done",
        "1 error",
        "2 changes or drift",
        "3 blocked",
        "4 stale",
        "5 apply",
        "6 another",
        "7 declined",
        "130",
    ):
        assert code in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys, command)
    examples = text.partition("Examples:")[2].splitlines()

    assert any(line.strip().startswith(("reconciler ", "RECONCILER_")) for line in examples[:4]), (
        f"{command}: no examples"
    )
    assert max(len(line) for line in text.splitlines()) <= 80


@pytest.mark.parametrize("command", ["validate", "show", "status", "list", "roles", "doctor", "config", "schema"])
def test_a_command_that_reads_says_what_its_exit_codes_mean(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(help_of(capsys, command).split())

    assert "Exit codes: 0 " in text


@pytest.mark.parametrize("command", COMMANDS)
def test_the_sentence_of_a_command_is_not_cut_at_eighty_columns(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    [line] = [line for line in help_of(capsys).splitlines() if line.startswith(f"  {command:<10}  ")]

    assert not line.endswith("...")


@pytest.mark.parametrize("name", ["-h", "--help"])
def test_help_has_a_short_name_too(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", name]) == 0
    assert "Examples:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status", "--detailled-exitcode"], "--detailed-exitcode"),
        (["vaildate"], "validate"),
        (["show"], "PLAN"),
        (["roles", "a.yaml", "b.yaml"], "b.yaml"),
        (["plan", "--out"], "--out"),
        (["nonsense-that-is-near-nothing"], "nonsense-that-is-near-nothing"),
    ],
)
def test_a_usage_error_is_one_clear_error(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 1

    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert told.out == ""
    assert len(lines) == 2
    assert lines[0].startswith("error: ")
    assert said in lines[0]
    assert lines[1].startswith("  hint: `reconciler")


@pytest.mark.parametrize("arguments", [["--help"], *([command, "--help"] for command in ("plan", "status", "doctor"))])
def test_help_starts_nothing_heavy(arguments: list[str]) -> None:
    heavy = HEAVY if len(arguments) == 1 else HEAVY - {"pydantic"}  # typer itself parses a command's options with it
    program = (
        "import sys\nfrom reconciler.cli import run\n"
        f"code = run({arguments!r})\n"
        f"print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr)\nsys.exit(code)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed_for_the_shells(shell: str) -> None:
    environ = {**os.environ, "_RECONCILER_COMPLETE": f"source_{shell}"}

    done = subprocess.run(
        [sys.executable, "-m", "reconciler"], env=environ, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "_RECONCILER_COMPLETE" in done.stdout


def completed(line: str, cwd: Path) -> list[str]:
    """What bash is told to offer at the end of a line."""
    words = line.split(" ")
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_RECONCILER_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-m", "reconciler"], env={**os.environ, **asked}, cwd=cwd, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("reconciler why ch", ["chat", "chat-small"]),
        ("reconciler plan --target q", ["q4"]),
        ("reconciler why other.yaml el", ["elsewhere"]),
        ("reconciler mv chat-", ["chat-small"]),
        ("reconciler verify other.yaml --variant e", ["elsewhere"]),
        ("reconciler lock --upgrade broken.yaml q", ["q4"]),
        ("reconciler import hf", ["hf-cache"]),
        ("reconciler demo t", ["takeover"]),
        ("reconciler export --to cy", ["cyclonedx"]),
        ("reconciler stat", ["status", "stats"]),
    ],
)
def test_a_shell_completes_names_of_variants_and_words_of_tables(line: str, offered: list[str], world: Path) -> None:
    text = "version: 1\nlocations: {{here: {{store: flat, root: ~/m}}}}\nvariants:\n{}"
    entry = "  {0}: {{source: hf:o/{0}}}\n"
    names = {"reconciler.yaml": ("chat", "chat-small", "q4"), "other.yaml": ("elsewhere",)}
    for path, variants in names.items():
        (world / path).write_text(text.format("".join(map(entry.format, variants))))
    (world / "broken.yaml").write_text("nonsense: [")
    assert completed(line, world) == offered


def test_where_there_is_no_manifest_a_shell_is_offered_nothing_and_told_nothing(world: Path) -> None:
    assert completed("reconciler why ", world) == []


def test_a_reader_that_leaves_early_gets_no_traceback() -> None:
    done = subprocess.run(
        f"'{sys.executable}' -m reconciler schema | head -c 10", shell=True, capture_output=True, text=True, check=False
    )

    assert len(done.stdout) == 10
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"reconciler {__version__}\n"


def test_without_a_command_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Commands:" in capsys.readouterr().out


def test_every_command_tells_exit_codes_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        assert run([name, "--help"]) == 0
        assert "xit codes" in capsys.readouterr().out, name
