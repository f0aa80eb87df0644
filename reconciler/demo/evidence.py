"""Look for oneself whether what a command promised has happened: on the disk, and in the hub's own log."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.demo.stage import Stage
from reconciler.hub.repos import File

_READ = 16 << 20
"""Files up to this size (bytes) are searched for the token; weights are larger, and no place for one."""


class Print(NamedTuple):
    """The fingerprint of a file: content, and what changes when it is written again."""

    sha256: str
    inode: int
    mtime_ns: int


def print_of(path: Path) -> Print:
    """Return the fingerprint of a file."""
    with path.open("rb") as file:
        facts = os.fstat(file.fileno())
        return Print(hashlib.file_digest(file, "sha256").hexdigest(), facts.st_ino, facts.st_mtime_ns)


def prints(directory: Path) -> dict[str, Print]:
    """Return the fingerprints of all files below a directory, by relative path."""
    return {str(path.relative_to(directory)): print_of(path) for path in sorted(directory.rglob("*")) if path.is_file()}


def upstream(stage: Stage, repository: str) -> dict[str, File]:
    """Return the files of a repository's main branch, by path, as the hub has them."""
    held = stage.hub.repositories[repository]
    return {file.path: file for file in held.commits[held.branches["main"]].files}


def told(stage: Stage, *arguments: str) -> Any:
    """Run a command aside, and return its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "reconciler", *arguments, "--json"],
        cwd=stage.directory, env=stage.environment, stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    return json.loads(done.stdout)


def locked(stage: Stage) -> dict[str, Any]:
    """Return the entries of the lock, by variant; none when there is no lock."""
    try:
        variants: dict[str, Any] = json.loads((stage.directory / "reconciler.lock.json").read_bytes())["variants"]
    except FileNotFoundError:
        return {}
    return variants


def matching(stage: Stage) -> tuple[int, int]:
    """Return how many files the lock names for the two plain locations, and how many hold these very bytes."""
    rows = [
        (entry["source"].removeprefix("hf:"), file)
        for entry in locked(stage).values()
        for file in entry["files"]
    ]  # fmt: skip
    right = sum(any(_holds(path, file["digest"]) for path in _places(stage, home, file["path"])) for home, file in rows)
    return len(rows), right


def _places(stage: Stage, repository: str, path: str) -> Iterator[Path]:
    for location in ("weights", "lmstudio"):
        place = stage.directory / location / repository / path
        if place.is_file():
            yield place


def _holds(path: Path, digest: str) -> bool:
    kind, _, expected = digest.partition(":")
    data = path.read_bytes()
    if kind == "git-sha1":
        return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == expected
    return hashlib.sha256(data).hexdigest() == expected


def weights_sent(stage: Stage) -> int:
    """Return how many bytes of large files the hub sent since its log was last cleared."""
    return stage.hub.bytes_served("cdn")


def asked(stage: Stage) -> int:
    """Return how many requests the hub had since its log was last cleared."""
    return len(stage.hub.requests)


def files_with(directory: Path, secret: str) -> list[str]:
    """Return the files below a directory that hold a secret."""
    found = []
    for path in directory.rglob("*"):
        if path.is_file() and path.stat().st_size <= _READ and secret.encode() in path.read_bytes():
            found.append(str(path.relative_to(directory)))
    return found


def trash(stage: Stage) -> int:
    """Return how many bytes wait in the trash of all locations."""
    return sum(path.stat().st_size for path in stage.directory.glob("**/.reconciler*/trash/*") if "_" not in path.name)


def registry(stage: Stage) -> dict[str, Any]:
    """Return the entries of the merged registry, by name: what a serving tool reads."""
    path = stage.directory / ".local/share/reconciler/registry/model_registry.json"
    return {entry["name"]: entry for entry in json.loads(path.read_bytes())}


def flip(path: Path) -> int:
    """Flip one byte in the middle of a file, in place; return its offset."""
    offset = path.stat().st_size // 2
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0xFF]))
    return offset


def snapshot(stage: Stage, repository: str) -> tuple[dict[str, Path], list[str]]:
    """Return the files of a repository that huggingface_hub finds in its cache, and what its scan complains of.

    https://huggingface.co/docs/huggingface_hub/guides/manage-cache
    """
    from huggingface_hub import scan_cache_dir

    scan = scan_cache_dir(stage.directory / "hf/hub")
    found = {
        file.file_name: file.file_path
        for held in scan.repos
        if held.repo_id == repository
        for revision in held.revisions
        for file in revision.files
    }
    return found, [str(warning) for warning in scan.warnings]
