"""The file behind the digest cache. SQLite; imported only when something is looked up or learned.

    digest(key TEXT PRIMARY KEY, sha256 TEXT, git_sha1 TEXT)      key = device:inode:size:mtime_ns
    header(key TEXT PRIMARY KEY, told TEXT)                       key = a digest of the files as they were

The key is text because inodes and times may be unsigned 64-bit numbers, which an SQLite integer is too small for.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from reconciler.state import Digest

_VERSION = 2
_CHUNK = 900
"""Keys a query; SQLite took at most 999 parameters before 3.32."""

_SCHEMA = "CREATE TABLE IF NOT EXISTS digest (key TEXT PRIMARY KEY, sha256 TEXT, git_sha1 TEXT) WITHOUT ROWID"
_HEADERS = "CREATE TABLE IF NOT EXISTS header (key TEXT PRIMARY KEY, told TEXT) WITHOUT ROWID"
_WRITE = """INSERT INTO digest (key, sha256, git_sha1) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET
    sha256 = coalesce(excluded.sha256, sha256), git_sha1 = coalesce(excluded.git_sha1, git_sha1)"""

Key = tuple[int, int, int, int]
Row = tuple[str, object, object]
T = TypeVar("T")


class DigestStore:
    """An open cache file, or none: then reading finds nothing, writing does nothing, and `warnings` says why."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warnings: list[str] = []
        self._waiting: list[tuple[str, str | None, str | None]] = []
        self._texts: dict[str, str] = {}
        self._link: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        """Transactions of two threads on one connection would run into each other."""
        self._guarded(self._connect, None)

    def read(self, keys: Sequence[Key]) -> Iterator[tuple[Key, tuple[str, ...]]]:
        """Yield the digests of every key that the file holds, as text."""
        self.save()
        texts = {_text(key): key for key in keys}
        names = list(texts)
        for start in range(0, len(names), _CHUNK):
            chunk = names[start : start + _CHUNK]
            nothing: list[Row] = []
            for text, *digests in self._guarded(partial(self._select, chunk), nothing):
                yield texts[text], tuple(digest for digest in digests if isinstance(digest, str))

    def write(self, key: Key, digests: Iterable[Digest]) -> None:
        """Keep digests to be written at the next `save`; digests of other algorithms stay as they are."""
        by_algorithm: dict[str, str] = {digest.partition(":")[0]: digest for digest in digests}
        with self._lock:
            self._waiting.append((_text(key), by_algorithm.get("sha256"), by_algorithm.get("git-sha1")))

    def recall(self, key: str) -> str | None:
        """Return the text that is kept under a key beside the digests; None when there is none."""
        waiting = self._texts.get(key)
        return self._guarded(lambda: self._told(key), None) if waiting is None else waiting

    def remember(self, key: str, text: str) -> None:
        """Keep a text to be written under a key at the next `save`."""
        with self._lock:
            self._texts[key] = text

    def delete(self, keys: Iterable[Key]) -> None:
        """Remove keys at once."""
        self.save()
        self._guarded(lambda: self._many("DELETE FROM digest WHERE key = ?", [(_text(key),) for key in keys]), None)

    def save(self) -> None:
        """Write what is waiting: one transaction for digests, one for texts."""
        with self._lock:
            rows, self._waiting = self._waiting, []
            texts, self._texts = self._texts, {}
        if rows:
            self._guarded(lambda: self._many(_WRITE, rows), None)
        if texts:
            statement = "INSERT OR REPLACE INTO header (key, told) VALUES (?, ?)"
            self._guarded(lambda: self._many(statement, list(texts.items())), None)

    def close(self) -> None:
        """Save and close."""
        self.save()
        if self._link is not None:
            self._link.close()
            self._link = None

    def _connect(self) -> None:
        self._link = _open(self.path)

    def _told(self, key: str) -> str | None:
        if self._link is None:
            return None
        found = self._link.execute("SELECT told FROM header WHERE key = ?", (key,)).fetchone()
        return found[0] if found is not None and isinstance(found[0], str) else None

    def _select(self, chunk: list[str]) -> list[Row]:
        if self._link is None:
            return []
        marks = ",".join("?" * len(chunk))
        return self._link.execute(f"SELECT key, sha256, git_sha1 FROM digest WHERE key IN ({marks})", chunk).fetchall()  # noqa: S608  only marks

    def _many(self, statement: str, rows: Sequence[tuple[str | None, ...]]) -> None:
        if self._link is not None:
            with self._link:
                self._link.executemany(statement, rows)

    def _guarded(self, act: Callable[[], T], otherwise: T) -> T:
        """Do something with the file; where that fails, set it aside or go on without it."""
        try:
            with self._lock:
                return act()
        except (sqlite3.Error, OSError) as error:
            self._drop()
            # The plain class stands for "not a database" and "malformed"; its subclasses for everything else.
            if type(error) is sqlite3.DatabaseError:
                self.warnings.append(f"{self.path}: the digest cache is damaged and was set aside: {error}")
                self._begin_anew()
            else:
                self.warnings.append(f"{self.path}: the digest cache cannot be used and is done without: {error}")
        return otherwise

    def _begin_anew(self) -> None:
        try:
            self.path.replace(self.path.with_name(self.path.name + ".damaged"))
            for suffix in ("-journal", "-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            self._connect()
        except (OSError, sqlite3.Error) as error:
            self.warnings.append(f"{self.path}: the digest cache cannot be used and is done without: {error}")

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Another run may be writing; it never takes long, since hashing happens outside of transactions.
    link = sqlite3.connect(path, timeout=5.0, isolation_level="IMMEDIATE", check_same_thread=False)
    try:
        version = link.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise sqlite3.OperationalError(f"it is of version {version}, made by a newer release")
        if version < _VERSION:
            link.execute(_SCHEMA)
            link.execute(_HEADERS)
            link.execute(f"PRAGMA user_version = {_VERSION}")
    except BaseException:
        link.close()
        raise
    return link


def _text(key: Key) -> str:
    return "{}:{}:{}:{}".format(*key)
