"""Plans as if another manifest had been applied: what a change means, where the machine cannot be seen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_kit import CHAT, Box, a_box


@pytest.fixture
def box(world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Box]:
    """A box whose manifest and lock of now stand in `main/` too, as those that were merged last."""
    with a_box(world, monkeypatch, capsys) as found:
        merged(found)
        yield found


def merged(box: Box) -> None:
    assert box.run("lock", "box.yaml").code == 0
    (box.here / "main").mkdir(exist_ok=True)
    for name in ("box.yaml", "box.lock.json"):
        shutil.copy(box.here / name, box.here / "main" / name)


def planned(box: Box, *more: str) -> dict[str, Any]:
    told = box.run("plan", "box.yaml", "--from", "main/box.yaml", "--json", *more)
    assert told.code in (0, 2, 3), told.err
    document: dict[str, Any] = told.json
    return document


def steps(box: Box, *more: str) -> dict[str, str]:
    """What is to be done, by address; what stays is left out."""
    return {
        s["address"]: f"{s['action']} {s['reason']}{'!' * bool(s['blocked'])}"
        for s in planned(box, *more)["steps"]
        if s["action"] != "keep" or s["blocked"]
    }


def test_an_unchanged_manifest_changes_nothing_though_the_disk_is_empty(box: Box) -> None:
    assert steps(box) == {}
    assert box.run("plan", "box.yaml", "--from", "main/box.yaml", "--detailed-exitcode").code == 0
    assert box.run("plan", "box.yaml", "--detailed-exitcode").code == 2  # the control: this machine has nothing
    assert not (box.here / "weights").exists()
    assert not (box.here / "registry").exists()


def test_what_is_new_and_what_goes_is_all_there_is(box: Box) -> None:
    box.without("tiny-gguf-iq4_xs")
    with box.manifest.open("a") as file:
        file.write("policy: { max_remove: 100% }\n")
    text = box.manifest.read_text().replace("roles:", "  other: { source: hf:acme/Other }\nroles:", 1)
    box.hub.add("acme/Other", {"model.safetensors": b"12345678"})
    box.manifest.write_text(text)
    assert box.run("lock", "box.yaml").code == 0
    assert steps(box, "--offline", "--locked") == {
        "other@weights": "download missing", "tiny-gguf-iq4_xs@lmstudio": "remove undeclared",
    }  # fmt: skip


def test_a_lock_that_moved_tells_bytes_and_licenses_of_both(box: Box) -> None:
    box.hub.add(
        CHAT,
        {"config.json": b'{"model_type": "llama"}\n', "model.safetensors": b"other bytes", "new.py": b"1"},
        license="cc-by-nc-4.0",
    )
    assert box.run("lock", "box.yaml", "--upgrade").code == 0
    [step] = [s for s in planned(box, "--offline")["steps"] if s["action"] != "keep"]
    assert (step["action"], step["reason"]) == ("download", "new-revision")
    assert step["bytes"]["download"] == len(b"other bytes") + 1
    told = box.run("plan", "box.yaml", "--from", "main/box.yaml", "--offline", "--markdown").out
    assert "license: apache-2.0 -> cc-by-nc-4.0" in told
    assert "1 file new (1 B), 1 file changed (11 B), 1 file removed (3 B)" in told
    assert "active content: 1 program (new.py)" in told


def test_rules_are_about_what_the_change_brings(box: Box) -> None:
    """A rule that what was merged earlier would break does not hold up everybody's pull request."""
    rules = "policy:\n  rules:\n    - { rule: license, deny: ['*'] }\nroles:\n"
    box.write({"roles:\n": rules})
    assert steps(box) == {}
    box.hub.add("acme/Other", {"model.safetensors": b"12345678"})
    box.write({"roles:\n": f"  other: {{ source: hf:acme/Other }}\n{rules}"})
    assert steps(box) == {"other@weights": "download missing!"}
    assert [f["address"] for f in planned(box)["findings"]] == ["other@weights"]


def test_renames_roles_and_moves_are_told_as_on_a_machine(box: Box) -> None:
    box.write(
        {
            "  tiny-chat:": "  small-chat:",
            "chat: [tiny-gguf-q4_k_m, tiny-chat]": "chat: [small-chat, tiny-gguf-q4_k_m]",
            'files: ["*IQ4_XS.gguf"]': 'files: ["*IQ4_XS.gguf"]\n    location: weights',
        }
    )
    assert steps(box) == {
        "small-chat@weights": "normalize rename",
        "tiny-gguf-iq4_xs@lmstudio": "remove superseded",
        "tiny-gguf-iq4_xs@weights": "normalize move",
        "tiny-gguf-q4_k_m@lmstudio": "normalize role",
    }
    told = box.run("plan", "box.yaml", "--from", "main/box.yaml", "--markdown").out
    assert "Role `chat` changes hands: from `tiny-gguf-q4_k_m` to `small-chat`" in told


def test_a_location_with_another_root_is_another_place(box: Box) -> None:
    box.write({f"root: {box.here}/weights": f"root: {box.here}/elsewhere"})
    assert steps(box) == {
        "tiny-chat@weights": "normalize move", "tiny-chat@weights.old": "remove superseded",
    }  # fmt: skip
    box.write({"  weights: {": "  renamed: {", "location: weights": "location: renamed"})
    assert steps(box) == {"tiny-chat@renamed": "normalize record"}


def test_protection_and_the_limit_of_removals_hold(box: Box) -> None:
    box.write({"    served_as: tiny\n": "    served_as: tiny\n    protect: true\n"})
    merged(box)
    box.without("tiny-chat")
    assert steps(box) == {"tiny-chat@weights": "remove undeclared!"}


def test_nothing_is_said_of_disks(box: Box) -> None:
    box.without("tiny-chat")
    for form in ((), ("--markdown",)):
        told = box.run("plan", "box.yaml", "--from", "main/box.yaml", *form).out
        assert "free" not in told.lower().replace("freed by gc", "").replace("free before | free after", "")
        assert "planned as if" in told
    assert "| `weights` | 0 B | 227 B | not told | not told |" in told


def test_an_ollama_that_nobody_sees_is_planned_too(box: Box) -> None:
    text = "  ollama: {{ store: ollama }}\nroutes:\n".format()
    box.write({"routes:\n": text, 'files: ["*IQ4_XS.gguf"]': 'files: ["*IQ4_XS.gguf"]\n    location: ollama'})
    assert box.run("lock", "box.yaml").code == 0
    assert steps(box, "--offline")["tiny-gguf-iq4_xs@ollama"] == "normalize move"
    merged(box)
    assert steps(box, "--offline") == {}


def test_without_a_lock_of_then_everything_comes(box: Box) -> None:
    (box.here / "main/box.lock.json").unlink()
    assert len(steps(box)) == 3


def test_a_saved_plan_of_this_kind_is_no_plan_for_a_machine_that_has_its_own_records(box: Box) -> None:
    box.apply()
    box.without("tiny-chat")
    assert box.run("plan", "box.yaml", "--from", "main/box.yaml", "-o", "plan.json").code == 0
    assert json.loads((box.here / "plan.json").read_text())["relies_on"] == []
    told = box.run("apply", "plan.json")
    assert told.code == 4
    assert "the registry changed since the plan was made" in told.err


def test_a_base_that_is_no_manifest_is_an_error_with_its_place(box: Box) -> None:
    told = box.run("plan", "box.yaml", "--from", "nowhere.yaml")
    assert told.code == 1
    assert "nowhere.yaml" in told.err


def test_a_review_is_told_when_the_rules_themselves_change(box: Box) -> None:
    """Whoever brings a model may bring the exemption for it: the plan would look as if nobody minded."""
    text = box.manifest.read_text()
    rules = "policy:\n  rules:\n    - { rule: license, deny: ['*-nc-*'] }\n    - { rule: code }\n"
    box.manifest.write_text(text + rules)
    merged(box)
    assert not [each for each in planned(box)["warnings"] if "changes" in each]
    weaker = "policy:\n  max_remove: 100%\n  rules:\n    - { rule: license, deny: ['*-nc-*'], exempt: ['*'] }\n"
    box.manifest.write_text(text.replace("name: box", "name: other") + weaker)
    told = [each for each in planned(box)["warnings"] if "changes" in each]
    assert told == [
        "policy.max_remove changes: 0.3 -> 1.0",
        'policy.rules[1] changes: {rule: license, severity: error, deny: ["*-nc-*"]} -> '
        '{rule: license, severity: error, deny: ["*-nc-*"], exempt: ["*"]}',
        "policy.rules[2] changes: {rule: code, severity: error} -> (none)",
        "name changes: box -> other",
    ]
