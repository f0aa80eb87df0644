"""Directories `<owner>/<repo>[@branch]`: which repository, commit and files each is, and how they are arranged."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.abreast import abreast
from reconciler.detect import detect_directory, rules, told_by_names
from reconciler.errors import ReconcilerError
from reconciler.importing import loose, revisions
from reconciler.importing.claims import paths_of
from reconciler.importing.found import KNOWN, Found, Request, Row
from reconciler.importing.looking import digests_of, license_in
from reconciler.importing.parts import Part, denied, is_gits, is_weight, lacks, parts, selection
from reconciler.importing.revisions import Match, Noted
from reconciler.inert import few, inert
from reconciler.references import parse
from reconciler.state import Algorithm, Digest, ObservedFile, Pin

_THREADS = 8
_CARD = "README.md"
_STORES = ("huggingface", "lmstudio")


@dataclass(frozen=True, slots=True)
class Shelf:
    """One directory and its files, by path inside it."""

    owner: str
    model: str
    files: Mapping[str, ObservedFile]

    @property
    def path(self) -> str:
        """Below the root."""
        return f"{self.owner}/{self.model}"

    @property
    def repository(self) -> str:
        """As the Hub would call it."""
        return f"{self.owner}/{self.model.partition('@')[0]}"

    @property
    def branch(self) -> str:
        """As the directory has it: `/` may be written `_`."""
        return self.model.partition("@")[2]


class _Ready(NamedTuple):
    """A variant, and where its files lie: paths below the root."""

    found: Found
    pin: Pin
    paths: frozenset[str]


def shelve(files: Iterable[ObservedFile]) -> tuple[list[Shelf], list[ObservedFile]]:
    """Group files by the two directories above them; return the groups that hold weights, and all other files."""
    groups: dict[tuple[str, str], dict[str, ObservedFile]] = defaultdict(dict)
    loose: list[ObservedFile] = []
    for file in files:
        parts_ = file.path.split("/", 2)
        if len(parts_) < 3:
            loose.append(file)
        else:
            groups[parts_[0], parts_[1]][parts_[2]] = file
    shelves = [Shelf(*key, held) for key, held in sorted(groups.items()) if any(map(is_weight, held))]
    kept = {shelf.path for shelf in shelves}
    rest = [file for key, held in groups.items() if "/".join(key) not in kept for file in held.values()]
    return shelves, [*loose, *rest]


def without_declared(
    root: Path, files: Iterable[ObservedFile], request: Request
) -> tuple[list[ObservedFile], list[Row]]:
    """Leave out files that the manifest wants where they are, with a row for each variant that wants them.

    What lies beside those and holds no weights goes with them.
    """
    real = os.path.realpath(root)
    holders: dict[str, str] = {}
    rest: list[ObservedFile] = []
    beside: set[str] = set()
    for file in files:
        holder = request.declared.get(f"{real}/{file.path}")
        if holder is None:
            rest.append(file)
        else:
            if holder not in holders:
                holders[holder] = str(root / file.path)
            beside.add(file.path.rpartition("/")[0])
    rest = [
        file for file in rest
        if file.path.rpartition("/")[0] not in beside or is_weight(file.path) or rules.is_unfinished(file.path)
    ]  # fmt: skip
    return rest, [Row("known", name, KNOWN, where) for name, where in sorted(holders.items())]


def gather(
    root: Path, shelves: Sequence[Shelf], request: Request, *, name: str, store: str | None = None
) -> Iterator[Found | Row]:
    """Yield a variant for each shelf (and quant), or why there is none.

    `store` is how the root is arranged; None: as the manifest has it, else as most of the shelves are.
    """
    noted = [revisions.notes(root / shelf.path, list(shelf.files)) for shelf in shelves]
    pairs = list(zip(shelves, noted, strict=True))
    told = _repositories(request)
    asks_nobody = request.world.offline and not request.local
    open_ = [pair for pair in pairs if not asks_nobody or pair[0].repository in told or not _untold(*pair)]
    known = digests_of(root, [file for shelf, _ in open_ for file in shelf.files.values()], request)
    found = abreast(lambda pair: _identify(root, pair[0], pair[1], known, request), open_, _THREADS, "identify")
    answers = {shelf.path: answer for (shelf, _), answer in zip(open_, found, strict=True)}
    ready: list[_Ready] = []
    unknown: list[tuple[Shelf, Row]] = []
    for shelf in shelves:
        answer = answers.get(shelf.path) or untold(root, shelf)
        if isinstance(answer, Row):
            if (request.local or request.online) and answer.kind == "left-out":
                unknown.append((shelf, answer))
            else:
                yield answer
            continue
        for each in _variants(root, shelf, answer, request):
            if isinstance(each, Row):
                yield each
            else:
                ready.append(each)
    chosen = store or request.arranged.get(os.path.realpath(root)) or _store_of(ready)
    place = (name, {"store": chosen, "root": str(root)})
    for one in ready:
        yield _placed(root, one, name, chosen)
    nameless = [
        loose.Unknown(
            loose.Folder(root, shelf.path, shelf.files, known), row.why, whole=True, row=None if request.local else row
        )
        for shelf, row in unknown
    ]
    yield from loose.models(nameless, request, place)


def _repositories(request: Request) -> frozenset[str]:
    """Return the repositories of the Hub that the lock knows files of."""
    sources = {pin.source for pin, _ in request.known.values() if pin.source.startswith("hf:")}
    return frozenset(parse(source).repository for source in sources)


def _untold(shelf: Shelf, noted: Mapping[str, Noted]) -> bool:
    """Whether the notes cannot say alone which commit a shelf is of."""
    return len({note.commit for note in noted.values()}) != 1 or any(
        path not in noted for path in shelf.files if is_weight(path)
    )


def untold(root: Path, shelf: Shelf) -> Row:
    """Return the row of a shelf whose commit nobody here can tell, while the Hub must not be asked."""
    why = "offline, nobody can tell which commit it is of; run the same without --offline"
    return Row("left-out", f"hf:{shelf.repository}", why, str(root / shelf.path))


def _identify(
    root: Path,
    shelf: Shelf,
    noted: Mapping[str, Noted],
    known: Mapping[str, Mapping[Algorithm, Digest]],
    request: Request,
) -> Match | Row:
    """Return which commit a shelf is of, or why nobody can tell."""
    source, where = f"hf:{shelf.repository}", str(root / shelf.path)
    try:
        parse(f"{source}@{shelf.branch}" if shelf.branch else source)
    except ValueError:
        return Row("left-out", shelf.path, "no name that a repository of the Hub can have", where)
    unread = sorted(path for path, file in shelf.files.items() if is_weight(path) and file.path not in known)
    if unread:
        return Row("problem", source, f"cannot be read, or changed meanwhile: {few(unread)}", where)
    local = {path: (file.size, known[file.path]) for path, file in shelf.files.items() if file.path in known}
    if differ := revisions.changed(local, noted):
        why = f"not the bytes that were downloaded: {few(differ)}; damaged, or edited since"
        return Row("problem", source, why, where)
    match = revisions.by_notes(local, noted) or revisions.by_lock(shelf.repository, shelf.branch, local, request.known)
    if match is not None:
        return match
    if request.world.offline:
        return untold(root, shelf)
    try:
        return revisions.by_hub(shelf.repository, shelf.branch, local, noted, request.world)
    except ReconcilerError as error:
        return Row("left-out", source, error.problems[0].summary, where)


def _variants(root: Path, shelf: Shelf, match: Match, request: Request) -> Iterator[_Ready | Row]:
    where = str(root / shelf.path)
    branch = match.branch or shelf.branch
    source = f"hf:{shelf.repository}" + (f"@{branch}" if branch else "")
    if match.strange:
        yes = f"not of the repository at {match.commit[:7]}, or edited since"
        why = yes if match.is_whole else "not among the files that are locked of this repository"
        yield Row("left-out", f"{shelf.path}: {few(match.strange)}", why, where)
    local = {path: file for path, file in match.files.items() if not is_gits(path)}
    license_ = match.license or (license_in(root / shelf.path / _CARD) if _CARD in local else None)
    for part in parts(local):
        seen = detect_directory(root / shelf.path, part.files)
        why = lacks(part.files) or ("" if seen.complete else f"incomplete: {few(seen.problems)}")
        why = why or denied(part.files, request.pickle)
        if why:
            yield Row("left-out", source, why, where)
            continue
        artifacts = tuple(sorted(local[path] for path in part.files))
        pin = Pin(source, match.commit, artifacts, license_)
        upstream = Part(tuple(file.path for file in artifacts), part.quant, part.alone)
        said: dict[str, Any] = {"source": source, **selection(upstream, match.listing)}
        if seen.quant and seen.format == "gguf" and told_by_names(source, upstream.files)[1] is None:
            said["quant"] = seen.quant
        notes = tuple(problem for problem in seen.problems if "the name says" in problem)
        paths = frozenset(f"{shelf.path}/{path}" for path in part.files)
        yield _Ready(Found(said, pin, notes=notes, where=where, identified=match.how), pin, paths)


def _fits(one: _Ready, store: str) -> bool:
    return {path for path, _ in paths_of(one.found.variant, {"store": store}, one.pin)} == one.paths


def _store_of(ready: Sequence[_Ready]) -> str:
    """Return the store that arranges most of the variants as they lie; where both do, LM Studio's for GGUF files."""
    only_ggufs = all(path.endswith(".gguf") for one in ready for path in one.paths if is_weight(path))
    order = tuple(reversed(_STORES)) if only_ggufs and ready else _STORES
    return max(order, key=lambda store: sum(_fits(one, store) for one in ready))


def _placed(root: Path, one: _Ready, name: str, store: str) -> Found | Row:
    if _fits(one, store):
        return replace(one.found, location=(name, {"store": store, "root": str(root)}))
    wanted = {path for path, _ in paths_of(one.found.variant, {"store": store}, one.pin)}
    lies, belongs = sorted(one.paths - wanted), sorted(wanted - one.paths)
    why = f"{inert(few(lies))} would be {inert(few(belongs))} in a {store} location; move it there first"
    return Row("left-out", str(one.found.variant["source"]), why, one.found.where)
