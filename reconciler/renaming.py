"""Rename a variant in a manifest and its lock; what was placed under the old name, the next plan recognises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler import editing, lockfile
from reconciler.errors import InputError
from reconciler.inert import inert, suggest

if TYPE_CHECKING:
    from reconciler.lockfile import Lock
    from reconciler.manifest import Loaded


@dataclass(frozen=True, slots=True)
class Renamed:
    """What is to be written: the texts of files that change, and the pins of the lock; None where it stays."""

    old: str
    new: str
    texts: Mapping[Path, str]
    lock_path: Path
    lock: Lock | None


def rename(loaded: Loaded, old: str, new: str) -> Renamed:
    """Return manifest and lock with a variant under another name, in its roles too. Nothing is written.

    Raise InputError for a name that is not there, is taken or cannot be one; ManifestError for a file that cannot be
    edited safely.
    """
    from reconciler.declared import check_name

    variants = loaded.manifest.variants
    if old not in variants:
        near = suggest(old, variants)
        few = ", ".join(f"`{inert(name)}`" for name in list(variants)[:5]) + " …" * (len(variants) > 5)
        hint = f"did you mean `{near}`?" if near else f"declared are {few or 'none'}"
        raise InputError(f"there is no variant `{inert(old)}`", where=inert(str(loaded.path)), hint=hint)
    if new in variants:
        where = loaded.where("variants", new)
        raise InputError(f"there is a variant `{inert(new)}` already", where=where, hint="choose another name")
    try:
        check_name(new)
    except ValueError as error:
        raise InputError(str(error), where=inert(new)) from None
    before = {path: editing.read_text(path) for path in loaded.files}
    after = {path: editing.rename_variant(text, old, new, where=str(path)) for path, text in before.items()}
    editing.judged(loaded, after)
    path = lockfile.path_for(loaded.path)
    lock = lockfile.read(path)
    if lock is not None and old in lock.pins:
        pins = {name: pin for name, pin in lock.pins.items() if name != old}
        lock = replace(lock, pins={**pins, new: lock.pins[old]})
    else:
        lock = None
    return Renamed(old, new, {path: text for path, text in after.items() if text != before[path]}, path, lock)


def write(renamed: Renamed) -> tuple[Path, ...]:
    """Write manifest and lock, each file whole or not at all; return the files that changed. Raise DiskError.

    The lock has both names while the manifest changes: cut short in between, it holds more than it need, and no less.
    """
    lock = renamed.lock
    if lock is not None:
        both = {**lock.pins, renamed.old: lock.pins[renamed.new]}
        lockfile.write(renamed.lock_path, replace(lock, pins=both))
    written = [path for path, text in renamed.texts.items() if editing.write_text(path, text)]
    if lock is not None:
        lockfile.write(renamed.lock_path, lock)
        written.append(renamed.lock_path)
    return tuple(written)
