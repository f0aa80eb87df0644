"""SIGKILL at every single thing that an apply asks of the disk of an Ollama store; the server starts in between.

At every moment each blob is whole, each manifest is an old or a new one and names blobs that are there: a server that
looks, or starts and prunes, finds models. The apply at hand replaces one, derives one, adds one, removes one, and
leaves alone what somebody else made of the same blobs.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from apply_kit import FakeDownloader, fake_network, sha256
from crash_kit import arm, in_a_child
from ollama_box_kit import Box, move, snapshot, stock
from ollama_kit import install

from reconciler.hub.ggufs import gguf
from reconciler.hub.ollama_registry import Registry
from reconciler.hub.ollama_server import OllamaServer

pytestmark = pytest.mark.faults

SHARDS = 4
THEIRS = "registry.ollama.ai/library/theirs/latest"


class Scene(NamedTuple):
    """What every machine of a test begins with: the registry, and the lock before and after upstream moved."""

    registry: Registry
    net: FakeDownloader
    before: str
    after: str


def declare_before(box: Box) -> None:
    box.declare(
        {
            "moving": {},
            "named": {"served_as": "named"},
            "going": {"source": box.source("tiny:v2"), "served_as": "going"},
        }
    )


def declare_after(box: Box) -> None:
    box.declare(
        {
            "moving": {},
            "named": {"served_as": "named", "system": "Be brief.", "parameters": {"num_ctx": 64}},
            "coming": {"source": box.source("other"), "served_as": "coming"},
        }
    )


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with Registry.start() as registry, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        stock(registry)
        box = Box(tmp_path_factory.mktemp("scene"), registry)
        texts = []
        for declare, command in ((declare_before, ("lock",)), (declare_after, ("lock", "--upgrade"))):
            declare(box)
            ran = box.run(*command)
            assert ran.code == 0, ran.text
            texts.append(box.manifest.with_suffix(".lock.json").read_text())
            move(registry)
        net = FakeDownloader({digest: b"".join(blob.blocks()) for digest, blob in registry._blobs.items()})
        with fake_network(net):
            yield Scene(registry, net, texts[0], texts[1])


@pytest.fixture
def machine(world: Path, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Box]:
    """Make a machine a number that stands where the apply at hand begins."""

    def make(number: int) -> Box:
        path = world / str(number)
        path.mkdir()
        monkeypatch.setenv("XDG_CACHE_HOME", str(path / ".cache"))
        box = Box(path, scene.registry)
        begin(box, scene)
        ran = box.apply()
        assert ran.code == 0, ran.text
        install(box.models, THEIRS, {"model": gguf("Q4_K_M", name="tiny")}, b'{"theirs":1}')
        finish(box, scene)
        return box

    return make


def begin(box: Box, scene: Scene) -> None:
    declare_before(box)
    box.manifest.with_suffix(".lock.json").write_text(scene.before)


def finish(box: Box, scene: Scene) -> None:
    declare_after(box)
    box.manifest.with_suffix(".lock.json").write_text(scene.after)


def expected(machine: Callable[[int], Box], scene: Scene) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return the store before and after an apply that nobody disturbs."""
    box = machine(0)
    old = snapshot(box.models)
    box.applied()
    assert box.litter() == []
    new = snapshot(box.models)
    assert set(old) - set(new), "nothing is removed in this scene"
    assert set(new) - set(old), "nothing comes in this scene"
    return old, new


def half(models: Path, old: dict[str, bytes], new: dict[str, bytes]) -> list[str]:
    """Name what no server should ever find: blobs that are not what they say, manifests that are torn or lack blobs."""
    found = []
    now = snapshot(models)
    for path, data in now.items():
        if path.startswith("blobs/"):
            if hashlib.sha256(data).hexdigest() != path.rpartition("sha256-")[2]:
                found.append(f"torn {path}")
        elif data not in (old.get(path), new.get(path)):
            found.append(f"torn {path}")
        else:
            value = json.loads(data)
            needed = [layer["digest"] for layer in [*value["layers"], value["config"]]]
            found += [f"{path} lacks {d}" for d in needed if f"blobs/{d.replace(':', '-')}" not in now]
    return found


def server_starts(box: Box) -> None:
    """Let a server start, which prunes, and list what it finds."""
    with OllamaServer.start(box.models) as server:
        assert server.warnings == []


def killed_at(at: int, command: Callable[[], int]) -> int:
    def work() -> int:
        arm(at)
        return command()

    return in_a_child(work)


def settled(box: Box, new: dict[str, bytes], at: int) -> None:
    ran = box.apply()
    assert ran.code == 0, f"{at}: {ran.text}"
    assert snapshot(box.models) == new, at
    assert box.run("verify", "--full").code == 0, at
    assert box.run("plan", "--detailed-exitcode").code == 0, f"{at}: {box.run('plan').out}"
    assert box.litter() == [], at


@pytest.mark.parametrize("shard", range(SHARDS))
def test_whatever_call_an_apply_dies_at_the_server_finds_whole_models_and_the_next_apply_finishes(
    machine: Callable[[int], Box], scene: Scene, shard: int
) -> None:
    old, new = expected(machine, scene)
    at = shard + 1
    while True:
        box = machine(at)
        code = killed_at(at, lambda box=box: box.apply().code)  # type: ignore[misc]
        assert code in (0, -signal.SIGKILL), f"{at}: {code}"
        assert half(box.models, old, new) == [], at
        server_starts(box)
        settled(box, new, at)
        assert (box.models / "manifests" / THEIRS).exists()
        if code == 0:
            assert at > 60, "the matrix has become too small to say anything"
            return
        at += SHARDS


@pytest.mark.parametrize("at", [60, 80, 100, 120, 140])
def test_a_recovery_that_is_killed_again_and_again_still_comes_to_its_end(
    machine: Callable[[int], Box], scene: Scene, at: int
) -> None:
    old, new = expected(machine, scene)
    box = machine(at)
    code = killed_at(at, lambda: box.apply().code)
    if code == 0:
        pytest.skip("the apply is shorter than that")
    for again in range(1, 400):
        code = killed_at(again, lambda: box.run("gc", "--yes").code)
        assert half(box.models, old, new) == [], again
        server_starts(box)
        if code == 0:
            break
        assert code == -signal.SIGKILL, again
    else:
        pytest.fail("recovery never came to an end")
    settled(box, new, at)


@pytest.mark.parametrize("at", [40, 80, 110, 140])
def test_an_apply_that_was_killed_can_be_undone(machine: Callable[[int], Box], scene: Scene, at: int) -> None:
    old, new = expected(machine, scene)
    box = machine(at)
    killed_at(at, lambda: box.apply().code)
    ran = box.run("undo", "--yes")
    assert ran.code in (0, 1), ran.text  # 1: it died before there was anything to undo
    if ran.code == 0:
        assert snapshot(box.models) == old, at
    assert half(box.models, old, new) == []
    finish(box, scene)
    settled(box, new, at)


def test_a_blob_that_was_linked_with_an_old_time_and_pruned_before_its_manifest_came_is_linked_again(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hard link is as old as its file. Killed between blob and manifest, a server that starts takes it for refuse."""
    from reconciler.hub.server import Hub

    data = gguf("Q4_K_M", name="tiny")
    net = FakeDownloader({sha256(data): data})
    pruned = False
    with Hub() as hub, Registry.start() as registry, fake_network(net):
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.add("acme/Tiny-GGUF", {"tiny.gguf": data})
        for at in range(1, 400, 3):
            path = world / f"box{at}"
            path.mkdir()
            monkeypatch.setenv("XDG_CACHE_HOME", str(path / ".cache"))
            box = Box(path, registry)
            places = {"lmstudio": {"store": "lmstudio", "root": str(path / "lmstudio")}}
            first = {"source": "hf:acme/Tiny-GGUF", "location": "lmstudio"}
            box.declare({"first": first}, locations=places)
            assert box.apply().code == 0
            old_file = path / "lmstudio/acme/Tiny-GGUF/tiny.gguf"
            os.utime(old_file, (1, 1))
            box.declare(
                {"first": first, "linked": {"source": first["source"], "served_as": "linked"}}, locations=places
            )
            code = killed_at(at, lambda box=box: box.apply().code)  # type: ignore[misc]
            blobs = set(box.blobs())
            with OllamaServer.start(box.models):
                pruned = pruned or set(box.blobs()) != blobs
            box.applied()
            assert box.broken_blobs() == []
            assert box.blob("linked").samefile(old_file)
            assert old_file.read_bytes() == data
            if code == 0:
                assert pruned, "no server pruned anything: the test says nothing"
                return
    pytest.fail("it never came to an end")


def test_the_matrix_finds_the_faults_of_a_naive_installer(world: Path) -> None:
    """The control: manifest first, blobs in place."""
    models, data = world / "models", b"weights" * 1000
    blob = models / "blobs" / f"sha256-{hashlib.sha256(data).hexdigest()}"
    manifest = models / "manifests/registry.ollama.ai/library/naive/latest"
    layer = {"mediaType": "x", "digest": blob.name.replace("-", ":"), "size": len(data)}
    text = json.dumps({"layers": [], "config": layer}).encode()
    for path in (blob, manifest):
        path.parent.mkdir(parents=True)
    new = {str(blob.relative_to(models)): data, str(manifest.relative_to(models)): text}

    def naive() -> int:
        for path, content in ((manifest, text), (blob, data)):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.write(fd, content)
            os.fsync(fd)
            os.close(fd)
        return 0

    seen: set[str] = set()
    for at in range(1, 30):
        for path in (blob, manifest):
            path.unlink(missing_ok=True)
        code = killed_at(at, naive)
        try:
            seen |= {finding.partition(" ")[0] for finding in half(models, {}, new)}
        except ValueError:
            seen.add("unreadable")
        if code == 0:
            break
    assert "torn" in seen
    assert str(manifest.relative_to(models)) in seen, "no model was listed without its blobs"
