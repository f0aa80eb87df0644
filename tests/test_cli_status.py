"""`reconciler status`: what drifted since the last apply, and what the next one would do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_kit import Box, a_box
from syrupy.assertion import SnapshotAssertion

from reconciler.cli import session


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Box]:
    with a_box(tmp_path, monkeypatch, capsys) as made:
        yield made


def spoil(path: Path) -> None:
    """Change one byte and nothing else that is quick to see but the time."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def columns(box: Box) -> dict[str, tuple[str, str]]:
    """Return address -> (drift, apply)."""
    rows = [line.split() for line in box.run("status", "box.yaml").out.splitlines()]
    return {row[2]: (row[0], row[1]) for row in rows if len(row) > 2 and "@" in row[2]}


def test_before_the_first_apply_nothing_is_recorded_and_all_is_to_come(box: Box, snapshot: SnapshotAssertion) -> None:
    told = box.run("status", "box.yaml")

    assert told.code == 0
    assert box.stable(told.out) == snapshot


def test_after_an_apply_all_is_as_recorded(box: Box, snapshot: SnapshotAssertion) -> None:
    box.apply()

    assert box.run("status", "box.yaml").out == snapshot
    assert box.run("status", "box.yaml", "--detailed-exitcode").code == 0


def test_what_drifted_and_what_apply_would_do_stand_side_by_side(box: Box, snapshot: SnapshotAssertion) -> None:
    box.apply()
    spoil(box.weight("IQ4_XS.gguf"))
    box.weight("tokenizer.json").unlink()

    told = box.run("status", "box.yaml")

    assert told.out == snapshot
    assert columns(box) == {
        "tiny-gguf-iq4_xs@lmstudio": ("modified", "download"),
        "tiny-gguf-q4_k_m@lmstudio": ("ok", "keep"),
        "tiny-chat@weights": ("missing", "download"),
    }


def test_a_file_that_was_only_touched_has_not_drifted(box: Box) -> None:
    box.apply()
    os.utime(box.weight("IQ4_XS.gguf"), ns=(1, 1))

    assert columns(box)["tiny-gguf-iq4_xs@lmstudio"] == ("ok", "keep")


def test_a_change_in_the_manifest_is_no_drift(box: Box) -> None:
    box.apply()
    box.write({"served_as: tiny": "served_as: small"})

    assert columns(box)["tiny-chat@weights"] == ("ok", "normalize")


def test_a_record_that_is_not_declared_any_more_is_listed(box: Box) -> None:
    box.apply()
    box.without("tiny-gguf-iq4_xs")
    box.manifest.write_text(box.manifest.read_text().replace("  draft: []\n", ""))
    box.weight("IQ4_XS.gguf").unlink()

    drift, deed = columns(box)["tiny-gguf-iq4_xs@lmstudio"]

    assert drift == "missing"
    assert deed in ("remove", "prune")


def test_a_disk_that_is_not_mounted_is_unreadable_and_blocks(box: Box) -> None:
    box.apply()
    shutil.rmtree(box.here / "weights")

    told = box.run("status", "box.yaml")

    assert columns(box)["tiny-chat@weights"] == ("unreadable", "blocked")
    assert "is the disk mounted?" in told.out
    assert told.code == 0


def test_a_terminal_is_told_in_full_why_variants_are_blocked_each_reason_once(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.apply()
    shutil.rmtree(box.here / "lm studio" / "models")
    monkeypatch.setattr(session, "width", lambda stream=None: 60)

    told = box.run("status", "box.yaml").out

    root = box.here / "lm studio" / "models"
    why = f"blocked: 2 variants: lmstudio: {root} is not there, though we placed files in it: is the disk mounted?\n"
    assert " ".join(told.split()).count(" ".join(why.split())) == 1
    assert max(len(line) for line in told.splitlines()[:4]) <= 60


def test_the_exit_code_tells_drift_only_when_asked(box: Box) -> None:
    box.apply()
    box.weight("tokenizer.json").unlink()

    assert box.run("status", "box.yaml").code == 0
    assert box.run("status", "box.yaml", "--detailed-exitcode").code == 2


def test_the_exit_code_tells_changes_without_drift(box: Box) -> None:
    box.apply()
    box.write({"served_as: tiny": "served_as: small"})

    assert box.run("status", "box.yaml", "--detailed-exitcode").code == 2


def test_offline_asks_nobody(box: Box) -> None:
    box.apply()
    box.hub.reset_log()

    assert box.run("status", "box.yaml", "--offline").code == 0
    assert box.hub.requests == []


def test_offline_a_variant_that_was_never_locked_is_blocked_and_the_others_are_told(box: Box) -> None:
    box.apply()
    lock = box.here / "box.lock.json"
    lock.write_text(lock.read_text().replace('"tiny-chat"', '"another"').replace("hf:acme/Tiny-Chat", "hf:acme/Other"))

    told = box.run("status", "box.yaml", "--offline")

    assert told.code == 0
    assert columns(box).keys() == {"tiny-gguf-iq4_xs@lmstudio", "tiny-gguf-q4_k_m@lmstudio", "tiny-chat@weights"}
    assert "upstream must be asked" in told.out


def test_offline_with_nothing_locked_and_nothing_recorded_is_an_error(box: Box) -> None:
    told = box.run("status", "box.yaml", "--offline")

    assert told.code == 1
    assert told.err.count("upstream must be asked") == 3


def test_nothing_is_written_but_the_cache_of_digests(box: Box) -> None:
    box.apply()
    before = {path: path.lstat().st_mtime_ns for path in box.here.rglob("*")}

    box.run("status", "box.yaml")

    assert {path: path.lstat().st_mtime_ns for path in box.here.rglob("*")} == before


def test_json_names_every_file_that_drifted(box: Box) -> None:
    box.apply()
    box.weight("tokenizer.json").unlink()

    told = box.run("status", "box.yaml", "--json").json
    by_address = {variant["address"]: variant for variant in told["variants"]}
    chat = by_address["tiny-chat@weights"]

    assert (chat["drift"], chat["action"], chat["reason"], chat["blocked"]) == (
        "missing",
        "download",
        "incomplete",
        None,
    )
    assert [(bad["path"], bad["verdict"]) for bad in chat["files"]] == [("acme/Tiny-Chat/tokenizer.json", "missing")]
    assert told["drift"] == {"ok": 2, "missing": 1, "modified": 0, "unreadable": 0, "not-recorded": 0}
    assert told["plan"]["download"] == 1


def test_a_name_cannot_steer_the_terminal(box: Box) -> None:
    box.apply()
    (box.here / "weights/acme/Tiny-Chat/tokenizer.json").unlink()
    (box.here / "weights/acme/Tiny-Chat/tokenizer.json").symlink_to("x\x1b[31mred")

    assert "\x1b" not in box.run("status", "box.yaml").out


def test_a_damaged_registry_is_an_error_and_never_an_empty_one(box: Box) -> None:
    box.apply()
    (box.here / "registry/model_registry.discovered.json").write_text("[")

    told = box.run("status", "box.yaml")

    assert (told.code, told.out) == (1, "")
    assert "model_registry.discovered.json" in told.err
