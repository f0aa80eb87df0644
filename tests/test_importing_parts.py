"""The files of a repository, parted into variants, and the globs that mean them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.globs import check_pattern, matches
from reconciler.importing.parts import Part, denied, is_book, is_weight, lacks, parts, selection

SAFE = ("README.md", "config.json", "model.safetensors", "tokenizer.json", "vocab.txt")


def test_several_quants_are_several_variants_each_with_the_projector() -> None:
    found = parts(["m-Q4_K_M.gguf", "m-Q8_0.gguf", "mmproj-m-F16.gguf", "README.md"])

    assert [(part.quant, part.files) for part in found] == [
        ("q4_k_m", ("m-Q4_K_M.gguf", "mmproj-m-F16.gguf")),
        ("q8_0", ("m-Q8_0.gguf", "mmproj-m-F16.gguf")),
    ]


def test_what_lies_beside_several_quants_is_a_variant_of_its_own_where_it_holds_weights() -> None:
    found = parts(["m-Q4_K_M.gguf", "m-Q8_0.gguf", "README.md", "config.json", "model.safetensors"])

    assert [part.quant for part in found] == ["q4_k_m", "q8_0", ""]
    assert found[2] == Part(("README.md", "config.json", "model.safetensors"), "", alone=False)


def test_the_shards_of_a_quant_stay_together() -> None:
    [part, _] = parts(["Q4_K_M/m-00001-of-00002.gguf", "Q4_K_M/m-00002-of-00002.gguf", "Q8_0/m.gguf"])

    assert part.files == ("Q4_K_M/m-00001-of-00002.gguf", "Q4_K_M/m-00002-of-00002.gguf")


def test_one_quant_is_the_whole_repository() -> None:
    [part] = parts(["m-Q4_K_M.gguf", "README.md"])

    assert part.files == ("README.md", "m-Q4_K_M.gguf")


def test_without_weights_there_is_no_variant() -> None:
    assert parts(["config.json", "README.md"]) == ()


def test_the_whole_repository_needs_no_globs() -> None:
    assert selection(Part(SAFE), [*SAFE, ".gitattributes"]) == {}


def test_many_files_are_told_by_their_endings_which_never_mean_more_than_is_there() -> None:
    assert selection(Part(SAFE), [*SAFE, "model.onnx"]) == {"files": ["*.json", "*.md", "*.safetensors", "*.txt"]}
    assert selection(Part(SAFE), [*SAFE, "other.safetensors"]) == {"files": list(SAFE)}
    assert selection(Part(SAFE), [*SAFE, "original/config.json", "other.safetensors"]) == {
        "files": list(SAFE), "exclude": ["*/**"],
    }  # fmt: skip


def test_where_nobody_was_asked_names_are_exact_and_shards_one_pattern() -> None:
    shards = ("config.json", *(f"model-0000{n}-of-00002.safetensors" for n in (1, 2)))

    said = selection(Part(shards), None)

    assert said == {"files": ["config.json", "model-*-of-00002.safetensors"], "exclude": ["*/**"]}
    assert not any(matches(pattern, "consolidated.safetensors") for pattern in said["files"])
    assert selection(Part(("1_Pooling/config.json", "model.safetensors")), None) == {
        "files": ["1_Pooling/config.json", "model.safetensors"],
    }  # fmt: skip


def test_a_gguf_is_always_named_exactly() -> None:
    files = ("README.md", "a.json", "b.json", "c.json", "m-Q4_K_M.gguf")

    assert selection(Part(files), [*files, "a.bin"]) == {"files": ["m-Q4_K_M.gguf", "*.json", "*.md"]}


@given(st.text(st.sampled_from("ab[]*?!-."), min_size=1, max_size=12).filter(lambda name: name.strip(".!")))
def test_an_exact_name_means_itself_and_nothing_else(name: str) -> None:
    name = f"x{name}.gguf"
    [pattern] = selection(Part((name,), alone=False), None)["files"]

    check_pattern(pattern)
    assert matches(pattern, name)
    assert not matches(pattern, name.replace("*", "y").replace("?", "z").replace("[", "w") + "q")
    assert pattern == name or not matches(pattern, "xaaaa.gguf") or name == "xaaaa.gguf"


def test_what_lacks_a_shard_is_not_whole() -> None:
    assert "m-00002-of-00002.safetensors missing" in lacks(["m-00001-of-00002.safetensors"])
    assert lacks(["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"]) == ""


def test_pickles_alone_are_denied_and_beside_safetensors_they_do_no_harm() -> None:
    assert "model.bin" in denied(["model.bin", "config.json"], "deny")
    assert denied(["model.bin"], "allow") == ""
    assert denied(["model.bin", "model.safetensors"], "deny") == ""


@pytest.mark.parametrize(
    ("path", "weight", "book"),
    [
        ("a/m.GGUF", True, False),
        ("a/pytorch_model.bin", True, False),
        ("a/tokenizer.json", False, False),
        (".cache/huggingface/download/m.gguf.metadata", False, True),
        ("a/.hidden/m.gguf", True, True),
        ("a/.gitattributes", False, False),
    ],
)
def test_weights_and_books_are_told_by_their_names(path: str, weight: bool, book: bool) -> None:
    assert (is_weight(path), is_book(path)) == (weight, book)
