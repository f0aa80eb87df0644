"""A record as JSON and back: the `metadata.reconciler` block of an entry. Pure and strict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from reconciler.artifacts import value_of, with_rest
from reconciler.errors import NewerError
from reconciler.state import (
    Address,
    Artifact,
    Attributes,
    Digest,
    Link,
    Note,
    Pin,
    Placed,
    Record,
    Support,
    parse_digest,
)

VERSION = 1
_ALWAYS = {"version", "manifest", "address", "root", "source", "generation", "home", "files"}
_KNOWN = _ALWAYS | {"revision", "license", "support", "artifacts", "links", "notes", "attributes", "told"}
_TEXTS = ("backend", "format", "quant", "served_as", "license")


def encode(record: Record) -> dict[str, Any]:
    """Return the block of `record`. What is absent is left out, and so are artifacts that the files already say."""
    pin = record.pin
    block: dict[str, Any] = {
        "version": VERSION,
        "manifest": record.manifest,
        "address": str(record.address),
        "root": record.root,
        "source": pin.source,
        "revision": pin.revision,
        "license": pin.license,
        "support": {"source": pin.support.source, "revision": pin.support.revision} if pin.support else None,
        "generation": record.generation,
        "home": record.home,
        "files": [_placed(file) for file in record.files],
        "artifacts": None if pin.files == _said(record.files) else [value_of(file) for file in pin.files],
        "links": {link.path: link.target for link in record.links} or None,
        "notes": {note.path: note.text for note in record.notes} or None,
        "attributes": _attributes(record.attributes) or None,
        "told": dict(record.told) or None,
    }
    return {key: value for key, value in block.items() if value is not None}


def decode(block: object) -> Record:
    """Return the record of a block; raise ValueError saying what is wrong. Nothing is guessed."""
    if not isinstance(block, Mapping):
        _wrong("block", "an object", block)
    version = block.get("version")
    if type(version) is int and version > VERSION:
        raise NewerError("it is", version, VERSION)
    if version != VERSION or type(version) is not int:
        _wrong("version", str(VERSION), version)
    if not (_ALWAYS <= block.keys() <= _KNOWN):
        raise ValueError(
            f"unexpected or missing: {', '.join(sorted(map(str, (block.keys() ^ _ALWAYS) - (_KNOWN - _ALWAYS))))}"
        )
    variant, at, location = _text(block, "address").rpartition("@")
    if not (variant and at and location):
        _wrong("address", "VARIANT@LOCATION", block["address"])
    files = tuple([_read_placed(row) for row in _list(block, "files")])
    artifacts = (
        tuple([_read_artifact(row) for row in _list(block, "artifacts")]) if "artifacts" in block else _said(files)
    )
    support = None
    if "support" in block:
        row = block["support"]
        if not isinstance(row, Mapping):
            _wrong("support", "an object", row)
        support = Support(_text(row, "source"), _text(row, "revision"))
    told = block.get("told", {})
    if not isinstance(told, Mapping):
        _wrong("told", "an object", told)
    pin = Pin(_text(block, "source"), _maybe(block, "revision"), artifacts, _maybe(block, "license"), support)
    return Record(
        address=Address(variant, location),
        manifest=_text(block, "manifest"),
        pin=pin,
        home=_text(block, "home"),
        files=files,
        links=tuple([Link(path, target) for path, target in _texts(block, "links")]),
        notes=tuple([Note(path, text) for path, text in _texts(block, "notes")]),
        attributes=_read_attributes(block.get("attributes", {})),
        generation=_number(block, "generation"),
        root=_text(block, "root"),
        told=told,
    )


def _said(files: tuple[Placed, ...]) -> tuple[Artifact, ...]:
    return tuple(sorted([Artifact(file.artifact, file.size, file.digest) for file in files if file.artifact]))


def _placed(file: Placed) -> dict[str, Any]:
    row: dict[str, Any] = {
        "path": file.path,
        "size": file.size,
        "digest": file.digest,
        "mtime_ns": file.mtime_ns,
        "inode": file.inode,
    }
    if file.artifact:
        row["artifact"] = file.artifact
    return row


def _attributes(attributes: Attributes) -> dict[str, Any]:
    said: dict[str, Any] = {name: getattr(attributes, name) for name in _TEXTS}
    said["protect"] = attributes.protect or None
    said["roles"] = dict(attributes.roles) or None
    said["metadata"] = attributes.metadata or None
    said["modelfile"] = attributes.modelfile or None
    return {key: value for key, value in said.items() if value is not None}


def _read_placed(row: Any) -> Placed:
    try:
        path, size, digest, mtime_ns, inode = row["path"], row["size"], row["digest"], row["mtime_ns"], row["inode"]
        artifact = row.get("artifact", "")
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"files: expected path, size, digest, mtime_ns and inode, found {row!r:.100}") from None
    if not (type(path) is str is type(artifact) and type(size) is int is type(mtime_ns) and type(inode) is int):
        _wrong("files", "texts and whole numbers", row)
    if size < 0 or inode < 0:
        _wrong("files", "a size and an inode of 0 or more", row)
    return Placed(path, size, _digest(digest), mtime_ns, inode, artifact)


def _read_artifact(row: Any) -> Artifact:
    try:
        path, size, digest = row["path"], row["size"], row["digest"]
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"artifacts: expected path, size and digest, found {row!r:.100}") from None
    if not (type(path) is str and type(size) is int):
        _wrong("artifacts", "texts and whole numbers", row)
    return with_rest(row, path, size, _digest(digest))


def _read_attributes(said: Any) -> Attributes:
    if not isinstance(said, Mapping):
        _wrong("attributes", "an object", said)
    if unknown := said.keys() - {*_TEXTS, "protect", "roles", "metadata", "modelfile"}:
        raise ValueError(f"attributes: unexpected {', '.join(sorted(unknown))}")
    roles, metadata, protect = said.get("roles", {}), said.get("metadata", {}), said.get("protect", False)
    if not isinstance(roles, Mapping) or any(type(position) is not int for position in roles.values()):
        _wrong("attributes.roles", "a position for every role", roles)
    modelfile = said.get("modelfile", {})
    for key, value in (("metadata", metadata), ("modelfile", modelfile)):
        if not isinstance(value, Mapping):
            _wrong(f"attributes.{key}", "an object", value)
    if type(protect) is not bool:
        _wrong("attributes.protect", "true or false", protect)
    backend, format_, quant, served_as, license_ = [_maybe(said, name) for name in _TEXTS]
    positions = tuple(sorted(roles.items()))
    return Attributes(backend, format_, quant, served_as, license_, protect, positions, metadata, modelfile)


def _digest(text: Any) -> Digest:
    if type(text) is not str:
        _wrong("digest", "text", text)
    return parse_digest(text)


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if type(value) is not str:
        _wrong(key, "text", value)
    return value


def _maybe(row: Mapping[str, Any], key: str) -> str | None:
    return _text(row, key) if key in row else None


def _number(row: Mapping[str, Any], key: str) -> int:
    value = row.get(key)
    if type(value) is not int or value < 0:
        _wrong(key, "a whole number of 0 or more", value)
    return value


def _list(row: Mapping[str, Any], key: str) -> list[Any]:
    value = row.get(key)
    if not isinstance(value, (list, tuple)):
        _wrong(key, "an array", value)
    return list(value)


def _texts(row: Mapping[str, Any], key: str) -> list[tuple[str, str]]:
    value = row.get(key, {})
    if not isinstance(value, Mapping) or any(type(text) is not str for text in value.values()):
        _wrong(key, "an object of texts", value)
    return list(value.items())


def _wrong(key: str, expected: str, found: object) -> NoReturn:
    raise ValueError(f"{key}: expected {expected}, found {found!r:.100}")
