"""What file system a path lies on, and what that one can and cannot do."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from reconciler.state import ObservedLocation

REFLINKS = frozenset({"btrfs", "xfs", "bcachefs", "ocfs2", "zfs"})
"""Those that can share blocks between files (https://man7.org/linux/man-pages/man2/ioctl_ficlone.2.html)."""
NO_HARDLINKS = frozenset({"vfat", "msdos", "exfat"})
SMALL_FILES = frozenset({"vfat", "msdos"})
"""Those that hold no file of 4 GiB or more."""

_ESCAPE = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """A mounted file system: the number of the mount, where it stands, its kind (`ext4`)."""

    number: int
    point: str
    kind: str


def mounts() -> tuple[Mount, ...]:
    """Return what is mounted; () where the system does not say."""
    try:
        return parse(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError:
        return ()


def parse(text: str) -> tuple[Mount, ...]:
    """Read https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html. Pure."""
    found = []
    for line in text.splitlines():
        fields, dash, rest = line.partition(" - ")
        parts = fields.split(" ")
        if dash and len(parts) >= 5 and parts[0].isdecimal():
            point = _ESCAPE.sub(lambda escape: chr(int(escape[1], 8)), parts[4])
            found.append(Mount(int(parts[0]), point, rest.split(" ")[0]))
    return tuple(found)


def mount_of(path: str, known: Iterable[Mount]) -> Mount | None:
    """Return the mount that holds an absolute path; of those that stand in one place the last covers the others."""
    real = os.path.realpath(path)
    best: Mount | None = None
    for mount in known:
        inside = real == mount.point or real.startswith(mount.point.rstrip("/") + "/")
        if inside and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def joinable(locations: Mapping[str, ObservedLocation]) -> frozenset[str]:
    """Return the locations on file systems where one file may have several names, and copies are told by that.

    Where blocks are shared without sharing a file, every copy is one already, and would look like none for ever.
    """
    known = mounts()
    found = set()
    for name, place in locations.items():
        mount = mount_of(place.root, known) if place.readable and place.exists and not place.by_api else None
        if mount is not None and mount.kind not in REFLINKS | NO_HARDLINKS:
            found.add(name)
    return frozenset(found)
