"""Make a first manifest: begin it, take over one place after the other, and explain its parts in comments."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from reconciler.errors import InputError, ManifestError
from reconciler.importing.findings import declared, findings
from reconciler.importing.found import Found, Row
from reconciler.importing.merge import Merged, merge
from reconciler.importing.target import Target, open_target
from reconciler.inert import inert
from reconciler.naming import variant_name

_HEAD = """\
# Model weights on this machine, as `reconciler init` found them. Nothing was
# moved, fetched or deleted for it. `reconciler plan` shows what apply would do,
# `reconciler apply` does it and nothing else, `reconciler undo` undoes it.
# Keep this file and the lock beside it in git.
# `reconciler schema` prints what may stand here.

version: 1
name: {name}
"""
_ABOVE = {
    "locations": "# Places on this machine. `store` says how files are arranged below `root`.",
    "variants": "# One build of a model in one place each. The lock holds the commit, and sizes\n"
    "# and digests of every file.",
    "roles": "# What serves what, the first choice first.",
}
_TAIL = """
# What else may stand here, for example:
# roles:                      # what serves what, the first choice first
#   chat: [NAME-OF-A-VARIANT]
# policy:
#   max_remove: 30%           # of managed variants, that one plan may remove
#   min_free: 20GiB           # what must be left on a disk
"""


@dataclass
class Draft:
    """A manifest in the making: grows by one place after the other, and is written at the end."""

    first: Target
    now: Target
    rows: list[Row] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def take(self, gathered: Iterable[Found | Row]) -> Merged:
        """Add what was found at a place."""
        merged = merge(self.now, gathered)
        texts = {**self.now.texts, **merged.texts}
        self.now = replace(self.now, texts=texts, loaded=merged.loaded or self.now.loaded, lock=merged.lock)
        self.rows += merged.rows
        self.names += merged.names
        return merged

    def finished(self) -> Merged:
        """Return what is to be written: the text with its comments, loaded once more, and the lock.

        What is kept twice is told of all places together, once.
        """
        text = commented(self.now.texts[self.first.file])
        _check(text, self.now)
        loaded = self.now.loaded
        told = findings(declared(loaded, self.now.lock.pins), set(self.names)) if loaded else []
        return Merged(self.first, {self.first.file: text}, self.now.lock, (*self.rows, *told), tuple(self.names))


def begin(path: str | None) -> Draft:
    """Begin a manifest at `path` (None: where the default is); raise InputError when one is there, or its lock."""
    target = _target(path)
    if target.loaded is not None or target.file.exists():
        raise InputError(
            "there is a manifest already, and it stays as it is", where=target.shown,
            hint="`reconciler import` adds to it; or name another file",
        )  # fmt: skip
    if target.lock_path.exists():
        raise InputError(
            "there is a lock without its manifest", where=inert(str(target.lock_path)), hint="name another file",
        )  # fmt: skip
    stem = target.path.absolute().stem if target.path.suffix else target.path.absolute().name
    text = _HEAD.format(name=variant_name(stem, None, None, None))
    return Draft(target, replace(target, texts={target.file: text}))


def commented(text: str) -> str:
    """Return the manifest with a line of explanation above each section, and examples of what it lacks."""
    for key, comment in _ABOVE.items():
        text = re.sub(rf"^{key}:", f"{comment}\n{key}:", text, count=1, flags=re.MULTILINE)
    return text.rstrip("\n") + "\n" + _TAIL


def _target(path: str | None) -> Target:
    chosen = Path(path) if path is not None else None
    if chosen is not None and chosen.is_file():  # before it is read: it may be broken
        raise InputError(
            "there is a file already, and it stays as it is", where=inert(str(chosen)),
            hint="`reconciler import` adds to a manifest; or name another file",
        )  # fmt: skip
    return open_target(path)


def _check(text: str, now: Target) -> None:
    """Raise ManifestError should the comments have changed what the manifest says."""
    from reconciler.yamlread import read

    where = str(now.file)
    if read(text.encode(), where).value != read(now.texts[now.file].encode(), where).value:
        raise ManifestError("its comments would change it; nothing was written", where=inert(where))
