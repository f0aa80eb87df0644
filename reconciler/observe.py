"""Look at a location and say what is there. Never raises for a bad file; whoever is absent or strange is reported."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from posixpath import dirname
from typing import NamedTuple

from reconciler.abreast import abreast
from reconciler.house import Plate, closed, prepare, read_id, read_plate, staged, trashed
from reconciler.inert import inert
from reconciler.state import ObservedFile, ObservedLocation
from reconciler.stores import store_of

__all__ = ["Question", "observe", "observe_all", "prepare", "read_id"]

_LOUDEST = 20
"""Warnings of one kind that are spelled out; the rest are counted."""

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


class Question(NamedTuple):
    """A location to look at, and the id that we once recorded for it (None: never recorded)."""

    name: str
    store: str
    root: str
    expected_id: str | None = None


def observe(name: str, store: str, root: str, *, expected_id: str | None) -> ObservedLocation:
    """Look at the location `name`: every regular file, link and empty directory below `root`, its stage and trash.

    `root` is absolute. `expected_id` is the id that we recorded something under: a root that is gone or shows another
    id is then unreadable, because an unmounted disk is not an empty one. Without it, a root that is not there is one
    that apply will make: readable, `exists` false, `free_bytes` those of the nearest directory above it.
    A directory that cannot be read stands in `others`: what is below it is unknown, not absent. `empty_dirs` are those
    with nothing but directories below them. `read_only` says why our house cannot be used. Nothing is opened but
    directories and our own descriptions.
    """
    told = ObservedLocation(name, store, root)
    try:
        plate = read_plate(store_of(store).house(root))
        facts = Path(root).stat()
        if not stat.S_ISDIR(facts.st_mode):
            return replace(told, readable=False, why=f"{inert(root)} is not a directory")
        free, total = _room(root)
        told = replace(told, id=plate.id, device=facts.st_dev, free_bytes=free, total_bytes=total)
    except FileNotFoundError:
        return _absent(told, expected_id)
    except OSError as error:
        return replace(told, readable=False, why=_cannot(root, error))
    except ValueError as error:  # a record of a store that this release does not know
        return replace(told, readable=False, why=str(error))
    if why := _stranger(plate, expected_id):
        return replace(told, readable=False, why=why)
    return _looked_through(told, (plate.why,) if plate.why else ())


def observe_all(questions: Iterable[Question]) -> dict[str, ObservedLocation]:
    """Look at several locations at once, a thread each: one slow disk does not hold up the others."""
    asked = list(questions)
    return {seen.name: seen for seen in abreast(_answer, asked, len(asked), "observe")}


def _answer(question: Question) -> ObservedLocation:
    return observe(question.name, question.store, question.root, expected_id=question.expected_id)


def _absent(told: ObservedLocation, expected_id: str | None) -> ObservedLocation:
    if expected_id is not None:
        why = f"{inert(told.root)} is not there, though we placed files in it: is the disk mounted?"
        return replace(told, exists=False, readable=False, why=why)
    above = next(folder for folder in Path(told.root).parents if folder.is_dir())
    try:
        free, total = _room(str(above))
        told = replace(told, exists=False, device=above.stat().st_dev, free_bytes=free, total_bytes=total)
    except OSError as error:
        return replace(told, exists=False, readable=False, why=_cannot(str(above), error))
    shut = not os.access(above, os.W_OK | os.X_OK)
    why = (
        f"{inert(told.root)} is not there, and you cannot make it in {inert(str(above))} (make it, with rights for you)"
    )
    return replace(told, read_only=why) if shut else told


def _stranger(plate: Plate, expected_id: str | None) -> str:
    if expected_id is None or plate.id == expected_id:
        return ""
    if plate.is_newer:
        return plate.why
    if plate.id is None:
        return f"{plate.why or 'location.json is missing'}: is the disk mounted? Expected id {expected_id}"
    return f"location.json says {plate.id}, expected {expected_id}: is another disk mounted here?"


def _looked_through(told: ObservedLocation, warnings: tuple[str, ...]) -> ObservedLocation:
    store = store_of(told.store)
    found = _walk(told.root, store.skip)
    if "" in found.others:
        return replace(told, readable=False, why=f"{inert(told.root)}: {found.others['']}")
    house = store.house(told.root)
    in_stage, about_stage = staged(house)
    in_trash, about_trash = trashed(house)
    return replace(
        told,
        files={path: found.files[path] for path in sorted(found.files)},
        links={path: found.links[path] for path in sorted(found.links)},
        others={path: found.others[path] for path in sorted(found.others)},
        empty_dirs=tuple(sorted(found.empty())),
        staged=in_stage,
        trash=in_trash,
        read_only=closed(told.root, told.store, told.device),
        warnings=(*warnings, *found.warnings(), *about_stage, *about_trash),
    )


@dataclass(slots=True)
class _Found:
    """What a walk gathers; filled in place, since it may hold a million entries."""

    files: dict[str, ObservedFile] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    """Every directory below the root, each after the one that holds it."""
    filled: set[str] = field(default_factory=set)
    """Directories that hold something besides directories, or that nobody could look into."""
    unnameable: list[str] = field(default_factory=list)

    def empty(self) -> list[str]:
        filled = self.filled
        for folder in reversed(self.folders):
            if folder in filled:
                filled.add(dirname(folder))
        return [folder for folder in self.folders if folder not in filled]

    def warnings(self) -> list[str]:
        shown = [f"{name}: the name is not valid UTF-8; left alone" for name in sorted(self.unnameable)[:_LOUDEST]]
        if len(self.unnameable) > _LOUDEST:
            shown.append(f"{len(self.unnameable) - _LOUDEST} more names that are not valid UTF-8; left alone")
        return shown


def _walk(root: str, skip: Callable[[str], bool]) -> _Found:
    found = _Found()
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            below = _list(root, folder, found, skip)
        except FileNotFoundError:
            found.filled.add(folder)  # gone since its parent was listed: neither there nor an empty directory
        except OSError as error:
            found.others[folder] = f"cannot be read: {error.strerror}"
            found.filled.add(folder)
            continue
        found.folders += below
        waiting += below
    return found


def _list(root: str, folder: str, found: _Found, skip: Callable[[str], bool]) -> list[str]:
    """Sort the entries of one directory into `found`, and return the directories among them."""
    below: list[str] = []
    files = found.files
    prefix = f"{folder}/" if folder else ""
    filled = False
    with os.scandir(f"{root}/{folder}") as entries:
        for entry in entries:
            name = entry.name
            if not name.isascii() and not _is_text(name):
                found.unnameable.append(inert(_escaped(prefix + name)))
                filled = True
                continue
            path = prefix + name
            try:
                if entry.is_file(follow_symlinks=False):
                    facts = entry.stat(follow_symlinks=False)
                    files[path] = ObservedFile(path, facts.st_size, facts.st_mtime_ns, facts.st_ino, facts.st_dev)
                elif entry.is_dir(follow_symlinks=False):
                    if not skip(name):
                        below.append(path)
                        continue
                elif entry.is_symlink():
                    found.links[path] = _escaped(os.readlink(entry.path))  # noqa: PTH115  a Path would tidy the target up
                else:
                    mode = entry.stat(follow_symlinks=False).st_mode
                    found.others[path] = _KINDS.get(stat.S_IFMT(mode), "not a regular file")
            except FileNotFoundError:
                continue
            except OSError as error:
                found.others[path] = f"cannot be read: {error.strerror}"
            filled = True
    if filled:
        found.filled.add(folder)
    return below


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _room(path: str) -> tuple[int, int]:
    """Return the bytes that are free to us, and those of the whole file system."""
    room = os.statvfs(path)
    return room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize


def _cannot(path: str, error: OSError) -> str:
    return f"{inert(_escaped(path))} cannot be read: {error.strerror}"
