"""`reconciler status`: what has drifted since the last apply, and what the next one would do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli import session
from reconciler.plan import Action, Plan, Selection, Step

if TYPE_CHECKING:
    from reconciler.drift import Row
    from reconciler.presence import Presence
    from reconciler.ui.detection import Sighting
    from reconciler.verify import Finding


def command(
    manifest: session.Manifest = None,
    json: session.Json = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 2 when there is drift, or something to do.")
    ] = False,
    offline: session.Offline = False,
) -> int:
    """Show drift and what apply would do, one line a variant.

    The first column compares what was recorded with what is there now: ok, modified, missing, unreadable, or `-` when
    nothing is recorded. The second is what apply would do. Records that are no longer declared are listed too. Only
    files whose size or time changed are read, and those that may be an image model that is missing.

    Of image models, `here` says whether they are on this machine under whatever name: present, absent, or unknown where
    nobody could look. A pair is present when both halves are.

    \b
    Examples:
      reconciler status
      reconciler status workstation.yaml --offline
      reconciler status --detailed-exitcode --json

    \b
    Exit codes: 0 shown; 1 error; 2 drift or changes (--detailed-exitcode).
    """
    from reconciler import drift
    from reconciler.manifest import load
    from reconciler.presence import presence, questions
    from reconciler.survey import read, survey
    from reconciler.verify import verify

    loaded = load(manifest)
    with session.means(loaded, offline=offline) as means:
        seen = survey(loaded, session.open_registry(loaded), means, Selection())
        contents = seen.world.contents
        records = [held.record for held in contents.ours]
        checked = verify(records, contents.locations, means.digests, full=False, watch=means.watch)
        here = presence(read(seen.world, means, questions(seen.world)))
    rows = drift.rows(seen.plan, contents.ours, checked.findings)
    if json:
        session.say_json(_document(seen.plan, rows, here))
    else:
        _print(seen.plan, rows, here)
    is_settled = seen.plan.is_empty and not any(row.has_drifted for row in rows)
    return 2 if detailed_exitcode and not is_settled else 0


def _print(plan: Plan, rows: Sequence[Row], here: Presence) -> None:
    from reconciler.render.lines import name
    from reconciler.render.tables import table
    from reconciler.render.text import lock_line, summary_line

    for warning in plan.warnings:
        session.tell(f"warning: {name(warning)}")
    if rows:
        shown = [(row.drift, *_verdict(row, here), _deed(row.step), row.address, _reason(row, here)) for row in rows]
        headers = ("drift", *(("here",) if here.variants else ()), "apply", "variant", "why")
        colour = session.colour(session.settings())
        session.say(table(shown, headers, width=session.width(), colour=colour, names="variant"))
        session.say(["", *_blocks(rows), *_pairs(here), _drift_line(rows)])
    if plan.resolved:
        session.say([lock_line(plan)])
    session.say([summary_line(plan)])


def _reason(row: Row, here: Presence) -> str:
    return "; ".join(filter(None, (_why(row), _elsewhere(row, here))))


def _verdict(row: Row, here: Presence) -> tuple[str, ...]:
    """Return whether an image model is here, in one word, `-` of others; no column where there are no such models."""
    sighting = here.variants.get(row.address)
    return (sighting.verdict if sighting else "-",) if here.variants else ()


def _elsewhere(row: Row, here: Presence) -> str:
    """Say where an image model lies that is not where it should be, or why nobody can tell whether it is here."""
    sighting = here.variants.get(row.address)
    if sighting is None or (row.step is not None and (row.step.action is Action.KEEP or row.step.blocked)):
        return "" if sighting is None or not sighting.path or row.drift == "ok" else _lies(sighting)
    return _lies(sighting) if sighting.path else sighting.why * (sighting.verdict == "unknown")


def _lies(sighting: Sighting) -> str:
    return f"it lies at {sighting.location}: {sighting.path}" + (f" ({sighting.why})" if sighting.why else "")


def _pairs(here: Presence) -> Iterator[str]:
    from reconciler.render.lines import name

    for pair in here.pairs:
        yield name(f"pair {pair.name}: {pair.verdict}" + (f", {pair.why}" if pair.verdict != "present" else ""))


def _deed(step: Step | None) -> str:
    """Return what apply would do with a variant, in one word."""
    if step is None:
        return "-"
    return "blocked" if step.blocked is not None else str(step.action)


def _why(row: Row) -> str:
    """Return the reason of the step, and the first thing that drifted."""
    from reconciler.render.lines import base

    parts = []
    step = row.step
    if step is not None and step.blocked is not None:
        parts.append(step.blocked)
    elif step is not None and step.action is not Action.KEEP:
        parts.append(step.reason)
    if row.bad and row.drift != "unreadable":
        more = f" and {len(row.bad) - 1} more" if len(row.bad) > 1 else ""
        parts.append(f"{base(row.bad[0].path)}{more}: {_told(row.bad[0])}")
    elif row.bad and not parts:
        parts.append(row.bad[0].why)
    return "; ".join(parts)


def _told(finding: Finding) -> str:
    """Return what became of a file, without the digests, which are long."""
    return "holds other bytes" if finding.found is not None else finding.why


def _blocks(rows: Sequence[Row]) -> Iterator[str]:
    """Yield on a terminal, whose width cuts the table, every reason for blocking in full; a crowd's reason once."""
    from reconciler.render.lines import counted, folded, name

    if session.width() is None:
        return
    reasons: dict[str, list[Row]] = {}
    for row in rows:
        if row.step is not None and row.step.blocked is not None:
            reasons.setdefault(row.step.blocked, []).append(row)
    for reason, held_up in reasons.items():
        who = name(str(held_up[0].address)) if len(held_up) == 1 else counted(len(held_up), "variant")
        yield from folded(f"blocked: {who}: {name(reason)}", session.width(), "  ", cut=False)


def _drift_line(rows: Sequence[Row]) -> str:
    from reconciler import drift

    words = {"ok": "as recorded", "-": "not recorded"}
    counted = [f"{count} {words.get(kind, kind)}" for kind, count in drift.counts(rows).items() if count]
    return f"Drift: {', '.join(counted) or 'no variants'}."


def _document(plan: Plan, rows: Sequence[Row], here: Presence) -> dict[str, Any]:
    from reconciler import drift

    return {
        "manifest": {"path": plan.manifest_path, "name": plan.manifest_name},
        "registry": {"path": plan.registry_path, "serial": plan.registry_serial},
        "variants": list(_variants(rows, here)),
        "pairs": [{"name": pair.name, "verdict": pair.verdict, "why": pair.why} for pair in here.pairs],
        "drift": {"not-recorded" if kind == "-" else kind: count for kind, count in drift.counts(rows).items()},
        "plan": plan.summary._asdict(),
        "resolved": sorted(plan.resolved),
        "warnings": list(plan.warnings),
    }


def _seen(sighting: Sighting | None) -> dict[str, Any] | None:
    if sighting is None:
        return None
    return {
        "verdict": sighting.verdict, "how": sighting.how or None, "location": sighting.location or None,
        "path": sighting.path or None, "why": sighting.why,
    }  # fmt: skip


def _variants(rows: Sequence[Row], here: Presence) -> Iterator[dict[str, Any]]:
    for row in rows:
        step = row.step
        yield {
            "address": str(row.address),
            "drift": None if row.drift == "-" else row.drift,
            "here": _seen(here.variants.get(row.address)),
            "files": [
                {"path": bad.path, "verdict": bad.verdict, "expected": bad.expected, "found": bad.found, "why": bad.why}
                for bad in row.bad
            ],
            "action": str(step.action) if step else None,
            "reason": step.reason if step else None,
            "blocked": step.blocked if step else None,
            "bytes": step.bytes._asdict() if step else None,
        }
