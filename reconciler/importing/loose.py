"""Models whose origin nobody noted: which files are one, and a variant whose source is the place where it lies."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.detect import Detected, detect_directory, rules
from reconciler.globs import exact
from reconciler.importing import matching
from reconciler.importing.claims import paths_of
from reconciler.importing.found import Found, Origin, Request, Row
from reconciler.importing.matching import Answer, Sought
from reconciler.importing.parts import Part, denied, is_gits, is_weight, lacks, parts, selection
from reconciler.inert import few, inert
from reconciler.naming import Named
from reconciler.sources import headers
from reconciler.state import Algorithm, Artifact, Digest, ObservedFile, Pin

_OF_ONE_MODEL = ("config.json", "model_index.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json")
"""What makes the files beside it one model."""

UNNAMEABLE = "its name, or that of a directory above it, is none that every system takes; rename it"

Place = tuple[str, Mapping[str, Any]]
"""A name to suggest for a location, and what the manifest would say of it."""


class Folder(NamedTuple):
    """A directory below `root` ('' for itself), its files by their path inside it, and their digests by the whole."""

    root: Path
    path: str
    files: Mapping[str, ObservedFile]
    known: Mapping[str, Mapping[Algorithm, Digest]]

    @property
    def here(self) -> Path:
        """The absolute directory."""
        return self.root / self.path


class Unknown(NamedTuple):
    """A folder of files whose origin nobody noted; `why` says what is known of it.

    With `whole` it is one repository, whatever lies in it. `row` is told of it where only known origins are taken (of
    each of its models, where it names nothing); None: everything is taken, as coming from where it lies.
    """

    folder: Folder
    why: str = ""
    whole: bool = False
    row: Row | None = None

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """The files of each of its models."""
        wanted = [path for path in sorted(self.folder.files) if not is_gits(path)]
        return [part.files for part in parts(wanted)] if self.whole else groups(wanted)


class _Model(NamedTuple):
    """The files of one whole model: `origin` as the lock knows it."""

    unknown: Unknown
    paths: tuple[str, ...]
    what: str
    where: str
    seen: Detected
    digests: Mapping[str, Mapping[Algorithm, Digest]]
    origin: Origin | None

    @property
    def sought(self) -> Sought:
        """What the Hub is asked for."""
        folder = self.unknown.folder
        local = {path: (folder.files[path].size, self.digests[path]) for path in self.paths}
        return Sought(folder.root, folder.path, local)

    @property
    def named(self) -> Named:
        """What the rule makes a name from, when it is called as it lies here."""
        folder, seen = self.unknown.folder, self.seen
        family = Path(self.paths[0]).stem if len(self.paths) == 1 else folder.here.name
        owner = folder.here.parent.name if "/" in folder.path else ""
        quant = seen.quant or "" if seen.format == "gguf" else ""
        return Named("", family, format=seen.format or "", quant=quant, owner=owner)


def groups(paths: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the files of each model: all of them where a configuration says that they are one, else each weight."""
    weights = [path for path in paths if is_weight(path)]
    if not weights:
        return []
    if any(path in paths for path in _OF_ONE_MODEL) or any(path.endswith(".index.json") for path in paths):
        return [part.files for part in parts(paths)]
    shards = [tuple(each.present) for each in rules.shards_of(weights)]
    sharded = {path for each in shards for path in each}
    return [*shards, *((path,) for path in weights if path not in sharded)]


def by_folder(files: Iterable[ObservedFile]) -> dict[str, dict[str, ObservedFile]]:
    """Return folder -> name -> file, for the folders that hold weights themselves."""
    found: dict[str, dict[str, ObservedFile]] = {}
    for file in files:
        folder, _, name = file.path.rpartition("/")
        found.setdefault(folder, {})[name] = file
    return {folder: held for folder, held in sorted(found.items()) if any(map(is_weight, held))}


def models(folders: Sequence[Unknown], request: Request, place: Place) -> Iterator[Found | Row]:
    """Yield a variant for each model of folders, or why it is none; the Hub is searched for them where that is wanted.

    Copies of one model are told apart by where they lie.
    """
    everything = [_checked(each, paths, request) for each in folders for paths in each.groups]
    open_ = [model for model in everything if isinstance(model, _Model) and model.origin is None]
    answers, rows = matching.ask([model.sought for model in open_] if request.online else [], request)
    yield from rows
    answered = {id(model): answer for model, answer in zip(open_, answers, strict=False)}
    told: set[Row] = set()
    for model in everything:
        if isinstance(model, Row):
            found: Iterable[Found | Row] = [model]
        else:
            found = _taken(model, answered.get(id(model)), place)
        for each in found:
            if not isinstance(each, Row) or each not in told:
                yield each
            told |= {each} if isinstance(each, Row) else set()


def _checked(unknown: Unknown, paths: tuple[str, ...], request: Request) -> _Model | Row:
    """Return these files of a folder as one model, or why they are none."""
    folder = unknown.folder
    where = str(folder.here / paths[0]) if len(paths) == 1 else str(folder.here)
    what = (Path(folder.path) / paths[0]).as_posix() if len(paths) == 1 else folder.path or few(paths)
    unread = [path for path in paths if folder.files[path].path not in folder.known]
    seen = detect_directory(folder.here, paths)
    bad = lacks(paths) or ("" if seen.complete else f"incomplete: {few(seen.problems)}")
    bad = bad or (f"cannot be read: {few(unread)}" if unread else "") or denied(paths, request.pickle)
    if bad:
        return unknown.row if unknown.row and unknown.row.what else Row("left-out", what, bad, where)
    digests = {path: folder.known[folder.files[path].path] for path in paths}
    origin = request.known.get(digests[paths[0]]["sha256"]) if len(paths) == 1 else None
    return _Model(unknown, paths, what, where, seen, digests, origin)


def _taken(model: _Model, answer: Answer | None, place: Place) -> Iterator[Found | Row]:
    """Yield the variant of a model: of the source that lock or Hub know where that means this very place, else of here.

    Where only known origins are taken, what lies elsewhere than its source would be is left out.
    """
    folder, why = model.unknown.folder, model.unknown.why
    notes = tuple(problem for problem in model.seen.problems if "the name says" in problem)
    doubt = ""
    if model.origin is not None:
        if (found := _of_lock(folder, model.paths[0], model.origin, place)) is not None:
            notes = (*notes, "the lock knows where these bytes come from")
            yield Found(*found, location=place, notes=notes, where=model.where, identified="lock")
            return
        pin, artifact = model.origin
        why = doubt = f"the same bytes as {artifact.path} of {pin.source}, under a name that only this place knows"
    elif answer is not None and answer.listing is not None:
        said, pin, astray = _of_hub(model, answer, place)
        if not astray:
            yield from answer.twins(model.what, model.where)
            lost = [path for path in model.paths if path not in answer.files]
            told = (answer.told, *([f"not of it, and left out: {few(lost)}"] if lost else []))
            yield Found(said, pin, location=place, notes=(*notes, *told), where=model.where, identified="search")
            return
        why = doubt = f"{answer.told}; {astray}"
    elif answer is not None:
        doubt = answer.told
        why = f"{why or _UNKNOWN}; {doubt}"
    if model.unknown.row is not None:
        row = model.unknown.row if model.unknown.row.what else Row("left-out", model.what, why, model.where)
        yield row._replace(why="; ".join(filter(None, (model.unknown.row.why, doubt))))
        return
    said, pin = _of_itself(folder, model.paths, model.digests, model.seen)
    if (place_of_it := _astray(folder, model.paths, said, pin, place)) is not None:
        yield Row("left-out", model.what, place_of_it, model.where)
        return
    yield Found(said, pin, named=model.named, location=place, notes=(*notes, why or _UNKNOWN), where=model.where,
                identified="lock" if model.origin else "search" if answer and answer.listing else "path")  # fmt: skip


_UNKNOWN = "where it came from is not known"


def _of_hub(model: _Model, answer: Answer, place: Place) -> tuple[dict[str, Any], Pin, str]:
    """Return what a manifest says of files with their source on the Hub, the pin, and where a location would have them.

    That is '' where they lie there already.
    """
    said, pin = answer.said()
    if model.seen.format == "gguf":
        said |= matching.missing_quant(said, pin, model.seen.quant)
    below = f"{model.unknown.folder.path}/" if model.unknown.folder.path else ""
    wanted = {path for path, _ in paths_of(said, place[1], pin)}
    if wanted == {f"{below}{path}" for path in answer.files}:
        return said, pin, ""
    if not wanted:
        return said, pin, UNNAMEABLE
    shown = inert(wanted.pop() if len(wanted) == 1 else os.path.commonpath(wanted) or ".")
    return said, pin, f"in a {place[1]['store']} location it belongs at {shown}"


def _of_itself(
    folder: Folder, paths: Sequence[str], digests: Mapping[str, Mapping[Algorithm, Digest]], seen: Detected
) -> tuple[dict[str, Any], Pin]:
    """Return what a manifest says of files whose source is the place where they lie, and their pin."""
    here = folder.here
    alone = len(paths) == 1  # the source is then the file, and what is inside it has no directories
    artifacts = tuple(
        Artifact(
            path.rpartition("/")[2] if alone else path,
            folder.files[path].size,
            digests[path]["sha256"],
            url=(here / path).as_uri(),
        )
        for path in sorted(paths)
    )
    said: dict[str, Any] = {"source": f"file:{here / paths[0]}" if len(paths) == 1 else f"file:{here}"}
    if len(paths) > 1:
        said |= selection(Part(tuple(paths)), list(folder.files))
    if seen.quant and seen.format == "gguf" and not rules.quant_from_name(paths[0]):
        said["quant"] = seen.quant
    return said, Pin(said["source"], None, artifacts)


def _of_lock(folder: Folder, path: str, origin: Origin, place: Place) -> tuple[dict[str, Any], Pin] | None:
    """Return what a manifest says of a file with the source that the lock knows, where that means this very place."""
    pin, artifact = origin
    said, mine = of_one(pin, artifact)
    below = f"{folder.path}/" if folder.path else ""
    wanted = [placed for placed, _ in paths_of(said, place[1], mine)]
    return (said, mine) if wanted == [f"{below}{path}"] else None


def of_one(pin: Pin, artifact: Artifact) -> tuple[dict[str, Any], Pin]:
    """Return what a manifest says of one file of a pin, and the pin of that file alone.

    A pin may be of some files of a repository: only the name of the file means it and nothing else.
    """
    is_named = len(pin.files) > 1 or pin.source.startswith("hf:")
    said: dict[str, Any] = {"source": pin.source, **({"files": [exact(artifact.path)]} if is_named else {})}
    about = {key: value for key, value in pin.about.items() if key != headers.KEY}  # those are of all its files
    return said, Pin(pin.source, pin.revision, (artifact,), pin.license, about=about)


def _astray(folder: Folder, paths: Sequence[str], said: Mapping[str, Any], pin: Pin, place: Place) -> str | None:
    """Say why a location cannot hold these files where they lie, None when it can."""
    below = f"{folder.path}/" if folder.path else ""
    wanted = {path for path, _ in paths_of(said, place[1], pin)}
    if wanted == {f"{below}{path}" for path in paths}:
        return None
    if not wanted:
        return UNNAMEABLE
    return f"in a location of store {place[1]['store']} it would be {inert(few(sorted(wanted)))}; move it there first"
