"""`reconciler outdated`: what upstream has, beside what is locked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from reconciler.cli import session
from reconciler.errors import SourceError

if TYPE_CHECKING:
    from reconciler.resolve import Moved


def command(manifest: session.Manifest = None, json: session.Json = False) -> int:
    """Show what upstream has where it left the lock behind.

    Asks the sources, and writes nothing. What the lock lacks counts as moved. `lock --upgrade NAME` moves to what is
    shown. What one source does not answer keeps nothing of the others back.

    \b
    Examples:
      reconciler outdated
      reconciler outdated workstation.yaml --json

    \b
    Exit codes: 0 the lock is what upstream has; 1 error, or a source did not
    answer; 2 something has moved.
    """
    from reconciler import lockfile, resolve
    from reconciler.manifest import load

    loaded = load(manifest)
    lock = lockfile.read(lockfile.path_for(loaded.path))
    warned: list[str] = []
    world = session.upstream(loaded, offline=False, warn=lambda text: session.caution(text, warned))
    moved, problems = resolve.compared(loaded, lock, world)
    if json:
        session.say_json({
            "manifest": {"path": str(loaded.path), "name": loaded.name},
            "variants": len(loaded.manifest.variants),
            "moved": [_value(entry, loaded.manifest.variants[entry.variant].source) for entry in moved],
            "unknown": [{"variant": name, **problem._asdict()} for name, problem in problems.items()],
            "warnings": warned,
        })  # fmt: skip
    elif moved or not problems:
        session.say(_text(moved, len(loaded.manifest.variants)))
    if problems:
        raise SourceError(problems.values())
    return 2 if moved else 0


def _text(moved: Sequence[Moved], variants: int) -> Iterator[str]:
    from reconciler.inert import human_bytes, short_revision
    from reconciler.render.lines import counted
    from reconciler.render.tables import table

    if not moved:
        yield f"The lock is what upstream has: {counted(variants, 'variant')}."
        return
    rows = [
        (
            each.variant, short_revision(each.from_revision) if each.from_revision else "-",
            short_revision(each.to_revision) if each.to_revision else "-", len(each.files), human_bytes(each.bytes),
            human_bytes(each.size_before), human_bytes(each.size_after),
        )
        for each in moved
    ]  # fmt: skip
    headers = ("variant", "locked", "upstream", "files", "to fetch", "size", "new size")
    yield from table(
        rows, headers, width=session.width(), colour=session.colour(session.settings()),
        names="variant", spare=("size",),
    )  # fmt: skip
    yield ""
    yield (
        f"{len(moved)} of {counted(variants, 'variant')} moved, {human_bytes(sum(each.bytes for each in moved))} to "
        "fetch; `reconciler lock --upgrade [NAME]...` moves to it."
    )


def _value(entry: Moved, source: str) -> dict[str, Any]:
    return {
        "variant": entry.variant, "source": source, "locked": entry.from_revision, "upstream": entry.to_revision,
        "bytes": entry.bytes, "files": list(entry.files), "size_before": entry.size_before,
        "size_after": entry.size_after,
    }  # fmt: skip
