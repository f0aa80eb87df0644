"""`reconciler export`: CSV, a CycloneDX bill of materials, and a registry that ImageWorks reads."""

from __future__ import annotations

import csv
import io
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_kit import Box, a_box

from reconciler.exporting import EXPORTERS, exporter_of


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Box]:
    with a_box(tmp_path, monkeypatch, capsys) as made:
        yield made


def test_the_table_of_forms_is_whole() -> None:
    assert all(callable(exporter_of(form)) for form in EXPORTERS)


@pytest.mark.parametrize("form", sorted(EXPORTERS))
def test_the_same_inputs_give_the_same_bytes(box: Box, form: str) -> None:
    box.apply()

    assert box.run("export", "box.yaml", "--to", form).out == box.run("export", "box.yaml", "--to", form).out


def test_csv_has_a_row_for_each_variant_also_before_it_is_here(box: Box) -> None:
    box.run("lock", "box.yaml")

    rows = list(csv.DictReader(io.StringIO(box.run("export", "box.yaml").out)))

    assert [(row["name"], row["quant"], row["recorded"]) for row in rows] == [
        ("tiny-gguf-iq4_xs", "iq4_xs", "no"),
        ("tiny-gguf-q4_k_m", "q4_k_m", "no"),
        ("tiny-chat", "", "no"),
    ]
    assert all(re.fullmatch(r"[0-9a-f]{40}", row["revision"]) for row in rows)


def test_a_spreadsheet_runs_nothing(box: Box) -> None:
    box.write({"served_as: tiny": 'served_as: "=cmd()"'})
    box.apply()

    assert ",'=cmd()," in box.run("export", "box.yaml").out


def test_a_bill_of_materials_has_digests_licences_and_package_urls(box: Box) -> None:
    box.apply()

    bom = json.loads(box.run("export", "box.yaml", "--to", "cyclonedx").out)
    parts = {each["name"]: each for each in bom["components"]}
    gguf, chat = parts["tiny-gguf-q4_k_m"], parts["tiny-chat"]

    assert (bom["bomFormat"], bom["specVersion"], bom["version"]) == ("CycloneDX", "1.6", 1)
    assert uuid.UUID(bom["serialNumber"].removeprefix("urn:uuid:")).version == 5
    assert "timestamp" not in bom["metadata"]
    assert {each["type"] for each in bom["components"]} == {"machine-learning-model"}
    assert gguf["purl"] == f"pkg:huggingface/acme/Tiny-GGUF@{gguf['version']}"
    assert gguf["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert re.fullmatch(r"[0-9a-f]{64}", gguf["hashes"][0]["content"])
    assert [file["name"] for file in chat["components"]] == ["config.json", "model.safetensors", "tokenizer.json"]
    references = [each["bom-ref"] for part in bom["components"] for each in (part, *part.get("components", ()))]
    assert len(references) == len(set(references))


def test_a_git_digest_is_no_hash_of_the_content(box: Box) -> None:
    """git hashes a header before the bytes: whoever took it for SHA-1 of the file would find every file changed."""
    box.apply()

    bom = json.loads(box.run("export", "box.yaml", "--to", "cyclonedx").out)
    [chat] = [each for each in bom["components"] if each["name"] == "tiny-chat"]
    config = chat["components"][0]

    assert "hashes" not in config
    assert config["properties"][1]["value"].startswith("git-sha1:")


def test_the_serial_number_follows_the_content(box: Box) -> None:
    box.apply()

    def serial() -> str:
        return str(json.loads(box.run("export", "box.yaml", "--to", "cyclonedx").out)["serialNumber"])

    before = serial()
    box.without("tiny-chat")
    box.apply()

    assert serial() != before


def test_the_time_is_told_only_when_asked_for(box: Box) -> None:
    bom = json.loads(box.run("export", "box.yaml", "--to", "cyclonedx", "--timestamp").out)

    assert bom["metadata"]["timestamp"].endswith("+00:00")


def test_a_licence_that_spdx_does_not_know_is_a_name(box: Box) -> None:
    box.write({"served_as: tiny": "served_as: tiny\n    license: llama3.2"})
    box.apply()

    bom = json.loads(box.run("export", "box.yaml", "--to", "cyclonedx").out)

    assert {"license": {"name": "llama3.2"}} in [each["licenses"][0] for each in bom["components"]]


SOURCES = {
    "a": ("https://example.org/dir/m.gguf?download=true", "https://example.org/dir/m.gguf"),
    "b": ("civitai:12@34", "https://civitai.com/models/12?modelVersionId=34"),
    "c": ("ollama:llama3.2:3b", "https://ollama.com/library/llama3.2:3b"),
    "d": ("file:/srv/m.gguf", ""),
    "e": ("urn:air:sdxl:lora:civitai:1327644@1498986", "https://civitai.com/models/1327644?modelVersionId=1498986"),
}


def test_every_kind_of_source_has_a_place_in_a_bill_of_materials(box: Box) -> None:
    variants = "".join(
        f"  {name}: {{ source: '{source}', location: {'o' if source.startswith('ollama') else 'w'} }}\n"
        for name, (source, _) in SOURCES.items()
    )
    places = f"  w: {{ store: flat, root: {box.here}/w }}\n  o: {{ store: ollama, models: {box.here}/o }}\n"
    head = f"version: 1\nname: box\nregistry: {box.here}/registry\n"
    box.manifest.write_text(f"{head}locations:\n{places}variants:\n{variants}")

    told = box.run("export", "box.yaml", "--to", "cyclonedx")

    assert told.code == 0, told.err
    assert {
        each["name"]: each.get("externalReferences", [{"url": ""}])[0]["url"] for each in told.json["components"]
    } == {name: url for name, (_, url) in SOURCES.items()}


def test_a_registry_for_imageworks_has_its_field_names_and_nothing_of_ours(box: Box) -> None:
    box.apply()

    entries = json.loads(box.run("export", "box.yaml", "--to", "imageworks").out)

    assert [entry["name"] for entry in entries] == ["tiny-chat", "tiny-gguf-iq4_xs", "tiny-gguf-q4_k_m"]
    assert entries[0]["role_priority"] == {"chat": 99}
    assert entries[0]["backend_config"]["model_path"] == str(box.here / "weights" / "acme" / "Tiny-Chat")
    assert not any("reconciler" in entry["metadata"] for entry in entries)


def test_entries_of_others_are_not_exported(box: Box) -> None:
    box.apply()
    box.write({"name: box": "name: other"})

    assert json.loads(box.run("export", "box.yaml", "--to", "imageworks").out) == []


def test_a_file_is_written_whole_and_an_unknown_form_is_refused(box: Box) -> None:
    out = box.here / "models.csv"

    assert box.run("export", "box.yaml", "-o", str(out)).code == 0
    assert out.read_text().startswith("name,location,")
    told = box.run("export", "box.yaml", "--to", "cyclondx")
    assert told.code == 1
    assert "did you mean cyclonedx?" in told.err
