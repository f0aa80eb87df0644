"""Import the models of a ComfyUI, A1111, Forge or SD.Next: what Civitai knows by its bytes, else what is claimed of it.

Nothing is believed because a note or a name says it: a claim of Civitai's numbers counts when its digest is the one of
the bytes that lie there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciler.abreast import abreast
from reconciler.detect import check_file
from reconciler.errors import InputError, ReconcilerError
from reconciler.home import expand
from reconciler.importing import images, matching
from reconciler.importing.claims import paths_of, request_of
from reconciler.importing.found import Found, How, Request, Row
from reconciler.importing.homes import Home, homes_of
from reconciler.importing.looking import digests_of, hidden, look, sort_out
from reconciler.importing.loose import UNNAMEABLE, of_one
from reconciler.importing.matching import Sought
from reconciler.importing.parts import denied
from reconciler.importing.shelves import without_declared
from reconciler.importing.sidecars import Claim, claim_of
from reconciler.inert import few, inert
from reconciler.ollama.names import SCHEME
from reconciler.state import Artifact, Digest, ObservedFile, Pin
from reconciler.ui import hashes
from reconciler.ui.filenames import split
from reconciler.ui.kinds import DRAWERS
from reconciler.ui.places import kind_of_place, places
from reconciler.ui.visible import is_weights

if TYPE_CHECKING:
    from reconciler.sources.civitaiapi import Match

_THREADS = 8


class _Model(NamedTuple):
    """One file of weights: where it lies, what it is, and what is claimed of it."""

    home: Home
    file: ObservedFile
    digest: Digest
    claim: Claim

    @property
    def path(self) -> Path:
        """The absolute path."""
        return self.home.root / self.file.path


def gather(request: Request) -> Iterator[Found | Row]:
    """Yield a variant for each model below each `DIR`, the directory of a web interface or its models.

    Civitai is asked once for all of them.
    """
    if not request.args:
        raise InputError("expected a directory", hint="`reconciler import comfyui DIR`")
    models: list[_Model] = []
    for home in _homes(request):
        for each in [home] if isinstance(home, Row) else _models(home, request):
            if isinstance(each, Row):
                yield each
            else:
                models.append(each)
    matches, trouble = _matches(models, request)
    if trouble:
        yield Row(
            "problem", "civitai", trouble, few([str(home) for home in dict.fromkeys(m.home.root for m in models)])
        )
    found = abreast(lambda model: _found(model, matches.get(model.digest), request), models, _THREADS, "comfyui")
    known = _by_copies(models, found)
    yield from _searched(models, known, request) if request.online else known


def _by_copies(models: Sequence[_Model], found: Sequence[Found | Row]) -> list[Found | Row]:
    """Return the answers, with the origin of another copy for those whose own is not known."""
    origins = {
        model.digest: (answer.pin, answer.identified)
        for model, answer in zip(models, found, strict=True)
        if isinstance(answer, Found) and answer.pin is not None and not _is_local(answer)
    }
    told = "these bytes are known by another copy of them"
    answers = list(found)
    for number, (model, answer) in enumerate(zip(models, found, strict=True)):
        if _is_local(answer) and model.digest in origins:
            pin, how = origins[model.digest]
            answers[number] = _variant(model, *of_one(pin, pin.files[0]), told, how)
    return answers


def _searched(models: Sequence[_Model], found: Sequence[Found | Row], request: Request) -> Iterator[Found | Row]:
    """Yield the answers; for those whose origin is not known the Hub is searched."""
    open_ = [(model, answer) for model, answer in zip(models, found, strict=True) if _is_local(answer)]
    yield from (answer for answer in found if not _is_local(answer))
    sought = [
        Sought(model.path.parent, "", {model.path.name: (model.file.size, {"sha256": model.digest})})
        for model, _ in open_
    ]
    answers, rows = matching.ask(sought, request)
    yield from rows
    for (model, local), answer in zip(open_, answers, strict=True):
        each: Found | Row = local
        if answer.listing is not None:
            each = _variant(model, *answer.said(), answer.told, "search")
            if isinstance(each, Found):
                yield from answer.twins(model.file.path, str(model.path))
        elif isinstance(local, Found):
            each = replace(local, notes=(*local.notes, answer.told))
        yield local if isinstance(each, Row) else each


def _homes(request: Request) -> Iterator[Home | Row]:
    """Yield the trees of every directory that was named, each once; of several, one that is none is a row."""
    seen: set[str] = set()
    for text in request.args:
        try:
            for home in homes_of(expand(text).absolute(), request):
                root = os.path.realpath(home.root) if isinstance(home, Home) else ""
                if not root or root not in seen:
                    yield home
                seen |= {root} - {""}
        except InputError as error:
            if len(request.args) == 1:
                raise
            yield Row("problem", "comfyui", error.problems[0].summary, text)


def _models(home: Home, request: Request) -> Iterator[_Model | Row]:
    """Yield the files of weights of one tree, and what is known already or no model."""
    root = home.root
    seen = look(home.ui, home.ui, root)
    yield from hidden(seen)
    kept, rows = sort_out(root, (file for path, file in seen.files.items() if _is_ours(path) and home.holds(path)))
    yield from rows
    rest, known = without_declared(root, kept, request)
    yield from known
    weights = [file for file in rest if is_weights(file.path)]
    digests = digests_of(root, weights, request, both=False)
    for file in weights:
        where = str(root / file.path)
        if "/" not in file.path:
            yield Row("left-out", file.path, "in no folder of a kind: no loader looks there", where)
        elif why := denied([file.path], request.pickle):
            yield Row("left-out", file.path, why, where)
        elif file.path not in digests:
            yield Row("problem", file.path, "cannot be read", where)
        elif why := check_file(root / file.path) or "":
            yield Row("left-out", file.path, f"incomplete: {inert(why)}", where)
        else:
            yield _Model(home, file, digests[file.path]["sha256"], claim_of(root / file.path))


def _is_local(found: Found | Row) -> bool:
    return isinstance(found, Found) and str(found.variant["source"]).startswith("file:")


def _is_ours(path: str) -> bool:
    return not any(part.startswith(".") for part in path.split("/"))


def _matches(models: Iterable[_Model], request: Request) -> tuple[Mapping[str, Match], str]:
    """Ask Civitai about all digests at once; what the lock or the manifest knows already needs no asking."""
    asked = [model.digest for model in models if model.digest not in request.known]
    if request.world.offline or not asked:
        return {}, ""
    from reconciler.sources.civitaiapi import by_hash

    try:
        return by_hash(asked, request.world), ""
    except ReconcilerError as error:
        return {}, f"could not be asked which files it knows: {error.problems[0].summary}"


def _found(model: _Model, match: Match | None, request: Request) -> Found | Row:
    """Say where a file comes from: by the lock, by Civitai, by a note that its bytes confirm, else from here."""
    origin = request.known.get(model.digest)
    if origin is not None and not origin[0].source.startswith(SCHEME):  # a model of Ollama's is taken whole
        return _variant(model, *of_one(*origin), "the lock knows where these bytes come from", "lock")
    if match is not None and (known := _asked(model, match.source, request)) is not None:
        return _variant(model, {"source": match.source}, known, "Civitai knows these bytes", "civitai")
    claim = model.claim
    if claim.model and claim.version and claim.sha256 and f"sha256:{claim.sha256}" == model.digest:
        source = f"civitai:{claim.model}@{claim.version}"
        name = claim.name or model.file.path.rpartition("/")[2]
        file = Artifact(name, model.file.size, model.digest)
        pinned = Pin(source, str(claim.version), (file,), about={"civitai": claim.about})
        return _variant(model, {"source": source}, pinned, f"{claim.by} says so, and the digest is right", "sidecar")
    return _local(model)


def _asked(model: _Model, source: str, request: Request) -> Pin | None:
    """Return what upstream has under `source`, if it is one file and these very bytes."""
    from reconciler import sources

    try:
        pin = sources.resolve(request_of("", {"source": source}), request.world)
    except (ReconcilerError, ValueError):
        return None
    [*files] = pin.files
    return pin if [(file.size, file.digest) for file in files] == [(model.file.size, model.digest)] else None


def _local(model: _Model) -> Found | Row:
    """Return a variant whose source is the file itself, and say what of its origin is known and does not fit."""
    path = model.path
    artifact = Artifact(path.name, model.file.size, model.digest, url=path.as_uri())
    pin = Pin(f"file:{path}", None, (artifact,))
    return _variant(model, {"source": pin.source}, pin, _doubt(model, path), "path")


def _doubt(model: _Model, path: Path) -> str:
    claim = model.claim
    numbers = f"civitai:{claim.model}@{claim.version}" if claim.version else "another file"
    if not (claim.version or claim.sha256):
        return "where it came from is not known"
    if not claim.sha256:
        return f"{claim.by} says {numbers}, and nothing confirms it"
    try:
        with open(path, "rb") as file:
            found = hashes.read(file)
    except OSError as error:
        return f"{claim.by} says {numbers}; it cannot be read: {error.strerror}"
    told = {"sha256": claim.sha256, "autov3": claim.autov3}
    if hashes.kinship(told, found.named()) == "rewritten":
        return f"{claim.by} says {numbers}: the header was rewritten since; the tensors are the same"
    return f"{claim.by} says {numbers}, and the bytes are others"


def _variant(model: _Model, said: Mapping[str, Any], pin: Pin, note: str, how: How) -> Found | Row:
    """Return the variant of a file, or why none of these folders can have it under the name that it has."""
    home, path = model.home, model.file.path
    root = str(home.root)
    found = places(home.ui, root, home.extra)
    kind = kind_of_place(path, found.searched, root)
    folder, _, name = path.rpartition("/")
    drawer = DRAWERS[home.ui].get(kind) if kind else None
    placed = found.placed.get(kind, "") if kind else ""
    whole: dict[str, Any] = {**said}
    if kind and drawer and (folder == placed or folder.startswith(f"{placed}/")):
        whole["kind"] = kind
        below = folder[len(placed) + 1 :]
    else:
        whole["kind"], below = "other", folder  # `unet`, `clip`: looked into, and not where new files go
    if below:
        whole["subfolder"] = below
    if name != pin.files[0].path.rpartition("/")[2]:
        whole["served_as"] = split(name)[0]
    location = (home.ui, home.said)
    family, where = split(name)[0], str(model.path)
    if (wanted := [placed for placed, _ in paths_of(whole, location[1], pin)]) != [path]:
        why = f"a location of {home.ui} would have {few(wanted)}; rename it" if wanted else UNNAMEABLE
        return Row("left-out", path, inert(why), where)
    return Found(whole, pin, named=images.named(family, str(said["source"]), ""), location=location, notes=(note,),
                 where=where, identified=how)  # fmt: skip
