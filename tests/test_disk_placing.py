"""Putting files in place: the whole old file or the whole new one, the old one in the trash, nothing foreign lost."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_kit import killed_at_every_call

from reconciler import placing
from reconciler.disk import Root, TwoStepError, clone_or_copy, errno_of, hardlink, install, link_or_copy, rename
from reconciler.errors import DiskError

OLD, NEW = b"old" * 50_000, b"new" * 60_000


@pytest.fixture
def root(world: Path) -> Iterator[Root]:
    with Root.open(world / "root", create=True) as opened:
        for name in ("stage", "trash", "models"):
            opened.mkdirs(name)
        yield opened


def stage(root: Root) -> None:
    (root.path / "stage/n").write_bytes(NEW)


def old(root: Root) -> None:
    (root.path / "models/m").write_bytes(OLD)


def no_links(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, "no hard links here")


def no_flags(*_: object, **__: object) -> None:
    raise OSError(errno.EINVAL, "no flags here")


def refuse_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)


def refuse_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "rename_at", no_flags)


def test_a_new_file_gets_its_name(root: Root) -> None:
    stage(root)
    facts = install(root, "stage/n", root, "models/m", trash=None)
    assert root.read("models/m", 1 << 20) == NEW
    assert root.stat("stage/n") is None
    assert facts.st_size == len(NEW)


@pytest.mark.parametrize("poor", ["everything works", "no flags", "no flags and no links"])
def test_nothing_is_replaced_that_nobody_planned_to_replace(
    root: Root, monkeypatch: pytest.MonkeyPatch, poor: str
) -> None:
    stage(root)
    old(root)
    if "flags" in poor:
        refuse_flags(monkeypatch)
    if "links" in poor:
        refuse_links(monkeypatch)
    with pytest.raises(DiskError, match="already lies there") as caught:
        install(root, "stage/n", root, "models/m", trash=None)
    assert errno_of(caught.value) == errno.EEXIST
    assert (root.read("models/m", 1 << 20), root.read("stage/n", 1 << 20)) == (OLD, NEW)
    root.unlink("models/m")
    install(root, "stage/n", root, "models/m", trash=None)
    assert root.read("models/m", 1 << 20) == NEW
    assert root.names("stage") == ()


@pytest.mark.parametrize("way", ["link", "exchange"])
def test_the_old_file_waits_in_the_trash(root: Root, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    stage(root)
    old(root)
    inode = os.stat(root.path / "models/m").st_ino
    if way == "exchange":
        refuse_links(monkeypatch)
    install(root, "stage/n", root, "models/m", trash=(root, "trash/1"))
    assert (root.read("models/m", 1 << 20), root.read("trash/1", 1 << 20)) == (NEW, OLD)
    assert os.stat(root.path / "trash/1").st_ino == inode
    assert root.names("stage") == ()


def test_where_names_can_neither_be_linked_nor_exchanged_nothing_happens(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(root)
    old(root)
    refuse_links(monkeypatch)
    refuse_flags(monkeypatch)
    with pytest.raises(TwoStepError):
        install(root, "stage/n", root, "models/m", trash=(root, "trash/1"))
    assert (root.read("models/m", 1 << 20), root.read("stage/n", 1 << 20)) == (OLD, NEW)
    assert root.names("trash") == ()


@pytest.mark.faults
@pytest.mark.parametrize("way", ["link", "exchange"])
def test_killed_at_every_call_the_name_holds_old_or_new_and_old_is_never_lost(
    root: Root, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "exchange":
        refuse_links(monkeypatch)

    def prepare() -> None:
        for folder in ("stage", "trash", "models"):
            for name in root.names(folder):
                root.unlink(f"{folder}/{name}")
        stage(root)
        old(root)

    def work() -> None:
        install(root, "stage/n", root, "models/m", trash=(root, "trash/1"))

    outcomes = set()
    for _ in killed_at_every_call(work, prepare):
        found = root.read("models/m", 1 << 20)
        outcomes.add(found)
        everywhere = [root.read(f"{f}/{n}", 1 << 20) for f in ("stage", "trash", "models") for n in root.names(f)]
        assert found in (OLD, NEW)
        assert OLD in everywhere
        assert NEW in everywhere
        if found == OLD:
            work()
            assert (root.read("models/m", 1 << 20), root.read("trash/1", 1 << 20)) == (NEW, OLD)
    assert outcomes == {OLD, NEW}


@pytest.mark.faults
def test_the_naive_copy_over_leaves_a_torn_file_under_the_same_kills(root: Root) -> None:
    def naive() -> None:
        fd = os.open(root.path / "models/m", os.O_WRONLY | os.O_TRUNC)
        os.write(fd, NEW)

    found = set()
    for _ in killed_at_every_call(naive, lambda: old(root)):
        found.add(root.read("models/m", 1 << 20))
    assert found - {OLD, NEW}


def test_another_file_of_that_name_in_the_trash_is_not_lost(root: Root) -> None:
    stage(root)
    old(root)
    root.write("trash/1", b"precious")
    with pytest.raises(DiskError, match="already lies there"):
        install(root, "stage/n", root, "models/m", trash=(root, "trash/1"))
    assert (root.read("trash/1", 100), root.read("models/m", 1 << 20)) == (b"precious", OLD)


def test_a_reader_that_has_the_old_file_mapped_goes_on_reading_it(root: Root) -> None:
    stage(root)
    old(root)
    with (root.path / "models/m").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        install(root, "stage/n", root, "models/m", trash=(root, "trash/1"))
        root.unlink("trash/1")
        assert mapped[:] == OLD


def test_a_foreign_file_that_shares_the_inode_keeps_its_bytes(root: Root, world: Path) -> None:
    stage(root)
    (world / "theirs").write_bytes(OLD)
    os.link(world / "theirs", root.path / "models/m")
    install(root, "stage/n", root, "models/m", trash=(root, "trash/1"))
    assert (world / "theirs").read_bytes() == OLD
    assert root.read("models/m", 1 << 20) == NEW


def test_a_directory_in_the_way_is_left_alone(root: Root) -> None:
    stage(root)
    root.mkdirs("models/m/theirs")
    with pytest.raises(DiskError, match="a directory lies where the file belongs"):
        install(root, "stage/n", root, "models/m", trash=(root, "trash/1"))
    assert (root.path / "models/m/theirs").is_dir()


def test_a_link_is_installed_like_a_file(root: Root) -> None:
    root.symlink("../blobs/x", "stage/l")
    root.symlink("../blobs/old", "models/l")
    install(root, "stage/l", root, "models/l", trash=(root, "trash/l"))
    assert (root.readlink("models/l"), root.readlink("trash/l")) == ("../blobs/x", "../blobs/old")


def test_a_failed_fsync_stops_before_the_name_changes(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    stage(root)
    old(root)
    calls: list[int] = []

    def broken(fd: int) -> None:
        calls.append(fd)
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(DiskError, match="did not reach the disk"):
        install(root, "stage/n", root, "models/m", trash=(root, "trash/1"))
    assert len(calls) == 1
    assert (root.path / "models/m").read_bytes() == OLD


def test_names_move_between_roots(root: Root, world: Path) -> None:
    stage(root)
    with Root.open(world / "other", create=True) as other:
        rename(root, "stage/n", other, "there", replace=False)
        hardlink(other, "there", root, "models/again")
        assert root.read("models/again", 1 << 20) == other.read("there", 1 << 20) == NEW


def test_bytes_that_are_here_are_linked_before_they_are_copied(root: Root) -> None:
    old(root)
    way = link_or_copy(root, "models/m", root, "stage/linked")
    assert way in ("reflink", "hardlink")
    other = link_or_copy(root, "models/m", root, "stage/own", allow_hardlink=False)
    assert other in ("reflink", "copy")
    inodes = [os.stat(root.path / name).st_ino for name in ("models/m", "stage/linked", "stage/own")]
    assert (inodes[0] == inodes[1]) == (way == "hardlink")
    assert inodes[2] != inodes[0]
    assert root.read("stage/linked", 1 << 20) == root.read("stage/own", 1 << 20) == OLD


@pytest.mark.parametrize("kernel_copies", [True, False])
def test_a_copy_is_whole_wherever_the_descriptor_stood(
    root: Root, monkeypatch: pytest.MonkeyPatch, kernel_copies: bool
) -> None:
    old(root)
    if not kernel_copies:
        monkeypatch.setattr(os, "copy_file_range", no_flags)
    fd = root.open_read("models/m")
    os.lseek(fd, 1000, os.SEEK_SET)
    assert clone_or_copy(fd, root, "stage/copy") in ("reflink", "copy")
    os.close(fd)
    assert root.read("stage/copy", 1 << 20) == OLD
    assert os.stat(root.path / "stage/copy").st_mode & 0o111 == 0


def test_a_copy_that_fails_leaves_nothing(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    old(root)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "copy_file_range", full)
    monkeypatch.setattr(os, "write", full)
    fd = root.open_read("models/m")
    with pytest.raises(DiskError, match=r"the disk is full \(.* needed, .* free\)"):
        clone_or_copy(fd, root, "stage/copy")
    os.close(fd)
    assert root.names("stage") == ()


def test_an_existing_file_is_not_copied_over(root: Root) -> None:
    old(root)
    stage(root)
    with pytest.raises(DiskError, match="already"):
        link_or_copy(root, "models/m", root, "stage/n")
    assert root.read("stage/n", 1 << 20) == NEW
