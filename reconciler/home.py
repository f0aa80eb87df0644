"""Where the home directory is, and the paths that begin there: the one answer for settings, tokens and manifests."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from reconciler.errors import InputError


def find(environ: Mapping[str, str] | None = None) -> str | None:
    """Return the home directory: `$HOME`, where that says nothing what the system knows of this user; else None.

    A service or a container may run as a user of whom nobody knows a home. Raise InputError for a relative one:
    records and caches would be somewhere else from every directory.
    """
    said = (os.environ if environ is None else environ).get("HOME") or _of_user()
    if said and not said.startswith("/"):
        raise InputError(f"expected an absolute path, found {said[:80]!r}", where="HOME")
    return said or None


def home(environ: Mapping[str, str] | None = None) -> str:
    """Return the home directory. Raise InputError where there is none."""
    found = find(environ)
    if found is None:
        raise InputError(
            "this user has no home directory, and HOME is not set",
            hint="set HOME, or XDG_CONFIG_HOME, XDG_CACHE_HOME and XDG_DATA_HOME, and write paths out in manifests",
        )
    return found.rstrip("/") or "/"


def expand(text: str, environ: Mapping[str, str] | None = None) -> Path:
    """Return a path in which `~/` at the beginning is the home directory. Raise InputError where there is none."""
    return Path(home(environ), text[2:]) if text == "~" or text.startswith("~/") else Path(text)


def base(environ: Mapping[str, str], variable: str, below: str) -> Path:
    """Return a base directory of XDG; a relative one counts as not set.

    https://specifications.freedesktop.org/basedir/latest/
    """
    given = environ.get(variable, "")
    return Path(given) if given.startswith("/") else Path(home(environ)) / below


def _of_user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""
