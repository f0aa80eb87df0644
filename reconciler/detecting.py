"""Look for the files that pages of a catalog name: each is present, absent, or unknown when nobody could tell.

What a page means is known by the lock, else by our records, else by asking upstream. Files are read only where that
decides, and what was read is remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from reconciler import air as airs
from reconciler import sources
from reconciler.abreast import abreast
from reconciler.catalog.classify import Asset, Judged
from reconciler.content import Contents, Held
from reconciler.digests import Digests, Question, Watch
from reconciler.errors import InputError, Problem, ReconcilerError
from reconciler.home import expand
from reconciler.importing import images
from reconciler.importing.claims import request_of
from reconciler.references import Reference, parse
from reconciler.state import Artifact, ObservedFile, ObservedLocation, Pin, identity_key
from reconciler.ui import hashes
from reconciler.ui.detection import Names, Sighting, Wanted, detect, doubtful, together, unread
from reconciler.ui.previews import is_preview
from reconciler.ui.visible import is_weights

if TYPE_CHECKING:
    from reconciler.lockfile import Lock
    from reconciler.sources import World

_THREADS = 8


class Looked(NamedTuple):
    """One page, and what became of what it names: present only when every file of it is."""

    judged: Judged
    sighting: Sighting
    assets: tuple[Sighting, ...] = ()


class Ground(NamedTuple):
    """Where is looked, and what is known beforehand: pins, and what we recorded in these places."""

    places: tuple[ObservedLocation, ...]
    pins: tuple[Pin, ...] = ()
    held: tuple[Held, ...] = ()
    contents: Contents | None = None


class _Meant(NamedTuple):
    """What an asset is: the files, as far as anybody knows, and why that is not all."""

    wanted: tuple[Wanted, ...]
    why: str = ""


def ground_of(contents: Contents, lock: Lock) -> Ground:
    """Return the ground of a manifest: its locations but for servers, and what lock and records know."""
    held = (*contents.ours, *contents.theirs)
    pins = (*lock.pins.values(), *(each.record.pin for each in held))
    return Ground(tuple(p for p in contents.locations.values() if not p.by_api), pins, held, contents)


def ground_of_directories(directories: Iterable[Path]) -> Ground:
    """Return the ground that some directories are; raise InputError for one that is not there or cannot be read."""
    from reconciler.importing.looking import look as look_at

    # Whatever is kept there: the store of ComfyUI passes over directories with code, and takes every other name.
    places = [look_at(str(each), "comfyui", expand(str(each)).absolute()) for each in directories]
    if not places:
        raise InputError("nowhere to look", hint="name a manifest with locations, or a directory by --in")
    return Ground(tuple(places))


def look(
    pages: Sequence[Judged], ground: Ground, world: World, digests: Digests, watch: Watch | None = None
) -> tuple[Looked, ...]:
    """Return what became of every page, in their order. Upstream is asked what lock and records do not know."""
    assets = [_assets(page) for page in pages]
    meaning = _Meaning(ground, world)
    meant = abreast(meaning.of, (asset for each in assets for asset in each), _THREADS, "detect")
    seen = iter(_sightings(meant, ground, digests, watch))
    return tuple(_looked(page, tuple(next(seen) for _ in each)) for page, each in zip(pages, assets, strict=True))


def _looked(page: Judged, assets: tuple[Sighting, ...]) -> Looked:
    if not assets:
        why = page.page.trouble or "the page names no download"
        return Looked(page, Sighting(page.page.path, "unknown", why=why))
    return Looked(page, together(page.page.path, assets), assets)


def _assets(page: Judged) -> tuple[Asset, ...]:
    """Return what a page names; one with an AIR and no command names what the AIR means."""
    if page.assets or page.page.air is None:
        return page.assets
    try:
        air = airs.parse(page.page.air)
        source = airs.canonical(air)
        parse(source)
    except ValueError:
        return ()
    version = air.version if air.source == "civitai" else ""
    return (Asset(page.page.path, page.page.air_line, source, "", None, "", air=air, version=version or ""),)


# -- what is meant ----------------------------------------------------------------------------------------------------


class _Meaning:
    """What assets mean: by the pins that are known, else by upstream."""

    def __init__(self, ground: Ground, world: World) -> None:
        self._world = world
        self._pins: dict[tuple[str, ...], tuple[Artifact, ...]] = {}
        for pin in ground.pins:
            for key, files in _keys(pin):
                self._pins.setdefault(key, files)
        self._paths: dict[str, list[tuple[str, str]]] = {}
        for held in ground.held:
            for placed in held.record.files:
                self._paths.setdefault(placed.digest, []).append((held.location, placed.path))

    def of(self, asset: Asset) -> _Meant:
        """Return the files that an asset is; asks upstream where it must. Never raises."""
        name = asset.name or asset.source or f"line {asset.line}"
        version = _version_of(asset)
        found, why = self._known(asset, version), ""
        if found is None:
            found, why = self._asked(asset)
        if not found:
            return _Meant((Wanted(name, version, file=asset.name),), why or asset.why)
        several = len(found) > 1
        return _Meant(
            tuple(
                Wanted(
                    file.path if several or not asset.name else name, version, file.size, _names(file),
                    tuple(self._paths.get(file.digest, ())), file.path.rpartition("/")[2],
                )
                for file in found
            )
        )  # fmt: skip

    def _known(self, asset: Asset, version: str) -> tuple[Artifact, ...] | None:
        return next((self._pins[key] for key in _asked_keys(asset, version) if key in self._pins), None)

    def _asked(self, asset: Asset) -> tuple[tuple[Artifact, ...], str]:
        if not asset.source:
            return (), asset.why
        try:
            if parse(asset.source).scheme not in ("hf", "civitai"):
                return (), "only the lock knows the digest of a file of the web; import the catalog, and lock it"
            place = images.Spot(("", {}), "other", "")
            pin = sources.resolve(request_of("", images.variant(asset.source, asset.file, "", place)), self._world)
        except ReconcilerError as error:
            return (), _told(error.problems[0])
        except ValueError as error:
            return (), str(error)
        return _weights(pin), ""


def _told(problem: Problem) -> str:
    """Return what upstream said, with who said it."""
    host = urlsplit(problem.where).netloc if problem.where.startswith(("https://", "http://")) else ""
    return f"{host}: {problem.summary}" if host else problem.summary


def _keys(pin: Pin) -> Iterable[tuple[tuple[str, ...], tuple[Artifact, ...]]]:
    """Yield what a pin answers: a version or a file of Civitai, a file of a repository, an address."""
    try:
        reference = parse(pin.source)
    except ValueError:
        return
    files = _weights(pin)
    match reference.scheme:
        case "civitai":
            yield ("civitai", pin.revision or "", reference.path), files
        case "hf":
            for file in files:
                yield ("hf", reference.repository.lower(), file.path), (file,)
        case "https" | "http":
            yield ("url", pin.source), files


def _asked_keys(asset: Asset, version: str) -> Iterable[tuple[str, ...]]:
    if version:
        yield "civitai", version, _reference(asset).path if _reference(asset).scheme == "civitai" else ""
    reference = _reference(asset)
    if reference.scheme == "hf" and (path := asset.file or reference.path):
        yield "hf", reference.repository.lower(), path
    yield "url", asset.source


def _reference(asset: Asset) -> Reference:
    try:
        return parse(asset.source)
    except ValueError:
        return Reference("", "")


def _version_of(asset: Asset) -> str:
    reference = _reference(asset)
    return asset.version or (reference.revision or "" if reference.scheme == "civitai" else "")


def _weights(pin: Pin) -> tuple[Artifact, ...]:
    return tuple(f for f in pin.files if is_weights(f.path) and not f.support and not is_preview(f))


def _names(file: Artifact) -> tuple[tuple[str, str], ...]:
    kind, _, text = file.digest.partition(":")
    return (((kind, text),) if kind == "sha256" else ()) + tuple(file.also)


# -- what is there ----------------------------------------------------------------------------------------------------


def _sightings(meant: Sequence[_Meant], ground: Ground, digests: Digests, watch: Watch | None) -> list[Sighting]:
    wanted = [each for one in meant for each in one.wanted]
    learnt = _learn(wanted, ground, digests, watch)
    found = iter(detect(wanted, ground.places, learnt))
    result = []
    for one in meant:
        parts = [next(found) for _ in one.wanted]
        whole = together(one.wanted[0].name, parts)
        result.append(_unsure(whole, one.why))
    return result


def _unsure(sighting: Sighting, why: str) -> Sighting:
    """Return `unknown` for what only lacks because nobody could say which bytes it is."""
    if not why or sighting.verdict == "present":
        return sighting
    return sighting._replace(
        verdict="unknown", why=f"{why}; no file has its name" * (sighting.verdict == "absent") or why
    )


def _learn(
    wanted: Sequence[Wanted], ground: Ground, digests: Digests, watch: Watch | None
) -> Callable[[str, ObservedFile], Names]:
    """Read what decides, and return what is then known of every file."""
    weights = [f for place in ground.places if place.readable for f in place.files.values() if is_weights(f.path)]
    roots = {place.name: Path(place.root) for place in ground.places}
    told: dict[tuple[int, ...], dict[str, str]] = {}
    for key, kinds in digests.known(weights).items():
        told[key] = {str(kind): digest.partition(":")[2] for kind, digest in kinds.items()}

    def known(location: str, file: ObservedFile) -> Names:
        if (found := told.get(identity_key(file), {})).get("sha256") or ground.contents is None:
            return found
        digest = ground.contents.digest_of(location, file, "sha256")
        return {**found, "sha256": digest.partition(":")[2]} if digest else found

    asked = {roots[place] / file.path: file for place, file in unread(wanted, ground.places, known)}
    answers = digests.compute([Question(path, file, ("sha256",)) for path, file in asked.items()], watch)
    for path, file in asked.items():
        if (digest := answers[path].digests.get("sha256")) is not None:
            told.setdefault(identity_key(file), {})["sha256"] = digest.partition(":")[2]
    for place, file in doubtful(wanted, ground.places, known):
        told.setdefault(identity_key(file), {}).update(_hashed(roots[place] / file.path))
    return known


def _hashed(path: Path) -> Names:
    """Return all names of a file's bytes; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashes.read(file).named()
    except OSError:
        return {}
