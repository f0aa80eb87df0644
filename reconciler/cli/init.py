"""`reconciler init`: look at this machine, and write the manifest and lock that it is already."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli import session
from reconciler.errors import DeclinedError, InputError

if TYPE_CHECKING:
    from reconciler.importing.found import Found, Row
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
    from reconciler.importing import fresh, usual
    from reconciler.importing import report as reports
    from reconciler.importing.ask import refuse_both
    from reconciler.importing.writing import write

    refuse_both(online=online, offline=offline)
    path = reports.check_path(report) if report else None
    draft = fresh.begin(manifest)
    found = _named(from_) if from_ else [*usual.find(os.environ), *_an_ollama()]
    chosen = found if from_ or yes or not found else _asked(found, told=not json)
    _take(draft, _in_order(chosen), offline=offline, online=online, must=bool(from_))
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


def _named(given: Sequence[str]) -> list[Usual]:
    """Return the places of `--from`; raise InputError for a kind that is none."""
    from reconciler.importing import usual
    from reconciler.inert import inert, suggest

    places: list[usual.Usual] = []
    for text in given:
        kind, _, where = text.partition("=")
        if kind != "tree" and kind not in usual.TOOLS:
            near = suggest(kind, [*usual.TOOLS, "tree"])
            hint = f"did you mean `{near}`?" if near else f"one of {', '.join([*usual.TOOLS, 'tree'])}"
            raise InputError(f"no kind of place: `{inert(kind)}`", where="--from", hint=hint)
        if where or kind == "ollama":
            places.append(usual.Usual("vllm" if kind == "tree" else kind, where))
            continue
        there = [each for each in usual.find(os.environ) if each.kind == kind]
        if not there:
            raise InputError(
                f"no usual place of `{kind}` holds weights", where="--from", hint=f"name it: `--from {kind}=DIR`"
            )
        places += there
    return places


def _an_ollama() -> Iterator[Usual]:
    """Yield the Ollama of this machine, if its server answers or its store is there."""
    from reconciler.importing.usual import Usual
    from reconciler.ollama.look import look

    seen = look("ollama", None, None, os.environ)
    stored = seen.stored.models if seen.stored else ()
    if stored or seen.listed:
        size = sum(model.size for model in seen.listed) or sum(
            layer.size for model in stored for layer in model.manifest.layers
        )
        yield Usual("ollama", "", len(stored) or len(seen.listed), size)


def _in_order(places: Iterable[Usual]) -> list[Usual]:
    """Return the places as the table has them: those that know their digests come first."""
    from reconciler.importing.usual import TOOLS

    order = list(TOOLS)
    return sorted(places, key=lambda each: order.index(each.kind))


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

    files = "1 file" if place.files == 1 else f"{place.files} files"
    held = f" ({files} of weights, {human_bytes(place.size)})" if place.files else ""
    return f"{place.kind}: {place.tool.says}{', ' if place.path else ''}{inert(place.path)}{held}"


def _take(draft: Draft, places: Sequence[Usual], *, offline: bool, online: bool, must: bool) -> None:
    """Take over one place after the other; the later ones know what the earlier ones hold.

    A place that cannot be read is told, and raises InputError where the user named it (`must`).
    """
    from reconciler.digests import Digests
    from reconciler.importing import importer_of
    from reconciler.importing.ask import request_of
    from reconciler.importing.found import Row, Table

    world = session.upstream(None, offline=offline)
    with Digests(session.digest_cache()) as digests:
        for group in [[each] for each in places] if must else _together(places):
            place = group[0]
            args = [each.path for each in group if each.path]
            request = request_of(
                draft.now, args, os.environ, world, digests, session.reading(), local=True, online=online
            )
            try:
                gathered = [
                    _called(each, place)
                    for each in importer_of(place.tool.subject).gather(request)
                    if not isinstance(each, Table)
                ]
            except InputError as error:
                if must:
                    raise
                gathered = [Row("problem", place.kind, error.problems[0].summary, place.path)]
            draft.take(gathered)
        for warning in digests.warnings:
            session.tell(f"warning: {warning}")


def _together(places: Iterable[Usual]) -> list[list[Usual]]:
    """Return the places in groups that are looked at at once: all web interfaces, so that Civitai is asked once."""
    from itertools import groupby

    groups = [(subject, list(held)) for subject, held in groupby(places, key=lambda each: each.tool.subject)]
    return [part for subject, held in groups for part in ([held] if subject == "comfyui" else [[one] for one in held])]


def _called(each: Found | Row, place: Usual) -> Found | Row:
    """Call the location of a tool that keeps its models in a directory `models` as the tool is called."""
    from dataclasses import replace

    from reconciler.importing.found import Row

    if isinstance(each, Row) or each.location is None or place.kind == "vllm" or each.location[0] != "models":
        return each
    return replace(each, location=(place.kind, each.location[1]))


def _value(merged: Merged, chosen: Sequence[Usual], written: Sequence[str]) -> dict[str, Any]:
    from reconciler.importing import report as reports

    return {
        "manifest": str(merged.target.path),
        "lock": str(merged.target.lock_path),
        "written": list(written),
        "places": [{"kind": each.kind, "path": each.path, "files": each.files, "bytes": each.size} for each in chosen],
        "variants": len(merged.names),
        "bytes": sum(
            file.size for name in merged.names if name in merged.lock.pins for file in merged.lock.pins[name].files
        ),
        **reports.as_value(merged.rows),
    }


def _ending(draft: Draft, merged: Merged, chosen: Sequence[Usual], written: Sequence[str]) -> Iterator[str]:
    from reconciler.importing.report import summary
    from reconciler.inert import human_bytes, inert
    from reconciler.render.lines import counted

    held = {file.digest: file.size for name in merged.names if name in merged.lock.pins
            for file in merged.lock.pins[name].files}  # fmt: skip
    places = len(draft.now.loaded.manifest.locations) if draft.now.loaded else 0
    told = (
        f"{counted(len(merged.names), 'variant')} in {counted(places, 'location')}, {human_bytes(sum(held.values()))}"
    )
    counts = summary(merged.rows)
    rest = [f"{counts[kind]} left out" for kind in ("left-out",) if counts[kind]]
    rest += [counted(counts[kind], kind) for kind in ("problem", "finding") if counts[kind]]
    told += f"; {', '.join(rest)}" if rest else ""
    yield f"{told}. Nothing was moved or fetched." if chosen else "No weights are in the usual places of this machine."
    yield f"Wrote {' and '.join(map(inert, written))}."
    shown = shlex.quote(merged.target.shown)
    yield f"Next: `reconciler plan {shown}` shows what apply would record."
