"""`policy.duplicates: link`: managed copies of the same bytes become names of one file, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_kit import Box, a_box

from reconciler import filesystems
from reconciler.plan import Action
from tests.world_kit import MIB, have, methods, plan, recorded, told, want

BIG = f"big*{3 * MIB}"
HERE = frozenset({"disk"})


def test_the_second_copy_becomes_a_name_of_the_first() -> None:
    both = [want("m", {"p": BIG}), want("n", {"q": BIG})]
    steps = plan(both, [have(files={"p": BIG, "q": BIG})], map(recorded, both), joining=HERE)

    assert told(steps) == {"m@disk": "keep as declared", "n@disk": "normalize link"}
    assert methods(steps["n@disk"]) == {"q": "link disk:p"}
    assert steps["n@disk"].bytes.trash == 3 * MIB


def test_without_the_policy_both_stay() -> None:
    both = [want("m", {"p": BIG}), want("n", {"q": BIG})]
    steps = plan(both, [have(files={"p": BIG, "q": BIG})], map(recorded, both))
    assert {step.action for step in steps.values()} == {Action.KEEP}


def test_what_nobody_manages_is_neither_replaced_nor_linked_to() -> None:
    one = [want("m", {"q": BIG})]
    steps = plan(one, [have(files={"a": BIG, "q": BIG})], map(recorded, one), joining=HERE)
    assert {step.action for step in steps.values()} == {Action.KEEP}


def test_a_file_that_another_manifest_holds_too_is_left_alone() -> None:
    both = [want("m", {"p": BIG}), want("n", {"q": BIG})]
    theirs = recorded(both[1], manifest="other")
    steps = plan(both, [have(files={"p": BIG, "q": BIG})], [*map(recorded, both), theirs], joining=HERE)
    assert {step.action for step in steps.values()} == {Action.KEEP}


def test_copies_on_another_file_system_stay_copies() -> None:
    both = [want("m", {"p": BIG}), want("n", {"q": BIG}, at="far")]
    places = [have(files={"p": BIG}), have("far", files={"q": BIG}, device=2)]
    steps = plan(both, places, map(recorded, both), joining=frozenset({"disk", "far"}))
    assert {step.action for step in steps.values()} == {Action.KEEP}


def test_small_files_are_not_worth_it() -> None:
    both = [want("m", {"p": "small"}), want("n", {"q": "small"})]
    steps = plan(both, [have(files={"p": "small", "q": "small"})], map(recorded, both), joining=HERE)
    assert {step.action for step in steps.values()} == {Action.KEEP}


def test_adopted_copies_are_joined_and_the_next_plan_is_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = filesystems.mount_of(str(tmp_path), filesystems.mounts())
    if mount is None or mount.kind in filesystems.REFLINKS | filesystems.NO_HARDLINKS:
        pytest.skip("the system does not tell that files may have several names here, and copies blocks of their own")
    with a_box(tmp_path, monkeypatch, capsys) as box:
        data = b"weights" * (1 << 18)
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "m.gguf").write_bytes(data)
        text = (
            "version: 1\nname: box\n"
            f"registry: {tmp_path}/registry\n"
            "locations:\n"
            f"  one: {{ store: flat, root: {tmp_path}/one }}\n  two: {{ store: flat, root: {tmp_path}/two }}\n"
            "variants:\n"
            f"  a: {{ source: 'file:{tmp_path}/one/m.gguf', location: one }}\n"
            f"  b: {{ source: 'file:{tmp_path}/two/m.gguf', location: two }}\n"
        )
        _apply(box, text)
        first, second = tmp_path / "one/m.gguf", tmp_path / "two/m.gguf"
        assert first.stat().st_ino != second.stat().st_ino  # the control: without the policy nothing is joined

        _apply(box, text + "policy: { duplicates: link }\n")

        assert first.stat().st_ino == second.stat().st_ino
        assert second.read_bytes() == data
        assert box.run("plan", str(box.manifest), "--detailed-exitcode").code == 0
        assert box.run("verify", str(box.manifest), "--full").code == 0


def _apply(box: Box, text: str) -> None:
    box.manifest.write_text(text)
    told = box.run("apply", str(box.manifest), "--yes")
    assert told.code == 0, told.err
