"""Make small checkpoints as transformers keeps them: safetensors, shards, config, tokenizer, model card."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.hub.filler import filler
from reconciler.hub.ggufs import CHAT_TEMPLATE

WIDTHS = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""safetensors dtype -> bytes of an element."""

_TORCH = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
_VOCABULARY = 288

Tensors = Mapping[str, tuple[str, Sequence[int]]]


def safetensors(tensors: Tensors, seed: int = 0, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return a safetensors file of `tensors` (name -> dtype and shape), filled with pseudo-random bytes.

    Format: https://huggingface.co/docs/safetensors: 8 bytes of header length, JSON, data. Wide types come first, and
    the header is filled up with blanks, so that every tensor is aligned. Raises KeyError for an unknown dtype.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for name, (dtype, shape) in sorted(tensors.items(), key=lambda item: (-WIDTHS[item[1][0]], item[0])):
        size = _size(dtype, shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + filler(offset, f"safetensors {seed}")


def llama_files(
    seed: int = 0,
    *,
    shards: int = 1,
    quantization_config: dict[str, Any] | None = None,
    dtype: str = "BF16",
    layers: int = 2,
    hidden: int = 64,
    license: str = "apache-2.0",  # noqa: A002 - the Hub's word
    name: str = "Tiny",
) -> dict[str, bytes]:
    """Return the files of a small Llama repository, weights in `shards` files.

    With a `quantization_config` (its `quant_method`: awq, gptq, fp8, compressed-tensors, bitsandbytes) the linear
    layers are stored as that method stores them.
    """
    tensors = _llama_tensors(dtype, layers, hidden, quantization_config)
    return {
        "README.md": f"---\nlicense: {license}\npipeline_tag: text-generation\n---\n# {name}\n".encode(),
        "config.json": _json(_config(dtype, layers, hidden, quantization_config)),
        "generation_config.json": _json({"bos_token_id": 1, "eos_token_id": 2, "max_length": 2048}),
        **_tokenizer_files(),
        **_weight_files(tensors, shards, seed),
    }


def _weight_files(tensors: Tensors, shards: int, seed: int) -> dict[str, bytes]:
    told = {"format": "pt"}
    if shards == 1:
        return {"model.safetensors": safetensors(tensors, seed, told)}
    names = list(tensors)
    files: dict[str, bytes] = {}
    places: dict[str, str] = {}
    for number in range(shards):
        part = names[len(names) * number // shards : len(names) * (number + 1) // shards]
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        files[file] = safetensors({name: tensors[name] for name in part}, seed + number, told)
        places |= dict.fromkeys(part, file)
    total = sum(_size(dtype, shape) for dtype, shape in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
    return {**files, "model.safetensors.index.json": _json(index)}


def _llama_tensors(dtype: str, layers: int, hidden: int, quantization: dict[str, Any] | None) -> Tensors:
    tensors: dict[str, tuple[str, Sequence[int]]] = {"model.embed_tokens.weight": (dtype, (_VOCABULARY, hidden))}
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
            tensors |= _linear(f"{prefix}.self_attn.{part}", dtype, hidden, hidden, quantization)
        for part, rows, columns in (
            ("gate_proj", 2 * hidden, hidden), ("up_proj", 2 * hidden, hidden), ("down_proj", hidden, 2 * hidden),
        ):  # fmt: skip
            tensors |= _linear(f"{prefix}.mlp.{part}", dtype, rows, columns, quantization)
        tensors[f"{prefix}.input_layernorm.weight"] = (dtype, (hidden,))
        tensors[f"{prefix}.post_attention_layernorm.weight"] = (dtype, (hidden,))
    return {**tensors, "model.norm.weight": (dtype, (hidden,)), "lm_head.weight": (dtype, (_VOCABULARY, hidden))}


def _linear(name: str, dtype: str, rows: int, columns: int, quantization: dict[str, Any] | None) -> Tensors:
    """Return the tensors of one linear layer of `rows` outputs and `columns` inputs; 4-bit values lie 8 in an I32."""
    method = (quantization or {}).get("quant_method", "")
    group = (quantization or {}).get("group_size") or (quantization or {}).get("q_group_size") or 128
    groups = max(1, columns // int(group)) if int(group) > 0 else 1
    scales = ("F16", (groups, rows))
    zeros = ("I32", (groups, rows // 8))
    match method:
        case "awq":
            return {f"{name}.qweight": ("I32", (columns, rows // 8)), f"{name}.qzeros": zeros, f"{name}.scales": scales}
        case "gptq":
            packed = {f"{name}.qweight": ("I32", (columns // 8, rows)), f"{name}.g_idx": ("I32", (columns,))}
            return {**packed, f"{name}.qzeros": zeros, f"{name}.scales": scales}
        case "fp8":
            return {f"{name}.weight": ("F8_E4M3", (rows, columns)), f"{name}.weight_scale": (dtype, (rows, 1))}
        case "compressed-tensors":
            packed = {f"{name}.weight_packed": ("I32", (rows, columns // 8)), f"{name}.weight_shape": ("I64", (2,))}
            return {**packed, f"{name}.weight_scale": (dtype, (rows, groups))}
        case "bitsandbytes":
            packed = {f"{name}.weight": ("U8", (rows * columns // 2, 1))}
            return {**packed, f"{name}.weight.absmax": ("F32", (rows * columns // 64,))}
        case _:
            return {f"{name}.weight": (dtype, (rows, columns))}


def _config(dtype: str, layers: int, hidden: int, quantization: dict[str, Any] | None) -> dict[str, Any]:
    config: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
        "intermediate_size": 2 * hidden, "num_hidden_layers": layers, "num_attention_heads": 4,
        "num_key_value_heads": 4, "vocab_size": _VOCABULARY, "max_position_embeddings": 2048, "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False, "bos_token_id": 1,
        "eos_token_id": 2, "torch_dtype": _TORCH.get(dtype, dtype.lower()), "transformers_version": "4.57.0",
    }  # fmt: skip
    return config | ({"quantization_config": quantization} if quantization else {})


def _tokenizer_files() -> dict[str, bytes]:
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words += [f"▁token{number}" for number in range(_VOCABULARY - len(words))]
    special = [
        {"id": number, "content": words[number], "special": True, "normalized": False, "single_word": False,
         "lstrip": False, "rstrip": False}
        for number in range(3)
    ]  # fmt: skip
    model: dict[str, Any] = {
        "type": "BPE", "dropout": None, "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
        "vocab": {word: number for number, word in enumerate(words)}, "merges": [],
    }  # fmt: skip
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": None, "post_processor": None, "decoder": None, "model": model,
    }  # fmt: skip
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = {**names, "tokenizer_class": "LlamaTokenizer", "model_max_length": 2048, "chat_template": CHAT_TEMPLATE}
    return {
        "tokenizer.json": _json(tokenizer),
        "tokenizer_config.json": _json(settings),
        "special_tokens_map.json": _json(names),
    }


def _size(dtype: str, shape: Sequence[int]) -> int:
    size = WIDTHS[dtype]
    for length in shape:
        size *= length
    return size


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
