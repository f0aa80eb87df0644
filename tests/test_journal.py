"""The journal: what is written is there, a torn end is told, anything else is damage."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from crash_kit import killed_at_every_call

from reconciler import journal
from reconciler.errors import DiskError, RegistryError


def written(directory: Path, *kinds: str) -> Path:
    with journal.open_journal(directory, "apply-7") as opened:
        for kind in kinds:
            opened.write(kind, path="größe\n", number=7)
        return opened.path


def test_entries_come_back_in_order(world: Path) -> None:
    entries, torn = journal.read(written(world / "journal", "begin", "intent"))
    assert not torn
    assert entries == [
        {"n": 1, "kind": "begin", "path": "größe\n", "number": 7},
        {"n": 2, "kind": "intent", "path": "größe\n", "number": 7},
    ]


def test_a_journal_is_gone_on_with(world: Path) -> None:
    written(world, "begin")
    entries, _ = journal.read(written(world, "done"))
    assert [(entry["n"], entry["kind"]) for entry in entries] == [(1, "begin"), (2, "done")]


def test_only_an_end_finishes_it(world: Path) -> None:
    assert journal.unfinished(world / "nowhere") == ()
    path = written(world, "begin", "intent")
    assert journal.unfinished(world) == (path,)
    with journal.open_journal(world, "apply-7") as opened:
        opened.end(result="done")
    assert journal.unfinished(world) == ()
    journal.remove(path)
    assert not path.exists()


def test_torn_at_any_byte_the_whole_lines_are_read_and_gone_on_with(world: Path) -> None:
    path = written(world, "begin", "intent", "done")
    whole = path.read_bytes()
    ends = [0, *(at + 1 for at, byte in enumerate(whole) if byte == 10)]
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        entries, torn = journal.read(path)
        assert len(entries) == sum(end <= length for end in ends[1:])
        assert torn == (length not in ends)
        with journal.open_journal(world, "apply-7") as opened:
            opened.write("next")
        entries, torn = journal.read(path)
        assert (entries[-1]["kind"], entries[-1]["n"], torn) == ("next", len(entries), False)


def test_a_page_of_zeros_at_the_end_is_a_torn_end(world: Path) -> None:
    path = written(world, "begin")
    with path.open("ab") as file:
        file.write(b"\0" * 4096)
    assert [entry["kind"] for entry in journal.read(path)[0]] == ["begin"]


def test_a_flipped_byte_anywhere_before_the_last_line_is_damage(world: Path) -> None:
    path = written(world, "begin", "intent", "done")
    whole = path.read_bytes()
    last = whole[:-1].rindex(b"\n")
    for at in range(last):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(RegistryError, match="is damaged"):
            journal.read(path)


def test_the_naive_reader_does_not_notice_a_flipped_digit(world: Path) -> None:
    path = written(world, "begin", "intent", "done")
    path.write_bytes(path.read_bytes().replace(b'"number":7', b'"number":8', 1))
    assert [json.loads(line)["number"] for line in path.read_bytes().splitlines()] == [8, 7, 7]
    with pytest.raises(RegistryError):
        journal.read(path)


@pytest.mark.faults
def test_killed_anywhere_no_acknowledged_entry_is_lost(world: Path) -> None:
    path = world / "apply-7.journal"

    def work() -> None:
        with journal.open_journal(world, "apply-7") as opened:
            for number in range(3):
                opened.write("step", number=number)
                (world / f"told-{number}").touch()

    def prepare() -> None:
        for file in world.iterdir():
            file.unlink()

    for _ in killed_at_every_call(work, prepare):
        told = len(list(world.glob("told-*")))
        entries = journal.read(path)[0] if path.exists() else []
        assert told <= len(entries) <= told + 1


def test_a_failed_fsync_is_told_and_not_tried_again(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def broken(fd: int) -> None:
        calls.append(fd)
        raise OSError(5, "input/output error")

    with journal.open_journal(world, "apply-7") as opened:
        monkeypatch.setattr(os, "fsync", broken)
        with pytest.raises(DiskError, match="did not reach the disk"):
            opened.write("begin")
    assert len(calls) == 1
