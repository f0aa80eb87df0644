"""A canary token over everything: it is found with the hub that it is for, and nowhere else on this machine."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from apply_kit import FakeDownloader, Ground, Ran, content
from test_faults_hub import children, declare

from reconciler.download import find_aria2c
from reconciler.hub import Hub

pytestmark = pytest.mark.faults

MIB = 1 << 20
CANARY = "hf_CANARYmVzcXVhbGlhZm9ybWlj"
SHAPES = tuple(
    shape.encode()
    for shape in (
        CANARY, CANARY[3:], urllib.parse.quote(CANARY), base64.b64encode(CANARY.encode()).decode().rstrip("="),
        base64.b64encode(f":{CANARY}".encode()).decode().rstrip("="), CANARY.encode().hex(),
    )
)  # fmt: skip
FILES = {"big.gguf": content(1, 24 * MIB), "small.gguf": content(2, 5000), "config.json": b"{}"}


def leaks(data: bytes) -> bool:
    return any(shape in data for shape in SHAPES)


class Watcher:
    """Samples argv and environment of every process below one, and every file below some directories, while it runs."""

    def __init__(self, pid: int, folders: Iterable[Path]) -> None:
        self.pid = pid
        self.folders = tuple(folders)
        self.found: set[str] = set()
        self.seen: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.look_at_files()

    def _watch(self) -> None:
        while not self._over.is_set():
            self._look_at_processes(self.pid)
            self.look_at_files(16 * 1024)

    def _look_at_processes(self, pid: int) -> None:
        try:
            below = children(pid)
            own = Path(f"/proc/{self.pid}/cmdline").read_bytes()
        except OSError:
            return
        for child in below:
            try:
                said = Path(f"/proc/{child}/cmdline").read_bytes()
                environ = Path(f"/proc/{child}/environ").read_bytes()
            except OSError:
                continue
            if said == own:
                continue  # between fork and exec it still is the program itself
            self.seen.add(Path(said.split(b"\0")[0].decode()).name)
            if leaks(said):
                self.found.add(f"arguments of a child: {said[:80]!r}")
            if leaks(environ):
                self.found.add(f"environment of a child: {said[:80]!r}")
            self._look_at_processes(child)

    def look_at_files(self, most: int = 1 << 30) -> None:
        for folder in self.folders:
            for above, _, names in os.walk(folder):
                for name in names:
                    path = Path(above, name)
                    try:
                        with open(path, "rb") as file:
                            if leaks(file.read(most)) or leaks(os.fsencode(name)):
                                self.found.add(str(path))
                    except OSError:
                        continue


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub(token=CANARY) as running:
        running.add("acme/guarded", FILES, gated="manual", private=True)
        running.rate = 30.0 * MIB
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_TOKEN", CANARY)
        yield running


@pytest.fixture
def ground(world: Path, hub: Hub) -> Ground:
    made = Ground(world, FakeDownloader())
    declare(made, {"guarded": "hf:acme/guarded"})
    return made


def run(ground: Ground, found: set[str], *arguments: str) -> Ran:
    """Run the program in a process of its own, watched; what leaks is added to `found`."""
    words = [sys.executable, "-m", "reconciler", arguments[0], str(ground.manifest), *arguments[1:]]
    home = Path(os.environ["HOME"])
    with (
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)) as program,
        Watcher(program.pid, (ground.path, home)) as watcher,
    ):
        out, err = program.communicate(timeout=120)
    found |= watcher.found
    if leaks(out) or leaks(err):
        found.add(f"output of {arguments[0]}: {(out + err)[-400:]!r}")
    found |= {f"saw {name}" for name in watcher.seen if name == "aria2c"}
    return Ran(program.returncode, out.decode(), err.decode())


def leaked(hub: Hub, found: set[str]) -> set[str]:
    """Return what was found, and what reached an origin that the token is not for."""
    for request in hub.requests:
        if request.origin == "cdn" and leaks(repr((request.headers, request.path, request.query)).encode()):
            found.add(f"a request to the CDN: {request.path}")
    return {each for each in found if not each.startswith("saw ")}


def test_the_token_stays_between_us_and_the_hub(ground: Ground, hub: Hub) -> None:
    found: set[str] = set()
    for arguments in (
        ("plan", "--json", "-o", str(ground.path / "plan.json")), ("plan", "--markdown"), ("lock",), ("apply", "--yes"),
        ("verify", "--full", "--json"), ("plan", "--json"), ("undo", "--yes"), ("gc", "--older-than", "0s", "--yes"),
        ("apply", "--yes", "--json"),
    ):  # fmt: skip
        ran = run(ground, found, *arguments)
        assert ran.code == 0, f"{arguments}: {ran.text}"
    assert leaked(hub, found) == set()
    if find_aria2c() is not None:
        assert "saw aria2c" in found, "the watcher never saw aria2c at work"
    spoken = [request for request in hub.requests if leaks(repr(request.headers).encode())]
    assert spoken, "the token was never used, so that nothing was tested"
    assert {request.origin for request in spoken} == {"hub"}


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("status", {"code": 500}), ("status", {"code": 403}), ("html", {}), ("corrupt", {}), ("reset", {})],
    ids=["500", "403", "html", "corrupt", "reset"],
)
@pytest.mark.parametrize("origin", ["cdn", "hub"])
def test_no_error_says_the_token(
    ground: Ground, hub: Hub, monkeypatch: pytest.MonkeyPatch, kind: str, settings: dict[str, int], origin: str
) -> None:
    from test_faults_hub import QUICK, _impatient

    from reconciler import download
    from reconciler.sources import World

    assert ground.run("lock").code == 0
    real, environment = download.open_downloader, World.from_environment
    monkeypatch.setattr(download, "open_downloader", lambda _limits, **more: real(QUICK, **more))
    monkeypatch.setattr(World, "from_environment", lambda *a, **k: _impatient(environment(*a, **k)))
    hub.fault(kind, times=-1, origin=origin, **settings)  # type: ignore[arg-type]
    ran = ground.apply("--json")
    assert ran.code in (1, 3, 5), ran.text
    found: set[str] = set()
    watcher = Watcher(os.getpid(), (ground.path, Path(os.environ["HOME"])))
    watcher.look_at_files()
    assert not leaks(ran.text.encode()), ran.text
    assert leaked(hub, found | watcher.found) == set()


def test_a_refused_token_is_not_repeated(ground: Ground, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "hf_another"
    found: set[str] = set()
    ran = run(ground, found, "apply", "--yes")
    assert ran.code in (1, 3), ran.text
    assert leaked(hub, found) == set()


_LEAKY = """
import os, subprocess, sys
token = os.environ.pop("HF_TOKEN")
words = [sys.executable, "-c", "import sys; sys.stdin.read()"]
if sys.argv[1] == "argv": words.append("--header=Authorization: Bearer " + token)
env = {**os.environ, **({"HF_TOKEN": token} if sys.argv[1] == "environ" else {})}
if sys.argv[1] == "file": open(sys.argv[2] + "/session", "w").write("token=" + token)
child = subprocess.Popen(words, env=env, stdin=subprocess.PIPE)
print("leaking", flush=True)
sys.stdin.read()
child.stdin.close()
child.wait()
"""


@pytest.mark.parametrize("way", ["argv", "environ", "file"])
def test_the_watcher_finds_a_program_that_leaks(world: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    words = [sys.executable, "-c", _LEAKY, way, str(world)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stdin is not None
        program.stdout.readline()
        watcher = Watcher(program.pid, (world,))
        while way != "file" and not watcher.found and program.poll() is None:  # exec comes a moment after fork
            watcher._look_at_processes(program.pid)
        watcher.look_at_files()
        program.stdin.close()
    assert len(watcher.found) >= 1
