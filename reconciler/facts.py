"""A variant's record as people read it: what `before` and `after` of a step hold. Pure."""

from __future__ import annotations

from dataclasses import replace

from reconciler.content import Held
from reconciler.plan import Facts
from reconciler.state import Attributes, Desired, Pin


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
        gated=bool(pin.about.get("gated")),
        roles=dict(attributes.roles),
        metadata=attributes.metadata,
        modelfile=attributes.modelfile,
    )


def facts_recorded(held: Held) -> Facts:
    """Return what a record says."""
    return facts_of(held.record.pin, held.record.attributes, held.record.home)


def facts_wanted(wanted: Desired, held: Held | None) -> Facts:
    """Return what a record will say; format and quantisation: as the bytes told, else as claimed, else as names tell.

    What only new bytes will tell is taken as it was: it is not announced as a change.
    A claim that the recorded bytes contradict blocks the step, so a claim never hides what the bytes are.
    """
    facts = facts_of(wanted.pin, wanted.attributes, wanted.layout.home)
    same = held is not None and held.record.pin.revision == wanted.pin.revision
    before = held.record.attributes if held is not None else Attributes()
    seen = before if same else Attributes()
    return replace(
        facts,
        format=_said(facts.format, seen.format) or wanted.format or before.format,
        quant=_said(facts.quant, seen.quant) or wanted.quant or before.quant,
    )


def _said(claim: str | None, seen: str | None) -> str | None:
    """Return the claim, in the spelling of what was seen where that is the same."""
    return seen if claim is None or (seen is not None and seen.lower() == claim.lower()) else claim
