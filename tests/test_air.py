"""AIR: what is one, what it names, and how it is written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.air import EXPECTED, Air, canonical, parse, refusal, verdict
from reconciler.references import Reference
from reconciler.references import parse as parse_source

CIVITAI = Air("sdxl", "lora", "civitai", "1327644", "1498986")

CANONICAL: dict[str, Air] = {
    "urn:air:sdxl:lora:civitai:1327644@1498986": CIVITAI,
    "urn:air:sdxl:checkpoint:civitai:82@25+24": Air("sdxl", "checkpoint", "civitai", "82", "25", "24"),
    "urn:air:some-video-22-i2v:checkpoint:civitai:19@22": Air("some-video-22-i2v", "checkpoint", "civitai", "19", "22"),
    "urn:air:video14b_i2v_720p:unknown:civitai:18@20": Air("video14b_i2v_720p", "unknown", "civitai", "18", "20"),
    "urn:air:SDXL:lora:civitai:1@2": Air("SDXL", "lora", "civitai", "1", "2"),
    "urn:air:flux:vae:huggingface:a/b@main": Air("flux", "vae", "huggingface", "a/b", "main"),
    "urn:air:flux:diffusion_model:huggingface:Some-Org/x_y.z@main/split/x-Q5_K_M.gguf": Air(
        "flux", "diffusion_model", "huggingface", "Some-Org/x_y.z", "main/split/x-Q5_K_M.gguf"
    ),
    "urn:air:sdxl:lora:huggingface:a/b@refs/pr/1/f.safetensors": Air(
        "sdxl", "lora", "huggingface", "a/b", "refs/pr/1/f.safetensors"
    ),
    "urn:air:gpt:model:openai:gpt@4": Air("gpt", "model", "openai", "gpt", "4"),
    "urn:air:oci:image:ghcr:a/b@sha256:0123": Air("oci", "image", "ghcr", "a/b", "sha256:0123"),
    "urn:air:oci:image:ghcr:someone/comfy@v1": Air("oci", "image", "ghcr", "someone/comfy", "v1"),
    "urn:air:comfy:nodepack:comfyregistry:a/b-c@1.4.0": Air("comfy", "nodepack", "comfyregistry", "a/b-c", "1.4.0"),
    "urn:air:llm:gguf:ollama:library/llama3.2@3b": Air("llm", "gguf", "ollama", "library/llama3.2", "3b"),
    "urn:air:other:other:civitai-r2:bucket@images/6/1Data.Eb.zip": Air(
        "other", "other", "civitai-r2", "bucket", "images/6/1Data.Eb.zip"
    ),
}

LENIENT: dict[str, Air] = {
    "urn:air:sdxl:lora:civitai:1327644": Air("sdxl", "lora", "civitai", "1327644"),
    "urn:air:sdxl:lora:civitai:1327644+7": Air("sdxl", "lora", "civitai", "1327644", None, "7"),
    "urn:air:sdxl:lora:civitai:1@2.safetensor": Air("sdxl", "lora", "civitai", "1", "2", None, "safetensor"),
    "urn:air:sdxl:lora:civitai:1@2+3.SafeTensor": Air("sdxl", "lora", "civitai", "1", "2", "3", "safetensor"),
    "air:sdxl:lora:civitai:1@2": Air("sdxl", "lora", "civitai", "1", "2"),
    "sdxl:lora:civitai:1@2": Air("sdxl", "lora", "civitai", "1", "2"),
    " urn:air:sdxl:lora:civitai:1@2\n": Air("sdxl", "lora", "civitai", "1", "2"),
    "civitai:23@28": Air(None, None, "civitai", "23", "28"),
    "urn:air:civitai:23@28": Air(None, None, "civitai", "23", "28"),
    "urn:air:model:huggingface:owner/some-vae": Air(None, "model", "huggingface", "owner/some-vae"),
    "urn:air:sdxl:civitai:1@2": Air("sdxl", None, "civitai", "1", "2"),
    "urn:air:skill:example.com:code-review": Air("skill", None, "example.com", "code-review"),
}

UNFINISHED = ("urn:air:sdxl:lora", "urn:air:sdxl:lora:civitai", "air:a:b")
"""Shapes of an AIR in which nothing can be told apart."""

INVALID = (
    "",
    " ",
    "urn:air:",
    "air:",
    "urn:air:sdxl",
    "realesrgan_x4plus",
    "wan2.2_t2v_14B_fp16",
    "foo:bar",
    "model@1",
    "1@2",
    "urn:air:sd xl:lora:civitai:1@2",
    "urn:air:sdxl:lora:civitai:",
    "urn:air:sdxl:lora:civitai:1@",
    "urn:air:sdxl:lora:civitai:@2",
    "urn:air:sdxl:lora:civitai:abc@def",
    "urn:air:sdxl:lora:civitai:1@two",
    "urn:air:sdxl:lora:civitai:1+",
    "urn:air:sdxl:lora:civitai:1@2+",
    "urn:air:sdxl:lora:civitai:0@1",
    "urn:air:sdxl:lora:civitai:01@1",
    "urn:air:sdxl:lora:civitai:1@0",
    "urn:air:sdxl:lora:civitai:1@2+0",
    "urn:air:sdxl:lora:civitai:1@2.",
    "urn:air:sdxl:lora:civitai:1@2.safe tensor",
    "urn:air:sdxl:lora:civitai:1@2@3",
    "urn:air:sdxl:lora:civitai:\u0661@2",
    "urn:air:\u017fdxl:lora:civitai:1@2",
    '"urn:air:sdxl:lora:civitai:1@2"',
    "'urn:air:sdxl:lora:civitai:1@2'",
    "`urn:air:sdxl:lora:civitai:1@2`",
    "urn:air:_ecosystem_:lora:civitai:1@2",
    "urn:air:{ecosystem}:lora:civitai:1@2",
    "urn:air:<base>:lora:civitai:1@2",
    "urn:air::lora:civitai:1@2",
    "urn:air:sdxl:lora:civitai:1:2",
    "urn:air:sdxl:lora:civitai:1@2:3",
    "urn:air:sdxl:lora:huggingface:a/b@main:x",
    "urn:air:a:b:c:d:e",
    "urn:air:sdxl:lora:huggingface:repo@main",
    "urn:air:sdxl:lora:huggingface:a/b/c@main",
    "urn:air:sdxl:lora:huggingface:a%2Fb@main",
    "urn:air:sdxl:lora:huggingface:a/..@main",
    "urn:air:sdxl:lora:huggingface:a--b/c@main",
    "urn:air:sdxl:lora:huggingface:a/b@main/../../etc/passwd",
    "urn:air:sdxl:lora:huggingface:a/b@main/%2e%2e/x",
    "urn:air:sdxl:lora:huggingface:a/b@main/%252e%252e/x",
    "urn:air:sdxl:lora:huggingface:a/b@main//x",
    "urn:air:sdxl:lora:huggingface:a/b@main/x\\y",
    "urn:air:sdxl:lora:huggingface:a/b@/x",
    "urn:air:sdxl:lora:huggingface:a/b@main/",
    "urn:air:sdxl:lora:huggingface:a/b@main/x%00y",
    "urn:air:other:other:civitai-r2:bucket@../x",
    "urn:air:other:other:ghcr:/x@1",
    "urn:air:sdxl:lora:civitai:1@2\x00",
    "urn:air:sdxl:lora:civitai:" + "1" * 20,
    "urn:air:" + "a" * 3000 + ":lora:civitai:1@2",
)


@pytest.mark.parametrize(("text", "air"), CANONICAL.items())
def test_a_canonical_air_is_taken_apart_and_printed_as_it_was(text: str, air: Air) -> None:
    assert (verdict(text), parse(text), str(air)) == ("canonical", air, text)


@pytest.mark.parametrize(("text", "air"), LENIENT.items())
def test_a_loose_air_is_understood_and_marked_for_rewriting(text: str, air: Air) -> None:
    assert (verdict(text), parse(text)) == ("lenient", air)


@pytest.mark.parametrize("text", UNFINISHED)
def test_an_air_that_ends_too_early_has_the_shape_and_names_nothing(text: str) -> None:
    assert verdict(text) == "lenient"
    with pytest.raises(ValueError, match="ends too early"):
        parse(text)


@pytest.mark.parametrize("text", INVALID)
def test_what_is_no_air_is_refused_with_a_reason(text: str) -> None:
    assert verdict(text) == "invalid"
    with pytest.raises(ValueError, match=r"not |an AIR|quotation|filled in"):
        parse(text)


@pytest.mark.parametrize("air", [*CANONICAL.values(), *LENIENT.values()])
def test_what_is_printed_is_read_back_to_the_same_value(air: Air) -> None:
    assert parse(str(air)) == air


@pytest.mark.parametrize(
    ("loose", "full"),
    [
        ("civitai:23@28", "urn:air:other:unknown:civitai:23@28"),
        (" air:sdxl:LoRA:CivitAI:1@2+3.safetensor ", "urn:air:sdxl:lora:civitai:1@2+3"),
        ("urn:air:model:huggingface:a/b@main/x.gguf", "urn:air:other:model:huggingface:a/b@main/x.gguf"),
    ],
)
def test_a_loose_air_is_rewritten_in_full(loose: str, full: str) -> None:
    assert canonical(parse(loose)) == full
    assert verdict(full) == "canonical"


def test_the_ecosystem_the_type_and_the_format_are_hints() -> None:
    one = parse("urn:air:sd15:lora:civitai:1@2+3.safetensor")
    other = parse("urn:air:SD1:unknown:CIVITAI:1@2+3")

    assert one != other
    assert one.identity == other.identity == ("civitai", "1", "2", "3")


@pytest.mark.parametrize("other", ["1@3", "2@2", "1@2+4", "1"])
def test_model_version_and_file_are_not_hints(other: str) -> None:
    assert parse("civitai:1@2").identity != parse(f"civitai:{other}").identity


@pytest.mark.parametrize(
    ("version", "revision", "path"),
    [
        ("main", "main", ""),
        ("main/x.gguf", "main", "x.gguf"),
        ("v1.0/split%20files/x.gguf", "v1.0", "split files/x.gguf"),
        ("refs/pr/12/x/y.gguf", "refs/pr/12", "x/y.gguf"),
        ("refs/convert/parquet", "refs/convert/parquet", ""),
        ("refs%2Fpr%2F1/x.gguf", "refs/pr/1", "x.gguf"),
        ("refs/pr/1x/y", "refs", "pr/1x/y"),
    ],
)
def test_the_version_of_a_hub_air_holds_a_revision_and_a_path(version: str, revision: str, path: str) -> None:
    air = parse(f"urn:air:sdxl:lora:huggingface:a/b@{version}")

    assert (air.revision, air.path) == (revision, path)


def test_only_a_hub_air_names_a_path() -> None:
    assert (CIVITAI.revision, CIVITAI.path) == ("1498986", "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("urn:air:oci:image:ghcr:someone/comfy@v1", "container image"),
        ("urn:air:comfy:nodepack:comfyregistry:a/b@1", "code"),
        ("urn:air:gpt:model:openai:gpt@4", "cannot be fetched"),
        ("urn:air:other:other:civitai-r2:bucket@x.zip", "cannot be fetched"),
        ("urn:air:skill:example.com:review", "no source that we know"),
    ],
)
def test_an_air_without_weights_or_of_a_source_that_cannot_be_fetched_is_refused(text: str, reason: str) -> None:
    why = refusal(parse(text))

    assert why is not None
    assert reason in why
    with pytest.raises(ValueError, match=r"not a|cannot"):
        parse_source(text)


@pytest.mark.parametrize("text", ["urn:air:sdxl:lora:civitai:1@2", "urn:air:sdxl:unknown:huggingface:a/b@main/x.gguf"])
def test_an_air_of_weights_that_can_be_fetched_is_not_refused(text: str) -> None:
    assert refusal(parse(text)) is None


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("urn:air:sdxl:lora:civitai:1", Reference("civitai", "1")),
        ("urn:air:sdxl:lora:civitai:1@2+3", Reference("civitai", "1", "2", "3")),
        ("urn:air:x:vae:huggingface:a/b", Reference("hf", "a/b")),
        ("urn:air:x:vae:huggingface:a/b@refs/pr/1/c/d.gguf", Reference("hf", "a/b", "refs/pr/1", "c/d.gguf")),
    ],
)
def test_a_manifest_may_name_an_air_as_its_source(text: str, reference: Reference) -> None:
    assert parse_source(text) == reference


@pytest.mark.parametrize("text", ["urn:air:civitai:1@2", "urn:air:lora:civitai:1@2", "urn:air:sdxl:lora:civitai:1@2 "])
def test_a_manifest_says_the_whole_air(text: str) -> None:
    with pytest.raises(ValueError, match="not a whole AIR"):
        parse_source(text)


def naive(text: str) -> dict[str, Any] | None:
    """The control: one expression, as most readers have it."""
    import re

    found = re.fullmatch(r"(?:urn:)?(?:air:)?(\w+):(\w+):(\w+):([^@\s]+)@(\S+)", text)
    return {"id": found[4], "version": found[5]} if found else None


def test_one_expression_alone_takes_what_must_be_refused() -> None:
    taken = [text for text in INVALID if naive(text)]

    assert "urn:air:sdxl:lora:civitai:abc@def" in taken
    assert "urn:air:sdxl:lora:huggingface:a/b@main/../../etc/passwd" in taken


@settings(deadline=None)
@given(st.one_of(
    st.text(max_size=60),
    st.builds(
        "urn:air:{}:{}:{}:{}".format,
        st.text(max_size=8), st.sampled_from(["lora", "image", "", "x y"]),
        st.sampled_from(["civitai", "huggingface", "CivitAI", "ghcr", "x"]), st.text(max_size=30),
    ),
    st.from_regex(r"\A(urn:air:|air:|)([a-z_]{1,5}:){1,4}[a-z0-9./%]{1,9}(@[a-z0-9./%+]{0,12})?\Z"),
))  # fmt: skip
@example("urn:air:a:b:ghcr:x@%2e%2e/y")
@example("air:x")
def test_any_text_is_an_air_that_reads_back_or_a_refusal(text: str) -> None:
    try:
        air = parse(text)
    except ValueError:
        assert verdict(text) in ("invalid", "lenient")
        return
    assert verdict(text) != "invalid"
    assert parse(str(air)) == air
    assert parse(canonical(air)).identity == air.identity
    assert ".." not in air.path.split("/")
    assert not air.path.startswith("/")
    if air.source == "civitai":
        assert all(part is None or int(part) > 0 for part in (air.id, air.version, air.file_id))


def test_the_refusal_says_what_was_expected() -> None:
    with pytest.raises(ValueError, match="not an AIR") as refused:
        parse("realesrgan_x4plus")
    assert EXPECTED in str(refused.value)
