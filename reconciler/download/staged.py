"""The files of one download in its stage: payload, partials, and what may be gone on with.

sha256-<hex>              the payload: verified, or under way while a control file stands beside it
sha256-<hex>.aria2        aria2c's control file: which pieces are there
sha256-<hex>_part         what our own connections have brought so far
sha256-<hex>_meta         what the partial was made from, as JSON: size, digest, ETag, origin
sha256-<hex>_hub          huggingface_hub's private cache
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import struct
from pathlib import Path
from typing import NamedTuple

from reconciler.download import Wanted
from reconciler.download.verify import matches
from reconciler.errors import DiskError
from reconciler.oserrors import telling


class Meta(NamedTuple):
    """What a partial file was made from. `origin` is scheme://host, never more of an address."""

    size: int
    digest: str
    etag: str = ""
    origin: str = ""


def payload(wanted: Wanted) -> Path:
    """Return where the bytes stand once they are whole."""
    return wanted.stage / wanted.name


def beside(wanted: Wanted, suffix: str) -> Path:
    """Return a companion of the payload: `.aria2`, `_part`, `_meta`, `_hub`."""
    return wanted.stage / (wanted.name + suffix)


def settle(wanted: Wanted) -> Path | None:
    """Return the payload when it stands there whole; delete what claims to be it and is not.

    A payload without a control file says nothing about which of its bytes are right (aria2c would take it for
    complete), so it is hashed: right, or gone. Raise DiskError when the stage cannot be read.
    """
    path = payload(wanted)
    with telling(str(path)):
        try:
            facts = os.lstat(path)
        except FileNotFoundError:
            return None
        if os.path.lexists(beside(wanted, ".aria2")):
            return None
        if not stat.S_ISREG(facts.st_mode):
            _unlink(path)
            return None
    if facts.st_size == wanted.size and matches(path, wanted.digest):
        with telling(str(path)):
            _sync(path)
        clear(wanted)
        return path
    with telling(str(path)):
        _unlink(path)
    return None


def resumable(wanted: Wanted, etag: str) -> bool:
    """Whether aria2c may go on with what is there; what it may not go on with is deleted.

    That takes a payload, a control file for the same size, and our own note that both were made for this digest and
    from the version that the server holds now.
    """
    _unlink(beside(wanted, ".aria2__temp"))
    path, control = payload(wanted), beside(wanted, ".aria2")
    meta = read_meta(wanted)
    try:
        facts = os.lstat(path)
        good = (
            stat.S_ISREG(facts.st_mode)
            and facts.st_size <= wanted.size
            and stat.S_ISREG(os.lstat(control).st_mode)
            and control_total(control) == wanted.size
            and meta is not None
            and (meta.size, meta.digest) == (wanted.size, wanted.digest)
            and meta.etag == etag
        )
    except FileNotFoundError:
        good = False
    if not good:
        drop(wanted, ("", ".aria2", "_meta"))
    return good


def control_total(control: Path) -> int | None:
    """Return the file size that an aria2 control file was written for, None when it is not one.

    https://aria2.github.io/manual/en/html/technical-notes.html#control-file-aria2-format
    """
    with contextlib.suppress(OSError, struct.error), open(control, "rb") as file:
        head = file.read(10)
        version, _extension, hash_length = struct.unpack(">H4sI", head)
        if version not in (0, 1) or hash_length > 64:
            return None
        file.seek(hash_length, os.SEEK_CUR)
        order = ">" if version == 1 else "="
        _piece, total = struct.unpack(order + "IQ", file.read(12))
        return int(total)
    return None


def read_meta(wanted: Wanted) -> Meta | None:
    """Return what was noted about the partial file; None when nothing readable was."""
    try:
        raw = json.loads(beside(wanted, "_meta").read_bytes())
        return Meta(int(raw["size"]), str(raw["digest"]), str(raw["etag"]), str(raw["origin"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_meta(wanted: Wanted, etag: str, origin: str) -> None:
    """Note what the partial file is made from, before its first byte."""
    meta = Meta(wanted.size, wanted.digest, etag, origin)
    path, fresh = beside(wanted, "_meta"), beside(wanted, "_meta_new")
    with telling(str(path)):
        fresh.write_text(json.dumps(meta._asdict()), encoding="utf-8")
        os.replace(fresh, path)


def clear(wanted: Wanted) -> None:
    """Delete everything but the payload."""
    drop(wanted, (".aria2", ".aria2__temp", "_meta", "_meta_new", "_part", "_hub"))


def drop(
    wanted: Wanted, suffixes: tuple[str, ...] = ("", ".aria2", ".aria2__temp", "_meta", "_meta_new", "_part", "_hub")
) -> None:
    """Delete the named companions ('' is the payload); those that are not there are fine."""
    for suffix in suffixes:
        with telling(str(beside(wanted, suffix))):
            _unlink(beside(wanted, suffix))


def check_stage(wanted: Wanted) -> None:
    """Raise DiskError when the stage is not a directory."""
    with telling(str(wanted.stage)):
        if not stat.S_ISDIR(os.stat(wanted.stage).st_mode):
            raise DiskError("the stage is not a directory", where=str(wanted.stage))


def _unlink(path: Path) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):
        if not os.path.isdir(path) or os.path.islink(path):
            raise
        shutil.rmtree(path)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
