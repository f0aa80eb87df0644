"""A source taken apart: what each form means, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.references import Reference, branch, is_commit, meant, parse

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("source", "reference"),
    [
        ("hf:owner/repo", Reference("hf", "owner/repo")),
        ("hf:owner/repo@feature/x", Reference("hf", "owner/repo", "feature/x")),
        ("hf:owner/repo@refs/pr/7", Reference("hf", "owner/repo", "refs/pr/7")),
        ("hf:Qwen/Qwen2.5-VL-7B_x@0123456789", Reference("hf", "Qwen/Qwen2.5-VL-7B_x", "0123456789")),
        (f"hf:owner/repo@{COMMIT}", Reference("hf", "owner/repo", COMMIT)),
        ("ollama:qwen3", Reference("ollama", "qwen3")),
        ("ollama:qwen3:8b", Reference("ollama", "qwen3", "8b")),
        ("ollama:someone/model:q4_K_M", Reference("ollama", "someone/model", "q4_K_M")),
        ("ollama:hf.co/owner/repo:Q8_0", Reference("ollama", "hf.co/owner/repo", "Q8_0")),
        ("ollama:127.0.0.1:5000/library/m:1", Reference("ollama", "127.0.0.1:5000/library/m", "1")),
        ("civitai:1327644", Reference("civitai", "1327644")),
        ("civitai:1327644@1498986+12", Reference("civitai", "1327644", "1498986", "12")),
        ("urn:air:sdxl:lora:civitai:1327644@1498986", Reference("civitai", "1327644", "1498986")),
        ("urn:air:sdxl:lora:CivitAI:1@2+3.safetensor", Reference("civitai", "1", "2", "3")),
        ("urn:air:sdxl:lora:huggingface:a/b@main/x/y.safetensors", Reference("hf", "a/b", "main", "x/y.safetensors")),
        ("https://Example.org/a/b%20c.gguf", Reference("https", "example.org", None, "a/b c.gguf")),
        ("https://example.org:8443/a?x=1#top", Reference("https", "example.org:8443", "x=1", "a")),
        ("file:/data/model", Reference("file", "", None, "/data/model")),
        ("file:///data/a%20b.gguf", Reference("file", "", None, "/data/a b.gguf")),
        ("file:models/x", Reference("file", "", None, "models/x")),
    ],
)
def test_every_form_of_a_source_is_taken_apart(source: str, reference: Reference) -> None:
    assert parse(source) == reference


@pytest.mark.parametrize(
    "source",
    [
        "", "hf", "hf:", "hf:repo", "hf:a/b/c", "hf:a/..", "hf:a--b/c", "hf:-a/b", "hf:a/b.git", "hf:a/b@",
        "hf:a/b@x..y", "hf:a/b@/x", "hf:a/b@x/", "hf:a/b@x y", "hf:a/b@x\n", "hf:a/b@x\\y", "hf:a b/c", "HF:a/b", "gs://bucket/x",
        "ollama:", "ollama:a/b/c/d", "ollama:../x", "ollama:m:", "ollama:m@sha256:0",
        "civitai:", "civitai:abc", "civitai:0", "civitai:1@latest", "civitai:1@", "civitai:1+x",
        "urn:air:sdxl:lora", "urn:air:sdxl:lora:openai:gpt", "urn:air:sdxl:lora:civitai:a@b",
        "https:", "https://", "https://host", "https://host/", "https://host/dir/",
        "https://host/a\nb", "https://host/%00", "https://host/a b",
        "https://user:pw@host/x", "https://h:99999/x",
        "file:", "file:///", "file://elsewhere/x",
    ],
)  # fmt: skip
def test_what_is_no_source_is_refused_with_a_reason(source: str) -> None:
    with pytest.raises(ValueError, match=r"expected|not a|cannot|must not|another"):
        parse(source)


@pytest.mark.parametrize(
    ("written", "is_meant"),
    [
        ("owner/repo", "hf:owner/repo"),
        ("HF:owner/repo", "hf:owner/repo"),
        ("hf://owner/repo", "hf:owner/repo"),
        ("huggingface:owner/repo@v1", "hf:owner/repo@v1"),
        ("hf: owner/repo", "hf:owner/repo"),
        ("huggingface.co/owner/repo", "https://huggingface.co/owner/repo"),
        ("olama:qwen3:8b", "ollama:qwen3:8b"),
        ("llama3.2:3b", "ollama:llama3.2:3b"),
        ("htps://host/m.gguf", "https://host/m.gguf"),
        ("/srv/m.gguf", "file:/srv/m.gguf"),
        ("s3://bucket/m.gguf", ""),
        ("../m.gguf", ""),
        ("model", ""),
        ("hf:owner/repo", ""),
    ],
)
def test_the_source_that_a_near_miss_means_is_named(written: str, is_meant: str) -> None:
    assert meant(written) == is_meant


@pytest.mark.parametrize("url", ["https://u:canary@host/x", "https://u:canary@h:99999/x", "https://host/?t=canary"])
def test_a_secret_in_a_url_is_not_repeated_in_the_refusal(url: str) -> None:
    with pytest.raises(ValueError, match="URL") as refusal:
        parse(url)
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize(
    ("revision", "kept"), [("", ""), ("@main", ""), (f"@{COMMIT}", ""), ("@dev", "dev"), ("@v1/x", "v1/x")]
)
def test_only_a_branch_other_than_main_keeps_a_source_apart(revision: str, kept: str) -> None:
    assert branch(parse(f"hf:o/r{revision}")) == kept


def test_a_commit_is_forty_hex_digits_and_nothing_less() -> None:
    assert is_commit(COMMIT)
    assert not is_commit(COMMIT[:39])
    assert not is_commit(None)


@settings(deadline=None)
@given(st.sampled_from(["hf:", "ollama:", "civitai:", "urn:air:", "https://", "file:", ""]), st.text(max_size=60))
def test_any_text_is_a_source_or_a_refusal_and_never_anything_else(scheme: str, rest: str) -> None:
    try:
        reference = parse(scheme + rest)
    except ValueError:
        return
    assert reference.scheme
    assert "\0" not in reference.path
