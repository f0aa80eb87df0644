"""Tell what a model is for: by its configuration, its tensors, its architecture, then its names. Pure.

Kinds: llm, vision-language, embedding, reranker, classifier, speech, diffusion, vae, text-encoder, vision-encoder,
controlnet, lora, mmproj, upscaler, tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

_DIFFUSION_ARCHITECTURES = frozenset({
    "flux", "flux2", "sd1", "sd3", "sdxl", "wan", "hyvid", "hunyuan_video", "ltxv", "aura", "hidream", "cosmos",
    "lumina2", "qwen_image", "pixart", "z_image", "chroma", "auraflow",
})  # fmt: skip
_EMBEDDING = ("bert", "gemma-embedding", "llama-embed", "pangu-embedded")
_SPEECH = ("whisper", "wavtokenizer", "wav2vec", "speecht5", "parakeet", "outetts", "encodec", "musicgen", "bark")

_CLASSES: tuple[tuple[str, str], ...] = (
    (r"^AutoencoderKL|^Autoencoder|^VQModel|^AsymmetricAutoencoder|^ConsistencyDecoderVAE", "vae"),
    (r"ControlNet|T2IAdapter", "controlnet"),
    (r"^UNet|Transformer[23]DModel$|^StableCascade|^Prior|^MotionAdapter|Pipeline$", "diffusion"),
    (r"ForSequenceClassification$", "classifier"),
    (r"^CLIPVisionModel|^SiglipVisionModel|^Dinov2|^ViTModel", "vision-encoder"),
    (r"^CLIPTextModel|^T5EncoderModel$|^UMT5EncoderModel$|^MT5EncoderModel$|^SiglipTextModel", "text-encoder"),
    (r"^CLIPModel$|^SiglipModel$|^Siglip2Model$|^ChineseCLIPModel$|^JinaCLIPModel$", "embedding"),
    (r"^(Whisper|Wav2Vec2|SpeechT5|Parakeet|Bark|Musicgen|SeamlessM4T|Speech|Voxtral|Vits)|ForCTC$|ForTextToSpeech",
     "speech"),
    (r"ForImageTextToText$|ForVision2Seq$|VL(Moe)?ForConditionalGeneration|^Llava|^Florence2|^Pali[gG]emma"
     r"|^Pixtral|^Idefics|^InternVL|^Mllama|^MiniCPMV|VLChatModel|^Molmo|^Phi3V|^Phi4MM|^Gemma3ForConditional"
     r"|^Mistral3ForConditional|^Blip|^Kosmos|OmniForConditional|OmniModel$|^Aria|^Ovis|^GotOcr|^DeepseekOCR|^DeepseekVL",
     "vision-language"),
    (r"ForCausalLM$|LMHeadModel$|ForConditionalGeneration$", "llm"),
    (r"^(Bert|Roberta|XLMRoberta|MPNet|DistilBert|NomicBert|ModernBert|Deberta|Electra|Albert|Gte|New|Jina|E5|Nomic)\w*"
     r"(Model|ForMaskedLM)$", "embedding"),
)  # fmt: skip

_NAME_WORDS: tuple[tuple[str, str], ...] = (
    ("mmproj", "mmproj"),
    ("loras?|lycoris|locon|loha|dora", "lora"),
    ("control[-_]?nets?|t2i[-_]?adapter|controlnet[-_]?union", "controlnet"),
    ("vae|taesd|autoencoder", "vae"),
    ("text[-_]?encoders?|t5[-_]?xxl|umt5|clip[-_]?[lg]", "text-encoder"),
    ("clip[-_]?vision|image[-_]?encoder", "vision-encoder"),
    ("upscalers?|upscale[-_]?models|real[-_]?esrgan|esrgan|realesrgan|[24]x", "upscaler"),
    ("rerank(?:er)?", "reranker"),
    ("embed(?:ding|dings|der)?|sentence[-_]?transformers|bge|e5|gte|minilm|mpnet|siglip\\d?", "embedding"),
    ("whisper|tts|asr|stt", "speech"),
    ("vl|vlm|vision|llava|pixtral|florence|qwen[\\d.]*vl|internvl|paligemma|moondream\\d?", "vision-language"),
    ("diffusion[-_]?models?|unet|checkpoints|sdxl|sd1?[-_.]?5|sd3(?:\\.5)?|flux[\\d.]*|stable[-_]?diffusion|wan[\\d.]*"
     "|hunyuan[-_]?video|ltxv?|z[-_]?image|qwen[-_]?image", "diffusion"),
    ("instruct|chat|llama[-\\d.]*|qwen[\\d.]*|mistral|gemma[\\d.]*|gpt|phi|deepseek|granite|coder"
     "|\\d+(?:\\.\\d+)?b", "llm"),
)  # fmt: skip
_NAMES = tuple((re.compile(rf"(?<![^\W_])(?:{pattern})(?![^\W_])"), kind) for pattern, kind in _NAME_WORDS)

_TENSORS: tuple[tuple[str, str], ...] = (
    (r"(^|[._])lora_[AB]\b|lora_(up|down)|lora[._](down|up)|hada_w\d|lokr_w\d|dora_scale|diff_b$", "lora"),
    (r"^control_model\.|^controlnet_|input_hint_block|controlnet_cond_embedding|^control_\w*blocks", "controlnet"),
    (r"^model\.diffusion_model\.|^double_blocks\.|^joint_blocks\.|^transformer_blocks\."
     r"|^down_blocks\.\d+\.(attentions|resnets)"
     r"|^input_blocks\.|^blocks\.\d+\.(cross_attn|self_attn)\.|^diffusion_model\.", "diffusion"),
    (r"^(first_stage_model\.)?(encoder|decoder)\.(conv_in|down|up|mid|down_blocks|up_blocks|mid_block|middle|conv1)\b",
     "vae"),
    (r"^(model\.)?(visual|vision_tower|vision_model|multi_modal_projector|language_model)\.", "vision-language"),
    (r"^text_model\.encoder\.|^encoder\.block\.\d+\.layer|^transformer\.resblocks\.|^text_encoder", "text-encoder"),
    (r"^(model\.)?layers\.\d+\.(self_attn|attention|mlp)|^lm_head\.|^transformer\.h\.\d+\.|^gpt_neox\.", "llm"),
    (r"^(bert\.|roberta\.)?(embeddings\.word_embeddings|encoder\.layer\.\d+\.attention)", "embedding"),
    (r"^(model|body)\.\d+\.(sub|rdb\d|conv)|^RRDB_trunk|^params_ema", "upscaler"),
)  # fmt: skip
_TENSOR_RULES = tuple((re.compile(pattern), kind) for pattern, kind in _TENSORS)

_TOKENIZER = frozenset({
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt", "merges.txt",
    "spiece.model", "special_tokens_map.json", "added_tokens.json", "sentencepiece.bpe.model",
})  # fmt: skip
_WEIGHTS = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx", ".awq", ".h5", ".msgpack")


def kind_of(
    names: Iterable[str],
    config: Mapping[str, Any] | None = None,
    *,
    source: str = "",
    architecture: str = "",
    general_type: str = "",
    tensors: Sequence[str] = (),
) -> str | None:
    """Return the kind of a model, or None when nothing tells.

    `names` are its files, `config` its `config.json`, `source` its repository's or directory's name; `architecture`
    and `general_type` are a GGUF's, `tensors` the names of a safetensors file's tensors.
    """
    paths = sorted(names)
    bases = {PurePosixPath(path).name.lower() for path in paths}
    if "model_index.json" in paths:
        return "diffusion"
    if "adapter_config.json" in bases:
        return "lora"
    if bases & _TOKENIZER and not any(base.endswith(_WEIGHTS) for base in bases):
        return "tokenizer"
    return (
        _from_gguf(architecture.lower(), general_type.lower())
        or _from_config(config or {}, bases, source)
        or _from_tensors(tensors)
        or kind_from_names(source, paths)
        or ("llm" if architecture else None)
    )


def _from_gguf(architecture: str, general_type: str) -> str | None:
    if general_type in ("mmproj", "projector") or architecture == "clip":
        return "mmproj"
    if general_type == "adapter":
        return "lora"
    if architecture in _DIFFUSION_ARCHITECTURES:
        return "diffusion"
    if any(word in architecture for word in _EMBEDDING):
        return "embedding"
    if architecture == "t5encoder":
        return "text-encoder"
    if architecture.startswith(_SPEECH):
        return "speech"
    if re.search(r"vl(moe)?$|_vl$|cogvlm|ocr$|chameleon", architecture):
        return "vision-language"
    return None


def _from_config(config: Mapping[str, Any], bases: set[str], source: str) -> str | None:
    if "modules.json" in bases and "config_sentence_transformers.json" in bases:
        return "embedding"
    classes = config.get("architectures")
    named = [name for name in classes if isinstance(name, str)] if isinstance(classes, list) else []
    diffusers = config.get("_class_name")
    named += [diffusers] if isinstance(diffusers, str) else []
    for name in named:
        for pattern, kind in _CLASSES:
            if re.search(pattern, name[:200]):
                return _refine(kind, config, source)
    return None


def _refine(kind: str, config: Mapping[str, Any], source: str) -> str:
    """An architecture serves several purposes; other keys and the name of the repository tell which."""
    hint = kind_from_names(source, ())
    if kind == "llm" and any(
        isinstance(config.get(key), Mapping) for key in ("vision_config", "visual", "vision_tower")
    ):
        return "vision-language"
    if (kind in ("llm", "classifier") and hint == "reranker") or (kind == "llm" and hint == "embedding"):
        return str(hint)
    return kind


def _from_tensors(tensors: Sequence[str]) -> str | None:
    for pattern, kind in _TENSOR_RULES:
        if any(pattern.search(name[:300]) for name in tensors):
            return kind
    return None


def kind_from_names(source: str, paths: Iterable[str]) -> str | None:
    """Return the kind that names tell: the model's own name first, then folders and files with weights."""
    weights = sorted(path for path in paths if path.lower().endswith(_WEIGHTS))
    main = [path for path in weights if not is_mmproj(path)]
    if weights and not main:
        return "mmproj"
    for text in (source, *main):
        for pattern, kind in _NAMES:
            if pattern.search(text.lower()):
                has_projector = kind == "llm" and len(main) < len(weights)
                return "vision-language" if has_projector else kind
    return None


def is_mmproj(path: str) -> bool:
    """Whether a file is the vision half of a GGUF model, by its name; it has a quant of its own."""
    base = PurePosixPath(path).name.lower()
    return base.endswith(".gguf") and re.search(r"(?<![^\W_])mmproj(?![^\W_])", base) is not None
