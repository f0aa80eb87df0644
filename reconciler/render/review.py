"""What a reviewer asks of a plan: bytes, licence and active content of each variant; disks; who serves what. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from reconciler.detect.rules import is_pickle_name, is_program
from reconciler.inert import few, human_bytes
from reconciler.plan import Action, FileRow, Finding, Plan, Step
from reconciler.render.lines import counted, name
from reconciler.rules import UNKNOWN

_WAY = " -> "
_ALARMS = ("gated", "active content")


class Disk(NamedTuple):
    """What a plan does to the file system of a location, in bytes. `free` is None where nobody can tell."""

    location: str
    new: int
    trash: int
    """It stays on the same file system until `gc`."""
    free: int | None
    left: int | None
    """After all steps of all locations on that file system; negative where it is too small."""


class Handover(NamedTuple):
    """A role that other variants serve, or serve in another order, afterwards; the first is preferred."""

    role: str
    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def changes_hands(self) -> bool:
        """Whether another variant is the first choice."""
        return self.before[:1] != self.after[:1]


def facts(step: Step) -> Iterator[tuple[str, str]]:
    """Yield (word, what) of a step that leaves a variant standing, as far as there is something to say; inert."""
    if step.after is None or step.action is Action.KEEP:
        return
    arriving = [row for row in step.files if row.method != "none"]
    if told := _bytes(arriving, step.trash):
        yield "bytes", told
    if arriving or step.before is None:
        licenses = [step.after.license] if step.before is None else [step.before.license, step.after.license]
        yield "license", _WAY.join(dict.fromkeys(name(each or UNKNOWN) for each in licenses))
        if step.after.gated:
            yield "gated", "upstream asks everybody to agree to something first"
    if told := _active(arriving):
        yield "active content", told


def alarms(step: Step) -> list[tuple[str, str]]:
    """Return what of `facts` a reviewer must not miss: another licence, gated, active content."""
    return [(word, what) for word, what in facts(step) if word in _ALARMS or (word == "license" and _WAY in what)]


def disks(plan: Plan) -> list[Disk]:
    """Return every location that can be read and whose bytes change, in the order of their names."""
    new: dict[str, int] = {}
    trash: dict[str, int] = {}
    needed: dict[object, int] = {}
    for step in plan.changes:
        location = step.address.location
        place = plan.locations.get(location)
        if place is None or not place.readable:
            continue
        new[location] = new.get(location, 0) + step.needs
        trash[location] = trash.get(location, 0) + step.bytes.trash
        system = place.device or location
        needed[system] = needed.get(system, 0) + step.needs
    found = []
    for location in sorted(new):
        place = plan.locations[location]
        if new[location] or trash[location]:
            free = place.free_bytes if place.tells_room else None
            left = None if free is None else free - needed[place.device or location]
            found.append(Disk(location, new[location], trash[location], free, left))
    return found


def handovers(plan: Plan) -> list[Handover]:
    """Return the roles that are served otherwise afterwards; none of a plan that leaves variants out.

    A blocked step changes nothing; a variant under a new name is the same one.
    """
    if plan.selection.target or plan.selection.exclude:
        return []
    before: dict[str, set[tuple[int, str]]] = {}
    after: dict[str, set[tuple[int, str]]] = {}
    for step in plan.steps:
        variant = step.address.variant
        held = step.before.roles if step.before else {}
        gets = held if step.blocked is not None else step.after.roles if step.after else {}
        for roles, found in ((held, before), (gets, after)):
            for role, position in roles.items():
                found.setdefault(role, set()).add((position, variant))
    orders = {role: (_order(before.get(role, ())), _order(after.get(role, ()))) for role in sorted({*before, *after})}
    return [Handover(role, old, new) for role, (old, new) in orders.items() if old != new]


def remarks(plan: Plan) -> Iterator[Finding]:
    """Yield the findings that stand neither among the warnings nor as the reason why a step is blocked."""
    blocked = {step.address: step.blocked or "" for step in plan.steps}
    for finding in plan.findings:
        said = finding.severity == "warning" or finding.text in blocked.get(finding.address, "")
        if not said:
            yield finding


def _order(served: Iterable[tuple[int, str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(variant for _, variant in sorted(served)))


def _bytes(arriving: Sequence[FileRow], trash: Sequence[FileRow]) -> str:
    groups = (
        ("new", [row for row in arriving if not row.replaces]),
        ("changed", [row for row in arriving if row.replaces]),
        ("removed", trash),
    )
    return ", ".join(
        f"{counted(len(rows), 'file')} {word} ({human_bytes(sum(row.size for row in rows))})"
        for word, rows in groups
        if rows
    )


def _active(arriving: Iterable[FileRow]) -> str:
    paths = [row.artifact or row.path for row in arriving]
    kinds = (
        ("pickle file", [path for path in paths if is_pickle_name(path)]),
        ("program", [path for path in paths if is_program(path)]),
    )
    return ", ".join(f"{counted(len(found), word)} ({name(few(found))})" for word, found in kinds if found)
