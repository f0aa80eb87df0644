"""Join what was found with a manifest and its lock: what is declared stays, the new is added, nothing is taken out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler import agreement, editing, lockfile
from reconciler.errors import LockfileError
from reconciler.importing import christening, filling
from reconciler.importing.claims import Claims, of_manifest, place_of, request_of
from reconciler.importing.findings import declared, findings
from reconciler.importing.found import KNOWN, Found, Row
from reconciler.importing.places import Places, Said
from reconciler.importing.target import FRESH, Target
from reconciler.inert import human_bytes, inert
from reconciler.state import Pin

if TYPE_CHECKING:
    from reconciler.manifest import Loaded

_ORDER = ("source", "files", "exclude", "location")
"""The fields of a variant that come first; the others follow as the importer gave them."""


@dataclass(frozen=True)
class Merged:
    """What is to be written: texts of files that change, the lock, and the report. `names` are of the new variants."""

    target: Target
    texts: Mapping[Path, str]
    lock: lockfile.Lock
    rows: tuple[Row, ...]
    names: tuple[str, ...] = ()
    loaded: Loaded | None = None
    """The manifest as it will be, None where it does not change."""
    findings: tuple[Row, ...] = ()
    """What is to be told of what was found beside all that is declared."""

    @property
    def report(self) -> tuple[Row, ...]:
        """Everything that people should read."""
        return (*self.rows, *self.findings)

    @property
    def changed(self) -> bool:
        """Whether anything would be written."""
        return bool(self.texts) or self.is_lock_new

    @property
    def is_lock_new(self) -> bool:
        """Whether the lock would be written."""
        return self.lock is not self.target.lock and self.lock.pins != self.target.lock.pins


@dataclass(frozen=True)
class _New:
    """A variant to add, its place settled."""

    found: Found
    said: Mapping[str, Any]
    store: str


def merge(target: Target, gathered: Iterable[Found | Row]) -> Merged:
    """Return manifest and lock with everything that was found, and a row for each.

    What is declared already (the same bytes at the same path, or the same files of the same source in the same place)
    is known: the lock gets the pin that it lacks, the manifest the roles that it was found with and what its record
    says and the manifest does not. What is there never changes, neither in the manifest nor in the lock.
    Raise ManifestError when the manifest would not load; nothing is written by then.
    """
    pins = dict(target.lock.pins)
    roles: list[tuple[str, str, int]] = []
    fillings = _Fillings(target)
    outcomes, places = _sorted_out(target, gathered)
    news = [outcome for _, outcome in outcomes if isinstance(outcome, _New)]
    taken = target.loaded.manifest.variants if target.loaded else {}
    names = christening.name_all([(new.found, new.store) for new in news], taken)
    given = {_placeholder(index): name for index, name in enumerate(names)}
    rows = []
    for each, outcome in outcomes:
        if isinstance(outcome, _New):
            continue
        row = outcome._replace(what=given.get(outcome.what, outcome.what))
        if isinstance(each, Found) and row.kind == "known":
            _complete(row.what, each, target.loaded, pins)
            row = row._replace(why=row.why + fillings.take(row.what, each))
            roles += [(role, row.what, each.ranks.get(role, 0)) for role in each.roles]
        rows.append(row)
    for name, new in zip(names, news, strict=True):
        rows.append(_imported(name, new))
        roles += [(role, name, new.found.ranks.get(role, 0)) for role in new.found.roles]
        if new.found.pin is not None:
            pins[name] = new.found.pin
    served = [(role, name) for role, name, _ in sorted(roles, key=lambda each: -each[2])]
    texts, loaded = _texts(target, places.added, dict(zip(names, news, strict=True)), served, fillings.added)
    whole = loaded or target.loaded
    rows += fillings.rows
    if whole is not None:
        ranks = {(role, name): rank for role, name, rank in roles}
        rows += filling.orders(whole.manifest.roles, ranks, target.shown)
    lock = target.lock if pins == target.lock.pins else lockfile.Lock(pins=pins)
    if lock is not target.lock:
        lockfile.loads(lockfile.dumps(lock), str(target.lock_path))
    about = {*names, *(row.what for row in rows if row.kind == "known")}
    told = findings(declared(whole, pins), about) if whole and about else []
    return Merged(target, texts, lock, tuple(rows), names, loaded, tuple(told))


class _Fillings:
    """What the manifest gets of records for variants that it has: gathered while they are found."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.added: dict[str, dict[str, Any]] = {}
        self.rows: list[Row] = []

    def take(self, name: str, found: Found) -> str:
        """Note what `found` says of the declared variant `name`, and say what that brings; '' for nothing."""
        loaded = self._target.loaded
        if loaded is None or name not in loaded.manifest.variants or not (found.record or found.roles):
            return ""
        variant, pin = loaded.manifest.variants[name], self._target.lock.pins.get(name)
        place = place_of(loaded, variant, pin)
        held = self.added.get(name, {})
        said = {**variant.model_dump(exclude_unset=True), **held}
        said["metadata"] = {**variant.metadata, **held.get("metadata", {})}
        store = str(place["store"]) if place else ""
        more = filling.filling(name, found, said, store, pin.license if pin else None)
        metadata = {**said["metadata"], **more.added.get("metadata", {})}
        if why := _wrong("Variant", {**said, **more.added, "metadata": metadata}):
            told = f"a manifest cannot say what its record says: {why}"
            self.rows.append(Row("problem", name, told, found.where))
            more = filling.Filling({})
        if more.added:
            metadata = {**held.get("metadata", {}), **more.added.get("metadata", {})}
            self.added[name] = {**held, **more.added, **({"metadata": metadata} if metadata else {})}
        self.rows += filling.differences(name, more.differs, found.where)
        return filling.brought(found, more.added, loaded.manifest.roles, name)


def _sorted_out(target: Target, gathered: Iterable[Found | Row]) -> tuple[list[tuple[Found | Row, _New | Row]], Places]:
    """Return what becomes of each, and the locations with those that are new."""
    places = Places(_locations(target.loaded), str(target.loaded.registry) if target.loaded else "")
    claims = of_manifest(target.loaded, target.lock.pins) if target.loaded else Claims()
    outcomes: list[tuple[Found | Row, _New | Row]] = []
    count = 0
    for each in gathered:
        outcome = each if isinstance(each, Row) else _settled(each, target.loaded, places, claims, _placeholder(count))
        count += isinstance(outcome, _New)
        outcomes.append((each, outcome))
    return outcomes, places


def _locations(loaded: Loaded | None) -> dict[str, Said]:
    if loaded is None:
        return {}
    return {name: place.model_dump(exclude_none=True) for name, place in loaded.manifest.locations.items()}


def _placeholder(index: int) -> str:
    return f"\0{index}"  # no variant is called so


def _settled(found: Found, loaded: Loaded | None, places: Places, claims: Claims, placeholder: str) -> _New | Row:
    """Return what to add, or the row that says why nothing is."""
    source = str(found.variant.get("source", ""))
    if found.holder:
        return Row("known", found.holder, KNOWN, found.where)
    if why := _wrong("Variant", found.variant) or (_wrong("Location", found.location[1]) if found.location else ""):
        return Row("problem", source, f"a manifest cannot say it: {why}", found.where)
    from reconciler.declared import Variant

    said = dict(found.variant)
    place: Said | None = None
    if found.location is not None:
        try:
            said["location"] = places.settle(*found.location)
        except ValueError as error:
            return Row("left-out", source, str(error), found.where)
        place = places.said(said["location"])
    elif loaded is not None:
        place = place_of(loaded, Variant.model_validate(said), found.pin)
    said = {**{key: said[key] for key in _ORDER if key in said}, **said}
    if (holder := claims.holder(said, place, found.pin)) is not None:
        return Row("known", holder, KNOWN, found.where)
    if rival := claims.rival(said, place, found.pin):
        return Row("left-out", source, inert(rival), found.where)
    why = _unfit(found.pin, said) if found.pin is not None else ""
    if why and source.startswith("file:"):  # what lies here is all that there is: no later lock can hold it either
        return Row("left-out", source, f"no lock can hold it: {why}; rename it", found.where)
    claims.add(placeholder, said, place, found.pin)
    if why:
        found = replace(found, pin=None, notes=(*found.notes, f"not locked: {why}"))
    return _New(found, said, str(place["store"]) if place else "")


def _wrong(model: str, said: Mapping[str, Any]) -> str:
    """Return why the manifest's model does not take a value, '' when it does."""
    from pydantic import ValidationError

    from reconciler import declared

    try:
        getattr(declared, model).model_validate(dict(said))
    except ValidationError as error:
        first = error.errors()[0]
        return inert(f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}")
    return ""


def _unfit(pin: Pin, said: Mapping[str, Any]) -> str:
    """Return why a lock cannot hold this pin for this variant, '' when it can."""
    try:
        lockfile.loads(lockfile.dumps(lockfile.Lock(pins={"pin": pin})), "pin")
    except LockfileError as error:
        return error.problems[0].summary
    return agreement.mismatch(pin, request_of("", said)) or ""


def _complete(name: str, found: Found, loaded: Loaded | None, pins: dict[str, Pin]) -> None:
    """Give the lock the pin of a variant that is declared and not locked, where it fits."""
    if loaded is None or found.pin is None or name in pins or name not in loaded.manifest.variants:
        return
    request = request_of(name, loaded.manifest.variants[name].model_dump())
    if not _unfit(found.pin, {"source": found.pin.source}) and agreement.fits(found.pin, request):
        pins[name] = found.pin


def _imported(name: str, new: _New) -> Row:
    where = f" in {new.said['location']}" if "location" in new.said else ""
    told = [f"{new.said['source']}{where}"]
    if new.found.pin is not None:
        told[0] += f", {human_bytes(sum(file.size for file in new.found.pin.files))}"
    elif not any(note.startswith("not locked") for note in new.found.notes):
        told[0] += ", not locked"
    return Row("imported", name, "; ".join((*told, *new.found.notes)), new.found.where, new.found.identified)


def _texts(
    target: Target,
    locations: Mapping[str, Said],
    news: Mapping[str, _New],
    served: Iterable[tuple[str, str]],
    filled: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[Path, str], Loaded | None]:
    """Return the files that change with their new texts, and the manifest that they are; raise ManifestError."""
    from reconciler.manifest import of
    from reconciler.manifestfiles import Found as Files
    from reconciler.manifestfiles import Source

    roles: dict[str, list[str]] = {}
    for role, name in served:
        roles.setdefault(role, []).append(name)
    if not news and not roles and not filled:
        return {}, None
    text = target.texts.get(target.file, FRESH)
    where = inert(str(target.file))
    text = editing.add_locations(text, locations, where=where)
    text = editing.add_variants(text, {name: new.said for name, new in news.items()}, where=where)
    texts = {
        path: editing.fill_variants(said, filled, where=inert(str(path))) if filled else said
        for path, said in {**target.texts, target.file: text}.items()
    }
    texts = _with_roles(texts, target.file, roles)
    if target.file not in target.texts and texts[target.file] == FRESH:
        del texts[target.file]  # everything went into other files
    sources = [Source(str(path), inert(str(path)), said.encode()) for path, said in sorted(texts.items())]
    loaded = of(Files(os.fspath(target.path), target.path.is_dir(), tuple(sources)))
    return {path: said for path, said in texts.items() if said != target.texts.get(path)}, loaded


def _with_roles(texts: dict[Path, str], default: Path, roles: Mapping[str, Sequence[str]]) -> dict[Path, str]:
    """Append to each role in the file that declares it, since a role stands in one file only."""
    from reconciler.yamlread import read

    owners: dict[str, Path] = {}
    for path, text in texts.items():
        for role in (read(text.encode(), str(path)).value or {}).get("roles") or {}:
            owners[role] = path
    for role, names in roles.items():
        path = owners.get(role, default)
        texts[path] = editing.add_roles(texts[path], {role: names}, where=inert(str(path)))
    return texts
