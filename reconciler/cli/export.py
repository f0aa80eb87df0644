"""`reconciler export`: what a manifest manages, in the forms of others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import session
from reconciler.errors import InputError
from reconciler.exporting import EXPORTERS

if TYPE_CHECKING:
    from reconciler.exporting import Exported
    from reconciler.manifest import Loaded


def command(
    manifest: session.Manifest = None,
    to: Annotated[str, typer.Option("--to", metavar="FORM", help=f"One of {', '.join(EXPORTERS)}.")] = "csv",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="Write it there instead of printing it.")
    ] = None,
    timestamp: Annotated[
        bool, typer.Option("--timestamp", help="Say when it was made (cyclonedx); no two are equal then.")
    ] = False,
) -> int:
    """Write what a manifest manages in the form of another tool.

    csv: a row for each variant. cyclonedx: a bill of materials (CycloneDX 1.6, machine-learning models) with digests
    and licences. imageworks: the registry's entries of this manifest as ImageWorks reads them. What is declared and
    locked is in the first two also before it is here. The same inputs give the same bytes.

    \b
    Examples:
      reconciler export > models.csv
      reconciler export workstation.yaml --to cyclonedx -o models.cdx.json
      reconciler export --to imageworks -o model_registry.json

    \b
    Exit codes: 0 written; 1 error.
    """
    from reconciler.exporting import exporter_of
    from reconciler.manifest import load

    if to not in EXPORTERS:
        from reconciler.inert import suggest

        near = suggest(to, EXPORTERS)
        hint = f"did you mean {near}?" if near else f"the forms are {', '.join(EXPORTERS)}"
        raise InputError(f"--to: no form {to[:40]!r}", hint=hint)
    loaded = load(manifest)
    text = exporter_of(to)(_exported(loaded, timestamp))
    if out is None:
        session.say([text.rstrip("\n")])
        return 0
    from reconciler.disk import write_atomic

    write_atomic(out, text.encode())
    session.tell(f"wrote {out}")
    return 0


def _exported(loaded: Loaded, timestamp: bool) -> Exported:
    """Return all that any form needs; nobody is asked, and no file of a model is read."""
    from reconciler import lockfile
    from reconciler.audit import inventory
    from reconciler.desired import desire
    from reconciler.exporting import Exported
    from reconciler.registry import merged
    from reconciler.registry.entry import key_of
    from reconciler.survey import look

    registry = session.open_registry(loaded)
    lock = lockfile.read(lockfile.path_for(loaded.path))
    wanted = desire(loaded, lock.pins if lock else {}, {})
    items = inventory.recorded(look(loaded, registry).ours)
    items += inventory.absent(wanted.variants, wanted.undecided, items)
    ours = [entry for entry in merged(registry) if (key := key_of(entry)) and key.manifest == loaded.identity]
    chosen = session.settings(loaded=loaded)
    stamp = _now() if timestamp else ""
    return Exported(loaded, tuple(items), tuple(ours), stamp, chosen.endpoint, chosen.civitai_endpoint)


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat(timespec="seconds")
