"""Whether what arrives or changes keeps to the rules of the policy, and what lifts each. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import chain
from typing import TYPE_CHECKING

from reconciler import globs, licenses, links
from reconciler.detect.rules import container_of, is_pickle_name, is_program
from reconciler.inert import few, human_bytes
from reconciler.ollama import names
from reconciler.plan import Action, Facts, FileRow, Finding, Severity, Step
from reconciler.references import parse
from reconciler.state import Address, ObservedLocation

if TYPE_CHECKING:
    from reconciler.manifest import Loaded

_CROWDED = "policy rule free_space:"
"""What the reason of a block holds that is due to a rule of free space."""
UNKNOWN = licenses.UNKNOWN
"""The licence or format that nobody states, as `allow` and `deny` name it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the policy. `where` is `file:line:column` of its declaration.

    `max` is bytes of one variant; `min` what must stay free: bytes, or as a float a share (0..1) of the file system.
    """

    kind: str
    severity: Severity = "error"
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    max: int | None = None
    min: int | float | None = None
    only: tuple[str, ...] = ()
    exempt: tuple[str, ...] = ()
    where: str = ""

    def is_about(self, address: Address) -> bool:
        """Whether the rule holds for a variant in a location."""
        return (not self.only or _names(self.only, address)) and not _names(self.exempt, address)


def rules_of(loaded: Loaded) -> tuple[Rule, ...]:
    """Return the rules that a manifest declares, in its order."""
    return tuple(
        Rule(
            each.rule, each.severity, each.allow, each.deny, each.max, each.min, each.only, each.exempt,
            loaded.where("policy", "rules", number),
        )
        for number, each in enumerate(loaded.manifest.policy.rules)
    )  # fmt: skip


def forbid(steps: Iterable[Step], rules: Sequence[Rule]) -> Iterator[Step]:
    """Block every step that breaks a rule whose severity is `error`; rules of free space are the caller's to ask."""
    errors = [rule for rule in rules if rule.severity == "error" and rule.kind in _JUDGES]
    for step in steps:
        broken = list(_broken(step, errors)) if errors and not step.blocked and is_judged(step) else []
        yield replace(step, blocked="; ".join(finding.text for finding in broken)) if broken else step


def findings(
    steps: Iterable[Step], locations: Mapping[str, ObservedLocation], rules: Sequence[Rule]
) -> tuple[Finding, ...]:
    """Return everything that the rules say of the steps, blocked or not, in the order of the steps.

    Of free space, what the unblocked steps leave of it, one after the other; a step that would leave too little, and
    is blocked for it, leaves what was there.
    """
    if not rules:
        return ()
    found: list[Finding] = []
    free = room_of(locations)
    stated = [rule for rule in rules if rule.kind in _JUDGES]
    for step in steps:
        place = locations.get(step.address.location)
        if is_judged(step):
            found += _broken(step, stated)
        if place is None or place.by_api or place.device not in free:
            continue
        left = free[place.device] - step.needs
        if step.blocked is None:
            free[place.device] = left
            found += crowded(step, place, left, rules)
        elif _CROWDED in step.blocked:
            found += crowded(step, place, left, [rule for rule in rules if rule.severity == "error"])
    return tuple(found)


def cautions(found: Iterable[Finding]) -> Iterator[str]:
    """Yield the findings that are warnings of the plan, as people read them."""
    return (f"{each.address}: {each.text}" for each in found if each.severity == "warning")


def is_judged(step: Step) -> bool:
    """Whether a step brings a variant or changes it; what takes away breaks no rule."""
    return step.after is not None and step.action in (Action.DOWNLOAD, Action.NORMALIZE)


def crowded(step: Step, place: ObservedLocation, left: int, rules: Iterable[Rule]) -> Iterator[Finding]:
    """Yield the rules of free space that a step breaks which leaves so many bytes on the file system of its place."""
    if step.needs == 0:
        return
    for rule in rules:
        if rule.kind != "free_space" or rule.min is None or not rule.is_about(step.address):
            continue
        is_share = isinstance(rule.min, float)
        least = round(rule.min * place.total_bytes) if is_share else int(rule.min)
        if left < least:
            share = f" ({rule.min:.0%} of {human_bytes(place.total_bytes)})" if is_share else ""
            have = human_bytes(left) if left >= 0 else "nothing"
            what = f"{have} would be left of the file system of {place.name}, less than {human_bytes(least)}{share}"
            yield _finding(step, rule, what, "`reconciler gc` frees the trash; or choose another location")


def room_of(locations: Mapping[str, ObservedLocation]) -> dict[int, int]:
    """Return device -> free bytes of the locations that can be read."""
    return {place.device: place.free_bytes for place in locations.values() if place.readable}


def _broken(step: Step, rules: Iterable[Rule]) -> Iterator[Finding]:
    assert step.after is not None
    for rule in rules:
        if rule.is_about(step.address):
            told = _JUDGES[rule.kind](step.after, step.files, rule)
            if told is not None:
                yield _finding(step, rule, *told)


def _finding(step: Step, rule: Rule, what: str, way_out: str) -> Finding:
    exempt = f"exempt: [{step.address.variant}]"
    text = f"policy rule {rule.kind}: {what} ({way_out}, or `{exempt}` at {rule.where})"
    return Finding(step.address, rule.kind, rule.severity, text)


def _names(patterns: Iterable[str], address: Address) -> bool:
    return any(fnmatchcase(str(address), each) or fnmatchcase(address.variant, each) for each in patterns)


# -- the kinds of rules -----------------------------------------------------------------------------------------------

Told = tuple[str, str]
"""What is wrong, and what lifts it."""
Judge = Callable[[Facts, Sequence[FileRow], Rule], "Told | None"]


def _license(facts: Facts, _: Sequence[FileRow], rule: Rule) -> Told | None:
    """Judge what upstream, or the manifest, states; of several licences each must be allowed, and none denied."""
    stated = facts.license or UNKNOWN
    parts = [licenses.spellings(part) for part in stated.split(", ")]
    if told := _listed("license", [stated, *chain.from_iterable(parts)], replace(rule, allow=())):
        return told
    if _listed("license", [stated], rule) is None:
        return None
    return next((told for part in parts if (told := _listed("license", part, rule))), None)


def _namespace(facts: Facts, _: Sequence[FileRow], rule: Rule) -> Told | None:
    """Judge where bytes come from: the source, and the repository that lends support files."""
    for source in filter(None, (facts.source, (facts.support or "").partition(" at ")[0])):
        if told := _listed("source", _spellings(source), rule):
            return told
    return None


def _spellings(source: str) -> list[str]:
    """Return a source as it is written, and as it could be: in full, or as the repository that its address means."""
    found = [source]
    try:
        reference = parse(source)
        if reference.scheme == "ollama":
            name = names.parse(source.removeprefix(names.SCHEME))
            models = (str(name), name.short)  # each with its tag, and as the model that it is one of
            found += [f"{names.SCHEME}{each}" for full in models for each in (full, full.removesuffix(f":{name.tag}"))]
            if name.host.lower() in links.HUB:  # the Hub's own registry of Ollama models
                found.append(f"hf:{name.namespace}/{name.model}")
        elif reference.scheme in ("hf", "civitai"):
            found.append(f"{reference.scheme}:{reference.repository}")
        elif reference.scheme in ("https", "http"):
            found += filter(None, [links.read(source).source])
    except ValueError:
        pass  # a record of a source that this version does not read: what is written must do
    return found


def _format(facts: Facts, files: Sequence[FileRow], rule: Rule) -> Told | None:
    held = container_of(row.artifact or row.path for row in files)
    return _listed("format", [held or facts.format or UNKNOWN], rule)


def _size(_: Facts, files: Sequence[FileRow], rule: Rule) -> Told | None:
    total = sum(row.size for row in files)
    if rule.max is None or total <= rule.max:
        return None
    return f"{human_bytes(total)}, and a variant may have {human_bytes(rule.max)}", "raise `max`, or take fewer `files`"


def _pickle(_: Facts, files: Sequence[FileRow], rule: Rule) -> Told | None:
    return _active("pickle files", is_pickle_name, files, rule)


def _code(_: Facts, files: Sequence[FileRow], rule: Rule) -> Told | None:
    return _active("programs", is_program, files, rule)


def _active(what: str, is_one: Callable[[str], bool], files: Sequence[FileRow], rule: Rule) -> Told | None:
    paths = [row.artifact or row.path for row in files]
    found = [path for path in paths if is_one(path) and not any(globs.matches(each, path) for each in rule.allow)]
    if not found:
        return None
    return f"{what} come with it: {few(found)}", "leave them out with `exclude`, name them in `allow`"


def _gated(facts: Facts, _: Sequence[FileRow], rule: Rule) -> Told | None:
    return ("upstream asks everybody to agree to something first", "choose an open source") if facts.gated else None


def _listed(what: str, spellings: Sequence[str], rule: Rule) -> Told | None:
    """Judge by `allow` and `deny`; the more that is known of how a thing may be written, the less slips by `deny`."""
    shown = spellings[0]
    denied = next((glob for glob in rule.deny for each in spellings if globs.matches_text(glob, each)), None)
    if denied is not None:
        return f"{what} {shown} is denied by `{denied}`", "choose another"
    if rule.allow and not any(globs.matches_text(glob, each) for glob in rule.allow for each in spellings):
        return f"{what} {shown} is not among {few(rule.allow)}", "add it to `allow`"
    return None


_JUDGES: Mapping[str, Judge] = {
    "license": _license,
    "namespace": _namespace,
    "format": _format,
    "size": _size,
    "pickle": _pickle,
    "code": _code,
    "gated": _gated,
}
"""Kind -> what it says of a variant; what free space is left depends on the steps before, see `crowded`."""
