"""Edit the text of a manifest: variants, locations and roles come, go and are renamed; every other byte stays.

What was edited is read back: it must say exactly what was meant, or an error is raised and nothing is written.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.errors import ManifestError
from reconciler.inert import inert
from reconciler.yamlread import read

if TYPE_CHECKING:
    from reconciler.manifest import Loaded
    from reconciler.splicing import Cut, Sheet

_BOM = "\ufeff"
_SECTIONS = ("locations", "variants", "roles")

Entries = Mapping[str, Mapping[str, Any]]
"""Name -> what the manifest says of it: plain values (text, numbers, booleans, lists, maps)."""


def add_variants(text: str, variants: Entries, *, where: str = "manifest") -> str:
    """Return the manifest with these variants at the end of `variants`; those that stand there already stay.

    `where` names the file in messages. Raise ManifestError when a name stands there for something else.
    """
    return _add(text, "variants", variants, where)


def add_locations(text: str, locations: Entries, *, where: str = "manifest") -> str:
    """Return the manifest with these locations at the end of `locations`; as `add_variants`."""
    return _add(text, "locations", locations, where)


def add_roles(text: str, roles: Mapping[str, Sequence[str]], *, where: str = "manifest") -> str:
    """Return the manifest with these variants at the end of each role's order, where they do not stand yet."""
    from reconciler import splicing

    value = _value(text, where)
    held = value.get("roles") or {}
    lacking = {role: [name for name in names if name not in (held.get(role) or [])] for role, names in roles.items()}
    lacking = {role: list(dict.fromkeys(names)) for role, names in lacking.items() if names or role not in held}
    meant = copy.deepcopy(value)
    meant["roles"] = {**held, **{role: [*(held.get(role) or []), *names] for role, names in lacking.items()}}

    def cuts(page: Sheet) -> list[Cut]:
        section = splicing.find(page.root, "roles")
        pairs = {role: section and splicing.find(section.value, role) for role in lacking}
        made = [one for role, pair in pairs.items() if pair for one in splicing.append(page, pair, lacking[role])]
        fresh = {role: lacking[role] for role, pair in pairs.items() if not pair}
        return made + (_put(page, "roles", fresh) if fresh else [])

    return _edited(text, cuts, meant, where) if any(lacking.values()) or lacking.keys() - held.keys() else text


def fill_variants(text: str, filled: Entries, *, where: str = "manifest") -> str:
    """Return the manifest with these keys added to variants that it has; `metadata` grows by its own keys.

    What a variant says already stays, and variants that stand in another file are passed over.
    """
    value = _value(text, where)
    held = value.get("variants") or {}
    lacking: dict[str, dict[str, Any]] = {}
    inner: dict[str, dict[str, Any]] = {}
    for name, said in _plain(filled).items():
        own = held.get(name)
        if not isinstance(own, dict):
            continue
        lacking[name] = {key: each for key, each in said.items() if key not in own}
        if isinstance(own.get("metadata"), dict) and own["metadata"]:
            inner[name] = {key: each for key, each in said.get("metadata", {}).items() if key not in own["metadata"]}
    text = _grown(text, {name: said for name, said in inner.items() if said}, where, ("metadata",))
    return _grown(text, {name: said for name, said in lacking.items() if said}, where, ())


def _grown(text: str, entries: Entries, where: str, below: Sequence[str]) -> str:
    """Return the text with entries at the end of the map at `variants.NAME.<below>`."""
    if not entries:
        return text
    from reconciler import splicing

    meant = copy.deepcopy(_value(text, where))
    for name, said in entries.items():
        at = meant["variants"][name]
        for key in below:
            at = at[key]
        at.update(said)

    def cuts(page: Sheet) -> list[Cut]:
        made: list[Cut] = []
        for name, said in entries.items():
            owner = splicing.find(page.root, "variants")
            for key in (name, *below):
                owner = splicing.find(owner.value, key) if owner else None
            if owner is not None:
                made += splicing.put(page, owner, said)
        return made

    return _edited(text, cuts, meant, where)


def remove_variants(text: str, names: Collection[str], *, where: str = "manifest") -> str:
    """Return the manifest without these variants, in no role either; a text that lacks them comes back as it is.

    Comments inside an entry go with it, those above it stay.
    """
    from reconciler import splicing

    text = out_of_roles(text, names, where=where)
    value = _value(text, where)
    held = value.get("variants") or {}
    if held.keys().isdisjoint(names):
        return text
    meant = {**value, "variants": {name: said for name, said in held.items() if name not in names}}

    def cuts(page: Sheet) -> list[Cut]:
        section = splicing.find(page.root, "variants")
        pairs = splicing.pairs(section.value if section else None)
        going = [at for at, pair in enumerate(pairs) if pair.key.value in names]
        return splicing.drop(page, section.value, going) if section else []

    return _edited(text, cuts, meant, where)


def out_of_roles(text: str, names: Collection[str], *, where: str = "manifest") -> str:
    """Return the manifest with these variants in no role; a role that loses its last one stays, as an empty list."""
    from reconciler import splicing

    value = _value(text, where)
    roles = value.get("roles") or {}
    kept = {role: [each for each in listed or () if each not in names] for role, listed in roles.items()}
    changed = {role for role, listed in roles.items() if len(kept[role]) != len(listed or ())}
    if not changed:
        return text
    meant = {**value, "roles": {role: kept[role] if role in changed else roles[role] for role in roles}}

    def cuts(page: Sheet) -> list[Cut]:
        section = splicing.find(page.root, "roles")
        made: list[Cut] = []
        for pair in splicing.pairs(section.value if section else None):
            going = [at for at, item in enumerate(splicing.items(pair.value)) if item.value in names]
            if going and not kept[pair.key.value] and not pair.value.flow_style:
                made += splicing.emptied_list(page, pair)
            elif going:
                made += splicing.drop(page, pair.value, going)
        return made

    return _edited(text, cuts, meant, where)


def rename_variant(text: str, old: str, new: str, *, where: str = "manifest") -> str:
    """Return the manifest with a variant under another name, in its roles too; raise ManifestError when `new` is taken.

    A text that lacks `old` comes back as it is: another file of the manifest may hold it.
    """
    from reconciler import splicing

    value = _value(text, where)
    said, roles = value.get("variants") or {}, value.get("roles") or {}
    if old == new or (old not in said and not any(old in (names or ()) for names in roles.values())):
        return text
    if new in said:
        raise ManifestError(f"there is a variant `{inert(new)}` already", where=where, hint="choose another name")
    meant = copy.deepcopy(value)
    if said:
        meant["variants"] = {new if name == old else name: inner for name, inner in said.items()}
    if roles:
        meant["roles"] = {
            role: [new if each == old else each for each in names] if names else names for role, names in roles.items()
        }

    def cuts(page: Sheet) -> list[Cut]:
        section, held = splicing.find(page.root, "variants"), splicing.find(page.root, "roles")
        keys = [pair.key for pair in splicing.pairs(section.value if section else None)]
        listed = [item for pair in splicing.pairs(held.value if held else None) for item in splicing.items(pair.value)]
        return [splicing.reword(node, new) for node in (*keys, *listed) if node.value == old]

    return _edited(text, cuts, meant, where)


def read_text(path: Path) -> str:
    """Return the text of a manifest's file, line endings and byte order mark as they are; raise ManifestError."""
    from reconciler.manifestfiles import find
    from reconciler.yamlread import read as check

    [source] = find(path).sources
    check(source.data, source.shown)
    return source.data.decode("utf-8")


def write_text(path: Path, text: str) -> bool:
    """Write the text of a manifest's file, whole or not at all; return whether anything changed. Raise DiskError.

    A link stays a link: what it leads to is written.
    """
    import os

    from reconciler.disk import write_atomic

    data = text.encode()
    if path.exists() and path.read_bytes() == data:
        return False
    write_atomic(Path(os.path.realpath(path)), data)
    return True


def judged(loaded: Loaded, texts: Mapping[Path, str]) -> Loaded:
    """Return the manifest that these texts would be; raise ManifestError when it would not load."""
    from reconciler import manifest
    from reconciler.manifestfiles import Found, Source

    sources = tuple(Source(str(path), inert(str(path)), text.encode()) for path, text in texts.items())
    return manifest.of(Found(str(loaded.path), loaded.path.is_dir(), sources))


def _add(text: str, section: str, entries: Entries, where: str) -> str:
    value = _value(text, where)
    held = value.get(section) or {}
    for name in entries:
        if name in held and not _same(_plain(held[name]), _plain(entries[name])):
            what = f"`{inert(name)}` stands in `{section}` already, and says something else"
            raise ManifestError(what, where=where, hint="choose another name, or edit the entry")
    fresh = {name: _plain(said) for name, said in entries.items() if name not in held}
    if not fresh:
        return text
    meant = copy.deepcopy(value)
    meant[section] = {**held, **fresh}
    return _edited(text, lambda page: _put(page, section, fresh), meant, where)


def _put(page: Sheet, section: str, entries: Mapping[str, Any]) -> list[Cut]:
    from reconciler import splicing

    owner = splicing.find(page.root, section)
    return splicing.put(page, owner, entries) if owner else splicing.put(page, None, {section: entries})


def _value(text: str, where: str) -> dict[str, Any]:
    value = read(text.encode(), where).value
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ManifestError("expected a map at the top, as every manifest has", where=where)
    for section in _SECTIONS:
        if not isinstance(value.get(section), dict | None):
            raise ManifestError(f"`{section}` is no map", where=where, hint="`reconciler validate` finds every mistake")
    if not all(isinstance(names, list | None) for names in (value.get("roles") or {}).values()):
        raise ManifestError("a role is no list", where=where, hint="`reconciler validate` finds every mistake")
    return value


def _edited(text: str, cuts: Callable[[Sheet], Iterable[Cut]], meant: Any, where: str) -> str:
    """Return the text with cuts made; raise ManifestError when it would not say exactly what is meant."""
    from reconciler import splicing

    bom = _BOM if text.startswith(_BOM) else ""
    try:
        page = splicing.sheet(text.removeprefix(_BOM))
        after = bom + splicing.cut(page.text, tuple(cuts(page)))
        said = read(after.encode(), where).value
    except (ManifestError, ValueError) as error:
        raise _refused(where, str(error)) from None
    if not _same(_without_empty(said), _without_empty(meant)):
        raise _refused(where, "the edit would have changed something else")
    return after


def _without_empty(value: Any) -> Any:
    """Leave out sections that hold nothing, however they say it."""
    return {key: said for key, said in value.items() if said or key not in _SECTIONS} if value else {}


def _refused(where: str, why: str) -> ManifestError:
    return ManifestError(
        f"this file cannot be edited safely, and is left as it is: {inert(why)[:200]}",
        where=where,
        hint="write its sections in block style, one entry a line, or make the change by hand",
    )


def _plain(value: Any) -> Any:
    """Return a value of plain lists and dicts, as the reader makes them."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same, types included: 1, 1.0 and true are three values."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
