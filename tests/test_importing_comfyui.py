"""`import comfyui DIR`: every claim is held against the bytes, and the plan right after has nothing to fetch."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from civitai_kit import FULL, LORA, NEWER, TOKEN, populate
from cli_kit import Told

from reconciler import lockfile
from reconciler.cli import run
from reconciler.hub.civitai import Civitai
from reconciler.hub.diffusion import image_model
from reconciler.manifest import load
from reconciler.ui.hashes import data_of

LOST = image_model("lora", 77)
"""Bytes that Civitai does not know."""


class Machine:
    def __init__(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.here, self._capsys = here, capsys
        self.models = here / "ComfyUI" / "models"
        (self.models / "checkpoints").mkdir(parents=True)

    def put(self, path: str, data: bytes | dict[str, Any]) -> Path:
        whole = self.models / path
        whole.parent.mkdir(parents=True, exist_ok=True)
        whole.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
        return whole

    def run(self, *arguments: str) -> Told:
        self._capsys.readouterr()
        code = run(arguments)
        return Told(code, *self._capsys.readouterr())

    def take(self, *arguments: str) -> dict[str, Any]:
        told = self.run("import", "comfyui", *(arguments or ("ComfyUI",)), "--manifest", "box.yaml", "--json")
        assert told.code == 0, told.err
        value: dict[str, Any] = told.json
        return value

    def said(self) -> dict[str, dict[str, Any]]:
        variants = load(self.here / "box.yaml").manifest.variants
        return {name: each.model_dump(exclude_defaults=True) for name, each in variants.items()}

    def steps(self, *arguments: str) -> list[tuple[str, str, str | None]]:
        told = self.run("plan", "box.yaml", "--json", "--offline", *arguments)
        assert told.code in (0, 3), told.err
        return [(step["action"], step["reason"], step["blocked"]) for step in told.json["steps"]]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Machine]:
    with Civitai(token=TOKEN) as civitai:
        populate(civitai)
        monkeypatch.setenv("CIVITAI_ENDPOINT", civitai.url)
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:10009")
        monkeypatch.chdir(tmp_path)
        yield Machine(tmp_path, capsys)


def notes(value: dict[str, Any], word: str) -> list[str]:
    return [row["why"] for row in value["rows"] if word in row["why"]]


def info(data: bytes, **more: Any) -> dict[str, Any]:
    hashes = {"SHA256": hashlib.sha256(data).hexdigest().upper()}
    begins = data_of(io.BytesIO(data))
    if begins is not None:
        hashes["AutoV3"] = hashlib.sha256(data[begins:]).hexdigest()[:12].upper()
    files = [{"name": "lost.safetensors", "primary": True, "hashes": hashes}]
    return {"id": 345, "modelId": 12, "name": "v1", "model": {"name": "Lost", "type": "LORA"}, "files": files, **more}


def test_what_civitai_knows_by_its_bytes_is_adopted_where_it_lies(machine: Machine) -> None:
    machine.put("loras/styles/story.safetensors", LORA)
    machine.put("checkpoints/renamed by me.safetensors", FULL)
    machine.take()

    said = sorted(machine.said().values(), key=lambda each: str(each["source"]))
    assert [each["source"].partition("+")[0] for each in said] == ["civitai:7@71", "civitai:9@91"]
    assert [(each["kind"], each.get("subfolder"), each.get("served_as")) for each in said] == [
        ("lora", "styles", None), ("checkpoint", None, "renamed by me")
    ]  # fmt: skip
    assert machine.steps() == [("normalize", "adopt", None)] * 2


def test_a_second_import_changes_nothing(machine: Machine) -> None:
    machine.put("loras/story.safetensors", LORA)
    machine.take()
    before = (machine.here / "box.yaml").read_bytes()
    assert [row["kind"] for row in machine.take()["rows"]] == ["known"]
    assert (machine.here / "box.yaml").read_bytes() == before


def test_a_note_is_believed_when_the_bytes_agree(machine: Machine) -> None:
    machine.put("loras/lost.safetensors", LOST)
    machine.put("loras/lost.civitai.info", info(LOST))
    value = machine.take("ComfyUI", "--offline")

    [said] = machine.said().values()
    assert said["source"] == "civitai:12@345"
    assert notes(value, "the digest is right")
    [pin] = lockfile.loads((machine.here / "box.lock.json").read_text(), "lock").pins.values()
    assert (pin.revision, pin.about["civitai"]["model"]) == ("345", "Lost")
    assert machine.steps() == [("normalize", "adopt", None)]


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        (".metadata.json", {"sha256": hashlib.sha256(LOST).hexdigest(), "civitai": {"id": 345, "modelId": 12}}),
        (".cm-info.json", {"ModelId": 12, "VersionId": 345, "Hashes": {"SHA256": hashlib.sha256(LOST).hexdigest()}}),
    ],
)
def test_notes_of_other_programs_are_understood(machine: Machine, ending: str, said: dict[str, Any]) -> None:
    machine.put("loras/lost.safetensors", LOST)
    machine.put(f"loras/lost{ending}", said)
    machine.take("ComfyUI", "--offline")
    assert [each["source"] for each in machine.said().values()] == ["civitai:12@345"]


@pytest.mark.parametrize(
    "text", [b"{no", b"[]", b'{"id": "x", "files": [1]}', b'{"files": 5}', b"\xff", b'{"civitai": 7}']
)
def test_a_note_that_says_nothing_is_passed_over(machine: Machine, text: bytes) -> None:
    machine.put("loras/lost.safetensors", LOST)
    for ending in (".civitai.info", ".metadata.json", ".cm-info.json"):
        machine.put(f"loras/lost{ending}", text)
    assert notes(machine.take("ComfyUI", "--offline"), "where it came from is not known")


def test_a_note_about_other_bytes_is_not_believed(machine: Machine) -> None:
    machine.put("loras/lost.safetensors", NEWER)
    machine.put("loras/lost.civitai.info", info(LOST))
    value = machine.take("ComfyUI", "--offline")

    [said] = machine.said().values()
    assert said["source"].startswith("file:")
    assert notes(value, "lost.civitai.info says civitai:12@345, and the bytes are others")


def test_a_rewritten_header_is_told_as_such(machine: Machine) -> None:
    begins = data_of(io.BytesIO(LOST))
    assert begins is not None
    header = json.loads(LOST[8:begins])
    header["__metadata__"] = {"title": "mine"}
    text = json.dumps(header).encode()
    machine.put("loras/lost.safetensors", len(text).to_bytes(8, "little") + text + LOST[begins:])
    machine.put(
        "loras/lost.metadata.json", {"sha256": info(LOST)["files"][0]["hashes"]["SHA256"], "civitai": info(LOST)}
    )

    assert notes(machine.take("ComfyUI", "--offline"), "the header was rewritten since; the tensors are the same")


def test_a_name_alone_confirms_nothing(machine: Machine) -> None:
    machine.put("loras/x-mid_12-vid_345.safetensors", LOST)
    assert notes(machine.take("ComfyUI", "--offline"), "its name says civitai:12@345, and nothing confirms it")


def test_what_is_no_model_is_told_and_never_imported(machine: Machine) -> None:
    machine.put("loras/half.safetensors.part", b"x")
    machine.put("loras/page.safetensors", b"<!DOCTYPE html><html></html>")
    machine.put("loras/empty.safetensors", b"")
    machine.put("stray.safetensors", LORA)
    machine.put("loras/cut.safetensors", LORA[: len(LORA) // 2])
    machine.put("loras/header cut.safetensors", LORA[:64])
    machine.put("embeddings/old.pt", b"\x80\x02}q\x00.")
    value = machine.take("ComfyUI", "--offline")

    assert {row["kind"] for row in value["rows"]} == {"left-out"}
    assert len(value["rows"]) == 7
    assert len(notes(value, f"cut short: {len(LORA) // 2} bytes of at least")) == 1
    assert len(notes(value, "incomplete: malformed")) == 1


def test_a_civitai_that_does_not_answer_is_told_and_nothing_else_is_lost(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIVITAI_ENDPOINT", "http://127.0.0.1:10009")
    machine.put("loras/story.safetensors", LORA)
    value = machine.take()
    assert sorted(row["kind"] for row in value["rows"]) == ["imported", "problem"]


@pytest.mark.parametrize(
    ("folders", "argument", "store", "root"),
    [
        (["models/checkpoints"], "ui", "comfyui", "ui/models"),
        (["models/loras"], "ui/models", "comfyui", "ui/models"),
        (["models/Stable-diffusion"], "ui", "a1111", "ui"),
        (["models/Stable-diffusion", "models/text_encoder"], "ui", "forge", "ui"),
        (["models/Stable-diffusion", "models/UNET"], "ui", "sdnext", "ui"),
        (["models/Stable-diffusion"], "ui/models", "a1111", "ui/models"),
        (["loras"], "ui", "comfyui", "ui"),
    ],
)
def test_the_folders_tell_which_web_interface_it_is(
    machine: Machine, folders: list[str], argument: str, store: str, root: str
) -> None:
    for folder in folders:
        (machine.here / "ui" / folder).mkdir(parents=True)
    lora = "loras" if store == "comfyui" else "Lora"
    base = machine.here / root / ("" if root.endswith("models") or store == "comfyui" else "models") / lora
    base.mkdir(parents=True, exist_ok=True)
    (base / "story.safetensors").write_bytes(LORA)
    machine.take(argument)

    [place] = load(machine.here / "box.yaml").manifest.locations.values()
    assert (place.store, place.root) == (store, str(machine.here / root))
    assert machine.steps() == [("normalize", "adopt", None)]


def test_another_directory_is_refused_with_what_is_expected(machine: Machine) -> None:
    (machine.here / "other").mkdir()
    told = machine.run("import", "comfyui", "other", "--manifest", "box.yaml")
    assert told.code == 1
    assert "name the directory that holds `models`" in told.err


def test_a_name_that_no_folder_can_have_is_left_out_and_nothing_is_linked_beside_it(machine: Machine) -> None:
    machine.put("loras/dot..safetensors", LOST)

    value = machine.take()

    [row] = value["rows"]
    assert row["kind"] == "left-out"
    assert row["why"].endswith("would have loras/dot.safetensors; rename it")
    assert not (machine.here / "box.yaml").exists()


def test_a_directory_that_the_system_refuses_to_look_at_is_one_clear_error(machine: Machine) -> None:
    told = machine.run("import", "comfyui", "/" + "a" * 300, "--manifest", "box.yaml")

    assert told.code == 1
    assert "defect" not in told.err
