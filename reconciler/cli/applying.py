"""The part that `apply`, `undo` and `verify --repair` share: hold the lock, recover, ask, act, account."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from reconciler.cli import session
from reconciler.errors import DeclinedError, InputError, Problem
from reconciler.inert import inert, suggest
from reconciler.plan import Action, Plan

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from reconciler.download import Downloader
    from reconciler.manifest import Loaded
    from reconciler.receipt import Receipt
    from reconciler.registry import Registry
    from reconciler.render.progress import Kind
    from reconciler.settings import Settings
    from reconciler.survey import Means


class Held(NamedTuple):
    """The registry, locked for writing and brought to its end if an apply was cut short.

    `recovered_from` is its serial before that, None when there was nothing to finish.
    """

    registry: Registry
    fd: int
    recovered_from: int | None = None


@contextmanager
def hold(loaded: Loaded, means: Means, command: str) -> Iterator[Held]:
    """Lock the registry and finish what an interrupted apply left. Raise BusyError when another apply holds it.

    `command` is the one that others are told of meanwhile.
    """
    from reconciler.apply.recover import recover
    from reconciler.registry import load, locked
    from reconciler.render.lines import counted

    with locked(loaded.registry, holder=f"reconciler {command}") as fd:
        found = load(loaded.registry)
        registry, recovered = recover(found, means.digests)
        for one in recovered:
            session.tell(f"finished an interrupted apply: {counted(one.steps, 'step')} of it recorded")
            for address, why in one.left:
                session.tell(inert(f"{address}: cut off in the middle, and it cannot be finished now: {why}"))
        yield Held(registry, fd, found.serial if recovered else None)


def approved_actions(text: str | None) -> frozenset[Action] | None:
    """Return the actions of `--approve`, None when it was not given. Raise InputError for a word that is no action."""
    if text is None:
        return None
    words = [word.strip() for word in text.split(",") if word.strip()]
    known: list[Action] = [action for action in Action if action is not Action.KEEP]
    problems = [
        Problem(f"--approve {text}", f"{word!r} is no action", _near(word, known))
        for word in words
        if word not in known
    ]
    if problems or not words:
        raise InputError(problems or [Problem("--approve", "names no action", f"one of {', '.join(known)}")])
    return frozenset(Action(word) for word in words)


def _near(word: str, known: list[Action]) -> str:
    near = suggest(word, known)
    return f"did you mean {near}?" if near else f"one of {', '.join(known)}"


def ask(question: str) -> None:
    """Ask for `yes`. Raise DeclinedError for any other answer, and where nobody is there to answer."""
    if not sys.stdin.isatty():
        raise DeclinedError(
            "nobody is there to approve this", hint="--yes, --approve ACTIONS or a saved plan (`plan -o`) approves it"
        )
    sys.stdout.write(f"\n{question}\n  Only `yes` is accepted: ")
    sys.stdout.flush()
    answer = sys.stdin.readline()
    if answer.strip() != "yes":
        raise DeclinedError("declined; nothing was changed")


def act(
    plan: Plan,
    loaded: Loaded,
    held: Held,
    means: Means,
    chosen: Settings,
    *,
    approved: frozenset[Action] | None = None,
    json: bool = False,
    lock: bytes | None = None,
) -> Receipt:
    """Carry out a plan, show it while it runs, and print the account."""
    from reconciler.apply import ALL, Tools, apply
    from reconciler.render.progress import open_display

    if any(row.method == "fetch" for step in plan.changes for row in step.files):
        _check_aria2c(chosen)
    kind: Kind = "json" if json else ("bars" if sys.stderr.isatty() else "lines")
    stream = sys.stdout if json else sys.stderr
    with open_display(kind, stream, colour=session.colour(chosen, stream)) as display:
        tools = Tools(
            open_downloader=lambda: _downloader(chosen, held.fd),
            sources=means.sources,
            digests=means.digests,
            display=display,
            manifest=loaded.identity,
        )
        files = {path.name: path.read_bytes() for path in loaded.files}
        applied = apply(plan, held.registry, tools, approved=approved or ALL, manifest_files=files, lock=lock)
    _account(applied.receipt, chosen, json)
    if applied.unrecorded is not None:
        session.tell("what was done is in the journal only; the next apply records it")
        raise applied.unrecorded
    return applied.receipt


def announce(plan: Plan, chosen: Settings, *, json: bool, verbose: bool) -> None:
    """Show a plan that is about to be carried out; programs get all of it in one line."""
    from reconciler.planjson import to_json
    from reconciler.render.progress import event

    if json:
        session.say([event("planned", to_json(plan))])
    else:
        session.show_plan(plan, chosen, verbose=verbose)


def _check_aria2c(chosen: Settings) -> None:
    """Raise InputError, before anything is begun, when the settings name an aria2c that cannot be used."""
    from reconciler.download import find_aria2c

    if chosen.downloader == "huggingface_hub" or (chosen.aria2c is None and chosen.downloader == "auto"):
        return
    found = find_aria2c(chosen.aria2c)
    if found is None or not found.usable:
        what = f"{found} is too old" if found is not None else f"there is no {chosen.aria2c or 'aria2c'} here"
        where = chosen.origins["aria2c" if chosen.aria2c is not None else "downloader"]
        raise InputError(what, where=where, hint="name another program, or take the setting away")


def nothing_done(plan: Plan, *, json: bool) -> int:
    """Return the exit code of an apply that has no step to run; with `json`, print its account all the same."""
    from reconciler.planjson import plan_id
    from reconciler.receipt import Outcome, Receipt
    from reconciler.render.progress import receipt_event

    blocked = tuple(Outcome(s.address, s.action, s.reason, "blocked", s.blocked or "") for s in plan.blocked)
    receipt = Receipt(plan_id(plan), None, blocked, 0.0, 0)
    if json:
        session.say([receipt_event(receipt)])
    return receipt.exit_code


def _downloader(chosen: Settings, fd: int) -> AbstractContextManager[Downloader]:
    from reconciler.download import Limits, open_downloader

    limits = Limits(
        connections_per_file=chosen.connections,
        connections_per_host=chosen.connections_per_host,
        files=chosen.files,
        rate=chosen.limit_rate,
        retries=chosen.retries,
    )
    return open_downloader(limits, keep_fds=(fd,), choice=chosen.downloader, aria2c=chosen.aria2c)


def _account(receipt: Receipt, chosen: Settings, json: bool) -> None:
    from reconciler.render.progress import receipt_event
    from reconciler.render.receipt import receipt_text

    if json:
        session.say([receipt_event(receipt)])
    else:
        session.say(receipt_text(receipt, width=session.width(), colour=session.colour(chosen)))


def terminated_is_interrupted() -> None:
    """Let SIGTERM and SIGHUP end an apply as Ctrl-C does: what is under way is finished or left resumable."""
    import signal

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), interrupt)
