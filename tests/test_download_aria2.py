"""Kills, partial files of every kind, renewed addresses and secrets: what aria2c alone gets wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from download_kit import (
    ENGINES,
    MIB,
    QUICK,
    REPO,
    TOKEN,
    arrived,
    content,
    failed,
    fetch,
    names,
    plain,
    want,
)  # fmt: skip

from reconciler.download import Downloader, Limits, Progress, Wanted
from reconciler.download.daemon import settings
from reconciler.download.program import find_aria2c
from reconciler.errors import DiskError
from reconciler.hub.server import Hub
from reconciler.located import Located
from reconciler.state import Digest

BIG = content(24 * MIB)
SLACK = 4 * MIB
"""What the sockets of a few broken connections hold: sent by the hub, never read."""


@pytest.fixture
def hub():
    with Hub(token=TOKEN) as hub:
        yield hub


@pytest.fixture
def aria2() -> Downloader:
    return ENGINES["aria2"](QUICK)


def children() -> list[int]:
    """The aria2c processes that this process started."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # threads and processes end while we look
            for child in (task / "children").read_text().split():
                command = Path(f"/proc/{child}/cmdline").read_bytes()
                if b"--conf-path=" in command and b"-c" not in command.split(b"\0"):
                    found.append(int(child))
    return found


class Halfway:
    """Calls `act` once, when more than half of a file is there."""

    def __init__(self, act) -> None:
        self.act, self.done_at = act, 0

    def __call__(self, step: Progress) -> None:
        if not self.done_at and step.done > step.size // 2 and step.phase == "downloading":
            self.done_at = step.done
            self.act()


@pytest.mark.faults
def test_aria2c_killed_in_the_middle_is_started_again_and_goes_on(hub: Hub, aria2: Downloader, world: Path) -> None:
    sha = hub.add(REPO, {"a.bin": BIG})
    hub.rate = 1.5 * MIB
    watch = Halfway(lambda: os.kill(children()[0], signal.SIGKILL))

    result = arrived(fetch(aria2, [want(hub, sha, "a.bin", BIG, world)], watch)[0])

    assert watch.done_at
    assert result.path.read_bytes() == BIG
    assert names(world) == [result.wanted.name]
    assert result.received < len(BIG) * 1.4, "what was saved within the last second is not fetched again"


RERUN = """
import sys; sys.path.insert(0, {tests!r})
from pathlib import Path
from download_kit import *
from reconciler.download.engine import WithAria2
calls = []
data = content({size})
class There:
    url, cdn_url = {url!r}, {cdn!r}
item = want(There, {sha!r}, "a.bin", data, Path({stage!r}))
for result in ENGINES[{engine!r}](QUICK).fetch([item], lambda step: print(step.done, flush=True)):
    print(result, flush=True)
"""


@pytest.mark.faults
@pytest.mark.parametrize("engine", ["aria2", "pool"])
def test_a_killed_process_leaves_a_partial_to_go_on_with(hub: Hub, world: Path, engine: str) -> None:
    sha = hub.add(REPO, {"a.bin": BIG})
    hub.rate = 4 * MIB if engine == "aria2" else 16 * MIB
    script = RERUN.format(
        tests=str(Path(__file__).parent), size=len(BIG), url=hub.url, cdn=hub.cdn_url, sha=sha, stage=str(world),
        engine=engine,
    )  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    done = 0
    for line in process.stdout:
        if line.strip().isdigit():
            done = int(line)
        if done > len(BIG) * 2 // 3:
            break
    process.kill()
    process.wait()
    hub.rate = None
    item = want(hub, sha, "a.bin", BIG, world)
    assert not (world / item.name).exists() or (world / f"{item.name}.aria2").exists(), (
        "nothing half claims to be whole"
    )

    result = arrived(fetch(ENGINES[engine](QUICK), [item])[0])

    assert result.path.read_bytes() == BIG
    missing = len(BIG) - done
    # aria2c notes once a second what it has; our own partial is what stands on disk.
    assert result.received <= missing + (len(BIG) * 0.05 if engine == "pool" else 1.2 * 4 * 4 * MIB)
    assert names(world) == [item.name]


@pytest.mark.faults
def test_aria2c_dies_with_the_process_that_started_it(hub: Hub, world: Path) -> None:
    sha = hub.add(REPO, {"a.bin": BIG})
    hub.rate = MIB // 4
    lock = world / "lock"
    script = f"""
import sys, fcntl, os; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from download_kit import *
import contextlib
import dataclasses
fd = os.open({str(lock)!r}, os.O_CREAT | os.O_RDWR)
fcntl.flock(fd, fcntl.LOCK_EX)
class There:
    url, cdn_url = {hub.url!r}, {hub.cdn_url!r}
stage = Path({str(world)!r}) / "stage"; stage.mkdir()
engine = dataclasses.replace(ENGINES["aria2"](QUICK), keep_fds=(fd,))
item = want(There, {sha!r}, "a.bin", content({len(BIG)}), stage)
list(engine.fetch([item], lambda step: print(step.phase, flush=True)))
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.wait()
    with open(lock) as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # is granted once every holder is gone, the aria2c that inherited it as well
    assert not [line for line in _commands() if str(world) in line]


@pytest.mark.faults
def test_an_expired_address_is_renewed_and_the_same_partial_goes_on(hub: Hub, aria2: Downloader, world: Path) -> None:
    sha = hub.add(REPO, {"a.bin": BIG})
    hub.fault("expire", times=1, after=len(BIG) // 2, cut=True)
    calls: list[str] = []

    result = arrived(fetch(aria2, [want(hub, sha, "a.bin", BIG, world, calls=calls)])[0])

    assert len(calls) >= 2
    assert [request for request in hub.requests if request.status == 403]
    assert result.path.read_bytes() == BIG
    assert result.received < len(BIG) * 1.2


def test_an_address_with_a_short_life_is_replaced_in_time(hub: Hub, aria2: Downloader, world: Path) -> None:
    sha = hub.add(REPO, {"a.bin": BIG})
    hub.rate, hub.url_ttl = 3 * MIB, 1.0
    calls: list[str] = []
    result = arrived(fetch(aria2, [want(hub, sha, "a.bin", BIG, world, calls=calls)])[0])
    assert len(calls) >= 2
    assert result.path.read_bytes() == BIG


@pytest.mark.faults
def test_a_partial_with_poisoned_bytes_is_found_out(hub: Hub, aria2: Downloader, world: Path) -> None:
    sha = hub.add(REPO, {"a.bin": BIG})
    item = want(hub, sha, "a.bin", BIG, world)
    _leave_a_partial(hub, aria2, item)
    with open(world / item.name, "r+b") as file:
        file.write(b"poison")

    assert arrived(fetch(aria2, [item])[0]).path.read_bytes() == BIG


@pytest.mark.faults
@pytest.mark.parametrize(
    "spoil",
    [
        lambda stage, name: (stage / f"{name}.aria2").unlink(),
        lambda stage, name: (stage / f"{name}.aria2").write_bytes(b"rubbish" * 20),
        lambda stage, name: (stage / f"{name}.aria2").write_bytes(b""),
        lambda stage, name: (stage / name).unlink(),
        lambda stage, name: (stage / f"{name}_meta").unlink(),
        lambda stage, name: (stage / f"{name}_meta").write_text(
            '{"size": 1, "digest": "sha256:", "etag": "", "origin": ""}'
        ),
        lambda stage, name: (stage / f"{name}.aria2__temp").write_bytes(b"left over"),
        lambda stage, name: os.truncate(stage / name, 100),
    ],
    ids=["no control", "rubbish control", "empty control", "no payload", "no note", "another note", "temp", "short"],
)
def test_whatever_was_left_behind_the_right_bytes_come(hub: Hub, aria2: Downloader, world: Path, spoil) -> None:
    sha = hub.add(REPO, {"a.bin": BIG})
    item = want(hub, sha, "a.bin", BIG, world)
    _leave_a_partial(hub, aria2, item)
    spoil(world, item.name)

    assert arrived(fetch(aria2, [item])[0]).path.read_bytes() == BIG
    assert names(world) == [item.name]


@pytest.mark.faults
def test_control_plain_aria2c_takes_a_partial_without_control_file_for_complete(hub: Hub, world: Path) -> None:
    url = hub.serve("a.bin", BIG)
    (world / "a").write_bytes(BIG[:MIB] + bytes(len(BIG) - MIB))
    program = find_aria2c()
    assert program is not None
    command = [str(program.path), "--no-conf", "-q", "-c", f"--dir={world}", "--out=a", url]
    assert subprocess.run(command, check=False).returncode == 0
    assert (world / "a").read_bytes() != BIG


@pytest.mark.faults
def test_another_version_upstream_does_not_go_on_with_the_partial_of_the_old_one(
    hub: Hub, aria2: Downloader, world: Path
) -> None:
    sha = hub.add(REPO, {"a.bin": BIG})
    item = want(hub, sha, "a.bin", BIG, world)
    _leave_a_partial(hub, aria2, item)
    note = world / f"{item.name}_meta"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"etag": '"another"'}))

    result = arrived(fetch(aria2, [item])[0])

    assert result.received >= len(BIG)
    assert result.path.read_bytes() == BIG


def test_no_secret_leaves_the_process_that_holds_it(
    hub: Hub, aria2: Downloader, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.rate = 8 * MIB
    sha = hub.add(REPO, {"a.bin": BIG, "small.json": b"{}"}, private=True)
    seen: list[bytes] = []

    def sample() -> None:
        for child in children():
            for kind in ("cmdline", "environ"):
                seen.append(Path(f"/proc/{child}/{kind}").read_bytes())

    wanted = [
        want(hub, sha, "a.bin", BIG, world, token=TOKEN), want(hub, sha, "small.json", b"{}", world, token=TOKEN)
    ]  # fmt: skip
    results = fetch(aria2, wanted, Halfway(sample))

    assert all(arrived(result) for result in results)
    assert seen
    assert not [text for text in seen if b"CANARY" in text or b"Signature" in text or b"rpc-secret" in text]
    assert [request for request in hub.requests if request.origin == "hub" and TOKEN in str(request.headers)]
    assert not [request for request in hub.requests if request.origin == "cdn" and TOKEN in str(request.headers)]
    assert not [path for path in world.rglob("*") if path.is_file() and b"CANARY" in path.read_bytes()]


def test_an_address_that_needs_a_header_never_reaches_aria2c(hub: Hub, aria2: Downloader, world: Path) -> None:
    url = hub.serve("a.bin", BIG)
    started: list[int] = []
    headers = {"Authorization": f"Bearer {TOKEN}"}
    item = dataclasses.replace(plain(url, BIG, world), locate=lambda: Located(url, headers))
    arrived(fetch(aria2, [item], lambda _: started.extend(children()))[0])
    assert all(request.headers.get("user-agent", "").startswith("reconciler/") for request in hub.requests)


@pytest.mark.parametrize("path", ["a\nout=evil.bin", "--conf-path=x", "a\tdir=..", "ä ö.bin", "../../up.bin"])
def test_names_of_the_hub_do_not_reach_aria2c(hub: Hub, aria2: Downloader, world: Path, path: str) -> None:
    stage = world / "st ä ge"
    stage.mkdir()
    sha = hub.add(REPO, {"a.bin": BIG})
    item = dataclasses.replace(want(hub, sha, "a.bin", BIG, stage), key=path)
    arrived(fetch(aria2, [item])[0])
    assert names(world) == ["st ä ge"]
    assert names(stage) == [item.name]


def test_a_setting_with_a_newline_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://a\ndir=/")
    with pytest.raises(Exception, match="control character"):
        settings(Limits(), 1, "s", split=1)


def test_what_aria2c_must_not_do_is_switched_off() -> None:
    text = settings(Limits(rate=5), 6800, "s" * 64, split=8)
    for line in (
        "rpc-listen-all=false", "follow-metalink=false", "follow-torrent=false", "enable-dht=false", "no-netrc=true",
        "auto-file-renaming=false", "allow-overwrite=false", "max-overall-download-limit=5", "check-certificate=true",
    ):  # fmt: skip
        assert f"{line}\n" in text
    assert "header" not in text
    assert "\nlog=" not in text
    assert "save-session" not in text


def test_a_full_disk_is_told_as_such(hub: Hub, aria2: Downloader, world: Path) -> None:
    sha = hub.add(REPO, {"a.bin": BIG})
    item = dataclasses.replace(want(hub, sha, "a.bin", BIG, world), stage=world / "gone")
    assert isinstance(failed(fetch(aria2, [item])[0]).error, DiskError)


def test_many_large_files_share_one_daemon(hub: Hub, aria2: Downloader, world: Path) -> None:
    files = {f"{number}.bin": content(2 * MIB, number) for number in range(7)}
    sha = hub.add(REPO, files)
    daemons: set[int] = set()
    lock = threading.Lock()

    def watch(_: Progress) -> None:
        with lock:
            daemons.update(children())

    results = fetch(aria2, [want(hub, sha, path, data, world) for path, data in files.items()], watch)
    assert len([arrived(result) for result in results]) == 7
    assert len(daemons) == 1
    assert not children()


def test_a_rate_is_kept(hub: Hub, world: Path) -> None:
    data = BIG[: 3 * MIB]
    url = hub.serve("a.bin", data)
    engine = ENGINES["pool"](dataclasses.replace(QUICK, rate=4 * MIB))
    begun = time.monotonic()
    arrived(fetch(engine, [plain(url, data, world)])[0])
    assert time.monotonic() - begun > 0.6


def _leave_a_partial(hub: Hub, engine: Downloader, item: Wanted) -> None:
    """Stop in the middle: aria2c saves its control file when it is asked to end."""
    hub.rate = 6 * MIB
    reached = threading.Event()
    results = engine.fetch([item, _never(item, reached)], Halfway(reached.set))
    failed(next(results))
    results.close()  # type: ignore[attr-defined]
    hub.rate = None
    assert (item.stage / f"{item.name}.aria2").exists()


def _never(item: Wanted, reached: threading.Event) -> Wanted:
    """A file whose source refuses once `reached` is set: something to wait for."""

    def refuse() -> Located:
        assert reached.wait(20)
        raise DiskError("enough")

    return Wanted("never", 10, Digest("sha256:" + "1" * 64), item.stage, refuse)


def _commands() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.append((entry / "cmdline").read_bytes().decode("utf-8", "replace"))
            except OSError:
                continue
    return found
