"""Repositories of the embedded hub: blobs, files, commits. Bytes in memory or on disk; digests on demand."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

LFS_FROM = 10 * 1024 * 1024
"""Files of this size in bytes or more are LFS files, as on the real Hub."""

LFS_PATTERNS = ("*.safetensors", "*.gguf", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.onnx", "*.h5", "*.msgpack")
"""Names that are LFS files at any size (the default `.gitattributes` of a model repository)."""

_BLOCK = 1024 * 1024

Gated = Literal["auto", "manual"] | bool


@dataclass(frozen=True)
class Blob:
    """The bytes of one file; digests are computed when first asked for and kept."""

    content: bytes | Path

    @cached_property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    @cached_property
    def sha256(self) -> str:
        """The sha256 of the bytes, 64 hex."""
        digest = hashlib.sha256()
        for block in self.blocks():
            digest.update(block)
        return digest.hexdigest()

    @cached_property
    def git_sha1(self) -> str:
        r"""The git blob id: sha1 of `blob <size>\0` and the bytes, 40 hex."""
        digest = hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        for block in self.blocks():
            digest.update(block)
        return digest.hexdigest()

    def blocks(self, start: int = 0, stop: int | None = None, step: int = _BLOCK) -> Iterator[bytes | memoryview]:
        """Yield the bytes from `start` up to `stop` in blocks of `step` bytes."""
        stop = self.size if stop is None else min(stop, self.size)
        if isinstance(self.content, bytes):
            view = memoryview(self.content)
            for position in range(start, stop, step):
                yield view[position : min(position + step, stop)]
            return
        with self.content.open("rb", buffering=0) as file:
            file.seek(start)
            while start < stop and (block := file.read(min(step, stop - start))):
                start += len(block)
                yield block


@dataclass(frozen=True)
class File:
    """One file of a commit, with what the hub says about it.

    What it says (`size`, `oid`) is true unless a test gave it otherwise; `blob` is None where only the listing exists.
    """

    path: str
    blob: Blob | None
    lfs: bool
    kind: str = "file"
    claims: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Size in bytes, as listed."""
        if "size" in self.claims:
            return int(self.claims["size"])
        return self.blob.size if self.blob else 0

    @cached_property
    def sha256(self) -> str:
        """The sha256 as listed (LFS files)."""
        return str(self.claims["sha256"]) if "sha256" in self.claims else (self.blob or Blob(b"")).sha256

    @cached_property
    def pointer(self) -> bytes:
        """The git-lfs pointer file that git holds instead of the bytes."""
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n"
        return text.encode()

    @cached_property
    def git_sha1(self) -> str:
        """The id of the git blob: of the bytes, or of the pointer where the file is LFS."""
        if "git_sha1" in self.claims:
            return str(self.claims["git_sha1"])
        return Blob(self.pointer).git_sha1 if self.lfs else (self.blob or Blob(b"")).git_sha1

    @property
    def etag(self) -> str:
        """What `X-Linked-Etag` or `ETag` of the resolver carries, without quotes."""
        return self.sha256 if self.lfs else self.git_sha1

    def entry(self) -> dict[str, Any]:
        """Return the entry of the tree API."""
        entry: dict[str, Any] = {"type": self.kind, "oid": self.git_sha1, "size": self.size, "path": self.path}
        if self.lfs:
            entry["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": len(self.pointer)}
        return entry

    def sibling(self, *, blobs: bool) -> dict[str, Any]:
        """Return the entry of model_info; sizes and digests only when `blobs` were asked for."""
        if not blobs:
            return {"rfilename": self.path}
        entry = {"rfilename": self.path, "size": self.size, "blobId": self.git_sha1}
        if self.lfs:
            entry["lfs"] = {"sha256": self.sha256, "size": self.size, "pointerSize": len(self.pointer)}
        return entry


@dataclass(frozen=True)
class Commit:
    """One state of a repository; `sha` says what is in it and what was before it."""

    sha: str
    files: tuple[File, ...]
    message: str
    number: int
    parent: str | None = None

    @cached_property
    def by_path(self) -> dict[str, File]:
        """The files by path; of duplicates the first that has bytes."""
        found: dict[str, File] = {}
        for file in self.files:
            if file.path not in found or found[file.path].blob is None:
                found[file.path] = file
        return found

    @cached_property
    def listing(self) -> tuple[dict[str, Any], ...]:
        """The whole tree as the API lists it: folders and files, by path."""
        entries = [file.entry() for file in self.files]
        return tuple(sorted([*entries, *_folders(self.files)], key=lambda entry: str(entry["path"])))


@dataclass
class Repository:
    """A repository: commits, and the names that point at them."""

    repo_id: str
    number: int
    private: bool = False
    gated: Gated = False
    license: str | None = None
    downloads: int = 0
    """Of the last month, as searches sort by them."""
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The database id (24 hex): another one when a name is registered again."""
        return hashlib.sha256(f"{self.number} {self.repo_id}".encode()).hexdigest()[:24]

    def find(self, revision: str) -> Commit | None:
        """Return the commit that a branch, tag, full ref or sha names."""
        for prefix, names in (("refs/heads/", self.branches), ("refs/tags/", self.tags)):
            if revision.startswith(prefix) and (sha := names.get(revision.removeprefix(prefix))):
                return self.commits[sha]
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        return self.commits.get(sha)

    def history(self, commit: Commit) -> Iterator[Commit]:
        """Yield `commit` and those before it, newest first."""
        following: Commit | None = commit
        while following:
            yield following
            following = self.commits.get(following.parent) if following.parent else None


def is_lfs(path: str, size: int) -> bool:
    """Return whether a file of this name and size (bytes) is kept by git-lfs."""
    name = path.rsplit("/", 1)[-1]
    return size >= LFS_FROM or any(fnmatch.fnmatchcase(name, pattern) for pattern in LFS_PATTERNS)


def file_of(path: str, content: bytes | Path) -> File:
    """Return the file as the Hub would hold it."""
    blob = Blob(content)
    return File(path, blob, is_lfs(path, blob.size))


def raw_file(entry: Mapping[str, Any]) -> File:
    """Return a file that is listed as `entry` says, true or not.

    Keys: `path` (needed, any text), `content` (bytes or Path), `type` (default `file`), `lfs` (bool), and the claims
    `size`, `sha256`, `git_sha1`.
    """
    content = entry.get("content")
    blob = None if content is None else Blob(content)
    claims = {key: entry[key] for key in ("size", "sha256", "git_sha1") if key in entry}
    size = int(claims.get("size", blob.size if blob else 0))
    lfs = entry.get("lfs", "sha256" in entry or is_lfs(str(entry["path"]), size))
    return File(str(entry["path"]), blob, bool(lfs), str(entry.get("type", "file")), claims)


def commit_of(repo_id: str, files: Iterable[File], message: str, parent: Commit | None, number: int) -> Commit:
    """Return the commit of `files`; the same history gives the same sha on any machine."""
    files = tuple(sorted(files, key=lambda file: file.path))
    digest = hashlib.sha1(usedforsecurity=False)
    digest.update(f"{repo_id}\n{parent.sha if parent else ''}\n{message}\n".encode())
    for file in files:
        digest.update(f"{file.kind} {file.git_sha1} {file.size} {file.path!r}\n".encode())
    return Commit(digest.hexdigest(), files, message, number, parent.sha if parent else None)


def read_tree(directory: Path) -> dict[str, bytes | Path]:
    """Return the files below `directory` by posix path, to be served from there."""
    found: dict[str, bytes | Path] = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            found[path.relative_to(directory).as_posix()] = path
    return found


def _folders(files: Iterable[File]) -> list[dict[str, Any]]:
    """Return the entries of the folders that hold `files`; their id follows from what they hold."""
    holds: dict[str, list[str]] = {}
    for file in files:
        parts = file.path.split("/")[:-1]
        if not all(parts) or ".." in parts:
            continue  # a hostile name: listed as a file only
        for depth in range(1, len(parts) + 1):
            holds.setdefault("/".join(parts[:depth]), []).append(f"{file.git_sha1} {file.path!r}")
    return [
        {
            "type": "directory",
            "oid": hashlib.sha1("\n".join(lines).encode(), usedforsecurity=False).hexdigest(),
            "size": 0,
            "path": folder,
        }
        for folder, lines in holds.items()
    ]
