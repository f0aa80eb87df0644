"""The manifest and lock that an import adds to: found, read, and written again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler import lockfile
from reconciler.errors import InputError
from reconciler.inert import inert
from reconciler.manifestfiles import DEFAULT_DIRECTORY, DEFAULT_FILE

if TYPE_CHECKING:
    from reconciler.manifest import Loaded

FRESH = "version: 1\n"
"""What a manifest begins with."""
IMPORTED = "imported.yaml"
"""The file of a directory that takes what is imported."""


@dataclass(frozen=True)
class Target:
    """A manifest that may not be there yet. `file` takes new entries; `texts` are its files as they are."""

    path: Path
    file: Path
    loaded: Loaded | None
    texts: Mapping[Path, str]
    lock_path: Path
    lock: lockfile.Lock

    @property
    def shown(self) -> str:
        """How the user calls the manifest."""
        return inert(os.fspath(self.path))


def open_target(path: str | Path | None, into: str = IMPORTED) -> Target:
    """Read the manifest at `path` and its lock; None means `manifests/` if it is there, else `reconciler.yaml`.

    A file that is not there is one that `write` will make; in a directory, new entries go to the file `into`.
    Raise ManifestError or LockfileError for what is there and cannot be read, InputError for a path that cannot be one.
    """
    from reconciler import editing
    from reconciler.manifest import load

    chosen = Path(path) if path is not None else _default()
    there = os.path.lexists(chosen)
    if not there and chosen.suffix not in (".yaml", ".yml"):
        raise InputError(
            "there is no such manifest, and none can be made by this name", where=inert(str(chosen)),
            hint=f"name a file that ends with .yaml, as `{inert(str(chosen.with_name(chosen.name + '.yaml')))}`",
        )  # fmt: skip
    if not chosen.absolute().parent.is_dir():
        raise InputError("there is no such directory", where=inert(str(chosen.parent)), hint="make it, or name another")
    is_directory = chosen.is_dir()
    loaded = load(chosen) if there and not (is_directory and _is_bare(chosen)) else None
    texts = {file: editing.read_text(file) for file in loaded.files} if loaded else {}
    absolute = chosen.absolute()
    lock_path = lockfile.path_for(absolute)
    lock = lockfile.read(lock_path) or lockfile.Lock()
    return Target(chosen, absolute / into if is_directory else absolute, loaded, texts, lock_path, lock)


def _default() -> Path:
    return Path(DEFAULT_DIRECTORY) if Path(DEFAULT_DIRECTORY).is_dir() else Path(DEFAULT_FILE)


def _is_bare(directory: Path) -> bool:
    """Whether a directory holds no manifest yet."""
    return not any(entry.suffix in (".yaml", ".yml") and entry.name[0] != "." for entry in directory.iterdir())
