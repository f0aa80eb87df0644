"""Small builders of plans, for tests and for eyes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.plan import Action, Bytes, Facts, FileRow, Place, Plan, Step
from reconciler.state import Address, Artifact, Digest, Pin

GIB = 2**30
REVISION_A = "3f2a1c9" + "0" * 33
REVISION_B = "88b01de" + "1" * 33


def digest(seed: int = 0) -> Digest:
    return Digest(f"sha256:{seed:064x}")


def row(path: str = "model.gguf", size: int = GIB, method: str = "fetch", **more: Any) -> FileRow:
    return FileRow(path, size, digest(size), method, **more)  # type: ignore[arg-type]


def facts(path: str = "org/model", **more: Any) -> Facts:
    return Facts(**{"source": "hf:org/model", "revision": REVISION_A, "format": "gguf", "path": path} | more)


def place(root: str, store: str = "huggingface", **more: Any) -> Place:
    defaults: dict[str, Any] = {"id": f"id-of-{root}", "free_bytes": 120 * GIB, "readable": True}
    return Place(store=store, root=root, **(defaults | more))


def download(address: str, size: int = GIB, reason: str = "missing", **more: Any) -> Step:
    defaults: dict[str, Any] = {
        "after": facts(),
        "files": (row(size=size),),
        "bytes": Bytes(download=size),
    }
    return step(address, Action.DOWNLOAD, reason, **(defaults | more))


def remove(address: str, size: int = GIB, **more: Any) -> Step:
    defaults: dict[str, Any] = {
        "before": facts(),
        "trash": (row(size=size, method="none"),),
        "bytes": Bytes(trash=size),
    }
    return step(address, Action.REMOVE, more.pop("reason", "undeclared"), **(defaults | more))


def keep(address: str) -> Step:
    same = facts()
    return step(address, Action.KEEP, "", before=same, after=same, files=(row(method="none"),))


def step(address: str, action: Action, reason: str, **more: Any) -> Step:
    variant, _, location = address.rpartition("@")
    return Step(Address(variant, location), action, reason, **more)


def plan(steps: Iterable[Step] = (), locations: Mapping[str, Place] | None = None, **more: Any) -> Plan:
    steps = tuple(steps)
    if locations is None:
        locations = {each.address.location: place(f"/srv/{each.address.location}", device=7) for each in steps}
    defaults: dict[str, Any] = {
        "manifest_path": "/home/ada/reconciler.yaml",
        "manifest_name": "workstation",
        "manifest_digest": digest(1),
        "lock_path": "/home/ada/workstation.lock.json",
        "lock_digest": digest(2),
        "registry_path": "/home/ada/registry",
        "registry_serial": 7,
    }
    return Plan(locations=locations, steps=steps, **(defaults | more))


def workstation() -> Plan:
    """A day at a box with one GPU: something of everything."""
    awq = "Qwen/Qwen2.5-VL-7B-Instruct-AWQ"
    locations = {
        "linux_wsl": place("/home/ada/ai-models/weights", device=7),
        "windows_lmstudio": place("/mnt/d/ai stuff/models/llm models", "lmstudio", device=8, free_bytes=61 * GIB),
        "comfy": place("/home/ada/ComfyUI/models", "comfyui", device=7),
        "usb": place("/media/usb/models", "flat", readable=False, free_bytes=0, why="not the disk it was: no id there"),
    }
    steps = [
        download(
            "qwen2.5-vl-7b-instruct-vllm-awq@linux_wsl",
            6_900_000_000,
            after=facts(awq, source=f"hf:{awq}", format="safetensors", quant="awq", roles={"caption": 1}),
            files=(
                row(f"{awq}/model-00001-of-00002.safetensors", 3_900_000_000),
                row(f"{awq}/model-00002-of-00002.safetensors", 3_000_000_000),
            ),
        ),
        download(
            "llama-3.2-3b-instruct-lmstudio-gguf-q4_k_m@windows_lmstudio",
            2_019_377_696,
            "new-revision",
            before=facts("bartowski/Llama-3.2-3B-Instruct-GGUF", revision=REVISION_A),
            after=facts(
                "bartowski/Llama-3.2-3B-Instruct-GGUF",
                source="hf:bartowski/Llama-3.2-3B-Instruct-GGUF",
                revision=REVISION_B,
                quant="q4_k_m",
                roles={"chat": 1},
                metadata={"context": {"length": 131072}},
            ),
            files=(row("bartowski/x/Llama-3.2-3B-Instruct-Q4_K_M.gguf", 2_019_377_696, replaces=True),),
            bytes=Bytes(2_019_377_696, 0, 2_019_377_600),
        ),
        step(
            "flux-dev@comfy",
            Action.NORMALIZE,
            "link",
            after=facts("unet/flux1-dev.safetensors", source="hf:black-forest-labs/FLUX.1-dev", format="safetensors"),
            files=(row("unet/flux1-dev.safetensors", 23_802_932_552, "link", origin="linux_wsl:flux/flux1-dev.sft"),),
            bytes=Bytes(0, 23_802_932_552, 0),
        ),
        step(
            "detail-tweaker-xl@comfy",
            Action.NORMALIZE,
            "rename",
            before=facts("loras/add-detail-xl.safetensors"),
            after=facts("loras/add-detail-xl.safetensors"),
            renamed_from=Address("add-detail-xl", "comfy"),
        ),
        remove("mistral-7b-instruct-vllm-awq@linux_wsl", 4_150_000_000, before=facts("mistral/Mistral-7B-AWQ")),
        step(
            "leftover@linux_wsl",
            Action.PRUNE,
            "partial",
            trash=(row(".reconciler/stage/5f3c", 812_000_000, "none"),),
            bytes=Bytes(0, 0, 812_000_000),
        ),
        remove("old-favourite@linux_wsl", 9_000_000_000, blocked="protected; lift with --allow remove:old-favourite"),
        download("on-the-stick@usb", blocked="the location is unreadable; plug the disk in, or drop the location"),
        *(keep(f"kept-{number:02}@linux_wsl") for number in range(9)),
        *(keep(f"kept-{number:02}@comfy") for number in range(5)),
    ]
    return plan(
        steps,
        locations,
        unmanaged_files=3,
        unmanaged_bytes=1_400_000_000,
        resolved={"flux-dev": pin("hf:black-forest-labs/FLUX.1-dev")},
        warnings=("linux_wsl: cannot read lost+found: permission denied",),
    )


def pin(source: str = "hf:org/model") -> Pin:
    return Pin(source, REVISION_A, (Artifact("model.gguf", GIB, digest(3)),), "apache-2.0")
