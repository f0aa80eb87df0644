"""Manifests of Ollama models: read, told apart by digest, kept in a lock and given back byte for byte."""

from __future__ import annotations

import contextlib
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.ollama import manifests
from reconciler.ollama.manifests import CONFIG_TYPE, LAYER_TYPE, Layer
from reconciler.state import Digest


def layer(kind: str, content: str, **rest: str) -> Layer:
    digest = Digest(f"sha256:{hashlib.sha256(content.encode()).hexdigest()}")
    return Layer(CONFIG_TYPE if kind == "config" else LAYER_TYPE + kind, digest, len(content), tuple(rest.items()))


CONFIG = layer("config", "{}")
LAYERS = (layer("model", "weights"), layer("template", "{{ .Prompt }}"), layer("license", "MIT"), layer("license", "X"))
TEXT = manifests.compact(CONFIG, LAYERS)


def test_a_manifest_names_its_blobs_and_their_sizes() -> None:
    read = manifests.read(TEXT.encode())
    assert [blob.kind for blob in read.blobs] == ["model", "template", "license", "license", "config"]
    assert read.size == len("weights{{ .Prompt }}MITX{}")


@pytest.mark.parametrize(
    "text",
    [
        TEXT, TEXT.rstrip("\n"), json.dumps(json.loads(TEXT), indent=2),
        manifests.compact(CONFIG, [layer("model", "w", **{"from": "tiny:latest"})]),
        manifests.compact(CONFIG, [layer("tensor", str(n), name=f"t.{n}") for n in range(120)]),
    ],
)  # fmt: skip
def test_a_lock_gives_the_manifest_back_byte_for_byte(text: str) -> None:
    pin = manifests.pin_of("ollama:tiny", text.encode())
    assert manifests.text_of(pin) == text
    assert pin.revision == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def test_what_the_server_writes_needs_no_copy_in_the_lock() -> None:
    assert manifests.pin_of("ollama:tiny", TEXT.encode()).about == {}
    assert manifests.pin_of("ollama:tiny", json.dumps(json.loads(TEXT)).encode()).about  # the control: another form


def test_artifacts_stand_in_the_order_of_the_layers() -> None:
    pin = manifests.pin_of("ollama:tiny", TEXT.encode())
    assert [file.path for file in pin.files] == ["1.model", "2.template", "3.license", "4.license", "config"]


def test_a_digest_may_leave_out_the_last_line_break() -> None:
    data = TEXT.encode()
    assert manifests.is_digest_of(manifests.digest_of(data), data)
    assert manifests.is_digest_of(manifests.digest_of(data[:-1]), data)
    assert not manifests.is_digest_of(manifests.digest_of(data[:-2]), data)


@pytest.mark.parametrize(
    "data", [b"", b"nope", b"[]", b"{}", b'{"config":{}}', b'{"config":{"mediaType":"x"},"layers":3}']
)
def test_damage_is_told(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        manifests.read(data)


def test_a_stub_of_a_remote_model_has_no_layers() -> None:
    value = json.loads(TEXT) | {"layers": None}
    assert manifests.read(json.dumps(value).encode()).layers == ()


@given(st.binary(max_size=200))
def test_no_bytes_make_it_stumble(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        manifests.read(data)
