"""Say in words what pydantic found wrong in a manifest, with positions and suggestions; and what it is instead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from reconciler.declared import HandPin, Location, Manifest, Policy, Route, Variant
from reconciler.errors import Problem
from reconciler.inert import inert, suggest
from reconciler.modelfields import Parameters
from reconciler.rulefields import Rule

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

    from reconciler.merging import Merged

MINIMAL = "a minimal manifest: `version: 1`, `locations: {here: {store: flat, root: ~/models}}`, `variants: {}`"

_SECTIONS: dict[str, type[BaseModel]] = {"locations": Location, "routes": Route, "variants": Variant}
_PARTS: dict[str, type[BaseModel]] = {"lock": HandPin, "parameters": Parameters}
"""Keys of a variant that hold a map of known keys."""
_KINDS = {
    "string_type": ("text", "quote it"),
    "bool_type": ("true or false", ""),
    "int_type": ("a whole number", ""),
    "dict_type": ("a map", "write `key: value` lines below it"),
    "model_type": ("a map", "write `key: value` lines below it"),
    "list_type": ("a list", "write it as `[…]`"),
    "tuple_type": ("a list", "write it as `[…]`"),
}

Loc = tuple[str | int, ...]


def of_another_kind(value: Any, shown: str) -> Problem | None:
    """Say what a document is when it is clearly no manifest; None when it may be one."""
    if value is None:
        return Problem(shown, "there is nothing in it", MINIMAL)
    if isinstance(value, list):
        return Problem(f"{shown}:1:1", "this is a list; a manifest is a map", "a registry? name the manifest instead")
    if not isinstance(value, dict):
        return Problem(f"{shown}:1:1", "this is plain text; a manifest is a map", MINIMAL)
    if _is_lock(value):
        return Problem(f"{shown}:1:1", "this is a lock file", "name the manifest that it stands beside")
    if value and not set(value) & set(Manifest.model_fields):
        keys = ", ".join(f"`{inert(str(key))[:40]}`" for key in list(value)[:3])
        return Problem(f"{shown}:1:1", f"this is no manifest: it begins with {keys}", MINIMAL)
    return None


def _is_lock(value: dict[str, Any]) -> bool:
    variants = value.get("variants")
    entries = variants.values() if isinstance(variants, dict) else ()
    files = [entry.get("files") for entry in entries if isinstance(entry, dict)]
    return any(isinstance(rows, list) and rows and isinstance(rows[0], dict) and "digest" in rows[0] for rows in files)


def translate(error: ValidationError, merged: Merged) -> list[Problem]:
    """Return one problem for each of pydantic's findings."""
    return [_problem(found, merged) for found in error.errors(include_url=False)]


def locs(error: ValidationError) -> list[Loc]:
    """Return where pydantic found something."""
    return [found["loc"] for found in error.errors(include_url=False, include_context=False, include_input=False)]


def sound_part(value: dict[str, Any], wrong: Iterable[Loc]) -> dict[str, Any]:
    """Return `value` without what is wrong, so that the rest can be checked. Routes keep their number."""
    part: dict[str, Any] = {"version": 1}
    for key, said in value.items():
        if key in Manifest.model_fields and key != "version":
            part[key] = dict(said) if isinstance(said, dict) else list(said) if isinstance(said, list) else said
    for loc in wrong:
        section = part.get(str(loc[0]))
        if loc == ("version",):
            continue
        if len(loc) == 1 or loc[0] == "policy":
            part.pop(str(loc[0]), None)
        elif isinstance(section, dict):
            section.pop(loc[1], None)
        elif isinstance(section, list) and isinstance(loc[1], int):
            section[loc[1]] = {"location": "-"}
    if isinstance(part.get("routes"), list):
        stand_in = next(iter(part.get("locations") or {}), None)
        good = [{"location": stand_in} if rule == {"location": "-"} else rule for rule in part["routes"]]
        part["routes"] = good if stand_in else []
    return part


def _problem(found: ErrorDetails, merged: Merged) -> Problem:
    loc, kind = found["loc"], found["type"]
    where = merged.where(*(step for step in loc if step != "[key]"))
    name = inert(str(loc[-1]))[:200] if loc else ""
    if kind == "extra_forbidden":
        return _unknown_key(loc, where, name)
    if kind == "missing":
        hint = MINIMAL if len(loc) == 1 else _example(loc)
        return Problem(where, f"`{'version: 1' if loc == ('version',) else name}` is missing", hint)
    if kind == "value_error":
        summary, hint = _parted(str(found["ctx"]["error"]))
        model = _model_of(loc)
        own = (model is not None and (len(loc) < 3 or model is Rule)) or loc[-1] in {"[key]", "version"}
        return Problem(where, summary if own else f"`{name}`: {summary}", hint)
    if kind == "literal_error":
        return _not_of_these(found, where, name)
    if kind in _KINDS:
        expected, hint = _KINDS[kind]
        if kind == "bool_type" and str(found["input"]).lower() in {"yes", "no", "on", "off"}:
            hint = "YAML 1.2 knows `true` and `false` only"
        return Problem(where, f"`{name}`: expected {expected}, found {_kind(found['input'])}", hint)
    return Problem(where, f"`{name}`: {found['msg']}")


def _unknown_key(loc: Loc, where: str, name: str) -> Problem:
    model = _model_of(loc[:-1]) or Manifest
    near = suggest(str(loc[-1]), model.model_fields)
    hint = f"did you mean `{near}`?" if near else f"known here: {', '.join(model.model_fields)}"
    return Problem(where, f"unknown key `{name}`", hint)


def _not_of_these(found: ErrorDetails, where: str, name: str) -> Problem:
    expected = str(found["ctx"]["expected"]).replace("'", "`")
    given = found["input"]
    near = (
        suggest(given, expected.replace("`", "").replace(" or ", ", ").split(", ")) if isinstance(given, str) else None
    )
    shown = f"`{inert(given)[:80]}`" if isinstance(given, str) else _kind(given)
    return Problem(where, f"`{name}`: expected {expected}, found {shown}", f"did you mean `{near}`?" if near else "")


def _model_of(loc: Loc) -> type[BaseModel] | None:
    """The model that stands at a key path, when one does."""
    if not loc:
        return Manifest
    if loc == ("policy",):
        return Policy
    if len(loc) == 3 and loc[:2] == ("policy", "rules"):
        return Rule
    if len(loc) == 2 and str(loc[0]) in _SECTIONS:
        return _SECTIONS[str(loc[0])]
    return _PARTS.get(str(loc[2])) if len(loc) == 3 and loc[0] == "variants" else None


def _example(loc: Loc) -> str:
    model = _model_of(loc[:-1])
    examples = model.model_fields[str(loc[-1])].examples if model else None
    return f"for example `{loc[-1]}: {examples[0]}`" if examples else ""


def _parted(text: str) -> tuple[str, str]:
    """Part `cause (what to do)`, as some checks say it."""
    if text.endswith(")") and " (" in text:
        cause, _, hint = text[:-1].rpartition(" (")
        return cause, hint
    return text, ""


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list | tuple):
        return "a map" if isinstance(value, dict) else "a list"
    return f"`{inert(str(value))[:80]}`" if isinstance(value, str) else f"the number {str(value)[:40]}"
