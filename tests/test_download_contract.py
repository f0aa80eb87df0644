"""Every engine keeps the same promises: right bytes under the staged name or a clear error, whatever servers do."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import urllib.request
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
    git_sha1,
    names,
    plain,
    want,
)  # fmt: skip

from reconciler.download import Downloader, Progress
from reconciler.download.engine import WithPool
from reconciler.download.partial import RESUME
from reconciler.download.program import find_aria2c
from reconciler.errors import AccessError, DigestError, NotFoundError, RateLimitedError, TransferError
from reconciler.hub.server import Hub

BIG = content(6 * MIB)


@pytest.fixture
def hub():
    with Hub(token=TOKEN) as hub:
        yield hub


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> Downloader:
    return ENGINES[request.param](QUICK)


@pytest.fixture(params=["aria2", "pool"])
def own(request: pytest.FixtureRequest) -> Downloader:
    """The engines whose retries are ours."""
    return ENGINES[request.param](QUICK)


def test_files_of_every_size_arrive_under_the_name_of_their_digest(hub: Hub, engine: Downloader, world: Path) -> None:
    files = {
        "a.safetensors": BIG,
        "b.bin": content(300, 2),
        "c.json": b"{}\n",
        "empty.txt": b"",
        "d.bin": content(256 * 1024, 3),
    }
    sha = hub.add(REPO, files)
    wanted = [want(hub, sha, path, data, world) for path, data in files.items()]
    wanted[2] = want(hub, sha, "c.json", files["c.json"], world, digest=git_sha1(files["c.json"]))

    results = [arrived(result) for result in fetch(engine, wanted)]

    assert {result.wanted.key for result in results} == {item.key for item in wanted}
    for result in results:
        assert result.path == world / result.wanted.name
        assert result.path.read_bytes() == files[result.wanted.key.removeprefix("model: ")]
        assert "." not in result.path.name
    assert names(world) == sorted(item.name for item in wanted), "nothing else is left in the stage"
    assert sum(result.received for result in results) == sum(map(len, files.values()))


def test_the_same_bytes_wanted_twice_come_once_for_both(hub: Hub, engine: Downloader, world: Path) -> None:
    sha = hub.add(REPO, {"a.bin": BIG, "b.bin": BIG})
    results = fetch(engine, [want(hub, sha, "a.bin", BIG, world), want(hub, sha, "b.bin", BIG, world)])

    assert sorted(arrived(result).wanted.key for result in results) == ["model: a.bin", "model: b.bin"]
    assert not [request for request in hub.requests if "b.bin" in request.path]


def test_a_file_that_was_staged_before_is_verified_and_not_fetched(hub: Hub, engine: Downloader, world: Path) -> None:
    sha = hub.add(REPO, {"a.bin": BIG})
    item = want(hub, sha, "a.bin", BIG, world)
    (world / item.name).write_bytes(BIG)

    assert arrived(fetch(engine, [item])[0]).received == 0
    assert hub.bytes_served() == 0


def test_a_staged_file_with_other_bytes_of_the_same_size_is_fetched_again(
    hub: Hub, engine: Downloader, world: Path
) -> None:
    sha = hub.add(REPO, {"a.bin": BIG})
    item = want(hub, sha, "a.bin", BIG, world)
    (world / item.name).write_bytes(content(len(BIG), 9))

    assert arrived(fetch(engine, [item])[0]).path.read_bytes() == BIG


def test_control_plain_aria2c_takes_a_stale_file_of_the_same_size_for_the_new_one(hub: Hub, world: Path) -> None:
    url = hub.serve("a.bin", BIG)
    (world / "a").write_bytes(content(len(BIG), 9))
    assert _plain_aria2c(url, world, "a") == 0
    assert (world / "a").read_bytes() != BIG


ONCE = [
    ("truncate", {}), ("truncate", {"declare": False}), ("corrupt", {}), ("html", {}), ("reset", {}),
    ("reset", {"after": 2 * MIB}), ("stall", {}), ("drip", {"after": 100_000}), ("expire", {}),
    ("no_range", {}), ("wrong_range", {}), ("endless", {"limit": 64 * MIB}), ("wrong_length", {}),
    ("status", {"code": 503}), ("status", {"code": 500}), ("status", {"code": 429, "retry_after": 0}),
    ("status", {"code": 503, "retry_after": 1}),
]  # fmt: skip


@pytest.mark.faults
@pytest.mark.parametrize(("kind", "settings"), ONCE, ids=str)
def test_a_fault_that_passes_ends_in_the_right_bytes(
    hub: Hub, own: Downloader, world: Path, kind: str, settings: dict
) -> None:
    sha = hub.add(REPO, {"a.bin": BIG})
    # The fault strikes the bytes, not the look at the first of them.
    skip = 1 if own.name.startswith("aria2c") and kind not in ("corrupt", "expire", "no_range", "wrong_range") else 0
    hub.fault(kind, times=1, skip=skip, **settings)

    result = arrived(fetch(own, [want(hub, sha, "a.bin", BIG, world)])[0])

    assert hub.faults_served == 1 or kind in ("no_range", "wrong_range")
    assert result.path.read_bytes() == BIG
    assert names(world) == [result.wanted.name]


SILENT = [("html", {}), ("truncate", {"declare": False}), ("corrupt", {})]

LASTING = [
    ("truncate", {}), ("truncate", {"declare": False}), ("corrupt", {}), ("html", {}), ("reset", {}),
    ("stall", {"after": 10}),
    ("drip", {}), ("wrong_length", {}), ("status", {"code": 503}), ("status", {"code": 403}), ("status", {"code": 404}),
    ("status", {"code": 429, "retry_after": 3600}), ("endless", {"limit": 64 * MIB}),
]  # fmt: skip


@pytest.mark.faults
@pytest.mark.parametrize(("kind", "settings"), LASTING, ids=str)
def test_a_fault_that_lasts_ends_in_an_error_and_never_in_a_staged_file(
    hub: Hub, own: Downloader, world: Path, kind: str, settings: dict
) -> None:
    limits = dataclasses.replace(QUICK, retries=1, stall=0.6, read_timeout=1, patience=6)
    own = dataclasses.replace(own, limits=limits)  # type: ignore[type-var]
    data = BIG[: MIB + 5]
    sha = hub.add(REPO, {"a.bin": data, "good.bin": BIG[:1000]})
    hub.fault(kind, times=-1, path="a.bin", **settings)
    item = want(hub, sha, "a.bin", data, world)

    wanted = [item, want(hub, sha, "good.bin", BIG[:1000], world)]
    results = {result.wanted.key: result for result in fetch(own, wanted)}

    failure = failed(results[item.key])
    arrived(results["model: good.bin"])
    assert not (world / item.name).exists() or (world / (item.name + ".aria2")).exists(), "at most a marked partial"
    expected = {
        ("corrupt", None): DigestError, ("html", None): DigestError, ("status", 403): AccessError,
        ("status", 404): NotFoundError, ("status", 429): RateLimitedError,
    }  # fmt: skip
    assert isinstance(failure.error, expected.get((kind, settings.get("code")), TransferError))
    problem = failure.error.problems[0]
    assert problem.where
    assert problem.hint
    if kind == "corrupt":
        assert item.digest in problem.summary
        assert problem.summary.count("sha256:") == 2
    if kind == "html":
        assert "web page" in problem.summary
        assert "licence" in problem.hint


@pytest.mark.parametrize(("size", "kept"), [(RESUME - 1, False), (RESUME, True)])
def test_that_partial_files_are_kept_is_said_of_those_that_are(hub: Hub, world: Path, size: int, kept: bool) -> None:
    data = content(size)
    sha = hub.add(REPO, {"a.bin": data})
    hub.fault("status", times=-1, path="a.bin", code=500)

    [result] = fetch(WithPool(dataclasses.replace(QUICK, retries=1)), [want(hub, sha, "a.bin", data, world)])

    assert ("partial files are kept" in failed(result).error.problems[0].hint) is kept


@pytest.mark.faults
@pytest.mark.parametrize(
    ("kind", "settings"), [("html", {}), ("truncate", {"declare": False}), ("corrupt", {})], ids=str
)
def test_control_plain_aria2c_reports_success_for_wrong_bytes(hub: Hub, world: Path, kind: str, settings: dict) -> None:
    data = BIG[:MIB]
    url = hub.serve("a.bin", data)
    hub.fault(kind, times=-1, **settings)
    assert _plain_aria2c(url, world, "a", "--split=1") == 0
    assert (world / "a").read_bytes() != data


@pytest.mark.faults
@pytest.mark.parametrize(
    ("kind", "settings"), [("html", {}), ("truncate", {"declare": False}), ("corrupt", {})], ids=str
)
def test_control_a_plain_download_in_python_keeps_wrong_bytes(hub: Hub, world: Path, kind: str, settings: dict) -> None:
    data = BIG[:MIB]
    url = hub.serve("a.bin", data)
    hub.fault(kind, times=1, **settings)
    with urllib.request.urlopen(url) as answer, open(world / "a", "wb") as file:
        shutil.copyfileobj(answer, file)
    assert (world / "a").read_bytes() != data


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["truncate", "corrupt", "reset"])
def test_huggingface_hub_brings_right_bytes_or_none(hub: Hub, world: Path, kind: str) -> None:
    sha = hub.add(REPO, {"a.bin": BIG})
    hub.fault(kind, times=1)
    result = arrived(fetch(ENGINES["hub_client"](QUICK), [want(hub, sha, "a.bin", BIG, world)])[0])
    assert result.path.read_bytes() == BIG
    assert names(world) == [result.wanted.name]


@pytest.mark.faults
def test_huggingface_hub_names_both_digests_when_upstream_changed(hub: Hub, world: Path) -> None:
    sha = hub.add(REPO, {"a.bin": BIG})
    item = dataclasses.replace(want(hub, sha, "a.bin", BIG, world), digest="sha256:" + "0" * 64)
    failure = failed(fetch(ENGINES["hub_client"](QUICK), [item])[0])
    assert isinstance(failure.error, DigestError)
    assert names(world) == []


@pytest.mark.faults
def test_a_version_that_changes_in_the_middle_is_never_mixed(hub: Hub, own: Downloader, world: Path) -> None:
    sha = hub.add(REPO, {"a.bin": BIG})
    hub.fault("etag_change", times=-1)
    item = want(hub, sha, "a.bin", BIG, world)
    failure = failed(fetch(own, [item])[0])
    assert isinstance(failure.error, TransferError)
    assert not (world / item.name).exists() or (world / (item.name + ".aria2")).exists()

    hub.clear_faults()
    assert arrived(fetch(own, [item])[0]).path.read_bytes() == BIG


def test_a_locked_size_that_upstream_does_not_offer_is_an_error_before_it_starts(
    hub: Hub, own: Downloader, world: Path
) -> None:
    sha = hub.add(REPO, {"a.bin": BIG})
    item = dataclasses.replace(want(hub, sha, "a.bin", BIG, world), size=len(BIG) - 1)
    failure = failed(fetch(own, [item])[0])
    assert f"{len(BIG):,}" in str(failure.error)
    assert hub.bytes_served("cdn") < len(BIG) * 3
    assert not (world / item.name).exists()


def test_a_pointer_instead_of_weights_is_told_as_such(hub: Hub, own: Downloader, world: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 6291456\n"
    url = hub.serve("a.bin", pointer)
    failure = failed(fetch(own, [dataclasses.replace(plain(url, BIG, world), stage=world)])[0])
    assert "Git LFS pointer" in str(failure.error) or f"found {len(pointer)}" in str(failure.error)


def test_progress_grows_to_the_whole_and_ends_done(hub: Hub, engine: Downloader, world: Path) -> None:
    sha = hub.add(REPO, {"a.bin": BIG})
    seen: list[Progress] = []
    fetch(engine, [want(hub, sha, "a.bin", BIG, world)], seen.append)
    assert [step.done for step in seen] == sorted(step.done for step in seen)
    assert seen[-1].phase == "done"
    assert (seen[-1].done, seen[-1].size) == (len(BIG), len(BIG))
    assert len(seen) <= 4 + 10 * 10


def test_a_watcher_that_raises_ends_the_download_with_its_error(hub: Hub, engine: Downloader, world: Path) -> None:
    sha = hub.add(REPO, {"a.bin": BIG})

    def watch(step: Progress) -> None:
        raise RuntimeError("the terminal is gone")

    with pytest.raises(RuntimeError, match="terminal"):
        fetch(engine, [want(hub, sha, "a.bin", BIG, world)], watch)


def test_closing_the_iterator_early_ends_everything_and_keeps_what_came(hub: Hub, own: Downloader, world: Path) -> None:
    sha = hub.add(REPO, {"a.bin": BIG, "b.bin": b"x"})
    hub.fault("stall", times=-1, path="a.bin", after=3 * MIB)
    results = own.fetch([want(hub, sha, "a.bin", BIG, world), want(hub, sha, "b.bin", b"x", world)], lambda _: None)
    assert arrived(next(results)).wanted.key == "model: b.bin"
    results.close()  # type: ignore[attr-defined]
    assert not _children(), "no orphan"


def test_a_source_that_refuses_is_that_files_error_alone(hub: Hub, own: Downloader, world: Path) -> None:
    sha = hub.add(REPO, {"a.bin": BIG})

    def no():
        raise AccessError("gated", where="acme/gated", hint="ask for access")

    item = dataclasses.replace(want(hub, sha, "a.bin", BIG, world), locate=no, key="gated")
    other = plain(hub.serve("b.bin", BIG[:300_000]), BIG[:300_000], world)
    results = {result.wanted.key: result for result in fetch(own, [item, other])}
    assert isinstance(failed(results["gated"]).error, AccessError)
    arrived(results["file"])


def _children() -> list[str]:
    """The aria2c processes whose parent we are, by the kernel's own listing (proc(5), stat and cmdline)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = process.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            command = process.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended meanwhile
            continue
        if parent == str(os.getpid()) and "aria2c" in command:
            found.append(command)
    return found


def _plain_aria2c(url: str, directory: Path, name: str, *options: str) -> int:
    program = find_aria2c()
    assert program is not None
    command = [str(program.path), "--no-conf", "-q", "-c", f"--dir={directory}", f"--out={name}", *options, url]
    return subprocess.run(command, timeout=30, check=False).returncode
