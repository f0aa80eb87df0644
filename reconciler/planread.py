"""Take a saved plan apart again: every field checked, nothing guessed. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast, get_args

from reconciler.artifacts import with_rest
from reconciler.errors import InputError, Problem
from reconciler.plan import (
    Action,
    Bytes,
    Facts,
    FileRow,
    Finding,
    Layer,
    Method,
    Place,
    Plan,
    Reliance,
    Selection,
    Severity,
    Step,
    Stranger,
)
from reconciler.state import Address, Artifact, Digest, Link, Note, Pin, Support, parse_digest

T = TypeVar("T")

MAJOR = "1"
"""The major version of the format that this code reads."""

_AGAIN = "make the plan again with `reconciler plan -o FILE`"
_METHODS = frozenset(get_args(Method))
_ACTIONS = {action.value: action for action in Action}
_SEVERITIES = get_args(Severity)
_LAYERS = get_args(Layer)
_NEW = frozenset({Action.DOWNLOAD, Action.NORMALIZE})

_ascii = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"), sort_keys=True).encode


class _DamagedError(Exception):
    """What is wrong with a document, and where inside it."""


def canonical(value: Any) -> bytes:
    """Return `value` as the one JSON text that stands for it: keys sorted, no spaces, ASCII."""
    return _ascii(value).encode("ascii")


def checksum(document: Mapping[str, Any]) -> str:
    """Return `sha256:<64 hex>` of the whole document without its own `checksum`."""
    rest = {key: value for key, value in document.items() if key != "checksum"}
    return "sha256:" + hashlib.sha256(canonical(rest)).hexdigest()


def portable_id(document: Mapping[str, Any]) -> str:
    """Return the plan id of a plan's document: a digest of what is the same on every machine."""
    manifest = document["manifest"]
    portable = {
        "format_version": document["format_version"],
        "manifest": {"name": manifest["name"], "digest": manifest["digest"]},
        "lock": {"digest": document["lock"]["digest"]},
        "registry": {"serial": document["registry"]["serial"]},
        # A block is told in words that name free bytes and roots of this machine; whether there is one is the plan.
        "steps": [{**step, "blocked": step["blocked"] is not None} for step in document["steps"]],
        "resolved": document["resolved"],
        "selection": document["selection"],
    }
    return "sha256:" + hashlib.sha256(canonical(portable)).hexdigest()


def read_document(text: str | bytes, name: str) -> Plan:
    """Return the plan that `text` holds; `name` stands in messages. Raises InputError with what is wrong and where."""
    try:
        document = _parse(text)
        _check_version(document)
        plan = _plan(document)
        _check_sums(document)
    except _DamagedError as damage:
        raise InputError(Problem(name, str(damage), _AGAIN)) from None
    return plan


def _parse(text: str | bytes) -> dict[str, Any]:
    try:
        document = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except RecursionError:
        raise _DamagedError("not a plan: nested too deeply") from None
    except ValueError as error:
        raise _DamagedError(f"not a plan: not JSON ({error})") from None
    if not isinstance(document, dict) or "format_version" not in document:
        raise _DamagedError("not a plan: expected an object with `format_version`")
    return document


def _refuse_constant(word: str) -> Any:
    raise _DamagedError(f"not strict JSON: {word}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _DamagedError("a key stands twice in one object")
    return value


def _check_version(document: Mapping[str, Any]) -> None:
    version = document["format_version"]
    if not isinstance(version, str) or not re.fullmatch(r"\d{1,9}\.\d{1,9}", version):
        raise _DamagedError(f"format_version: expected MAJOR.MINOR, found {_found(version)}")
    if version.partition(".")[0] != MAJOR:
        raise _DamagedError(f"format_version: {version} is of another reconciler; this one reads {MAJOR}.x")


def _check_sums(document: Mapping[str, Any]) -> None:
    if document.get("plan_id") != portable_id(document):
        raise _DamagedError("plan_id: does not fit the steps; the file was changed after the plan was made")
    if document.get("checksum") != checksum(document):
        raise _DamagedError("checksum: does not fit the document; the file was changed after the plan was made")


def _plan(document: dict[str, Any]) -> Plan:
    manifest, lock = _object(document, "manifest", ""), _object(document, "lock", "")
    registry, unmanaged = _object(document, "registry", ""), _object(document, "unmanaged", "")
    locations, resolved = _object(document, "locations", ""), _object(document, "resolved", "")
    return Plan(
        manifest_path=_text(manifest, "path", "manifest"),
        manifest_name=_text(manifest, "name", "manifest"),
        manifest_digest=_digest(manifest, "digest", "manifest"),
        lock_path=_text(lock, "path", "lock"),
        lock_digest=_maybe_digest(lock, "digest", "lock"),
        registry_path=_text(registry, "path", "registry"),
        registry_serial=_count(registry, "serial", "registry"),
        locations={name: _place(_object(locations, name, "locations"), f"locations.{name}") for name in locations},
        steps=_each(document, "steps", "", _step),
        unmanaged_files=_count(unmanaged, "files", "unmanaged"),
        unmanaged_bytes=_count(unmanaged, "bytes", "unmanaged"),
        resolved={name: _pin(_object(resolved, name, "resolved"), f"resolved.{name}") for name in resolved},
        selection=_selection(_object(document, "selection", "")),
        relies_on=_each(document, "relies_on", "", _reliance),
        warnings=_each(document, "warnings", "", _word),
        curated=_maybe_digest(registry, "curated", "registry"),
        findings=_each(document, "findings", "", _finding, ()),
        strangers=_each(document, "strangers", "", _stranger, ()),
    )


def _place(value: dict[str, Any], where: str) -> Place:
    return Place(
        store=_text(value, "store", where),
        root=_text(value, "root", where),
        id=_maybe_text(value, "id", where),
        free_bytes=_count(value, "free_bytes", where),
        readable=_flag(value, "readable", where),
        why=_text(value, "why", where, ""),
        device=_count(value, "device", where, 0),
        observed=_text(value, "observed", where, ""),
        total_bytes=_count(value, "total_bytes", where, 0),
    )


def _step(value: Any, where: str) -> Step:
    value = _is(value, dict, "an object", where)
    word = _text(value, "action", where)
    if word not in _ACTIONS:
        raise _DamagedError(f"{where}.action: expected one of {', '.join(_ACTIONS)}, found {_found(word)}")
    action, moved = _ACTIONS[word], _object(value, "bytes", where)
    renamed = _maybe_text(value, "renamed_from", where)
    row = _new_row if action in _NEW else _row
    return Step(
        address=_address(_text(value, "address", where), f"{where}.address"),
        action=action,
        reason=_text(value, "reason", where),
        before=_maybe(value, "before", where, _facts),
        after=_maybe(value, "after", where, _facts),
        files=_each(value, "files", where, row),
        bytes=Bytes(*(_count(moved, key, f"{where}.bytes") for key in Bytes._fields)),
        blocked=_maybe_text(value, "blocked", where),
        trash=_each(value, "trash", where, _row, ()),
        links=_each(value, "links", where, _link, ()),
        notes=_each(value, "notes", where, _note, ()),
        renamed_from=None if renamed is None else _address(renamed, f"{where}.renamed_from"),
        unlinks=_each(value, "unlinks", where, _link, ()),
        unnotes=_each(value, "unnotes", where, _note, ()),
        entry=_object(value, "entry", where) if "entry" in value else None,
        place=_count(value, "place", where) if "place" in value else None,
    )


def _address(text: str, where: str) -> Address:
    variant, at, location = text.rpartition("@")
    if not at:
        raise _DamagedError(f"{where}: expected VARIANT@LOCATION, found {_found(text)}")
    return Address(variant, location)


def _row(value: Any, where: str) -> FileRow:
    value = _is(value, dict, "an object", where)
    method = _text(value, "method", where)
    if method not in _METHODS:
        raise _DamagedError(f"{where}.method: expected one of {', '.join(sorted(_METHODS))}, found {_found(method)}")
    path, size = _text(value, "path", where), _count(value, "size", where)
    digest, kind = _maybe_digest(value, "digest", where), cast("Method", method)
    if len(value) == 4:  # the common case, ten thousand times over
        return FileRow(path, size, digest, kind)
    return FileRow(
        path,
        size,
        digest,
        kind,
        origin=_text(value, "origin", where, ""),
        artifact=_text(value, "artifact", where, ""),
        support=_flag(value, "support", where, False),
        url=_text(value, "url", where, ""),
        replaces=_flag(value, "replaces", where, False),
        optional=_flag(value, "optional", where, False),
    )


def _new_row(value: Any, where: str) -> FileRow:
    """Return a row that a step would put in place: its path must lie below the root."""
    row = _row(value, where)
    if not row.path or row.path.startswith(("/", "\\")) or "\0" in row.path or ".." in row.path.split("/"):
        raise _DamagedError(f"{where}.path: must lie below the location's root, found {_found(row.path)}")
    return row


def _facts(value: Any, where: str) -> Facts:
    value = _is(value, dict, "an object", where)
    roles = _object(value, "roles", where, {})
    return Facts(
        **{key: _maybe_text(value, key, where) for key in _FACTS},
        protect=_flag(value, "protect", where, False),
        gated=_flag(value, "gated", where, False),
        roles={role: _count(roles, role, f"{where}.roles") for role in roles},
        metadata=_object(value, "metadata", where, {}),
        modelfile=_object(value, "modelfile", where, {}),
        told=_object(value, "told", where, {}),
    )


_FACTS = ("source", "revision", "format", "quant", "path", "backend", "served_as", "license", "support")


def _link(value: Any, where: str) -> Link:
    value = _is(value, dict, "an object", where)
    return Link(_text(value, "path", where), _text(value, "target", where))


def _note(value: Any, where: str) -> Note:
    value = _is(value, dict, "an object", where)
    return Note(_text(value, "path", where), _text(value, "text", where))


def _pin(value: dict[str, Any], where: str) -> Pin:
    support = None
    if value.get("support") is not None:
        lender = _object(value, "support", where)
        support = Support(_text(lender, "source", where), _text(lender, "revision", where))
    return Pin(
        source=_text(value, "source", where),
        revision=_maybe_text(value, "revision", where),
        files=_each(value, "files", where, _artifact),
        license=_maybe_text(value, "license", where),
        support=support,
        about=_object(value, "about", where, {}),
    )


def _artifact(value: Any, where: str) -> Artifact:
    value = _is(value, dict, "an object", where)
    path, size, digest = _text(value, "path", where), _count(value, "size", where), _digest(value, "digest", where)
    try:
        return with_rest(value, path, size, digest)
    except ValueError as error:
        raise _DamagedError(f"{where}: {error}") from None


def _selection(value: dict[str, Any]) -> Selection:
    return Selection(*(_each(value, key, "selection", _word, ()) for key in ("target", "exclude", "allow")))


def _reliance(value: Any, where: str) -> Reliance:
    items = _is(value, list, "a list", where)
    if len(items) != 3:
        raise _DamagedError(f"{where}: expected location, path and stat")
    location, path, stat = items
    if stat is not None:
        numbers = _is(stat, list, "a list", where)
        if len(numbers) != 3 or any(type(number) is not int for number in numbers):
            raise _DamagedError(f"{where}: expected size, mtime_ns and inode, found {_found(stat)}")
        stat = (numbers[0], numbers[1], numbers[2])
    return Reliance(_word(location, where), _word(path, where), stat)


def _finding(value: Any, where: str) -> Finding:
    value = _is(value, dict, "an object", where)
    severity = _text(value, "severity", where)
    if severity not in _SEVERITIES:
        raise _DamagedError(f"{where}.severity: expected one of {', '.join(_SEVERITIES)}, found {_found(severity)}")
    address = _address(_text(value, "address", where), f"{where}.address")
    return Finding(address, _text(value, "rule", where), cast("Severity", severity), _text(value, "text", where))


def _stranger(value: Any, where: str) -> Stranger:
    value = _is(value, dict, "an object", where)
    layer = _text(value, "layer", where)
    if layer not in _LAYERS:
        raise _DamagedError(f"{where}.layer: expected one of {', '.join(_LAYERS)}, found {_found(layer)}")
    words, details = (_each(value, key, where, _word, ()) for key in ("words", "details"))
    return Stranger(_text(value, "name", where), cast("Layer", layer), words, details)


def _each(
    value: dict[str, Any], key: str, where: str, take: Callable[[Any, str], T], default: tuple[T, ...] | None = None
) -> tuple[T, ...]:
    if default is not None and key not in value:
        return default
    path = _path(where, key)
    items = _is(value.get(key), list, "a list", path)
    return tuple([take(item, f"{path}[{position}]") for position, item in enumerate(items)])


def _maybe(value: dict[str, Any], key: str, where: str, take: Callable[[Any, str], T]) -> T | None:
    return None if value.get(key) is None else take(value[key], _path(where, key))


def _object(value: dict[str, Any], key: str, where: str, default: dict[str, Any] | None = None) -> dict[str, Any]:
    found = value.get(key, default)
    return found if type(found) is dict else _is(found, dict, "an object", _path(where, key))


def _text(value: dict[str, Any], key: str, where: str, default: str | None = None) -> str:
    found = value.get(key, default)
    return found if type(found) is str else _is(found, str, "text", _path(where, key))


def _maybe_text(value: dict[str, Any], key: str, where: str) -> str | None:
    found = value.get(key)
    return found if found is None or type(found) is str else _is(found, str, "text or null", _path(where, key))


def _count(value: dict[str, Any], key: str, where: str, default: int | None = None) -> int:
    found = value.get(key, default)
    if type(found) is not int or found < 0:
        raise _DamagedError(f"{_path(where, key)}: expected a number from 0, found {_found(found)}")
    return found


def _flag(value: dict[str, Any], key: str, where: str, default: bool | None = None) -> bool:
    return _is(value.get(key, default), bool, "true or false", _path(where, key))


def _digest(value: dict[str, Any], key: str, where: str) -> Digest:
    text = _text(value, key, where)
    try:
        return parse_digest(text)
    except ValueError as error:
        raise _DamagedError(f"{_path(where, key)}: {error}") from None


def _maybe_digest(value: dict[str, Any], key: str, where: str) -> Digest | None:
    return None if value.get(key) is None else _digest(value, key, where)


def _word(value: Any, where: str) -> str:
    return _is(value, str, "text", where)


def _is(value: Any, kind: type[T], expected: str, where: str) -> T:
    if type(value) is not kind:
        raise _DamagedError(f"{where or 'document'}: expected {expected}, found {_found(value)}")
    return value


def _path(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _found(value: Any) -> str:
    return "nothing" if value is None else repr(value)[:80]
