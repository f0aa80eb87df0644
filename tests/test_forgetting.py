"""`reconciler forget`: manifest, roles, lock and registry let go of a variant; its files stay, whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_kit import Box, a_box
from crash_kit import killed_at_every_call

from reconciler import editing, forgetting, lockfile
from reconciler.api import forget
from reconciler.errors import InputError
from reconciler.manifest import load
from reconciler.plan import Action
from reconciler.registry import load as load_registry
from reconciler.registry import locked, records, save, with_records


@pytest.fixture
def box(world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Box]:
    with a_box(world, monkeypatch, capsys) as made:
        yield made


def recorded(box: Box) -> set[str]:
    return {record.address.variant for record in records(load_registry(box.here / "registry"))}


def pinned(box: Box) -> set[str]:
    lock = lockfile.read(lockfile.path_for(load(box.manifest).path))
    return set(lock.pins) if lock else set()


def actions(box: Box, manifest: str = "box.yaml") -> dict[str, str]:
    told = box.run("plan", manifest, "--json", "--offline")
    assert told.code == 0, told.err
    return {step["address"].partition("@")[0]: step["action"] for step in told.json["steps"]}


def test_a_forgotten_variant_is_nowhere_any_more_and_its_files_stay(box: Box) -> None:
    box.apply()
    before, weight = box.manifest.read_text(), box.weight("model.safetensors").stat()

    told = box.run("forget", "box.yaml", "tiny-chat", "--yes")

    assert (told.code, told.err) == (0, "")
    entry = "  tiny-chat:\n    source: hf:acme/Tiny-Chat\n    backend: vllm\n    served_as: tiny\n"
    assert box.manifest.read_text() == before.replace(entry, "").replace("q4_k_m, tiny-chat]", "q4_k_m]")
    assert pinned(box) == recorded(box) == {"tiny-gguf-q4_k_m", "tiny-gguf-iq4_xs"}
    assert set(actions(box).values()) == {"keep"}
    assert box.run("apply", "box.yaml", "--yes").code == 0
    assert box.weight("model.safetensors").stat() == weight


def test_with_record_only_manifest_and_lock_stay_and_the_next_apply_adopts_it_again(box: Box) -> None:
    box.apply()
    files = {path: path.read_bytes() for path in (box.manifest, box.here / "box.lock.json")}

    assert box.run("forget", "box.yaml", "tiny-chat", "--record-only", "--yes").code == 0

    assert {path: path.read_bytes() for path in files} == files
    assert "tiny-chat" not in recorded(box)
    assert actions(box)["tiny-chat"] == "normalize"


def test_what_is_declared_and_not_placed_yet_can_be_forgotten_locked_or_not(box: Box) -> None:
    unlocked = box.run("forget", "box.yaml", "tiny-chat", "--json", "--yes")
    box.run("lock", "box.yaml")
    both = box.run("forget", "box.yaml", "tiny-gguf-*", "--yes")

    assert unlocked.json["undeclared"] == ["tiny-chat"]
    assert unlocked.json["forgotten"] == []
    assert both.code == 0
    assert "Forgot tiny-gguf-q4_k_m; nothing of it was recorded." in both.out
    assert not load(box.manifest).manifest.variants
    assert pinned(box) == set()


def test_what_is_recorded_and_declared_no_more_can_be_forgotten_before_it_is_removed(box: Box) -> None:
    box.apply()
    box.without("tiny-chat")
    text = box.manifest.read_text()
    assert actions(box)["tiny-chat"] == "remove"

    assert box.run("forget", "box.yaml", "tiny-chat", "--yes").code == 0

    assert "tiny-chat" not in actions(box)
    assert box.manifest.read_text() == text
    assert "tiny-chat" not in pinned(box)
    assert box.weight("model.safetensors").exists()


def test_what_will_be_edited_is_shown_and_nothing_is_edited_without_approval(box: Box) -> None:
    box.apply()
    before = box.manifest.read_bytes()

    told = box.run("forget", "box.yaml", "tiny-chat")

    assert told.code == 7
    assert box.manifest.read_bytes() == before
    assert "tiny-chat" in recorded(box) & pinned(box)
    assert told.out == (
        f"{box.manifest}\n  -  tiny-chat:\n  -    source: hf:acme/Tiny-Chat\n  -    backend: vllm\n"
        "  -    served_as: tiny\n  -  chat: [tiny-gguf-q4_k_m, tiny-chat]\n  +  chat: [tiny-gguf-q4_k_m]\n"
        f"{box.here}/box.lock.json\n  - tiny-chat\n"
        f"{box.here}/registry\n  - tiny-chat@weights: 3 files, 227 B, in {box.here}/weights\n"
    )
    assert "--approve" not in told.err


def test_of_a_variant_that_moved_only_the_record_in_the_old_place_goes(box: Box) -> None:
    box.apply()
    box.write({"source: hf:acme/Tiny-Chat": "location: lmstudio\n    source: hf:acme/Tiny-Chat"})
    text = box.manifest.read_text()

    assert box.run("forget", "box.yaml", "tiny-chat@weights", "--yes").code == 0

    assert box.manifest.read_text() == text
    assert "tiny-chat" in pinned(box) - recorded(box)


def test_the_old_place_of_a_variant_that_moved_is_not_left_to_be_removed(box: Box) -> None:
    box.apply()
    box.write({"source: hf:acme/Tiny-Chat": "location: lmstudio\n    source: hf:acme/Tiny-Chat"})

    told = box.run("forget", "box.yaml", "tiny-chat@lmstudio", "--yes")
    whole = box.run("forget", "box.yaml", "tiny-chat", "--yes")

    assert told.code == 1
    assert "tiny-chat@weights: is managed too" in told.err
    assert whole.code == 0
    assert "tiny-chat" not in actions(box)


def test_a_variant_that_was_renamed_and_not_applied_yet_takes_its_old_record_with_it(box: Box) -> None:
    box.apply()
    box.run("mv", "box.yaml", "tiny-chat", "chat-small")

    told = box.run("forget", "box.yaml", "chat-small", "--json", "--yes")

    assert told.json["forgotten"] == ["tiny-chat@weights"]
    assert set(actions(box).values()) == {"keep"}


def test_what_may_be_the_old_name_of_an_unlocked_variant_stops_forgetting_it(box: Box) -> None:
    """Locked, it would be known that it is the same one; the control is that the plan removes it without."""
    box.apply()
    box.run("mv", "box.yaml", "tiny-chat", "chat-small")
    (box.here / "box.lock.json").unlink()

    told = box.run("forget", "box.yaml", "chat-small", "--yes")

    assert told.code == 1
    assert "tiny-chat@weights: may be what chat-small asks for" in told.err
    assert "run `reconciler lock box.yaml` first" in told.err
    assert box.run("forget", "box.yaml", "chat-small", "tiny-chat", "--yes").code == 0
    box.run("lock", "box.yaml")
    assert "remove" not in actions(box).values()


def test_whichever_file_of_a_directory_declares_it_is_edited_and_whichever_gives_it_a_role(box: Box) -> None:
    directory = split(box)
    roles = (directory / "b.yaml").read_text()

    assert box.run("forget", "manifests", "tiny-chat", "--yes").code == 0

    assert "tiny-chat" not in (directory / "a.yaml").read_text()
    assert (directory / "b.yaml").read_text() == roles.replace(", tiny-chat", "")
    assert set(lockfile.read(box.here / "manifests.lock.json").pins) == {"tiny-gguf-q4_k_m", "tiny-gguf-iq4_xs"}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tinychat"], "did you mean tiny-chat?"),
        (["tiny-chat@lmstudio"], "it is tiny-chat@weights"),
        (["nothing-*"], "nobody declares or manages it here"),
        (["tiny-chat", "nothing-*"], "nobody declares or manages it here"),
        ([], "expected a variant"),
    ],
)
def test_a_word_that_names_nothing_stops_it_all(box: Box, words: list[str], said: str) -> None:
    box.apply()
    before = box.manifest.read_bytes()

    told = box.run("forget", "box.yaml", *words, "--yes")

    assert told.code == 1
    assert said in told.err
    assert (box.manifest.read_bytes(), len(recorded(box))) == (before, 3)


def test_without_a_manifest_every_word_is_a_variant(box: Box) -> None:
    box.manifest.rename(box.here / "reconciler.yaml")

    assert box.run("forget", "tiny-chat", "tiny-gguf-q4_k_m", "--yes").code == 0
    assert list(load(box.here / "reconciler.yaml").manifest.variants) == ["tiny-gguf-iq4_xs"]


def test_a_manifest_that_somebody_edits_meanwhile_is_left_to_him(box: Box) -> None:
    box.apply()
    loaded = load(box.manifest)
    with locked(loaded.registry):
        registry = load_registry(loaded.registry)
        farewell = forgetting.consider(loaded, registry, ["tiny-chat"])
        box.manifest.write_text(box.manifest.read_text() + "# mine\n")

        with pytest.raises(InputError, match="changed while we looked"):
            forgetting.forget(registry, farewell)

    assert box.manifest.read_text().endswith("# mine\n")
    assert "tiny-chat" in recorded(box)


def test_from_python(box: Box) -> None:
    box.apply()

    gone = forget(["tiny-chat", "tiny-gguf-iq*"], box.manifest)

    assert [str(address) for address in gone.addresses] == ["tiny-chat@weights", "tiny-gguf-iq4_xs@lmstudio"]
    assert set(gone.variants) == {"tiny-chat", "tiny-gguf-iq4_xs"}
    assert gone.written == (box.manifest, box.here / "box.lock.json")
    assert forget("tiny-gguf-q4_k_m", box.manifest, record_only=True).written == ()


def split(box: Box) -> Path:
    """Declare it all in a directory: variants in one file, places and roles in another; apply it."""
    directory = box.here / "manifests"
    directory.mkdir()
    text = box.manifest.read_text()
    head, rest = text.split("variants:\n")
    variants, roles = rest.split("roles:\n")
    (directory / "a.yaml").write_text(f"version: 1\nvariants:\n{variants}")
    (directory / "b.yaml").write_text(f"{head}roles:\n{roles}")
    box.manifest.unlink()
    assert box.run("apply", "manifests", "--yes").code == 0
    return directory


def test_killed_anywhere_nothing_is_planned_for_removal_and_the_same_again_finishes_it(box: Box) -> None:
    directory = split(box)
    kept = {
        path: path.read_bytes()
        for place in (directory, box.here / "registry") for path in place.glob("*") if path.is_file()
    } | {box.here / "manifests.lock.json": (box.here / "manifests.lock.json").read_bytes()}  # fmt: skip

    def prepare() -> None:
        for path, data in kept.items():
            path.write_bytes(data)

    def work() -> None:
        loaded = load(directory)
        registry = load_registry(loaded.registry)
        forgetting.forget(registry, forgetting.consider(loaded, registry, ["tiny-chat"]))

    seen = set()
    for _ in killed_at_every_call(work, prepare):
        found = actions(box, "manifests").get("tiny-chat", "none")
        seen.add(found)
        assert found in ("keep", "normalize", "none")
        declared = "tiny-chat" in load(directory).manifest.variants
        pins = lockfile.read(box.here / "manifests.lock.json").pins  # type: ignore[union-attr]
        if declared or "tiny-chat" in pins or "tiny-chat" in recorded(box):
            assert box.run("forget", "manifests", "tiny-chat", "--yes").code == 0
        assert "tiny-chat" not in recorded(box)
        assert "tiny-chat" not in load(directory).manifest.variants
        assert "tiny-chat" not in lockfile.read(box.here / "manifests.lock.json").pins  # type: ignore[union-attr]
    assert seen == {"keep", "normalize", "none"}
    assert box.weight("model.safetensors").exists()


def test_the_declaration_first_would_have_the_files_planned_for_removal(box: Box) -> None:
    """The control of the test above: the naive order, cut short after its first write."""
    box.apply()
    box.manifest.write_text(editing.remove_variants(box.manifest.read_text(), ["tiny-chat"]))

    assert actions(box)["tiny-chat"] == Action.REMOVE

    loaded = load(box.manifest)
    registry = load_registry(loaded.registry)
    old = [record for record in records(registry) if record.address.variant == "tiny-chat"]
    save(with_records(registry, (), [(record.manifest, record.address) for record in old]))
    assert "tiny-chat" not in actions(box)


def test_a_variant_that_leaves_does_not_take_shared_files_of_a_forgotten_one_with_it(box: Box) -> None:
    text = box.manifest.read_text()
    both = text.replace(
        "    backend: vllm\n", "    backend: vllm\n    files: [config.json, '*.safetensors']\n"
    ).replace(
        "variants:\n", "variants:\n  words:\n    source: hf:acme/Tiny-Chat\n    files: [config.json, tokenizer.json]\n"
    )
    box.manifest.write_text(both)
    box.apply()
    box.manifest.write_text(editing.remove_variants(both, ["words"]))

    told = box.run("forget", "box.yaml", "tiny-chat", "--yes")

    assert told.code == 1
    assert "words@weights: is about to let go of files of tiny-chat@weights" in told.err
    assert box.run("forget", "box.yaml", "tiny-chat", "words", "--yes").code == 0
    assert set(actions(box).values()) == {"keep"}


def test_a_variant_that_drops_files_does_not_take_those_of_a_forgotten_one_with_it(box: Box) -> None:
    text = box.manifest.read_text()
    words = "  words:\n    source: hf:acme/Tiny-Chat\n    files: [config.json, tokenizer.json]\n"
    both = text.replace("variants:\n", "variants:\n" + words)
    box.manifest.write_text(both)
    box.apply()
    box.manifest.write_text(both.replace("[config.json, tokenizer.json]", "[tokenizer.json]"))

    unlocked = box.run("forget", "box.yaml", "tiny-chat", "--yes")
    box.run("lock", "box.yaml")
    locked = box.run("forget", "box.yaml", "tiny-chat", "--yes")

    assert (unlocked.code, locked.code) == (1, 1)
    assert (
        "words@weights: is not locked as it is declared, and may let go of files of tiny-chat@weights" in unlocked.err
    )
    assert "words@weights: is about to let go of files of tiny-chat@weights" in locked.err
    box.run("apply", "box.yaml", "--yes")
    assert box.run("forget", "box.yaml", "tiny-chat", "--yes").code == 0
    assert box.weight("Tiny-Chat/config.json").exists()
    assert set(actions(box).values()) == {"keep"}
