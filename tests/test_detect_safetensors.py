"""Safetensors headers and indexes: what they tell, and what hostile ones cost."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from detect_kit import plain, safetensors, with_header
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.detect.malformed import MalformedHeader
from reconciler.detect.safetensors import SafetensorsHeader, read_header, read_index


def read(raw: bytes) -> SafetensorsHeader:
    return read_header(io.BytesIO(raw))


def refuse(raw: bytes) -> str:
    with pytest.raises(MalformedHeader) as caught:
        read(raw)
    return str(caught.value)


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_tensors_are_counted_by_dtype() -> None:
    header = read(safetensors({"a": ("BF16", (3, 4)), "b": ("F32", (2,)), "c": ("F32", ())}, {"format": "pt"}))
    assert dict(header.elements) == {"BF16": 12, "F32": 3}
    assert (header.parameters, header.tensor_count, header.dominating) == (15, 3, "BF16")
    assert header.metadata == {"format": "pt"}
    assert header.fits


def test_side_tables_of_a_quantiser_are_no_parameters() -> None:
    header = read(safetensors({"x.qweight": ("I32", (8,)), "x.scales": ("F16", (100,)), "x.g_idx": ("I32", (64,))}))
    assert dict(header.weights) == {"I32": 8}
    assert {"qweight", "scales", "g_idx"} <= header.marks


def test_names_may_be_escaped_and_entries_in_any_order() -> None:
    raw = b'{ "\\u0061" :{"shape":[1],"data_offsets":[0,4],"dtype":"F32"},"__metadata__":{"q":"a\\"b"}}   '
    header = read(with_header(raw, 4))
    assert (header.names, header.metadata) == (("a",), {"q": 'a"b'})


def test_a_dtype_of_tomorrow_is_counted_not_refused() -> None:
    assert dict(read(with_header({"a": entry("F7_X", [3], [0, 8])}, 8)).elements) == {"F7_X": 3}


def test_a_file_cut_short_is_told_from_its_header() -> None:
    raw = plain()
    assert not read(raw[:-1]).fits
    assert read(raw[:-1]).dominating == "BF16"


def test_an_empty_model_is_a_model() -> None:
    assert read(with_header({})).tensor_count == 0


HOSTILE = {
    "empty": b"",
    "header of 2^63 bytes": struct.pack("<Q", 1 << 63) + b"{}" + bytes(20),
    "header longer than the file": struct.pack("<Q", 100) + b"{}",
    "header of 101 MB": struct.pack("<Q", 101_000_000) + b"{}" + bytes(20),
    "no JSON": with_header(b"[1, 2, 3]"),
    "broken JSON": with_header(b'{"a": {"dtype": '),
    "not UTF-8": with_header(b'{"\xff\xfe":{}}'),
    "overlap": with_header({"a": entry(), "b": entry(offsets=(4, 12))}, 12),
    "the same bytes twice": with_header({"a": entry(), "b": entry()}, 8),
    "hole": with_header({"a": entry(), "b": entry(offsets=(12, 20))}, 20),
    "hole at the start": with_header({"a": entry(offsets=(4, 12))}, 12),
    "trailing bytes": with_header({"a": entry()}, 9),
    "negative shape": with_header({"a": entry(shape=(-2,))}, 8),
    "offsets backwards": with_header({"a": entry(offsets=(8, 0))}, 8),
    "offsets against the shape": with_header({"a": entry(shape=(3,))}, 8),
    "shape overflows": with_header({"a": entry(shape=(1 << 40, 1 << 40))}, 8),
    "a number of 5,000 digits": with_header(b'{"a":{"dtype":"F32","shape":[1' + b"0" * 5000 + b"]}}", 8),
    "shape is text": with_header({"a": entry(shape="2")}, 8),
    "shape of booleans": with_header({"a": entry(shape=[True, 2])}, 8),
    "shape of fractions": with_header({"a": entry(shape=[2.0])}, 8),
    "three offsets": with_header({"a": entry(offsets=(0, 8, 8))}, 8),
    "dtype is a number": with_header({"a": entry(dtype=4)}, 8),
    "dtype with an escape": with_header({"a": entry(dtype="\x1b[2K")}, 8),
    "dtype missing": with_header({"a": {"shape": [2], "data_offsets": [0, 8]}}, 8),
    "a field too many": with_header({"a": {**entry(), "x": 1}}, 8),
    "a tensor twice": with_header(b'{"a":%b,"a":%b}' % ((json.dumps(entry(shape=[0], offsets=[0, 0])).encode(),) * 2)),
    "a field twice": with_header(b'{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8),
    "metadata twice": with_header(b'{"__metadata__":{},"__metadata__":{}}'),
    "metadata that is no text": with_header({"__metadata__": {"a": 1}}),
    "metadata nested": with_header(b'{"__metadata__":' + b'{"a":' * 20_000),
    "lists nested": with_header(b'{"a":' + b"[" * 100_000),
    "a second value": with_header(b"{}{}"),
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_the_format_does_not_allow_is_refused_with_a_reason(raw: bytes) -> None:
    assert refuse(raw)


def test_control_plain_json_would_take_doubled_names_and_keep_the_last() -> None:
    raw = HOSTILE["a tensor twice"]
    assert len(json.loads(raw[8:])) == 1
    assert "twice" in refuse(raw)


def test_more_header_than_we_are_willing_to_read_is_refused_before_it_is_read() -> None:
    raw = struct.pack("<Q", 17 << 20) + b"{" + b" " * (17 << 20)
    assert "at most" in refuse(raw)


BOMBS = {
    "a million lists": with_header(b'{"a":' + b"[]," * (1 << 20)),
    "two million escapes": with_header(b'{"__metadata__":{"a":"' + b'\\"' * (2 << 20) + b'"}}'),
    "wide characters": with_header(b'{"__metadata__":{"a":"' + "💥".encode() * (1 << 20) + b'"}}'),
    "40,000 metadata keys": with_header({"__metadata__": {str(number): "x" * 100 for number in range(40_000)}}),
    "a name of 4 MiB": with_header(b'{"' + b"a" * (4 << 20) + b'":{}}'),
}


@pytest.mark.parametrize("raw", BOMBS.values(), ids=BOMBS.keys())
def test_no_header_costs_much_more_than_its_bytes(raw: bytes) -> None:
    stream = io.BytesIO(raw)
    tracemalloc.start()
    try:
        read_header(stream)
    except MalformedHeader:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < (2 << 20) + 3 * len(raw)


def check_harmless(raw: bytes) -> None:
    with contextlib.suppress(MalformedHeader):
        assert read(raw).parameters >= 0


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    check_harmless(raw)
    check_harmless(with_header(b"{" + raw))


@settings(deadline=None)
@given(st.data())
def test_a_mutated_header_is_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(safetensors({"a.weight": ("F16", (2, 3)), "b": ("I32", (4,))}, {"format": "pt"}))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(raw) - 1))
        change = data.draw(
            st.binary(min_size=1, max_size=4) | st.sampled_from([b"[", b"{", b'"', b",", b"9" * 30, b"\\"])
        )
        raw[at : at + len(change)] = change
    check_harmless(bytes(raw))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=10), st.fixed_dictionaries({"dtype": _JSON, "shape": _JSON, "data_offsets": _JSON}) | _JSON
    )
)
def test_any_json_is_read_or_refused(header: Any) -> None:
    check_harmless(with_header(header, 8))


def index(world: Path, content: Any) -> Path:
    path = world / "model.safetensors.index.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def test_an_index_names_each_file_once(world: Path) -> None:
    weights = {
        "a": "model-00002-of-00002.safetensors",
        "b": "model-00001-of-00002.safetensors",
        "c": "model-00001-of-00002.safetensors",
    }
    found = read_index(index(world, {"metadata": {"total_size": 12}, "weight_map": weights}))
    assert found == (("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"), 12)


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/passwd", "a//b", "a\\b", "C:x", "", ".", "a\n", "\x1b[2K", 7, None]
)
def test_an_index_that_names_files_elsewhere_is_refused(world: Path, name: object) -> None:
    with pytest.raises(MalformedHeader):
        read_index(index(world, {"weight_map": {"a": name}}))


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b"[" * 100_000, b"{" + b'"a":[' * 100_000, b"[" + b"1," * 500_000, b"\xff"]
)
def test_an_index_that_is_none_is_refused(world: Path, raw: bytes) -> None:
    with pytest.raises(MalformedHeader):
        read_index(index(world, raw))
