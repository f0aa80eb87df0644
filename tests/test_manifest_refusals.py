"""Manifests made to hurt are refused: soon, in little memory, in words, and with nothing written.

The controls show that a plain reader would have been hurt.
"""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from manifest_kit import HEAD, mistakes

from reconciler.inert import inert

MIB = 2**20


def refused(monkeypatch: pytest.MonkeyPatch, world: Path, text: str | bytes, *, memory: int = 100 * MIB) -> list[str]:
    """Refuse a manifest within bounds. The time limit is generous: it tells seconds from hours."""
    mistakes(monkeypatch, world, "version: 1\nx: 1\n", "warm.yaml")
    start = time.process_time()
    lines = mistakes(monkeypatch, world, text)
    assert time.process_time() - start < 5
    tracemalloc.start()
    try:
        assert mistakes(monkeypatch, world, text) == lines
        assert tracemalloc.get_traced_memory()[1] < memory
    finally:
        tracemalloc.stop()
    for line in lines:
        assert len(line) < 2_000
        assert inert(line) == line
        assert "Traceback" not in line
    assert sorted(entry.name for entry in world.iterdir()) == ["m.yaml", "warm.yaml"]
    return lines


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(ord('a') + n)}: &{chr(ord('a') + n)} [{','.join(['*' + chr(ord('a') + n - 1)] * 9)}]\n" for n in range(1, 10)
)


def test_a_billion_laughs(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert any("an alias" in line for line in refused(monkeypatch, world, LAUGHS, memory=10 * MIB))


def test_control_a_plain_reader_builds_the_billion() -> None:
    import yaml

    value: Any = yaml.safe_load(LAUGHS)["j"]
    size = 1
    while isinstance(value, list):
        size, value = size * len(value), value[0]
    assert size == 9**10


@pytest.mark.parametrize("opener", ["[", "{a: ", "- ", "? ", "{? ["])
def test_a_hundred_thousand_nested_openers(world: Path, monkeypatch: pytest.MonkeyPatch, opener: str) -> None:
    lines = refused(monkeypatch, world, opener * 100_000)
    assert any(told in lines[-1] for told in ("nested more than 64 deep", "not YAML", "a key that is not plain text"))


def test_a_cycle(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(refused(monkeypatch, world, "a: &a [*a]\n")) == 2


def test_a_file_beyond_the_cap_is_not_parsed(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [line] = refused(monkeypatch, world, b"- x\n" * (2 * MIB + 1), memory=20 * MIB)
    assert "4,194,308 bytes" in line or "4,194,305 bytes" in line


def test_a_flood_of_small_values_is_cut_off(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = refused(monkeypatch, world, "a: [" + "1," * 1_000_000 + "]")
    assert "more than 250,000 keys and values" in lines[0]


@pytest.mark.parametrize(
    "digits", ["9" * 100_000, "-" + "1" * 5_000, "0x" + "f" * 100_000, "1" * 5_000 + ".0", "1e" + "9" * 5_000]
)
def test_numbers_of_absurd_length(world: Path, monkeypatch: pytest.MonkeyPatch, digits: str) -> None:
    [line] = refused(monkeypatch, world, f"version: {digits}\n")
    assert "a number of " in line


@pytest.mark.parametrize("key", ["a", '"a"', "'a'", "! a"])
def test_a_key_twice_is_refused_with_both_places(world: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    lines = refused(monkeypatch, world, f"version: 1\na: 1\n{key}: 2\n")
    assert (
        "m.yaml:3:1: `a` stands here a second time; the first is at m.yaml:2:1 (remove or rename one of them)" in lines
    )


def test_control_a_plain_reader_takes_the_last_of_two_keys() -> None:
    import yaml

    assert yaml.safe_load("a: 1\n'a': 2\n") == {"a": 2}


def test_a_misspelt_key_is_refused_with_the_right_one(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = HEAD + "variants: {v: {source: hf:o/r, lock: {sha265: x}}}\n"
    assert refused(monkeypatch, world, text)[0] == "m.yaml:4:39: unknown key `sha265` (did you mean `sha256`?)"


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['touch owned']\n",
        "!!python/object/new:os.system ['touch owned']\n",
        "a: !x y\n",
        "%YAML 9.9\n---\nversion: 1\n",
        "version: 1\n---\nversion: 1\n",
        "version: 1\n<<: {name: x}\n",
    ],
)
def test_tags_directives_documents_and_merges(world: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    assert refused(monkeypatch, world, text)


@pytest.mark.parametrize(
    "data",
    [
        "version: 1\n".encode("utf-16"), b"version: 1\x00\n", b'version: 1\nname: "a\\0"\n',
        b"version: 1\na:\n\tb: 1\n",
        b"version: 1\nname: \xff\n", b"version: \xef\xbb\xbf1\n",
    ],
)  # fmt: skip
def test_bytes_that_are_not_our_text(world: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    assert refused(monkeypatch, world, data)


@pytest.mark.parametrize(
    "path",
    [
        "../x", "/etc/x", "~/x", "$HOME/x:", "C:\\x", "D:x", "\\x", "\\\\host\\share", "a/./b", "a//b", "a/", "a.",
        "a ", "CON",
        "nul.safetensors", "COM1", "COM¹", "x:ads", "a<b", "a|b", "a?b",
    ],
)  # fmt: skip
def test_paths_that_lead_elsewhere(world: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    digest = "0" * 64
    text = f"{HEAD}variants: {{v: {{source: hf:o/r, lock: {{sha256: {{'{path}': {digest}}}}}}}}}\n"
    assert refused(monkeypatch, world, text)[0].startswith("m.yaml:4:39: `sha256`: ")


@pytest.mark.parametrize(
    "root",
    [
        "/", "/etc", "~", "~/", "../x", "x", "$HOME/x", "'%USERPROFILE%/x'", "'C:\\x'", "/data/../etc", "~/repo/.git",
        "~/ComfyUI/custom_nodes", "~other/x", '"/data/a\\nb"', '"~/a\\u202eb"',
    ],
)  # fmt: skip
def test_roots_that_are_somebody_elses(world: Path, monkeypatch: pytest.MonkeyPatch, root: str) -> None:
    for text in (f"version: 1\nregistry: {root}\n", f"version: 1\nlocations: {{a: {{store: flat, root: {root}}}}}\n"):
        assert refused(monkeypatch, world, text)[0].startswith("m.yaml:2:")


def test_patterns_made_to_take_for_ever(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pattern in ("!*.bin", "*" * 40, "x" * 4_000):
        text = f"{HEAD}variants: {{v: {{source: hf:o/r, files: ['{pattern}']}}}}\n"
        assert refused(monkeypatch, world, text)[0].startswith("m.yaml:4:32: `files`: ")


@pytest.mark.parametrize(
    "source",
    [
        "file:///etc/../etc/passwd", "file://host/share", "file:relative", "http://169.254.169.254/latest", "http://0.0.0.0/x",
        "https://[::ffff:127.0.0.1]/x", "https://2130706433/x", "https://localhost/x", "https://localhost./x",
        "https://huggingface.co@evil.example/x", "https://user:pass@example.com/x", "https://ex\u0430mple.com/x",
        "https://example.com:22/x", "ftp://example.com/x", "https://example.com/a\\r\\nHost: x", "https://example.com/${AWS_SECRET}",
        "hf:../x", "hf:o/r@../x", "hf:o", "ollama:x y", "/etc/passwd", "javascript:x",
    ],
)  # fmt: skip
def test_sources_that_reach_where_they_must_not(world: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    lines = refused(monkeypatch, world, f'{HEAD}variants: {{v: {{source: "{source}"}}}}\n')
    assert lines[0].startswith("m.yaml:4:16: `source`: ")


def test_an_endpoint_cannot_be_chosen_by_a_manifest(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "unknown key `endpoint`" in refused(monkeypatch, world, "version: 1\nendpoint: https://evil.example\n")[0]


@pytest.mark.parametrize(
    "hidden", ["\\e[2K", "\\e]52;c;x\\a", "\\r", "\\b", "\\u009b", "\\u202e", "\\u2066", "\\u200b", "\\U000E0041"]
)
def test_names_and_claims_that_steer_a_terminal(world: Path, monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    text = f'{HEAD}variants: {{"v{hidden}": {{source: hf:o/r, backend: "b{hidden}"}}}}\n'
    text += f'roles: {{"r{hidden}": ["x{hidden}"]}}\n'
    assert len(refused(monkeypatch, world, text)) >= 3


def test_thousands_of_mistakes_are_counted_and_not_all_told(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = HEAD + "variants:\n" + "".join(f"  v{n}: {{sauce: hf:o/r{n}, location: her}}\n" for n in range(3_000))
    lines = refused(monkeypatch, world, text)
    assert len(lines) == 101
    assert lines[-1] == "and 5900 more"
