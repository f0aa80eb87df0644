"""`reconciler import`: write down what is there already, so that the plan right after has nothing to do."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import completing, session
from reconciler.errors import InputError
from reconciler.importing import IMPORTERS, subjects

if TYPE_CHECKING:
    from reconciler.importing import Found, Row, Table
    from reconciler.importing.merge import Merged
    from reconciler.importing.target import Target


def command(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="SUBJECT",
            help=f"What to import: {', '.join(subjects())}.",
            autocompletion=completing.one_of(subjects()),
        ),
    ],
    args: Annotated[list[str] | None, typer.Argument(metavar="ARGS", help="Where it is, if not as usual.")] = None,
    manifest: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Add to this manifest, or make it; default: manifests/, reconciler.yaml."),
    ] = None,
    report: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the report as FILE.csv or FILE.json.")
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Take what has no known origin, too: it comes from where it lies.")
    ] = False,
    include_testing: Annotated[
        bool, typer.Option("--include-testing", help="Take records of tests, too (imageworks).")
    ] = False,
    include_missing: Annotated[
        bool, typer.Option("--include-missing", help="Take records whose files are gone, too (imageworks).")
    ] = False,
    json: session.Json = False,
    offline: session.Offline = False,
    online: session.Online = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="List what is known already, too.")] = False,
) -> int:
    """Add what is on this machine to a manifest and its lock.

    Nothing is moved, downloaded or deleted: the manifest says what is there, and the plan right after keeps or adopts
    it. What is declared already stays as it is, comments and order of the manifest too; a second run changes nothing.
    What cannot be taken over is told, with the reason.

    \b
    Examples:
      reconciler import hf-cache --manifest workstation.yaml
      reconciler import tree ~/models --report found.csv
      reconciler import lmstudio --offline
      reconciler import tree ~/GPT4All --online

    \b
    Exit codes: 0 done, or nothing new; 1 error, and nothing was written.
    """
    from reconciler.importing import report as reports
    from reconciler.importing.ask import refuse_both
    from reconciler.importing.merge import merge
    from reconciler.importing.pictures import with_pictures
    from reconciler.importing.target import open_target
    from reconciler.importing.writing import write

    refuse_both(online=online, offline=offline)
    if subject not in subjects():
        raise InputError(f"cannot import {subject!r}", hint=_near(subject))
    path = reports.check_path(report) if report else None
    target = open_target(manifest)
    also = [word for word, wanted in (("testing", include_testing), ("missing", include_missing)) if wanted]
    gathered, table = _gathered(
        subject, tuple(args or ()), target, offline=offline, online=online, local=local, also=also
    )
    merged = with_pictures(merge(target, gathered), session.upstream(target.loaded, offline=offline))
    written = write(merged, "import", subject=subject)
    if path is not None:
        reports.save(path, merged.report, table)
    if json:
        value = {
            "manifest": str(target.path),
            "lock": str(target.lock_path),
            "written": [str(each) for each in written],
        }
        session.say_json({**value, **reports.as_value(merged.report)})
    else:
        told = reports.account(merged.report, verbose=verbose, width=session.width())
        session.say([*told, *_ending(merged, [str(each) for each in written])])
    return 0


def _gathered(
    subject: str, args: Sequence[str], target: Target, *, offline: bool, online: bool, local: bool, also: Sequence[str]
) -> tuple[list[Found | Row], Table | None]:
    """Let the importer look; what it needs is opened for it. Return what it found, and its own report if it has one."""
    from reconciler.digests import Digests
    from reconciler.importing import Table, importer_of
    from reconciler.importing.ask import request_of

    world = session.upstream(target.loaded, offline=offline)
    with Digests(session.digest_cache()) as digests:
        request = request_of(
            target, args, os.environ, world, digests, session.reading(), local=local, online=online, also=also
        )
        gathered = list(importer_of(subject).gather(request))
        for warning in digests.warnings:
            session.caution(warning)
    tables = [each for each in gathered if isinstance(each, Table)]
    return [each for each in gathered if not isinstance(each, Table)], tables[0] if tables else None


def _near(subject: str) -> str:
    from reconciler.inert import suggest

    near = suggest(subject, subjects())
    if near:
        return f"did you mean `{near}`?"
    return "; ".join(f"`{name}{' ' * bool(IMPORTERS[name].takes)}{IMPORTERS[name].takes}`" for name in subjects())


def _ending(merged: Merged, written: Sequence[str]) -> Iterable[str]:
    from reconciler.importing.report import summary
    from reconciler.inert import inert
    from reconciler.render.lines import counted

    counts: Mapping[str, int] = summary(merged.report)
    told = f"{counted(counts['imported'], 'variant')} imported, {counts['known']} known, {counts['left-out']} left out"
    told += f", {counted(counts['problem'], 'problem')}" if counts["problem"] else ""
    told += f", {counted(counts['finding'], 'finding')}." if counts["finding"] else "."
    yield f"{told} {'Wrote ' + ' and '.join(map(inert, written)) if written else 'Nothing changed'}."
    shown = shlex.quote(merged.target.shown)
    unlocked = [name for name in merged.names if name not in merged.lock.pins]
    if unlocked:
        what = "1 variant is" if len(unlocked) == 1 else f"{len(unlocked)} variants are"
        yield f"Next: `reconciler lock {shown}`, online: {what} not locked, and a plan needs to know what they are."
    elif written:
        yield f"Next: `reconciler plan {shown}` shows what apply would record."
