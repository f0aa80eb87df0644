"""Which commit of a repository holds these bytes: by the notes that huggingface_hub leaves, else by asking the Hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reconciler import references
from reconciler.errors import AccessError, NotFoundError, OfflineError, SourceError
from reconciler.importing.found import How, Origin
from reconciler.importing.parts import is_gits, is_weight
from reconciler.inert import few, inert
from reconciler.state import Algorithm, Artifact, Digest

if TYPE_CHECKING:
    from reconciler.sources import World
    from reconciler.sources.huggingface import Listing

NOTES = ".cache/huggingface/download"
"""Where `hf download --local-dir` notes what it fetched: `<path>.metadata`, of commit, etag and time, a line each."""

_COMMITS = 30
"""Older commits of a branch that are looked at."""
_ETAG = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")

Local = Mapping[str, tuple[int, Mapping[Algorithm, Digest]]]
"""Path -> (size, digests) of the files of one repository that are here."""


class Noted(NamedTuple):
    """What a note says: the commit, and the digest of the file then."""

    commit: str
    digest: Digest


class Match(NamedTuple):
    """The commit that holds the files, and each of them as a lock names it: local path -> artifact.

    `listing` is everything that the repository holds there, None when nobody was asked. `strange` are local files
    that the repository does not have so.
    """

    commit: str
    files: Mapping[str, Artifact]
    strange: tuple[str, ...] = ()
    listing: tuple[str, ...] | None = None
    license: str | None = None
    branch: str = ""
    """As the Hub spells it; '' for the default one."""
    is_whole: bool = True
    """Whether everything that the repository holds was compared, and not only what a lock knows of it."""
    how: How = "hub"


def notes(folder: Path, paths: Sequence[str]) -> dict[str, Noted]:
    """Read the notes of huggingface_hub about files below `folder`; those that cannot be read are left out."""
    found: dict[str, Noted] = {}
    for path in paths:
        try:
            with (folder / NOTES / f"{path}.metadata").open("rb") as file:
                lines = file.read(1024).decode("ascii", "replace").splitlines()
        except OSError:
            continue
        if len(lines) >= 2 and re.fullmatch(r"[0-9a-f]{40}", lines[0]) and _ETAG.fullmatch(lines[1]):
            kind = "sha256" if len(lines[1]) == 64 else "git-sha1"
            found[path] = Noted(lines[0], Digest(f"{kind}:{lines[1]}"))
    return found


def by_notes(local: Local, noted: Mapping[str, Noted]) -> Match | None:
    """Return the match that the notes alone give: one commit, every weight noted, every byte as it was fetched."""
    if len({note.commit for note in noted.values()}) != 1:
        return None
    held = {path: note for path, note in noted.items() if path in local and note.digest in local[path][1].values()}
    if any(path not in held for path in local if is_weight(path)):
        return None
    files = {path: Artifact(path, local[path][0], note.digest) for path, note in held.items()}
    strange = tuple(sorted(path for path in local if path not in held and not is_gits(path)))
    return Match(next(iter(noted.values())).commit, files, strange, how="note")


def by_lock(repository: str, branch: str, local: Local, known: Mapping[Digest, Origin]) -> Match | None:
    """Return the match with what the lock holds of the same branch: every weight, of one commit, by its digest."""
    pins = {id(pin): pin for pin, _ in known.values() if references.parse(pin.source).repository == repository}
    moments: dict[tuple[str, str], dict[str, Artifact]] = {}
    for pin in pins.values():
        if pin.source.startswith("hf:") and pin.revision:
            held = moments.setdefault((pin.source, pin.revision), {})
            held |= {file.path: file for file in pin.files if not file.support}
    for (source, revision), held in sorted(moments.items()):
        license_ = next((pin.license for pin in pins.values() if pin.source == source and pin.license), None)
        match, lacking = _matched(local, tuple(held.values()), revision, license_)
        spelt = references.branch(references.parse(source))
        if not lacking and any(map(is_weight, match.files)) and spelt.replace("/", "_") == branch:
            return match._replace(branch=spelt, is_whole=False, how="lock")
    return None


def changed(local: Local, noted: Mapping[str, Noted]) -> tuple[str, ...]:
    """Return the weights whose bytes are not those that the notes tell of: damaged, or edited since."""
    return tuple(
        sorted(
            path for path, note in noted.items()
            if path in local and is_weight(path) and note.digest not in local[path][1].values()
        )
    )  # fmt: skip


def by_hub(repository: str, branch: str, local: Local, noted: Mapping[str, Noted], world: World) -> Match:
    """Ask the Hub which commit holds all the weights: the branch now, noted commits, other branches, older commits.

    `branch` is '' for the default one, and as a directory has it: `/` may be written `_`. A file is found by its path,
    or by its base name where directories were lost. Raise SourceError with the reason when no commit holds them.
    """
    nearest: tuple[str, ...] = ()
    looked = 0
    seen: set[str] = set()
    try:
        for revision in _candidates(repository, branch, noted, world):
            listing = _listing(repository, revision, world)
            if listing is None or listing.revision in seen:
                continue
            seen.add(listing.revision)
            looked += 1
            match, lacking = _matched(local, listing.files, listing.revision, listing.license)
            match = match._replace(listing=tuple(file.path for file in listing.files))
            if not lacking:
                return match._replace(branch=_spelt(repository, branch, world))
            nearest = lacking if not nearest or len(lacking) < len(nearest) else nearest
    except OfflineError:
        raise
    except (AccessError, NotFoundError) as error:
        raise SourceError(error.problems[0].summary) from None
    commits = "1 commit" if looked == 1 else f"{looked} commits"
    raise SourceError(f"no commit of hf:{inert(repository)} holds {few(nearest)} ({commits} looked at)")


def _candidates(repository: str, branch: str, noted: Mapping[str, Noted], world: World) -> Iterator[str | None]:
    from reconciler.sources import hubapi

    spelt = _spelt(repository, branch, world) or None
    yield spelt
    yield from sorted({note.commit for note in noted.values()})
    yield from hubapi.refs(repository, world)
    yield from hubapi.commits(repository, spelt, world)[:_COMMITS]


def _spelt(repository: str, branch: str, world: World) -> str:
    """Return a branch as the Hub spells it, whose directory has `_` for `/`."""
    from reconciler.sources import hubapi

    if not branch:
        return ""
    return next((name for name in hubapi.refs(repository, world) if name.replace("/", "_") == branch), branch)


def _listing(repository: str, revision: str | None, world: World) -> Listing | None:
    """List a repository; None for a revision that is not there any more, the error of the default one goes on."""
    from reconciler.sources import huggingface

    try:
        return huggingface.listing(f"hf:{repository}", revision, world)
    except NotFoundError:
        if revision is None:
            raise
        return None


def _matched(
    local: Local, held: Sequence[Artifact], revision: str, license_: str | None
) -> tuple[Match, tuple[str, ...]]:
    """Return the match of what is here with the files of a commit, and the weights that it lacks."""
    by_path = {file.path: file for file in held}
    by_base: dict[str, list[Artifact]] = {}
    for file in held:
        by_base.setdefault(file.path.rpartition("/")[2], []).append(file)
    files: dict[str, Artifact] = {}
    for path, (size, digests) in local.items():
        same = [
            file for file in (*filter(None, [by_path.get(path)]), *by_base.get(path.rpartition("/")[2], ()))
            if file.size == size and file.digest in digests.values()
        ]  # fmt: skip
        if same:
            files[path] = same[0]
    lost = [path for path in sorted(local) if path not in files and not is_gits(path)]
    match = Match(revision, files, tuple(lost), license=license_)
    return match, tuple(path for path in lost if is_weight(path))
