"""What the user's `--target`, `--exclude` and `--allow-remove` mean for a plan. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from reconciler.errors import InputError, Problem
from reconciler.inert import few, suggest
from reconciler.plan import NOWHERE, Selection
from reconciler.safety import selects
from reconciler.state import Address, Desired, Undecided


def is_selected(selection: Selection, address: Address) -> bool:
    """Whether the plan is to be about this address."""
    if selection.target and not selects(selection.target, address):
        return False
    return not selects(selection.exclude, address)


def is_selected_undecided(selection: Selection, entry: Undecided) -> bool:
    """Whether the plan is to be about a variant of which nobody can tell yet where it goes, maybe.

    A pattern that names a location counts by what it says of the variant.
    """
    if entry.location:
        return is_selected(selection, Address(entry.variant, entry.location))
    targets = tuple(pattern.rpartition("@")[0] or pattern for pattern in selection.target)
    return is_selected(Selection(targets, selection.exclude), Address(entry.variant, NOWHERE))


def scope(
    variants: Iterable[Desired], undecided: Iterable[Undecided], selection: Selection
) -> Callable[[Address], bool]:
    """Return which records may leave: undeclared ones that are selected.

    A copy in a place where its variant is not declared any more waits until the new place is selected too.
    """
    waiting = {entry.variant for entry in undecided}
    declared = {wanted.address.variant: wanted.address for wanted in variants}

    def within(address: Address) -> bool:
        now = declared.get(address.variant, address)
        if address.variant in waiting or (now == address and address.variant in declared):
            return False  # declared; not leaving, whether selected or not
        return is_selected(selection, address) and is_selected(selection, now)

    return within


def check_selection(
    selection: Selection, variants: Iterable[Desired], undecided: Iterable[Undecided], held: Iterable[Address]
) -> None:
    """Raise InputError for a pattern that names nothing: a typo must not pass for `nothing to do`."""
    waiting = tuple(undecided)
    known = {*(wanted.address for wanted in variants), *held}
    known |= {Address(entry.variant, entry.location) for entry in waiting if entry.location}
    open_ended = [entry for entry in waiting if not entry.location]
    problems = []
    flags = {"--target": selection.target, "--exclude": selection.exclude, "--allow-remove": selection.allow}
    for flag, patterns in flags.items():
        for pattern in patterns:
            one = Selection(target=(pattern,))
            if any(is_selected(one, a) for a in known) or any(is_selected_undecided(one, e) for e in open_ended):
                continue
            names = {address.variant for address in known} | {entry.variant for entry in waiting}
            problems.append(Problem(f"{flag} {pattern}", "names no variant", _hint(pattern, names, known)))
    if problems:
        raise InputError(problems)


def _hint(pattern: str, names: Iterable[str], known: Iterable[Address]) -> str:
    variant, at, _ = pattern.rpartition("@")
    places = sorted(str(address) for address in known if at and address.variant == variant)
    if places:
        return f"it is {' and '.join(places)}"
    near = suggest(pattern, list(names))
    return f"did you mean {near}?" if near else f"there are: {few(sorted(names)) or 'none'}"


def left_out(variants: Iterable[Desired], selection: Selection) -> Iterator[Desired]:
    """Yield what is declared and not selected."""
    return (wanted for wanted in variants if not is_selected(selection, wanted.address))
