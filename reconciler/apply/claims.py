"""Refuse to take away what a store's own index names by now: its server may have been at work since we planned."""

from __future__ import annotations

from pathlib import Path

from reconciler.errors import StaleError
from reconciler.plan import Place, Step


def check_unclaimed(place: Place, step: Step) -> None:
    """Raise StaleError when a file that a step takes away is in use; only an Ollama store has an index to ask."""
    if place.store != "ollama" or not step.trash:
        return
    from reconciler.ollama.storage import read_store

    stored = read_store(Path(place.root))
    ours = {note.path for note in (*step.notes, *step.unnotes)}  # these are written anew or go, before the files do
    hidden = {broken.path for broken in stored.broken if broken.hides}
    for row in step.trash:
        users = (stored.users.get(row.path, frozenset()) | hidden) - ours
        if users:
            raise StaleError(f"{min(users)} names it by now", where=f"{step.address}: {row.path}", hint="plan again")
    if step.reason == "orphan-blob" and stored.broken:
        broken = stored.broken[0]
        raise StaleError(f"{broken.path}: {broken.what}", where=str(step.address), hint="plan again")
