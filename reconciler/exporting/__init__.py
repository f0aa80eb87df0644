"""What a manifest manages in the forms of others: one module a form, and the table of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.audit.inventory import Item
    from reconciler.manifest import Loaded
    from reconciler.registry import Entry


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
