"""`extra_model_paths.yaml`: taken as ComfyUI takes it, with its traps told."""

from __future__ import annotations

from contextlib import suppress
from textwrap import dedent

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.errors import ManifestError
from reconciler.ui.extra_paths import ExtraPaths, own_models, parse, search
from reconciler.ui.places import places

FILE = "/home/ada/ComfyUI/extra_model_paths.yaml"
WEBUI = """\
a111:
  base_path: ~/stable-diffusion-webui/
  checkpoints: models/Stable-diffusion
  vae: models/VAE
  loras: |
    models/Lora
    models/LyCORIS
  embeddings: embeddings
  unet: models/unet
"""


def read(text: str, **environ: str) -> ExtraPaths:
    return parse(dedent(text), FILE, home="/home/ada", environ=environ)


def paths(text: str, **environ: str) -> list[tuple[str, str]]:
    return [(each.type, each.path) for each in read(text, **environ).paths]


def problems(text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read(text)
    return [str(problem) for problem in caught.value.problems]


def test_folders_stand_by_type_below_the_base_path_of_their_section() -> None:
    assert paths(WEBUI) == [
        ("checkpoints", "/home/ada/stable-diffusion-webui/models/Stable-diffusion"),
        ("vae", "/home/ada/stable-diffusion-webui/models/VAE"),
        ("loras", "/home/ada/stable-diffusion-webui/models/Lora"),
        ("loras", "/home/ada/stable-diffusion-webui/models/LyCORIS"),
        ("embeddings", "/home/ada/stable-diffusion-webui/embeddings"),
        ("diffusion_models", "/home/ada/stable-diffusion-webui/models/unet"),
    ]


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("~/m", "/home/ada/m/l"),
        ("$STORE/m", "/data/m/l"),
        ("${STORE}/m", "/data/m/l"),
        ("$NOBODY/m", "/home/ada/ComfyUI/$NOBODY/m/l"),
        ("../m", "/home/ada/m/l"),
        ("m", "/home/ada/ComfyUI/m/l"),
        ("/m/", "/m/l"),
        ("~other/m", "/home/ada/ComfyUI/~other/m/l"),
    ],
)
def test_a_base_path_is_expanded_and_then_stands_beside_the_file(base: str, path: str) -> None:
    assert paths(f"s:\n  base_path: {base}\n  loras: l\n", STORE="/data") == [("loras", path)]


def test_without_a_base_path_folders_stand_beside_the_file() -> None:
    assert paths("s:\n  loras: l\n  vae: /abs/v\n") == [("loras", "/home/ada/ComfyUI/l"), ("vae", "/abs/v")]


def test_an_absolute_folder_forgets_the_base_path() -> None:
    assert paths("s:\n  base_path: /b\n  loras: /l\n") == [("loras", "/l")]


def test_sections_without_anything_and_lines_without_text_are_passed_over() -> None:
    assert paths("s:\nt:\n  loras: |\n    a\n\n    b\n") == [
        ("loras", "/home/ada/ComfyUI/a"), ("loras", "/home/ada/ComfyUI/b")
    ]  # fmt: skip


def test_what_only_comfyui_manager_reads_adds_no_folder() -> None:
    assert paths("s:\n  download_model_base: /data\n  loras: l\n") == [("loras", "/home/ada/ComfyUI/l")]


OWN = {"loras": ("/c/models/loras",)}


def test_folders_of_the_file_come_after_those_of_comfyui() -> None:
    assert search(read("s:\n  loras: /x\n"), OWN)["loras"] == ("/c/models/loras", "/x")


def test_a_default_section_goes_first_and_its_last_line_before_all() -> None:
    text = "s:\n  is_default: true\n  loras: |\n    /x\n    /y\nt:\n  is_default: yes\n  loras: /z\nu:\n  loras: /w\n"
    assert search(read(text), OWN)["loras"] == ("/z", "/y", "/x", "/c/models/loras", "/w")


def test_a_folder_that_is_known_already_moves_only_when_it_becomes_the_default() -> None:
    assert search(read("s:\n  loras: /c/models/loras\n"), OWN)["loras"] == ("/c/models/loras",)
    text = "s:\n  loras: /x\nt:\n  is_default: true\n  loras: /x\n"
    assert search(read(text), OWN)["loras"] == ("/x", "/c/models/loras")


def test_comfyuis_own_models_lie_beside_the_file() -> None:
    assert own_models(FILE) == "/home/ada/ComfyUI/models"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s:\n  loras: [a, b]\n", ":2:3: `loras` is a list; expected text (several folders stand on lines"),
        ("s:\n  loras:\n", ":2:3: `loras` is nothing; expected text"),
        ("s:\n  base_path: 7\n  loras: a\n", ":2:3: `base_path` is `7`; expected a directory"),
        ("s: models\n", ":1:1: the section `s` holds `models`"),
        ("- a\n", ":1:1: expected sections with folders, found a list"),
        ("", ":1:1: expected sections with folders, found nothing"),
        ("s:\n\tloras: a\n", ":2:1: not YAML that ComfyUI can read"),
        ("s: !!python/object:os.system {}\n", ":1:4: not YAML that ComfyUI can read"),
    ],
)
def test_what_would_stop_comfyui_is_one_clear_error(text: str, said: str) -> None:
    [problem] = problems(text)
    assert problem.startswith(FILE + said)


def test_every_damage_is_told_in_one_reading() -> None:
    assert len(problems("s:\n  loras: [a]\n  vae: {a: b}\nt: 1\n")) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s:\n  lora: a\n", "no folder type `lora`; did you mean `loras`?"),
        ("s:\n  Loras: a\n", "no folder type `Loras`; did you mean `loras`? Case counts"),
        ("s:\n  insightface: a\n", "`insightface`: only a custom node can read it"),
        ('s:\n  is_default: "false"\n  loras: a\n', "counts as true"),
        ("s:\n  loras: |\n    a \n", "`a ` begins or ends with a space"),
        ("s:\n  loras: a\n  loras: b\n", ":3:3: `loras` stands twice in `s`; the last one counts"),
        ("s:\n  loras: a\ns:\n  vae: b\n", ":3:1: `s` stands twice; the last one counts"),
    ],
)
def test_what_comfyui_takes_silently_is_a_caution(text: str, said: str) -> None:
    [caution] = read(text).cautions
    assert said in caution


def test_a_section_that_is_meant_as_default_by_a_text_is_one_as_comfyui_sees_it() -> None:
    assert read('s:\n  is_default: "false"\n  loras: a\n').paths[0].is_default


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=200))
def test_no_text_makes_anything_but_folders_or_an_error(text: str) -> None:
    with suppress(ManifestError):
        assert all(each.path.startswith("/") for each in parse(text, FILE, home="/home/ada", environ={}).paths)


def test_a_comfyui_location_may_be_the_tree_of_another_web_interface() -> None:
    found = places("comfyui", "/home/ada/stable-diffusion-webui", read(WEBUI))
    assert {kind: found.placed[kind] for kind in ("lora", "checkpoint", "embedding", "diffusion-model")} == {
        "lora": "models/Lora", "checkpoint": "models/Stable-diffusion", "embedding": "embeddings",
        "diffusion-model": "models/unet",
    }  # fmt: skip
    assert found.searched["lora"][0] == "/home/ada/ComfyUI/models/loras"


def test_comfyuis_own_models_directory_keeps_its_usual_folders() -> None:
    found = places("comfyui", "/home/ada/ComfyUI/models", read(WEBUI))
    assert (found.placed["lora"], found.placed["diffusion-model"]) == ("loras", "diffusion_models")
    assert found.searched["diffusion-model"] == (
        "/home/ada/ComfyUI/models/unet",
        "/home/ada/ComfyUI/models/diffusion_models",
        "/home/ada/stable-diffusion-webui/models/unet",
    )


def test_a_root_into_which_comfyui_never_looks_keeps_the_usual_names_and_is_told_elsewhere() -> None:
    assert places("comfyui", "/data/elsewhere", read(WEBUI)).placed["lora"] == "loras"
