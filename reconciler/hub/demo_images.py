"""The world of `reconciler demo comfyui`: models of a small Civitai and of a hub, and ways for upstream to move on."""

from __future__ import annotations

from reconciler.hub.assets import Preview
from reconciler.hub.civitai import Civitai
from reconciler.hub.diffusion import image_model, jpeg, png, webp
from reconciler.hub.world import World

PARTS = "acme/Image-Parts"
"""The repository with a checkpoint, a VAE, a text encoder and an upscaler."""

DETAIL, BOOK, WAN, CONTROL, NEGATIVE, INK = 1001, 1002, 1003, 1004, 1005, 1006
"""Models of Civitai."""
EARLY_DAYS = 14

_LARGE = 20 << 20
"""Bytes of the checkpoint: large enough that aria2c moves it."""


def files() -> dict[str, bytes]:
    """Return the files of the repository, by path."""
    return {
        "checkpoints/allround_xl.safetensors": image_model("checkpoint", 101, size=_LARGE),
        "split_files/vae/wan_2.1_vae.safetensors": image_model("vae", 102),
        "split_files/text_encoders/clip_small.safetensors": image_model("text-encoder", 103),
        "upscale/4x_soft.safetensors": image_model("upscaler", 104),
        "README.md": b"---\nlicense: apache-2.0\n---\n# Parts for images\n",
    }


def detail() -> bytes:
    """Return the LoRA of the first page."""
    return image_model("lora", 111, size=256 << 10)


def populate(hub: World, civitai: Civitai) -> str:
    """Add everything; return the commit of the repository. About 22 MiB, made in well under a second."""
    civitai.add_model(DETAIL, "Detail tweaker", description="<p>More or less detail, by its weight.</p>")
    civitai.add_version(
        DETAIL, 2001, {"detail_tweaker.safetensors": detail()}, name="v1", trained_words=("detailed",),
        previews=[Preview(1, jpeg(1), level=16), Preview(2, png(2), told="png", level=1)],
    )  # fmt: skip
    civitai.add_model(BOOK, "Storybook")
    civitai.add_version(
        BOOK, 2002, {"storybook_v2.safetensors": image_model("lora", 112)}, name="v2", trained_words=("storybook",),
        previews=[Preview(3, webp(3), level=1)],
    )  # fmt: skip
    civitai.add_model(WAN, "Camera push")
    for number, noise in ((2003, "high"), (2004, "low")):
        civitai.add_version(
            WAN, number, {f"camera_push_{noise}_noise.safetensors": image_model("lora", number)}, name=f"{noise} noise",
            ecosystem="wan-video", base_model="Wan Video 2.2 T2V-A14B", previews=[Preview(number, jpeg(4), level=1)],
        )  # fmt: skip
    civitai.add_model(CONTROL, "Depth control", "Controlnet")
    civitai.add_version(
        CONTROL, 2005, {"depth.safetensors": image_model("controlnet", 115)}, name="early",
        early_access=civitai.now() + EARLY_DAYS * 86_400,
    )  # fmt: skip
    civitai.add_model(NEGATIVE, "Less is more", "TextualInversion")
    civitai.add_version(NEGATIVE, 2006, {"less_is_more.safetensors": image_model("embedding", 116)})
    civitai.add_model(INK, "Ink")
    civitai.add_version(INK, 2007, {"ink.safetensors": image_model("lora", 117)}, trained_words=("ink",))
    return hub.add(PARTS, files(), message="Parts for images", license="apache-2.0")


def later(hub: World, civitai: Civitai) -> dict[str, str]:
    """Add everything as it is at the end of the demo; return the commit of the repository."""
    commit = populate(hub, civitai)
    civitai.advance((EARLY_DAYS + 1) * 86_400)
    moves_on(civitai)
    civitai.models[DETAIL].gone = 404
    return {PARTS: commit}


def moves_on(civitai: Civitai) -> None:
    """Let upstream have more to say of one model, and another picture of it."""
    version = civitai.versions[2001]
    version.trained_words = ("detailed", "add detail")
    version.previews[:] = [Preview(5, png(5), told="png", level=1)]
