"""Names of Ollama models, as the server reads, lists and files them."""

from __future__ import annotations

import pytest

from reconciler.ollama import names


@pytest.mark.parametrize(
    ("text", "full", "short"),
    [
        ("llama3.2", "registry.ollama.ai/library/llama3.2:latest", "llama3.2:latest"),
        ("qwen3:8b", "registry.ollama.ai/library/qwen3:8b", "qwen3:8b"),
        ("me/tiny:V9", "registry.ollama.ai/me/tiny:V9", "me/tiny:V9"),
        ("hf.co/u/R-GGUF:Q4_K_M", "hf.co/u/R-GGUF:Q4_K_M", "hf.co/u/R-GGUF:Q4_K_M"),
        ("127.0.0.1:18500/acme/tiny:v1", "127.0.0.1:18500/acme/tiny:v1", "127.0.0.1:18500/acme/tiny:v1"),
    ],
)
def test_a_name_is_filled_in_listed_short_and_filed(text: str, full: str, short: str) -> None:
    name = names.parse(text)
    assert (str(name), name.short) == (full, short)
    assert names.from_path(name.path) == name


@pytest.mark.parametrize(
    "text",
    ["", "x:", "/x", ".hid", "-x", "a b", "a/b/c/d", "a:b:c", "x@y", "ns.dot/x", "h/ns.dot/x", "x" * 81],
)
def test_what_the_server_refuses_is_no_name(text: str) -> None:
    with pytest.raises(ValueError, match="not an Ollama name"):
        names.parse(text)


def test_case_is_kept_and_means_nothing() -> None:
    assert names.parse("Acme/Tiny:V1") != names.parse("acme/tiny:v1")
    assert names.parse("Acme/Tiny:V1").key == names.parse("acme/tiny:v1").key


def test_some_tags_say_where_a_model_runs() -> None:
    assert all(map(names.is_reserved, ("local", "cloud", "20b-CLOUD")))
    assert not any(map(names.is_reserved, ("latest", "clouds", "q4-local")))


@pytest.mark.parametrize("path", ["manifests/h/n/m", "manifests/h/n/m/t/u", "blobs/h/n/m/t", "manifests/h/n/m/.hidden"])
def test_other_paths_are_no_manifests(path: str) -> None:
    assert names.from_path(path) is None
