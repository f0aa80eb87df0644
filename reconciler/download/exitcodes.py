"""What aria2c's exit codes mean to people. Pure.

https://aria2.github.io/manual/en/html/aria2c.html#exit-status
"""

from __future__ import annotations

from reconciler.download import Wanted
from reconciler.errors import DiskError, Problem, TransferError

STALLED = "stalled"
"""Ours: we broke it off."""

_DISK = {
    "9": "the disk is full",
    "14": "a file could not be renamed",
    "15": "the partial file could not be opened",
    "16": "the file could not be created",
    "17": "the disk reports an input/output error",
    "18": "the stage could not be created",
}

_WORDS = {
    STALLED: "too few bytes came for too long",
    "0": "another length came than the locked one",
    "1": "the transfer failed",
    "2": "no answer in time",
    "3": "not found",
    "5": "too slow",
    "6": "the network failed",
    "8": "the server does not resume",
    "19": "the host name is not known",
    "22": "the server refused",
    "24": "the server refused",
    "29": "the server is overloaded",
}


def is_of_disk(code: str) -> bool:
    """Whether the disk is to blame: no other server would help."""
    return code in _DISK


def disk_trouble(code: str, wanted: Wanted, missing: int) -> DiskError:
    """Return the error for a code of the disk; `missing` are the bytes that were still to come."""
    hint = "free some space or look at the disk, then run the same again; partial files are kept"
    return DiskError(
        Problem(str(wanted.stage), f"{_DISK[code]} ({missing:,} bytes of {wanted.key} were missing)", hint)
    )


def trouble(code: str, wanted: Wanted) -> TransferError:
    """Return the error for any other code."""
    words = _WORDS.get(code, f"aria2c ended with code {code}")
    return TransferError(Problem(wanted.key, words, "run the same again; partial files are kept"))
