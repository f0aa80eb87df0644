"""Read the directory in which an Ollama server keeps its models: which there are, who names which blob, what is wrong.

    manifests/<host>/<namespace>/<model>/<tag>    see `manifests`
    blobs/sha256-<hex>, blobs/sha256-<hex>-partial…

Rules of the server as of 0.32 (https://github.com/ollama/ollama/tree/main/manifest). Nothing is written, and nothing is
opened but directories, manifests and regular files.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from reconciler.inert import inert
from reconciler.ollama import manifests, names
from reconciler.ollama.manifests import Manifest
from reconciler.ollama.names import Name
from reconciler.state import Digest, ObservedFile

SYSTEM = ("/usr/share/ollama/.ollama/models", "/var/lib/ollama/models")
"""Where a server keeps models that the system starts: as installed on Linux (https://docs.ollama.com/faq), on NixOS."""

GRACE = 3600.0
"""Seconds: the server spares blobs that are younger, since somebody may be about to name them."""

_V1 = "manifests"
_V2 = "manifests-v2"
_DEPTH = 4
_V2_HOST = "ollama.com"
"""What the second layout calls the default host."""

_BLOB = re.compile(r"blobs/sha256-[0-9a-f]{64}")
_PARTIAL = re.compile(r"blobs/sha256-[0-9a-f]{64}-partial(?:-[0-9]+)?")
_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_NAMED = re.compile(rb"sha256[:-]([0-9a-f]{64})")


class StoredModel(NamedTuple):
    """A model that a directory holds: `path` of its manifest below the directory, `size` in bytes as declared.

    `link` is what the manifest's path says when it is a symbolic link; `data` are the manifest's own bytes.
    """

    name: Name
    path: str
    digest: Digest
    manifest: Manifest
    size: int
    mtime_ns: int
    link: str | None
    data: bytes


class Broken(NamedTuple):
    """An entry that the server stumbles over, or that we cannot read: `path` below the directory, what, what to do.

    `hides` says that manifests in it may be good and name any blob.
    """

    path: str
    what: str
    remedy: str
    hides: bool = False

    def __str__(self) -> str:
        return f"{inert(self.path)}: {self.what}; {self.remedy}"


@dataclass(frozen=True, slots=True)
class Stored:
    """What a directory holds. `why` says why nothing could be read, '' when it could; a missing one holds nothing.

    `users` says which manifests name a blob, both as paths below the directory. A manifest that is damaged counts for
    every digest that its bytes still show; one that cannot be read is in `broken`, and hides which blobs it names.
    """

    directory: str
    models: tuple[StoredModel, ...] = ()
    broken: tuple[Broken, ...] = ()
    users: Mapping[str, frozenset[str]] = field(default_factory=dict)
    v2: bool = False
    """Whether manifests of a later layout are there, which we read and never write."""
    exists: bool = True
    why: str = ""
    folders: tuple[str, ...] = ()
    """Every directory that holds manifests, or directories of them, as paths below the directory."""


def read_store(directory: Path) -> Stored:
    """Read a store directory. Never raises: what cannot be read is told."""
    root = str(directory)
    try:
        with os.scandir(root) as entries:
            there = {entry.name for entry in entries}
    except FileNotFoundError:
        return Stored(root, exists=False)
    except OSError as error:
        return Stored(root, why=f"{inert(root)} cannot be read: {error.strerror}")
    found = _Found(root)
    for top in (_V1, _V2):
        if top in there:
            _walk(found, top, _DEPTH)
    if any(path in (_V1, _V2) for path, *_ in found.broken):
        tops = [broken for broken in found.broken if broken.path in (_V1, _V2)]
        why = "; ".join(f"{inert(root)}/{broken.path} {broken.what}" for broken in tops)
        return Stored(root, broken=tuple(found.broken), v2=_V2 in there, why=why)
    known = {model.name.key for model in found.models if model.path.startswith(f"{_V1}/")}
    models = [m for m in found.models if m.path.startswith(f"{_V1}/") or m.name.key not in known]
    return Stored(
        root,
        tuple(sorted(models, key=lambda model: model.path)),
        tuple(sorted(found.broken)),
        {path: frozenset(found.users[path]) for path in sorted(found.users)},
        v2=_V2 in there,
        folders=tuple(found.folders),
    )


def orphans(stored: Stored, files: Mapping[str, ObservedFile], now: float) -> tuple[str, ...]:
    """Return the blobs and parts of blobs that the server would delete when it starts next, sorted. Pure.

    `files` are the regular files below the directory, `now` unix seconds. None are orphans while anything is broken
    (the server does not tidy up then either, and a manifest that nobody can read may name any blob), while no model is
    there at all (an empty list is what a lost disk shows), or while a pull may be running.
    """
    if stored.broken or stored.v2 or stored.why or not stored.models:
        return ()
    parts = [path for path in files if _PARTIAL.fullmatch(path)]
    blobs = [path for path in files if _BLOB.fullmatch(path) and path not in stored.users]
    if any(_is_young(files[path], now) for path in parts):
        return ()
    return tuple(sorted([*parts, *(path for path in blobs if not _is_young(files[path], now))]))


def environment_directory(environ: Mapping[str, str]) -> str:
    """Return what `OLLAMA_MODELS` says, as the server reads it: without spaces and quotes around it; '' for nothing."""
    named = environ.get("OLLAMA_MODELS", "").strip().strip("\"'")
    return os.path.abspath(named) if named else ""  # noqa: PTH100  links stay as they are


def usual_directories(environ: Mapping[str, str], system: Sequence[str] = SYSTEM) -> tuple[str, ...]:
    """Return the places that a server uses unless told otherwise: the user's own first."""
    home = environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111  a home that nobody knows is no error
    return (os.path.join(home, ".ollama", "models"), *system)  # noqa: PTH118


def bytes_on_disk(directory: Path) -> tuple[int, int]:
    """Return (bytes that the files below `directory` occupy, each inode once; the sum of their sizes by name).

    Holes are not counted in the first, and links lead nowhere. What cannot be read counts nothing.
    """
    seen: set[tuple[int, int]] = set()
    unique = apparent = 0
    waiting = [str(directory)]
    while waiting:
        for entry in _entries(waiting.pop()):
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
                continue
            facts = _facts(entry)
            if facts is None or not stat.S_ISREG(facts.st_mode):
                continue
            apparent += facts.st_size
            if (facts.st_dev, facts.st_ino) not in seen:
                seen.add((facts.st_dev, facts.st_ino))
                unique += min(facts.st_size, facts.st_blocks * 512)
    return unique, apparent


def blob_files(directory: Path) -> dict[str, ObservedFile]:
    """Return the regular files among the blobs, by their path below `directory`, as an observer sees them."""
    found: dict[str, ObservedFile] = {}
    for entry in _entries(f"{directory}/blobs"):
        facts = _facts(entry)
        if facts is not None and stat.S_ISREG(facts.st_mode):
            path = f"blobs/{entry.name}"
            found[path] = ObservedFile(path, facts.st_size, facts.st_mtime_ns, facts.st_ino, facts.st_dev)
    return found


def remove_command(path: str) -> str:
    """Return the command that removes a file by hand, as a shell takes it, whatever bytes the name holds."""
    if path.isprintable():
        return f"rm -- {shlex.quote(path)}"
    quoted = "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b"'\\" else f"\\x{byte:02x}" for byte in os.fsencode(path)
    )
    return f"rm -- $'{quoted}'"


# -- reading ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Found:
    """What a walk gathers; filled in place."""

    root: str
    models: list[StoredModel] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    users: dict[str, set[str]] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)

    def tell(self, path: str, what: str, remedy: str, *, hides: bool = False) -> None:
        self.broken.append(Broken(path, what, remedy, hides))

    def by_hand(self, path: str) -> str:
        return f"remove it: {remove_command(f'{self.root}/{path}')}"


def _walk(found: _Found, folder: str, depth: int) -> None:
    """Read what stands `depth` levels below `folder`. The server looks at exactly one depth, and follows links."""
    try:
        with os.scandir(f"{found.root}/{folder}") as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except FileNotFoundError:
        return  # gone since its parent was listed
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        found.tell(folder, what, "what it holds is unknown; check its owner and mode", hides=True)
        return
    found.folders.append(folder)
    for entry in entries:
        path = f"{folder}/{entry.name}"
        if depth == 1:
            _manifest(found, path, entry)
            continue
        try:
            is_folder = entry.is_dir()
        except OSError as error:
            found.tell(path, f"cannot be looked at: {error.strerror}", "what it holds is unknown", hides=True)
            continue
        if is_folder:
            _walk(found, path, depth - 1)
        elif entry.is_symlink():
            what = "a link that leads nowhere: which models it held is unknown"
            found.tell(path, what, found.by_hand(path), hides=True)


def _manifest(found: _Found, path: str, entry: os.DirEntry[str]) -> None:
    """Read one entry where the server expects a manifest. Directories mean nothing to it."""
    try:
        link = os.readlink(entry.path) if entry.is_symlink() else None  # noqa: PTH115  a Path would tidy it up
        if entry.is_dir():
            return
        data, mtime_ns = _content(entry.path)
    except ValueError as error:
        found.tell(path, str(error), f"it keeps the server from tidying up; {found.by_hand(path)}", hides=True)
        return
    except OSError as error:
        _unreadable(found, path, entry, error)
        return
    _judge(found, path, data, mtime_ns, link)


def _unreadable(found: _Found, path: str, entry: os.DirEntry[str], error: OSError) -> None:
    if error.errno in _NOWHERE and entry.is_symlink():
        what = "a symbolic link that leads nowhere, which disables the whole server (it answers 500 to everything)"
        found.tell(path, what, found.by_hand(path))
    elif error.errno != errno.ENOENT:  # gone since it was listed is no news
        what = f"cannot be read: {error.strerror}"
        found.tell(path, what, "which blobs it names is unknown; check its owner and mode", hides=True)


def _judge(found: _Found, path: str, data: bytes, mtime_ns: int, link: str | None) -> None:
    for hexadecimal in _NAMED.findall(data):
        found.users.setdefault(f"blobs/sha256-{hexadecimal.decode()}", set()).add(path)
    name = _name_of(path)
    if name is None:
        what = "no valid tag or name: while it is there, the server never tidies up"
        found.tell(path, what, found.by_hand(path))
        return
    try:
        manifest = manifests.read(data)
    except ValueError as error:
        if path.startswith(f"{_V2}/"):
            found.tell(path, f"of a layout that we do not know ({error})", "it is left alone")
            return
        what = f"a damaged manifest ({error}): the server neither lists it nor can it remove it, nor tidy up"
        found.tell(path, what, found.by_hand(path))
        return
    digest = manifests.digest_of(data)
    if path.startswith(f"{_V2}/"):  # the manifest is a blob itself there
        found.users.setdefault(manifests.blob_path(digest), set()).add(path)
    for layer in manifest.blobs:
        found.users.setdefault(manifests.blob_path(layer.digest), set()).add(path)
    found.models.append(StoredModel(name, path, digest, manifest, manifest.size, mtime_ns, link, data))


def _name_of(path: str) -> Name | None:
    top, _, rest = path.partition("/")
    name = names.from_path(f"{_V1}/{rest}")
    if name is not None and top == _V2 and name.host.lower() == _V2_HOST:
        return name._replace(host=names.HOST)
    return name


def _content(path: str) -> tuple[bytes, int]:
    """Return the bytes of a regular file and when it was last changed, in ns; raise ValueError for anything else."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with os.fdopen(fd, "rb") as file:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("not a regular file")
        if facts.st_size > manifests.LARGEST:
            raise ValueError(f"{facts.st_size} bytes; a manifest has at most {manifests.LARGEST}")
        return file.read(manifests.LARGEST), facts.st_mtime_ns


def _is_young(file: ObservedFile, now: float) -> bool:
    return now - file.mtime_ns / 1e9 < GRACE


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:
        return


def _facts(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError:
        return None
