"""Account: what the bytes are, what is kept twice, what was done. Nothing is changed, and no file is read."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from reconciler.api.ground import Flags, ManifestLike, Progress, loaded_of, means, settings_of, telling

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.audit.duplicates import Duplicates
    from reconciler.audit.past import Deed
    from reconciler.audit.usage import Usage
    from reconciler.content import Contents


def stats(manifest: ManifestLike = None, *, settings: Flags = None, progress: Progress | None = None) -> Usage:
    """Return bytes by location, format, family and quant, shared ones counted once, and what could be freed.

    Raise ManifestError, RegistryError.
    """
    from reconciler.audit import usage
    from reconciler.trash import waiting

    with _contents(manifest, settings, progress) as contents:
        trash = sum(one.frees for one in waiting(contents.locations, float("inf")))
        return usage.account(contents, trash)


def find_duplicates(
    manifest: ManifestLike = None,
    *,
    least: int = 1 << 20,
    settings: Flags = None,
    progress: Progress | None = None,
) -> Duplicates:
    """Return what is kept more than once over all locations, by content, and what linking it would free.

    Files below `least` bytes are left out. Raise ManifestError, RegistryError.
    """
    from reconciler.audit import duplicates

    with _contents(manifest, settings, progress) as contents:
        return duplicates.find(contents, least)


def history(manifest: ManifestLike = None) -> tuple[Deed, ...]:
    """Return what each apply of a manifest did, the newest first; `undo` takes their numbers. Raise ManifestError."""
    from reconciler.audit.past import deeds

    return tuple(deeds(loaded_of(manifest)))


@contextmanager
def _contents(manifest: ManifestLike, flags: Flags, progress: Progress | None) -> Iterator[Contents]:
    """Give what is known of all files without reading one."""
    from reconciler.audit.knowing import contents_of
    from reconciler.holding import open_registry

    loaded = loaded_of(manifest)
    with means(loaded, settings_of(loaded, flags), progress, offline=True) as given:
        yield contents_of(loaded, open_registry(loaded, telling(progress)), given)
