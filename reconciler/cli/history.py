"""`reconciler history`: what each apply of a manifest did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from reconciler.cli import session

if TYPE_CHECKING:
    from reconciler.audit.past import Deed


def command(manifest: session.Manifest = None, json: session.Json = False) -> int:
    """Show what each apply did, when, and how it ended.

    `undo --to GENERATION` undoes one and all later ones. Reads the registry alone.

    \b
    Examples:
      reconciler history
      reconciler history workstation.yaml --json

    \b
    Exit codes: 0 shown; 1 error.
    """
    from reconciler.audit.past import as_value, deeds
    from reconciler.manifest import load

    loaded = load(manifest)
    found = deeds(loaded)
    if json:
        session.say_json({
            "manifest": {"path": str(loaded.path), "name": loaded.name},
            "registry": {"path": str(loaded.registry)},
            "generations": [as_value(deed) for deed in found],
        })  # fmt: skip
    else:
        session.say(_text(found))
    return 0


def _text(found: Sequence[Deed]) -> Iterator[str]:
    from reconciler.audit.past import stamp
    from reconciler.render.lines import counted, name
    from reconciler.render.tables import table

    if not found:
        yield "Nothing was applied yet."
        return
    rows = [
        (
            deed.number, stamp(deed.when).replace("T", " ").removesuffix("+00:00") if deed.when else None, deed.result,
            _what(deed), deed.plan_id.removeprefix("sha256:")[:12] or None,
        )
        for deed in found
    ]  # fmt: skip
    headers = ("generation", "when (UTC)", "result", "what", "plan")
    # What was done says more than the number of the plan.
    yield from table(
        rows, headers, width=session.width(), colour=session.colour(session.settings()), folds="what", spare=("plan",)
    )
    for deed in found:
        if deed.problem:
            yield name(f"generation {deed.number}: {deed.problem}")
    yield ""
    yield f"{counted(len(found), 'generation')}; `reconciler undo --to GENERATION` undoes one and all later ones."


def _what(deed: Deed) -> str:
    from reconciler.inert import human_bytes

    counts, sizes = deed.counts or {}, deed.bytes or {}
    parts = [f"{number} {action}" for action, number in counts.items()]
    parts += [
        f"{number} {word}" for word, number in (deed.ends or {}).items() if number and (word != "done" or not counts)
    ]
    parts += [f"{human_bytes(size)} {'to trash' if word == 'trash' else word}" for word, size in sizes.items() if size]
    return ", ".join(parts)
