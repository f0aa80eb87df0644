"""Look at an Ollama: what its server says, what its directory holds, and whether both tell the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.ollama.api import Listed
    from reconciler.ollama.storage import Stored


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of one Ollama.

    `mode` is `api+store`, `api-only`, `store-only`, or '' when neither can be had. `stored` is None when the directory
    is not known or cannot be read; a declared one that is not there yet is an empty one, unless the server runs.
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


def root_of(seen: Seen) -> str:
    """Return the root of the location: its directory where we can work in it, else the server's URL."""
    usable = seen.directory is not None and seen.stored is not None
    return seen.directory or "" if usable and (seen.writable or not seen.api) else seen.url


def by_api(seen: Seen) -> bool:
    """Whether everything must be asked of the server, because its directory is not ours to write."""
    return root_of(seen) == seen.url


def look(name: str, url: str | None, models: str | None, environ: Mapping[str, str], *, timeout: float = 3.0) -> Seen:
    """Look at the location `name`; `url` and `models` as declared, `timeout` in seconds. Never raises."""
    raise NotImplementedError
