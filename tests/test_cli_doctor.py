"""`reconciler doctor`: what would make a plan or an apply fail, and what to do about it."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_kit import Box, a_box

from reconciler.doctor import Check, examine
from reconciler.locking import exclusive_lock


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Box]:
    with a_box(tmp_path, monkeypatch, capsys) as made:
        yield made


def checks(box: Box, *arguments: str) -> dict[str, list[tuple[str, str]]]:
    """Return name -> [(state, found)] of the checks that `doctor --json` makes."""
    found: dict[str, list[tuple[str, str]]] = {}
    for check in box.run("doctor", "box.yaml", "--json", *arguments).json["checks"]:
        found.setdefault(check["name"], []).append((check["state"], check["found"]))
    return found


def bad(box: Box, *arguments: str) -> list[dict[str, Any]]:
    told = box.run("doctor", "box.yaml", "--json", *arguments)
    assert told.code == (1 if told.json["summary"]["problem"] else 0)
    return [check for check in told.json["checks"] if check["state"] != "ok"]


def test_a_machine_on_which_all_is_well(box: Box) -> None:
    box.apply()

    told = box.run("doctor", "box.yaml")

    assert told.code == 0
    assert told.err == ""
    assert told.out.splitlines()[0].split() == ["state", "check", "found"]
    assert told.out.endswith("\nAll is well.\n")
    assert {line.split()[0] for line in told.out.splitlines()[1:-2]} == {"ok"}


def test_everything_is_looked_at(box: Box) -> None:
    box.apply()

    found = checks(box)

    found.pop("sharing", None)  # told where the file system's kind is known; tests run on any
    assert list(found) == [
        "python", "packages", "aria2c", "digest cache", "token", "civitai token", "endpoint", "clock", "lock",
        "registry", "location weights", "location lmstudio",
    ]  # fmt: skip
    assert found["registry"] == [("ok", f"{box.here}/registry, serial 1: 3 records of ours")]
    assert found["location weights"][0][1].endswith("free; id as recorded")


def test_without_a_manifest_the_machine_is_looked_at(box: Box) -> None:
    box.manifest.unlink()

    told = box.run("doctor", "--json")

    assert told.code == 0
    assert told.json["checks"][-1]["found"] == "there is none here; only the machine was looked at"


def test_a_manifest_that_was_named_and_is_wrong_is_a_problem(box: Box) -> None:
    box.write({"backend: vllm": "backand: vllm"})

    [problem] = bad(box)

    assert (problem["name"], problem["found"]) == ("manifest", "box.yaml:13:5: unknown key `backand`")


def test_offline_nobody_is_asked(box: Box) -> None:
    found = checks(box, "--offline")

    assert box.hub.requests == []
    assert found["endpoint"] == [("ok", f"{box.hub.url} was not asked (--offline)")]
    assert "clock" not in found


def test_an_endpoint_that_does_not_answer_is_a_problem_and_the_rest_is_told(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    box.hub.close()

    [problem, warning] = bad(box)

    assert (problem["name"], problem["state"]) == ("endpoint", "problem")
    assert "is the network up" in problem["hint"]
    assert warning["name"] == "lock"


def test_a_token_that_the_endpoint_knows_is_told_by_its_owner_and_never_shown(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.hub.token = "hf_canarycanary"
    monkeypatch.setenv("HF_TOKEN", "hf_canarycanary")

    told = box.run("doctor", "box.yaml")
    found = checks(box)

    assert "canary" not in told.out + told.err
    assert found["token"] == [("ok", "set, from HF_TOKEN")]
    assert found["whoami"] == [("ok", "the endpoint knows the token as 'demo'")]


def test_a_token_that_the_endpoint_does_not_accept_is_a_problem(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.hub.token = "hf_another"
    monkeypatch.setenv("HF_TOKEN", "hf_canarycanary")

    [problem, _] = bad(box)

    assert (problem["name"], problem["state"]) == ("whoami", "problem")


def test_a_token_file_that_others_can_read_is_a_warning(box: Box) -> None:
    path = Path.home() / ".cache" / "huggingface" / "token"
    path.parent.mkdir(parents=True)
    path.write_text("hf_canarycanary")
    path.chmod(0o644)

    found = checks(box, "--offline")

    assert found["token"] == [
        ("warning", f"{path}: others on this machine can read this token"),
        ("ok", f"set, from {path}"),
    ]


def test_a_token_that_would_travel_in_clear_text_is_a_warning(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.org")
    monkeypatch.setenv("HF_TOKEN", "hf_canarycanary")

    state, told = checks(box, "--offline")["token"][0]

    assert (state, "unencrypted" in told) == ("warning", True)


def test_a_clock_that_is_wrong_is_a_problem(box: Box) -> None:
    found = {
        check.name: check for check in examine("box.yaml", os.environ, offline=False, clock=lambda: time.time() + 900)
    }

    assert isinstance(found["clock"], Check)
    assert found["clock"].state == "problem"
    assert "ahead of the endpoint's" in found["clock"].found


def test_settings_that_are_wrong_are_a_problem_and_the_rest_is_told(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_FILES", "many")

    found = checks(box)

    assert found["settings"][0][0] == "problem"
    assert found["endpoint"][0][0] == "ok"
    assert box.run("doctor", "box.yaml").code == 1


def test_no_lock_yet_is_a_warning(box: Box) -> None:
    [warning] = bad(box)

    assert (warning["name"], warning["state"]) == ("lock", "warning")
    assert "reconciler lock" in warning["hint"]


def test_a_lock_that_lacks_something_is_a_problem(box: Box) -> None:
    assert box.run("lock", "box.yaml").code == 0
    box.write({"  tiny-gguf-q4_k_m:\n": "  more:\n    source: hf:acme/Tiny-Chat\n  tiny-gguf-q4_k_m:\n"})

    [problem] = bad(box)

    assert "more is not in the lock" in problem["found"]


def test_a_damaged_registry_is_a_problem_and_locations_are_told_all_the_same(box: Box) -> None:
    box.apply()
    (box.here / "registry/model_registry.discovered.json").write_text("[")

    found = checks(box)

    assert found["registry"][0][0] == "problem"
    assert found["location weights"][0][0] == "ok"


def test_who_holds_the_registry_is_told(box: Box) -> None:
    box.apply()
    with exclusive_lock(box.here / "registry" / "lock", holder="reconciler apply"):
        found = checks(box)

    assert found["registry lock"][0][0] == "warning"
    assert f"`reconciler apply`, process {os.getpid()}" in found["registry lock"][0][1]
    assert "registry lock" not in checks(box)


def test_an_apply_that_was_cut_short_is_a_warning(box: Box) -> None:
    box.apply()
    folder = box.here / "registry" / "journal"
    folder.mkdir(exist_ok=True)
    (folder / "0000000009.journal").write_bytes(b"")

    assert checks(box)["journal"] == [("warning", "an apply was cut short")]


def test_a_disk_that_is_not_mounted_is_a_problem(box: Box) -> None:
    box.apply()
    shutil.rmtree(box.here / "weights")

    [problem] = bad(box)

    assert problem["name"] == "location weights"
    assert "is the disk mounted?" in problem["found"]


def test_another_disk_in_its_place_is_a_problem(box: Box) -> None:
    box.apply()
    plate = box.here / "weights/.reconciler/location.json"
    plate.write_text(plate.read_text().replace('"id": "', '"id": "0')[:-4] + '"}')

    assert bad(box)[0]["name"] == "location weights"


def test_a_location_that_is_not_there_yet_is_no_problem(box: Box) -> None:
    assert checks(box)["location weights"][0][0] == "ok"
    assert "not there yet" in checks(box)["location weights"][0][1]
    assert not (box.here / "weights").exists()


def test_less_free_space_than_the_policy_wants_is_a_problem(box: Box) -> None:
    box.manifest.write_text(box.manifest.read_text() + "policy:\n  min_free: 900TB\n")

    problems = [check for check in bad(box) if check["state"] == "problem"]

    assert [check["name"] for check in problems] == ["location weights", "location lmstudio"]
    assert "policy.min_free is 818.5 TiB" in problems[0]["found"]


def test_our_own_directory_behind_a_link_is_a_problem(box: Box) -> None:
    box.apply()
    house = box.here / "weights" / ".reconciler"
    house.rename(box.here / "elsewhere")
    house.symlink_to(box.here / "elsewhere")

    assert any("symbolic link" in check["found"] or "cannot be read" in check["found"] for check in bad(box))


def test_what_lies_in_stage_and_trash_is_told(box: Box) -> None:
    box.apply()
    house = box.here / "weights" / ".reconciler"
    (house / "stage" / "sha256-aa").write_bytes(b"x" * 3000)
    box.without("tiny-gguf-iq4_xs")
    box.manifest.write_text(box.manifest.read_text().replace("  draft: []\n", ""))
    box.apply()
    (house / "stage" / "sha256-bb").write_bytes(b"x" * 3000)

    found = checks(box)

    assert ("warning", "1 file in its stage (2.9 KiB)") in found["location weights"]
    assert any("1 file in its trash (500.0 KiB" in told for _, told in found["location lmstudio"])


def test_nothing_is_written(box: Box) -> None:
    box.apply()
    before = {path: path.lstat().st_mtime_ns for path in (*box.here.rglob("*"), *Path.home().rglob("*"))}

    box.run("doctor", "box.yaml")

    assert {path: path.lstat().st_mtime_ns for path in (*box.here.rglob("*"), *Path.home().rglob("*"))} == before


def test_warnings_and_problems_are_told_again_in_full_with_what_to_do(box: Box) -> None:
    box.manifest.write_text(box.manifest.read_text() + "policy:\n  min_free: 900TB\n")

    told = box.run("doctor", "box.yaml")

    assert told.code == 1
    assert "\nproblem: location weights: " in told.out
    assert told.out.endswith("\n2 problems, 1 warning.\n")
    assert told.out.count("\n  hint: ") == 3


def test_a_registry_that_cannot_be_written_is_a_problem(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.apply()
    access = os.access
    registry = str(box.here / "registry")
    monkeypatch.setattr(os, "access", lambda path, mode, **more: str(path) != registry and access(path, mode, **more))

    [problem] = bad(box)

    assert (problem["name"], problem["found"]) == ("registry", f"{registry}: no permission to write")
    assert stat.S_IMODE(Path(registry).stat().st_mode) & stat.S_IWUSR
