"""The files of one download in its stage: payload, partials, and what may be gone on with.

- `sha256-<hex>`: the payload: verified, or under way while a control file stands beside it
- `sha256-<hex>.aria2`: aria2c's control file: which pieces are there
- `sha256-<hex>_part`: what our own connections have brought so far
- `sha256-<hex>_meta`: what the partial was made from, as JSON: size, digest, ETag, origin
- `sha256-<hex>_hub`: huggingface_hub's private cache
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from reconciler.download import Wanted
from reconciler.download.verify import matches
from reconciler.errors import DiskError
from reconciler.oserrors import telling

_LONGEST = 1 << 20
_BLOCK = 16 * 1024
"""What one bit of a piece under way stands for, in a control file."""


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
            try:
                _sync(path)
            except OSError:
                _unlink(path)  # after a failed fsync reading shows bytes that the disk may not have
                raise
        clear(wanted)
        return path
    with telling(str(path)):
        _unlink(path)
    return None


def resumable(wanted: Wanted, etag: str) -> int | None:
    """Return how many bytes aria2c may go on from; None when there is nothing, and then nothing is left there.

    That takes a payload, a control file for the same size, and our own note that both were made for this digest and
    from the version that the server holds now.
    """
    _unlink(beside(wanted, ".aria2__temp"))
    path, control = payload(wanted), beside(wanted, ".aria2")
    meta, pieces = read_meta(wanted), read_control(control)
    try:
        facts = os.lstat(path)
        good = (
            stat.S_ISREG(facts.st_mode)
            and facts.st_size <= wanted.size
            and stat.S_ISREG(os.lstat(control).st_mode)
            and pieces is not None
            and pieces.total == wanted.size
            and meta is not None
            and (meta.size, meta.digest) == (wanted.size, wanted.digest)
            and meta.etag == etag
        )
    except FileNotFoundError:
        good = False
    if good and pieces is not None:
        return pieces.done
    drop(wanted, ("", ".aria2", "_meta"))
    return None


class Control(NamedTuple):
    """What an aria2 control file says: the size it was written for, and how many bytes of it are there."""

    total: int
    done: int


def read_control(control: Path) -> Control | None:
    """Return what the control file at `control` says, None when it is not one.

    https://aria2.github.io/manual/en/html/technical-notes.html#control-file-aria2-format
    """
    with contextlib.suppress(OSError, struct.error), open(control, "rb") as file:
        version, _extension, hash_length = struct.unpack(">H4sI", file.read(10))
        if version not in (0, 1) or hash_length > 64:
            return None
        file.seek(hash_length, os.SEEK_CUR)
        order = ">" if version == 1 else "="
        piece, total, _uploaded, length = struct.unpack(order + "IQQI", file.read(24))
        if not piece or length != (-(-total // piece) + 7) // 8:
            return None
        bits = _bits(file, length)
        done = bits.bit_count() * piece
        last = (total - 1) // piece
        if total and bits >> (length * 8 - 1 - last) & 1:  # the last piece is rarely a whole one
            done -= (last + 1) * piece - total
        (under_way,) = struct.unpack(order + "I", file.read(4))
        for _ in range(min(under_way, 1024)):
            _index, _length, blocks = struct.unpack(order + "III", file.read(12))
            done += _bits(file, blocks).bit_count() * _BLOCK
        return Control(total, min(done, total))
    return None


def _bits(file: BinaryIO, length: int) -> int:
    """Return the next `length` bytes, the first bit highest; raise struct.error when they are not there."""
    bits = file.read(min(length, _LONGEST))
    if len(bits) != length:
        raise struct.error("too short")
    return int.from_bytes(bits, "big")


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
        fresh.replace(path)


def is_overgrown(wanted: Wanted) -> bool:
    """Whether the payload is larger than it may be: the server did not stop, and the limit on its size did."""
    try:
        return os.lstat(payload(wanted)).st_size > wanted.size
    except FileNotFoundError:
        return False


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
        if not stat.S_ISDIR(wanted.stage.stat().st_mode):
            raise DiskError("the stage is not a directory", where=str(wanted.stage))


def _unlink(path: Path) -> None:
    try:
        path.unlink()
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):
        if not path.is_dir() or path.is_symlink():
            raise
        shutil.rmtree(path)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
