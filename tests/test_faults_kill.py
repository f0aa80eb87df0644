"""SIGKILL at every single thing that apply asks of the disk; afterwards the next apply needs nobody's help.

The plan at hand has something of everything: a download, a new revision that replaces and drops files, a link, a move
to another place, a rename, a removal, mere records, and a cache with links and a note.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from apply_kit import FakeDownloader, Ground, content, fake_network
from crash_kit import arm, in_a_child

pytestmark = pytest.mark.faults

SHARDS = 6
STORES = {"main": "huggingface", "mirror": "flat", "cache": "hf-cache"}

WEIGHTS, OLD_WEIGHTS = content(1), content(2)
SHARED = content(3)


def before(ground: Ground) -> None:
    ground.declare(
        {
            "model": ("hf:acme/model", 1, {"w.safetensors": OLD_WEIGHTS, "config.json": b"{1}", "sub/old.txt": b"old"}),
            "old-name": ("hf:acme/named", 1, {"n.gguf": content(4)}),
            "gone": ("hf:acme/gone", 1, {"g.gguf": content(5), "sub/g.json": b"{}"}),
            "mover": ("hf:acme/mover", 1, {"m.gguf": content(6)}),
            "said": ("hf:acme/said", 1, {"s.gguf": content(7)}),
            "cached": ("hf:acme/cached", 1, {"c.gguf": content(8), "config.json": b"{8}"}, {"location": "cache"}),
        },
        locations=STORES,
    )


def after(ground: Ground) -> None:
    ground.declare(
        {
            "model": ("hf:acme/model", 2, {"w.safetensors": WEIGHTS, "config.json": b"{2}"}),
            "new-name": ("hf:acme/named", 1, {"n.gguf": content(4)}),
            "mover": ("hf:acme/mover", 1, {"m.gguf": content(6)}, {"location": "mirror"}),
            "said": ("hf:acme/said", 1, {"s.gguf": content(7)}, {"served_as": "chat"}),
            "cached": ("hf:acme/cached", 2, {"c.gguf": content(9), "config.json": b"{8}"}, {"location": "cache"}),
            "fresh": ("hf:acme/fresh", 1, {"f.gguf": SHARED, "twice.gguf": SHARED}),
            "twin": ("hf:other/twin", 1, {"t.gguf": SHARED}, {"location": "mirror"}),
        },
        locations=STORES,
    )


def killed_at(at: int, ground: Ground, command: Callable[[], int]) -> int:
    def work() -> int:
        arm(at)
        return command()

    return in_a_child(work)


@pytest.fixture
def grounds(world: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Ground]]:
    """Make a machine a number, each with a cache of its own."""
    # A patch of its own, undone before the one below it: otherwise the fake would be put back, for good.
    with fake_network(FakeDownloader()), pytest.MonkeyPatch.context() as patch:

        def make(number: int) -> Ground:
            path = world / str(number)
            path.mkdir()
            monkeypatch.setenv("XDG_CACHE_HOME", str(path / ".cache"))
            net = FakeDownloader()
            from reconciler import download

            patch.setattr(download, "open_downloader", lambda *_, **__: _Open(net))
            return Ground(path, net)

        yield make


class _Open:
    def __init__(self, net: FakeDownloader) -> None:
        self._net = net

    def __enter__(self) -> FakeDownloader:
        return self._net

    def __exit__(self, *_: object) -> None: ...


def places(ground: Ground) -> dict[str, bytes]:
    return {f"{name}/{path}": data for name in STORES for path, data in ground.files(name).items()}


def expectations(make: Callable[[int], Ground]) -> tuple[dict[str, bytes], dict[str, bytes], dict[str, dict[str, str]]]:
    """Return what stands before and after an apply that nobody disturbs, and the links after it."""
    ground = make(0)
    before(ground)
    assert ground.apply().code == 0
    old = places(ground)
    after(ground)
    ran = ground.apply()
    assert ran.code == 0, ran.text
    assert ground.run("plan", "--detailed-exitcode").code == 0, ground.run("plan").out
    assert ground.litter() == []
    return old, places(ground), {name: ground.links(name) for name in STORES}


def torn(ground: Ground, old: dict[str, bytes], new: dict[str, bytes]) -> list[str]:
    """Name the final paths that hold neither the whole old file nor the whole new one, nor nothing where it may."""
    now = places(ground)
    wrong = [path for path, data in now.items() if data not in (old.get(path), new.get(path))]
    return wrong + [path for path in old if path in new and path not in now]


@pytest.mark.parametrize("shard", range(SHARDS))
def test_whatever_call_apply_dies_at_the_next_one_finishes_and_the_one_after_has_nothing_to_do(
    grounds: Callable[[int], Ground], shard: int
) -> None:
    old, new, links = expectations(grounds)
    at = shard + 1
    while True:
        ground = grounds(at)
        before(ground)
        assert ground.apply().code == 0
        after(ground)
        code = killed_at(at, ground, lambda ground=ground: ground.apply().code)
        assert code in (0, -signal.SIGKILL), f"{at}: {code}"
        assert torn(ground, old, new) == [], at
        ran = ground.apply()
        assert ran.code == 0, f"{at}: {ran.text}"
        assert ground.run("verify", "--full").code == 0, at
        assert ground.run("plan", "--detailed-exitcode").code == 0, f"{at}: {ground.run('plan').out}"
        assert (places(ground), {name: ground.links(name) for name in STORES}) == (new, links), at
        assert ground.litter() == [], at
        if code == 0:
            assert at > 100, "the matrix has become too small to say anything"
            return
        at += SHARDS


@pytest.mark.parametrize("at", [70, 95, 110, 125, 140, 160, 185])
def test_a_recovery_that_is_killed_again_and_again_still_comes_to_its_end(
    grounds: Callable[[int], Ground], at: int
) -> None:
    old, new, links = expectations(grounds)
    ground = grounds(at)
    before(ground)
    assert ground.apply().code == 0
    after(ground)
    assert killed_at(at, ground, lambda: ground.apply().code) == -signal.SIGKILL
    for again in range(1, 400):  # `gc` recovers first, as every command that writes does
        code = killed_at(again, ground, lambda: ground.run("gc", "--yes").code)
        assert torn(ground, old, new) == [], again
        if code == 0:
            break
        assert code == -signal.SIGKILL, again
    else:
        pytest.fail("recovery never came to an end")
    assert ground.run("verify", "--full").code == 0
    assert ground.apply().code == 0
    assert ground.run("plan", "--detailed-exitcode").code == 0
    assert (places(ground), {name: ground.links(name) for name in STORES}) == (new, links)
    assert ground.litter() == []


@pytest.mark.parametrize("at", [80, 120, 150, 190])
def test_an_apply_that_was_killed_can_be_undone(grounds: Callable[[int], Ground], at: int) -> None:
    old, _, _ = expectations(grounds)
    ground = grounds(at)
    before(ground)
    assert ground.apply().code == 0
    after(ground)
    assert killed_at(at, ground, lambda: ground.apply().code) == -signal.SIGKILL
    ran = ground.run("undo", "--yes")
    assert ran.code == 0, ran.text
    assert places(ground) == old
    assert ground.run("verify", "--full").code == 0
    # What had come already waits in the stage: the manifest still wants it, and the next apply takes it up.
    assert [left for left in ground.litter() if "/stage/sha256-" not in left] == []


@pytest.mark.parametrize("shard", range(3))
def test_a_manifest_that_is_taken_back_after_a_kill_is_what_the_next_apply_makes_true(
    grounds: Callable[[int], Ground], shard: int
) -> None:
    old, _, _ = expectations(grounds)
    for at in range(30 + 5 * shard, 400, 15):
        ground = grounds(at)
        before(ground)
        assert ground.apply().code == 0
        after(ground)
        code = killed_at(at, ground, lambda ground=ground: ground.apply().code)
        before(ground)
        ran = ground.apply()
        assert ran.code == 0, f"{at}: {ran.text}"
        assert places(ground) == old, at  # nothing that was begun is left lying about, managed by nobody
        assert ground.run("verify", "--full").code == 0, at
        assert ground.run("plan", "--detailed-exitcode").code == 0, at
        assert ground.litter() == [], at
        if code == 0:
            return


@pytest.mark.parametrize("shard", range(2))
def test_whatever_call_undo_dies_at_the_next_undo_goes_back_all_the_way(
    grounds: Callable[[int], Ground], shard: int
) -> None:
    old, new, _ = expectations(grounds)
    for at in range(40 + 9 * shard, 400, 18):
        ground = grounds(at)
        before(ground)
        assert ground.apply().code == 0
        after(ground)
        assert ground.apply().code == 0
        code = killed_at(at, ground, lambda ground=ground: ground.run("undo", "--yes").code)
        assert torn(ground, new, old) == [], at
        if code == 0:
            assert places(ground) == old
            return
        ran = ground.run("undo", "--to", "2", "--yes")
        assert ran.code == 0, f"{at}: {ran.text}"
        assert places(ground) == old, at
        assert ground.run("verify", "--full").code == 0, at
        assert ground.litter() == [], at


def test_whatever_call_gc_dies_at_the_next_one_frees_the_rest(grounds: Callable[[int], Ground]) -> None:
    for at in range(1, 60):
        ground = grounds(at)
        ground.declare({"gone": ("hf:acme/gone", 1, {"g.gguf": content(5), "h.gguf": content(6)})})
        assert ground.apply().code == 0
        ground.declare({})
        assert ground.apply().code == 0
        code = killed_at(at, ground, lambda ground=ground: ground.run("gc", "--older-than", "0s", "--yes").code)
        assert ground.run("gc", "--older-than", "0s", "--yes").code == 0
        assert ground.trash() == {}
        assert ground.litter() == [], at
        if code == 0:
            return


def test_the_matrix_finds_the_faults_of_a_naive_installer(world: Path) -> None:
    target, record, new = world / "model.gguf", world / "record", content(1)

    def naive() -> int:
        for path, data in ((record, b"new"), (target, new)):  # the record first, then in place
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            os.write(fd, data)
            os.fsync(fd)
            os.close(fd)
        return 0

    def at_every_call() -> Iterator[tuple[bytes, bytes]]:
        for at in range(1, 20):
            record.write_bytes(b"old")
            target.write_bytes(content(2))

            def work(at: int = at) -> int:
                arm(at)
                return naive()

            code = in_a_child(work)
            yield target.read_bytes(), record.read_bytes()
            if code == 0:
                return

    seen = list(at_every_call())
    assert any(data not in (content(1), content(2)) for data, _ in seen), "no torn file"
    assert any(said == b"new" and data != new for data, said in seen), "no false record"


# -- the same from outside, where strace is there ---------------------------------------------------------------------


def _strace() -> str | None:
    import shutil
    import subprocess

    found = shutil.which("strace")
    if found and subprocess.run([found, "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0:
        return found
    return None


@pytest.mark.skipif(_strace() is None, reason="strace is not here, or may not trace; the matrix above runs without it")
@pytest.mark.parametrize("call", ["renameat2,renameat,rename", "linkat", "fsync", "unlinkat", "mkdirat,mkdir", "write"])
def test_the_real_program_killed_from_outside_converges_too(world: Path, call: str) -> None:
    import subprocess

    source = world / "upstream"
    source.mkdir()
    ground = Ground(world, FakeDownloader())

    def declare(seed: int) -> None:
        (source / "w.gguf").write_bytes(content(seed))
        (source / "config.json").write_bytes(b"%d" % seed)
        files = {"w.gguf": content(seed), "config.json": b"%d" % seed}
        ground.declare(
            {"a": (f"file:{source}", seed, files), "b": (f"file:{source}", seed, files, {"location": "other"})},
            locations={"main": "flat", "other": "huggingface"},
        )
        lock = world / "ws.lock.json"
        lock.unlink()  # a file: source has no commits; let the program resolve it

    declare(1)
    assert ground.apply().code == 0
    old = {**ground.files("main"), **ground.files("other")}
    declare(2)
    killed = 0
    for at in (1, 2, 3, 5, 8):
        arguments = [
            str(_strace()),
            "-f",
            "-o",
            "/dev/null",
            "-e",
            f"trace={call}",
            "-e",
            f"inject={call}:signal=SIGKILL:when={at}",
            sys.executable,
            "-m",
            "reconciler",
            "apply",
            "--yes",
            str(ground.manifest),
        ]
        code = subprocess.run(arguments, capture_output=True, check=False, env={**os.environ}).returncode
        killed += code != 0
        new = {path: content(2) if path.endswith("gguf") else b"2" for path in old}
        for path, data in {**ground.files("main"), **ground.files("other")}.items():
            assert data in (old[path], new[path])
        if code == 0:
            break
    assert killed, "strace killed nothing: is the call in trace=?"
    assert ground.apply().code == 0
    assert {**ground.files("main"), **ground.files("other")} == new
    assert ground.run("verify", "--full").code == 0
    assert ground.run("plan", "--detailed-exitcode").code == 0
    assert ground.litter() == []
