"""Rename a variant in a manifest and its lock; what was placed under the old name, the next plan recognises."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler import editing, lockfile, runlog
from reconciler.errors import InputError, ManifestError
from reconciler.inert import inert, suggest

if TYPE_CHECKING:
    from reconciler.lockfile import Lock
    from reconciler.manifest import Loaded
    from reconciler.settings import Settings
    from reconciler.state import Pin


@dataclass(frozen=True, slots=True)
class Renamed:
    """What is to be written: the texts of files that change, and the pins of the lock; None where it stays."""

    loaded: Loaded
    old: str
    new: str
    texts: Mapping[Path, str]
    lock_path: Path
    lock: Lock | None


def load(path: Path | str | None, old: str, new: str) -> Loaded:
    """Load a manifest in which `old` is to become `new`.

    One whose files were renamed in part, by an `mv` that was cut short, names a variant that nobody declares: it is
    loaded as it will be. Raise ManifestError with everything that is wrong.
    """
    from reconciler import manifest, manifestfiles

    found = manifestfiles.find(path)
    try:
        return manifest.of(found)
    except ManifestError:
        with contextlib.suppress(ManifestError):
            texts = [(source, editing.read_text(Path(source.path))) for source in found.sources]
            whole = [
                source._replace(data=editing.rename_variant(text, old, new).encode()) for source, text in texts
            ]  # fmt: skip
            return manifest.of(found._replace(sources=tuple(whole)))
        raise


def rename(loaded: Loaded, old: str, new: str) -> Renamed:
    """Return manifest and lock with a variant under another name, in its roles too. Nothing is written.

    What a rename that was cut short has left is finished. Raise InputError for a name that is not there, is taken or
    cannot be one; ManifestError for a file that cannot be edited safely.
    """
    path = lockfile.path_for(loaded.path)
    lock = lockfile.read(path)
    before = {path: editing.read_text(path) for path in loaded.files}
    pins = dict(lock.pins) if lock else {}
    begun = _is_begun(loaded, before, pins, old, new)
    if not begun:
        _check_names(loaded, old, new)
    after = {path: editing.rename_variant(text, old, new, where=str(path)) for path, text in before.items()}
    editing.judged(loaded, after)
    texts = {path: text for path, text in after.items() if text != before[path]}
    if lock is None or old not in pins:
        return Renamed(loaded, old, new, texts, path, None)
    pins[new] = pins.pop(old)
    return Renamed(loaded, old, new, texts, path, replace(lock, pins=pins))


def _is_begun(loaded: Loaded, texts: Mapping[Path, str], pins: Mapping[str, Pin], old: str, new: str) -> bool:
    """Whether `old` is declared as `new` already, and a file or the lock still has the old name for it."""
    variants = loaded.manifest.variants
    if old in variants or new not in variants:
        return False
    in_roles = any(editing.rename_variant(text, old, new) != text for text in texts.values())
    return in_roles or (old in pins and pins.get(new, pins[old]) == pins[old])


def _check_names(loaded: Loaded, old: str, new: str) -> None:
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


def write(renamed: Renamed, chosen: Settings | None = None) -> tuple[Path, ...]:
    """Write manifest and lock, each file whole or not at all; return the files that changed. Raise DiskError.

    The lock has both names while the manifest changes: cut short in between, it holds more than it need, and no less,
    and the same again finishes it.
    """
    lock = renamed.lock
    if lock is not None:
        both = {**lock.pins, renamed.old: lock.pins[renamed.new]}
        lockfile.write(renamed.lock_path, replace(lock, pins=both))
    written = [path for path, text in renamed.texts.items() if editing.write_text(path, text)]
    if lock is not None:
        lockfile.write(renamed.lock_path, lock)
        written.append(renamed.lock_path)
    step = {"event": "step", "action": "mv", "variant": renamed.old, "to": renamed.new}
    runlog.note(renamed.loaded, "mv", [step], chosen)
    return tuple(written)
