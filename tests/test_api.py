"""The functions of `reconciler`: what the command line does, as values, without printing; cheap to import."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import locale
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from guide_kit import DIALO, DOCS, a_workstation, blocks

import reconciler
from reconciler import api, errors
from reconciler.cli import run
from reconciler.hub.server import Hub

LLAMA = "llama-3.2-3b-instruct-lmstudio-gguf-q4_k_m"


@pytest.fixture
def hub(world: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with a_workstation(world, monkeypatch) as started:
        yield started


def test_the_examples_of_the_page_run_in_their_order(hub: Hub) -> None:
    names: dict[str, Any] = {}
    found = blocks("python.md", "python")
    assert len(found) >= 9
    for number, block in enumerate(found, 1):
        exec(compile(block, f"docs/python.md, example {number}", "exec"), names)


def test_the_type_checker_takes_the_examples_of_the_page(world: Path) -> None:
    """A user's program, checked as strictly as we check ours."""
    program = world / "program.py"
    program.write_text("\n".join(blocks("python.md", "python")))
    config = world / "mypy.ini"
    config.write_text("[mypy]\nstrict = True\nfollow_imports = silent\n")
    arguments = ["--config-file", str(config), "--cache-dir", str(DOCS.parent / ".mypy_cache"), str(program)]
    done = subprocess.run([sys.executable, "-m", "mypy", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    program.write_text("from reconciler import plan\nplan(3)\nplan().stepz\n")
    done = subprocess.run([sys.executable, "-m", "mypy", *arguments], capture_output=True, text=True, check=False)
    assert done.stdout.count("error:") == 2, "the control: what is wrong is seen"


# -- names ------------------------------------------------------------------------------------------------------------


def test_importing_the_package_loads_next_to_nothing() -> None:
    program = "import sys; before = set(sys.modules); import reconciler; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in ast.literal_eval(done.stdout)}
    assert not loaded & {"pydantic", "typer", "huggingface_hub", "yaml", "urllib3", "rich", "asyncio", "json"}
    assert not [name for name in ast.literal_eval(done.stdout) if name.startswith("reconciler.")]


def test_every_name_is_there_and_the_package_has_what_the_api_has() -> None:
    assert set(api.__all__) <= set(reconciler.__all__)
    assert len(set(reconciler.__all__)) == len(reconciler.__all__)
    for name in reconciler.__all__:
        assert getattr(reconciler, name) is not None, name
        assert name in dir(reconciler)
    with pytest.raises(AttributeError, match="has no attribute 'plann'"):
        _ = reconciler.plann  # type: ignore[attr-defined]


def test_the_type_checker_sees_the_same_names() -> None:
    tree = ast.parse(Path(reconciler.__file__).read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(reconciler.__all__)
    assert (Path(reconciler.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize(
    "program",
    [
        "from reconciler import plan; from reconciler.plan import Action",
        "from reconciler.plan import Action; from reconciler import plan",
        "import reconciler.plan; from reconciler.plan import Action; plan = reconciler.plan",
        "import reconciler; plan = reconciler.plan; from reconciler.plan import Action",
    ],
)
def test_a_room_and_a_verb_of_one_name_are_both_there_in_whatever_order(program: str) -> None:
    program += "; assert plan.Action is Action and callable(plan); import inspect; print(inspect.signature(plan))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(manifest: 'ManifestLike' = None, *, target:")


def test_every_function_is_documented_typed_and_stands_in_the_page() -> None:
    said = (DOCS / "python.md").read_text(encoding="utf-8")
    for name in api.__all__:
        found = getattr(api, name)
        if not inspect.isfunction(found):
            continue
        assert inspect.getdoc(found), name
        assert f"`{name}(" in said, name
        signature = inspect.signature(found)
        assert signature.return_annotation is not inspect.Signature.empty
        assert all(each.annotation is not inspect.Parameter.empty for each in signature.parameters.values()), name


def test_errors_are_those_of_the_tree() -> None:
    for name in reconciler.__all__:
        if name.endswith("Error"):
            assert getattr(reconciler, name) is getattr(errors, name)


# -- what they do -----------------------------------------------------------------------------------------------------


def test_nothing_is_printed_and_no_handler_is_needed_for_warnings(hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    reconciler.lock("workstation.yaml")
    reconciler.apply("workstation.yaml")
    Path("~/lm studio/models").expanduser().rename(Path("~/away").expanduser())
    reconciler.status("workstation.yaml")
    reconciler.verify("workstation.yaml")
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "")


def test_the_plan_of_the_function_is_the_plan_of_the_command(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    reconciler.lock("workstation.yaml")
    assert run(["plan", "workstation.yaml", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    made = json.loads(reconciler.render_plan(reconciler.plan("workstation.yaml"), "json"))
    for each in (told, made):  # what is free differs from moment to moment
        each.pop("checksum")
        for place in each["locations"].values():
            place.pop("free_bytes")
    assert made == told
    assert (
        reconciler.render_plan(reconciler.plan("workstation.yaml")).splitlines()[-1].startswith("Plan: 2 to download")
    )


def test_a_reviewed_plan_is_refused_when_the_world_moved_and_nothing_is_touched(hub: Hub) -> None:
    reviewed = reconciler.plan("workstation.yaml")
    target = Path("~/ai-models/weights/Qwen/Qwen2.5-VL-7B-Instruct-AWQ/config.json").expanduser()
    target.parent.mkdir(parents=True)
    target.write_text("mine")
    with pytest.raises(reconciler.StaleError) as caught:
        reconciler.apply(reviewed)
    assert caught.value.problems
    assert target.read_text() == "mine"
    assert reconciler.list_records("workstation.yaml") == ()


def test_approval_of_some_actions_holds_the_others_back(hub: Hub) -> None:
    assert reconciler.apply("workstation.yaml", approve=["download"]).exit_code == 0
    text = Path("workstation.yaml").read_text()
    gone = text.replace(text[text.index(f"  {LLAMA}") : text.index("roles:")], "").replace(f"[{LLAMA}]", "[]")
    Path("workstation.yaml").write_text(gone)
    receipt = reconciler.apply("workstation.yaml", approve=["download", "normalize"])
    assert [(o.action, o.result) for o in receipt.outcomes if o.result != "not-started"] == [("remove", "blocked")]
    assert receipt.exit_code == 3
    assert reconciler.apply("workstation.yaml", approve=[reconciler.Action.REMOVE]).done == 1
    with pytest.raises(reconciler.InputError, match="'removed' is no action"):
        reconciler.apply("workstation.yaml", approve=["removed"])


def test_progress_is_told_as_events_one_at_a_time_and_may_fail(hub: Hub) -> None:
    told: list[dict[str, Any]] = []
    busy = threading.Lock()

    def hear(event: reconciler.Event) -> None:
        assert busy.acquire(blocking=False), "two at once"
        told.append(dict(event))
        busy.release()
        raise RuntimeError("whoever listens has a problem of his own")

    receipt = reconciler.apply("workstation.yaml", progress=hear)
    assert receipt.exit_code == 0
    assert {"plan", "step-started", "progress", "step"} <= {event["type"] for event in told}
    json.dumps(told, allow_nan=False)
    finished = [event for event in told if event["type"] == "progress" and event["phase"] == "done"]
    assert all(event["done"] == event["size"] for event in finished)
    assert finished


def test_what_is_worth_knowing_goes_to_the_logger_where_nobody_listens(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    reconciler.apply("workstation.yaml")
    cache = reconciler.load_settings("workstation.yaml").cache / "digests.sqlite"
    cache.parent.mkdir(parents=True, exist_ok=True)
    heard: list[reconciler.Event] = []
    for progress in (None, heard.append):
        cache.write_bytes(b"no database at all" * 100)
        with caplog.at_level(logging.WARNING, logger="reconciler"):
            reconciler.status("workstation.yaml", progress=progress)
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "the digest cache is damaged and was set aside: file is not a database"
    ]
    assert [event["text"] for event in heard if event["type"] == "message"] == [caplog.records[0].getMessage()]


def slowly(stop: threading.Event) -> reconciler.Progress:
    """Return a listener that sets `stop` as soon as a download has begun."""

    def hear(event: reconciler.Event) -> None:
        if event["type"] == "progress" and event["phase"] == "downloading":
            stop.set()

    return hear


def test_an_apply_that_is_cancelled_ends_soon_and_the_next_one_goes_on(hub: Hub) -> None:
    stop = threading.Event()
    receipt = reconciler.apply(
        "workstation.yaml", settings={"limit_rate": "30KiB"}, progress=slowly(stop), cancel=stop.is_set
    )
    assert receipt.exit_code == 130
    assert {outcome.result for outcome in receipt.outcomes} <= {"done", "not-started"}
    assert "not-started" in {outcome.result for outcome in receipt.outcomes}
    assert reconciler.apply("workstation.yaml").exit_code == 0
    assert reconciler.verify("workstation.yaml", full=True).exit_code == 0


def test_an_apply_in_an_event_loop_leaves_the_loop_free_and_can_be_cancelled(hub: Hub) -> None:
    async def main() -> reconciler.Receipt:
        stop = threading.Event()
        heard = slowly(stop)
        doing = asyncio.to_thread(
            reconciler.apply, "workstation.yaml", settings={"limit_rate": "30KiB"}, progress=heard, cancel=stop.is_set
        )
        receipt, plans = await asyncio.gather(doing, asyncio.to_thread(reconciler.load_manifest, "workstation.yaml"))
        assert plans.name == "workstation"
        return receipt

    assert asyncio.run(main()).exit_code == 130


def test_nothing_begins_when_it_was_cancelled_before_and_a_cancel_that_fails_wants_nothing(hub: Hub) -> None:
    receipt = reconciler.apply("workstation.yaml", cancel=lambda: True)
    assert {outcome.result for outcome in receipt.outcomes} == {"not-started"}
    assert reconciler.list_records("workstation.yaml") == ()

    def fails() -> bool:
        raise RuntimeError("nobody knows")

    assert reconciler.apply("workstation.yaml", cancel=fails).exit_code == 0
    assert reconciler.undo("workstation.yaml", cancel=lambda: True).exit_code == 130
    assert reconciler.undo("workstation.yaml").exit_code == 0


def test_a_listener_that_wants_to_exit_ends_no_thread_of_ours(hub: Hub) -> None:
    def hear(event: reconciler.Event) -> None:
        if threading.current_thread() is not threading.main_thread():
            sys.exit(3)

    assert reconciler.apply("workstation.yaml", progress=hear).exit_code == 0


def test_calls_go_on_after_one_that_failed_or_was_interrupted(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook: the same process calls again, whatever the last call ended with."""

    def interrupted(event: reconciler.Event) -> None:
        if event["type"] == "step-started":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setenv("HF_ENDPOINT", "http://127.0.0.1:59123")
        with pytest.raises(reconciler.WorldError):
            reconciler.lock("workstation.yaml", settings={"retries": 0})
    assert reconciler.apply("workstation.yaml", progress=interrupted).exit_code == 130
    assert reconciler.apply("workstation.yaml").exit_code == 0
    assert reconciler.apply("workstation.yaml").outcomes == ()
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.name.endswith(("(_accept)", "(_converse)")):
            thread.join(20)
            assert not thread.is_alive(), "besides those of the hub, no thread of ours stays"


def test_an_apply_in_another_thread_is_told_and_refused(hub: Hub) -> None:
    from reconciler.locking import exclusive_lock

    loaded = reconciler.load_manifest("workstation.yaml")
    reconciler.apply(loaded)
    failed: list[BaseException] = []

    def other() -> None:
        try:
            reconciler.apply(loaded)
        except reconciler.BusyError as error:
            failed.append(error)

    with exclusive_lock(loaded.registry / "lock", holder="a test"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(failed) == 1
    assert reconciler.apply(loaded).exit_code == 0


def test_repair_mends_what_verify_finds(hub: Hub) -> None:
    reconciler.apply("workstation.yaml")
    config = Path("~/ai-models/weights/Qwen/Qwen2.5-VL-7B-Instruct-AWQ/config.json").expanduser()
    whole = config.read_bytes()
    config.write_bytes(b"x" * len(whole))
    assert reconciler.verify("workstation.yaml").exit_code == 8
    mended = reconciler.repair("workstation.yaml")
    assert (mended.before.exit_code, mended.after.exit_code) == (8, 0)
    assert mended.receipt is not None
    assert mended.receipt.done == 1
    assert config.read_bytes() == whole


def test_a_setting_of_a_call_is_stronger_than_all_others(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_RETRIES", "3")
    assert reconciler.load_settings("workstation.yaml", retries=1).retries == 1
    with pytest.raises(reconciler.InputError, match="did you mean retries"):
        reconciler.apply("workstation.yaml", settings={"retires": 1})


def test_one_glob_may_be_given_by_itself_and_its_letters_are_none(hub: Hub) -> None:
    """Taken letter by letter, `*` would stand for everything."""
    for name in ("a", "b"):
        reconciler.add(f"hf:{DIALO}", "workstation.yaml", name=name, location="linux_wsl", files="*.json", roles="chat")
    said = reconciler.load_manifest("workstation.yaml").manifest
    assert (said.variants["a"].files, "a" in said.roles["chat"], "c" in said.roles) == (("*.json",), True, False)
    planned = reconciler.plan("workstation.yaml", target="a*")
    assert [step.address.variant for step in planned.changes] == ["a"]
    planned = reconciler.plan("workstation.yaml", exclude="a*")
    assert "a" not in [step.address.variant for step in planned.changes]
    assert reconciler.apply("workstation.yaml", target="a*", approve="download").exit_code == 0
    found = reconciler.verify("workstation.yaml", variants="a*").findings
    assert {finding.address.variant for finding in found} == {"a"}
    pin = reconciler.resolve_source(f"hf:{DIALO}", files="*.json", exclude="tok*")
    assert [file.path for file in pin.files] == ["config.json"]


def test_what_cannot_be_meant_is_an_error_of_ours(hub: Hub) -> None:
    planned = reconciler.plan("workstation.yaml")
    calls: list[Callable[[], object]] = [
        lambda: reconciler.export("workstation.yaml", "xml"),  # type: ignore[arg-type]
        lambda: reconciler.render_plan(planned, "xml"),  # type: ignore[arg-type]
        lambda: reconciler.gc("workstation.yaml", older_than=-1),
        lambda: reconciler.gc("workstation.yaml", older_than=float("nan")),
        lambda: reconciler.apply("workstation.yaml", settings={"registry": "/srv/books"}),
    ]
    for call in calls:
        with pytest.raises(reconciler.InputError):
            call()


def test_the_program_around_is_left_as_it_was(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signal handlers, loggers, locale, environment, directory; and no umask is ever set, not even for a moment."""

    def state() -> list[object]:
        root = logging.getLogger()
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
        return [handlers, [*root.handlers], root.level, locale.setlocale(locale.LC_ALL), dict(os.environ), Path.cwd()]

    def forbidden(mask: int) -> int:
        raise AssertionError(mask)

    monkeypatch.setattr(os, "umask", forbidden)
    before = state()
    assert reconciler.apply("workstation.yaml").exit_code == 0
    reconciler.status("workstation.yaml")
    assert reconciler.undo("workstation.yaml").exit_code == 0
    assert state() == before


def test_a_signal_that_came_while_names_changed_goes_to_whoever_handles_it() -> None:
    from reconciler.apply.signals import uninterrupted

    heard: list[int] = []
    kept = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGTERM)
            assert heard == []
        assert heard == [signal.SIGTERM]
        with pytest.raises(KeyboardInterrupt), uninterrupted():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, kept)


def test_an_address_that_is_no_source_is_refused(hub: Hub) -> None:
    with pytest.raises(reconciler.InputError):
        reconciler.resolve_source("qwen")
    with pytest.raises(reconciler.AccessError):
        reconciler.resolve_source("hf:nobody/nothing")
