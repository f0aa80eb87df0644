"""What one field cannot see of variants and Ollama locations: where they go, and under which names. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from reconciler.errors import Problem
from reconciler.globs import matches_text
from reconciler.inert import inert
from reconciler.ollama import names
from reconciler.ollama.modelfile import FIELDS

if TYPE_CHECKING:
    from reconciler.declared import Location, Manifest, Route, Variant

Where = Callable[..., str]
"""Steps of a key path -> `file:line:column`."""


def of_ollama(manifest: Manifest, where: Where, *, whole: bool = True) -> Iterator[Problem]:
    """Yield keys and sources that mean nothing where their variant goes, names that no server takes, and twins.

    `whole`: every location and route is right, so that they tell where a variant without `location` goes.
    """
    yield from _one_server_twice(manifest, where)
    taken: dict[tuple[str, str], str] = {}
    served_here = any(place.store == "ollama" for place in manifest.locations.values())
    for name, variant in manifest.variants.items():
        if not (served_here or variant.source.startswith(names.SCHEME) or any(getattr(variant, key) for key in FIELDS)):
            continue
        if variant.adapters and variant.source.startswith(names.SCHEME):
            summary = "`adapters` does not go with an `ollama:` source: a model is taken whole"
            yield Problem(where("variants", name, "adapters"), summary, "remove it")
        location = destination(manifest, variant) if whole else variant.location
        place = manifest.locations.get(location) if location is not None else None
        if location is None or place is None:
            continue
        if place.store != "ollama":
            yield from _astray(name, variant, location, place, where)
            continue
        try:
            served = names.wanted(name, variant.source, variant.served_as)
        except ValueError as error:
            yield _refused(name, variant, str(error), where)
            continue
        other = taken.setdefault((location, served.key), name)
        if other != name:
            yield Problem(
                where("variants", name, "served_as"),
                f"`{name}` would be served as `{inert(served.short)}` in `{location}`, as is `{other}` at "
                f"{where('variants', other)}; case does not count",
                "give one of them another `served_as`",
            )


def destination(manifest: Manifest, variant: Variant) -> str | None:
    """Return where a variant goes, as far as the manifest alone tells: format and quantisation may yet be detected."""
    if variant.location is not None:
        return variant.location
    for rule in manifest.routes:
        match _takes(rule, variant):
            case True:
                return rule.location
            case None:
                return None
    return next(iter(manifest.locations)) if len(manifest.locations) == 1 else None


def _takes(rule: Route, variant: Variant) -> bool | None:
    """Whether a route takes a variant; None where only its files can tell."""
    known = ((rule.backend, variant.backend or ""), (rule.source, variant.source))
    told = ((rule.format, variant.format), (rule.quant, variant.quant))
    said = [(glob, fact) for glob, fact in (*known, *told) if glob is not None]
    if any(fact is not None and not matches_text(glob, fact) for glob, fact in said):
        return False
    return None if any(fact is None for _, fact in said) else True


def _astray(name: str, variant: Variant, location: str, place: Location, where: Where) -> Iterator[Problem]:
    for key in FIELDS:
        if getattr(variant, key):
            yield Problem(
                where("variants", name, key),
                f"`{key}`: of Ollama models only, and `{name}` goes to `{location}`, a `{place.store}` location",
                "leave it out, or give the variant an `ollama` location",
            )
    if variant.source.startswith(names.SCHEME):
        yield Problem(
            where("variants", name, "source"),
            f"`source`: a model of an Ollama registry is layers and no files, and `{location}` is a `{place.store}` "
            "location",
            "give the variant an `ollama` location",
        )


def _refused(name: str, variant: Variant, why: str, where: Where) -> Problem:
    key = "served_as" if variant.served_as is not None or not variant.source.startswith(names.SCHEME) else "source"
    cause, mark, hint = why[:-1].rpartition(" (") if why.endswith(")") else (why, "", "")
    return Problem(where("variants", name, key), f"`{key}`: {cause}", hint if mark else "")


def _one_server_twice(manifest: Manifest, where: Where) -> Iterator[Problem]:
    """Yield locations that are one server: its store is one place, however it is called."""
    first: dict[str, str] = {}
    for name, place in manifest.locations.items():
        if place.store != "ollama" or (place.url is None and place.models is not None):
            continue
        other = first.setdefault(place.url or "", name)
        if other != name:
            server = f"the server at {place.url}" if place.url else "the server on this machine"
            yield Problem(
                where("locations", name, "url"), f"`{name}` and `{other}` are one place, {server}",
                f"see {where('locations', other)}",
            )  # fmt: skip
