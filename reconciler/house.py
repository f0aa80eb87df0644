"""The house of a location: the directory that holds its id, its stage and its trash. Read here; made for apply only.

    location.json     {"version": 1, "id": "<32 hex>", "name": "<name in the manifest>"}
    stage/NAME        a file on its way in; beside it sidecars, whose names hold a dot or end in `_info` or `_meta`
    trash/NAME        a file that left
    trash/NAME_info   {"version": 1, "path", "size", "digest", "since", "generation", "address"} of it

No payload's name has an extension, so that LM Studio, ComfyUI and the like do not take one for a model.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.errors import NEWER, DiskError, NewerError
from reconciler.inert import inert
from reconciler.state import Digest, Staged, Trashed, parse_digest
from reconciler.stores import store_of

INFO = "_info"
"""What the name of a trashed file's description ends with."""
VERSION = 1
"""Of location.json, and of the description of a trashed file."""

_FILE = "location.json"
_LIMIT = 1 << 16
_ID = re.compile(r"[0-9a-f]{32}")
_FOLDERS = ("stage", "trash")
_PLAIN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Plate(NamedTuple):
    """What location.json says: the id, or None with the reason in words ('' when there simply is no such file)."""

    id: str | None
    why: str = ""
    is_newer: bool = False


def is_payload(name: str) -> bool:
    """Whether a name in stage or trash is that of a file on its way, not of a sidecar."""
    return "." not in name and not name.endswith((INFO, "_meta", "_meta_new"))


def prepare(root: str, store: str, name: str) -> str:
    """Make the root and its house where they are not there yet, and return the id; one that is there stays.

    The id is on disk when this returns. Raises DiskError when they cannot be made, when location.json is damaged, or
    when the house would be on another file system than the root, from which no file can be renamed into place.
    """
    from reconciler.root import Root  # the sink; an observer has no use for it

    house = Path(store_of(store).house(root))
    with Root.open(Path(root), create=True) as there:
        _refuse_misplaced(house, root, there.device)
        with Root.open(house, create=True) as home:
            for folder in _FOLDERS:
                home.mkdirs(folder, 0o700)
            plate = read_plate(str(house))
            if plate.id is not None:
                return plate.id
            if plate.why:
                hint = NEWER if plate.is_newer else "if this is the right disk, remove the file"
                raise DiskError(plate.why, where=f"{house}/{_FILE}", hint=hint)
            identity = os.urandom(16).hex()
            text = json.dumps({"version": VERSION, "id": identity, "name": name}, ensure_ascii=False)
            home.write(_FILE, text.encode() + b"\n")
            return identity


def _refuse_misplaced(house: Path, root: str, device: int) -> None:
    if house.is_symlink():
        raise DiskError("a symbolic link; our directory must be a real one", where=str(house), hint="remove the link")
    if (house if house.exists() else house.parent).stat().st_dev != device:
        raise DiskError(
            f"on another file system than {root}: nothing could be renamed into place",
            where=str(house),
            hint="name a root that is neither a mount point nor a link to one; a directory in it will do",
        )


def closed(root: str, store: str, device: int) -> str:
    """Say why nothing can be placed or recorded in a location and what would lift it; '' when it can. Writes nothing.

    `root` is there, on the file system `device`. Only the house counts: directories below the root have owners and
    modes of their own, and only trying tells.
    """
    house = store_of(store).house(root)
    if os.path.islink(house):  # noqa: PTH114  Path.is_symlink raises where nobody may look
        return f"{inert(house)} is a symbolic link; our directory must be a real one (remove the link)"
    try:
        there = next(path for path in (house, os.path.dirname(house)) if os.path.lexists(path))  # noqa: PTH120
        other = os.stat(there).st_dev != device  # noqa: PTH116
    except (OSError, StopIteration):
        return ""  # only trying will tell
    if other:
        return (
            f"our directory {inert(house)} would be on another file system than the root, and no file could be renamed "
            "into place (name a root that is neither a mount point nor a link to one)"
        )
    own = [there, *(f"{house}/{name}" for name in _FOLDERS if there == house and os.path.lexists(f"{house}/{name}"))]
    shut = next((path for path in own if not os.access(path, os.W_OK | os.X_OK)), None)
    return f"{inert(shut)} cannot be written by you (look at its owner, its mode and how it is mounted)" if shut else ""


def read_id(house: str) -> str | None:
    """Return the id of a location, None when it has none that can be read."""
    return read_plate(house).id


def read_plate(house: str) -> Plate:
    """Return what location.json says; never raises."""
    try:
        with _opened(house) as folder:
            plate = _read_json(_FILE, folder)
    except FileNotFoundError:
        return Plate(None)
    except (OSError, ValueError) as error:
        return Plate(None, f"{_FILE} cannot be read: {_words(error)}")
    identity, version = plate.get("id"), plate.get("version")
    if type(version) is int and version > VERSION:
        return Plate(None, str(NewerError(f"{_FILE} is", version, VERSION)), is_newer=True)
    if version != VERSION or not isinstance(identity, str) or not _ID.fullmatch(identity):
        return Plate(None, f"{_FILE} holds no id of version {VERSION}")
    return Plate(identity)


def staged(house: str) -> tuple[tuple[Staged, ...], tuple[str, ...]]:
    """Return the payloads in the stage, sorted, and warnings. Never raises."""
    sizes, warnings = _payloads(house, "stage")
    # A file that several connections fill has holes: what is there is what has blocks.
    there = {name: min(facts.st_size, facts.st_blocks * 512) for name, facts in sizes.items()}
    return tuple(Staged(name, size) for name, size in sorted(there.items())), tuple(warnings)


def trashed(house: str) -> tuple[tuple[Trashed, ...], tuple[str, ...]]:
    """Return the files in the trash, sorted by name, and warnings. Never raises.

    A file whose description is damaged is reported with what is known: its size, and since when it has this name.
    """
    facts, warnings = _payloads(house, "trash")
    found: list[Trashed] = []
    if facts:
        with contextlib.suppress(OSError), _opened(f"{house}/trash") as folder:
            for name in sorted(facts):
                found.append(_described(name, facts[name], folder, warnings))
    return tuple(found), tuple(warnings)


def _described(name: str, facts: os.stat_result, folder: int, warnings: list[str]) -> Trashed:
    # Renaming sets ctime, while mtime is as old as the bytes: gc must not take an old model for old trash.
    unknown = Trashed(name, "", facts.st_size, None, facts.st_ctime, 0, "")
    try:
        info = _read_json(name + INFO, folder)
        if info.get("version", VERSION) != VERSION:
            raise ValueError(f"not of version {VERSION}")
        path, since, generation, address = info["path"], info["since"], info["generation"], info["address"]
        digest: Digest | None = None if info.get("digest") is None else parse_digest(info["digest"])
        known = Trashed(name, path, facts.st_size, digest, float(since), generation, address)
        if not (isinstance(path, str) and isinstance(address, str) and type(generation) is int):
            raise ValueError("a field of another type")
    except (OSError, ValueError, TypeError, KeyError) as error:
        warnings.append(f"trash/{inert(name)}: its description {inert(name)}{INFO} cannot be read: {_words(error)}")
        return unknown
    if info.get("size") != facts.st_size:
        warnings.append(f"trash/{inert(name)}: {facts.st_size} bytes, expected {info.get('size')!r:.40}")
        return known._replace(digest=None)
    return known


def _payloads(house: str, folder: str) -> tuple[dict[str, os.stat_result], list[str]]:
    found: dict[str, os.stat_result] = {}
    try:
        with _opened(f"{house}/{folder}") as fd, os.scandir(fd) as entries:
            for entry in entries:
                if not is_payload(entry.name):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    facts = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(facts.st_mode):
                        found[entry.name] = facts
    except FileNotFoundError:
        return found, []
    except OSError as error:
        return found, [f"{folder} cannot be read: {_words(error)}"]
    return found, []


@contextlib.contextmanager
def _opened(folder: str) -> Iterator[int]:
    fd = os.open(folder, _PLAIN | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def _read_json(name: str, folder: int) -> dict[str, Any]:
    fd = os.open(name, _PLAIN, dir_fd=folder)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        text = file.read(_LIMIT + 1)
    if len(text) > _LIMIT:
        raise ValueError(f"longer than {_LIMIT} bytes")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    return str(error)
