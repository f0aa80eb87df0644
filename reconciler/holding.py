"""The registry in hand: for looking, as it will be once an interrupted apply is finished; for writing, locked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from reconciler.registry import Registry, load, locked

if TYPE_CHECKING:
    from reconciler.digests import Digests
    from reconciler.manifest import Loaded

Tell = Callable[[str], None]
"""Called with one line for people."""


class Held(NamedTuple):
    """The registry, locked for writing and brought to its end if an apply was cut short.

    `fd` is the lock. `recovered_from` is the registry's serial before that, None when there was nothing to finish.
    `command` is the one that holds it.
    """

    registry: Registry
    fd: int
    recovered_from: int | None = None
    command: str = ""


@contextmanager
def hold(loaded: Loaded, digests: Digests, command: str, tell: Tell) -> Iterator[Held]:
    """Lock the registry and finish what an interrupted apply left. Raise BusyError when another apply holds it.

    `command` is the one that others are told of meanwhile; `tell` hears what was finished.
    """
    from reconciler.apply.recover import recover
    from reconciler.inert import inert
    from reconciler.render.lines import counted

    with locked(loaded.registry, holder=f"reconciler {command}") as fd:
        found = load(loaded.registry)
        registry, recovered = recover(found, digests)
        for one in recovered:
            tell(f"finished an interrupted apply: {counted(one.steps, 'step')} of it recorded")
            for address, why in one.left:
                tell(inert(f"{address}: cut off in the middle, and it cannot be finished now: {why}"))
        yield Held(registry, fd, found.serial if recovered else None, command)


def open_registry(loaded: Loaded, warn: Tell) -> Registry:
    """Load the registry for reading, with what an interrupted apply has still to record laid over it, and say so."""
    from reconciler import journal
    from reconciler.locking import holder_of, is_held

    registry = load(loaded.registry)
    lock = registry.path / "lock"
    if is_held(lock):
        warn(f"an apply is running (process {holder_of(lock).get('pid', '?')}); this is what it has recorded")
    elif journal.unfinished(registry.path / "journal"):
        from reconciler.apply.recover import foreseen

        warn("an apply was interrupted; the next one finishes it first, and is taken for finished here")
        return foreseen(registry)
    return registry
