"""Full, read-only, limited disks; small files replaced atomically; the lock."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_kit import killed_at_every_call

from reconciler.disk import exclusive_lock, holder_of, write_atomic
from reconciler.errors import BusyError, DiskError


def test_a_small_file_is_replaced_and_keeps_its_mode(world: Path) -> None:
    path = world / "file"
    write_atomic(path, b"one", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    write_atomic(path, b"two")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o600)
    assert os.listdir(world) == ["file"]


def test_a_link_at_its_name_is_replaced_not_followed(world: Path) -> None:
    (world / "victim").write_bytes(b"theirs")
    (world / "file").symlink_to("victim")
    write_atomic(world / "file", b"ours")
    assert (world / "victim").read_bytes() == b"theirs"
    assert (world / "file").read_bytes() == b"ours"


@pytest.mark.faults
def test_killed_at_every_call_a_small_file_is_old_or_new_and_debris_is_swept(world: Path) -> None:
    path = world / "file"
    path.write_bytes(b"old")
    for _ in killed_at_every_call(lambda: write_atomic(path, b"new"), lambda: None):
        assert path.read_bytes() in (b"old", b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(world) == ["file"]


@pytest.fixture
def at_most_1000_bytes() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.faults
def test_a_file_that_may_not_grow_leaves_the_old_one(world: Path, at_most_1000_bytes: None) -> None:
    write_atomic(world / "file", b"old")
    with pytest.raises(DiskError, match="larger than"):
        write_atomic(world / "file", b"x" * 2000)
    assert (world / "file").read_bytes() == b"old"
    assert os.listdir(world) == ["file"]


_FULL = """
import os, subprocess, sys
from pathlib import Path
from reconciler.disk import Root, clone_or_copy, write_atomic
from reconciler.errors import DiskError
disk = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=True)
print("MOUNTED", flush=True)
write_atomic(disk / "file", b"old")
source = os.open(sys.argv[2], os.O_RDONLY)
with Root.open(disk) as root:
    for verb in (
        lambda: write_atomic(disk / "file", b"x" * 1_000_000),
        lambda: root.write("file", b"x" * 1_000_000),
        lambda: clone_or_copy(source, root, "copy"),
    ):
        try:
            verb()
        except DiskError as error:
            print(error)
        assert os.listdir(disk) == ["file"] and (disk / "file").read_bytes() == b"old"
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for verb in (lambda: write_atomic(disk / "file", b"x"), lambda: root.mkdirs("a"), lambda: root.unlink("file")):
        try:
            verb()
        except DiskError as error:
            print(error)
    assert (disk / "file").read_bytes() == b"old"
"""


@pytest.mark.faults
def test_a_full_and_a_read_only_disk_are_told_and_change_nothing(world: Path) -> None:
    (world / "disk").mkdir()
    (world / "source").write_bytes(b"s" * 1_000_000)
    arguments = [sys.executable, "-c", _FULL, str(world / "disk"), str(world / "source")]
    try:
        done = subprocess.run(["unshare", "-Urm", *arguments], capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if "MOUNTED" not in done.stdout:
        pytest.skip("no mounts of our own here")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the disk is full (") == 3
    assert done.stdout.count(" needed, ") == 3
    assert done.stdout.count("the file system is read-only") == 3


def test_a_second_holder_is_told_who_the_first_is(world: Path) -> None:
    with exclusive_lock(world / "deep/lock", holder="reconciler apply") as fd:
        assert not os.get_inheritable(fd)
        with pytest.raises(BusyError, match=f"`reconciler apply`, process {os.getpid()} on .* since") as caught:
            exclusive_lock(world / "deep/lock", holder="other").__enter__()
        assert caught.value.exit_code == 6
    assert holder_of(world / "deep/lock")["command"] == "reconciler apply"
    with exclusive_lock(world / "deep/lock", holder="next"):
        pass


def test_the_kernel_gives_the_lock_back_when_its_holder_is_killed(world: Path) -> None:
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        with exclusive_lock(world / "lock", holder="doomed"):
            os.write(tell, b"x")
            signal.pause()
    os.read(ready, 1)
    with pytest.raises(BusyError, match="doomed"), exclusive_lock(world / "lock", holder="early"):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with exclusive_lock(world / "lock", holder="heir"):
        assert holder_of(world / "lock")["command"] == "heir"


def test_a_pid_file_would_have_stayed(world: Path) -> None:
    child = os.fork()
    if child == 0:
        fd = os.open(world / "naive.pid", os.O_CREAT | os.O_EXCL)
        os.kill(os.getpid(), signal.SIGKILL)
        os.close(fd)
    os.waitpid(child, 0)
    with pytest.raises(FileExistsError):
        os.open(world / "naive.pid", os.O_CREAT | os.O_EXCL)


def test_a_child_that_was_given_the_lock_keeps_it(world: Path) -> None:
    with exclusive_lock(world / "lock", holder="parent") as fd:
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[fd])
    with pytest.raises(BusyError), exclusive_lock(world / "lock", holder="early"):
        pass
    child.communicate()
    with exclusive_lock(world / "lock", holder="late"):
        pass


def test_a_lock_file_that_says_nonsense_still_locks(world: Path) -> None:
    (world / "lock").write_bytes(json.dumps([1]).encode()[:2])
    with exclusive_lock(world / "lock", holder="me"):
        (world / "lock").write_bytes(b"\0\0")
        with pytest.raises(BusyError, match="another process holds the lock"):
            exclusive_lock(world / "lock", holder="you").__enter__()


def test_a_lock_file_that_somebody_deleted_does_not_let_two_in(world: Path) -> None:
    with exclusive_lock(world / "lock", holder="first"):
        (world / "lock").unlink()
        with exclusive_lock(world / "lock", holder="second"), pytest.raises(BusyError, match="second"):
            exclusive_lock(world / "lock", holder="third").__enter__()
