"""What an observer reports of a location, and what it makes of everything that is not as it should be."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from pathlib import Path

import pytest

from reconciler.errors import DiskError
from reconciler.house import closed, is_payload
from reconciler.observe import Question, observe, observe_all, prepare, read_id
from reconciler.state import ObservedFile, ObservedLocation, Staged, Trashed

DIGEST = "sha256:" + "a" * 64


def look(root: Path, *, expected_id: str | None = None, store: str = "huggingface") -> ObservedLocation:
    return observe("disk", store, str(root), expected_id=expected_id)


def write(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_regular_files_are_reported_by_stat_and_sorted(world: Path) -> None:
    for name in ("b/z.bin", "b/a.bin", "a/x y/ü.bin"):
        write(world / name, b"12345")
    seen = look(world)
    facts = (world / "b/a.bin").stat()
    assert list(seen.files) == ["a/x y/ü.bin", "b/a.bin", "b/z.bin"]
    assert seen.files["b/a.bin"] == ObservedFile("b/a.bin", 5, facts.st_mtime_ns, facts.st_ino, facts.st_dev)
    assert (seen.readable, seen.exists, seen.id, seen.device) == (True, True, None, facts.st_dev)
    assert seen.free_bytes > 0
    assert seen.warnings == ()


def test_links_are_named_and_never_followed(world: Path) -> None:
    outside = write(world / "outside/secret").parent
    root = world / "root"
    write(root / "a")
    (root / "dir").symlink_to(outside)
    (root / "loop").symlink_to(".")
    (root / "gone").symlink_to("./nowhere//at all")
    seen = look(root)
    assert seen.links == {"dir": str(outside), "loop": ".", "gone": "./nowhere//at all"}
    assert list(seen.files) == ["a"]


def test_a_root_may_itself_be_reached_through_a_link(world: Path) -> None:
    write(world / "disk/a")
    (world / "root").symlink_to("disk")
    assert list(look(world / "root").files) == ["a"]


def test_pipes_and_sockets_are_told_apart_and_not_opened(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(world / "pipe")
    monkeypatch.chdir(world)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("sock")
        assert look(world).others == {"pipe": "a pipe", "sock": "a socket"}


def test_the_house_and_git_are_not_entered(world: Path) -> None:
    prepare(str(world), "huggingface", "disk")
    write(world / ".reconciler/stage/abc")
    write(world / "repo/.git/config")
    seen = look(world)
    assert seen.files == {}
    assert seen.empty_dirs == ()


def test_a_directory_with_only_directories_below_it_is_empty(world: Path) -> None:
    (world / "a/b/c").mkdir(parents=True)
    (world / "full/empty").mkdir(parents=True)
    write(world / "full/x")
    assert look(world).empty_dirs == ("a", "a/b", "a/b/c", "full/empty")


def test_a_name_that_is_no_text_is_left_out_and_shown_inert(world: Path) -> None:
    with open(os.fsencode(world) + b"/bad\xff\x1b[31m", "wb"):
        pass
    write(world / "good")
    seen = look(world)
    assert list(seen.files) == ["good"]
    (warning,) = seen.warnings
    assert "bad" in warning
    assert warning.isprintable()


def test_many_unnameable_names_are_counted_not_recited(world: Path) -> None:
    for number in range(30):
        with open(os.fsencode(world) + b"/%d\xff" % number, "wb"):
            pass
    assert len(look(world).warnings) == 21


def test_a_root_that_was_never_there_is_one_to_make(world: Path) -> None:
    seen = look(world / "a/b")
    assert (seen.exists, seen.readable, seen.id) == (False, True, None)
    assert seen.free_bytes > 0
    assert seen.device == world.stat().st_dev


def test_a_root_that_is_gone_after_we_used_it_is_unreadable_not_empty(world: Path) -> None:
    seen = look(world / "gone", expected_id="0" * 32)
    assert (seen.exists, seen.readable) == (False, False)
    assert "mounted" in seen.why


def test_an_empty_mount_point_is_unreadable_not_empty(world: Path) -> None:
    seen = look(world, expected_id="0" * 32)
    assert not seen.readable
    assert "location.json is missing" in seen.why
    assert "mounted" in seen.why


def test_another_disk_in_the_same_place_is_unreadable(world: Path) -> None:
    there = prepare(str(world), "flat", "disk")
    write(world / "a")
    assert look(world, expected_id=there).readable
    seen = look(world, expected_id="0" * 32)
    assert not seen.readable
    assert there in seen.why
    assert seen.files == {}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"version": 2, "id": "x"}', '{"version": 1, "id": 7}', "\x00" * 99, "[" * 9999]
)
def test_a_damaged_id_is_told_and_never_taken_for_a_fresh_location(world: Path, text: str) -> None:
    prepare(str(world), "flat", "disk")
    (world / ".reconciler/location.json").write_text(text)
    assert read_id(str(world / ".reconciler")) is None
    assert not look(world, expected_id="0" * 32).readable
    unrecorded = look(world)
    assert unrecorded.readable
    assert any("location.json" in warning for warning in unrecorded.warnings)
    with pytest.raises(DiskError, match=r"location\.json"):
        prepare(str(world), "flat", "disk")


def test_a_root_that_is_a_file_is_unreadable(world: Path) -> None:
    assert "not a directory" in look(write(world / "file")).why
    assert not look(world / "file/below").readable


def look_as_nobody(world: Path, root: str) -> list[object]:
    """Look at `world`/`root` without root's rights (root reads whatever the mode bits say), from a child process.

    The child takes `world` for the whole file system, so that no directory above it needs other rights.
    """
    look(world)  # whatever is imported on the way is there before the interpreter is out of reach
    world.chmod(0o755)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.chroot(world)
        os.setgid(65534)
        os.setuid(65534)
        seen = look(Path("/") / root)
        os.write(
            writer,
            json.dumps(
                [seen.readable, seen.why or seen.read_only, list(seen.files), dict(seen.others), seen.empty_dirs]
            ).encode(),
        )
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return json.loads(text)  # type: ignore[no-any-return]


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can step down to another user")


@needs_root
def test_a_directory_that_cannot_be_read_is_unknown_and_not_empty(world: Path) -> None:
    write(world / "root/open/a")
    write(world / "root/closed/b")
    (world / "root/closed").chmod(0)
    readable, _, files, others, empty = look_as_nobody(world, "root")
    assert (readable, files, empty) == (True, ["open/a"], [])
    assert others == {"closed": "cannot be read: Permission denied"}


@needs_root
def test_a_root_that_cannot_be_read_is_unreadable(world: Path) -> None:
    write(world / "root/a")
    (world / "root").chmod(0)
    readable, why, *_ = look_as_nobody(world, "root")
    assert readable is False
    assert "Permission denied" in str(why)


@needs_root
def test_a_root_in_which_nobody_may_write_is_read_only_and_one_that_is_ours_is_not(world: Path) -> None:
    write(world / "root/a")
    (world / "root").chmod(0o555)
    readable, why, files, *_ = look_as_nobody(world, "root")
    assert (readable, files) == (True, ["a"])
    assert "cannot be written by you" in str(why)
    (world / "root").chmod(0o777)
    assert look_as_nobody(world, "root")[1] == ""  # the control


@needs_root
def test_a_root_that_is_not_there_and_that_nobody_may_make_is_read_only(world: Path) -> None:
    (world / "above").mkdir()
    (world / "above").chmod(0o555)
    readable, why, *_ = look_as_nobody(world, "above/root")
    assert readable is True
    assert "you cannot make it" in str(why)


def test_a_house_that_is_a_link_serves_nobody(world: Path) -> None:
    write(world / "root/a")
    (world / "other").mkdir()
    (world / "root/.reconciler").symlink_to(world / "other")
    assert "symbolic link" in look(world / "root").read_only


def test_a_root_that_leads_to_another_disk_than_its_house_is_read_only(world: Path) -> None:
    write(world / "hub/a")
    seen = look(world / "hub", store="hf-cache")
    assert seen.read_only == "" == closed(str(world / "hub"), "hf-cache", seen.device)
    assert "another file system" in closed(str(world / "hub"), "hf-cache", seen.device + 1)


def test_an_id_of_a_later_version_is_not_to_be_removed(world: Path) -> None:
    there = prepare(str(world), "flat", "disk")
    plate = world / ".reconciler/location.json"
    plate.write_text(plate.read_text().replace('"version": 1', '"version": 2'))

    seen = look(world, expected_id=there)

    assert not seen.readable
    assert seen.why == "location.json is of version 2, and this reconciler reads 1: a newer one wrote it"
    with pytest.raises(DiskError, match="a newer one wrote it") as found:
        prepare(str(world), "flat", "disk")
    assert "remove" not in found.value.problems[0].hint


def test_a_location_of_a_store_that_we_do_not_know_is_unreadable(world: Path) -> None:
    seen = look(world, store="tape")
    assert not seen.readable
    assert "'tape'" in seen.why


def test_prepare_makes_a_house_that_others_cannot_enter_and_keeps_its_id(world: Path) -> None:
    root = world / "new/root"
    first = prepare(str(root), "huggingface", "disk")
    house = root / ".reconciler"
    assert json.loads((house / "location.json").read_text()) == {"version": 1, "id": first, "name": "disk"}
    assert {(house / name).stat().st_mode & 0o777 for name in ("stage", "trash")} == {0o700}
    assert prepare(str(root), "huggingface", "disk") == first == read_id(str(house))
    assert look(root, expected_id=first).readable


def test_two_locations_have_two_ids(world: Path) -> None:
    assert prepare(str(world / "a"), "flat", "x") != prepare(str(world / "b"), "flat", "x")


def test_a_house_that_is_a_link_is_refused(world: Path) -> None:
    root, elsewhere = world / "root", world / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    (root / ".reconciler").symlink_to(elsewhere)
    with pytest.raises(DiskError, match="symbolic link"):
        prepare(str(root), "flat", "disk")
    assert list(elsewhere.iterdir()) == []


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a second file system")
def test_a_house_on_another_file_system_than_its_root_is_refused_before_it_is_made(world: Path) -> None:
    if Path("/dev/shm").stat().st_dev == world.stat().st_dev:
        pytest.skip("needs a second file system")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        (world / "hub").symlink_to(other)  # as people move the HF cache to a bigger disk
        with pytest.raises(DiskError, match="another file system"):
            prepare(str(world / "hub"), "hf-cache", "cache")
        assert os.listdir(world) == ["hub"]
        assert os.listdir(other) == []
        prepare(other, "huggingface", "inside")  # the control: a house in its root is on the same one


def test_the_stage_shows_payloads_and_not_their_sidecars(world: Path) -> None:
    prepare(str(world), "flat", "disk")
    stage = world / ".reconciler/stage"
    for name in ("abc", "abc.aria2", "abc_info"):
        write(stage / name, b"1234")
    (stage / "dir").mkdir()
    assert look(world).staged == (Staged("abc", 4),)
    assert not is_payload("abc.aria2")


def test_the_trash_shows_where_each_file_lay_and_since_when(world: Path) -> None:
    prepare(str(world), "flat", "disk")
    trash = world / ".reconciler/trash"
    write(trash / "g7-1", b"1234")
    info = {"path": "a/b.gguf", "size": 4, "digest": DIGEST, "since": 12.5, "generation": 7, "address": "v@disk"}
    (trash / "g7-1_info").write_text(json.dumps(info))
    assert look(world).trash == (Trashed("g7-1", "a/b.gguf", 4, DIGEST, 12.5, 7, "v@disk"),)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "info",
    [None, "", "{}", "[1]", '{"path": 1, "size": 4, "digest": "md5:1", "since": 0, "generation": 0, "address": ""}'],
)
def test_a_trashed_file_whose_description_is_damaged_is_never_lost_and_never_looks_old(
    world: Path, info: str | None
) -> None:
    prepare(str(world), "flat", "disk")
    payload = write(world / ".reconciler/trash/x", b"1234")
    os.utime(payload, (0, 0))
    if info is not None:
        (world / ".reconciler/trash/x_info").write_text(info)
    seen = look(world)
    (lost,) = seen.trash
    assert (lost.name, lost.path, lost.size, lost.digest) == ("x", "", 4, None)
    assert lost.since == payload.stat().st_ctime > 1e9
    assert any("x_info" in warning for warning in seen.warnings)


def test_a_trashed_file_of_another_size_has_no_digest_to_be_trusted(world: Path) -> None:
    prepare(str(world), "flat", "disk")
    write(world / ".reconciler/trash/x", b"12")
    info = {"path": "a", "size": 4, "digest": DIGEST, "since": 1, "generation": 1, "address": "v@disk"}
    (world / ".reconciler/trash/x_info").write_text(json.dumps(info))
    seen = look(world)
    assert (seen.trash[0].size, seen.trash[0].digest) == (2, None)
    assert seen.warnings


def test_looking_changes_nothing(world: Path) -> None:
    write(world / "a/b")
    before = sorted((path, path.stat().st_mtime_ns) for path in (world, *world.rglob("*")))
    look(world)
    look(world / "not there")
    assert sorted((path, path.stat().st_mtime_ns) for path in (world, *world.rglob("*"))) == before


def test_several_locations_are_looked_at_together(world: Path) -> None:
    write(world / "a/x")
    write(world / "b/y")
    seen = observe_all(Question(name, "flat", str(world / name)) for name in ("a", "b", "c"))
    assert [(name, list(one.files), one.exists) for name, one in seen.items()] == [
        ("a", ["x"], True),
        ("b", ["y"], True),
        ("c", [], False),
    ]


def test_a_tree_as_deep_as_a_path_can_be_is_walked_without_a_traceback(world: Path) -> None:
    here = os.open(world, os.O_RDONLY)
    for _ in range(30):  # deeper than PATH_MAX: only reachable step by step
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    seen = look(world)
    assert list(seen.others.values()) == ["cannot be read: File name too long"]
    assert seen.empty_dirs == ()
