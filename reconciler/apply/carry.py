"""Carry out one step: every file staged and verified before the first one moves, then names, then the record."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from stat import S_ISLNK

from reconciler.apply.claims import check_unclaimed
from reconciler.apply.deed import LARGEST_NOTE, Deed, Exit, Extra, Move, Stat, done, stat_of, to_json
from reconciler.apply.record import record_of
from reconciler.apply.settle import settle
from reconciler.apply.signals import uninterrupted
from reconciler.apply.sites import Site, give_mode
from reconciler.apply.work import Work
from reconciler.disk import Root
from reconciler.errors import DigestError, DiskError, ReconcilerError, StaleError
from reconciler.examine import examined
from reconciler.hashing import hash_bytes
from reconciler.plan import FileRow, Step
from reconciler.state import Digest, ObservedFile, Placed, Record, algorithm, identity_key


def carry_out(work: Work, step: Step) -> None:
    """Do one step, journalled, and write down its outcome.

    Raise DiskError, DigestError or StaleError; then nothing unverified has a final name. An interruption before the
    first name changes leaves the step not started; after that the step is finished first.
    """
    if step.entry is not None:
        with uninterrupted():
            work.entries.append(step)
            work.finish(step, "done")
        return
    if work.plan.locations[step.address.location].by_api:
        from reconciler.apply.by_api import serve

        serve(work, step)
        return
    if step.reason == "partial" and step.before is None:
        with uninterrupted():
            _sweep(work, step)
            work.finish(step, "done")
        return
    site = work.sites.site(step.address.location)
    _check_unmoved(work, work.as_it_came(step), site)
    check_unclaimed(work.plan.locations[site.name], step)
    local: list[str] = []
    try:
        deed = _taking_away(work, step, site) if step.after is None else _bringing_in(work, step, site, local)
        with uninterrupted():
            if deed.is_record_only:
                _record(work, step, deed)
                return
            number = work.journal.write("intent", **to_json(deed))
            local.clear()  # from here on the journal answers for them
            work.unfinished.add(id(step))
            settle(site, deed, work.tools.digests)
            _record(work, step, deed, number)
            work.unfinished.discard(id(step))
            _clear_stage(work, work.as_it_came(step), site)
    finally:
        for name in local:
            with contextlib.suppress(ReconcilerError):
                site.stage.unlink(name, missing_ok=True)


def _record(work: Work, step: Step, deed: Deed, number: int | None = None) -> None:
    """Keep the record; in the journal too, of what changed names. A mere record that a crash loses is planned again."""
    record = examined(deed.record) if deed.record is not None else None
    if number is not None:
        work.journal.write("done", **done(number, record, deed.drop))
    if record is not None:
        work.record(record)
        _tell_contradictions(work, deed.record, record)
    if deed.drop is not None:
        work.drop.append(deed.drop)
    work.finish(step, "done")


def _check_unmoved(work: Work, step: Step, site: Site) -> None:
    """Refuse to build on files that are not as they were when the plan was made."""
    for row in (*step.files, *step.trash):
        then = work.stats.get((step.address.location, row.path), ())
        if then == () or (row.method == "none" and row.origin):
            continue  # another step of this apply places it
        if stat_of(site.root.stat(row.path)) != then:
            raise StaleError("changed since the plan was made", where=f"{step.address}: {row.path}", hint="plan again")


# -- what comes -------------------------------------------------------------------------------------------------------


def _bringing_in(work: Work, step: Step, site: Site, local: list[str]) -> Deed:
    """Stage and verify every file, and return the deed. `local` gathers what is made in the stage for it."""
    step = work.as_it_came(step)
    moves = tuple(_gather(work, step, site, local))
    stats = {move.path: move.stat for move in moves}
    for row in step.files:
        if row.method == "none":
            stats[row.path] = _there(site, row, step)
    root = str(site.root.path)
    record = record_of(step, stats, manifest=work.tools.manifest, root=root, generation=work.generation)
    return Deed(
        step.address, root, site.id, work.tools.now(), moves, tuple(_exits(work, step, site)),
        tuple(_links(work, step, site.root)), tuple(_notes(work, step, site.root)),
        step.unlinks, step.unnotes, record, step.renamed_from,
    )  # fmt: skip


def _tell_contradictions(work: Work, planned: Record | None, record: Record) -> None:
    """Say where the bytes are not what the plan took them for; the next plan blocks a claim that they contradict."""
    for word in ("format", "quant"):
        said, found = getattr(planned and planned.attributes, word, None), getattr(record.attributes, word)
        if said and found and said.lower() != found.lower():
            work.say(f"{record.address}: taken for {word} {said}, the bytes say {found}")


def _there(site: Site, row: FileRow, step: Step) -> Stat:
    found = stat_of(site.root.stat(row.path))
    if found is None or found[0] != row.size:
        raise StaleError("not as it was planned", where=f"{step.address}: {row.path}", hint="plan again")
    return found


def _gather(work: Work, step: Step, site: Site, local: list[str]) -> Iterator[Move]:
    """Stage and verify what the step takes from this machine; what came over the network stands verified already."""
    staged: dict[str, tuple[Root, str]] = {}
    for number, row in enumerate(row for row in step.files if row.method != "none"):
        source = site.trash if row.method == "move" else site.stage
        name = _stage(work, site, row, number, staged, local)
        if row.method == "fetch":
            give_mode(source, name, work.sites.mode)
        else:
            _verify(work, source, name, row)
        found = source.stat(name)
        if found is None or found.st_size != row.size:
            raise DiskError("the staged file is not there any more", where=source.where(name), hint="apply again")
        staged[f"{site.name}:{row.path}"] = (source, name)
        new, old = stat_of(found), stat_of(site.root.stat(row.path)) if row.replaces else None
        assert new is not None
        yield Move(
            row.path, "trash" if row.method == "move" else "stage", name, new, found.st_dev, _digest(row), old,
            work.sites.trash_name() if old else "", _old_digest(work, site, row.path, old),
        )  # fmt: skip


def _stage(
    work: Work, site: Site, row: FileRow, number: int, staged: Mapping[str, tuple[Root, str]], local: list[str]
) -> str:
    if row.method == "fetch":
        return _digest(row).replace(":", "-")
    if row.method == "move":
        return row.origin.removeprefix(f"{site.name}:trash/")
    name = site.local(number)
    local.append(name)
    if row.origin in staged:  # the same bytes twice in one variant
        site.twin(*staged[row.origin], name)
    else:
        origin = None if row.origin.startswith("file:") else work.sites.site(row.origin.partition(":")[0])
        site.bring(row, origin, name)
    return name


def _digest(row: FileRow) -> Digest:
    assert row.digest is not None  # only debris has none, and debris is swept, not brought
    return row.digest


def _verify(work: Work, source: Root, name: str, row: FileRow) -> None:
    """Read a local file unless its digest is known for exactly this inode, size and time. Raise DigestError."""
    from reconciler.digests import Question

    wanted, found = _digest(row), source.stat(name)
    if found is None:
        raise DiskError("it is not there any more", where=source.where(name), hint="plan again")
    placed = _vouched(work, row)
    if placed and stat_of(found) == (placed.size, placed.mtime_ns, placed.inode) and placed.digest == wanted:
        return
    file = ObservedFile(name, found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev)
    kind = algorithm(wanted)
    path = source.path / name
    known = work.tools.digests.known([file]).get(identity_key(file), {})
    if known.get(kind) == wanted:
        return
    answer = work.tools.digests.compute([Question(path, file, (kind,))])[path]
    if answer.problem:
        raise DiskError(answer.problem, where=source.where(name))
    actual = answer.digests[kind]
    if actual != wanted:
        raise DigestError(f"{row.origin} holds {actual}, wanted is {wanted}", where=row.path, hint="plan again")


def _vouched(work: Work, row: FileRow) -> Placed | None:
    location, _, path = row.origin.partition(":")
    place = work.plan.locations.get(location)
    return work.known.get((place.root, path)) if place else None


def _old_digest(work: Work, site: Site, path: str, old: Stat | None) -> Digest | None:
    placed = work.known.get((str(site.root.path), path))
    return placed.digest if placed and old == (placed.size, placed.mtime_ns, placed.inode) else None


def _links(work: Work, step: Step, root: Root) -> Iterator[Extra]:
    """Yield the links that are not right yet. One whose path a record holds is ours, drifted, and may be replaced."""
    for path, target in step.links:
        found = root.stat(path)
        there = root.readlink(path) if found is not None and S_ISLNK(found.st_mode) else None
        if there != target:
            yield Extra(path, target, (there,) if there is not None and work.holds(str(root.path), path) else ())


def _notes(work: Work, step: Step, root: Root) -> Iterator[Extra]:
    """Yield the notes that are not right yet, in the same way."""
    for path, text in step.notes:
        there = None if root.stat(path) is None else root.read(path, LARGEST_NOTE).decode("utf-8", "surrogateescape")
        if there == text:
            continue
        if there is not None and work.served(str(root.path), path) == hash_bytes(
            there.encode(errors="surrogateescape")
        ):
            yield Extra(path, text, (there,), work.sites.trash_name())
        elif there is None or not work.holds(str(root.path), path):
            yield Extra(path, text)
        else:
            drifted = work.said(str(root.path), path) != there
            yield Extra(path, text, (there,), work.sites.trash_name() if drifted else "")


def _clear_stage(work: Work, step: Step, site: Site) -> None:
    """Remove what is left in the stage of bytes that stand in their place now, by whatever way they came.

    An earlier apply may have begun to fetch what this one had from elsewhere; nothing of that is unique.
    """
    local = [
        row for row in step.files if row.method in ("link", "copy", "move") or (row.method == "none" and row.origin)
    ]
    placed = {_digest(row).replace(":", "-") for row in local}
    found = (
        [name for name in site.stage.names() if name.partition(".")[0].partition("_")[0] in placed] if placed else []
    )
    awaited = work.awaited(step) if found else set()
    for name in found:
        if name.partition(".")[0].partition("_")[0] not in awaited:
            with contextlib.suppress(ReconcilerError):
                site.stage.unlink(name, missing_ok=True)


# -- what goes --------------------------------------------------------------------------------------------------------


def _exits(work: Work, step: Step, site: Site) -> Iterator[Exit]:
    for row in step.trash:
        found = stat_of(site.root.stat(row.path))
        if found is not None:
            yield Exit(row.path, found, work.sites.trash_name(), row.digest)


def _taking_away(work: Work, step: Step, site: Site) -> Deed:
    return Deed(
        step.address, str(site.root.path), site.id, work.tools.now(), exits=tuple(_exits(work, step, site)),
        unlinks=step.links, unnotes=step.notes,
        drop=None if step.before is None else step.renamed_from or step.address,
    )  # fmt: skip


def _sweep(work: Work, step: Step) -> None:
    """Move what nobody can use any more from the stage into the trash, its companions with it."""
    site = work.sites.site(step.address.location)
    deed = Deed(step.address, str(site.root.path), site.id, work.tools.now())
    names = site.stage.names()
    for row in step.trash:
        name = row.path.removeprefix("stage/")
        for companion in names:
            if companion.startswith((f"{name}.", f"{name}_")):
                site.stage.unlink(companion, missing_ok=True)
        if site.stage.stat(name) is not None:
            trash = work.sites.trash_name()
            site.describe(trash, row.path, row.size, row.digest, deed)
            site.discard_staged(name, trash)
