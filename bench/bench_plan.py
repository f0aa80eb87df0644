"""Measure plans in which nothing is to do, `--help`, and `verify`, whole processes, beside a yardstick in plain Python.

The yardstick of a plan does the least that any plan must: start Python, read the lock as JSON, look at every directory
and compare sizes. The yardstick of `verify` hashes the same files with hashlib, one thread a core.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FILES = ("config.json", "model.safetensors", "tokenizer.json")
_RECONCILER = (sys.executable, "-m", "reconciler")
_YARDSTICK = """
import json, os, sys
lock = json.load(open(sys.argv[2]))["variants"]
seen = {}
for top, folders, files in os.walk(sys.argv[1]):
    with os.scandir(top) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                seen[entry.path] = entry.stat(follow_symlinks=False).st_size
wrong = 0
for name, pin in lock.items():
    folder = os.path.join(sys.argv[1], pin["source"][3:])
    for file in pin["files"]:
        wrong += seen.get(os.path.join(folder, file["path"])) != file["size"]
sys.exit(wrong != 0)
"""


def world(work: Path, variants: int) -> Path:
    """Write a manifest of `variants` variants with three files each, its lock, and the files; return the manifest."""
    work.mkdir(parents=True)
    root = work / "weights"
    manifest = ["version: 1", f"name: bench{variants}", f"registry: {work}/registry", "locations:"]
    manifest += [f"  weights: {{ store: huggingface, root: {root} }}", "variants:"]
    pins = {}
    for number in range(variants):
        folder = root / "acme" / f"repo-{number}"
        folder.mkdir(parents=True)
        files = []
        for name in FILES:
            data = f"{number} {name}".encode()
            (folder / name).write_bytes(data)
            files.append({"path": name, "size": len(data), "digest": f"sha256:{hashlib.sha256(data).hexdigest()}"})
        manifest += [f"  variant-{number}:", f"    source: hf:acme/repo-{number}", "    backend: vllm"]
        revision = hashlib.sha1(str(number).encode()).hexdigest()
        pins[f"variant-{number}"] = {"source": f"hf:acme/repo-{number}", "revision": revision, "files": files}
    path = work / "bench.yaml"
    path.write_text("\n".join(manifest) + "\n")
    (work / "bench.lock.json").write_text(json.dumps({"version": 1, "variants": pins}))
    return path


def timed(command: Sequence[str], *, cwd: Path, expect: int = 0) -> tuple[float, int]:
    """Run a command and return (seconds, peak memory in bytes)."""
    env = {**os.environ, "XDG_CACHE_HOME": str(cwd / "cache"), "NO_COLOR": "1"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its byte code
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    errors = process.stderr.read().decode() if process.stderr else ""
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    if code != expect:
        raise SystemExit(f"{' '.join(command)} ended with {code}: {errors}")
    return seconds, usage.ru_maxrss * 1024


def rounds_of(runs: dict[str, Callable[[], tuple[float, int]]], rounds: int) -> dict[str, tuple[float, int]]:
    """Run all of them in turn, `rounds` times; return medians of the seconds and the highest memory."""
    results: dict[str, list[tuple[float, int]]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            results[name].append(run())
    return {
        name: (statistics.median(seconds for seconds, _ in found), max(memory for _, memory in found))
        for name, found in results.items()
    }


def plans(work: Path, variants: int, rounds: int) -> dict[str, float]:
    """Measure a plan of `variants` variants that are all as declared."""
    manifest = world(work / f"plan-{variants}", variants)
    cwd = manifest.parent
    timed([*_RECONCILER, "apply", str(manifest), "--yes", "--offline"], cwd=cwd)
    lock = str(manifest.with_suffix(".lock.json"))
    found = rounds_of(
        {
            "plan": lambda: timed([*_RECONCILER, "plan", str(manifest)], cwd=cwd),
            "yardstick": lambda: timed([sys.executable, "-c", _YARDSTICK, str(cwd / "weights"), lock], cwd=cwd),
        },
        rounds,
    )
    return {
        f"plan of {variants}, s": found["plan"][0],
        f"plan of {variants}, MiB": found["plan"][1] / 2**20,
        f"plan of {variants} / plain Python": found["plan"][0] / found["yardstick"][0],
    }


def helps(work: Path, rounds: int) -> dict[str, float]:
    """Measure `--help` beside an empty Python process."""
    found = rounds_of(
        {
            "help": lambda: timed([*_RECONCILER, "--help"], cwd=work),
            "python": lambda: timed([sys.executable, "-c", "pass"], cwd=work),
        },
        rounds,
    )
    return {"--help, s": found["help"][0], "--help / empty Python": found["help"][0] / found["python"][0]}


def verifies(work: Path, files: int, size: int, rounds: int) -> dict[str, float]:
    """Measure `verify --full` beside hashlib on all cores, and a second `verify` that must read nothing."""
    from reconciler.digests import Digests, Question
    from reconciler.state import ObservedFile

    folder = work / "verify"
    folder.mkdir()
    block = os.urandom(1 << 20)
    for number in range(files):
        with open(folder / f"{number}.bin", "wb") as file:
            for part in range(size >> 20):
                file.write(part.to_bytes(8, "big") + block[8:])
    paths = sorted(folder.iterdir())

    def ours() -> tuple[float, int]:
        questions = []
        for path in paths:
            facts = path.stat()
            seen = ObservedFile(path.name, facts.st_size, facts.st_mtime_ns, facts.st_ino, facts.st_dev)
            questions.append(Question(path, seen, ("sha256",)))
        started = time.perf_counter()
        with Digests(work / "digests.sqlite") as digests:
            digests.compute(questions)
        return time.perf_counter() - started, 0

    def plain() -> tuple[float, int]:
        def digest(path: Path) -> str:
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()

        started = time.perf_counter()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(digest, paths))
        return time.perf_counter() - started, 0

    found = rounds_of({"ours": ours, "plain": plain}, rounds)
    return {"verify: speed / sha256 on all cores": found["plain"][0] / found["ours"][0]}


def rereads(work: Path) -> dict[str, float]:
    """Count what a second `verify` reads: nothing."""
    manifest = work / "plan-1000" / "bench.yaml"
    command = [*_RECONCILER, "verify", str(manifest), "--json"]
    env = {**os.environ, "XDG_CACHE_HOME": str(manifest.parent / "cache")}
    for _ in range(2):
        done = subprocess.run(command, env=env, capture_output=True, check=True)
    return {"second verify, bytes read": float(json.loads(done.stdout)["bytes_read"])}


def measure(work: Path, *, scale: float = 1.0, rounds: int = 5) -> dict[str, float]:
    """Measure everything of this module."""
    found = helps(work, max(rounds, 5))
    found |= plans(work, 1000, max(rounds, 5))
    found |= rereads(work)
    found |= plans(work, max(1000, int(10_000 * scale)), max(3, rounds // 2))
    found |= verifies(work, 8, max(1 << 20, int((256 << 20) * scale)), rounds)
    return found
