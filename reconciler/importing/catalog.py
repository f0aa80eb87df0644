"""`import catalog DIR`: pages of Markdown with download commands -> a report on the pages, and a variant each asset."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from reconciler import links
from reconciler.catalog import report
from reconciler.catalog.classify import Asset, Judged, judge, unreadable
from reconciler.catalog.pages import MAX_PAGE
from reconciler.errors import InputError
from reconciler.importing import images
from reconciler.importing.found import Found, Request, Row, Table
from reconciler.inert import inert
from reconciler.oserrors import disk_error

MAX_PAGES = 20_000
"""Of one catalog."""


def gather(request: Request) -> Iterable[Found | Row | Table]:
    """Read every page below a directory; nothing of a page is run, and nothing is written.

    Raises InputError when there is no such directory, or too much in it.
    """
    if len(request.args) != 1:
        raise InputError(
            "expected one directory with pages of Markdown", where="import catalog",
            hint="for example `reconciler import catalog ~/vault/models --report pages.csv`",
        )  # fmt: skip
    judged = read(Path(request.args[0]))
    yield _table(judged)
    yield from (_complaint(page) for page in judged if not page.is_valid and page.fixes)
    founds = (_found(asset, page, request) for page in judged for asset in page.assets)
    yield from images.resolved(images.with_cautions(founds, request, "where $UI_HOME is"), request)


def read(directory: Path) -> tuple[Judged, ...]:
    """Return what every page (`*.md`) below a directory is, by path; hidden directories are not entered."""
    if not directory.is_dir():
        raise InputError("there is no such directory", where=inert(str(directory)), hint="name the catalog's directory")
    return tuple(_judged(directory, path) for path in sorted(_pages(directory)))


def _pages(directory: Path) -> Iterator[str]:
    count = 0
    for folder, folders, files in os.walk(directory):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        for name in files:
            if name.lower().endswith(".md") and name[0] != ".":
                count += 1
                if count > MAX_PAGES:
                    raise InputError(f"more than {MAX_PAGES:,} pages", where=inert(str(directory)))
                yield os.path.relpath(Path(folder, name), directory)


def _judged(directory: Path, path: str) -> Judged:
    try:
        whole = directory / path
        if not whole.is_file():
            return unreadable(path, "no regular file")
        with whole.open("rb") as file:
            return judge(file.read(MAX_PAGE + 1), path)
    except OSError as error:
        return unreadable(path, disk_error(error, path).problems[0].summary)


def _table(judged: Iterable[Judged]) -> Table:
    rows = report.rows(judged)
    return Table(report.to_csv(rows), report.to_json(rows))


def _complaint(judged: Judged) -> Row:
    return Row("problem", judged.page.path, f"{judged.syntax}: {'; '.join(judged.fixes)}", judged.page.path)


def _found(asset: Asset, judged: Judged, request: Request) -> Found | Row:
    where = f"{asset.page}:{asset.line}"
    if not asset.source and asset.version:
        link = images.of_version(links.Source(version=asset.version, why=asset.why), request)
        asset = asset._replace(source=link.source, air=link.air, why=link.why)
    what = asset.source or asset.name or asset.url or "a command"
    if not asset.source or asset.folder is None:
        return Row("left-out", what, asset.why, where)
    try:
        place = images.spot(asset.folder, request)
        said = images.variant(asset.source, asset.file, asset.name, place)
        name = images.named(_family(asset, judged), asset.source, place.location[0])
    except ValueError as error:
        return Row("left-out", what, str(error), where)
    notes = [note.removeprefix(f"line {asset.line}: ") for note in asset.notes]
    if asset.pair:
        said["metadata"] = {"pair": _title(judged), "noise": asset.pair}
    return Found(said, named=name, location=place.location, notes=tuple(notes), where=where)


def _family(asset: Asset, judged: Judged) -> str:
    """Return the page's title, with the half of a pair; among several assets of a page, the file's name."""
    if asset.pair:
        return f"{_title(judged)}-{asset.pair}-noise"
    if len(judged.assets) > 1:
        version = asset.air.version if asset.air and asset.air.source == "civitai" else ""
        return asset.name.rpartition(".")[0] or f"{_title(judged)}-{version or asset.line}"
    return _title(judged)


def _title(judged: Judged) -> str:
    return judged.page.title or Path(judged.page.path).stem
