"""Finish what a killed apply left: record what was done, remember what stands verified. Nothing has to be repaired."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from reconciler import generations, journal
from reconciler.digests import Digests
from reconciler.disk import Root
from reconciler.errors import DiskError, RegistryError
from reconciler.house import INFO, is_payload, read_id
from reconciler.registry import LocationId, Registry, save, with_locations, with_records
from reconciler.registry.block import decode
from reconciler.state import Address, Digest, ObservedFile, Record, algorithm, parse_digest
from reconciler.stores import store_of


class Recovered(NamedTuple):
    """One interrupted apply that was brought to its end: how many steps it had done."""

    generation: int
    steps: int


def recover(registry: Registry, digests: Digests) -> tuple[Registry, tuple[Recovered, ...]]:
    """Bring every unfinished journal to its end; the caller holds the registry's lock.

    A final name always holds a whole file, so that the disk needs nothing. What a step had finished is recorded; the
    files of a step that was cut off in the middle are remembered by inode and digest, so that the next plan finds them
    without reading them. Doing it twice does nothing more. Raise RegistryError for a damaged journal, DiskError.
    """
    found: list[Recovered] = []
    for path in journal.unfinished(registry.path / "journal"):
        entries, _ = journal.read(path)
        if entries:
            registry, steps = _replay(registry, entries, digests)
            found.append(Recovered(int(entries[0]["generation"]), steps))
        with journal.open_journal(path.parent, path.name.removesuffix(journal.SUFFIX)) as log:
            log.end(recovered=True)
        journal.remove(path)
    return registry, tuple(found)


def _replay(registry: Registry, entries: list[dict[str, Any]], digests: Digests) -> tuple[Registry, int]:
    begin = entries[0]
    if begin["kind"] != journal.BEGIN:
        raise RegistryError("the journal does not begin at its beginning", where=str(registry.path / "journal"))
    manifest, number = str(begin["manifest"]), int(begin["generation"])
    put: dict[Address, Record] = {}
    drop: list[tuple[str, Address]] = []
    done = [entry for entry in entries if entry["kind"] == "done"]
    for entry in done:
        if entry["drop"] is not None:
            address = Address(*entry["drop"])
            put.pop(address, None)
            drop.append((manifest, address))
        if entry["record"] is not None:
            record = decode(entry["record"])
            put[record.address] = record
    for entry in entries:
        if entry["kind"] == "intent":
            _remember(entry, digests)
    roots = {str(root): str(facts["store"]) for root, facts in begin["roots"].items()}
    for root, store in roots.items():
        _sweep_trash(Path(store_of(store).house(root)) / "trash")
    registry = with_locations(registry, dict(_ids(roots)))
    registry = save(with_records(registry, put.values(), [key for key in drop if key[1] not in put]))
    if number not in generations.listing(registry.path):
        before = [decode(block) for block in begin["before"]]
        result = {
            "plan_id": begin["plan_id"], "manifest": manifest, "touched": begin["touched"],
            "interrupted": True, "done": len(done),
        }  # fmt: skip
        generations.write(registry.path, number, manifest_files={}, lock=None, plan=b"", before=before, result=result)
    return registry, len(done)


def _ids(roots: Mapping[str, str]) -> Iterable[tuple[str, LocationId]]:
    for root, store in roots.items():
        identity = read_id(store_of(store).house(root))
        if identity is not None:
            yield root, LocationId(root, identity, store)


def _remember(entry: dict[str, Any], digests: Digests) -> None:
    """Note the digest of every file that reached its final name: the same inode, size and time as when verified."""
    for file in entry["files"]:
        digest: Digest = parse_digest(str(file["digest"]))
        path = Path(str(entry["root"])) / str(file["path"])
        try:
            found = os.lstat(path)
        except OSError:
            continue
        seen = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if seen == (file["device"], file["inode"], file["size"], file["mtime_ns"]):
            observed = ObservedFile(str(file["path"]), seen[2], seen[3], seen[1], seen[0])
            digests.learn(observed, {algorithm(digest): digest})


def _sweep_trash(path: Path) -> None:
    """Remove descriptions of files that never reached the trash."""
    if not path.is_dir():
        return
    try:
        with Root.open(path) as trash:
            names = set(trash.names())
            for name in names:
                payload = name.removesuffix(INFO)
                if name.endswith(INFO) and is_payload(payload) and payload not in names:
                    trash.unlink(name, missing_ok=True)
    except DiskError:
        return  # an unreadable disk keeps its litter; observing says that it is unreadable
