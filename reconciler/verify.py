"""Compare what we recorded with what is there: the looking part of `reconciler verify`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from reconciler.content import note_digest
from reconciler.digests import Answer, Digests, Key, Question, Watch
from reconciler.ollama import manifests
from reconciler.ollama.names import from_path
from reconciler.spoilt import damage
from reconciler.state import (
    Address,
    Algorithm,
    Digest,
    Note,
    ObservedFile,
    ObservedLocation,
    Placed,
    Record,
    algorithm,
    identity_key,
    is_address,
)
from reconciler.ui.beside import is_companion
from reconciler.ui.kinds import ui_of

Verdict = Literal["ok", "corrupt", "missing", "unreadable"]

EXIT_BITS: Mapping[Verdict, int] = {"ok": 0, "corrupt": 8, "missing": 16, "unreadable": 32}


class Finding(NamedTuple):
    """What became of one recorded file, link or note. `found` is None where nothing was hashed; `why` is for people."""

    address: Address
    path: str
    verdict: Verdict
    expected: Digest | None = None
    found: Digest | None = None
    size: int = 0
    """Bytes, as recorded; 0 for links and notes."""
    why: str = ""
    breaks: tuple[str, ...] = ()
    """Of a bad file, models that are none of ours and are made of it too; names as their server lists them."""


@dataclass(frozen=True, slots=True)
class Verification:
    """The findings, in the order of the records; bytes that were read for them, and the seconds that took."""

    findings: tuple[Finding, ...]
    bytes_read: int = 0
    seconds: float = 0.0
    unread: tuple[str, ...] = ()
    """Locations with models that only their server can read: it was believed that it has what it lists."""

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many files, links and notes came to each verdict."""
        counts: dict[Verdict, int] = dict.fromkeys(EXIT_BITS, 0)
        for finding in self.findings:
            counts[finding.verdict] += 1
        return counts

    @property
    def bad(self) -> tuple[Finding, ...]:
        """The findings that are not `ok`."""
        return tuple(finding for finding in self.findings if finding.verdict != "ok")

    @property
    def exit_code(self) -> int:
        """8 for corrupt, 16 for missing, 32 for unreadable, added up."""
        return sum(EXIT_BITS[verdict] for verdict, count in self.counts.items() if count)


def verify(
    records: Sequence[Record],
    locations: Mapping[str, ObservedLocation],
    digests: Digests,
    *,
    full: bool,
    watch: Watch | None = None,
) -> Verification:
    """Judge every recorded file, link and note by what was observed; read only what nobody can vouch for.

    A file is taken as it was recorded when size, mtime and inode are, or when its digest is in the cache: a cached one
    counts more, since it was read later. `full` reads everything. What is read is remembered in the cache, so that a
    plan made afterwards knows of the corruption. Never raises for a file.
    """
    began = time.monotonic()
    roots = {location.root: location for location in locations.values()}
    looks = [look for record in records for look in _looks(record, _place(record, locations, roots))]
    pending = [look for look in looks if look.file is not None]
    known = dict(digests.known(look.file for look in pending if look.file is not None))
    known.update(_told(locations.values()))
    reading = [look for look in pending if look.is_readable and (full or not _is_vouched_for(look, known))]
    answers = digests.compute([_question(look) for look in reading], watch)
    read = {id(look) for look in reading}
    ours = frozenset(note.path for record in records for note in record.notes)
    findings = tuple(
        _told_to_others(
            _excused(
                look.finding
                if look.file is None
                else _by_reading(look, answers[look.absolute])
                if id(look) in read
                else _by_memory(look, known),
                look.root if look.may_change else "",
            ),
            look.users - ours,
        )
        for look in looks
    )
    bytes_read = sum(answer.bytes_read for answer in answers.values())
    unread = {look.unread for look in looks if look.unread}
    return Verification(findings, bytes_read, time.monotonic() - began, tuple(sorted(unread)))


class _Look(NamedTuple):
    """A finding, final where `file` is None; otherwise `ok` until the digest of `file` says something else."""

    finding: Finding
    file: ObservedFile | None = None
    root: str = ""
    unchanged: bool = False
    is_readable: bool = True
    """False where only a server can say what it holds."""
    may_change: bool = False
    """Of an image model: people may change it."""

    users: frozenset[str] = frozenset()
    """In a store with an index, what there names the file: manifests of Ollama."""
    unread: str = ""
    """Location of a model whose blobs nobody here can read."""

    @property
    def absolute(self) -> Path:
        """Where the file lies."""
        return Path(self.root, self.file.path if self.file else "")


def _told(locations: Iterable[ObservedLocation]) -> Iterator[tuple[Key, dict[Algorithm, Digest]]]:
    """Yield what a server said of the models that it lists, which nobody here can read."""
    for location in locations:
        for path, digest in location.told.items() if location.by_api else ():
            yield identity_key(location.files[path]), {"sha256": digest}


def _place(
    record: Record, locations: Mapping[str, ObservedLocation], roots: Mapping[str, ObservedLocation]
) -> ObservedLocation | None:
    """Return where a record lies: names belong to a manifest, the root says which directory was meant."""
    return roots.get(record.root) if record.root else locations.get(record.address.location)


def _looks(record: Record, location: ObservedLocation | None) -> list[_Look]:
    address = record.address
    if location is None or not location.readable:
        why = location.why if location else f"{record.root or address.location} was not looked at"
        files = [Finding(address, f.path, "unreadable", f.digest, None, f.size, why) for f in record.files]
        others = [Finding(address, item[0], "unreadable", why=why) for item in (*record.links, *record.notes)]
        return [_Look(finding) for finding in (*files, *others)]
    looks = [_look_at(address, placed, location) for placed in record.files]
    for path, target in record.links:
        found = location.links.get(path)
        looks.append(_Look(_link_or_absent(address, path, target, found, location)))
    looks += [_look_at_note(address, note, location) for note in record.notes]
    if not location.by_api:
        return looks
    behind = list(_looks_behind(record, location))
    return [*looks, *behind] if behind else [look._replace(unread=location.name) for look in looks]


def _looks_behind(record: Record, location: ObservedLocation) -> Iterator[_Look]:
    """Yield the blobs of models that only their server may write, where the directory of it can be read."""
    directory = next((root for root in location.also if not is_address(root)), None)
    for placed in record.files if directory is not None else ():
        try:
            data = Path(directory or "", placed.path).read_bytes()
            blobs = manifests.read(data).blobs if manifests.is_digest_of(placed.digest, data) else ()
        except (OSError, ValueError):
            continue
        for blob in dict.fromkeys(blobs):
            path = manifests.blob_path(blob.digest)
            finding = Finding(record.address, path, "ok", blob.digest, None, blob.size)
            yield _look_behind(finding, directory or "")


def _look_behind(finding: Finding, root: str) -> _Look:
    try:
        facts = Path(root, finding.path).stat()
    except OSError as error:
        verdict: Verdict = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        return _Look(finding._replace(verdict=verdict, why=error.strerror or "not there"))
    if facts.st_size != finding.size:
        return _Look(finding._replace(verdict="corrupt", why=f"{facts.st_size} bytes, expected {finding.size}"))
    file = ObservedFile(finding.path, facts.st_size, facts.st_mtime_ns, facts.st_ino, facts.st_dev)
    return _Look(finding, file, root)


def _look_at_note(address: Address, note: Note, location: ObservedLocation) -> _Look:
    """Judge a note by its text where that is known, or where its name promises it; elsewhere it need only be there."""
    digest = note_digest(note)
    if _is_companion(note.path, location):
        return _look_at(address, Placed(note.path, len(note.text.encode()), digest, -1, -1), location)
    finding = Finding(address, note.path, "ok")
    file = location.files.get(note.path)
    if file is None:
        return _Look(_absent(finding, location))
    if note.path in location.told:
        return _Look(_judged(finding._replace(expected=digest), location.told[note.path]))
    if digest.partition(":")[2] not in note.path:
        return _Look(finding)
    size = len(note.text.encode())
    return _look_at(address, Placed(note.path, size, digest, -1, -1), location)


def _look_at(address: Address, placed: Placed, location: ObservedLocation) -> _Look:
    finding = Finding(address, placed.path, "ok", placed.digest, None, placed.size)
    users = location.users.get(placed.path, frozenset())
    file = location.files.get(placed.path)
    if file is None:
        return _Look(_absent(finding, location), users=users)
    may_change = _is_companion(placed.path, location)
    if file.size != placed.size:
        why = f"{file.size} bytes, expected {placed.size}"
        return _Look(
            finding._replace(verdict="corrupt", why=why), root=location.root, may_change=may_change, users=users
        )
    unchanged = (file.mtime_ns, file.inode) == (placed.mtime_ns, placed.inode)
    return _Look(finding, file, location.root, unchanged, not location.by_api, may_change, users)


def _is_companion(path: str, location: ObservedLocation) -> bool:
    return ui_of(location.store) is not None and is_companion(path)


def _excused(finding: Finding, root: str) -> Finding:
    """Leave a companion to whoever changed it, unless it is damaged: `root` is what it lies below, '' for models."""
    if not root or finding.verdict != "corrupt":
        return finding
    why = damage(root, finding.path)
    if why is None:
        return finding._replace(verdict="ok", why="changed since, and left as it is")
    return finding._replace(why=why)


def _told_to_others(finding: Finding, users: Iterable[str]) -> Finding:
    """Name who else suffers from a bad file."""
    if finding.verdict == "ok":
        return finding
    names = ((path, from_path(path)) for path in users)
    return finding._replace(breaks=tuple(sorted(name.short if name is not None else path for path, name in names)))


def _link_or_absent(address: Address, path: str, target: str, found: str | None, location: ObservedLocation) -> Finding:
    finding = Finding(address, path, "ok")
    if found is None:
        return _absent(finding, location)
    if found != target:
        return finding._replace(verdict="missing", why=f"links to {found}, expected {target}")
    return finding


def _absent(finding: Finding, location: ObservedLocation) -> Finding:
    """Say why a path is not among the observed: gone, something else, or below what could not be read."""
    path = finding.path
    above = path
    while above:
        if above in location.others:
            why = location.others[above]
            hidden = why.startswith("cannot be read")
            return finding._replace(
                verdict="unreadable" if hidden else "missing", why=why if above == path else f"{above}: {why}"
            )
        if above in location.links:
            return finding._replace(verdict="missing", why=f"{above} is a symbolic link to {location.links[above]}")
        above = above.rpartition("/")[0]
    if path in location.files:
        return finding._replace(verdict="missing", why="a regular file lies in its place")
    return finding._replace(verdict="missing", why="not there")


def _wanted(look: _Look) -> Algorithm:
    assert look.finding.expected is not None
    return algorithm(look.finding.expected)


def _is_vouched_for(look: _Look, known: Mapping[Key, Mapping[Algorithm, Digest]]) -> bool:
    assert look.file is not None
    return look.unchanged or _wanted(look) in known.get(identity_key(look.file), {})


def _question(look: _Look) -> Question:
    assert look.file is not None
    return Question(look.absolute, look.file, (_wanted(look),))


def _by_reading(look: _Look, answer: Answer) -> Finding:
    if answer.problem:
        return look.finding._replace(verdict="unreadable", why=answer.problem)
    return _judged(look.finding, answer.digests[_wanted(look)])


def _by_memory(look: _Look, known: Mapping[Key, Mapping[Algorithm, Digest]]) -> Finding:
    assert look.file is not None
    found = known.get(identity_key(look.file), {}).get(_wanted(look))
    return look.finding if found is None else _judged(look.finding, found)


def _judged(finding: Finding, found: Digest) -> Finding:
    if found == finding.expected:
        return finding._replace(found=found)
    return finding._replace(verdict="corrupt", found=found, why=f"holds {found}, expected {finding.expected}")
