"""A plan as one comment on a pull request: counts first, every destructive and blocked row, the rest folded. Pure.

Rows stand in fenced code, so that no name in them can mention, link, load or close anything; the fence is longer than
any run of backticks inside. What stands outside the fences goes through `inert_markdown`.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from reconciler.inert import human_bytes, inert_markdown
from reconciler.plan import SUPPOSED, Action, Plan, Step
from reconciler.planjson import plan_id
from reconciler.render import lines, review, strangers, text
from reconciler.render.lines import counted, name, shorten

_ROW = 400
"""The longest row in characters; longer ones are cut in the middle, never dropped."""
_BRIEF = 120
"""The longest line below a row of which there are too many."""
_BACKTICKS = re.compile(r"`+")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]|(?<=-)-")
"""What may not stand in a comment of HTML, and `--`, which would end it."""
_ATTRIBUTES = 12
"""Changed attributes shown below one row."""
_CUT = 350
"""Room kept for each later section to say at least how many rows it has."""


class _Section(NamedTuple):
    title: str
    steps: Sequence[Step]
    folded: bool
    """Folded rows are the first to go when a comment is too long."""


def plan_markdown(plan: Plan, *, limit: int = 60_000) -> str:
    """Return a plan as Markdown of at most `limit` characters, ready to be posted and updated in place."""
    head, foot = _head(plan), _foot(plan)
    head += _disks(plan, (limit - len(head) - len(foot)) // 4)
    notes = _notes(plan, (limit - len(head) - len(foot)) // 4)
    room = limit - len(head) - len(notes) - len(foot)
    destructive, blocked, *others = _sections(plan)
    reserve = _CUT * sum(1 for section in others if section.steps)
    # Where not even these two fit, what is blocked has a quarter, so that neither hides the other.
    wanted = len(_section(destructive, sys.maxsize))
    second = _section(blocked, max(room // 4, room - wanted - reserve))
    parts = [_section(destructive, room - len(second) - reserve), second]
    room -= sum(map(len, parts))
    for section in others:
        reserve -= _CUT if section.steps else 0
        part = _section(section, room - reserve)
        room -= len(part)
        parts.append(part)
    return head + "".join(parts) + notes + foot


def marker(plan: Plan) -> str:
    """Return the hidden line by which a bot finds its own comment; the same for every plan of one manifest.

    Two manifests never share it: a name that cannot stand there as it is has a digest of it besides.
    """
    safe = _UNSAFE.sub("_", plan.manifest_name)[:80]
    if safe != plan.manifest_name:
        safe += "." + hashlib.sha256(plan.manifest_name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"<!-- reconciler plan: {safe} -->"


def _head(plan: Plan) -> str:
    count = plan.summary
    title = inert_markdown(shorten(plan.manifest_name, 100))
    counts = [
        f"{number} to {action}"
        for number, action in (
            (count.remove, "remove"),
            (count.prune, "prune"),
            (count.download, "download"),
            (count.normalize, "normalize"),
        )
        if number
    ]
    moved = (
        f"{human_bytes(count.bytes_download)} to download, {human_bytes(count.bytes_reuse)} to reuse, "
        f"{human_bytes(count.bytes_trash)} to trash. {counted(count.keep, 'variant')} kept."
    )
    heading = f"### Plan for {title}: " if title else "### Plan: "
    heading += ", ".join(counts) if counts else "no changes"
    if count.blocked:
        heading += f", {count.blocked} blocked"
    return f"{marker(plan)}\n{heading}\n\n{moved if counts else text.summary_line(plan)}\n"


def _disks(plan: Plan, room: int) -> str:
    """Return what becomes of the disks, a row for each location, as far as there is room."""
    found = review.disks(plan)
    table = "\n| location | new | to trash | free before | free after |\n|---|---:|---:|---:|---:|\n"
    for position, disk in enumerate(found):
        free = "not told" if disk.free is None else human_bytes(disk.free)
        left = "not told" if disk.left is None else human_bytes(disk.left)
        if disk.left is not None and disk.left < 0:
            left = f"**{human_bytes(-disk.left)} too little**"
        row = f"| {_named(disk.location)} | {human_bytes(disk.new)} | {human_bytes(disk.trash)} | {free} | {left} |\n"
        if len(table) + len(row) + 60 > room:
            return f"{table}\n{counted(len(found) - position, 'location')} not shown\n" if position else ""
        table += row
    return table if found else ""


def _named(text: str) -> str:
    return inert_markdown(shorten(text, 100))


def _foot(plan: Plan) -> str:
    return f"\n`plan_id` `{plan_id(plan)}`\n"


def _sections(plan: Plan) -> list[_Section]:
    ordered = sorted(plan.steps, key=lambda step: (lines.rank(step), step.address))
    destructive = [step for step in ordered if lines.rank(step) <= 2]
    blocked = [step for step in ordered if lines.rank(step) == 5]
    others = [step for step in ordered if lines.rank(step) in (3, 4)]
    kept = [step for step in ordered if lines.rank(step) == 6]
    return [
        _Section("Into the trash", destructive, False),
        _Section("Blocked", blocked, False),
        _Section("Other changes", others, True),
        _Section("Kept", kept, True),
    ]


def _section(section: _Section, room: int) -> str:
    """Return a section in at most `room` characters, with the number of rows that did not fit; '' when it is empty."""
    if not section.steps:
        return ""
    alarms = _alarms(section.steps)
    title = f"{section.title} ({len(section.steps)})" + (f": {alarms}" if alarms else "")
    start = f"\n<details><summary>{title}</summary>\n" if section.folded else f"\n#### {title}\n"
    end = "\n</details>\n" if section.folded else ""
    left = room - len(start) - len(end) - _CUT  # the fence and the line that counts what was cut
    fence, rows = _fenced(map(_row, section.steps), left)
    missing: Sequence[Step] = ()
    if len(rows) < len(section.steps):
        # What must not be missed first, and of each row what must be said.
        steps = sorted(section.steps, key=lambda step: not review.alarms(step))
        fence, rows = _fenced(map(_brief, steps), left)
        missing = steps[len(rows) :]
    cut = _cut(missing)
    if not rows:
        return f"\n{title}: {cut}\n" if room > len(title) + len(cut) + 4 else ""
    body = "\n".join(rows)
    return f"{start}\n{fence}diff\n{body}\n{fence}\n" + (f"\n{cut}\n" if cut else "") + end


def _fenced(rows: Iterable[str], room: int) -> tuple[str, list[str]]:
    """Return as many rows as there is room for, and a fence that none of them ends."""
    taken, fence = [], "```"
    for row in rows:
        fence = max([fence, *(found + "`" for found in _BACKTICKS.findall(row))], key=len)
        room -= len(row) + 1
        if room - 2 * len(fence) < 0:
            break
        taken.append(row)
    return fence, taken


def _cut(missing: Sequence[Step]) -> str:
    """Return how many rows of which kind are not shown, and what they hold that must not be missed; '' for none."""
    if not missing:
        return ""
    counts = {action: sum(1 for step in missing if step.action is action) for action in Action}
    kinds = ", ".join(f"{number} {action.value}" for action, number in counts.items() if number)
    among = _alarms(missing)
    among = f"; among them {among}" if among else ""
    return f"{counted(len(missing), 'row')} not shown: {kinds}{among}. The whole plan: `reconciler plan`."


def _alarms(steps: Sequence[Step]) -> str:
    """Return how many of these steps hold what must not be missed, '' for none."""
    found = Counter(word for step in steps for word, _ in review.alarms(step))
    words = (("license", "with another licence"), ("gated", "gated"), ("active content", "with active content"))
    return ", ".join(f"{found[word]} {what}" for word, what in words if found[word])


def _row(step: Step) -> str:
    """Return one step: its line, why it is blocked, what changes. No line begins with what others wrote."""
    rows = [_line(step, name(step.reason), human_bytes(lines.size(step)), lines.movement(step), lines.leaving(step))]
    if step.blocked is not None:
        rows.append(_detail("blocked", name(step.blocked)))
    told = list(review.facts(step))
    rows += [_detail(word, what) for word, what in told]
    if step.action is not Action.KEEP:
        changed = [change for change in lines.changes(step) if change.name not in dict(told)]
        rows += [_detail(each.name, f"{each.old} -> {each.new}") for each in changed[:_ATTRIBUTES]]
        if len(changed) > _ATTRIBUTES:
            rows.append(f"    and {counted(len(changed) - _ATTRIBUTES, 'more attribute')}")
    return "\n".join(rows)


def _brief(step: Step) -> str:
    """Return a step of which there are too many: its size, why it is blocked, and what must not be missed."""
    rows = [_line(step, human_bytes(lines.size(step)))]
    if step.blocked is not None:
        rows.append(shorten(_detail("blocked", name(step.blocked)), _BRIEF))
    return "\n".join([*rows, *(shorten(_detail(word, what), _BRIEF) for word, what in review.alarms(step))])


def _line(step: Step, *words: str) -> str:
    symbol = "-" if step.action is Action.PRUNE and step.blocked is None else lines.symbol(step)[0]  # `-` is red
    said = (f"{symbol} {step.action.value:<9}", name(str(step.address)), *words)
    return shorten("  ".join(word for word in said if word), _ROW)


def _detail(word: str, what: str) -> str:
    return shorten(f"    {word}: {what}", _ROW)


def _notes(plan: Plan, room: int) -> str:
    """Return what stands beside the steps, as a list, as far as there is room; what must not be missed first."""
    items = [f"Warning: {inert_markdown(shorten(warning, 300))}" for warning in plan.warnings]
    items += [
        f"Policy, {each.severity}: {inert_markdown(shorten(f'{each.address}: {each.text}', 300))}"
        for each in review.remarks(plan)
    ]
    items += [
        f"{inert_markdown(shorten(location, 100))} is unreadable: {inert_markdown(shorten(place.why, 300))}"
        for location, place in plan.locations.items()
        if not place.readable
    ]
    items += [_handover(each) for each in review.handovers(plan)]
    items += [
        f"{inert_markdown(shorten(location, 100))} was seen by {inert_markdown(shorten(place.observed, 40))}"
        for location, place in plan.locations.items()
        if place.readable and place.observed not in ("", SUPPOSED)
    ]
    if plan.resolved:
        lock = inert_markdown(shorten(lines.base(plan.lock_path), 200))
        items.append(f"{counted(len(plan.resolved), 'entry')} will be added to {lock}")
    if plan.unmanaged_files:
        files = counted(plan.unmanaged_files, "file")
        items.append(f"{files} ({human_bytes(plan.unmanaged_bytes)}) not managed; never touched")
    if plan.strangers:
        items.append(strangers.summary(plan).removesuffix("."))
    if room < 100:
        return ""
    shown, left = "", room - 80
    for position, item in enumerate(items):
        left -= len(item) + 3
        if left < 0:
            shown += f"- {counted(len(items) - position, 'note')} not shown\n"
            break
        shown += f"- {item}\n"
    return f"\n{shown}" if shown else ""


def _handover(found: review.Handover) -> str:
    if found.changes_hands:
        old, new = (_named(each[0]) if each else "nobody" for each in (found.before, found.after))
        return f"Role {_named(found.role)} changes hands: from {old} to {new}"
    return f"Role {_named(found.role)}: in another order, {_listed(found.after)}; before {_listed(found.before)}"


def _listed(variants: Sequence[str]) -> str:
    shown = ", ".join(map(_named, variants[:5]))
    return f"{shown} and {len(variants) - 5} more" if len(variants) > 5 else shown or "nobody"
