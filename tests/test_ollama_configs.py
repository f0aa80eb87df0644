"""The config of an Ollama model: read tolerantly, written to the byte as a server writes it."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.ollama import configs, gojson
from reconciler.ollama.configs import Config, disagreement, human_number, of_gguf


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_config_has_the_bytes_and_so_the_digest_that_a_server_gives_it() -> None:
    text = configs.write(of_gguf("tiny-f16.gguf", {"architecture": "llama", "file_type": 1, "parameters": 24736}))
    assert text == (
        '{"model_format":"gguf","model_family":"llama","model_families":["llama"],"model_type":"25K","file_type":"F16",'
        '"architecture":"amd64","os":"linux"}\n'
    )
    # Of the config that `ollama create` 0.32.15 wrote for this very model.
    assert sha256(text) == "28e0692d957643da10cc27f263d31935a7a1435e19c4563a5c962ef0f8d8514f"


def test_a_config_is_the_same_on_every_machine() -> None:
    assert configs.write(Config()).endswith('"architecture":"amd64","os":"linux"}\n')


def test_what_is_written_is_read_again() -> None:
    config = Config(
        "gguf", "gptoss", ("gptoss",), "20B", "MXFP4", "harmony", "harmony", "0.14.0", "https://ollama.com:443",
        "gpt-oss:20b", ("completion", "tools"), 131072, 2880, "gpt-oss",
    )  # fmt: skip
    assert configs.read(configs.write(config).encode()) == config


def test_empty_fields_are_written_as_go_writes_them() -> None:
    assert configs.write(Config()).startswith(
        '{"model_format":"","model_family":"","model_families":null,"model_type":"","file_type":"","architecture"'
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", Config()),
        ('{"model_format":"safetensors","rootfs":{"type":"layers"},"new":[1]}', Config("safetensors")),
        ('{"model_family":7,"model_families":["llama",3],"context_length":"x"}', Config(model_families=("llama",))),
        ('{"context_length":true,"capabilities":null}', Config()),
    ],
)
def test_a_config_of_another_version_is_read_as_far_as_it_is_known(text: str, expected: Config) -> None:
    assert configs.read(text.encode()) == expected


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"a":"' + b"x" * (1 << 20)])
def test_what_is_no_config_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no config"):
        configs.read(data)


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0"), (999, "999"), (1000, "1K"), (24_736, "25K"), (999_499, "999K"), (1_000_000, "1M"),
        (22_700_000, "22.70M"), (137_000_000, "137M"), (494_032_768, "494.03M"), (1_000_000_000, "1B"),
        (3_212_749_888, "3.2B"), (8_030_261_248, "8.0B"), (70_000_000_000, "70B"), (671_026_419_200, "671.0B"),
    ],
)  # fmt: skip
def test_sizes_are_printed_as_servers_print_them(count: int, shown: str) -> None:
    assert human_number(count) == shown


@pytest.mark.parametrize(
    ("path", "header", "size", "file_type"),
    [
        ("Llama-3.2-3B-Instruct-Q4_K_M.gguf", {}, "3B", "Q4_K_M"),
        ("Llama-3.2-3B-Instruct-Q4_K_M.gguf", {"size_label": "3.2B"}, "3.2B", "Q4_K_M"),
        ("Llama-3.2-3B-Instruct-Q4_K_M.gguf", {"parameters": 3_212_749_888, "size_label": "3B"}, "3.2B", "Q4_K_M"),
        ("Q8_0/model.gguf", {"file_type": 7}, "", "Q8_0"),
        ("model.gguf", {"file_type": 7 + 1024}, "", "Q8_0"),
        ("model-UD-Q4_K_XL.gguf", {"file_type": 15}, "", "UD-Q4_K_XL"),  # only the name knows the finer one
        ("model-Q4_K_M.gguf", {"file_type": 7}, "", "Q8_0"),  # the bytes know better
        ("model-bf16.gguf", {"file_type": 32}, "", "BF16"),
        ("gpt-oss-20b-mxfp4.gguf", {"file_type": 38}, "20B", "MXFP4"),
        ("model-f32.gguf", {}, "", "F32"),
        ("model.gguf", {}, "", "unknown"),
        ("model.gguf", {"file_type": 999, "size_label": 7, "parameters": -1}, "", "unknown"),
    ],
)
def test_size_and_type_come_from_the_header_then_from_the_name(
    path: str, header: dict[str, object], size: str, file_type: str
) -> None:
    config = of_gguf(path, header)
    assert (config.model_type, config.file_type) == (size, file_type)


def test_an_architecture_that_nobody_knows_stays_empty() -> None:
    assert of_gguf("m.gguf", {}).model_families == ()
    assert of_gguf("m.gguf", {"architecture": "a\x1b[2J"}).model_family == ""


def test_a_name_that_says_something_else_than_the_header_is_told() -> None:
    assert disagreement("m-Q4_K_M.gguf", {"file_type": 7}) == "the name says Q4_K_M, the header Q8_0"


@pytest.mark.parametrize(
    ("path", "header"),
    [("m-Q4_K_M.gguf", {"file_type": 15}), ("m-UD-Q4_K_XL.gguf", {"file_type": 15}), ("m.gguf", {"file_type": 7}),
     ("m-Q4_K_M.gguf", {})],
)  # fmt: skip
def test_a_finer_name_and_a_silent_one_are_no_disagreement(path: str, header: dict[str, int]) -> None:
    assert disagreement(path, header) is None


# -- JSON as Go writes it ----------------------------------------------------------------------------------------------


def test_numbers_are_written_in_the_shortest_form_of_go() -> None:
    value = {"a": 1.0, "b": 0.7, "c": 1e-7, "d": 1e21, "e": 1.5e-9, "f": 0.000001, "g": 1e20, "h": -0.25, "i": 8192,
             "j": 1.2345e25, "k": 0.0}  # fmt: skip
    assert gojson.encode_map(value) == (
        '{"a":1,"b":0.7,"c":1e-7,"d":1e+21,"e":1.5e-9,"f":0.000001,"g":100000000000000000000,"h":-0.25,"i":8192,'
        '"j":1.2345e+25,"k":0}\n'
    )


def test_markup_is_escaped_and_keys_are_sorted() -> None:
    assert gojson.encode_map({"z": True, "a": None, "s": ["</s>", "a&b", "\u2028", "é\t"]}) == (
        '{"a":null,"s":["\\u003c/s\\u003e","a\\u0026b","\\u2028","é\\t"],"z":true}\n'
    )


def test_a_naive_encoder_would_give_other_bytes() -> None:
    """The control: Python's own encoder differs wherever a stop text holds markup."""
    value = {"stop": ["<|im_end|>"]}
    assert gojson.encode_map(value) != json.dumps(value, separators=(",", ":")) + "\n"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8,
)  # fmt: skip


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_whatever_is_written_reads_back_equal(value: dict[str, object]) -> None:
    assert json.loads(gojson.encode_map(value), parse_int=float) == value  # as a server: every number is a double
