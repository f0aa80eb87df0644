"""What two manifests with their locks mean differently: what came, went, was renamed or changed, field by field. Pure.

The disk is not looked at: that is for `plan`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from reconciler.state import GATED, Pin

if TYPE_CHECKING:
    from reconciler.manifest import Loaded

Kind = Literal["added", "removed", "renamed", "changed"]

SECTIONS = ("variants", "locations", "routes", "roles", "policy", "manifest")


class Field(NamedTuple):
    """One value that differs; None where one side does not say it. `name` is a dotted path."""

    name: str
    old: Any
    new: Any


class Moved(NamedTuple):
    """Bytes of locked files: that are new or others, that are gone or were others, and of all files now."""

    added: int = 0
    removed: int = 0
    total: int = 0


_NONE = Moved()


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of a section. `was` is the old name of a renamed variant."""

    section: str
    name: str
    kind: Kind
    fields: tuple[Field, ...] = ()
    bytes: Moved = _NONE
    was: str = ""


class Side(NamedTuple):
    """One manifest and the pins of its lock."""

    loaded: Loaded
    pins: Mapping[str, Pin]


def compare(old: Side, new: Side) -> tuple[Change, ...]:
    """Return every difference, by section and name; nothing for two that mean the same."""
    found = [*_variants(old, new)]
    for section in ("locations", "roles"):
        found += _entries(section, *(_said(side, section) for side in (old, new)))
    found += _whole("routes", *({"routes": _said(side, "routes")} for side in (old, new)))
    return (*found, *terms(old.loaded, new.loaded))


def terms(old: Loaded, new: Loaded) -> Iterator[Change]:
    """Yield what differs of the terms on which everything else stands: policy, name and registry."""
    yield from _whole("policy", *(side.manifest.policy.model_dump(mode="json") for side in (old, new)))
    heads = [{"name": side.manifest.name, "registry": side.manifest.registry} for side in (old, new)]
    yield from _whole("manifest", heads[0], heads[1])


def totals(changes: tuple[Change, ...]) -> dict[str, int]:
    """Return how many variants were added, removed, renamed and changed, and the bytes of all."""
    variants = [change for change in changes if change.section == "variants"]
    kinds = ("added", "removed", "renamed", "changed")
    counts = {kind: sum(change.kind == kind for change in variants) for kind in kinds}
    return {
        **counts,
        "other": len(changes) - len(variants),
        "bytes_added": sum(change.bytes.added for change in variants),
        "bytes_removed": sum(change.bytes.removed for change in variants),
    }


def as_value(changes: tuple[Change, ...]) -> dict[str, Any]:
    """Return the differences as programs read them."""
    return {
        "changes": [
            {
                "section": change.section,
                "name": change.name,
                "kind": change.kind,
                "was": change.was or None,
                "fields": [field._asdict() for field in change.fields],
                "bytes": change.bytes._asdict(),
            }
            for change in changes
        ],
        "summary": totals(changes),
    }


def _said(side: Side, section: str) -> Any:
    """Return a section as it was written: what is only a default says nothing."""
    return side.loaded.manifest.model_dump(mode="json", include={section}, exclude_defaults=True).get(section, {})


def _variants(old: Side, new: Side) -> Iterator[Change]:
    before, after = _facts(old), _facts(new)
    gone = [name for name in before if name not in after]
    for name in sorted(before.keys() | after.keys()):
        if name in before and name in after:
            fields = tuple(_fields(before[name], after[name]))
            moved = _bytes(old.pins.get(name), new.pins.get(name))
            if fields or moved.added or moved.removed:
                yield Change("variants", name, "changed", fields, moved)
        elif name in after:
            was = next((each for each in gone if _is_same(old, each, before, new, name, after)), "")
            if was:
                gone.remove(was)
                yield Change("variants", name, "renamed", (), _bytes(old.pins[was], new.pins[name]), was)
            else:
                fields = tuple(_fields({}, after[name]))
                yield Change("variants", name, "added", fields, _bytes(None, new.pins.get(name)))
    for name in gone:
        yield Change("variants", name, "removed", tuple(_fields(before[name], {})), _bytes(old.pins.get(name), None))


def _is_same(old: Side, was: str, before: Mapping[str, Any], new: Side, name: str, after: Mapping[str, Any]) -> bool:
    """Whether a variant has only another name; roles name it anew, and count as their own change."""
    return old.pins.get(was) is not None and old.pins.get(was) == new.pins.get(name) and before[was] == after[name]


def _facts(side: Side) -> dict[str, dict[str, Any]]:
    """Return variant -> what manifest and lock say of it, and where it goes; what is not said is left out."""
    from reconciler.desired import desire

    desires = desire(side.loaded, side.pins, {})
    places = {each.address.variant: each.address.location for each in desires.variants}
    facts: dict[str, dict[str, Any]] = {}
    for name, variant in side.loaded.manifest.variants.items():
        said = variant.model_dump(mode="json", exclude_defaults=True)
        pin = side.pins.get(name)
        if name in places:
            said["location"] = places[name]
        if pin is not None:
            said["revision"] = pin.revision
            said["license"] = said.get("license") or pin.license
            said["gated"] = pin.about.get(GATED)
            said["support_revision"] = pin.support.revision if pin.support else None
        facts[name] = {key: value for key, value in said.items() if value is not None}
    return facts


def _entries(section: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        kind: Kind = "added" if before is None else "removed" if after is None else "changed"
        yield Change(section, name, kind, tuple(_fields(_mapping(before), _mapping(after))))


def _mapping(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    return value if isinstance(value, Mapping) else {"order": value}


def _whole(section: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    if old != new:
        yield Change(section, section, "changed", tuple(_fields(old, new)))


def _fields(old: Mapping[str, Any], new: Mapping[str, Any], above: str = "") -> Iterator[Field]:
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _fields(before, after, f"{above}{key}.")
        elif any(_are_mappings(value) for value in (before, after)):
            yield from _items(f"{above}{key}", before or (), after or ())
        else:
            yield Field(f"{above}{key}", before, after)


def _are_mappings(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(each, Mapping) for each in value)


def _items(name: str, old: Sequence[Any], new: Sequence[Any]) -> Iterator[Field]:
    """Yield what came, went or changed of a list of rules, each under its place (`routes[2]`) where it is, else was.

    A rule that only moved, since another came before it, is not told.
    """
    from difflib import SequenceMatcher

    texts = [[repr(sorted(_plain(each).items())) for each in side] for side in (old, new)]
    for _, i, i_end, j, j_end in SequenceMatcher(None, texts[0], texts[1], autojunk=False).get_opcodes():
        if texts[0][i:i_end] == texts[1][j:j_end]:
            continue
        for step in range(max(i_end - i, j_end - j)):
            before = _plain(old[i + step]) if i + step < i_end else None
            after = _plain(new[j + step]) if j + step < j_end else None
            yield Field(f"{name}[{(i if after is None else j) + step + 1}]", before, after)


def _plain(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in rule.items() if value not in (None, [], {}, "")}


def _bytes(old: Pin | None, new: Pin | None) -> Moved:
    before = {(file.path, file.digest): file.size for file in old.files} if old else {}
    after = {(file.path, file.digest): file.size for file in new.files} if new else {}
    return Moved(
        sum(size for key, size in after.items() if key not in before),
        sum(size for key, size in before.items() if key not in after),
        sum(after.values()),
    )
