"""`reconciler export`: CSV, a CycloneDX bill of materials, and a registry that ImageWorks reads."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from cli_kit import Box, a_box
from hypothesis import assume, given
from hypothesis import strategies as st

from reconciler.audit.inventory import Item
from reconciler.exporting import EXPORTERS, Exported, exporter_of, table
from reconciler.importing import oldbooks
from reconciler.importing.oldrecords import tell
from reconciler.registry.entry import priority, render
from reconciler.state import Address, Artifact, Attributes, Digest, Pin, Placed, Record


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


def test_numbers_of_csv_are_numbers_and_the_digest_is_that_of_the_weights(box: Box) -> None:
    box.apply()

    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(box.run("export", "box.yaml").out))}
    listed = box.run("list", "box.yaml", "--json").json["variants"]
    parameters = {each["address"].partition("@")[0]: each["told"]["parameters"] for each in listed}
    weights = {file["path"]: file["digest"] for each in listed for file in each["files"]}

    assert {name: int(row["parameters"]) for name, row in rows.items()} == parameters
    assert all(row["bytes"].isdigit() and row["files"].isdigit() for row in rows.values())
    assert f"sha256:{rows['tiny-chat']['sha256']}" == weights["acme/Tiny-Chat/model.safetensors"]


@pytest.mark.parametrize(
    ("label", "number"), [("8B", 8 * 10**9), ("1.5B", 1_500_000_000), ("870K", 870_000), ("big", None), (None, None)]
)
def test_a_label_of_the_size_is_a_number_where_nobody_counted(label: str | None, number: int | None) -> None:
    pin = Pin("hf:a/b", None, ())
    address = Address("v", "w")
    record = Record(address, "m", pin, "", (), (), (), Attributes(), told={"size_label": label})
    item = Item(address, None, Attributes(), pin, record, "hf:a/b")
    text = table.render(cast("Exported", SimpleNamespace(items=(item,))))

    [row] = csv.DictReader(io.StringIO(text))

    assert row["parameters"] == ("" if number is None else str(number))


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


def declare(box: Box, variants: Mapping[str, tuple[str, str]]) -> None:
    """Write a manifest of variants: name -> source and licence."""
    lines = "".join(
        f"  {name}: {{ source: '{source}', location: {'o' if source.startswith('ollama') else 'w'}"
        f"{f', license: {json.dumps(license_)}' if license_ else ''} }}\n"
        for name, (source, license_) in variants.items()
    )
    places = f"  w: {{ store: flat, root: {box.here}/w }}\n  o: {{ store: ollama, models: {box.here}/o }}\n"
    head = f"version: 1\nname: box\nregistry: {box.here}/registry\n"
    box.manifest.write_text(f"{head}locations:\n{places}variants:\n{lines}")


def test_every_kind_of_source_has_a_place_in_a_bill_of_materials(box: Box) -> None:
    declare(box, {name: (source, "") for name, (source, _) in SOURCES.items()})

    told = box.run("export", "box.yaml", "--to", "cyclonedx")

    assert told.code == 0, told.err
    assert {
        each["name"]: each.get("externalReferences", [{"url": ""}])[0]["url"] for each in told.json["components"]
    } == {name: url for name, (_, url) in SOURCES.items()}


LICENCES = (
    "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bigscience-openrail-m", "bsd", "bsd-2-clause",
    "bsd-3-clause", "bsd-3-clause-clear", "bsl-1.0", "cc", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0",
    "cc-by-nc-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0",
    "cc-by-sa-4.0", "cc0-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "creativeml-openrail-m", "ecl-2.0",
    "epl-2.0", "etalab-2.0", "eupl-1.2", "gemma", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "isc", "lgpl-2.1",
    "lgpl-3.0", "llama3.3", "lppl-1.3c", "mit", "mpl-2.0", "ms-pl", "ncsa", "odbl", "odc-by", "ofl-1.1",
    "openrail++", "osl-3.0", "other", "pddl", "postgresql", "unknown", "unlicense", "wtfpl", "zlib",
)  # fmt: skip
"""What the Hub calls licences: some are of SPDX, in another spelling."""


def exported(box: Box, *more: str) -> str:
    """Return the bill of materials."""
    told = box.run("export", "box.yaml", "--to", "cyclonedx", *more)
    assert told.code == 0, told.err
    return told.out


def judged(text: str) -> str:
    """Return what the official strict schema says against a document, '' for nothing."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    return str(JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) or "")


def test_a_bill_of_materials_keeps_to_the_strict_schema_before_and_after_an_apply(box: Box) -> None:
    box.write({"served_as: tiny": 'served_as: "tïny"\n    license: "Ours, <b>not</b> yours"\n    protect: true'})
    before = exported(box)
    box.apply()
    after = exported(box, "--timestamp")

    assert judged(before) == judged(after) == ""
    assert judged(after.replace("Apache-2.0", "apache-2.0")) != ""  # the control: an id that is none


def test_every_source_and_licence_keeps_to_the_strict_schema(box: Box) -> None:
    declare(box, {f"l{number}": (f"hf:acme/m{number}", text) for number, text in enumerate(LICENCES)}
            | {name: (source, "") for name, (source, _) in SOURCES.items()})  # fmt: skip

    text = exported(box)
    told = {each["name"]: each.get("licenses", [{}])[0].get("license") for each in json.loads(text)["components"]}

    assert judged(text) == ""
    named = [told[f"l{number}"]["name"] for number in range(len(LICENCES)) if "name" in told[f"l{number}"]]
    assert named == [
        "bigscience-openrail-m", "bsd", "cc", "creativeml-openrail-m", "gemma", "gfdl", "gpl", "llama3.3", "openrail++",
        "other", "unknown",
    ]  # fmt: skip


def test_package_urls_are_in_their_canonical_form(box: Box) -> None:
    from packageurl import PackageURL  # it comes with cyclonedx-python-lib

    declare(box, {"a": ("https://example.org/a%20b/m+x.gguf?download=true", ""), "b": ("hf:Acme/Tiny.Chat-1_b", "")})

    urls = [each["purl"] for each in json.loads(exported(box))["components"]]

    assert [str(PackageURL.from_string(url)) for url in urls] == urls
    assert PackageURL.from_string(urls[1]).name == "Tiny.Chat-1_b"


def test_a_registry_for_imageworks_has_its_field_names_and_nothing_of_ours(box: Box) -> None:
    box.apply()

    entries = json.loads(box.run("export", "box.yaml", "--to", "imageworks").out)

    assert [entry["name"] for entry in entries] == ["tiny-chat", "tiny-gguf-iq4_xs", "tiny-gguf-q4_k_m"]
    assert entries[0]["role_priority"] == {"chat": 99}
    assert entries[0]["backend_config"]["model_path"] == str(box.here / "weights" / "acme" / "Tiny-Chat")
    assert not any("reconciler" in entry["metadata"] for entry in entries)


_WORDS = st.from_regex(r"[a-z][a-z0-9._-]{0,12}[a-z0-9]", fullmatch=True)
_ATTRIBUTES = st.builds(
    Attributes,
    backend=st.sampled_from([None, "vllm", "lmdeploy"]), quant=st.sampled_from([None, "awq", "fp8", "q4_k_m"]),
    format=st.sampled_from([None, "safetensors", "gguf"]), served_as=st.none() | _WORDS,
    license=st.none() | _WORDS,
    roles=st.dictionaries(_WORDS, st.integers(1, 30), max_size=3).map(lambda roles: tuple(sorted(roles.items()))),
)  # fmt: skip


@given(
    name=_WORDS, owner=_WORDS, repository=_WORDS, branch=st.none() | _WORDS, attributes=_ATTRIBUTES, root=_WORDS,
)  # fmt: skip
def test_what_was_exported_for_imageworks_is_read_back_as_it_was(
    name: str, owner: str, repository: str, branch: str | None, attributes: Attributes, root: str
) -> None:
    """By the importer of real registries: name, source, place, roles and their order, backend, served name, licence."""
    assume(not re.search(r"--|\.\.", owner + repository) and not (branch or "").endswith(".lock"))
    source = f"hf:{owner}/{repository}" + (f"@{branch}" if branch else "")
    home = f"{owner}/{repository}"  # a store need not have the branch in its paths
    files = (Placed(f"{home}/model.safetensors", 10, Digest("sha256:" + "1" * 64), 1, 1, "model.safetensors"),)
    pin = Pin(source, "a" * 40, (Artifact("model.safetensors", 10, files[0].digest),), attributes.license)
    record = Record(Address(name, "w"), "box", pin, home, files, (), (), attributes, 1, f"/srv/{root}")
    exported = SimpleNamespace(entries=(render(record, name, None, None),))

    [entry] = json.loads(exporter_of("imageworks")(cast("Exported", exported)))
    told = tell(oldbooks.Entry(name, entry, "model_registry.json"), {})

    assert (told.name, told.source, told.path, told.location) == (
        name, source if branch != "main" else source.removesuffix("@main"), f"/srv/{root}/{home}", "w",
    )  # fmt: skip
    assert told.files == ("model.safetensors",)
    said = (attributes.backend, attributes.served_as if attributes.served_as != name else None, attributes.license)
    assert tuple(told.variant.get(key) for key in ("backend", "served_as", "license")) == said
    assert told.quant == (attributes.quant or "")
    assert {role: told.ranks[role] for role in told.roles} == {role: priority(n) for role, n in attributes.roles}
    assert "hf:" not in json.dumps(entry["metadata"])


def test_an_export_that_is_imported_again_adopts_the_same_files_in_the_same_roles(box: Box) -> None:
    box.apply()
    (box.here / "old").mkdir()
    box.run("export", "box.yaml", "--to", "imageworks", "-o", "old/model_registry.json")

    told = box.run("import", "imageworks", "old", "--manifest", "again.yaml")
    plan = box.run("plan", "again.yaml", "--json").json

    assert told.code == 0, told.err
    assert [(step["action"], step["reason"]) for step in plan["steps"]] == [("normalize", "adopt")] * 3
    roles = {step["address"].partition("@")[0]: step["after"]["roles"] for step in plan["steps"]}
    assert roles == {
        "tiny-chat": {"chat": 2}, "tiny-gguf-q4_k_m": {"chat": 1}, "tiny-gguf-iq4_xs": {"draft": 1},
    }  # fmt: skip


def test_a_model_of_elsewhere_is_never_read_back_as_a_repository_of_the_hub(box: Box) -> None:
    entry = {
        "name": "detail", "backend": "unassigned", "source": {"reference": "civitai:1101@2202"},
        "download_path": "/srv/comfy/loras/detail.safetensors",
    }  # fmt: skip
    (box.here / "old").mkdir()
    (box.here / "old" / "model_registry.json").write_text(json.dumps([entry]))

    told = box.run("import", "imageworks", "old", "--manifest", "again.yaml", "--include-missing")

    assert "of civitai:1101@2202, which is no repository of the Hub; `reconciler add` declares it" in told.out
    assert "hf:loras" not in told.out


def test_half_a_character_that_somebody_wrote_into_an_entry_stops_no_export(box: Box) -> None:
    box.apply()
    curated = box.here / "registry" / "model_registry.curated.json"
    curated.write_text('[{"name": "tiny-chat", "display_name": "Ti\\ud83dny"}]')

    told = box.run("export", "box.yaml", "--to", "imageworks", "-o", "old.json")

    assert told.code == 0, told.err
    entries = json.loads((box.here / "old.json").read_bytes())
    assert [entry["display_name"] for entry in entries if entry["name"] == "tiny-chat"] == ["Ti\ud83dny"]


@pytest.mark.parametrize("command", ["export box.yaml -o", "plan box.yaml --offline -o"])
def test_a_pipe_is_written_to_and_never_replaced_by_a_file(box: Box, command: str) -> None:
    """Whoever says `-o /dev/stdout` or `-o /dev/null` as root would lose the device of all programs."""
    box.run("lock", "box.yaml")
    pipe = box.here / "pipe"
    os.mkfifo(pipe)
    before = pipe.lstat()
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        told = box.run(*command.split(), str(pipe))
        came = os.read(reader, 1 << 16)
    finally:
        os.close(reader)

    assert told.code == 0, told.err
    assert b"tiny-chat" in came
    after = pipe.lstat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


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
