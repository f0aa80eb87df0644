"""Looking, with real files: what a plan is made from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.apply_kit import FakeDownloader, Ground, content, fake_network

A, N = {"m.gguf": content(1)}, {"n.gguf": content(2)}


@pytest.fixture
def ground(world: Path) -> Iterator[Ground]:
    net = FakeDownloader()
    with fake_network(net):
        yield Ground(world, net)


def _told(ground: Ground, *arguments: str) -> dict[str, str]:
    steps = json.loads(ground.run("plan", "--json", *arguments).out)["steps"]
    return {s["address"]: f"{s['action']} {s['reason']}{'!' * bool(s['blocked'])}" for s in steps}


def _spec(ground: Ground, change: dict[str, Any]) -> None:
    ground.spec |= change
    ground.manifest.write_text(yaml.safe_dump(ground.spec, sort_keys=False))


def test_a_location_renamed_in_the_manifest_moves_no_file(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A)})
    assert ground.apply().code == 0
    place = ground.spec["locations"]["main"]
    variant = ground.spec["variants"]["m"] | {"location": "renamed"}
    _spec(ground, {"locations": {"renamed": place}, "variants": {"m": variant}})
    assert _told(ground) == {"m@renamed": "normalize record"}
    before = (ground.path / "main/o/m/m.gguf").stat()
    assert ground.apply().code == 0
    assert _told(ground) == {"m@renamed": "keep as declared"}
    assert (ground.path / "main/o/m/m.gguf").stat().st_ino == before.st_ino


def test_a_root_that_is_gone_is_not_an_empty_one(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A), "n": ("hf:o/n", 1, N)})
    assert ground.apply().code == 0
    (ground.path / "main").rename(ground.path / "unplugged")
    ground.declare({"m": ("hf:o/m", 1, A), "new": ("hf:o/new", 1, {"x": content(3)})})
    assert _told(ground) == {
        "m@main": "keep unreadable!", "n@main": "keep unreadable!", "new@main": "keep unreadable!",
    }  # fmt: skip


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_below_a_directory_that_cannot_be_read_nothing_happens(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A), "n": ("hf:o/n", 1, N)})
    assert ground.apply().code == 0
    closed = ground.path / "main/o/n"
    closed.chmod(0)
    try:
        ground.declare({"m": ("hf:o/m", 1, A)})
        assert _told(ground) == {"m@main": "keep as declared", "n@main": "keep unreadable!"}
    finally:
        closed.chmod(0o755)


def test_a_pattern_that_names_nothing_is_refused(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A)})
    ran = ground.run("plan", "--target", "m@elsewhere")
    assert ran.code == 1
    assert "--target m@elsewhere: names no variant" in ran.text
    assert "it is m@main" in ran.text


def test_what_is_left_out_is_not_in_the_plan(ground: Ground) -> None:
    ground.declare({"m": ("hf:o/m", 1, A), "n": ("hf:o/n", 1, N)})
    assert _told(ground, "--target", "m") == {"m@main": "download missing"}
    assert ground.apply("--exclude", "n*").code == 0
    assert _told(ground) == {"m@main": "keep as declared", "n@main": "download missing"}


def test_the_same_bytes_on_this_machine_are_found_by_reading_and_read_once(ground: Ground) -> None:
    big = {"m.gguf": content(5, 1 << 20)}
    mine = ground.path / "main/some where/copy.bin"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(big["m.gguf"])
    os.utime(mine, ns=(10**18, 10**18))
    ground.declare({"m": ("hf:o/m", 1, big)})
    assert _told(ground) == {"m@main": "normalize link"}
    assert ground.apply().code == 0
    assert ground.net.fetched == []
    assert mine.read_bytes() == big["m.gguf"]


def test_two_manifests_share_a_registry_and_a_root(ground: Ground, world: Path) -> None:
    ground.declare({"m": ("hf:o/m", 1, A)})
    assert ground.apply().code == 0
    second = Ground(world, ground.net)
    second.declare({"mine": ("hf:o/m", 1, A), "n": ("hf:o/n", 1, N)}, name="second")
    assert _told(second) == {"mine@main": "normalize adopt", "n@main": "download missing"}
    assert second.apply().code == 0
    second.declare({}, name="second")
    assert _told(second) == {"mine@main": "prune duplicate-record", "n@main": "remove undeclared"}
    assert second.apply().code == 0
    ground.declare({"m": ("hf:o/m", 1, A)})
    assert _told(ground) == {"m@main": "keep as declared"}
    assert list(ground.files()) == ["o/m/m.gguf"]


def test_a_plan_has_the_same_id_on_another_machine(world: Path) -> None:
    ids = []
    for name in ("here", "there/and/deeper"):
        net = FakeDownloader()
        with fake_network(net):
            ground = Ground(world / name, net)
            ground.path.mkdir(parents=True)
            ground.declare({"m": ("hf:o/m", 1, A), "n": ("hf:o/n", 1, N)})
            home = {"HOME": str(ground.path)}
            spec = ground.spec | {"registry": "~/registry", "locations": {"main": {"store": "flat", "root": "~/main"}}}
            ground.manifest.write_text(yaml.safe_dump(spec, sort_keys=False))
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("HOME", home["HOME"])
                ids.append([json.loads(ground.run("plan", "--json").out)["plan_id"]])
                assert ground.apply("--target", "m").code == 0
                ids[-1].append(json.loads(ground.run("plan", "--json").out)["plan_id"])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2
