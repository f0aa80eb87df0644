"""Join a record of ImageWorks with what was found: the record says what people decided, the files say what they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.detect import detect_directory, rules, told_by_names
from reconciler.importing.found import Found
from reconciler.importing.oldrecords import Told
from reconciler.importing.parts import Part, is_gits, selection

Place = tuple[str, Mapping[str, Any]]
"""A name to suggest for a location, and what the manifest would say of it."""


def enriched(found: Found, told: Told, folder: Path | None = None) -> Found:
    """Return what was found under the name, with the roles and the facts of its record.

    A claim of the record that the files contradict is told, and not taken over. `folder` is where the files lie.
    """
    said = {**found.variant, **told.variant}
    if found.pin is not None and said.get("license") == found.pin.license:
        said.pop("license", None)
    paths = [file.path for file in found.pin.files] if found.pin else []
    held = found.variant.get("quant") or told_by_names(str(found.variant["source"]), paths)[1]
    if held is None and folder is not None:
        held = detect_directory(folder, _below(folder)).quant
    notes = [*found.notes, *told.notes]
    if told.quant and held and not _agree(told.quant, held):
        notes.append(f"its record says {told.quant}, the files say {held}")
    return replace(
        found, variant=said, name=_name(told), roles=told.roles, ranks=told.ranks, record=told.variant,
        notes=tuple(notes),
    )  # fmt: skip


def declared(told: Told, place: Place, why: str, files: Sequence[str] = ()) -> Found:
    """Return a variant as its record says it, without a pin: nobody has seen its files, or knows their commit."""
    said: dict[str, Any] = {"source": told.source}
    names = tuple(sorted(path for path in files or told.files if not is_gits(path) and "\\" not in path))
    if told.model is None and names and (wanted := _patterns(told, names)):
        said["files"] = wanted
    if told.quant and told_by_names(told.source, names)[1] is None:
        said["quant"] = told.quant
    return Found(
        {**said, **told.variant}, name=_name(told), location=place, roles=told.roles, ranks=told.ranks,
        record=told.variant, notes=(why, *told.notes), where=told.file,
    )  # fmt: skip


def known_as(holder: str, told: Told, where: str) -> Found:
    """Return what a record says of a variant that the manifest has already."""
    return Found(
        {"source": told.source}, holder=holder, name=_name(told), roles=told.roles, ranks=told.ranks,
        record=told.variant, where=where,
    )  # fmt: skip


def store_of(records: Iterable[Told]) -> str:
    """Return how a root is arranged whose files nobody can look at: LM Studio's where all of it is GGUF files."""
    held = list(records)
    only_ggufs = all(told.location == "windows_lmstudio" or _ggufs(told.files) for told in held)
    return "lmstudio" if held and only_ggufs else "huggingface"


def _patterns(told: Told, names: tuple[str, ...]) -> list[str]:
    ggufs = [name for name in names if name.lower().endswith(".gguf")]
    mine = [name for name in ggufs if told.quant and rules.quant_of_path(name) == told.quant]
    # Without directories in the record's names nobody knows whether there are some: none is left out.
    return selection(Part(tuple(mine) or names), None)["files"]


def _ggufs(files: Sequence[str]) -> bool:
    return any(name.lower().endswith(".gguf") for name in files)


def _agree(claimed: str, held: str) -> bool:
    """Whether two names of a quantisation may be of one: `awq` and `awq-w4g128`, `f16` and `fp16`."""
    one, two = (text.replace("fp", "f").replace("_", "-") for text in (claimed, held))
    return one.startswith(two) or two.startswith(one)


def _name(told: Told) -> str | None:
    """Return the name that people know; the oldest file has keys that no person chose."""
    return None if told.file.endswith("/models.json") else told.name


def _below(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
