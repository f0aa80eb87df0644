"""A variant's record as people read it: what `before` and `after` of a step hold. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reconciler.content import Held
from reconciler.plan import Facts
from reconciler.state import GATED, Attributes, Desired, Pin, Record, Seen


def facts_of(pin: Pin, attributes: Attributes, home: str) -> Facts:
    """Return a variant as people read it."""
    return Facts(
        source=pin.source,
        revision=pin.revision,
        format=attributes.format,
        quant=attributes.quant,
        path=home,
        backend=attributes.backend,
        served_as=attributes.served_as,
        license=attributes.license,
        support=f"{pin.support.source} at {pin.support.revision}" if pin.support else None,
        protect=attributes.protect,
        gated=bool(pin.about.get(GATED)),
        roles=dict(attributes.roles),
        metadata=attributes.metadata,
        modelfile=attributes.modelfile,
    )


def facts_recorded(held: Held) -> Facts:
    """Return what a record says."""
    return facts_of(held.record.pin, held.record.attributes, held.record.home)


def facts_wanted(wanted: Desired, held: Held | None, now: Seen | None = None) -> Facts:
    """Return what a record will say; format and quantisation: as the bytes told, else as claimed, else as names tell.

    What only new bytes will tell is taken as it was: it is not announced as a change.
    A claim that the recorded bytes contradict blocks the step, so a claim never hides what the bytes are. `now` is
    what they tell to the detector of this release, where the record is of an older one.
    """
    facts = facts_of(wanted.pin, wanted.attributes, wanted.layout.home)
    same = held is not None and held.record.pin.revision == wanted.pin.revision
    before = held.record.attributes if held is not None else Attributes()
    seen = before if same else Attributes()
    if now is not None:
        seen = before = replace(before, format=now.format or before.format, quant=now.quant or before.quant)
    return replace(
        facts,
        format=_said(facts.format, seen.format) or wanted.format or before.format,
        quant=_said(facts.quant, seen.quant) or wanted.quant or before.quant,
    )


def with_told(
    before: Facts, after: Facts, record: Record, now: Seen | None, misstated: Mapping[str, tuple[Any, Any]]
) -> tuple[Facts, Facts]:
    """Return before and after with what differs of what the bytes tell, and of what the registry's entry says.

    `misstated` are fields of the entry: what it says, and what it should say, None for nothing.
    """
    old, new = dict(record.told), dict(now.told if now is not None else record.told)
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    for key, (is_said, is_right) in misstated.items():
        old[f"entry.{key}"], new[f"entry.{key}"] = is_said, is_right
        changed.append(f"entry.{key}")
    return (
        replace(before, told={key: old[key] for key in changed if old.get(key) is not None}),
        replace(after, told={key: new[key] for key in changed if new.get(key) is not None}),
    )


def _said(claim: str | None, seen: str | None) -> str | None:
    """Return the claim, in the spelling of what was seen where that is the same."""
    return seen if claim is None or (seen is not None and seen.lower() == claim.lower()) else claim
