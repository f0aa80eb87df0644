"""Civitai: `civitai:model[@version][+file]`, in numbers; and AIRs of Civitai.

A version is a revision: what floats is locked at the number of a version. The token goes to Civitai's own hosts in a
header; where the bytes are, we resolve ourselves, and the signed address alone is handed on.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from reconciler import air
from reconciler.errors import AccessError, NotFoundError, SourceError
from reconciler.inert import inert
from reconciler.located import Located
from reconciler.paths import check_component, collision_key
from reconciler.references import Reference, parse
from reconciler.sources import Request, World, previews, refusals, selection, urls
from reconciler.sources import civitaiapi as api
from reconciler.sources import civitaitold as told
from reconciler.sources.civitaiapi import Match, by_hash
from reconciler.sources.civitaihunt import DOWNLOADS, MODES, Hunt, changed, confirm, denied, follow
from reconciler.sources.civitaitold import File, Model, Version
from reconciler.state import Artifact, Digest, Pin

__all__ = ["Match", "access", "by_hash", "check", "current", "locate", "resolve"]

_UNKNOWN = Digest("sha256:" + "0" * 64)


def check(reference: str, *, insecure: bool = False) -> None:
    """Raise ValueError, with the reason, when `reference` is not `civitai:model[@version][+file]` or such an AIR."""
    _parsed(reference)


def resolve(request: Request, world: World) -> Pin:
    """Ask for the version, and for the file that is meant: by its number, by globs, else the primary one."""
    reference = refusals.reachable(request.source, _parsed, world)
    number = _version_of(request, reference, world)
    version = _version(reference, number, world)
    owner = _owner(version, world)
    listed = _listed(version, reference, request)
    places = [Artifact(path, file.near, _UNKNOWN) for path, file in listed.items()]
    chosen = selection.select(places, request._replace(sha256=None))
    files = tuple(_artifact(place.path, listed[place.path], version, request, len(chosen), world) for place in chosen)
    files = selection.select(files, request)
    about = told.about(version, owner, {f.path: listed[f.path] for f in files}, _asked_air(request.source))
    return Pin(request.source, number, files, told.license_of(version, owner), about={"civitai": about})


def current(request: Request, world: World) -> str | None:
    """Ask which version is the newest; one that the source or the manifest names stays what it is."""
    return _version_of(request, refusals.reachable(request.source, _parsed, world), world)


def locate(source: str, revision: str | None, artifact: Artifact, world: World) -> Located:
    """Ask where the file is now, and that it still is the locked one; a preview is where its own address says."""
    reference = refusals.reachable(source, _parsed, world)
    if revision is None:
        raise SourceError("the lock names no version", where=source, hint="run `reconciler lock --upgrade`")
    if artifact.url and not urlsplit(artifact.url).path.startswith(DOWNLOADS):
        return previews.locate(artifact, world)
    hunt = Hunt(reference.repository, revision, artifact, world)
    confirm(hunt)
    located = follow(hunt)
    if located.size is not None and located.size != artifact.size:
        raise changed(hunt, f"{located.size} bytes")
    return located


def access(pin: Pin, world: World) -> str | None:
    """Say why a version's files could not be had now: early access, paid, archived, taken down, not permitted, gone.

    Whoever has paid is let in: where only Civitai can tell, the largest file is asked for. Trouble of the moment is a
    warning and no reason.
    """
    own = [file for file in pin.files if not file.support and DOWNLOADS in file.url]
    if world.offline or not own or pin.revision is None:
        return None
    hunt = Hunt(_parsed(pin.source).repository, pin.revision, max(own, key=lambda file: file.size), world)
    return world.memory.once(("civitai-access", world.civitai, hunt.artifact.url), lambda: denied(hunt))


# -- what is meant ----------------------------------------------------------------------------------------------------


def _parsed(source: str) -> Reference:
    reference = parse(source)
    if reference.scheme != "civitai":
        raise ValueError(f"not a model of Civitai: {source[:200]!r}; expected civitai:model[@version][+file]")
    return reference


def _asked_air(source: str) -> air.Air | None:
    try:
        return air.parse(source) if source.lower().startswith("urn:") else None
    except ValueError:
        return None


def _version_of(request: Request, reference: Reference, world: World) -> str:
    """Return the number of the version that is meant: the pinned one, the source's, else the model's newest."""
    pinned = request.revision
    if pinned is not None and not (pinned.isascii() and pinned.isdecimal()):
        raise SourceError(
            f"lock.revision is {inert(pinned)[:60]!r}; a version of Civitai is a number", where=request.where
        )
    if pinned is not None and reference.revision not in (None, pinned):
        hint = "say it once"
        raise SourceError(
            f"the source names version {reference.revision}, and lock.revision {pinned}", where=request.where, hint=hint
        )
    number = pinned or reference.revision
    if number is not None:
        return number
    model = api.model(reference.repository, world)
    if not model.versions:
        why = MODES.get(model.mode, "it has no published version")
        raise NotFoundError(f"nothing can be had of this model: {why}", where=request.source)
    return str(model.versions[0])


def _version(reference: Reference, number: str, world: World) -> Version:
    where = f"civitai:{reference.repository}@{number}"
    version = api.version(number, world, where)
    if str(version.model) != reference.repository:
        name = inert(version.model_name)[:80]
        raise NotFoundError(
            f"version {number} is one of model {version.model} ({name}), not of {reference.repository}",
            where=where,
            hint=f"did you mean civitai:{version.model}@{number}?",
        )
    return version


def _owner(version: Version, world: World) -> Model | None:
    """Return what is said of the model as a whole; its page may be closed where its version is not."""
    try:
        return api.model(str(version.model), world)
    except (NotFoundError, AccessError):
        return None


def _listed(version: Version, reference: Reference, request: Request) -> Mapping[str, File]:
    """Return the files that may be chosen, by a path of their own."""
    named = _named(version.files)
    if not named:
        why = MODES.get(version.mode, "this version lists no public files")
        raise NotFoundError(why, where=request.source, hint="what is locked and on a disk already stays usable")
    if reference.path:
        only = {path: file for path, file in named.items() if str(file.number) == reference.path}
        if not only:
            shown = ", ".join(f"+{file.number} ({inert(path)})" for path, file in list(named.items())[:12])
            raise NotFoundError(
                f"version {version.number} has no file {reference.path}", where=request.source, hint=f"it has {shown}"
            )
        return only
    if request.files:
        return named
    models = [path for path, file in named.items() if file.kind == "Model"]
    primary = next((path for path, file in named.items() if file.primary), next(iter([*models, *named])))
    return {primary: named[primary]}


def _named(files: Iterable[File]) -> dict[str, File]:
    """Give each file a path: its name, made fit for every system; a name that is taken gets the file's number.

    Versions often hold two files of one name, which differ in precision.
    """
    named: dict[str, File] = {}
    taken: set[str] = set()
    for file in sorted(files, key=lambda each: (not each.primary, each.number)):
        path = _fit(file.name) or f"file-{file.number}"
        if collision_key(path) in taken:
            stem, dot, suffix = path.rpartition(".")
            path = f"{stem}-{file.number}.{suffix}" if dot else f"{path}-{file.number}"
        taken.add(collision_key(path))
        named[path] = file
    return dict(sorted(named.items()))


def _fit(name: str) -> str:
    """Return `name` as a name that every system takes, '' when nothing of it is left."""
    name = unicodedata.normalize("NFC", name)
    name = "".join(" " if unicodedata.category(letter)[0] == "C" else letter for letter in name)
    name = re.sub(r'[/:<>|?*"\\]', "_", name).strip(" ").rstrip(". ").lstrip("~")
    stem, dot, suffix = name.rpartition(".")
    while len(name.encode()) > 200 and stem:
        stem = stem[:-1]
        name = f"{stem}{dot}{suffix}"
    try:
        return check_component(name)
    except ValueError:
        name = f"_{name}" if name else ""
    try:
        return check_component(name)
    except ValueError:
        return ""


def _artifact(path: str, file: File, version: Version, request: Request, count: int, world: World) -> Artifact:
    where = f"civitai:{version.model}@{version.number}+{file.number}"
    sha256 = file.hashes.get("sha256")
    given = selection.hand_digest(path, request, count)
    if sha256 is None and given is None:
        raise SourceError(
            f"Civitai tells no SHA256 of {inert(path)} (not scanned yet?)",
            where=where,
            hint="try later, or give it by hand: lock: {sha256: …}",
        )
    if file.danger:
        world.warn(f"{where}: Civitai's scan calls {inert(path)} dangerous")
    digest = Digest(f"sha256:{sha256}") if sha256 is not None else given or _UNKNOWN
    also = tuple(sorted((kind, text) for kind, text in file.hashes.items() if kind != "sha256"))
    artifact = Artifact(path, file.near, digest, url=_address(file, version), also=also)
    return artifact._replace(size=file.size if file.size is not None else _exact(artifact, version, world))


def _address(file: File, version: Version) -> str:
    """Return the API's address of a file, on Civitai's own name whatever mirror told it, with the file's number.

    A bare address means what the account likes best, and one with `type` and `format` may mean nothing; the number
    means this file.
    """
    parts = urlsplit(file.url)
    path = parts.path if parts.path.startswith(DOWNLOADS) else f"{DOWNLOADS}{version.number}"
    told_query = "&".join(
        part for part in parts.query.split("&") if part and not part.startswith(("fileId=", "token="))
    )
    query = f"{told_query}&fileId={file.number}" if told_query else f"fileId={file.number}"
    return f"{urls.CIVITAI}{path}?{query}"


def _exact(artifact: Artifact, version: Version, world: World) -> int:
    """Ask for the exact size where the API tells it rounded; its word is taken where it cannot be asked."""
    hunt = Hunt(str(version.model), str(version.number), artifact, world)

    def ask() -> int:
        try:
            size = follow(hunt).size
        except (AccessError, NotFoundError):
            size = None
        return artifact.size if size is None else size

    return world.memory.once(("civitai-size", world.civitai, artifact.url), ask)
