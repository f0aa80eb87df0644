"""Look at an Ollama: what its server says, what its directory holds, and whether both tell the same."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.inert import few, inert
from reconciler.ollama.storage import SYSTEM

if TYPE_CHECKING:
    from reconciler.ollama.api import Listed
    from reconciler.ollama.finding import Spoken
    from reconciler.ollama.storage import Stored

_LOUDEST = 20
"""Broken entries that are told; the rest are counted."""

NOT_YOURS = "cannot be written by you"
"""How the warning about a store that only its server can change ends."""

_LONGER = 5
"""How many times the timeout a list may take: a server that is alive reads the heads of all models for it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one Ollama.

    `mode` is `api+store`, `api-only`, `store-only`, or '' when neither can be had. `api` means that it listed its
    models; `version` may be known without. `stored` is None when the directory is not known or cannot be read; a
    declared one that is not there yet is an empty one, unless the server runs.
    """

    url: str
    api: bool = False
    why_no_api: str = ""
    version: str = ""
    listed: tuple[Listed, ...] = ()
    directory: str | None = None
    stored: Stored | None = None
    writable: bool = False
    same_owner: bool = True
    mode: str = ""
    warnings: tuple[str, ...] = ()
    name: str = ""
    """Of the location."""


def root_of(seen: Seen) -> str:
    """Return the root of the location: its directory where we can work in it, else the server's URL.

    A directory that we can only read serves while the server is down.
    """
    if seen.directory is not None and seen.stored is not None and (seen.writable or not seen.api):
        return seen.directory
    return seen.url


def by_api(seen: Seen) -> bool:
    """Whether everything must be asked of the server, because its directory is not ours to write."""
    return root_of(seen) == seen.url


def look(
    name: str,
    url: str | None,
    models: str | None,
    environ: Mapping[str, str],
    *,
    timeout: float = 3.0,
    system: Sequence[str] = SYSTEM,
) -> Seen:
    """Look at the location `name`; `url` and `models` (absolute) as declared. Never raises, and writes nothing.

    `timeout` is in seconds, for a connection and for each silence; `system` are places to look in besides the user's.
    """
    from reconciler.ollama.finding import find

    spoken = _ask(url, environ, timeout)
    found = find(models, spoken, environ, timeout * _LONGER, system)
    api, stored, directory = not spoken.why, found.stored, found.directory
    closed = unwritable(stored) if stored is not None else ""
    writable = stored is not None and not closed
    owner = _owner(stored.directory) if stored is not None else None
    same_owner = owner is None or owner == os.geteuid()
    mode = "+".join(part for part, there in (("api", api), ("store", stored is not None)) if there)
    warnings = [*found.warnings]
    if stored is not None:
        if spoken.why:
            warnings.insert(0, f"{spoken.why}; only its directory was read")
        else:
            warnings += _compared(spoken, stored)
        warnings += _access(stored.directory, closed, owner, same_owner=same_owner)
        warnings += _broken(stored)
    return Seen(
        spoken.url, api, spoken.why, spoken.version, spoken.listed, directory, stored, writable, same_owner,
        mode if "+" in mode or not mode else f"{mode}-only", tuple(warnings), name,
    )  # fmt: skip


def unwritable(stored: Stored) -> str:
    """Return a path of a store in which our user may not make files, '' when there is none; told without writing.

    Blobs come and go in one directory, manifests in many, which the server made with its own mask. What is not there
    yet counts by the nearest directory above it, in which it would be made.
    """
    from reconciler.oserrors import nearest

    effective = os.access in os.supports_effective_ids
    for folder in ("", "blobs", "manifests", *(path for path in stored.folders if path.startswith("manifests/"))):
        there = nearest(Path(stored.directory, folder))
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK, effective_ids=effective):
            return str(there)
    return ""


def _ask(url: str | None, environ: Mapping[str, str], timeout: float) -> Spoken:
    from reconciler.errors import ReconcilerError
    from reconciler.ollama.address import DEFAULT, url_of
    from reconciler.ollama.api import Api
    from reconciler.ollama.finding import Spoken

    address, version = DEFAULT, ""
    try:
        address = url_of(url, environ)
        version = Api(address, timeout).version()
        return Spoken(address, version, Api(address, timeout * _LONGER).tags())
    except ReconcilerError as error:
        return Spoken(address, version, why=str(error.problems[0]))


def _compared(spoken: Spoken, stored: Stored) -> Iterator[str]:
    from reconciler.ollama.finding import differences

    found = differences(spoken.listed, stored)
    directory = inert(stored.directory)
    if found.listed:
        yield f"the server lists {inert(few(found.listed))}, which {directory} lacks: is it another server's directory?"
    if found.stored:
        told = f"{directory} holds {inert(few(found.stored))}, which the server does not list"
        yield f"{told}: is it another server's directory?"
    if found.headless:
        told = f"{inert(few(found.headless))}: the config is missing, so that the server does not list it"
        yield f"{told}; have it pulled again, or delete it"
    if found.other:
        yield f"{inert(few(found.other))}: the server tells another digest than {directory} holds; was it just changed?"


def _access(directory: str, closed: str, owner: int | None, *, same_owner: bool) -> Iterator[str]:
    if closed:
        whose = _owner(closed)
        yield f"{inert(closed)}{'' if whose is None else f' belongs to {_user(whose)} and'} {NOT_YOURS}"
    elif not same_owner:
        told = "models that are linked from your files cannot be derived from by `ollama create`"
        yield f"{inert(directory)} belongs to {_user(owner)}: {told}"


def _broken(stored: Stored) -> Iterator[str]:
    yield from map(str, stored.broken[:_LOUDEST])
    if len(stored.broken) > _LOUDEST:
        yield f"and {len(stored.broken) - _LOUDEST} more entries like these"


def _owner(directory: str) -> int | None:
    """Return the user who owns a store, whose server makes its blobs; None when it is not there."""
    for folder in (f"{directory}/blobs", directory):
        try:
            facts = Path(folder).stat()
        except OSError:
            continue
        if stat.S_ISDIR(facts.st_mode):
            return facts.st_uid
    return None


def _user(uid: int | None) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid or 0).pw_name
    except (KeyError, ValueError):
        return f"user {uid}"
