"""What an import tells of the whole: bytes that are kept twice, names that stand for two contents."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from importing_kit import GGUF, Machine, a_machine, cache, put, whys

from reconciler.importing.findings import Held, findings
from reconciler.state import Digest


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Machine]:
    with a_machine(tmp_path, monkeypatch, capsys) as made:
        yield made


def held(variant: str, name: str, path: Path, content: bytes, source: str = "hf:a/b") -> Held:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(content)
    return Held(variant, source, name, str(path), len(content), Digest(f"sha256:{content.hex():0>64}"))


def test_the_same_bytes_under_two_names_are_told_with_what_linking_would_free(tmp_path: Path) -> None:
    files = [held("a", "x.gguf", tmp_path / "1/x.gguf", b"same"), held("b", "y.gguf", tmp_path / "2/y.gguf", b"same")]

    [row] = findings(files, {"a"})

    assert (row.kind, row.what) == ("finding", "a = b")
    assert "free 4 B" in row.why
    assert str(tmp_path / "1/x.gguf") in row.where
    assert str(tmp_path / "2/y.gguf") in row.where


def test_three_places_are_counted(tmp_path: Path) -> None:
    files = [held(name, "x.gguf", tmp_path / name / "x.gguf", b"same") for name in ("a", "b", "c")]

    [row] = findings(files, {"a"})

    assert row.what == "a = b = c"
    assert row.why == "the same bytes at 3 places; to link them would free 8 B"


def test_linked_files_are_one_content_and_nothing_to_tell(tmp_path: Path) -> None:
    one = held("a", "x.gguf", tmp_path / "x.gguf", b"same")
    os.link(tmp_path / "x.gguf", tmp_path / "y.gguf")

    assert findings([one, held("b", "x.gguf", tmp_path / "y.gguf", b"same")], {"a", "b"}) == []


def test_one_file_that_two_variants_share_is_nothing_to_tell(tmp_path: Path) -> None:
    path = tmp_path / "mmproj.gguf"
    assert findings([held("a", "mmproj.gguf", path, b"p"), held("b", "mmproj.gguf", path, b"p")], {"a"}) == []


def test_a_name_with_two_contents_is_told(tmp_path: Path) -> None:
    files = [
        held("a", "Llama-Q4_K_M.gguf", tmp_path / "1/m", b"one", "hf:x/llama"),
        held("b", "llama-q4_k_m.gguf", tmp_path / "2/m", b"two", "hf:y/llama"),
    ]

    [row] = findings(files, {"b"})

    assert "one name with 2 contents" in row.why
    assert "a has sha256:" in row.why
    assert "b has sha256:" in row.why


def test_names_that_every_repository_has_say_nothing(tmp_path: Path) -> None:
    files = [
        held("a", "model.safetensors", tmp_path / "1/m", b"one", "hf:x/llama"),
        held("b", "model.safetensors", tmp_path / "2/m", b"two", "hf:y/llama"),
    ]

    assert findings(files, {"a", "b"}) == []


def test_two_contents_of_one_file_of_one_source_are_told_whatever_its_name(tmp_path: Path) -> None:
    files = [
        held("a", "model.safetensors", tmp_path / "1/m", b"one"),
        held("b", "model.safetensors", tmp_path / "2/m", b"two"),
    ]

    assert len(findings(files, {"a"})) == 1


def test_what_concerns_nothing_of_this_import_is_not_told(tmp_path: Path) -> None:
    files = [held("a", "x.gguf", tmp_path / "1/x.gguf", b"same"), held("b", "x.gguf", tmp_path / "2/x.gguf", b"same")]

    assert findings(files, {"c"}) == []


def test_every_importer_tells_findings_and_a_second_run_tells_them_again(machine: Machine) -> None:
    put(machine.here / "weights" / GGUF, machine.ggufs)
    cache(machine.here / "hub", GGUF, machine.gguf_commit, machine.ggufs, {"main": machine.gguf_commit})
    machine.take("hf-cache", "hub")

    first = machine.take("tree", "weights")
    second = machine.take("tree", "weights")

    assert first["summary"]["finding"] == 2
    assert whys(first, "finding") == whys(second, "finding")
    assert all("the same bytes at two places" in why for why in whys(first, "finding").values())
    told = machine.run("import", "tree", "weights", "--manifest", "box.yaml")
    assert "2 findings." in told.out
