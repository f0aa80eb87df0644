"""A catalog of pages becomes a manifest: every asset, in its place, locked; and a report on the pages."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from images_kit import DETAIL, HIGH, TOKEN, VAE, Studio, a_studio, rows

from reconciler.hub.assets import Preview
from reconciler.hub.diffusion import png
from reconciler.ui.previews import is_preview

PAGES = Path(__file__).parent / "catalog_pages"
CIVITAI = "https://civitai.com/models"
HUB = "https://huggingface.co/someone/parts/resolve/main"


@pytest.fixture
def studio(world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Studio]:
    with a_studio(world, monkeypatch, capsys) as studio:
        yield studio


def detail(studio: Studio, folder: str = "models/loras", name: str = "Detail tweaker") -> None:
    air = "AIR: urn:air:sdxl:lora:civitai:1101@2202\n"
    studio.page(name, f'civitdl "{CIVITAI}/1101?modelVersionId=2202" "$UI_HOME/{folder}"', air)


def test_an_asset_becomes_a_variant_that_is_locked(studio: Studio) -> None:
    detail(studio)
    studio.take("catalog", "vault")

    assert studio.said() == {
        "detail-tweaker": {"source": "urn:air:sdxl:lora:civitai:1101@2202", "location": "comfyui", "kind": "lora"}
    }
    assert [(file.path, file.size) for file in studio.pins()["detail-tweaker"].files] == [
        ("detail.safetensors", len(DETAIL))
    ]


def test_a_second_import_changes_nothing(studio: Studio) -> None:
    detail(studio)
    studio.take("catalog", "vault")
    before = (studio.here / "box.yaml").read_bytes(), (studio.here / "box.lock.json").read_bytes()
    report = studio.take("catalog", "vault")

    assert ((studio.here / "box.yaml").read_bytes(), (studio.here / "box.lock.json").read_bytes()) == before
    assert report["written"] == []
    assert rows(report, "known") == {"detail-tweaker": "declared already"}


def test_a_pair_becomes_two_variants_that_say_so(studio: Studio) -> None:
    studio.page(
        "Halves",
        f'# High noise\ncivitdl "{CIVITAI}/1103?modelVersionId=2204" "$UI_HOME"/models/loras\n\n'
        f'# Low noise\ncivitdl "{CIVITAI}/1103?modelVersionId=2205" "$UI_HOME"/models/loras',
    )
    studio.take("catalog", "vault")

    assert {name: said["metadata"] for name, said in studio.said().items()} == {
        "halves-high-noise": {"pair": "Halves", "noise": "high"},
        "halves-low-noise": {"pair": "Halves", "noise": "low"},
    }
    assert studio.pins()["halves-high-noise"].files[0].size == len(HIGH)


def test_a_file_of_the_hub_is_that_file_and_not_one_of_its_name_below(studio: Studio) -> None:
    studio.page(
        "VAE", 'wget -P "$UI_HOME/models/vae" https://huggingface.co/someone/parts/resolve/main/vae.safetensors'
    )
    studio.take("catalog", "vault")
    pin = studio.pins()["vae"]

    assert [(file.path, file.size) for file in pin.files] == [("vae.safetensors", len(VAE))]
    assert pin.revision == studio.commit


def test_the_name_and_the_subfolder_that_a_page_gives_are_kept(studio: Studio) -> None:
    studio.page(
        "Soft",
        'wget -O "$UI_HOME/models/loras/style/warm.safetensors" '
        "https://huggingface.co/someone/parts/resolve/main/split/loras/soft.safetensors",
    )
    studio.take("catalog", "vault")

    assert studio.said()["soft"] == {
        "source": "hf:someone/parts", "files": ("split/loras/soft.safetensors",), "location": "comfyui", "kind": "lora",
        "subfolder": "style", "served_as": "warm.safetensors",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("folder", "location", "kind", "subfolder"),
    [
        ("models/loras", "comfyui", "lora", None),
        ("models/Lora", "a1111", "lora", None),
        ("models/Stable-diffusion/SDXL", "a1111", "checkpoint", "SDXL"),
        ("models/checkpoints", "comfyui", "checkpoint", None),
        ("models/unet", "comfyui", "diffusion-model", None),
        ("models/ESRGAN", "a1111", "upscaler", None),
        ("embeddings", "a1111", "embedding", None),
        ("models/ultralytics/bbox", "comfyui", "other", "ultralytics/bbox"),
    ],
)
def test_the_folder_tells_the_web_interface_and_the_kind(
    studio: Studio, folder: str, location: str, kind: str, subfolder: str | None
) -> None:
    detail(studio, folder)
    studio.take("catalog", "vault", "--offline")
    [said] = studio.said().values()

    assert (said["location"], said["kind"], said.get("subfolder")) == (location, kind, subfolder)
    assert studio.loaded().manifest.locations[location].store == location


@pytest.mark.parametrize(("store", "root"), [("comfyui", "comfy/models"), ("forge", "forge")])
def test_the_only_web_interface_of_the_manifest_takes_everything(studio: Studio, store: str, root: str) -> None:
    (studio.here / "box.yaml").write_text(
        f"version: 1\nlocations:\n  mine: {{ store: {store}, root: {studio.here}/{root} }}\n"
    )
    detail(studio, "models/Lora")
    detail(studio, "models/loras/x", "Other page")
    report = studio.take("catalog", "vault", "--offline")

    assert {said["location"] for said in studio.said().values()} == {"mine"}
    assert not any("look at the root" in why for why in rows(report, "imported").values())


def test_a_root_that_is_a_guess_is_told_once(studio: Studio) -> None:
    detail(studio)
    studio.page(
        "VAE", 'wget -P "$UI_HOME/models/vae" https://huggingface.co/someone/parts/resolve/main/vae.safetensors'
    )
    report = studio.take("catalog", "vault", "--offline")

    assert sum("~/ComfyUI/models" in why for why in rows(report, "imported").values()) == 1


def test_the_same_asset_on_two_pages_is_one_variant(studio: Studio) -> None:
    detail(studio)
    detail(studio, name="again/Detail tweaker")
    report = studio.take("catalog", "vault")

    assert list(studio.said()) == ["detail-tweaker"]
    assert list(rows(report, "known")) == ["detail-tweaker"]


def test_two_pages_of_one_title_get_two_names(studio: Studio) -> None:
    detail(studio)
    studio.page("a/Detail tweaker", f'civitdl "{CIVITAI}/1103?modelVersionId=2204" "$UI_HOME"/models/loras')
    studio.take("catalog", "vault")

    assert len(studio.said()) == 2


def test_a_bare_download_address_gets_its_model_from_civitai(studio: Studio) -> None:
    studio.page("Bare", 'wget -P "$UI_HOME/models/loras" https://civitai.com/api/download/models/2202')
    studio.take("catalog", "vault")

    assert studio.said()["bare"]["source"] == "civitai:1101@2202"
    assert studio.pins()["bare"].files[0].size == len(DETAIL)


def test_offline_a_bare_download_address_is_left_out_and_says_what_it_lacks(studio: Studio) -> None:
    studio.page("Bare", 'wget -P "$UI_HOME/models/loras" https://civitai.com/api/download/models/2202')
    report = studio.take("catalog", "vault", "--offline")

    [why] = rows(report, "left-out").values()
    assert "2202" in why
    assert "AIR" in why


def test_what_upstream_does_not_have_is_a_problem_and_no_variant(studio: Studio) -> None:
    detail(studio)
    studio.page("Gone", f'civitdl "{CIVITAI}/404?modelVersionId=404" "$UI_HOME"/models/loras')
    report = studio.take("catalog", "vault")

    assert list(studio.said()) == ["detail-tweaker"]
    assert any("upstream does not have it" in why for why in rows(report, "problem").values())


def test_offline_every_asset_is_declared_and_nothing_is_asked(studio: Studio) -> None:
    detail(studio)
    studio.hub.reset_log()
    studio.civitai.reset_log()
    studio.take("catalog", "vault", "--offline")

    assert list(studio.said()) == ["detail-tweaker"]
    assert studio.pins() == {}
    assert not [*studio.hub.requests, *studio.civitai.requests]


def test_what_holds_no_weights_is_left_out(studio: Studio) -> None:
    studio.page("Flow", 'wget -P "$UI_HOME/user/default/workflows" https://files.example.org/a.json')
    studio.page("Text", 'wget -P "$UI_HOME/models/loras" https://files.example.org/b.json')
    studio.page("Plain", 'wget -P "$UI_HOME/models/loras" http://files.example.org/a.safetensors')
    report = studio.take("catalog", "vault", "--offline")

    assert not (studio.here / "box.yaml").exists()
    assert list(rows(report, "left-out").values()) == [
        "`user/default/workflows` is no folder of models",
        "plain http can be changed on its way; declare it by hand with `insecure: true`",
        "`b.json` is no file of weights",
    ]


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_the_report_is_of_pages_in_the_columns_of_the_fixture(studio: Studio, suffix: str) -> None:
    path = studio.here / f"report.{suffix}"
    studio.take("catalog", str(PAGES), "--offline", "--report", str(path))
    if suffix == "csv":
        with path.open(newline="") as file:
            table = list(csv.DictReader(file))
    else:
        table = json.loads(path.read_text())["rows"]

    assert list(table[0]) == ["file_path", "syntax_type", "tested", "is_valid", "air", "download_count", "notes"]
    assert [row["file_path"] for row in table] == sorted(page.name for page in PAGES.glob("*.md"))


def test_the_pages_of_the_fixture_become_a_manifest_that_loads(studio: Studio) -> None:
    report = studio.take("catalog", str(PAGES), "--offline")

    assert report["summary"]["imported"] == len(studio.said()) == 15
    assert not any("rm -rf" in str(said) or "$" in str(said) for said in studio.said().values())
    assert not Path("/tmp/pwned").exists()


def test_hidden_directories_and_other_files_are_not_read(studio: Studio) -> None:
    detail(studio, name=".trash/old")
    detail(studio, name=".obsidian/x")
    detail(studio)
    (studio.here / "vault" / "note.txt").write_text("civitdl 1 $UI_HOME/models/loras")
    studio.take("catalog", "vault", "--offline")

    assert list(studio.said()) == ["detail-tweaker"]


@pytest.mark.parametrize("arguments", [(), ("vault", "more"), ("missing",)])
def test_a_wrong_directory_is_one_clear_error(studio: Studio, arguments: tuple[str, ...]) -> None:
    told = studio.run("import", "catalog", *arguments, "--manifest", "box.yaml")

    assert told.code == 1
    assert "Traceback" not in told.err
    assert not (studio.here / "box.yaml").exists()


def test_from_pages_to_files_in_their_folders(studio: Studio) -> None:
    comfy = studio.here / "comfy"
    (studio.here / "box.yaml").write_text(f"version: 1\nlocations:\n  comfy: {{ store: comfyui, root: {comfy} }}\n")
    detail(studio)
    studio.page(
        "VAE",
        'wget -O "$UI_HOME/models/vae/mine.safetensors" https://huggingface.co/someone/parts/resolve/main/vae.safetensors',
    )
    studio.take("catalog", "vault")
    applied = studio.run("apply", "box.yaml", "--yes")
    planned = studio.run("plan", "box.yaml", "--detailed-exitcode")

    assert applied.code == 0, applied.err
    assert (comfy / "loras/detail.safetensors").read_bytes() == DETAIL
    assert (comfy / "vae/mine.safetensors").read_bytes() == VAE
    assert planned.code == 0, planned.out
    assert TOKEN not in applied.out + applied.err + (studio.here / "box.lock.json").read_text()


@pytest.mark.parametrize(("policy", "told"), [("deny", True), ("allow", False)])
def test_a_pickle_that_the_policy_denies_is_declared_and_told(studio: Studio, policy: str, told: bool) -> None:
    (studio.here / "box.yaml").write_text(f"version: 1\npolicy: {{ pickle: {policy} }}\n")
    studio.page("Up", 'wget -P "$UI_HOME/models/upscale_models" https://files.example.org/up.pth')
    report = studio.take("catalog", "vault", "--offline")

    assert ["policy.pickle" in why for why in rows(report, "imported").values()] == [told]


@pytest.mark.parametrize("companions", ["preview", "markdown"])
def test_pictures_are_locked_with_what_is_imported_where_the_location_keeps_them(
    studio: Studio, companions: str
) -> None:
    studio.civitai.versions[2202].previews.append(Preview(7, png(7), told="png"))
    (studio.here / "box.yaml").write_text(
        f"version: 1\nlocations:\n  comfy: {{ store: comfyui, root: {studio.here}/c, companions: [{companions}] }}\n"
    )
    detail(studio)
    studio.take("catalog", "vault")
    [pin] = studio.pins().values()
    assert [file.path for file in pin.files if is_preview(file)] == ["preview.png"] * (companions == "preview")
    before = (studio.here / "box.lock.json").read_bytes()
    studio.take("catalog", "vault")
    assert (studio.here / "box.lock.json").read_bytes() == before


def test_what_is_added_gets_its_picture_too(studio: Studio) -> None:
    studio.civitai.versions[2202].previews.append(Preview(7, png(7), told="png"))
    (studio.here / "box.yaml").write_text(
        f"version: 1\nlocations:\n  comfy: {{ store: comfyui, root: {studio.here}/c, companions: [preview] }}\n"
    )
    told = studio.run("add", "box.yaml", "civitai:1101@2202", "--location", "comfy", "--name", "mine")
    assert told.code == 0, told.err
    assert [file.path for file in studio.pins()["mine"].files if is_preview(file)] == ["preview.png"]


def test_offline_no_picture_is_asked_for(studio: Studio) -> None:
    (studio.here / "box.yaml").write_text(
        f"version: 1\nlocations:\n  comfy: {{ store: comfyui, root: {studio.here}/c, companions: [preview] }}\n"
    )
    detail(studio)
    studio.take("catalog", "vault", "--offline")
    assert studio.civitai.requests == []
