"""`reconciler add`: one more variant, asked upstream, named, written, locked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_kit import CHAT, GGUF, Box, a_box
from crash_kit import killed_at_every_call

from reconciler import lockfile
from reconciler.adding import INTO, add
from reconciler.cli.session import upstream
from reconciler.errors import ManifestError
from reconciler.importing.target import open_target
from reconciler.importing.writing import write
from reconciler.manifest import load


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Box]:
    with a_box(tmp_path, monkeypatch, capsys) as made:
        made.manifest.write_text(
            f"""\
version: 1   # mine
registry: {tmp_path}/registry
locations:
  weights: {{ store: huggingface, root: {tmp_path}/weights }}
  lmstudio: {{ store: lmstudio, root: {tmp_path}/lmstudio }}
routes:
  - {{ format: gguf, location: lmstudio }}
  - {{ location: weights }}
variants:
"""
        )
        yield made


def test_it_is_named_written_and_locked_and_the_rest_stays(box: Box) -> None:
    before = box.manifest.read_text()

    told = box.run("add", "box.yaml", f"hf:{GGUF}", "--files", "*Q4_K_M.gguf", "--role", "chat")

    assert told.code == 0, told.err
    assert box.manifest.read_text() == before + (
        "  tiny-lmstudio-gguf-q4_k_m:\n"
        f'    source: hf:{GGUF}\n    files: ["*Q4_K_M.gguf"]\n\n'
        "roles:\n  chat: [tiny-lmstudio-gguf-q4_k_m]\n"
    )
    assert told.out.splitlines()[0].startswith(f"+ tiny-lmstudio-gguf-q4_k_m  hf:{GGUF}  ")
    box.hub.reset_log()
    assert box.run("plan", "box.yaml", "--locked", "--offline").code == 0
    assert box.hub.requests == []


def test_name_and_location_can_be_chosen(box: Box) -> None:
    told = box.run("add", "box.yaml", f"hf:{CHAT}", "--name", "mine", "--location", "weights", "--json")

    assert told.json["variant"] == "mine"
    assert told.json["known"] is False
    assert len(told.json["revision"]) == 40
    assert load(box.manifest).manifest.variants["mine"].location == "weights"


def test_the_same_again_changes_nothing_but_a_role_that_is_asked_for(box: Box) -> None:
    box.run("add", "box.yaml", f"hf:{CHAT}")
    text = box.manifest.read_text()

    told = box.run("add", "box.yaml", f"hf:{CHAT}")
    assert "is that already; nothing changed" in told.out
    assert box.manifest.read_text() == text

    box.run("add", "box.yaml", f"hf:{CHAT}", "--role", "chat")
    assert load(box.manifest).manifest.roles == {"chat": ["tiny-chat-safetensors"]}


def test_several_quants_are_refused_until_one_is_chosen(box: Box) -> None:
    told = box.run("add", "box.yaml", f"hf:{GGUF}")

    assert told.code == 1
    assert "iq4_xs (" in told.err
    assert "q4_k_m (" in told.err
    assert "--files" in told.err
    assert not (box.here / "box.lock.json").exists()


def test_a_directory_of_manifests_takes_it_in_a_file_of_its_own(box: Box) -> None:
    folder = box.here / "manifests"
    folder.mkdir()
    box.manifest.rename(folder / "own.yaml")

    told = box.run("add", f"hf:{CHAT}")

    assert told.code == 0, told.err
    assert "tiny-chat" in (folder / "added.yaml").read_text()
    lock = lockfile.read(box.here / "manifests.lock.json")
    assert lock is not None
    assert list(lock.pins) == ["tiny-chat-safetensors"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["box.yaml", "acme/Tiny-Chat"], "did you mean hf:acme/Tiny-Chat?"),
        (["box.yaml", "hf:acme/Nothing"], "acme/Nothing"),
        (["box.yaml", f"hf:{CHAT}", "--location", "weight"], "did you mean `weights`?"),
        (["box.yaml", f"hf:{CHAT}", "--files", "*.nothing"], "no file matches"),
        (["box.yaml", f"hf:{CHAT}", "--name", "a/b"], "in the name"),
        (["box.yaml", f"hf:{CHAT}", "more"], "one at a time"),
        (["nowhere.yaml", f"hf:{CHAT}"], "no location"),
    ],
)
def test_what_cannot_be_added_is_one_clear_error_and_nothing_is_written(
    box: Box, arguments: list[str], said: str
) -> None:
    before = sorted(box.here.rglob("*"))

    told = box.run("add", *arguments)

    assert told.code == 1
    assert said in told.err
    assert "Traceback" not in told.err
    assert sorted(box.here.rglob("*")) == before


def test_a_name_that_is_taken_is_refused(box: Box) -> None:
    box.run("add", "box.yaml", f"hf:{CHAT}", "--name", "mine")

    told = box.run("add", "box.yaml", f"hf:{GGUF}", "--files", "*IQ4_XS.gguf", "--name", "mine")

    assert told.code == 1
    assert "`mine` already" in told.err


def test_what_the_place_needs_besides_is_locked_too(box: Box) -> None:
    """An Ollama is told what the headers of a GGUF say, so the lock holds that: nobody need be asked for a plan."""
    text = box.manifest.read_text().replace(
        "routes:", f"  ollama: {{ store: ollama, url: 'http://127.0.0.1:9', models: {box.here}/models }}\nroutes:"
    )
    box.manifest.write_text(text)

    told = box.run("add", "box.yaml", f"hf:{GGUF}", "--files", "*Q4_K_M.gguf", "--location", "ollama")

    assert told.code == 0, told.err
    assert "tiny-ollama-gguf-q4_k_m" in told.out
    assert box.run("plan", "box.yaml", "--locked", "--offline").code == 0


def test_a_private_address_needs_a_word(box: Box) -> None:
    url = box.hub.serve("/files/x.gguf", b"GGUF")

    refused = box.run("add", "box.yaml", url, "--location", "weights")
    assert refused.code == 1
    assert "insecure" in refused.err

    assert box.run("add", "box.yaml", url, "--location", "weights", "--insecure").code == 0
    [variant] = load(box.manifest).manifest.variants.values()
    assert variant.insecure


@pytest.mark.parametrize(
    ("path", "source", "files"),
    [
        (CHAT, f"hf:{CHAT}", ()),
        (f"{CHAT}/tree/main", f"hf:{CHAT}", ()),
        (f"{GGUF}/blob/main/Tiny-Q4_K_M.gguf", f"hf:{GGUF}", ("Tiny-Q4_K_M.gguf",)),
    ],
)
def test_the_address_of_a_page_of_the_hub_is_what_it_means(
    box: Box, path: str, source: str, files: tuple[str, ...]
) -> None:
    told = box.run("add", "box.yaml", f"https://huggingface.co/{path}", "--name", "mine")

    assert told.code == 0, told.err
    variant = load(box.manifest).manifest.variants["mine"]
    assert (variant.source, variant.files) == (source, files)


def test_an_address_that_means_no_model_is_refused_without_its_query(box: Box) -> None:
    told = box.run("add", "box.yaml", "https://civitai.com/images/3?token=CANARY")

    assert told.code == 1
    assert "civitai.com/models/ID" in told.err
    assert "CANARY" not in told.err


def test_what_serves_it_and_what_lends_it_files_can_be_said(box: Box) -> None:
    words = ("--backend", "vllm", "--served-as", "tiny", "--support", f"hf:{CHAT}")
    told = box.run("add", "box.yaml", f"hf:{GGUF}", "--files", "*Q4_K_M.gguf", "--name", "mine", *words)

    assert told.code == 0, told.err
    variant = load(box.manifest).manifest.variants["mine"]
    assert (variant.backend, variant.served_as, variant.support) == ("vllm", "tiny", f"hf:{CHAT}")
    support = lockfile.read(lockfile.path_for(box.manifest)).pins["mine"].support  # type: ignore[union-attr]
    assert support is not None


def test_cut_short_between_two_files_of_a_directory_the_manifest_loads(box: Box) -> None:
    """The control: with the role first, the manifest would name a variant that nobody declares."""
    directory = box.here / "manifests"
    directory.mkdir()
    box.manifest.rename(directory / "a.yaml")
    with (directory / "a.yaml").open("a") as file:
        file.write("roles:\n  chat: []\n")
    target = open_target("manifests", INTO)
    world = upstream(target.loaded, offline=False)
    said = {"source": f"hf:{CHAT}", "files": ["*.json"]}
    merged, _ = add(target, said, world, name="one-more", roles=("chat",))
    before = (directory / "a.yaml").read_bytes()

    def prepare() -> None:
        (directory / "a.yaml").write_bytes(before)
        (directory / INTO).unlink(missing_ok=True)
        target.lock_path.unlink(missing_ok=True)

    seen = set()
    for _ in killed_at_every_call(lambda: write(merged), prepare):
        manifest = load(directory).manifest
        seen.add(("one-more" in manifest.variants, "one-more" in manifest.roles["chat"]))
    assert seen == {(False, False), (True, False), (True, True)}

    prepare()
    (directory / "a.yaml").write_text(merged.texts[directory / "a.yaml"])
    with pytest.raises(ManifestError, match="there is no variant `one-more`"):
        load(directory)
