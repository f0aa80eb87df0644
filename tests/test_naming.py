"""The names that we make: the rule, redundancy, and that two different things never share one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.naming import MAX_NAME, Named, family_of, names, variant_name

NAMES = {
    (
        "qwen2.5-vl-7b-instruct",
        "vllm",
        "safetensors",
        "awq-q4_k_m",
    ): "qwen2.5-vl-7b-instruct-vllm-safetensors-awq-q4_k_m",
    ("qwen2.5-vl-7b-instruct", "vllm", "awq", "q4_k_m"): "qwen2.5-vl-7b-instruct-vllm-awq-q4_k_m",
    ("qwen2.5-vl-7b-instruct-awq", "vllm", "awq", None): "qwen2.5-vl-7b-instruct-awq-vllm",
    ("CodeLlama-13B-Instruct-AWQ", "vllm", "safetensors", "awq"): "codellama-13b-instruct-awq-vllm-safetensors",
    ("pixtral-12b-captioner", "ollama", "gguf", "q4_0"): "pixtral-12b-captioner-ollama-gguf-q4_0",
    ("granite-3.3-8b-instruct", "vllm", "safetensors", ""): "granite-3.3-8b-instruct-vllm-safetensors",
    ("llava-v1.5-13b", "vllm", "fp16", None): "llava-v1.5-13b-vllm-fp16",
    ("siglip-base-patch16-256", "vllm", None, None): "siglip-base-patch16-256-vllm",
    ("Foo/Bar_Baz Qux@dev", "vLLM", "Safe Tensors", "Q4_K_M"): "foo-bar-baz-qux-dev-vllm-safe-tensors-q4_k_m",
    ("L3.1-Dark-8B-i1-GGUF", "ollama", "gguf", "q6_k"): "l3.1-dark-8b-i1-gguf-ollama-q6_k",
    ("", "ollama", "gguf", "q6_k"): "model-ollama-gguf-q6_k",
    ("model--x__y", "vllm", "GGUF", "Q8_0"): "model-x-y-vllm-gguf-q8_0",
    ("m", "ollama", "gguf", "IQ4_XS"): "m-ollama-gguf-iq4_xs",
    # said once, not twice
    ("coder-7b-gptq-int8", "vllm", "safetensors", "gptq-int8"): "coder-7b-gptq-int8-vllm-safetensors",
    ("gemma3-27b-q4-k-m", "ollama", "gguf", "q4_k_m"): "gemma3-27b-q4-k-m-ollama-gguf",
    ("llama-7b-gptq", "vllm", "safetensors", "gptq-int4"): "llama-7b-gptq-vllm-safetensors-int4",
    ("llama-2-7b.Q4_K_M", "lmstudio", "gguf", "q4_k_m"): "llama-2-7b.q4-k-m-lmstudio-gguf",
    # letters are kept or spelt, not lost
    ("ünïcode-7B", "vllm", "safetensors", "bf16"): "unicode-7b-vllm-safetensors-bf16",
    ("Straße-Œuvre-Łódź", "", "", ""): "strasse-oeuvre-lodz",
    ("日本語モデル-7B", "", "", ""): "日本語モデル-7b",
    ("con", None, None, None): "model-con",
}


@pytest.mark.parametrize(("parts", "name"), NAMES.items())
def test_a_name_is_family_backend_format_quant(
    parts: tuple[str, str | None, str | None, str | None], name: str
) -> None:
    assert variant_name(*parts) == name


FAMILIES = {
    "hf:bartowski/Llama-3.2-3B-Instruct-GGUF": "llama-3.2-3b-instruct",
    "hf:Qwen/Qwen2.5-VL-7B-Instruct-AWQ@main": "qwen2.5-vl-7b-instruct-awq",
    "Qwen/Qwen3-8B": "qwen3-8b",
    "mradermacher/Model-8B-i1-GGUF": "model-8b",
    "ollama:qwen2.5vl:7b": "qwen2.5vl-7b",
    "ollama:llama3:latest": "llama3",
    "ollama:hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M": "llama-3.2-3b-instruct",
    "urn:air:sdxl:lora:civitai:1327644@1498986": "sdxl-lora-civitai-1327644-1498986",
    "civitai:1231067@1498986": "civitai-1231067-1498986",
    "https://example.org/a/Some_Model.safetensors?download=1": "some-model",
    "file:///srv/models/x-7B.Q4_K_M.gguf": "x-7b.q4-k-m",
}


@pytest.mark.parametrize(("source", "family"), FAMILIES.items())
def test_a_source_tells_the_family(source: str, family: str) -> None:
    assert family_of(source) == family


def test_the_name_in_the_contract_is_the_name_that_is_made() -> None:
    family = family_of("hf:bartowski/Llama-3.2-3B-Instruct-GGUF")
    assert variant_name(family, "lmstudio", "gguf", "q4_k_m") == "llama-3.2-3b-instruct-lmstudio-gguf-q4_k_m"


def test_two_owners_and_two_branches_never_collapse() -> None:
    def model(key: str, owner: str, branch: str = "") -> Named:
        return Named(key, "model", "vllm", "safetensors", "awq", owner, branch)

    assert names([model("a", "alice"), model("b", "bob"), model("d", "bob", "dev"), Named("x", "other")]) == {
        "a": "alice-model-vllm-safetensors-awq",
        "b": "bob-model-vllm-safetensors-awq",
        "d": "bob-model-dev-vllm-safetensors-awq",
        "x": "other",
    }


def test_the_same_model_in_two_places_is_told_apart_by_place() -> None:
    here, there = (Named(where, "m", "vllm", owner="o", location=where) for where in ("linux_wsl", "nas"))
    assert names([here, there]) == {"linux_wsl": "o-m-vllm-linux-wsl", "nas": "o-m-vllm-nas"}


def test_equal_keys_are_one_thing() -> None:
    assert names([Named("a", "m"), Named("a", "m")]) == {"a": "m"}


_WORDS = st.sampled_from(
    [
        "",
        "m",
        "M",
        "m-7b",
        "a-m",
        "awq",
        "gguf",
        "main",
        "dev",
        "é",
        "e",
        "a_b",
        "a-b",
        "日本",
        "\u115f",
        "日" * 120,
        "x" * 200,
    ]
)
_NAMED = st.builds(Named, st.integers(0, 50) | st.text(max_size=3), *(_WORDS | st.text(max_size=12) for _ in range(7)))


@settings(deadline=None)
@given(st.lists(_NAMED, max_size=12), st.randoms())
def test_different_things_never_share_a_name_in_whatever_order(items: list[Named], random: object) -> None:
    items = list({item.key: item for item in items}.values())
    made = names(items)
    assert len(set(made.values())) == len(items)
    assert made == names(items[::-1])
    shuffled = items[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert made == names(shuffled)


@settings(deadline=None)
@given(st.lists(_NAMED, max_size=6))
def test_every_name_is_one_that_the_manifest_takes(items: list[Named]) -> None:
    from reconciler.declared import check_name

    for name in names(items).values():
        assert check_name(name) == name
        assert len(name) <= MAX_NAME


@settings(deadline=None)
@given(st.text(), st.text(), st.text(), st.text())
def test_a_name_of_its_own_parts_stays_in_form(family: str, backend: str, form: str, quant: str) -> None:
    from reconciler.declared import check_name

    assert check_name(variant_name(family, backend, form, quant))
