"""Measure `status` of image models whose digests are known: a tree of 10,000 files, models with picture and notes.

The models of one rank have one size, as LoRAs do, so that a size alone tells nothing.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from bench.bench_plan import _RECONCILER, rounds_of, timed

_SIZES = (1000, 2000, 3000)
"""Bytes of a model; a third of them each."""
_PNG = b"\x89PNG\r\n\x1a\n"
_YARDSTICK = """
import os, sys
count = 0
for top, folders, files in os.walk(sys.argv[1]):
    with os.scandir(top) as entries:
        count += sum(entry.stat(follow_symlinks=False).st_size > 0 for entry in entries if entry.is_file())
sys.exit(count < int(sys.argv[2]))
"""


def world(work: Path, files: int, strangers: int) -> Path:
    """Write a manifest with so many `files` (a quarter of them models), and `strangers` beside them; return it."""
    work.mkdir(parents=True)
    root = work / "models"
    folder = root / "loras"
    folder.mkdir(parents=True)
    lines = [
        "version: 1", f"registry: {work}/registry", "locations:",
        f"  comfy: {{ store: comfyui, root: {root}, companions: [civitai-info, markdown, preview] }}", "variants:",
    ]  # fmt: skip
    pins = {}
    for number in range(1, files // 4 + 1):
        data = (f"model {number} ".encode() * 300)[: _SIZES[number % len(_SIZES)]]
        picture = _PNG + str(number).encode() + b"IEND"
        (folder / f"model-{number}.safetensors").write_bytes(data)
        (folder / f"model-{number}.preview.png").write_bytes(picture)
        source = f"civitai:{number}@{100_000 + number}"
        lines += [f"  model-{number}:", f"    source: {source}"]
        pins[f"model-{number}"] = {
            "source": source,
            "revision": str(100_000 + number),
            "about": {"civitai": {"type": "LORA", "model": f"Model {number}", "trained_words": [f"word {number}"]}},
            "files": [
                _entry(f"model-{number}.safetensors", data, f"https://civitai.com/api/download/models/{number}"),
                _entry("preview.png", picture, f"https://image.civitai.com/{number}.png"),
            ],
        }
    for number in range(strangers):
        data = (f"stranger {number} ".encode() * 300)[: _SIZES[number % len(_SIZES)]]
        (folder / f"stranger-{number}.safetensors").write_bytes(data)
    path = work / "images.yaml"
    path.write_text("\n".join(lines) + "\n")
    (work / "images.lock.json").write_text(json.dumps({"version": 1, "variants": pins}))
    return path


def _entry(path: str, data: bytes, url: str) -> dict[str, object]:
    return {"path": path, "size": len(data), "digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "url": url}


def statuses(work: Path, files: int, strangers: int, rounds: int) -> dict[str, float]:
    """Measure `status` of a tree that is as declared; the first one reads and remembers."""
    manifest = world(work / f"images-{files}-{strangers}", files, strangers)
    cwd = manifest.parent
    timed([*_RECONCILER, "apply", str(manifest), "--yes", "--offline"], cwd=cwd)
    command = [*_RECONCILER, "status", str(manifest), "--offline"]
    timed(command, cwd=cwd)
    found = rounds_of(
        {
            "status": lambda: timed(command, cwd=cwd),
            "yardstick": lambda: timed([sys.executable, "-c", _YARDSTICK, str(cwd / "models"), str(files)], cwd=cwd),
        },
        rounds,
    )
    name = f"status of {files + strangers} files, {files // 4} of them image models"
    return {f"{name}, s": found["status"][0], f"{name}, MiB": found["status"][1] / 2**20}


def measure(work: Path, *, scale: float = 1.0, rounds: int = 3) -> dict[str, float]:
    """Measure everything of this module: all files managed, and few among many of other people."""
    whole = max(400, int(10_000 * scale))
    return statuses(work, whole, 0, rounds) | statuses(work, whole // 10, whole - whole // 10, rounds)
