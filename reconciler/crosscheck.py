"""What one field of a manifest cannot see: names that must exist, places that must not touch, twins. Pure.

Symbolic links are resolved by whoever calls: `roots` says where each location really lies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from reconciler.errors import Problem
from reconciler.globs import matches_text
from reconciler.inert import confusable, inert, skeleton, suggest
from reconciler.ollama.crosscheck import destination, of_ollama
from reconciler.rulewords import of_rules, rule_cautions
from reconciler.ui.crosscheck import of_images
from reconciler.yamlread import MAX_PROBLEMS

if TYPE_CHECKING:
    from reconciler.declared import Manifest, Route, Variant

MAX_HINTS = 20

Where = Callable[..., str]
"""Steps of a key path -> `file:line:column`."""


class Names(NamedTuple):
    """What is declared, even where its declaration is wrong; `all_routes`: every route is right."""

    locations: frozenset[str]
    variants: frozenset[str]
    all_routes: bool = True


def cross_check(
    manifest: Manifest, names: Names, where: Where, roots: Mapping[str, str], registry: str
) -> Iterator[Problem]:
    """Yield what is wrong between the parts of a manifest that are each right."""
    yield from _unknown_names(manifest, names, where)
    if names.all_routes:
        yield from _nowhere(manifest, names, where)
    yield from _touching(manifest, where, roots, registry)
    yield from _twins(manifest, where)
    whole = names.all_routes and names.locations == manifest.locations.keys()
    yield from of_ollama(manifest, where, whole=whole)
    yield from of_images(manifest, where)
    yield from of_rules(manifest, where)


def cautions(manifest: Manifest, where: Where) -> Iterator[str]:
    """Yield what is allowed and deserves a look: names that look alike, routes that nothing reaches, odd rules."""
    for section in ("variants", "locations", "roles"):
        yield from _lookalikes(section, list(getattr(manifest, section)), where)
    for index, rule in enumerate(manifest.routes[:-1]):
        if _conditions(rule) == (None,) * 4:
            yield f"{where('routes', index)}: this route takes everything; the routes after it are never reached"
            break
    yield from rule_cautions(manifest, where)


def _unknown_names(manifest: Manifest, names: Names, where: Where) -> Iterator[Problem]:
    references = islice(_unknown_references(manifest, names), MAX_PROBLEMS)
    for position, (kind, name, loc) in enumerate(references):
        known = names.locations if kind == "location" else names.variants
        # To look for the nearest of thousands of names takes its time: a screenful of hints is enough.
        near = suggest(name, known) if position < MAX_HINTS else None
        hint = f"did you mean `{near}`?" if near else f"declare it in `{kind}s`"
        if near is None and 0 < len(known) <= 8:
            hint += f", or use one of: {', '.join(sorted(known))}"
        yield Problem(where(*loc), f"there is no {kind} `{inert(name)[:200]}`", inert(hint))
    for role, listed in manifest.roles.items():
        first: dict[str, int] = {}
        for index, name in enumerate(listed):
            if first.setdefault(name, index) != index:
                summary = f"the role `{role}` lists `{inert(name)[:200]}` twice; the first is at "
                summary += where("roles", role, first[name])
                yield Problem(where("roles", role, index), summary, "a place in the order of preference is given once")


def _unknown_references(manifest: Manifest, names: Names) -> Iterator[tuple[str, str, tuple[str | int, ...]]]:
    for index, rule in enumerate(manifest.routes):
        if rule.location not in names.locations:
            yield "location", rule.location, ("routes", index, "location")
    for name, variant in manifest.variants.items():
        if variant.location is not None and variant.location not in names.locations:
            yield "location", variant.location, ("variants", name, "location")
    for role, listed in manifest.roles.items():
        for index, name in enumerate(listed):
            if name not in names.variants:
                yield "variant", name, ("roles", role, index)


def _nowhere(manifest: Manifest, names: Names, where: Where) -> Iterator[Problem]:
    """Yield variants that no location can take. Format and quant may yet be detected; backend and source are known."""
    if len(names.locations) == 1:
        return
    for name, variant in manifest.variants.items():
        if variant.location is not None or any(_may_match(rule, variant) for rule in manifest.routes):
            continue
        hint = "add `location:` or a route" if names.locations else "declare a location in `locations`"
        yield Problem(where("variants", name), f"`{name}` has no location, and no route can match it", hint)


def _may_match(rule: Route, variant: Variant) -> bool:
    for glob, fact in ((rule.backend, variant.backend or ""), (rule.source, variant.source)):
        if glob is not None and not matches_text(glob, fact):
            return False
    for glob, claim in ((rule.format, variant.format), (rule.quant, variant.quant)):
        if glob is not None and claim is not None and not matches_text(glob, claim):
            return False
    return True


def _conditions(rule: Route) -> tuple[str | None, str | None, str | None, str | None]:
    return rule.format, rule.backend, rule.quant, rule.source


def _touching(manifest: Manifest, where: Where, roots: Mapping[str, str], registry: str) -> Iterator[Problem]:
    """Yield locations that are, or lie in, another location or the registry."""

    def at(name: str) -> str:
        return where("locations", name, "models" if manifest.locations[name].store == "ollama" else "root")

    owners: dict[str, str] = {}
    for name, root in roots.items():
        other = owners.setdefault(root, name)
        if other != name:
            summary = f"`{name}` and `{other}` are one directory, {inert(root)}"
            yield Problem(at(name), summary, f"give one of them another root; the other stands at {at(other)}")
    for name, root in roots.items():
        outer = next((owners[above] for above in _above(root) if above in owners), None)
        if outer is not None:
            summary = f"the root of `{name}` lies inside the one of `{outer}`, {inert(roots[outer])}"
            yield Problem(at(name), summary, f"give one of them another root; the other stands at {at(outer)}")
        if root == registry or registry in _above(root) or root in _above(registry):
            relation = "is" if root == registry else "lies inside" if registry in _above(root) else "holds"
            yield Problem(
                at(name), f"the root of `{name}` {relation} the registry, {inert(registry)}",
                "keep the registry apart from weights",
            )  # fmt: skip


def _above(path: str) -> list[str]:
    """The directories above `path`, nearest first."""
    parts = path.split("/")
    return ["/".join(parts[:end]) or "/" for end in range(len(parts) - 1, 0, -1)]


def _twins(manifest: Manifest, where: Where) -> Iterator[Problem]:
    """Yield variants that are the same build in the same place."""
    first: dict[object, str] = {}
    only = next(iter(manifest.locations)) if len(manifest.locations) == 1 else None
    served = {name for name, place in manifest.locations.items() if place.store == "ollama"}
    for name, variant in manifest.variants.items():
        place = variant.location or only
        goes = destination(manifest, variant) if served else None
        if goes in served:
            continue  # one model may be served under several names; that they differ is seen to elsewhere
        routed = None if place else (variant.backend, variant.format, variant.quant)
        revision = variant.lock.revision if variant.lock else None
        key = (variant.source, frozenset(variant.files), frozenset(variant.exclude), revision, place, routed,
               variant.kind, variant.subfolder, variant.served_as if served and goes is None else None)  # fmt: skip
        other = first.setdefault(key, name)
        if other != name:
            summary = f"`{name}` is the same build in the same place as `{other}` at {where('variants', other)}"
            yield Problem(where("variants", name), summary, "remove one of them, or give it other files or a location")


def _lookalikes(section: str, names: list[str], where: Where) -> Iterator[str]:
    looks: dict[str, list[str]] = {}
    for name in names:
        looks.setdefault(skeleton(name), []).append(name)
    for alike in looks.values():
        for position, name in enumerate(alike[1:], start=1):
            earlier = alike[:position]
            look = confusable(name, earlier)
            how = f"is confusable with `{look}`" if look else f"differs from `{earlier[0]}` only in case"
            yield f"{where(section, name)}: `{inert(name)}` {how}, at {where(section, look or earlier[0])}"
