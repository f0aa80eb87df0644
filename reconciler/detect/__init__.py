"""Detect format, quant, kind, size and completeness of a model: from names before it is here, from headers after.

Precedence: what the weights' headers say, then what configuration says, then what names say. A GGUF header holds a
base type only, so a finer name is believed (`rules.refine_quant`). The answer never depends on the order of `paths`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from reconciler.detect import gguf, jsonbound, rules, safetensors
from reconciler.detect.configs import context_from_config
from reconciler.detect.evidence import (
    Notes,
    count_parameters,
    decide_quant,
    is_projector,
    parameters_from_names,
    quant_from_names,
)
from reconciler.detect.magic import check_magic
from reconciler.detect.malformed import MalformedHeader
from reconciler.detect.rules import is_pickle_name
from reconciler.detect.templates import Template, find_template

__all__ = [
    "VERSION", "Detected", "MalformedHeader", "Template", "check_file", "check_magic", "detect_directory",
    "detect_names", "is_pickle_name",
]  # fmt: skip

VERSION = 1
"""Of the detector. Whoever makes it say something else of the same bytes counts it up: records made by an older one
are looked at once more, and the next plan tells what changes."""


@dataclass(frozen=True, slots=True)
class Detected:
    """What is known of a model. None: nothing tells."""

    format: str | None = None
    quant: str | None = None
    kind: str | None = None
    parameters: int | None = None
    architecture: str | None = None
    complete: bool = True
    """False when a shard is missing, a file is cut short or not what its name says."""
    problems: tuple[str, ...] = ()
    """What is wrong, with the file's path; sorted. File names stand in it as they are: make them inert to show them."""
    evidence: tuple[str, ...] = ()
    """Where the answers come from, sorted."""
    active_content: tuple[str, ...] = ()
    """Programs and templates that a server would run, sorted: `PATH` or `PATH: KEY`."""
    size_label: str | None = None
    """The size as its makers call it (`8B`, `8x7B`), where a GGUF header says so."""
    context_length: int | None = None
    """Tokens that the model was made for."""
    template: Template | None = None
    license: str | None = None
    """As a GGUF header names it."""


def detect_names(source: str, paths: Sequence[str]) -> Detected:
    """Return what the names tell: `source` is the repository's or directory's, `paths` its files. Pure."""
    notes = Notes(active={path for path in paths if rules.is_active(path)})
    kind = rules.kind_of(paths, source=source)
    return _finish(notes, source, paths, _note_shards(notes, paths), quant=None, kind=kind)


def told_by_names(source: str, paths: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the (format, quant) that the names tell, and nothing else: quick enough for every plan. Pure."""
    return rules.format_of(paths), quant_from_names(source, paths, Notes())


def detect_directory(root: Path, paths: Sequence[str]) -> Detected:
    """Return what the files `paths` below `root` (posix, relative) are: headers, configuration, names.

    Nothing in them is trusted and none is run; a bad file is a problem in the answer, never an exception. Paths that
    are absolute or climb out of `root` are a problem and are not opened.
    The model's own directory is the deepest one that holds all of `paths`: its name counts as the model's, its
    configuration as the model's, and paths in the answer are relative to it.
    """
    root, paths = descend(root, paths)
    notes = Notes(active={path for path in paths if rules.is_active(path)})
    safe = [path for path in sorted(set(paths)) if _is_below(path, notes)]
    ggufs = _read_all(root, safe, ".gguf", gguf.read_header, notes)
    tensors = _read_all(root, safe, ".safetensors", safetensors.read_header, notes)
    configs = _read_configs(root, safe, notes)
    _note_indexes(root, safe, notes)
    missing = _note_shards(notes, safe)
    config = configs.get("config.json") or configs.get("model_index.json") or {}
    for path in safe:
        if rules.is_unfinished(path):
            notes.fail(path, "an unfinished download")
    main = {path: header for path, header in ggufs.items() if not is_projector(path, header)} or ggufs
    first = main[min(main)] if main else None
    # Only an index of names is needed; the first files of a sharded model hold enough of them.
    names = [name for header in list(tensors.values())[:4] for name in header.names]
    quant = decide_quant(root.name, safe, ggufs, tensors, configs, notes)
    architecture = (first.architecture if first else "") or _architecture(config)
    found = _finish(
        notes,
        root.name,
        safe,
        missing,
        quant=quant,
        kind=rules.kind_of(
            safe,
            config,
            source=root.name,
            architecture=first.architecture if first else "",
            general_type=first.kind if first else "",
            tensors=names,
        ),
        parameters=count_parameters(main, tensors, quant or rules.quant_from_name(root.name), notes),
        architecture=architecture or None,
    )
    said = first.metadata if first else {}
    length = said.get(f"{first.architecture}.context_length") if first else None
    return replace(
        found,
        size_label=(first.size_label if first else "")[:40] or None,
        context_length=length if type(length) is int and length > 0 else context_from_config(config),
        template=find_template(root, safe, configs, main, name=_whole_name(root.name, main), kind=found.kind),
        license=str(said.get("general.license") or "")[:80] or None,
    )


def _whole_name(directory: str, ggufs: Mapping[str, gguf.GgufHeader]) -> str:
    return " ".join((directory, *(f"{PurePosixPath(path).name} {header.name[:200]}" for path, header in ggufs.items())))


def descend(root: Path, paths: Sequence[str]) -> tuple[Path, Sequence[str]]:
    """Return the deepest directory that holds all `paths`, and them relative to it."""
    parents = [PurePosixPath(path).parts[:-1] for path in paths]
    shared: list[str] = []
    for column in zip(*parents, strict=False):
        if len(set(column)) > 1 or column[0] in ("/", "..", "."):
            break
        shared.append(column[0])
    if not shared:
        return root, paths
    return root.joinpath(*shared), [
        PurePosixPath(*PurePosixPath(path).parts[len(shared) :]).as_posix() for path in paths
    ]


def _finish(
    notes: Notes,
    source: str,
    paths: Sequence[str],
    incomplete: bool,
    *,
    quant: str | None,
    kind: str | None,
    parameters: int | None = None,
    architecture: str | None = None,
) -> Detected:
    """Fill with names what nothing better told."""
    found = rules.format_of(paths)
    return Detected(
        format=found,
        quant=quant or quant_from_names(source, paths, notes),
        kind=kind,
        # Shards that are missing hold parameters too: then only a name tells how many there are.
        parameters=(None if incomplete else parameters) or parameters_from_names(source, paths) or parameters,
        architecture=architecture,
        complete=not (incomplete or notes.incomplete),
        problems=tuple(sorted(notes.problems)),
        evidence=tuple(sorted(notes.evidence)),
        active_content=tuple(sorted(notes.active)),
    )


def _is_below(path: str, notes: Notes) -> bool:
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or "\0" in path:
        notes.fail(path, "not a path below the model's directory")
        return False
    return True


def check_file(path: Path) -> str | None:
    """Return what is wrong with one file of weights by its header: malformed, cut short; None when nothing is known."""
    notes = Notes()
    for suffix, read in ((".gguf", gguf.read_header), (".safetensors", safetensors.read_header)):
        _read_all(path.parent, [path.name], suffix, read, notes)
    return min((problem.removeprefix(f"{path.name}: ") for problem in notes.problems), default=None)


def _read_all(root: Path, paths: Iterable[str], suffix: str, read: Any, notes: Notes) -> dict[str, Any]:
    """Read the headers of all files with a suffix; what cannot be read is a problem."""
    headers: dict[str, Any] = {}
    for path in paths:
        if not path.lower().endswith(suffix):
            continue
        try:
            if why := check_magic(root / path):
                notes.fail(path, why)
                continue
            with jsonbound.open_regular(root / path) as stream:
                header = read(stream)
        except (MalformedHeader, OSError) as error:
            notes.fail(
                path, f"malformed: {error}" if isinstance(error, MalformedHeader) else error.strerror or str(error)
            )
            continue
        headers[path] = header
        if not header.fits:
            notes.fail(path, f"cut short: {header.file_bytes} bytes of at least {header.expected_bytes}")
        for key in getattr(header, "chat_templates", ()):
            notes.active.add(f"{path}: {key}")
    return headers


def _read_configs(root: Path, paths: Sequence[str], notes: Notes) -> dict[str, Mapping[str, Any]]:
    """Read the small JSON files at the top of the directory that tell something."""
    wanted = ("config.json", "model_index.json", "tokenizer_config.json", *rules.QUANTIZE_FILES)
    configs: dict[str, Mapping[str, Any]] = {}
    for name in (name for name in wanted if name in paths):
        try:
            value = jsonbound.load(root / name)
        except (MalformedHeader, OSError) as error:
            notes.problems.add(f"{name}: {error}")
            continue
        if isinstance(value, dict):
            configs[name] = value
            notes.active.update(f"{name}: {key}" for key in ("auto_map", "chat_template") if value.get(key))
        else:
            notes.problems.add(f"{name}: expected a JSON object")
    if "recipe.yaml" in paths:
        try:
            configs["recipe.yaml"] = {"text": jsonbound.read(root / "recipe.yaml", 1 << 20).decode("utf-8", "replace")}
        except (MalformedHeader, OSError) as error:
            notes.problems.add(f"recipe.yaml: {error}")
    return configs


def _note_indexes(root: Path, paths: Sequence[str], notes: Notes) -> None:
    """Find the weight files that an index names and that are not there."""
    there = set(paths)
    for path in paths:
        if not path.endswith(".safetensors.index.json"):
            continue
        try:
            index = safetensors.read_index(root / path)
        except (MalformedHeader, OSError) as error:
            notes.fail(path, str(error))
            continue
        for name in index.files:
            if (PurePosixPath(path).parent / name).as_posix() not in there:
                notes.fail(path, f"names {name}, which is missing")


def _note_shards(notes: Notes, paths: Sequence[str]) -> bool:
    """Note the missing parts of numbered files; return whether there are any."""
    missing = [name for shards in rules.shards_of(paths) for name in shards.missing]
    for name in missing[:100]:
        notes.fail(name, "missing")
    return bool(missing)


def _architecture(config: Mapping[str, Any]) -> str:
    classes = config.get("architectures")
    first = classes[0] if isinstance(classes, list) and classes else config.get("_class_name")
    return first[:200] if isinstance(first, str) else ""
