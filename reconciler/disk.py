"""The disk as the rest of the house sees it: small verbs, every one of them confined, durable and told in words."""

from __future__ import annotations

from pathlib import Path

from reconciler.hashing import hash_bytes, hash_fd, hash_file
from reconciler.locking import exclusive_lock, holder_of
from reconciler.oserrors import disk_error, errno_of, free_bytes, nearest, telling
from reconciler.placing import TwoStepError, clone_or_copy, hardlink, install, link_or_copy, rename, set_aside
from reconciler.root import Root
from reconciler.syncing import sync_directory, sync_fd, write_all, write_atomic, write_out

__all__ = [
    "Root",
    "TwoStepError",
    "clone_or_copy",
    "device_of",
    "disk_error",
    "errno_of",
    "exclusive_lock",
    "free_bytes",
    "hardlink",
    "hash_bytes",
    "hash_fd",
    "hash_file",
    "holder_of",
    "install",
    "link_or_copy",
    "rename",
    "same_file_system",
    "set_aside",
    "sync_directory",
    "sync_fd",
    "telling",
    "write_all",
    "write_atomic",
    "write_out",
]


def device_of(path: Path) -> int:
    """Return the number of the file system that holds `path`, or would: its nearest ancestor that exists is asked."""
    found = nearest(path)
    with telling(str(found)):
        return found.stat().st_dev


def same_file_system(one: Path, other: Path) -> bool:
    """Whether `one` and `other` lie (or would lie) on one file system, so that names can move between them."""
    return device_of(one) == device_of(other)
