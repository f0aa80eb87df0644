"""Names for what was found: chosen by somebody, else made by the rule, and never one that is taken. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from reconciler import naming, references
from reconciler.detect import told_by_names
from reconciler.importing.found import Found
from reconciler.naming import Named

_SERVERS = ("lmstudio", "ollama")
"""Stores that belong to one server, whose name tells one build in two places apart."""
_LEVELS = 3
"""How much more is told of what would have a name that stands there already: owner, then branch, then location."""


def name_all(founds: Sequence[tuple[Found, str]], taken: Collection[str]) -> tuple[str, ...]:
    """Return a name for each, given with its store; the same founds get the same names, whatever their order."""
    used = {name.casefold() for name in taken}
    chosen: dict[int, str] = {}
    for index, (found, _) in enumerate(founds):
        if found.name is not None:
            chosen[index] = _counted(_allowed(found.name), used)
            used.add(chosen[index].casefold())
    wanted = {index: _named(*each) for index, each in enumerate(founds) if index not in chosen}
    levels = dict.fromkeys(wanted, 0)
    while True:
        items = {index: _telling(item, levels[index]) for index, item in wanted.items()}
        names = naming.names(list(items.values()))
        crowded = [i for i, item in items.items() if names[item.key].casefold() in used and levels[i] < _LEVELS]
        if not crowded:
            break
        for index in crowded:
            levels[index] += 1
    for index, item in items.items():
        chosen[index] = _counted(names[item.key], used)
        used.add(chosen[index].casefold())
    return tuple(chosen[index] for index in range(len(founds)))


def _named(found: Found, store: str) -> Named:
    """Return what the rule makes a name from: what the importer knows, else what source and file names tell."""
    source = found.variant["source"]
    location = found.location[0] if found.location else str(found.variant.get("location") or "")
    files = tuple(found.variant.get("files") or ())
    key = (source, location, str(sorted((found.location or ("", {}))[1].items())), files, str(found.variant))
    if found.named is not None:
        return found.named._replace(key=key, location=found.named.location or location)
    told, quant = told_by_names(source, [file.path for file in found.pin.files] if found.pin else files)
    try:
        reference = references.parse(source)
    except ValueError:
        return Named(key, naming.family_of(source), location=location)
    owner = reference.repository.partition("/")[0] if reference.scheme == "hf" else ""
    return Named(
        key,
        naming.family_of(source),
        backend=str(found.variant.get("backend") or (store if store in _SERVERS else "")),
        format=str(found.variant.get("format") or told or ""),
        quant=str(found.variant.get("quant") or quant or ""),
        owner=owner,
        branch=references.branch(reference) or (reference.revision or "")[:8],
        location=location,
    )


def _telling(item: Named, level: int) -> Named:
    """Return an item that tells more than its family does."""
    parts = [item.owner if level >= 1 else "", item.family, item.branch if level >= 2 else ""]
    if level >= 3:
        parts.append(item.location)
    return item._replace(family="-".join(part for part in parts if part))


def _allowed(name: str) -> str:
    """Return a chosen name as it is where a manifest takes it, else the nearest that it takes."""
    from reconciler.declared import check_name

    try:
        return check_name(name)
    except ValueError:
        return naming.variant_name(name, None, None, None)


def _counted(name: str, used: Collection[str]) -> str:
    number, made = 1, name
    while made.casefold() in used:
        number += 1
        end = f"-{number}"
        made = name[: naming.MAX_NAME - len(end)] + end
    return made
