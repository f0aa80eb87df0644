"""Import a directory: repositories as `<owner>/<repo>[@branch]`, or files side by side whose origin nobody noted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from reconciler.errors import InputError
from reconciler.home import expand
from reconciler.importing import loose, shelves
from reconciler.importing.found import Found, Request, Row
from reconciler.importing.looking import digests_of, hidden, look, several, sort_out
from reconciler.importing.parts import is_book, is_gits, is_weight
from reconciler.importing.revisions import NOTES
from reconciler.importing.shelves import Shelf
from reconciler.inert import inert
from reconciler.naming import variant_name
from reconciler.state import ObservedFile


def gather(request: Request) -> Iterator[Found | Row]:
    """Yield a variant for each model below `DIR`."""
    if len(request.args) != 1:
        raise InputError("expected one directory", hint="`reconciler import tree DIR`")
    root = expand(request.args[0]).absolute()
    seen = look("tree", "huggingface", root)
    _refuse_stores(root)
    yield from hidden(seen)
    ours = (file for path, file in seen.files.items() if not is_book(path))
    unknown, known = shelves.without_declared(root, ours, request)
    rest, rows = sort_out(root, unknown)
    yield from rows
    yield from known
    shelved, others = shelves.shelve(rest)
    name = location_name(root)
    if shelved or (known and any(row.where.count("/") > str(root).count("/") + 2 for row in known)):
        yield from _shelved(root, shelved, others, name, request)
    else:
        yield from _side_by_side(root, others, name, request)


def _shelved(
    root: Path, shelved: Sequence[Shelf], rest: Sequence[ObservedFile], name: str, request: Request
) -> Iterator[Found | Row]:
    """Yield the models of directories <owner>/<repo>, and what lies beside them."""
    weights = [file.path for file in rest if is_weight(file.path)]
    why = "not in a directory <owner>/<repo>; import it from a place of its own, or `--local` takes it here"
    looks = request.local or request.online
    if not looks:
        yield from several("", weights, why, str(root))
    folders = loose.by_folder(rest)
    taken = {file.path for held in folders.values() for file in held.values()} if looks else set(weights)
    yield from several("", [file.path for file in rest if file.path not in taken], "belongs to no model", str(root))
    store = request.arranged.get(os.path.realpath(root), "huggingface")
    for each in shelves.gather(root, shelved, request, name=name):
        store = each.location[1]["store"] if isinstance(each, Found) and each.location else store
        yield each
    if looks:
        yield from _folders(root, folders, (name, {"store": store, "root": str(root)}), request, why)


def _folders(
    root: Path, folders: Mapping[str, Mapping[str, ObservedFile]], place: loose.Place, request: Request, why: str
) -> Iterator[Found | Row]:
    """Yield the models of directories, each taken for itself; `why` those of unknown origin are left out."""
    files = [file for held in folders.values() for file in held.values()]
    known = digests_of(root, files, request, both=request.online)
    unknown = [
        loose.Unknown(
            loose.Folder(root, path, held, known),
            row=None if request.local else Row("left-out", "", why),
        )
        for path, held in folders.items()
    ]
    yield from loose.models(unknown, request, place)


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
    folders = loose.by_folder(files)
    deeper = [folder for folder in folders if folder]
    if deeper and request.local:
        store = request.arranged.get(os.path.realpath(root), "huggingface")
        yield from _folders(root, folders, (name, {"store": store, "root": str(root)}), request, "")
        return
    for path in deeper:
        why = "a directory of its own, and no <owner>/<repo>; import it by itself: `reconciler import tree DIR`"
        yield Row("left-out", path, why, str(root / path))
    top = {file.path: file for file in files if "/" not in file.path}
    wanted = [path for path in sorted(top) if not is_gits(path)]
    taken = {path for group in loose.groups(wanted) for path in group}
    yield from several("", [path for path in wanted if path not in taken], "belongs to no model", str(root))
    known = digests_of(root, [top[path] for path in sorted(taken)], request, both=request.online)
    noted = os.path.isdir(root / NOTES)  # noqa: PTH112  Path.is_dir raises where nobody may look
    why = "it came from the Hub, and nobody noted which repository" if noted else ""
    place = (name, {"store": "flat", "root": str(root)})
    folder = loose.Folder(root, "", {path: top[path] for path in wanted}, known)
    yield from loose.models([loose.Unknown(folder, why)], request, place)
