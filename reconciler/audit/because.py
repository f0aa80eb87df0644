"""Why a variant is where it is: who declares it, what chose its place and holds its bytes, what the plan says. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciler.state import Address

if TYPE_CHECKING:
    from reconciler.content import Contents, Held
    from reconciler.manifest import Loaded
    from reconciler.plan import Plan, Step
    from reconciler.state import Desired, Undecided
    from reconciler.world import World

REASONS: Mapping[str, str] = {
    "missing": "nothing of it is here",
    "new-revision": "the lock moved to another revision, and its bytes are others",
    "corrupt": "ours, and no longer the bytes that we recorded",
    "incomplete": "part of it is here; only the rest comes",
    "adopt": "the declared bytes lie at the declared path already; they get a record, nothing moves",
    "link": "the same bytes are on this file system, or a link or note of the store is missing or wrong",
    "copy": "the same bytes are on this machine, on another file system or at its source",
    "move": "the bytes come back from the trash, or the variant moves to another place",
    "rename": "the variant has a new name, the same content and place",
    "record": "the bytes are right, what the record says of revision, source or place is not",
    "metadata": "backend, name, licence, claims, protection or metadata changed",
    "role": "roles, or their order, changed",
    "undeclared": "the manifest does not declare it any more",
    "superseded": "declared elsewhere now, or fewer files of it",
    "stale-record": "a record of something that is gone",
    "duplicate-record": "a record whose files stay, since another record holds them too",
    "unadopt": "a record whose files stay, since they were there before they were adopted",
    "as declared": "it is as it should be",
    "unreadable": "its location, or a directory in it, cannot be read",
    "undecided": "what it should be cannot be told now",
}
"""What the reasons of steps mean."""


class Shared(NamedTuple):
    """A file that the variant holds, and another name of the same inode. `who`: a variant's address, '' for nobody."""

    path: str
    other: str
    who: str
    size: int


@dataclass(frozen=True, slots=True)
class Account:
    """Everything about one name. What does not apply is empty."""

    name: str
    declared: str = ""
    """`file:line:column`."""
    source: str = ""
    revision: str | None = None
    location: str = ""
    place: str = ""
    """Why it goes there, in words."""
    roles: tuple[tuple[str, int, int], ...] = ()
    """(role, position, of how many)."""
    records: tuple[Held, ...] = ()
    others: tuple[Held, ...] = ()
    """Records of other manifests under the same name."""
    shared: tuple[Shared, ...] = ()
    steps: tuple[Step, ...] = ()


def account(name: str, loaded: Loaded, world: World, plan: Plan) -> Account | None:
    """Return what is known of `VARIANT` or `VARIANT@LOCATION`; None when nobody declared or recorded it."""
    variant, _, at = name.partition("@")
    wanted = next((each for each in world.desired if _is(each.address, variant, at)), None)
    waiting = next((each for each in world.undecided if _is(Address(each.variant, each.location), variant, at)), None)
    records = tuple(held for held in world.contents.ours if _is(_address(held), variant, at))
    others = tuple(held for held in world.contents.theirs if _is(_address(held), variant, at))
    is_declared = variant in loaded.manifest.variants and (wanted is not None or waiting is not None)
    if not (is_declared or records or others):
        return None
    location, place = _place(loaded, variant, wanted, waiting) if is_declared else ("", "")
    said = wanted or (records[0].record if records else None)
    return Account(
        name,
        loaded.where("variants", variant) if is_declared else "",
        loaded.manifest.variants[variant].source if is_declared else (records + others)[0].record.pin.source,
        said.pin.revision if said else None,
        location,
        place,
        tuple(
            (role, names.index(variant) + 1, len(names))
            for role, names in loaded.manifest.roles.items()
            if variant in names
        ),
        records,
        others,
        tuple(_shared(world.contents, records)),
        tuple(step for step in plan.steps if _concerns(step, variant, at)),
    )


def _is(address: Address, variant: str, at: str) -> bool:
    return address.variant == variant and at in ("", address.location)


def _address(held: Held) -> Address:
    return Address(held.record.address.variant, held.location)


def _concerns(step: Step, variant: str, at: str) -> bool:
    return _is(step.address, variant, at) or (step.renamed_from is not None and _is(step.renamed_from, variant, at))


def _place(loaded: Loaded, name: str, wanted: Desired | None, waiting: Undecided | None) -> tuple[str, str]:
    """Return the location and what chose it."""
    from reconciler.desired import route_number

    manifest = loaded.manifest
    variant = manifest.variants[name]
    if variant.location is not None:
        return variant.location, f"named at {loaded.where('variants', name, 'location')}"
    if wanted is None:
        return (waiting.location if waiting else ""), waiting.why if waiting else ""
    format_, quant = variant.format or wanted.format, variant.quant or wanted.quant
    number = route_number(manifest, variant, format_, quant)
    if number is None:
        return wanted.address.location, "the only location there is"
    rule = manifest.routes[number]
    tests = ((key, getattr(rule, key)) for key in ("format", "backend", "quant", "source"))
    said = ", ".join(f"{key} {value}" for key, value in tests if value is not None)
    what = f"route {number + 1} at {loaded.where('routes', number)} ({said or 'takes everything'})"
    return wanted.address.location, what


def _shared(contents: Contents, records: Iterable[Held]) -> Iterator[Shared]:
    """Yield the other names of what the records hold, in every location that was seen."""
    mine = {(held.location, placed.path) for held in records for placed in held.record.files}
    inodes: dict[tuple[int, int], str] = {}
    for location, path in sorted(mine):
        place = contents.locations[location]
        file = place.files.get(path)
        if file is not None and not place.by_api:
            inodes.setdefault((file.device, file.inode), path)
    holders = {
        (held.location, placed.path): str(_address(held))
        for held in (*contents.theirs, *contents.ours)
        for placed in held.record.files
    }
    for place in contents.locations.values():
        for path, file in place.files.items() if inodes and not place.by_api else ():
            key = (file.device, file.inode)
            if key in inodes and (place.name, path) not in mine:
                yield Shared(inodes[key], f"{place.name}:{path}", holders.get((place.name, path), ""), file.size)
    again = {_address(held) for held in records}
    for held in contents.ours:  # the very same path, held by two records
        if _address(held) in again:
            continue
        for placed in held.record.files:
            if (held.location, placed.path) in mine:
                yield Shared(placed.path, f"{held.location}:{placed.path}", str(_address(held)), placed.size)


def as_value(account: Account) -> dict[str, Any]:
    """Return an account as programs read it."""
    return {
        "name": account.name,
        "declared": account.declared or None,
        "source": account.source,
        "revision": account.revision,
        "location": account.location or None,
        "place": account.place or None,
        "roles": [{"role": role, "position": position, "of": many} for role, position, many in account.roles],
        "records": [
            {
                "address": str(_address(held)), "root": held.record.root, "path": held.record.home,
                "files": len(held.record.files), "bytes": sum(file.size for file in held.record.files),
                "generation": held.record.generation,
            }
            for held in account.records
        ],
        "managed_elsewhere": [
            {"address": str(_address(held)), "manifest": held.record.manifest} for held in account.others
        ],
        "shared": [each._asdict() for each in account.shared],
        "steps": [
            {
                "address": str(step.address), "action": str(step.action), "reason": step.reason,
                "why": REASONS.get(step.reason), "blocked": step.blocked,
            }
            for step in account.steps
        ],
    }  # fmt: skip
