"""Models whose origin nobody noted: which files are one, and a variant whose source is the place where it lies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.detect import Detected, detect_directory, rules
from reconciler.importing.claims import paths_of
from reconciler.importing.found import Found, Origin, Request, Row
from reconciler.importing.parts import Part, denied, exact, is_gits, is_weight, lacks, parts, selection
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


def models(
    folder: Folder, request: Request, place: Place, *, whole: bool = False, why: str = ""
) -> Iterator[Found | Row]:
    """Yield a variant for each model of a folder, or why it is none; `why` says what is known of their origin.

    With `whole` the folder is one repository, whatever lies in it.
    """
    wanted = [path for path in sorted(folder.files) if not is_gits(path)]
    for group in [part.files for part in parts(wanted)] if whole else groups(wanted):
        yield model(folder, group, request, place, why)


def model(folder: Folder, paths: tuple[str, ...], request: Request, place: Place, why: str = "") -> Found | Row:
    """Return the variant of these files of a folder, or why there is none."""
    here = folder.here
    where = str(here / paths[0]) if len(paths) == 1 else str(here)
    what = (Path(folder.path) / paths[0]).as_posix() if len(paths) == 1 else folder.path or few(paths)
    unread = [path for path in paths if folder.files[path].path not in folder.known]
    seen = detect_directory(here, paths)
    bad = lacks(paths) or ("" if seen.complete else f"incomplete: {few(seen.problems)}")
    bad = bad or (f"cannot be read: {few(unread)}" if unread else "") or denied(paths, request.pickle)
    if bad:
        return Row("left-out", what, bad, where)
    digests = {path: folder.known[folder.files[path].path]["sha256"] for path in paths}
    notes = tuple(problem for problem in seen.problems if "the name says" in problem)
    origin = request.known.get(digests[paths[0]]) if len(paths) == 1 else None
    if origin is not None:
        if (found := _of_lock(folder, paths[0], origin, place)) is not None:
            notes = (*notes, "the lock knows where these bytes come from")
            return Found(*found, location=place, notes=notes, where=where)
        why = f"the same bytes as {origin[1].path} of {origin[0].source}, under a name that only this place knows"
    said, pin = _of_itself(folder, paths, digests, seen)
    if (astray := _astray(folder, paths, said, pin, place)) is not None:
        return Row("left-out", what, astray, where)
    family = Path(paths[0]).stem if len(paths) == 1 else here.name
    owner = here.parent.name if "/" in folder.path else ""
    quant = seen.quant or "" if seen.format == "gguf" else ""
    named = Named("", family, format=seen.format or "", quant=quant, owner=owner)
    told = why or "where it came from is not known"
    return Found(said, pin, named=named, location=place, notes=(*notes, told), where=where)


def _of_itself(
    folder: Folder, paths: Sequence[str], digests: Mapping[str, Digest], seen: Detected
) -> tuple[dict[str, Any], Pin]:
    """Return what a manifest says of files whose source is the place where they lie, and their pin."""
    here = folder.here
    artifacts = tuple(
        Artifact(path, folder.files[path].size, digests[path], url=(here / path).as_uri()) for path in sorted(paths)
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
