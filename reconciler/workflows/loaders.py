"""Which widget of which node names a model, and in which folder ComfyUI looks for it: a table. Pure.

Core: https://github.com/Comfy-Org/ComfyUI/blob/master/nodes.py and comfy_extras; the rest are packs of nodes that many
workflows use. Positions count the widgets of a node as the editor saves them, from 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from reconciler.ui.kinds import WEIGHTS


class Widget(NamedTuple):
    """A widget that names a model: its name in the API, its position in the editor's list, the folder."""

    name: str
    position: int
    folder: str


def _one(name: str, folder: str, position: int = 0) -> tuple[Widget, ...]:
    return (Widget(name, position, folder),)


def _several(count: int, name: str = "clip_name{}", folder: str = "text_encoders") -> tuple[Widget, ...]:
    return tuple(Widget(name.format(at + 1), at, folder) for at in range(count))


_CKPT = _one("ckpt_name", "checkpoints")
_UNET = _one("unet_name", "diffusion_models")
_LORA = _one("lora_name", "loras")
_CONTROL = _one("control_net_name", "controlnet")

LOADERS: Mapping[str, tuple[Widget, ...]] = MappingProxyType(
    {
        # core
        "CheckpointLoaderSimple": _CKPT,
        "CheckpointLoader": (Widget("config_name", 0, "configs"), Widget("ckpt_name", 1, "checkpoints")),
        "unCLIPCheckpointLoader": _CKPT,
        "ImageOnlyCheckpointLoader": _CKPT,
        "VAELoader": _one("vae_name", "vae"),
        "UNETLoader": _UNET,
        "CLIPLoader": _one("clip_name", "text_encoders"),
        "DualCLIPLoader": _several(2),
        "TripleCLIPLoader": _several(3),
        "QuadrupleCLIPLoader": _several(4),
        "LoraLoader": _LORA,
        "LoraLoaderModelOnly": _LORA,
        "ControlNetLoader": _CONTROL,
        "DiffControlNetLoader": _CONTROL,
        "CLIPVisionLoader": _one("clip_name", "clip_vision"),
        "StyleModelLoader": _one("style_model_name", "style_models"),
        "UpscaleModelLoader": _one("model_name", "upscale_models"),
        "LatentUpscaleModelLoader": _one("model_name", "latent_upscale_models"),
        "GLIGENLoader": _one("gligen_name", "gligen"),
        "HypernetworkLoader": _one("hypernetwork_name", "hypernetworks"),
        "PhotoMakerLoader": _one("photomaker_model_name", "photomaker"),
        "AudioEncoderLoader": _one("audio_encoder_name", "audio_encoders"),
        "ModelPatchLoader": _one("name", "model_patches"),
        "DiffusersLoader": _one("model_path", "diffusers"),
        "LTXAVTextEncoderLoader": (
            Widget("text_encoder", 0, "text_encoders"), Widget("ckpt_name", 1, "checkpoints"),
        ),
        # GGUF
        "UnetLoaderGGUF": _UNET,
        "UnetLoaderGGUFAdvanced": _UNET,
        "CLIPLoaderGGUF": _one("clip_name", "text_encoders"),
        "DualCLIPLoaderGGUF": _several(2),
        "TripleCLIPLoaderGGUF": _several(3),
        "QuadrupleCLIPLoaderGGUF": _several(4),
        # packs
        "IPAdapterModelLoader": _one("ipadapter_file", "ipadapter"),
        "InstantIDModelLoader": _one("instantid_file", "instantid"),
        "PulidModelLoader": _one("pulid_file", "pulid"),
        "PulidFluxModelLoader": _one("pulid_file", "pulid"),
        "ControlNetLoaderAdvanced": _CONTROL,
        "DiffControlNetLoaderAdvanced": (Widget("control_net_name", 0, "controlnet"),),
        "ADE_LoadAnimateDiffModel": _one("model_name", "animatediff_models"),
        "ADE_AnimateDiffLoaderWithContext": _one("model_name", "animatediff_models"),
        "ADE_AnimateDiffLoaderGen1": _one("model_name", "animatediff_models"),
        "ADE_AnimateDiffLoRALoader": _one("lora_name", "animatediff_motion_lora"),
        "SAMLoader": _one("model_name", "sams"),
        "UltralyticsDetectorProvider": _one("model_name", "ultralytics"),
        "WanVideoModelLoader": _one("model", "diffusion_models"),
        "WanVideoVAELoader": _one("model_name", "vae"),
        "WanVideoTinyVAELoader": _one("model_name", "vae_approx"),
        "WanVideoLoraSelect": _one("lora", "loras"),
        "LoadWanVideoT5TextEncoder": _one("model_name", "text_encoders"),
        "LoadWanVideoClipTextEncoder": _one("model_name", "clip_vision"),
        "WanVideoTextEncodeCached": _one("model_name", "text_encoders"),
        "HyVideoModelLoader": _one("model", "diffusion_models"),
        "HyVideoVAELoader": _one("model_name", "vae"),
        "DownloadAndLoadSAM2Model": _one("model", "sam2"),
        "Power Lora Loader (rgthree)": (),
        "CheckpointLoaderSimpleWithNoiseSelect": _CKPT,
        "CheckpointLoader|pysssss": _CKPT,
        "LoraLoader|pysssss": _LORA,
        "Checkpoint Loader (Simple)": _CKPT,
        "CR LoRA Stack": tuple(Widget(f"lora_name_{at + 1}", 1 + 4 * at, "loras") for at in range(3)),
        "LoraLoaderTagsQuery": _LORA,
        "Efficient Loader": (
            Widget("ckpt_name", 0, "checkpoints"), Widget("vae_name", 1, "vae"), Widget("lora_name", 3, "loras"),
        ),
    }
)  # fmt: skip
"""Class of a node -> the widgets that name models. All other widgets are looked through for names of files."""

WITHOUT_MODELS = frozenset(
    {
        "Note", "MarkdownNote", "PrimitiveNode", "Reroute", "LoadImage", "SaveImage", "PreviewImage", "PreviewAny",
        "CLIPTextEncode", "ShowText|pysssss", "SaveImageWebsocket", "LoadImageMask", "VHS_VideoCombine", "ModelSave",
        "CheckpointSave", "CLIPSave", "VAESave", "LoraSave", "ModelMergeSimple",
    }
)  # fmt: skip
"""Classes whose texts are for people, or name what they write."""

NO_FILES = frozenset(
    {"", "none", "null", "undefined", "baked vae", "taesd", "taesdxl", "taesd3", "taef1", "pixel_space"}
)
"""Values that name no file of ours: nothing chosen, or what a node has built in. In lower case."""

_BY_WIDGET: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), folder)
    for pattern, folder in (
        (r"ckpt|checkpoint", "checkpoints"), (r"lora|lycoris", "loras"), (r"control_?net", "controlnet"),
        (r"clip_?vision", "clip_vision"), (r"ip_?adapter", "ipadapter"), (r"vae", "vae"),
        (r"unet|diffusion", "diffusion_models"),
        (r"clip|text_?encoder|t5", "text_encoders"), (r"upscale", "upscale_models"), (r"style_?model", "style_models"),
        (r"animate_?diff|motion", "animatediff_models"), (r"hypernetwork", "hypernetworks"),
        (r"embedding", "embeddings"),
    )
)  # fmt: skip


def is_file(value: str) -> bool:
    """Whether a text looks like the name of a file with weights."""
    text = value.strip()
    return "\n" not in text and len(text) < 400 and "://" not in text and text.lower().endswith(tuple(WEIGHTS))


def guess(node: str, widget: str) -> str:
    """Return the folder that the name of a widget tells, then the class of its node; '' when neither does."""
    for text in (widget, node):
        for pattern, folder in _BY_WIDGET:
            if text and pattern.search(text):
                return folder
    return ""
