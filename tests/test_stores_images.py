"""Stores of image models: each file in the folder of its kind, and what the location wants beside it."""

from __future__ import annotations

import pytest

from reconciler.state import Artifact, Digest, Identity, Pin, Wish
from reconciler.stores import store_of
from reconciler.ui.kinds import UIS


def sha(n: int) -> Digest:
    return Digest(f"sha256:{n:064x}")


def pin(source: str, *paths: str, revision: str | None = "345", **about: object) -> Pin:
    files = tuple(Artifact(path, 10, sha(number)) for number, path in enumerate(sorted(paths), 1))
    return Pin(source, revision, files, about={"civitai": about} if about else {})


LORA = pin("civitai:12@345", "detail.safetensors", type="LORA", model="Detail", version="v1")
PREVIEW = Artifact("preview.jpeg", 5, sha(9), url="https://i.example/a.jpeg", media_type="image/jpeg")


def placed(store: str, wanted: Pin, **wish: object) -> list[str]:
    return [placement.path for placement in store_of(store).layout(wanted, Wish(**wish)).files]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("store", "path"),
    [
        ("comfyui", "loras/detail.safetensors"),
        ("a1111", "models/Lora/detail.safetensors"),
        ("forge", "models/Lora/detail.safetensors"),
        ("sdnext", "models/Lora/detail.safetensors"),
    ],
)
def test_a_file_stands_in_the_folder_of_its_kind(store: str, path: str) -> None:
    layout = store_of(store).layout(LORA)
    assert (layout.home, [each.path for each in layout.files]) == (path, [path])
    assert (layout.links, layout.notes, layout.optional) == ((), (), frozenset())


@pytest.mark.parametrize(
    ("wanted", "wish", "path"),
    [
        (LORA, {"kind": "embedding"}, "embeddings/detail.safetensors"),
        (LORA, {"subfolder": "sdxl/styles"}, "loras/sdxl/styles/detail.safetensors"),
        (LORA, {"kind": "other", "subfolder": "sams"}, "sams/detail.safetensors"),
        (LORA, {"served_as": "my name"}, "loras/my name.safetensors"),
        (LORA, {"served_as": "x.safetensors"}, "loras/x.safetensors"),
        (LORA, {"names": "{stem}-mid_{model}-vid_{version}"}, "loras/detail-mid_12-vid_345.safetensors"),
        (LORA, {"names": "{name} {version}"}, "loras/Detail 345.safetensors"),
        (LORA, {"folders": {"lora": "models/Lora"}}, "models/Lora/detail.safetensors"),
        (pin("urn:air:sdxl:vae:civitai:1@2", "x.pt"), {}, "vae/x.pt"),
        (pin("hf:o/r", "split_files/vae/wan.safetensors"), {}, "vae/wan.safetensors"),
        (pin("hf:o/upscalers", "RealESRGAN_x4plus.pth"), {}, "upscale_models/RealESRGAN_x4plus.pth"),
        (pin("hf:o/r", "flux1-dev-Q4_K_S.gguf"), {}, "diffusion_models/flux1-dev-Q4_K_S.gguf"),
        (pin("https://h/a/m.safetensors", "m.safetensors"), {"kind": "checkpoint"}, "checkpoints/m.safetensors"),
    ],
)  # fmt: skip
def test_what_the_manifest_wishes_and_upstream_tells_decides_the_place(
    wanted: Pin, wish: dict[str, object], path: str
) -> None:
    assert placed("comfyui", wanted, **wish) == [path]


def test_files_of_several_kinds_go_each_to_their_own_folder() -> None:
    wanted = pin(
        "hf:Comfy-Org/r", "README.md", "split_files/diffusion_models/m.safetensors", "split_files/vae/v.safetensors",
        "split_files/text_encoders/t.safetensors",
    )  # fmt: skip
    layout = store_of("comfyui").layout(wanted)
    assert [each.path for each in layout.files] == [
        "diffusion_models/m.safetensors", "text_encoders/t.safetensors", "vae/v.safetensors"
    ]  # fmt: skip
    assert layout.home == "."


def test_a_configuration_lies_beside_its_checkpoint() -> None:
    wanted = pin("civitai:1@2", "v2.ckpt", "v2.yaml", "other.yaml", type="Checkpoint")
    assert placed("a1111", wanted, names="{stem}-vid_{version}") == [
        "models/Stable-diffusion/v2-vid_345.ckpt", "models/Stable-diffusion/v2-vid_345.yaml"
    ]  # fmt: skip


def test_a_configuration_may_be_asked_for_alone() -> None:
    wanted = pin("https://h/v2-inference.yaml", "v2-inference.yaml")
    assert placed("comfyui", wanted, kind="config") == ["configs/v2-inference.yaml"]


@pytest.mark.parametrize("store", UIS)
@pytest.mark.parametrize(
    ("wanted", "wish", "reason"),
    [
        (pin("hf:o/r", "model.safetensors"), {}, "give `kind"),
        (pin("hf:o/r", "README.md"), {}, "has no file that"),
        (pin("hf:o/r", "vae/x-00001-of-00002.safetensors", "vae/x-00002-of-00002.safetensors"), {}, "joins the parts"),
        (pin("hf:o/r", "model_index.json", "vae/x.safetensors"), {}, "in the form of diffusers"),
        (pin("civitai:1@2", "x.safetensors", type="Poses"), {}, "nothing that a loader reads"),
        (LORA, {"kind": "other"}, "give `subfolder`"),
        (LORA, {"subfolder": "custom_nodes/x"}, "no observer enters"),
        (LORA, {"subfolder": ".reconciler"}, "no observer enters"),
    ],
)
def test_what_has_no_place_is_refused_with_what_to_do(
    store: str, wanted: Pin, wish: dict[str, object], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        placed(store, wanted, **wish)


def test_a_kind_without_a_folder_in_a_web_interface_is_refused() -> None:
    with pytest.raises(ValueError, match="a1111 has no folder for the kind text-encoder"):
        placed("a1111", LORA, kind="text-encoder")
    with pytest.raises(ValueError, match="lies outside this location"):
        placed("a1111", LORA, kind="embedding", folders={"lora": "Lora"})


def test_what_the_location_wants_lies_beside_the_model_and_never_blocks_it() -> None:
    wanted = Pin(LORA.source, LORA.revision, (*LORA.files, PREVIEW), about=LORA.about)
    wish = Wish(companions=("civitai-info", "markdown", "preview"), names="{stem}-vid_{version}")
    layout = store_of("comfyui").layout(wanted, wish)

    assert [each.path for each in layout.files] == [
        "loras/detail-vid_345.safetensors", "loras/detail-vid_345.preview.jpeg"
    ]  # fmt: skip
    assert [note.path for note in layout.notes] == ["loras/detail-vid_345.civitai.info", "loras/detail-vid_345.md"]
    assert layout.optional == {"loras/detail-vid_345.preview.jpeg", *(note.path for note in layout.notes)}
    assert layout.home == "loras/detail-vid_345.safetensors"


def test_a_preview_comes_only_where_it_is_wanted_and_locked() -> None:
    wanted = Pin(LORA.source, LORA.revision, (*LORA.files, PREVIEW), about=LORA.about)
    assert placed("comfyui", wanted) == ["loras/detail.safetensors"]
    assert placed("comfyui", LORA, companions=("preview",)) == ["loras/detail.safetensors"]


@pytest.mark.parametrize("store", UIS)
def test_a_name_of_civitdl_tells_whose_file_it_is(store: str) -> None:
    identify = store_of(store).identify
    path = placed(store, LORA, names="{stem}-mid_{model}-vid_{version}")[0]
    assert identify(path) == Identity("civitai/12", "345", "detail-mid_12-vid_345.safetensors")
    assert identify("loras/detail.safetensors") is None
    assert identify("loras/x-mid_12-vid_345.md") is None
    assert identify("custom_nodes/x-mid_12-vid_345.safetensors") is None


@pytest.mark.parametrize("store", UIS)
def test_code_beside_models_is_not_looked_through(store: str) -> None:
    assert all(store_of(store).skip(name) for name in (".reconciler", "venv", "custom_nodes", "extensions"))
    assert not store_of(store).skip("loras")
