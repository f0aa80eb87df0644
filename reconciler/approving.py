"""Which steps may run: the actions that were approved, and no step that needs one that was not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from reconciler.errors import InputError, Problem
from reconciler.inert import suggest
from reconciler.plan import Action, Plan, Step
from reconciler.state import Address

_KNOWN: list[Action] = [action for action in Action if action is not Action.KEEP]


def approved_actions(text: str | None) -> frozenset[Action] | None:
    """Return the actions of `--approve`, None when it was not given. Raise InputError for a word that is no action."""
    if text is None:
        return None
    words = [word.strip() for word in text.split(",") if word.strip()]
    return actions(words, f"--approve {text}" if words else "--approve")


def actions(words: Iterable[str], where: str) -> frozenset[Action]:
    """Return the actions of some words; raise InputError for one that is no action, or for none at all."""
    given = list(words)
    problems = [Problem(where, f"{word!r} is no action", _near(word)) for word in given if word not in _KNOWN]
    if problems or not given:
        raise InputError(problems or [Problem(where, "names no action", f"one of {', '.join(_KNOWN)}")])
    return frozenset(Action(word) for word in given)


def without_unapproved(plan: Plan, approved: frozenset[Action] | None) -> Plan:
    """Hold back the steps that may not run unattended; they are told as blocked. None approves everything."""
    if approved is None:
        return plan
    steps = [
        step
        if step.blocked or step.action is Action.KEEP or not (lacking := _lacks(step, approved))
        else replace(step, blocked=f"not approved (approve it with --approve {lacking})")
        for step in plan.steps
    ]
    while True:  # what needs a step that is held back is held back with it
        held_back = [step for step in steps if step.blocked and step.after is not None]
        places = {f"{step.address.location}:{row.path}": step.address for step in held_back for row in step.files}
        variants = {step.address.variant: step.address for step in held_back}
        found = {index: need for index, step in enumerate(steps) if (need := _needs(step, places, variants))}
        if not found:
            return replace(plan, steps=tuple(steps))
        for index, need in found.items():
            steps[index] = replace(steps[index], blocked=f"needs {need}, which is blocked")


def _near(word: str) -> str:
    near = suggest(word, _KNOWN)
    return f"did you mean {near}?" if near else f"one of {', '.join(_KNOWN)}"


def _lacks(step: Step, approved: frozenset[Action]) -> str:
    """Return the approvals that a step needs and has not: files that leave with a change are removed as well."""
    needed = [step.action] + ([Action.REMOVE] if step.trash and step.action is not Action.PRUNE else [])
    return ",".join(dict.fromkeys(action for action in needed if action not in approved))


def _needs(step: Step, places: Mapping[str, Address], variants: Mapping[str, Address]) -> Address | None:
    """Return the address of a step that is held back, and that this one cannot do without."""
    if step.blocked or step.action is Action.KEEP:
        return None
    if step.after is None:
        return variants.get(step.address.variant) if step.reason == "superseded" else None
    return next((places[row.origin] for row in step.files if row.origin in places), None)
