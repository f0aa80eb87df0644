"""The plan as data: what would change, why, and what stands in the way. Pure.

Apply, text, Markdown and JSON read this one value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from reconciler.state import Address, Digest, Link, Note, Pin, is_address


class Action(StrEnum):
    """The four things that apply can do, and the one that it leaves alone."""

    NORMALIZE = "normalize"
    DOWNLOAD = "download"
    REMOVE = "remove"
    PRUNE = "prune"
    KEEP = "keep"


ORDER: Mapping[Action, int] = {action: position for position, action in enumerate(Action)}
"""The order of apply: bytes that are here first, then those from afar, and nothing goes before the new stands."""

REGISTRY = ".registry"
"""The location part of the address of an entry that is not ours; no location can have this name."""

NOWHERE = "?"
"""The location part of the address of a variant of which nobody can tell yet where it goes."""

Method = Literal["fetch", "link", "copy", "move", "none"]


class FileRow(NamedTuple):
    """One file of a step.

    `path` is relative to the location's root. `origin` says where the bytes are on this machine, when they are
    (`LOCATION:path`, `LOCATION:trash/NAME` or `file:///…`); `artifact` is the path inside the source, `support` and
    `url` as in the lock.
    `replaces` is true when other bytes of ours lie at `path` now and go to the trash; `optional` when the step does
    without the file if it cannot be had.
    """

    path: str
    size: int
    digest: Digest | None
    method: Method
    origin: str = ""
    artifact: str = ""
    support: bool = False
    url: str = ""
    replaces: bool = False
    optional: bool = False


class Bytes(NamedTuple):
    """What a step moves, in bytes."""

    download: int = 0
    reuse: int = 0
    trash: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """A variant's record as people read it; what `before` and `after` hold. None: nobody says."""

    source: str | None = None
    revision: str | None = None
    format: str | None = None
    quant: str | None = None
    path: str | None = None
    backend: str | None = None
    served_as: str | None = None
    license: str | None = None
    support: str | None = None
    """`SOURCE at REVISION` of the repository that lends missing files."""
    protect: bool = False
    roles: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    modelfile: Mapping[str, Any] = field(default_factory=dict)
    gated: bool = False
    """Whether upstream asks everybody who wants it to agree to something first."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """Of what the bytes tell besides, or of what the record's entry says of them, that which differs between before
    and after; {} in an ordinary step."""


@dataclass(frozen=True, slots=True)
class Step:
    """One change to one variant in one location. Absence is a value: `before=None` creates, `after=None` deletes.

    `blocked` says why the step must not run now and what would lift that. `trash` are files that leave; `links` and
    `notes` are what the store wants beside the files, or, where nothing is left (`after=None`), what leaves with them.
    `unlinks` and `unnotes` are those of the record that leave while the variant stays. `renamed_from` is the address
    whose record this one continues.
    """

    address: Address
    action: Action
    reason: str
    before: Facts | None = None
    after: Facts | None = None
    files: tuple[FileRow, ...] = ()
    bytes: Bytes = Bytes()
    blocked: str | None = None
    trash: tuple[FileRow, ...] = ()
    links: tuple[Link, ...] = ()
    notes: tuple[Note, ...] = ()
    renamed_from: Address | None = None
    unlinks: tuple[Link, ...] = ()
    unnotes: tuple[Note, ...] = ()
    entry: Mapping[str, Any] | None = None
    """Of a step at `REGISTRY`: the entry of somebody else that leaves the registry (`after=None`) or comes back."""
    place: int | None = None
    """Of an entry that comes back: how many stand before it in its layer then."""

    @property
    def needs(self) -> int:
        """The new bytes that it takes on its file system; links and moves take none."""
        return self.bytes.download + sum(row.size for row in self.files if row.method == "copy")


class Reliance(NamedTuple):
    """A path that the plan was made from: its stat then, or None for absent. A saved plan is stale when it differs."""

    location: str
    path: str
    stat: tuple[int, int, int] | None
    """(size, mtime_ns, inode)"""


SUPPOSED = "supposed"
"""How a place was seen that nobody has looked at: as it would be, had another manifest been applied."""


@dataclass(frozen=True, slots=True)
class Place:
    """A location as the plan's readers need it. `device` tells file systems apart, on this machine only."""

    store: str
    root: str
    id: str | None
    free_bytes: int
    readable: bool
    why: str = ""
    device: int = 0
    observed: str = ""
    """`api+store`, `api-only` or `store-only` for a place with a server, `supposed`, '' for a plain directory."""
    total_bytes: int = 0
    """Of the whole file system; 0 where nobody can tell."""

    @property
    def by_api(self) -> bool:
        """Whether everything here goes through a server, whose address `root` is."""
        return is_address(self.root)

    @property
    def tells_room(self) -> bool:
        """Whether `free_bytes` is what was seen of a file system."""
        return not self.by_api and self.observed != SUPPOSED


Severity = Literal["error", "warning", "info"]


class Finding(NamedTuple):
    """A rule of the policy that a variant, as it would arrive or change, does not keep to.

    `text` says what was found and what lifts it. An error has blocked the step, if nothing else has.
    """

    address: Address
    rule: str
    severity: Severity
    text: str


Layer = Literal["curated", "discovered"]


class Stranger(NamedTuple):
    """An entry of the registry that is not ours, and what is odd about it.

    `words` are some of: `declared` (a variant takes it over), `duplicate`, `gone` (its files), `unreachable` (who
    knows), `logical-only` (it names no files), `placeholder` (of tests), `deprecated`, `none-text` ("None" where
    nothing should stand), `ollama-path` (a tag that was taken for a path); `details` says each in words.
    """

    name: str
    layer: Layer
    words: tuple[str, ...] = ()
    details: tuple[str, ...] = ()


class Summary(NamedTuple):
    """The counts of a plan. Blocked steps are counted as blocked and nowhere else."""

    download: int = 0
    normalize: int = 0
    prune: int = 0
    remove: int = 0
    keep: int = 0
    blocked: int = 0
    bytes_download: int = 0
    bytes_reuse: int = 0
    bytes_trash: int = 0


@dataclass(frozen=True, slots=True)
class Selection:
    """What the user asked the plan to be about: address globs, and the addresses whose guard he lifts."""

    target: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that its readers need. `resolved` holds what the lock lacked; apply writes it."""

    manifest_path: str
    manifest_name: str
    manifest_digest: Digest
    lock_path: str
    lock_digest: Digest | None
    registry_path: str
    registry_serial: int
    """Counts our own saves of the registry."""
    locations: Mapping[str, Place]
    steps: tuple[Step, ...]
    unmanaged_files: int = 0
    unmanaged_bytes: int = 0
    resolved: Mapping[str, Pin] = field(default_factory=dict)
    selection: Selection = Selection()
    relies_on: tuple[Reliance, ...] = ()
    warnings: tuple[str, ...] = ()
    curated: Digest | None = None
    """Of the layer that people write; None when there is none."""
    findings: tuple[Finding, ...] = ()
    """What the rules of the policy say of what arrives or changes."""
    strangers: tuple[Stranger, ...] = ()
    """The entries of the registry that no manifest manages."""

    @property
    def changes(self) -> tuple[Step, ...]:
        """The steps that apply would run."""
        return tuple(step for step in self.steps if step.blocked is None and step.action is not Action.KEEP)

    @property
    def blocked(self) -> tuple[Step, ...]:
        """The steps that must not run now."""
        return tuple(step for step in self.steps if step.blocked is not None)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do and nothing in the way."""
        return not self.changes and not self.blocked and not self.resolved

    @property
    def summary(self) -> Summary:
        """Count the steps, and add up what the unblocked ones move."""
        return summarize(self.steps)


def summarize(steps: Iterable[Step]) -> Summary:
    """Count steps by action; blocked ones only as blocked."""
    counts = dict.fromkeys(Action, 0)
    blocked = download = reuse = trash = 0
    for step in steps:
        if step.blocked is not None:
            blocked += 1
            continue
        counts[step.action] += 1
        download += step.bytes.download
        reuse += step.bytes.reuse
        trash += step.bytes.trash
    return Summary(
        counts[Action.DOWNLOAD], counts[Action.NORMALIZE], counts[Action.PRUNE], counts[Action.REMOVE],
        counts[Action.KEEP], blocked, download, reuse, trash,
    )  # fmt: skip
