"""Account: what the bytes are, what is kept twice, what was done, what differs. Nothing is changed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from reconciler.api.ground import Flags, ManifestLike, Progress, loaded_of, means, settings_of, telling

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.audit.comparing import Change
    from reconciler.audit.duplicates import Duplicates
    from reconciler.audit.past import Deed
    from reconciler.audit.usage import Usage
    from reconciler.content import Contents


def stats(manifest: ManifestLike = None, *, settings: Flags = None, progress: Progress | None = None) -> Usage:
    """Return bytes by location, format, family and quant, shared ones counted once, and what could be freed.

    Raise ManifestError, LockfileError, RegistryError.
    """
    from reconciler.audit import usage
    from reconciler.audit.knowing import pins_of
    from reconciler.trash import waiting

    loaded = loaded_of(manifest)
    with _contents(loaded, settings, progress) as contents:
        trash = sum(one.frees for one in waiting(contents.locations, float("inf")))
        return usage.account(contents, trash, usage.titles_of(pins_of(loaded)))


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


def export(
    manifest: ManifestLike = None,
    to: Literal["csv", "cyclonedx", "imageworks"] = "csv",
    *,
    timestamp: bool = False,
    settings: Flags = None,
    progress: Progress | None = None,
) -> str:
    """Return what a manifest manages in the form of another tool: a table, a bill of materials, ImageWorks' registry.

    The same inputs give the same text, unless `timestamp` says when it was made. Raise InputError for another form,
    ManifestError, LockfileError, RegistryError.
    """
    from reconciler.errors import InputError
    from reconciler.exporting import EXPORTERS, exporter_of, gathered
    from reconciler.holding import open_registry

    if to not in EXPORTERS:
        raise InputError(f"expected one of {', '.join(EXPORTERS)}, found {to!r}", where="to")
    loaded = loaded_of(manifest)
    registry = open_registry(loaded, telling(progress))
    return exporter_of(to)(gathered(loaded, registry, settings_of(loaded, settings), timestamp=timestamp))


def diff_manifests(old: ManifestLike, new: ManifestLike) -> tuple[Change, ...]:
    """Return what two manifests with their locks mean differently, by section and name; layout does not count.

    No disk is looked at and nobody is asked. Raise ManifestError, LockfileError.
    """
    from reconciler.audit.comparing import Side, compare
    from reconciler.audit.knowing import pins_of

    def side(manifest: ManifestLike) -> Side:
        loaded = loaded_of(manifest)
        return Side(loaded, pins_of(loaded))

    return compare(side(old), side(new))


@contextmanager
def _contents(manifest: ManifestLike, flags: Flags, progress: Progress | None) -> Iterator[Contents]:
    """Give what is known of all files without reading one."""
    from reconciler.audit.knowing import contents_of
    from reconciler.holding import open_registry

    loaded = loaded_of(manifest)
    with means(loaded, settings_of(loaded, flags), progress, offline=True) as given:
        yield contents_of(loaded, open_registry(loaded, telling(progress)), given)
