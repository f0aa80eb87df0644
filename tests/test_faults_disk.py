"""Disks that refuse: full, failing, read-only. A clear error, whole files, and the next apply converges."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from apply_kit import FakeDownloader, Ground, Ran, content, fake_network, sha256

pytestmark = pytest.mark.faults

ONE = {"model.safetensors": content(1), "config.json": b"{1}", "sub/old.txt": b"old"}
TWO = {"model.safetensors": content(2), "config.json": b"{2}", "new/deep.txt": b"new"}
STORES = {"main": "huggingface", "mirror": "flat", "cache": "hf-cache"}
GROWS = ("write", "pwrite", "link", "mkdir", "symlink", "copy_file_range", "creat")
ALL = (*GROWS, "fsync", "rename", "replace", "unlink", "rmdir", "ftruncate", "fchmod", "renameat2")


@pytest.fixture
def ground(world: Path) -> Iterator[Ground]:
    net = FakeDownloader()
    with fake_network(net):
        yield Ground(world, net)


def before(ground: Ground) -> None:
    ground.declare({"a": ("hf:acme/a", 1, ONE), "gone": ("hf:acme/gone", 1, {"g.gguf": content(5)})}, locations=STORES)


def after(ground: Ground) -> None:
    ground.declare(
        {
            "a": ("hf:acme/a", 2, TWO),
            "twin": ("hf:acme/twin", 1, {"w.gguf": TWO["model.safetensors"]}, {"location": "mirror"}),
            "cached": ("hf:acme/c", 1, {"c.gguf": content(6)}, {"location": "cache"}),
        },
        locations=STORES,
    )


def places(ground: Ground) -> dict[str, bytes]:
    return {f"{name}/{path}": data for name in STORES for path, data in ground.files(name).items()}


def spoil(
    patch: pytest.MonkeyPatch, at: int, code: int, calls: tuple[str, ...], *, for_good: bool
) -> Callable[[], int]:
    """Let the `at`th of these calls fail, or all from there on; return how many calls there were."""
    from reconciler import placing, root

    made = [0]

    def spoilt(real: Callable[..., Any], applies: Callable[..., bool] = lambda *_: True) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if applies(*args):
                made[0] += 1
                if made[0] == at or (for_good and made[0] > at):
                    raise OSError(code, os.strerror(code))
            return real(*args, **kwargs)

        return call

    for name in calls:
        if name == "creat":
            creates = lambda *args: bool(args[2] & os.O_CREAT)  # noqa: E731
            patch.setattr(root, "open_beneath", spoilt(root.open_beneath, creates))
            opens = lambda *args: bool(len(args) > 1 and args[1] & os.O_CREAT)  # noqa: E731
            patch.setattr(os, "open", spoilt(os.open, opens))
        elif name == "renameat2":
            patch.setattr(placing, "rename_at", spoilt(placing.rename_at))
        else:
            patch.setattr(os, name, spoilt(getattr(os, name)))
    return lambda: made[0]


def is_clear(ran: Ran) -> bool:
    """Whether a failure is told in words: what, where; never as a defect or a traceback."""
    return "defect" not in ran.text and "Traceback" not in ran.text and bool(ran.text.strip())


@pytest.mark.parametrize("shard", range(4))
@pytest.mark.parametrize(
    ("code", "calls", "for_good"),
    [(errno.ENOSPC, GROWS, True), (errno.EIO, ALL, False), (errno.EROFS, ALL, True)],
    ids=["the disk fills up", "one call fails", "the disk turns read-only"],
)
def test_whichever_call_the_disk_refuses_nothing_is_torn_and_the_next_apply_converges(
    world: Path, monkeypatch: pytest.MonkeyPatch, shard: int, code: int, calls: tuple[str, ...], for_good: bool
) -> None:
    old: dict[str, bytes] = {}
    at = 2 * shard + 1
    while True:
        (world / str(at)).mkdir()
        monkeypatch.setenv("XDG_CACHE_HOME", str(world / str(at) / ".cache"))
        # A log that cannot be written fails no run (tests/test_runlog.py), so its calls are none of those counted here.
        monkeypatch.setattr("reconciler.runlog.append", lambda *_: True)
        net = FakeDownloader()
        ground = Ground(world / str(at), net)
        with fake_network(net):
            before(ground)
            assert ground.apply().code == 0
            old = places(ground)
            after(ground)
            with pytest.MonkeyPatch.context() as patch:
                count = spoil(patch, at, code, calls, for_good=for_good)
                ran = ground.apply()
                reached = count() >= at
            if reached:
                # One failed call may have another way around it (a link becomes a copy, the cache is done without).
                assert ran.code in ((1, 5) if for_good else (0, 1, 5)), f"{at}: {ran.code}: {ran.text}"
                assert is_clear(ran), f"{at}: {ran.text}"
            now = places(ground)
            new = {f"main/acme/a/{path}": data for path, data in TWO.items()}
            for path, data in now.items():
                assert path.startswith(("mirror", "cache")) or data in (old.get(path), new.get(path)), (at, path)
            assert all(path in now for path in old if path in new), at
            again = ground.apply()
            assert again.code == 0, f"{at}: first {ran.text}\nthen {again.text}"
            assert ground.run("verify", "--full").code == 0, at
            assert ground.run("plan", "--detailed-exitcode").code == 0, at
            assert ground.litter() == [], at
        if not reached:
            return
        at += 8


def test_no_fsync_that_fails_is_ever_told_as_success(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for at in range(1, 200):
        (world / str(at)).mkdir()
        monkeypatch.setenv("XDG_CACHE_HOME", str(world / str(at) / ".cache"))
        # A log that cannot be written fails no run (tests/test_runlog.py), so its calls are none of those counted here.
        monkeypatch.setattr("reconciler.runlog.append", lambda *_: True)
        ground = Ground(world / str(at), FakeDownloader())
        with fake_network(ground.net):
            before(ground)
            with pytest.MonkeyPatch.context() as patch:
                count = spoil(patch, at, errno.EIO, ("fsync",), for_good=False)
                ran = ground.apply()
            if count() < at:
                assert ran.code == 0
                assert at > 10
                return
            assert ran.code != 0, f"{at}: {ran.text}"
            assert is_clear(ran), ran.text
            assert ground.apply().code == 0
            assert ground.run("verify", "--full").code == 0


def test_a_registry_that_cannot_be_written_is_told_and_the_next_apply_records_what_was_done(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reconciler.errors import DiskError

    def full(*_: object, **__: object) -> None:
        raise DiskError("the disk is full", where=str(ground.registry))

    ground.declare({"a": ("hf:acme/a", 1, ONE)})
    with monkeypatch.context() as patch:
        patch.setattr("reconciler.apply.save", full)
        ran = ground.apply()
    assert ran.code == 1
    assert "the disk is full" in ran.err
    assert "the next apply records it" in ran.err
    assert "1 done" in ran.out or "done" in ran.out, ran.out
    assert len(ground.files()) == 3
    ground.net.fetched.clear()
    assert ground.apply().code == 0
    assert ground.net.fetched == []
    assert set(ground.entries()) == {"a"}
    assert ground.run("undo", "--to", "1", "--yes").code == 0
    assert ground.files() == {}


def test_a_torn_line_in_the_journal_is_never_followed_by_another(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.declare({name: (f"hf:acme/{name}", 1, {"x.gguf": content(n)}) for n, name in enumerate("abcdef")})
    real = os.fsync
    left = [12]

    def fails(fd: int) -> None:
        if os.readlink(f"/proc/self/fd/{fd}").endswith(".journal"):
            left[0] -= 4
            if left[0] < 0:
                raise OSError(errno.EIO, "Input/output error")
        real(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        ran = ground.apply("--json")
    assert ran.code in (1, 5), ran.text
    assert '"not-started"' in ran.out or "not_started" in ran.out
    assert ground.apply().code == 0
    assert len(ground.files()) == 6
    assert ground.litter() == []


# -- file systems that know less --------------------------------------------------------------------------------------


def no_links(patch: pytest.MonkeyPatch, *, exchange: bool) -> None:
    """Behave as a file system that has no hard links (exFAT), and with `exchange=False` no RENAME_EXCHANGE either."""
    from reconciler import placing

    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    real = placing.rename_at

    def rename_at(*args: Any) -> None:
        if args[4] == placing.EXCHANGE and not exchange:
            raise OSError(errno.EINVAL, "Invalid argument")
        real(*args)

    patch.setattr(os, "link", link)
    patch.setattr(placing, "rename_at", rename_at)


@pytest.mark.parametrize("exchange", [True, False], ids=["names can be exchanged", "nor exchanged"])
def test_where_names_cannot_be_linked_files_are_replaced_all_the_same(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    no_links(monkeypatch, exchange=exchange)
    before(ground)
    assert ground.apply().code == 0
    after(ground)
    ran = ground.apply()
    assert ran.code == 0, ran.text
    assert ground.files("main") == {f"acme/a/{path}": data for path, data in sorted(TWO.items())}
    assert ONE["model.safetensors"] in ground.trash().values()
    assert ground.run("verify", "--full").code == 0
    assert ground.run("plan", "--detailed-exitcode").code == 0
    assert ground.litter() == []
    assert ground.run("undo", "--yes").code == 0
    assert ground.files("main")["acme/a/model.safetensors"] == ONE["model.safetensors"]


@pytest.mark.parametrize("exchange", [True, False], ids=["names can be exchanged", "nor exchanged"])
def test_killed_between_the_two_halves_of_such_a_replacement_the_next_apply_finishes_it(
    world: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    from crash_kit import arm, in_a_child

    seen = 0
    for at in range(1, 40):
        (world / str(at)).mkdir()
        monkeypatch.setenv("XDG_CACHE_HOME", str(world / str(at) / ".cache"))
        # A log that cannot be written fails no run (tests/test_runlog.py), so its calls are none of those counted here.
        monkeypatch.setattr("reconciler.runlog.append", lambda *_: True)
        ground = Ground(world / str(at), FakeDownloader())
        with fake_network(ground.net), pytest.MonkeyPatch.context() as patch:
            no_links(patch, exchange=exchange)
            ground.declare({"a": ("hf:acme/a", 1, ONE)})
            assert ground.apply().code == 0
            ground.declare({"a": ("hf:acme/a", 2, TWO)})

            def work(at: int = at, ground: Ground = ground) -> int:
                arm(at, ("rename", "unlink"))
                return ground.apply().code

            code = in_a_child(work)
            seen += code == -signal.SIGKILL
            ran = ground.apply()
            assert ran.code == 0, f"{at}: {ran.text}"
            assert ground.files() == {f"acme/a/{path}": data for path, data in sorted(TWO.items())}, at
            assert ONE["model.safetensors"] in ground.trash().values()
            assert ground.run("verify", "--full").code == 0
            assert ground.litter() == [], at
        if code == 0:
            break
    assert seen > 5


def test_on_another_file_system_the_same_bytes_are_copied(ground: Ground) -> None:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == ground.path.stat().st_dev:
        pytest.skip("no second file system that everybody may write to")
    other = memory / f"reconciler-{os.getpid()}"
    try:
        ground.declare(
            {"a": ("hf:acme/a", 1, ONE), "b": ("hf:acme/b", 1, ONE, {"location": "other"})},
            locations={"main": "flat", "other": "flat"},
        )
        ground.manifest.write_text(ground.manifest.read_text().replace(str(ground.path / "other"), str(other)))
        assert {row["method"] for step in ground.steps() for row in step["files"]} == {"fetch", "copy"}
        ran = ground.apply()
        assert ran.code == 0, ran.text
        assert sorted(path.read_bytes() for path in other.rglob("*.safetensors")) == [ONE["model.safetensors"]]
        assert ground.run("verify", "--full").code == 0
        assert ground.run("plan", "--detailed-exitcode").code == 0
    finally:
        shutil.rmtree(other, ignore_errors=True)


def test_a_file_larger_than_the_process_may_write_is_told_and_costs_nothing(world: Path) -> None:
    def inside() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        ground = Ground(world, FakeDownloader())
        upstream = world / "upstream"
        upstream.mkdir()
        (upstream / "big.gguf").write_bytes(content(1, 600_000))
        with fake_network(ground.net):
            ground.declare({"a": (f"file:{upstream}", 1, {})})
            (world / "ws.lock.json").unlink()
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
            ran = ground.apply()
            assert ran.code == 5, ran.text
            assert "larger than" in ran.text, ran.text
            assert is_clear(ran)
            assert ground.files() == {}
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            assert ground.apply().code == 0
            assert ground.litter() == []
        return 0

    from crash_kit import in_a_child

    assert in_a_child(inside) == 0


def test_a_directory_that_we_may_not_write_is_told_and_the_old_files_stay(ground: Ground) -> None:
    import tempfile

    from crash_kit import in_a_child

    import reconciler.digeststore
    import reconciler.hashpool  # noqa: F401

    folder = Path(tempfile.mkdtemp(prefix="reconciler-"))
    nobody = 65534

    for files in (ONE, TWO):  # everything is imported now: nobody may not even read the interpreter
        ground.declare({"a": ("hf:acme/a", len(files), files), "b": ("hf:acme/b", 1, {})})
        ground.net.broken[sha256(TWO["config.json"])] = OSError("not now")
        ground.apply()

    def inside() -> int:
        if os.getuid() == 0:  # mode bits say nothing to root
            os.setgroups([])
            os.setgid(nobody)
            os.setuid(nobody)
        for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
            os.environ[name] = str(folder / "home")
        ground = Ground(folder, FakeDownloader())
        with fake_network(ground.net):
            ground.declare({"a": ("hf:acme/a", 1, ONE)})
            assert ground.apply().code == 0
            ground.declare({"a": ("hf:acme/a", 2, TWO)})
            (folder / "main/acme/a").chmod(0o555)
            ran = ground.apply()
            assert ran.code == 5, ran.text
            assert "permission denied" in ran.text, ran.text
            assert is_clear(ran)
            assert ground.files() == {f"acme/a/{path}": data for path, data in sorted(ONE.items())}
            (folder / "main/acme/a").chmod(0o755)
            ran = ground.apply()
            assert ran.code == 0, ran.text
            assert ground.files() == {f"acme/a/{path}": data for path, data in sorted(TWO.items())}
            assert ground.litter() == []
        return 0

    try:
        if os.getuid() == 0:
            os.chown(folder, nobody, nobody)
        assert in_a_child(inside) == 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# -- real small file systems, in a namespace of our own ---------------------------------------------------------------


def _may_unshare() -> bool:
    found = shutil.which("unshare")
    words = [str(found), "-Urm", "sh", "-c", "mount -t tmpfs -o size=1m none /mnt"]
    return found is not None and subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _may_unshare(), reason="no user namespaces with mounts here; the injected faults above run")
@pytest.mark.parametrize("fault", ["full", "inodes", "readonly", "naive"])
def test_a_real_small_disk(world: Path, fault: str) -> None:
    words = ["unshare", "-Urm", sys.executable, __file__, fault, str(world)]
    environ = {**os.environ, "PYTHONPATH": f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}"}
    ran = subprocess.run(words, capture_output=True, text=True, env=environ, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def mounted(path: Path, options: str) -> None:
    path.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(path)], check=True)


def in_the_namespace(fault: str, world: Path) -> None:
    ground = Ground(world, FakeDownloader())
    small, large = {"m.gguf": content(1, 200_000)}, {"m.gguf": content(2, 300_000), "n.gguf": content(3, 400_000)}
    options = {"full": "size=600k", "inodes": "nr_inodes=14", "readonly": "size=4m", "naive": "size=250k"}
    mounted(world / "main", options[fault])
    if fault == "naive":  # the control: in place, the old file is lost
        target = world / "main/m.gguf"
        target.write_bytes(small["m.gguf"])
        with pytest.raises(OSError, match="No space"):
            target.write_bytes(large["m.gguf"])
        assert target.read_bytes() not in (small["m.gguf"], large["m.gguf"])
        return
    with fake_network(ground.net):
        ground.declare({"a": ("hf:acme/a", 1, small)})
        assert ground.apply().code == 0
        many = {f"d{n}/f.gguf": content(n) for n in range(20)} if fault == "inodes" else large
        ground.declare({"a": ("hf:acme/a", 2, {**many, "m.gguf": large["m.gguf"]})})
        ground.net.before = lambda item: _make_room_known(ground, item)
        if fault == "readonly":
            subprocess.run(["mount", "-o", "remount,ro", str(world / "main")], check=True)
        ran = ground.apply()
        assert ran.code in (1, 3, 5), ran.text
        assert is_clear(ran), ran.text
        assert ground.files() == {"acme/a/m.gguf": small["m.gguf"]}
        room = {"full": "size=4m", "inodes": "nr_inodes=500", "readonly": "rw"}[fault]
        subprocess.run(["mount", "-o", f"remount,{room}", str(world / "main")], check=True)
        ran = ground.apply()
        assert ran.code == 0, ran.text
        assert ground.run("verify", "--full").code == 0
        assert ground.run("plan", "--detailed-exitcode").code == 0
        assert ground.litter() == []


def _make_room_known(ground: Ground, item: Any) -> None:
    """Fail as a downloader does when the stage's disk is full: in the result, not by an exception."""
    from reconciler.errors import TransferError

    ground.net.broken.pop(item.digest, None)
    try:
        probe = item.stage / "probe_info"
        probe.write_bytes(ground.net.bytes_of[item.digest])
    except OSError as error:
        ground.net.broken[sha256(ground.net.bytes_of[item.digest])] = TransferError(f"{item.key}: {error.strerror}")
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


if __name__ == "__main__":
    in_the_namespace(sys.argv[1], Path(sys.argv[2]))
