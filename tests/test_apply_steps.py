"""What apply does for every action and reason, told by the whole program over a network that is a dict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from apply_kit import FakeDownloader, Ground, content, fake_network


@pytest.fixture
def ground(world: Path) -> Iterator[Ground]:
    net = FakeDownloader()
    with fake_network(net):
        yield Ground(world, net)


ONE = {"model.safetensors": content(1), "config.json": b"{}"}
TWO = {"model.safetensors": content(2), "config.json": b"{}"}


def test_what_is_missing_is_downloaded_and_applying_again_plans_nothing(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    ran = ground.apply()
    assert ran.code == 0, ran.text
    assert ground.files() == {f"acme/a/{path}": data for path, data in ONE.items()}
    assert ground.run("plan", "--detailed-exitcode").code == 0
    assert ground.run("verify", "--full").code == 0
    assert ground.litter() == []
