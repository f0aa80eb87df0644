"""`reconciler show`: a saved plan, readable wherever the file is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from plan_kit import workstation
from syrupy.assertion import SnapshotAssertion

from reconciler import planfile
from reconciler.cli import run


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    planfile.write(path, workstation())
    return path


def test_a_plan_is_shown_though_everything_it_speaks_of_is_gone(
    saved: Path, capsys: pytest.CaptureFixture[str], snapshot: SnapshotAssertion
) -> None:
    assert run(["show", str(saved)]) == 0

    told = capsys.readouterr()
    assert told.out == snapshot
    assert told.err == ""


def test_verbose_lists_what_is_kept_and_every_file(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["show", str(saved)])
    brief = capsys.readouterr().out
    run(["show", str(saved), "--verbose"])
    verbose = capsys.readouterr().out

    assert "kept-00@comfy" not in brief
    assert "kept-00@comfy" in verbose
    assert "model-00001-of-00002.safetensors" in verbose


def test_json_is_the_very_document_that_was_saved(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", str(saved), "--json"]) == 0

    assert planfile.loads(capsys.readouterr().out) == workstation()


def test_markdown_is_the_form_for_a_pull_request(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from reconciler.render.markdown import plan_markdown

    assert run(["show", str(saved), "--markdown"]) == 0

    assert capsys.readouterr().out == plan_markdown(workstation()) + "\n"


def test_blocked_steps_do_not_make_showing_fail(saved: Path) -> None:
    assert workstation().blocked
    assert run(["show", str(saved)]) == 0


def test_nothing_is_made_or_touched(saved: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    run(["show", str(saved)])

    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert not list(Path.home().rglob("*"))


@pytest.mark.parametrize(
    ("text", "told"),
    [("version: 1\n", "not JSON"), ("{}", "not a plan"), ('{"format_version": "2.0"}', "2.0")],
)
def test_what_is_no_plan_is_one_clear_error(
    text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)

    assert run(["show", str(path)]) == 1

    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}")
    assert told in error
    assert "Traceback" not in error


def test_a_plan_that_was_changed_by_hand_is_refused(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved.write_text(saved.read_text().replace("flux1-dev", "flux1-evil"))

    assert run(["show", str(saved)]) == 1

    assert "error:" in capsys.readouterr().err


def test_a_file_that_is_not_there_and_two_forms_at_once_are_errors(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["show", str(tmp_path / "nope.json")]) == 1
    assert "No such file" in capsys.readouterr().err

    assert run(["show", str(saved), "--json", "--markdown"]) == 1
    assert "exclude each other" in capsys.readouterr().err


def test_a_copy_elsewhere_shows_the_same(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "elsewhere" / "p"
    copy.parent.mkdir()
    shutil.copy(saved, copy)

    run(["show", str(saved)])
    first = capsys.readouterr().out
    run(["show", str(copy)])

    assert capsys.readouterr().out == first
