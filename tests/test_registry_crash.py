"""A save that is killed anywhere leaves the old registry or the new one, and the next save goes on by itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from crash_kit import killed_at_every_call
from registry_kit import record, somebody_elses

from reconciler.registry import (
    DISCOVERED,
    MERGED,
    LocationId,
    load,
    merged,
    records,
    save,
    with_locations,
    with_records,
)

pytestmark = pytest.mark.faults
DISK = {"disk": LocationId("/srv/models", "id-1")}


@pytest.mark.parametrize("history", ["never saved", "saved before", "nothing there"])
def test_killed_at_every_call_the_registry_is_old_or_new_and_goes_on(world: Path, history: str) -> None:
    model = world / "model"
    if history != "nothing there":
        somebody_elses(model)
    if history == "saved before":
        save(with_records(with_locations(load(model), DISK), [record("old")]))
    start = load(model)
    path = world / "r"

    def prepare() -> None:
        shutil.rmtree(path, ignore_errors=True)
        if model.exists():
            shutil.copytree(model, path)

    def work() -> None:
        save(with_records(with_locations(load(path), DISK), [record("new")]))

    old, both = records(start), (*records(start), record("new"))
    outcomes = set()
    for _ in killed_at_every_call(work, prepare):
        found = load(path)
        assert records(found) in (old, both)
        assert found.serial == start.serial + (records(found) == both)
        assert found.discovered[: len(start.discovered)] == start.discovered
        outcomes.add(records(found) == both)
        again = save(with_records(with_locations(found, DISK), [record("new")]))
        assert again.serial == start.serial + 1
        assert records(load(path)) == both
        assert json.loads((path / MERGED).read_bytes()) == list(merged(load(path)))
        assert save(load(path)).serial == start.serial + 1
        assert not [file for file in path.rglob("*tmp*") if "merged" in file.name]
    assert outcomes == {False, True}


def test_writing_in_place_leaves_a_torn_file_under_the_same_kills(world: Path) -> None:
    path = world / DISCOVERED

    def naive() -> None:
        import os

        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(fd, b'[{"name": "new"}]')

    torn = 0
    for _ in killed_at_every_call(naive, lambda: path.write_bytes(b'[{"name": "old"}]')):
        try:
            json.loads(path.read_bytes())
        except ValueError:
            torn += 1
    assert torn


def test_what_killed_writers_leave_behind_is_swept_by_the_next(world: Path) -> None:
    path = world / "r"
    for _ in killed_at_every_call(lambda: save(with_records(load(path), [record("new")])), lambda: None):
        pass
    save(with_records(load(path), [record("newer")]))
    assert not list(path.rglob("*.reconciler-tmp"))
