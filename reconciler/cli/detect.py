"""`reconciler detect DIR`: which models of a catalog are here: present, absent, or unknown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli import session

if TYPE_CHECKING:
    from reconciler.detecting import Ground, Looked
    from reconciler.manifest import Loaded
    from reconciler.ui.detection import Sighting


def command(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A directory with pages of Markdown.")],
    manifest: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Look in its locations; default: manifests/, else reconciler.yaml."),
    ] = None,
    within: Annotated[
        list[str] | None, typer.Option("--in", metavar="DIR", help="Look there instead; may be given again.")
    ] = None,
    report: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the report on the pages as FILE.csv or FILE.json.")
    ] = None,
    json: session.Json = False,
    offline: session.Offline = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 2 when anything is not present.")
    ] = False,
) -> int:
    """Say of every page of a catalog whether its model is here.

    A page is present when all of its files are: known by digest (lock, record, or upstream), by what was recorded
    there, by a name of civitdl's form. It is absent only when everything could be looked through; where something
    failed, it is unknown. Nothing of a page is run, nothing is written but the report.

    \b
    Examples:
      reconciler detect ~/vault/models
      reconciler detect ~/vault/models --manifest studio.yaml --report pages.csv
      reconciler detect ~/vault/models --in /mnt/d/ComfyUI/models --offline

    \b
    Exit codes: 0 shown; 1 error; 2 not all is present (--detailed-exitcode).
    """
    from reconciler.catalog import report as table
    from reconciler.digests import Digests
    from reconciler.importing import catalog
    from reconciler.importing.found import Table
    from reconciler.importing.report import check_path, save

    path = check_path(report) if report else None
    pages = catalog.read(Path(directory))
    loaded, ground = _ground(manifest, within)
    with Digests(session.digest_cache()) as digests:
        from reconciler.detecting import look

        world = session.upstream(loaded, offline=offline)
        found = look(pages, ground, world, digests, session.reading())
        for warning in digests.warnings:
            session.caution(warning)
    if path is not None:
        rows = table.rows(pages, {each.judged.page.path for each in found if each.assets})
        save(path, (), Table(table.to_csv(rows), table.to_json(rows)))
    if json:
        session.say_json(_document(found))
    else:
        _print(found)
    return 2 if detailed_exitcode and any(each.sighting.verdict != "present" for each in found) else 0


def _ground(manifest: str | None, within: Sequence[str] | None) -> tuple[Loaded | None, Ground]:
    from reconciler import lockfile
    from reconciler.detecting import ground_of, ground_of_directories
    from reconciler.errors import InputError
    from reconciler.manifest import load
    from reconciler.survey import look

    if within:
        if manifest is not None:
            raise InputError("--manifest and --in say two different places", hint="give one of them")
        return None, ground_of_directories(map(Path, within))
    loaded = load(manifest)
    lock = lockfile.read(lockfile.path_for(loaded.path)) or lockfile.Lock()
    return loaded, ground_of(look(loaded, session.open_registry(loaded)), lock)


def _print(found: Sequence[Looked]) -> None:
    from reconciler.render.lines import counted
    from reconciler.render.tables import table

    rows: list[tuple[str, str, str]] = []
    for each in found:
        rows.append((each.sighting.verdict, each.judged.page.path, _what(each.sighting)))
        if len(each.assets) > 1:
            rows += [(f"  {part.verdict}", f"  {part.name}", _what(part)) for part in each.assets]
    colour = session.colour(session.settings())
    if rows:
        session.say(table(rows, ("", "page", "where, or why"), width=session.width(), colour=colour))
        session.say([""])
    counts = _counts(found)
    session.say(
        [
            f"{counted(len(found), 'page')}: "
            + ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
            + "."
        ]
    )


def _what(sighting: Sighting) -> str:
    if sighting.verdict != "present":
        return sighting.why
    how = {"name": "by its name", "record": "as recorded", "rewritten": sighting.why}.get(sighting.how, "")
    return f"{sighting.location}: {sighting.path}" + (f" ({how})" if how else "")


def _counts(found: Iterable[Looked]) -> dict[str, int]:
    counts = {"present": 0, "absent": 0, "unknown": 0}
    for each in found:
        counts[each.sighting.verdict] += 1
    return counts


def _document(found: Sequence[Looked]) -> dict[str, Any]:
    return {
        "pages": [
            {
                "file_path": each.judged.page.path,
                "syntax_type": each.judged.syntax,
                "is_valid": each.judged.is_valid,
                "air": each.judged.page.air,
                **_told(each.sighting),
                "assets": [{"name": part.name, **_told(part)} for part in each.assets],
            }
            for each in found
        ],
        "summary": {"pages": len(found), **_counts(found)},
    }


def _told(sighting: Sighting) -> dict[str, Any]:
    return {
        "verdict": sighting.verdict, "how": sighting.how or None, "location": sighting.location or None,
        "path": sighting.path or None, "why": sighting.why,
    }  # fmt: skip
