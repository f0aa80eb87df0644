from __future__ import annotations

import json
from typing import Any

import pytest

from reconciler.plan import Action
from reconciler.receipt import Outcome, Receipt, Result
from reconciler.render.receipt import receipt_json, receipt_text
from reconciler.state import Address


def outcome(result: Result, address: str = "a@x", action: Action = Action.DOWNLOAD, **more: Any) -> Outcome:
    variant, _, location = address.partition("@")
    return Outcome(Address(variant, location), action, more.pop("reason", "missing"), result, **more)


def receipt(*outcomes: Outcome, **more: Any) -> Receipt:
    defaults: dict[str, Any] = {"plan_id": "sha256:" + "0" * 64, "generation": 8, "seconds": 190.0}
    return Receipt(outcomes=outcomes, **(defaults | {"received": sum(each.received for each in outcomes)} | more))


def mixed(**more: Any) -> Receipt:
    return receipt(
        outcome("done", "flux-dev@comfy", Action.NORMALIZE, reason="link", reused=23_802_932_552, seconds=0.2),
        outcome("done", "qwen2.5-vl-7b-instruct-vllm-awq@linux_wsl", received=6_900_000_000, seconds=190.0),
        outcome(
            "failed",
            "llama-3.2-3b-instruct-lmstudio-gguf-q4_k_m@windows_lmstudio",
            reason="new-revision",
            error="llama.gguf: expected sha256:aaaa, found sha256:bbbb",
            hint="upstream changed the file: reconciler lock --upgrade",
            received=2_000_000_000,
            seconds=60.0,
        ),
        outcome("skipped", "llama@ollama", Action.NORMALIZE, reason="link", error="its bytes did not come"),
        outcome("not-started", "old@linux_wsl", Action.REMOVE, reason="undeclared"),
        outcome("blocked", "favourite@linux_wsl", Action.REMOVE, reason="undeclared", error="protected"),
        downloader="aria2c 1.37.0",
        **more,
    )


@pytest.mark.parametrize(
    ("results", "interrupted", "code"),
    [
        ([], False, 0),
        (["done"], False, 0),
        (["done", "blocked"], False, 3),
        (["done", "failed", "blocked"], False, 5),
        (["skipped"], False, 5),
        (["not-started"], False, 5),
        (["done"], True, 130),
        (["failed", "not-started"], True, 130),
    ],
)
def test_the_exit_code_says_how_it_ended(results: list[Result], interrupted: bool, code: int) -> None:
    assert receipt(*map(outcome, results), interrupted=interrupted).exit_code == code


def test_every_result_is_counted_once() -> None:
    account = mixed()
    counts = (account.done, account.failed, account.skipped, account.not_started, account.blocked)
    assert counts == (2, 1, 1, 1, 1)
    assert (account.reused, account.trashed) == (23_802_932_552, 0)


@pytest.mark.parametrize("width", [None, 80])
def test_the_account_of_a_mixed_apply_reads_well(width: int | None, snapshot: Any) -> None:
    assert "\n".join(receipt_text(mixed(), width=width)) == snapshot


def test_the_account_says_done_failed_skipped_and_not_started_with_bytes_and_time() -> None:
    shown = list(receipt_text(mixed()))
    line = next(each for each in shown if each.startswith("Apply:"))
    assert line.startswith("Apply: 2 done, 1 failed, 1 skipped, 1 not started, 1 blocked. 8.3 GiB received")
    assert line.endswith("3 min 10 s.")
    assert any("reconciler apply` again" in each for each in shown)
    assert "Downloaded with aria2c 1.37.0." in shown


def test_no_line_exceeds_a_terminal_for_steps_without_errors() -> None:
    long = receipt(outcome("done", "x" * 300 + "@y", received=2**30, seconds=5.0))
    body = [line for line in receipt_text(long, width=80) if line.startswith(" ")]
    assert body
    assert all(len(line) <= 80 for line in body)


def test_what_a_step_moved_is_told_in_full_on_a_narrow_terminal() -> None:
    step = outcome("done", reason="corrupt", received=103_130, reused=103_130, trashed=103_130, seconds=0.1)
    told = " ".join(" ".join(receipt_text(receipt(step), width=60)).split())
    assert "corrupt, 100.7 KiB received, 100.7 KiB reused, 100.7 KiB to trash, 0.1 s" in told


def test_an_interrupted_apply_says_so_and_how_to_go_on() -> None:
    shown = "\n".join(receipt_text(receipt(outcome("done"), outcome("not-started"), interrupted=True)))
    assert "Interrupted: 1 done, 0 failed, 0 skipped, 1 not started" in shown
    assert "goes on where this one stopped" in shown


def test_nothing_to_undo_is_offered_where_nothing_was_recorded() -> None:
    assert "undo" not in "\n".join(receipt_text(receipt(outcome("failed", error="no room"), generation=None)))


def test_names_and_errors_of_others_cannot_steer_the_terminal() -> None:
    hostile = outcome(
        "failed", "a\x1b[2Kb@x", reason="\r", error="\x1b]52;c;eA==\x07\n::set-env name=a::b", hint="\u202e"
    )
    for line in receipt_text(receipt(hostile)):
        assert line.isprintable()
        assert not line.strip().startswith(("::", "##["))


def test_the_account_as_json_is_strict_and_complete() -> None:
    value = json.loads(json.dumps(receipt_json(mixed()), allow_nan=False))
    assert value["exit_code"] == 5
    assert value["summary"]["not_started"] == 1
    assert value["summary"]["bytes_received"] == 8_900_000_000
    assert [each["result"] for each in value["outcomes"]].count("done") == 2
    assert value["outcomes"][2]["hint"].endswith("--upgrade")
