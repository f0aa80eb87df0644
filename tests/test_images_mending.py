"""Companions that lack or are damaged are found by `verify` and mended by --repair; what is new upstream is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from civitai_kit import NEWER
from test_images_apply import LORAS, MANIFEST, Machine, machine

from reconciler.hub.assets import Preview
from reconciler.hub.diffusion import jpeg, png, webp
from reconciler.spoilt import damage
from reconciler.ui.previews import media_of

__all__ = ["machine"]

PICTURE, PAGE, INFO = (f"story_v2{ending}" for ending in (".preview.png", ".md", ".civitai.info"))


def verdicts(machine: Machine) -> dict[str, tuple[str, str]]:
    told = machine.run("verify", "images.yaml", "--json")
    return {Path(row["path"]).name: (row["verdict"], row["why"]) for row in told.json["files"]}


def lora(machine: Machine, name: str) -> Path:
    return machine.here / LORAS / name


@pytest.mark.parametrize("name", [PICTURE, PAGE, INFO])
def test_a_companion_that_is_gone_is_found_and_comes_back_as_it_was(machine: Machine, name: str) -> None:
    machine.apply()
    before = lora(machine, name).read_bytes()
    lora(machine, name).unlink()
    assert verdicts(machine) == {name: ("missing", "not there")}
    assert machine.run("verify", "images.yaml").code == 16
    assert machine.run("verify", "images.yaml", "--repair").code == 0
    assert lora(machine, name).read_bytes() == before
    assert {action for action, _, _ in machine.steps().values()} == {"keep"}


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        (PICTURE, b"<html>you are not logged in</html>", "no picture or video"),
        (PICTURE, b"", "no picture or video"),
        (PICTURE, png(2)[:-20], "ends in the middle"),
        (PICTURE, jpeg(1), "the bytes are image/jpeg, not .png"),
        (INFO, b'{"id": 72, "modelId"', "not JSON"),
        (INFO, b"", "not JSON"),
        (PAGE, b"\n", "empty page"),
        (PAGE, b"\x00" * 64, "no text"),
    ],
)
def test_a_damaged_companion_is_corrupt_and_mended(machine: Machine, name: str, data: bytes, why: str) -> None:
    machine.apply()
    before = lora(machine, name).read_bytes()
    lora(machine, name).write_bytes(data)
    [(verdict, told)] = verdicts(machine).values()
    assert (verdict, why in told) == ("corrupt", True), told
    assert machine.run("verify", "images.yaml").code == 8
    assert machine.run("verify", "images.yaml", "--repair").code == 0
    assert lora(machine, name).read_bytes() == before


def test_an_apply_mends_a_damaged_companion_too(machine: Machine) -> None:
    machine.apply()
    before = lora(machine, INFO).read_bytes()
    lora(machine, INFO).write_bytes(b"")
    assert machine.steps()["story-comfy@comfy"] == ("normalize", "metadata", None)
    machine.apply()
    assert lora(machine, INFO).read_bytes() == before


@pytest.mark.parametrize(("name", "data"), [(PICTURE, png(9)), (INFO, b'{"notes": "mine"}'), (PAGE, b"Use at 0.7.\n")])
def test_a_companion_that_somebody_made_another_one_is_right_and_no_repair_touches_it(
    machine: Machine, name: str, data: bytes
) -> None:
    machine.apply()
    lora(machine, name).write_bytes(data)
    assert verdicts(machine) == {}
    other = PAGE if name != PAGE else INFO
    lora(machine, other).unlink()
    told = machine.run("verify", "images.yaml", "--repair")
    assert told.code == 0
    assert f"not ours: loras/styles/{name}" in told.out
    assert lora(machine, other).exists()
    assert lora(machine, name).read_bytes() == data


def test_a_model_that_is_damaged_is_not_excused(machine: Machine) -> None:
    """The control: what people may do to a companion is damage in a model."""
    machine.apply()
    lora(machine, "story_v2.safetensors").write_bytes(NEWER[:-1] + b"\0\0")
    assert machine.run("verify", "images.yaml").code == 8


def test_a_broken_file_that_was_there_before_us_stays_as_well(machine: Machine) -> None:
    lora(machine, "").mkdir(parents=True)
    lora(machine, INFO).write_bytes(b"{")
    machine.apply()
    assert lora(machine, INFO).read_bytes() == b"{"
    assert machine.run("verify", "images.yaml").code == 0


def test_undo_leaves_a_page_that_somebody_changed(machine: Machine) -> None:
    machine.apply()
    machine.write(MANIFEST.replace("subfolder: styles", "subfolder: other"))
    machine.apply()
    moved = machine.here / "ComfyUI/models/loras/other" / PAGE
    moved.write_text("mine\n")
    assert machine.run("undo", "images.yaml", "--yes").code == 0
    assert lora(machine, "story_v2.safetensors").read_bytes() == NEWER


# -- upstream ---------------------------------------------------------------------------------------------------------

TWO = MANIFEST.replace("variants:", "variants:\n  second: {{ source: 'civitai:7@71', location: comfy }}")


def test_what_is_said_anew_of_a_model_comes_by_upgrade_as_metadata_for_one_or_all(machine: Machine) -> None:
    machine.write(TWO)
    machine.apply()
    for version in (71, 72):
        machine.civitai.versions[version].trained_words = ("moonlight",)
    assert {action for action, _, _ in machine.steps().values()} == {"keep"}  # locked is locked

    assert machine.run("lock", "images.yaml", "--upgrade", "story-comfy").code == 0
    machine.civitai.reset_log()
    assert {name: step[:2] for name, step in machine.steps().items() if step[0] != "keep"} == {
        "story-comfy@comfy": ("normalize", "metadata")
    }
    machine.apply()
    assert "- `moonlight`" in lora(machine, PAGE).read_text()
    assert "moonlight" not in (machine.here / "ComfyUI/models/loras/story.md").read_text()
    assert machine.civitai.bytes_served("cdn") == 0

    assert machine.run("lock", "images.yaml", "--upgrade").code == 0
    assert machine.steps()["second@comfy"] == ("normalize", "metadata", None)
    machine.apply()
    assert "moonlight" in (machine.here / "ComfyUI/models/loras/story.md").read_text()


def test_a_new_picture_upstream_comes_by_upgrade_and_moves_no_weights(machine: Machine) -> None:
    machine.apply()
    machine.civitai.versions[72].previews[:] = [Preview(503, png(3), told="png", level=1)]
    assert machine.run("lock", "images.yaml", "--upgrade", "story-comfy").code == 0
    machine.civitai.reset_log()
    assert machine.steps()["story-comfy@comfy"] == ("normalize", "metadata", None)
    machine.apply()
    assert lora(machine, PICTURE).read_bytes() == png(3)
    assert not [each for each in machine.civitai.requests if each.path.startswith("/api/download")]
    assert {each.path.rpartition("/")[2] for each in machine.civitai.requests if each.origin == "cdn"} == {"503.png"}


def test_a_picture_comes_though_the_model_may_not_be_had_any_more(machine: Machine) -> None:
    machine.apply()
    machine.civitai.versions[72].early_access = machine.civitai.now() + 86_400
    lora(machine, PICTURE).unlink()
    assert machine.steps()["story-comfy@comfy"] == ("normalize", "metadata", None)
    machine.apply()
    assert lora(machine, PICTURE).read_bytes() == png(2)


def test_a_picture_of_another_form_takes_the_place_of_the_old_one(machine: Machine) -> None:
    machine.apply()
    machine.civitai.versions[72].previews[:] = [Preview(504, webp(4), told="png", level=1)]
    assert machine.run("lock", "images.yaml", "--upgrade", "story-comfy").code == 0
    assert machine.steps()["story-comfy@comfy"] == ("normalize", "metadata", None)
    machine.apply()
    assert sorted(path.name for path in lora(machine, "").glob("*.preview.*")) == ["story_v2.preview.webp"]


@pytest.mark.parametrize("fate", ["gone", "Archived", "TakenDown"])
def test_when_upstream_is_gone_the_lock_goes_on_and_an_upgrade_loses_nothing(machine: Machine, fate: str) -> None:
    machine.apply()
    page = lora(machine, PAGE).read_bytes()
    lock = (machine.here / "images.lock.json").read_bytes()
    model = machine.civitai.models[7]
    if fate == "gone":
        model.gone = 404
    else:
        model.mode = fate  # type: ignore[assignment]
    assert {action for action, _, _ in machine.steps().values()} == {"keep"}
    told = machine.run("lock", "images.yaml", "--upgrade")
    assert told.code == 1
    assert (machine.here / "images.lock.json").read_bytes() == lock
    lora(machine, PAGE).unlink()
    machine.apply()
    assert lora(machine, PAGE).read_bytes() == page


def test_a_model_that_left_before_anybody_knew_it_gets_the_facts_of_its_file(machine: Machine) -> None:
    (machine.here / "mine.safetensors").write_bytes(NEWER)
    machine.write(
        MANIFEST.partition("variants:")[0]
        + "variants:\n  mine: {{ source: 'file:{here}/mine.safetensors', location: comfy, kind: lora }}\n"
    )
    machine.apply()
    folder = machine.here / "ComfyUI/models/loras"
    assert sorted(path.name for path in folder.iterdir()) == ["mine.md", "mine.safetensors"]
    assert "SHA256" in (folder / "mine.md").read_text()
    assert str(machine.here) not in (folder / "mine.md").read_text()


# -- what is damaged --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [png(1), jpeg(1), webp(1)])
def test_a_picture_that_is_cut_anywhere_is_damaged(tmp_path: Path, data: bytes) -> None:
    suffix = str(media_of(data)).rpartition("/")[2]
    path = tmp_path / f"x.preview.{suffix}"
    path.write_bytes(data)
    assert damage(str(tmp_path), path.name) is None
    for end in (0, 3, 40, len(data) // 2, len(data) - 12):
        path.write_bytes(data[:end])
        assert damage(str(tmp_path), path.name), end


def test_what_is_no_companion_or_too_large_to_be_ours_is_not_judged(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"")
    assert damage(str(tmp_path), "x.safetensors") is None
    with (tmp_path / "x.md").open("wb") as file:
        file.truncate(5 << 20)
    assert damage(str(tmp_path), "x.md") is None
    assert damage(str(tmp_path), "gone.md")
