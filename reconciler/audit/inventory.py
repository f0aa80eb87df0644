"""Every variant that is recorded or declared as one item: its facts, and whether it is there. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from reconciler.globs import matches_text
from reconciler.inert import human_bytes, short_revision
from reconciler.state import Address, Attributes, Desired, Pin, Record, Undecided

if TYPE_CHECKING:
    from reconciler.content import Held
    from reconciler.verify import Finding

State = Literal["ok", "modified", "missing", "unreadable", "undeclared", "absent"]

STATES: tuple[State, ...] = ("unreadable", "missing", "modified", "undeclared", "absent", "ok")
"""The worst first. `undeclared`: recorded and as recorded, no longer in the manifest; `absent`: declared, not
recorded."""

_OF_VERDICT: Mapping[str, State] = {"unreadable": "unreadable", "missing": "missing", "corrupt": "modified"}


@dataclass(frozen=True, slots=True)
class Item:
    """One variant. `record` is None for one that is only declared; `state` is None where nobody looked at its files."""

    address: Address
    state: State | None
    attributes: Attributes
    pin: Pin | None
    record: Record | None = None
    source: str = ""
    bad: tuple[str, ...] = ()
    """Paths that are not as recorded."""

    @property
    def size(self) -> int:
        """Bytes: of what was placed, else of what the lock says."""
        if self.record is not None:
            return sum(file.size for file in self.record.files)
        return sum(file.size for file in self.pin.files) if self.pin else 0

    @property
    def files(self) -> int:
        """How many files were placed, or are locked."""
        if self.record is not None:
            return len(self.record.files)
        return len(self.pin.files) if self.pin else 0


@dataclass(frozen=True, slots=True)
class Filter:
    """Globs, all of which must mean an item; of one kind one is enough. Case does not count; an empty value is `-`."""

    wanted: Mapping[str, Sequence[str]]

    def takes(self, item: Item) -> bool:
        """Whether an item is wanted."""
        return all(
            any(self.means(column, value) for value in values(item, column))
            for column, globs in self.wanted.items()
            if globs
        )

    def means(self, column: str, value: str) -> bool:
        """Whether one of the globs of a column means a value."""
        return any(matches_text(glob, value) for glob in self.wanted[column])


def recorded(
    ours: Iterable[Held], declared: Iterable[str] | None = None, findings: Iterable[Finding] | None = None
) -> list[Item]:
    """Return an item for every record of ours, by location and name.

    `findings` are those of `verify` about these records; without them no item has a state. `declared` are the names
    that the manifest has.
    """
    names = set(declared or ())
    bad: dict[Address, list[Finding]] = {}
    for finding in findings or ():
        if finding.verdict != "ok":
            bad.setdefault(finding.address, []).append(finding)
    items = []
    for held in ours:
        record = held.record
        wrong = bad.get(record.address, [])
        state = None if findings is None else _state(wrong, record.address.variant in names)
        address = Address(record.address.variant, held.location)
        items.append(
            Item(
                address, state, record.attributes, record.pin, record, record.pin.source,
                tuple(sorted({finding.path for finding in wrong})),
            )
        )  # fmt: skip
    return sorted(items, key=lambda item: (item.address.location, item.address.variant))


def absent(
    desired: Iterable[Desired],
    undecided: Iterable[Undecided],
    items: Iterable[Item],
    claims: Mapping[str, Attributes] = MappingProxyType({}),
) -> list[Item]:
    """Return an item for every variant that is declared and not recorded anywhere.

    `claims` are what the manifest says of variants, for those that nobody could ask about.
    """
    known = {item.address.variant for item in items}
    found = [
        Item(each.address, "absent", _told(each), each.pin, None, each.pin.source)
        for each in desired
        if each.address.variant not in known
    ]
    found += [
        Item(
            Address(each.variant, each.location), "absent", claims.get(each.variant, Attributes()), None, None,
            each.source,
        )
        for each in undecided
        if each.variant not in known
    ]  # fmt: skip
    return sorted(found, key=lambda item: (item.address.location, item.address.variant))


def _told(each: Desired) -> Attributes:
    from dataclasses import replace

    said = each.attributes
    return replace(said, format=said.format or each.format, quant=said.quant or each.quant)


def _state(wrong: Sequence[Finding], is_declared: bool) -> State:
    states = {_OF_VERDICT[finding.verdict] for finding in wrong}
    worst = next((state for state in STATES if state in states), None)
    return worst or ("ok" if is_declared else "undeclared")


def values(item: Item, column: str) -> list[str]:
    """Return what filters of a column are held against: one text, of roles one for each, `-` for nothing."""
    if column == "role":
        return [role for role, _ in item.attributes.roles] or ["-"]
    return [str(COLUMNS[column](item) or "-")]


# -- columns ----------------------------------------------------------------------------------------------------------


def _placed(item: Item) -> str | None:
    return f"{item.record.root}/{item.record.home}" if item.record and item.record.root else None


def _fact(key: str) -> Callable[[Item], object]:
    return lambda item: _told_of(item).get(key)


def license_of(item: Item) -> str | None:
    """Return the licence that is declared, else what upstream says, else what the bytes or the README tell."""
    return item.attributes.license or (item.pin.license if item.pin else None) or _told_of(item).get("license")


def _told_of(item: Item) -> Mapping[str, Any]:
    return item.record.told if item.record else {}


def _template(item: Item) -> str | None:
    template = _told_of(item).get("chat_template", {})
    return " ".join(filter(None, (template.get("source"), template.get("path")))) or None


def _readme(item: Item) -> str | None:
    said = {key: value for key, value in _told_of(item).get("readme", {}).items() if key != "path"}
    return "; ".join(f"{key}: {_words(value)}" for key, value in said.items()) or None


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


COLUMNS: Mapping[str, Callable[[Item], object]] = {
    "variant": lambda item: str(item.address) if item.address.location else item.address.variant,
    "name": lambda item: item.address.variant,
    "location": lambda item: item.address.location or None,
    "state": lambda item: item.state,
    "format": lambda item: item.attributes.format,
    "quant": lambda item: item.attributes.quant,
    "kind": _fact("kind"),
    "architecture": _fact("architecture"),
    "parameters": lambda item: _fact("size_label")(item) or _fact("parameters")(item),
    "context": _fact("context_length"),
    "capabilities": lambda item: _words(_told_of(item).get("capabilities", ())) or None,
    "chat_template": _template,
    "size": lambda item: human_bytes(item.size),
    "bytes": lambda item: item.size,
    "files": lambda item: item.files,
    "revision": lambda item: short_revision(item.pin.revision) if item.pin and item.pin.revision else None,
    "roles": lambda item: ", ".join(f"{role}:{position}" for role, position in item.attributes.roles) or None,
    "backend": lambda item: item.attributes.backend,
    "served_as": lambda item: item.attributes.served_as,
    "license": license_of,
    "readme": _readme,
    "protect": lambda item: "yes" if item.attributes.protect else None,
    "source": lambda item: item.source,
    "path": _placed,
    "generation": lambda item: item.record.generation if item.record else None,
}
"""The columns that `list --columns` knows; the values as people read them."""


def as_value(item: Item) -> dict[str, Any]:
    """Return an item as programs read it; what is not known is null."""
    record, said, pin = item.record, item.attributes, item.pin
    return {
        "address": COLUMNS["variant"](item),
        "state": item.state,
        "source": item.source,
        "revision": pin.revision if pin else None,
        "format": said.format,
        "quant": said.quant,
        "backend": said.backend,
        "served_as": said.served_as,
        "license": said.license,
        "protect": said.protect,
        "roles": dict(said.roles),
        "root": record.root if record else None,
        "path": record.home if record else None,
        "bytes": item.size,
        "files": [{"path": each.path, "size": each.size, "digest": each.digest} for each in record.files]
        if record
        else [{"path": each.path, "size": each.size, "digest": each.digest} for each in (pin.files if pin else ())],
        "bad": list(item.bad),
        "generation": record.generation if record else None,
        "told": dict(record.told) if record else {},
    }
