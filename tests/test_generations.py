"""Generations: whole or not there, and as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash_kit import killed_at_every_call
from registry_kit import record

from reconciler import generations
from reconciler.errors import DiskError, RegistryError


def kept(path: Path, number: int, lock: bytes | None = b"{}") -> generations.Generation:
    return generations.write(
        path, number, manifest_files={"a.yaml": b"version: 1\n", "more/b.yaml": b""}, lock=lock, plan=b"{}\n",
        before=[record("m", quant="q4")], result={"done": ["größe"]},
    )  # fmt: skip


def test_a_generation_comes_back_equal(world: Path) -> None:
    assert kept(world, 1) == generations.read(world, 1)
    assert generations.read(world, 1) == generations.Generation(
        number=1,
        directory=world / "generations/0000000001",
        manifest_files={"a.yaml": b"version: 1\n", "more/b.yaml": b""},
        lock=b"{}",
        plan=b"{}\n",
        before=(record("m", quant="q4"),),
        result={"done": ["größe"]},
    )


def test_no_lock_is_absent_and_an_empty_one_is_not(world: Path) -> None:
    kept(world, 1, None)
    kept(world, 2, b"")
    assert generations.read(world, 1).lock is None
    assert generations.read(world, 2).lock == b""


def test_numbers_go_up_from_one(world: Path) -> None:
    assert (generations.listing(world), generations.next_number(world), generations.latest(world)) == ((), 1, None)
    kept(world, 1)
    kept(world, 12)
    assert (generations.listing(world), generations.next_number(world)) == ((1, 12), 13)
    newest = generations.latest(world)
    assert newest is not None
    assert newest.number == 12
    generations.drop(world, 12)
    assert generations.listing(world) == (1,)


def test_a_generation_is_never_written_over(world: Path) -> None:
    kept(world, 1)
    with pytest.raises(DiskError, match="already"):
        kept(world, 1, None)
    assert generations.read(world, 1).lock == b"{}"
    assert [file.name for file in (world / "generations").iterdir()] == ["0000000001"]


def test_an_unknown_number_names_the_known_ones(world: Path) -> None:
    kept(world, 3)
    with pytest.raises(RegistryError, match=r"no generation 4 .*known are: 3"):
        generations.read(world, 4)


@pytest.mark.parametrize("file", ["generation.json", "plan", "lock", "manifest/a.yaml"])
def test_a_generation_with_a_hole_is_damaged_not_empty(world: Path, file: str) -> None:
    (kept(world, 1).directory / file).unlink()
    with pytest.raises(RegistryError, match="generation 1 is damaged"):
        generations.read(world, 1)


def test_cut_off_anywhere_its_facts_are_refused(world: Path) -> None:
    facts = kept(world, 1).directory / "generation.json"
    whole = facts.read_bytes()
    for length in range(len(whole) - 1):
        facts.write_bytes(whole[:length])
        with pytest.raises(RegistryError, match="damaged"):
            generations.read(world, 1)


@pytest.mark.faults
def test_killed_anywhere_it_is_whole_or_not_there_and_leaves_nothing_behind(world: Path) -> None:
    def work() -> None:
        kept(world, generations.next_number(world))

    for _ in killed_at_every_call(work, lambda: None):
        for number in generations.listing(world):
            assert generations.read(world, number).plan == b"{}\n"
    kept(world, generations.next_number(world))
    assert not [file for file in (world / "generations").iterdir() if file.name.startswith(".")]


def test_a_generation_of_a_later_version_is_told_as_such_and_not_as_damaged(world: Path) -> None:
    facts = kept(world, 1).directory / "generation.json"
    facts.write_text(facts.read_text().replace('"version": 1', '"version": 2'))

    with pytest.raises(RegistryError, match="version 2, and this reconciler reads 1") as found:
        generations.read(world, 1)

    assert "upgrade reconciler" in found.value.problems[0].hint
    assert "damaged" not in found.value.problems[0].summary
