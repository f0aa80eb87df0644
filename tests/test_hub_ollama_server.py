"""The embedded Ollama server: what only it can be asked for, and that it agrees with our own readers."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import threading
from pathlib import Path

import ollama_kit
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ollama_kit import Answer, ask, blob, digests, install, listed, publish, pull, serve, tree

from reconciler.detect.gguf import read_header
from reconciler.hub import ollama_ggufs
from reconciler.hub.ggufs import gguf
from reconciler.hub.ollama_files import Store, read
from reconciler.hub.ollama_names import Name, parse
from reconciler.hub.ollama_registry import Registry
from reconciler.hub.ollama_server import OllamaServer
from reconciler.ollama import manifests, names

registry, ollama = ollama_kit.registry, ollama_kit.ollama

LOCAL = "registry.ollama.ai/library"


def post(server: OllamaServer, verb: str, **body: object) -> Answer:
    return ask(server.url, "DELETE" if verb == "delete" else "POST", f"/api/{verb}", body)


# Where it pulls from


def test_a_registry_stands_in_for_hosts_of_the_internet(ollama: OllamaServer, registry: Registry) -> None:
    publish(registry)
    publish(registry, "Some-GGUF", "Q4_K_M", namespace="someone")
    assert pull(ollama.url, "tiny", insecure=False).error == ""
    assert pull(ollama.url, "hf.co/someone/Some-GGUF:Q4_K_M", insecure=False).error == ""
    assert set(listed(ollama.url)) == {"tiny:latest", "hf.co/someone/Some-GGUF:Q4_K_M"}


def test_no_host_of_the_internet_is_ever_asked(tmp_path: Path) -> None:
    with OllamaServer.start(tmp_path / "models") as server:
        for name in ("tiny", "example.com/acme/tiny"):
            assert pull(server.url, name).error.endswith(": no such host")


def test_a_registry_that_is_down_is_told_with_its_address(ollama: OllamaServer, registry: Registry) -> None:
    registry.close()
    said = pull(ollama.url, f"{registry.host}/acme/tiny")
    assert said.error.startswith("pull model manifest: Get ")
    assert said.error.endswith("connect: connection refused")


def test_a_model_that_another_is_made_of_is_pulled_when_it_is_not_there(
    ollama: OllamaServer, registry: Registry
) -> None:
    publish(registry)
    said = post(ollama, "create", model="derived", **{"from": "tiny"}, system="x").lines
    assert said[0] == {"status": "pulling manifest"}
    assert said[-1] == {"status": "success"}
    assert set(listed(ollama.url)) == {"tiny:latest", "derived:latest"}


# What it may do


def test_a_server_that_may_not_write_says_so_and_changes_nothing(tmp_path: Path, registry: Registry) -> None:
    models = tmp_path / "models"
    install(models, f"{LOCAL}/hand/latest", {"model": gguf("F16")})
    publish(registry)
    before = tree(models)
    with serve(models, registry, readonly=True) as server:
        assert set(listed(server.url)) == {"hand:latest"}
        refused = [
            post(server, "copy", source="hand", destination="ns/x"),
            post(server, "delete", model="hand"),
            post(server, "create", model="x", **{"from": "hand"}),
            ask(server.url, "POST", f"/api/blobs/sha256:{hashlib.sha256(b'x').hexdigest()}", b"x"),
        ]
        assert [answer.status for answer in refused] == [500, 500, 500, 500]
        assert all(answer.error.endswith("read-only file system") for answer in refused)
        assert pull(server.url, "tiny").error.endswith("read-only file system")
        server.restart()
    assert tree(models) == before


def test_blobs_of_another_user_can_be_copied_and_deleted_and_nothing_can_be_made_of_them(
    tmp_path: Path, registry: Registry
) -> None:
    models = tmp_path / "models"
    install(models, f"{LOCAL}/hand/latest", {"model": gguf("F16")})
    with serve(models, registry, uid=os.getuid() + 1) as server:
        path = blob(models, gguf("F16"))
        made = post(server, "create", model="x", **{"from": "hand"}, stream=False)
        assert (made.status, made.error) == (500, f"chtimes {path}: operation not permitted")
        assert post(server, "copy", source="hand", destination="copied").status == 200
        assert post(server, "delete", model="hand").status == 200
    with serve(models, registry, uid=os.getuid()) as server:  # the control
        assert post(server, "create", model="x", **{"from": "copied"}, stream=False).status == 200


def test_without_pruning_a_start_leaves_everything(tmp_path: Path, registry: Registry) -> None:
    orphan = tmp_path / "models/blobs/README.txt"
    orphan.parent.mkdir(parents=True)
    orphan.write_text("x")
    os.utime(orphan, (0, 0))
    with serve(tmp_path / "models", registry, noprune=True) as server:
        server.restart()
        assert orphan.exists()
        old = publish(registry, seed=1)
        pull(server.url, "tiny")
        publish(registry, seed=2)
        assert {"status": "removing unused layers"} not in pull(server.url, "tiny").lines
        assert blob(server.models, digests(old)[0]).exists()
    with serve(tmp_path / "models", registry):
        assert not orphan.exists()


def test_a_start_warns_of_the_manifest_that_keeps_it_from_pruning(tmp_path: Path, registry: Registry) -> None:
    install(tmp_path / "models", f"{LOCAL}/hand/.hidden", {"model": b"x"})
    with serve(tmp_path / "models", registry) as server:
        [warning] = server.warnings
        assert warning.startswith("corrupt manifests detected")
        assert "hand/.hidden" in warning


def test_blobs_named_in_the_old_way_are_renamed_by_a_start(tmp_path: Path, registry: Registry) -> None:
    old = tmp_path / f"models/blobs/sha256:{64 * '1'}"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"x")
    with serve(tmp_path / "models", registry):
        assert tree(tmp_path / "models") == {f"blobs/sha256-{64 * '1'}"}


# How it is reached


def test_it_starts_again_at_the_same_place(ollama: OllamaServer) -> None:
    url = ollama.url
    ollama.close()
    with pytest.raises(ConnectionRefusedError):
        ask(url, "GET", "/api/version")
    ollama.restart()
    assert ollama.url == url
    assert ask(url, "GET", "/api/version").status == 200


def test_behind_a_proxy_everything_has_a_prefix(tmp_path: Path, registry: Registry) -> None:
    with serve(tmp_path / "models", registry, prefix="/ollama/") as server:
        assert server.url.endswith("/ollama")
        assert ask(server.url, "GET", "/api/version").status == 200
        assert ask(server.url.removesuffix("/ollama"), "GET", "/api/version").status == 404


@pytest.mark.parametrize(("host", "status"), [("localhost:1", 200), ("10.0.0.1", 200), ("evil.example", 403)])
def test_a_name_that_leads_here_by_accident_is_refused(ollama: OllamaServer, host: str, status: int) -> None:
    connection = http.client.HTTPConnection(ollama.host, timeout=20)
    connection.request("GET", "/api/tags", headers={"Host": host})
    assert connection.getresponse().status == status
    connection.close()


def test_calls_that_are_none_are_answered(ollama: OllamaServer) -> None:
    assert ask(ollama.url, "GET", "/api/pull").status == 405
    assert ask(ollama.url, "GET", "/api/nothing").status == 404
    assert ask(ollama.url, "POST", "/api/pull").error == "missing request body"
    assert ask(ollama.url, "POST", "/api/pull", b"{").status == 400
    assert ask(ollama.url, "POST", "/api/pull", b"[]").status == 400
    assert ask(ollama.url, "HEAD", "/api/tags").status == 200


def test_a_body_may_come_in_chunks_as_the_python_client_sends_blobs(ollama: OllamaServer) -> None:
    data = gguf("F16")
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    connection = http.client.HTTPConnection(ollama.host, timeout=20)
    chunks = (data[at : at + 32768] for at in range(0, len(data), 32768))
    connection.request(
        "POST", f"/api/blobs/{digest}", chunks, encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
    )
    assert connection.getresponse().status == 201
    connection.close()
    assert blob(ollama.models, data).read_bytes() == data


# Faults


@pytest.mark.faults
def test_what_a_fault_answers_in_its_place_the_server_does_not_do(ollama: OllamaServer) -> None:
    install(ollama.models, f"{LOCAL}/hand/latest", {"model": gguf("F16")})
    for kind in ("status", "html", "reset"):
        ollama.fault(kind, path="/api/delete")
        try:
            post(ollama, "delete", model="hand")
        except (ConnectionError, http.client.HTTPException):
            assert kind == "reset"
        assert "hand:latest" in listed(ollama.url)
    assert post(ollama, "delete", model="hand").status == 200
    assert listed(ollama.url) == {}


@pytest.mark.faults
def test_a_stream_may_end_in_the_middle(ollama: OllamaServer, registry: Registry) -> None:
    publish(registry)
    ollama.fault("truncate", path="/api/pull", after=40)
    with pytest.raises(http.client.IncompleteRead) as caught:
        pull(ollama.url, "tiny")
    assert caught.value.partial.startswith(b'{"status":"pulling manifest"}\n')
    assert pull(ollama.url, "tiny").error == ""


@pytest.mark.faults
@pytest.mark.parametrize(
    ("kind", "settings", "error"),
    [
        ("status", {"code": 503}, "max retries exceeded: EOF"),  # the status of a part is not looked at
        ("html", {}, "max retries exceeded: EOF"),
        ("corrupt", {"offset": 7}, "digest mismatch"),
        ("truncate", {}, "max retries exceeded: unexpected EOF"),
        ("reset", {}, "max retries exceeded"),
    ],
)
def test_what_a_registry_does_wrong_ends_a_pull_and_the_next_one_mends_it(
    ollama: OllamaServer, registry: Registry, kind: str, settings: dict[str, int], error: str
) -> None:
    digest = digests(publish(registry))[0]
    registry.fault(kind, path=digest, times=-1, **settings)
    assert error in pull(ollama.url, "tiny").error
    assert listed(ollama.url) == {}
    registry.clear_faults()
    assert pull(ollama.url, "tiny").error == ""
    assert blob(ollama.models, digest).read_bytes() == gguf("Q4_K_M", name="tiny")


@pytest.mark.faults
def test_closing_ends_what_waits_for_a_registry_that_says_nothing(tmp_path: Path, registry: Registry) -> None:
    digest = digests(publish(registry))[0]
    server = serve(tmp_path / "models", registry)
    registry.fault("stall", path=digest, after=1000)
    answers: list[object] = []

    def wait(stream: bool) -> None:
        try:
            answers.append(pull(server.url, "tiny", stream=stream))
        except (OSError, http.client.HTTPException) as problem:
            answers.append(problem)

    threads = [threading.Thread(target=wait, args=(stream,)) for stream in (True, False)]
    for thread in threads:
        thread.start()
    while not [request for request in registry.log if request.origin == "cdn" and digest in request.path]:
        pass
    server.close()
    assert server.conversations == 0
    for thread in threads:
        thread.join(20)
    assert not [thread for thread in threads if thread.is_alive()]
    assert not [answer for answer in answers if isinstance(answer, Answer) and "success" in answer.text]


def test_two_pulls_of_one_model_fetch_its_bytes_once(ollama: OllamaServer, registry: Registry) -> None:
    manifest = publish(registry, size=2_000_000)
    errors: list[str] = []
    threads = [threading.Thread(target=lambda: errors.append(pull(ollama.url, "tiny").error)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == 4 * [""]
    assert registry.bytes_served("cdn") == sum(
        len(blob(ollama.models, digest).read_bytes()) for digest in digests(manifest)
    )


# Making models


def test_an_adapter_and_a_projector_are_stored_as_they_were_sent(ollama: OllamaServer) -> None:
    adapter = gguf("F16", tensors={"blk.0.attn_q.weight.lora_a": (32, 8)}, seed=1)
    projector = gguf("F16", architecture="clip", tensors={"v.patch_embd.weight": (32, 8)})
    sent = {}
    for data in (gguf("F16"), projector, adapter):
        sent[data] = f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert ask(ollama.url, "POST", f"/api/blobs/{sent[data]}", data).status == 201
    files = {"m.gguf": sent[gguf("F16")], "mmproj.gguf": sent[projector]}
    said = post(ollama, "create", model="seeing", files=files, adapters={"lora.gguf": sent[adapter]})
    assert said.lines[-1] == {"status": "success"}
    value = json.loads((ollama.models / "manifests" / LOCAL / "seeing/latest").read_bytes())
    layers = {layer["mediaType"].rpartition(".")[2]: layer["digest"] for layer in value["layers"]}
    assert set(layers) == {"model", "projector", "adapter"}
    assert (layers["projector"], layers["adapter"]) == (sent[projector], sent[adapter])
    assert layers["model"] not in sent.values()
    assert listed(ollama.url)["seeing:latest"]["capabilities"] == ["completion", "vision"]


def test_what_it_cannot_make_it_refuses_before_it_begins(ollama: OllamaServer) -> None:
    install(ollama.models, f"{LOCAL}/hand/latest", {"model": gguf("F16")})
    assert post(ollama, "create", model="x", **{"from": "hand"}, quantize="q4_0").status == 400
    assert post(ollama, "create", model="x", **{"from": "a b"}).error == "invalid model name"
    assert post(ollama, "create", model="x", files=["a"]).status == 400
    assert set(listed(ollama.url)) == {"hand:latest"}


@pytest.mark.parametrize("manifest", [b"[]", b'{"layers":5}', b'{"layers":[5]}', b'{"config":{"size":"5"}}', b"{}{"])
def test_a_manifest_of_another_shape_breaks_nothing(ollama: OllamaServer, manifest: bytes) -> None:
    install(ollama.models, f"{LOCAL}/hand/latest", {"model": gguf("F16")})
    path = ollama.models / "manifests" / LOCAL / "bad/latest"
    path.parent.mkdir()
    path.write_bytes(manifest)
    assert "hand:latest" in listed(ollama.url)
    if manifest != b"{}{":  # only the first value is read
        assert post(ollama, "show", model="bad").status == 500


def test_a_model_of_tensors_that_is_there_is_listed_and_shown_without_a_path(ollama: OllamaServer) -> None:
    config = b'{"model_format":"safetensors","model_family":"llama","model_type":"1B","file_type":"bf16"}'
    install(ollama.models, f"{LOCAL}/mlx/latest", {"tensor": b"x", "json": b"{}"}, config)
    assert listed(ollama.url)["mlx:latest"]["details"]["format"] == "safetensors"
    told = post(ollama, "show", model="mlx").value
    assert told["details"]["parameter_size"] == "1B"
    assert str(ollama.models) not in told["modelfile"]


@pytest.mark.faults
def test_a_digest_that_is_none_leads_nowhere(ollama: OllamaServer, registry: Registry, tmp_path: Path) -> None:
    value = json.loads(publish(registry))
    value["layers"][0]["digest"] = "sha256:../../outside"
    registry.add_manifest("library", "tiny", "evil", json.dumps(value).encode())
    assert pull(ollama.url, "tiny:evil").error == "invalid digest format"
    assert {path.name for path in tmp_path.iterdir()} == {"models"}


# What it and we ourselves say of the same


_parts = st.text(alphabet="aZ09_-.:/@ é", max_size=12)


@given(st.one_of(_parts, st.lists(_parts, min_size=1, max_size=4).map("/".join), st.just("h" * 351 + "/n/m")))
def test_it_reads_names_as_we_do(text: str) -> None:
    theirs = parse(text)
    try:
        ours = names.parse(text)
    except ValueError:
        assert not theirs.is_valid or ".." in text
    else:
        assert theirs.is_valid
        assert (tuple(theirs), theirs.short, f"manifests/{theirs.path}") == (tuple(ours), ours.short, ours.path)


@given(st.integers(0, 4000), st.booleans())
def test_it_digests_manifests_as_we_expect(filler: int, newline: bool) -> None:
    import tempfile

    data = json.dumps({"config": {}, "filler": filler * "x"}).encode() + newline * b"\n"
    with tempfile.TemporaryDirectory() as directory:
        name = Name(model="x")
        path = Path(directory, "manifests", name.path)
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        assert manifests.is_digest_of(f"sha256:{read(Store(Path(directory)), name).digest}", data)


def test_weights_that_it_rewrote_are_weights_to_our_reader_and_hold_the_same(tmp_path: Path) -> None:
    sent = gguf("Q4_K_M")
    stored = ollama_ggufs.rewritten(sent, ollama_ggufs.read_gguf(sent))
    (tmp_path / "sent").write_bytes(sent)
    (tmp_path / "stored").write_bytes(stored)
    before, after = read_header(tmp_path / "sent"), read_header(tmp_path / "stored")
    assert after.fits
    assert (before.types, before.parameters, before.metadata) == (after.types, after.parameters, after.metadata)
    contents = []
    for data in (sent, stored):
        read_again = ollama_ggufs.read_gguf(data)
        contents.append({tensor.name: data[tensor.at : tensor.at + tensor.size] for tensor in read_again.tensors})
    assert contents[0] == contents[1]
    assert list(contents[0]) != list(contents[1])  # sorted by layer and name
    assert list(ollama_ggufs.read_gguf(stored).keys)[-2:] == ["general.quantization_version", "general.file_type"]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (24_736, "25K"), (494_032_768, "494.03M"), (8_030_261_312, "8.0B"), (7 * 10**9, "7B")],
)
def test_numbers_of_parameters_are_printed_as_the_server_prints_them(number: int, text: str) -> None:
    assert ollama_ggufs.human(number) == text


def test_a_config_is_written_as_the_server_writes_one() -> None:
    assert ollama_ggufs.config_of(ollama_ggufs.read_gguf(gguf("F16", tensors={"output.weight": (32, 32)}))) == (
        b'{"model_format":"gguf","model_family":"llama","model_families":["llama"],"model_type":"1K","file_type":"F16",'
        b'"architecture":"amd64","os":"linux"}\n'
    )
