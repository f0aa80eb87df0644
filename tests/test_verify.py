"""What verify finds: flipped bits, absent files, disks that are away; and what it does not read again."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from placing_kit import pin_of, put

from reconciler.digests import Digests
from reconciler.hashing import hash_bytes
from reconciler.observe import observe
from reconciler.state import Address, Attributes, Layout, ObservedLocation, Placed, Record
from reconciler.stores import store_of
from reconciler.verify import Verification, verify

COMMIT = "3" * 40
CONTENTS = {"config.json": b"{}", "a.safetensors": b"a" * 500, "b.safetensors": b"b" * 700}
LARGE = ("a.safetensors", "b.safetensors")
OLD = 1_600_000_000_123_456_789


def placed_at(root: Path, layout: Layout) -> tuple[Placed, ...]:
    found = []
    for path, artifact in layout.files:
        os.utime(root / path, ns=(OLD, OLD))
        facts = (root / path).stat()
        found.append(Placed(path, artifact.size, artifact.digest, facts.st_mtime_ns, facts.st_ino, artifact.path))
    return tuple(found)


def install(root: Path, store: str = "huggingface", name: str = "v", source: str = "hf:o/r") -> Record:
    pin = pin_of(source, COMMIT, CONTENTS, large=LARGE)
    layout = store_of(store).layout(pin)
    put(root, layout, CONTENTS)
    files = placed_at(root, layout)
    return Record(
        address=Address(name, "disk"), manifest="m", pin=pin, home=layout.home, files=files,
        links=layout.links, notes=layout.notes, attributes=Attributes(),
    )  # fmt: skip


@pytest.fixture
def root(world: Path) -> Path:
    (world / "root").mkdir()
    return world / "root"


def check(root: Path, *records: Record, full: bool = False, store: str = "huggingface") -> Verification:
    seen = observe("disk", store, str(root), expected_id=None)
    return check_seen(root, seen, *records, full=full)


def check_seen(root: Path, seen: ObservedLocation, *records: Record, full: bool = False) -> Verification:
    with Digests(root.parent / "cache.sqlite") as digests:
        return verify(records, {"disk": seen}, digests, full=full)


def flip(path: Path, at: int = 0) -> None:
    """Flip one bit and leave size, time and inode alone, as a failing disk does."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_unchanged_files_are_ok_and_none_is_read(root: Path) -> None:
    result = check(root, install(root))
    assert result.counts == {"ok": 3, "corrupt": 0, "missing": 0, "unreadable": 0}
    assert (result.exit_code, result.bytes_read) == (0, 0)


def test_a_full_pass_reads_every_byte_once(root: Path) -> None:
    result = check(root, install(root), full=True)
    assert (result.exit_code, result.bytes_read) == (0, sum(map(len, CONTENTS.values())))


def test_a_full_pass_finds_the_flipped_bit_that_a_quick_one_cannot_see(root: Path) -> None:
    record = install(root)
    flip(root / "o/r/a.safetensors", at=250)
    assert check(root, record).exit_code == 0  # the control: stat shows nothing
    result = check(root, record, full=True)
    assert result.exit_code == 8
    (bad,) = result.bad
    rotten = hash_bytes((root / "o/r/a.safetensors").read_bytes())
    assert (bad.path, bad.expected, bad.found) == ("o/r/a.safetensors", hash_bytes(CONTENTS["a.safetensors"]), rotten)


def test_corruption_that_was_found_once_is_not_forgotten(root: Path) -> None:
    record = install(root)
    flip(root / "o/r/a.safetensors")
    check(root, record, full=True)
    result = check(root, record)
    assert (result.exit_code, result.bytes_read) == (8, 0)


def test_a_flipped_bit_in_a_small_file_is_found_by_its_git_digest(root: Path) -> None:
    record = install(root)
    flip(root / "o/r/config.json")
    (bad,) = check(root, record, full=True).bad
    assert bad.expected == hash_bytes(b"{}", "git-sha1")


def test_a_touched_file_is_read_once_and_then_known(root: Path) -> None:
    record = install(root)
    os.utime(root / "o/r/b.safetensors", ns=(OLD + 1, OLD + 1))
    assert [check(root, record).bytes_read for _ in range(2)] == [700, 0]


def test_a_file_of_another_size_is_corrupt_without_reading_it(root: Path) -> None:
    record = install(root)
    (root / "o/r/a.safetensors").write_bytes(b"short")
    result = check(root, record)
    assert (result.exit_code, result.bytes_read) == (8, 0)
    assert result.bad[0].why == "5 bytes, expected 500"


def test_a_deleted_file_is_missing(root: Path) -> None:
    record = install(root)
    (root / "o/r/a.safetensors").unlink()
    result = check(root, record)
    assert (result.exit_code, [bad.path for bad in result.bad]) == (16, ["o/r/a.safetensors"])


def test_a_link_in_the_place_of_a_file_is_not_that_file(root: Path) -> None:
    record = install(root)
    path = root / "o/r/a.safetensors"
    path.rename(root / "elsewhere")
    path.symlink_to("../../elsewhere")
    (bad,) = check(root, record).bad
    assert (bad.verdict, bad.why) == ("missing", "o/r/a.safetensors is a symbolic link to ../../elsewhere")


def test_a_pipe_in_the_place_of_a_file_is_not_opened(root: Path) -> None:
    record = install(root)
    (root / "o/r/a.safetensors").unlink()
    os.mkfifo(root / "o/r/a.safetensors")
    result = check(root, record, full=True)
    assert (result.exit_code, result.bad[0].why) == (16, "a pipe")


def test_a_disk_that_is_away_is_unreadable_and_not_missing(root: Path) -> None:
    record = install(root)
    seen = observe("disk", "huggingface", str(root / "gone"), expected_id="0" * 32)
    result = check_seen(root, seen, record)
    assert (result.exit_code, result.counts["unreadable"]) == (32, 3)
    assert "mounted" in result.bad[0].why


def test_what_lies_in_a_directory_that_cannot_be_read_is_unreadable_and_not_missing(root: Path) -> None:
    record = install(root)
    seen = observe("disk", "huggingface", str(root), expected_id=None)
    hidden = replace(seen, files={}, others={"o/r": "cannot be read: Permission denied"})
    assert check_seen(root, hidden, record).counts["unreadable"] == 3


def test_a_file_that_vanishes_between_looking_and_reading_is_unreadable(root: Path) -> None:
    record = install(root)
    seen = observe("disk", "huggingface", str(root), expected_id=None)
    (root / "o/r/a.safetensors").unlink()
    result = check_seen(root, seen, record, full=True)
    assert (result.exit_code, result.bad[0].why) == (32, "No such file or directory")


def test_a_record_is_looked_for_under_its_root_whatever_the_location_is_called_now(root: Path) -> None:
    record = replace(install(root), root=str(root), address=Address("v", "old name"))
    assert check(root, record).exit_code == 0
    elsewhere = replace(record, root="/another/root", address=Address("v", "disk"))
    result = check(root, elsewhere)
    assert (result.exit_code, result.bad[0].why) == (32, "/another/root was not looked at")


def test_the_exit_code_adds_up(root: Path) -> None:
    record = install(root)
    (root / "o/r/a.safetensors").unlink()
    (root / "o/r/b.safetensors").write_bytes(b"")
    away = replace(record, address=Address("w", "elsewhere"))
    assert check(root, record, away).exit_code == 8 + 16 + 32


def test_links_and_notes_of_the_hf_cache_are_verified_too(root: Path) -> None:
    record = install(root, "hf-cache")
    assert check(root, record, store="hf-cache").counts["ok"] == 3 + 3 + 1
    snapshot = root / f"models--o--r/snapshots/{COMMIT}"
    (snapshot / "config.json").unlink()
    (snapshot / "a.safetensors").unlink()
    (snapshot / "a.safetensors").symlink_to("../../blobs/other")
    (root / "models--o--r/refs/main").unlink()
    result = check(root, record, store="hf-cache")
    assert result.exit_code == 16
    assert {bad.path.rpartition("/")[2]: bad.why for bad in result.bad} == {
        "a.safetensors": f"links to ../../blobs/other, expected ../../blobs/{hash_bytes(b'a' * 500)[7:]}",
        "config.json": "not there",
        "main": "not there",
    }


def test_a_copy_in_the_place_of_a_link_is_not_that_link(root: Path) -> None:
    record = install(root, "hf-cache")
    link = root / f"models--o--r/snapshots/{COMMIT}/config.json"
    link.unlink()
    link.write_bytes(b"{}")
    (bad,) = check(root, record, store="hf-cache").bad
    assert bad.why == "a regular file lies in its place"


def test_a_file_that_two_variants_share_is_read_once(root: Path) -> None:
    record = install(root)
    twin = replace(record, address=Address("twin", "disk"))
    result = check(root, record, twin, full=True)
    assert (len(result.findings), result.bytes_read) == (6, sum(map(len, CONTENTS.values())))


def test_only_the_rotten_ones_of_many_files_are_named(root: Path) -> None:
    contents = {f"{n:03}.gguf": b"%d" % n * 50 for n in range(200)}
    pin = pin_of("hf:o/many", COMMIT, contents, large=tuple(contents))
    layout = store_of("huggingface").layout(pin)
    put(root, layout, contents)
    record = Record(Address("v", "disk"), "m", pin, layout.home, placed_at(root, layout), (), (), Attributes())
    for name in ("007", "123"):
        flip(root / f"o/many/{name}.gguf", at=3)
    result = check(root, record, full=True)
    assert [bad.path for bad in result.bad] == ["o/many/007.gguf", "o/many/123.gguf"]
