"""What an image model is for, and which folder each web interface has for that."""

from __future__ import annotations

from typing import get_args

import pytest

from reconciler.ui.kinds import (
    DRAWERS,
    KINDS,
    UIS,
    Kind,
    Ui,
    kind_named,
    kind_of_about,
    kind_of_air,
    kind_of_folder,
    kind_of_name,
    ui_of,
)
from reconciler.ui.places import kind_of_place, places


@pytest.mark.parametrize(
    ("ui", "kind", "folder"),
    [
        ("comfyui", "checkpoint", "checkpoints"),
        ("comfyui", "diffusion-model", "diffusion_models"),
        ("comfyui", "text-encoder", "text_encoders"),
        ("comfyui", "lora", "loras"),
        ("comfyui", "upscaler", "upscale_models"),
        ("comfyui", "style-model", "style_models"),
        ("a1111", "checkpoint", "models/Stable-diffusion"),
        ("a1111", "lora", "models/Lora"),
        ("a1111", "embedding", "embeddings"),
        ("a1111", "upscaler", "models/ESRGAN"),
        ("forge", "text-encoder", "models/text_encoder"),
        ("forge", "diffusion-model", "models/Stable-diffusion"),
        ("sdnext", "diffusion-model", "models/UNET"),
        ("sdnext", "text-encoder", "models/Text-encoder"),
        ("sdnext", "embedding", "models/embeddings"),
    ],
)
def test_each_web_interface_has_its_own_folder_for_a_kind(ui: Ui, kind: Kind, folder: str) -> None:
    assert DRAWERS[ui][kind].folder == folder


@pytest.mark.parametrize("ui", UIS)
def test_every_folder_for_new_files_is_one_that_the_loader_looks_into(ui: Ui) -> None:
    assert all(drawer.folder in drawer.searched and drawer.suffixes for drawer in DRAWERS[ui].values())


def test_comfyui_looks_into_unet_before_diffusion_models() -> None:
    assert DRAWERS["comfyui"]["diffusion-model"].searched == ("unet", "diffusion_models")


def test_every_kind_but_other_has_a_folder_in_comfyui() -> None:
    assert set(DRAWERS["comfyui"]) == set(get_args(Kind)) - {"other"}
    assert "other" in KINDS


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("Checkpoint", "checkpoint"), ("TextualInversion", "embedding"), ("LORA", "lora"), ("LoCon", "lora"),
        ("DoRA", "lora"), ("Controlnet", "controlnet"), ("Upscaler", "upscaler"), ("MotionModule", "motion-module"),
        ("VAE", "vae"), ("Hypernetwork", "hypernetwork"), ("Detection", "detection"), ("Text Encoder", "text-encoder"),
        ("diffusion_model", "diffusion-model"), ("unet", "diffusion-model"), ("clip", "text-encoder"),
        ("Stable-diffusion", "checkpoint"), ("LyCORIS", "lora"), ("RealESRGAN", "upscaler"), ("lora", "lora"),
        ("Poses", None), ("Workflows", None), ("Other", None), ("", None),
    ],
)  # fmt: skip
def test_types_of_civitai_types_of_airs_and_folders_name_kinds(word: str, kind: str | None) -> None:
    assert kind_named(word) == kind


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("urn:air:sdxl:lora:civitai:1327644@1498986", "lora"),
        ("urn:air:flux1:diffusionmodel:huggingface:o/r@main/x.safetensors", "diffusion-model"),
        ("urn:air:sd1:other:civitai:1@2", None),
        ("civitai:1@2", None),
        ("hf:o/r", None),
        ("urn:air:lora", None),
    ],
)
def test_an_air_tells_its_kind(source: str, kind: str | None) -> None:
    assert kind_of_air(source) == kind


def test_the_type_of_a_file_wins_over_the_type_of_its_model() -> None:
    about = {"civitai": {"type": "Checkpoint", "files": [{"name": "x.vae.pt", "type": "VAE"}, {"name": "x.ckpt"}]}}
    assert kind_of_about(about, "x.vae.pt") == "vae"
    assert kind_of_about(about, "x.ckpt") == "checkpoint"


def test_what_no_loader_reads_is_refused_with_a_way_out() -> None:
    with pytest.raises(ValueError, match="give `kind`"):
        kind_of_about({"civitai": {"type": "Poses"}}, "x.safetensors")
    with pytest.raises(ValueError, match="Training Data"):
        kind_of_about({"civitai": {"type": "LORA", "files": [{"name": "x.bin", "type": "Training Data"}]}}, "x.bin")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("split_files/vae/wan_2.1_vae.safetensors", "vae"),
        ("split_files/diffusion_models/wan2.2_t2v.safetensors", "diffusion-model"),
        ("split_files/text_encoders/umt5_xxl.safetensors", "text-encoder"),
        ("loras/flux/x.safetensors", "lora"),
        ("x.safetensors", None),
        ("weights/x.safetensors", None),
    ],
)
def test_the_folder_upstream_tells_the_kind(path: str, kind: str | None) -> None:
    assert kind_of_folder(path) == kind


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("RealESRGAN_x4plus.pth", "upscaler"),
        ("flux_vae.safetensors", "vae"),
        ("umt5_xxl_fp16.safetensors", "text-encoder"),
        ("detail_tweaker_lora.safetensors", "lora"),
        ("control_net_canny_controlnet.safetensors", "controlnet"),
        ("ip-adapter-plus_sd15.safetensors", "ipadapter"),
        ("bad_hand_embedding.pt", "embedding"),
        ("sd_xl_base_1.0.safetensors", None),
        ("my_sdxl_style.safetensors", None),
        ("flux1-dev-Q4_K_S.gguf", "diffusion-model"),
        ("flux1-dev.safetensors", None),
        ("model.safetensors", None),
    ],
)
def test_names_tell_a_kind_only_where_they_are_sure(path: str, kind: str | None) -> None:
    assert kind_of_name(path) == kind


def test_only_stores_of_web_interfaces_are_one() -> None:
    assert [ui_of(store) for store in ("comfyui", "a1111", "huggingface", "ollama")] == ["comfyui", "a1111", None, None]


def test_a_webui_may_be_given_by_its_models_directory_and_then_has_no_place_for_what_lies_beside_it() -> None:
    whole, inner = places("a1111", "/srv/webui"), places("a1111", "/srv/webui/models")
    assert (whole.placed["lora"], inner.placed["lora"]) == ("models/Lora", "Lora")
    assert whole.placed["embedding"] == "embeddings"
    assert "embedding" not in inner.placed
    assert whole.searched == inner.searched
    assert places("sdnext", "/srv/sdnext/models").placed["embedding"] == "embeddings"


def test_the_deepest_folder_that_a_loader_looks_into_tells_what_a_file_there_is_for() -> None:
    searched = places("comfyui", "/c/models").searched
    assert kind_of_place("loras/x/y.safetensors", searched, "/c/models") == "lora"
    assert kind_of_place("unet/y.safetensors", searched, "/c/models") == "diffusion-model"
    assert kind_of_place("y.safetensors", searched, "/c/models") is None
