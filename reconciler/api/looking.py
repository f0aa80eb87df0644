"""Look: what is managed, what became of it, what a directory or a source holds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciler.api.ground import Flags, ManifestLike, Progress, loaded_of, many, means, settings_of, telling, upstream

if TYPE_CHECKING:
    from reconciler.audit.analysis import Analysis
    from reconciler.audit.because import Account
    from reconciler.detect import Detected
    from reconciler.drift import Row
    from reconciler.generations import Generation
    from reconciler.manifest import Loaded
    from reconciler.plan import Plan
    from reconciler.settings import Settings
    from reconciler.sources import World
    from reconciler.state import Pin, Record
    from reconciler.verify import Verification


class Status(NamedTuple):
    """What became of every variant since it was recorded, and what apply would do."""

    rows: tuple[Row, ...]
    plan: Plan

    @property
    def is_settled(self) -> bool:
        """Whether nothing has drifted and nothing is to be done."""
        return self.plan.is_empty and not any(row.has_drifted for row in self.rows)


class Serving(NamedTuple):
    """A variant's place in the order of a role, 1 first; `record` is None while it is not there."""

    variant: str
    position: int
    record: Record | None
    path: Path | None = None
    """What a serving program is given: the first GGUF file where that is the format, else the directory or the one file
    that its store calls the model. None while it is not there, and in an Ollama, which is asked for
    `record.attributes.served_as`."""


def load_settings(manifest: ManifestLike = None, **flags: object) -> Settings:
    """Return every setting that holds, and in `origins` where it came from. Raise InputError when any is wrong.

    Without a manifest a project's settings are looked for from the current directory upward.
    """
    from reconciler.settings import load
    from reconciler.settingsfiles import here

    return load(os.environ, flags, here() if manifest is None else loaded_of(manifest).path)


def status(
    manifest: ManifestLike = None,
    *,
    offline: bool = False,
    settings: Flags = None,
    progress: Progress | None = None,
) -> Status:
    """Compare what was recorded with what is there, beside the plan. Only files whose stat changed are read."""
    from reconciler import drift
    from reconciler.holding import open_registry
    from reconciler.plan import Selection
    from reconciler.survey import survey
    from reconciler.verify import verify as judged

    loaded = loaded_of(manifest)
    with means(loaded, settings_of(loaded, settings), progress, offline=offline) as given:
        seen = survey(loaded, open_registry(loaded, telling(progress)), given, Selection())
        contents = seen.world.contents
        records = [held.record for held in contents.ours]
        checked = judged(records, contents.locations, given.digests, full=False, watch=given.watch)
    return Status(drift.rows(seen.plan, contents.ours, checked.findings), seen.plan)


def verify(
    manifest: ManifestLike = None,
    *,
    variants: str | Iterable[str] = (),
    full: bool = False,
    settings: Flags = None,
    progress: Progress | None = None,
) -> Verification:
    """Check managed files against their recorded digests, on all cores; `repair` mends what is bad.

    `variants` are globs over VARIANT or VARIANT@LOCATION; `full` reads every byte again. Raise InputError for a glob
    that names nothing.
    """
    from reconciler.holding import open_registry
    from reconciler.survey import look
    from reconciler.verifying import check

    loaded = loaded_of(manifest)
    with means(loaded, settings_of(loaded, settings), progress, offline=True) as given:
        contents = look(loaded, open_registry(loaded, telling(progress)))
        return check(contents, given, many(variants), full=full)


def list_records(manifest: ManifestLike = None, *, progress: Progress | None = None) -> tuple[Record, ...]:
    """Return what the registry says of every managed variant, by location and name. Raise RegistryError."""
    from reconciler.holding import open_registry
    from reconciler.registry import records

    loaded = loaded_of(manifest)
    ours = [r for r in records(open_registry(loaded, telling(progress))) if r.manifest == loaded.identity]
    return tuple(sorted(ours, key=lambda record: (record.address.location, record.address.variant)))


def list_roles(manifest: ManifestLike = None, *, progress: Progress | None = None) -> Mapping[str, tuple[Serving, ...]]:
    """Return each role of the manifest with its variants in order of preference. Raise RegistryError."""
    loaded = loaded_of(manifest)
    ours = {record.address.variant: record for record in list_records(loaded, progress=progress)}
    return {
        role: tuple(_serving(name, position, ours.get(name), loaded) for position, name in enumerate(names, 1))
        for role, names in loaded.manifest.roles.items()
    }


def _serving(name: str, position: int, record: Record | None, loaded: Loaded) -> Serving:
    from reconciler.detect.rules import is_mmproj
    from reconciler.state import is_address

    place = loaded.manifest.locations.get(record.address.location) if record else None
    if record is None or is_address(record.root) or (place and place.store == "ollama"):
        return Serving(name, position, record)
    paths = sorted([*(file.path for file in record.files), *(link.path for link in record.links)])
    weights = [path for path in paths if path.endswith(".gguf") and not is_mmproj(path.rpartition("/")[2])]
    is_gguf = record.attributes.format == "gguf" and weights
    return Serving(name, position, record, Path(record.root, weights[0] if is_gguf else record.home))


def list_generations(manifest: ManifestLike = None) -> tuple[Generation, ...]:
    """Return what each apply of this manifest left for `undo`, the oldest first. Raise RegistryError."""
    from reconciler import generations

    loaded = loaded_of(manifest)
    found = (generations.read(loaded.registry, number) for number in generations.listing(loaded.registry))
    return tuple(each for each in found if each.result.get("manifest") == loaded.identity)


def detect_model(directory: str | os.PathLike[str]) -> Detected:
    """Return format, quantisation, kind and the like of the files below a directory, told by their headers.

    Nothing in them is trusted and none is run; what is wrong with them stands in `problems`. Raise DiskError when the
    directory cannot be listed.
    """
    from reconciler.detect import detect_directory
    from reconciler.disk import disk_error

    root = Path(directory)
    try:
        paths = [
            Path(folder, name).relative_to(root).as_posix()
            for folder, _, names in os.walk(root, onerror=_raise)
            for name in names
        ]
    except OSError as error:
        raise disk_error(error, str(root)) from error
    return detect_directory(root, sorted(paths))


def resolve_source(
    source: str,
    *,
    files: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    offline: bool = False,
    settings: Flags = None,
    progress: Progress | None = None,
) -> Pin:
    """Ask a source what it has now: revision, licence, and every file with size and digest. Nothing is downloaded.

    `source` is what a manifest would say (`hf:owner/repo@branch`), or the web address of a model. Raise InputError for
    what is no source, SourceError when it refuses.
    """
    world = upstream(None, settings_of(None, settings), progress, offline=offline)
    return _asked(source, _said(source, files, exclude), world)


def _asked(source: str, said: Mapping[str, Any], world: World, *, listing: bool = False) -> Pin:
    """Ask for files with their digests, or with `listing` for names and sizes alone."""
    from reconciler import resolve
    from reconciler.errors import InputError
    from reconciler.importing.claims import request_of

    try:
        return resolve.ask(request_of("", said)._replace(listing=listing), world)
    except ValueError as error:
        raise InputError(str(error), where=source) from None


def analyze(source: str, *, settings: Flags = None, progress: Progress | None = None) -> Analysis:
    """Say what a source holds before it is declared: builds with their sizes, licence, access, what would run.

    `source` as for `resolve_source`. Names and sizes are asked; no file is read, and nothing is written. Raise
    InputError, SourceError.
    """
    from reconciler import sources
    from reconciler.audit import analysis

    world = upstream(None, settings_of(None, settings), progress, offline=False)
    pin = _asked(source, _said(source, (), ()), world, listing=True)
    return analysis.analyze(pin, sources.access(pin, world) or "")


def why(
    name: str,
    manifest: ManifestLike = None,
    *,
    offline: bool = False,
    settings: Flags = None,
    progress: Progress | None = None,
) -> Account:
    """Say why VARIANT or VARIANT@LOCATION is where it is: who declares it, what chose its place, what the plan does.

    Raise InputError when nobody declared or recorded it.
    """
    from reconciler.audit.because import account
    from reconciler.errors import InputError
    from reconciler.holding import open_registry
    from reconciler.inert import suggest
    from reconciler.plan import Selection
    from reconciler.survey import survey

    loaded = loaded_of(manifest)
    with means(loaded, settings_of(loaded, settings), progress, offline=offline) as given:
        seen = survey(loaded, open_registry(loaded, telling(progress)), given, Selection())
    found = account(name, loaded, seen.world, seen.plan)
    if found is None:
        near = suggest(name.partition("@")[0], loaded.manifest.variants)
        hint = f"did you mean {near}?" if near else ""
        raise InputError(f"nobody declared or recorded {name!r}", where=str(loaded.path), hint=hint)
    return found


def _said(source: str, files: str | Iterable[str], exclude: str | Iterable[str]) -> dict[str, Any]:
    """Return what a manifest would say of a source or of an address; raise InputError for what is none."""
    from reconciler import links, sources
    from reconciler.errors import InputError

    try:
        said, _ = links.fields_of(source)
        sources.check(said["source"])
    except ValueError as error:
        raise InputError(str(error), where=source.partition("?")[0]) from None
    return {
        **said,
        **{key: list(given) for key, given in (("files", many(files)), ("exclude", many(exclude))) if given},
    }


def _raise(error: OSError) -> None:
    raise error
