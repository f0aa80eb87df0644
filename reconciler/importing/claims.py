"""What the manifest declares already: which bytes at which path, and which builds in which place."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from reconciler import references
from reconciler.errors import ManifestError
from reconciler.importing.places import Said, root_of
from reconciler.ollama import names
from reconciler.paths import collision_key
from reconciler.sources import Request, selection
from reconciler.state import Layout, Pin, Wish
from reconciler.stores import STORES, store_of
from reconciler.ui.extra_paths import ExtraPaths
from reconciler.ui.kinds import ui_of
from reconciler.ui.places import places

if TYPE_CHECKING:
    from reconciler.manifest import Loaded, Variant

Claim = tuple[str, str, str]
"""(root of the location, path as file systems compare it, digest or target of a link)."""


class Claims:
    """What is declared, and what an import has added to it."""

    def __init__(self) -> None:
        self._paths: dict[Claim, str] = {}
        self._places: dict[tuple[str, str], tuple[str, str]] = {}
        self._waiting: list[tuple[str, Mapping[str, Any], Said, Pin]] = []
        self._files: dict[str, str] = {}
        self._builds: dict[tuple[object, str], list[tuple[str, Request]]] = {}

    def add(self, name: str, said: Mapping[str, Any], place: Said | None, pin: Pin | None) -> None:
        """Note a variant: `said` is what the manifest says, `place` its location, `pin` what the lock holds."""
        if place is not None and pin is not None:
            self._waiting.append((name, said, place, pin))
            if (root := root_of(place)) and place["store"] != "ollama":
                self._files |= {f"{root}/{path}": name for path, _ in paths_of(said, place, pin)}
        self._builds.setdefault(_key(said, place), []).append((name, request_of(name, said)))

    def copy(self) -> Claims:
        """Return claims that can grow by themselves."""
        other = Claims()
        other._paths, other._files = dict(self._paths), dict(self._files)
        other._places = dict(self._places)
        other._waiting = list(self._waiting)
        other._builds = {key: list(held) for key, held in self._builds.items()}
        return other

    def files(self) -> dict[str, str]:
        """Return absolute path, links resolved -> the variant that wants its bytes there."""
        return dict(self._files)

    def holder(self, said: Mapping[str, Any], place: Said | None, pin: Pin | None) -> str | None:
        """Return the variant that is this one already, None for a new one.

        It is the one that wants the same bytes at the same paths; else the one of the same source in the same place
        that means the same files.
        """
        if place is not None and pin is not None:
            self._settle()
            wanted = [self._paths.get(claim) for claim, _ in _claims(said, place, pin, name="")]
            if wanted and all(wanted):
                return wanted[0]
        mine = request_of("", said)
        for name, theirs in self._builds.get(_key(said, place), ()):
            if (theirs.files, theirs.exclude) == (mine.files, mine.exclude):
                return name
            if pin is not None and all(selection.is_selected(f.path, theirs) for f in pin.files if not f.support):
                return name
        return None

    def rival(self, said: Mapping[str, Any], place: Said | None, pin: Pin | None) -> str:
        """Say which declared file is one file with one of these and has other bytes; '' for none.

        Two names that differ in case only are one file on some file systems, and no manifest may want both.
        """
        if place is None or pin is None:
            return ""
        self._settle()
        for (root, key, content), path in _claims(said, place, pin, name=""):
            there, other = self._places.get((root, key), (path, content))
            if other != content and there == path:
                return f"{path} is declared with other bytes"
            if other != content:
                return f"{path} and {there}, which is declared, are one file where case does not count; rename one"
        return ""

    def _settle(self) -> None:
        """Note the paths of what was added, which takes its time and is not always asked for."""
        for name, said, place, pin in self._waiting:
            for claim, path in _claims(said, place, pin, name=name):
                self._paths.setdefault(claim, name)
                self._places.setdefault(claim[:2], (path, claim[2]))
        self._waiting.clear()


def of_manifest(loaded: Loaded, pins: Mapping[str, Pin]) -> Claims:
    """Return what a manifest and its lock declare."""
    if not _LAST or _LAST[0][0] is not loaded or _LAST[0][1] is not pins:
        _LAST[:] = [(loaded, pins, _of_manifest(loaded, pins))]
    return _LAST[0][2].copy()


_LAST: list[tuple[Loaded, Mapping[str, Pin], Claims]] = []
"""The last answer: one import asks it several times, of the same values."""


def _of_manifest(loaded: Loaded, pins: Mapping[str, Pin]) -> Claims:
    claims = Claims()
    for name, variant in loaded.manifest.variants.items():
        pin = pins.get(name)
        claims.add(name, variant.model_dump(), place_of(loaded, variant, pin), pin)
    return claims


def place_of(loaded: Loaded, variant: Variant, pin: Pin | None) -> Said | None:
    """Return the location that a variant goes to, by its own word or by the routes; None when nobody can tell yet."""
    from reconciler.desired import route
    from reconciler.detect import told_by_names

    manifest, location = loaded.manifest, variant.location
    if location is None:
        paths = [file.path for file in pin.files] if pin else variant.files
        told, quant = told_by_names(variant.source, paths)
        location = route(manifest, variant, variant.format or told, variant.quant or quant)
    return manifest.locations[location].model_dump(exclude_none=True) if location in manifest.locations else None


def request_of(name: str, said: Mapping[str, Any]) -> Request:
    """Return what a variant, as the manifest says it, asks of its source."""
    lock: Mapping[str, Any] = said.get("lock") or {}
    return Request(
        name, name, said["source"], tuple(said.get("files") or ()), tuple(said.get("exclude") or ()),
        said.get("support"), lock.get("revision"), lock.get("sha256"), bool(said.get("insecure")),
    )  # fmt: skip


def paths_of(said: Mapping[str, Any], place: Said, pin: Pin) -> Sequence[tuple[str, str]]:
    """Return (path below the root, digest) of every file, as a location would have it; none where it cannot hold it."""
    layout = _layout(said, place, pin)
    return tuple((placement.path, placement.artifact.digest) for placement in layout.files) if layout else ()


def _layout(said: Mapping[str, Any], place: Said, pin: Pin) -> Layout | None:
    """Return how a location would arrange a variant, None where it cannot hold it; remembered for the same pin."""
    asked = tuple(str(said.get(key)) for key in ("served_as", "license", "kind", "subfolder"))
    key = (id(pin), str(place), asked)
    if key not in _LAYOUTS:
        if len(_LAYOUTS) >= _MOST:
            _LAYOUTS.clear()
        _LAYOUTS[key] = (pin, _arranged(said, place, pin))
    return _LAYOUTS[key][1]


_MOST = 50_000
_LAYOUTS: dict[tuple[int, str, tuple[str, ...]], tuple[Pin, Layout | None]] = {}
"""With the pin itself, so that its number is nobody else's meanwhile."""


def _arranged(said: Mapping[str, Any], place: Said, pin: Pin) -> Layout | None:
    if place["store"] not in STORES:
        return None
    root = os.path.expanduser(place.get("root") or "")  # noqa: PTH111  as text, as the source says it
    ui = ui_of(place["store"])
    wish = Wish(
        served_as=said.get("served_as"), license=said.get("license"), kind=said.get("kind"),
        subfolder=said.get("subfolder") or "", names=place.get("names") or "", root=root,
        folders=places(ui, root, _extra(place)).placed if ui else {},
    )  # fmt: skip
    try:
        return store_of(place["store"]).layout(pin, wish)
    except ValueError:
        return None


def _extra(place: Said) -> ExtraPaths | None:
    """Return what ComfyUI is told of more folders, None for nothing; a file that cannot be read is told elsewhere."""
    if not place.get("extra_model_paths"):
        return None
    file = os.path.expanduser(place["extra_model_paths"])  # noqa: PTH111  as text
    try:
        facts = os.stat(file)  # noqa: PTH116  as text
        return _read_extra(file, facts.st_mtime_ns, facts.st_size)
    except (OSError, ManifestError):
        return None


@lru_cache(maxsize=16)
def _read_extra(file: str, _mtime_ns: int, _size: int) -> ExtraPaths:
    """Read a file once for all the models that it places; another time or size of it is another file."""
    from reconciler.manifest import read_extra

    return read_extra(file)[0]


def _claims(said: Mapping[str, Any], place: Said, pin: Pin, *, name: str) -> Iterator[tuple[Claim, str]]:
    """Yield each claim of a variant called `name`, with the path that it is made of."""
    root = _root(place)
    if place["store"] == "ollama":
        # Its models share blobs; what one is known by is its name, whatever it was made of.
        try:
            key = names.wanted(name, said["source"], said.get("served_as")).key
            yield (root, key, ""), key
        except ValueError:
            return
    elif (layout := _layout(said, place, pin)) is not None:
        for placement in layout.files:
            yield (root, collision_key(placement.path), placement.artifact.digest), placement.path
        for link in layout.links:  # snapshots of the HF cache may share every blob
            yield (root, collision_key(link.path), link.target), link.path


def _root(place: Said) -> str:
    return root_of(place) or str(place.get("url") or "")


def _key(said: Mapping[str, Any], place: Said | None) -> tuple[object, str]:
    where = "" if place is None else f"{place['store']}:{_root(place)}"
    return _source(said["source"]), where


def _source(text: str) -> object:
    """Return a source so that two ways to write one are equal."""
    try:
        reference = references.parse(text)
    except ValueError:
        return text
    match reference.scheme:
        case "hf":
            return reference._replace(revision=None if reference.revision == "main" else reference.revision)
        case "ollama":
            return names.parse(text.removeprefix("ollama:")).key
    return reference
