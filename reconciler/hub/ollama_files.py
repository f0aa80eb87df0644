"""The store directory as the embedded Ollama server keeps it, quirks included.

    manifests/<host>/<namespace>/<model>/<tag>
    blobs/sha256-<hex>, blobs/sha256-<hex>-partial, blobs/sha256-<hex>-partial-<N>

Nothing is written atomically, and a blob that exists is never looked into: so does the real server
(https://github.com/ollama/ollama/tree/main/manifest).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.hub.ollama_names import Name, matched

DIGEST = re.compile(r"sha256[-:][0-9a-fA-F]{64}")

GRACE = 3600.0
"""Seconds for which a blob that nobody names is spared."""

_BUFFERS = (512, 1536, 3584, 7680, 15872, 32256, 65024, 130560, 261632, 523776, 1048064)


class Store(NamedTuple):
    """A directory, and what the server may do there. `uid` is whose files it may touch; None: all of them.

    `noprune`: blobs that are no longer named go only with the model that is deleted. `shown` is what the server calls
    the directory when it tells of it, where that is another name.
    """

    root: Path
    readonly: bool = False
    uid: int | None = None
    noprune: bool = False
    shown: str = ""


class Found(NamedTuple):
    """A manifest, read. `digest` is the hex of what the server's decoder consumed."""

    path: Path
    value: Mapping[str, Any]
    digest: str
    modified_ns: int

    @property
    def layers(self) -> list[Mapping[str, Any]]:
        """The layers, the config last if there is one."""
        config = self.value.get("config") or {}
        return [*(self.value.get("layers") or []), *([config] if config.get("digest") else [])]

    @property
    def size(self) -> int:
        """Bytes, as declared."""
        return sum(int(layer.get("size", 0)) for layer in self.layers)


class Bad(Exception):  # noqa: N818 - an answer, in the server's words
    """A manifest cannot be read, or the directory cannot be used."""


def said(verb: str, problem: OSError) -> str:
    """Word an error of the operating system as Go does: `stat /x: no such file or directory`."""
    text = os.strerror(problem.errno) if problem.errno else str(problem)
    return f"{verb} {problem.filename}: {text[:1].lower()}{text[1:]}"


def blob_path(store: Store, digest: str) -> Path:
    """Return where a blob is; `digest` is `sha256:<hex>`. Raises Bad for what is no digest."""
    if not DIGEST.fullmatch(digest):
        raise Bad("invalid digest format")
    return store.root / "blobs" / digest.replace(":", "-")


def read(store: Store, name: Name) -> Found:
    """Read the manifest of a name as it is written; raise FileNotFoundError, or Bad."""
    path = store.root / "manifests" / name.path
    try:
        data = path.read_bytes()
    except NotADirectoryError as problem:
        raise FileNotFoundError(problem.errno, problem.strerror, problem.filename) from None
    except IsADirectoryError as problem:
        raise Bad(said("read", problem)) from None
    value, end = _decode(data)
    check(value)
    consumed = data[: next((size for size in _BUFFERS if size >= end), len(data))]
    return Found(path, value, hashlib.sha256(consumed).hexdigest(), path.stat().st_mtime_ns)


def check(value: Any) -> None:
    """Raise Bad unless a JSON value has the shape of a manifest, as far as the server's decoder minds."""
    if not isinstance(value, dict):
        raise Bad(f"json: cannot unmarshal {_kind(value)} into Go value of type manifest.Manifest")
    layers = value.get("layers") or []
    if not isinstance(layers, list):
        raise Bad(
            f"json: cannot unmarshal {_kind(layers)} into Go struct field Manifest.layers of type []manifest.Layer"
        )
    for layer in (*layers, value.get("config") or {}):
        if not isinstance(layer, dict):
            raise Bad(f"json: cannot unmarshal {_kind(layer)} into Go value of type manifest.Layer")
        for key, kind in (("mediaType", str), ("digest", str), ("size", int)):
            if type(layer.get(key, kind())) is not kind:
                text = f"json: cannot unmarshal {_kind(layer[key])} into Go struct field Layer.{key}"
                raise Bad(f"{text} of type {'int64' if kind is int else 'string'}")


def manifests(store: Store, *, strict: bool = False) -> dict[Name, Found]:
    """Read every manifest; raise Bad for a dangling link, and when `strict` for anything that is no manifest."""
    found: dict[Name, Found] = {}
    base = store.root / "manifests"
    for path in sorted(path for path in _fourth_level(base)):
        try:
            if path.stat() and path.is_dir():
                continue
        except OSError as problem:
            raise Bad(said("stat", problem)) from None
        name = Name(*path.relative_to(base).parts)
        try:
            if not name.is_valid:
                raise Bad("%!w(<nil>)")
            found[name] = read(store, name)
        except (Bad, OSError) as problem:
            if strict:
                raise Bad(f"{path.relative_to(base)} {problem}") from None
    return found


def existing(store: Store, name: Name) -> Name:
    """Return the name in the casing of what is there; raise Bad for a dangling link."""
    return matched(name, manifests(store))


def write(store: Store, name: Name, data: bytes) -> None:
    """Write a manifest in place; raise Bad."""
    path = store.root / "manifests" / name.path
    _writable(store, "mkdir", path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise Bad(said("mkdir", problem)) from None
    try:
        path.write_bytes(data)
    except OSError as problem:
        raise Bad(said("open", problem)) from None


def put(store: Store, data: bytes) -> tuple[str, bool]:
    """Have a blob of these bytes; return its digest, and whether it is new. One that exists is not looked into."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    path = blob_path(store, digest)
    if path.exists():
        return digest, False
    _writable(store, "open", path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name[:7]}{os.getpid()}{id(data)}")
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as problem:
        raise Bad(said("open", problem)) from None
    return digest, True


def touch(store: Store, digest: str) -> None:
    """Give a blob the present time, as `create` does with what it uses; raise Bad, also where it is not the owner."""
    path = blob_path(store, digest)
    try:
        if store.readonly or store.uid not in (None, path.stat().st_uid):
            raise PermissionError(errno.EROFS if store.readonly else errno.EPERM, "", str(path))
        os.utime(path)
    except OSError as problem:
        raise Bad(said("chtimes", problem)) from None


def remove(store: Store, found: Found) -> None:
    """Remove a manifest, the directories that it leaves empty, and the blobs that no other manifest names."""
    _writable(store, "remove", found.path)
    try:
        found.path.unlink()
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise Bad(said("remove", problem)) from None
    remove_empty(store.root / "manifests")
    remove_unused(store, {str(layer["digest"]) for layer in found.layers})


def remove_unused(store: Store, digests: Iterable[str]) -> None:
    """Unlink those blobs that no manifest names."""
    used = {layer.get("digest") for found in manifests(store).values() for layer in found.layers}
    for digest in set(digests) - used:
        with contextlib.suppress(FileNotFoundError):
            blob_path(store, digest).unlink()


def prune(store: Store, now: float) -> str:
    """Do what the server does at its start; return why it did not, or ''.

    Every file among the blobs that nobody names goes, partials and strangers too, when it is older than an hour; and
    nothing at all goes while one manifest cannot be read.
    """
    try:
        used = {
            blob_path(store, str(layer.get("digest"))).name
            for found in manifests(store, strict=True).values()
            for layer in found.layers
        }
    except Bad as problem:
        return f"corrupt manifests detected, skipping prune operation.  Re-pull or delete to clear: {problem}"
    for path in (store.root / "blobs").iterdir():
        status = path.lstat()
        if (path.is_symlink() or not path.is_dir()) and path.name not in used and status.st_mtime < now - GRACE:
            path.unlink()
    remove_empty(store.root / "manifests")
    return ""


def prepare(store: Store) -> None:
    """Make the directories; give blobs with the separator of old versions their name of today."""
    for name in ("blobs", "manifests"):
        (store.root / name).mkdir(parents=True, exist_ok=True)
    for path in list((store.root / "blobs").glob("sha256:*")):
        path.rename(path.with_name(path.name.replace(":", "-", 1)))


def remove_empty(directory: Path) -> None:
    """Remove the empty directories below one."""
    for folder, _, _ in os.walk(directory, topdown=False):
        if Path(folder) != directory:
            with contextlib.suppress(OSError):
                Path(folder).rmdir()


def _fourth_level(base: Path) -> Iterable[Path]:
    """List `*/*/*/*`, hidden names and dangling links included, as Go's glob does."""
    level = [base]
    for _ in range(4):
        deeper: list[Path] = []
        for path in level:
            with contextlib.suppress(OSError):
                deeper += path.iterdir()
        level = deeper
    return level


def _writable(store: Store, verb: str, path: Path) -> None:
    if store.readonly:
        raise Bad(said(verb, OSError(errno.EROFS, "", str(path))))


def _decode(data: bytes) -> tuple[Any, int]:
    """Return the first JSON value and where it ends; raise Bad in the words of Go's decoder."""
    text = data.decode("utf-8", "replace")
    begin = len(text) - len(text.lstrip())
    try:
        value, end = json.JSONDecoder().raw_decode(text, begin)
    except ValueError as problem:
        at = getattr(problem, "pos", 0)
    else:
        return value, len(text[:end].encode())
    if not text.strip():
        raise Bad("EOF")
    if at >= len(text.rstrip()):
        raise Bad("unexpected EOF")
    of = "object key string" if text[:at].rstrip().endswith("{") else "value"
    raise Bad(f"invalid character {text[at]!r} looking for beginning of {of}")


def _kind(value: object) -> str:
    kinds = {dict: "object", list: "array", str: "string", bool: "bool", int: "number", float: "number"}
    return kinds.get(type(value), "null")
