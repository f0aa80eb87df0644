"""What is known without reading a file or asking anybody: digests of what is here, pins, what is only declared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.state import Algorithm, Digest, identity_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconciler.audit.inventory import Item
    from reconciler.content import Contents
    from reconciler.manifest import Loaded
    from reconciler.registry import Registry
    from reconciler.state import Pin
    from reconciler.survey import Means


def contents_of(loaded: Loaded, registry: Registry, means: Means) -> Contents:
    """Look at every location, with the digests of all files that anybody has told or read before."""
    from reconciler.survey import look

    contents = look(loaded, registry)
    here = [place for place in contents.locations.values() if place.readable and not place.by_api]
    known: dict[tuple[int, int, int, int], Mapping[Algorithm, Digest]] = dict(
        means.digests.known(file for place in here for file in place.files.values())
    )
    for place in here:
        for path, digest in place.told.items():
            key = identity_key(place.files[path])
            known[key] = {**known.get(key, {}), "sha256": digest}
    for held in contents.theirs + contents.ours:
        for placed in held.record.files:
            file = contents.locations[held.location].files.get(placed.path)
            same = file is not None and (file.size, file.mtime_ns, file.inode) == placed[1:2] + placed[3:5]
            if file is not None and same and placed.digest.startswith("sha256:"):
                known.setdefault(identity_key(file), {"sha256": placed.digest})
    return replace(contents, known=known)


def pins_of(loaded: Loaded) -> Mapping[str, Pin]:
    """Return the pins of a manifest's lock, none where there is no lock. Raise LockfileError."""
    from reconciler import lockfile

    lock = lockfile.read(lockfile.path_for(loaded.path))
    return lock.pins if lock else {}


def only_declared(loaded: Loaded, recorded: Iterable[Item]) -> list[Item]:
    """Return an item for every variant that is declared and not recorded, as the lock has it. Raise LockfileError."""
    from reconciler.audit.inventory import absent
    from reconciler.desired import claims, desire, role_positions

    wanted = desire(loaded, pins_of(loaded), {})
    roles = role_positions(loaded.manifest.roles)
    said = {name: claims(variant, roles.get(name, ())) for name, variant in loaded.manifest.variants.items()}
    return absent(wanted.variants, wanted.undecided, recorded, said)
