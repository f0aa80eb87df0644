"""Load a manifest: every mistake at once, each at `file:line:column`. Imported lazily, because pydantic is heavy."""

from __future__ import annotations

import hashlib
import json
import os.path
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from reconciler.crosscheck import Names, cautions, cross_check
from reconciler.declared import HandPin, Location, Manifest, Policy, Route, Variant
from reconciler.errors import ManifestError, Problem
from reconciler.home import find as find_home
from reconciler.inert import suggest
from reconciler.manifestfiles import Found, Source, find
from reconciler.merging import Merged, merge
from reconciler.mistakes import locs, of_another_kind, sound_part, translate
from reconciler.state import Digest
from reconciler.ui import extra_paths
from reconciler.ui.extra_paths import ExtraPaths
from reconciler.yamlread import MAX_PROBLEMS, read

__all__ = [
    "HandPin",
    "Loaded",
    "Location",
    "Manifest",
    "Policy",
    "Route",
    "Variant",
    "json_schema",
    "load",
    "of",
    "schema_text",
]


@dataclass(frozen=True)
class Loaded:
    """A manifest, and what is known of it besides what it says.

    `path` is the file or directory as given, absolute; `digest` is of the bytes of its files in the order of their
    names, wherever they lie; `identity` is who manages a record: the `name:` when given, else the absolute path.
    """

    manifest: Manifest
    path: Path
    files: tuple[Path, ...]
    digest: Digest
    name: str
    identity: str
    registry: Path
    warnings: tuple[str, ...]
    extra_paths: Mapping[str, ExtraPaths | Problem]
    """Location -> what its `extra_model_paths` says, or why nobody can tell."""
    _merged: Merged = field(repr=False, compare=False)

    def where(self, *loc: str | int) -> str:
        """Return `file:line:column` of a key path such as `("variants", NAME, "files", 0)`."""
        return self._merged.where(*loc)


def load(path: Path | str | None) -> Loaded:
    """Load a manifest from a file or a directory; None means `manifests/` if it is there, else `reconciler.yaml`.

    Raises ManifestError with everything that is wrong.
    """
    return of(find(path))


def of(found: Found) -> Loaded:
    """Return the manifest that these files would be: those on disk, or what an edit is about to write.

    Raises ManifestError with everything that is wrong.
    """
    merged = _read(found.sources)
    _refuse_another_kind(merged, found.shown)
    manifest = _validate(merged)
    extra, texts = _extra_paths(manifest)
    absolute = Path(found.path).absolute()
    return Loaded(
        manifest=manifest,
        path=absolute,
        files=tuple(Path(source.path).absolute() for source in found.sources),
        digest=_digest([*(source.data for source in found.sources), *texts]),
        name=manifest.name or (absolute.name if found.is_directory else absolute.stem),
        identity=manifest.name or str(absolute),
        registry=_registry(manifest),
        warnings=(*_hidden(merged), *cautions(manifest, merged.where), *_extra_cautions(extra)),
        extra_paths=extra,
        _merged=merged,
    )


def default_registry() -> Path:
    """Return the registry of a manifest that names none: what the user set, else one in the data directory.

    Raise InputError when the settings are wrong.
    """
    from reconciler import settings

    return settings.load(os.environ).registry


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a manifest, for editors."""
    from reconciler import declared, fielddocs, modelfields, rulefields

    schema = Manifest.model_json_schema(mode="validation")
    named = (each for module in (declared, modelfields, rulefields) for each in vars(module).values())
    fielddocs.describe(schema, {each for each in named if isinstance(each, type) and issubclass(each, BaseModel)})
    for section in ("locations", "routes", "variants", "roles", "policy"):
        said = schema["properties"][section]
        if "patternProperties" in said:
            # What matches no pattern would be let through; a bad name is a mistake.
            [(pattern, entry)] = said.pop("patternProperties").items()
            said["propertyNames"]["pattern"] = pattern
            said["additionalProperties"] = entry
        # A section whose entries are all commented out reads as null.
        schema["properties"][section] = {"description": said.pop("description"), "anyOf": [said, {"type": "null"}]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Reconciler manifest"}


def schema_text() -> str:
    """Return the JSON Schema as the text of `schema/manifest.v1.json`."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _read(sources: tuple[Source, ...]) -> Merged:
    """Read every file, and tell what is wrong in all of them."""
    documents = []
    problems: list[Problem] = []
    for source in sources:
        try:
            documents.append(read(source.data, source.shown))
        except ManifestError as error:
            problems += error.problems
    if problems:
        raise ManifestError(problems)
    return merge(documents)


def _refuse_another_kind(merged: Merged, shown: str) -> None:
    problem = of_another_kind(merged.value, shown)
    if problem is not None:
        raise ManifestError([*merged.problems, problem])


def _validate(merged: Merged) -> Manifest:
    """Return the manifest; where one field is wrong, the rest is checked all the same, so that one run tells all."""
    problems = list(merged.problems)
    try:
        manifest = Manifest.model_validate(merged.value)
    except ValidationError as error:
        problems += translate(error, merged)
        wrong = locs(error)
        try:
            part = Manifest.model_validate(sound_part(merged.value, wrong))
        except ValidationError:
            raise ManifestError(_in_order(problems)) from None
        meant = {_section(loc[0]) for loc in wrong}
        if part.locations or "locations" not in meant:  # without any, nothing can be said of what goes to them
            problems += _cross_check(part, merged, all_routes="routes" not in meant)
        raise ManifestError(_in_order(problems)) from None
    problems += _cross_check(manifest, merged)
    if problems:
        raise ManifestError(_in_order(problems))
    return manifest


def _cross_check(manifest: Manifest, merged: Merged, *, all_routes: bool = True) -> list[Problem]:
    names = Names(frozenset(_keys(merged.value, "locations")), frozenset(_keys(merged.value, "variants")), all_routes)
    places = {name: place.root or place.models for name, place in manifest.locations.items()}
    roots = {name: os.path.realpath(root) for name, root in places.items() if root}
    return list(cross_check(manifest, names, merged.where, roots, os.path.realpath(_registry(manifest))))


def _keys(value: Any, section: str) -> list[str]:
    """Return the names that a section declares, also where the word for it is misspelt: that is told, and no more."""
    said = [entries for key, entries in value.items() if _section(key) == section and isinstance(entries, dict)]
    return [name for entries in said for name in entries]


def _section(key: str | int) -> str | None:
    """Return the key of a manifest that is written so, or is meant by it; None where none is near."""
    return suggest(str(key), Manifest.model_fields) if key not in Manifest.model_fields else str(key)


def _registry(manifest: Manifest) -> Path:
    return Path(manifest.registry) if manifest.registry else default_registry()


def _in_order(problems: list[Problem]) -> list[Problem]:
    """Sort problems by where they stand, say each once, and count those beyond what anyone reads."""

    def place(problem: Problem) -> tuple[str, int, int]:
        name, _, rest = problem.where.rpartition(":")
        name, _, line = name.rpartition(":")
        return (name, int(line), int(rest)) if line.isdecimal() and rest.isdecimal() else (problem.where, 0, 0)

    found = sorted(dict.fromkeys(problems), key=place)
    if len(found) <= MAX_PROBLEMS:
        return found
    return [*found[:MAX_PROBLEMS], Problem("", f"and {len(found) - MAX_PROBLEMS} more")]


def _hidden(merged: Merged) -> list[str]:
    return [
        f"{where}: the invisible character U+{ord(character):04X}, which can change how the text around it is seen"
        for document in merged.documents
        for where, character in document.hidden
    ]


def _digest(texts: Iterable[bytes]) -> Digest:
    # NUL parts the files: no manifest that was read holds one.
    return Digest("sha256:" + hashlib.sha256(b"\0".join(texts)).hexdigest())


def _extra_paths(manifest: Manifest) -> tuple[dict[str, ExtraPaths | Problem], list[bytes]]:
    """Read what ComfyUI is told besides; a file that cannot be read stops what goes to its location, and no more."""
    found: dict[str, ExtraPaths | Problem] = {}
    texts: list[bytes] = []
    for name, place in manifest.locations.items():
        if place.extra_model_paths is None:
            continue
        try:
            found[name], data = read_extra(place.extra_model_paths)
            texts.append(data)
        except ManifestError as error:
            found[name] = error.problems[0]
    return found, texts


def read_extra(file: str) -> tuple[ExtraPaths, bytes]:
    """Return what an `extra_model_paths.yaml` at an absolute path says, and its bytes.

    Raise ManifestError when it cannot be read, and for what would stop ComfyUI.
    """
    try:
        data = _bounded(file)
        return extra_paths.parse(data.decode("utf-8-sig"), file, home=find_home() or "", environ=os.environ), data
    except UnicodeDecodeError:
        raise ManifestError("not UTF-8 text", where=file) from None
    except OSError as error:
        hint = "ComfyUI is told of its folders there"
        raise ManifestError(f"cannot be read: {error.strerror}", where=file, hint=hint) from None


def _bounded(file: str) -> bytes:
    with open(file, "rb") as stream:
        data = stream.read(extra_paths.MAX_BYTES + 1)
    if len(data) > extra_paths.MAX_BYTES:
        raise ManifestError(f"larger than {extra_paths.MAX_BYTES >> 20} MiB", where=file)
    return data


def _extra_cautions(found: Mapping[str, ExtraPaths | Problem]) -> list[str]:
    read = {each.file: each.cautions for each in found.values() if isinstance(each, ExtraPaths)}
    return [caution for cautions in read.values() for caution in cautions]
