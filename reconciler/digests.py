"""What hashing has taught us: a cache of digests keyed by (device, inode, size, mtime_ns), and hashing on all cores."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from reconciler import home
from reconciler.state import Algorithm, Digest, ObservedFile, identity_key, parse_digest

if TYPE_CHECKING:
    from reconciler.digeststore import DigestStore

Key = tuple[int, int, int, int]
"""(device, inode, size, mtime_ns), as `state.identity_key` makes it."""

Watch = Callable[["Question", int], None]
"""Called with a question and the bytes read for it since the last call; one call at a time, from a hashing thread."""

_RACY_NS = 20_000_000
"""Two writes this near may get one mtime: the clock of Linux file systems ticks every 1 to 10 ms."""

_COARSE_NS = 2_000_000_000
"""The same where times are whole seconds (FAT ticks every 2 s, ext3 and some NFS servers every second)."""

_SAVE_EVERY = 5.0
"""Seconds of hashing that a kill may cost."""


class Question(NamedTuple):
    """A file whose digests are wanted. `path` is absolute, `file` its stat when it was observed."""

    path: Path
    file: ObservedFile
    algorithms: tuple[Algorithm, ...]


class Answer(NamedTuple):
    """The digests of a file, or the problem in words: it cannot be read, or it changed meanwhile.

    `bytes_read` is 0 where another name of the same inode was read instead.
    """

    digests: Mapping[Algorithm, Digest]
    problem: str = ""
    bytes_read: int = 0


class Digests:
    """The digests that we know. A context manager; the file behind it is opened when it is first needed.

    A cache that is damaged is set aside (`.damaged` behind its name) and begun anew; one that cannot be opened or
    written is done without. Both stand in `warnings`. Nothing here raises for them, nor for a file.
    Threads may share it.
    """

    def __init__(self, path: Path | None = None, *, clock: Callable[[], int] = time.time_ns) -> None:
        self.path = path or default_path()
        self._clock = clock
        self._learned: dict[Key, dict[Algorithm, Digest]] = {}
        self._opened: DigestStore | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Digests:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong with the cache file, in words."""
        return tuple(self._opened.warnings) if self._opened else ()

    def close(self) -> None:
        """Write what was learned and close the cache."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def known(self, files: Iterable[ObservedFile]) -> dict[Key, dict[Algorithm, Digest]]:
        """Return what is known of these files as they were observed; files that nothing is known of are left out."""
        keys = list(dict.fromkeys(map(identity_key, files)))
        # Without a file there is nothing to look up, and looking must not make one.
        if not keys or not self._is_there():
            return {key: dict(self._learned[key]) for key in keys if key in self._learned}
        found: dict[Key, dict[Algorithm, Digest]] = {}
        for key, digests in self._store().read(keys):
            for text in digests:
                with contextlib.suppress(ValueError):  # a damaged row is one that we do not have
                    digest = parse_digest(text)
                    found.setdefault(key, {})[_algorithm(text)] = digest
        for key in keys:
            if key in self._learned:
                found.setdefault(key, {}).update(self._learned[key])
        return found

    def compute(self, questions: Sequence[Question], watch: Watch | None = None) -> Mapping[Path, Answer]:
        """Read these files on all cores and return an answer for each path; what is safe to remember is remembered.

        Both algorithms are fed in one pass. Names of one inode are read once. Nothing is remembered of a file that
        changed while it was read, or so shortly before that a later change might not show in its mtime.
        """
        if not questions:
            return {}
        from reconciler.hashpool import hash_all

        answers: dict[Path, Answer] = {}
        saved = time.monotonic()
        for group, began, results in hash_all(_jobs(questions), self._clock, watch):
            answers.update(results)
            file = group[0].file
            good = next((answer for answer in results.values() if not answer.problem), None)
            if good is not None and not _is_racy(file, began):
                self.learn(file, good.digests)
            if time.monotonic() - saved > _SAVE_EVERY:
                self._store().save()
                saved = time.monotonic()
        if self._opened is not None:
            self._opened.save()
        return answers

    def learn(self, file: ObservedFile, digests: Mapping[Algorithm, Digest]) -> None:
        """Remember the digests of a file that was hashed elsewhere, by `file`'s stat after the last write."""
        key = identity_key(file)
        self._learned.setdefault(key, {}).update(digests)
        self._store().write(key, tuple(digests.values()))

    def recall(self, key: str) -> str | None:
        """Return the text that `remember` kept under this key; None when there is none."""
        return self._store().recall(key) if self._is_there() else None

    def remember(self, key: str, text: str) -> None:
        """Keep what reading a few files' headers taught us; the key says which files, as they were, and who read."""
        self._store().remember(key, text)

    def forget(self, files: Iterable[ObservedFile]) -> None:
        """Remember nothing of these files any more."""
        keys = [identity_key(file) for file in files]
        for key in keys:
            self._learned.pop(key, None)
        if keys and self._is_there():
            self._store().delete(keys)

    def _is_there(self) -> bool:
        try:
            return self._opened is not None or self.path.exists()
        except OSError:
            return False

    def _store(self) -> DigestStore:
        with self._lock:
            if self._opened is None:
                from reconciler.digeststore import DigestStore  # sqlite3: only for a plan that looks something up

                self._opened = DigestStore(self.path)
            return self._opened


def default_path() -> Path:
    """Return `$XDG_CACHE_HOME/reconciler/digests.sqlite`, below `~/.cache` where that is unset or relative."""
    return home.base(os.environ, "XDG_CACHE_HOME", ".cache") / "reconciler" / "digests.sqlite"


def _algorithm(digest: str) -> Algorithm:
    return "sha256" if digest.startswith("sha256:") else "git-sha1"


def _is_racy(file: ObservedFile, began: int) -> bool:
    window = _RACY_NS if file.mtime_ns % 1_000_000_000 else _COARSE_NS
    return abs(began - file.mtime_ns) <= window


def _jobs(questions: Sequence[Question]) -> list[list[Question]]:
    """Group the questions by inode, each path once, with every algorithm that anyone asks for; the largest first.

    The largest first, because one that begins last would keep one core busy while the others rest.
    """
    groups: defaultdict[Key, dict[Path, Question]] = defaultdict(dict)
    wanted: defaultdict[Key, dict[Algorithm, None]] = defaultdict(dict)
    for question in questions:
        key = identity_key(question.file)
        groups[key].setdefault(question.path, question)
        wanted[key].update(dict.fromkeys(question.algorithms))
    jobs = [[q._replace(algorithms=tuple(wanted[key])) for q in group.values()] for key, group in groups.items()]
    return sorted(jobs, key=lambda job: -job[0].file.size)
