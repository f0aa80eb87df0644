"""What people get wrong most often, as the command line answers it: where, what was expected and found, what to try."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.cli import run

MANIFEST = """\
version: 1
name: box
locations:
  weights:  { store: huggingface, root: ~/models/weights }
  lmstudio: { store: lmstudio, root: ~/models/lmstudio }
routes:
  - { format: gguf, location: lmstudio }
  - { location: weights }
variants:
  chat:
    source: hf:acme/Chat
  q4:
    source: hf:acme/Chat-GGUF
    files: ["*Q4_K_M.gguf"]
roles:
  chat: [chat, q4]
"""

EDITS = {
    "a key of a variant": ("source: hf:acme/Chat\n", "soruce: hf:acme/Chat\n"),
    "a store": ("store: lmstudio", "store: lm-studio"),
    "a location": ("location: lmstudio", "location: lmstudo"),
    "a variant of a role": ("[chat, q4]", "[chat, q5]"),
    "a tab": ("    source: hf:acme/Chat\n", "\tsource: hf:acme/Chat\n"),
    "no scheme": ("hf:acme/Chat\n", "acme/Chat\n"),
    "two slashes": ("hf:acme/Chat\n", "hf://acme/Chat\n"),
    "capitals": ("hf:acme/Chat\n", "HF:acme/Chat\n"),
    "a space": ("hf:acme/Chat\n", "hf: acme/Chat\n"),
    "a page": ("hf:acme/Chat\n", "https://huggingface.co/acme/Chat/tree/main\n"),
    "a model of Ollama": ("hf:acme/Chat\n", "llama3.2:3b\n"),
    "a path": ("hf:acme/Chat\n", "/srv/model.gguf\n"),
    "a relative root": ("~/models/weights", "models/weights"),
    "a variable": ("~/models/weights", "$HOME/weights"),
    "a root inside another": ("~/models/lmstudio", "~/models/weights/lm"),
    "a later version": ("version: 1", "version: 2"),
    "a name twice": ("  q4:", "  chat:"),
    "a text for a list": ('["*Q4_K_M.gguf"]', '"*Q4_K_M.gguf"'),
    "a star that is not quoted": ('["*Q4_K_M.gguf"]', "[*Q4_K_M.gguf]"),
    "the word for the variants": ("variants:", "varaints:"),
    "the word for the locations": ("locations:", "locatons:"),
    "the word for the routes": ("routes:", "route:"),
    "more than everything": ("roles:", "policy: { max_remove: 130% }\nroles:"),
    "a size beyond all disks": ("roles:", "policy: { min_free: 99999999TiB }\nroles:"),
    "a merge that is not finished": ("variants:", "<<<<<<< HEAD\nvariants:"),
}


@pytest.fixture(autouse=True)
def _beside_the_manifest(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world)
    monkeypatch.setenv("HOME", "/home/me")


def answered(world: Path, text: str, capsys: pytest.CaptureFixture[str]) -> str:
    (world / "box.yaml").write_text(text)
    assert run(["validate", "box.yaml"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    return told.err


def test_the_mistakes_that_people_make_in_a_manifest_are_answered_in_words(
    world: Path, capsys: pytest.CaptureFixture[str], snapshot: object
) -> None:
    answers = []
    for what, (old, new) in EDITS.items():
        assert MANIFEST.count(old) == 1, what
        answers.append(f"{what}:\n{answered(world, MANIFEST.replace(old, new), capsys)}")
    assert "\n".join(answers) == snapshot


def test_the_manifest_without_a_mistake_is_valid(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (world / "box.yaml").write_text(MANIFEST)
    assert run(["validate", "box.yaml"]) == 0
    assert "box.yaml is valid" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["crlf", "bom"])
def test_how_an_editor_saves_a_text_is_no_mistake(form: str, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = MANIFEST.encode()
    (world / "box.yaml").write_bytes(data.replace(b"\n", b"\r\n") if form == "crlf" else b"\xef\xbb\xbf" + data)
    assert run(["validate", "box.yaml"]) == 0
