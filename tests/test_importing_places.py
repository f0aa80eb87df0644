"""Importing what lies in directories: trees, loose files, the HF cache, LM Studio."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from importing_kit import CHAT, GGUF, Machine, a_machine, cache, note_downloads, put, whys


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Machine]:
    with a_machine(tmp_path, monkeypatch, capsys) as made:
        yield made


def adopted(machine: Machine) -> bool:
    """Whether the plan right after only adopts, and fetches nothing."""
    steps = machine.steps()
    return bool(steps) and all(step == ("normalize", "adopt", None) for step in steps.values())


def test_a_tree_of_repositories_is_taken_with_the_commit_that_hf_download_noted(machine: Machine) -> None:
    put(machine.here / "weights" / CHAT, machine.chat)
    note_downloads(machine.here / "weights" / CHAT, machine.chat_commit, machine.chat)

    report = machine.take("tree", "weights", "--offline")

    [name] = whys(report, "imported")
    assert name == "tiny-chat-safetensors"
    assert machine.pins()[name].revision == machine.chat_commit
    assert machine.loaded().manifest.locations["weights"].store == "huggingface"
    assert machine.asked() == 0
    assert adopted(machine)


def test_without_notes_the_hub_is_asked_which_commit_holds_these_bytes(machine: Machine) -> None:
    put(machine.here / "weights" / CHAT, machine.chat)
    machine.hub.update(CHAT, {"README.md": b"newer\n"})  # main moved on; README differs there

    machine.take("tree", "weights")

    [(name, pin)] = machine.pins().items()
    assert pin.license == "apache-2.0"
    assert {file.path for file in pin.files} >= {"config.json", "model.safetensors"}
    assert machine.loaded().manifest.variants[name].source == f"hf:{CHAT}"
    assert adopted(machine)


def test_an_older_commit_is_found_when_main_has_other_weights(machine: Machine) -> None:
    put(machine.here / "weights" / CHAT, machine.chat)
    machine.hub.update(CHAT, {"model.safetensors": b"\x08\0\0\0\0\0\0\0{}      " + b"x"})

    machine.take("tree", "weights")

    [pin] = machine.pins().values()
    assert pin.revision == machine.chat_commit
    assert adopted(machine)


def test_offline_a_tree_without_notes_is_left_out_with_what_would_help(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(machine.here / "weights" / CHAT, machine.chat)

    stamps = []
    monkeypatch.setattr("reconciler.importing.shelves.digests_of", lambda _, files, __: stamps.extend(files) or {})

    report = machine.take("tree", "weights", "--offline")

    assert stamps == []  # and nothing is read for that
    assert "--offline" in whys(report, "left-out")[f"hf:{CHAT}"]
    assert not machine.manifest.exists()
    assert machine.asked() == 0


def test_a_repository_that_the_hub_lacks_is_left_out(machine: Machine) -> None:
    put(machine.here / "weights/nobody/nothing", machine.chat)

    report = machine.take("tree", "weights")

    assert "no such repository" in whys(report, "left-out")["hf:nobody/nothing"]


def test_bytes_that_no_commit_holds_are_left_out(machine: Machine) -> None:
    put(machine.here / "weights" / GGUF, {"Tiny-Q4_K_M.gguf": machine.ggufs["Tiny-IQ4_XS.gguf"]})

    report = machine.take("tree", "weights")

    assert "no commit of hf:acme/Tiny-GGUF holds Tiny-Q4_K_M.gguf" in whys(report, "left-out")[f"hf:{GGUF}"]


def test_a_file_that_is_not_as_it_was_downloaded_is_a_problem(machine: Machine) -> None:
    files = dict(machine.chat)
    note_downloads(machine.here / "weights" / CHAT, machine.chat_commit, files)
    files["model.safetensors"] = files["model.safetensors"][:-1] + b"\xff"
    put(machine.here / "weights" / CHAT, files)

    report = machine.take("tree", "weights")

    assert "not the bytes that were downloaded: model.safetensors" in whys(report, "problem")[f"hf:{CHAT}"]


def test_quants_beside_one_another_are_variants_of_their_own(machine: Machine) -> None:
    put(machine.here / "gguf" / GGUF, machine.ggufs)

    report = machine.take("tree", "gguf")

    assert sorted(whys(report, "imported")) == ["tiny-lmstudio-gguf-iq4_xs", "tiny-lmstudio-gguf-q4_k_m"]
    variants = machine.loaded().manifest.variants
    assert variants["tiny-lmstudio-gguf-q4_k_m"].files == ("Tiny-Q4_K_M.gguf",)
    assert machine.loaded().manifest.locations["gguf"].store == "lmstudio"
    assert adopted(machine)


def test_half_downloads_placeholders_and_strangers_are_told_and_never_imported(machine: Machine) -> None:
    put(machine.here / "weights" / GGUF, {
        "Tiny-Q4_K_M.gguf": machine.ggufs["Tiny-Q4_K_M.gguf"],
        "Tiny-IQ4_XS.gguf": machine.ggufs["Tiny-IQ4_XS.gguf"][:500],
        "Tiny-IQ4_XS.gguf.aria2": b"control",
        "Other-Q8_0.gguf": b"",
        "Page-Q2_K.gguf": b"<!DOCTYPE html><html>no</html>",
        "Pointer-Q3_K_M.gguf": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n",
        "notes.txt": b"mine",
    })  # fmt: skip

    report = machine.take("tree", "weights")

    why = whys(report, "left-out")
    assert why["acme/Tiny-GGUF/Tiny-IQ4_XS.gguf"].startswith("a half download")
    assert why["acme/Tiny-GGUF/Tiny-IQ4_XS.gguf.aria2"] == "a half download"
    assert why["acme/Tiny-GGUF/Other-Q8_0.gguf"] == "an empty file: a placeholder"
    assert "a web page" in why["acme/Tiny-GGUF/Page-Q2_K.gguf"]
    assert "Git LFS pointer" in why["acme/Tiny-GGUF/Pointer-Q3_K_M.gguf"]
    assert "not of the repository" in why["acme/Tiny-GGUF: notes.txt"]
    [pin] = machine.pins().values()
    assert [file.path for file in pin.files] == ["Tiny-Q4_K_M.gguf"]
    assert adopted(machine)


def test_a_model_that_lacks_a_shard_is_left_out(machine: Machine) -> None:
    shard = machine.chat["model.safetensors"]
    put(machine.here / "weights/acme/Cut", {"model-00001-of-00002.safetensors": shard})
    machine.hub.add("acme/Cut", {f"model-0000{n}-of-00002.safetensors": shard + b"" for n in (1, 2)})

    report = machine.take("tree", "weights")

    assert "model-00002-of-00002.safetensors missing" in whys(report, "left-out")["hf:acme/Cut"]


def test_pickles_are_left_out_unless_the_manifest_allows_them(machine: Machine) -> None:
    put(machine.here / "weights/acme/Old", {"pytorch_model.bin": b"\x80\x02weights"})
    machine.hub.add("acme/Old", {"pytorch_model.bin": b"\x80\x02weights"})

    report = machine.take("tree", "weights")
    assert "pickle" in whys(report, "left-out")["hf:acme/Old"]

    machine.manifest.write_text("version: 1\npolicy: { pickle: allow }\n")
    machine.take("tree", "weights")
    assert adopted(machine)


def test_a_second_import_reads_no_file_and_changes_no_byte(machine: Machine) -> None:
    put(machine.here / "weights" / CHAT, machine.chat)
    put(machine.here / "weights" / GGUF, machine.ggufs)
    machine.take("tree", "weights")
    before = {path: path.read_bytes() for path in machine.here.glob("box.*")}
    times = {path: path.stat().st_mtime_ns for path in before}
    machine.hub.reset_log()

    report = machine.take("tree", "weights")

    assert report["written"] == []
    assert report["summary"] == {"imported": 0, "known": 3, "left-out": 0, "problem": 0, "finding": 0}
    assert {path: path.read_bytes() for path in machine.here.glob("box.*")} == before
    assert {path: path.stat().st_mtime_ns for path in before} == times
    assert machine.asked() == 0


def test_a_new_model_in_a_known_place_is_added_there(machine: Machine) -> None:
    put(machine.here / "weights" / CHAT, machine.chat)
    machine.take("tree", "weights")
    put(machine.here / "weights" / GGUF, machine.ggufs)

    report = machine.take("tree", "weights")

    assert report["summary"]["known"] == 1
    assert report["summary"]["imported"] == 2
    assert list(machine.loaded().manifest.locations) == ["weights"]
    assert adopted(machine)


def test_loose_files_of_unknown_origin_become_a_flat_location_with_file_sources(machine: Machine) -> None:
    put(machine.here / "pile", {"Tiny-Q4_K_M.gguf": machine.ggufs["Tiny-Q4_K_M.gguf"], "readme.txt": b"x"})

    report = machine.take("tree", "pile", "--offline")

    [(name, why)] = whys(report, "imported").items()
    assert name == "tiny-q4-k-m-gguf"
    assert "not known" in why
    assert machine.loaded().manifest.locations["pile"].store == "flat"
    assert machine.loaded().manifest.variants[name].source == f"file:{machine.here}/pile/Tiny-Q4_K_M.gguf"
    assert "readme.txt" in whys(report, "left-out")
    assert adopted(machine)


def test_a_loose_file_whose_bytes_the_lock_knows_keeps_their_source(machine: Machine) -> None:
    put(machine.here / "weights" / GGUF, machine.ggufs)
    machine.take("tree", "weights")
    put(machine.here / "pile", {"Tiny-Q4_K_M.gguf": machine.ggufs["Tiny-Q4_K_M.gguf"]})

    report = machine.take("tree", "pile", "--offline")

    [name] = whys(report, "imported")
    assert machine.loaded().manifest.variants[name].source == f"hf:{GGUF}"
    assert adopted(machine)


def test_a_directory_with_a_configuration_is_one_model(machine: Machine) -> None:
    put(machine.here / "my-llama", machine.chat)

    report = machine.take("tree", "my-llama", "--offline")

    [name] = whys(report, "imported")
    assert name == "my-llama-safetensors"
    assert {file.path for file in machine.pins()[name].files} == set(machine.chat)
    assert adopted(machine)


def test_a_tree_in_a_place_that_is_arranged_otherwise_is_left_out(machine: Machine) -> None:
    put(machine.here / "weights" / CHAT, machine.chat)
    machine.manifest.write_text(f"version: 1\nlocations:\n  all: {{ store: flat, root: {machine.here} }}\n")

    report = machine.take("tree", "weights")

    assert "lies inside the location `all`" in whys(report, "left-out")[f"hf:{CHAT}"]


def test_the_hf_cache_is_taken_without_asking_anybody(machine: Machine) -> None:
    cache(machine.here / "hub", CHAT, machine.chat_commit, machine.chat, {"main": machine.chat_commit})

    report = machine.take("hf-cache", "hub")

    [name] = whys(report, "imported")
    assert machine.pins()[name].revision == machine.chat_commit
    assert machine.loaded().manifest.variants[name].source == f"hf:{CHAT}"
    assert set(machine.loaded().manifest.variants[name].files) == set(machine.chat)
    assert machine.asked() == 0
    assert adopted(machine)


def test_branches_and_old_snapshots_of_the_cache_are_variants_of_their_own(machine: Machine) -> None:
    old, dev = "1" * 40, "2" * 40
    root = machine.here / "hub"
    cache(root, CHAT, machine.chat_commit, machine.chat, {"main": machine.chat_commit})
    cache(root, CHAT, dev, {**machine.chat, "README.md": b"dev"}, {"dev": dev})
    cache(root, CHAT, old, {**machine.chat, "README.md": b"old"}, {})

    machine.take("hf-cache", "hub")

    sources = {variant.source for variant in machine.loaded().manifest.variants.values()}
    assert sources == {f"hf:{CHAT}", f"hf:{CHAT}@dev", f"hf:{CHAT}@{old}"}
    assert adopted(machine)


def test_what_is_not_whole_in_the_cache_is_told(machine: Machine) -> None:
    root = machine.here / "hub"
    folder = cache(root, CHAT, machine.chat_commit, machine.chat, {"main": machine.chat_commit})
    weights = os.readlink(folder / "snapshots" / machine.chat_commit / "model.safetensors")
    (folder / "blobs" / Path(weights).name).rename(folder / "blobs" / f"{Path(weights).name}.1a2b.incomplete")
    put(root, {"datasets--acme--data/blobs/" + "3" * 64: b"x"})
    put(folder, {"blobs/" + "4" * 64: b"nobody names me"})

    report = machine.take("hf-cache", "hub")

    why = whys(report, "left-out")
    assert why[f"hf:{CHAT}"].startswith("incomplete: model.safetensors missing")
    assert [what for what, reason in why.items() if reason == "a half download"]
    assert "no model" in why["datasets--acme--data"]
    assert "no snapshot names this blob" in why[f"{folder.name}/blobs/{'4' * 64}"]


def test_blobs_in_the_store_that_repositories_share_are_left_out_with_the_reason(machine: Machine) -> None:
    root = machine.here / "hub"
    folder = cache(root, GGUF, machine.gguf_commit, machine.ggufs, {"main": machine.gguf_commit})
    blob = next(path for path in (folder / "blobs").iterdir() if path.stat().st_size > 1000)
    shared = root / "blobs/ab" / blob.name
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(f"../../blobs/ab/{blob.name}")

    report = machine.take("hf-cache", "hub")

    assert report["summary"]["imported"] == 1
    assert "HF_HUB_DISABLE_SHARED_BLOBS" in whys(report, "left-out")[f"hf:{GGUF}"]


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME", "HOME"])
def test_the_cache_is_found_where_huggingface_hub_has_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    below = {"HF_HUB_CACHE": "", "HF_HOME": "hub", "HOME": ".cache/huggingface/hub"}[variable]
    monkeypatch.setenv(variable, str(machine.here / "there"))
    root = machine.here / "there" / below
    cache(root, GGUF, machine.gguf_commit, machine.ggufs, {"main": machine.gguf_commit})

    report = machine.take("hf-cache")

    assert report["summary"]["imported"] == 2


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a second file system")
def test_a_cache_behind_a_link_to_another_disk_is_declared_where_it_lies(machine: Machine) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        if Path(other).stat().st_dev == machine.here.stat().st_dev:
            pytest.skip("needs a second file system")
        cache(Path(other) / "hub", GGUF, machine.gguf_commit, machine.ggufs, {"main": machine.gguf_commit})
        (machine.here / "hub").symlink_to(Path(other) / "hub")

        machine.take("hf-cache", "hub", "--offline")

        [place] = machine.loaded().manifest.locations.values()
        assert place.root == f"{other}/hub"
        assert adopted(machine)


def test_lm_studios_models_are_found_by_its_settings(machine: Machine) -> None:
    home, models = Path(os.environ["HOME"]), machine.here / "llm models"
    put(home / ".lmstudio", {"settings.json": f'{{"downloadsFolder": "{models}"}}'.encode()})
    put(models / GGUF, machine.ggufs)
    put(models, {"stray.gguf": machine.ggufs["Tiny-Q4_K_M.gguf"]})

    report = machine.take("lmstudio")

    assert report["summary"]["imported"] == 2
    assert machine.loaded().manifest.locations["lmstudio"].root == str(models)
    assert "two directories deep" in whys(report, "left-out")["stray.gguf"]
    assert adopted(machine)


def test_lm_studio_keeps_files_of_repositories_that_have_directories_flat(machine: Machine) -> None:
    machine.hub.add("acme/Deep-GGUF", {f"Q4/{path}": data for path, data in machine.ggufs.items()})
    put(machine.here / "llm/acme/Deep-GGUF", {"Tiny-Q4_K_M.gguf": machine.ggufs["Tiny-Q4_K_M.gguf"]})

    machine.take("lmstudio", "llm")

    [pin] = machine.pins().values()
    assert [file.path for file in pin.files] == ["Q4/Tiny-Q4_K_M.gguf"]
    assert adopted(machine)


def test_lm_studio_that_is_nowhere_is_one_clear_error(machine: Machine) -> None:
    told = machine.run("import", "lmstudio", "--manifest", "box.yaml")

    assert told.code == 1
    assert "reconciler import lmstudio DIR" in told.err


def test_the_home_directory_is_written_as_a_tilde(machine: Machine) -> None:
    put(Path(os.environ["HOME"]) / "models" / CHAT, machine.chat)

    machine.take("tree", str(Path(os.environ["HOME"]) / "models"))

    assert "root: ~/models" in machine.manifest.read_text()
    assert adopted(machine)
