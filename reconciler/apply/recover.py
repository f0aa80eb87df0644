"""Finish what a killed apply left: deeds that were begun are done, what was done is recorded. Nothing needs a hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from reconciler import generations, journal
from reconciler.apply import by_api
from reconciler.apply.deed import Deed, from_json
from reconciler.apply.deed import done as told_as_done
from reconciler.apply.record import displaced, others_of
from reconciler.apply.settle import remember, settle
from reconciler.apply.sites import Sites
from reconciler.digests import Digests
from reconciler.disk import telling
from reconciler.errors import DiskError, NewerError, ReconcilerError, RegistryError, StaleError
from reconciler.examine import examined
from reconciler.house import read_id
from reconciler.plan import Place
from reconciler.registry import LocationId, Registry, records, save, with_locations, with_records
from reconciler.registry.block import decode
from reconciler.registry.jsontext import canonical
from reconciler.state import Address, Record
from reconciler.stores import store_of
from reconciler.trash import sweep


class Recovered(NamedTuple):
    """One interrupted apply that was brought to its end: how many of its steps are recorded, and which could not be.

    What is `left` (address, why) is planned anew.
    """

    generation: int
    steps: int
    left: tuple[tuple[str, str], ...] = ()
    owed: bool = False
    """A server that does not answer may still hold names in another way than it should: the journal stays."""


SETTLED = "settled"
"""Kind of the entry behind which only servers are owed something: all else of a journal is done and recorded."""


def recover(registry: Registry, digests: Digests) -> tuple[Registry, tuple[Recovered, ...]]:
    """Bring every unfinished journal to its end; the caller holds the registry's lock.

    A step whose intent was journalled had every byte verified and durable in a stage: what is left of it is names, and
    it is finished. Where that cannot be (the disk is away, somebody else has put a file there), the final names still
    hold whole files, their digests are remembered, and the next plan goes on from there. Doing it twice, or dying in
    the middle of it, does no harm. Raise RegistryError for a damaged journal, DiskError when the registry cannot be
    written.
    """
    found: list[Recovered] = []
    directory = registry.path / "journal"
    for path in journal.finished(directory):
        journal.remove(path)
    for path in journal.unfinished(directory):
        entries, _ = journal.read(path)
        with journal.open_journal(path.parent, path.name.removesuffix(journal.SUFFIX)) as log:
            if entries:
                try:
                    registry, told = _replay(registry, entries, log, digests)
                except (KeyError, TypeError, ValueError) as error:
                    raise _unknown(path, error) from error
                found.append(told)
                if told.owed:
                    log.write(SETTLED)
                    continue
            log.end(recovered=True)
        journal.remove(path)
    return registry, tuple(found)


def foreseen(registry: Registry) -> Registry:
    """Return the registry as it will be when `recover` has finished what an interrupted apply left. Writes nothing.

    For those who only look: what is ours is then not taken for somebody else's. Raise RegistryError for a damaged
    journal.
    """
    for path in journal.unfinished(registry.path / "journal"):
        entries, _ = journal.read(path)
        if not entries or _is_settled(entries):
            continue
        try:
            _check_version(entries[0])
            manifest, places = str(entries[0]["manifest"]), _places(entries[0]["roots"])
            done = [_Done.read(entry) for entry in entries if entry["kind"] == "done"]
            done += [_Done(deed.record, deed.drop) for deed in _begun(entries).values()]
        except (KeyError, TypeError, ValueError) as error:
            raise _unknown(path, error) from error
        registry = _with_done(registry, done, manifest, places)
    return registry


def _with_done(registry: Registry, done: Iterable[_Done], manifest: str, places: Mapping[str, Place]) -> Registry:
    """Return the registry with what steps put and dropped, and with the ids of the places."""
    put: dict[Address, Record] = {}
    drop: list[Address] = []
    for one in done:
        if one.drop is not None:
            drop.append(one.drop)
        if one.record is not None:
            put[one.record.address] = one.record
    mine = {record.address: record for record in records(registry) if record.manifest == manifest}
    names = {place.root: name for name, place in places.items()}
    stays = displaced(put, mine, drop, names)
    gone = [(manifest, address) for address in drop if address not in put]
    return with_records(with_locations(registry, dict(_ids(places))), (*put.values(), *stays), gone)


def _replay(
    registry: Registry, entries: list[dict[str, Any]], log: journal.Journal, digests: Digests
) -> tuple[Registry, Recovered]:
    begin = entries[0]
    if begin["kind"] != journal.BEGIN:
        raise RegistryError("the journal does not begin at its beginning", where=str(registry.path / "journal"))
    _check_version(begin)
    manifest, number = str(begin["manifest"]), int(begin["generation"])
    if _is_settled(entries):
        owed = _put_back(entries, late=True)
        return registry, Recovered(number, 0, tuple(owed), bool(owed))
    places = _places(begin["roots"])
    done = [_Done.read(entry) for entry in entries if entry["kind"] == "done"]
    left: list[tuple[str, str]] = []
    with Sites(places, number) as sites:
        for intent, deed in _begun(entries).items():
            try:
                done.append(_finish(intent, deed, sites, places, log, digests))
            except ReconcilerError as error:
                remember(deed.root, deed, digests)
                left.append((str(deed.address), error.problems[0].summary))
        _sweep(sites, places)
    owed = _put_back(entries)
    lines = (entry for entry in entries if entry["kind"] == journal.OTHERS)
    others = {canonical(change["entry"]): change for line in lines for change in line["changes"]}
    recovered = _with_done(registry, done, manifest, places)
    others |= {canonical(change["entry"]): change for change in others_of(log, registry, recovered)}
    registry = save(recovered)
    if number not in generations.listing(registry.path):
        before = [decode(block) for block in begin["before"]]
        result = {
            "plan_id": begin["plan_id"], "manifest": manifest, "touched": begin["touched"],
            "interrupted": True, "done": len(done), "others": list(others.values()),
        }  # fmt: skip
        generations.write(registry.path, number, manifest_files={}, lock=None, plan=b"", before=before, result=result)
    return registry, Recovered(number, len(done), (*left, *owed), bool(owed))


def _is_settled(entries: Iterable[Mapping[str, Any]]) -> bool:
    return any(entry["kind"] == SETTLED for entry in entries)


def _put_back(entries: Iterable[Mapping[str, Any]], *, late: bool = False) -> list[tuple[str, str]]:
    """Let servers that are reached by their API hold what they held before a step that was cut off."""
    entries = list(entries)
    told = {entry["of"] for entry in entries if entry["kind"] == "done"}
    left: list[tuple[str, str]] = []
    for entry in entries:
        if entry["kind"] == by_api.INTENT and entry["n"] not in told:
            try:
                guards, made = ([(kept, name) for kept, name in entry[key]] for key in ("guards", "made"))
                by_api.restore(str(entry["url"]), guards, made, late=late)
            except ReconcilerError as error:
                left.append((str(Address(*entry["address"])), error.problems[0].summary))
    return left


def _check_version(begin: Mapping[str, Any]) -> None:
    """Raise NewerError for a journal of a later version: what its deeds mean, only who wrote it can tell.

    One that says no version is from before there was one to say, and means what those of version 1 mean.
    """
    if (version := int(begin.get("version", 1))) > journal.VERSION:
        raise NewerError("it is", version, journal.VERSION)


def _unknown(path: Path, error: Exception) -> RegistryError:
    hint = "finish it with the version that wrote it, or move it away when the plan that follows is what you want"
    return RegistryError(f"an entry is not of a kind that this version knows: {error}", where=str(path), hint=hint)


class _Done(NamedTuple):
    record: Record | None
    drop: Address | None

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> _Done:
        record, drop = entry["record"], entry["drop"]
        return cls(None if record is None else decode(record), None if drop is None else Address(*drop))


def _begun(entries: Iterable[Mapping[str, Any]]) -> dict[int, Deed]:
    """Return the deeds that were begun and not told as done, by the number of their intent."""
    entries = list(entries)
    told = {entry["of"] for entry in entries if entry["kind"] == "done"}
    return {
        int(entry["n"]): from_json(entry) for entry in entries if entry["kind"] == "intent" and entry["n"] not in told
    }


def _finish(
    number: int, deed: Deed, sites: Sites, places: Mapping[str, Place], log: journal.Journal, digests: Digests
) -> _Done:
    name = next((name for name, place in places.items() if place.root == deed.root), None)
    if name is None or _id(places[name]) != deed.id:
        raise StaleError("the location is not the one it was, or not there", where=deed.root)
    with telling(deed.root):
        settle(sites.site(name), deed, digests)
    record = examined(deed.record) if deed.record is not None else None
    log.write("done", **told_as_done(number, record, deed.drop))
    return _Done(record, deed.drop)


def _places(roots: Mapping[str, Any]) -> dict[str, Place]:
    return {
        str(facts["name"]): Place(str(facts["store"]), str(root), None, 0, readable=True)
        for root, facts in roots.items()
    }


def _ids(places: Mapping[str, Place]) -> Iterable[tuple[str, LocationId]]:
    for place in places.values():
        identity = _id(place)
        if identity is not None:
            yield place.root, LocationId(place.root, identity, place.store)


def _id(place: Place) -> str | None:
    try:
        return read_id(store_of(place.store).house(place.root)) if Path(place.root).is_dir() else None
    except (OSError, ValueError):
        return None


def _sweep(sites: Sites, places: Mapping[str, Place]) -> None:
    """Tidy up in the houses that are there; a disk that cannot be written keeps its litter."""
    for name, place in places.items():
        if _id(place) is not None:
            try:
                site = sites.site(name)
                site.sweep_stage()
                sweep(site.trash)
            except DiskError:
                continue
