"""Decide whether bytes are the ones that were asked for, and say what they are when they are not."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.errors import DigestError, Problem, TransferError
from reconciler.hashing import hash_file
from reconciler.state import Digest, algorithm

if TYPE_CHECKING:
    from hashlib import _Hash

    from reconciler.download import Wanted

HEAD = 512
"""How many first bytes tell a web page or a pointer from weights."""


def start(digest: Digest, size: int) -> _Hash:
    """Return a hash that will be compared with `digest`, for a file of `size` bytes."""
    if algorithm(digest) == "sha256":
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def finish(hasher: _Hash, wanted: Digest) -> Digest:
    """Return what `hasher` found, as a digest of the same kind as `wanted`."""
    return Digest(f"{algorithm(wanted)}:{hasher.hexdigest()}")


def matches(path: Path, digest: Digest) -> bool:
    """Whether the regular file at `path` holds the bytes of `digest`; raise DiskError when it cannot be read."""
    return hash_file(path, algorithm(digest)) == digest


def head_of(path: Path) -> bytes:
    """Return the first bytes of a file, b'' when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""


def disguise(head: bytes) -> tuple[str, str] | None:
    """Return (what it is, what to try) when first bytes are those of a web page or a Git LFS pointer. Pure."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:64].lower()
    if re.match(rb"<!doctype html|<html|<head|<body", text):
        return (
            "a web page came instead of the file",
            "open the model's page in a browser: accept its licence or sign in, and set the token of its site",
        )
    if text.startswith(b"version https://git-lfs.github.com/spec/"):
        return (
            "a Git LFS pointer came instead of the file",
            "this mirror keeps the pointers only; use one that serves the files",
        )
    if text.startswith(b"<?xml") and b"<error>" in head.lower():
        return ("an error message of the storage came instead of the file", "check access, then run the same again")
    return None


def wrong_bytes(wanted: Wanted, found: Digest, head: bytes) -> DigestError:
    """Return the error for a whole file whose digest is not the locked one; it names both."""
    known = disguise(head)
    if known is None:
        summary = f"expected {wanted.digest}, found {found}"
        hint = (
            "upstream changed the file or something on the way did; "
            "`reconciler lock --upgrade` takes what upstream has now"
        )
        return DigestError(Problem(wanted.key, summary, hint))
    return DigestError(Problem(wanted.key, f"{known[0]}: expected {wanted.digest}, found {found}", known[1]))


def wrong_size(wanted: Wanted, found: int | None, head: bytes = b"") -> TransferError:
    """Return the error for an answer whose length is not the locked one."""
    known = disguise(head)
    length = "more" if found is None else f"{found:,}"
    summary = f"expected {wanted.size:,} bytes, found {length}"
    if known is not None:
        return DigestError(Problem(wanted.key, f"{known[0]}: {summary}; expected {wanted.digest}", known[1]))
    hint = "upstream changed the file; `reconciler lock --upgrade` takes what upstream has now"
    return TransferError(Problem(wanted.key, summary, hint))
