"""Locations: can files be placed there, what kind of disk is it, what of ours lies around."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler import filesystems
from reconciler.doctor.checks import Check
from reconciler.filesystems import Mount
from reconciler.inert import human_bytes

if TYPE_CHECKING:
    from reconciler.manifest import Loaded
    from reconciler.registry import Registry
    from reconciler.state import ObservedLocation

_GROUPED = 3
"""Warnings about one location that are told; the rest are counted."""


def examine(loaded: Loaded, registry: Registry) -> Iterator[Check]:
    """Yield how every location is, and between which of them bytes can be shared."""
    from reconciler.survey import look

    seen = {name: place for name, place in look(loaded, registry).locations.items() if not place.by_api}
    known = filesystems.mounts()
    recorded = {location.root for location in registry.locations.values()}
    mounted = {name: filesystems.mount_of(_nearest(place), known) for name, place in seen.items()}
    for name, place in seen.items():
        yield from _location(place, mounted[name], loaded.manifest.policy.min_free, place.root in recorded)
        yield from _elsewhere(place, loaded)
    yield from sharing({name: mounted[name] for name, place in seen.items() if place.readable})


def _location(place: ObservedLocation, mount: Mount | None, min_free: int, is_recorded: bool) -> Iterator[Check]:
    name = f"location {place.name}"
    if not place.readable:
        yield Check(name, "problem", place.why, "mount the right disk, or correct `root` in the manifest")
        return
    kind = f", {mount.kind}" if mount else ""
    state = "" if place.exists else "; not there yet, apply makes it"
    identity = "; id as recorded" if is_recorded else ""
    yield Check(name, "ok", f"{place.root}{kind}, {human_bytes(place.free_bytes)} free{identity}{state}")
    there = _nearest(place)
    if place.read_only:
        yield Check(name, "problem", place.read_only)
    elif why := unwritable(there):
        yield Check(name, "problem", f"{there}: {why}", "check its owner, its mode and how it is mounted")
    if mount is not None and mount.kind in filesystems.SMALL_FILES:
        yield Check(name, "warning", f"{mount.kind} holds no file of 4 GiB or more", "use exFAT or a Linux file system")
    if place.free_bytes < min_free:
        told = f"{human_bytes(place.free_bytes)} free, and policy.min_free is {human_bytes(min_free)}"
        yield Check(name, "problem", told, "free some space (`reconciler gc` empties the trash); downloads are blocked")
    yield from _leftovers(name, place)


def _elsewhere(place: ObservedLocation, loaded: Loaded) -> Iterator[Check]:
    """Yield what a ComfyUI reads besides a location that does not say so: its `extra_model_paths.yaml`."""
    from reconciler.importing.homes import extra_of

    file = extra_of(Path(place.root)) if place.store == "comfyui" else None
    if file is not None and loaded.manifest.locations[place.name].extra_model_paths is None:
        told = f"ComfyUI is told of more folders in {file}, and this location does not name that file"
        hint = f"`extra_model_paths: {file}` in the location; `reconciler import comfyui {file.parent}` takes them over"
        yield Check(f"location {place.name}", "warning", told, hint)


def _leftovers(name: str, place: ObservedLocation) -> Iterator[Check]:
    from reconciler.render.lines import counted

    if place.staged:
        told = f"{counted(len(place.staged), 'file')} in its stage ({human_bytes(sum(s.size for s in place.staged))})"
        yield Check(
            name, "warning", told, "from an apply that was cut short; the next one goes on with it or clears it"
        )
    if place.trash:
        size = human_bytes(sum(each.size for each in place.trash))
        yield Check(name, "ok", f"{counted(len(place.trash), 'file')} in its trash ({size}; `reconciler gc` frees it)")
    warnings = place.warnings if place.store != "ollama" else ()  # told one by one, with what helps, elsewhere
    for warning in warnings[:_GROUPED]:
        yield Check(name, "warning", warning)
    if len(warnings) > _GROUPED:
        yield Check(name, "warning", f"and {len(warnings) - _GROUPED} more like these")


def unwritable(path: str) -> str:
    """Return why nothing can be placed in the directory `path`, '' when it can; told without writing."""
    try:
        if os.statvfs(path).f_flag & os.ST_RDONLY:
            return "the file system is mounted read-only"
    except OSError as error:
        return error.strerror or "cannot be looked at"
    if not Path(path).is_dir():
        return "a file, not a directory"
    return "" if os.access(path, os.W_OK | os.X_OK) else "no permission to write"


def _nearest(place: ObservedLocation) -> str:
    from reconciler.oserrors import nearest

    return str(nearest(Path(place.root)))


def sharing(mounted: Mapping[str, Mount | None]) -> Iterator[Check]:
    """Yield how the same bytes come to two locations: shared on one file system, copied between two. Pure."""
    groups: dict[Mount, list[str]] = {}
    for name, mount in mounted.items():
        if mount is not None:
            groups.setdefault(mount, []).append(name)
    for mount, names in groups.items():
        if len(names) > 1:
            yield _shared(mount, names)
    if len(groups) > 1:
        apart = "; ".join(", ".join(names) for names in groups.values())
        yield Check("sharing", "ok", f"copied between file systems: {apart}")


def _shared(mount: Mount, names: Sequence[str]) -> Check:
    among = ", ".join(names)
    if mount.kind in filesystems.NO_HARDLINKS:
        hint = "put them on a file system with hard links to store the same bytes once"
        return Check("sharing", "warning", f"{among}: the same bytes are copied, {mount.kind} has no links", hint)
    way = "as reflinks, else hard links" if mount.kind in filesystems.REFLINKS else "as hard links"
    return Check("sharing", "ok", f"{among}: the same bytes are stored once, {way} ({mount.kind})")
