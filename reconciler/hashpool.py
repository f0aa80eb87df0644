"""Hash many files, a thread a core: hashlib and reading release the interpreter lock."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from hashlib import sha1, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from reconciler.state import Algorithm, Digest, ObservedFile

if TYPE_CHECKING:
    from reconciler.digests import Answer, Question, Watch

_BUFFER = 1 << 20
_TELL_EVERY = 16 << 20
"""Bytes between two calls of the watcher, so that watching costs nothing."""

_CHANGED = "changed while it was read"
_CHANGED_BEFORE = "changed since it was looked at"


class _Hasher(Protocol):
    def update(self, data: memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


Result = tuple[list["Question"], int, "dict[Path, Answer]"]
"""A group of questions about one inode, when its hashing began (ns since the epoch), and the answers."""


def hash_all(jobs: Sequence[list[Question]], clock: Callable[[], int], watch: Watch | None) -> Iterator[Result]:
    """Hash the first readable path of every group and yield its answers as they come. Never raises for a file.

    When the caller stops, or is interrupted, the threads stop at their next buffer.
    """
    stop = threading.Event()
    told = _one_at_a_time(watch) if watch is not None else None
    with ThreadPoolExecutor(min(len(jobs), cores()), thread_name_prefix="hash") as pool:
        waiting = [pool.submit(_hash_group, job, clock, told, stop) for job in jobs]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class StoppedError(Exception):
    """Nobody waits for the answer any more."""


def _hash_group(group: list[Question], clock: Callable[[], int], watch: Watch | None, stop: threading.Event) -> Result:
    from reconciler.digests import Answer

    began = clock()
    answers: dict[Path, Answer] = {}
    good: Answer | None = None
    for question in group:
        try:
            if good is None:
                answers[question.path] = good = _hash(question, watch, stop)
            else:
                _compare(question.path.lstat(), question.file, _CHANGED_BEFORE)
                answers[question.path] = good._replace(bytes_read=0)
        except (OSError, ValueError) as error:
            words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            answers[question.path] = Answer({}, words)
    return group, began, answers


def _hash(question: Question, watch: Watch | None, stop: threading.Event) -> Answer:
    from reconciler.digests import Answer

    # A pipe that has taken the file's place must neither block us nor be read.
    fd = os.open(question.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(fd, "rb", buffering=0) as file:
        before = os.fstat(fd)
        _compare(before, question.file, _CHANGED_BEFORE)
        hashers = {name: _hasher(name, before.st_size) for name in question.algorithms}
        count = _feed(
            file.readinto, list(hashers.values()), before.st_size, lambda n: watch and watch(question, n), stop
        )
        after = os.fstat(fd)
        # A hard link that comes or goes touches ctime too, and leaves the bytes alone.
        touched = before.st_ctime_ns != after.st_ctime_ns and before.st_nlink == after.st_nlink
        if count != before.st_size or touched:
            raise ValueError(_CHANGED)
        _compare(after, question.file, _CHANGED)
    return Answer({name: Digest(f"{name}:{hasher.hexdigest()}") for name, hasher in hashers.items()}, "", count)


def _feed(
    read_into: Callable[[memoryview], int | None],
    hashers: list[_Hasher],
    size: int,
    tell: Callable[[int], object],
    stop: threading.Event,
) -> int:
    buffer = memoryview(bytearray(max(1, min(_BUFFER, size))))
    total = untold = 0
    while count := read_into(buffer):
        if stop.is_set():
            raise StoppedError
        for hasher in hashers:
            hasher.update(buffer[:count])
        total += count
        untold += count
        if untold >= _TELL_EVERY:
            tell(untold)
            untold = 0
    if untold:
        tell(untold)
    return total


def _hasher(algorithm: Algorithm, size: int) -> _Hasher:
    if algorithm == "sha256":
        return sha256()
    # https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
    return sha1(b"blob %d\0" % size, usedforsecurity=False)


def _compare(facts: os.stat_result, file: ObservedFile, otherwise: str) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise ValueError("not a regular file any more")
    if (facts.st_size, facts.st_mtime_ns, facts.st_ino) != (file.size, file.mtime_ns, file.inode):
        raise ValueError(otherwise)


def _one_at_a_time(watch: Watch) -> Watch:
    lock = threading.Lock()

    def told(question: Question, count: int) -> None:
        with lock:
            watch(question, count)

    return told
