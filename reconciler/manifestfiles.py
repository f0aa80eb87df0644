"""Find and read the files of a manifest: one file, or every `*.yaml` and `*.yml` of a directory."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path
from typing import NamedTuple

from reconciler.errors import ManifestError
from reconciler.inert import inert, suggest
from reconciler.oserrors import remedy
from reconciler.yamlread import MAX_BYTES

DEFAULT_DIRECTORY = "manifests"
DEFAULT_FILE = "reconciler.yaml"
MAX_FILES = 10_000

_SUFFIXES = (".yaml", ".yml")
_MINIMAL = "`reconciler init` writes one of what is on this machine (the README shows one to write by hand)"
_PLAN = "`reconciler plan -o FILE` writes a plan"


class Source(NamedTuple):
    """One file of a manifest: where it lies, how the user calls it, its bytes."""

    path: str
    shown: str
    data: bytes


class Found(NamedTuple):
    """What a manifest argument stands for; `path` as given."""

    path: str
    is_directory: bool
    sources: tuple[Source, ...]

    @property
    def shown(self) -> str:
        """How the user calls it, fit for a terminal."""
        return inert(self.path)


def find(path: Path | str | None) -> Found:
    """Read the files that `path` stands for; None means `manifests/` if it is there, else `reconciler.yaml`.

    Raises ManifestError when there are none, or they are no regular files, or too large.
    """
    given = _default() if path is None else os.fspath(path)
    if not given or "\0" in given:
        raise ManifestError("an empty path, or one with NUL", hint="name a manifest file or a directory of manifests")
    try:
        if Path(given).is_dir():
            return Found(given, True, tuple(_read(entry) for entry in _entries(given)))
        return Found(given, False, (_read(given),))
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not os.path.lexists(given):
            raise ManifestError("there is no such file or directory", where=inert(given), hint=_near(given)) from None
        reason = error.strerror or type(error).__name__
        where = inert(str(error.filename or given))
        raise ManifestError(f"cannot be read: {reason}", where=where, hint=remedy(error)) from None


def typed(path: Path) -> str:
    """Return a path as one would type it: relative when it lies below the current directory."""
    from reconciler.settingsfiles import here

    current = here()
    return os.path.relpath(path, current) if current and path.is_relative_to(current) else str(path)


def command(words: str, path: Path) -> str:
    """Return the command line, such as `reconciler lock box.yaml`, that does `words` with the manifest at `path`."""
    shown = typed(path)
    try:
        is_default = shown == _default()
    except ManifestError:
        is_default = False
    return f"reconciler {words}" if is_default else f"reconciler {words} {shlex.quote(inert(shown))}"


def _default() -> str:
    if Path(DEFAULT_DIRECTORY).is_dir():
        return DEFAULT_DIRECTORY
    if os.path.lexists(DEFAULT_FILE):
        return DEFAULT_FILE
    raise ManifestError(
        "there is no manifest here",
        hint=f"looked for `{DEFAULT_DIRECTORY}/` and `{DEFAULT_FILE}`; name another, or: {_MINIMAL}",
    )


def _entries(directory: str) -> list[str]:
    """The manifest files directly in a directory, in the order of their names."""
    with os.scandir(directory) as entries:
        files = sorted(
            (entry for entry in entries if _is_manifest_name(entry.name) and not entry.is_dir()),
            key=lambda entry: entry.name,
        )
    if not files:
        raise ManifestError("no `*.yaml` or `*.yml` in this directory", where=inert(directory), hint=_below(directory))
    if len(files) > MAX_FILES:
        raise ManifestError(f"{len(files):,} files; a manifest has at most {MAX_FILES:,}", where=inert(directory))
    home = os.path.realpath(directory) + os.sep
    for entry in files:
        if entry.is_symlink() and not os.path.realpath(entry.path).startswith(home):
            raise ManifestError("a symbolic link that leaves the directory of manifests", where=inert(entry.path))
    return [entry.path for entry in files]


def _is_manifest_name(name: str) -> bool:
    return name.endswith(_SUFFIXES) and not name.startswith(".")


def _below(directory: str) -> str:
    """Name sub-directories that hold manifests; what else could have been meant."""
    held = []
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        if entry.is_dir() and not entry.name.startswith("."):
            try:
                names = os.listdir(entry.path)
            except OSError:
                continue
            if any(map(_is_manifest_name, names)):
                held.append(inert(entry.path))
    if os.path.normpath(directory) == DEFAULT_DIRECTORY and Path(DEFAULT_FILE).exists():
        held.append(DEFAULT_FILE)
    if held:
        return f"name one of: {', '.join(held[:8])}" + (", …" if len(held) > 8 else "")
    return f"put a manifest there, or take the directory away: {_MINIMAL}"


def _near(path: str) -> str:
    wanted = Path(path)
    if wanted.suffix == ".json":
        return _PLAN
    try:
        names = [entry.name for entry in wanted.parent.iterdir() if entry.suffix in _SUFFIXES or entry.is_dir()]
    except OSError:
        return _MINIMAL
    near = suggest(wanted.name, names)
    return f"did you mean `{inert(str(wanted.with_name(near)))}`?" if near else _MINIMAL


def _read(path: str) -> Source:
    # O_NONBLOCK: opening a FIFO must not wait for a writer; what is no regular file is refused right after.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ManifestError("not a regular file", where=inert(path), hint="name a manifest file or directory")
        data = file.read(MAX_BYTES + 1)
    return Source(path, inert(path), data)
