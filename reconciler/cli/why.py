"""`reconciler why`: who declares a variant, what chose its place, what holds its bytes, what the plan does with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import completing, session
from reconciler.errors import InputError

if TYPE_CHECKING:
    from reconciler.audit.because import Account, Shared
    from reconciler.plan import Plan

_ENDINGS = {1: "st", 2: "nd", 3: "rd"}


def command(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[MANIFEST] NAME",
            help="The manifest, then VARIANT or VARIANT@LOCATION.",
            autocompletion=completing.variants,
        ),
    ],
    json: session.Json = False,
    offline: session.Offline = False,
) -> int:
    """Say why a variant is there, and what the plan does.

    Who declares it (file and line), what chose its place, its roles, which other names its bytes have, and what the
    plan does with it and why. Makes the same plan as `plan`, and touches nothing.

    \b
    Examples:
      reconciler why tiny-chat
      reconciler why workstation.yaml llama-3.2-3b@ollama --json
      reconciler why manifests/ old-model --offline

    \b
    Exit codes: 0 told; 1 error, or nobody knows the name.
    """
    from reconciler.audit.because import account, as_value
    from reconciler.manifest import load
    from reconciler.plan import Selection
    from reconciler.survey import survey

    if len(words) > 2:
        raise InputError(f"unexpected {words[2]!r}", hint="one at a time: `reconciler why [MANIFEST] NAME`")
    loaded = load(words[0] if len(words) == 2 else None)
    with session.means(loaded, offline=offline) as means:
        seen = survey(loaded, session.open_registry(loaded), means, Selection())
    found = account(words[-1], loaded, seen.world, seen.plan)
    if found is None:
        recorded = (held.record.address.variant for held in seen.world.contents.ours)
        raise _unknown(words[-1], str(loaded.path), seen.plan, [*loaded.manifest.variants, *recorded])
    if json:
        session.say_json(as_value(found))
    else:
        session.say(_text(found))
    return 0


def _unknown(name: str, where: str, plan: Plan, names: Iterable[str]) -> InputError:
    from reconciler.inert import inert, suggest

    strangers = {stranger.name for stranger in plan.strangers}
    if name in strangers:
        hint = "the registry has an entry of this name that is not ours"
    else:
        near = suggest(name.partition("@")[0], names)
        hint = f"did you mean {near}?" if near else "`reconciler list --state '*'` shows what is declared and managed"
    return InputError(f"nobody declares or manages {inert(name)!r}", where=where, hint=hint)


def _text(found: Account) -> Iterator[str]:
    from reconciler.render.lines import name

    yield name(found.name)
    for label, text in _lines(found):
        yield f"  {label:<10}{name(text)}"


def _lines(found: Account) -> Iterator[tuple[str, str]]:
    """Yield what is known, as (label, text)."""
    from reconciler.audit.because import REASONS
    from reconciler.inert import human_bytes, short_revision
    from reconciler.render.lines import counted

    revision = f", locked at {short_revision(found.revision)}" if found.revision else ""
    yield "declared", f"{found.declared}, {found.source}{revision}" if found.declared else "not any more, or not here"
    if found.place:
        yield "place", f"{found.location or 'none yet'}: {found.place}"
    for role, position, many in found.roles:
        yield "role", f"{role}: {_ordinal(position)} of {many}"
    for held in found.records:
        record = held.record
        size = human_bytes(sum(file.size for file in record.files))
        where = f"{held.location}, {record.root}/{record.home}"
        yield "recorded", f"{where}: {counted(len(record.files), 'file')}, {size}, generation {record.generation}"
    if not found.records:
        yield "recorded", "no apply has placed or adopted it"
    for held in found.others:
        yield "elsewhere", f"{held.location}: another manifest manages one of this name: {held.record.manifest}"
    yield from _sharing(found.shared)
    for step in found.steps:
        yield "plan", f"{step.address}: {step.action}, {step.reason}: {REASONS.get(step.reason, step.reason)}"
        if step.blocked is not None:
            yield "blocked", step.blocked
    if not found.steps:
        yield "plan", "says nothing of it"


def _sharing(shared: Iterable[Shared]) -> Iterator[tuple[str, str]]:
    """Yield with whom bytes are shared: the same inode under another name costs nothing more."""
    from reconciler.inert import human_bytes
    from reconciler.render.lines import counted

    by_who: dict[str, list[Shared]] = {}
    for each in shared:
        by_who.setdefault(each.who, []).append(each)
    for who, files in sorted(by_who.items()):
        size = human_bytes(sum({each.path: each.size for each in files}.values()))
        owner = who or f"files of nobody ({files[0].other}{', …' if len(files) > 1 else ''})"
        yield "shares", f"{counted(len({each.path for each in files}), 'file')} ({size}) with {owner}"


def _ordinal(number: int) -> str:
    return f"{number}{'th' if number % 100 in (11, 12, 13) else _ENDINGS.get(number % 10, 'th')}"
