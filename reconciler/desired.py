"""Turn a manifest and its pins into desired variants, each in its place. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from reconciler.detect import is_pickle_name, told_by_names
from reconciler.globs import matches_text
from reconciler.inert import few
from reconciler.paths import collision_key
from reconciler.references import parse as parse_reference
from reconciler.state import Address, Attributes, Desired, Note, Pin, Undecided
from reconciler.stores import store_of
from reconciler.wishes import cautions_of, misplaced, unseen, wish_of

if TYPE_CHECKING:
    from reconciler.errors import Problem
    from reconciler.manifest import Loaded, Manifest, Route, Variant

_WEIGHTS = (".safetensors", ".gguf")


class Desires(NamedTuple):
    """What the manifest asks for: what can be planned, what cannot, and what people should know."""

    variants: tuple[Desired, ...]
    undecided: tuple[Undecided, ...]
    warnings: tuple[str, ...]


def desire(loaded: Loaded, pins: Mapping[str, Pin], problems: Mapping[str, Problem]) -> Desires:
    """Place every declared variant; those without a pin or a place are undecided, with the reason."""
    manifest = loaded.manifest
    roles = role_positions(manifest.roles)
    variants: list[Desired] = []
    undecided: list[Undecided] = []
    warnings: list[str] = []
    for name, variant in manifest.variants.items():
        pin = pins.get(name)
        if pin is None:
            undecided.append(Undecided(name, variant.location or "", _why(problems.get(name)), variant.source))
            continue
        pin, left_out = without_redundant_pickles(pin, manifest.policy.pickle)
        if left_out:
            warnings.append(
                f"{name}: left out {few(left_out)}: pickle files, where the same repository has safetensors or GGUF "
                "weights (policy pickle: deny)"
            )
        outcome = _place(name, variant, pin, loaded, roles.get(name, ()))
        if isinstance(outcome, Undecided):
            undecided.append(outcome)
        else:
            variants.append(outcome)
            warnings += (*unseen(outcome, loaded), *cautions_of(outcome, loaded))
    settled, more = settle_destinations(variants)
    return Desires(settled, tuple(undecided), (*warnings, *more))


def role_positions(roles: Mapping[str, Iterable[str]]) -> dict[str, tuple[tuple[str, int], ...]]:
    """Return variant -> ((role, position), …) with position 1 for the first of the manifest's order."""
    found: dict[str, list[tuple[str, int]]] = {}
    for role, names in sorted(roles.items()):
        for position, name in enumerate(names, start=1):
            found.setdefault(name, []).append((role, position))
    return {name: tuple(positions) for name, positions in found.items()}


def without_redundant_pickles(pin: Pin, policy: str) -> tuple[Pin, tuple[str, ...]]:
    """Leave out pickle weights where the same repository has safetensors or GGUF ones and the policy denies pickles.

    Pickle files can run code when they are loaded (https://docs.python.org/3/library/pickle.html), and most
    repositories that carry them carry the same weights as safetensors.
    """
    if policy != "deny" or not any(artifact.path.endswith(_WEIGHTS) for artifact in pin.files):
        return pin, ()
    left_out = tuple(artifact.path for artifact in pin.files if is_pickle_name(artifact.path))
    if not left_out:
        return pin, ()
    return replace(pin, files=tuple(a for a in pin.files if a.path not in set(left_out))), left_out


def _place(
    name: str, variant: Variant, pin: Pin, loaded: Loaded, roles: tuple[tuple[str, int], ...]
) -> Desired | Undecided:
    manifest = loaded.manifest
    told, quant_told = _told(pin)
    location = variant.location or route(manifest, variant, variant.format or told, variant.quant or quant_told)
    if location is None:
        why = "no location is given and no route matches (add `location:` or a route)"
        return Undecided(name, "", why, variant.source)
    store = manifest.locations[location].store
    address = Address(name, location)
    try:
        wish = wish_of(name, loaded, location)
        layout = store_of(store).layout(pin, wish)
    except ValueError as error:
        return Undecided(name, location, str(error), variant.source)
    if astray := misplaced(wish.modelfile, store):
        return Undecided(name, location, astray, variant.source)
    said = claims(variant, roles)
    attributes = replace(said, license=said.license or pin.license, modelfile=wish.modelfile)
    blocked = _pickles(pin, manifest.policy.pickle) or _claims(variant, told, quant_told)
    where = loaded.where("variants", name)
    return Desired(address, pin, layout, attributes, where, told, quant_told, blocked)


def claims(variant: Variant, roles: tuple[tuple[str, int], ...]) -> Attributes:
    """Return what the manifest says of a variant besides its bytes, whether or not anybody knows them yet."""
    return Attributes(
        backend=variant.backend,
        format=variant.format,
        quant=variant.quant,
        served_as=variant.served_as,
        license=variant.license,
        protect=variant.protect,
        roles=roles,
        metadata=variant.metadata,
    )


def _told(pin: Pin) -> tuple[str | None, str | None]:
    """Return the (format, quantisation) that names tell; in a registry of Ollama, layers have types and no names."""
    format_, quant = told_by_names(pin.source, [artifact.path for artifact in pin.files])
    layers = {artifact.media_type.rpartition(".")[2] for artifact in pin.files if artifact.media_type}
    return format_ or ("safetensors" if "tensor" in layers else "gguf" if "model" in layers else None), quant


def route(manifest: Manifest, variant: Variant, format_: str | None, quant: str | None) -> str | None:
    """Return where a variant without `location` goes: the first route that matches, else the only location there is."""
    number = route_number(manifest, variant, format_, quant)
    if number is not None:
        return manifest.routes[number].location
    return next(iter(manifest.locations)) if len(manifest.locations) == 1 else None


def route_number(manifest: Manifest, variant: Variant, format_: str | None, quant: str | None) -> int | None:
    """Return the first route that matches a variant, counted from 0; None for none."""
    matching = (number for number, rule in enumerate(manifest.routes) if _matches(rule, variant, format_, quant))
    return next(matching, None)


def _matches(rule: Route, variant: Variant, format_: str | None, quant: str | None) -> bool:
    facts = (
        (rule.format, format_),
        (rule.backend, variant.backend),
        (rule.quant, quant),
        (rule.source, variant.source),
    )
    return all(wanted is None or matches_text(wanted, fact or "") for wanted, fact in facts)


def _pickles(pin: Pin, policy: str) -> str | None:
    pickles = [artifact.path for artifact in pin.files if is_pickle_name(artifact.path)]
    if policy != "deny" or not pickles:
        return None
    return (
        f"pickle files can run code when they are loaded: {few(pickles)} "
        "(leave them out with `exclude`, or set policy.pickle: allow)"
    )


def _claims(variant: Variant, format_: str | None, quant: str | None) -> str | None:
    for word, claimed, seen in (("format", variant.format, format_), ("quant", variant.quant, quant)):
        if claimed is not None and seen is not None and claimed.lower() != seen.lower():
            return f"the manifest claims {word} {claimed}, the files say {seen} (correct `{word}` or `files`)"
    return None


def settle_destinations(variants: Iterable[Desired]) -> tuple[tuple[Desired, ...], tuple[str, ...]]:
    """Block variants that want different things at one path; let the first say what a shared note holds.

    Paths that differ only in case or Unicode form count as one: on some file systems they are. So does a file and the
    directory of the same name that another file needs.
    """
    wants = tuple(variants)
    notes: dict[tuple[str, str], str] = {}
    clashes = _clashes(wants)
    settled: list[Desired] = []
    warnings: list[str] = []
    for wanted in wants:
        kept, dropped = _settle_notes(wanted, notes)
        warnings += dropped
        one = wanted if kept == wanted.layout.notes else _with_notes(wanted, kept)
        why = clashes.get(wanted.address)
        settled.append(replace(one, blocked=one.blocked or why) if why else one)
    return tuple(settled), tuple(warnings)


class _Claim(NamedTuple):
    """What a variant wants at a path: a digest, the target of a link, or the text of its home."""

    path: str
    what: str
    address: Address
    is_name: bool = False
    """Whether the path is made of the name under which it is served."""


def _clashes(variants: Sequence[Desired]) -> dict[Address, str]:
    """Say of every variant that wants a path for something else than another (or itself) does what is in its way."""
    taken: dict[tuple[str, str], _Claim] = {}
    clashes: dict[Address, str] = {}
    for wanted in variants:
        location = wanted.address.location
        for mine in _claims_of(wanted):
            other = taken.setdefault((location, _key(mine.path)), mine)
            if other[:2] != mine[:2]:
                _note_clash(clashes, mine, other)
    for (location, key), mine in taken.items():
        above = key.rpartition("/")[0]
        while above:
            if (location, above) in taken:
                _note_clash(clashes, mine, taken[(location, above)])
            above = above.rpartition("/")[0]
    return clashes


def _claims_of(wanted: Desired) -> Iterator[_Claim]:
    """Yield files and links, and the note that is a variant's home: an Ollama manifest."""
    address = wanted.address
    yield from (_Claim(path, artifact.digest, address) for path, artifact in wanted.layout.files)
    yield from (_Claim(path, target, address) for path, target in wanted.layout.links)
    for note in wanted.layout.notes:
        if note.path == wanted.layout.home:
            yield _Claim(note.path, note.text, address, is_name=True)


def _key(path: str) -> str:
    return path if path.isascii() and path.islower() else collision_key(path)


def _note_clash(clashes: dict[Address, str], one: _Claim, other: _Claim) -> None:
    clashes.setdefault(one.address, _clash(one, other))
    clashes.setdefault(other.address, _clash(other, one))


def _clash(mine: _Claim, other: _Claim) -> str:
    paths = mine.path if mine.path == other.path else f"{mine.path} and {other.path}"
    if _key(mine.path) != _key(other.path):
        paths += ", where one is a file and the directory of the other"
    elif mine.path != other.path:
        paths += ", one file on some file systems"
    if mine.address == other.address:
        return f"two files of one variant at one destination: {paths} (leave one out with `exclude`)"
    way_out = "`served_as`" if mine.is_name else "location"
    return (
        f"two variants at one destination: {other.address} wants other bytes at {paths} "
        f"(give one of them another {way_out})"
    )


def _settle_notes(wanted: Desired, taken: dict[tuple[str, str], str]) -> tuple[tuple[Note, ...], list[str]]:
    kept: list[Note] = []
    dropped: list[str] = []
    for note in wanted.layout.notes:
        said = taken.setdefault((wanted.address.location, note.path), note.text)
        if said == note.text or note.path == wanted.layout.home:  # two homes at one path are blocked
            kept.append(note)
        elif note.path in wanted.layout.optional:
            dropped.append(f"{wanted.address}: another variant says what {note.path} holds")
        else:
            branch = parse_reference(wanted.pin.source).revision or "main"
            dropped.append(
                f"{wanted.address}: another variant of the same repository is locked at another commit of {branch}; "
                f"{note.path} names that one (`lock --upgrade` brings both to one commit)"
            )
    return tuple(kept), dropped


def _with_notes(wanted: Desired, notes: tuple[Note, ...]) -> Desired:
    return replace(wanted, layout=replace(wanted.layout, notes=notes))


def _why(problem: Problem | None) -> str:
    if problem is None:
        return "the lock has no entry for it (run `reconciler lock`)"
    return f"{problem.summary} ({problem.hint})" if problem.hint else problem.summary
