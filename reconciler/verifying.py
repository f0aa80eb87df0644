"""Verify what a manifest manages, and plan what mends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.state import Address

if TYPE_CHECKING:
    from reconciler.content import Contents
    from reconciler.manifest import Loaded
    from reconciler.plan import Plan
    from reconciler.registry import Registry
    from reconciler.state import Record
    from reconciler.survey import Means
    from reconciler.verify import Verification


def check(contents: Contents, means: Means, patterns: Sequence[str] = (), *, full: bool) -> Verification:
    """Judge our records, or those whose VARIANT or VARIANT@LOCATION a pattern names; `full` reads every byte.

    Raise InputError for a pattern that names none.
    """
    from reconciler.verify import verify

    return verify(_chosen(contents, patterns), contents.locations, means.digests, full=full, watch=means.watch)


def plan_repair(found: Verification, loaded: Loaded, registry: Registry, means: Means) -> Plan:
    """Return the plan that brings back what is bad, exactly as it was recorded."""
    from reconciler.back import plan_records
    from reconciler.survey import look

    contents = look(loaded, registry)
    bad = {finding.address for finding in found.bad}
    records = [h.record for h in contents.ours if Address(h.record.address.variant, h.location) in bad]
    return plan_records(records, contents, registry, means, loaded, only=True)


def _chosen(contents: Contents, patterns: Sequence[str]) -> list[Record]:
    """Return our records under the addresses that they have now."""
    from reconciler.errors import InputError, Problem
    from reconciler.safety import selects

    records = [
        replace(held.record, address=Address(held.record.address.variant, held.location)) for held in contents.ours
    ]
    wrong = [p for p in patterns if not any(selects([p], record.address) for record in records)]
    if wrong:
        hint = "`reconciler list` shows what is managed"
        raise InputError([Problem(f"--variant {pattern}", "names no managed variant", hint) for pattern in wrong])
    return [record for record in records if not patterns or selects(patterns, record.address)]
