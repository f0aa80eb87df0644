"""Ollama: does the server answer, where are its models, may we write there, and what lies there that hurts it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.doctor.checks import Check
from reconciler.inert import few, human_bytes, inert
from reconciler.ollama import look, names, storage

if TYPE_CHECKING:
    from reconciler.manifest import Loaded
    from reconciler.ollama.look import Seen
    from reconciler.ollama.storage import Stored

_LOUDEST = 50
"""Bad entries that are told one by one."""


def examine(loaded: Loaded, environ: Mapping[str, str], *, offline: bool) -> Iterator[Check]:
    """Yield how every `ollama` location of a manifest is. With `offline` only servers on this machine are asked."""
    from reconciler.errors import InputError
    from reconciler.ollama.address import is_loopback, url_of

    for name, place in loaded.manifest.locations.items():
        if place.store != "ollama":
            continue
        shown = f"ollama {name}"
        try:
            url = url_of(place.url, environ)
        except InputError as error:
            problem = error.problems[0]
            yield Check(shown, "problem", f"{problem.where}: {problem.summary}", problem.hint)
            continue
        if offline and not is_loopback(url):
            yield Check(shown, "ok", f"{url} was not asked (--offline)")
            continue
        yield from told(shown, look.look(name, place.url, place.models, environ), time.time())


def examine_default(environ: Mapping[str, str], system: Sequence[str] = storage.SYSTEM) -> Iterator[Check]:
    """Yield how the server that this machine uses by default is; nothing when there is neither server nor store."""
    from reconciler.errors import InputError
    from reconciler.ollama.address import is_loopback, url_of

    try:
        is_here = is_loopback(url_of(None, environ))
    except InputError:
        is_here = True
    if not is_here:
        return  # nobody declared it: another machine is none of our business
    seen = look.look("ollama", None, None, environ, system=system)
    if seen.mode:
        yield from told("ollama", seen, time.time())


def told(name: str, seen: Seen, now: float) -> Iterator[Check]:
    """Yield the checks of one Ollama; `now` in unix seconds."""
    yield _server(name, seen)
    yield from _directory(name, seen)
    said = {str(each) for each in seen.stored.broken} if seen.stored else set()
    for warning in seen.warnings:
        if warning.endswith(look.NOT_YOURS):
            way = "everything goes through the server's API" if seen.api else "nothing can be changed while it is down"
            hint = "run as the user of the server, or give yours write access to blobs/ and manifests/"
            yield Check(name, "warning", f"{warning}: {way}", hint)
        elif warning not in said and not warning.startswith((seen.why_no_api or "\0", "and ")):
            yield Check(name, "warning", warning)
    if seen.stored is not None:
        yield from _bad(name, seen.stored)
        yield from _reserved(name, seen.stored)
        yield _tidying(name, seen.stored, now)


def _server(name: str, seen: Seen) -> Check:
    from reconciler.render.lines import counted

    if seen.api:
        return Check(name, "ok", f"Ollama {seen.version} at {seen.url}, {counted(len(seen.listed), 'model')} listed")
    if seen.version:
        told = f"Ollama {seen.version} runs, and cannot list its models: {seen.why_no_api}"
        return Check(name, "problem", told, "see below what stands in its way" if seen.stored else "look at its log")
    if seen.stored is not None:
        return Check(name, "warning", seen.why_no_api, "only its directory was looked at")
    return Check(name, "problem", seen.why_no_api, "or name the directory of its models with `models`")


def _directory(name: str, seen: Seen) -> Iterator[Check]:
    from reconciler.render.lines import counted

    if seen.stored is None:
        if seen.api:
            found = "the server's API alone is used: downloads are its own, and no file is shared with other places"
            hint = "" if seen.directory is None else f"let your user read and write {seen.directory}"
            yield Check(name, "ok" if not hint else "warning", found, hint)
        return
    if not seen.stored.exists:
        yield Check(name, "ok", f"{inert(seen.stored.directory)} is not there yet")
        return
    unique, apparent = storage.bytes_on_disk(Path(seen.stored.directory))
    size = human_bytes(unique) + (f" on disk, {human_bytes(apparent)} by name" if apparent > unique else " on disk")
    whose = "" if seen.writable and not seen.same_owner else ", writable by you" if seen.writable else ""
    yield Check(
        name, "ok", f"{inert(seen.stored.directory)}: {counted(len(seen.stored.models), 'model')}, {size}{whose}"
    )


def _bad(name: str, stored: Stored) -> Iterator[Check]:
    for each in stored.broken[:_LOUDEST]:
        yield Check(name, "problem", f"{inert(each.path)}: {each.what}", each.remedy)
    if len(stored.broken) > _LOUDEST:
        yield Check(name, "problem", f"and {len(stored.broken) - _LOUDEST} more entries like these")


def _reserved(name: str, stored: Stored) -> Iterator[Check]:
    """Tell of models that the server lists and can neither show nor delete; stubs of remote ones are meant so."""
    for model in stored.models:
        if names.is_reserved(model.name.tag) and model.manifest.layers:
            found = f"{model.name.short}: its tag is a mark to the server, which can neither run nor delete this model"
            path = f"{stored.directory}/{model.path}"
            yield Check(name, "warning", found, f"copy it to another name, then {storage.remove_command(path)}")


def _tidying(name: str, stored: Stored, now: float) -> Check:
    from reconciler.render.lines import counted

    files = storage.blob_files(Path(stored.directory))
    lost = storage.orphans(stored, files, now)
    unknown = "whether OLLAMA_NOPRUNE keeps it from that cannot be seen from here"
    if stored.broken:
        return Check(name, "ok", "the server deletes no blob while a manifest is bad, and neither do we")
    if not lost:
        return Check(name, "ok", f"no blob is left over; the server deletes such when it starts, and {unknown}")
    size = human_bytes(sum(files[path].size for path in lost))
    shown = few([path.rpartition("/")[2][:19] for path in lost])
    told = (
        f"{counted(len(lost), 'blob')} that no manifest names ({size}: {shown}); the server deletes them at its start"
    )
    return Check(name, "ok", f"{told}; {unknown}")
