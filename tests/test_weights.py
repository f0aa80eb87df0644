"""Made weights are real to a reader of the formats; the readers here are written by hand from the specifications."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from reconciler.hub import ggufs
from reconciler.hub.weights import filler, filler_blocks, gguf, gguf_files, llama_files, safetensors, write_filler

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

# From the specification of the formats: elements and bytes of a block, by ggml type number.
BLOCKS = {
    0: (1, 4),
    1: (1, 2),
    8: (32, 34),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    23: (256, 136),
    30: (1, 2),
    39: (32, 17),
}


class Parsed(NamedTuple):
    metadata: dict[str, Any]
    tensors: dict[str, tuple[tuple[int, ...], int, int]]
    data_start: int


class Cursor:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, code: str) -> Any:
        size = struct.calcsize("<" + code)
        values = struct.unpack_from("<" + code, self.data, self.at)
        self.at += size
        return values[0] if len(values) == 1 else values

    def text(self) -> str:
        length = self.take("Q")
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def value(self, kind: int) -> Any:
        if kind == 8:
            return self.text()
        if kind == 9:
            of, count = self.take("I"), self.take("Q")
            return [self.value(of) for _ in range(count)]
        return self.take(SCALARS[kind])


def parse(data: bytes) -> Parsed:
    cursor = Cursor(data)
    assert cursor.take("4s") == b"GGUF"
    assert cursor.take("I") == 3
    count, keys = cursor.take("Q"), cursor.take("Q")
    metadata = {cursor.text(): cursor.value(cursor.take("I")) for _ in range(keys)}
    tensors = {}
    for _ in range(count):
        name, dims = cursor.text(), cursor.take("I")
        shape = tuple(cursor.take("Q") for _ in range(dims))
        tensors[name] = (shape, cursor.take("I"), cursor.take("Q"))
    return Parsed(metadata, tensors, -(-cursor.at // 32) * 32)


def check_layout(data: bytes, parsed: Parsed) -> None:
    """Every tensor is aligned, follows the one before it, and the last ends with the file."""
    position = 0
    for shape, kind, offset in parsed.tensors.values():
        assert offset == position
        assert offset % 32 == 0
        number, block, size = next(row for row in ggufs.TYPES.values() if row[0] == kind)
        assert BLOCKS.get(number, (block, size)) == (block, size)
        assert shape[0] % block == 0
        elements = 1
        for length in shape:
            elements *= length
        position += -(-(elements // block * size) // 32) * 32
    assert parsed.data_start + position == len(data)


@pytest.mark.parametrize("quant", list(ggufs.MIXES))
def test_every_quant_makes_a_whole_gguf(quant: str) -> None:
    data = gguf(quant)
    parsed = parse(data)
    check_layout(data, parsed)
    assert parsed.metadata["general.file_type"] == ggufs.MIXES[quant].file_type
    assert len(parsed.metadata["tokenizer.ggml.tokens"]) == parsed.tensors["token_embd.weight"][0][1]


@pytest.mark.parametrize(
    ("quant", "file_type", "kinds"),
    [
        ("Q4_K_M", 15, {0, 12, 14}),
        ("UD-Q4_K_XL", 15, {0, 12, 14}),
        ("Q4_K_L", 15, {0, 12, 14}),
        ("Q8_0", 7, {0, 8}),
        ("Q8_K_XL", 7, {0, 8}),
        ("F16", 1, {0, 1}),
        ("bf16", 32, {0, 30}),
        ("IQ4_XS", 30, {0, 13, 14, 23}),
        ("MXFP4_MOE", 38, {0, 8, 39}),
    ],
)
def test_tensors_have_the_types_that_their_quant_is_made_of(quant: str, file_type: int, kinds: set[int]) -> None:
    parsed = parse(gguf(quant))
    assert parsed.metadata["general.file_type"] == file_type
    assert {kind for _, kind, _ in parsed.tensors.values()} == kinds
    assert {kind for name, (_, kind, _) in parsed.tensors.items() if "norm" in name} == {0}


def test_the_keys_say_what_a_reader_asks_for() -> None:
    metadata = parse(gguf("Q4_K_M", name="Some Model", architecture="qwen2")).metadata
    assert metadata["general.architecture"] == "qwen2"
    assert metadata["general.name"] == "Some Model"
    assert metadata["general.quantization_version"] == 2
    assert metadata["qwen2.block_count"] == 2
    assert metadata["general.size_label"] == "869.6K"
    assert "<|assistant|>" in metadata["tokenizer.chat_template"]
    assert list(metadata)[-1] == "general.file_type", "behind the vocabulary, where quantisers write it"
    assert list(parse(gguf("F16")).metadata)[-1] == "tokenizer.chat_template"


def test_a_gguf_grows_to_the_size_that_was_asked_for() -> None:
    data = gguf("Q4_K_M", size=3_000_000)
    parsed = parse(data)
    check_layout(data, parsed)
    assert 3_000_000 <= len(data) < 3_400_000
    assert parsed.metadata["llama.feed_forward_length"] == parsed.tensors["blk.0.ffn_up.weight"][0][1] > 256


def test_tensors_can_be_given() -> None:
    data = gguf("Q8_0", tensors={"a.weight": (64, 2), "b_norm.weight": (5,)})
    parsed = parse(data)
    check_layout(data, parsed)
    assert parsed.tensors == {"a.weight": ((64, 2), 8, 0), "b_norm.weight": ((5,), 0, 160)}
    with pytest.raises(ValueError, match="whole blocks of 256"):
        gguf("Q4_K_M", tensors={"a.weight": (64,)})


def test_a_quant_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="no quant 'Q9_Z'"):
        gguf("Q9_Z")


def test_our_reader_agrees_with_our_writer(world: Path) -> None:
    from reconciler.detect import ggml

    for name, row in ggufs.TYPES.items():
        known = ggml.TYPES[row[0]]
        assert (known.name, known.block, known.size) == (name.lower(), row[1], row[2])


def test_safetensors_tile_the_file() -> None:
    data = safetensors({"b": ("BF16", (3, 5)), "a": ("F32", (2,)), "c": ("U8", ())}, metadata={"format": "pt"})
    length = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8 : 8 + length])
    assert length % 8 == 0
    assert header.pop("__metadata__") == {"format": "pt"}
    assert header == {
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "BF16", "shape": [3, 5], "data_offsets": [8, 38]},
        "c": {"dtype": "U8", "shape": [], "data_offsets": [38, 39]},
    }
    assert len(data) == 8 + length + 39


def test_a_checkpoint_is_complete_in_one_file() -> None:
    files = llama_files(1)
    assert sorted(files) == [
        "README.md", "config.json", "generation_config.json", "model.safetensors", "special_tokens_map.json",
        "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert files["README.md"].startswith(b"---\nlicense: apache-2.0\n")
    assert json.loads(files["config.json"])["architectures"] == ["LlamaForCausalLM"]
    assert "chat_template" in json.loads(files["tokenizer_config.json"])


def header_of(data: bytes) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(data[8 : 8 + struct.unpack_from("<Q", data)[0]])
    header.pop("__metadata__")
    return header


def test_shards_hold_every_tensor_once_and_the_index_says_where() -> None:
    files = llama_files(1, shards=3)
    whole = header_of(llama_files(1)["model.safetensors"])
    index = json.loads(files["model.safetensors.index.json"])
    shards = {name: header_of(data) for name, data in files.items() if name.endswith(".safetensors")}
    assert sorted(shards) == [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    assert index["weight_map"] == {tensor: name for name, header in shards.items() for tensor in header}
    assert set(index["weight_map"]) == set(whole)
    assert index["metadata"]["total_size"] == max(row["data_offsets"][1] for row in whole.values())


@pytest.mark.parametrize(
    ("method", "tensor", "dtype"),
    [
        ("awq", "qzeros", "I32"),
        ("gptq", "g_idx", "I32"),
        ("fp8", "weight", "F8_E4M3"),
        ("compressed-tensors", "weight_packed", "I32"),
        ("bitsandbytes", "weight", "U8"),
    ],
)
def test_quantised_layers_are_stored_as_their_method_stores_them(method: str, tensor: str, dtype: str) -> None:
    files = llama_files(1, quantization_config={"quant_method": method, "bits": 4, "group_size": 32})
    assert json.loads(files["config.json"])["quantization_config"]["quant_method"] == method
    header = header_of(files["model.safetensors"])
    assert header[f"model.layers.1.mlp.down_proj.{tensor}"]["dtype"] == dtype
    assert header["lm_head.weight"]["dtype"] == "BF16"


def test_a_seed_means_the_same_bytes_and_another_seed_others() -> None:
    assert gguf("Q4_K_M", seed=1) == gguf("Q4_K_M", seed=1) != gguf("Q4_K_M", seed=2)
    assert llama_files(1, shards=2) == llama_files(1, shards=2)
    assert llama_files(1)["model.safetensors"] != llama_files(2)["model.safetensors"]
    assert list(gguf_files("M", ["Q4_K_M", "Q8_0"])) == ["README.md", "M-Q4_K_M.gguf", "M-Q8_0.gguf"]


@pytest.mark.parametrize("size", [0, 1, 1000, 65_536, 65_537, 1 << 20, (1 << 20) + 1, 3_500_000])
def test_filler_has_its_size_and_is_the_same_in_memory_and_on_disk(world: Path, size: int) -> None:
    data = filler(size, 3)
    assert len(data) == size
    assert write_filler(world / "a/b.bin", size, 3).read_bytes() == data


def test_no_two_blocks_of_filler_are_alike_and_none_can_be_packed() -> None:
    import zlib

    blocks = list(filler_blocks(5 << 20, 1))
    assert len({block[8:] for block in blocks}) == 5
    assert filler(1000, 1) != filler(1000, 2)
    assert len(zlib.compress(blocks[0])) > 1 << 20
