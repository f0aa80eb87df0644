"""A small Civitai with models of several kinds, and worlds that may ask it."""

from __future__ import annotations

from sources_kit import Heard, a_world

from reconciler.hub.assets import AssetFile, Preview
from reconciler.hub.civitai import Civitai
from reconciler.hub.diffusion import image_model, png
from reconciler.hub.repos import Blob
from reconciler.secrets import Secret
from reconciler.sources import World

TOKEN = "c1v1ta1CANARYcanaryCANARY0123456"
NOBODY = "http://127.0.0.1:65009"
"""The Hub of worlds that only Civitai may be asked in."""

LORA = image_model("lora", 1)
NEWER = image_model("lora", 2)
HALF, FULL, VAE = (image_model("checkpoint", seed) for seed in (3, 4, 5))


def populate(civitai: Civitai) -> None:
    """Add a LoRA with two versions (7), and a checkpoint with two files of one name and a linked VAE (9)."""
    civitai.add_model(
        7,
        "Storybook",
        description="<h3>Style</h3><p>Soft &amp; <b>warm</b>.</p><script>evil()</script>",
        allow_commercial_use="{Image,RentCivit}",
        allow_no_credit=False,
        tags=("style", "book"),
    )
    civitai.add_version(7, 71, {"story.safetensors": LORA}, name="v1")
    civitai.add_version(
        7,
        72,
        {"story_v2.safetensors": NEWER},
        name="v2",
        trained_words=("storybook, ", "warm"),
        previews=[Preview(501, png(1), level=4), Preview(502, png(2), told="png", level=1)],
    )
    civitai.add_model(9, "Allround", "Checkpoint")
    civitai.add_version(
        9,
        91,
        [
            AssetFile(1, "all.safetensors", Blob(HALF), primary=True, metadata={"format": "SafeTensor", "fp": "fp16"}),
            AssetFile(2, "all.safetensors", Blob(FULL), metadata={"format": "SafeTensor", "fp": "fp32"}),
            AssetFile(3, "all.vae.pt", Blob(VAE), kind="VAE", metadata={"format": "PickleTensor"}),
            AssetFile(4, "draft.zip", Blob(b"zip"), kind="Training Data", public=False),
        ],
        base_model="SD 1.5",
        ecosystem="sd1",
    )


def world_of(civitai: Civitai, *, token: str | None = TOKEN, heard: Heard | None = None, **more: object) -> World:
    secret = Secret(token) if token else None
    return a_world(NOBODY, heard=heard, civitai=civitai.url, civitai_token=secret, **more)
