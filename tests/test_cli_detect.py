"""`detect DIR`: a page's model is present, absent, or unknown; never absent because somebody could not look."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from civitai_kit import LORA, NEWER
from test_images_apply import LORAS, Machine, machine

from reconciler.hub.diffusion import image_model

__all__ = ["machine"]

HIGH, LOW, OTHER = (image_model("lora", seed) for seed in (21, 22, 23))

BARE = """\
version: 1
registry: {here}/registry
locations:
  comfy: {{ store: comfyui, root: {here}/ComfyUI/models }}
"""
PAGE = "---\ntitle: {title}\nAIR: {air}\n---\n\n```bash\n{commands}\n```\n"
STORY = PAGE.format(
    title="Story", air="urn:air:sdxl:lora:civitai:7@72",
    commands='civitdl "https://civitai.com/models/7?modelVersionId=72" "$UI_HOME"/models/loras',
)  # fmt: skip
PAIR = PAGE.format(
    title="Wan pair", air="urn:air:wan:lora:civitai:8@81",
    commands='civitdl "https://civitai.com/models/8?modelVersionId=81" "$UI_HOME"/models/loras  # high noise\n'
    'civitdl "https://civitai.com/models/8?modelVersionId=82" "$UI_HOME"/models/loras  # low noise',
)  # fmt: skip


def pages(machine: Machine, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        path = machine.here / "catalog" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def put(machine: Machine, path: str, data: bytes) -> Path:
    whole = machine.here / "ComfyUI/models" / path
    whole.parent.mkdir(parents=True, exist_ok=True)
    whole.write_bytes(data)
    return whole


def detect(machine: Machine, *arguments: str) -> dict[str, Any]:
    told = machine.run("detect", "catalog", "--manifest", "images.yaml", "--json", *arguments)
    assert told.code == 0, told.err
    return {page["file_path"]: page for page in told.json["pages"]}


def verdict(machine: Machine, *arguments: str) -> tuple[str, str | None]:
    [page] = detect(machine, *arguments).values()
    return page["verdict"], page["how"]


@pytest.fixture
def bare(machine: Machine) -> Machine:
    """A ComfyUI of which nothing is known, and a catalog with one page."""
    machine.write(BARE)
    put(machine, "checkpoints/.keep", b"")
    pages(machine, {"story.md": STORY})
    machine.civitai.add_model(8, "Wan pair")
    machine.civitai.add_version(8, 81, {"wan_high.safetensors": HIGH}, name="high")
    machine.civitai.add_version(8, 82, {"wan_low.safetensors": LOW}, name="low")
    return machine


def test_a_file_under_any_name_is_present_by_the_digest_that_upstream_tells(bare: Machine) -> None:
    assert verdict(bare) == ("absent", None)
    put(bare, "loras/renamed.safetensors", NEWER)
    page = detect(bare)["story.md"]
    assert (page["verdict"], page["how"], page["path"]) == ("present", "digest", "loras/renamed.safetensors")


def test_what_the_lock_knows_needs_nobody_to_be_asked(machine: Machine) -> None:
    pages(machine, {"story.md": STORY})
    machine.apply()
    os.rename(machine.here / LORAS / "story_v2.safetensors", machine.here / LORAS / "mine.safetensors")
    machine.civitai.reset_log()
    assert verdict(machine, "--offline") == ("present", "digest")
    assert machine.civitai.requests == []


def test_a_name_of_civitdl_is_enough_where_nobody_can_be_asked(bare: Machine) -> None:
    put(bare, "loras/story_v2-mid_7-vid_72.safetensors", NEWER)
    assert verdict(bare, "--offline") == ("present", "name")


def test_a_name_of_another_version_is_none(bare: Machine) -> None:
    put(bare, "loras/story_v2-mid_7-vid_720.safetensors", OTHER)
    put(bare, "loras/story_v2-mid_7-vid_172.safetensors", OTHER)
    assert verdict(bare)[0] == "absent"


def test_a_name_over_other_bytes_is_not_believed(bare: Machine) -> None:
    put(bare, "loras/story_v2-mid_7-vid_72.safetensors", OTHER)
    page = detect(bare)["story.md"]
    assert (page["verdict"], "other bytes" in page["why"]) == ("absent", True)


def test_a_header_that_was_rewritten_is_told_and_the_model_is_present(bare: Machine) -> None:
    length = int.from_bytes(NEWER[:8], "little")
    header = json.loads(NEWER[8 : 8 + length])
    header["__metadata__"] = {**header.get("__metadata__", {}), "note": "mine"}
    text = json.dumps(header).encode()
    put(bare, "loras/story-mid_7-vid_72.safetensors", len(text).to_bytes(8, "little") + text + NEWER[8 + length :])
    page = detect(bare)["story.md"]
    assert (page["verdict"], page["how"]) == ("present", "rewritten")
    assert "header was rewritten" in page["why"]


def test_what_upstream_could_not_say_makes_nothing_absent(bare: Machine) -> None:
    """The control stands above: the same place is `absent` when Civitai answers."""
    bare.civitai.models[7].gone = 404
    page = detect(bare)["story.md"]
    assert page["verdict"] == "unknown"
    assert "no file has its name" in page["why"]
    assert verdict(bare, "--offline")[0] == "unknown"


@pytest.mark.parametrize(
    "trouble", [{"code": 403}, {"code": 429, "retry_after": 3600}, {"code": 503, "retry_after": 3600}]
)
def test_trouble_upstream_makes_nothing_absent(bare: Machine, trouble: dict[str, int]) -> None:
    bare.civitai.fault("status", times=-1, path="/api/v1/*", **trouble)
    page = detect(bare)["story.md"]
    assert page["verdict"] == "unknown"
    assert any(who in page["why"] for who in ("Civitai", bare.civitai.url.removeprefix("http://")))


def test_a_disk_that_is_not_there_makes_nothing_absent(machine: Machine) -> None:
    pages(machine, {"story.md": STORY})
    machine.apply()
    os.rename(machine.here / "ComfyUI", machine.here / "elsewhere")
    os.rename(machine.here / "webui", machine.here / "elsewhere too")
    page = detect(machine)["story.md"]
    assert (page["verdict"], "mounted" in page["why"]) == ("unknown", True)


def test_a_link_that_leads_elsewhere_makes_nothing_absent(bare: Machine) -> None:
    (bare.here / "big disk").mkdir()
    (bare.here / "ComfyUI/models/loras").symlink_to(bare.here / "big disk")
    page = detect(bare)["story.md"]
    assert (page["verdict"], "is a link to" in page["why"]) == ("unknown", True)


def test_a_pair_is_present_only_when_both_are(bare: Machine) -> None:
    pages(bare, {"story.md": PAIR})
    assert verdict(bare)[0] == "absent"
    put(bare, "loras/wan_high.safetensors", HIGH)
    page = detect(bare)["story.md"]
    assert (page["verdict"], page["why"][:14]) == ("absent", "1 of 2 present")
    assert [part["verdict"] for part in page["assets"]] == ["present", "absent"]
    put(bare, "loras/wan_low.safetensors", LOW)
    assert verdict(bare) == ("present", "digest")


def test_a_page_with_an_air_and_no_command_is_looked_for_by_its_air(bare: Machine) -> None:
    pages(bare, {"story.md": "---\nAIR: 'urn:air:sdxl:lora:civitai:7@71'\n---\ntext\n"})
    put(bare, "loras/a.safetensors", LORA)
    assert verdict(bare) == ("present", "digest")


def test_a_page_without_anything_stays_unknown(bare: Machine) -> None:
    pages(bare, {"story.md": "---\ntitle: x\n---\ntext\n"})
    page = detect(bare)["story.md"]
    assert (page["verdict"], page["why"]) == ("unknown", "the page names no download")


def test_the_report_says_which_pages_were_looked_for(bare: Machine) -> None:
    pages(bare, {"none.md": "---\ntitle: x\n---\ntext\n"})
    told = bare.run("detect", "catalog", "--manifest", "images.yaml", "--report", "pages.csv", "--detailed-exitcode")
    assert told.code == 2
    assert "2 pages: 0 present, 1 absent, 1 unknown." in told.out
    with (bare.here / "pages.csv").open(newline="") as file:
        rows = {row["file_path"]: row for row in csv.DictReader(file)}
    assert list(rows["story.md"]) == [
        "file_path", "syntax_type", "tested", "is_valid", "air", "download_count", "notes"
    ]  # fmt: skip
    assert (rows["story.md"]["tested"], rows["none.md"]["tested"]) == ("Yes", "No")


def test_another_place_can_be_looked_in_without_a_manifest(bare: Machine) -> None:
    (bare.here / "images.yaml").unlink()
    put(bare, "loras/x.safetensors", NEWER)
    told = bare.run("detect", "catalog", "--in", "ComfyUI", "--json")
    assert [page["verdict"] for page in told.json["pages"]] == ["present"]
    assert bare.run("detect", "catalog", "--in", "nowhere").code == 1
    assert bare.run("detect", "nowhere", "--in", "ComfyUI").code == 1
    assert bare.run("detect", "catalog", "--in", "ComfyUI", "--manifest", "images.yaml").code == 1


def test_nothing_is_written_but_the_report(bare: Machine) -> None:
    put(bare, "loras/x.safetensors", NEWER)
    before = sorted(bare.here.rglob("*"))
    detect(bare)
    assert sorted(bare.here.rglob("*")) == before
    assert hashlib.sha256(NEWER).hexdigest()
