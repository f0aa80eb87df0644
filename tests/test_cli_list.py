"""`reconciler list`: what is managed, as the registry has it; nobody is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_kit import Box, a_box
from syrupy.assertion import SnapshotAssertion


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Box]:
    with a_box(tmp_path, monkeypatch, capsys) as made:
        yield made


def test_nothing_is_managed_before_the_first_apply(box: Box, snapshot: SnapshotAssertion) -> None:
    told = box.run("list", "box.yaml")

    assert told.code == 0
    assert box.stable(told.out) == snapshot


def test_every_variant_is_a_line_in_a_pipe(box: Box, snapshot: SnapshotAssertion) -> None:
    box.apply()

    told = box.run("list", "box.yaml")

    assert told.code == 0
    assert box.stable(told.out) == snapshot


def test_files_of_nobody_are_counted_where_they_lie(box: Box) -> None:
    box.apply()
    (box.here / "weights" / "mine.bin").write_bytes(b"x" * 5000)

    told = box.run("list", "box.yaml")

    assert "1 file (4.9 KiB)" in told.out
    assert box.run("list", "box.yaml", "--json").json["locations"]["weights"]["unmanaged"] == {
        "files": 1,
        "bytes": 5000,
    }


def test_files_that_another_manifest_manages_are_not_nobodys(box: Box) -> None:
    box.apply()
    other = box.here / "other.yaml"
    other.write_text(box.manifest.read_text().replace("name: box", "name: other"))

    told = box.run("list", "other.yaml", "--json").json

    assert told["variants"] == []
    assert told["locations"]["lmstudio"]["unmanaged"] == {"files": 0, "bytes": 0}


def test_json_has_every_file_with_its_digest(box: Box) -> None:
    box.apply()

    told = box.run("list", "box.yaml", "--json").json
    chat = next(each for each in told["variants"] if each["address"] == "tiny-chat@weights")

    assert (chat["format"], chat["quant"], chat["served_as"], chat["roles"]) == (
        "safetensors",
        "fp16",
        "tiny",
        {"chat": 2},
    )
    assert [(file["path"], file["size"]) for file in chat["files"]] == [
        ("acme/Tiny-Chat/config.json", 24),
        ("acme/Tiny-Chat/model.safetensors", 200),
        ("acme/Tiny-Chat/tokenizer.json", 3),
    ]
    assert chat["bytes"] == 227
    assert len(chat["revision"]) == 40


def test_nobody_is_asked(box: Box) -> None:
    box.apply()
    box.hub.reset_log()

    box.run("list", "box.yaml")

    assert box.hub.requests == []


def test_a_narrow_terminal_goes_without_the_least_wanted_columns(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconciler.cli import session

    box.apply()
    monkeypatch.setattr(session, "width", lambda stream=None: 80)

    lines = box.run("list", "box.yaml").out.splitlines()

    assert lines[0].split() == ["variant", "format", "quant", "size", "files", "roles"]
    assert max(len(line) for line in lines) <= 80
    assert lines[1].startswith("tiny-gguf-iq4_xs@lmstudio ")


def test_columns_that_were_asked_for_stay_on_a_narrow_terminal(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconciler.cli import session

    box.apply()
    monkeypatch.setattr(session, "width", lambda stream=None: 40)

    lines = box.run("list", "box.yaml", "--columns", "name,state,source,revision").out.splitlines()

    assert len(lines[0].split()) == 4
    assert max(len(line) for line in lines[:2]) <= 40


def test_a_location_that_cannot_be_read_says_why(box: Box) -> None:
    import shutil

    box.apply()
    shutil.rmtree(box.here / "weights")

    assert "unreadable: " in box.run("list", "box.yaml").out
    assert box.run("list", "box.yaml", "--json").json["locations"]["weights"]["readable"] is False
