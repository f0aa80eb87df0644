"""`reconciler lock`: what it says of each entry that it changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cli_kit import Box, a_box

from reconciler import lockfile


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Box]:
    with a_box(tmp_path, monkeypatch, capsys) as made:
        yield made


def test_an_entry_of_the_same_revision_says_what_of_it_is_another(box: Box) -> None:
    assert box.run("lock", "box.yaml").code == 0
    path = box.here / "box.lock.json"
    lock = lockfile.read(path)
    now = lock.pins["tiny-chat"]
    path.write_text(lockfile.dumps(replace(lock, pins={**lock.pins, "tiny-chat": replace(now, license="mit")})))

    told = box.run("lock", "box.yaml", "--upgrade")

    [line] = [line for line in told.out.splitlines() if line.startswith("~ ")]
    assert line.startswith("~ tiny-chat  ")
    assert line.endswith(f"(license mit -> {now.license or '(none)'})")
    assert box.run("lock", "box.yaml", "--upgrade").out.endswith("3 entries, nothing changed.\n")


@pytest.mark.parametrize("command", [("outdated",), ("lock", "--check")])
def test_a_repository_with_another_name_is_told_to_programs_too(box: Box, command: tuple[str, ...]) -> None:
    box.run("lock", "box.yaml")
    box.hub.rename("acme/Tiny-Chat", "acme/Small-Chat")

    told = box.run(command[0], "box.yaml", *command[1:], "--json")

    assert told.code == 0, told.err
    [warning] = told.json["warnings"]
    assert warning.startswith("hf:acme/Tiny-Chat is now called hf:acme/Small-Chat")
    assert warning in told.err
