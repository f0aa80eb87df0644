"""The small parts of the download engine: waiting, telling, finding aria2c, redirects, bitfields, control files."""

from __future__ import annotations

import dataclasses
import os
import struct
import sys
import threading
import time
from pathlib import Path

import pytest
from download_kit import BIG_ENOUGH, ENGINES, MIB, QUICK, arrived, content, failed, fetch, plain, sha256
from hypothesis import given
from hypothesis import strategies as st

from reconciler import download
from reconciler.download import Limits, Located, Progress, Wanted, find_aria2c, open_downloader, staged, verify
from reconciler.download.aria2 import connections
from reconciler.download.engine import share_of_rate
from reconciler.download.prefix import leading_bytes
from reconciler.download.program import Aria2c, parse_version
from reconciler.download.retry import Budget, backoff, expiry, rate_limit_reset, renewal, retry_after
from reconciler.download.stream import continues
from reconciler.download.watch import Teller
from reconciler.download.wire import check_url, origin, proxy_for
from reconciler.errors import InputError, TransferError
from reconciler.hub.server import Hub

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("1", 1), ("3600", 3600), ("-5", None), ("", None), ("soon", None), ("Fri, 15 Jan 2027 08:00:30 GMT", 30),
     ("Fri, 15 Jan 2027 07:00:00 GMT", 0), ("9" * 30, None), ("1e3", None)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date_or_nothing(value: str, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.text())
def test_no_header_breaks_the_reading_of_one(value: str) -> None:
    assert (retry_after(value, NOW) or 0) >= 0
    assert (rate_limit_reset(value) or 1) >= 1
    assert continues(value, 1, 2) in (True, False)


def test_the_hub_tells_when_its_window_ends() -> None:
    assert rate_limit_reset('"api";r=0;t=55') == 56
    assert rate_limit_reset('"resolvers";r=2998;t=172') is None


def test_signed_addresses_tell_when_they_end() -> None:
    assert expiry("https://cdn/x?Expires=1800000000&Signature=s") == 1_800_000_000
    assert expiry("https://s3/x?X-Amz-Date=20270115T080000Z&X-Amz-Expires=3600") == NOW + 3600
    assert expiry("https://s3/x?X-Amz-Date=rubbish&X-Amz-Expires=3600") is None
    assert expiry("https://huggingface.co/x") is None
    assert renewal(NOW + 100, NOW) == NOW + 70
    assert renewal(None, NOW) is None


def test_a_budget_is_spent_by_failures_and_filled_by_progress() -> None:
    limits = dataclasses.replace(QUICK, retries=2, patience=100)
    budget = Budget(limits, 0)
    assert budget.wait(1) is not None
    assert budget.wait(2) is not None
    assert budget.wait(3) is None
    budget.progress(4)
    assert budget.wait(5) is not None


def test_a_server_may_ask_us_to_wait_up_to_our_patience() -> None:
    budget = Budget(dataclasses.replace(QUICK, retries=1, patience=100), 0)
    for second in range(9):
        assert budget.wait(second * 10, 10, counts=False) == 10
    assert budget.wait(95, 10, counts=False) is None


def test_waits_double_and_are_jittered() -> None:
    limits = Limits(backoff=1, slowest=8)
    for failures, ceiling in [(1, 1), (2, 2), (3, 4), (4, 8), (9, 8)]:
        assert ceiling / 2 <= backoff(failures, limits) <= ceiling


@pytest.mark.parametrize(
    ("bitfield", "size", "whole"),
    [("", 100, 0), ("00", 100, 0), ("80", 100, 10), ("c0", 100, 20), ("e0", 100, 30), ("f0", 100, 40), ("f8", 100, 50),
     ("ffc0", 95, 95), ("7f", 100, 0), ("fbff", 100, 50)],
)  # fmt: skip
def test_only_whole_pieces_from_the_beginning_count(bitfield: str, size: int, whole: int) -> None:
    assert leading_bytes(bitfield, 10, size) == whole


@given(st.lists(st.booleans(), min_size=1, max_size=64))
def test_the_bitfield_is_read_as_its_bits(bits: list[bool]) -> None:
    padded = [*bits, *[False] * (-len(bits) % 8)]
    text = bytes(
        sum(bit << (7 - i) for i, bit in enumerate(padded[at : at + 8])) for at in range(0, len(padded), 8)
    ).hex()
    assert leading_bytes(text, 1, len(bits)) == next((i for i, bit in enumerate(bits) if not bit), len(bits))


def test_a_control_file_tells_its_size_and_what_is_there(world: Path) -> None:
    control = world / "c"
    bits = bytes([0b11000000])
    pieces = struct.pack(">IQQI", 1024 * 1024, 3 * MIB, 0, 1) + bits
    under_way = struct.pack(">I", 1) + struct.pack(">III", 2, MIB, 8) + b"\xff" + bytes(7)
    control.write_bytes(struct.pack(">H4sI", 1, bytes(4), 0) + pieces + under_way)
    assert staged.read_control(control) == (3 * MIB, 2 * MIB + 8 * 16384)
    for length in range(len(control.read_bytes())):
        control.write_bytes((struct.pack(">H4sI", 1, bytes(4), 0) + pieces + under_way)[:length])
        assert staged.read_control(control) is None


def test_the_last_piece_of_a_control_file_counts_what_is_left_of_the_file(world: Path) -> None:
    control = world / "c"
    pieces = struct.pack(">IQQI", MIB, 2 * MIB + 5, 0, 1) + bytes([0b00100000])
    control.write_bytes(struct.pack(">H4sI", 1, bytes(4), 0) + pieces + struct.pack(">I", 0))
    assert staged.read_control(control) == (2 * MIB + 5, 5)


@given(st.binary(max_size=200))
def test_no_control_file_breaks_the_reading_of_one(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "control"
    path.write_bytes(data)
    found = staged.read_control(path)
    assert found is None or 0 <= found.done <= found.total


def test_few_files_share_the_connections_of_many() -> None:
    assert connections(Limits(), 1) == 16
    assert connections(Limits(), 4) == connections(Limits(), 100) == 8
    assert connections(Limits(connections_per_file=1), 1) == 1
    assert connections(Limits(connections_per_host=4), 4) == 1


def test_a_rate_is_shared_by_what_there_is_to_bring() -> None:
    assert share_of_rate(None, 1, 2) is None
    assert share_of_rate(1000, 5, 5) == 1000
    assert share_of_rate(1000, 1, 2) == 500
    assert share_of_rate(1000, 1, 1000) == 100
    assert share_of_rate(1000, 999, 1000) == 900


def test_web_pages_and_pointers_are_known_by_their_first_bytes() -> None:
    assert verify.disguise(b"\xef\xbb\xbf\n <!DOCTYPE HTML><html>")
    assert verify.disguise(b"version https://git-lfs.github.com/spec/v1\noid sha256:")
    assert verify.disguise(b"GGUF\x03\0\0\0") is None
    assert verify.disguise(b"") is None


def test_progress_is_told_ten_times_a_second_and_at_every_change() -> None:
    seen: list[Progress] = []
    teller = Teller(seen.append)
    item = Wanted("k", 10, sha256(b""), Path("/nowhere"), lambda: Located(""))
    for done in range(1000):
        teller.tell(item, done, 0, "downloading")
    teller.tell(item, 10, 0, "done")
    assert len(seen) <= 4
    assert seen[-1].phase == "done"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("aria2 version 1.37.0\nCopyright", (1, 37, 0)),
        ("aria2 version 1.36", (1, 36)),
        ("aria2 version", None),
        ("x", None),
    ],
)
def test_the_version_of_aria2c_is_read(text: str, version: tuple[int, ...] | None) -> None:
    assert parse_version(text) == version


def test_an_old_aria2c_is_found_and_not_used(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version, usable in (("1.35.0", False), ("1.36.0", True)):
        program = world / version / "aria2c"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho aria2 version {version}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
        monkeypatch.setattr("reconciler.download.program._packaged", lambda: None)
        monkeypatch.setattr(sys, "executable", str(world / "python"))
        found = find_aria2c()
        assert found is not None
        assert (found.usable, str(found), found.origin) == (usable, f"aria2c {version}", "PATH")


def test_without_aria2c_the_name_says_so_and_everything_arrives(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Aria2c(Path("/old/aria2c"), (1, 19), "PATH")
    data = content(BIG_ENOUGH)
    with Hub() as hub:
        item = plain(hub.serve("a.bin", data), data, world)
        for found, words in ((None, "no aria2c here"), (old, "aria2c 1.19 is older than 1.36")):
            monkeypatch.setattr("reconciler.download.program.find_aria2c", lambda named=None, found=found: found)
            with open_downloader(QUICK) as downloader:
                assert words in downloader.name
                assert downloader.name.startswith("huggingface_hub")
                arrived(fetch(downloader, [item])[0])


def test_the_found_aria2c_gives_the_downloader_its_name() -> None:
    with open_downloader(QUICK) as downloader:
        assert downloader.name == str(find_aria2c())
        assert list(downloader.fetch([], lambda _: None)) == []


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "http://", "http://u:p@h/", "http://h/a b", "http://h/\n", "http://h:x/", "http://h/é"]
)
def test_what_is_no_address_is_not_asked(url: str) -> None:
    with pytest.raises(TransferError):
        check_url(url)


def test_a_port_makes_another_origin() -> None:
    assert origin("https://HF.co/x") == origin("https://hf.co:443/y")
    assert origin("https://hf.co") != origin("http://hf.co")
    assert origin("http://hf.co") != origin("http://hf.co:8080")


def test_a_token_does_not_follow_a_redirect_to_another_origin(world: Path) -> None:
    data = content(1000)
    with Hub() as hub, Hub() as other:
        hub.redirect("a.bin", other.serve("b.bin", data))
        url = f"{hub.cdn_url}/a.bin"
        secret = {"Authorization": "Bearer hf_CANARY"}
        item = dataclasses.replace(
            plain(url, data, world), locate=lambda: Located(hub.redirect("a.bin", other.serve("b.bin", data)), secret)
        )
        arrived(fetch(ENGINES["pool"](QUICK), [item])[0])
        assert [request.headers.get("authorization") for request in hub.requests] == ["Bearer hf_CANARY"]
        assert [request.headers.get("authorization") for request in other.requests] == [None]


def test_a_redirect_that_never_ends_or_leaves_http_is_refused(world: Path) -> None:
    with Hub() as hub:
        loop = hub.redirect("loop", "loop")
        elsewhere = hub.redirect("file", "file:///etc/passwd")
        for url in (loop, elsewhere):
            failure = failed(fetch(ENGINES["pool"](QUICK), [plain(url, b"x", world)])[0])
            assert isinstance(failure.error, TransferError)


def test_the_environment_names_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "intranet")
    assert proxy_for("https://hf.co/x") == "http://proxy:3128"
    assert proxy_for("http://hf.co/x") is None
    assert proxy_for("https://intranet/x") is None


def test_a_file_of_this_machine_is_copied(world: Path) -> None:
    data = content(BIG_ENOUGH)
    there = world / "there ä.bin"
    there.write_bytes(data)
    stage = world / "stage"
    stage.mkdir()
    for engine in ENGINES.values():
        result = arrived(fetch(engine(QUICK), [plain(there.as_uri(), data, stage, shareable=False)])[0])
        assert result.path.read_bytes() == data
        assert result.received == 0
        result.path.unlink()


def test_threads_and_descriptors_do_not_pile_up(world: Path) -> None:
    data = content(BIG_ENOUGH)
    with Hub() as hub:
        item = plain(hub.serve("a.bin", data), data, world)
        before: tuple[int, int] | None = None
        for _ in range(4):
            for engine in (ENGINES["aria2"], ENGINES["pool"]):
                arrived(fetch(engine(QUICK), [item])[0]).path.unlink()
            deadline = time.monotonic() + 10
            while True:  # the hub notices closed connections in threads of its own
                now = (_own_threads(), len(os.listdir("/proc/self/fd")))
                if before is None or now <= before or time.monotonic() > deadline:
                    break
                time.sleep(0.01)
            before = before or now
            assert now[0] <= before[0]


def _own_threads() -> int:
    return sum(thread.name.startswith("download") for thread in threading.enumerate())


def test_the_door_imports_nothing_heavy() -> None:
    import subprocess

    code = """import sys, reconciler.download
print([name for name in ('aria2p', 'huggingface_hub', 'urllib3', 'ssl') if name in sys.modules])"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
    assert download.__all__


def test_a_downloader_that_was_chosen_is_used_or_refused_in_words(world: Path) -> None:
    with open_downloader(QUICK, choice="huggingface_hub") as downloader:
        assert downloader.name.startswith("huggingface_hub")
    with pytest.raises(InputError, match="there is no /nowhere/aria2c here"), open_downloader(aria2c="/nowhere/aria2c"):
        pass
    real = find_aria2c()
    assert real is not None
    with open_downloader(QUICK, choice="aria2c", aria2c=str(real.path)) as downloader:
        assert downloader.name.startswith("aria2c")
