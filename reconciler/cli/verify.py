"""`reconciler verify`: compare what was placed with what is there, and mend it on request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli import completing, session
from reconciler.cli.applying import act, hold, terminated_is_interrupted

if TYPE_CHECKING:
    from reconciler.manifest import Loaded
    from reconciler.registry import Registry
    from reconciler.settings import Settings
    from reconciler.survey import Means
    from reconciler.verify import Verification


def command(
    manifest: session.Manifest = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(
            "--variant",
            metavar="GLOB",
            help="Only these: VARIANT or VARIANT@LOCATION.",
            autocompletion=completing.variants,
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Read every byte again, also of files that look unchanged.")
    ] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Bring back what is corrupt or missing.")] = False,
    json: session.Json = False,
    verbose: session.Verbose = False,
) -> int:
    """Check managed files against their digests, on all cores.

    Files whose size, time and inode are unchanged are not read again unless --full. Exit codes add up: 8 corrupt,
    16 missing, 32 unreadable; 0 when all is well, or was repaired.

    \b
    Examples:
      reconciler verify
      reconciler verify --full
      reconciler verify workstation.yaml --variant 'llama-*' --repair
    """
    from reconciler.manifest import load
    from reconciler.survey import look
    from reconciler.verifying import check

    loaded = load(manifest)
    chosen = session.settings(loaded=loaded)
    with session.means(loaded) as means:
        if not repair:
            registry = session.open_registry(loaded)
            result = check(look(loaded, registry), means, variant or (), full=full)
            _show(result, chosen, json, verbose)
            return result.exit_code
        terminated_is_interrupted()
        with hold(loaded, means, "verify") as held:
            result = check(look(loaded, held.registry), means, variant or (), full=full)
            _show(result, chosen, json, verbose, repair=True)
            return _repair(result, loaded, held.registry, held, means, chosen, json) if result.bad else 0


def _repair(
    result: Verification, loaded: Loaded, registry: Registry, held: Any, means: Means, chosen: Settings, json: bool
) -> int:
    """Bring back what is bad, exactly as recorded, and verify again."""
    from reconciler.survey import look
    from reconciler.verifying import check, plan_repair

    plan = plan_repair(result, loaded, registry, means)
    if not json:
        session.say([""])
        session.show_plan(plan, chosen)
    if not plan.changes:
        return result.exit_code
    act(plan, loaded, held, means, chosen, json=json)
    from reconciler.registry import load

    bad = sorted({str(finding.address) for finding in result.bad})
    again = check(look(loaded, load(registry.path)), means, bad, full=False)
    if json:
        _show(again, chosen, json, verbose=False, repair=True)
    return again.exit_code


def _told(result: Verification, verbose: bool) -> dict[str, Any]:
    return {
        "files": [_finding(finding) for finding in (result.findings if verbose else result.bad)],
        "counts": result.counts, "bytes_read": result.bytes_read, "seconds": round(result.seconds, 3),
        "unread": list(result.unread), "exit_code": result.exit_code,
    }  # fmt: skip


def _show(result: Verification, chosen: Settings, json: bool, verbose: bool, *, repair: bool = False) -> None:
    """Print what was found; with `json` one document, or one line where a repair adds more lines."""
    from reconciler.inert import few, human_bytes, human_seconds
    from reconciler.render.lines import counted, name
    from reconciler.render.progress import event
    from reconciler.render.tables import table

    counts = result.counts
    if json:
        told = _told(result, verbose)
        if repair:
            session.say([event("verification", told)])
        else:
            session.say_json(told)
        return
    shown = result.findings if verbose else result.bad
    short = session.width() is not None and not verbose  # two digests would leave no room for the names
    rows = [(f.verdict, name(str(f.address)), name(f.path), name(_why(f, short))) for f in shown]
    if rows:
        session.say(table(rows, ("", "variant", "file", ""), width=session.width(), colour=session.colour(chosen)))
        session.say([""])
    bad = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if verdict != "ok")
    read = f"{human_bytes(result.bytes_read)} read in {human_seconds(result.seconds)}"
    session.say([f"Verified {counted(sum(counts.values()), 'file')}: {counts['ok']} ok, {bad}; {read}."])
    if result.unread:
        where = name(few(result.unread))
        session.say([f"Of {where} only the list of its server was compared: nobody here can read its weights."])


def _why(finding: Any, short: bool) -> str:
    from reconciler.inert import few

    why = "other bytes" if short and finding.found is not None else str(finding.why)
    return f"{why}; breaks {few(finding.breaks)} too" if finding.breaks else why


def _finding(finding: Any) -> dict[str, Any]:
    return {
        "address": str(finding.address), "path": finding.path, "verdict": finding.verdict,
        "expected": finding.expected, "found": finding.found, "size": finding.size, "why": finding.why,
        **({"breaks": list(finding.breaks)} if finding.breaks else {}),
    }  # fmt: skip
