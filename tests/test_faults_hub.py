"""Hostile and failing hubs, end to end: the whole program against the embedded hub, with aria2c where it is there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apply_kit import FakeDownloader, Ground, Ran, content

from reconciler.download import Limits, find_aria2c
from reconciler.hub import Hub

pytestmark = pytest.mark.faults

MIB = 1 << 20
REPO = "acme/model"
BIG, SMALL = content(1, 3 * MIB), content(2, 5000)
FILES = {"big.gguf": BIG, "small.gguf": SMALL, "config.json": b'{"model_type": "llama"}'}
QUICK = Limits(
    connections_per_file=4, files=2, small=256 * 1024, piece=MIB, retries=2, stall=2.0, floor=1024, patience=10,
    backoff=0.01, slowest=0.05, connect_timeout=3, read_timeout=2,
)  # fmt: skip


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running


@pytest.fixture
def ground(world: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Ground:
    """A machine that knows the hub, with limits small enough that nobody waits."""
    from reconciler import download

    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    real = download.open_downloader
    monkeypatch.setattr(download, "open_downloader", lambda _limits, **more: real(QUICK, **more))
    hub.add(REPO, FILES)
    ground = Ground(world, FakeDownloader())
    declare(ground, {"a": f"hf:{REPO}"})
    return ground


def declare(ground: Ground, variants: dict[str, str]) -> None:
    ground.declare({})
    text = ground.manifest.read_text().replace("variants: {}\n", "")
    lines = [f"  {name}: {{source: '{source}'}}" for name, source in variants.items()]
    ground.manifest.write_text("\n".join([text.rstrip(), "variants:", *lines, ""]))
    (ground.path / "ws.lock.json").unlink(missing_ok=True)


def whole(repo: str = REPO, files: dict[str, bytes] = FILES) -> dict[str, bytes]:
    return {f"{repo}/{path}": data for path, data in sorted(files.items())}


def nothing_wrong_is_visible(ground: Ground, ran: Ran) -> None:
    """Final names hold right bytes or nothing, and the failure is told in words."""
    right = whole()
    for path, data in ground.files().items():
        assert data == right[path], path
    assert ran.text.strip()
    assert "Traceback" not in ran.text
    assert "defect" not in ran.text


def settled(ground: Ground) -> None:
    assert ground.run("plan", "--detailed-exitcode").code == 0, ground.run("plan").out
    ran = ground.run("verify", "--full")
    assert ran.code == 0, ran.text
    assert ground.litter() == []


def test_everything_comes_and_is_right(ground: Ground, hub: Hub) -> None:
    ran = ground.apply()
    assert ran.code == 0, ran.text
    assert ground.files() == whole()
    settled(ground)
    hub.reset_log()
    assert ground.apply().code == 0
    assert hub.bytes_served("cdn") == 0


FOR_EVER: list[tuple[str, dict[str, Any], str]] = [
    ("corrupt", {}, "sha256"),
    ("html", {}, "page"),
    ("truncate", {"declare": False}, ""),
    ("truncate", {}, ""),
    ("wrong_length", {}, ""),
    ("reset", {}, ""),
    ("status", {"code": 500}, "500"),
    ("status", {"code": 503}, "503"),
    ("status", {"code": 404}, "404"),
    ("status", {"code": 403}, "403"),
    ("status", {"code": 429, "retry_after": 3600}, "429"),
    ("endless", {"limit": 64 * MIB}, ""),
    ("answer", {"code": 200, "body": b"version https://git-lfs.github.com/spec/v1\n"}, ""),
]


@pytest.mark.parametrize("path", ["*big.gguf", "*small.gguf"], ids=["large", "small"])
@pytest.mark.parametrize(
    ("kind", "settings", "told"),
    FOR_EVER,
    ids=[f"{k}-{'-'.join(map(str, s))}{s.get('code', '')}" for k, s, _ in FOR_EVER],
)
def test_wrong_bytes_never_get_a_final_name_and_the_next_apply_brings_the_right_ones(
    ground: Ground, hub: Hub, kind: str, settings: dict[str, Any], told: str, path: str
) -> None:
    assert ground.run("lock").code == 0
    hub.fault(kind, times=-1, path=path, **settings)
    ran = ground.apply()
    assert ran.code in (3, 5), ran.text
    nothing_wrong_is_visible(ground, ran)
    assert told in ran.text, ran.text
    assert ground.entries() == {} if (ground.registry / "model_registry.json").exists() else True
    hub.clear_faults()
    ran = ground.apply()
    assert ran.code == 0, ran.text
    assert ground.files() == whole()
    settled(ground)


PASSING: list[tuple[str, dict[str, Any]]] = [
    ("etag_change", {}),
    ("expire", {}),
    ("reset", {"after": 100_000}),
    ("truncate", {}),
    ("no_range", {}),
    ("wrong_range", {}),
    ("corrupt", {}),
    ("status", {"code": 503}),
    ("status", {"code": 429, "retry_after": 0}),
]


@pytest.mark.parametrize(
    ("kind", "settings"), PASSING, ids=[f"{kind}{settings.get('code', '')}" for kind, settings in PASSING]
)
def test_what_passes_is_survived_within_one_apply_or_the_next(
    ground: Ground, hub: Hub, kind: str, settings: dict[str, Any]
) -> None:
    hub.fault(kind, times=1, path="*big.gguf", **settings)
    ran = ground.apply()
    nothing_wrong_is_visible(ground, ran)
    if ran.code != 0:
        hub.clear_faults()
        assert ground.apply().code == 0
    assert ground.files() == whole()
    settled(ground)


def test_naively_a_flipped_byte_and_a_web_page_are_kept(ground: Ground, hub: Hub, world: Path) -> None:
    import urllib.request

    for kind in ("corrupt", "html"):
        hub.fault(kind, times=1, path="*small.gguf", origin="any")
        with urllib.request.urlopen(f"{hub.url}/{REPO}/resolve/main/small.gguf") as answer:
            (world / "naive").write_bytes(answer.read())
        assert (world / "naive").read_bytes() != SMALL


@pytest.mark.parametrize("code", [401, 403, 404, 429, 500, 503])
def test_a_hub_that_refuses_the_listing_is_told_and_nothing_is_touched(ground: Ground, hub: Hub, code: int) -> None:
    from reconciler.sources import World

    hub.fault("status", times=-1, origin="hub", code=code, **({"retry_after": 3600} if code == 429 else {}))
    with pytest.MonkeyPatch.context() as patch:
        real = World.from_environment
        patch.setattr(World, "from_environment", lambda *a, **k: _impatient(real(*a, **k)))
        ran = ground.apply()
    assert ran.code in (1, 3), ran.text
    nothing_wrong_is_visible(ground, ran)
    assert ground.files() == {}
    hub.clear_faults()
    assert ground.apply().code == 0
    settled(ground)


def _impatient(world: Any) -> Any:
    from dataclasses import replace

    return replace(world, sleep=lambda _: None, patience=1.0)


def test_a_gated_repository_blocks_its_variant_and_no_other(ground: Ground, hub: Hub) -> None:
    hub.add("acme/guarded", {"g.gguf": content(9)}, gated="manual")
    declare(ground, {"a": f"hf:{REPO}", "guarded": "hf:acme/guarded"})
    ran = ground.apply()
    assert ran.code == 3, ran.text
    assert "gated" in ran.text or "token" in ran.text
    assert ground.files() == whole()


HOSTILE = [
    "../../escape.gguf", "/etc/escape.gguf", "C:\\escape.gguf", "C:/escape.gguf", "a\\..\\escape.gguf",
    "\\\\host\\share\\escape.gguf", "nul.gguf", "a/./b.gguf", "trailing./x.gguf", "new\nline.gguf",
    "e\x1b[2Kscape.gguf",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_stops_its_variant_and_writes_nothing_anywhere(
    ground: Ground, hub: Hub, world: Path, name: str
) -> None:
    hub.add_raw("evil/model", [{"path": name, "content": content(66)}, {"path": "ok.gguf", "content": content(67)}])
    declare(ground, {"a": f"hf:{REPO}", "evil": "hf:evil/model"})
    ran = ground.apply()
    assert ran.code == 3, ran.text
    assert ground.files() == whole()
    assert not list(world.parent.rglob("*escape*"))
    assert "\x1b" not in ran.text


def test_a_branch_that_moves_after_the_plan_does_not_change_what_was_reviewed(ground: Ground, hub: Hub) -> None:
    plan = ground.path / "plan.json"
    assert ground.run("plan", "-o", str(plan), str(ground.manifest)).code == 0
    hub.update(REPO, {"small.gguf": content(77)})
    ran = ground.run("apply", str(plan))
    assert ran.code == 0, ran.text
    assert ground.files() == whole()


# -- kills while aria2c works -----------------------------------------------------------------------------------------

needs_aria2c = pytest.mark.skipif(find_aria2c() is None, reason="no aria2c on this machine")
HUGE = content(5, 40 * MIB)


def started(ground: Ground, *arguments: str) -> subprocess.Popen[str]:
    """Start the program in a process of its own."""
    words = [sys.executable, "-m", "reconciler", "apply", str(ground.manifest), "--yes", "--json", *arguments]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def until_bytes_come(program: subprocess.Popen[str], least: int = MIB) -> None:
    assert program.stdout is not None
    for line in program.stdout:
        event = json.loads(line)
        if event["type"] == "progress" and event.get("done", 0) > least:
            return
    raise AssertionError(f"it ended before: {program.stderr.read() if program.stderr else ''}")


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


@pytest.fixture
def slow(world: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Ground, Hub]]:
    with Hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.add(REPO, {"huge.gguf": HUGE, "small.gguf": SMALL})
        hub.rate = 6.0 * MIB
        ground = Ground(world, FakeDownloader())
        declare(ground, {"a": f"hf:{REPO}"})
        yield ground, hub


@needs_aria2c
def test_the_program_killed_while_aria2c_works_goes_on_with_what_has_come(slow: tuple[Ground, Hub]) -> None:
    ground, hub = slow
    with started(ground) as program:
        until_bytes_come(program, 16 * MIB)
        workers = children(program.pid)
        program.kill()
    assert ground.files() == {}
    deadline = time.monotonic() + 20
    while any(_is_alive(worker) for worker in workers):  # they die with their parent; the lock is free only then
        assert time.monotonic() < deadline, "aria2c outlived the program"
    hub.rate = None
    hub.reset_log()
    ran = ground.apply()
    assert ran.code == 0, ran.text
    assert ground.files() == whole(files={"huge.gguf": HUGE, "small.gguf": SMALL})
    assert hub.bytes_served("cdn") < len(HUGE), "nothing of the partial file was used"
    settled(ground)


@needs_aria2c
def test_aria2c_killed_under_our_hands_is_a_fault_that_ends_well(slow: tuple[Ground, Hub]) -> None:
    ground, hub = slow
    with started(ground) as program:
        until_bytes_come(program)
        for worker in children(program.pid):
            os.kill(worker, signal.SIGKILL)
        hub.rate = None
        _, err = program.communicate(timeout=120)
    assert program.returncode in (0, 5), err
    assert "Traceback" not in err
    ran = ground.apply()
    assert ran.code == 0, ran.text
    assert ground.files() == whole(files={"huge.gguf": HUGE, "small.gguf": SMALL})
    settled(ground)


@needs_aria2c
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_aria2c_works_ends_with_130_and_an_account(slow: tuple[Ground, Hub], number: int) -> None:
    ground, hub = slow
    with started(ground) as program:
        until_bytes_come(program)
        workers = children(program.pid)
        program.send_signal(number)
        out, err = program.communicate(timeout=60)
    assert program.returncode == 130, err
    assert '"receipt"' in out
    assert not any(_is_alive(worker) for worker in workers)
    assert ground.files() in ({}, whole(files={"small.gguf": SMALL}))
    hub.rate = None
    assert ground.apply().code == 0
    settled(ground)


@needs_aria2c
def test_two_applies_at_once_never_share_the_work(slow: tuple[Ground, Hub]) -> None:
    ground, hub = slow
    with started(ground) as program:
        until_bytes_come(program)
        ran = ground.apply()
        assert ran.code == 6
        assert str(program.pid) in ran.err
        hub.rate = None
        program.communicate(timeout=120)
        assert program.returncode == 0
    settled(ground)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
