"""Make small image models and previews in real formats, the same bytes for a seed on any machine.

Tensors have the names that trainers write, so that a detector knows a LoRA from a VAE; there are few, and they are
small.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence

from reconciler.hub.checkpoints import WIDTHS, Tensors, safetensors
from reconciler.hub.filler import filler

_LORA = "lora_unet_{0}_blocks_{1}_attentions_0_transformer_blocks_0_attn1_to_q"

_LAYERS: Mapping[str, Callable[[int], Tensors]] = {
    "lora": lambda n: {
        f"{_LORA.format('down', n)}.alpha": ("F16", (1,)),
        f"{_LORA.format('down', n)}.lora_down.weight": ("F16", (8, 320)),
        f"{_LORA.format('down', n)}.lora_up.weight": ("F16", (320, 8)),
    },
    "checkpoint": lambda n: {
        f"model.diffusion_model.input_blocks.{n}.0.weight": ("F16", (32, 32, 3, 3)),
        f"first_stage_model.decoder.up.{n}.block.0.conv1.weight": ("F16", (16, 16, 3, 3)),
        f"cond_stage_model.transformer.text_model.encoder.layers.{n}.mlp.fc1.weight": ("F16", (32, 64)),
    },
    "diffusion": lambda n: {f"double_blocks.{n}.img_attn.qkv.weight": ("BF16", (96, 64))},
    "vae": lambda n: {
        f"encoder.down.{n}.block.0.conv1.weight": ("F32", (16, 16, 3, 3)),
        f"decoder.up.{n}.block.0.conv1.weight": ("F32", (16, 16, 3, 3)),
    },
    "text-encoder": lambda n: {f"text_model.encoder.layers.{n}.mlp.fc1.weight": ("F16", (64, 64))},
    "controlnet": lambda n: {f"control_model.input_blocks.{n}.0.weight": ("F16", (32, 32, 3, 3))},
    "upscaler": lambda n: {f"body.{n}.rdb1.conv1.weight": ("F32", (16, 16, 3, 3))},
    "embedding": lambda n: {f"emb_params{n or ''}": ("F32", (8, 768))},
}
"""Kind -> the tensors of its layer `n`."""

KINDS = tuple(_LAYERS)
"""The kinds that `image_model` makes."""


def image_model(kind: str, seed: int = 0, *, size: int = 48 * 1024, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return a safetensors file of `kind`, of at least `size` bytes of tensors. Raises KeyError for other kinds."""
    layer = _LAYERS[kind]
    one = sum(math.prod(shape) * WIDTHS[dtype] for dtype, shape in layer(0).values())
    tensors: dict[str, tuple[str, Sequence[int]]] = {}
    for number in range(-(-size // one)):
        tensors |= layer(number)
    return safetensors(tensors, seed, metadata or {"format": "pt"})


def png(seed: int = 0, *, width: int = 16, height: int = 24) -> bytes:
    """Return a picture as PNG: https://www.w3.org/TR/png-3/."""
    pixels = filler(width * height * 3, f"png {seed}")
    rows = b"".join(b"\0" + pixels[3 * width * y : 3 * width * (y + 1)] for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def jpeg(seed: int = 0) -> bytes:
    """Return one grey pixel as JPEG, told apart by a comment."""
    pixel = base64.b64decode(
        "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP////////////////////////////////////////////////////////////////////"
        "//////////////////wgALCAABAAEBAREA/8QAFBABAAAAAAAAAAAAAAAAAAAAAP/aAAgBAQABPxA="
    )
    comment = f"seed {seed}".encode()
    return pixel[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + pixel[2:] + b"\xff\xd9"


def webp(seed: int = 0) -> bytes:
    """Return one pixel as WebP, told apart by a chunk that readers pass over."""
    pixel = base64.b64decode("UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA")
    body = pixel[8:] + b"SEED" + struct.pack("<II", 4, seed)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def mp4(seed: int = 0) -> bytes:
    """Return the head of an MP4 file: its brand, and a box of nothing."""
    rest = filler(64, f"mp4 {seed}")
    return struct.pack(">I", 24) + b"ftypisom\0\0\2\0isommp42" + struct.pack(">I", 8 + len(rest)) + b"free" + rest
