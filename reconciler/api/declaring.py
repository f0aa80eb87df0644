"""Write manifests: declare, rename, take over what is there, lay out. Comments and order stay."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciler.api.ground import Flags, ManifestLike, Progress, many, reading, settings_of, upstream

if TYPE_CHECKING:
    from reconciler.importing import Row
    from reconciler.state import Pin


class Added(NamedTuple):
    """A variant that was declared: its name and pin, and the files that were written; none when it was known."""

    variant: str
    pin: Pin
    written: tuple[Path, ...]


class Imported(NamedTuple):
    """What an import found, row by row with the reason, and the files that were written."""

    rows: tuple[Row, ...]
    written: tuple[Path, ...]


def add(
    source: str,
    manifest: str | os.PathLike[str] | None = None,
    *,
    name: str | None = None,
    location: str | None = None,
    files: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    roles: str | Iterable[str] = (),
    settings: Flags = None,
    progress: Progress | None = None,
    **more: Any,
) -> Added:
    """Declare one more variant: ask its source, name it, write manifest and lock. Nothing is downloaded.

    `more` are other fields of a variant (`backend="vllm"`, `served_as="x"`). Raise InputError for what cannot be
    declared, SourceError when the source refuses.
    """
    from reconciler.adding import INTO
    from reconciler.adding import add as added
    from reconciler.importing.target import open_target
    from reconciler.importing.writing import write

    target = open_target(None if manifest is None else os.fspath(manifest), INTO)
    said: dict[str, Any] = {"source": source, **more}
    said |= {key: given for key, given in (("files", [*many(files)]), ("exclude", [*many(exclude)])) if given}
    if location is not None:
        said["location"] = location
    chosen = settings_of(target.loaded, settings)
    world = upstream(target.loaded, chosen, progress, offline=False)
    merged, pin = added(target, said, world, name=name, roles=many(roles))
    return Added(merged.rows[0].what, pin, write(merged, "add", chosen))


def init(
    manifest: str | os.PathLike[str] | None = None,
    *,
    places: str | Iterable[str] = (),
    offline: bool = False,
    online: bool = False,
    settings: Flags = None,
    progress: Progress | None = None,
) -> Imported:
    """Write a first manifest and its lock of what is on this machine; nothing is moved or fetched.

    Without `places` (`"hf-cache"`, `"tree=/srv/models"`) every usual place of every known tool is taken that holds
    weights. `online` searches the Hub for what has no known origin, by content. Raise InputError when there is a
    manifest already, and for a place that is none or cannot be read.
    """
    from reconciler.digests import Digests
    from reconciler.importing import fresh, machine
    from reconciler.importing.ask import refuse_both
    from reconciler.importing.writing import write

    refuse_both(online=online, offline=offline)
    draft = fresh.begin(None if manifest is None else os.fspath(manifest))
    asked = many(places)
    chosen = settings_of(None, settings)
    found = machine.named(asked, os.environ) if asked else machine.places(os.environ)
    world = upstream(None, chosen, progress, offline=offline)
    watch = reading(progress) if progress else None
    with Digests(chosen.cache / "digests.sqlite") as digests:
        machine.take(draft, found, os.environ, world, digests, watch, online=online, must=bool(asked))
    merged = draft.finished()
    return Imported(tuple(merged.report), write(merged, "init", chosen))


def import_models(
    subject: str,
    *args: str,
    manifest: str | os.PathLike[str] | None = None,
    local: bool = False,
    testing: bool = False,
    missing: bool = False,
    offline: bool = False,
    online: bool = False,
    settings: Flags = None,
    progress: Progress | None = None,
) -> Imported:
    """Add what is on this machine to a manifest (made when absent) and its lock; nothing is moved or fetched.

    `subject` and `args` are those of `reconciler import`: `"hf-cache"`, `"tree", "~/models"`, and so on. Doing it again
    changes nothing. `online` searches the Hub for what has no known origin, by content; `local` takes what has none as
    coming from where it lies; `testing` and `missing` take records of tests, and records whose files are gone, from a
    registry of ImageWorks. Raise InputError for a subject that is none, and for `online` with `offline`, ManifestError
    when the manifest would not load.
    """
    from reconciler.digests import Digests
    from reconciler.errors import InputError
    from reconciler.importing import Table, importer_of
    from reconciler.importing.ask import refuse_both, request_of
    from reconciler.importing.merge import merge
    from reconciler.importing.pictures import with_pictures
    from reconciler.importing.target import open_target
    from reconciler.importing.writing import write

    refuse_both(online=online, offline=offline)
    try:
        importer = importer_of(subject)
    except ValueError as error:
        raise InputError(str(error)) from None
    target = open_target(None if manifest is None else os.fspath(manifest))
    chosen = settings_of(target.loaded, settings)
    world = upstream(target.loaded, chosen, progress, offline=offline)
    with Digests(chosen.cache / "digests.sqlite") as digests:
        also = [word for word, wanted in (("testing", testing), ("missing", missing)) if wanted]
        watch = reading(progress) if progress else None
        request = request_of(target, args, os.environ, world, digests, watch, local=local, online=online, also=also)
        gathered = [each for each in importer.gather(request) if not isinstance(each, Table)]
    merged = with_pictures(merge(target, gathered), world)
    return Imported(tuple(merged.report), write(merged, "import", chosen, subject=subject))


def rename(old: str, new: str, manifest: ManifestLike = None) -> tuple[Path, ...]:
    """Rename a variant in manifest, roles and lock, and return the files that changed; the next plan recognises it.

    Raise InputError for a name that is not there, is taken or cannot be one.
    """
    from reconciler import renaming
    from reconciler.manifest import Loaded

    path = manifest if manifest is None or isinstance(manifest, Loaded) else os.fspath(manifest)
    loaded = path if isinstance(path, Loaded) else renaming.load(path, old, new)
    return renaming.write(renaming.rename(loaded, old, new))


def format_manifest(text: str, *, where: str = "manifest") -> str:
    """Return the text of a manifest's file in its one layout; only white space changes. Raise ManifestError."""
    from reconciler.formatting import formatted

    return formatted(text, where=where)
