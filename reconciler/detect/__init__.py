"""Detect format, quant, kind, size and completeness of a model: from names before it is here, from headers after.

Precedence: what the weights' headers say, then what configuration says, then what names say. A GGUF header holds a
base type only, so a finer name is believed (`rules.refine_quant`). The answer never depends on the order of `paths`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from reconciler.detect import gguf, jsonbound, rules, safetensors
from reconciler.detect.magic import check_magic
from reconciler.detect.malformed import MalformedHeader
from reconciler.detect.rules import is_pickle_name

__all__ = ["Detected", "MalformedHeader", "check_magic", "detect_directory", "detect_names", "is_pickle_name"]

_PLAIN = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16"}
_SMALL = {
    "F8_E4M3": "fp8", "F8_E5M2": "fp8", "F8_E4M3FNUZ": "fp8", "F8_E5M2FNUZ": "fp8", "I8": "int8", "F4": "fp4",
}  # fmt: skip


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


@dataclass(slots=True)
class _Notes:
    """What is gathered on the way to a `Detected`."""

    problems: set[str] = field(default_factory=set)
    evidence: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    incomplete: bool = False

    def fail(self, path: str, why: str) -> None:
        self.problems.add(f"{path}: {why}")
        self.incomplete = True


def detect_names(source: str, paths: Sequence[str]) -> Detected:
    """Return what the names tell: `source` is the repository's or directory's, `paths` its files. Pure."""
    notes = _Notes(active={path for path in paths if rules.is_active(path)})
    kind = rules.kind_of(paths, source=source)
    return _finish(notes, source, paths, _note_shards(notes, paths), quant=None, kind=kind)


def detect_directory(root: Path, paths: Sequence[str]) -> Detected:
    """Return what the files `paths` below `root` (posix, relative) are: headers, configuration, names.

    Nothing in them is trusted and none is run; a bad file is a problem in the answer, never an exception. Paths that
    are absolute or climb out of `root` are a problem and are not opened.
    """
    notes = _Notes(active={path for path in paths if rules.is_active(path)})
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
    main = {path: header for path, header in ggufs.items() if not _is_projector(path, header)} or ggufs
    first = main[min(main)] if main else None
    # Only an index of names is needed; the first files of a sharded model hold enough of them.
    names = [name for header in list(tensors.values())[:4] for name in header.names]
    architecture = (first.architecture if first else "") or _architecture(config)
    return _finish(
        notes,
        root.name,
        safe,
        missing,
        quant=_decide_quant(root.name, safe, ggufs, tensors, configs, notes),
        kind=rules.kind_of(
            safe,
            config,
            source=root.name,
            architecture=first.architecture if first else "",
            general_type=first.kind if first else "",
            tensors=names,
        ),
        parameters=_count(main, tensors, notes),
        architecture=architecture or None,
    )


def _finish(
    notes: _Notes,
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
        quant=quant or _quant_from_names(source, paths, notes),
        kind=kind,
        # Shards that are missing hold parameters too: then only a name tells how many there are.
        parameters=(None if incomplete else parameters) or _parameters_from_names(source, paths) or parameters,
        architecture=architecture,
        complete=not (incomplete or notes.incomplete),
        problems=tuple(sorted(notes.problems)),
        evidence=tuple(sorted(notes.evidence)),
        active_content=tuple(sorted(notes.active)),
    )


def _is_below(path: str, notes: _Notes) -> bool:
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or "\0" in path:
        notes.fail(path, "not a path below the model's directory")
        return False
    return True


def _read_all(root: Path, paths: Iterable[str], suffix: str, read: Any, notes: _Notes) -> dict[str, Any]:
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
            notes.fail(path, f"malformed: {error}" if isinstance(error, MalformedHeader) else str(error.strerror))
            continue
        headers[path] = header
        if not header.fits:
            notes.fail(path, f"cut short: {header.file_bytes} bytes of at least {header.expected_bytes}")
        for key in getattr(header, "chat_templates", ()):
            notes.active.add(f"{path}: {key}")
    return headers


def _read_configs(root: Path, paths: Sequence[str], notes: _Notes) -> dict[str, Mapping[str, Any]]:
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


def _note_indexes(root: Path, paths: Sequence[str], notes: _Notes) -> None:
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


def _note_shards(notes: _Notes, paths: Sequence[str]) -> bool:
    """Note the missing parts of numbered files; return whether there are any."""
    missing = [name for shards in rules.shards_of(paths) for name in shards.missing]
    for name in missing[:100]:
        notes.fail(name, "missing")
    return bool(missing)


def _is_projector(path: str, header: gguf.GgufHeader) -> bool:
    return header.architecture == "clip" or header.kind in ("mmproj", "projector") or rules.is_mmproj(path)


def _architecture(config: Mapping[str, Any]) -> str:
    classes = config.get("architectures")
    first = classes[0] if isinstance(classes, list) and classes else config.get("_class_name")
    return first[:200] if isinstance(first, str) else ""


def _decide_quant(
    name: str,
    paths: Sequence[str],
    ggufs: Mapping[str, gguf.GgufHeader],
    tensors: Mapping[str, safetensors.SafetensorsHeader],
    configs: Mapping[str, Mapping[str, Any]],
    notes: _Notes,
) -> str | None:
    """Return the quant by the best evidence; None leaves the decision to the names."""
    if rules.format_of(paths) == "gguf":
        return _quant_of_ggufs(name, paths, ggufs, notes)
    if quant := _quant_of_configs(configs, notes):
        return quant
    told = rules.quant_from_name(name) or next(iter(_told(paths, ".safetensors")), None)
    if quant := _quant_of_tensors(tensors, told, notes):
        return quant
    precision = rules.precision_from_config(configs.get("config.json", {}))
    if told is None and precision:
        notes.evidence.add(f"config.json: quant {precision}")
        return precision
    return None


def _quant_of_ggufs(
    name: str, paths: Sequence[str], headers: Mapping[str, gguf.GgufHeader], notes: _Notes
) -> str | None:
    """Return the one quant of the GGUF files; None, and a problem, when they are of several."""
    quants: dict[str, str] = {}
    for path, header in headers.items():
        # Later parts of a split file carry no file type, and a mix of tensors of their own.
        if _is_projector(path, header) or (header.split_number > 0 and header.file_type is None):
            continue
        told = rules.quant_of_path(path) or (rules.quant_from_name(name) if len(headers) == 1 else None)
        decided = rules.refine_quant(header.quant, told)
        if decided is None:
            continue
        quants.setdefault(decided, path)
        notes.evidence.add(f"{path}: quant {decided} (header {header.quant}, name {told})")
        if told and told != decided:
            notes.problems.add(f"{path}: the name says {told}, the header {decided}")
    if len(quants) > 1:
        notes.problems.add(f"several quants side by side: {', '.join(sorted(quants))}")
        return None
    return next(iter(quants), None)


def _quant_of_configs(configs: Mapping[str, Mapping[str, Any]], notes: _Notes) -> str | None:
    """Return the quant that configuration declares: `config.json`, a quantiser's file, a recipe."""
    for file, config in configs.items():
        match file:
            case "config.json":
                quant = rules.quant_from_config(config)
            case "recipe.yaml":
                quant = rules.quant_from_recipe(config["text"])
            case _ if file in rules.QUANTIZE_FILES:
                quant = rules.quant_from_quantize_config(config, file)
            case _:
                continue
        if quant:
            notes.evidence.add(f"{file}: quant {quant}")
            return quant
    return None


def _quant_of_tensors(
    headers: Mapping[str, safetensors.SafetensorsHeader], told: str | None, notes: _Notes
) -> str | None:
    """Return the quant that tensors show: by the side tables of a quantiser, else by the dtype of most weights."""
    if not headers:
        return None
    marks = frozenset[str]().union(*(header.marks for header in headers.values()))
    weights: dict[str, int] = {}
    for header in headers.values():
        for dtype, count in header.weights.items():
            weights[dtype] = weights.get(dtype, 0) + count
    dominating = min(weights, key=lambda dtype: (-weights[dtype], dtype)) if weights else ""
    quant = _quant_of_marks(marks) or _SMALL.get(dominating) or _PLAIN.get(dominating)
    if quant is None or quant == told:
        return None
    packed = dominating not in _PLAIN
    if told and packed and (told.startswith(quant) or quant in ("int8", "gptq", "awq")):
        return None  # the name says the same, and more
    notes.evidence.add(f"tensors: quant {quant}")
    if told:
        notes.problems.add(f"the name says {told}, the tensors {quant}")
    return quant


def _quant_of_marks(marks: frozenset[str]) -> str | None:
    if "qweight" in marks and "qzeros" in marks:
        return "gptq" if "g_idx" in marks else "awq"
    if "absmax" in marks and "quant_map" in marks:
        return "bitsandbytes-4bit"
    return "bitsandbytes-8bit" if "SCB" in marks else None


def _told(paths: Iterable[str], suffix: str) -> list[str]:
    """The quants that the names of weight files tell, one of each, sorted."""
    found = {rules.quant_from_name(PurePosixPath(path).name) for path in paths if path.lower().endswith(suffix)}
    return sorted(quant for quant in found if quant)


def _quant_from_names(source: str, paths: Sequence[str], notes: _Notes) -> str | None:
    if rules.format_of(paths) == "gguf":
        groups = [quant for quant in rules.quants_of(paths) if quant]
        if len(groups) > 1:
            notes.problems.add(f"several quants side by side: {', '.join(sorted(groups))}")
            return None
        told = groups or _told(paths, ".gguf")[:1]
        found = told[0] if told else rules.quant_from_name(source)
    else:
        found = rules.quant_from_name(source)
        for suffix in (".safetensors", ""):
            told = _told(paths, suffix)
            if found is None and len(told) > 1:
                notes.problems.add(f"several quants side by side: {', '.join(told)}")
                return None
            found = found or (told[0] if told else None)
    if found:
        notes.evidence.add(f"names: quant {found}")
    return found


def _parameters_from_names(source: str, paths: Sequence[str]) -> int | None:
    weights = [path for path in sorted(paths) if rules.container_of([path]) and not rules.is_mmproj(path)]
    for name in (source, *(PurePosixPath(path).name for path in weights)):
        if size := rules.parameters_from_name(name):
            return size
    return None


def _count(
    ggufs: Mapping[str, gguf.GgufHeader], tensors: Mapping[str, safetensors.SafetensorsHeader], notes: _Notes
) -> int | None:
    """Add up the elements of one model's tensors; None when packed weights make the sum meaningless."""
    if ggufs:
        groups = rules.shards_of(ggufs)
        files = groups[0].present if groups and len(ggufs) == len(groups[0].present) else (min(ggufs),)
        return sum(ggufs[path].parameters for path in files) or None
    packed = {"I32", "U8", "U32", "I8"}
    if not tensors or any(set(header.weights) & packed for header in tensors.values()):
        return None
    total = sum(header.parameters for header in tensors.values())
    if total:
        notes.evidence.add(f"tensors: {total} parameters")
    return total or None
