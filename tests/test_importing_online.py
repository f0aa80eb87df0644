"""`--online`: the Hub is searched for what has no known origin, and only equal bytes are a match."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from civitai_kit import TOKEN, populate
from importing_kit import CHAT, GGUF, Machine, a_machine, cache, manifest_text, put, whys

import reconciler
from reconciler.errors import InputError
from reconciler.hub.checkpoints import llama_files
from reconciler.hub.civitai import Civitai
from reconciler.hub.diffusion import image_model
from reconciler.hub.ggufs import gguf
from reconciler.importing import matching
from reconciler.importing.clues import SEARCHES, clues

Q4 = "Tiny-Q4_K_M.gguf"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Machine]:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("CIVITAI_ENDPOINT", "http://127.0.0.1:59999")
    with a_machine(tmp_path, monkeypatch, capsys) as made:
        yield made


def sources(machine: Machine) -> dict[str, str]:
    """Return variant -> its source."""
    return {name: each.source for name, each in machine.loaded().manifest.variants.items()}


def rows(report: Mapping[str, Any], kind: str) -> list[dict[str, str]]:
    return [row for row in report["rows"] if row["kind"] == kind]


def searches(machine: Machine) -> list[str]:
    """Return the words that the hub was searched for."""
    return [parse_qs(call.query)["search"][0] for call in machine.hub.requests if call.path == "/api/models"]


def files_sent(machine: Machine) -> list[str]:
    return [call.path for call in machine.hub.requests if "/resolve" in call.path or call.origin == "cdn"]


def settled(machine: Machine) -> None:
    """Plan, apply, plan again: everything is adopted where it lies, and no file comes from anywhere."""
    before = {path: path.stat() for path in machine.here.rglob("*") if path.suffix in (".gguf", ".safetensors")}
    steps = machine.steps()
    assert set(steps.values()) == {("normalize", "adopt", None)}, steps
    assert machine.run("apply", "box.yaml", "--yes", "--offline").code == 0
    assert machine.run("plan", "box.yaml", "--offline", "--locked", "--detailed-exitcode").code == 0
    after = {path: path.stat() for path in before}
    assert {path: (told.st_ino, told.st_mtime_ns) for path, told in before.items()} == {
        path: (told.st_ino, told.st_mtime_ns) for path, told in after.items()
    }


# -- what is found ----------------------------------------------------------------------------------------------------


def test_a_loose_file_gets_the_repository_that_holds_its_bytes_and_nothing_is_fetched(machine: Machine) -> None:
    put(machine.here / "GPT4All", {Q4: machine.ggufs[Q4]})

    report = machine.take("tree", "GPT4All", "--online")

    [name] = sources(machine)
    variant, pin = machine.loaded().manifest.variants[name], machine.pins()[name]
    assert (variant.source, variant.files) == (f"hf:{GGUF}", (Q4,))
    assert (pin.revision, pin.license) == (machine.gguf_commit, "apache-2.0")
    [row] = rows(report, "imported")
    assert row["identified"] == "search"
    assert "found on the Hub by its content" in row["why"]
    assert files_sent(machine) == []
    settled(machine)
    lock = (machine.here / "box.lock.json").read_bytes()
    assert machine.run("lock", "box.yaml").code == 0
    assert (machine.here / "box.lock.json").read_bytes() == lock


def test_without_the_flag_nobody_is_asked_and_it_stays_a_file(machine: Machine) -> None:
    put(machine.here / "GPT4All", {Q4: machine.ggufs[Q4]})

    report = machine.take("tree", "GPT4All")

    assert machine.asked() == 0
    assert list(sources(machine).values()) == [f"file:{machine.here}/GPT4All/{Q4}"]
    assert [row["identified"] for row in rows(report, "imported")] == ["path"]


def test_the_same_name_with_other_bytes_is_no_match(machine: Machine) -> None:
    data = bytearray(machine.ggufs[Q4])
    data[-1] ^= 1  # size and name are the same; a comparison of those would take it
    put(machine.here / "GPT4All", {Q4: bytes(data)})

    report = machine.take("tree", "GPT4All", "--online")

    assert list(sources(machine).values()) == [f"file:{machine.here}/GPT4All/{Q4}"]
    [why] = whys(report, "imported").values()
    assert "no match among 1 repository of the Hub that were looked at" in why


def test_shards_match_all_together_or_not_at_all(machine: Machine) -> None:
    shards = {f"Big-Q8_0-0000{n}-of-00002.gguf": gguf("Q8_0", name="Big", seed=40 + n) for n in (1, 2)}
    machine.hub.add("acme/Big-GGUF", shards)
    put(machine.here / "whole", shards)
    first, second = shards
    put(machine.here / "mixed", {first: shards[first], second: gguf("Q8_0", name="Big", seed=49)})

    machine.take("tree", "whole", "--online")
    machine.take("tree", "mixed", "--online")

    told = [(each.source, each.files) for each in machine.loaded().manifest.variants.values()]
    assert ("hf:acme/Big-GGUF", ()) in told  # all of the repository
    assert [source for source, _ in told if source.startswith("file:")] == [f"file:{machine.here}/mixed"]
    settled(machine)


@pytest.mark.parametrize(("later", "found"), [(1, True), (matching.COMMITS, True), (matching.COMMITS + 1, False)])
def test_a_file_that_its_repository_has_replaced_since_is_found_in_its_last_commits(
    machine: Machine, later: int, found: bool
) -> None:
    for number in range(later):
        machine.hub.update(GGUF, {Q4: gguf("Q4_K_M", name="Tiny", seed=200 + number)})
    put(machine.here / "loose", {Q4: machine.ggufs[Q4]})

    machine.take("tree", "loose", "--online")

    [pin] = machine.pins().values()
    assert (pin.revision == machine.gguf_commit) is found
    settled(machine)


def test_a_repository_that_only_the_header_names_is_found(machine: Machine) -> None:
    data = gguf("Q4_0", name="x1", general={"general.source.huggingface.repository": "acme/Renamed-GGUF"})
    machine.hub.add("acme/Renamed-GGUF", {"renamed.gguf": data})
    put(machine.here / "loose", {"renamed.gguf": data})

    machine.take("tree", "loose", "--online")

    assert list(sources(machine).values()) == ["hf:acme/Renamed-GGUF"]


def test_of_several_the_header_decides_else_downloads_and_the_others_are_told(machine: Machine) -> None:
    named = {"general.base_model.0.repo_url": "https://huggingface.co/few/Orca-GGUF"}
    files = {"orca-Q4_0.gguf": gguf("Q4_0", name="orca", seed=50), "dolphin-Q4_0.gguf": gguf("Q4_0", name="dolphin")}
    files["whale-Q4_0.gguf"] = gguf("Q4_0", name="whale", seed=51, general=named)
    for owner, downloads in (("few", 1), ("most", 1000), ("some", 30)):
        for model in ("Orca", "Dolphin"):
            held = {path: data for path, data in files.items() if path.startswith((model.lower(), "whale"))}
            machine.hub.add(f"{owner}/{model}-GGUF", held)
            machine.hub.repositories[f"{owner}/{model}-GGUF"].downloads = downloads
    put(machine.here / "loose", files)

    report = machine.take("tree", "loose", "--online")

    assert set(sources(machine).values()) == {"hf:most/Orca-GGUF", "hf:most/Dolphin-GGUF", "hf:few/Orca-GGUF"}
    told = whys(report, "finding")
    same = "the same bytes are in hf:most/Orca-GGUF, which is taken, and in hf:some/Orca-GGUF, hf:few/Orca-GGUF"
    assert told["orca-Q4_0.gguf"] == same
    assert "hf:few/Orca-GGUF, which is taken" in told["whale-Q4_0.gguf"]


def test_image_models_that_civitai_does_not_know_are_found_under_any_name(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = image_model("lora", seed=60)
    machine.hub.add("artist/Watercolor-LoRA", {"loras/watercolor.safetensors": data, "README.md": b"---\n---\n"})
    put(machine.here / "ComfyUI/models", {"loras/mine/Watercolor_v2.safetensors": data, "checkpoints/x.txt": b""})
    with Civitai(token=TOKEN) as civitai:
        populate(civitai)
        monkeypatch.setenv("CIVITAI_ENDPOINT", civitai.url)
        report = machine.take("comfyui", "ComfyUI", "--online")

    [variant] = machine.loaded().manifest.variants.values()
    assert (variant.source, variant.kind) == ("hf:artist/Watercolor-LoRA", "lora")
    assert (variant.subfolder, variant.served_as) == ("mine", "Watercolor_v2")
    assert rows(report, "imported")[0]["identified"] == "search"
    assert files_sent(machine) == []
    settled(machine)


# -- what lies elsewhere than its source would be ---------------------------------------------------------------------


def test_lm_studios_own_publisher_is_told_what_it_really_is_and_nothing_is_to_move(machine: Machine) -> None:
    put(machine.here / "lms/me/Tiny", {Q4: machine.ggufs[Q4]})

    report = machine.take("lmstudio", "lms", "--online", "--local")

    assert list(sources(machine).values()) == [f"file:{machine.here}/lms/me/Tiny/{Q4}"]
    assert [row["identified"] for row in rows(report, "imported")] == ["search"]
    [why] = whys(report, "imported").values()
    assert f"found on the Hub by its content: hf:{GGUF}@{machine.gguf_commit[:7]}" in why
    assert f"in a lmstudio location it belongs at acme/Tiny-GGUF/{Q4}" in why
    settled(machine)


def test_without_local_it_is_left_out_and_told_as_well(machine: Machine) -> None:
    put(machine.here / "lms/me/Tiny", {Q4: machine.ggufs[Q4]})
    put(machine.here / "lms/me/Own", {"Own-Q4_0.gguf": gguf("Q4_0", name="Own", seed=70)})

    report = machine.take("lmstudio", "lms", "--online")

    told = whys(report, "left-out")
    assert f"hf:{GGUF}@" in told["hf:me/Tiny"]
    assert f"acme/Tiny-GGUF/{Q4}" in told["hf:me/Tiny"]
    assert told["hf:me/Own"].endswith("no repository of the Hub has its name")
    assert report["written"] == []


def test_what_is_left_out_of_a_tree_is_told_file_by_file(machine: Machine) -> None:
    files = {"a-Q4_0.gguf": gguf("Q4_0", name="aaaa", seed=71), "half-00001-of-00002.gguf": gguf("Q4_0", name="half")}
    put(machine.here / "tree", {**files, f"{GGUF}/{Q4}": machine.ggufs[Q4], Q4: machine.ggufs[Q4]})

    report = machine.take("tree", "tree", "--online")

    told = whys(report, "left-out")
    assert told.keys() == {"a-Q4_0.gguf", "half-00001-of-00002.gguf", Q4}
    assert "`--local` takes it here; no repository of the Hub has its name" in told["a-Q4_0.gguf"]
    assert "half-00002-of-00002.gguf missing" in told["half-00001-of-00002.gguf"]
    assert "the same bytes as" in told[Q4] or "found on the Hub" in told[Q4]


def test_a_copy_that_a_tool_named_after_its_repository_is_found_there(machine: Machine) -> None:
    put(machine.here / "cache", {f"acme_Tiny-GGUF_{Q4}": machine.ggufs[Q4]})

    report = machine.take("tree", "cache", "--online")

    [why] = whys(report, "imported").values()
    found = f"found on the Hub by its content: hf:{GGUF}@{machine.gguf_commit[:7]}, {Q4}"
    assert f"{found}; in a flat location it belongs at {Q4}" in why
    settled(machine)


# -- what is asked ----------------------------------------------------------------------------------------------------


def test_what_the_lock_knows_is_not_asked_about(machine: Machine) -> None:
    cache(machine.here / "hub", GGUF, machine.gguf_commit, machine.ggufs, {"main": machine.gguf_commit})
    machine.take("hf-cache", "hub", "--online")
    put(machine.here / "GPT4All", {Q4: machine.ggufs[Q4]})

    report = machine.take("tree", "GPT4All", "--online")

    assert machine.asked() == 0
    assert [row["identified"] for row in rows(report, "imported")] == ["lock"]


def test_a_model_costs_a_bounded_number_of_questions_and_its_copies_none(machine: Machine) -> None:
    for number in range(40):
        machine.hub.add(f"u{number}/Orca-GGUF", {"other.gguf": gguf("Q4_0", name="o", seed=number)})
    data = gguf("Q4_0", name="orca", seed=80)
    put(machine.here / "tree", {f"u/copy{n}/orca-Q4_0.gguf": data for n in range(5)})
    machine.hub.reset_log()

    report = machine.take("tree", "tree", "--online")

    asked = [call for call in machine.hub.requests if not call.path.startswith("/api/models/u/copy")]
    assert 0 < len(searches(machine)) <= SEARCHES
    assert len(asked) <= SEARCHES + 2 * matching.REPOSITORIES  # and nothing older: none has a file of that name
    assert "no match among 7 repositories" in str(whys(report, "left-out"))  # and one is called like the directory


def test_no_more_than_so_many_models_are_asked_about_in_a_run(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "MODELS", 2)
    put(machine.here / "loose", {f"m{n}abc-Q4_0.gguf": gguf("Q4_0", name=f"m{n}abc", seed=n) for n in range(4)})

    report = machine.take("tree", "loose", "--online")

    assert len(searches(machine)) == 2
    assert whys(report, "finding")["the Hub"].startswith("2 models were asked about, which is the most for one run; 2")
    assert report["summary"]["imported"] == 4


def test_odd_answers_of_a_search_and_of_one_repository_stop_nothing(machine: Machine) -> None:
    for odd in ("tiny", "../Tiny", "a/b/Tiny"):
        machine.hub.add(odd, {Q4: machine.ggufs[Q4]})
        machine.hub.repositories[odd].downloads = 9
    machine.hub.add_raw("evil/Tiny", [{"path": "../../x.gguf", "content": b"x"}])
    put(machine.here / "loose", {Q4: machine.ggufs[Q4], "orca.gguf": gguf("Q4_0", name="orca", seed=90)})

    report = machine.take("tree", "loose", "--online")

    assert report["summary"]["problem"] == 0
    assert f"hf:{GGUF}" in sources(machine).values()


def test_a_hub_that_cannot_be_searched_is_told_in_one_line(machine: Machine) -> None:
    machine.hub.fault("status", times=-1, path="/api/models", origin="hub", code=404)
    put(machine.here / "loose", {Q4: machine.ggufs[Q4]})

    report = machine.take("tree", "loose", "--online")

    assert "has no list of models to be searched" in whys(report, "problem")["the Hub"]


def test_after_ctrl_c_the_other_threads_ask_nothing_more(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def search(words: str, *_: Any, **__: Any) -> Any:
        asked.append(words)
        raise KeyboardInterrupt

    monkeypatch.setattr("reconciler.sources.hubapi.search", search)
    put(machine.here / "loose", {f"m{n}abc-Q4_0.gguf": gguf("Q4_0", name=f"m{n}abc", seed=n) for n in range(9)})

    told = machine.run("import", "tree", "loose", "--online", "--manifest", "box.yaml")

    assert told.code == 130
    assert 0 < len(asked) < 9
    assert not machine.manifest.exists()


@pytest.mark.parametrize("trouble", ["rate", "down", "offline"])
def test_where_the_hub_cannot_be_asked_the_import_goes_on_as_without(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    put(machine.here / "loose", {Q4: machine.ggufs[Q4], "orca.gguf": gguf("Q4_0", name="orca", seed=90)})
    if trouble == "rate":
        machine.hub.fault("status", times=-1, path="/api/models", origin="hub", code=429, retry_after=4000)
    elif trouble == "down":
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:59999")
        monkeypatch.setattr("time.sleep", lambda _: None)
    else:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    report = machine.take("tree", "loose", "--online")

    assert all(source.startswith("file:") for source in sources(machine).values())
    told = whys(report, "problem")["the Hub"]
    assert "could not be asked for a match" in told
    assert "2 models were taken over as without --online" in told
    settled(machine)


def test_the_token_goes_to_the_hub_and_no_row_shows_it(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canary_of_online")
    put(machine.here / "loose", {Q4: machine.ggufs[Q4]})

    told = machine.run("import", "tree", "loose", "--online", "--manifest", "box.yaml")

    assert {call.origin for call in machine.hub.requests} == {"hub"}
    assert "canary" not in told.out + told.err + manifest_text(machine.here)


# -- the flag ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("init", "box.yaml", "--yes"), ("import", "tree", "loose")])
def test_online_and_offline_exclude_each_other(machine: Machine, command: tuple[str, ...]) -> None:
    put(machine.here / "loose", {Q4: machine.ggufs[Q4]})

    told = machine.run(*command, "--online", "--offline")

    assert told.code == 1
    assert "--online and --offline exclude each other" in told.err
    with pytest.raises(InputError, match="exclude each other"):
        reconciler.import_models("tree", "loose", online=True, offline=True)
    assert machine.asked() == 0
    assert list(machine.here.glob("*.yaml")) == []


@pytest.mark.parametrize("again", ["--online", "--local"])
def test_a_second_run_asks_nobody_and_changes_no_byte(machine: Machine, again: str) -> None:
    put(machine.here / "loose", {Q4: machine.ggufs[Q4], "orca.gguf": gguf("Q4_0", name="orca", seed=90)})
    machine.take("tree", "loose", "--online")
    before = manifest_text(machine.here), (machine.here / "box.lock.json").read_bytes()
    machine.hub.reset_log()

    report = machine.take("tree", "loose", again)

    assert (report["summary"]["known"], report["written"]) == (2, [])
    assert (manifest_text(machine.here), (machine.here / "box.lock.json").read_bytes()) == before
    assert machine.asked() == 0


def test_init_and_python_have_it_and_the_table_says_how(machine: Machine) -> None:
    put(Path.home() / ".local/share/nomic.ai/GPT4All", {Q4: machine.ggufs[Q4]})
    put(machine.here / "loose", {"Tiny-IQ4_XS.gguf": machine.ggufs["Tiny-IQ4_XS.gguf"]})

    told = machine.run("init", "box.yaml", "--yes", "--online", "--json", "--report", "found.csv")
    done = reconciler.import_models("tree", "loose", manifest="box.yaml", online=True)

    assert [row["identified"] for row in json.loads(told.out)["rows"] if row["kind"] == "imported"] == ["search"]
    assert [row.identified for row in done.rows if row.kind == "imported"] == ["search"]
    table = list(csv.DictReader((machine.here / "found.csv").read_text().splitlines()))
    assert [row["identified"] for row in table if row["kind"] == "imported"] == ["search"]
    assert set(sources(machine).values()) == {f"hf:{GGUF}"}
    assert files_sent(machine) == []
    assert machine.run("plan", "box.yaml", "--offline").code == 0


def test_a_whole_directory_is_one_model_at_one_commit_and_what_was_edited_is_not_of_it(machine: Machine) -> None:
    config = {**json.loads(machine.chat["config.json"]), "mine": 1}
    put(machine.here / "Tiny-Chat", {**machine.chat, "config.json": json.dumps(config).encode()})

    report = machine.take("tree", "Tiny-Chat", "--online")

    [pin] = machine.pins().values()
    assert (pin.source, pin.revision) == (f"hf:{CHAT}", machine.chat_commit)
    assert {file.path for file in pin.files} == machine.chat.keys() - {"config.json"}
    assert "not of it, and left out: config.json" in str(whys(report, "imported"))
    settled(machine)


# -- the clues --------------------------------------------------------------------------------------------------------


def test_clues_are_names_without_quants_containers_and_numbers(tmp_path: Path) -> None:
    put(tmp_path, {
        "bert/x.safetensors": b"", "o/Some-7B-Instruct-GGUF/some.Q4_K_M-00001-of-00002.gguf": b"",
        "owner_repo-name/model.safetensors": b"", "owner_repo-name/config.json": b'{"_name_or_path": "org/Base-7B"}',
    })  # fmt: skip

    shards = clues(tmp_path, "o/Some-7B-Instruct-GGUF", ["some.Q4_K_M-00001-of-00002.gguf"])
    webui = clues(tmp_path, "owner_repo-name", ["config.json", "model.safetensors"])

    assert (shards.repositories, shards.words) == (("o/Some-7B-Instruct-GGUF",), ("some", "Some-7B-Instruct"))
    assert webui.repositories == ("owner/repo-name", "org/Base-7B")
    assert webui.words == ("owner_repo-name", "repo-name", "Base-7B")


def test_clues_of_a_header_come_before_those_of_names(tmp_path: Path) -> None:
    general = {
        "general.basename": "Llama-3.2", "general.finetune": "Instruct", "general.quantized_by": "Somebody",
        "general.base_model.0.repo_url": "https://huggingface.co/meta-llama/Llama-3.2-3B-Instruct",
    }  # fmt: skip
    put(tmp_path, {"me/llm/llama.Q4_0.gguf": gguf("Q4_0", name="Llama 3.2 3B Instruct", general=general)})

    told = clues(tmp_path, "me/llm", ["llama.Q4_0.gguf"])

    assert told.repositories == ("meta-llama/Llama-3.2-3B-Instruct", "Somebody/llama-GGUF", "me/llm")
    assert told.words[0] == "Llama-3.2-3B-Instruct"
    assert len(told.words) <= SEARCHES


@pytest.mark.parametrize("data", [b"", b"GGUF", b"GGUF" + b"\xff" * 60, b"\x00" * 100])
def test_a_header_that_cannot_be_read_tells_nothing(tmp_path: Path, data: bytes) -> None:
    put(tmp_path, {"odd.gguf": data, "config.json": b"[" * 10_000})

    assert clues(tmp_path, "", ["odd.gguf", "config.json", "gone.gguf"]).repositories == ()


def test_the_beginning_of_a_name_is_searched_for_only_where_the_whole_finds_nothing(machine: Machine) -> None:
    put(machine.here / "loose", {"tiny-of-mine-Q4_K_M.gguf": machine.ggufs[Q4]})
    put(machine.here / "sub", {Q4: gguf("Q4_0", name="Tiny", seed=91)})

    machine.take("tree", "loose", "--online")
    wide = searches(machine)
    machine.hub.reset_log()
    machine.take("tree", "sub", "--online")

    assert wide == ["tiny-of-mine", "Tiny"]  # `Tiny` is what the header says
    assert searches(machine) == ["Tiny"]
    assert clues(machine.here, "", ["style_a_v2.safetensors"]).wider == ("style_a", "style")


def test_llama_files_without_their_weights_are_no_question(machine: Machine) -> None:
    files = llama_files(seed=33)
    put(machine.here / "tree/me/half", {path: data for path, data in files.items() if path != "model.safetensors"})

    machine.take("tree", "tree", "--online", "--local")

    assert searches(machine) == []
