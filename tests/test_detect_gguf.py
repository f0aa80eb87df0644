"""GGUF headers: what they tell, and what hostile ones cost."""

from __future__ import annotations

import io
import itertools
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from detect_kit import ARRAY, F16, F32, Q4_K, Q6_K, Q8_0, STRING, gguf, model_gguf, pair, tensor, text
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.detect.ggml import FILE_TYPES, TYPES
from reconciler.detect.gguf import GgufHeader, read_header, read_start
from reconciler.detect.malformed import MalformedHeader


def read(raw: bytes) -> GgufHeader:
    return read_header(io.BytesIO(raw))


def refuse(raw: bytes) -> str:
    with pytest.raises(MalformedHeader) as caught:
        read(raw)
    return str(caught.value)


def start(tensors: int = 0, keys: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


def test_the_file_type_is_found_behind_the_vocabulary() -> None:
    header = read(model_gguf(15))
    assert (header.quant, header.file_type, header.architecture, header.name) == ("q4_k_m", 15, "llama", "Tiny")


def test_tensors_are_counted_by_type_and_arrays_are_not_kept() -> None:
    header = read(model_gguf())
    assert dict(header.types) == {"f32": (1, 32), "q4_k": (1, 256)}
    assert header.parameters == 288
    assert "tokenizer.ggml.tokens" not in header.metadata
    assert header.metadata["general.name"] == "Tiny"


def test_a_path_is_read_like_a_stream(world: Path) -> None:
    (world / "a.gguf").write_bytes(model_gguf())
    assert read_header(world / "a.gguf") == read(model_gguf())


@pytest.mark.parametrize("file_type", [None, 1024 + 15, 999])
def test_without_a_sure_file_type_the_weights_decide_and_norms_do_not(file_type: int | None) -> None:
    raw = gguf(
        {"general.file_type": file_type} if file_type is not None else {},
        [("a.weight", (256,), Q6_K, 210), ("b.weight", (512,), Q4_K, 288), ("norm", (100_000,), F32, 400_000)],
    )
    assert read(raw).quant == "q4_k"


def test_a_file_of_nothing_but_f32_is_fp32() -> None:
    assert read(gguf({}, [("norm", (32,), F32, 128)])).quant == "fp32"
    assert read(gguf({}, [("a", (32,), F16, 64), ("norm", (64,), F32, 256)])).quant == "fp16"


def test_a_split_file_says_which_part_it_is() -> None:
    u16 = struct.pack("<IH", 2, 2)
    header = read(model_gguf(split__no=struct.pack("<IH", 2, 1), split__count=u16))
    assert (header.split_number, header.split_count) == (1, 2)


def test_a_chat_template_is_named_even_when_it_is_too_long_to_keep() -> None:
    header = read(model_gguf(tokenizer__chat_template="{{ x }}" * 2000))
    assert header.chat_templates == ("tokenizer.chat_template",)
    assert "tokenizer.chat_template" not in header.metadata


@pytest.mark.parametrize("version", [2, 3])
def test_versions_2_and_3_are_read(version: int) -> None:
    assert read(gguf({"general.architecture": "llama"}, version=version)).architecture == "llama"


def test_a_file_cut_short_is_told_by_what_its_tensors_need() -> None:
    whole = model_gguf()
    assert read(whole).fits
    cut = read(whole[:-1])
    assert not cut.fits
    assert cut.expected_bytes == len(whole)
    assert cut.quant == "q4_k_m"


def test_every_type_has_a_size_and_every_file_type_a_quant() -> None:
    bits = {kind.name: 8 * kind.size / kind.block for kind in TYPES.values()}
    assert (bits["q4_k"], bits["tq1_0"], bits["mxfp4"], bits["nvfp4"], bits["q1_0"]) == (4.5, 1.6875, 4.25, 4.5, 1.125)
    assert all(quant == quant.lower() for quant in FILE_TYPES.values())
    for number, kind in TYPES.items():
        header = read(gguf({}, [("w", (kind.block,), number, kind.size)]))
        assert header.types[kind.name] == (1, kind.block)
        assert header.fits


def test_a_type_of_tomorrow_is_counted_not_refused() -> None:
    header = read(gguf({"general.file_type": 7}, [("w", (256,), 140, 100)]))
    assert dict(header.types) == {"type140": (1, 256)}
    assert header.quant == "q8_0"


NESTED = struct.pack("<IQ", ARRAY, 1) * 20_000
HOSTILE = {
    "empty": b"",
    "too short": b"GGUF\x03\0\0\0",
    "not a GGUF": b"PK\x03\x04" + bytes(40),
    "version 1": start(version=1) + bytes(40),
    "version 99": start(version=99) + bytes(40),
    "big-endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0) + bytes(40),
    "2^63 keys": start(keys=1 << 63) + bytes(40),
    "2^63 tensors": start(tensors=1 << 63) + bytes(40),
    "more keys than bytes": start(keys=10) + bytes(40),
    "key of 2^62 bytes": start(keys=1) + struct.pack("<Q", 1 << 62) + bytes(40),
    "string of 2^62 bytes": start(keys=1) + text("a") + struct.pack("<IQ", STRING, 1 << 62) + bytes(40),
    "array of 2^40 strings": start(keys=1) + text("a") + struct.pack("<IIQ", ARRAY, STRING, 1 << 40),
    "array of 2^63 numbers": start(keys=1) + text("a") + struct.pack("<IIQ", ARRAY, 10, 1 << 63),
    "array of 2^63 arrays": start(keys=1) + text("a") + struct.pack("<IIQ", ARRAY, ARRAY, 1 << 63),
    "array of unknown type": start(keys=1) + text("a") + struct.pack("<IIQ", ARRAY, 77, 1) + bytes(8),
    "nested 20,000 deep": start(keys=1) + text("a") + struct.pack("<I", ARRAY) + NESTED,
    "unknown metadata type": start(keys=1) + text("a") + struct.pack("<I", 13) + bytes(40),
    "a key twice": start(keys=2) + pair("a", 1) + pair("a", 2),
    "key not UTF-8": start(keys=1) + text(b"\xff\xfe") + bytes(40),
    "alignment 0": gguf({"general.alignment": 0}),
    "alignment 3": gguf({"general.alignment": 3}),
    "alignment is text": gguf({"general.alignment": "32"}),
    "2^31 dimensions": start(tensors=1) + text("w") + struct.pack("<I", 1 << 31) + bytes(40),
    "shape overflows": start(tensors=1) + tensor("w", (1 << 62, 4), F32, 0) + bytes(40),
    "rows that are no blocks": start(tensors=1) + tensor("w", (33,), Q8_0, 0) + bytes(40),
    "offset not aligned": start(tensors=1) + tensor("w", (32,), F32, 7) + bytes(40),
    "impossible type": start(tensors=1) + tensor("w", (32,), 1 << 31, 0) + bytes(40),
    "a tensor twice": start(tensors=2) + tensor("w", (32,), F32, 0) * 2 + bytes(400),
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_the_format_does_not_allow_is_refused_with_a_reason(raw: bytes) -> None:
    assert refuse(raw)


def test_an_offset_beyond_the_file_is_a_claim_not_a_fact() -> None:
    header = read(start(tensors=1) + tensor("w", (32,), F32, 1 << 60) + bytes(64))
    assert not header.fits


def test_control_a_reader_that_believes_counts_would_go_on_for_ever() -> None:
    def naive(raw: bytes) -> Iterator[bytes]:
        stream = io.BytesIO(raw)
        stream.seek(24 + 9 + 8)
        for _ in range(int.from_bytes(stream.read(8), "little")):
            yield stream.read(int.from_bytes(stream.read(8), "little"))

    read_past_the_end = list(itertools.islice(naive(HOSTILE["array of 2^40 strings"]), 10_000))
    assert len(read_past_the_end) == 10_000
    assert "more than the file can hold" in refuse(HOSTILE["array of 2^40 strings"])


BOMBS = {
    "300,000 empty strings": start(keys=1)
    + text("a")
    + struct.pack("<IIQ", ARRAY, STRING, 300_000)
    + bytes(8 * 300_000),
    "a vocabulary beyond what is read": start(keys=1)
    + text("a")
    + struct.pack("<IIQ", ARRAY, 0, 40 << 20)
    + bytes(40 << 20),
    "nested arrays": start(keys=1)
    + text("a")
    + struct.pack("<IIQ", ARRAY, ARRAY, 50_000)
    + struct.pack("<IQ", 0, 0) * 50_000,
    "65,536 keys of 400 bytes": start(keys=65_536)
    + b"".join(pair(f"k{number}", "x" * 400) for number in range(65_536)),
}


@pytest.mark.parametrize("raw", BOMBS.values(), ids=BOMBS.keys())
def test_no_file_costs_more_than_64_mib(raw: bytes) -> None:
    stream = io.BytesIO(raw)
    tracemalloc.start()
    try:
        read_header(stream)
    except MalformedHeader:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 64 << 20


def check_harmless(raw: bytes) -> None:
    tracemalloc.start()
    try:
        header = read(raw)
        assert header.parameters >= 0
        assert header.quant is None or header.quant
    except MalformedHeader:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < (1 << 20) + 64 * len(raw)


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    check_harmless(raw)
    check_harmless(b"GGUF\x03\0\0\0" + raw)


@settings(deadline=None)
@given(st.data())
def test_a_mutated_header_is_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(model_gguf())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(raw) - 1))
        change = data.draw(st.binary(min_size=1, max_size=8))
        raw[at : at + len(change)] = change
    check_harmless(bytes(raw[: data.draw(st.integers(0, len(raw)))]) if data.draw(st.booleans()) else bytes(raw))


# The first bytes alone


def test_the_first_bytes_tell_what_stands_in_them_and_nothing_of_what_comes_later() -> None:
    raw = model_gguf(15)
    whole = read_start(raw, len(raw))
    assert (whole.architecture, whole.file_type, whole.parameters, whole.whole) == ("llama", 15, 288, True)
    assert "tokenizer.chat_template" not in whole.metadata
    short = read_start(raw[:200], len(raw))
    assert (short.architecture, short.file_type, short.parameters, short.whole) == ("llama", None, None, False)
    with pytest.raises(MalformedHeader):  # the control: the reader of whole headers does not guess
        read(raw[:200])


def test_every_prefix_of_a_header_tells_a_part_of_the_same_or_that_it_is_too_short() -> None:
    raw = model_gguf(15)
    whole = read_start(raw, len(raw))
    told = 0
    for end in range(len(raw)):
        try:
            start = read_start(raw[:end], len(raw))
        except MalformedHeader:
            assert told == 0
            continue
        assert start.metadata.items() <= whole.metadata.items()
        assert len(start.metadata) >= told
        told = len(start.metadata)


@pytest.mark.parametrize("raw", [b"", b"GGUF", b"<!DOCTYPE html>" + b" " * 100, start(keys=1 << 60), start(version=1)])
def test_first_bytes_of_something_else_are_refused(raw: bytes) -> None:
    with pytest.raises(MalformedHeader):
        read_start(raw, 1 << 30)
