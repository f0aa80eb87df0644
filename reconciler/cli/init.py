"""`reconciler init`: look at this machine, and write the manifest and lock that it is already."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli import session
from reconciler.errors import DeclinedError

if TYPE_CHECKING:
    from reconciler.importing.fresh import Draft
    from reconciler.importing.merge import Merged
    from reconciler.importing.usual import Usual


def command(
    manifest: Annotated[
        str | None,
        typer.Argument(metavar="MANIFEST", help="The file to write; default: reconciler.yaml, or into manifests/."),
    ] = None,
    from_: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="KIND[=DIR]", help="Take this place only; may stand several times."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take every place that is found.")] = False,
    report: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write what was found as FILE.csv or .json.")
    ] = None,
    json: session.Json = False,
    offline: session.Offline = False,
    online: session.Online = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="List everything that was found.")] = False,
) -> int:
    """Write a manifest and its lock of what is on this machine.

    Looks at the usual places of every known tool. Everything that is found is declared where it is: nothing is moved,
    fetched or deleted, and the plan right after only adopts. A manifest that is there stays.

    \b
    Examples:
      reconciler init --yes
      reconciler init workstation.yaml
      reconciler init --from hf-cache --from tree=/srv/models --offline
      reconciler init --yes --online

    \b
    Exit codes: 0 done; 1 error, and nothing was written; 7 declined.
    """
    from reconciler.digests import Digests
    from reconciler.importing import fresh, machine
    from reconciler.importing import report as reports
    from reconciler.importing.ask import refuse_both
    from reconciler.importing.writing import write

    refuse_both(online=online, offline=offline)
    path = reports.check_path(report) if report else None
    draft = fresh.begin(manifest)
    found = machine.named(from_, os.environ) if from_ else machine.places(os.environ)
    chosen = found if from_ or yes or not found else _asked(found, told=not json)
    world = session.upstream(None, offline=offline)
    with Digests(session.digest_cache()) as digests:
        machine.take(draft, chosen, os.environ, world, digests, session.reading(), online=online, must=bool(from_))
        for warning in digests.warnings:
            session.caution(warning)
    merged = draft.finished()
    written = [str(each) for each in write(merged, "init")]
    if path is not None:
        reports.save(path, merged.rows)
    if json:
        session.say_json(_value(merged, chosen, written))
    else:
        told = reports.account(merged.rows, verbose=verbose, width=session.width())
        session.say([*told, *_ending(draft, merged, chosen, written)])
    return 0


def _asked(found: Sequence[Usual], *, told: bool) -> list[Usual]:
    """Ask of each place whether it is to be taken; raise DeclinedError where nobody can answer."""
    if not told or not sys.stdin.isatty():
        session.tell("\n".join(["found:", *(f"  {_shown(each)}" for each in found)]))
        raise DeclinedError(
            "nobody is there to choose the places",
            hint="--yes takes all of them, --from KIND[=DIR] those that you name",
        )
    chosen = []
    for each in found:
        sys.stdout.write(f"Take {_shown(each)}? [Y/n] ")
        sys.stdout.flush()
        answer = sys.stdin.readline()
        if answer.strip().lower() in ("", "y", "yes") and answer:
            chosen.append(each)
    if not chosen:
        raise DeclinedError(
            "no place was chosen; nothing was written", hint="`--yes` takes all of them, `--from KIND[=DIR]` one"
        )
    return chosen


def _shown(place: Usual) -> str:
    from reconciler.inert import human_bytes, inert
    from reconciler.render.lines import counted

    held = f" ({counted(place.files, 'file')} of weights, {human_bytes(place.size)})" if place.files else ""
    return f"{place.kind}: {place.tool.says}{', ' if place.path else ''}{inert(place.path)}{held}"


def _value(merged: Merged, chosen: Sequence[Usual], written: Sequence[str]) -> dict[str, Any]:
    from reconciler.importing import report as reports

    return {
        "manifest": str(merged.target.path),
        "lock": str(merged.target.lock_path),
        "written": list(written),
        "places": [{"kind": each.kind, "path": each.path, "files": each.files, "bytes": each.size} for each in chosen],
        "variants": len(merged.names),
        "bytes": _held(merged),
        **reports.as_value(merged.rows),
    }


def _held(merged: Merged) -> int:
    """Return the bytes of what was declared, each content once."""
    pins = [merged.lock.pins[name] for name in merged.names if name in merged.lock.pins]
    return sum({file.digest: file.size for pin in pins for file in pin.files}.values())


def _ending(draft: Draft, merged: Merged, chosen: Sequence[Usual], written: Sequence[str]) -> Iterator[str]:
    from reconciler.importing.report import summary
    from reconciler.inert import human_bytes, inert
    from reconciler.render.lines import counted

    places = len(draft.now.loaded.manifest.locations) if draft.now.loaded else 0
    told = f"{counted(len(merged.names), 'variant')} in {counted(places, 'location')}, {human_bytes(_held(merged))}"
    counts = summary(merged.rows)
    rest = [f"{counts['left-out']} left out"] if counts["left-out"] else []
    rest += [counted(counts[kind], kind) for kind in ("problem", "finding") if counts[kind]]
    told += f"; {', '.join(rest)}" if rest else ""
    yield f"{told}. Nothing was moved or fetched." if chosen else "No weights are in the usual places of this machine."
    yield f"Wrote {' and '.join(map(inert, written))}."
    shown = shlex.quote(merged.target.shown)
    yield f"Next: `reconciler plan {shown}` shows what apply would record."
