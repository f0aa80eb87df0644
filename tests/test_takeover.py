"""A home with ten tools at once: written down, adopted, and nothing in it moves; what is known is known everywhere."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from importing_kit import CHAT, GGUF, cache, manifest_text, put, whys
from takeover_kit import of_hub, of_ollama, registry
from ten_tools_kit import IQ4, Q4, TenTools, a_home_of_ten_tools

from reconciler import hashpool
from reconciler.hub.diffusion import image_model
from reconciler.importing.usual import TOOLS, find


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[TenTools]:
    with a_home_of_ten_tools(tmp_path, monkeypatch, capsys) as made:
        yield made


@pytest.mark.parametrize("network", ["online", "offline"])
def test_the_plan_right_after_init_only_adopts_and_after_apply_and_lock_there_is_nothing_to_do(
    machine: TenTools, network: str
) -> None:
    before = machine.prints()

    value = machine.init(*(["--offline"] if network == "offline" else []))

    assert {place["kind"] for place in value["places"]} == set(TOOLS)
    assert {step[:2] for step in machine.steps().values()} == {("normalize", "adopt")}
    assert machine.run("apply", "box.yaml", "--yes", "--offline").code == 0
    assert machine.run("plan", "box.yaml", "--detailed-exitcode").code == 0
    lock = (machine.here / "box.lock.json").read_bytes()
    assert machine.run("lock", "box.yaml").code == 0  # asks the Hub what the globs mean: the same
    assert (machine.here / "box.lock.json").read_bytes() == lock
    assert machine.run("plan", "box.yaml", "--detailed-exitcode", "--locked").code == 0
    assert machine.prints() == before
    assert machine.weights_fetched() == []


def test_what_init_locks_from_the_disk_is_what_upstream_says(machine: TenTools) -> None:
    machine.init("--offline")

    told = machine.run("lock", "box.yaml", "--upgrade")

    assert told.out.endswith("nothing changed.\n"), told.out  # licences among them: the model cards tell
    assert {pin.license for pin in machine.pins().values() if pin.source.startswith("hf:")} == {"apache-2.0"}


def test_plain_lock_keeps_a_whole_entry_though_upstream_tells_a_licence(machine: TenTools) -> None:
    for card in machine.home.glob(".cache/huggingface/hub/*/snapshots/*/README.md"):
        card.unlink()
    machine.init("--offline", "--from", "hf-cache")
    lock = (machine.here / "box.lock.json").read_bytes()
    assert b'"license"' not in lock

    assert machine.run("lock", "box.yaml").code == 0
    assert (machine.here / "box.lock.json").read_bytes() == lock
    assert machine.run("lock", "box.yaml", "--upgrade").code == 0
    assert b'"license"' in (machine.here / "box.lock.json").read_bytes()


def test_the_same_weights_in_another_form_upstream_never_come_by_a_later_lock(machine: TenTools) -> None:
    files = {**{path: machine.chat[path] for path in machine.chat if path != "README.md"}, "vocab.txt": b"a\n"}
    more = {"consolidated.safetensors": b"other", "params.json": b"{}", "original/config.json": b"{}"}
    commit = machine.hub.add("acme/Twice", {**files, **more})
    cache(machine.home / ".cache/huggingface/hub", "acme/Twice", commit, files, {"main": commit})
    machine.init("--offline", "--from", "hf-cache")

    assert machine.run("lock", "box.yaml").code == 0

    assert {step[:2] for step in machine.steps().values()} == {("normalize", "adopt")}
    [pin] = [pin for pin in machine.pins().values() if pin.source == "hf:acme/Twice"]
    assert {file.path for file in pin.files} == set(files)


def test_a_known_file_that_a_store_would_put_elsewhere_stays_where_it_lies(machine: TenTools) -> None:
    machine.init("--offline")

    webui = machine.home / "text-generation-webui/user_data/models" / IQ4
    sources = [each.source for each in machine.loaded().manifest.variants.values()]
    assert f"file:{webui}" in sources  # as hf:acme/Tiny-GGUF it would be placed at acme/Tiny-GGUF, a second time


def test_a_copy_under_another_name_is_told_and_comes_back_from_the_first_when_it_is_lost(machine: TenTools) -> None:
    value = machine.init("--offline")
    copy = machine.home / ".cache/llama.cpp" / f"acme_Tiny-GGUF_{Q4}"
    [name] = [name for name, each in machine.loaded().manifest.variants.items() if each.source == f"file:{copy}"]
    assert f"the same bytes as {Q4} of hf:{GGUF}" in whys(value, "imported")[name]
    assert any(name in what for what in whys(value, "finding"))
    assert machine.run("apply", "box.yaml", "--yes", "--offline").code == 0
    data = copy.read_bytes()
    copy.unlink()

    assert machine.steps()[f"{name}@llama.cpp"][0] == "normalize"
    assert machine.run("apply", "box.yaml", "--yes", "--offline").code == 0
    assert copy.read_bytes() == data
    assert machine.weights_fetched() == []


def test_what_the_lock_does_not_know_of_a_repository_is_not_called_strange(machine: TenTools) -> None:
    value = machine.init("--offline")

    assert not [why for why in whys(value, "left-out").values() if "not of the repository" in why]


def test_a_second_look_at_every_place_changes_no_byte(machine: TenTools) -> None:
    machine.init()
    before = manifest_text(machine.here), (machine.here / "box.lock.json").read_bytes()

    for subject in (["hf-cache"], ["lmstudio", "--local"], ["ollama"], ["comfyui", str(machine.home / "ComfyUI")],
                    ["tree", str(machine.home / "ai-models/weights"), "--local"],
                    ["tree", str(machine.home / ".cache/llama.cpp"), "--local"]):  # fmt: skip
        report = machine.take(*subject)
        assert (report["summary"]["imported"], report["written"]) == (0, []), subject

    assert (manifest_text(machine.here), (machine.here / "box.lock.json").read_bytes()) == before


@pytest.fixture
def read(machine: TenTools, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read for their digests, in a home whose files are all old enough to be remembered."""
    old = time.time_ns() - 10**12
    for path in machine.home.rglob("*"):
        os.utime(path, ns=(old, old), follow_symlinks=False)
    files: list[str] = []
    real = hashpool.hash_all

    def counting(jobs: Any, *rest: Any) -> Any:
        files.extend(str(job[0].path) for job in jobs)
        return real(jobs, *rest)

    monkeypatch.setattr(hashpool, "hash_all", counting)
    return files


def test_no_file_is_read_twice_by_init_plan_and_apply(machine: TenTools, read: list[str]) -> None:
    machine.init("--offline")
    assert machine.run("plan", "box.yaml", "--offline").code == 0
    assert machine.run("apply", "box.yaml", "--yes", "--offline").code == 0

    assert len(read) == len(set(read)) > 10


def test_an_import_of_what_is_declared_reads_nothing_though_nothing_is_remembered(
    machine: TenTools, read: list[str]
) -> None:
    machine.init("--offline")
    for file in machine.home.glob(".cache/reconciler/digests.sqlite*"):
        file.unlink()
    read.clear()

    assert machine.take("hf-cache")["summary"]["imported"] == 0
    assert machine.take("comfyui", str(machine.home / "ComfyUI"))["summary"]["imported"] == 0

    assert read == []


def test_a_rotten_blob_is_told_with_what_to_do_and_not_declared(machine: TenTools) -> None:
    [blob] = [
        path.resolve()
        for path in machine.home.glob(".cache/huggingface/hub/*/snapshots/*/model.safetensors")
    ]  # fmt: skip
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)

    value = machine.init("--offline")

    [why] = whys(value, "problem").values()
    assert "damaged: model.safetensors" in why
    assert f"`hf download {CHAT} model.safetensors --revision {machine.chat_commit}`" in why
    held = {(each.location, each.source) for each in machine.loaded().manifest.variants.values()}
    assert ("hf_cache", f"hf:{GGUF}") in held
    assert ("hf_cache", f"hf:{CHAT}") not in held
    assert ("weights", f"hf:{CHAT}") in held  # the copy that is whole
    assert {step[:2] for step in machine.steps().values()} == {("normalize", "adopt")}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_blob_that_may_not_be_read_is_no_damaged_one(machine: TenTools) -> None:
    [blob] = [path.resolve() for path in machine.home.glob(".cache/huggingface/hub/*/snapshots/*/model.safetensors")]
    blob.chmod(0)

    [why] = whys(machine.init("--offline"), "problem").values()

    assert "look at its permissions" in why
    assert "delete" not in why


def test_an_ollamas_rotten_blob_is_told_and_its_model_not_declared(machine: TenTools) -> None:
    blob = max((machine.home / ".ollama/models/blobs").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)

    value = machine.init("--offline")

    [(what, why)] = whys(value, "problem").items()
    assert (what, "damaged" in why, "`ollama pull tiny:latest`" in why) == ("tiny:latest", True, True)
    assert {step[:2] for step in machine.steps().values()} == {("normalize", "adopt")}


def a_registry(machine: TenTools) -> None:
    """Leave records of models that the home has: of a tree, of LM Studio with two quants, of Ollama."""
    tree, lms = machine.home / "ai-models/weights", machine.home / ".lmstudio/models"
    registry(machine.here / "iw", discovered=[
        of_ollama("t", "tiny:latest", roles=["chat"], role_priority={"chat": 10}),
        of_hub("chat_(FP32)", tree, CHAT, roles=["chat", "caption"], role_priority={"chat": 90, "caption": 10},
               license="mit", served_model_id="tiny", version_lock={"locked": True}, metadata={"notes": "keep"}),
        of_hub("xs", lms, GGUF, quantization="iq4_xs", backend="lmstudio", roles=["chat"], role_priority={"chat": 95}),
        of_hub("own", lms, "me/Own", roles=["chat"], role_priority={"chat": 50}),
    ])  # fmt: skip


def test_a_registry_imported_after_init_brings_what_people_had_decided(machine: TenTools) -> None:
    machine.init("--offline")
    a_registry(machine)
    text = manifest_text(machine.here)
    before = [line for line in text.splitlines() if line.lstrip().startswith("#")]

    report = machine.take("imageworks", "iw", "--offline")

    assert report["summary"]["imported"] == 0
    manifest = machine.loaded().manifest
    [chat] = [name for name, each in manifest.variants.items() if each.location == "weights" and "hf:" in each.source]
    said = manifest.variants[chat]
    assert (said.backend, said.license, said.served_as, said.protect) == ("vllm", "mit", "tiny", True)
    assert said.metadata["notes"] == "keep"
    assert manifest.roles == {
        "chat": ["tiny-lmstudio-gguf-iq4_xs", chat, "own-gguf-q8_0", "tiny-ollama-q4_k_m"], "caption": [chat],
    }  # fmt: skip
    assert manifest.variants["tiny-lmstudio-gguf-iq4_xs"].backend == "lmstudio"
    assert manifest.variants["tiny-lmstudio-gguf-q4_k_m"].backend is None
    assert "it gets backend, license, served_as, protect, metadata" in whys(report, "known")[chat]
    assert whys(report, "known")[chat].endswith("the roles chat, caption of its record chat_(FP32)")
    now = manifest_text(machine.here)
    assert [line for line in now.splitlines() if line.lstrip().startswith("#")] == before
    assert all(line in now.splitlines() for line in text.splitlines())
    assert {step[:2] for step in machine.steps().values()} == {("normalize", "adopt")}

    again = machine.take("imageworks", "iw", "--offline")
    assert (again["written"], manifest_text(machine.here)) == ([], now)


def test_what_the_manifest_says_stays_and_a_record_that_says_otherwise_is_told(machine: TenTools) -> None:
    machine.init("--offline")
    a_registry(machine)
    text = manifest_text(machine.here)
    mine = "    location: weights\n    backend: sglang   # mine\n    metadata: {notes: my own, more: 1}\n"
    at = text.index("  acme-tiny-chat-safetensors:")
    text = text[:at] + text[at:].replace("    location: weights\n", mine, 1)
    text += "roles:\n  chat: [tiny-ollama-q4_k_m, acme-tiny-chat-safetensors]  # the small one first\n"
    machine.manifest.write_text(text)

    report = machine.take("imageworks", "iw", "--offline")

    said = machine.loaded().manifest.variants["acme-tiny-chat-safetensors"]
    assert (said.backend, said.metadata["notes"], said.license) == ("sglang", "my own", "mit")
    told = [row["why"] for row in report["rows"] if row["kind"] == "finding"]
    assert "its record says backend vllm, the manifest sglang; the manifest stays as it is" in told
    assert "its record has another metadata.notes; the manifest stays as it is" in told
    assert any(why.startswith("the manifest prefers tiny-ollama-q4_k_m to acme-tiny-chat") for why in told)
    now = manifest_text(machine.here)
    assert "    backend: sglang   # mine\n" in now
    assert "# the small one first" in now
    assert machine.loaded().manifest.roles["chat"] == [
        "tiny-ollama-q4_k_m", "acme-tiny-chat-safetensors", "tiny-lmstudio-gguf-iq4_xs", "own-gguf-q8_0",
    ]  # fmt: skip
    assert machine.take("imageworks", "iw", "--offline")["written"] == []


def test_what_no_manifest_may_say_is_told_and_the_rest_of_the_records_is_taken(machine: TenTools) -> None:
    machine.init("--offline")
    tree, lms = machine.home / "ai-models/weights", machine.home / ".lmstudio/models"
    registry(machine.here / "iw", discovered=[
        of_hub("a", tree, CHAT, license="line\nline", roles=["chat"]),
        of_hub("b", lms, "me/Own", backend="lmstudio", roles=["not: a/role", "chat"]),
    ])  # fmt: skip

    report = machine.take("imageworks", "iw", "--offline")

    variants = machine.loaded().manifest.variants
    assert variants["own-gguf-q8_0"].backend == "lmstudio"
    assert variants["acme-tiny-chat-safetensors"].backend is None
    assert "cannot say what its record says: license" in whys(report, "problem")["acme-tiny-chat-safetensors"]
    assert machine.loaded().manifest.roles["chat"] == ["acme-tiny-chat-safetensors", "own-gguf-q8_0"]
    assert machine.take("imageworks", "iw", "--offline")["written"] == []


def test_a_manifest_in_several_files_grows_where_each_variant_stands(machine: TenTools) -> None:
    machine.init("--offline")
    a_registry(machine)
    (machine.here / "manifests").mkdir()
    text = manifest_text(machine.here)
    machine.manifest.rename(machine.here / "manifests/box.yaml")
    (machine.here / "box.lock.json").rename(machine.here / "manifests.lock.json")
    (machine.here / "manifests/roles.yaml").write_text("version: 1\nroles:\n  chat: []\n  caption: []\n")

    assert machine.run("import", "imageworks", "iw", "--offline").code == 0

    assert "backend: vllm" in (machine.here / "manifests/box.yaml").read_text()
    assert "chat: [tiny-lmstudio-gguf-iq4_xs," in (machine.here / "manifests/roles.yaml").read_text()
    assert not (machine.here / "manifests/imported.yaml").exists()
    assert text.count("#") == (machine.here / "manifests/box.yaml").read_text().count("#")


def test_a_record_of_a_quant_that_is_not_here_is_told_though_the_directory_is_known(machine: TenTools) -> None:
    machine.init("--offline")
    lms = machine.home / ".lmstudio/models"
    registry(machine.here / "iw", discovered=[
        of_hub(quant, lms, GGUF, quantization=quant, roles=["chat"], download_files=["x.gguf"])
        for quant in ("q4_k_m", "iq4_xs", "q8_0")
    ])  # fmt: skip

    report = machine.take("imageworks", "iw", "--offline")

    assert "it served chat" in whys(report, "left-out")["q8_0"]
    assert len(machine.loaded().manifest.roles["chat"]) == 2


A_LORA = image_model("lora", 61)


def an_extra_file(machine: TenTools, text: str) -> Path:
    """Tell the ComfyUI of more folders; a LoRA lies in one of them."""
    put(machine.here / "shared/comfy", {"my-loras/styles/ink.safetensors": A_LORA, "stray.safetensors": A_LORA})
    file = machine.home / "ComfyUI/extra_model_paths.yaml"
    file.write_text(text.format(here=machine.here, home=machine.home))
    return file


EXTRA = """\
shared:
  base_path: {here}/shared/comfy
  loras: my-loras
  vae: my-vae
a111:
  base_path: {home}/stable-diffusion-webui
  loras: models/Lora
  checkpoints: models/Stable-diffusion
"""


def test_the_folders_that_comfyui_is_told_of_are_taken_over_and_the_file_is_named(machine: TenTools) -> None:
    file = an_extra_file(machine, EXTRA)
    before = machine.prints()

    machine.init("--offline")

    places = machine.loaded().manifest.locations
    assert {name: (each.store, each.root) for name, each in places.items() if each.store in ("comfyui", "a1111")} == {
        "comfyui": ("comfyui", f"{machine.home}/ComfyUI/models"),
        "comfyui-2": ("comfyui", f"{machine.here}/shared/comfy"),
        "a1111": ("a1111", f"{machine.home}/stable-diffusion-webui"),
    }  # fmt: skip
    assert {places[name].extra_model_paths for name in ("comfyui", "comfyui-2")} == {str(file)}
    [ink] = [each for each in machine.loaded().manifest.variants.values() if each.location == "comfyui-2"]
    assert (ink.kind, ink.subfolder) == ("lora", "styles")  # and what lies in no such folder is not ComfyUI's
    assert {step[:2] for step in machine.steps().values()} == {("normalize", "adopt")}
    assert machine.run("apply", "box.yaml", "--yes", "--offline").code == 0
    assert machine.run("plan", "box.yaml", "--detailed-exitcode", "--offline").code == 0
    assert machine.prints() == before
    report = machine.take("comfyui", str(machine.home / "ComfyUI"), "--offline")
    assert (report["summary"]["imported"], report["written"]) == (0, [])


def test_a_file_that_comfyui_could_not_read_is_told_and_the_rest_is_taken(machine: TenTools) -> None:
    an_extra_file(machine, "shared:\n  loras: [a, b]\n")

    value = machine.init("--offline")

    assert "its folders are not looked at" in whys(value, "problem")["extra_model_paths.yaml"]
    assert machine.loaded().manifest.locations["comfyui"].extra_model_paths is None
    assert {step[:2] for step in machine.steps().values()} == {("normalize", "adopt")}


def test_folders_right_in_the_home_get_no_location_that_would_be_the_home(machine: TenTools) -> None:
    put(machine.home / "my-loras", {"ink.safetensors": A_LORA})
    an_extra_file(machine, "mine:\n  loras: {home}/my-loras\n")

    value = machine.init("--offline")

    assert "give it a directory of its own" in whys(value, "left-out")[f"{machine.home}/my-loras"]
    assert str(machine.home) not in {each.root for each in machine.loaded().manifest.locations.values()}


def test_folders_among_models_of_another_kind_are_left_to_the_tree_that_they_lie_in(machine: TenTools) -> None:
    put(machine.home / "ai-models/weights/loras", {"ink.safetensors": A_LORA})
    an_extra_file(machine, "mine:\n  base_path: {home}/ai-models/weights\n  loras: loras\n")

    value = machine.init("--offline")

    weights = f"{machine.home}/ai-models/weights"
    assert "beside other models" in whys(value, "left-out")[f"{weights}/loras"]
    held = {each.source for each in machine.loaded().manifest.variants.values() if each.location == "weights"}
    assert held >= {f"file:{weights}/loras/ink.safetensors", f"hf:{CHAT}", f"file:{weights}/me/finetune"}
    assert {step[:2] for step in machine.steps().values()} == {("normalize", "adopt")}


def test_a_comfyui_whose_models_all_lie_elsewhere_is_found(machine: TenTools) -> None:
    for path in machine.home.glob("ComfyUI/models/*/*.safetensors"):
        path.unlink()
    an_extra_file(machine, EXTRA)

    assert [(each.files, each.kind) for each in find(os.environ, "linux") if each.kind == "comfyui"] == [(2, "comfyui")]


def test_doctor_tells_of_folders_that_a_location_does_not_name(machine: TenTools) -> None:
    machine.init("--offline")
    file = an_extra_file(machine, EXTRA)

    told = machine.run("doctor", "box.yaml", "--offline", "--json").json

    assert [check["hint"] for check in told["checks"] if str(file) in check["found"]]


def test_civitai_is_asked_once_for_all_web_interfaces(machine: TenTools) -> None:
    machine.init()

    asked = [call.path for call in machine.civitai.requests if call.path.endswith("/by-hash/ids")]
    assert len(asked) == 1
    sources = {each.location: each.source for each in machine.loaded().manifest.variants.values()}
    assert sources["a1111"] == next(
        each.source for each in machine.loaded().manifest.variants.values() if each.kind == "lora"
    )


def test_a_note_beside_one_copy_tells_where_the_other_comes_from(machine: TenTools) -> None:
    digest = hashlib.sha256(A_LORA).hexdigest()
    note = {"id": 345, "modelId": 12, "files": [{"name": "ink.safetensors", "hashes": {"SHA256": digest}}]}
    put(
        machine.home / "ComfyUI/models/loras",
        {"ink.safetensors": A_LORA, "ink.civitai.info": json.dumps(note).encode()},
    )
    put(machine.home / "stable-diffusion-webui/models/Lora", {"other name.safetensors": A_LORA})

    machine.init("--offline")

    known = [each for each in machine.loaded().manifest.variants.values() if each.source == "civitai:12@345"]
    assert sorted((each.location, each.served_as) for each in known) == [("a1111", "other name"), ("comfyui", None)]
