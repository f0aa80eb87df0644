"""`reconciler diff`: what two manifests mean differently, by manifest and lock alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_kit import Box, a_box


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Box]:
    with a_box(tmp_path, monkeypatch, capsys) as made:
        made.run("lock", "box.yaml")
        shutil.copy(made.manifest, made.here / "old.yaml")
        shutil.copy(made.here / "box.lock.json", made.here / "old.lock.json")
        yield made


def changes(box: Box) -> dict[tuple[str, str], dict[str, Any]]:
    told = box.run("diff", "old.yaml", "box.yaml", "--json").json
    return {(each["section"], each["name"]): each for each in told["changes"]}


def fields(change: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {field["name"]: (field["old"], field["new"]) for field in change["fields"]}


def test_layout_comments_and_order_mean_nothing(box: Box) -> None:
    lines = box.manifest.read_text().replace("version: 1\n", "").splitlines()
    box.manifest.write_text("# a comment\n\n" + "\n".join(lines) + "\nversion: 1\n")

    told = box.run("diff", "old.yaml", "box.yaml", "--detailed-exitcode")

    assert told.code == 0
    assert told.out == "Both mean the same.\n"


def test_a_changed_variant_is_told_field_by_field(box: Box) -> None:
    box.write({"served_as: tiny": "served_as: small\n    metadata: {team: {owner: me}}"})

    told = changes(box)[("variants", "tiny-chat")]

    assert told["kind"] == "changed"
    assert fields(told) == {"served_as": ("tiny", "small"), "metadata": (None, {"team": {"owner": "me"}})}
    assert told["bytes"]["added"] == told["bytes"]["removed"] == 0


def test_what_came_and_went_is_told_with_its_bytes(box: Box) -> None:
    box.without("tiny-chat")
    box.run("lock", "box.yaml")

    gone = changes(box)[("variants", "tiny-chat")]
    back = box.run("diff", "box.yaml", "old.yaml", "--json").json

    assert (gone["kind"], gone["bytes"]["removed"]) == ("removed", 227)
    assert (back["summary"]["added"], back["summary"]["bytes_added"]) == (1, 227)


def test_another_name_alone_is_a_rename(box: Box) -> None:
    box.run("mv", "box.yaml", "tiny-chat", "small-chat")

    told = changes(box)

    assert told[("variants", "small-chat")]["kind"] == "renamed"
    assert told[("variants", "small-chat")]["was"] == "tiny-chat"
    assert ("variants", "tiny-chat") not in told
    assert fields(told[("roles", "chat")])["order"][1] == ["tiny-gguf-q4_k_m", "small-chat"]


def test_a_route_that_changes_moves_the_variants_that_it_took(box: Box) -> None:
    box.write({"  - { format: gguf, location: lmstudio }\n": ""})

    told = changes(box)

    assert fields(told[("variants", "tiny-gguf-q4_k_m")]) == {"location": ("lmstudio", "weights")}
    assert ("variants", "tiny-chat") not in told
    assert told[("routes", "routes")]["kind"] == "changed"


def test_a_route_that_came_is_one_line_and_those_behind_it_did_not_change(box: Box) -> None:
    box.write({"routes:\n": "routes:\n  - { quant: 'q4_*', location: weights }\n"})

    told = changes(box)[("routes", "routes")]

    assert fields(told) == {"routes[1]": (None, {"location": "weights", "quant": "q4_*"})}
    assert (
        '    routes[1]: (none) -> {location: weights, quant: "q4_*"}\n' in box.run("diff", "old.yaml", "box.yaml").out
    )


def test_rules_of_the_policy_are_told_one_by_one(box: Box) -> None:
    rules = "  rules:\n    - { rule: size, max: 3GiB }\n"
    box.manifest.write_text(box.manifest.read_text() + "policy:\n" + rules)

    assert fields(changes(box)[("policy", "policy")]) == {
        "rules[1]": (None, {"rule": "size", "severity": "error", "max": 3 << 30})
    }


def test_what_a_location_does_not_say_is_not_told(box: Box) -> None:
    box.write({"locations:\n": f"locations:\n  comfy: {{ store: comfyui, root: {box.here}/comfy }}\n"})

    told = changes(box)[("locations", "comfy")]

    assert fields(told) == {"store": (None, "comfyui"), "root": (None, f"{box.here}/comfy")}


def test_a_lock_that_moved_is_a_change_with_new_and_gone_bytes(box: Box) -> None:
    box.hub.add("acme/Tiny-Chat", {"config.json": b'{"model_type": "llama", "new": 1}\n'})
    box.run("lock", "box.yaml", "--upgrade")

    told = changes(box)[("variants", "tiny-chat")]

    assert set(fields(told)) == {"revision"}
    assert told["bytes"]["added"] > 0
    assert told["bytes"]["removed"] > 0


def test_markdown_is_one_table_and_never_markup_of_others(box: Box) -> None:
    box.write({"served_as: tiny": 'served_as: "<b>|x"', f"root: {box.here}/weights": f"root: {box.here}/w2"})

    told = box.run("diff", "old.yaml", "box.yaml", "--markdown").out

    assert "<b>" not in told
    assert all(line.count("|") == 6 for line in told.splitlines() if line.startswith("|"))
    assert "location `weights`" in told


def test_differences_are_exit_2_only_when_asked_for(box: Box) -> None:
    box.without("tiny-chat")

    assert box.run("diff", "old.yaml", "box.yaml").code == 0
    assert box.run("diff", "old.yaml", "box.yaml", "--detailed-exitcode").code == 2
    assert box.run("diff", "old.yaml", "box.yaml", "--json", "--markdown").code == 1


def test_the_disk_is_not_looked_at(box: Box) -> None:
    box.hub.reset_log()

    box.run("diff", "old.yaml", "box.yaml")

    assert box.hub.requests == []
    assert not (box.here / "weights").exists()
    assert not (box.here / "registry").exists()
