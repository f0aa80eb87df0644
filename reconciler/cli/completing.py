"""What a shell may complete beside commands and flags: names of variants, and words of a table.

A shell asks at every press of a key: nobody is told of errors, and the network is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import typer

_HOLD_A_MANIFEST = ("manifest", "words")
"""Parameters that may hold the path of a manifest, or begin with it."""


def variants(context: typer.Context, incomplete: str) -> list[str]:
    """Return the variants whose names begin so, of the manifest that stands before on the line, else of the default."""
    from reconciler.errors import ReconcilerError
    from reconciler.manifest import load

    for path in (*_paths(context), None):
        try:
            names = load(path).manifest.variants
        except (ReconcilerError, OSError, ValueError):
            continue
        return [name for name in names if name.startswith(incomplete)]
    return []


def one_of(words: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what completes a word of a table."""

    def begun(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return begun


def _paths(context: typer.Context) -> list[str]:
    """Return what may be the manifest on the line, the most likely first."""
    given = [context.params.get(name) for name in _HOLD_A_MANIFEST]
    # Behind a flag that still lacks its value, what stands before it was not given to any parameter.
    return [each if isinstance(each, str) else each[0] for each in (*given, context.args) if each]
