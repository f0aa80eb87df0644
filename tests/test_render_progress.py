from __future__ import annotations

import io
import json
from typing import Any, NamedTuple

import plan_kit as kit
from test_receipt import mixed, outcome

from reconciler.render.bars import Bars
from reconciler.render.progress import Kind, open_display, receipt_event


class Going(NamedTuple):
    key: str
    done: int
    size: int
    received: int
    phase: str


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(kind: Kind, stream: io.StringIO, **more: Any) -> str:
    """One apply as a display sees it; the text that it left."""
    with open_display(kind, stream, **more) as display:
        display.plan_started(2, 4096)
        display.step_started(kit.download("a@x"))
        display.file(Going("org/[v1]/a\x1b[2K.gguf", 1024, 2048, 0, "downloading"))
        display.file(Going("org/[v1]/a\x1b[2K.gguf", 2048, 2048, 1024, "verifying"))
        display.file(Going("org/[v1]/a\x1b[2K.gguf", 2048, 2048, 1024, "done"))
        display.file(Going("b.gguf", 100, 2048, 100, "failed"))
        display.step_done(outcome("done"))
        display.step_done(outcome("failed", "b@x", error="no\nroute"))
        display.message("huggingface_hub moves the files: aria2c is missing")
    return stream.getvalue()


def test_in_a_log_there_is_one_plain_line_a_finished_file_and_nothing_else() -> None:
    assert run("lines", io.StringIO()).splitlines() == [
        "fetched     2.0 KiB  org/[v1]/a\\x1b[2K.gguf",
        "failed      2.0 KiB  b.gguf",
        "huggingface_hub moves the files: aria2c is missing",
    ]


def test_quiet_is_quiet() -> None:
    assert run("quiet", io.StringIO()) == ""


def test_for_programs_every_line_is_one_strict_object_with_a_type() -> None:
    events = [json.loads(line, parse_constant=int) for line in run("json", io.StringIO()).splitlines()]
    assert [each["type"] for each in events] == [
        "plan", "step-started", "progress", "progress", "progress", "overall", "progress", "overall",
        "step", "step", "message",
    ]  # fmt: skip
    assert events[2] == {
        "type": "progress", "file": "org/[v1]/a\x1b[2K.gguf", "done": 1024, "size": 2048, "received": 0,
        "phase": "downloading", "speed": None, "seconds_left": None,
    }  # fmt: skip
    assert events[8]["address"] == "a@x"
    assert events[9]["result"] == "failed"


def test_programs_are_told_speed_and_time_left_of_each_file_and_of_all() -> None:
    stream, ticks = io.StringIO(), iter([0.0, 1.0, 2.0])
    with open_display("json", stream, clock=lambda: next(ticks)) as display:
        display.plan_started(1, 400)
        display.file(Going("a", 100, 400, 0, "downloading"))
        display.file(Going("a", 200, 400, 100, "downloading"))
        display.file(Going("a", 300, 400, 200, "downloading"))
    last, overall = (json.loads(line) for line in stream.getvalue().splitlines()[-2:])
    assert (last["speed"], last["seconds_left"]) == (100, 1.0)
    assert overall == {"type": "overall", "received": 200, "size": 400, "speed": 100, "seconds_left": 2.0}


def test_progress_of_one_file_is_told_twice_a_second_and_every_change_of_phase_at_once() -> None:
    stream, ticks = io.StringIO(), iter([0.0, 0.1, 0.4, 0.6, 0.7, 0.75])
    with open_display("json", stream, clock=lambda: next(ticks)) as display:
        for done in range(5):
            display.file(Going("a", done, 9, done, "downloading"))
        display.file(Going("a", 9, 9, 9, "done"))
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [one["done"] for one in told if one["type"] == "progress"] == [0, 3, 9]


def test_the_last_line_is_the_receipt() -> None:
    value = json.loads(receipt_event(mixed()))
    assert value["type"] == "receipt"
    assert value["exit_code"] == 5


def test_on_a_terminal_names_are_no_markup_and_the_bars_leave_nothing_behind() -> None:
    text = run("bars", Terminal())
    assert "[v1]" in text
    assert "a\x1b[2K.gguf" not in text
    assert "failed: b@x: no\\x0aroute" in text
    assert "aria2c is missing" in text
    assert "\x1b[?25h" in text  # the cursor is back


def test_the_bar_over_everything_counts_what_came_now_and_not_what_was_there() -> None:
    bars = Bars(Terminal(), False)
    bars.plan_started(1, 100)
    bars.file(Going("a", 60, 100, 0, "downloading"))
    bars.file(Going("a", 80, 100, 20, "downloading"))
    assert bars.overall() == (20, 40)
    bars.file(Going("a", 100, 100, 40, "done"))
    assert bars.overall() == (40, 40)
    bars.file(Going("b", 50, 100, 50, "failed"))
    assert bars.overall() == (90, 90)
    bars.close()
    bars.close()


def test_the_display_closes_when_the_apply_fails() -> None:
    stream = Terminal()
    try:
        with open_display("bars", stream):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert "\x1b[?25h" in stream.getvalue()
