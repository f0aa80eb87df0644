"""What an image model is for, and in which folder each web interface looks for that kind. Pure.

ComfyUI: https://github.com/Comfy-Org/ComfyUI/blob/master/folder_paths.py. A1111: `modules/paths.py`,
`modules/sd_models.py`, `extensions-builtin/Lora`. Forge: `modules_forge/main_entry.py`. SD.Next: `modules/paths.py` and
the System Paths of its settings. Folders of ComfyUI are relative to its `models` directory; those of the others to
the directory that holds `models`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

from reconciler.air import parse as parse_air
from reconciler.detect.kinds import kind_from_names

Ui = Literal["comfyui", "a1111", "forge", "sdnext"]
UIS: tuple[Ui, ...] = get_args(Ui)
_BY_STORE: dict[str, Ui] = {ui: ui for ui in UIS}

Kind = Literal[
    "checkpoint", "diffusion-model", "lora", "vae", "text-encoder", "clip-vision", "controlnet", "embedding",
    "upscaler", "latent-upscaler", "hypernetwork", "style-model", "ipadapter", "gligen", "photomaker", "vae-approx",
    "motion-module", "model-patch", "audio-encoder", "detection", "config", "other",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)


class Drawer(NamedTuple):
    """Where one kind belongs: `folder` takes new files, `searched` is where its loader looks, in that order.

    `suffixes` are the extensions that the loader lists, in lower case; none means every extension. `type` is
    ComfyUI's own name of the folder, the key that `extra_model_paths.yaml` uses.
    """

    folder: str
    searched: tuple[str, ...]
    suffixes: frozenset[str]
    type: str = ""


TORCH = frozenset({".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"})
"""What ComfyUI takes for weights."""
WEIGHTS = TORCH | {".gguf", ".onnx"}
"""Extensions of files with weights, whoever reads them."""

# Files in GGUF are listed by the GGUF nodes, which look into the folders of these two kinds.
_GGUF = TORCH | {".gguf"}


def _comfy(*searched: str, folder: str = "", suffixes: frozenset[str] = TORCH) -> Drawer:
    folder = folder or searched[0]
    return Drawer(folder, searched, suffixes, folder)


_COMFYUI: Mapping[Kind, Drawer] = {
    "checkpoint": _comfy("checkpoints"),
    "diffusion-model": _comfy("unet", "diffusion_models", folder="diffusion_models", suffixes=_GGUF),
    "lora": _comfy("loras"),
    "vae": _comfy("vae"),
    "text-encoder": _comfy("text_encoders", "clip", suffixes=_GGUF),
    "clip-vision": _comfy("clip_vision"),
    "controlnet": _comfy("controlnet", "t2i_adapter"),
    "embedding": _comfy("embeddings"),
    "upscaler": _comfy("upscale_models"),
    "latent-upscaler": _comfy("latent_upscale_models"),
    "hypernetwork": _comfy("hypernetworks"),
    "style-model": _comfy("style_models"),
    "ipadapter": _comfy("ipadapter"),
    "gligen": _comfy("gligen"),
    "photomaker": _comfy("photomaker"),
    "vae-approx": _comfy("vae_approx"),
    "motion-module": _comfy("animatediff_models"),
    "model-patch": _comfy("model_patches"),
    "audio-encoder": _comfy("audio_encoders"),
    "detection": _comfy("detection"),
    "config": _comfy("configs", suffixes=frozenset({".yaml"})),
}


def _web(*searched: str, suffixes: Iterable[str]) -> Drawer:
    return Drawer(searched[0], searched, frozenset(suffixes))


_CKPT = (".ckpt", ".safetensors")
_VAE = (".ckpt", ".pt", ".safetensors")
_MODULES = (".ckpt", ".pt", ".bin", ".safetensors", ".gguf")
_UPSCALERS = ("models/ESRGAN", "models/RealESRGAN", "models/SwinIR", "models/DAT")

_A1111: Mapping[Kind, Drawer] = {
    "checkpoint": _web("models/Stable-diffusion", suffixes=_CKPT),
    "lora": _web("models/Lora", "models/LyCORIS", suffixes=(".pt", ".ckpt", ".safetensors")),
    "vae": _web("models/VAE", suffixes=_VAE),
    "controlnet": _web("models/ControlNet", suffixes=(".pt", ".pth", ".ckpt", ".safetensors", ".bin")),
    "ipadapter": _web("models/ControlNet", suffixes=(".pt", ".pth", ".ckpt", ".safetensors", ".bin")),
    "embedding": _web("embeddings", suffixes=(".bin", ".pt", ".safetensors")),
    "upscaler": _web(*_UPSCALERS, suffixes=(".pt", ".pth", ".safetensors")),
    "hypernetwork": _web("models/hypernetworks", suffixes=(".pt",)),
    "vae-approx": _web("models/VAE-approx", suffixes=(".pt", ".safetensors")),
    "config": _web("models/Stable-diffusion", suffixes=(".yaml",)),
}
_FORGE: Mapping[Kind, Drawer] = {
    **_A1111,
    "checkpoint": _web("models/Stable-diffusion", suffixes=(*_CKPT, ".gguf")),
    "diffusion-model": _web("models/Stable-diffusion", suffixes=(*_CKPT, ".gguf")),
    "vae": _web("models/VAE", suffixes=_MODULES),
    "text-encoder": _web("models/text_encoder", suffixes=_MODULES),
}
_SDNEXT: Mapping[Kind, Drawer] = {
    "checkpoint": _web("models/Stable-diffusion", suffixes=(*_CKPT, ".gguf")),
    "diffusion-model": _web("models/UNET", suffixes=(".safetensors", ".gguf", ".pth")),
    "text-encoder": _web("models/Text-encoder", suffixes=(".safetensors", ".gguf", ".pth")),
    "lora": _web("models/Lora", suffixes=(".pt", ".ckpt", ".safetensors")),
    "vae": _web("models/VAE", suffixes=_VAE),
    "controlnet": _web("models/control/controlnet", suffixes=(".safetensors", ".pth")),
    "embedding": _web("models/embeddings", suffixes=(".bin", ".pt", ".safetensors")),
    "upscaler": _web("models/ESRGAN", "models/RealESRGAN", "models/SwinIR", suffixes=(".pt", ".pth", ".safetensors")),
    "hypernetwork": _web("models/hypernetworks", suffixes=(".pt",)),
    "detection": _web("models/yolo", suffixes=(".pt", ".safetensors")),
    "config": _web("models/Stable-diffusion", suffixes=(".yaml",)),
}

DRAWERS: Mapping[Ui, Mapping[Kind, Drawer]] = MappingProxyType(
    {"comfyui": _COMFYUI, "a1111": _A1111, "forge": _FORGE, "sdnext": _SDNEXT}
)
"""Web interface -> kind -> folder. A kind that is not there has no folder in that interface."""

_SAME: Mapping[str, Kind] = {
    # Civitai's types of models, then of files
    "textualinversion": "embedding", "locon": "lora", "dora": "lora", "lycoris": "lora",
    "motionmodule": "motion-module", "negative": "embedding", "text encoder": "text-encoder",
    # types in AIRs: https://developer.civitai.com/site/guide/air
    "diffusionmodel": "diffusion-model", "diffusion_model": "diffusion-model", "hypernet": "hypernetwork",
    "motion": "motion-module", "text_encoders": "text-encoder", "clip": "text-encoder", "clipvision": "clip-vision",
    "unet": "diffusion-model",
    # folders that have other names than the ones in the tables
    "lora": "lora", "loras": "lora", "text_encoder": "text-encoder", "text-encoder": "text-encoder",
    "diffusion_models": "diffusion-model", "diffusion-models": "diffusion-model", "stable_diffusion": "checkpoint",
    "t2i_adapter": "controlnet", "ip_adapter": "ipadapter", "ip-adapter": "ipadapter", "esrgan": "upscaler",
}  # fmt: skip
_EMPTY = frozenset({"poses", "wildcards", "workflows", "aestheticgradient", "archive", "training data"})
"""Types of Civitai under which there are no weights that a loader could read."""


def _folders() -> Mapping[str, Kind]:
    found: dict[str, Kind] = {}
    for drawers in DRAWERS.values():
        for kind, drawer in drawers.items():
            for folder in drawer.searched:
                found.setdefault(folder.rpartition("/")[2].lower(), kind)
    return found


_NAMED: Mapping[str, Kind] = MappingProxyType({**_folders(), **{kind: kind for kind in KINDS}, **_SAME})


def kind_named(text: str) -> Kind | None:
    """Return the kind that a word means: one of ours, a type of Civitai or of an AIR, or a folder; case is ignored."""
    found = _NAMED.get(text.strip().lower())
    return None if found == "other" else found


def is_weightless(text: str) -> bool:
    """Whether a type of Civitai has nothing that a loader could read: poses, wildcards, workflows, archives."""
    return text.strip().lower() in _EMPTY


def kind_of_folder(path: str) -> Kind | None:
    """Return the kind that the nearest directory of a path is for: `split_files/vae/x.safetensors` is a VAE."""
    for folder in reversed(path.split("/")[:-1]):
        if (found := kind_named(folder)) is not None:
            return found
    return None


def kind_of_air(source: str) -> Kind | None:
    """Return the kind that the type of an AIR says, None for what is no AIR or says nothing of ours."""
    if not source.lower().startswith("urn:air:"):
        return None
    try:
        return kind_named(parse_air(source).type or "")
    except ValueError:
        return None


_DETECTED: Mapping[str, Kind] = {
    "lora": "lora", "controlnet": "controlnet", "vae": "vae", "text-encoder": "text-encoder",
    "vision-encoder": "clip-vision", "upscaler": "upscaler", "diffusion": "diffusion-model",
}  # fmt: skip
_INVERSION = re.compile(r"(?<![a-z])(?:embeddings?|textual[-_ ]?inversion|ti)(?![a-z])")


def kind_of_name(path: str, source: str = "") -> Kind | None:
    """Return the kind that the name of a file tells, then the name of where it comes from; None when neither does.

    A diffusion model alone, a whole checkpoint and a LoRA that does not say so have the same names: `sdxl` tells none
    of them. Only GGUF files of such a name are believed, which hold the model alone.
    """
    name = path.rpartition("/")[2].lower()
    if _INVERSION.search(name):
        return "embedding"
    if "ip-adapter" in name or "ip_adapter" in name:
        return "ipadapter"
    for text in (name, source.lower()):
        found = _DETECTED.get(kind_from_names(text, ()) or "")
        if found == "diffusion-model":
            return found if name.endswith(".gguf") else None
        if found is not None:
            return found
    return None


def kind_of_about(about: Mapping[str, Any], path: str) -> Kind | None:
    """Return the kind that Civitai's facts tell of a file: the type of the file where it says one, else the model's.

    Raises ValueError when it is of a type that no loader reads.
    """
    facts = about.get("civitai")
    if not isinstance(facts, Mapping):
        return None
    told = str(file_facts(facts, path).get("type") or "")
    if is_weightless(told):
        raise ValueError(f"{path!r} is of the type {told!r}, which no loader reads (use `exclude`)")
    if (found := kind_named(told)) is not None:
        return found
    type_ = str(facts.get("type") or "")
    if is_weightless(type_):
        raise ValueError(f"{type_!r} of Civitai is nothing that a loader reads; give `kind` to place it all the same")
    return kind_named(type_)


def file_facts(facts: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """Return what Civitai's facts tell of one file, by its path in the pin; empty when they tell nothing."""
    files = facts.get("files")
    told = files if isinstance(files, list | tuple) else ()
    return next((each for each in told if isinstance(each, Mapping) and each.get("name") == path), {})


def ui_of(store: str) -> Ui | None:
    """Return the web interface that a store is of, None for the other stores."""
    return _BY_STORE.get(store)
