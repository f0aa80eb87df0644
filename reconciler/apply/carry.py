"""Carry out one step: every file staged and verified before the first one moves, then names, then the record."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from reconciler.apply.record import record_of
from reconciler.apply.sites import Site, ordinary_mode
from reconciler.apply.work import Work
from reconciler.disk import Root
from reconciler.errors import DigestError, DiskError, StaleError
from reconciler.plan import Action, FileRow, Step
from reconciler.registry.block import encode
from reconciler.state import ObservedFile, Placed, algorithm, identity_key


class Ready(NamedTuple):
    """A file that stands verified in a stage or in the trash and only waits for its name."""

    row: FileRow
    source: Root
    staged: str
    stat: os.stat_result
    trash: str | None
    mode: int | None


def carry_out(work: Work, step: Step) -> None:
    """Do one step, journalled. Raise DiskError, DigestError or StaleError; then nothing unverified has a final name."""
    if step.action is Action.PRUNE and step.before is None:
        _sweep(work, step)
    elif step.after is None:
        _take_away(work, step)
    else:
        _bring_in(work, step)


# -- what comes -------------------------------------------------------------------------------------------------------


def _bring_in(work: Work, step: Step) -> None:
    site = work.sites.site(step.address.location)
    _check_unmoved(work, step)
    ready = _gather(work, step, site)
    leaving = [(row, work.sites.trash_name()) for row in step.trash]
    work.journal.write("intent", address=str(step.address), action=step.action, root=str(site.root.path), files=[
        {
            "path": one.row.path, "digest": one.row.digest, "size": one.stat.st_size, "mtime_ns": one.stat.st_mtime_ns,
            "inode": one.stat.st_ino, "device": one.stat.st_dev, "trash": one.trash,
        }
        for one in ready
    ], leaving=[[row.path, trash] for row, trash in leaving])  # fmt: skip
    for one in ready:
        if one.trash:
            _describe_old(work, step, site, one)
        work.sites.place(site, one.source, one.staged, one.row, one.trash, one.mode)
        if one.source is site.trash:
            work.sites.forget(site, one.staged)
    _extras(step, site)
    for row, trash in leaving:
        _throw(work, step, site, row, trash)
    _record(work, step, site)


def _check_unmoved(work: Work, step: Step) -> None:
    """Refuse to build on files that are not as they were when the plan was made."""
    site = work.sites.site(step.address.location)
    for row in (*step.files, *step.trash):
        then = work.stats.get((step.address.location, row.path), ())
        if then == () or (row.method == "none" and row.origin):
            continue  # another step of this apply places it
        if _stat(site.root.stat(row.path)) != then:
            raise StaleError(
                "changed since the plan was made", where=f"{step.address}: {row.path}", hint="plan again"
            )  # fmt: skip


def _stat(found: os.stat_result | None) -> tuple[int, int, int] | None:
    return None if found is None else (found.st_size, found.st_mtime_ns, found.st_ino)


def _gather(work: Work, step: Step, site: Site) -> list[Ready]:
    """Stage and verify what the step takes from this machine; what came over the network stands verified already."""
    ready: list[Ready] = []
    staged: dict[str, str] = {}
    for number, row in enumerate(row for row in step.files if row.method != "none"):
        trash = work.sites.trash_name() if row.replaces else None
        mode = ordinary_mode() if row.method == "fetch" else None
        source = site.trash if row.method == "move" else site.stage
        name = _stage(work, site, row, number, staged)
        found = source.stat(name)
        if found is None:
            raise DiskError("the staged file is gone", where=source.where(name), hint="apply again")
        if row.method != "fetch":
            _verify(work, source, name, row)
        staged[f"{site.name}:{row.path}"] = name
        ready.append(Ready(row, source, name, found, trash, mode))
    return ready


def _stage(work: Work, site: Site, row: FileRow, number: int, staged: dict[str, str]) -> str:
    if row.method == "fetch":
        assert row.digest is not None
        return row.digest.replace(":", "-")
    if row.method == "move":
        return work.sites.restore(row, site)
    name = f"local-{work.generation}-{number}"
    if row.origin in staged:  # the same bytes twice in one variant
        work.sites.twin(site, staged[row.origin], name)
    else:
        work.sites.bring(row, site, name)
    return name


def _verify(work: Work, source: Root, name: str, row: FileRow) -> None:
    """Read a local file unless its digest is known for exactly this inode, size and time. Raise DigestError."""
    from reconciler.digests import Question

    found = source.stat(name)
    assert found is not None
    assert row.digest is not None
    placed = _vouched(work, row)
    if placed and _stat(found) == (placed.size, placed.mtime_ns, placed.inode) and placed.digest == row.digest:
        return
    file = ObservedFile(name, found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev)
    kind = algorithm(row.digest)
    path = source.path / name
    known = work.tools.digests.known([file]).get(identity_key(file), {})
    if known.get(kind) == row.digest:
        return
    answer = work.tools.digests.compute([Question(path, file, (kind,))])[path]
    if answer.problem:
        raise DiskError(answer.problem, where=source.where(name))
    actual = answer.digests[kind]
    if actual != row.digest:
        if row.method != "move":
            source.unlink(name, missing_ok=True)
        raise DigestError(
            f"{row.origin} holds {actual}, wanted is {row.digest}", where=row.path, hint="plan again"
        )  # fmt: skip


def _vouched(work: Work, row: FileRow) -> Placed | None:
    location, _, path = row.origin.partition(":")
    place = work.plan.locations.get(location)
    return work.known.get((place.root, path)) if place else None


def _describe_old(work: Work, step: Step, site: Site, one: Ready) -> None:
    old = site.root.stat(one.row.path)
    if old is None or one.trash is None:
        return
    placed = work.known.get((str(site.root.path), one.row.path))
    as_recorded = placed is not None and _stat(old) == (placed.size, placed.mtime_ns, placed.inode)
    digest = placed.digest if placed is not None and as_recorded else None
    work.sites.describe(
        site, one.trash, one.row._replace(size=old.st_size, digest=digest), step.address, work.tools.now()
    )


def _extras(step: Step, site: Site) -> None:
    """Make the links and notes that the store wants beside the files."""
    for link in step.links:
        found = site.root.stat(link.path)
        if found is not None and stat.S_ISLNK(found.st_mode):
            if site.root.readlink(link.path) == link.target:
                continue
            site.root.unlink(link.path)
        parent = link.path.rpartition("/")[0]
        if parent:
            site.root.mkdirs(parent)
        site.root.symlink(link.target, link.path)
    for note in step.notes:
        parent = note.path.rpartition("/")[0]
        if parent:
            site.root.mkdirs(parent)
        site.root.write(note.path, note.text.encode())


def _record(work: Work, step: Step, site: Site) -> None:
    stats: dict[str, os.stat_result] = {}
    for row in step.files:
        found = site.root.stat(row.path)
        if found is None or found.st_size != row.size:
            raise StaleError("not as it was planned", where=f"{step.address}: {row.path}", hint="plan again")
        stats[row.path] = found
    record = record_of(step, stats, manifest=work.tools.manifest, root=str(site.root.path), generation=work.generation)
    renamed = step.renamed_from
    work.journal.write("done", record=encode(record), drop=list(renamed) if renamed else None)
    work.put[step.address] = record
    if renamed is not None:
        work.drop.append(renamed)


# -- what goes --------------------------------------------------------------------------------------------------------


def _take_away(work: Work, step: Step) -> None:
    site = work.sites.site(step.address.location)
    _check_unmoved(work, step)
    leaving = [(row, work.sites.trash_name()) for row in step.trash]
    work.journal.write(
        "intent", address=str(step.address), action=step.action, root=str(site.root.path), files=[],
        leaving=[[row.path, trash] for row, trash in leaving],
    )  # fmt: skip
    for link in step.links:  # references first, so that none ever dangles
        _unlink_ours(site.root, link.path, link.target)
    for note in step.notes:
        if _holds(site.root, note.path, note.text):
            site.root.unlink(note.path)
            _tidy(site.root, note.path)
    for row, trash in leaving:
        _throw(work, step, site, row, trash)
    address = step.renamed_from or step.address
    work.journal.write("done", record=None, drop=list(address))
    work.drop.append(address)


def _throw(work: Work, step: Step, site: Site, row: FileRow, trash: str) -> None:
    """Move one file into the trash, and remember what it is, so that nobody has to read it when it comes back."""
    found = site.root.stat(row.path)
    if found is None:
        return
    work.sites.describe(site, trash, row, step.address, work.tools.now())
    work.sites.throw(site, row.path, trash)
    if row.digest is not None:
        file = ObservedFile(row.path, found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev)
        work.tools.digests.learn(file, {algorithm(row.digest): row.digest})


def _unlink_ours(root: Root, path: str, target: str) -> None:
    found = root.stat(path)
    if found is not None and stat.S_ISLNK(found.st_mode) and root.readlink(path) == target:
        root.unlink(path)
        _tidy(root, path)


def _holds(root: Root, path: str, text: str) -> bool:
    return root.stat(path) is not None and root.read(path, len(text.encode()) + 4096) == text.encode()


def _tidy(root: Root, path: str) -> None:
    parent = path.rpartition("/")[0]
    if parent:
        root.rmdir_empty_up(parent)


def _sweep(work: Work, step: Step) -> None:
    """Move what nobody can use any more from the stage into the trash, its companions with it."""
    site = work.sites.site(step.address.location)
    for row in step.trash:
        name = row.path.removeprefix("stage/")
        if name not in site.stage.names():
            continue  # used up by a download, or gone as the companion of another
        for companion in _companions(site, name):
            site.stage.unlink(companion, missing_ok=True)
        trash = work.sites.trash_name()
        work.sites.describe(site, trash, row, step.address, work.tools.now())
        work.sites.discard_staged(site, name, trash)


def _companions(site: Site, name: str) -> Iterator[str]:
    return (other for other in site.stage.names() if other != name and other.startswith((f"{name}.", f"{name}_")))
