"""The lock: exact revision, files, sizes and digests of every variant, beside the manifest."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from reconciler import jsontext
from reconciler.artifacts import value_of, with_rest
from reconciler.disk import write_atomic
from reconciler.errors import NEWER, LockfileError, NewerError, Problem
from reconciler.inert import inert
from reconciler.oserrors import remedy
from reconciler.paths import check_relative
from reconciler.references import is_commit
from reconciler.state import Artifact, Digest, Pin, Support, parse_digest

VERSION = 1

_LARGEST = 256 << 20
"""Bytes; ten thousand variants of a hundred files each have half of that."""
_DAMAGED = "take it from git, or delete it and run `reconciler lock` (upstream is then asked for everything anew)"
_PIN_KEYS = frozenset({"source", "revision", "license", "support", "about", "files"})


@dataclass(frozen=True, slots=True)
class Lock:
    """What a lock file holds: variant -> pin."""

    version: int = VERSION
    pins: Mapping[str, Pin] = field(default_factory=dict)


class _WrongError(ValueError):
    """A value is not what the format says; `path` leads to it."""

    def __init__(self, path: jsontext.Path, reason: str) -> None:
        super().__init__(reason)
        self.path = path
        self.reason = reason


def path_for(manifest_path: Path) -> Path:
    """Return where the lock of a manifest stands: beside it, and a directory's lock beside the directory.

    `workstation.yaml` has `workstation.lock.json`, `manifests/` has `manifests.lock.json`.
    """
    path = manifest_path.resolve() if manifest_path.name in ("", "..") else manifest_path
    stem = path.stem if path.suffix in (".yaml", ".yml") else path.name
    return path.parent / f"{stem}.lock.json"


def loads(text: str, name: str) -> Lock:
    """Read a lock, called `name` in messages. Raise LockfileError with `file:line` when it is damaged."""
    try:
        return _lock(jsontext.loads(text))
    except jsontext.JsonTextError as error:
        hint = "finish the merge, then run `reconciler lock`" if "conflict" in error.reason else _DAMAGED
        problem = Problem(f"{name}:{error.line}", error.reason, hint)
    except NewerError as error:
        problem = Problem(f"{name}:{jsontext.line_of(text, ('version',))}", str(error), NEWER)
    except _WrongError as error:
        problem = Problem(f"{name}:{jsontext.line_of(text, error.path)}", error.reason, _DAMAGED)
    raise LockfileError(problem)


def dumps(lock: Lock) -> str:
    """Return the text of a lock: variants sorted by name, one file a line, so that it reads and merges well."""
    variants = ",".join("\n" + _variant_text(name, lock.pins[name]) for name in sorted(lock.pins))
    return f'{{"version": {lock.version}, "variants": {{{variants}}}}}\n'


def read(path: Path) -> Lock | None:
    """Return the lock at `path`, None when there is no such file; raise LockfileError when it is damaged."""
    data = _bytes(path)
    if data is None:
        return None
    try:
        return loads(data.decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LockfileError("not UTF-8 text", where=f"{path}:{line}", hint=_DAMAGED) from None


def write(path: Path, lock: Lock) -> None:
    """Write the lock, whole or not at all; the same content is not written again. Raise DiskError."""
    data = dumps(lock).encode()
    if _bytes(path) == data:
        return
    # Who keeps the lock behind a link keeps the link.
    write_atomic(Path(os.path.realpath(path)), data)


def digest(path: Path) -> Digest | None:
    """Return the sha256 of the lock file's bytes, None when there is none."""
    data = _bytes(path)
    return None if data is None else Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


def _bytes(path: Path) -> bytes | None:
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        told = f"the lock cannot be read: {error.strerror}"
        raise LockfileError(told, where=str(path), hint=remedy(error)) from None
    if len(data) > _LARGEST:
        raise LockfileError(f"larger than {_LARGEST >> 20} MiB", where=str(path), hint=_DAMAGED)
    return data


def _variant_text(name: str, pin: Pin) -> str:
    head: dict[str, Any] = {"source": pin.source}
    if pin.revision is not None:
        head["revision"] = pin.revision
    if pin.license is not None:
        head["license"] = pin.license
    if pin.support is not None:
        head["support"] = {"source": pin.support.source, "revision": pin.support.revision}
    if pin.about:
        head["about"] = dict(sorted(pin.about.items()))
    files = ",".join(f"\n    {_json(value_of(file))}" for file in sorted(pin.files, key=lambda file: file.path))
    return f'  {_json(name)}: {_json(head)[:-1]}, "files": [{files}]}}'


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # What would hide from a reviewer, or turn his text around, is written as an escape.
    return text if text.isprintable() and inert(text) == text else json.dumps(value)


def _lock(value: Any) -> Lock:
    if not isinstance(value, dict):
        _wrong((), "expected an object with version and variants")
    version = value.get("version")
    if version != VERSION or isinstance(version, bool):
        if isinstance(version, int) and version > VERSION:
            raise NewerError("a lock", version, VERSION)
        _wrong(("version",), f"lock version {inert(repr(version))[:40]}; this reconciler reads version {VERSION}")
    variants = value.get("variants")
    if not isinstance(variants, dict):
        _wrong(("variants",), "expected variants: an object of pins by variant name")
    for key in value.keys() - {"version", "variants"}:
        _wrong((key,), f"unknown key {_quoted(key)}")
    return Lock(VERSION, {name: _pin(name, pin) for name, pin in variants.items()})


def _pin(name: str, value: Any) -> Pin:
    at = ("variants", name)
    if not isinstance(value, dict):
        _wrong(at, "expected an object with source and files")
    if not value.keys() <= _PIN_KEYS:
        unknown = min(value.keys() - _PIN_KEYS)
        _wrong((*at, unknown), f"unknown key {_quoted(unknown)}")
    source, files = _text(value.get("source"), (*at, "source")), value.get("files")
    revision, license_ = value.get("revision"), value.get("license")
    if not isinstance(files, list):
        _wrong((*at, "files"), "expected files: a list")
    seen: set[str] = set()
    artifacts = [_artifact(file, seen, (*at, "files", index)) for index, file in enumerate(files)]
    return Pin(
        source,
        _revision(revision, source, (*at, "revision")) if "revision" in value else None,
        tuple(sorted(artifacts, key=lambda file: file.path)),
        _text(license_, (*at, "license")) if "license" in value else None,
        _support(value["support"], (*at, "support")) if "support" in value else None,
        _about(value["about"], (*at, "about")) if "about" in value else {},
    )


def _about(value: Any, at: jsontext.Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        _wrong(at, "expected about: an object")
    return value


def _revision(value: Any, source: str, at: jsontext.Path) -> str:
    revision = _text(value, at)
    if source.startswith("hf:") and not is_commit(revision):
        _wrong(at, f"{_quoted(revision)} is no commit of 40 hexadecimal digits")
    return revision


def _artifact(value: Any, seen: set[str], at: jsontext.Path) -> Artifact:
    try:
        path, size, text = value["path"], value["size"], value["digest"]
        if type(path) is not str or type(size) is not int or type(text) is not str or size < 0:
            raise TypeError
        path, found = _safe(path), _digest(text)
    except (KeyError, TypeError):
        _wrong(at, 'expected {"path": text, "size": bytes, "digest": text}')
    except ValueError as error:
        _wrong(at, str(error))
    if path in seen:
        _wrong(at, f"{_quoted(path)} stands twice")
    seen.add(path)
    try:
        return with_rest(value, path, size, found)
    except ValueError as error:
        _wrong(at, str(error))


def _support(value: Any, at: jsontext.Path) -> Support:
    if not isinstance(value, dict) or value.keys() != {"source", "revision"}:
        _wrong(at, "expected support: an object with source and revision")
    source = _text(value["source"], (*at, "source"))
    return Support(source, _revision(value["revision"], source, (*at, "revision")))


def _text(value: Any, at: jsontext.Path) -> str:
    if type(value) is not str or not value or len(value) > 8192:
        _wrong(at, f"expected {at[-1]}: text")
    return sys.intern(value)


@lru_cache(maxsize=4096)
def _safe(path: str) -> str:
    return sys.intern(check_relative(path))


@lru_cache(maxsize=4096)
def _digest(text: str) -> Digest:
    return parse_digest(text)


def _wrong(path: jsontext.Path, reason: str) -> NoReturn:
    raise _WrongError(path, reason)


def _quoted(text: str) -> str:
    return f"`{inert(text)[:200]}`"
