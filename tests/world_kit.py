"""Builders of small worlds for tests of the planner: what is wanted, what lies there, what is recorded. No disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.content import Contents, Held
from reconciler.decide import settle
from reconciler.plan import Selection, Step
from reconciler.safety import Limits
from reconciler.state import (
    Address,
    Artifact,
    Attributes,
    Desired,
    Digest,
    Layout,
    Link,
    Note,
    ObservedFile,
    ObservedLocation,
    Pin,
    Placed,
    Placement,
    Record,
    Staged,
    Trashed,
)
from reconciler.world import World

ME = "me"
NO_LIMITS = Limits(1.0, 0)
MIB = 1 << 20
ROOMY = 1 << 50

Files = Mapping[str, str]
"""Path -> the bytes, told by a word; `word*N` is N bytes of it."""


_WORDS: dict[Digest, str] = {}


def digest(word: str) -> Digest:
    found = Digest("sha256:" + hashlib.sha256(word.encode()).hexdigest())
    _WORDS[found] = word
    return found


def word_of(known: Digest) -> str:
    return _WORDS[known]


def size(word: str) -> int:
    _, star, count = word.partition("*")
    return int(count) if star else len(word)


def artifact(path: str, word: str, **more: Any) -> Artifact:
    return Artifact(path, size(word), digest(word), **more)


def want(variant: str, files: Files | str, *, at: str = "disk", revision: str = "r1", **more: Any) -> Desired:
    """A variant in its place: `files` by path below the root, or one word for one file of the variant's name."""
    files = {f"{variant}.gguf": files} if isinstance(files, str) else files
    url = more.pop("url", "")
    placements = tuple(Placement(path, artifact(path, word, url=url)) for path, word in files.items())
    pin = Pin(more.pop("source", f"hf:own/{variant}"), revision, tuple(p.artifact for p in placements))
    layout = Layout(more.pop("home", variant), placements, more.pop("links", ()), more.pop("notes", ()))
    told = {key: more.pop(key) for key in ("blocked", "where") if key in more}
    return Desired(Address(variant, at), pin, layout, Attributes(**more), **told)


def file(path: str, word: str, *, at: str = "disk", mark: int = 0, device: int = 1) -> ObservedFile:
    """A file by stat. The same bytes at the same path have the same inode and time; `mark` makes it another one."""
    seed = int.from_bytes(hashlib.sha256(f"{at}:{path}:{word}:{mark}".encode()).digest()[:6], "big")
    return ObservedFile(path, size(word), seed, seed % 1_000_003, device)


def have(name: str = "disk", files: Files | None = None, **more: Any) -> ObservedLocation:
    """A location and what lies in it. `trash` and `staged` are words, or (word, bytes that are staged)."""
    device = more.pop("device", 1)
    seen = {path: file(path, word, at=name, device=device) for path, word in (files or {}).items()}
    trash = tuple(
        Trashed(f"{n:04}", f"was-{word}", size(word), digest(word), 0.0, n, "x@disk")
        for n, word in enumerate(more.pop("trash", ()))
    )
    staged = tuple(
        Staged(digest(word).replace(":", "-"), count) for word, count in dict(more.pop("staged", {})).items()
    )
    more = {"store": "huggingface", "root": f"/srv/{name}", "id": name, "free_bytes": ROOMY, "links": {}} | more
    return ObservedLocation(name, files=seen, trash=trash, staged=staged, device=device, **more)


def recorded(wanted: Desired, *, manifest: str = ME, root: str = "", **said: Any) -> Record:
    """What the registry says once `wanted` was applied, its files as `file` shows them; `said` are attributes."""
    at = wanted.address.location
    seen = [(p, file(p.path, word_of(p.artifact.digest), at=at)) for p in wanted.layout.files]
    files = tuple(
        Placed(p.path, one.size, p.artifact.digest, one.mtime_ns, one.inode, p.artifact.path) for p, one in seen
    )
    attributes = Attributes(**said) if said else wanted.attributes
    return Record(
        wanted.address, manifest, wanted.pin, wanted.layout.home, files, wanted.layout.links, wanted.layout.notes,
        attributes, 1, root or f"/srv/{at}",
    )  # fmt: skip


def contents(
    places: Iterable[ObservedLocation], records: Iterable[Record] = (), reads: Mapping[str, str] | None = None
) -> Contents:
    """Everything that is known of bytes. `reads` are files that were read: `LOCATION:path` -> word."""
    seen = {place.name: place for place in places}
    names = {place.root: name for name, place in seen.items()}
    held = [Held(record, names[record.root]) for record in records]
    known = {}
    for origin, word in (reads or {}).items():
        name, _, path = origin.partition(":")
        there = seen[name].files[path]
        known[(there.device, there.inode, there.size, there.mtime_ns)] = {"sha256": digest(word)}
    return Contents(
        seen,
        tuple(h for h in held if h.record.manifest == ME),
        tuple(h for h in held if h.record.manifest != ME),
        known,  # type: ignore[arg-type]
    )


def world(
    desired: Iterable[Desired] = (),
    places: Iterable[ObservedLocation] | None = None,
    records: Iterable[Record] = (),
    reads: Mapping[str, str] | None = None,
    **more: Any,
) -> World:
    return World(tuple(desired), contents([have()] if places is None else places, records, reads), **more)


def plan(
    desired: Iterable[Desired] = (),
    places: Iterable[ObservedLocation] | None = None,
    records: Iterable[Record] = (),
    reads: Mapping[str, str] | None = None,
    *,
    limits: Limits = NO_LIMITS,
    allow: tuple[str, ...] = (),
    refused: Mapping[str, str] | None = None,
    **more: Any,
) -> dict[str, Step]:
    """The steps by address, settled and guarded."""
    seen = world(desired, places, records, reads, **more)
    answers = refused or {}
    _, steps = settle(seen, limits, Selection(allow=allow), lambda pins: {v: answers[v] for v in pins if v in answers})
    assert len({str(step.address) for step in steps}) == len(steps)
    return {str(step.address): step for step in steps}


def told(steps: Mapping[str, Step]) -> dict[str, str]:
    """`ACTION REASON` by address, with `!` where a step is blocked."""
    return {where: f"{step.action} {step.reason}{'!' * bool(step.blocked)}" for where, step in steps.items()}


def methods(step: Step) -> dict[str, str]:
    """`METHOD ORIGIN` by path."""
    return {row.path: f"{row.method} {row.origin}".strip() for row in step.files}


def link(path: str, target: str) -> Link:
    return Link(path, target)


def note(path: str, text: str) -> Note:
    return Note(path, text)
