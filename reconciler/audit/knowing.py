"""What is known of all files of a machine without reading one: records, and the cache of digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.state import Algorithm, Digest, identity_key

if TYPE_CHECKING:
    from reconciler.content import Contents
    from reconciler.manifest import Loaded
    from reconciler.registry import Registry
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
