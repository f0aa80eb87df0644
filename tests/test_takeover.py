"""A home with ten tools at once: written down, adopted, and nothing in it moves; what is known is known everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from importing_kit import CHAT, GGUF, cache, manifest_text, whys
from ten_tools_kit import IQ4, Q4, TenTools, a_home_of_ten_tools

from reconciler.importing.usual import TOOLS


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


def test_no_file_is_read_twice_by_init_and_plan(machine: TenTools, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import time

    old = time.time_ns() - 10**12  # a file that was just written is not remembered: it could change once more
    for path in machine.home.rglob("*"):
        os.utime(path, ns=(old, old), follow_symlinks=False)
    read: list[str] = []
    from reconciler import hashpool

    real = hashpool.hash_all

    def counting(jobs, *rest):  # type: ignore[no-untyped-def]
        read.extend(str(job[0].path) for job in jobs)
        return real(jobs, *rest)

    monkeypatch.setattr(hashpool, "hash_all", counting)

    machine.init("--offline")
    assert machine.run("plan", "box.yaml", "--offline").code == 0
    assert machine.run("apply", "box.yaml", "--yes", "--offline").code == 0

    assert len(read) == len(set(read)) > 10


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
    assert f"`hf download {CHAT} --revision {machine.chat_commit}`" in why
    held = {(each.location, each.source) for each in machine.loaded().manifest.variants.values()}
    assert ("hf_cache", f"hf:{GGUF}") in held
    assert ("hf_cache", f"hf:{CHAT}") not in held
    assert ("weights", f"hf:{CHAT}") in held  # the copy that is whole
    assert {step[:2] for step in machine.steps().values()} == {("normalize", "adopt")}


def test_an_ollamas_rotten_blob_is_told_and_its_model_not_declared(machine: TenTools) -> None:
    blob = max((machine.home / ".ollama/models/blobs").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)

    value = machine.init("--offline")

    [(what, why)] = whys(value, "problem").items()
    assert (what, "damaged" in why, "`ollama pull tiny:latest`" in why) == ("tiny:latest", True, True)
    assert {step[:2] for step in machine.steps().values()} == {("normalize", "adopt")}
