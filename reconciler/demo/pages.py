"""The catalog of the demo for ComfyUI, a dozen pages as people write them; and a workflow. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_CIVITAI = "https://civitai.com/models"
_HUB = "https://huggingface.co/acme/Image-Parts/resolve/main"

SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105 - a key that somebody left on a page; it opens nothing
PROOF = "was-run"
"""The file that would be there if a command of a page had been run."""
SLUG = "AIR: wan_21_vae"
MEND = "AIR: urn:air:wan:vae:huggingface:acme/Image-Parts@main/split_files/vae/wan_2.1_vae.safetensors"


def _page(front: str, *commands: str, text: str = "", fence: str = "bash") -> str:
    code = f"### Download\n\n```{fence}\n" + "\n".join(commands) + "\n```\n" if commands else ""
    return f"---\n{front.strip()}\n---\n\n{text}{code}"


PAGES: Mapping[str, str] = {
    "loras/Detail tweaker.md": _page(
        "title: Detail tweaker\necosystem: sdxl\ntype: lora\nAIR: urn:air:sdxl:lora:civitai:1001@2001",
        f'civitdl "{_CIVITAI}/1001?modelVersionId=2001" "$UI_HOME"/models/loras',
        text="More or less detail. Weight 0.5 to 1.\n\n",
    ),
    "loras/Storybook.md": _page(
        "title: Storybook\ntype: lora\nAIR: 'urn:air:sdxl:lora:civitai:1002@2002'",
        f'civitdl "{_CIVITAI}/1002?modelVersionId=2002" "$UI_HOME"/models/loras/styles',
        "# or:",
        f'wget --content-disposition -P "$UI_HOME"/models/loras/styles "{_CIVITAI.replace("/models", "")}/api/download'
        f'/models/2002?token={SECRET}"',
    ),
    "loras/Camera push.md": _page(
        'title: Camera push\necosystem: wan-video\ntype: lora\nAIR: "urn:air:wan-video:lora:civitai:1003@2003"',
        "# high noise",
        f'civitdl "{_CIVITAI}/1003?modelVersionId=2003" "$UI_HOME"/models/loras',
        "# low noise",
        f'civitdl "{_CIVITAI}/1003?modelVersionId=2004" "$UI_HOME"/models/loras',
    ),
    "checkpoints/Allround XL.md": _page(
        "title: Allround XL\ntype: checkpoint\n"
        "AIR: urn:air:sdxl:checkpoint:huggingface:acme/Image-Parts@main/checkpoints/allround_xl.safetensors",
        'mkdir -p "$UI_HOME"/models/checkpoints && \\',
        f'  wget --progress=bar:force:noscroll -P "$UI_HOME"/models/checkpoints \\\n'
        f'  "{_HUB}/checkpoints/allround_xl.safetensors"',
    ),
    "vae/Wan 2.1 VAE.md": _page(
        f"title: Wan 2.1 VAE\necosystem: wan\ntype: vae\n{SLUG}",
        f'wget -P "$UI_HOME"/models/vae "{_HUB}/split_files/vae/wan_2.1_vae.safetensors"',
    ),
    "encoders/Clip small.md": _page(
        "title: Clip small\ntype: text encoder",
        f'curl -L -o "$UI_HOME"/models/text_encoders/clip_small.safetensors '
        f'"{_HUB}/split_files/text_encoders/clip_small.safetensors"',
    ),
    "upscalers/Soft 4x.md": _page(
        "title: Soft 4x\ntype: upscaler",
        f'wget "{_HUB}/upscale/4x_soft.safetensors" -O "$UI_HOME"/models/upscale_models/soft_4x.safetensors',
    ),
    "control/Depth.md": _page(
        "title: Depth\ntype: controlnet\nAIR: urn:air:sdxl:controlnet:civitai:1004@2005",
        f'civitdl "{_CIVITAI}/1004?modelVersionId=2005" "$UI_HOME"/models/controlnet',
    ),
    "embeddings/Less is more.md": _page(
        "title: Less is more\ntype: embedding\nAIR: urn:air:sdxl:embedding:civitai:1005@2006",
        f'civitdl "{_CIVITAI}/1005?modelVersionId=2006" "$UI_HOME"/embeddings',
    ),
    "notes/How to prompt.md": _page("title: How to prompt", text="Short, and in the order of importance.\n"),
    "notes/Half a page.md": "---\ntitle: Half a page\n\nThe front matter of this page never ends.\n",
    "notes/Do not run this.md": _page(
        "title: Do not run this\nAIR: urn:air:sdxl:lora:civitai:1001@2001",
        f'civitdl "{_CIVITAI}/1001?modelVersionId=2001" "$UI_HOME"/models/loras; touch {PROOF}',
        f'wget -P "$UI_HOME"/../../$(touch {PROOF}) "{_HUB}/upscale/4x_soft.safetensors"',
    ),
}
"""Path -> text."""

WORKFLOW: Mapping[str, Any] = {
    "nodes": [
        {
            "id": 1, "type": "CheckpointLoaderSimple", "mode": 0, "widgets_values": ["allround_xl.safetensors"],
            "properties": {},
        },
        {
            "id": 2, "type": "LoraLoader", "mode": 0, "widgets_values": ["ink.safetensors", 1, 1],
            "properties": {"models": [{"name": "ink.safetensors", "directory": "loras",
                                       "url": f"{_CIVITAI}/1006?modelVersionId=2007"}]},
        },
        {
            "id": 3, "type": "VAELoader", "mode": 4, "widgets_values": ["muted.safetensors"], "properties": {},
        },
        {
            "id": 4, "type": "UpscaleModelLoader", "mode": 0, "widgets_values": ["from_a_friend.safetensors"],
            "properties": {},
        },
    ]
}  # fmt: skip
"""It needs a checkpoint that is there, a LoRA with an address, and an upscaler that nobody names; one node is muted."""


def workflow() -> str:
    """Return the workflow as ComfyUI saves it."""
    return json.dumps(WORKFLOW, indent=1)
