"""`reconciler init`: a machine as it is becomes a manifest and a lock, and nothing on it moves."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from importing_kit import CHAT, GGUF, Machine, a_machine, cache, note_downloads, put, whys
from ollama_kit import install

import reconciler
from reconciler.errors import InputError
from reconciler.hub.checkpoints import llama_files
from reconciler.hub.ggufs import gguf, gguf_files
from reconciler.importing import importer_of
from reconciler.importing.usual import TOOLS, find, weigh
from reconciler.manifest import load


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Machine]:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "no-ollama"))
    monkeypatch.setenv("CIVITAI_ENDPOINT", "http://127.0.0.1:59999")
    with a_machine(tmp_path, monkeypatch, capsys) as made:
        yield made


def a_messy_home(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put something into a place of every tool; return the home."""
    home = Path.home()
    cache(home / ".cache/huggingface/hub", GGUF, machine.gguf_commit, machine.ggufs, {"main": machine.gguf_commit})
    put(home / ".lmstudio/models" / GGUF, machine.ggufs)  # known by the cache's digests
    put(home / ".lmstudio/models/me/Own", gguf_files("Own", ["Q8_0"], seed=20))
    put(home / "ai-models/weights" / CHAT, machine.chat)
    note_downloads(home / "ai-models/weights" / CHAT, machine.chat_commit, machine.chat)
    put(home / "ai-models/weights/me/finetune", llama_files(seed=21))
    put(home / ".cache/llama.cpp", {"acme_Tiny_q8.gguf": gguf("Q8_0", name="cpp", seed=22)})
    put(home / "text-generation-webui/user_data/models", {"loose.gguf": gguf("Q8_0", name="webui", seed=23)})
    put(home / "text-generation-webui/user_data/models/acme_folder", llama_files(seed=24))
    put(home / ".local/share/nomic.ai/GPT4All", {"orca.Q4_0.gguf": gguf("Q4_0", name="orca", seed=25)})
    put(home / ".config/Jan/data/llamacpp/models/acme/jan", {"model.gguf": gguf("Q8_0", name="jan", seed=26)})
    put(home / "ComfyUI/models/checkpoints", {"dream.safetensors": llama_files(seed=27)["model.safetensors"]})
    put(home / "stable-diffusion-webui/models/Lora", {"style.safetensors": llama_files(seed=28)["model.safetensors"]})
    put(home / "stable-diffusion-webui/models/Stable-diffusion", {"put checkpoints here.txt": b""})
    models = home / "ollama"
    install(models, "registry.ollama.ai/library/tiny/latest", {"model": gguf("Q4_K_M", name="o", seed=29)}, b"{}")
    monkeypatch.setenv("OLLAMA_MODELS", str(models))
    return home


def inodes(folder: Path) -> dict[str, tuple[int, int]]:
    """Return path -> (inode, mtime) of every file that is not ours."""
    return {
        str(path): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and ".reconciler" not in str(path) and "reconciler" not in str(path.relative_to(folder))
    }


def init(machine: Machine, *arguments: str) -> Mapping[str, Any]:
    told = machine.run("init", "box.yaml", "--json", *arguments)
    assert told.code == 0, told.err
    value: dict[str, Any] = told.json
    return value


@pytest.mark.parametrize("network", ["online", "offline"])
def test_everything_on_a_messy_machine_is_adopted_and_nothing_moves(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    home = a_messy_home(machine, monkeypatch)
    before = inodes(home)

    value = init(machine, "--yes", *(["--offline"] if network == "offline" else []))

    kinds = {place["kind"] for place in value["places"]}
    assert kinds == set(TOOLS)
    steps = machine.steps()
    assert len(steps) == value["variants"] == 15
    assert {(action, reason) for action, reason, _ in steps.values()} <= {("normalize", "adopt"), ("keep", "")}, steps
    assert all(blocked is None for _, _, blocked in steps.values())
    assert inodes(home) == before
    assert machine.run("apply", "box.yaml", "--yes", "--offline").code == 0
    assert machine.run("plan", "box.yaml", "--detailed-exitcode", "--locked", "--offline").code == 0
    assert inodes(home) == before
    assert not [call for call in machine.hub.requests if call.bytes_sent > 100_000]
    if network == "offline":
        assert machine.asked() == 0


def test_bytes_that_an_earlier_place_knows_keep_their_origin(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    a_messy_home(machine, monkeypatch)

    value = init(machine, "--yes", "--offline")

    loaded = machine.loaded().manifest
    sources = {(each.location, each.source) for each in loaded.variants.values()}
    assert ("lmstudio", f"hf:{GGUF}") in sources
    assert any("the same bytes at two places" in why for why in whys(value, "finding").values())


def test_bytes_at_many_places_are_one_finding_and_places_are_called_as_their_tool(machine: Machine) -> None:
    data = gguf("Q8_0", name="same", seed=30)
    put(Path.home() / ".cache/llama.cpp", {"a.gguf": data})
    put(Path.home() / ".local/share/nomic.ai/GPT4All", {"b.gguf": data})
    put(Path.home() / ".config/Jan/data/llamacpp/models/acme/c", {"c.gguf": data})

    value = init(machine, "--yes", "--offline")

    [why] = whys(value, "finding").values()
    assert "the same bytes at 3 places" in why
    assert value["summary"]["finding"] == 1
    assert set(machine.loaded().manifest.locations) == {"llama.cpp", "gpt4all", "jan"}


def test_the_manifest_explains_itself_and_takes_more_later(machine: Machine) -> None:
    put(Path.home() / "ai-models/weights/me/one", llama_files(seed=1))
    init(machine, "--yes", "--offline")

    text = machine.manifest.read_text()
    assert text.startswith("# Model weights on this machine")
    assert "# Places on this machine." in text
    assert "name: box\n" in text
    put(machine.here / "more/me/two", llama_files(seed=2))
    machine.take("tree", "more", "--local", "--offline")
    assert len(load(machine.manifest).manifest.variants) == 2
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        line for line in machine.manifest.read_text().splitlines() if line.startswith("#")
    ]


@pytest.mark.parametrize("content", ["version: 1\n", "broken: [", ""])
def test_a_manifest_that_is_there_stays_as_it_is(machine: Machine, content: str) -> None:
    machine.manifest.write_text(content)

    told = machine.run("init", "box.yaml", "--yes")

    assert told.code == 1
    assert "stays as it is" in told.err
    assert machine.manifest.read_text() == content


def test_a_directory_with_manifests_and_a_lonely_lock_are_refused_too(machine: Machine) -> None:
    (machine.here / "manifests").mkdir()
    (machine.here / "manifests/a.yaml").write_text("version: 1\n")
    (machine.here / "box.lock.json").write_text('{"version": 1, "variants": {}}\n')

    assert machine.run("init", "--yes").code == 1
    assert machine.run("init", "box.yaml", "--yes").code == 1
    assert not machine.manifest.exists()


def test_without_a_terminal_and_without_a_word_nothing_is_taken(machine: Machine) -> None:
    put(Path.home() / "ai-models/weights/me/one", llama_files(seed=1))

    told = machine.run("init", "box.yaml")

    assert told.code == 7
    assert "--yes takes all of them" in told.err
    assert "ai-models/weights" in told.err
    assert not machine.manifest.exists()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_each_place_is_asked_about(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    put(Path.home() / "ai-models/weights/me/one", llama_files(seed=1))
    put(Path.home() / ".cache/llama.cpp", {"two.gguf": gguf("Q8_0", name="two", seed=2)})
    monkeypatch.setattr("sys.stdin", Terminal("n\n\n"))

    told = machine.run("init", "box.yaml", "--offline")

    assert told.code == 0, told.err
    assert told.out.count("[Y/n]") == 2
    assert [each.source.rpartition("/")[2] for each in machine.loaded().manifest.variants.values()] == ["two.gguf"]


def test_no_to_everything_writes_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    put(Path.home() / "ai-models/weights/me/one", llama_files(seed=1))
    monkeypatch.setattr("sys.stdin", Terminal("no\n"))

    assert machine.run("init", "box.yaml", "--offline").code == 7
    assert not machine.manifest.exists()


def test_an_empty_machine_gets_a_manifest_to_begin_with(machine: Machine) -> None:
    told = machine.run("init", "box.yaml", "--yes")

    assert told.code == 0
    assert "No weights" in told.out
    assert load(machine.manifest).manifest.variants == {}
    assert machine.run("validate", "box.yaml").code == 0


def test_places_can_be_named(machine: Machine) -> None:
    put(Path.home() / "ai-models/weights/me/one", llama_files(seed=1))
    put(machine.here / "elsewhere/me/two", llama_files(seed=2))
    put(machine.here / "lms/me/three", gguf_files("Three", ["Q8_0"], seed=3))

    init(machine, "--from", f"tree={machine.here}/elsewhere", "--from", f"lmstudio={machine.here}/lms", "--offline")

    found = {each.source.partition(str(machine.here))[2] for each in machine.loaded().manifest.variants.values()}
    assert found == {"/elsewhere/me/two", "/lms/me/three"}


@pytest.mark.parametrize(
    ("kind", "said"),
    [("hf-cahce", "did you mean `hf-cache`"), ("jan", "holds weights"), ("tree=/nowhere", "no such directory")],
)
def test_a_place_that_was_named_wrongly_is_one_clear_error(machine: Machine, kind: str, said: str) -> None:
    told = machine.run("init", "box.yaml", "--from", kind)

    assert told.code == 1
    assert said in told.err
    assert not machine.manifest.exists()


def test_a_place_inside_another_is_looked_at_once(machine: Machine) -> None:
    home = Path.home()
    put(home / "ai-models/weights/me/one", llama_files(seed=1))
    (home / "models").symlink_to(home / "ai-models/weights")

    assert [(each.kind, each.path) for each in find(os.environ, "linux")] == [("vllm", f"{home}/ai-models/weights")]


@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_every_tool_has_places_an_importer_and_the_page_that_says_so(system: str) -> None:
    for kind, tool in TOOLS.items():
        assert importer_of(tool.subject)
        assert tool.fact.startswith("https://")
        assert kind == "ollama" or (tool.mac if system == "darwin" else tool.linux)


def test_environment_variables_move_the_places(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    cache(machine.here / "hf/hub", GGUF, machine.gguf_commit, machine.ggufs, {"main": machine.gguf_commit})
    put(machine.here / "cpp", {"x.gguf": b"GGUF"})
    put(machine.here / "root/weights/a/b", {"x.gguf": b"GGUF"})
    environ = {
        "HF_HOME": f"{machine.here}/hf", "LLAMA_CACHE": f"{machine.here}/cpp",
        "IMAGEWORKS_MODEL_ROOT": f"{machine.here}/root",
    }  # fmt: skip

    assert [each.kind for each in find(environ, "linux")] == ["hf-cache", "vllm", "llama.cpp"]


def test_weights_are_counted_by_name_and_blobs_by_place(tmp_path: Path) -> None:
    put(tmp_path, {"a.gguf": b"12345", "blobs/" + "0" * 64: b"123", "notes.txt": b"1", ".git/b.gguf": b"1"})

    assert weigh(tmp_path) == (2, 8)


def test_a_report_of_what_was_found_can_be_kept(machine: Machine) -> None:
    put(Path.home() / "ai-models/weights/me/one", llama_files(seed=1))

    init(machine, "--yes", "--offline", "--report", "found.json")

    assert json.loads(Path("found.json").read_text())["summary"]["imported"] == 1


def test_a_place_that_nobody_can_look_into_is_no_place(tmp_path: Path) -> None:
    endless = "/" + "a" * 300  # what the system refuses to look at; for root, whom no mode of a directory stops

    assert not [each for each in find({"LLAMA_CACHE": endless, "HF_HOME": endless}) if each.path.startswith(endless)]


def test_the_function_writes_what_the_command_writes(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    a_messy_home(machine, monkeypatch)
    init(machine, "--yes")
    events: list[str] = []

    done = reconciler.init("api.yaml", progress=lambda event: events.append(event["event"]))

    here = machine.here
    said, other = ((here / name).read_text().replace("name: api", "name: box") for name in ("box.yaml", "api.yaml"))
    assert said == other
    assert (here / "box.lock.json").read_bytes() == (here / "api.lock.json").read_bytes()
    assert {path.name for path in done.written} == {"api.yaml", "api.lock.json"}
    assert any(row.kind == "imported" for row in done.rows)
    with pytest.raises(InputError, match="already, and it stays as it is"):
        reconciler.init("api.yaml", places="lmstudio")
    with pytest.raises(InputError, match="no kind of place"):
        reconciler.init("new.yaml", places="lmstudioo")
