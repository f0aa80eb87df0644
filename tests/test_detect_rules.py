"""What names and configuration tell of a model, without opening a weight."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reconciler.detect
from reconciler.detect.rules import (
    container_of,
    format_of,
    is_pickle_name,
    kind_of,
    parameters_from_name,
    precision_from_config,
    quant_from_config,
    quant_from_name,
    quant_from_quantize_config,
    quant_from_recipe,
    quants_of,
    refine_quant,
    shards_of,
)

QUANTS = {
    "model.Q4_K_M.gguf": "q4_k_m",
    "model-q5_0.gguf": "q5_0",
    "Model.Q8_0.gguf": "q8_0",
    "model-IQ4_XS.gguf": "iq4_xs",
    "m-Q4_K_M-00001-of-00002.gguf": "q4_k_m",
    "m-Q4_K_S.gguf": "q4_k_s",
    "m-Q5_K_S.gguf": "q5_k_s",
    "m-Q6_K.gguf": "q6_k",
    "m-Q6_K_L.gguf": "q6_k_l",
    "m-Q2_K_L.gguf": "q2_k_l",
    "m-Q3_K_XL.gguf": "q3_k_xl",
    "m-UD-Q4_K_XL.gguf": "ud-q4_k_xl",
    "m-UD-IQ2_M.gguf": "ud-iq2_m",
    "m-IQ3_M.gguf": "iq3_m",
    "m-IQ2_XXS.gguf": "iq2_xxs",
    "m-IQ4_KSS.gguf": "iq4_kss",
    "m-TQ1_0.gguf": "tq1_0",
    "m-Q4_0_4_4.gguf": "q4_0_4_4",
    "m.i1-Q4_K_M.gguf": "q4_k_m",
    "m-f16.gguf": "fp16",
    "m-bf16.gguf": "bf16",
    "m-F32.gguf": "fp32",
    "m-mxfp4.gguf": "mxfp4",
    "m-MXFP4_MOE.gguf": "mxfp4",
    "gpt-oss-20b-mxfp4-Q4_K_M.gguf": "q4_k_m",
    "seamon67-gemma3-27b-q4-k-m": "q4_k_m",
    "Model-7B-AWQ": "awq",
    "Model-7B-AWQ-INT4": "awq",
    "Model-7B-GPTQ": "gptq",
    "Qwen2.5-Coder-7B-Instruct-GPTQ-Int8": "gptq-int8",
    "Model-7B-GPTQ-Int4": "gptq-int4",
    "Model-7B-4bit-GPTQ": "gptq-int4",
    "Qwen3-VL-8B-Instruct-FP8": "fp8",
    "Model-FP8-dynamic": "fp8",
    "flux1-dev_fp8_e4m3fn_scaled.safetensors": "fp8",
    "Llama-NVFP4": "nvfp4",
    "Model-quantized.w4a16": "w4a16",
    "Model-quantized.w8a8": "w8a8",
    "Model-unsloth-bnb-4bit": "bitsandbytes-4bit",
    "Model-bnb-8bit": "bitsandbytes-8bit",
    "flux-nf4": "nf4",
    "Model-4.0bpw-exl2": "exl2",
    "Model-exl3": "exl3",
    "Model-HQQ": "hqq",
    "Model-int8": "int8",
    "Model-int4-ov": "int4",
    "sdxl-vae-fp16-fix": "fp16",
}


@pytest.mark.parametrize(("name", "quant"), QUANTS.items())
def test_a_name_tells_its_quant(name: str, quant: str) -> None:
    assert quant_from_name(name) == quant
    assert quant_from_name(name.upper()) == quant


@pytest.mark.parametrize(
    "name",
    ["FAQ3-bot", "quaffle", "modelf16x", "sq8_0x", "int80", "awqward", "éq4_0", "Qwen2.5-7B", "v1.5-13b", "q3", ""],
)
def test_letters_inside_a_word_are_no_quant(name: str) -> None:
    assert quant_from_name(name) is None


def test_control_a_search_without_borders_finds_what_is_not_there() -> None:
    assert "q3" in "FAQ3-bot".lower()
    assert quant_from_name("FAQ3-bot") is None


CONFIGS: tuple[tuple[dict[str, Any], str | None], ...] = (
    ({"quant_method": "fp8", "fmt": "e4m3"}, "fp8"),
    ({"quant_method": "mxfp4"}, "mxfp4"),
    ({"quant_method": "hqq"}, "hqq"),
    ({"quant_method": "exl2", "bits": 4.0}, "exl2"),
    ({"load_in_8bit": True}, "bitsandbytes-8bit"),
    ({"load_in_4bit": True}, "bitsandbytes-4bit"),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes-4bit"),
    ({"quant_method": "bitsandbytes"}, "bitsandbytes"),
    ({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False}, "gptq-int4"),
    ({"quant_method": "gptq", "bits": 8, "group_size": 128}, "gptq-int8"),
    ({"bits": 4, "group_size": 128, "desc_act": True}, "gptq-int4"),
    ({"quant_method": "awq", "w_bit": 4, "q_group_size": 128}, "awq-w4g128"),
    ({"quant_method": "awq", "bits": 4, "group_size": 128}, "awq"),
    ({"quant_method": "awq", "bits": 8, "group_size": 64}, "awq-w8g64"),
    ({"zero_point": True}, "awq"),
    (
        {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 8, "type": "int"}}}},
        "int8",
    ),
    (
        {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4, "type": "int"}}}},
        "int4",
    ),
    (
        {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 8, "type": "float"}}}},
        "fp8",
    ),
    (
        {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4, "type": "float"}}}},
        "fp4",
    ),
    ({"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}, "nvfp4"),
    ({"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8, "type": "float"}}, "fp8"),
    ({"quant_method": "compressed-tensors"}, None),
    ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
    ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8"),
    ({"quant_method": "fbgemm_fp8"}, "fp8"),
    ({"quant_method": "auto-round", "bits": 4}, "auto-round-int4"),
    ({"quant_method": "torchao", "quant_type": "int4_weight_only"}, "torchao-int4"),
    ({}, None),
)


@pytest.mark.parametrize(("section", "quant"), CONFIGS)
def test_a_configuration_tells_its_quant(section: dict[str, Any], quant: str | None) -> None:
    assert quant_from_config({"quantization_config": section}) == quant
    assert quant_from_config({"text_config": {"quantization_config": section}}) == quant


def test_mlx_writes_bits_without_a_method() -> None:
    told = {"group_size": 64, "bits": 4}
    assert quant_from_config({"quantization": told, "quantization_config": told}) == "mlx-4bit"


@pytest.mark.parametrize(
    ("config", "precision"),
    [
        ({"torch_dtype": "bfloat16"}, "bf16"),
        ({"dtype": "float32"}, "fp32"),
        ({"torch_dtype": "torch.float16"}, "fp16"),
        ({"text_config": {"dtype": "bfloat16"}}, "bf16"),
        ({"dtype": 4}, None),
        ({}, None),
    ],
)
def test_a_plain_precision_is_told_apart_from_quantisation(config: dict[str, Any], precision: str | None) -> None:
    assert precision_from_config(config) == precision
    assert quant_from_config(config) is None


@pytest.mark.parametrize(
    ("name", "config", "quant"),
    [
        ("quantization_config.json", {"quant_method": "awq", "w_bit": 4, "q_group_size": 128}, "awq-w4g128"),
        ("quant_config.json", {"zero_point": True, "q_group_size": 128, "w_bit": 4}, "awq-w4g128"),
        ("awq_config.json", {"w_bit": 4, "q_group_size": 64}, "awq-w4g64"),
        ("awq_config.json", {"bits": 4}, "awq"),
        ("quantize_config.json", {"bits": 4, "group_size": 128}, "gptq-int4"),
        ("quantization_config.json", {"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes-4bit"),
        ("hf_quant_config.json", {"quantization": {"quant_algo": "NVFP4"}}, "nvfp4"),
        ("quant_config.json", {}, None),
    ],
)
def test_a_quantisers_own_file_tells_its_quant(name: str, config: dict[str, Any], quant: str | None) -> None:
    assert quant_from_quantize_config(config, name) == quant


def test_a_recipe_tells_its_scheme() -> None:
    assert quant_from_recipe("s:\n  scheme: FP8_DYNAMIC\n") == "fp8"
    assert quant_from_recipe("quant_stage:\n  - scheme: 'W4A16'\n") == "int4"
    assert quant_from_recipe("nothing: here") is None


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=10,
)
_KEYS = st.sampled_from(
    [
        "quantization_config",
        "text_config",
        "quant_method",
        "bits",
        "config_groups",
        "weights",
        "architectures",
        "dtype",
        "kv_cache_scheme",
        "quantization",
        "vision_config",
        "_class_name",
        "quant_type",
        "format",
    ]
)


@settings(deadline=None)
@given(st.dictionaries(_KEYS, st.dictionaries(_KEYS, _ANY, max_size=4) | _ANY, max_size=5))
def test_no_configuration_breaks_the_rules(config: dict[str, Any]) -> None:
    for answer in (quant_from_config(config), quant_from_quantize_config(config), precision_from_config(config)):
        assert answer is None or answer == answer.lower()
    kind_of([], config)


@pytest.mark.parametrize(
    ("names", "found", "container"),
    [
        (["model.safetensors", "model.Q4_0.gguf"], "gguf", "gguf"),
        (["a/b.SAFETENSORS"], "safetensors", "safetensors"),
        (["model.onnx"], None, "onnx"),
        (["pytorch_model.bin"], None, "pickle"),
        (["weights.awq"], None, None),
        ([], None, None),
    ],
)
def test_a_format_is_gguf_then_safetensors_then_none(
    names: list[str], found: str | None, container: str | None
) -> None:
    assert format_of(names) == found
    assert container_of(names) == container


def test_pickles_are_known_by_name_and_tokenizers_are_none() -> None:
    assert all(map(is_pickle_name, ["pytorch_model.bin", "a/x.PT", "m.ckpt", "m.pth", "optimizer.pkl"]))
    assert not any(map(is_pickle_name, ["m.gguf", "m.safetensors", "tokenizer.model", "tokenizer.bin"]))


SIZES = {
    "qwen2.5-7b-instruct": 7_000_000_000,
    "Mixtral-8x7B-v0.1": 56_000_000_000,
    "Qwen3-30B-A3B": 30_000_000_000,
    "SmolLM2-135M": 135_000_000,
    "Qwen2.5-0.5B": 500_000_000,
    "qwen2-1.5b": 1_500_000_000,
    "Kimi-K2-1T": 10**12,
    "Llama-4-Scout-17B-16E": 17_000_000_000,
    "gemma-3n-E4B-it": 4_000_000_000,
    "Qwen2.5-7B-Instruct-1M": 7_000_000_000,
    "tinyllama-1.1b-step-1431k-3T": 1_100_000_000,
    "wan2.2_t2v_14B_fp16": 14_000_000_000,
    "Phi-3-mini-128k": None,
    "model-4bit": None,
    "InternLM-1M": None,
    "A3B": None,
    "v1.5": None,
}


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_a_name_tells_the_number_of_parameters(name: str, size: int | None) -> None:
    assert parameters_from_name(name) == size


def test_each_quant_of_a_repository_is_a_group_and_shards_stay_together() -> None:
    names = [
        "m-Q8_0-00002-of-00002.gguf",
        "m-Q4_K_M.gguf",
        "BF16/m-00001-of-00001.gguf",
        "m-Q8_0-00001-of-00002.gguf",
        "mmproj-F16.gguf",
        "README.md",
        "m.gguf",
    ]
    assert quants_of(names) == {
        "": ("m.gguf",),
        "bf16": ("BF16/m-00001-of-00001.gguf",),
        "q4_k_m": ("m-Q4_K_M.gguf",),
        "q8_0": ("m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"),
    }


@settings(deadline=None)
@given(
    st.permutations(["a-Q8_0.gguf", "b-Q4_K_M.gguf", "c-Q4_K_M.gguf", "x-00002-of-00003.gguf", "x-00003-of-00003.gguf"])
)
def test_groups_do_not_depend_on_order(names: list[str]) -> None:
    assert quants_of(names) == quants_of(sorted(names))
    (shards,) = shards_of(names)
    assert shards == (("x-00002-of-00003.gguf", "x-00003-of-00003.gguf"), ("x-00001-of-00003.gguf",))


def test_a_shard_count_out_of_all_reason_is_no_shard_count() -> None:
    assert shards_of(["m-00001-of-999999.gguf"]) == ()


@pytest.mark.parametrize(
    ("header", "name", "quant"),
    [
        ("q6_k", "q6_k_l", "q6_k_l"),
        ("q3_k_l", "q3_k_xl", "q3_k_xl"),
        ("q4_k_m", "ud-q4_k_xl", "ud-q4_k_xl"),
        ("q4_k", "q4_k_m", "q4_k_m"),
        ("q8_0", "q4_k_m", "q8_0"),
        ("q4_k_m", "q4_k_s", "q4_k_m"),
        ("fp16", "ud-q4_k_xl", "fp16"),
        (None, "q4_k_m", "q4_k_m"),
        ("q4_0", None, "q4_0"),
        (None, None, None),
    ],
)
def test_a_name_refines_a_header_and_does_not_contradict_it(
    header: str | None, name: str | None, quant: str | None
) -> None:
    assert refine_quant(header, name) == quant


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("llm", {"config": {"architectures": ["LlamaForCausalLM"]}}),
        ("vision-language", {"config": {"architectures": ["Qwen2_5_VLForConditionalGeneration"]}}),
        ("vision-language", {"config": {"architectures": ["LlamaForCausalLM"], "vision_config": {}}}),
        ("vision-language", {"config": {"architectures": ["Florence2ForConditionalGeneration"]}}),
        ("embedding", {"config": {"architectures": ["XLMRobertaModel"]}}),
        ("embedding", {"config": {"architectures": ["SiglipModel"]}}),
        ("embedding", {"config": {"architectures": ["Qwen3ForCausalLM"]}, "source": "Qwen3-Embedding-8B"}),
        ("reranker", {"config": {"architectures": ["Qwen3ForCausalLM"]}, "source": "Qwen3-Reranker-4B"}),
        ("speech", {"config": {"architectures": ["WhisperForConditionalGeneration"]}}),
        ("vae", {"config": {"_class_name": "AutoencoderKL"}}),
        ("controlnet", {"config": {"_class_name": "FluxControlNetModel"}}),
        ("diffusion", {"config": {"_class_name": "UNet2DConditionModel"}}),
        ("text-encoder", {"config": {"architectures": ["T5EncoderModel"]}}),
        ("diffusion", {"names": ["model_index.json", "unet/diffusion_pytorch_model.safetensors"]}),
        ("lora", {"names": ["adapter_config.json", "adapter_model.safetensors"]}),
        ("tokenizer", {"names": ["tokenizer.json", "tokenizer_config.json"]}),
        ("mmproj", {"names": ["mmproj-model-f16.gguf"]}),
        ("mmproj", {"architecture": "clip"}),
        ("lora", {"architecture": "llama", "general_type": "adapter"}),
        ("diffusion", {"architecture": "flux"}),
        ("embedding", {"architecture": "nomic-bert"}),
        ("vision-language", {"architecture": "qwen3vl"}),
        ("llm", {"architecture": "qwen3"}),
        ("lora", {"tensors": ["lora_unet_down_blocks_0.lora_down.weight"]}),
        (
            "diffusion",
            {"tensors": ["first_stage_model.decoder.conv_in.bias", "model.diffusion_model.input_blocks.0.0.bias"]},
        ),
        ("vae", {"tensors": ["decoder.conv_in.weight", "encoder.conv_in.weight"]}),
        ("controlnet", {"tensors": ["controlnet_blocks.0.bias", "transformer_blocks.0.x"]}),
        ("text-encoder", {"tensors": ["encoder.block.0.layer.0.SelfAttention.q.weight"]}),
        ("llm", {"tensors": ["model.layers.0.self_attn.q_proj.weight"]}),
        ("vae", {"names": ["flux_vae.safetensors"]}),
        ("upscaler", {"names": ["RealESRGAN_x4plus.pth"]}),
        ("llm", {"names": ["x-Q4_K_M.gguf"], "source": "Llama-3.2-3B-Instruct-GGUF"}),
        ("vision-language", {"names": ["x-Q4_K_M.gguf", "mmproj-F16.gguf"], "source": "gemma-3-4b-it-GGUF"}),
        (None, {"names": ["readme.md"]}),
    ],
)
def test_a_kind_is_told_by_configuration_tensors_then_names(kind: str | None, more: dict[str, Any]) -> None:
    assert kind_of(**{"names": [], **more}) == kind


def test_the_rules_touch_nothing_of_the_world() -> None:
    folder = Path(reconciler.detect.__file__).parent
    for name in ("rules", "tokens", "configs", "kinds", "ggml"):
        tree = ast.parse((folder / f"{name}.py").read_text())
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not imported & {"os", "io", "socket", "subprocess", "shutil", "tempfile", "urllib"}, name
