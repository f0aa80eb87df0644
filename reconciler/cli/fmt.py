"""`reconciler fmt`: give manifests their one layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import session
from reconciler.errors import ManifestError

if TYPE_CHECKING:
    from reconciler.errors import Problem


def command(
    manifests: Annotated[
        list[str] | None,
        typer.Argument(metavar="MANIFEST", help="Files or directories; default: manifests/, else reconciler.yaml."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 2 when a file would change.")] = False,
    json: session.Json = False,
) -> int:
    """Lay manifests out: indentation, blank lines, line ends.

    Only white space changes: words, order and comments stay, and every file is read back before it is written. The
    names of changed files are printed. When one file cannot be read, none is written.

    \b
    Examples:
      reconciler fmt
      reconciler fmt --check manifests/
      reconciler fmt workstation.yaml laptop.yaml

    \b
    Exit codes: 0 done; 1 no YAML; 2 a file would change (--check).
    """
    from reconciler import editing
    from reconciler.inert import inert

    texts, count = _formatted(manifests or [None])
    changed = [str(path) for path in texts]
    if not check:
        for path, text in texts.items():
            editing.write_text(path, text)
    if json:
        session.say_json({"changed": changed, "unchanged": count - len(changed), "written": not check})
    else:
        session.say(map(inert, changed))
    return 2 if check and changed else 0


def _formatted(manifests: list[str] | list[None]) -> tuple[dict[Path, str], int]:
    """Return the new texts of files that are not in their layout, and how many files there are; raise ManifestError."""
    from reconciler.formatting import formatted
    from reconciler.manifestfiles import find
    from reconciler.yamlread import read

    texts: dict[Path, str] = {}
    problems: list[Problem] = []
    seen: set[str] = set()
    for manifest in manifests:
        try:
            sources = find(manifest).sources
        except ManifestError as error:
            problems += error.problems
            continue
        for source in sources:
            seen.add(source.path)
            try:
                read(source.data, source.shown)
                text = source.data.decode("utf-8")
                if (after := formatted(text, where=source.shown)) != text:
                    texts[Path(source.path)] = after
            except ManifestError as error:
                problems += error.problems
    if problems:
        raise ManifestError(problems)
    return texts, len(seen)
