"""A plan as text: grouped by location, what destroys first, one line a step, the counts last. Pure.

Nothing wraps when `width` is None (a pipe, a file). On a terminal a line that would not fit is told in two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from reconciler.inert import human_bytes
from reconciler.plan import NOWHERE, Action, FileRow, Place, Plan, Step
from reconciler.render import lines, strangers
from reconciler.render.lines import cells, counted, name, pad, paint, shorten
from reconciler.render.review import remarks

_ACTION_WIDTH = len("normalize")
_SIZE_WIDTH = len("1023.9 GiB")
_INDENT = 1 + 3 + _ACTION_WIDTH + 2
"""Columns before the address: a margin, the symbol, the action, a gap."""
_WIDEST_COLUMN = 64
"""In a pipe a column is aligned up to here; one long name does not push the others away."""
_NARROWEST = 40
_CROWD = 4
"""So many variants of one location that wait for the same thing are told in one line."""

_LEGEND = {
    "-": "remove",
    "x": "prune",
    "-+": "download, replacing",
    "-~": "normalize, replacing",
    "+": "download",
    "~": "normalize",
    "=": "keep",
    "!": "blocked",
}


class _Look(NamedTuple):
    width: int | None
    colour: bool
    verbose: bool

    def paint(self, text: str, code: str) -> str:
        return paint(text, code, self.colour)


class _Columns(NamedTuple):
    """How the steps of one location are laid out; `folded` puts what follows the address on a line of its own."""

    address: int
    reason: int
    folded: bool


def plan_text(plan: Plan, *, width: int | None, colour: bool, verbose: bool = False) -> Iterator[str]:
    """Yield a plan's lines. `width` is the terminal's, None without one; `verbose` lists kept variants and files."""
    look = _Look(None if width is None else max(width, _NARROWEST), colour, verbose)
    groups = _groups(plan, look)
    yield look.paint(f"Plan for {name(plan.manifest_name)}" if plan.manifest_name else "Plan", "1")
    yield from _legend([step for _, _, steps, _ in groups for step in steps], look)
    for place_name, place, steps, kept in groups:
        yield ""
        yield from _location(place_name, place, steps, kept, look)
    notes = list(_notes(plan, look))
    if notes:
        yield ""
        yield from notes
    yield ""
    yield look.paint(summary_line(plan), "1")


def summary_line(plan: Plan) -> str:
    """Return the counts of a plan in one line, as text and Markdown end."""
    count = plan.summary
    if plan.is_empty:
        return f"No changes. {counted(count.keep, 'variant')} {'is' if count.keep == 1 else 'are'} as declared."
    # A picture beside a model comes with a step that otherwise only arranges what is here.
    beside = sum(step.bytes.download for step in plan.changes if step.action is not Action.DOWNLOAD)
    also = f" ({human_bytes(beside)} to fetch)" if beside else ""
    return (
        f"Plan: {count.download} to download ({human_bytes(count.bytes_download - beside)}), "
        f"{count.normalize} to normalize{also}, {count.prune} to prune, {count.remove} to remove. "
        f"{count.keep} kept, {count.blocked} blocked."
    )


def _groups(plan: Plan, look: _Look) -> list[tuple[str, Place | None, list[Step], int]]:
    """Return (location, place, steps to show, number kept) of every location that has something to say."""
    by_location: dict[str, list[Step]] = {location: [] for location in plan.locations}
    for step in plan.steps:
        by_location.setdefault(step.address.location, []).append(step)
    groups = []
    for location, steps in by_location.items():
        place = plan.locations.get(location)
        shown = steps if look.verbose else [step for step in steps if lines.rank(step) < 6]
        kept = sum(1 for step in steps if lines.rank(step) == 6)
        if shown or (place is not None and not place.readable):
            groups.append((location, place, sorted(shown, key=lambda step: (lines.rank(step), step.address)), kept))
    return groups


def _legend(steps: Iterable[Step], look: _Look) -> Iterator[str]:
    used = {lines.symbol(step) for step in steps}
    items = [f"{mark} {meaning}" for mark, meaning in _LEGEND.items() if mark in used]
    line = ""
    for item in items:
        if line and look.width is not None and len(line) + len(item) + 2 > look.width:
            yield look.paint(line, "2")
            line = ""
        line += "  " + item
    if line:
        yield look.paint(line, "2")


def _location(location: str, place: Place | None, steps: list[Step], kept: int, look: _Look) -> Iterator[str]:
    head = name(location)
    if place is not None:
        how = ", ".join(filter(None, (name(place.store), name(place.observed))))
        store = f"  ({how})" if how else ""
        room = None if look.width is None else max(look.width - cells(head) - cells(store) - 2, 12)
        root = shorten(name(place.root), room)
        yield look.paint(head, "1") + look.paint(f"  {root}{store}", "2")
        if not place.readable:
            yield from _wrapped(f"unreadable: {name(place.why) or 'nothing is known about it'}", 2, "33", look)
    else:
        yield look.paint(head, "1") + look.paint("  where these go is not known yet", "2") * (location == NOWHERE)
    crowd = [] if look.verbose else _crowd(steps)
    crowded = set(map(id, crowd))
    steps = [step for step in steps if id(step) not in crowded]
    columns = _columns(steps, look)
    for step in steps:
        yield from _step(step, columns, look)
    if crowd:
        told = f"{len(crowd)} variants, {name(crowd[0].reason)} (--verbose names them)"
        yield f" {look.paint(' ! keep     ', '33')}  {told}"
        yield from _wrapped(f"blocked: {name(crowd[0].blocked or '')}", _INDENT, "33", look)
    if kept and not look.verbose:
        yield look.paint(f"  {kept} kept", "2")


def _crowd(steps: Sequence[Step]) -> list[Step]:
    """Return the steps that wait for one and the same thing, where they are many: a disk that is not there."""
    waiting = [step for step in steps if step.action is Action.KEEP and step.blocked is not None]
    same = [step for step in waiting if (step.reason, step.blocked) == (waiting[0].reason, waiting[0].blocked)]
    return same if len(same) >= _CROWD else []


def _columns(steps: list[Step], look: _Look) -> _Columns:
    address = max((cells(name(str(step.address))) for step in steps), default=0)
    reason = max((cells(name(step.reason)) for step in steps), default=0)
    if look.width is None:
        return _Columns(min(address, _WIDEST_COLUMN), min(reason, _WIDEST_COLUMN), False)
    return _Columns(address, reason, _INDENT + address + 2 + reason + 2 + _SIZE_WIDTH > look.width)


def _step(step: Step, columns: _Columns, look: _Look) -> Iterator[str]:
    code = lines.colour_of(step)
    mark = look.paint(f"{lines.symbol(step):>2} {step.action.value:<{_ACTION_WIDTH}}", code)
    address, reason, moved = name(str(step.address)), name(step.reason), lines.movement(step)
    volume = human_bytes(lines.size(step))
    left = lines.leaving(step)
    room = None if look.width is None else look.width - _INDENT
    if columns.folded:
        yield f" {mark}  {shorten(address, room)}"
        yield from _folded(f"{reason}, {volume}" + (f" {left}" if left else ""), moved, room, look)
    else:
        line = f" {mark}  {pad(address, columns.address)}  {pad(reason, columns.reason)}  {volume:>{_SIZE_WIDTH}}"
        used = _INDENT + max(columns.address, cells(address)) + max(columns.reason, cells(reason)) + _SIZE_WIDTH + 4
        rest = f"{moved} {left}".strip()
        if not rest:
            yield line
        elif look.width is None or used + 2 + cells(rest) <= look.width:
            yield line + look.paint(f"  {rest}", "2")
        else:
            yield line
            yield from _folded(left, moved, room, look)
    yield from _details(step, look)


def _folded(words: str, moved: str, room: int | None, look: _Look) -> Iterator[str]:
    """Yield what follows a step's first line: the words, and the way of the bytes, in as few lines as they fit in."""
    both = f"{words}, {moved}" if words and moved else words or moved
    parts = [both]
    if room is not None and cells(both) > room:
        start, way, end = moved.partition(" -> ")
        parts = [words, moved] if cells(moved) <= room or not way else [words, start, f"-> {end}"]
    for part in parts:
        if part:
            yield " " * _INDENT + look.paint(lines.fit(part, room), "2")


def _details(step: Step, look: _Look) -> Iterator[str]:
    """Yield what stands below a step: why it is blocked, what changes in its record, its files when asked for."""
    if step.blocked is not None:
        yield from _wrapped(f"blocked: {name(step.blocked)}", _INDENT, "33", look)
    changed = list(lines.changes(step)) if step.action is not Action.KEEP else []
    if changed:
        widest = min(max(cells(change.name) for change in changed), 24)
        for change in changed:
            room = None if look.width is None else look.width - _INDENT - widest - 2
            label = pad(change.name if room is None else shorten(change.name, widest), widest)
            yield f"{' ' * _INDENT}{label}  {lines.arrow(change.old, change.new, room)}"
    if look.verbose and step.action is not Action.KEEP:
        yield from _files(step, look)


def _files(step: Step, look: _Look) -> Iterator[str]:
    leaving = set(step.trash)
    rows = [(row, row.method) for row in step.files if row not in leaving] + [(row, "trash") for row in step.trash]
    for row, method in rows:
        start = f"{' ' * _INDENT}{method:<5}  {human_bytes(row.size):>{_SIZE_WIDTH}}  "
        room = None if look.width is None else max(look.width - len(start), 12)
        yield start + look.paint(shorten(_file(row), room), "2")


def _file(row: FileRow) -> str:
    text = name(row.path)
    if row.origin:
        text += f" <- {name(row.origin)}"
    return f"{text} (replaces)" if row.replaces else text


def _notes(plan: Plan, look: _Look) -> Iterator[str]:
    """Yield what the reader should know beside the steps: room, bytes, lock, unmanaged files, warnings."""
    room = list(space(plan, look.width))
    yield from room
    if room:
        yield ""
    count = plan.summary
    moved = []
    if count.bytes_download:
        moved.append(f"{human_bytes(count.bytes_download)} to download")
    if count.bytes_reuse:
        moved.append(f"{human_bytes(count.bytes_reuse)} to reuse")
    if count.bytes_trash:
        moved.append(f"{human_bytes(count.bytes_trash)} to trash (freed by gc)")
    if moved:
        yield ", ".join(moved) + "."
    if plan.resolved:
        yield lock_line(plan)
    if plan.unmanaged_files:
        files = counted(plan.unmanaged_files, "file")
        yield look.paint(f"{files} ({human_bytes(plan.unmanaged_bytes)}) not managed; never touched.", "2")
    if plan.strangers:
        more = "" if look.verbose else " --verbose names them."
        yield from _wrapped(strangers.summary(plan) + more, 0, "2", look)
        for line in strangers.details(plan) if look.verbose else ():
            yield from _wrapped(line, 2, "2", look)
    for warning in plan.warnings:
        yield from _wrapped(f"Warning: {name(warning)}", 0, "33", look)
    for each in remarks(plan):
        yield from _wrapped(f"Policy, {each.severity}: {name(str(each.address))}: {name(each.text)}", 0, "2", look)


def lock_line(plan: Plan) -> str:
    """Return what apply will write into the lock file."""
    return f"{counted(len(plan.resolved), 'entry')} will be added to {name(lines.base(plan.lock_path))}."


def space(plan: Plan, width: int | None) -> Iterator[str]:
    """Yield a line for every file system that the plan needs room on: free, needed, left."""
    systems = file_systems(plan)
    if not systems:
        return
    yield f"{'Free space':<{_SIZE_WIDTH}}  {'needed':>{_SIZE_WIDTH}}  {'left':>{_SIZE_WIDTH}}"
    for locations, free, needed in systems:
        left = free - needed
        rest = f"-{human_bytes(-left)}" if left < 0 else human_bytes(left)
        start = f"{human_bytes(free):>{_SIZE_WIDTH}}  {human_bytes(needed):>{_SIZE_WIDTH}}  {rest:>{_SIZE_WIDTH}}  "
        room = None if width is None else max(width - len(start), 12)
        yield start + shorten(name(", ".join(locations)) + ("  (not enough)" if left < 0 else ""), room)


def file_systems(plan: Plan) -> list[tuple[list[str], int, int]]:
    """Return (locations, bytes free, bytes needed) of every file system on which the plan needs room."""
    needs: dict[object, int] = {}
    names: dict[object, list[str]] = {}
    free: dict[object, int] = {}
    for location, place in plan.locations.items():
        system = place.device or location
        names.setdefault(system, []).append(location)
        free[system] = min(free.get(system, place.free_bytes), place.free_bytes)
    for step in plan.changes:
        place_of = plan.locations.get(step.address.location)
        if place_of is not None and place_of.tells_room:
            system = place_of.device or step.address.location
            needs[system] = needs.get(system, 0) + step.needs
    return [(names[system], free[system], needed) for system, needed in needs.items() if needed]


def _wrapped(text: str, indent: int, code: str, look: _Look) -> Iterator[str]:
    for part in lines.folded(text, None if look.width is None else look.width - indent, "  "):
        yield " " * indent + look.paint(part, code)
