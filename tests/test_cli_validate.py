"""`reconciler validate`: every mistake of manifest and lock at once, asking nobody."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_kit import Box, a_box


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Box]:
    with a_box(tmp_path, monkeypatch, capsys) as made:
        yield made


def locked(box: Box) -> Path:
    assert box.run("lock", "box.yaml").code == 0
    box.hub.reset_log()
    return box.here / "box.lock.json"


def test_a_manifest_that_was_never_locked_is_valid(box: Box) -> None:
    told = box.run("validate", "box.yaml")

    assert told == (
        0,
        "box.yaml is valid: 3 variants in 2 locations, 2 roles; there is no lock yet (`reconciler lock box.yaml` writes"
        " it)\n",
        "",
    )


def test_a_lock_that_answers_the_manifest_is_said_to_have_all_of_it(box: Box) -> None:
    locked(box)

    told = box.run("validate", "box.yaml")

    assert told.out == "box.yaml is valid: 3 variants in 2 locations, 2 roles; the lock has all of them\n"


def test_nobody_is_asked_and_nothing_is_made(box: Box) -> None:
    locked(box)
    before = sorted(box.here.rglob("*"))

    box.run("validate", "box.yaml")

    assert box.hub.requests == []
    assert sorted(box.here.rglob("*")) == before


def test_every_mistake_of_the_manifest_is_told_with_its_place(box: Box) -> None:
    box.write({"store: lmstudio": "store: lmstudoi", "backend: vllm": "backand: vllm", "  draft:": "  draft: 3\n  x:"})

    told = box.run("validate", "box.yaml")

    assert told.code == 1
    assert told.out == ""
    assert told.err.count("error: box.yaml:") == 3
    assert told.err.endswith("3 problems.\n")


def test_a_damaged_lock_is_told_beside_a_damaged_manifest(box: Box) -> None:
    locked(box).write_text('{"version": 1,\n')
    box.write({"backend: vllm": "backand: vllm"})

    told = box.run("validate", "box.yaml")

    assert "unknown key `backand`" in told.err
    assert "box.lock.json:2" in told.err


def test_a_lock_that_lacks_a_variant_or_has_another_is_not_valid(box: Box) -> None:
    path = locked(box)
    lock = json.loads(path.read_text())
    del lock["variants"]["tiny-chat"]
    path.write_text(json.dumps(lock))
    box.write({'files: ["*IQ4_XS.gguf"]': 'files: ["*Q8_0.gguf"]'})

    told = box.run("validate", "box.yaml")

    assert told.code == 1
    assert "box.yaml:11:3: tiny-chat is not in the lock" in told.err
    assert "tiny-gguf-iq4_xs is outdated in the lock: " in told.err
    assert told.err.count("hint: run `reconciler lock box.yaml` and commit the result") == 2


def test_what_the_lock_has_beyond_the_manifest_is_a_warning(box: Box) -> None:
    locked(box)
    box.without("tiny-gguf-iq4_xs")
    box.manifest.write_text(box.manifest.read_text().replace("  draft: []\n", ""))

    told = box.run("validate", "box.yaml")

    assert told.code == 0
    assert "warning: " in told.err
    assert "not declared any more: tiny-gguf-iq4_xs" in told.err


def test_two_variants_that_want_other_bytes_at_one_path_are_found_once_locked(box: Box) -> None:
    box.hub.add("acme/Tiny-Chat", {"config.json": b"{}"}, branch="other")
    box.write(
        {"store: huggingface": "store: flat"}
        | {"  tiny-gguf-q4_k_m:\n": "  twin:\n    source: hf:acme/Tiny-Chat@other\n  tiny-gguf-q4_k_m:\n"}
    )
    locked(box)

    told = box.run("validate", "box.yaml")

    assert told.code == 1
    assert "two variants at one destination" in told.err


def test_a_claim_that_the_locked_files_refute_is_found(box: Box) -> None:
    box.write({'files: ["*Q4_K_M.gguf"]': 'files: ["*Q4_K_M.gguf"]\n    quant: q8_0'})
    locked(box)

    told = box.run("validate", "box.yaml")

    assert told.code == 1
    assert "the manifest claims quant q8_0, the files say q4_k_m" in told.err


def test_json_tells_counts_when_all_is_well(box: Box) -> None:
    locked(box)

    told = box.run("validate", "box.yaml", "--json")

    assert told.code == 0
    assert told.json["valid"] is True
    assert told.json["problems"] == []
    assert (told.json["variants"], told.json["locations"], told.json["roles"]) == (3, 2, 2)
    assert told.json["lock"] == {"path": str(box.here / "box.lock.json"), "exists": True}


def test_json_stands_on_standard_output_when_the_manifest_is_not_valid_too(box: Box) -> None:
    box.write({"backend: vllm": "backand: vllm"})

    told = box.run("validate", "box.yaml", "--json")

    assert told.code == 1
    assert told.err == ""
    assert told.json["valid"] is False
    assert told.json["problems"] == [
        {"where": "box.yaml:13:5", "summary": "unknown key `backand`", "hint": "did you mean `backend`?"}
    ]


def test_no_manifest_at_all_is_one_clear_error(box: Box) -> None:
    told = box.run("validate", "box.yml")

    assert (told.code, told.out) == (1, "")
    assert told.err == "error: box.yml: there is no such file or directory\n  hint: did you mean `box.yaml`?\n"


def test_what_to_run_names_the_manifest_as_one_would_type_it(box: Box) -> None:
    """The one that is taken by itself needs no name; the control is that it is the same manifest."""
    plain = box.run("validate", "box.yaml")
    (box.here / "my models").mkdir()
    (box.here / "my models/it's.yaml").write_bytes(box.manifest.read_bytes())
    below = box.run("validate", str(box.here / "my models/it's.yaml"))
    box.manifest.rename(box.here / "reconciler.yaml")
    default = box.run("validate", "reconciler.yaml")

    typed = shlex.quote("my models/it's.yaml")
    assert "(`reconciler lock box.yaml` writes it)" in plain.out
    assert f"(`reconciler lock {typed}` writes it)" in below.out
    assert "(`reconciler lock` writes it)" in default.out
