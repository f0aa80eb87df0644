"""`reconciler forget`: stop managing variants, in manifest, lock and registry, and leave their files where they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import completing, session
from reconciler.cli.applying import ask, hold
from reconciler.errors import InputError

if TYPE_CHECKING:
    from reconciler.forgetting import Farewell
    from reconciler.manifest import Loaded


def command(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[MANIFEST] VARIANT...",
            help="The manifest, then VARIANT, VARIANT@LOCATION or globs.",
            autocompletion=completing.variants,
        ),
    ],
    record_only: Annotated[
        bool, typer.Option("--record-only", help="Leave manifest and lock; what stays declared is adopted again.")
    ] = False,
    yes: session.Yes = False,
    json: session.Json = False,
) -> int:
    """Stop managing variants; their files stay where they are.

    They are nobody's from then on. A variant leaves the manifest, its roles, the lock and the registry. With @LOCATION
    its record there goes, and the declaration only when that is where it is declared. What will be edited is shown
    first.

    \b
    Examples:
      reconciler forget llama-3.2-3b-instruct-lmstudio-gguf-q4_k_m
      reconciler forget workstation.yaml old-model@lmstudio --yes
      reconciler forget workstation.yaml 'dialogpt-*' --record-only
    """
    from reconciler import forgetting
    from reconciler.manifest import load

    manifest, names = _split(words)
    if not names:
        raise InputError("expected a variant", hint="`reconciler forget [MANIFEST] VARIANT...`")
    loaded = load(manifest)
    with session.means(loaded, offline=True) as means, hold(loaded, means, "forget") as held:
        farewell = forgetting.consider(loaded, held.registry, names, record_only=record_only)
        if not yes:
            for line in _preview(loaded, farewell):
                session.tell(line) if json else session.say([line])
            ask("Forget this? The files stay where they are.")
        written = forgetting.forget(held.registry, farewell)
    addresses = [str(record.address) for record in farewell.records]
    if json:
        session.say_json({
            "forgotten": addresses, "files_left": sum(len(record.files) for record in farewell.records),
            "undeclared": list(farewell.variants), "written": list(map(str, written)),
        })  # fmt: skip
    else:
        session.say(_told(farewell, list(map(str, written))))
    return 0


def _split(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Tell a manifest from the names behind it: it is a path that is there, or ends like one."""
    first = words[0]
    if first.endswith((".yaml", ".yml")) or "/" in first or (len(words) > 1 and Path(first).exists()):
        return first, list(words[1:])
    return None, list(words)


def _preview(loaded: Loaded, farewell: Farewell) -> Iterator[str]:
    """Yield what will be edited: lines of the manifest's files, pins of the lock, records."""
    from difflib import unified_diff

    from reconciler.inert import human_bytes, inert
    from reconciler.render.lines import counted, name

    for path in farewell.changed:
        yield inert(str(path))
        before, after = farewell.before[path].splitlines(), farewell.after[path].splitlines()
        changes = list(unified_diff(before, after, lineterm="", n=0))[2:]
        yield from (f"  {inert(line)}" for line in changes if not line.startswith("@@"))
    if farewell.pinned:
        yield inert(str(farewell.lock_path))
        yield from (f"  - {name(pinned)}" for pinned in farewell.pinned)
    if farewell.records:
        yield inert(str(loaded.registry))
    for record in farewell.records:
        size = human_bytes(sum(file.size for file in record.files))
        yield f"  - {name(str(record.address))}: {counted(len(record.files), 'file')}, {size}, in {inert(record.root)}"


def _told(farewell: Farewell, written: list[str]) -> Iterator[str]:
    from reconciler.inert import inert
    from reconciler.render.lines import counted, name

    for record in farewell.records:
        yield f"Forgot {name(str(record.address))}; {counted(len(record.files), 'file')} left in place."
    recorded = {record.address.variant for record in farewell.records}
    for variant in dict.fromkeys((*farewell.variants, *farewell.pinned)):
        if variant not in recorded:
            yield f"Forgot {name(variant)}; nothing of it was recorded."
    if written:
        yield f"Wrote {' and '.join(map(inert, written))}."
