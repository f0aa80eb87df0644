"""The report of an import: what was taken, known, left out, and why; as text, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from reconciler.errors import InputError
from reconciler.importing.found import KNOWN, Kind, Row, Table
from reconciler.inert import inert

KINDS: tuple[Kind, ...] = get_args(Kind)

_SUFFIXES = (".csv", ".json")
_SHOWN = 60
"""Lines of one kind that people read; the rest is counted."""


def summary(rows: Iterable[Row]) -> Mapping[str, int]:
    """Count the rows of each kind."""
    kinds = [row.kind for row in rows]
    return {kind: kinds.count(kind) for kind in KINDS}


def check_path(path: str) -> Path:
    """Return where the report goes; raise InputError for a name that says no format."""
    if not path.lower().endswith(_SUFFIXES):
        raise InputError("a report is CSV or JSON", where=inert(path), hint="name a file that ends with .csv or .json")
    if not Path(path).absolute().parent.is_dir():
        raise InputError("there is no such directory", where=inert(str(Path(path).parent)), hint="make it first")
    return Path(path)


def save(path: Path, rows: Sequence[Row], table: Table | None = None) -> None:
    """Write the report as its name says, whole or not at all; raise DiskError. A `table` takes the rows' place."""
    from reconciler.disk import write_out

    told = table or Table(to_csv(rows), to_json(rows))
    write_out(path, (told.csv if path.suffix.lower() == ".csv" else told.json).encode())


def to_csv(rows: Iterable[Row]) -> str:
    """Return the rows as CSV with a header (https://www.rfc-editor.org/rfc/rfc4180)."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\r\n")
    out.writerow(Row._fields)
    out.writerows([_cell(inert(each)) for each in row] for row in rows)
    return text.getvalue()


def to_json(rows: Sequence[Row]) -> str:
    """Return the rows and their counts as JSON."""
    return json.dumps(as_value(rows), indent=2) + "\n"


def as_value(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the report as JSON values."""
    return {"summary": summary(rows), "rows": [row._asdict() for row in rows]}


def account(rows: Sequence[Row], *, verbose: bool = False, width: int | None = None) -> Iterator[str]:
    """Yield the report for people: what is known already, and got nothing, only when they want to see all of it.

    Folded to `width` columns; nothing is folded when it is None.
    """
    from reconciler.render.lines import folded

    for kind in KINDS:
        of_kind = [
            row for row in rows if row.kind == kind and (verbose or kind != "known" or row.why not in ("", KNOWN))
        ]
        shown = of_kind if verbose else of_kind[:_SHOWN]
        for row in shown:
            yield from folded(_line(row), width, " " * 10, cut=False)
        if len(of_kind) > len(shown):
            yield f"{kind:<8}  and {len(of_kind) - len(shown)} more (`--report FILE` has all of them)"


def _line(row: Row) -> str:
    what, where = inert(row.what), inert(row.where) if row.kind != "imported" else ""
    where = where.removesuffix(f"/{what}")
    return f"{row.kind:<8}  {what}{': ' if row.why else ''}{inert(row.why)}{f'  [{where}]' if where else ''}"


def _cell(text: str) -> str:
    """Keep a spreadsheet from taking text of others for a formula (https://owasp.org/www-community/attacks/CSV_Injection)."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
