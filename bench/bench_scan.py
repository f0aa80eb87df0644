"""Measure the inventory of a machine as it is: `import tree` over 100,000 files in 1,000 directories of models.

A first run fills the cache of digests, which is not counted: to hash is measured by `verify`. Then a fresh manifest is
the first inventory, and the same again the second one.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

from bench.bench_plan import timed

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


def measure(work: Path, *, scale: float = 1.0, rounds: int = 3) -> dict[str, float]:
    """Return the seconds of a first and of a second inventory."""
    models = max(10, int(1000 * scale))
    world(work / "scan", models)
    command = [*_RECONCILER, "import", "tree", str(work / "scan"), "--local", "--offline", "--manifest"]
    timed([*command, "warm.yaml"], cwd=work)
    firsts, seconds = [], []
    for number in range(rounds):
        firsts.append(timed([*command, f"scan-{number}.yaml"], cwd=work)[0])
        seconds.append(timed([*command, f"scan-{number}.yaml"], cwd=work)[0])
    files = models * _FILES
    return {
        f"first inventory of {files} files in {models} directories, s": sorted(firsts)[len(firsts) // 2],
        f"second inventory of {files} files in {models} directories, s": sorted(seconds)[len(seconds) // 2],
    }


def _shard(text: str) -> bytes:
    """Return a safetensors file of one small tensor, unlike any other (https://huggingface.co/docs/safetensors)."""
    value = {"w": {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]}, "__metadata__": {"of": text}}
    header = json.dumps(value).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + bytes(8)
