"""Measure the inventory of a machine as it is: `import tree` over 100,000 files in 1,000 directories of models.

A first run fills the cache of digests, which is not counted. Then a fresh manifest is the first inventory, and the same
again the second one. What the first hash of everything costs is measured with a few large files, by the whole command
beside a thread for each core that does nothing but hash them.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path

from bench.bench_plan import rounds_of, timed

_RECONCILER = (sys.executable, "-m", "reconciler")
_FILES = 100
_SHARDS = 4


def world(root: Path, models: int) -> None:
    """Write `models` directories `<owner>/<repo>` of 100 small files each, four of them shards of safetensors."""
    for model in range(models):
        folder = root / "acme" / f"repo-{model}"
        folder.mkdir(parents=True)
        for number in range(_SHARDS):
            (folder / f"model-{number + 1:05d}-of-{_SHARDS:05d}.safetensors").write_bytes(_shard(f"{model}/{number}"))
        for number in range(_SHARDS, _FILES):
            (folder / f"part-{number}.json").write_text(f'{{"repo": {model}, "file": {number}}}')


def large(root: Path, files: int, size: int) -> list[Path]:
    """Write `files` models of one safetensors file of `size` bytes (whole MiB) each, all different."""
    block = os.urandom(1 << 20)
    paths = [root / "acme" / f"large-{number}" / "model.safetensors" for number in range(files)]
    for path in paths:
        path.parent.mkdir(parents=True)
        with open(path, "wb") as file:
            file.write(_header(str(path), size))
            for part in range(size >> 20):
                file.write(part.to_bytes(8, "big") + block[8:])
    return paths


_HASHES = """
import hashlib, os, sys
from concurrent.futures import ThreadPoolExecutor
def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
with ThreadPoolExecutor(os.cpu_count()) as pool:
    list(pool.map(digest, sys.argv[1:]))
"""


def hashes(work: Path, files: int, size: int, rounds: int) -> dict[str, float]:
    """Measure an `import tree` that has everything to hash, beside hashing and nothing else; Python's start counts."""
    paths = [str(path) for path in large(work / "large", files, size)]
    command = [*_RECONCILER, "import", "tree", str(work / "large"), "--local", "--offline", "--manifest"]
    number = iter(range(rounds))

    def ours() -> tuple[float, int]:
        cold = work / f"cold-{next(number)}"
        cold.mkdir()
        return timed([*command, "first.yaml"], cwd=cold)

    def plain() -> tuple[float, int]:
        return timed([sys.executable, "-c", _HASHES, *paths], cwd=work)

    found = rounds_of({"ours": ours, "plain": plain}, rounds)
    return {"first hash of a tree: speed / sha256 on all cores": found["plain"][0] / found["ours"][0]}


def measure(work: Path, *, scale: float = 1.0, rounds: int = 3) -> dict[str, float]:
    """Return the seconds of a first and of a second inventory, and how fast everything is hashed."""
    models = max(10, int(1000 * scale))
    world(work / "scan", models)
    command = [*_RECONCILER, "import", "tree", str(work / "scan"), "--local", "--offline", "--manifest"]
    timed([*command, "warm.yaml"], cwd=work)
    firsts, seconds = [], []
    for number in range(rounds):
        firsts.append(timed([*command, f"scan-{number}.yaml"], cwd=work)[0])
        seconds.append(timed([*command, f"scan-{number}.yaml"], cwd=work)[0])
    files = models * _FILES
    found = hashes(work, 16, max(1 << 20, int((512 << 20) * scale)), rounds)
    return found | {
        f"first inventory of {files} files in {models} directories, s": sorted(firsts)[len(firsts) // 2],
        f"second inventory of {files} files in {models} directories, s": sorted(seconds)[len(seconds) // 2],
    }


def _shard(text: str) -> bytes:
    """Return a safetensors file of one small tensor, unlike any other (https://huggingface.co/docs/safetensors)."""
    return _header(text, 8) + bytes(8)


def _header(text: str, size: int) -> bytes:
    value = {"w": {"dtype": "F16", "shape": [size // 2], "data_offsets": [0, size]}, "__metadata__": {"of": text}}
    header = json.dumps(value).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header
