"""What holds for every source of the table."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
from sources_kit import a_world, ask

from reconciler import sources
from reconciler.errors import SourceError
from reconciler.hub.civitai import Civitai
from reconciler.hub.ollama_registry import Registry
from reconciler.hub.server import Hub
from reconciler.secrets import Secret
from reconciler.state import parse_digest

WEIGHTS = b"GGUF" + b"w" * 3000
BADLY_SHAPED = {
    "hf": "hf:only-a-name",
    "https": "https://host/",
    "http": "http://host/",
    "file": "file:relative",
    "ollama": "ollama:../x",
    "civitai": "civitai:one",
    "urn": "urn:air:sdxl:lora:civitai:one@two",
}


@pytest.fixture
def hub():
    with Hub() as running:
        running.add("acme/tiny", {"model.gguf": WEIGHTS})
        yield running


@pytest.fixture
def registry():
    with Registry.start() as running:
        running.add("acme", "tiny", "v1", [("model", WEIGHTS)], config=b"{}")
        yield running


@pytest.fixture
def civitai():
    with Civitai(token="canary") as running:
        running.add_model(7, "Tiny", "Checkpoint")
        running.add_version(7, 71, {"model.gguf": WEIGHTS})
        yield running


@pytest.fixture
def here(hub, civitai):
    """Return what makes a world of all that runs here."""
    return lambda: a_world(hub, civitai=civitai.url, civitai_token=Secret("canary"))


@pytest.fixture(params=sorted(set(sources.SOURCES.values())))
def asked(request, hub, registry, world):
    """A request to each source for the same one file; a model of Ollama has a config besides."""
    (world / "model.gguf").write_bytes(WEIGHTS)
    references = {
        "huggingface": "hf:acme/tiny",
        "https": hub.serve("model.gguf", WEIGHTS),
        "file": f"file:{world}/model.gguf",
        "ollama": f"ollama:{registry.host}/acme/tiny:v1",
        "civitai": "civitai:7",
        "airs": "urn:air:other:checkpoint:huggingface:acme/tiny@main/model.gguf",
    }
    return ask(references[request.param], insecure=True)


@pytest.mark.parametrize("scheme", sorted(sources.SOURCES))
def test_every_source_of_the_table_speaks_the_protocol(scheme):
    module = sources.source_of(f"{scheme}:x")
    for name, wanted in vars(sources.Source).items():
        if name.startswith("_") or not inspect.isfunction(wanted):
            continue
        parameters = list(inspect.signature(wanted).parameters)[1:]
        assert list(inspect.signature(getattr(module, name)).parameters) == parameters, name


def test_what_is_resolved_is_whole_and_can_be_located(asked, here):
    world = here().trusting(["127.0.0.1"])
    pin = sources.resolve(asked, world)
    assert pin.source == asked.source
    assert pin.files[0].path in ("model.gguf", "1.model")
    assert [file.size for file in pin.files if file.path != "config"] == [len(WEIGHTS)]
    assert parse_digest(pin.files[0].digest)
    assert sources.access(pin, world) is None
    found = sources.locate(pin.source, pin.revision, pin.files[0], world)
    assert found.url.partition(":")[0] in {"http", "file"}
    assert found.size == len(WEIGHTS)


def test_resolving_twice_gives_the_same_pin(asked, here):
    assert sources.resolve(asked, here()) == sources.resolve(asked, here())


def test_the_current_revision_is_that_of_the_pin(asked, here):
    pin = sources.resolve(asked, here())
    assert sources.source_of(asked.source).current(asked, here()) == pin.revision


def test_a_locked_size_that_is_another_now_is_an_error(asked, here):
    world = here().trusting(["127.0.0.1"])
    pin = sources.resolve(asked, world)
    with pytest.raises(SourceError):
        sources.locate(pin.source, pin.revision, pin.files[0]._replace(size=1), world)


@pytest.mark.parametrize("scheme", sorted(sources.SOURCES))
def test_a_bad_shape_is_a_value_error_for_check_and_a_source_error_for_the_rest(scheme, hub):
    bad = BADLY_SHAPED[scheme]
    with pytest.raises(ValueError, match=r"\w"):
        sources.check(bad, insecure=True)
    with pytest.raises(SourceError):
        sources.resolve(ask(bad, insecure=True), a_world(hub))
    assert hub.requests == []


@pytest.mark.parametrize(
    "reference",
    [
        "hf:owner/repo", "hf:owner/repo@refs/pr/1", "https://host/a.gguf", "file:/a/b", "ollama:llama3.2:3b",
        "civitai:1@2+3", "urn:air:sdxl:lora:civitai:1327644@1498986",
        "urn:air:qwen:vae:huggingface:owner/repo@main/a.safetensors",
    ],
)  # fmt: skip
def test_good_shapes_are_taken(reference):
    sources.check(reference)


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("Qwen/Qwen3", "did you mean hf:Qwen/Qwen3"),
        ("/mnt/models", "did you mean file:/mnt/models"),
        ("hff:owner/repo", "did you mean hf:"),
        ("ftp://host/x", "names no kind of source; expected hf:owner"),
        ("http:x", "http|URL"),
        ("", "names no kind of source; expected hf:owner"),
        ("hf:one-name", "hf:owner/repo"),
        ("hf:datasets/owner/repo", "hf:owner/repo"),
        ("hf:owner/repo.git", "hf:owner/repo"),
        ("hf:owner/repo@", "branch, tag or commit"),
        ("hf:owner/../x", "hf:owner/repo"),
    ],
)
def test_other_references_are_refused_with_what_was_meant(reference, says):
    with pytest.raises(ValueError, match=says):
        sources.check(reference)


def test_the_table_is_light_to_import():
    code = (
        "import sys, reconciler.sources, reconciler.lockfile, reconciler.resolve as r;"
        "reconciler.sources.check('hf:a/b'); reconciler.sources.check('ollama:a:b');"
        "reconciler.sources.check('civitai:1'); reconciler.sources.check('https://a/b.gguf');"
        "heavy = {'huggingface_hub', 'urllib3', 'pydantic', 'rich', 'deepdiff', 'httpx2', 'ruamel'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).stderr == b""
