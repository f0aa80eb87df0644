"""The part that `apply`, `undo` and `verify --repair` share: hold the lock, recover, ask, act, account."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from reconciler.cli import session
from reconciler.errors import DeclinedError
from reconciler.plan import Action, Plan

if TYPE_CHECKING:
    from reconciler.holding import Held
    from reconciler.manifest import Loaded
    from reconciler.receipt import Receipt
    from reconciler.render.progress import Kind
    from reconciler.settings import Settings
    from reconciler.survey import Means


@contextmanager
def hold(loaded: Loaded, means: Means, command: str) -> Iterator[Held]:
    """Lock the registry and finish what an interrupted apply left, as `holding.hold`; what was finished is told."""
    from reconciler import holding

    with holding.hold(loaded, means.digests, command, session.tell) as held:
        yield held


def ask(question: str, *, instead: str = "--yes approves it") -> None:
    """Ask for `yes`. Raise DeclinedError for any other answer, and where nobody is there to answer.

    `instead` says how to approve without a terminal.
    """
    if not sys.stdin.isatty():
        raise DeclinedError("nobody is there to approve this", hint=instead)
    sys.stdout.write(f"\n{question}\n  Only `yes` is accepted: ")
    sys.stdout.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):  # the end of what was typed, not of a line
        sys.stdout.write("\n")
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
    from reconciler import doing
    from reconciler.render.progress import open_display

    kind: Kind = "json" if json else ("bars" if sys.stderr.isatty() else "lines")
    stream = sys.stdout if json else sys.stderr
    with open_display(kind, stream, colour=session.colour(chosen, stream)) as display:
        applied = doing.act(plan, loaded, held, means, chosen, display, approved=approved, lock=lock)
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
