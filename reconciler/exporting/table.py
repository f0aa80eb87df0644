"""Variants as CSV (https://www.rfc-editor.org/rfc/rfc4180), one a row, for spreadsheets. Pure."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from reconciler.audit.inventory import COLUMNS
from reconciler.inert import inert
from reconciler.secrets import redact

if TYPE_CHECKING:
    from reconciler.audit.inventory import Item
    from reconciler.exporting import Exported

_COLUMNS = (
    "name", "location", "source", "format", "quant", "kind", "architecture", "parameters", "context", "backend",
    "served_as", "license", "roles", "protect", "files", "bytes", "path",
)  # fmt: skip
_HEADERS = (*_COLUMNS, "revision", "sha256", "recorded")


def render(exported: Exported) -> str:
    """Return a header and a row for each variant. A text that a spreadsheet would run begins with an apostrophe."""
    lines = _Lines()
    writer = csv.writer(lines)
    writer.writerow(_HEADERS)
    for item in exported.items:
        writer.writerow([_cell(value) for value in _row(item)])
    return "".join(lines)


class _Lines(list[str]):
    """What a CSV writer writes to."""

    write = list[str].append


def _row(item: Item) -> list[object]:
    digests = [file.digest for file in (item.pin.files if item.pin else ()) if file.digest.startswith("sha256:")]
    return [
        *(COLUMNS[column](item) for column in _COLUMNS),
        item.pin.revision if item.pin else None,
        digests[0].removeprefix("sha256:") if len(digests) == 1 else None,
        "yes" if item.record else "no",
    ]


def _cell(value: object) -> object:
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    text = redact(inert(value))
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text
