"""A file or directory of this machine: `file:/path` or `file:///path`. Digests come from reading it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from reconciler.abreast import abreast
from reconciler.errors import DiskError, NotFoundError, SourceError
from reconciler.hashing import hash_file
from reconciler.inert import inert
from reconciler.located import Located
from reconciler.oserrors import remedy
from reconciler.references import parse
from reconciler.sources import Request, World, selection
from reconciler.sources.selection import Entry
from reconciler.state import UNREAD, Artifact, Pin

_SKIPPED = frozenset({".git", ".cache", ".reconciler", ".huggingface"})
"""Directories that hold the books of programs and never weights."""


def check(reference: str, *, insecure: bool = False) -> None:
    """Raise ValueError, with the reason, when `reference` is not an absolute path after `file:`."""
    _path(reference)


def resolve(request: Request, world: World) -> Pin:
    """Walk the directory (or take the one file) and read every selected file for its digest."""
    root = _root(request.source)
    found = _files(root, request.source, world)
    # Selection looks at names; only what it chooses is read.
    listed = selection.accept((Entry(path, "file", size, UNREAD) for path, size in found), request.source)
    chosen = selection.select(listed, request._replace(sha256=None))
    if request.listing:
        return Pin(request.source, None, chosen)
    files = tuple(abreast(lambda file: _hashed(root, file), chosen, min(8, os.cpu_count() or 1), "read"))
    return Pin(request.source, None, selection.select(files, request))


def current(request: Request, world: World) -> str | None:
    """Say that a directory has no revisions."""
    return None


def locate(source: str, revision: str | None, artifact: Artifact, world: World) -> Located:
    """Say where the file is; raise NotFoundError or SourceError when it is gone or its size is another."""
    url = artifact.url or _url(_join(_root(source), artifact.path))
    path = unquote(urlsplit(url).path)
    try:
        size = Path(path).stat().st_size
    except OSError as error:
        hint = "put it back, or mount its disk; or give the variant another source"
        raise NotFoundError(f"the file is gone: {error.strerror}", where=inert(path), hint=hint) from None
    if size != artifact.size:
        raise SourceError(
            f"the bytes of a locked file have changed: locked {artifact.size} bytes ({artifact.digest}), now {size}",
            where=inert(path),
            hint="take the new ones on purpose, with `reconciler lock --upgrade`",
        )
    return Located(url, {}, False, None, size)


def access(pin: Pin, world: World) -> str | None:
    """Say so when the path is gone."""
    root = _root(pin.source)
    return None if root.exists() else f"{inert(str(root))} is not there"


def _path(reference: str) -> str:
    path = parse(reference).path
    if not path.startswith("/"):
        raise ValueError(f"not an absolute path: {reference[:200]!r}; expected file:/path")
    if any(part in (".", "..") for part in path.split("/")) or not path.isprintable():
        raise ValueError(f"a path with `.`, `..` or control characters: {reference[:200]!r}")
    return path


def _root(source: str) -> Path:
    try:
        return Path(_path(source))
    except ValueError as error:
        raise SourceError(str(error), where=source[:200]) from None


def _files(root: Path, source: str, world: World) -> list[tuple[str, int]]:
    """Return (path below root, size) of the one file or of all files, sorted."""
    try:
        if root.is_file():
            return [(root.name, root.stat().st_size)]
        if not root.is_dir():
            raise NotFoundError("there is no such file or directory", where=source, hint="is its disk mounted?")
        outside: list[str] = []
        found = sorted(_walk(root, "", os.path.realpath(root), outside))
    except OSError as error:
        raise DiskError(f"cannot be read: {error.strerror}", where=source, hint=remedy(error)) from None
    if outside:
        shown = ", ".join(inert(path) for path in outside[:3])
        world.warn(f"{source}: links that lead out of the directory are left out: {shown}")
    return found


def _walk(root: Path, below: str, real_root: str, outside: list[str]) -> Iterator[tuple[str, int]]:
    with os.scandir(root / below) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            path = f"{below}/{entry.name}" if below else entry.name
            if entry.is_symlink():
                target = os.path.realpath(entry.path)
                if not target.startswith(real_root.rstrip("/") + "/"):
                    outside.append(path)
                elif Path(target).is_file():
                    yield path, entry.stat().st_size
            elif entry.is_dir():
                if entry.name not in _SKIPPED:
                    yield from _walk(root, path, real_root, outside)
            elif entry.is_file():
                yield path, entry.stat().st_size


def _hashed(root: Path, file: Artifact) -> Artifact:
    path = _join(root, file.path)
    digest = hash_file(path)  # raises DiskError when it changes meanwhile
    return file._replace(digest=digest, size=path.stat().st_size, url=_url(path))


def _join(root: Path, path: str) -> Path:
    return root / path if root.is_dir() else root


def _url(path: Path) -> str:
    return path.as_uri()
