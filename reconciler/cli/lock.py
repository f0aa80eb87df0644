"""`reconciler lock`: write down exactly which bytes the manifest means, without touching the disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reconciler.cli import completing, session
from reconciler.errors import InputError, SourceError

if TYPE_CHECKING:
    from reconciler.manifest import Loaded
    from reconciler.pinning import Locked
    from reconciler.resolve import Moved
    from reconciler.sources import World
    from reconciler.state import Pin


def command(
    manifest: session.Manifest = None,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="With --upgrade: only these.", autocompletion=completing.variants),
    ] = None,
    upgrade: Annotated[bool, typer.Option("--upgrade", help="Move to what upstream has now.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 2 when upstream has moved.")] = False,
    json: session.Json = False,
    offline: session.Offline = False,
) -> int:
    """Resolve what the lock lacks: commits, files, sizes, digests.

    What is locked stays as it is, however upstream moves, until --upgrade.

    \b
    Examples:
      reconciler lock
      reconciler lock --check
      reconciler lock --upgrade
      reconciler lock workstation.yaml --upgrade qwen2.5-vl-7b-instruct-vllm-awq
    """
    from reconciler import lockfile
    from reconciler.manifest import load

    if upgrade and check:
        raise InputError("--upgrade and --check exclude each other", hint="--check looks, --upgrade moves")
    manifest, wanted = _split(manifest, list(names or ()), upgrade)
    loaded = load(manifest)
    path = lockfile.path_for(loaded.path)
    lock = lockfile.read(path)
    warned: list[str] = []
    world = session.upstream(loaded, offline=offline, warn=lambda text: session.caution(text, warned))
    if check:
        return _check(loaded, lock, world, warned if json else None)
    from reconciler.pinning import pin

    locked = pin(loaded, world, upgrade=upgrade, names=wanted)
    _tell(locked, warned if json else None)
    if locked.problems:
        raise SourceError(locked.problems)
    return 0


def _split(manifest: str | None, names: list[str], upgrade: bool) -> tuple[str | None, list[str]]:
    """Tell a manifest from the first of the names: `lock --upgrade NAME` uses the default manifest."""
    if manifest is None or Path(manifest).exists() or manifest.endswith((".yaml", ".yml")):
        if names and not upgrade:
            raise InputError(f"unexpected {names[0]!r}", hint="names go with --upgrade")
        return manifest, names
    return (None, [manifest, *names]) if upgrade else (manifest, names)


def _check(loaded: Loaded, lock: Any, world: World, warned: list[str] | None) -> int:
    """Print what has moved; for programs, with what was warned of, where that is a list."""
    from reconciler import resolve

    moved = resolve.check(loaded, lock, world)
    if warned is not None:
        session.say_json({"moved": [_moved(entry) for entry in moved], "warnings": warned})
    elif not moved:
        session.say(["The lock is what upstream has."])
    else:
        session.say(map(_told, moved))
        session.say(["", "`reconciler lock --upgrade [NAME]...` moves to it."])
    return 2 if moved else 0


def _told(entry: Moved) -> str:
    from reconciler.inert import human_bytes, short_revision
    from reconciler.render.lines import name

    way = f"{short_revision(entry.from_revision)} -> {short_revision(entry.to_revision)}"
    if entry.from_revision and (entry.to_revision or "").startswith("sha256:"):
        sizes = f"{human_bytes(entry.size_before)} -> {human_bytes(entry.size_after)}"
        return f"{name(entry.variant)}: the tag moved, {way}, {human_bytes(entry.bytes)} new ({sizes})"
    files = f"{len(entry.files)} changed {'file' if len(entry.files) == 1 else 'files'}"
    return f"{name(entry.variant)}: {way}, {files} ({human_bytes(entry.bytes)})"


def _moved(entry: Moved) -> Mapping[str, Any]:
    return {
        "variant": entry.variant, "from": entry.from_revision, "to": entry.to_revision,
        "bytes": entry.bytes, "files": list(entry.files),
        "size_before": entry.size_before, "size_after": entry.size_after,
    }  # fmt: skip


def _tell(locked: Locked, warned: list[str] | None) -> None:
    if warned is not None:
        session.say_json({
            "lock": str(locked.path), "changed": list(locked.changed), "dropped": list(locked.dropped),
            "entries": len(locked.pins), "problems": [problem._asdict() for problem in locked.problems],
            "warnings": warned,
        })  # fmt: skip
        return
    session.say(_lines(locked))
    counts = ((len(locked.changed), "changed"), (len(locked.dropped), "dropped"))
    done = ", ".join(f"{number} {word}" for number, word in counts if number) or "nothing changed"
    session.say([f"{locked.path}: {len(locked.pins)} {'entry' if len(locked.pins) == 1 else 'entries'}, {done}."])


def _differing(old: Pin, new: Pin) -> str:
    """Say what of a pin is another, where its revision is not: `license (none) -> mit`."""
    from reconciler.inert import inert

    told = [
        f"{what} {inert(before or '(none)')} -> {inert(now or '(none)')}"
        for what, before, now in (("source", old.source, new.source), ("license", old.license, new.license))
        if before != now
    ]
    parts = (("files", old.files, new.files), ("support", old.support, new.support), ("facts", old.about, new.about))
    told += [f"other {what}" for what, before, now in parts if before != now]
    return f"({', '.join(told)})" if told else ""


def _lines(locked: Locked) -> Iterable[str]:
    from reconciler.inert import human_bytes, short_revision
    from reconciler.render.lines import name

    for variant in locked.changed:
        pin, old = locked.pins[variant], locked.before.get(variant)
        size = human_bytes(sum(file.size for file in pin.files))
        before = f"{short_revision(old.revision)} -> " if old else ""
        told = f"{'~' if old else '+'} {name(variant)}  {before}{short_revision(pin.revision)}  {size}"
        yield f"{told}  {_differing(old, pin)}" if old and old.revision == pin.revision else told
    for variant in locked.dropped:
        yield f"- {name(variant)}  not declared any more"
