"""Find the directory in which a server keeps its models. It never says so itself; every guess is checked against it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from reconciler.errors import OllamaError
from reconciler.inert import few, inert
from reconciler.ollama import manifests, names
from reconciler.ollama.address import is_loopback
from reconciler.ollama.api import Api, Listed, blob_directory
from reconciler.ollama.storage import Stored, StoredModel, environment_directory, read_store, usual_directories

_TRIES = 3
"""Answers of the server in which its directory is looked for."""
_REFUSALS = 12
"""Models that it may refuse to speak of besides, since their blobs are gone or spoilt."""

_STAT = re.compile(r"\bstat (.+)/manifests/")
"""What the server says of a dangling manifest: the path of it, and by that the directory."""

_DRIVE = re.compile(r"([A-Za-z]):[\\/](.*)")


class Spoken(NamedTuple):
    """What the server said: `why` is why its list could not be had, '' when it could; `version` may be known anyway."""

    url: str
    version: str = ""
    listed: tuple[Listed, ...] = ()
    why: str = ""


class Found(NamedTuple):
    """A directory, as far as it is known, and what it holds: None when that cannot be said."""

    directory: str | None = None
    stored: Stored | None = None
    warnings: tuple[str, ...] = ()


def find(
    declared: str | None, spoken: Spoken, environ: Mapping[str, str], timeout: float, system: Sequence[str]
) -> Found:
    """Return the directory of a server: the declared one, else what the server gives away, else a place that fits.

    Only of a server on this machine is anything but a declared directory believed.
    """
    if declared is not None:
        return _declared(declared, spoken)
    if not is_loopback(spoken.url):
        return Found()
    warnings: list[str] = []
    for directory, model in _told(spoken, timeout):
        found = _given_away(directory, model)
        if found.directory is not None:
            return found
        warnings += found.warnings
    guessed = _guessed(environ, spoken, system)
    if guessed.directory is not None:
        return guessed  # whatever the server calls it
    warnings += guessed.warnings
    if not warnings and not spoken.why:
        warnings.append("nobody says where the server keeps its models: name the directory with `models`")
    return Found(warnings=tuple(warnings))


class Differences(NamedTuple):
    """Names on which server and directory do not agree, each sorted."""

    listed: tuple[str, ...]
    """Only the server knows them."""
    stored: tuple[str, ...]
    """Only the directory has them."""
    other: tuple[str, ...]
    """Both have them, with other digests."""
    headless: tuple[str, ...]
    """The directory has them without their config, which is why no server would list them."""


def differences(listed: Sequence[Listed], stored: Stored) -> Differences:
    """Compare what a server lists with what a directory holds.

    Names are compared as the server does, whatever their case, and of several that are one any may match.
    """
    said: dict[str, list[Listed]] = {}
    for model in listed:
        said.setdefault(model.key, []).append(model)
    there: dict[str, list[StoredModel]] = {}
    for each in stored.models:
        there.setdefault(each.name.key, []).append(each)
    unlisted = [
        each
        for key, models in there.items()
        for each in models
        if key not in said and each.path.startswith("manifests/")  # of a later layout this server may know nothing
    ]
    headless = [each for each in unlisted if not _config(stored, each).exists()]
    other = [models[0].name for key, models in said.items() if key in there and not _agree(models, there[key])]
    return Differences(
        tuple(sorted(models[0].name for key, models in said.items() if key not in there)),
        tuple(sorted(each.name.short for each in unlisted if each not in headless)),
        tuple(sorted(other)),
        tuple(sorted(each.name.short for each in headless)),
    )


def _agree(listed: Sequence[Listed], stored: Sequence[StoredModel]) -> bool:
    return any(manifests.is_digest_of(one.digest, other.data) for one in listed for other in stored)


def _config(stored: Stored, model: StoredModel) -> Path:
    return Path(stored.directory, manifests.blob_path(model.manifest.config.digest))


def here(directory: str) -> str:
    r"""Return a directory of the server as this machine calls it: `C:\…` is `/mnt/c/…` where Windows is the host."""
    drive = _DRIVE.fullmatch(directory)
    return f"/mnt/{drive[1].lower()}/" + drive[2].replace("\\", "/") if drive else directory


def _declared(directory: str, spoken: Spoken) -> Found:
    stored = read_store(Path(directory))
    if stored.why:
        return Found(directory, None, (stored.why,))
    if not stored.exists and not spoken.why:
        told = f"{inert(directory)} is not there, though the server runs: does it keep its models elsewhere?"
        return Found(directory, None, (told,))
    return Found(directory, stored)


def _told(spoken: Spoken, timeout: float) -> Iterator[tuple[str, Listed | None]]:
    """Yield directories that the server gives away, each with the model that did it."""
    if spoken.why:
        if stat := _STAT.search(spoken.why):
            yield here(stat[1]), None
        return
    api = Api(spoken.url, timeout)
    local = [model for model in spoken.listed if not model.remote_host and not _is_reserved(model)]
    # Weights in one file give the place away; those of small models are quickly read by the server.
    local.sort(key=lambda model: (model.details.get("format") != "gguf", model.size))
    seen: set[str] = set()
    answers = refusals = 0
    for model in local:
        if answers == _TRIES or refusals > _REFUSALS:
            return
        try:
            directory = blob_directory(api.show(model.name))
        except OllamaError as error:
            refusals += 1 if error.status else _REFUSALS // 2  # one that is silent is waited for each time
            continue
        answers += 1
        if directory and here(directory) not in seen:
            seen.add(here(directory))
            yield here(directory), model


def _given_away(directory: str, model: Listed | None) -> Found:
    """Believe the server where the directory holds what it just spoke of: a container calls other places the same."""
    stored = read_store(Path(directory))
    if stored.why:
        return Found(directory, None, (stored.why,))
    if stored.exists and (model is None or _holds(stored, model)):
        return Found(directory, stored)
    what = "is not on this machine" if not stored.exists else "holds other models on this machine"
    told = f"{inert(directory)}, where the server keeps its models, {what}: is it in a container?"
    return Found(warnings=(f"{told} If its store is mounted here, name it with `models`",))


def _holds(stored: Stored, model: Listed) -> bool:
    return any(each.name.key == model.key and manifests.is_digest_of(model.digest, each.data) for each in stored.models)


def _guessed(environ: Mapping[str, str], spoken: Spoken, system: Sequence[str]) -> Found:
    named = environment_directory(environ)
    usual = usual_directories(environ, system)
    fitting: list[Found] = []
    warnings: tuple[str, ...] = ()
    for directory in dict.fromkeys([named, *usual] if named else usual):
        stored = read_store(Path(directory))
        if stored.exists and not stored.why and (spoken.why or _fits(stored, spoken.listed)):
            fitting.append(Found(directory, stored))
        elif directory == named:
            warnings = (f"OLLAMA_MODELS says {inert(named)}, which {_unfit(stored)}",)
    if not fitting:
        return Found(warnings=warnings)
    # A variable that somebody set weighs more than models that happen to lie in a usual place.
    best = next((each for each in fitting if each.stored and each.stored.models and not named), fitting[0])
    if others := [each.directory or "" for each in fitting if each is not best]:
        told = f"{best.directory} is taken for the server's directory, and could be {few(others)}: say so with `models`"
        warnings = (*warnings, inert(told))
    return best._replace(warnings=warnings)


def _fits(stored: Stored, listed: Sequence[Listed]) -> bool:
    """Whether a directory holds exactly what the server lists. A server that runs has made its directory."""
    found = differences(listed, stored)
    return not (found.listed or found.stored or found.other) and Path(stored.directory, "blobs").is_dir()


def _unfit(stored: Stored) -> str:
    if not stored.exists:
        return "is not there"
    return "cannot be read" if stored.why else "does not hold what the server lists"


def _is_reserved(model: Listed) -> bool:
    try:
        return names.is_reserved(names.parse(model.name).tag)
    except ValueError:
        return True
