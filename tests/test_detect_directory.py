"""What a model's files say together: headers before configuration before names, and what is missing or wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from detect_kit import Q8_0, model_gguf, plain, safetensors, with_header, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.detect import Detected, check_magic, detect_directory, detect_names

JUNK = "<bytes>"
ST = "model.safetensors"


def detect(root: Path, files: dict[str, Any], name: str = "repo") -> Detected:
    return detect_directory(root / name, write(root / name, files))


def configured(**section: Any) -> dict[str, Any]:
    return {ST: JUNK, "config.json": {"quantization_config": section}}


def grouped(**weights: Any) -> dict[str, Any]:
    return configured(quant_method="compressed-tensors", config_groups={"group_0": {"weights": weights}})


GPTQ_INT8 = "Qwen2.5-Coder-7B-Instruct-GPTQ-Int8"
CASES: tuple[tuple[str, dict[str, Any], str | None, str | None], ...] = (
    ("repo", configured(quant_method="fp8", fmt="e4m3"), "safetensors", "fp8"),
    ("repo", configured(load_in_8bit=True), "safetensors", "bitsandbytes-8bit"),
    ("repo", configured(quant_method="bitsandbytes", load_in_4bit=True), "safetensors", "bitsandbytes-4bit"),
    ("repo", configured(bits=4, group_size=128, desc_act=True), "safetensors", "gptq-int4"),
    ("repo", configured(quant_method="gptq", bits=4, group_size=128, desc_act=False), "safetensors", "gptq-int4"),
    (GPTQ_INT8, configured(quant_method="gptq", bits=8, group_size=128), "safetensors", "gptq-int8"),
    ("repo", grouped(num_bits=8, type="int"), "safetensors", "int8"),
    ("repo", grouped(num_bits=4, type="int"), "safetensors", "int4"),
    (
        "repo-ct",
        {**configured(quant_method="compressed-tensors"), "recipe.yaml": "s:\n  scheme: FP8_DYNAMIC\n"},
        "safetensors",
        "fp8",
    ),
    ("repo", {ST: JUNK, "config.json": {"dtype": "float32"}}, "safetensors", "fp32"),
    (
        "model-awq",
        {"weights.awq": JUNK, "quantization_config.json": {"quant_method": "awq", "w_bit": 4, "q_group_size": 128}},
        None,
        "awq-w4g128",
    ),
    ("repo", {ST: JUNK, "model.Q4_0.gguf": JUNK}, "gguf", "q4_0"),
    ("repo", {"model.Q4_K_M.gguf": JUNK}, "gguf", "q4_k_m"),
    ("repo", {"model-Q4_K_S.gguf": JUNK}, "gguf", "q4_k_s"),
    ("repo", {"model-Q5_K_S.gguf": JUNK}, "gguf", "q5_k_s"),
    ("repo", {"model-Q6_K_L.gguf": JUNK}, "gguf", "q6_k_l"),
    ("repo", {"model-IQ4_XS.gguf": JUNK}, "gguf", "iq4_xs"),
    ("repo", {"model-mxfp4.gguf": JUNK}, "gguf", "mxfp4"),
    ("repo", {"model-bf16.gguf": JUNK}, "gguf", "bf16"),
    ("repo", {"model-f16.gguf": JUNK}, "gguf", "fp16"),
    ("repo", {"pytorch_model.bin": JUNK, "config.json": {"torch_dtype": "float16"}}, None, "fp16"),
    ("repo", {"model.onnx": JUNK}, None, None),
    ("Model-7B-AWQ", {ST: JUNK, "config.json": {"torch_dtype": "float16"}}, "safetensors", "awq"),
    ("Model-7B-GPTQ", {ST: JUNK}, "safetensors", "gptq"),
)


@pytest.mark.parametrize(("name", "files", "form", "quant"), CASES)
def test_names_and_configuration_decide_where_headers_cannot_be_read(
    world: Path, name: str, files: dict[str, Any], form: str | None, quant: str | None
) -> None:
    found = detect(world, files, name)
    assert (found.format, found.quant) == (form, quant)


def test_the_header_of_a_gguf_decides_and_a_lying_name_is_told(world: Path) -> None:
    found = detect(world, {"m-Q4_K_M.gguf": model_gguf(7, Q8_0, 272)})
    assert found.quant == "q8_0"
    assert found.problems == ("m-Q4_K_M.gguf: the name says q4_k_m, the header q8_0",)


def test_a_name_tells_what_the_header_cannot(world: Path) -> None:
    assert detect(world, {"m-UD-Q4_K_XL.gguf": model_gguf(15)}).quant == "ud-q4_k_xl"
    assert detect(world / "2", {"m.gguf": model_gguf(15)}).quant == "q4_k_m"


def test_several_quants_side_by_side_are_no_quant(world: Path) -> None:
    found = detect(world, {"a-Q4_K_M.gguf": model_gguf(15), "a-Q8_0.gguf": model_gguf(7, Q8_0, 272)})
    assert found.quant is None
    assert "several quants side by side: q4_k_m, q8_0" in found.problems


def test_a_projector_beside_a_model_is_not_asked_for_the_quant(world: Path) -> None:
    files = {"a-Q4_K_M.gguf": model_gguf(15), "mmproj-F16.gguf": model_gguf(1, 1, 512, general__architecture="clip")}
    found = detect(world, files, "gemma-3-4b-it-GGUF")
    assert (found.quant, found.kind, found.architecture) == ("q4_k_m", "vision-language", "llama")


def test_parameters_are_counted_from_tensors_before_they_are_read_off_names(world: Path) -> None:
    assert detect(world, {"m.gguf": model_gguf(15)}, "Model-7B-GGUF").parameters == 288
    assert detect(world, {ST: plain("BF16")}, "Model-8B").parameters == 96
    assert detect(world, {ST: JUNK}, "Model-3B").parameters == 3_000_000_000


@pytest.mark.parametrize(
    ("dtype", "quant"), [("BF16", "bf16"), ("F16", "fp16"), ("F32", "fp32"), ("F8_E4M3", "fp8"), ("I8", "int8")]
)
def test_the_dtype_of_the_tensors_is_the_quant_of_plain_weights(world: Path, dtype: str, quant: str) -> None:
    assert detect(world, {ST: plain(dtype), "config.json": {"torch_dtype": "float32"}}).quant == quant


@pytest.mark.parametrize(
    ("section", "tensors", "parameters"),
    [
        (
            {"quant_method": "awq", "bits": 4},
            {"q.qweight": ("I32", (8,)), "q.scales": ("F16", (5,)), "n": ("F16", (3,))},
            67,
        ),
        ({"quant_method": "gptq", "bits": 8}, {"q.qweight": ("I32", (8,)), "q.g_idx": ("I32", (64,))}, 32),
        (
            {"quant_method": "mxfp4"},
            {"e.gate_up_proj_blocks": ("U8", (16,)), "e.gate_up_proj_scales": ("U8", (1,))},
            32,
        ),
        ({"quant_method": "hqq"}, {"W_q": ("U8", (16,))}, None),
    ],
)
def test_packed_weights_are_counted_by_what_is_packed(
    world: Path, section: dict[str, Any], tensors: dict[str, Any], parameters: int | None
) -> None:
    files = {ST: safetensors(tensors), "config.json": {"quantization_config": section}}
    assert detect(world, files).parameters == parameters


def test_a_name_that_promises_what_the_tensors_are_not_is_told(world: Path) -> None:
    found = detect(world, {ST: plain("F16")}, "Model-7B-AWQ")
    assert found.quant == "fp16"
    assert found.problems == ("the name says awq, the tensors fp16",)


@pytest.mark.parametrize(
    ("name", "parts", "quant"),
    [
        ("repo", ("qweight", "qzeros", "g_idx"), "gptq"),
        ("repo", ("qweight", "qzeros"), "awq"),
        ("Model-GPTQ-Int4", ("qweight", "qzeros", "g_idx"), "gptq-int4"),
        ("Model-AWQ", ("qweight", "qzeros"), "awq"),
        ("repo", ("weight", "weight.absmax", "weight.quant_map"), "bitsandbytes-4bit"),
        ("repo", ("weight", "SCB"), "bitsandbytes-8bit"),
    ],
)
def test_side_tables_tell_the_quantiser(world: Path, name: str, parts: tuple[str, ...], quant: str) -> None:
    tensors = safetensors({f"model.layers.0.mlp.{part}": ("I32", (8,)) for part in parts})
    assert detect(world, {ST: tensors}, name).quant == quant


def test_an_index_that_names_a_missing_shard_makes_the_model_incomplete(world: Path) -> None:
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    index = {"model.safetensors.index.json": {"weight_map": {"a": first, "b": second}}}
    found = detect(world, {first: plain(), **index})
    assert not found.complete
    assert f"model.safetensors.index.json: names {second}, which is missing" in found.problems
    assert f"{second}: missing" in found.problems
    assert detect(world / "2", {first: plain(), second: plain(), **index}).complete


def test_a_shard_that_no_index_names_is_missed_by_its_number(world: Path) -> None:
    found = detect(
        world,
        {"m-Q4_K_M-00001-of-00003.gguf": model_gguf(15), "m-Q4_K_M-00003-of-00003.gguf": model_gguf(None)},
        "M-7B",
    )
    assert not found.complete
    assert found.problems == ("m-Q4_K_M-00002-of-00003.gguf: missing",)
    assert (found.quant, found.parameters) == ("q4_k_m", 7_000_000_000)


def test_a_file_cut_short_or_unfinished_makes_the_model_incomplete(world: Path) -> None:
    cut = detect(world, {ST: plain()[:-1]})
    assert not cut.complete
    assert "cut short" in cut.problems[0]
    left = detect(world / "2", {ST: plain(), f"{ST}.aria2": b"x"})
    assert left.problems == (f"{ST}.aria2: an unfinished download",)


def test_programs_and_templates_are_active_content(world: Path) -> None:
    files = {
        ST: plain(),
        "modeling_x.py": "",
        "chat_template.jinja": "{{ x }}",
        "config.json": {"auto_map": {"AutoModel": "x.Y"}},
        "tokenizer_config.json": {"chat_template": "{{ x }}"},
        "m-bf16.gguf": model_gguf(tokenizer__chat_template="{{ x }}"),
    }
    assert detect(world, files).active_content == (
        "chat_template.jinja",
        "config.json: auto_map",
        "m-bf16.gguf: tokenizer.chat_template",
        "modeling_x.py",
        "tokenizer_config.json: chat_template",
    )


def test_a_model_is_found_where_its_files_are_below_the_root_of_a_location(world: Path) -> None:
    files = {f"Qwen/Qwen-7B/{name}": content for name, content in configured(quant_method="fp8").items()}
    found = detect_directory(world, write(world, files))
    assert (found.quant, found.parameters) == ("fp8", 7_000_000_000)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1]",
        b"\xff",
        b'{"quantization_config": 4}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"1" * 5000,
        b" " * (5 << 20),
    ],
)
def test_a_bad_configuration_is_never_an_exception(world: Path, content: bytes) -> None:
    found = detect(world, {ST: plain(), "config.json": content, "model.safetensors.index.json": content})
    assert found.quant == "bf16"
    assert not found.complete


def test_paths_that_climb_out_or_are_no_files_are_not_opened(world: Path) -> None:
    write(world, {"x.gguf": model_gguf()})
    home = world / "home"
    home.mkdir()
    os.mkfifo(home / "pipe.gguf")
    found = detect_directory(home, ["../x.gguf", "/etc/x.gguf", "pipe.gguf", "absent.gguf"])
    assert found.architecture is None
    assert len(found.problems) == 4


ORDERED = {
    "a-Q4_K_M.gguf": model_gguf(15),
    "b-Q8_0.gguf": model_gguf(7, Q8_0, 272),
    "mmproj-F16.gguf": model_gguf(1, 1, 512),
    ST: plain(),
    "config.json": {"torch_dtype": "float16"},
    "x-00001-of-00002.safetensors": plain("F16"),
    "a.py": "",
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.permutations(list(ORDERED)))
def test_the_answer_does_not_depend_on_the_order_of_the_directory(world: Path, paths: list[str]) -> None:
    write(world, ORDERED)
    assert detect_directory(world, paths) == detect_directory(world, sorted(paths))
    assert detect_names("o/M-7B-GGUF", paths) == detect_names("o/M-7B-GGUF", sorted(paths))


def test_names_alone_tell_before_anything_is_downloaded() -> None:
    found = detect_names("bartowski/Llama-3.2-3B-Instruct-GGUF", ["Llama-3.2-3B-Instruct-Q4_K_M.gguf"])
    assert (found.format, found.quant, found.kind, found.parameters) == ("gguf", "q4_k_m", "llm", 3_000_000_000)
    assert found.complete
    many = detect_names("o/M-GGUF", ["M-Q4_K_M.gguf", "M-Q8_0.gguf"])
    assert many.quant is None
    awq = detect_names("Qwen/Qwen2.5-VL-7B-Instruct-AWQ", ["model.safetensors", "config.json"])
    assert (awq.quant, awq.kind) == ("awq", "vision-language")


MAGIC = {
    "PK\x03\x04": "zip",
    "7z\xbc\xaf\x27\x1c": "7z",
    "\x7fELF\x02\x01": "ELF",
    "\x80\x02}q\x00.": "pickle",
    "MZ\x90\x00": "Windows",
    "<!DOCTYPE html><html>": "web page",
    "version https://git-lfs.github.com/spec/v1\noid": "LFS",
    "#!/bin/sh\n": "script",
    '{"error":"gated"}': "error message",
}


@pytest.mark.parametrize("suffix", [".gguf", ".safetensors"])
@pytest.mark.parametrize(("head", "what"), MAGIC.items(), ids=MAGIC.values())
def test_a_file_that_is_not_what_its_name_says_is_refused_by_content(
    world: Path, head: str, what: str, suffix: str
) -> None:
    path = world / f"model{suffix}"
    path.write_bytes(head.encode("latin-1") + bytes(100))
    assert what in str(check_magic(path))
    found = detect_directory(world, [path.name])
    assert not found.complete
    assert what in found.problems[0]


def test_a_zip_that_looks_like_a_header_at_its_ninth_byte_is_still_a_zip(world: Path) -> None:
    (world / "m.safetensors").write_bytes(b"PK\x03\x04\x14\x00\x00\x00{}" + bytes(100))
    assert "zip" in str(check_magic(world / "m.safetensors"))


def test_what_a_file_is_called_is_only_judged_for_weights(world: Path) -> None:
    write(
        world,
        {
            "a.gguf": model_gguf(),
            "b.safetensors": plain(),
            "c.bin": b"PK\x03\x04",
            "d.gguf": plain(),
            "e.safetensors": model_gguf(),
            "f.gguf": b"",
            "g.safetensors": with_header({}),
        },
    )
    verdicts = {path.name: check_magic(path) for path in sorted(world.iterdir())}
    assert [name for name, why in verdicts.items() if why is None] == [
        "a.gguf",
        "b.safetensors",
        "c.bin",
        "g.safetensors",
    ]
    assert verdicts["d.gguf"] == "a safetensors file, named .gguf"
