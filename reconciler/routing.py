"""Where a variant may go before anybody knows its files: what a route says of format and quant is then open. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.globs import matches_text

if TYPE_CHECKING:
    from reconciler.manifest import Manifest, Route, Variant


def may_reach(manifest: Manifest, variant: Variant, store: str, format_: str) -> bool:
    """Whether a variant whose files are of `format_` may go to a location of `store`.

    A declared format counts; so does a declared quant. Without one, a route that asks for a quant may take the variant
    or leave it to the next. Locations that do not exist are nobody's.
    """
    if variant.location is not None:
        return _is_of(manifest, variant.location, store)
    for rule in manifest.routes:
        if not _may_match(rule, variant, variant.format or format_):
            continue
        if _is_of(manifest, rule.location, store):
            return True
        if rule.quant is None or variant.quant is not None:
            return False
    return len(manifest.locations) == 1 and _is_of(manifest, next(iter(manifest.locations)), store)


def _is_of(manifest: Manifest, location: str, store: str) -> bool:
    return location in manifest.locations and manifest.locations[location].store == store


def _may_match(rule: Route, variant: Variant, format_: str) -> bool:
    facts = (
        (rule.format, format_),
        (rule.backend, variant.backend or ""),
        (rule.source, variant.source),
        (rule.quant if variant.quant is not None else None, variant.quant or ""),
    )
    return all(wanted is None or matches_text(wanted, fact) for wanted, fact in facts)
