"""Weigh the evidence of headers, configuration and names, and say what decided. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reconciler.detect import rules
from reconciler.detect.gguf import GgufHeader
from reconciler.detect.safetensors import SafetensorsHeader

_PLAIN = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16"}
_SMALL = {
    "F8_E4M3": "fp8", "F8_E5M2": "fp8", "F8_E4M3FNUZ": "fp8", "F8_E5M2FNUZ": "fp8", "I8": "int8", "F4": "fp4",
}  # fmt: skip

_CONTAINERS = {"I32": 32, "U32": 32, "U8": 8}
"""dtypes that quantisers pack several weights into, and their bits."""


@dataclass(slots=True)
class Notes:
    """What is gathered on the way to a `Detected`."""

    problems: set[str] = field(default_factory=set)
    evidence: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    incomplete: bool = False

    def fail(self, path: str, why: str) -> None:
        """Note what makes the model incomplete."""
        self.problems.add(f"{path}: {why}")
        self.incomplete = True


def is_projector(path: str, header: GgufHeader) -> bool:
    """Whether a GGUF file is the vision half of a model, by its header or its name."""
    return header.architecture == "clip" or header.kind in ("mmproj", "projector") or rules.is_mmproj(path)


def decide_quant(
    name: str,
    paths: Sequence[str],
    ggufs: Mapping[str, GgufHeader],
    tensors: Mapping[str, SafetensorsHeader],
    configs: Mapping[str, Mapping[str, Any]],
    notes: Notes,
) -> str | None:
    """Return the quant by the best evidence; None leaves the decision to the names."""
    if rules.format_of(paths) == "gguf":
        return _quant_of_ggufs(name, ggufs, notes)
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


def _quant_of_ggufs(name: str, headers: Mapping[str, GgufHeader], notes: Notes) -> str | None:
    """Return the one quant of the GGUF files; None, and a problem, when they are of several."""
    quants: dict[str, str] = {}
    for path, header in headers.items():
        # Later parts of a split file carry no file type, and a mix of tensors of their own.
        if is_projector(path, header) or (header.split_number > 0 and header.file_type is None):
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


def _quant_of_configs(configs: Mapping[str, Mapping[str, Any]], notes: Notes) -> str | None:
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


def _quant_of_tensors(headers: Mapping[str, SafetensorsHeader], told: str | None, notes: Notes) -> str | None:
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
    found = {rules.quant_from_name(path.rpartition("/")[2]) for path in paths if path.lower().endswith(suffix)}
    return sorted(quant for quant in found if quant)


def quant_from_names(source: str, paths: Sequence[str], notes: Notes) -> str | None:
    """Return the quant that names tell; None, and a problem, when they tell several."""
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


def parameters_from_names(source: str, paths: Sequence[str]) -> int | None:
    """Return the size that the model's name tells, or the first of its weight files' names that does."""
    weights = [path for path in sorted(paths) if rules.container_of([path]) and not rules.is_mmproj(path)]
    for name in (source, *(path.rpartition("/")[2] for path in weights)):
        if size := rules.parameters_from_name(name):
            return size
    return None


def count_parameters(
    ggufs: Mapping[str, GgufHeader], tensors: Mapping[str, SafetensorsHeader], quant: str | None, notes: Notes
) -> int | None:
    """Add up the parameters of one model's tensors; None when `quant` does not tell how weights are packed."""
    if ggufs:
        groups = rules.shards_of(ggufs)
        files = groups[0].present if groups and len(ggufs) == len(groups[0].present) else (min(ggufs),)
        return sum(ggufs[path].parameters for path in files) or None
    bits = _bits_of(quant)
    total = 0
    for header in tensors.values():
        for dtype, count in header.weights.items():
            if dtype in _CONTAINERS and bits is None:
                return None
            total += count * _CONTAINERS[dtype] // bits if bits and dtype in _CONTAINERS else count
    if total:
        notes.evidence.add(f"tensors: {total} parameters")
    return total or None


def _bits_of(quant: str | None) -> int | None:
    """Return how many bits a packed weight takes: `awq` and the FP4 kinds four, otherwise what the quant says."""
    if quant in ("awq", "mxfp4", "nvfp4"):
        return 4
    found = re.search(r"(?:int|w|fp|mlx-|bitsandbytes-)([2-8])", quant or "")
    return int(found[1]) if found else None
