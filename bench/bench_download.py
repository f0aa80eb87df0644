"""Measure the download engine against raw aria2c and huggingface_hub, in interleaved rounds.

    python bench/bench_download.py [--scale 0.25] [--rounds 3] [--work DIR] [large small many throttled killed]

A hub in a process of its own serves the files; every figure is a ratio of medians: above 1 means that we are faster.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from reconciler.download import Arrived, HubFile, Limits, Wanted, find_aria2c, open_downloader
from reconciler.download.aria2 import connections
from reconciler.located import Located
from reconciler.state import Digest

MIB = 1 << 20
REPO = "bench/model"


class Item(NamedTuple):
    path: str
    size: int
    digest: Digest


class Server(NamedTuple):
    url: str
    cdn: str
    commit: str


def make(directory: Path, files: int, size: int, name: str = "part") -> list[Item]:
    """Write `files` files of `size` bytes that no compressor and no cache can shorten."""
    items = []
    block = random.Random(files).randbytes(MIB)
    for number in range(files):
        path = f"{name}-{number:05d}.bin"
        hasher = hashlib.sha256()
        with open(directory / path, "wb") as file:
            left, turn = size, 0
            while left > 0:
                data = (number.to_bytes(8, "big") + turn.to_bytes(8, "big") + block[16:])[: min(left, MIB)]
                file.write(data)
                hasher.update(data)
                left -= len(data)
                turn += 1
        items.append(Item(path, size, Digest("sha256:" + hasher.hexdigest())))
    return items


@contextlib.contextmanager
def serving(directory: Path, rate: int | None = None) -> Iterator[Server]:
    """Serve `directory`/bench/model from a process of its own, without redirects for what is not large."""
    command = [sys.executable, "-m", "reconciler.hub", "--directory", str(directory), "--direct"]
    if rate:
        command += ["--rate", str(rate)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield Server(told["url"], told["cdn_url"], told["commits"][REPO])
    finally:
        process.terminate()
        process.wait()


def wanted(server: Server, items: Sequence[Item], stage: Path) -> list[Wanted]:
    stage.mkdir(parents=True, exist_ok=True)
    return [
        Wanted(item.path, item.size, item.digest, stage, lambda item=item: locate(server, item),
               HubFile(server.url, REPO, server.commit, item.path))
        for item in items
    ]  # fmt: skip


def locate(server: Server, item: Item) -> Located:
    """What the Hub's source does: small files by their plain address, large ones by a signed one."""
    path = f"/{REPO}/resolve/{server.commit}/{urllib.parse.quote(item.path)}"
    if item.size < Limits().small:
        return Located(server.url + path)
    return Located(signed(server, path), shareable=True)


def signed(server: Server, path: str) -> str:
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(server.url).netloc)
    connection.request("HEAD", path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.getheader("Location") or server.url + path


def ours(server: Server, items: Sequence[Item], stage: Path, limits: Limits) -> None:
    with open_downloader(limits) as downloader:
        for result in downloader.fetch(wanted(server, items, stage), lambda _: None):
            assert isinstance(result, Arrived), result.error


def raw_aria2c(server: Server, items: Sequence[Item], directory: Path, limits: Limits, *options: str) -> None:
    """aria2c by itself, with the options that we give it (no verification, no fsync)."""
    program = find_aria2c()
    assert program is not None
    split = connections(limits, len(items))
    urls = [locate(server, item).url for item in items]
    lines = "".join(f"{url}\n  out={item.path}\n" for url, item in zip(urls, items, strict=True))
    settings = options or (
        f"-j{limits.files}", f"-x{split}", f"-s{split}", f"--piece-length={limits.piece}",
        f"--min-split-size={limits.piece}", "--stream-piece-selector=inorder", "--auto-save-interval=1",
    )  # fmt: skip
    command = [
        str(program.path),
        "--no-conf",
        "-q",
        "--file-allocation=none",
        f"--dir={directory}",
        "-i",
        "-",
        *settings,
    ]
    subprocess.run(command, input=lines, text=True, check=True)


def snapshot(server: Server, directory: Path, *, check: bool) -> None:
    """huggingface_hub's own snapshot_download, and its checksum pass, in a process of its own."""
    code = (
        "import sys; from huggingface_hub import snapshot_download, HfApi\n"
        f"snapshot_download({REPO!r}, revision={server.commit!r}, cache_dir=sys.argv[1], etag_timeout=60)\n"
        f"at = dict(revision={server.commit!r}, cache_dir=sys.argv[1])\n"
        f"{'' if check else '#'}HfApi().verify_repo_checksums({REPO!r}, **at)\n"
    )
    environment = {
        **os.environ, "HF_ENDPOINT": server.url, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }  # fmt: skip
    subprocess.run([sys.executable, "-c", code, str(directory)], env=environment, check=True, capture_output=True)


def ours_apart(server: Server, items: Sequence[Item], stage: Path, peaks: list[float]) -> None:
    """Ours in a process of its own: pays for starting Python, as a command does; its peak memory (MiB) is noted."""
    done = subprocess.run(apart(server, items, stage), check=True, stdout=subprocess.PIPE, text=True)
    peaks.append(int(done.stdout) / 1024)


def apart(server: Server, items: Sequence[Item], stage: Path) -> list[str]:
    stage.mkdir(parents=True, exist_ok=True)
    listing = stage.with_suffix(".json")
    listing.write_text(json.dumps([server, items]))
    return [sys.executable, __file__, "--one", str(listing), str(stage)]


def one(listing: Path, stage: Path) -> None:
    """The body of `ours_apart`."""
    server, items = json.loads(listing.read_text())
    ours(Server(*server), [Item(*item) for item in items], stage, Limits())
    print(peak_memory())


def peak_memory() -> int:
    """Peak resident memory of this process, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def compete(runs: dict[str, Callable[[Path], None]], rounds: int, work: Path) -> dict[str, float]:
    """Run each in turn, `rounds` times, from an empty directory; return the median seconds of each."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds):
        order = list(runs.items())
        for name, run in order if turn % 2 == 0 else reversed(order):
            directory = Path(tempfile.mkdtemp(dir=work))
            os.sync()
            begun = time.perf_counter()
            run(directory / "stage")
            times[name].append(time.perf_counter() - begun)
            shutil.rmtree(directory)
    return {name: statistics.median(values) for name, values in times.items()}


def large(scale: float, rounds: int, work: Path) -> dict[str, float]:
    """One file of 2 GiB against raw aria2c with the same options."""
    limits = Limits()
    with world(work, 1, int(2048 * MIB * scale)) as (directory, items), serving(directory) as server:
        found = compete({
            "ours": lambda at: ours(server, items, at, limits),
            "raw aria2c": lambda at: raw_aria2c(server, items, at, limits),
        }, rounds, work)  # fmt: skip
    return {**found, "ratio": found["raw aria2c"] / found["ours"]}


def small(scale: float, rounds: int, work: Path) -> dict[str, float]:
    """2,000 files of 100 KiB against raw aria2c -j16."""
    limits = Limits()
    with world(work, int(2000 * scale), 100 * 1024) as (directory, items), serving(directory) as server:
        found = compete({
            "ours": lambda at: ours(server, items, at, limits),
            "raw aria2c -j16": lambda at: raw_aria2c(server, items, at, limits, "-j16"),
        }, rounds, work)  # fmt: skip
    return {**found, "ratio": found["raw aria2c -j16"] / found["ours"]}


def many(scale: float, rounds: int, work: Path, rate: int | None = None) -> dict[str, float]:
    """8 files of 256 MiB against snapshot_download, without and with its checksum pass."""
    peaks: list[float] = []
    with world(work, 8, int(256 * MIB * scale)) as (directory, items), serving(directory, rate) as server:
        found = compete({
            "ours": lambda at: ours_apart(server, items, at, peaks),
            "snapshot": lambda at: snapshot(server, at, check=False),
            "snapshot + verify": lambda at: snapshot(server, at, check=True),
        }, rounds, work)  # fmt: skip
    return {
        **found,
        "ratio": found["snapshot"] / found["ours"],
        "ratio verified": found["snapshot + verify"] / found["ours"],
        "memory, MiB": max(peaks),
    }


def throttled(scale: float, rounds: int, work: Path) -> dict[str, float]:
    """The same where the server gives 20 MiB/s to each connection."""
    return many(scale, rounds, work, rate=20 * MIB)


def killed(scale: float, rounds: int, work: Path) -> dict[str, float]:
    """SIGKILL about half-way through a file that takes 25 s: the bytes that come again, as a share of the file.

    aria2c notes once a second what it has, so a second's worth is the price of a kill.
    """
    size = int(1024 * MIB * scale)
    with world(work, 1, size) as (directory, items), serving(directory, size // 16 // 25) as server:
        stage = work / "killed" / "stage"
        process = subprocess.Popen(apart(server, items, stage))
        payload = stage / items[0].digest.replace(":", "-")
        while not payload.exists() or payload.stat().st_blocks * 512 < size // 2:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        there = payload.stat().st_blocks * 512
        with open_downloader() as downloader:
            (result,) = downloader.fetch(wanted(server, items, stage), lambda _: None)
        assert isinstance(result, Arrived), result.error
        shutil.rmtree(stage)
    return {"size": size, "there": there, "fetched": result.received, "extra": (result.received + there - size) / size}


@contextlib.contextmanager
def world(work: Path, files: int, size: int) -> Iterator[tuple[Path, list[Item]]]:
    directory = Path(tempfile.mkdtemp(dir=work))
    home = directory / REPO
    home.mkdir(parents=True)
    try:
        yield directory, make(home, files, size)
    finally:
        shutil.rmtree(directory)


PROMISES = (
    ("large: ratio", 0.97, True),
    ("small: ratio", 1.5, True),
    ("many: ratio verified", 1.5, True),
    ("many: memory, MiB", 100.0, False),
    ("throttled: ratio verified", 3.0, True),
    ("killed: extra", 0.05, False),
)
"""Figure, bound, and whether it is a lower one; `python -m bench` judges."""

BENCHES = {"large": large, "small": small, "many": many, "throttled": throttled, "killed": killed}


def measure(
    names: Sequence[str] = tuple(BENCHES), *, scale: float = 1.0, rounds: int = 3, work: Path | None = None
) -> dict[str, dict[str, float]]:
    """Run the named benches and return their figures: seconds, and ratios (above 1: we are faster)."""
    found = {}
    with tempfile.TemporaryDirectory(dir=work) as directory:
        for name in names:
            found[name] = BENCHES[name](scale, rounds, Path(directory))
            print(f"{name:10}", {key: round(value, 3) for key, value in found[name].items()}, flush=True)
    return found


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        one(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(BENCHES))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, help="a directory on the disk to be measured")
    options = parser.parse_args()
    measure(options.names, scale=options.scale, rounds=options.rounds, work=options.work)


if __name__ == "__main__":
    main()
