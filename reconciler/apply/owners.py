"""Give what root places in somebody's store to that somebody: its server must be able to change and remove it.

Ollama's installer makes a user `ollama` who owns the store (https://github.com/ollama/ollama/blob/main/scripts/install.sh).
A file that has another name elsewhere keeps its owner: that name is somebody else's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from reconciler.disk import Root, telling

Owner = tuple[int, int]
"""(uid, gid)"""


def owner_of(root: str, store: str) -> Owner | None:
    """Return to whom new files below a root belong; None when they stay ours, as nobody but root can give them away."""
    if store != "ollama" or not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    found = os.stat(root)  # noqa: PTH116  beside chown
    return None if found.st_uid == 0 else (found.st_uid, found.st_gid)


def give(root: Root, owner: Owner | None, paths: Iterable[str]) -> None:
    """Give files, and the directories above them, as far as they are root's, to the store's owner. Raise DiskError."""
    if owner is None:
        return
    folders: set[str] = set()
    for path in paths:
        found = root.stat(path)
        if found is not None and found.st_uid == 0 and found.st_nlink == 1:
            fd = root.open_read(path)
            _give(fd, owner, root.where(path))
        parent = path.rpartition("/")[0]
        while parent and parent not in folders:
            folders.add(parent)
            parent = parent.rpartition("/")[0]
    for folder in sorted(folders):
        found = root.stat(folder)
        if found is not None and found.st_uid == 0:
            with root.directory(folder) as fd:
                _give(os.dup(fd), owner, root.where(folder))


def _give(fd: int, owner: Owner, where: str) -> None:
    try:
        with telling(where):
            os.fchown(fd, *owner)
    finally:
        os.close(fd)
