"""The entries of a manifest's variants as a registry that ImageWorks reads: our own field of them left out."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from reconciler.registry.entry import BLOCK

if TYPE_CHECKING:
    from reconciler.exporting import Exported

_HALF = re.compile("[\ud800-\udfff]")


def render(exported: Exported) -> str:
    """Return a JSON array of entries, by name, curated facts included; variants that are not recorded have none.

    What stands in our own field and is not said elsewhere, the branch, is said as ImageWorks says it.
    """
    entries = sorted((_plain(entry) for entry in exported.entries), key=lambda entry: str(entry.get("name")))
    text = json.dumps(entries, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if _HALF.search(text):  # only escapes can say half a character, which other programs cut texts to
        return json.dumps(entries, indent=2, ensure_ascii=True, allow_nan=False) + "\n"
    return text


def _plain(entry: Any) -> dict[str, Any]:
    said = entry.get("metadata") or {}
    source = str(said.get(BLOCK, {}).get("source", ""))
    branch = source.partition("@")[2] if source.startswith("hf:") else ""
    metadata = {key: value for key, value in said.items() if key != BLOCK}
    return {**entry, "metadata": {**metadata, "branch": branch} if branch else metadata}
