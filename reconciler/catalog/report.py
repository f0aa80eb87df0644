"""The report on a catalog: one row a page, as CSV or JSON, in the columns that its other tools read. Pure."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from reconciler.catalog.classify import CLASSES, Class, Judged
from reconciler.inert import inert

_LONGEST = 4000


class Row(NamedTuple):
    """One page. The names and their order are the columns of the file."""

    file_path: str
    syntax_type: Class
    tested: Literal["Yes", "No"]
    """Whether somebody has looked for its files: `Yes` for the pages that the caller names."""
    is_valid: bool
    """Whether the page is fit for the detection of downloads by the syntax rules."""
    air: str
    """What stands behind `AIR:`, also where it is no AIR."""
    download_count: int
    """Commands, all that the thorough reading finds."""
    notes: str
    """Why it is not valid, what to fix, what else to know; parted by `; `."""


def rows(pages: Iterable[Judged], tested: Collection[str] = ()) -> tuple[Row, ...]:
    """Return a row for every page, by path; `tested` are the paths of pages whose files were looked for."""
    return tuple(sorted((_row(page, tested) for page in pages), key=lambda row: row.file_path))


def _row(judged: Judged, tested: Collection[str]) -> Row:
    page = judged.page
    fixes = [f"fix: {fix}" for fix in judged.fixes if not fix.startswith(judged.reasons or "\0")]
    notes = "; ".join(dict.fromkeys((*judged.reasons, *fixes, *judged.notes)))
    return Row(
        page.path, judged.syntax, "Yes" if page.path in tested else "No", judged.is_valid, inert(page.air or ""),
        judged.commands, inert(notes[:_LONGEST]),
    )  # fmt: skip


def summary(found: Iterable[Row]) -> Mapping[str, int]:
    """Count the pages, those that are valid, the downloads, and the pages of every class."""
    table = list(found)
    counts = Counter(row.syntax_type for row in table)
    return {
        "pages": len(table), "valid": sum(row.is_valid for row in table),
        "downloads": sum(row.download_count for row in table), **{name: counts[name] for name in CLASSES},
    }  # fmt: skip


def to_csv(found: Iterable[Row]) -> str:
    """Return the rows as CSV with a header (https://www.rfc-editor.org/rfc/rfc4180); booleans are True and False."""
    lines = _Lines()
    out = csv.writer(lines, lineterminator="\r\n")
    out.writerow(Row._fields)
    out.writerows([_cell(each) for each in row] for row in found)
    return "".join(lines)


def to_json(found: Sequence[Row]) -> str:
    """Return the rows and their counts as JSON."""
    return json.dumps({"summary": summary(found), "rows": [row._asdict() for row in found]}, indent=2) + "\n"


class _Lines(list[str]):
    """What a CSV writer writes to."""

    def write(self, text: str) -> None:
        self.append(text)


def _cell(value: object) -> object:
    """Keep a spreadsheet from taking text of others for a formula (https://owasp.org/www-community/attacks/CSV_Injection)."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value
