"""Variants as CSV (https://www.rfc-editor.org/rfc/rfc4180), one a row, for spreadsheets. Pure.

Numbers are plain numbers: `parameters` counts them, `context` tokens, `bytes` bytes.
"""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING

from reconciler.audit.inventory import COLUMNS
from reconciler.detect.rules import container_of
from reconciler.inert import inert
from reconciler.secrets import redact

if TYPE_CHECKING:
    from reconciler.audit.inventory import Item
    from reconciler.exporting import Exported
    from reconciler.state import Pin

_COLUMNS = (
    "name", "location", "source", "format", "quant", "kind", "architecture", "parameters", "context", "backend",
    "served_as", "license", "roles", "protect", "files", "bytes", "path",
)  # fmt: skip
_UNITS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
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
    return [
        *(_parameters(item) if column == "parameters" else COLUMNS[column](item) for column in _COLUMNS),
        item.pin.revision if item.pin else None,
        _sha256(item.pin),
        "yes" if item.record else "no",
    ]


def _parameters(item: Item) -> int | None:
    """Return how many there are: as the tensors say, else as the label of the size does (`7B`), which is rounded."""
    told = item.record.told if item.record else {}
    if isinstance(counted := told.get("parameters"), int):
        return counted
    label = re.fullmatch(r"([0-9]{1,6})(?:\.([0-9]{1,3}))? ?([KMBT])", str(told.get("size_label")))
    if label is None:
        return None
    whole, fraction, unit = label.groups(default="")
    return int(whole + fraction) * int(_UNITS[unit] // 10 ** len(fraction))


def _sha256(pin: Pin | None) -> str | None:
    """Return the digest of the file with the weights, where there is one such file."""
    files = pin.files if pin else ()
    weights = [file for file in files if file.media_type.endswith(".model") or container_of([file.path])]
    digests = [file.digest for file in weights or files]
    return digests[0].removeprefix("sha256:") if len(digests) == 1 and digests[0].startswith("sha256:") else None


def _cell(value: object) -> object:
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    text = redact(inert(value))
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text
