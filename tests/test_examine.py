"""What the files of a record tell: chat template, README, licence, size, context, capabilities; bounded, and cached."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from detect_kit import model_gguf, plain, write
from registry_kit import record as a_record

from reconciler import examine as examining
from reconciler.detect import VERSION, detect_directory
from reconciler.detect.readme import LIMIT, read_readme
from reconciler.digests import Digests
from reconciler.examine import examine, examined, is_current, recollect
from reconciler.state import Digest, ObservedFile, Placed, Record

TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"
TOOLS = "{% if tools %}{{ tools | tojson }}{% endif %}" + TEMPLATE
CONFIG = {"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 4096, "torch_dtype": "bfloat16"}
LLM: dict[str, Any] = {"model.safetensors": plain(), "config.json": CONFIG}


def record_of(root: Path, files: dict[str, Any], home: str = "own/Tiny-Chat") -> Record:
    """Write files below a home and return the record of them."""
    paths = write(root / home, files)
    stats = [(path, (root / home / path).stat()) for path in sorted(paths)]
    placed = tuple(
        Placed(f"{home}/{path}", at.st_size, Digest("sha256:" + "0" * 64), at.st_mtime_ns, at.st_ino, path)
        for path, at in stats
    )
    return replace(a_record(), root=str(root), home=home, files=placed)


def told(root: Path, files: dict[str, Any], home: str = "own/Tiny-Chat") -> dict[str, Any]:
    return dict(examine(record_of(root, files, home)).told)


def seen_files(record: Record) -> list[ObservedFile]:
    stats = [(placed.path, os.stat(f"{record.root}/{placed.path}")) for placed in record.files]
    return [ObservedFile(path, at.st_size, at.st_mtime_ns, at.st_ino, at.st_dev) for path, at in stats]


@pytest.fixture
def digests(tmp_path: Path) -> Iterator[Digests]:
    with Digests(tmp_path / "digests.sqlite") as cache:
        yield cache


# -- chat templates ---------------------------------------------------------------------------------------------------


def test_a_template_in_the_tokenizers_configuration_is_embedded(world: Path) -> None:
    found = told(world, {**LLM, "tokenizer_config.json": {"chat_template": TEMPLATE}})
    assert found["chat_template"] == {"source": "embedded", "path": "tokenizer_config.json", "embedded": True}


def test_a_list_of_named_templates_is_embedded_and_the_default_one_tells_what_it_can_do(world: Path) -> None:
    named = [{"name": "rag", "template": TEMPLATE}, {"name": "default", "template": TOOLS}]
    found = told(world, {**LLM, "tokenizer_config.json": {"chat_template": named}})
    assert found["chat_template"]["source"] == "embedded"
    assert found["capabilities"] == ["text", "tools"]


def test_a_template_in_a_file_of_its_own_wins_over_the_embedded_one(world: Path) -> None:
    files = {**LLM, "chat_template.jinja": TOOLS, "tokenizer_config.json": {"chat_template": TEMPLATE}}
    assert told(world, files)["chat_template"] == {
        "source": "external", "path": "chat_template.jinja", "external": ["chat_template.jinja"], "embedded": True,
    }  # fmt: skip


def test_a_processors_template_is_json_with_a_template_in_it(world: Path) -> None:
    found = told(world, {**LLM, "chat_template.json": {"chat_template": TEMPLATE}})
    assert found["chat_template"]["path"] == "chat_template.json"


@pytest.mark.parametrize("text", ["no statement at all", b"\xff\xfe{{"])
def test_a_file_without_a_statement_is_no_template(world: Path, text: str | bytes) -> None:
    assert told(world, {**LLM, "chat_template.jinja": text})["chat_template"] == {"source": "missing"}


def test_a_template_in_a_gguf_file_is_embedded(world: Path) -> None:
    found = told(world, {"m-Q4_K_M.gguf": model_gguf(tokenizer__chat_template=TOOLS)})
    assert found["chat_template"] == {"source": "embedded", "path": "m-Q4_K_M.gguf", "embedded": True}
    assert found["capabilities"] == ["text", "tools"]


def test_a_template_longer_than_other_strings_may_be_still_tells_what_it_can_do(world: Path) -> None:
    long = "{# " + "x" * 9000 + " #}" + TOOLS
    assert "tools" in told(world, {"m.gguf": model_gguf(tokenizer__chat_template=long)})["capabilities"]


def test_a_model_that_talks_and_has_no_template_is_told_as_missing_one(world: Path) -> None:
    assert told(world, LLM)["chat_template"] == {"source": "missing"}


def test_a_base_model_and_an_embedding_miss_no_template(world: Path) -> None:
    assert "chat_template" not in told(world, LLM, "own/Tiny-Base")
    embedding = {**LLM, "config.json": {"architectures": ["BertModel"]}}
    assert "chat_template" not in told(world, embedding, "own/it-embeds-chat")


def test_words_outside_of_statements_make_no_capability(world: Path) -> None:
    text = "You may use tools and tool_calls. " + TEMPLATE
    assert told(world, {**LLM, "chat_template.jinja": text})["capabilities"] == ["text"]


def test_no_word_in_a_name_makes_a_capability(world: Path) -> None:
    found = told(world, LLM, "own/DeepSeek-Invoice-Tool-Chat")
    assert found["capabilities"] == ["text"]


def test_a_template_that_thinks_is_told(world: Path) -> None:
    text = "{% if enable_thinking %}<think>{% endif %}" + TEMPLATE
    assert told(world, {**LLM, "chat_template.jinja": text})["capabilities"] == ["text", "thinking"]


# -- README and licence -----------------------------------------------------------------------------------------------

README = """---
license: apache-2.0
tags: [vllm]
---
# Tiny
Made with AutoAWQ (AWQ, w4a16); runs in vLLM and LM Studio.
## License
Apache 2.0
"""


def test_a_readme_tells_licence_quantisations_and_backends(world: Path) -> None:
    found = told(world, {**LLM, "README.md": README})
    assert found["license"] == "apache-2.0"
    assert found["readme"] == {
        "path": "README.md", "license": "apache-2.0", "license_hint": "apache-2.0", "quants": ["awq"],
        "details": ["w4a16"], "backends": ["lmstudio", "vllm"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("front", "license_"),
    [
        ("license: MIT", "mit"),
        ('license: "cc-by-4.0"', "cc-by-4.0"),
        ("license:\n- apache-2.0\n- mit", "apache-2.0, mit"),
        ("license: other\nlicense_name: Tiny Community", "Tiny Community"),
        ("license: other", "other"),
        ("tags:\n- license: no", None),
    ],
)
def test_the_front_matter_names_the_licence(front: str, license_: str | None) -> None:
    assert read_readme(f"---\n{front}\n---\nText.").get("license") == license_


@pytest.mark.parametrize("text", ["We transmit the data.", "## License\nWe transmit the data.", "The limit is 4.", ""])
def test_a_word_inside_another_is_no_licence(text: str) -> None:
    """The control: a pattern without a boundary before the word takes `transmit` for the MIT licence."""
    assert "license_hint" not in read_readme(text)


def test_two_licences_in_one_section_are_no_hint() -> None:
    assert "license_hint" not in read_readme("# License\nCode: MIT. Weights: Apache-2.0.")


def test_a_readme_is_read_so_far_and_no_further(world: Path) -> None:
    found = told(world, {**LLM, "README.md": "x" * LIMIT + " vllm"})
    assert "backends" not in found["readme"]


def test_a_readme_that_is_a_pipe_is_not_waited_for(world: Path) -> None:
    record = record_of(world, {**LLM, "README.md": README})
    path = world / "own/Tiny-Chat/README.md"
    path.unlink()
    os.mkfifo(path)
    assert "readme" not in examine(record).told


def test_a_gguf_header_tells_licence_context_and_size(world: Path) -> None:
    header = {"general__license": "llama3", "general__size_label": "8x7B", "llama__context_length": 32768}
    found = told(world, {"m.gguf": model_gguf(**header)})
    assert (found["license"], found["size_label"], found["context_length"]) == ("llama3", "8x7B", 32768)


def test_the_context_of_a_vision_model_stands_with_its_language_model(world: Path) -> None:
    config = {
        "architectures": ["LlavaForConditionalGeneration"], "text_config": {"max_position_embeddings": 8192},
        "vision_config": {},
    }  # fmt: skip
    found = told(world, {**LLM, "config.json": config})
    assert (found["kind"], found["context_length"]) == ("vision-language", 8192)
    assert found["capabilities"] == ["text", "vision"]


@pytest.mark.parametrize("value", [0, -1, True, "4096", 1 << 40, None])
def test_a_context_that_no_model_has_is_none(world: Path, value: object) -> None:
    found = told(world, {**LLM, "config.json": {**CONFIG, "max_position_embeddings": value}})
    assert "context_length" not in found


# -- records ----------------------------------------------------------------------------------------------------------


def test_a_record_says_which_detector_read_it(world: Path) -> None:
    record = record_of(world, LLM)
    assert not is_current(record)
    seen = examined(record)
    assert is_current(seen)
    assert (seen.attributes.format, seen.attributes.quant) == ("safetensors", "bf16")
    assert not is_current(replace(seen, told={**seen.told, "detector": VERSION - 1}))


def test_bad_headers_make_no_record_false(world: Path) -> None:
    record = record_of(world, {"m-Q4_K_M.gguf": b"GGUF" + b"\xff" * 400, "config.json": "{" * 5000})
    assert examined(record).files == record.files
    assert examined(replace(record, root="/nowhere")).files == record.files


def test_files_that_are_as_they_were_are_not_read_again(world: Path, digests: Digests) -> None:
    record = record_of(world, LLM)
    files = seen_files(record)
    first = recollect(record, files, digests)
    assert first == examine(record)
    (world / "own/Tiny-Chat/config.json").write_text(
        "{}"
    )  # behind our back: the stat that is asked about is the old one
    assert recollect(record, files, digests) == first
    assert recollect(record, seen_files(record), digests) != first


def test_another_detector_reads_the_same_files_again(
    world: Path, digests: Digests, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = record_of(world, LLM)
    recollect(record, seen_files(record), digests)
    read: list[str] = []
    monkeypatch.setattr(examining, "detect_directory", lambda *a: read.append("again") or detect_directory(*a))
    recollect(record, seen_files(record), digests)
    assert read == []
    monkeypatch.setattr(examining, "VERSION", VERSION + 1)
    assert recollect(record, seen_files(record), digests) is not None
    assert read == ["again"]


def test_a_damaged_cache_is_no_answer(world: Path, digests: Digests, monkeypatch: pytest.MonkeyPatch) -> None:
    record = record_of(world, LLM)
    for text in ("[]", "{", '{"format": 1}', "null"):
        monkeypatch.setattr(digests, "recall", lambda _, text=text: text)
        assert recollect(record, seen_files(record), digests) == examine(record)
