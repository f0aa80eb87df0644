"""`reconciler mv`: another name in manifest, roles and lock; what is on disk is recognised."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_kit import Box, a_box
from crash_kit import killed_at_every_call

from reconciler import lockfile, renaming
from reconciler.errors import DiskError
from reconciler.manifest import load


@pytest.fixture
def box(world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Box]:
    with a_box(world, monkeypatch, capsys) as made:
        yield made


def test_a_renamed_variant_is_the_same_one_in_manifest_roles_and_lock(box: Box) -> None:
    box.run("lock", "box.yaml")
    before = box.manifest.read_text()
    pins = lockfile.read(box.here / "box.lock.json").pins  # type: ignore[union-attr]

    told = box.run("mv", "box.yaml", "tiny-chat", "chat-small")

    assert (told.code, told.err) == (0, "")
    assert box.manifest.read_text() == before.replace("  tiny-chat:", "  chat-small:").replace(
        "q4_k_m, tiny-chat]", "q4_k_m, chat-small]"
    )
    after = lockfile.read(box.here / "box.lock.json").pins  # type: ignore[union-attr]
    assert after == {"chat-small" if name == "tiny-chat" else name: pin for name, pin in pins.items()}
    assert box.run("validate", "box.yaml").code == 0


def test_what_was_placed_under_the_old_name_is_recognised_and_nothing_is_downloaded(box: Box) -> None:
    box.apply()
    weight = box.weight("model.safetensors").stat()

    assert box.run("mv", "box.yaml", "tiny-chat", "chat-small", "--json").json == {
        "from": "tiny-chat",
        "to": "chat-small",
        "written": [str(box.manifest), str(box.here / "box.lock.json")],
    }

    plan = box.run("plan", "box.yaml", "--locked", "--json").json
    moved = [step for step in plan["steps"] if step["action"] != "keep"]
    assert [(step["address"], step["action"], step["reason"]) for step in moved] == [
        ("chat-small@weights", "normalize", "rename")
    ]
    assert plan["summary"]["bytes_download"] == 0
    box.apply()
    assert box.weight("model.safetensors").stat().st_ino == weight.st_ino
    entries = json.loads((box.here / "registry/model_registry.json").read_text())
    assert sorted(entry["name"] for entry in entries) == ["chat-small", "tiny-gguf-iq4_xs", "tiny-gguf-q4_k_m"]


def test_every_file_of_a_directory_follows(box: Box) -> None:
    text = box.manifest.read_text()
    head, roles = text.split("roles:\n")
    (box.here / "manifests").mkdir()
    (box.here / "manifests/a.yaml").write_text(f"# mine\n{head}")
    (box.here / "manifests/b.yaml").write_text(f"version: 1\nroles:   # yours\n{roles}")

    told = box.run("mv", "tiny-chat", "chat-small")

    assert told.code == 0, told.err
    assert "  chat-small:\n" in (box.here / "manifests/a.yaml").read_text()
    assert "chat: [tiny-gguf-q4_k_m, chat-small]" in (box.here / "manifests/b.yaml").read_text()
    assert load(box.here / "manifests").manifest.roles["chat"] == ["tiny-gguf-q4_k_m", "chat-small"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tiny-chta", "x"), "did you mean `tiny-chat`?"),
        (("tiny-chat", "tiny-gguf-q4_k_m"), "box.yaml:"),
        (("tiny-chat", "no/name"), "no/name"),
        (("tiny-chat",), "expected two names"),
    ],
)
def test_a_name_that_cannot_be_is_refused_and_nothing_changes(box: Box, words: tuple[str, ...], said: str) -> None:
    before = box.manifest.read_bytes()
    arguments = ("box.yaml", *words) if len(words) == 2 else words

    told = box.run("mv", *arguments)

    assert told.code == 1
    assert said in told.err
    assert box.manifest.read_bytes() == before


def test_cut_short_at_any_write_nothing_is_unlocked_and_a_second_try_ends_it(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control is a lock that is renamed after the manifest: cut short between them, the variant is unlocked."""
    box.run("lock", "box.yaml")
    texts = {path: path.read_bytes() for path in (box.manifest, box.here / "box.lock.json")}
    real = renaming.editing.write_text

    def lacking() -> set[str]:
        lock = lockfile.read(box.here / "box.lock.json")
        assert lock is not None
        return set(load(box.manifest).manifest.variants) - set(lock.pins)

    def broken(path: Path, text: str) -> bool:
        raise DiskError("the disk is full", where=str(path))

    for cut_off in (broken, lambda path, text: real(path, text) and broken(path, text)):
        for path, data in texts.items():
            path.write_bytes(data)
        with monkeypatch.context() as patch:
            patch.setattr(renaming.editing, "write_text", cut_off)
            assert box.run("mv", "box.yaml", "tiny-chat", "chat-small").code == 1
        assert lacking() == set()

    for path, data in texts.items():
        path.write_bytes(data)
    renamed = renaming.rename(load(box.manifest), "tiny-chat", "chat-small")
    for path, text in renamed.texts.items():
        real(path, text)
    assert lacking() == {"chat-small"}, "the control"


def test_killed_anywhere_among_several_files_the_same_again_finishes_it(box: Box) -> None:
    """The control is that a kill leaves a manifest that does not load, and one that does with the lock behind it."""
    head, roles = box.manifest.read_text().split("roles:\n")
    directory = box.here / "manifests"
    directory.mkdir()
    (directory / "a.yaml").write_text(head)
    (directory / "b.yaml").write_text(f"version: 1\nroles:\n{roles}")
    box.run("lock")
    kept = {path: path.read_bytes() for path in (*directory.iterdir(), box.here / "manifests.lock.json")}

    def prepare() -> None:
        for path, data in kept.items():
            path.write_bytes(data)

    def work() -> None:
        renaming.write(renaming.rename(load(directory), "tiny-chat", "chat-small"))

    states = set()
    for _ in killed_at_every_call(work, prepare):
        states.add(box.run("validate").code)
        told = box.run("mv", "tiny-chat", "chat-small")
        done = "there is no variant `tiny-chat`" in told.err
        assert told.code == (1 if done else 0), told.err
        loaded = load(directory)
        assert loaded.manifest.roles["chat"] == ["tiny-gguf-q4_k_m", "chat-small"]
        lock = lockfile.read(box.here / "manifests.lock.json")
        assert lock is not None
        assert set(lock.pins) == set(loaded.manifest.variants)
    assert states == {0, 1}, "the control"


def test_another_mistake_is_told_as_it_is_in_the_files(box: Box) -> None:
    box.manifest.write_text(box.manifest.read_text().replace("tiny-chat]", "tiny-chta]"))

    told = box.run("mv", "box.yaml", "tiny-chat", "chat-small")

    assert told.code == 1
    assert "tiny-chta" in told.err
    assert "chat-small" not in told.err
