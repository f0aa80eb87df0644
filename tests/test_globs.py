"""Which files a pattern means."""

from __future__ import annotations

from fnmatch import fnmatchcase
from time import process_time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler import links
from reconciler.globs import check_pattern, matches, matches_text


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*.gguf", "a.gguf"),
        ("*.gguf", "deep/er/a.gguf"),
        ("config.json", "1_Pooling/config.json"),
        ("*Q4_K_M.gguf", "Llama-3.2-Q4_K_M.gguf"),
        ("model-0000[1-3]-of-*.safetensors", "model-00002-of-00004.safetensors"),
        ("[!.]*", "a"),
        ("?", "é"),
        ("**", "a/b/c"),
        ("original/*", "original/params.json"),
        ("original/**", "original/a/b.pth"),
        ("original/", "original/a/b.pth"),
        ("**/config.json", "config.json"),
        ("**/config.json", "a/b/config.json"),
        ("a/**/z", "a/z"),
        ("a/**/z", "a/b/c/z"),
        ("**/x/**/y/*", "1/x/2/3/y/4"),
        ("*/*.bin", "onnx/a.bin"),
        ("[[]v1].gguf", "[v1].gguf"),
    ],
)
def test_a_pattern_means_these_files(pattern: str, path: str) -> None:
    assert check_pattern(pattern) == pattern
    assert matches(pattern, path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*.gguf", "a.gguf.part"),
        ("*.GGUF", "a.gguf"),
        ("original/*", "original/a/b.pth"),
        ("original/*", "x/original/a"),
        ("original/**", "original"),
        ("*/config.json", "config.json"),
        ("*/config.json", "a/b/config.json"),
        ("a/**/z", "a/b"),
        ("config.json", "config.json/x"),
        ("a?b", "a/b"),
        ("(a+)+$", "aaaaaaaaaaaa"),
        ("a.b", "axb"),
    ],
)
def test_a_pattern_does_not_mean_these_files(pattern: str, path: str) -> None:
    assert not matches(pattern, path)


@pytest.mark.parametrize(
    "pattern", ["", "!x", "/etc/x", "~/x", "a\\b", "C:x", "a/../b", "./a", "a//b", "a\nb", "*" * 99, "x" * 999]
)
def test_what_is_no_pattern_below_a_source_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"pattern"):
        check_pattern(pattern)


_LETTERS = st.text(alphabet="ab*?[]!-.", max_size=12)


@given(_LETTERS, st.text(alphabet="ab-.]", min_size=1, max_size=12))
def test_without_a_slash_it_is_fnmatch_of_the_base_name(pattern: str, name: str) -> None:
    assert matches(pattern, name) == fnmatchcase(name, pattern)
    assert matches(pattern, f"some/where/{name}") == fnmatchcase(name, pattern)


def _naive(pattern: list[str], parts: list[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_naive(pattern[1:], parts[n:]) for n in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _naive(pattern[1:], parts[1:])


_PARTS = st.lists(st.sampled_from(["a", "b", "ab", "c"]), min_size=1, max_size=6)


@given(st.lists(st.sampled_from(["a", "b", "*", "**", "a*"]), min_size=1, max_size=6).map(lambda p: [*p, "*"]), _PARTS)
def test_with_slashes_it_agrees_with_trying_everything(pattern: list[str], parts: list[str]) -> None:
    assert matches("/".join(pattern), "/".join(parts)) == _naive(pattern, parts)


def test_a_pattern_made_to_take_for_ever_does_not() -> None:
    pattern = "*a" * 16 + "b"
    start = process_time()
    assert not matches(check_pattern(pattern), "a" * 255)
    assert not matches("/".join(["**", "a"] * 8) + "/b", "/".join(["a"] * 500))
    assert process_time() - start < 2  # exponential matching would take hours


def test_texts_ignore_case_and_slashes() -> None:
    assert matches_text("hf:Qwen/*", "hf:qwen/Qwen3-8B-AWQ")
    assert matches_text("*@linux*", "a/b@LINUX_wsl")
    assert not matches_text("gguf", "gguf2")


@pytest.mark.parametrize("name", ["x[1].gguf", "x[!a].gguf", "plain.gguf"])
def test_the_file_of_an_address_is_that_file_and_no_other(name: str) -> None:
    said, _ = links.fields_of(f"https://huggingface.co/acme/Tiny/resolve/main/{quote(name)}")

    [pattern] = said["files"]
    assert check_pattern(pattern)
    assert matches(pattern, name)
    assert not any(matches(pattern, other) for other in ("x1.gguf", "xb.gguf", "x!.gguf"))


def test_a_directory_of_an_address_is_all_that_is_in_it() -> None:
    [pattern] = links.fields_of("https://huggingface.co/acme/Tiny/tree/main/Q4%5Ba%5D")[0]["files"]
    assert matches(pattern, "Q4[a]/m-00001-of-00002.gguf")
    assert not matches(pattern, "Q4a/m-00001-of-00002.gguf")
