"""Whether a loader would list a file."""

from __future__ import annotations

import pytest

from reconciler.ui.kinds import Kind, Ui
from reconciler.ui.places import places
from reconciler.ui.visible import hidden_because, is_weights

ROOTS = {"comfyui": "/c/models", "a1111": "/w", "forge": "/w", "sdnext": "/w"}


def why(ui: Ui, kind: Kind, path: str, **facts: object) -> str | None:
    searched = places(ui, ROOTS[ui]).searched
    return hidden_because(ui, kind, f"{ROOTS[ui]}/{path}", searched, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ui", "kind", "path"),
    [
        ("comfyui", "lora", "loras/a.safetensors"),
        ("comfyui", "lora", "loras/flux/styles/a.SafeTensors"),
        ("comfyui", "lora", "loras/.hidden/a.safetensors"),
        ("comfyui", "diffusion-model", "unet/a.safetensors"),
        ("comfyui", "diffusion-model", "diffusion_models/a.gguf"),
        ("comfyui", "text-encoder", "clip/a.safetensors"),
        ("comfyui", "controlnet", "t2i_adapter/a.pth"),
        ("a1111", "lora", "models/Lora/a.safetensors"),
        ("a1111", "lora", "models/LyCORIS/a.safetensors"),
        ("a1111", "embedding", "embeddings/a.pt"),
        ("a1111", "upscaler", "models/SwinIR/a.pth"),
        ("forge", "checkpoint", "models/Stable-diffusion/a.gguf"),
        ("forge", "text-encoder", "models/text_encoder/a.safetensors"),
        ("sdnext", "diffusion-model", "models/UNET/a.safetensors"),
        ("comfyui", "other", "sams/a.pth"),
    ],
)
def test_a_file_in_its_folder_with_its_extension_is_seen(ui: Ui, kind: Kind, path: str) -> None:
    assert why(ui, kind, path) is None


@pytest.mark.parametrize(
    ("ui", "kind", "path", "reason"),
    [
        ("comfyui", "lora", "checkpoints/a.safetensors", "looks for lora in /c/models/loras"),
        ("comfyui", "lora", "Loras/a.safetensors", "the case of letters counts"),
        ("comfyui", "lora", "loras/a.gguf", "not .gguf"),
        ("comfyui", "lora", "loras/README", "not one without"),
        ("comfyui", "lora", "loras/.git/a.safetensors", "named .git"),
        ("a1111", "lora", "models/Lora/.old/a.safetensors", "hidden directories (.old)"),
        ("a1111", "lora", "models/Lora/a.gguf", "not .gguf"),
        ("a1111", "checkpoint", "models/Stable-diffusion/a.vae.safetensors", "VAE of a checkpoint"),
        ("a1111", "text-encoder", "models/text_encoder/a.safetensors", "no folder for the kind"),
        ("a1111", "hypernetwork", "models/hypernetworks/a.safetensors", "not .safetensors"),
        ("sdnext", "checkpoint", "models/a.safetensors", "looks for checkpoint"),
    ],
)
def test_a_file_that_a_loader_passes_over_says_why(ui: Ui, kind: Kind, path: str, reason: str) -> None:
    assert reason in (why(ui, kind, path) or "")


def test_an_empty_file_and_a_link_that_leads_nowhere_are_not_seen() -> None:
    assert why("comfyui", "vae", "vae/a.safetensors", size=0) == "it is empty"
    assert why("comfyui", "vae", "vae/a.safetensors", dangling=True) == "it is a symbolic link that leads nowhere"
    assert why("comfyui", "vae", "vae/a.safetensors", size=1) is None


def test_weights_are_told_by_their_extension() -> None:
    assert [is_weights(name) for name in ("a.safetensors", "a.GGUF", "a.pt", "README.md", "a.yaml", "pt")] == [
        True, True, True, False, False, False
    ]  # fmt: skip
