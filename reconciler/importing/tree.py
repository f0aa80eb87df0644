"""Import a directory: repositories as `<owner>/<repo>[@branch]`, or files side by side whose origin nobody noted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reconciler.detect import detect_directory, rules
from reconciler.errors import InputError
from reconciler.importing import shelves
from reconciler.importing.found import Found, Request, Row
from reconciler.importing.looking import digests_of, hidden, look, several, sort_out
from reconciler.importing.parts import denied, is_book, is_gits, is_weight, lacks, parts
from reconciler.importing.revisions import NOTES
from reconciler.inert import few, inert
from reconciler.naming import Named, variant_name
from reconciler.state import Artifact, Digest, ObservedFile, Pin

_OF_ONE_MODEL = ("config.json", "model_index.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json")
"""What makes the files beside it one model."""


def gather(request: Request) -> Iterator[Found | Row]:
    """Yield a variant for each model below `DIR`."""
    if len(request.args) != 1:
        raise InputError("expected one directory", hint="`reconciler import tree DIR`")
    root = Path(request.args[0]).expanduser().absolute()
    seen = look("tree", "huggingface", root)
    _refuse_stores(root)
    yield from hidden(seen)
    kept, rows = sort_out(root, (file for path, file in seen.files.items() if not is_book(path)))
    yield from rows
    rest, known = shelves.without_declared(root, kept, request)
    yield from known
    shelved, loose = shelves.shelve(rest)
    name = location_name(root)
    if shelved or (known and any(row.where.count("/") > str(root).count("/") + 2 for row in known)):
        weights = [file.path for file in loose if is_weight(file.path)]
        why = "not in a directory <owner>/<repo>; give it a place of its own and import that"
        yield from several("", weights, why, str(root))
        others = [file.path for file in loose if not is_weight(file.path)]
        yield from several("", others, "belongs to no model", str(root))
        yield from shelves.gather(root, shelved, request, name=name)
    else:
        yield from _side_by_side(root, loose, name, request)


def _refuse_stores(root: Path) -> None:
    """Raise InputError for a directory that another importer knows better."""
    names = {entry.name for entry in root.iterdir()}
    if any(name.startswith("models--") for name in names):
        subject, what = "hf-cache", "the cache of huggingface_hub"
    elif {"blobs", "manifests"} <= names:
        subject, what = "ollama", "the store of an Ollama"
    else:
        return
    raise InputError(f"this is {what}", where=inert(str(root)), hint=f"`reconciler import {subject} DIR`")


def location_name(root: Path) -> str:
    """Return a name for the location of a directory."""
    return variant_name(root.name, None, None, None)


def _side_by_side(root: Path, files: Sequence[ObservedFile], name: str, request: Request) -> Iterator[Found | Row]:
    """Yield the models that lie directly in a directory; deeper ones have to be imported by themselves."""
    top = {file.path: file for file in files if "/" not in file.path}
    deeper = sorted({file.path.rpartition("/")[0] for file in files if "/" in file.path and is_weight(file.path)})
    for folder in deeper:
        why = "a directory of its own, and no <owner>/<repo>; import it by itself: `reconciler import tree DIR`"
        yield Row("left-out", folder, why, str(root / folder))
    wanted = [path for path in sorted(top) if not is_gits(path)]
    groups = _groups(wanted)
    taken = {path for group in groups for path in group}
    others = [path for path in wanted if path not in taken]
    yield from several("", others, "belongs to no model", str(root))
    known = digests_of(root, [top[path] for path in sorted(taken)], request, both=False)
    place = (name, {"store": "flat", "root": str(root)})
    noted = (root / NOTES).is_dir()
    for group in groups:
        yield _model(root, group, {path: top[path] for path in group}, known, request, place, len(taken), noted)


def _groups(paths: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the files of each model: all of them where a configuration says that they are one, else each weight."""
    weights = [path for path in paths if is_weight(path)]
    if not weights:
        return []
    if any(path in paths for path in _OF_ONE_MODEL) or any(path.endswith(".index.json") for path in paths):
        return [part.files for part in parts(paths)]
    shards = [tuple(each.present) for each in rules.shards_of(weights)]
    sharded = {path for each in shards for path in each}
    return [*shards, *((path,) for path in weights if path not in sharded)]


def _model(
    root: Path,
    paths: tuple[str, ...],
    files: Mapping[str, ObservedFile],
    known: Mapping[str, Mapping[Any, Digest]],
    request: Request,
    place: tuple[str, Mapping[str, Any]],
    everything: int,
    noted: bool,
) -> Found | Row:
    where = str(root / paths[0]) if len(paths) == 1 else str(root)
    shown = few(paths)
    unread = [path for path in paths if path not in known]
    seen = detect_directory(root, paths)
    why = lacks(paths) or ("" if seen.complete else f"incomplete: {few(seen.problems)}")
    why = why or (f"cannot be read: {few(unread)}" if unread else "") or denied(paths, request.pickle)
    if why:
        return Row("left-out", shown, why, where)
    digests = {path: known[path]["sha256"] for path in paths}
    notes = tuple(problem for problem in seen.problems if "the name says" in problem)
    if len(paths) == 1 and (origin := request.known.get(digests[paths[0]])) is not None:
        pin, artifact = origin
        if artifact.path.rpartition("/")[2] == paths[0]:
            said = {"source": pin.source, **({"files": [artifact.path]} if len(pin.files) > 1 else {})}
            mine = Pin(pin.source, pin.revision, (artifact,), pin.license)
            return Found(said, mine, location=place, notes=(*notes, "the lock knows where these bytes come from"))
    artifacts = tuple(
        Artifact(path, files[path].size, digests[path], url=(root / path).as_uri()) for path in sorted(paths)
    )
    source = f"file:{root / paths[0]}" if len(paths) == 1 else f"file:{root}"
    said = {"source": source, **({"files": list(paths)} if 1 < len(paths) < everything else {})}
    if seen.quant and seen.format == "gguf" and not rules.quant_from_name(paths[0]):
        said["quant"] = seen.quant
    hint = "it came from the Hub, and nobody noted which repository" if noted else "where it came from is not known"
    family = Path(paths[0]).stem if len(paths) == 1 else root.name
    named = Named("", family, format=seen.format or "", quant=seen.quant or "" if seen.format == "gguf" else "")
    return Found(said, Pin(source, None, artifacts), named=named, location=place, notes=(*notes, hint), where=where)
