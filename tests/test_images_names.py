"""Names that would collide in a folder of image models are told by the plan, before anything comes."""

from __future__ import annotations

from civitai_kit import HALF, LORA, NEWER
from test_cli_detect import put
from test_images_apply import Machine, machine

from reconciler.hub.diffusion import png

__all__ = ["machine"]

PLACE = """\
version: 1
registry: {here}/registry
locations:
  comfy: {{ store: comfyui, root: {here}/ComfyUI/models, companions: [markdown, preview] }}
variants:
"""


def two(machine: Machine, one: str, other: str) -> None:
    machine.write(f"{PLACE}  one: {{{{ {one}, location: comfy }}}}\n  two: {{{{ {other}, location: comfy }}}}\n")


def blocked(machine: Machine) -> dict[str, str | None]:
    return {address: why for address, (_, _, why) in machine.steps().items()}


def test_two_models_under_one_name_block_each_other_and_no_third_one(machine: Machine) -> None:
    machine.civitai.add_model(8, "Another")
    machine.civitai.add_version(8, 81, {"Story.safetensors": HALF})
    two(machine, "source: 'civitai:7@71'", "source: 'civitai:8@81'")
    found = blocked(machine)
    assert all(why and "story.safetensors" in why.lower() for why in found.values()), found
    assert machine.run("apply", "images.yaml", "--yes").code == 3
    assert not (machine.here / "ComfyUI/models/loras").exists()


def test_a_template_tells_them_apart(machine: Machine) -> None:
    machine.civitai.add_model(8, "Another")
    machine.civitai.add_version(8, 81, {"Story.safetensors": HALF})
    two(machine, "source: 'civitai:7@71'", "source: 'civitai:8@81'")
    path = machine.here / "images.yaml"
    path.write_text(path.read_text().replace("companions:", "names: '{stem}-{version}', companions:"))
    machine.apply()
    names = sorted(each.name for each in (machine.here / "ComfyUI/models/loras").glob("*.safetensors"))
    assert names == ["Story-81.safetensors", "story-71.safetensors"]


def test_one_file_wanted_twice_lies_there_once(machine: Machine) -> None:
    two(machine, "source: 'civitai:7@71'", "source: 'urn:air:sdxl:lora:civitai:7@71'")
    machine.apply()
    assert (machine.here / "ComfyUI/models/loras/story.safetensors").read_bytes() == LORA
    assert set(blocked(machine).values()) == {None}


def test_models_that_differ_in_their_ending_share_no_companion(machine: Machine) -> None:
    machine.civitai.add_model(8, "Another")
    machine.civitai.add_version(8, 81, {"story.sft": HALF})
    two(machine, "source: 'civitai:7@71'", "source: 'civitai:8@81', kind: lora")
    machine.apply()
    folder = machine.here / "ComfyUI/models/loras"
    assert sorted(path.name for path in folder.iterdir()) == ["story.md", "story.safetensors", "story.sft"]
    assert machine.steps().keys() == {"one@comfy", "two@comfy"}
    assert {action for action, _, _ in machine.steps().values()} == {"keep"}


def test_other_bytes_under_the_name_are_not_ours_and_stay(machine: Machine) -> None:
    put(machine, "loras/story.safetensors", NEWER)
    put(machine, "loras/story.preview.png", png(9))
    two(machine, "source: 'civitai:7@71'", "source: 'civitai:7@72'")
    why = blocked(machine)["one@comfy"]
    assert why is not None
    assert "other bytes" in why
    assert machine.run("apply", "images.yaml", "--yes").code == 3
    folder = machine.here / "ComfyUI/models/loras"
    assert (folder / "story.safetensors").read_bytes() == NEWER
    assert (folder / "story_v2.safetensors").read_bytes() == NEWER
    assert (folder / "story.preview.png").read_bytes() == png(9)
