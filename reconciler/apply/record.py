"""Turn a step that was done into the record of it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any

from reconciler.apply.deed import Stat
from reconciler.journal import OTHERS, Journal
from reconciler.plan import Facts, FileRow, Step
from reconciler.registry import Registry, changes
from reconciler.state import Address, Artifact, Attributes, Digest, Pin, Placed, Record, Support


def record_of(step: Step, stats: Mapping[str, Stat], *, manifest: str, root: str, generation: int) -> Record:
    """Return what the registry will say of a step that places or adopts files; `stats` by path below the root."""
    assert step.after is not None
    files = tuple(_placed(row, stats[row.path]) for row in step.files)
    home = step.after.path or ""
    return Record(
        step.address, manifest, pin_of(step), home, files, step.links, step.notes,
        attributes_of(step.after), generation, root,
    )  # fmt: skip


def displaced(
    put: Mapping[Address, Record], mine: Mapping[Address, Record], gone: Container[Address], names: Mapping[str, str]
) -> list[Record]:
    """Return the records of copies that stay where they are while a new one, under another root, takes their address.

    `gone` are addresses whose old copy has left; `names` says by which name the plan called a root. A copy that is
    still there must not be forgotten: it is recorded under the name of its root.
    """
    kept = []
    for address, new in put.items():
        old = mine.get(address)
        if old is not None and old.root != new.root and address not in gone and old.root in names:
            kept.append(replace(old, address=Address(address.variant, names[old.root])))
    return kept


def others_of(log: Journal, before: Registry, after: Registry) -> list[dict[str, Any]]:
    """Return what a save is to make of the entries of others, as JSON; on disk before that when this returns."""
    found = [change.value() for change in changes(before, after)]
    if found:
        log.write(OTHERS, changes=found)
    return found


def pin_of(step: Step) -> Pin:
    """Return the pin that a step carries out."""
    facts = step.after
    assert facts is not None
    artifacts = {
        row.artifact: Artifact(row.artifact, row.size, _digest(row), row.support, row.url) for row in step.files
    }
    support = None
    if facts.support:
        source, _, revision = facts.support.partition(" at ")
        support = Support(source, revision)
    files = tuple(artifacts[path] for path in sorted(artifacts))
    return Pin(facts.source or "", facts.revision, files, facts.license, support)


def attributes_of(facts: Facts) -> Attributes:
    """Return the attributes that facts speak of."""
    return Attributes(
        backend=facts.backend,
        format=facts.format,
        quant=facts.quant,
        served_as=facts.served_as,
        license=facts.license,
        protect=facts.protect,
        roles=tuple(sorted(facts.roles.items())),
        metadata=facts.metadata,
        modelfile=facts.modelfile,
    )


def _digest(row: FileRow) -> Digest:
    assert row.digest is not None  # only debris has no digest, and nobody records debris
    return row.digest


def _placed(row: FileRow, stat: Stat) -> Placed:
    size, mtime_ns, inode = stat
    return Placed(row.path, size, _digest(row), mtime_ns, inode, row.artifact)
