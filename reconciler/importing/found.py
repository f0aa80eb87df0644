"""What an importer is asked and what it answers. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from reconciler.naming import Named
from reconciler.state import Artifact, Digest, Pin

if TYPE_CHECKING:
    from reconciler.digests import Digests, Watch
    from reconciler.sources import World

Kind = Literal["imported", "known", "left-out", "problem", "finding"]

How = Literal["", "store", "note", "lock", "hub", "search", "civitai", "sidecar", "path"]
"""How it is known which bytes these are.

`store`: the store names them by digest; `note`: huggingface_hub's note of the download; `lock`: the lock has the same
digests; `hub`: a commit of the repository that the directory names; `search`: the Hub was searched for them;
`civitai`: by their digest; `sidecar`: a note beside them, and their digest; `path`: nobody knows, so where they lie.
"""

Origin = tuple[Pin, Artifact]
"""Where bytes come from: a pin, and the file of it."""


KNOWN = "declared already"
"""Why nothing becomes of what is known; a row that says more brought something."""


class Row(NamedTuple):
    """One line of the report: what became of a thing, and why. `where` is where it lies or is written."""

    kind: Kind
    what: str
    why: str = ""
    where: str = ""
    identified: How = ""
    """How it is known what was imported, a word of `How`; '' where nothing had to be recognised."""


class Table(NamedTuple):
    """A report in a form of its own, which `--report` writes instead of the rows."""

    csv: str
    json: str


@dataclass(frozen=True, slots=True)
class Found:
    """One variant that was found, as the manifest would say it."""

    variant: Mapping[str, Any]
    """The manifest's fields, `source` at least; without `location`, which comes from the field below."""
    pin: Pin | None = None
    """What the lock will hold; None when upstream must be asked later."""
    name: str | None = None
    """A name that somebody chose; None to have one made by the rule."""
    named: Named | None = None
    """What the rule makes the name from, where it is more than the source and the file names tell."""
    location: tuple[str, Mapping[str, Any]] | None = None
    """A name to suggest, and the location as the manifest would say it; None leaves the place to the routes."""
    roles: tuple[str, ...] = ()
    ranks: Mapping[str, int] = field(default_factory=dict)
    """Role -> how much this one is preferred for it, the highest first; without it, in the order of finding."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """What somebody decided about it, in fields of the manifest: brought to a variant that is declared already, too."""
    holder: str = ""
    """The declared variant that it is, where the importer knows; the manifest then gets no other one."""
    notes: tuple[str, ...] = ()
    """What people should know: told in the report."""
    where: str = ""
    """Where it was found: a path, a URL, `file:line`."""
    identified: How = ""
    """How it is known which bytes these are."""


@dataclass(frozen=True)
class Request:
    """What the user asked to import, and what an importer may use."""

    args: tuple[str, ...]
    """What stood behind the subject."""
    environ: Mapping[str, str]
    world: World
    """Upstream. `world.offline` forbids asking."""
    digests: Digests
    watch: Watch | None = None
    pickle: str = "deny"
    """The manifest's policy."""
    known: Mapping[Digest, Origin] = field(default_factory=dict)
    """Digest -> where such bytes come from, by the lock that is there."""
    declared: Mapping[str, str] = field(default_factory=dict)
    """Absolute path, links resolved -> the variant that wants its bytes there: these need no second look."""
    arranged: Mapping[str, str] = field(default_factory=dict)
    """Absolute root, links resolved -> store of the location that the manifest has there."""
    has_routes: bool = False
    """Whether the manifest says by rules where a variant without a location goes."""
    local: bool = False
    """Whether what has no known origin is taken all the same: its source is then the place where it lies."""
    online: bool = False
    """Whether the Hub is searched for what has no known origin."""
    also: frozenset[str] = frozenset()
    """What is taken too, though it is left out otherwise: `testing` (records of tests), `missing` (files are gone)."""
