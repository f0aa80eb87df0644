"""Do a deed: names only, since every byte stands verified and durable by now. Doing it again finishes it.

Old files have their name in the trash, on disk, before a new one takes theirs; a final name is never without a whole
file in between, but on file systems that can neither link nor exchange names: there the journal brings it back.
Directories are brought to the disk once each, not once a file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable

from reconciler.apply.deed import LARGEST_NOTE, Deed, Exit, Extra, Move, stat_of
from reconciler.apply.owners import give
from reconciler.apply.sites import Site
from reconciler.digests import Digests
from reconciler.disk import Root, TwoStepError, errno_of, install, rename, set_aside
from reconciler.errors import DiskError, StaleError
from reconciler.hashing import hash_bytes
from reconciler.state import Digest, ObservedFile, algorithm


def settle(site: Site, deed: Deed, digests: Digests) -> None:
    """Give every file of a deed its place. Raise DiskError, StaleError; then the journal tells how to go on."""
    for link in deed.unlinks:  # references first, so that none ever dangles
        _unlink_ours(site.root, link.path, link.target)
    for note in reversed(deed.unnotes):  # the last one made names the others
        if _holds(site.root, note.path, note.text):
            site.root.unlink(note.path)
            _tidy(site.root, note.path)
    for parent in _parents(move.path for move in deed.moves):
        site.root.mkdirs(parent)
    open_moves = [move for move in deed.moves if not _is_placed(site, move)]
    _set_old_aside(site, open_moves, deed)
    for move in open_moves:
        _place(site, move)
    _make_extras(site, deed)
    give(site.root, site.owner, [*(move.path for move in deed.moves), *(note.path for note in deed.notes)])
    for leaving in deed.exits:
        _throw(site, leaving, deed, digests)
    _bring_to_disk(site, deed)
    for move in deed.moves:
        _finish_move(site, move)
    for leaving in deed.exits:
        _tidy(site.root, leaving.path)


def remember(root: str, deed: Deed, digests: Digests) -> None:
    """Note the digests of files that reached their names, so that the next plan knows them without reading."""
    for move in deed.moves:
        try:
            found = os.lstat(f"{root}/{move.path}")
        except OSError:
            continue
        if stat_of(found) == move.stat and found.st_dev == move.device:
            _learn(digests, move.path, found, move.digest)


# -- what comes -------------------------------------------------------------------------------------------------------


def _is_placed(site: Site, move: Move) -> bool:
    """Whether the new file has its name already, as after a crash."""
    found = site.root.stat(move.path)
    return found is not None and stat_of(found) == move.stat and found.st_dev == move.device


def _set_old_aside(site: Site, moves: Iterable[Move], deed: Deed) -> None:
    """Give the old files a second name in the trash, and bring that to the disk."""
    aside = False
    for move in moves:
        there = stat_of(site.root.stat(move.path))
        if there is None:
            continue
        if there != move.old or not move.trash:
            raise StaleError(
                "another file lies there than when the plan was made", where=site.root.where(move.path),
                hint="look at it; it is not overwritten",
            )  # fmt: skip
        site.describe(move.trash, move.path, there[0], move.old_digest, deed)
        set_aside(site.root, move.path, site.trash, move.trash, sync=False)
        aside = True
    if aside:
        site.trash.fsync_dir("")


def _place(site: Site, move: Move) -> None:
    source = site.stage if move.source == "stage" else site.trash
    found = source.stat(move.staged)
    if found is None or stat_of(found) != move.stat:
        raise DiskError("the staged file is not there any more", where=source.where(move.staged), hint="apply again")
    trash = (site.trash, move.trash) if move.trash else None
    try:
        install(source, move.staged, site.root, move.path, trash=trash, sync=False)
    except TwoStepError:
        rename(site.root, move.path, site.trash, move.trash, replace=False)
        rename(source, move.staged, site.root, move.path, replace=False)


def _finish_move(site: Site, move: Move) -> None:
    """Take away what a kill between two names may have left, and the description of what left the trash."""
    source = site.stage if move.source == "stage" else site.trash
    left = source.stat(move.staged)
    if left is not None and (left.st_ino, left.st_dev) == (move.stat[2], move.device):
        source.unlink(move.staged)  # linked to its final name, and not yet unlinked here
    elif left is not None and move.trash and stat_of(left) == move.old and site.trash.stat(move.trash) is None:
        rename(source, move.staged, site.trash, move.trash, replace=False)  # exchanged, and not yet thrown away
    if move.source == "trash":
        site.forget(move.staged)


def _make_extras(site: Site, deed: Deed) -> None:
    for parent in _parents(extra.path for extra in (*deed.links, *deed.notes)):
        site.root.mkdirs(parent)
    for link in deed.links:
        _make_link(site, link)
    for note in deed.notes:
        if site.root.stat(note.path) is None or any(_holds(site.root, note.path, text) for text in note.ours):
            _write_note(site, note, deed)
        elif _is_the_variant(deed, note) and not _holds(site.root, note.path, note.text):
            raise StaleError(
                "another model has taken the name meanwhile", where=site.root.where(note.path),
                hint="look at it; it is not overwritten",
            )  # fmt: skip


def _is_the_variant(deed: Deed, note: Extra) -> bool:
    """Whether a reader finds the variant by this very note; other notes give way to what lies in their place."""
    return deed.record is not None and note.path == deed.record.home


def _write_note(site: Site, note: Extra, deed: Deed) -> None:
    """Write a note in the stage and give it its name: beside its name nothing may lie that its reader takes for one."""
    found = site.root.stat(note.path)
    if found is not None and note.trash:
        site.describe(note.trash, note.path, found.st_size, hash_bytes(site.root.read(note.path, LARGEST_NOTE)), deed)
        set_aside(site.root, note.path, site.trash, note.trash)
    fresh = site.local("note")
    site.stage.write(fresh, note.text.encode())
    rename(site.stage, fresh, site.root, note.path, replace=True)


def _make_link(site: Site, link: Extra) -> None:
    found = site.root.stat(link.path)
    if found is None:
        site.root.symlink(link.text, link.path)
        return
    there = site.root.readlink(link.path) if stat.S_ISLNK(found.st_mode) else None
    if there == link.text:
        return
    if there is None or there not in link.ours:
        raise StaleError(
            "something that is not ours lies where a link belongs", where=site.root.where(link.path),
            hint="look at it; it is not overwritten",
        )  # fmt: skip
    fresh = site.local("link")
    site.stage.unlink(fresh, missing_ok=True)
    site.stage.symlink(link.text, fresh)
    rename(site.stage, fresh, site.root, link.path, replace=True, sync=False)


# -- what goes --------------------------------------------------------------------------------------------------------


def _throw(site: Site, leaving: Exit, deed: Deed, digests: Digests) -> None:
    """Move one file into the trash, and remember what it is, so that nobody has to read it when it comes back."""
    found = site.root.stat(leaving.path)
    if found is None:
        return
    if stat_of(found) != leaving.stat:
        raise StaleError("changed since the plan was made", where=site.root.where(leaving.path), hint="plan again")
    site.describe(leaving.trash, leaving.path, found.st_size, leaving.digest, deed)
    try:
        rename(site.root, leaving.path, site.trash, leaving.trash, replace=False, sync=False)
    except DiskError as error:
        there = site.trash.stat(leaving.trash)
        if errno_of(error) != errno.EEXIST or there is None or not os.path.samestat(there, found):
            raise
        site.root.unlink(leaving.path)  # a kill between the two halves of a rename by link and unlink
    if leaving.digest is not None:
        _learn(digests, leaving.path, found, leaving.digest)


def _unlink_ours(root: Root, path: str, target: str) -> None:
    found = root.stat(path)
    if found is not None and stat.S_ISLNK(found.st_mode) and root.readlink(path) == target:
        root.unlink(path)
        _tidy(root, path)


def _holds(root: Root, path: str, text: str) -> bool:
    found = root.stat(path)
    return found is not None and stat.S_ISREG(found.st_mode) and root.read(path, len(text) * 4 + 4096) == text.encode()


def _tidy(root: Root, path: str) -> None:
    parent = path.rpartition("/")[0]
    if parent:
        root.rmdir_empty_up(parent)


# -- the disk ---------------------------------------------------------------------------------------------------------


def _bring_to_disk(site: Site, deed: Deed) -> None:
    touched = [item[0] for items in (deed.moves, deed.exits, deed.links, deed.unlinks, deed.unnotes) for item in items]
    for parent in {path.rpartition("/")[0] for path in touched}:
        if not parent or site.root.stat(parent) is not None:
            site.root.fsync_dir(parent)
    if deed.moves:
        site.stage.fsync_dir("")
    if deed.exits or any(move.trash or move.source == "trash" for move in deed.moves):
        site.trash.fsync_dir("")


def _parents(paths: Iterable[str]) -> list[str]:
    return sorted({parent for path in paths if (parent := path.rpartition("/")[0])})


def _learn(digests: Digests, path: str, found: os.stat_result, digest: Digest) -> None:
    file = ObservedFile(path, found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev)
    digests.learn(file, {algorithm(digest): digest})
