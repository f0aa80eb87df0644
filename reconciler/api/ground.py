"""What the functions of the API stand on: the manifest as it is given, its settings, and whoever hears of progress."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import RLock, current_thread, main_thread
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from reconciler.digests import Question, Watch
    from reconciler.holding import Held
    from reconciler.manifest import Loaded
    from reconciler.settings import Settings
    from reconciler.sources import World
    from reconciler.survey import Means

ManifestLike: TypeAlias = "Loaded | str | os.PathLike[str] | None"
"""A manifest: loaded already, the path of a file or a directory, or None for `manifests/`, else `reconciler.yaml`."""
Event: TypeAlias = Mapping[str, Any]
"""Plain JSON values, `type` among them: the lines of `reconciler apply --json`, besides `reading` and `message`."""
Progress: TypeAlias = Callable[[Event], None]
"""Called with events, one call at a time, from any thread. An exception that it raises stops nobody."""
Cancel: TypeAlias = Callable[[], bool]
"""Says whether a call is wanted no more: `threading.Event().is_set`, for one. Asked by the thread of the call."""
Flags: TypeAlias = Mapping[str, object] | None
"""Settings by name, stronger than environment and files; a rate may be text (`20MiB`), a path a Path."""

_ONE = RLock()
_LOG = logging.getLogger("reconciler")
_LOG.addHandler(logging.NullHandler())  # who wants to see warnings says so: a library prints nothing by itself


def many(given: str | Iterable[str]) -> tuple[str, ...]:
    """Return names or globs, of which one may be given by itself: its letters are never taken for globs."""
    return (given,) if isinstance(given, str) else tuple(given)


def loaded_of(manifest: ManifestLike) -> Loaded:
    """Return a manifest, loaded. Raise ManifestError with everything that is wrong."""
    from reconciler.manifest import Loaded, load

    return manifest if isinstance(manifest, Loaded) else load(manifest if manifest is None else os.fspath(manifest))


def settings_of(loaded: Loaded | None, flags: Flags) -> Settings:
    """Return the settings that hold. Raise InputError when any is wrong, or cannot be said in a call."""
    from reconciler.errors import InputError
    from reconciler.settings import load
    from reconciler.settingsfiles import here

    if flags and flags.get("registry") is not None:  # a manifest that is loaded has its registry
        hint = "`registry:` of the manifest says it, or RECONCILER_REGISTRY"
        raise InputError(
            "not a setting of one call: all calls must speak of the same records", where="registry", hint=hint
        )
    return load(os.environ, flags, loaded.path if loaded else here())


def say(progress: Progress, kind: str, fields: Mapping[str, Any]) -> None:
    """Tell somebody an event; whoever cannot hear it stops nobody."""
    # In a thread of ours nothing may come through; in the caller's own, Ctrl-C must.
    ours = current_thread() is not main_thread()
    with _ONE, suppress(BaseException if ours else Exception):
        progress({"type": kind, **fields})


def stopping(cancel: Cancel | None) -> Cancel | None:
    """Return what asks `cancel`; one that fails wants nothing."""
    if cancel is None:
        return None

    def stop() -> bool:
        with suppress(Exception):
            return bool(cancel())
        return False

    return stop


def telling(progress: Progress | None) -> Callable[[str], None]:
    """Return what takes a line for people: an event `message`, or a warning of the logger `reconciler`."""

    def tell(text: str) -> None:
        if progress is None:
            _LOG.warning("%s", text)
        else:
            say(progress, "message", {"text": text})

    return tell


def upstream(loaded: Loaded | None, chosen: Settings, progress: Progress | None, *, offline: bool) -> World:
    """Return what sources may use."""
    from reconciler import equipment

    return equipment.upstream(chosen, loaded, offline=offline, warn=telling(progress))


@contextmanager
def means(loaded: Loaded, chosen: Settings, progress: Progress | None, *, offline: bool = False) -> Iterator[Means]:
    """Give what looking needs, and close it."""
    from reconciler import equipment

    warn, watch = telling(progress), reading(progress) if progress else None
    with equipment.means(chosen, loaded, offline=offline, warn=warn, watch=watch) as given:
        yield given


@contextmanager
def hold(loaded: Loaded, given: Means, what: str, progress: Progress | None) -> Iterator[Held]:
    """Lock the registry, and finish what an interrupted apply left. Raise BusyError when another apply holds it."""
    from reconciler import holding

    with holding.hold(loaded, given.digests, what, telling(progress)) as held:
        yield held


def reading(progress: Progress) -> Watch:
    """Return a watcher that tells how many bytes of a file were read since the last event about it."""

    def watch(question: Question, count: int) -> None:
        say(progress, "reading", {"file": str(question.path), "bytes": count})

    return watch
