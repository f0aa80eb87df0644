"""The usual places of the tools that keep model weights, and what lies in them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from glob import glob
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from reconciler.home import expand
from reconciler.importing import lmstudio
from reconciler.importing.homes import extra_folders
from reconciler.importing.parts import is_weight

MOST = 200_000
"""Directory entries of one place that are counted; what lies beyond is imported all the same."""
_DEPTH = 8


class Tool(NamedTuple):
    """A tool: who imports its models, where they usually lie, and the page that says so.

    `own` are environment variables that name a place, with what follows their value: those that are set come first. Of
    `linux` and `mac` those that are there count, of `windows` (patterns, seen from WSL) too; with `first` one only.
    """

    subject: str
    says: str
    fact: str
    own: tuple[tuple[str, str], ...] = ()
    linux: tuple[str, ...] = ()
    mac: tuple[str, ...] = ()
    windows: tuple[str, ...] = ()
    first: bool = False


TOOLS: Mapping[str, Tool] = MappingProxyType(
    {
        "hf-cache": Tool(
            "hf-cache", "the cache of huggingface_hub, vLLM and transformers",
            "https://huggingface.co/docs/huggingface_hub/guides/manage-cache",
            (("HF_HUB_CACHE", ""), ("HF_HOME", "/hub"), ("XDG_CACHE_HOME", "/huggingface/hub")),
            ("~/.cache/huggingface/hub",), ("~/.cache/huggingface/hub",),
            ("/mnt/?/Users/*/.cache/huggingface/hub",),
        ),
        "ollama": Tool(
            "ollama", "an Ollama, its server or its store",
            "https://docs.ollama.com/faq",
        ),
        "lmstudio": Tool(
            "lmstudio", "LM Studio", "https://lmstudio.ai/docs/app/basics/import-model",
            (), ("~/.lmstudio/models", "~/.cache/lm-studio/models"),
            ("~/.lmstudio/models", "~/.cache/lm-studio/models"),
            ("/mnt/?/Users/*/.lmstudio/models", "/mnt/?/Users/*/.cache/lm-studio/models"),
        ),
        "comfyui": Tool(
            "comfyui", "ComfyUI", "https://docs.comfy.org/development/core-concepts/models",
            (), ("~/ComfyUI", "~/comfy/ComfyUI", "~/Documents/ComfyUI"), ("~/Documents/ComfyUI", "~/ComfyUI"),
            ("/mnt/?/Users/*/Documents/ComfyUI", "/mnt/?/ComfyUI_windows_portable/ComfyUI"),
        ),
        "a1111": Tool(
            "comfyui", "A1111, Forge or SD.Next", "https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki",
            (), ("~/stable-diffusion-webui", "~/stable-diffusion-webui-forge", "~/automatic", "~/sdnext"),
            ("~/stable-diffusion-webui", "~/stable-diffusion-webui-forge", "~/automatic", "~/sdnext"),
        ),
        "vllm": Tool(
            "tree", "directories <owner>/<repo>, as vLLM and people like them",
            "https://docs.vllm.ai/en/latest/models/supported_models.html",
            (("IMAGEWORKS_MODEL_ROOT", "/weights"), ("IMAGEWORKS_MODEL_ROOT", "")),
            ("~/ai-models/weights", "~/ai-models", "~/models"), ("~/ai-models/weights", "~/ai-models", "~/models"),
            first=True,
        ),
        "llama.cpp": Tool(
            "tree", "llama.cpp's cache", "https://github.com/ggml-org/llama.cpp/pull/7826",
            (("LLAMA_CACHE", ""), ("XDG_CACHE_HOME", "/llama.cpp")),
            ("~/.cache/llama.cpp", "~/llama.cpp/models"), ("~/Library/Caches/llama.cpp", "~/llama.cpp/models"),
            ("/mnt/?/Users/*/AppData/Local/llama.cpp",),
        ),
        "text-generation-webui": Tool(
            "tree", "text-generation-webui", "https://github.com/oobabooga/text-generation-webui/wiki",
            (), ("~/text-generation-webui/user_data/models", "~/text-generation-webui/models"),
            ("~/text-generation-webui/user_data/models", "~/text-generation-webui/models"),
        ),
        "gpt4all": Tool(
            "tree", "GPT4All", "https://github.com/nomic-ai/gpt4all/wiki/Local-Model-Folder",
            (), ("~/.local/share/nomic.ai/GPT4All",), ("~/Library/Application Support/nomic.ai/GPT4All",),
            ("/mnt/?/Users/*/AppData/Local/nomic.ai/GPT4All",),
        ),
        "jan": Tool(
            "tree", "Jan", "https://jan.ai/docs/data-folder",
            (), ("~/.config/Jan/data/llamacpp/models", "~/.local/share/Jan/data/llamacpp/models",
                 "~/.config/Jan/data/models", "~/.local/share/Jan/data/models", "~/jan/models"),
            ("~/Library/Application Support/Jan/data/llamacpp/models", "~/Library/Application Support/Jan/data/models",
             "~/jan/models"),
            ("/mnt/?/Users/*/AppData/Roaming/Jan/data/llamacpp/models",),
        ),
    }
)  # fmt: skip
"""In the order in which they are taken over: those that know their digests first, so that the others can use them."""


class Usual(NamedTuple):
    """A place that is there: `files` of weights with `size` bytes in all; both 0 where nobody counted."""

    kind: str
    path: str
    files: int = 0
    size: int = 0

    @property
    def tool(self) -> Tool:
        """The tool that keeps its models there."""
        return TOOLS[self.kind]


def find(environ: Mapping[str, str], system: str = sys.platform) -> Iterator[Usual]:
    """Yield the usual places of this machine that hold weights, none inside another.

    No weights are read: names, and the small files in which LM Studio and ComfyUI say where they look. `system`
    is `sys.platform`'s word. An Ollama is told apart by asking: it is not among them.
    """
    taken: list[str] = []
    for kind, tool in TOOLS.items():
        for path in _there(tool, environ, system):
            real = os.path.realpath(path)
            if any(real == other or real.startswith(f"{other}/") for other in taken):
                continue
            counts = [weigh(each) for each in (Path(path), *(extra_folders(Path(path)) if kind == "comfyui" else ()))]
            files, size = (sum(numbers) for numbers in zip(*counts, strict=True))
            if files:
                taken.append(real)
                yield Usual(kind, path, files, size)
                if tool.first:
                    break


def weigh(folder: Path) -> tuple[int, int]:
    """Return how many files of weights a directory holds, and their bytes; links are not followed."""
    files = size = 0
    waiting, left = [(str(folder), 0)], MOST
    while waiting and left > 0:
        path, depth = waiting.pop()
        try:
            entries = list(os.scandir(path))
        except OSError:
            continue
        left -= len(entries)
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    if depth < _DEPTH and entry.name not in (".git", ".reconciler"):
                        waiting.append((entry.path, depth + 1))
                elif entry.is_file(follow_symlinks=False) and _counts(path, entry.name):
                    files += 1
                    size += entry.stat(follow_symlinks=False).st_size
            except OSError:
                continue
    return files, size


def _there(tool: Tool, environ: Mapping[str, str], system: str) -> Iterator[str]:
    """Yield the directories of a tool that are there."""
    moved = [environ[name].rstrip("/") + rest for name, rest in tool.own if environ.get(name)]
    if tool.subject == "lmstudio" and (chosen := lmstudio.chosen_directory()) is not None:
        moved.append(str(chosen))
    usual = tool.mac if system == "darwin" else tool.linux
    for text in (*moved, *usual):
        path = expand(text).absolute()
        if _is_dir(path):
            yield str(path)
    if "WSL_DISTRO_NAME" in environ:
        for pattern in tool.windows:
            yield from sorted(path for path in glob(pattern) if _is_dir(path))  # noqa: PTH207  a pattern of roots


def _is_dir(path: Path | str) -> bool:
    """Whether a directory is there; one in a place that nobody may look into is not, for us."""
    return os.path.isdir(path)  # noqa: PTH112  Path.is_dir raises for such a place


def _counts(folder: str, name: str) -> bool:
    """Whether a file is one of weights: by its name, or as a blob of the HF cache by its place."""
    return is_weight(name) or (folder.endswith("/blobs") and len(name) == 64)
