"""What a manifest manages in the forms of others: one module a form, and the table of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.audit.inventory import Item
    from reconciler.manifest import Loaded
    from reconciler.registry import Entry, Registry
    from reconciler.settings import Settings


@dataclass(frozen=True, slots=True)
class Exported:
    """What there is to export. `entries` are the registry's, as serving tools read them."""

    loaded: Loaded
    items: tuple[Item, ...]
    """Recorded, or declared; the lock says what the latter will be."""
    entries: tuple[Entry, ...]
    timestamp: str = ""
    """ISO 8601; '' leaves time out, so that the same inputs give the same bytes."""
    endpoint: str = "https://huggingface.co"
    civitai: str = "https://civitai.com"


EXPORTERS: Mapping[str, str] = {"imageworks": "imageworks", "csv": "table", "cyclonedx": "cyclonedx"}
"""Form -> module of this package."""


def exporter_of(form: str) -> Callable[[Exported], str]:
    """Return the function that writes a form; the form is one of `EXPORTERS`."""
    import importlib

    render: Callable[[Exported], str] = importlib.import_module(f"reconciler.exporting.{EXPORTERS[form]}").render
    return render


def gathered(loaded: Loaded, registry: Registry, chosen: Settings, *, timestamp: bool = False) -> Exported:
    """Return all that any form needs; nobody is asked, and no file of a model is read. Raise LockfileError."""
    from datetime import UTC, datetime

    from reconciler.audit import inventory
    from reconciler.audit.knowing import only_declared
    from reconciler.registry import merged
    from reconciler.registry.entry import key_of
    from reconciler.survey import look

    items = inventory.recorded(look(loaded, registry).ours)
    items += only_declared(loaded, items)
    ours = [entry for entry in merged(registry) if (key := key_of(entry)) and key.manifest == loaded.identity]
    stamp = datetime.now(UTC).isoformat(timespec="seconds") if timestamp else ""
    return Exported(loaded, tuple(items), tuple(ours), stamp, chosen.endpoint, chosen.civitai_endpoint)
