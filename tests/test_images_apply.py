"""Image models end to end: a loopback Civitai, a ComfyUI and an A1111 tree, pictures and notes beside the models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from civitai_kit import LORA, NEWER, TOKEN, populate
from cli_kit import Told

from reconciler.cli import run
from reconciler.hub.civitai import Civitai
from reconciler.hub.diffusion import png

MANIFEST = """\
version: 1
name: images
registry: {here}/registry
locations:
  comfy: {{ store: comfyui, root: {here}/ComfyUI/models, companions: [civitai-info, markdown, preview] }}
  webui: {{ store: a1111, root: {here}/webui, names: "{{stem}}-mid_{{model}}-vid_{{version}}" }}
variants:
  story-comfy: {{ source: "civitai:7@72", location: comfy, subfolder: styles }}
  story-webui: {{ source: "civitai:7@72", location: webui }}
"""
LORAS = "ComfyUI/models/loras/styles"


class Machine:
    def __init__(self, here: Path, civitai: Civitai, capsys: pytest.CaptureFixture[str]) -> None:
        self.here, self.civitai, self._capsys = here, civitai, capsys
        self.write(MANIFEST)

    def write(self, text: str) -> None:
        (self.here / "images.yaml").write_text(text.format(here=self.here))

    def run(self, *arguments: str) -> Told:
        self._capsys.readouterr()
        code = run(arguments)
        return Told(code, *self._capsys.readouterr())

    def apply(self) -> Told:
        told = self.run("apply", "images.yaml", "--yes")
        assert told.code == 0, told.out + told.err
        return told

    def steps(self) -> dict[str, tuple[str, str, str | None]]:
        told = self.run("plan", "images.yaml", "--json")
        assert told.code in (0, 3), told.err
        return {step["address"]: (step["action"], step["reason"], step["blocked"]) for step in told.json["steps"]}

    def warnings(self) -> list[str]:
        value: dict[str, Any] = self.run("plan", "images.yaml", "--json").json
        warnings: list[str] = value["warnings"]
        return warnings


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Machine]:
    with Civitai(token=TOKEN) as civitai:
        populate(civitai)
        monkeypatch.setenv("CIVITAI_ENDPOINT", civitai.url)
        monkeypatch.setenv("CIVITAI_TOKEN", TOKEN)
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:10009")
        monkeypatch.chdir(tmp_path)
        yield Machine(tmp_path, civitai, capsys)


def test_one_download_serves_both_web_interfaces_with_picture_and_notes_in_place(machine: Machine) -> None:
    machine.apply()

    one = machine.here / LORAS / "story_v2.safetensors"
    other = machine.here / "webui/models/Lora/story_v2-mid_7-vid_72.safetensors"
    assert one.read_bytes() == other.read_bytes() == NEWER
    assert one.stat().st_ino == other.stat().st_ino
    assert (machine.here / LORAS / "story_v2.preview.png").read_bytes() == png(2)  # the first one is not for everybody
    assert json.loads((machine.here / LORAS / "story_v2.civitai.info").read_text())["trainedWords"] == [
        "storybook", "warm"
    ]  # fmt: skip
    assert "- `storybook`" in (machine.here / LORAS / "story_v2.md").read_text()
    assert sorted(path.name for path in other.parent.iterdir()) == [other.name]
    assert {action for action, _, _ in machine.steps().values()} == {"keep"}


def test_the_token_stays_out_of_everything_that_was_written(machine: Machine) -> None:
    machine.apply()
    written = [path for path in machine.here.rglob("*") if path.is_file()]
    assert len(written) > 8
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]


def test_a_note_that_is_gone_is_made_again(machine: Machine) -> None:
    machine.apply()
    (machine.here / LORAS / "story_v2.md").unlink()
    assert machine.steps()["story-comfy@comfy"] == ("normalize", "metadata", None)
    machine.apply()
    assert (machine.here / LORAS / "story_v2.md").exists()


def test_a_note_that_a_user_changed_since_stays_his(machine: Machine) -> None:
    machine.apply()
    page = machine.here / LORAS / "story_v2.md"
    page.write_text(page.read_text() + "\nUse at 0.7.\n")
    machine.apply()
    assert page.read_text().endswith("Use at 0.7.\n")
    assert {action for action, _, _ in machine.steps().values()} <= {"keep", "normalize"}


def test_a_model_that_lies_there_is_adopted_and_gets_its_companions(machine: Machine) -> None:
    folder = machine.here / LORAS
    folder.mkdir(parents=True)
    (folder / "story_v2.safetensors").write_bytes(NEWER)
    machine.write(MANIFEST.replace(", preview]", "]"))
    assert machine.steps()["story-comfy@comfy"] == ("normalize", "adopt", None)
    machine.apply()
    assert (folder / "story_v2.md").exists()


def test_what_a_user_wrote_beside_a_model_stays_and_the_model_comes_all_the_same(machine: Machine) -> None:
    folder = machine.here / LORAS
    folder.mkdir(parents=True)
    (folder / "story_v2.md").write_text("My own notes.\n")
    (folder / "story_v2.preview.png").write_bytes(png(9))
    machine.apply()

    assert (folder / "story_v2.safetensors").read_bytes() == NEWER
    assert (folder / "story_v2.md").read_text() == "My own notes.\n"
    assert (folder / "story_v2.preview.png").read_bytes() == png(9)


def test_a_picture_that_upstream_has_not_any_more_does_not_keep_the_model_back(machine: Machine) -> None:
    assert machine.run("lock", "images.yaml").code == 0
    machine.civitai.versions[72].previews.clear()
    machine.run("apply", "images.yaml", "--yes")

    assert (machine.here / LORAS / "story_v2.safetensors").read_bytes() == NEWER


def test_a_chosen_picture_is_locked_with_its_digest(machine: Machine) -> None:
    picture = machine.here / "mine.png"
    picture.write_bytes(png(5))
    machine.write(MANIFEST.replace("subfolder: styles", "preview: 'file:{here}/mine.png'"))
    machine.apply()

    assert (machine.here / "ComfyUI/models/loras/story_v2.preview.png").read_bytes() == png(5)
    assert {action for action, _, _ in machine.steps().values()} == {"keep"}


def test_what_is_no_picture_is_told_and_left_out(machine: Machine) -> None:
    (machine.here / "mine.png").write_bytes(b"<html>not a picture</html>")
    machine.write(MANIFEST.replace("subfolder: styles", "preview: 'file:{here}/mine.png'"))
    told = machine.run("apply", "images.yaml", "--yes")

    assert "no picture or video" in told.out + told.err
    assert (machine.here / "ComfyUI/models/loras/story_v2.safetensors").read_bytes() == NEWER
    assert not (machine.here / "ComfyUI/models/loras/story_v2.preview.png").exists()
    assert {action for action, _, _ in machine.steps().values()} == {"keep"}
    assert any("its preview is not in the lock" in each for each in machine.warnings())


def test_companions_that_are_asked_for_later_come_as_metadata_and_leave_when_no_longer_wanted(machine: Machine) -> None:
    machine.write(MANIFEST.replace(", companions: [civitai-info, markdown, preview]", ""))
    machine.apply()
    assert [path.name for path in (machine.here / LORAS).iterdir()] == ["story_v2.safetensors"]

    machine.write(MANIFEST)
    assert machine.steps()["story-comfy@comfy"] == ("normalize", "metadata", None)
    machine.apply()
    assert (machine.here / LORAS / "story_v2.md").exists()
    assert not (machine.here / LORAS / "story_v2.preview.png").exists()  # the lock has none yet

    assert machine.run("lock", "images.yaml", "--upgrade", "story-comfy").code == 0
    machine.apply()
    assert (machine.here / LORAS / "story_v2.preview.png").read_bytes() == png(2)

    machine.write(MANIFEST.replace(", companions: [civitai-info, markdown, preview]", ""))
    machine.apply()
    assert [path.name for path in (machine.here / LORAS).iterdir()] == ["story_v2.safetensors"]


def test_a_comfyui_location_may_be_the_tree_of_an_a1111(machine: Machine) -> None:
    (machine.here / "extra_model_paths.yaml").write_text(
        f"webui:\n  base_path: {machine.here}/webui\n  loras: |\n    models/Lora\n    models/LyCORIS\n"
    )
    machine.write(
        MANIFEST.partition("  webui:")[0].replace(
            "root: {here}/ComfyUI/models", "root: {here}/webui, extra_model_paths: {here}/extra_model_paths.yaml"
        )
        + "variants:\n  story: {{ source: 'civitai:7@71', location: comfy }}\n"
    )
    machine.apply()

    assert (machine.here / "webui/models/Lora/story.safetensors").read_bytes() == LORA
    assert not [each for each in machine.warnings() if "will not list" in each]


def test_a_place_into_which_comfyui_does_not_look_is_a_warning(machine: Machine) -> None:
    (machine.here / "extra_model_paths.yaml").write_text("webui:\n  loras: /elsewhere\n")
    machine.write(
        MANIFEST.replace("root: {here}/webui,", "root: {here}/webui,").replace(
            "root: {here}/ComfyUI/models,", "root: {here}/other, extra_model_paths: {here}/extra_model_paths.yaml,"
        )
    )
    [warning] = [each for each in machine.warnings() if "will not list" in each]
    assert warning.startswith(
        "story-comfy@comfy: comfyui will not list loras/styles/story_v2.safetensors: comfyui looks"
    )


def test_a_damaged_extra_model_paths_stops_its_location_and_no_other(machine: Machine) -> None:
    (machine.here / "extra_model_paths.yaml").write_text("webui:\n  loras: [a, b]\n")
    machine.write(
        MANIFEST.replace("ComfyUI/models,", "ComfyUI/models, extra_model_paths: {here}/extra_model_paths.yaml,")
    )
    steps = machine.steps()
    assert "extra_model_paths.yaml:2:3: `loras` is a list" in (steps["story-comfy@comfy"][2] or "")
    assert steps["story-webui@webui"][2] is None


def test_keys_of_image_models_elsewhere_are_a_mistake_with_its_place(machine: Machine) -> None:
    machine.write(
        "version: 1\nlocations:\n  here: {{ store: flat, root: {here}/flat, companions: [preview] }}\n"
        "  there: {{ store: flat, root: {here}/there }}\n"
        "variants:\n  x: {{ source: 'civitai:7@71', location: there, kind: lora }}\n"
    )
    told = machine.run("validate", "images.yaml")
    assert told.code == 1
    assert re.search(r"images\.yaml:6:\d+: `kind` is for locations of image models", told.err)
    assert "`companions` belongs to locations of" in told.err
