"""`reconciler export`: what a manifest manages, in the forms of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli import completing, session
from reconciler.errors import InputError
from reconciler.exporting import EXPORTERS


def command(
    manifest: session.Manifest = None,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORM",
            help=f"One of {', '.join(EXPORTERS)}.",
            autocompletion=completing.one_of(EXPORTERS),
        ),
    ] = "csv",
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
    from reconciler.exporting import exporter_of, gathered
    from reconciler.manifest import load

    if to not in EXPORTERS:
        from reconciler.inert import suggest

        near = suggest(to, EXPORTERS)
        hint = f"did you mean {near}?" if near else f"the forms are {', '.join(EXPORTERS)}"
        raise InputError(f"--to: no form {to[:40]!r}", hint=hint)
    loaded = load(manifest)
    registry = session.open_registry(loaded)
    text = exporter_of(to)(gathered(loaded, registry, session.settings(loaded=loaded), timestamp=timestamp))
    if out is None:
        session.say_document(text)
        return 0
    from reconciler.disk import write_out

    write_out(out, text.encode())
    session.tell(f"wrote {out}")
    return 0
