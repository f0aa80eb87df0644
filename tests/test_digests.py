"""What is remembered of hashing, what is not, and what becomes of a cache that is damaged or not allowed."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler.digests import Answer, Digests, Question, default_path
from reconciler.state import Digest, ObservedFile, identity_key

OLD = 1_600_000_000_123_456_789


def sha(data: bytes) -> Digest:
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def git(data: bytes) -> Digest:
    return Digest("git-sha1:" + hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest())


def seen(path: Path) -> ObservedFile:
    facts = path.lstat()
    return ObservedFile(path.name, facts.st_size, facts.st_mtime_ns, facts.st_ino, facts.st_dev)


def write(path: Path, data: bytes, mtime_ns: int = OLD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def ask(path: Path, *algorithms: str) -> Question:
    return Question(path, seen(path), algorithms or ("sha256",))  # type: ignore[arg-type]


@pytest.fixture
def cache(world: Path) -> Path:
    return world / "cache/digests.sqlite"


@pytest.mark.parametrize("data", [b"", b"x", b"y" * (1 << 20), b"z" * ((3 << 20) + 1)])
def test_both_digests_of_a_file_come_from_one_reading(world: Path, cache: Path, data: bytes) -> None:
    path = write(world / "a", data)
    with Digests(cache) as digests:
        answer = digests.compute([ask(path, "sha256", "git-sha1")])[path]
    assert answer == Answer({"sha256": sha(data), "git-sha1": git(data)}, "", len(data))


def test_what_was_hashed_is_known_to_the_next_run(world: Path, cache: Path) -> None:
    path = write(world / "a", b"1")
    with Digests(cache) as digests:
        digests.compute([ask(path)])
    with Digests(cache) as digests:
        assert digests.known([seen(path)]) == {identity_key(seen(path)): {"sha256": sha(b"1")}}


def test_two_algorithms_learned_at_two_times_are_both_known(world: Path, cache: Path) -> None:
    path = write(world / "a", b"1")
    for algorithm in ("sha256", "git-sha1"):
        with Digests(cache) as digests:
            digests.compute([ask(path, algorithm)])
    with Digests(cache) as digests:
        assert digests.known([seen(path)])[identity_key(seen(path))] == {"sha256": sha(b"1"), "git-sha1": git(b"1")}


def test_other_bytes_of_the_same_size_are_not_known(world: Path, cache: Path) -> None:
    path = write(world / "a", b"1")
    with Digests(cache) as digests:
        digests.compute([ask(path)])
        write(path, b"2", OLD + 1)
        assert digests.known([seen(path)]) == {}


def test_what_a_later_reading_finds_replaces_what_was_known(world: Path, cache: Path) -> None:
    path = write(world / "a", b"1")
    with Digests(cache) as digests:
        digests.compute([ask(path)])
    path.write_bytes(b"2")
    os.utime(path, ns=(OLD, OLD))  # bit rot does not touch the time
    with Digests(cache) as digests:
        digests.compute([ask(path)])
    with Digests(cache) as digests:
        assert digests.known([seen(path)])[identity_key(seen(path))] == {"sha256": sha(b"2")}


def test_a_plan_with_nothing_to_look_up_opens_no_database(world: Path, cache: Path) -> None:
    with Digests(cache) as digests:
        assert digests.known([]) == {}
        assert digests.known([seen(write(world / "a", b"1"))]) == {}
        assert digests.compute([]) == {}
        digests.forget([seen(world / "a")])
    assert not cache.parent.exists()
    code = "import sys, reconciler.digests; sys.exit('sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_forgotten_is_forgotten(world: Path, cache: Path) -> None:
    path, other = write(world / "a", b"1"), write(world / "b", b"2")
    with Digests(cache) as digests:
        digests.compute([ask(path), ask(other)])
    with Digests(cache) as digests:
        digests.forget([seen(path)])
    with Digests(cache) as digests:
        assert list(digests.known([seen(path), seen(other)])) == [identity_key(seen(other))]


def test_thousands_are_looked_up_in_one_call(cache: Path) -> None:
    files = [ObservedFile(f"f{n}", n, OLD + n, n, 7) for n in range(2500)]
    with Digests(cache) as digests:
        for file in files[::2]:
            digests.learn(file, {"sha256": sha(b"%d" % file.size)})
    with Digests(cache) as digests:
        assert digests.known(files) == {identity_key(f): {"sha256": sha(b"%d" % f.size)} for f in files[::2]}


def test_inodes_and_times_of_64_bits_are_remembered(cache: Path) -> None:
    file = ObservedFile("f", 1, 2**63 + 5, 2**64 - 1, 2**64 - 2)
    with Digests(cache) as digests:
        digests.learn(file, {"sha256": sha(b"1")})
    with Digests(cache) as digests:
        assert digests.known([file])


@pytest.mark.parametrize(
    ("began", "remembered"), [(OLD + 10_000_000, False), (OLD - 10_000_000, False), (OLD + 10**9, True)]
)
def test_a_file_written_just_now_is_answered_and_not_remembered(
    world: Path, cache: Path, began: int, remembered: bool
) -> None:
    path = write(world / "a", b"1")
    with Digests(cache, clock=lambda: began) as digests:
        assert digests.compute([ask(path)])[path].digests == {"sha256": sha(b"1")}
        assert bool(digests.known([seen(path)])) is remembered


def test_where_times_are_whole_seconds_two_seconds_count_as_just_now(world: Path, cache: Path) -> None:
    path = write(world / "a", b"1", 1_600_000_000 * 10**9)
    with Digests(cache, clock=lambda: 1_600_000_001 * 10**9) as digests:
        digests.compute([ask(path)])
        assert digests.known([seen(path)]) == {}


def test_a_file_that_changes_while_it_is_read_is_reported_and_not_remembered(world: Path, cache: Path) -> None:
    path = write(world / "a", b"1" * (40 << 20))

    def touch(question: Question, count: int) -> None:
        with path.open("r+b") as file:
            file.write(b"2")

    with Digests(cache) as digests:
        before = seen(path)
        answer = digests.compute([ask(path)], touch)[path]
        assert (answer.digests, answer.problem) == ({}, "changed while it was read")
        assert digests.known([before, seen(path)]) == {}


def test_a_file_that_grows_while_it_is_read_is_reported(world: Path, cache: Path) -> None:
    path = write(world / "a", b"1" * (17 << 20))

    def grow(question: Question, count: int) -> None:
        if count == 16 << 20:
            with path.open("ab") as file:
                file.write(b"2")

    with Digests(cache) as digests:
        assert "changed" in digests.compute([ask(path)], grow)[path].problem


def test_a_new_hard_link_while_reading_is_no_change(world: Path, cache: Path) -> None:
    path = write(world / "a", b"1" * (17 << 20))

    def link(question: Question, count: int) -> None:
        if not (world / "b").exists():
            (world / "b").hardlink_to(path)

    with Digests(cache) as digests:
        assert digests.compute([ask(path)], link)[path].problem == ""


def test_a_file_that_is_not_the_observed_one_is_reported(world: Path, cache: Path) -> None:
    path = write(world / "a", b"1")
    question = ask(path)
    write(path, b"2", OLD + 1)
    with Digests(cache) as digests:
        assert digests.compute([question])[path].problem == "changed since it was looked at"


def test_what_cannot_be_read_is_an_answer_and_the_rest_goes_on(world: Path, cache: Path) -> None:
    gone, good = write(world / "gone", b"1"), write(world / "good", b"2")
    pipe, link = write(world / "pipe", b"3"), write(world / "link", b"4")
    questions = [ask(path) for path in (gone, pipe, link, good)]
    gone.unlink()
    pipe.unlink()
    os.mkfifo(pipe)
    link.unlink()
    link.symlink_to(good)
    with Digests(cache) as digests:
        answers = digests.compute(questions)
    assert answers[good].problem == ""
    assert answers[gone].problem == "No such file or directory"
    assert answers[pipe].problem == "not a regular file any more"
    assert answers[link].problem


def test_two_names_of_one_inode_are_read_once(world: Path, cache: Path) -> None:
    one = write(world / "one", b"1" * 1000)
    two = world / "two"
    two.hardlink_to(one)
    with Digests(cache) as digests:
        answers = digests.compute([ask(one, "sha256"), ask(two, "git-sha1")])
    assert answers[one].digests == answers[two].digests == {"sha256": sha(b"1" * 1000), "git-sha1": git(b"1" * 1000)}
    assert sorted(answer.bytes_read for answer in answers.values()) == [0, 1000]


def test_the_other_name_of_an_inode_is_read_when_the_first_is_gone(world: Path, cache: Path) -> None:
    one = write(world / "one", b"1")
    two = world / "two"
    two.hardlink_to(one)
    questions = [ask(one), ask(two)]
    one.unlink()
    with Digests(cache) as digests:
        answers = digests.compute(questions)
    assert answers[one].problem
    assert answers[two].digests == {"sha256": sha(b"1")}


def test_the_watcher_is_told_every_byte_once(world: Path, cache: Path) -> None:
    paths = [write(world / f"f{n}", b"x" * (n * (9 << 20))) for n in range(4)]
    counts = dict.fromkeys(paths, 0)

    def count(question: Question, read: int) -> None:
        counts[question.path] += read

    with Digests(cache) as digests:
        digests.compute([ask(path) for path in paths], count)
    assert counts == {path: path.stat().st_size for path in paths}


def test_an_interruption_ends_the_reading_and_leaks_no_descriptor(world: Path, cache: Path) -> None:
    paths = [write(world / f"f{n}", b"x" * (17 << 20)) for n in range(4)]

    def interrupt(question: Question, read: int) -> None:
        raise KeyboardInterrupt

    before = len(os.listdir("/proc/self/fd"))
    with Digests(cache) as digests, pytest.raises(KeyboardInterrupt):
        digests.compute([ask(path) for path in paths], interrupt)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("junk", [b"", b"not a database at all" * 100, b"SQLite format 3\0" + b"\0" * 4000])
def test_a_damaged_cache_is_set_aside_and_begun_anew(world: Path, cache: Path, junk: bytes) -> None:
    write(cache, junk)
    path = write(world / "a", b"1")
    with Digests(cache) as digests:
        digests.compute([ask(path)])
        assert bool(digests.warnings) is bool(junk)
    with Digests(cache) as digests:
        assert digests.known([seen(path)])
        assert digests.warnings == ()
    assert cache.with_name("digests.sqlite.damaged").exists() is bool(junk)


def test_a_cache_that_is_torn_in_the_middle_never_raises(world: Path, cache: Path) -> None:
    files = [ObservedFile(f"f{n}", n, OLD + n, n, 7) for n in range(500)]
    with Digests(cache) as digests:
        for file in files:
            digests.learn(file, {"sha256": sha(b"%d" % file.size)})
    whole = cache.read_bytes()
    for cut in range(0, len(whole), 1021):
        cache.write_bytes(whole[:cut] + b"\xff" * min(700, len(whole) - cut))
        with Digests(cache) as digests:
            for key, known in digests.known(files).items():
                assert known == {"sha256": sha(b"%d" % key[2])}


def test_a_row_that_holds_no_digest_is_not_believed(world: Path, cache: Path) -> None:
    file = seen(write(world / "a", b"1"))
    with Digests(cache) as digests:
        digests.learn(file, {"sha256": sha(b"1")})
    with sqlite3.connect(cache) as link:
        link.execute("UPDATE digest SET sha256 = '../../etc/passwd'")
    link.close()
    with Digests(cache) as digests:
        assert digests.known([file]) == {}


def test_a_cache_that_cannot_be_made_is_done_without(world: Path) -> None:
    path = write(world / "a", b"1")
    with Digests(write(world / "file", b"") / "below/digests.sqlite") as digests:
        assert digests.compute([ask(path)])[path].digests == {"sha256": sha(b"1")}
        assert digests.known([seen(path)])  # in this run at least
        assert "done without" in digests.warnings[0]


def test_a_cache_of_a_newer_release_is_left_alone(world: Path, cache: Path) -> None:
    cache.parent.mkdir()
    with sqlite3.connect(cache) as link:
        link.execute("PRAGMA user_version = 99")
    link.close()
    before = cache.read_bytes()
    path = write(world / "a", b"1")
    with Digests(cache) as digests:
        assert digests.compute([ask(path)])[path].digests
        assert "99" in digests.warnings[0]
    assert cache.read_bytes() == before


def test_two_runs_share_one_cache(world: Path, cache: Path) -> None:
    one, two = write(world / "one", b"1"), write(world / "two", b"2")
    with Digests(cache) as first, Digests(cache) as second:
        first.compute([ask(one)])
        second.compute([ask(two)])
        assert first.known([seen(two)])
        assert second.known([seen(one)])


def test_threads_share_one_cache_and_lose_nothing(world: Path, cache: Path) -> None:
    paths = [write(world / f"f{n}", b"%d" % n) for n in range(24)]

    def use(path: Path) -> bool:
        digests.compute([ask(path)])
        return bool(digests.known([seen(path)]))

    with Digests(cache) as digests, ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, paths))
        assert digests.warnings == ()
    with Digests(cache) as digests:
        assert len(digests.known(map(seen, paths))) == 24


def test_the_cache_lies_where_the_desktop_keeps_caches(monkeypatch: pytest.MonkeyPatch, world: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(world))
    assert default_path() == world / "reconciler/digests.sqlite"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(world))
    assert default_path() == world / ".cache/reconciler/digests.sqlite"
