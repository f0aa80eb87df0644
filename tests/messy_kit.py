"""Homes that nobody cleaned, the same for a seed: a place of every tool, and what goes wrong there over the years."""

from __future__ import annotations

import hashlib
import json
import os
import random
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from importing_kit import cache, put

from reconciler.hub.checkpoints import llama_files
from reconciler.hub.diffusion import image_model
from reconciler.hub.ggufs import gguf, gguf_files

_PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"
_POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 123456\n".encode()
_NAMES = (
    "with space", "émoji🦙", "-dash", "UPPER", "upper", "$(touch x)", "%41", "a@b@c", "é", "e\u0301", "trail ", "dot.",
    "star*[x]?", "back\\slash", "con", "new\nline", "\x1b[31mred", "a" * 200, "quote'\"", "~", "co:lon", "--help",
)  # fmt: skip

Print = tuple[int, int, int, int, str]
"""Kind and mode, size, mtime_ns, inode, and the bytes' digest or the target of a link."""


@dataclass
class Home:
    """A home in the making. `bad` are files that look like models and are none."""

    path: Path
    random: random.Random
    bad: set[Path] = field(default_factory=set)
    made: int = 0

    def seed(self) -> int:
        """Return a number that no other content of this home has."""
        self.made += 1
        return self.random.randrange(1 << 20) * 1000 + self.made

    def gguf(self, quant: str = "Q4_0") -> bytes:
        """Return a small model that no other is."""
        return gguf(quant, name=f"m{self.made}", seed=self.seed())

    def place(self) -> Path:
        """Return a place for models, any."""
        return self.path / self.random.choice(_PLACES)

    def spoil(self, root: Path, files: Mapping[str, bytes]) -> None:
        """Write files that are no models."""
        put(root, files)
        self.bad |= {root / path for path in files}


_LMSTUDIO, _TREE, _COMFYUI = ".lmstudio/models", "ai-models/weights", "ComfyUI/models"
_HUB, _OLLAMA, _WEBUI = ".cache/huggingface/hub", ".ollama/models", "text-generation-webui/user_data/models"
_JAN, _CPP, _GPT4ALL = ".config/Jan/data/llamacpp/models", ".cache/llama.cpp", ".local/share/nomic.ai/GPT4All"
_PLACES = (_LMSTUDIO, _TREE, _WEBUI, _JAN, _CPP, _GPT4ALL)


def furnish(path: Path, seed: int) -> Home:
    """Fill a home: something in the place of every tool, and half of all the mess that there is."""
    home = Home(path, random.Random(seed))
    _tidy(home)
    for mess in home.random.sample(MESS, len(MESS) // 2):
        mess(home)
    return home


def inventory(home: Path) -> dict[str, Print]:
    """Return what lies below a home and is not ours: names, modes, sizes, times, inodes and bytes."""
    found: dict[str, Print] = {}
    for folder, folders, files in os.walk(home):
        folders[:] = [name for name in folders if name != "reconciler" and not name.startswith(".reconciler")]
        for name in files + [each for each in folders if (Path(folder) / each).is_symlink()]:
            path = Path(folder) / name
            facts = path.lstat()
            if stat.S_ISLNK(facts.st_mode):
                content = os.readlink(path)
            else:
                content = hashlib.sha1(path.read_bytes()).hexdigest() if stat.S_ISREG(facts.st_mode) else ""
            found[str(path)] = (facts.st_mode, facts.st_size, facts.st_mtime_ns, facts.st_ino, content)
    return found


def _tidy(home: Home) -> None:
    put(home.path / _TREE / "acme/Chat", llama_files(seed=home.seed(), shards=3))
    put(home.path / _LMSTUDIO / "acme/G-GGUF", gguf_files("G", ["Q4_K_M", "Q8_0"], seed=home.seed()))
    commit, files = f"{home.seed():040x}", llama_files(seed=home.seed())
    cache(home.path / _HUB, "acme/Cached", commit, files, {"main": commit})
    put(home.path / _COMFYUI / "loras/style", {"l.safetensors": image_model("lora", home.seed())})
    put(home.path / "stable-diffusion-webui/models/Stable-diffusion", {"c.safetensors": image_model("checkpoint", 1)})
    put(home.path / _CPP, {"acme_x.gguf": home.gguf()})
    put(home.path / _WEBUI / "acme_folder", llama_files(seed=home.seed()))
    put(home.path / _GPT4ALL, {"orca.Q4_0.gguf": home.gguf(), "localdocs_v2.db": b"SQLite format 3\0"})
    put(home.path / _JAN / "acme/jan", {"model.gguf": home.gguf(), "model.yml": b"name: x\n"})
    _ollama(home, "registry.ollama.ai/library/tiny/latest", home.gguf())


def _ollama(home: Home, name: str, weights: bytes) -> None:
    config = json.dumps({"model_format": "gguf", "model_family": "llama", "n": home.seed()}).encode()
    blobs = {data: hashlib.sha256(data).hexdigest() for data in (weights, config)}
    layer, said = (
        {"mediaType": kind, "digest": f"sha256:{blobs[data]}", "size": len(data)}
        for kind, data in (
            ("application/vnd.ollama.image.model", weights),
            ("application/vnd.docker.container.image.v1+json", config),
        )
    )
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": said, "layers": [layer]}
    put(home.path / _OLLAMA / "blobs", {f"sha256-{digest}": data for data, digest in blobs.items()})
    put(home.path / _OLLAMA / "manifests", {name: json.dumps(manifest).encode()})


def _halves(home: Home) -> None:
    ending = home.random.choice([".part", ".crdownload", ".incomplete", ".aria2"])
    home.spoil(home.place(), {f"acme/Half/half.gguf{ending}": home.gguf()[:9000]})
    home.spoil(home.place(), {"pair.gguf": home.gguf()[:9000], "pair.gguf.aria2": b"\0\1\0\0"})


def _impostors(home: Home) -> None:
    home.spoil(home.place(), {"zero.gguf": b"", "page.gguf": _PAGE, "acme/Cut/cut.gguf": home.gguf()[:3000]})
    home.spoil(home.path / _COMFYUI / "checkpoints", {"page.safetensors": _PAGE, "zero.safetensors": b""})
    home.spoil(home.path / _TREE, {"acme/Pointer/model.safetensors": _POINTER})
    home.spoil(home.path / _COMFYUI / "loras", {"cut.safetensors": image_model("lora", home.seed())[:26_000]})


def _short(home: Home) -> None:
    files = llama_files(seed=home.seed(), shards=3)
    del files[home.random.choice([path for path in files if path.endswith(".safetensors")])]
    root = home.path / home.random.choice([_TREE, _WEBUI]) / "acme/Short"
    put(root, files)
    home.bad |= {root / path for path in files if path.endswith(".safetensors")}


def _same(home: Home) -> None:
    data = home.gguf()
    for folder in ("", "acme/Same", "b/Same"):
        put(home.place() / folder, {"same.gguf": data, "name-Q4_0.gguf": home.gguf()})


def _owners(home: Home) -> None:
    for owner in ("alpha", "beta", "Alpha"):
        put(home.path / _TREE / owner / "Tail", gguf_files("Tail", ["Q4_K_M"], seed=home.seed()))
    for branch in ("", "@4bit", "@8bit"):
        put(home.path / _TREE / f"acme/Branch{branch}", llama_files(seed=home.seed()))


def _links(home: Home) -> None:
    place = home.place()
    put(home.path / "elsewhere", llama_files(seed=home.seed()))
    put(place, {"original.gguf": home.gguf()})
    os.link(place / "original.gguf", place / "hard.gguf")
    for name, target in {
        "dangling.gguf": "/nonexistent/x.gguf", "soft.gguf": "original.gguf", "loop": "loop", "itself": ".",
        "outside": str(home.path / "elsewhere"),
    }.items():  # fmt: skip
        (place / name).symlink_to(target)


def _names(home: Home) -> None:
    for name in home.random.sample(_NAMES, 8):
        put(home.place(), {f"{name}.gguf": home.gguf()})
        put(home.path / _TREE / "own" / name, llama_files(seed=home.seed()))
        put(home.path / _COMFYUI / "loras", {f"{name}.safetensors": image_model("lora", home.seed())})
    place = os.fsencode(home.place())
    os.makedirs(place, exist_ok=True)
    with open(place + b"/inv\xff\xfelid.gguf", "wb") as file:
        file.write(home.gguf())


def _programs(home: Home) -> None:
    put(home.path / _TREE / "venv", {"pyvenv.cfg": b"x", "lib/site-packages/p/test.onnx": b"\x08\x07"})
    put(home.path / _TREE / "acme/Cloned", {".git/HEAD": b"ref: refs/heads/main", **llama_files(seed=home.seed())})


def _cache(home: Home) -> None:
    commits = [f"{home.seed():040x}" for _ in range(3)]
    files = llama_files(seed=home.seed())
    folder = cache(home.path / _HUB, "acme/Odd", commits[0], files, {"main": "f" * 40, "v1": commits[0]})
    home.spoil(folder / "blobs", {"ef" * 32 + ".incomplete": b"xx"})
    put(folder / "blobs", {"cd" * 32: b"no snapshot names it"})
    put(home.path / _HUB, {".locks/x.lock": b"", "datasets--a--b/snapshots/x/t.parquet": b"p", "version.txt": b"1"})
    gone = cache(home.path / _HUB, "acme/Gone", commits[1], llama_files(seed=home.seed()), {"main": commits[1]})
    next(iter(sorted((gone / "blobs").iterdir()))).unlink()
    cache(home.path / _HUB, "acme/Odd", commits[2], {**files, "README.md": b"another"}, {})


def _stores(home: Home) -> None:
    home.spoil(home.path / _LMSTUDIO, {"loose.gguf": home.gguf(), "a/b/c/deep.gguf": home.gguf()})
    put(home.path / ".lmstudio", {".internal/x.json": b"{}", "settings.json": b"{broken"})
    blobs = {"sha256-" + "ab" * 32: b"orphan", "sha256-" + "cd" * 32 + "-partial": b"xx", "garbage.txt": b"x"}
    put(home.path / _OLLAMA / "blobs", blobs)
    put(home.path / _OLLAMA / "manifests/registry.ollama.ai/library", {"broken/latest": b"{nope", "empty/latest": b""})
    data = home.gguf()
    for name in ("hf.co/acme/Twice/Q4_0", "registry.ollama.ai/acme/copy/v1"):
        _ollama(home, name, data)


def _odd(home: Home) -> None:
    mixed = {**llama_files(seed=home.seed()), **gguf_files("Mix", ["Q4_K_M", "Q8_0"], seed=home.seed())}
    put(home.path / _TREE / "acme/Mixed", mixed)
    put(home.path / _TREE, {f"solo/{path}": data for path, data in llama_files(seed=home.seed()).items()})
    put(home.place(), {"lie-Q4_K_M.gguf": home.gguf("Q8_0")})
    put(home.path / _COMFYUI / "upscale_models", {"4x.pth": b"PK\3\4" + b"\0" * 100})
    place = home.place()
    place.mkdir(parents=True, exist_ok=True)
    os.mkfifo(place / "pipe.gguf")
    with (place / "sparse.gguf").open("wb") as file:
        file.truncate(64 << 20)
    home.bad |= {place / "pipe.gguf", place / "sparse.gguf"}


MESS: tuple[Callable[[Home], None], ...] = (
    _halves, _impostors, _short, _same, _owners, _links, _names, _programs, _cache, _stores, _odd,
)  # fmt: skip
