"""What we compose, before a server: it lists and shows it, and its own `create` makes the very same layers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import ollama_kit
import pytest
from ollama_kit import Answer, ask, listed

from reconciler.hub.ggufs import gguf
from reconciler.hub.ollama_server import OllamaServer
from reconciler.ollama import manifests
from reconciler.ollama.compose import Composed, compose
from reconciler.state import Artifact, Digest, Pin, Wish

either = ollama_kit.either

WEIGHTS = gguf(
    "F16", tensors={"token_embd.weight": (32, 16), "blk.0.ffn_up.weight": (32, 8), "output.weight": (32, 16)}
)
HEADER = {"architecture": "llama", "file_type": 1, "parameters": 32 * 16 * 2 + 32 * 8}
TEMPLATE = "{{ if .System }}<s>{{ .System }}</s>{{ end }}{{ .Prompt }}"
SAID = {
    "template": TEMPLATE,
    "system": "Ümläut & <b>",
    "parameters": {"num_ctx": 64, "temperature": 0.5, "stop": ["</s>"]},
}


def weights_pin() -> Pin:
    digest = Digest(f"sha256:{hashlib.sha256(WEIGHTS).hexdigest()}")
    file = Artifact("tiny-f16.gguf", len(WEIGHTS), digest)
    return Pin("hf:acme/tiny", "c" * 40, (file,), about={"gguf": {"tiny-f16.gguf": HEADER}})


def place(models: Path, made: Composed) -> None:
    """Write what was composed, in the order of a plan: files, then notes."""
    for path, artifact in made.files:
        data = (models / path).read_bytes() if (models / path).exists() else WEIGHTS
        assert f"sha256:{hashlib.sha256(data).hexdigest()}" == artifact.digest
        _write(models / path, data)
    for path, text in made.notes:
        _write(models / path, text.encode())


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def create(server: OllamaServer, **body: object) -> manifests.Manifest:
    answer: Answer = ask(server.url, "POST", "/api/create", body)
    assert answer.lines[-1] == {"status": "success"}
    path = server.models / "manifests/registry.ollama.ai/library" / str(body["model"]) / "latest"
    return manifests.read(path.read_bytes())


def test_a_server_lists_and_shows_a_model_that_was_composed(either: OllamaServer) -> None:
    made = compose(weights_pin(), Wish("mine", license="MIT", modelfile=SAID))
    place(either.models, made)
    entry = listed(either.url)["mine:latest"]
    assert f"sha256:{entry['digest']}" == made.digest
    assert entry["size"] == made.size
    shown = ask(either.url, "POST", "/api/show", {"model": "mine"}).value
    assert (shown["template"], shown["system"], shown["license"]) == (TEMPLATE, "Ümläut & <b>", "MIT")
    assert shown["details"]["family"] == "llama"
    assert shown["details"]["quantization_level"] == "F16"


@pytest.mark.parametrize("base_says", [{}, {"system": "old", "parameters": {"top_k": 5, "num_ctx": 1}}])
def test_create_makes_of_the_same_base_the_same_layers_and_config(
    either: OllamaServer, base_says: dict[str, object]
) -> None:
    base = compose(weights_pin(), Wish("base", license="apache-2.0", modelfile=base_says))
    place(either.models, base)
    theirs = create(either, model="theirs", **{"from": "base"}, license="MIT", **SAID)

    text = base.notes[-1].text
    pin = manifests.pin_of("ollama:base", text.encode(), "apache-2.0")
    pin = Pin(
        pin.source, pin.revision, pin.files, pin.license, about={manifests.PARAMS: base_says.get("parameters", {})}
    )
    ours = compose(pin, Wish("ours", license="MIT", served_as="ours", modelfile=SAID))
    mine = manifests.read(ours.notes[-1].text.encode())

    assert [layer._replace(rest=()) for layer in theirs.layers] == list(mine.layers)
    assert theirs.config == mine.config
    assert json.dumps([layer.rest for layer in theirs.layers]).count("base:latest") > 0  # which we leave out


def test_two_names_of_one_composed_model_outlive_each_other(either: OllamaServer) -> None:
    for name in ("one", "two"):
        place(either.models, compose(weights_pin(), Wish(name, modelfile={"template": TEMPLATE})))
    assert ask(either.url, "DELETE", "/api/delete", {"model": "one"}).status == 200
    assert set(listed(either.url)) == {"two:latest"}
    assert ask(either.url, "POST", "/api/show", {"model": "two"}).status == 200
