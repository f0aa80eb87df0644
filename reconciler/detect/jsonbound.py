"""Read JSON that strangers wrote: the size, the number of values and the depth are bounded before anything is built."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from reconciler.detect.malformed import MalformedHeader

_MAX_CONTAINERS = 50_000
_MAX_VALUES = 400_000


def load(path: Path, limit: int = 4 << 20) -> Any:
    """Return the JSON value in `path`; raise MalformedHeader with the reason, or OSError.

    `limit` is in bytes. What comes back may be of any shape: the caller checks every type.
    """
    raw = read(path, limit)
    containers = raw.count(b"{") + raw.count(b"[")
    if containers > _MAX_CONTAINERS or containers + raw.count(b",") > _MAX_VALUES:
        raise MalformedHeader("JSON of more values than are read")
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise MalformedHeader(f"not JSON: {str(error)[:200] or type(error).__name__}") from None


def read(path: Path, limit: int) -> bytes:
    """Return the bytes of a regular file of at most `limit` bytes; raise MalformedHeader or OSError."""
    with open_regular(path) as stream:
        raw = stream.read(limit + 1)
    if len(raw) > limit:
        raise MalformedHeader(f"more than the {limit} bytes that are read")
    return raw


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, unbuffered. A pipe or a device is refused, and never waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise MalformedHeader("not a regular file")
        return os.fdopen(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise
