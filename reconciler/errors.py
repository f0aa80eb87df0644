"""The exceptions, one tree.

    ReconcilerError                 exit 1
    ├── InputError                  what the user wrote is wrong
    │   ├── ManifestError
    │   ├── LockfileError
    │   ├── RegistryError           our own record cannot be read
    │   └── StaleError              exit 4: the world moved since the plan was made
    ├── WorldError                  the world refused
    │   ├── SourceError             upstream said no
    │   │   ├── AccessError         gated, private, or no such thing with these credentials
    │   │   ├── NotFoundError
    │   │   ├── RateLimitedError
    │   │   ├── OfflineError        the network was needed and not allowed
    │   │   └── OllamaError         an Ollama server refused, or broke off
    │   ├── TransferError           bytes did not come
    │   │   └── DigestError         bytes came and are not the ones we asked for
    │   ├── DiskError               full, read-only, vanished
    │   └── BusyError               exit 6: another apply holds the lock
    └── DeclinedError               exit 7: the user did not say yes

A message names where (`file:line:column`, an address or a URL), what was expected and found, and what to try.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Problem(NamedTuple):
    """One thing that is wrong, ready to be shown.

    `where` is `file:line:column`, an address, a path or a URL; `summary` says what was expected and found;
    `hint` says what to try ('' when there is nothing useful to say).
    """

    where: str
    summary: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.summary}" if self.where else self.summary
        return f"{text} ({self.hint})" if self.hint else text


NEWER = "upgrade reconciler, or use the one that wrote it; nothing in it is damaged"
"""What to try with a file of a later version."""


class NewerError(ValueError):
    """A file of ours is of a later version than this program reads; who reads it says where."""

    def __init__(self, what: str, version: object, known: int) -> None:
        super().__init__(f"{what} of version {version}, and this reconciler reads {known}: a newer one wrote it")


class ReconcilerError(Exception):
    """The root: carries every problem found, never just the first."""

    exit_code = 1

    def __init__(self, problems: Problem | Iterable[Problem] | str, *, where: str = "", hint: str = "") -> None:
        if isinstance(problems, str):
            problems = Problem(where, problems, hint)
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class InputError(ReconcilerError):
    """What the user wrote is wrong."""


class ManifestError(InputError):
    """The manifest cannot be taken as it stands."""


class LockfileError(InputError):
    """The lock file is damaged, incomplete or out of date."""


class RegistryError(InputError):
    """Our own record cannot be read; it is never taken for an empty one."""


class StaleError(InputError):
    """The world is not as it was when the plan was made."""

    exit_code = 4


class WorldError(ReconcilerError):
    """The world refused."""


class SourceError(WorldError):
    """Upstream said no, or said something that we do not accept."""


class AccessError(SourceError):
    """Gated or private: credentials are missing or not enough."""


class UnseenError(AccessError):
    """Upstream does not say whether it is there and private, or not there at all."""


class NotFoundError(SourceError):
    """No such repository, revision or file."""


class RateLimitedError(SourceError):
    """Upstream asked us to wait longer than we are willing to."""


class OfflineError(SourceError):
    """The network was needed, and `--offline` forbids it."""


class OllamaError(SourceError):
    """An Ollama server refused, broke off, or said nothing that we understand."""

    def __init__(
        self,
        problems: Problem | Iterable[Problem] | str,
        *,
        where: str = "",
        hint: str = "",
        status: int = 0,
    ) -> None:
        super().__init__(problems, where=where, hint=hint)
        self.status = status
        """The HTTP status of its answer; 0 when none came, 200 when it failed midway."""


class TransferError(WorldError):
    """The bytes did not come."""


class DigestError(TransferError):
    """The bytes came and are not the ones that were asked for."""


class DiskError(WorldError):
    """The disk is full, read-only, or not the one it was."""


class BusyError(WorldError):
    """Another apply holds the lock."""

    exit_code = 6


class DeclinedError(ReconcilerError):
    """The user did not say yes."""

    exit_code = 7
