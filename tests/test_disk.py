"""The verbs of the disk: confined to their root, durable, never through a link."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler import beneath
from reconciler.disk import Root, device_of, errno_of, free_bytes, hash_bytes, hash_fd, hash_file, same_file_system
from reconciler.errors import DiskError


@pytest.fixture(params=["the kernel confines", "every component is walked"])
def root(request: pytest.FixtureRequest, world: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Root]:
    if request.param == "every component is walked":
        monkeypatch.setattr(beneath, "has_openat2", lambda: False)
    elif not beneath.has_openat2():
        pytest.skip("this kernel has no openat2")
    (world / "root").mkdir()
    with Root.open(world / "root") as opened:
        yield opened


@pytest.fixture
def outside(world: Path) -> Path:
    (world / "outside").mkdir()
    (world / "outside/victim").write_bytes(b"theirs")
    return world / "outside"


WRITERS: dict[str, Callable[[Root, str], object]] = {
    "write": lambda root, below: root.write(f"{below}/victim", b"ours"),
    "create": lambda root, below: os.close(root.create(f"{below}/new")),
    "open_write": lambda root, below: os.close(root.open_write(f"{below}/victim")),
    "mkdirs": lambda root, below: root.mkdirs(f"{below}/made/deep"),
    "symlink": lambda root, below: root.symlink("x", f"{below}/link"),
    "unlink": lambda root, below: root.unlink(f"{below}/victim"),
    "rmdir_empty_up": lambda root, below: root.rmdir_empty_up(f"{below}/empty"),
}


@pytest.mark.parametrize("verb", WRITERS)
def test_no_verb_follows_a_symbolic_link_planted_below_the_root(root: Root, outside: Path, verb: str) -> None:
    (outside / "empty").mkdir()
    (root.path / "planted").symlink_to(outside)
    with pytest.raises(DiskError, match="symbolic link") as caught:
        WRITERS[verb](root, "planted")
    assert errno_of(caught.value) == errno.ELOOP
    assert sorted(os.listdir(outside)) == ["empty", "victim"]
    assert (outside / "victim").read_bytes() == b"theirs"


def test_the_naive_way_does_follow_it(root: Root, outside: Path) -> None:
    (root.path / "planted").symlink_to(outside)
    (root.path / "planted/victim").write_bytes(b"ours")
    assert (outside / "victim").read_bytes() == b"ours"


@pytest.mark.parametrize("path", ["../outside/victim", "/etc/passwd", "a/../../b", "a//b", "", ".", "a/./b", "a\0b"])
def test_a_path_that_leads_elsewhere_is_refused_before_the_disk_sees_it(root: Root, path: str) -> None:
    with pytest.raises(DiskError, match="not a path"):
        root.write(path, b"x")


@pytest.mark.parametrize("path", ["../outside", "a/../../outside"])
def test_the_walk_refuses_to_climb_even_when_nobody_checked_the_path(root: Root, outside: Path, path: str) -> None:
    root.mkdirs("a")
    with pytest.raises(OSError, match=r".*") as caught:
        beneath.open_beneath(root.fd, path, os.O_RDONLY)
    assert caught.value.errno == errno.EXDEV


@pytest.mark.faults
def test_directories_swapped_for_links_while_we_write_lead_nowhere(root: Root, outside: Path) -> None:
    (root.path / "swap").mkdir()
    (root.path / "link").symlink_to(outside)
    child = os.fork()
    if child == 0:
        try:
            while os.getppid() != 1:
                beneath.rename_at(root.fd, "swap", root.fd, "link", beneath.EXCHANGE)
        finally:
            os._exit(0)
    written = refused = 0
    try:
        for number in range(400):
            try:
                root.write(f"swap/file{number % 7}", b"ours")
                written += 1
            except DiskError:
                refused += 1
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert written + refused == 400
    assert os.listdir(outside) == ["victim"]


def test_checking_first_and_opening_then_loses_that_race(root: Root, outside: Path) -> None:
    def naive(path: Path, meanwhile: Callable[[], object]) -> None:
        assert path.resolve().is_relative_to(root.path.resolve())
        meanwhile()
        path.write_bytes(b"ours")

    (root.path / "swap").mkdir()

    def swap() -> None:
        (root.path / "swap").rmdir()
        (root.path / "swap").symlink_to(outside)

    naive(root.path / "swap/file", swap)
    assert (outside / "file").exists()


def test_directories_are_made_once_and_found_again(root: Root) -> None:
    root.mkdirs("a/b/c")
    root.mkdirs("a/b/c")
    assert (root.path / "a/b/c").is_dir()


def test_a_file_in_the_way_of_a_directory_is_named(root: Root) -> None:
    root.write("a", b"")
    with pytest.raises(DiskError, match="a file stands where a directory was expected"):
        root.mkdirs("a/b")


def test_absence_is_a_value(root: Root) -> None:
    root.write("file", b"12345")
    found = root.stat("file")
    assert found is not None
    assert found.st_size == 5
    assert root.stat("nothing") is None
    assert root.stat("no/such/place") is None
    assert root.stat("file/below") is None
    assert root.names("no/such/place") == ()


def test_a_link_is_seen_as_a_link(root: Root) -> None:
    root.symlink("../nowhere", "link")
    found = root.stat("link")
    assert found is not None
    assert stat.S_ISLNK(found.st_mode)
    assert root.readlink("link") == "../nowhere"
    root.unlink("link")
    assert root.stat("link") is None


@pytest.mark.parametrize("kind", ["pipe", "directory", "symbolic link", "socket"])
def test_only_regular_files_are_opened(root: Root, kind: str) -> None:
    path = root.path / "it"
    if kind == "pipe":
        os.mkfifo(path)  # to open it for reading would wait for a writer for ever
    elif kind == "directory":
        path.mkdir()
    elif kind == "symbolic link":
        path.symlink_to("/etc/hostname")
    else:
        os.mknod(path, stat.S_IFSOCK | 0o600)
    for verb in (root.open_read, root.open_write):
        with pytest.raises(DiskError, match=f"a {kind} lies where a regular file was expected"):
            verb("it")


def test_a_missing_file_is_told_as_missing(root: Root) -> None:
    with pytest.raises(DiskError, match="no such file") as caught:
        root.open_read("nothing")
    assert errno_of(caught.value) == errno.ENOENT
    root.unlink("nothing", missing_ok=True)
    with pytest.raises(DiskError):
        root.unlink("nothing")


def test_reading_is_bounded(root: Root) -> None:
    root.write("small", b"12345")
    assert root.read("small", 5) == b"12345"
    with pytest.raises(DiskError, match="longer than 4 bytes"):
        root.read("small", 4)


def test_a_partial_file_is_gone_on_with(root: Root) -> None:
    for expected in (b"", b"half"):
        fd = root.open_write("partial")
        assert os.read(fd, 100) == expected
        os.write(fd, b"half")
        os.close(fd)
    assert (root.path / "partial").read_bytes() == b"halfhalf"


def test_what_exists_is_not_created_again(root: Root) -> None:
    root.write("it", b"old")
    with pytest.raises(DiskError, match="already") as caught:
        root.create("it")
    assert errno_of(caught.value) == errno.EEXIST
    assert (root.path / "it").read_bytes() == b"old"


def test_empty_directories_go_up_to_the_first_that_is_not_and_the_root_stays(root: Root) -> None:
    root.mkdirs("a/b/c/d")
    root.write("a/keep", b"")
    assert root.rmdir_empty_up("a/b/c/d/gone-file") == ("a/b/c/d", "a/b/c", "a/b")
    root.unlink("a/keep")
    assert root.rmdir_empty_up("a") == ("a",)
    assert root.path.is_dir()


def test_a_file_is_not_an_empty_directory(root: Root) -> None:
    root.mkdirs("a")
    root.write("a/file", b"")
    assert root.rmdir_empty_up("a/file") == ()
    assert root.read("a/file", 1) == b""


def test_descriptors_are_neither_leaked_nor_inherited(root: Root) -> None:
    before = len(os.listdir("/proc/self/fd"))
    root.mkdirs("a/b")
    root.write("a/b/c", b"x")
    fd = root.open_read("a/b/c")
    assert not os.get_inheritable(fd)
    os.close(fd)
    with pytest.raises(DiskError):
        root.create("a/b/c")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_root_can_be_made(world: Path) -> None:
    with Root.open(world / "not/yet/there", create=True) as made:
        made.write("x", b"")
    assert (world / "not/yet/there/x").exists()
    with pytest.raises(DiskError, match="no such file"):
        Root.open(world / "nor/this")


def test_digests_are_those_of_sha256_and_git(world: Path) -> None:
    data = bytes(range(256)) * 9000  # more than one buffer
    (world / "file").write_bytes(data)
    git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    assert hash_file(world / "file") == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert hash_file(world / "file", "git-sha1") == f"git-sha1:{git}"
    assert hash_bytes(data, "git-sha1") == f"git-sha1:{git}"
    (world / "empty").write_bytes(b"")
    assert hash_file(world / "empty", "git-sha1") == "git-sha1:e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


def test_progress_adds_up_to_the_size(world: Path) -> None:
    (world / "file").write_bytes(b"x" * 3_000_000)
    seen: list[int] = []
    fd = os.open(world / "file", os.O_RDONLY)
    os.lseek(fd, 1000, os.SEEK_SET)  # where the descriptor stood does not matter
    assert hash_fd(fd, 3_000_000, tick=seen.append) == hash_bytes(b"x" * 3_000_000)
    os.close(fd)
    assert sum(seen) == 3_000_000
    assert len(seen) > 1


@pytest.mark.parametrize("change", ["append", "overwrite", "truncate"])
def test_a_file_that_changes_while_it_is_hashed_has_no_digest(world: Path, change: str) -> None:
    path = world / "file"
    path.write_bytes(b"x" * 3_000_000)
    os.utime(path, ns=(1, 1))

    def meanwhile(_: int) -> None:
        with path.open("r+b") as file:
            if change == "append":
                file.seek(0, os.SEEK_END)
            if change == "truncate":
                file.truncate(5)
            file.write(b"other")

    with pytest.raises(DiskError, match="changed while it was read"):
        hash_file(path, tick=meanwhile)


def test_a_new_hard_link_does_not_change_the_bytes(world: Path) -> None:
    path = world / "file"
    path.write_bytes(b"x" * 10)
    assert hash_file(path, tick=lambda _: os.link(path, world / "other")) == hash_bytes(b"x" * 10)


def test_a_pipe_is_not_hashed(world: Path) -> None:
    os.mkfifo(world / "pipe")
    with pytest.raises(DiskError, match="not a regular file"):
        hash_file(world / "pipe")


def test_a_place_that_is_not_there_yet_is_asked_through_its_parent(world: Path) -> None:
    assert free_bytes(world / "not/yet") > 0
    assert device_of(world / "not/yet") == os.stat(world).st_dev
    assert same_file_system(world, world / "not/yet")
