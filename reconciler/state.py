"""The nouns, under everything: addresses, digests, artifacts, desired and observed files, records. Values only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, NewType

Digest = NewType("Digest", str)
"""`sha256:<64 hex>` of the bytes, or `git-sha1:<40 hex>` of the git blob (`blob <size>\\0` + bytes). Lower case."""

Algorithm = Literal["sha256", "git-sha1"]

UNREAD = Digest("sha256:" + "0" * 64)
"""In a listing of names and sizes: the digest of a file that nobody has read. No lock and no record holds it."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|git-sha1:[0-9a-f]{40}")


def parse_digest(text: str) -> Digest:
    """Return `text` as a digest; raise ValueError when it is not one, before it gets near a path."""
    if not _DIGEST.fullmatch(text):
        raise ValueError(f"not a digest: {text[:100]!r}; expected sha256:<64 hex> or git-sha1:<40 hex>")
    return Digest(text)


def algorithm(digest: Digest) -> Algorithm:
    """Return the algorithm that a digest names."""
    return "sha256" if digest.startswith("sha256:") else "git-sha1"


class Address(NamedTuple):
    """One variant in one location; `VARIANT@LOCATION` everywhere."""

    variant: str
    location: str

    def __str__(self) -> str:
        return f"{self.variant}@{self.location}"


class Artifact(NamedTuple):
    """One file of a source, as locked: path inside the source (posix), size in bytes, digest.

    `support` marks a file that comes from the support repository instead. `url` is where an `https:` or `file:`
    source keeps it ('' for the Hub, where repository and revision say it). `media_type` is what an Ollama registry
    calls the layer; `also` holds other names of the same bytes, as (kind, lower-case hex), sorted: a catalogue's short
    hashes, BLAKE3 and the like.
    """

    path: str
    size: int
    digest: Digest
    support: bool = False
    url: str = ""
    media_type: str = ""
    also: tuple[tuple[str, str], ...] = ()


class Support(NamedTuple):
    """The repository that lends missing config and tokenizer files, and its locked commit."""

    source: str
    revision: str


GATED = "gated"
"""Key of `Pin.about`: how the Hub grants access where everybody must agree to something first, `auto` or `manual`."""


@dataclass(frozen=True, slots=True)
class Pin:
    """What the lock holds of one variant: exact revision and files, sorted by path.

    `about` are facts that upstream may lose, and from which small files are made (a model's title, its trigger words,
    an Ollama manifest's own text): JSON values.
    """

    source: str
    revision: str | None
    files: tuple[Artifact, ...]
    license: str | None = None
    support: Support | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


class Placement(NamedTuple):
    """Where one artifact belongs: `path` is relative to the location's root, posix."""

    path: str
    artifact: Artifact


class Link(NamedTuple):
    """A symbolic link that a store wants beside the files; `path` below the root, `target` as readlink gives it."""

    path: str
    target: str


class Note(NamedTuple):
    """A small text file that the store's own tool reads (a branch's commit in the HF cache)."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Layout:
    """How a store arranges one variant. `home` is the directory (or single file) that a reader would name."""

    home: str
    files: tuple[Placement, ...]
    links: tuple[Link, ...] = ()
    notes: tuple[Note, ...] = ()
    optional: frozenset[str] = frozenset()
    """Paths of files and notes that lie beside a model for people's comfort: what others wrote there stays, and a
    missing one never keeps the model back."""


class Identity(NamedTuple):
    """What a path under a store says about itself; the inverse of a layout. Empty where the store cannot tell."""

    repository: str
    branch: str
    path: str


@dataclass(frozen=True, slots=True)
class Attributes:
    """The facts of a variant besides its bytes. None means: nobody claims it."""

    backend: str | None = None
    format: str | None = None
    quant: str | None = None
    served_as: str | None = None
    license: str | None = None
    protect: bool = False
    roles: tuple[tuple[str, int], ...] = ()
    """(role, position in the manifest's order of preference, 1 first), sorted by role."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    modelfile: Mapping[str, Any] = field(default_factory=dict)
    """What a Modelfile would say: `template`, `system`, `parameters`, `adapters`; only what is declared."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the manifest says of a variant beyond its bytes, as far as a store's layout depends on it."""

    variant: str = ""
    served_as: str | None = None
    license: str | None = None
    modelfile: Mapping[str, Any] = field(default_factory=dict)
    kind: str | None = None
    """What an image model is for (`lora`, `vae`), where the manifest says it."""
    subfolder: str = ""
    """Below the folder of its kind; '' for that folder itself."""
    names: str = ""
    """The location's template of file names; '' for upstream's names."""
    companions: tuple[str, ...] = ()
    """What should lie beside a model: `civitai-info`, `metadata-json`, `markdown`, `preview`."""
    rating: str = ""
    """The most that a preview may show; '' where nobody says."""
    folders: Mapping[str, str] = field(default_factory=dict)
    """Kind -> folder below the root, where the location has other folders than its store's usual ones."""
    root: str = ""
    """Absolute root of the location: what comes from below it (`file:`) is in its place already."""


@dataclass(frozen=True, slots=True)
class Desired:
    """One variant as it should be, in its place. `where` is `file:line:column` of its declaration.

    `attributes` holds what the manifest claims; `format` and `quant` what the names of its files tell.
    """

    address: Address
    pin: Pin
    layout: Layout
    attributes: Attributes
    where: str = ""
    format: str | None = None
    quant: str | None = None
    blocked: str | None = None
    """Why this variant must not be acted on now, whatever is on disk; None when nothing stands in the way."""


class Undecided(NamedTuple):
    """A declared variant that cannot be planned: upstream could not be asked, or it has no place.

    It is never removed for that.
    """

    variant: str
    location: str
    """'' when nobody can tell yet."""
    why: str
    source: str = ""
    """As declared: a record of the same source may be what this variant continues."""


class ObservedFile(NamedTuple):
    """One regular file under a root, by stat; `path` relative to the root, times in ns."""

    path: str
    size: int
    mtime_ns: int
    inode: int
    device: int


class Staged(NamedTuple):
    """A file in a location's stage, named by what it will be; `size` is what is there now."""

    name: str
    size: int


class Trashed(NamedTuple):
    """A file that waits in a location's trash: where it lay, what it was, since when (unix seconds)."""

    name: str
    path: str
    size: int
    digest: Digest | None
    since: float
    generation: int
    address: str


@dataclass(frozen=True, slots=True)
class ObservedLocation:
    """One location as it is. When `readable` is false, `why` says so and nothing below it means anything."""

    name: str
    store: str
    root: str
    id: str | None = None
    readable: bool = True
    why: str = ""
    exists: bool = True
    device: int = 0
    free_bytes: int = 0
    total_bytes: int = 0
    """Of the whole file system; 0 where nobody can tell."""
    files: Mapping[str, ObservedFile] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)
    """Paths that are neither regular files nor links nor directories, or cannot be read, with why."""
    empty_dirs: tuple[str, ...] = ()
    staged: tuple[Staged, ...] = ()
    trash: tuple[Trashed, ...] = ()
    warnings: tuple[str, ...] = ()
    observed: str = ""
    """How a place with a server was seen: `api+store`, `api-only` or `store-only`; '' for a plain directory."""
    users: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Path -> paths of the store's own indexes (Ollama's manifests) that name it, whoever wrote them."""
    orphans: tuple[str, ...] = ()
    """Paths that the store's own tool would delete by itself, since nothing names them any more."""
    told: Mapping[str, Digest] = field(default_factory=dict)
    """Path -> digest, where looking told it."""
    read_only: str = ""
    """Why nothing can be written here, and what would lift that; '' when it can, or when only trying will tell."""

    also: frozenset[str] = frozenset()
    """Roots under which this location was recorded when it was reached in another way."""

    @property
    def by_api(self) -> bool:
        """Whether everything here goes through a server: `root` is its address, and its files are what it lists."""
        return is_address(self.root)


class Placed(NamedTuple):
    """One file that we placed or adopted, as it was when we recorded it."""

    path: str
    size: int
    digest: Digest
    mtime_ns: int
    inode: int
    artifact: str = ""
    """Path inside the source."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the registry says of one managed variant: who declared it, what was placed, where it came from.

    `root` is the absolute root of its location when it was recorded: locations are told apart by it, since names
    belong to a manifest and a registry may serve several.
    """

    address: Address
    manifest: str
    pin: Pin
    home: str
    files: tuple[Placed, ...]
    links: tuple[Link, ...]
    notes: tuple[Note, ...]
    attributes: Attributes
    generation: int = 0
    root: str = ""
    told: Mapping[str, Any] = field(default_factory=dict)
    """What the bytes tell besides format and quantisation (`examine`), and the version of the `detector` that read
    them; JSON values. Empty: nobody has looked."""


class Seen(NamedTuple):
    """What the files of a record tell. `told` is what a record keeps of it besides format and quantisation.

    It has `detector` (the version of ours) and, where they are known, `kind`, `architecture`, `parameters`,
    `size_label` (`8B`), `context_length`, `capabilities` (`text`, `vision`, `tools`, …), `license`, `chat_template`
    (`source`: external, embedded or missing; `path`, `external`, `embedded`) and `readme` (`path`, `license`,
    `license_hint`, `quants`, `details`, `backends`).
    """

    format: str | None
    quant: str | None
    told: Mapping[str, Any]


Known = Mapping[tuple[int, int, int, int], Mapping[Algorithm, Digest]]
"""(device, inode, size, mtime_ns) -> algorithm -> digest: what hashing has taught us, now or earlier."""


def is_address(root: str) -> bool:
    """Whether the root of a location is the address of a server, and not a directory."""
    return root.startswith(("http://", "https://"))


def identity_key(file: ObservedFile) -> tuple[int, int, int, int]:
    """Return the key under which a digest of these bytes is remembered."""
    return (file.device, file.inode, file.size, file.mtime_ns)
