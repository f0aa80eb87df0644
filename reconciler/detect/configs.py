"""Read quantisation from configuration files, already parsed and not trusted. Pure.

`quantization_config` as transformers documents it (https://huggingface.co/docs/transformers/main_classes/quantization),
compressed-tensors (https://github.com/vllm-project/compressed-tensors), and the files that quantisers leave beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.detect.tokens import quant_from_name

QUANTIZE_FILES = (
    "quantize_config.json", "quant_config.json", "quantization_config.json", "awq_config.json", "hf_quant_config.json",
)  # fmt: skip
"""Files that quantisers leave beside the weights."""

_FLOATS = {
    "bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "float": "fp32", "float64": "fp64",
    "float8_e4m3fn": "fp8", "float8_e5m2": "fp8",
}  # fmt: skip


def quant_from_config(config: Mapping[str, Any]) -> str | None:
    """Return the quantisation that a `config.json` declares, or None; plain precisions are `precision_from_config`."""
    for holder in _holders(config):
        section = holder.get("quantization_config")
        if isinstance(section, Mapping) and (quant := _from_section(section, mlx="quantization" in holder)):
            return quant
        section = holder.get("compression_config")
        if isinstance(section, Mapping) and (quant := _from_section(section)):
            return quant
        section = holder.get("quantization")
        if isinstance(section, Mapping) and (bits := _number(section, "bits")):
            return f"mlx-{bits}bit"
    return None


def precision_from_config(config: Mapping[str, Any]) -> str | None:
    """Return the plain precision of a `config.json` (`torch_dtype`, now `dtype`), or None."""
    for holder in _holders(config):
        for key in ("torch_dtype", "dtype"):
            text = holder.get(key)
            if isinstance(text, str) and (found := _FLOATS.get(text.lower().removeprefix("torch."))):
                return found
    return None


def context_from_config(config: Mapping[str, Any]) -> int | None:
    """Return how many tokens of context a `config.json` says the model was made for, or None."""
    for holder in _holders(config):
        for key in _CONTEXTS:
            value = holder.get(key)
            if type(value) is int and 0 < value < 1 << 31:
                return value
    return None


_CONTEXTS = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length", "n_ctx")


def quant_from_quantize_config(config: Mapping[str, Any], name: str = "quantize_config.json") -> str | None:
    """Return the quantisation told by a file that a quantiser left, or None. `name` is that file's name."""
    inner = config.get("quantization")
    if isinstance(inner, Mapping):  # hf_quant_config.json of ModelOpt
        return _from_section({"quant_method": "modelopt", **inner})
    if name.startswith("awq") or _has(config, "w_bit") or _has(config, "zero_point"):
        config = {"quant_method": "awq", **config}
    elif name.startswith("quantize") and _number(config, "bits"):
        config = {"quant_method": "gptq", **config}  # AutoGPTQ writes no method
    return _from_section(config)


def quant_from_recipe(text: str) -> str | None:
    """Return the quantisation of a `recipe.yaml` of llm-compressor: its `scheme`, and nothing else of the YAML."""
    for found in re.finditer(r"^[ \t-]*scheme:[ \t]*[\"']?([A-Za-z0-9_]{2,40})", text[:65536], re.MULTILINE):
        if quant := _from_scheme(found[1]):
            return quant
    return None


def _holders(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The configuration itself, then the part of it that describes the language model."""
    yield config
    for key in ("text_config", "llm_config", "language_config", "thinker_config"):
        inner = config.get(key)
        if isinstance(inner, Mapping):
            yield inner


def _number(section: Mapping[str, Any], *keys: str) -> int | None:
    for key in keys:
        value = section.get(key)
        if type(value) is int and 0 < value <= 4096:
            return value
    return None


def _text(section: Mapping[str, Any], key: str) -> str:
    value = section.get(key)
    return value.strip().lower().replace("_", "-")[:60] if isinstance(value, str) else ""


def _has(section: Mapping[str, Any], key: str) -> bool:
    return section.get(key) is not None


def _from_section(section: Mapping[str, Any], mlx: bool = False) -> str | None:
    method = _text(section, "quant_method") or _guess_method(section, mlx)
    bits = _number(section, "bits", "w_bit", "nbits", "num_bits")
    match method:
        case "":
            return None
        case "awq":
            return _awq(section, bits)
        case "gptq" | "gptqmodel" | "auto-round" | "autoround" | "intel/auto-round":
            name = "gptq" if method.startswith("gptq") else "auto-round"
            return f"{name}-int{bits}" if bits else name
        case "bitsandbytes" | "bnb":
            if section.get("load_in_4bit") is True or bits == 4:
                return "bitsandbytes-4bit"
            return "bitsandbytes-8bit" if section.get("load_in_8bit") is True or bits == 8 else "bitsandbytes"
        case "compressed-tensors":
            return _from_compressed(section)
        case "modelopt" | "modelopt-fp4" | "modelopt-mixed":
            return _from_scheme(str(section.get("quant_algo"))) or ("nvfp4" if method.endswith("fp4") else "modelopt")
        case "fbgemm-fp8" | "finegrained-fp8":
            return "fp8"
        case "torchao" | "quanto":
            found = re.search(
                r"(int|float|fp)_?([248])", f"{section.get('quant_type')}{section.get('weights')}".lower()
            )
            return f"{method}-{'int' if found[1] == 'int' else 'fp'}{found[2]}" if found else method
        case "mlx":
            return f"mlx-{bits}bit" if bits else "mlx"
    return re.sub(r"[^a-z0-9-]+", "-", method).strip("-") or None


def _guess_method(section: Mapping[str, Any], mlx: bool) -> str:
    """Name the method of a section that does not: by the keys that only one quantiser writes."""
    if section.get("load_in_4bit") is True or section.get("load_in_8bit") is True:
        return "bitsandbytes"
    if _has(section, "w_bit") or _has(section, "q_group_size"):
        return "awq"
    if _has(section, "desc_act") and _has(section, "bits"):
        return "gptq"
    if _has(section, "zero_point"):
        return "awq"
    if _has(section, "config_groups"):
        return "compressed-tensors"
    if _has(section, "quant_algo"):
        return "modelopt"
    return "mlx" if mlx and _has(section, "bits") else ""


def _awq(section: Mapping[str, Any], bits: int | None) -> str:
    """Bits are told where the quantiser's own keys tell them, or where they are not the usual four."""
    width, group = _number(section, "w_bit"), _number(section, "q_group_size")
    if width and group:
        return f"awq-w{width}g{group}"
    if bits and bits != 4:
        size = _number(section, "group_size", "q_group_size")
        return f"awq-w{bits}g{size}" if size else f"awq-int{bits}"
    return "awq"


def _from_compressed(section: Mapping[str, Any]) -> str | None:
    """Return what compressed-tensors did to the weights; None when only a recipe can tell."""
    form = _text(section, "format")
    if "nvfp4" in form or "mxfp4" in form:
        return "nvfp4" if "nvfp4" in form else "mxfp4"
    groups = section.get("config_groups")
    schemes = [group for _, group in sorted(groups.items(), key=str)] if isinstance(groups, Mapping) else []
    for part in ("weights", "input_activations"):
        for scheme in [*schemes, section]:
            if isinstance(scheme, str):
                quant = _from_scheme(scheme)
            else:
                quant = _from_weights(scheme.get(part)) if isinstance(scheme, Mapping) else None
            if quant:
                return quant
    return _from_weights(section.get("kv_cache_scheme")) or _from_format(form)


def _from_weights(weights: object) -> str | None:
    if not isinstance(weights, Mapping):
        return None
    bits, kind = _number(weights, "num_bits", "bits"), _text(weights, "type") or _text(weights, "dtype")
    if found := re.search(r"(int|float|fp)-?([248])", kind):
        return f"{'int' if found[1] == 'int' else 'fp'}{found[2]}"
    if not bits or bits > 8:
        return None
    return f"fp{bits}" if kind.startswith("f") else f"int{bits}"


def _from_format(form: str) -> str | None:
    if form.startswith("float"):
        return "fp8"
    return "int8" if form.startswith("int") else None


def _from_scheme(scheme: str) -> str | None:
    """Return the quant of a preset's name: FP8_DYNAMIC, NVFP4A16, W4A16, W8A8, W4A8_FP8."""
    text = scheme.lower()
    for start, quant in (("nvfp4", "nvfp4"), ("mxfp4", "mxfp4"), ("fp8", "fp8"), ("w4a16", "int4"), ("w8a", "int8")):
        if text.startswith(start):
            return quant
    if found := re.match(r"(?:w|int)([248])", text):
        return f"int{found[1]}"
    return quant_from_name(scheme)
