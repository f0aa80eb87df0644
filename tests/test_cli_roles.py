"""`reconciler roles`: what serves what, in the manifest's order, and what of it is there."""

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


def test_before_an_apply_every_variant_is_missing(box: Box, snapshot: SnapshotAssertion) -> None:
    told = box.run("roles", "box.yaml")

    assert told.code == 0
    assert told.out == snapshot
    assert box.hub.requests == []


def test_roles_stand_in_order_of_preference_with_where_each_variant_is(box: Box, snapshot: SnapshotAssertion) -> None:
    box.apply()

    assert box.run("roles", "box.yaml").out == snapshot


def test_the_order_is_the_manifests_not_the_records(box: Box) -> None:
    box.apply()
    box.write({"[tiny-gguf-q4_k_m, tiny-chat]": "[tiny-chat, tiny-gguf-q4_k_m]"})

    told = box.run("roles", "box.yaml", "--json").json

    assert [(each["variant"], each["position"]) for each in told["roles"]["chat"]] == [
        ("tiny-chat", 1),
        ("tiny-gguf-q4_k_m", 2),
    ]


def test_json_says_where_a_server_finds_each_variant(box: Box) -> None:
    box.apply()

    chat = box.run("roles", "box.yaml", "--json").json["roles"]["chat"][1]

    assert chat == {
        "variant": "tiny-chat",
        "position": 2,
        "recorded": True,
        "address": "tiny-chat@weights",
        "root": str(box.here / "weights"),
        "path": "acme/Tiny-Chat",
        "served_as": "tiny",
        "kind": "llm",
        "warning": None,
    }


def test_another_manifests_records_do_not_count(box: Box) -> None:
    box.apply()
    box.write({"name: box": "name: other"})

    told = box.run("roles", "box.yaml", "--json").json

    assert not any(each["recorded"] for role in told["roles"].values() for each in role)


def test_a_manifest_without_roles_says_so(box: Box) -> None:
    text = box.manifest.read_text()
    box.manifest.write_text(text[: text.index("roles:")])

    assert box.run("roles", "box.yaml").out == "The manifest declares no roles.\n"
    assert box.run("roles", "box.yaml", "--json").json["roles"] == {}


def test_a_role_that_nothing_here_serves_is_told_and_so_is_one_that_names_nothing(box: Box) -> None:
    box.write({"roles:": "roles:\n  ocr: []"})
    box.apply()

    told = box.run("roles", "box.yaml")

    assert box.run("roles", "box.yaml", "--json").json["unfilled"] == ["ocr"]
    assert "unfilled: ocr: nothing that serves it is there" in told.out
    assert told.out.endswith("3 roles, 1 unfilled.\n")


def test_a_model_that_cannot_do_what_its_role_needs_is_warned_of(box: Box) -> None:
    box.write({"  draft: [tiny-gguf-iq4_xs]": "  embedding: [tiny-chat]\n  caption: [tiny-gguf-iq4_xs]"})
    box.apply()

    told = box.run("roles", "box.yaml")

    assert told.code == 0
    assert "warning: embedding: tiny-chat: an llm model, where embedding needs embedding" in told.out
    assert "no projector (mmproj) is among its files" in told.out
    assert "warning: chat:" not in told.out
