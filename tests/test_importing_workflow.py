"""A workflow becomes a manifest: each model resolved and locked, or listed with what it lacks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from images_kit import DETAIL, OTHER, VAE, Studio, a_studio, rows

HUB = "https://huggingface.co/someone/parts/resolve/main"


@pytest.fixture
def studio(world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Studio]:
    with a_studio(world, monkeypatch, capsys) as studio:
        yield studio


def loader(type_: str, value: str, *entries: dict[str, str], mode: int = 0) -> dict[str, Any]:
    return {"id": 1, "type": type_, "mode": mode, "widgets_values": [value], "properties": {"models": list(entries)}}


def save(studio: Studio, *nodes: dict[str, Any], name: str = "flow.json", **more: Any) -> None:
    (studio.here / name).write_text(json.dumps({"nodes": list(nodes), **more}))


VAE_ENTRY = {"name": "vae.safetensors", "url": f"{HUB}/vae.safetensors?download=true", "directory": "vae"}


def test_a_model_with_an_address_becomes_a_variant_that_is_locked(studio: Studio) -> None:
    save(studio, loader("VAELoader", "vae.safetensors", VAE_ENTRY))
    studio.take("workflow", "flow.json")

    assert studio.said() == {
        "vae": {
            "source": "hf:someone/parts", "files": ("vae.safetensors",), "exclude": ("*/**",), "location": "comfyui",
            "kind": "vae",
        }
    }  # fmt: skip
    assert studio.pins()["vae"].revision == studio.commit


def test_the_subfolder_and_the_name_that_the_loader_asks_for_are_kept(studio: Studio) -> None:
    entry = {"name": "warm.safetensors", "url": f"{HUB}/split/loras/soft.safetensors", "directory": "loras"}
    save(studio, loader("LoraLoader", "style\\warm.safetensors", entry))
    studio.take("workflow", "flow.json")
    [said] = studio.said().values()

    assert (said["kind"], said["subfolder"], said["served_as"]) == ("lora", "style", "warm.safetensors")


def test_models_of_civitai_are_found_by_their_address(studio: Studio) -> None:
    entry = {"name": "detail.safetensors", "url": "https://civitai.com/api/download/models/2202", "directory": "loras"}
    save(studio, loader("LoraLoader", "detail.safetensors", entry))
    studio.take("workflow", "flow.json")

    assert studio.said()["detail"]["source"] == "civitai:1101@2202"
    assert studio.pins()["detail"].files[0].size == len(DETAIL)


@pytest.mark.parametrize(("name", "served"), [("detail.safetensors", None), ("fine.safetensors", "fine.safetensors")])
def test_a_model_of_civitai_gets_the_name_that_the_loader_asks_for_where_civitai_calls_it_otherwise(
    studio: Studio, name: str, served: str | None
) -> None:
    entry = {"name": name, "url": "https://civitai.com/models/1101?modelVersionId=2202", "directory": "loras"}
    save(studio, loader("LoraLoader", name, entry))
    studio.take("workflow", "flow.json")
    before = studio.said()

    assert [said.get("served_as") for said in before.values()] == [served]
    for how in ([], ["--offline"]):
        studio.take("workflow", "flow.json", *how)
        assert studio.said() == before


def test_a_name_that_leads_elsewhere_is_told_with_its_node_once(studio: Studio) -> None:
    save(studio, loader("VAELoader", "../../evil.safetensors"))

    [row] = [row for row in studio.take("workflow", "flow.json")["rows"] if row["kind"] == "problem"]

    assert (row["what"], row["why"].count("flow.json")) == ("flow.json", 0)


def test_a_model_without_an_address_is_found_by_its_hash(studio: Studio) -> None:
    digest = hashlib.sha256(DETAIL).hexdigest()
    save(
        studio, models=[{"name": "d.safetensors", "directory": "loras", "hash": digest.upper(), "hash_type": "SHA256"}]
    )
    studio.take("workflow", "flow.json")

    assert studio.said()["d"]["source"] == "civitai:1101@2202"
    assert studio.said()["d"]["lock"] == {"sha256": digest}


def test_a_hash_that_is_not_the_files_is_told_and_not_locked(studio: Studio) -> None:
    save(studio, models=[{**VAE_ENTRY, "hash": "ab" * 32, "hash_type": "SHA256"}])
    report = studio.take("workflow", "flow.json")

    assert studio.pins() == {}
    assert any("not locked" in why and "ab" * 8 in why for why in rows(report, "imported").values())


@pytest.mark.parametrize(
    ("node", "what", "why"),
    [
        (loader("LoraLoader", "SDXL/x.safetensors"), "loras/SDXL/x.safetensors", "names the file and no address"),
        (loader("LoraLoader", "x.safetensors", {"name": "x.safetensors", "url": "https://civitai.com/api/download/models/slug"}),
         "loras/x.safetensors", "no version of Civitai"),
        (loader("LoraLoader", "x.safetensors", {"name": "x.safetensors", "url": "https://civitai.com/api/download/models/31"}),
         "loras/x.safetensors", "version 31 of Civitai"),
        (loader("Whatever", "x.safetensors", {"name": "x.safetensors", "url": f"{HUB}/vae.safetensors"}),
         "x.safetensors", "no folder"),
    ],
)  # fmt: skip
def test_what_cannot_be_resolved_is_listed_with_what_it_lacks(
    studio: Studio, node: dict[str, Any], what: str, why: str
) -> None:
    save(studio, node)
    report = studio.take("workflow", "flow.json")

    assert not (studio.here / "box.yaml").exists()
    [(found, reason)] = rows(report, "left-out").items()
    assert found == what
    assert reason.startswith("unresolved: ")
    assert why in reason


def test_a_dead_address_is_a_problem_and_no_variant(studio: Studio) -> None:
    entry = {"name": "gone.safetensors", "url": f"{HUB}/gone.safetensors"}
    save(studio, loader("VAELoader", "gone.safetensors", entry))
    report = studio.take("workflow", "flow.json")

    assert not (studio.here / "box.yaml").exists()
    assert all("upstream does not have it" in why for why in rows(report, "problem").values())
    assert len(rows(report, "problem")) == 1


def test_muted_nodes_ask_for_nothing(studio: Studio) -> None:
    save(studio, loader("VAELoader", "vae.safetensors", VAE_ENTRY, mode=4))
    report = studio.take("workflow", "flow.json")

    assert report["rows"] == []


def test_several_workflows_share_their_models(studio: Studio) -> None:
    save(studio, loader("VAELoader", "vae.safetensors", VAE_ENTRY), name="a.json")
    save(studio, loader("VAELoader", "vae.safetensors"), name="b.json")
    report = studio.take("workflow", "a.json", "b.json")

    assert list(studio.said()) == ["vae"]
    assert rows(report, "left-out") == {}


def test_two_workflows_that_mean_different_files_by_one_name_are_told(studio: Studio) -> None:
    save(studio, loader("VAELoader", "vae.safetensors", VAE_ENTRY), name="a.json")
    other = {**VAE_ENTRY, "url": f"{HUB}/nested/vae.safetensors"}
    save(studio, loader("VAELoader", "vae.safetensors", other), name="b.json")
    report = studio.take("workflow", "a.json", "b.json")

    assert studio.said()["vae"]["files"] == ("vae.safetensors",)
    assert ["another address than in a.json" in why for why in rows(report, "problem").values()] == [True]


def test_a_second_import_changes_nothing(studio: Studio) -> None:
    save(studio, loader("VAELoader", "vae.safetensors", VAE_ENTRY))
    studio.take("workflow", "flow.json")
    report = studio.take("workflow", "flow.json")

    assert report["written"] == []
    assert rows(report, "known") == {"vae": "declared already"}


def test_a_model_that_the_manifest_has_already_needs_no_address(studio: Studio) -> None:
    save(studio, loader("VAELoader", "vae.safetensors", VAE_ENTRY), name="a.json")
    studio.take("workflow", "a.json")
    save(studio, loader("VAELoader", "vae.safetensors"), name="b.json")
    report = studio.take("workflow", "b.json")

    assert rows(report, "left-out") == {}
    assert rows(report, "known") == {"vae": "vae/vae.safetensors: declared already"}


@pytest.mark.parametrize("text", ["", "{}", '{"nodes": 1}'])
def test_a_damaged_workflow_is_one_error_and_nothing_is_written(studio: Studio, text: str) -> None:
    save(studio, loader("VAELoader", "vae.safetensors", VAE_ENTRY), name="a.json")
    (studio.here / "flow.json").write_text(text)
    told = studio.run("import", "workflow", "a.json", "flow.json", "--manifest", "box.yaml")

    assert told.code == 1
    assert "flow.json" in told.err
    assert "Traceback" not in told.err
    assert not (studio.here / "box.yaml").exists()


@pytest.mark.parametrize("arguments", [(), ("missing.json",), (".",)])
def test_a_file_that_is_not_there_is_one_error(studio: Studio, arguments: tuple[str, ...]) -> None:
    told = studio.run("import", "workflow", *arguments, "--manifest", "box.yaml")

    assert told.code == 1
    assert "Traceback" not in told.err


def test_from_a_workflow_to_files_that_comfyui_finds(studio: Studio) -> None:
    comfy = studio.here / "comfy"
    (studio.here / "box.yaml").write_text(f"version: 1\nlocations:\n  comfy: {{ store: comfyui, root: {comfy} }}\n")
    soft = {"name": "warm.safetensors", "url": f"{HUB}/split/loras/soft.safetensors", "directory": "loras"}
    save(
        studio, loader("VAELoader", "vae.safetensors", VAE_ENTRY), loader("LoraLoader", "style/warm.safetensors", soft)
    )
    studio.take("workflow", "flow.json")
    applied = studio.run("apply", "box.yaml", "--yes")

    assert applied.code == 0, applied.err
    assert (comfy / "vae/vae.safetensors").read_bytes() == VAE
    assert (comfy / "loras/style/warm.safetensors").read_bytes() == OTHER
