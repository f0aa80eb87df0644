"""`status` says of image models whether they are here, wherever they lie."""

from __future__ import annotations

import os
from typing import Any

from civitai_kit import NEWER
from test_cli_detect import HIGH, LOW, put
from test_images_apply import LORAS, Machine, machine

__all__ = ["machine"]

ONE = """\
version: 1
registry: {here}/registry
locations:
  comfy: {{ store: comfyui, root: {here}/ComfyUI/models }}
  flat: {{ store: flat, root: {here}/flat }}
variants:
  story: {{ source: "civitai:7@72", location: comfy }}
"""
PAIR = (
    ONE.partition("variants:")[0]
    + """\
variants:
  wan-high: {{ source: "civitai:8@81", location: comfy, metadata: {{ pair: Wan, noise: high }} }}
  wan-low: {{ source: "civitai:8@82", location: comfy, metadata: {{ pair: Wan, noise: low }} }}
"""
)


def status(machine: Machine) -> dict[str, Any]:
    told = machine.run("status", "images.yaml", "--json")
    assert told.code == 0, told.err
    value: dict[str, Any] = told.json
    return value


def here(machine: Machine) -> dict[str, tuple[str, str | None]]:
    return {row["address"]: (row["here"]["verdict"], row["here"]["path"]) for row in status(machine)["variants"]}


def test_a_model_is_absent_until_it_is_here_and_stays_present_under_another_name(machine: Machine) -> None:
    machine.write(ONE)
    assert here(machine) == {"story@comfy": ("absent", None)}
    machine.apply()
    assert here(machine) == {"story@comfy": ("present", "loras/story_v2.safetensors")}
    os.rename(machine.here / "ComfyUI/models/loras/story_v2.safetensors", put(machine, "loras/mine.safetensors", b""))
    assert here(machine) == {"story@comfy": ("present", "loras/mine.safetensors")}
    told = machine.run("status", "images.yaml")
    assert "drift    here     apply      variant      why" in told.out
    assert "it lies at comfy: loras/mine.safetensors" in told.out


def test_one_that_another_web_interface_has_is_present(machine: Machine) -> None:
    machine.apply()
    (machine.here / LORAS / "story_v2.safetensors").unlink()
    assert here(machine)["story-comfy@comfy"] == ("present", "models/Lora/story_v2-mid_7-vid_72.safetensors")


def test_nobody_says_absent_while_a_disk_is_not_mounted(machine: Machine) -> None:
    machine.apply()
    os.rename(machine.here / "ComfyUI", machine.here / "away")
    os.rename(machine.here / "webui", machine.here / "away too")
    rows = {row["address"]: row["here"] for row in status(machine)["variants"]}
    assert {row["verdict"] for row in rows.values()} == {"unknown"}
    assert all("mounted" in row["why"] for row in rows.values())


def test_what_upstream_has_not_any_more_is_unknown_and_not_absent(machine: Machine) -> None:
    machine.write(
        ONE.replace("civitai:7@72", "civitai:7@79").replace(
            "variants:", "variants:\n  a: {{ source: 'civitai:7@71', location: comfy }}"
        )
    )
    assert here(machine)["story@comfy"] == ("unknown", None)


def test_a_model_that_is_sold_is_present_where_somebody_has_it_already(machine: Machine) -> None:
    machine.write(ONE)
    machine.civitai.versions[72].early_access = machine.civitai.now() + 86_400
    assert machine.steps()["story@comfy"][2]
    assert here(machine) == {"story@comfy": ("absent", None)}
    put(machine, "loras/bought.safetensors", NEWER)
    assert here(machine) == {"story@comfy": ("present", "loras/bought.safetensors")}


def test_a_pair_is_present_when_both_halves_are(machine: Machine) -> None:
    machine.civitai.add_model(8, "Wan")
    machine.civitai.add_version(8, 81, {"wan_high.safetensors": HIGH})
    machine.civitai.add_version(8, 82, {"wan_low.safetensors": LOW})
    machine.write(PAIR)
    put(machine, "loras/a.safetensors", HIGH)
    [pair] = status(machine)["pairs"]
    assert (pair["name"], pair["verdict"]) == ("Wan@comfy", "absent")
    assert "1 of 2 present; wan-low@comfy: no such file" in pair["why"]
    assert "pair Wan@comfy: absent, 1 of 2 present" in machine.run("status", "images.yaml").out
    machine.apply()
    assert [pair["verdict"] for pair in status(machine)["pairs"]] == ["present"]


def test_half_a_pair_is_no_pair(machine: Machine) -> None:
    machine.civitai.add_model(8, "Wan")
    machine.civitai.add_version(8, 81, {"wan_high.safetensors": HIGH})
    machine.write("\n".join(line for line in PAIR.splitlines() if "wan-low" not in line))
    machine.apply()
    [pair] = status(machine)["pairs"]
    assert (pair["verdict"], "low noise: is not declared" in pair["why"]) == ("absent", True)


def test_what_is_no_image_model_has_no_such_column(machine: Machine) -> None:
    (machine.here / "x.bin").write_bytes(b"x")
    machine.write(ONE.partition("variants:")[0] + "variants:\n  x: {{ source: 'file:{here}/x.bin', location: flat }}\n")
    value = status(machine)
    assert [row["here"] for row in value["variants"]] == [None]
    assert "here" not in machine.run("status", "images.yaml").out.splitlines()[0]
