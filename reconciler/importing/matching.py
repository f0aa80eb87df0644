"""Ask the Hub which repository holds these very bytes: it is searched by name, and only equal digests are a match.

The Hub has no look-up by digest. What is asked is bounded, for each model and for a run; no weights are fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciler.abreast import abreast
from reconciler.detect import told_by_names
from reconciler.errors import AccessError, NotFoundError, OfflineError, RateLimitedError, SourceError
from reconciler.importing.clues import clues, is_repository
from reconciler.importing.found import Request, Row
from reconciler.importing.parts import Part, is_weight, selection
from reconciler.importing.revisions import Local
from reconciler.inert import few, inert
from reconciler.state import GATED, Artifact, Digest, Pin

if TYPE_CHECKING:
    from reconciler.sources import World
    from reconciler.sources.hubapi import Hit
    from reconciler.sources.huggingface import Listing

MODELS = 50
"""Models of one run that the Hub is asked about; copies of one count once."""
REPOSITORIES = 8
"""Repositories that are listed for one model."""
COMMITS = 5
"""Older commits that are looked at, of one repository that has files of the same names with other bytes now."""
PAGE = 50
"""Repositories that one search answers with."""
_THREADS = 4


class Sought(NamedTuple):
    """One model whose origin nobody knows: its files in `folder` (below `root`) by their path there."""

    root: Path
    folder: str
    local: Local

    @property
    def key(self) -> frozenset[Digest]:
        """What its copies have in common: the digests of the weights."""
        return frozenset(self.local[path][1]["sha256"] for path in _weights(self.local))


class Answer(NamedTuple):
    """What the Hub has of a model: the repository that holds it, and each file as it is called there.

    `listing` is None when there is no match; `why` then says how many repositories were looked at. `others` are
    repositories that hold the same.
    """

    listing: Listing | None
    files: Mapping[str, Artifact]
    others: tuple[str, ...] = ()
    why: str = ""

    @property
    def source(self) -> str:
        """The source, as a manifest names it."""
        return f"hf:{self.listing.repo}" if self.listing else ""

    @property
    def told(self) -> str:
        """How the match was made, for people, with the name of a single file."""
        if self.listing is None:
            return self.why
        files = [inert(file.path) for file in self.files.values()]
        name = f", {files[0]}" if len(files) == 1 else ""
        return f"found on the Hub by its content: {self.source}@{self.listing.revision[:7]}{name}"

    def said(self) -> tuple[dict[str, Any], Pin]:
        """Return what a manifest says of these files of the repository, and their pin."""
        assert self.listing is not None
        files = tuple(sorted(self.files.values()))
        paths = tuple(file.path for file in files)
        everything = [file.path for file in self.listing.files]
        about = {GATED: self.listing.gated} if self.listing.gated else {}
        pin = Pin(self.source, self.listing.revision, files, self.listing.license, about=about)
        return {"source": self.source, **selection(Part(paths, alone=False), everything)}, pin

    def twins(self, what: str, where: str) -> Iterator[Row]:
        """Yield the finding that several repositories hold the same bytes."""
        if self.others:
            others = few([f"hf:{each}" for each in self.others])
            why = f"the same bytes are in {self.source}, which is taken, and in {others}"
            yield Row("finding", what, why, where)


def missing_quant(said: Mapping[str, Any], pin: Pin, quant: str | None) -> dict[str, str]:
    """Return the `quant` that a manifest must say because no name tells it; nothing where one does."""
    named = told_by_names(str(said["source"]), [file.path for file in pin.files])[1]
    return {"quant": quant} if quant and named is None else {}


def ask(models: Sequence[Sought], request: Request) -> tuple[list[Answer], list[Row]]:
    """Ask the Hub about models, and return an answer for each, and rows that tell why some were not asked about.

    Where it refuses, or cannot be reached, nothing more is asked in this run.
    """
    if not models:
        return [], []
    run = request.world.memory.once(("matching", request.world.endpoint), _Run)
    for model in models:
        if model.key not in run.chosen and len(run.chosen) < MODELS:
            run.chosen.append(model.key)
    try:
        answers = abreast(lambda model: _answer(model, run, request.world), models, _THREADS, "match")
    except BaseException:  # Ctrl-C: the threads end with the question that they are at
        run.refused.append("interrupted")
        raise
    return answers, list(_trouble(models, answers, run))


@dataclass
class _Run:
    """What one run has asked about: models by their digests; and why nothing more is asked."""

    chosen: list[frozenset[Digest]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Raise SourceError once nothing more is to be asked."""
        if self.refused:
            raise SourceError(self.refused[0])

    def wait(self, seconds: float, sleep: Callable[[float], None]) -> None:
        """Wait as the Hub asks for; raise SourceError once that leads to no further question."""
        while seconds > 0:
            self.check()
            sleep(min(seconds, 1.0))
            seconds -= 1.0


_UNASKED = "the Hub was not asked about it"


def _trouble(models: Sequence[Sought], answers: Iterable[Answer], run: _Run) -> Iterator[Row]:
    skipped = sum(answer.why == _UNASKED for answer in answers)
    if not skipped:
        return
    count = "1 model was" if skipped == 1 else f"{skipped} models were"
    where = few([str(root) for root in dict.fromkeys(model.root for model in models)])
    if run.refused:
        why = f"could not be asked for a match: {run.refused[0]}; {count} taken over as without --online"
        yield Row("problem", "the Hub", why, where)
    else:
        why = f"{MODELS} models were asked about, which is the most for one run; {count} taken over without asking"
        why += " (`reconciler forget` lets go of one, and another import asks about it)"
        yield Row("finding", "the Hub", why, where)


def _answer(model: Sought, run: _Run, world: World) -> Answer:
    """Return what the Hub has of a model; its copies are asked about once."""
    if model.key not in run.chosen or run.refused:
        return Answer(None, {}, why=_UNASKED)
    # What is odd about a mere candidate is nobody's business.
    silent = replace(world, warn=lambda _: None, sleep=lambda seconds: run.wait(seconds, world.sleep))
    try:
        looked, holders = world.memory.once(
            ("match", world.endpoint, model.key), lambda: _hunt(model, silent, run.check)
        )
    except SourceError as error:
        problem = error.problems[0]
        hint = "" if isinstance(error, OfflineError) or not problem.hint else f" ({problem.hint})"
        run.refused.append(f"{problem.summary}{hint}")
        return Answer(None, {}, why=_UNASKED)
    matches = [(listing, held) for listing in holders if (held := _held(model.local, listing.files))]
    if matches:
        [(listing, files), *rest] = matches
        return Answer(listing, files, tuple(other.repo for other, _ in rest))
    seen = "1 repository" if looked == 1 else f"{looked} repositories"
    why = f"no match among {seen} of the Hub that were looked at" if looked else "no repository of the Hub has its name"
    return Answer(None, {}, why=why)


def _hunt(model: Sought, world: World, check: Callable[[], None]) -> tuple[int, tuple[Listing, ...]]:
    """Return how many repositories were looked at, and those that hold all weights of a model.

    The best comes first: what something names, in the order of the naming; then the most downloaded. `check` is called
    before each question.
    """
    from reconciler.sources import hubapi

    told = clues(model.root, model.folder, tuple(model.local))
    weights = _weights(model.local)
    tag = "gguf" if all(path.lower().endswith(".gguf") for path in weights) else None

    def found(word: str) -> dict[str, Hit]:
        check()
        return {hit.repo: hit for hit in hubapi.search(word, PAGE, world, tag=tag)}

    hits: dict[str, Hit] = {}
    for word in told.words:
        hits |= found(word)
    for word in told.wider:
        hits = hits or found(word)
    likely = [hit for hit in hits.values() if hit.repo not in told.repositories and _may_hold(hit, weights)]
    likely.sort(key=lambda hit: (not _has_name(hit, weights), -hit.downloads, hit.repo))
    listings, failed = _listings([*told.repositories, *(hit.repo for hit in likely)][:REPOSITORIES], world, check)
    if failed is not None and not listings and not told.words:  # it has answered no search, either
        raise failed
    places = {repo: number for number, repo in enumerate(told.repositories)}
    holders = [(repo, listing) for repo, listing in listings.items() if _held(model.local, listing.files)]
    if not holders:
        holders = _of_older(model, listings, world, check)
    holders.sort(
        key=lambda held: (
            places.get(held[0], len(places)), -hits[held[0]].downloads if held[0] in hits else 0, held[0],
        )
    )  # fmt: skip
    best: dict[str, Listing] = {}
    for _, listing in holders:
        best.setdefault(listing.repo, listing)  # an old name leads to the same repository
    return len(listings), tuple(best.values())


def _may_hold(hit: Hit, weights: Sequence[str]) -> bool:
    """Whether a repository has as many files of the same kinds, as far as the search told."""
    ends = [Path(path).suffix.lower() for path in weights]
    if not is_repository(hit.repo):
        return False
    return hit.paths is None or all(
        sum(path.lower().endswith(end) for path in hit.paths) >= ends.count(end) for end in ends
    )


def _has_name(hit: Hit, weights: Sequence[str]) -> bool:
    names = {path.rpartition("/")[2] for path in weights}
    return hit.paths is not None and not names.isdisjoint(path.rpartition("/")[2] for path in hit.paths)


def _listings(
    repositories: Iterable[str], world: World, check: Callable[[], None], revision: str | None = None
) -> tuple[dict[str, Listing], SourceError | None]:
    """List the repositories that can be seen and taken, and return what went wrong with another.

    At `revision`; None: as they are now. Raise SourceError when the Hub asks us to wait for too long.
    """
    from reconciler.sources import huggingface

    found: dict[str, Listing] = {}
    failed: SourceError | None = None
    for repository in repositories:
        check()
        try:
            found[repository] = huggingface.listing(f"hf:{repository}", revision, world)
        except (RateLimitedError, OfflineError):
            raise
        except (AccessError, NotFoundError):
            continue
        except SourceError as error:
            failed = error
    return found, failed


def _of_older(
    model: Sought, listings: Mapping[str, Listing], world: World, check: Callable[[], None]
) -> list[tuple[str, Listing]]:
    """Return the first repository with files of the same names, at the older commit that holds a model; [] for none."""
    from reconciler.sources import hubapi

    names = set(map(_base, _weights(model.local)))
    repo = next((repo for repo, held in listings.items() if names <= {_base(file.path) for file in held.files}), None)
    if repo is None:
        return []
    check()
    try:
        for commit in hubapi.commits(listings[repo].repo, None, world)[1 : COMMITS + 1]:
            found, _ = _listings([repo], world, check, commit)
            if repo in found and _held(model.local, found[repo].files):
                return [(repo, found[repo])]
    except (AccessError, NotFoundError):  # deleted, or closed, between two questions
        pass
    return []


def _held(local: Local, files: Sequence[Artifact]) -> Mapping[str, Artifact] | None:
    """Return each local file that a repository holds, as it is called there; None when it lacks one of the weights.

    Weights must have an equal sha256, whatever they are called; of several files of one content the name decides.
    """
    by_digest: dict[Digest, list[Artifact]] = {}
    for file in files:
        by_digest.setdefault(file.digest, []).append(file)
    held: dict[str, Artifact] = {}
    taken: set[str] = set()
    weights = _weights(local)
    for path in (*weights, *sorted(local.keys() - set(weights))):
        size, digests = local[path]
        kinds = [digests["sha256"]] if path in weights else list(digests.values())
        same = [
            file for digest in kinds for file in by_digest.get(digest, ())
            if file.size == size and file.path not in taken and (path in weights or _base(file.path) == _base(path))
        ]  # fmt: skip
        if same:
            held[path] = min(same, key=lambda file: (file.path != path, _base(file.path) != _base(path), file.path))
            taken.add(held[path].path)
        elif path in weights:
            return None
    return held


def _weights(local: Local) -> list[str]:
    """Return the files that must match: those of weights; all of them where no name tells which those are."""
    return sorted(filter(is_weight, local)) or sorted(local)


def _base(path: str) -> str:
    return path.rpartition("/")[2]
