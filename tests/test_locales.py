"""The whole program under a locale that is not UTF-8: names of files mean the same, and no output is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_kit import Box, a_box

NAME = "模型-データ.safetensors"
ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""An ASCII locale, and none of what Python does about one by itself."""


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Box]:
    with a_box(tmp_path, monkeypatch, capsys) as made:
        made.hub.add("acme/Named", {NAME: b"x" * 3000, "config.json": b"{}"})
        made.write({"variants:\n": "variants:\n  named:\n    source: hf:acme/Named\n    location: weights\n"})
        made.apply()
        yield made


def elsewhere(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program in a process of its own, in an ASCII locale."""
    command = [sys.executable, "-m", "reconciler", *arguments]
    return subprocess.run(command, capture_output=True, env={**os.environ, **ASCII}, timeout=60, check=False)


def test_a_name_that_the_locale_cannot_say_is_no_missing_file(box: Box) -> None:
    told = elsewhere("plan", "box.yaml", "--detailed-exitcode", "--offline")

    assert told.returncode == 0, told.stdout + told.stderr
    control = r"import os, sys; sys.exit(any('\u6a21' in name for name in os.listdir('weights/acme/Named')))"
    assert subprocess.run([sys.executable, "-c", control], env={**os.environ, **ASCII}, check=False).returncode == 0


@pytest.mark.parametrize("command", ["list --details", "verify", "analyze --files"])
def test_what_a_terminal_cannot_show_is_shown_escaped(box: Box, command: str) -> None:
    box.weight(NAME).unlink()
    verb, *options = command.split()
    told = elsewhere(verb, "hf:acme/Named" if verb == "analyze" else "box.yaml", *options)

    assert b"defect" not in told.stderr
    assert rb"\u6a21" in told.stdout


@pytest.mark.parametrize("form", ["imageworks", "cyclonedx", "csv"])
def test_a_document_for_programs_is_utf_8_everywhere(box: Box, form: str) -> None:
    told = elsewhere("export", "box.yaml", "--to", form)

    assert told.returncode == 0, told.stderr
    assert told.stdout.decode() == box.run("export", "box.yaml", "--to", form).out
    if form != "csv":
        assert NAME in json.dumps(json.loads(told.stdout), ensure_ascii=False)
