"""Write what was merged: the lock, then the files of the manifest, then a line a new variant in the log of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reconciler import editing, lockfile, runlog
from reconciler.errors import InputError
from reconciler.inert import inert

if TYPE_CHECKING:
    from reconciler.importing.merge import Merged
    from reconciler.settings import Settings


def write(merged: Merged, command: str = "import", chosen: Settings | None = None, **facts: str) -> tuple[Path, ...]:
    """Write lock and manifest, each whole or not at all, and return the files that changed.

    The lock comes first: a lock that holds more than its manifest does no harm. Then what declares, then the files that
    give roles to it: cut short in between, the manifest loads. `command` and `facts` stand in the log of runs; `chosen`
    are the settings that hold, None: those of environment and files. Raise InputError when somebody changed one of the
    files since it was read (to hash a disk takes its time), DiskError when it cannot be written.
    """
    target = merged.target
    if not merged.changed:
        return ()
    _refuse_changed(merged)
    written: list[Path] = []
    if merged.is_lock_new:
        lockfile.write(target.lock_path, merged.lock)
        written.append(target.lock_path)
    order = sorted(merged.texts, key=lambda path: path != target.file)
    written += [path for path in order if editing.write_text(path, merged.texts[path])]
    if merged.loaded is not None:
        step = {"event": "step", "action": command}
        runlog.note(merged.loaded, command, [{**step, "variant": name, **facts} for name in merged.names], chosen)
    return tuple(reversed(written))


def _refuse_changed(merged: Merged) -> None:
    target = merged.target
    for path in merged.texts:
        there = path.read_bytes() if path.exists() else None
        read = target.texts.get(path)
        if there != (read.encode() if read is not None else None):
            raise InputError("changed while we looked", where=inert(str(path)), hint="run the same again")
    if (lockfile.read(target.lock_path) or lockfile.Lock()).pins != target.lock.pins:
        raise InputError("changed while we looked", where=inert(str(target.lock_path)), hint="run the same again")
