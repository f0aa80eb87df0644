"""Make small GGUF files that a reader takes for real ones: keys, tensors, types and offsets all fit.

Format, version 3: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Block sizes and file types are those of
ggml and llama.cpp, written down here a second time, apart from our reader's table, so that each can test the other.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from reconciler.hub.filler import filler

ALIGNMENT = 32
_HIDDEN, _HEADS, _LAYERS, _VOCABULARY, _KV = 256, 4, 2, 288, 64
_U32, _I32, _F32, _BOOL, _STRING, _ARRAY, _U64 = 4, 5, 6, 7, 8, 9, 10

CHAT_TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}</s>\n{% endfor %}<|assistant|>\n"

TYPES: dict[str, tuple[int, int, int]] = {
    "F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q5_0": (6, 32, 22),
    "Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34), "Q2_K": (10, 256, 84), "Q3_K": (11, 256, 110), "Q4_K": (12, 256, 144),
    "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210), "IQ2_XXS": (16, 256, 66), "IQ2_XS": (17, 256, 74),
    "IQ3_XXS": (18, 256, 98), "IQ1_S": (19, 256, 50), "IQ4_NL": (20, 32, 18), "IQ3_S": (21, 256, 110),
    "IQ2_S": (22, 256, 82), "IQ4_XS": (23, 256, 136), "IQ1_M": (29, 256, 56), "BF16": (30, 1, 2),
    "TQ1_0": (34, 256, 54), "TQ2_0": (35, 256, 66), "MXFP4": (39, 32, 17),
}  # fmt: skip
"""ggml type -> its number, elements of a block, bytes of a block."""


class Mix(NamedTuple):
    """How a quant spends its bits: `file_type`, the type of most tensors, of the sensitive ones, of the output."""

    file_type: int
    most: str
    sensitive: str
    output: str


MIXES: dict[str, Mix] = {
    "F32": Mix(0, "F32", "F32", "F32"), "F16": Mix(1, "F16", "F16", "F16"), "BF16": Mix(32, "BF16", "BF16", "BF16"),
    "Q4_0": Mix(2, "Q4_0", "Q4_0", "Q6_K"), "Q4_1": Mix(3, "Q4_1", "Q4_1", "Q6_K"),
    "Q8_0": Mix(7, "Q8_0", "Q8_0", "Q8_0"), "Q5_0": Mix(8, "Q5_0", "Q5_0", "Q6_K"),
    "Q5_1": Mix(9, "Q5_1", "Q5_1", "Q6_K"), "Q2_K": Mix(10, "Q2_K", "Q3_K", "Q6_K"),
    "Q3_K_S": Mix(11, "Q3_K", "Q3_K", "Q6_K"), "Q3_K_M": Mix(12, "Q3_K", "Q5_K", "Q6_K"),
    "Q3_K_L": Mix(13, "Q3_K", "Q5_K", "Q6_K"), "Q4_K_S": Mix(14, "Q4_K", "Q5_K", "Q6_K"),
    "Q4_K_M": Mix(15, "Q4_K", "Q6_K", "Q6_K"), "Q5_K_S": Mix(16, "Q5_K", "Q5_K", "Q6_K"),
    "Q5_K_M": Mix(17, "Q5_K", "Q6_K", "Q6_K"), "Q6_K": Mix(18, "Q6_K", "Q6_K", "Q6_K"),
    "IQ2_XXS": Mix(19, "IQ2_XXS", "Q2_K", "Q5_K"), "IQ2_XS": Mix(20, "IQ2_XS", "Q2_K", "Q5_K"),
    "Q2_K_S": Mix(21, "Q2_K", "Q2_K", "Q6_K"), "IQ3_XS": Mix(22, "IQ3_S", "IQ3_XXS", "Q6_K"),
    "IQ3_XXS": Mix(23, "IQ3_XXS", "IQ3_S", "Q5_K"), "IQ1_S": Mix(24, "IQ1_S", "Q2_K", "Q5_K"),
    "IQ4_NL": Mix(25, "IQ4_NL", "Q5_K", "Q6_K"), "IQ3_S": Mix(26, "IQ3_S", "Q4_K", "Q6_K"),
    "IQ3_M": Mix(27, "IQ3_S", "Q4_K", "Q6_K"), "IQ2_S": Mix(28, "IQ2_XS", "IQ3_S", "Q5_K"),
    "IQ2_M": Mix(29, "IQ2_S", "IQ3_S", "Q5_K"), "IQ4_XS": Mix(30, "IQ4_XS", "Q5_K", "Q6_K"),
    "IQ1_M": Mix(31, "IQ1_M", "Q2_K", "Q5_K"), "TQ1_0": Mix(36, "TQ1_0", "TQ1_0", "Q4_K"),
    "TQ2_0": Mix(37, "TQ2_0", "TQ2_0", "Q4_K"), "MXFP4": Mix(38, "MXFP4", "Q8_0", "Q8_0"),
}  # fmt: skip


class _Tensor(NamedTuple):
    name: str
    shape: tuple[int, ...]  # ggml's order: the row length first
    kind: str

    @property
    def elements(self) -> int:
        count = 1
        for length in self.shape:
            count *= length
        return count

    @property
    def size(self) -> int:
        _, block, stored = TYPES[self.kind]
        if self.shape[0] % block:
            raise ValueError(f"{self.name}: rows of {self.shape[0]} do not hold whole blocks of {block} ({self.kind})")
        return self.elements // block * stored


def gguf(
    quant: str,
    *,
    architecture: str = "llama",
    name: str = "tiny",
    tensors: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    size: int | None = None,
    general: Mapping[str, str] | None = None,
) -> bytes:
    """Return a GGUF file of a two-layer model in `quant` (`Q4_K_M`, `UD-Q4_K_XL`, `IQ4_XS`, `MXFP4`, `BF16`, …).

    `tensors` (name -> shape, row length first) replaces the model's own; `size` in bytes lets the feed-forward layers
    grow until the file has at least that. `general` are more texts of the header, by their key. Raises ValueError for
    a quant that does not exist.
    """
    mix = mix_of(quant)
    feed_forward = _HIDDEN
    rows = _tensors(mix, feed_forward, tensors)
    if size is not None and tensors is None:
        step = sum(row.size for row in rows if ".ffn_" in row.name and "norm" not in row.name)
        feed_forward += _HIDDEN * max(0, -(-(size - sum(row.size for row in rows)) // step))
        rows = _tensors(mix, feed_forward, None)
    metadata = _metadata(architecture, name, mix, feed_forward, sum(row.elements for row in rows))
    metadata = [*metadata[:5], *((key, _STRING, text) for key, text in (general or {}).items()), *metadata[5:]]
    infos, data, offset = [], [], 0
    for row in rows:
        number = TYPES[row.kind][0]
        infos.append(
            _text(row.name) + struct.pack(f"<I{len(row.shape)}QIQ", len(row.shape), *row.shape, number, offset)
        )
        content = _content(row, f"{seed} {row.name}")
        padding = -len(content) % ALIGNMENT
        data += [content, bytes(padding)]
        offset += len(content) + padding
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(rows), len(metadata))
    head += b"".join(_text(key) + _value(kind, value) for key, kind, value in metadata) + b"".join(infos)
    return head + bytes(-len(head) % ALIGNMENT) + b"".join(data)


def gguf_files(name: str, quants: Sequence[str], seed: int = 0) -> dict[str, bytes]:
    """Return the files of a GGUF repository: `<name>-<quant>.gguf` for each quant, and a README with its licence."""
    card = f"---\nlicense: apache-2.0\nbase_model: acme/{name}\ntags:\n- gguf\n---\n# {name} GGUF\n"
    files = {f"{name}-{quant}.gguf": gguf(quant, name=name, seed=seed) for quant in quants}
    return {"README.md": card.encode(), **files}


def mix_of(quant: str) -> Mix:
    """Return the mix of a quant; `UD-`, `_L` and `_XL` are names of variations that the file itself does not know."""
    plain = quant.upper().removeprefix("UD-").replace("MXFP4_MOE", "MXFP4")
    if plain not in MIXES:
        base = plain.removesuffix("_XL").removesuffix("_L")
        plain = next((known for known in (f"{base}_M", base, base.replace("Q8_K", "Q8_0")) if known in MIXES), plain)
    if plain not in MIXES:
        raise ValueError(f"no quant {quant!r}; there are {', '.join(MIXES)}")
    return MIXES[plain]


def _tensors(mix: Mix, feed_forward: int, given: Mapping[str, Sequence[int]] | None) -> list[_Tensor]:
    if given is not None:
        return [_Tensor(name, tuple(shape), _kind(mix, name)) for name, shape in given.items()]
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (_HIDDEN, _VOCABULARY)}
    for layer in range(_LAYERS):
        shapes |= {
            f"blk.{layer}.{part}.weight": shape
            for part, shape in {
                "attn_norm": (_HIDDEN,), "attn_q": (_HIDDEN, _HIDDEN), "attn_k": (_HIDDEN, _KV),
                "attn_v": (_HIDDEN, _KV), "attn_output": (_HIDDEN, _HIDDEN), "ffn_norm": (_HIDDEN,),
                "ffn_gate": (_HIDDEN, feed_forward), "ffn_up": (_HIDDEN, feed_forward),
                "ffn_down": (feed_forward, _HIDDEN),
            }.items()
        }  # fmt: skip
    shapes |= {"output_norm.weight": (_HIDDEN,), "output.weight": (_HIDDEN, _VOCABULARY)}
    return [_Tensor(name, shape, _kind(mix, name)) for name, shape in shapes.items()]


def _kind(mix: Mix, name: str) -> str:
    if "norm" in name or name.endswith(".bias"):
        return "F32"
    if name == "output.weight":
        return mix.output
    if mix.most == "MXFP4":  # the experts only; everything else keeps 8 bits
        return "MXFP4" if ".ffn_" in name else "Q8_0"
    return mix.sensitive if "attn_v" in name or name == "blk.0.ffn_down.weight" else mix.most


def _content(row: _Tensor, seed: str) -> bytes:
    return struct.pack("<f", 1.0) * row.elements if row.kind == "F32" and "norm" in row.name else filler(row.size, seed)


def _metadata(architecture: str, name: str, mix: Mix, feed_forward: int, parameters: int) -> list[tuple[str, int, Any]]:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += [f"▁token{number}" for number in range(_VOCABULARY - len(tokens))]
    kinds = [2, 3, 3, *[6] * 256, *[1] * (_VOCABULARY - 259)]
    a = architecture
    general: list[tuple[str, int, Any]] = [
        ("general.architecture", _STRING, a), ("general.type", _STRING, "model"), ("general.name", _STRING, name),
        ("general.size_label", _STRING, size_label(parameters)), ("general.license", _STRING, "apache-2.0"),
        (f"{a}.block_count", _U32, _LAYERS), (f"{a}.context_length", _U32, 2048),
        (f"{a}.embedding_length", _U32, _HIDDEN), (f"{a}.feed_forward_length", _U32, feed_forward),
        (f"{a}.attention.head_count", _U32, _HEADS), (f"{a}.attention.head_count_kv", _U32, _KV * _HEADS // _HIDDEN),
        (f"{a}.attention.layer_norm_rms_epsilon", _F32, 1e-5), (f"{a}.rope.dimension_count", _U32, _KV),
        (f"{a}.rope.freq_base", _F32, 10000.0), (f"{a}.vocab_size", _U32, _VOCABULARY),
    ]  # fmt: skip
    tokenizer: list[tuple[str, int, Any]] = [
        ("tokenizer.ggml.model", _STRING, "llama"), ("tokenizer.ggml.pre", _STRING, "default"),
        ("tokenizer.ggml.tokens", _ARRAY, (_STRING, tokens)),
        ("tokenizer.ggml.scores", _ARRAY, (_F32, [-float(number) for number in range(len(tokens))])),
        ("tokenizer.ggml.token_type", _ARRAY, (_I32, kinds)), ("tokenizer.ggml.bos_token_id", _U32, 1),
        ("tokenizer.ggml.eos_token_id", _U32, 2), ("tokenizer.ggml.unknown_token_id", _U32, 0),
        ("tokenizer.ggml.add_bos_token", _BOOL, True), ("tokenizer.chat_template", _STRING, CHAT_TEMPLATE),
    ]  # fmt: skip
    version = [("general.quantization_version", _U32, 2)]
    told = [("general.file_type", _U32, mix.file_type)]
    if mix.most in ("F32", "F16", "BF16"):
        return [*general, *told, *version, *tokenizer]
    return [*general, *tokenizer, *version, *told]  # llama-quantize writes these behind the vocabulary


def size_label(parameters: int) -> str:
    """Return a number of parameters as model names put it: `25K`, `1.3M`, `8B`."""
    for unit, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if parameters >= unit:
            return f"{parameters / unit:.1f}".removesuffix(".0") + letter
    return str(parameters)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(kind: int, value: Any) -> bytes:
    return struct.pack("<I", kind) + _payload(kind, value)


def _payload(kind: int, value: Any) -> bytes:
    if kind == _STRING:
        return _text(value)
    if kind == _ARRAY:
        of, items = value
        return struct.pack("<IQ", of, len(items)) + b"".join(_payload(of, item) for item in items)
    return struct.pack({_U32: "<I", _I32: "<i", _F32: "<f", _BOOL: "<?", _U64: "<Q"}[kind], value)
