"""Importing what an Ollama has installed: from its store, and where only its API can be had."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from importing_kit import Machine, a_machine, whys
from ollama_http_kit import Speaker
from ollama_kit import LICENSE, PARAMS, TEMPLATE, install, ollama, publish, pull, registry  # noqa: F401  fixtures

from reconciler.hub.ggufs import gguf
from reconciler.hub.ollama_registry import Registry
from reconciler.hub.ollama_server import OllamaServer

HOME = "registry.ollama.ai/library"
CONFIG = json.dumps({"model_format": "gguf", "model_family": "llama", "model_type": "8M", "file_type": "Q4_K_M"})


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Machine]:
    with a_machine(tmp_path, monkeypatch, capsys) as made:
        yield made


def put(machine: Machine, name: str, quant: str = "Q4_K_M", config: str = CONFIG, **layers: bytes) -> None:
    """Put a model into the store at `models`."""
    kinds: dict[str, bytes] = {"model": gguf(quant, name=name, seed=len(name)), **(layers or {"license": LICENSE})}
    install(machine.here / "models", name, kinds, config.encode())


def by_source(machine: Machine) -> dict[str, Any]:
    return {variant.source: (name, variant) for name, variant in machine.loaded().manifest.variants.items()}


def test_every_installed_model_is_a_variant_whose_lock_is_its_manifest(machine: Machine) -> None:
    put(machine, f"{HOME}/tiny/latest", template=TEMPLATE, params=PARAMS, license=LICENSE)

    report = machine.take("ollama", "models", "--offline")

    assert list(whys(report, "imported")) == ["tiny-ollama-gguf-q4_k_m"]
    [pin] = machine.pins().values()
    assert [file.path for file in pin.files] == ["1.model", "2.template", "3.params", "4.license", "config"]
    assert pin.license == "mit"
    variant = machine.loaded().manifest.variants["tiny-ollama-gguf-q4_k_m"]
    assert (variant.source, variant.quant, variant.format) == ("ollama:tiny:latest", "q4_k_m", "gguf")
    assert variant.served_as is None


def test_the_plan_right_after_only_adopts(machine: Machine) -> None:
    put(machine, f"{HOME}/tiny/latest")
    put(machine, f"{HOME}/tiny/q8", quant="Q8_0", config=CONFIG.replace("Q4_K_M", "Q8_0"))
    put(machine, "hf.co/acme/Tiny-GGUF/Q4_K_M")
    machine.take("ollama", "models", "--offline")

    steps = machine.steps()

    assert len(steps) == 3
    assert set(steps.values()) == {("normalize", "adopt", None)}


def test_namespaces_and_hosts_are_kept_apart(machine: Machine) -> None:
    for name in (f"{HOME}/tiny/latest", "registry.ollama.ai/acme/tiny/latest", "example.com/acme/tiny/latest"):
        put(machine, name)

    machine.take("ollama", "models", "--offline")

    found = by_source(machine)
    assert set(found) == {"ollama:tiny:latest", "ollama:acme/tiny:latest", "ollama:example.com/acme/tiny:latest"}
    assert len({name for name, _ in found.values()}) == 3
    assert "acme" in found["ollama:acme/tiny:latest"][0]


def test_upper_case_in_a_name_is_kept_exact(machine: Machine) -> None:
    put(machine, "hf.co/acme/Tiny-GGUF/Q4_K_M")

    machine.take("ollama", "models", "--offline")

    assert list(by_source(machine)) == ["ollama:hf.co/acme/Tiny-GGUF:Q4_K_M"]


def test_a_quant_that_file_and_name_tell_differently_is_reported(machine: Machine) -> None:
    put(machine, f"{HOME}/tiny/q4_k_m", quant="Q8_0", config=CONFIG.replace("Q4_K_M", "Q8_0"))

    report = machine.take("ollama", "models", "--offline")

    [why] = whys(report, "imported").values()
    assert "taken for q8_0, though its name says q4_k_m" in why


def test_stubs_reserved_tags_and_broken_manifests_are_left_out_with_the_reason(machine: Machine) -> None:
    put(machine, f"{HOME}/tiny/latest")
    install(machine.here / "models", f"{HOME}/big/cloudy", {}, b'{"remote_host": "https://ollama.com"}')
    put(machine, f"{HOME}/tiny/local")
    (machine.here / "models/manifests" / HOME / "tiny/empty").write_bytes(b"")
    put(machine, f"{HOME}/half/latest")
    blob = max((machine.here / "models/blobs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    blob.unlink()

    report = machine.take("ollama", "models", "--offline")

    why = whys(report, "left-out")
    assert "another machine" in why["big:cloudy"]
    assert "reserved" in why["tiny:local"]
    assert [what for what in whys(report, "problem") if what.endswith("tiny/empty")]
    assert any("blobs are missing" in reason for reason in why.values())


def test_links_and_later_layouts_are_left_out_since_no_plan_could_keep_them_as_they_are(machine: Machine) -> None:
    put(machine, f"{HOME}/linked/latest")
    models = machine.here / "models"
    blob = max((models / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    blob.rename(machine.here / "elsewhere.gguf")
    blob.symlink_to(machine.here / "elsewhere.gguf")
    put(machine, f"{HOME}/tiny/latest", quant="Q8_0")
    (models / "manifests" / HOME / "tiny/alias").symlink_to("latest")
    later = models / "manifests-v2/ollama.com/library/later/latest"
    later.parent.mkdir(parents=True)
    later.write_bytes((models / "manifests" / HOME / "tiny/latest").read_bytes())

    why = whys(machine.take("ollama", "models", "--offline"), "left-out")

    assert "1 of its 3 blobs are symbolic links" in why["linked:latest"]
    assert "a symbolic link to latest" in why["tiny:alias"]
    assert "never written" in why["later:latest"]
    assert set(machine.steps().values()) == {("normalize", "adopt", None)}


def test_where_weights_and_config_differ_the_weights_are_right_before_and_after_apply(machine: Machine) -> None:
    put(machine, f"{HOME}/tiny/latest", quant="Q8_0")

    [why] = whys(machine.take("ollama", "models", "--offline"), "imported").values()

    assert "taken for q8_0, though its config says q4_k_m" in why
    machine.run("apply", str(machine.manifest), "--yes")
    assert list(machine.steps().values()) == [("keep", "as declared", None)]


def test_a_second_import_changes_nothing(machine: Machine) -> None:
    put(machine, f"{HOME}/tiny/latest")
    machine.take("ollama", "models", "--offline")
    before = (machine.manifest.read_bytes(), (machine.here / "box.lock.json").read_bytes())

    report = machine.take("ollama", "models", "--offline")

    assert report["summary"]["known"] == 1
    assert report["written"] == []
    assert (machine.manifest.read_bytes(), (machine.here / "box.lock.json").read_bytes()) == before


def test_a_model_that_is_declared_from_another_source_under_that_name_is_known(machine: Machine) -> None:
    put(machine, f"{HOME}/mine/latest")
    machine.manifest.write_text(
        "version: 1\n"
        f"locations:\n  ollama: {{ store: ollama, models: {machine.here}/models }}\n"
        "variants:\n  mine-gguf:\n    source: hf:acme/Tiny-GGUF\n    files: [Tiny-Q4_K_M.gguf]\n    served_as: mine\n"
    )
    assert machine.run("lock", "box.yaml").code == 0

    report = machine.take("ollama", "models", "--offline")

    assert whys(report, "known") == {"mine-gguf": "declared already"}


def test_tensors_are_imported_as_they_are(machine: Machine) -> None:
    config = json.dumps({"model_format": "safetensors", "file_type": "int4"})
    layers = {"tensor": b"\x08\0\0\0\0\0\0\0{}      ", "json": b"{}"}
    install(machine.here / "models", f"{HOME}/mlx/latest", layers, config.encode())

    machine.take("ollama", "models", "--offline")

    [(_, variant)] = by_source(machine).values()
    assert variant.format == "safetensors"
    assert variant.quant == "int4"


def test_a_running_server_is_seen_by_api_and_store(
    machine: Machine,
    ollama: OllamaServer,  # noqa: F811
    registry: Registry,  # noqa: F811
) -> None:
    publish(registry, "tiny")
    assert pull(ollama.url, "tiny").error == ""

    machine.take("ollama", ollama.url, "--offline")

    place = machine.loaded().manifest.locations["ollama"]
    assert place.url == ollama.url
    assert place.models == str(machine.here / "models")
    assert [step[:2] for step in machine.steps().values()] == [("normalize", "adopt")]


def test_no_ollama_at_all_is_one_clear_error(machine: Machine) -> None:
    told = machine.run("import", "ollama", "http://127.0.0.1:9", "--manifest", "box.yaml")

    assert told.code == 1
    assert "no Ollama" in told.err
    assert not machine.manifest.exists()


def test_the_usual_store_is_found_while_the_server_is_down(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    monkeypatch.setenv("OLLAMA_MODELS", str(machine.here / "models"))
    put(machine, f"{HOME}/tiny/latest")

    report = machine.take("ollama", "--offline")

    assert report["summary"]["imported"] == 1
    assert os.environ["OLLAMA_MODELS"] == machine.loaded().manifest.locations["ollama"].models


# -- where only the API can be had ------------------------------------------------------------------------------------


def elsewhere(machine: Machine, registry: Registry) -> Speaker:  # noqa: F811
    """A server in a container, that has pulled `acme/tiny:latest` from the registry."""
    data = publish(registry, "tiny", namespace="acme")
    path = machine.here / "far/manifests" / registry.host / "acme/tiny/latest"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return Speaker(machine.here / "far", says="/root/.ollama/models-of-a-container")


def test_where_no_manifest_can_be_read_the_registry_is_asked(
    machine: Machine,
    registry: Registry,  # noqa: F811
) -> None:
    with elsewhere(machine, registry) as server:
        machine.take("ollama", server.url)

        [(name, variant)] = by_source(machine).values()
        assert variant.source == f"ollama:{registry.host}/acme/tiny:latest"
        assert variant.insecure
        assert machine.pins()[name].license == "mit"
        assert machine.loaded().manifest.locations["ollama"].models is None
        assert list(machine.steps().values()) == [("normalize", "adopt", None)]


def test_offline_it_is_left_out_with_what_would_help(
    machine: Machine,
    registry: Registry,  # noqa: F811
) -> None:
    with elsewhere(machine, registry) as server:
        report = machine.take("ollama", server.url, "--offline")

    [why] = whys(report, "left-out").values()
    assert "without --offline" in why
    assert registry.log == []


def test_a_tag_that_has_moved_cannot_be_locked_as_it_is_here(
    machine: Machine,
    registry: Registry,  # noqa: F811
) -> None:
    with elsewhere(machine, registry) as server:
        publish(registry, "tiny", namespace="acme", seed=9)
        report = machine.take("ollama", server.url)

    [why] = whys(report, "left-out").values()
    assert "the registry has another by now" in why


def test_a_directory_that_is_not_there_is_an_error_and_no_empty_store(machine: Machine) -> None:
    told = machine.run("import", "ollama", "/nowhere/models", "--manifest", "box.yaml")

    assert told.code == 1
    assert "/nowhere/models: there is no such directory" in told.err
    assert not (machine.here / "box.yaml").exists()
