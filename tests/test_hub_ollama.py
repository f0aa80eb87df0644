"""What an Ollama server does: the embedded one, and a real one where `OLLAMA_BIN` names its binary."""

from __future__ import annotations

import hashlib
import http.client
import itertools
import json
import os
import time
from pathlib import Path
from urllib.parse import urlsplit

import ollama_kit
import pytest
from ollama_kit import (
    LICENSE,
    PARAMS,
    TEMPLATE,
    RealServer,
    ask,
    blob,
    digests,
    install,
    listed,
    publish,
    pull,
    tree,
)

from reconciler.hub.ggufs import gguf
from reconciler.hub.ollama_registry import Registry
from reconciler.hub.ollama_server import OllamaServer

either, registry = ollama_kit.either, ollama_kit.registry

Server = OllamaServer | RealServer
TINY = gguf("F16", tensors={"token_embd.weight": (32, 16), "blk.0.ffn_up.weight": (32, 8), "output.weight": (32, 16)})
CONFIG = (
    b'{"model_format":"gguf","model_family":"llama","model_families":["llama"],"model_type":"1K","file_type":"F16",'
    b'"architecture":"amd64","os":"linux"}\n'
)
LOCAL = "registry.ollama.ai/library"
OLD = time.time() - 7200


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def show(server: Server, model: str, **more: object) -> tuple[int, dict[str, object]]:
    answer = ask(server.url, "POST", "/api/show", {"model": model, **more})
    return answer.status, answer.value


def copy(server: Server, source: str, destination: str) -> tuple[int, str]:
    answer = ask(server.url, "POST", "/api/copy", {"source": source, "destination": destination})
    return answer.status, answer.error


def delete(server: Server, model: str) -> tuple[int, str]:
    answer = ask(server.url, "DELETE", "/api/delete", {"model": model})
    return answer.status, answer.error


def age(*paths: Path) -> None:
    """Let files be two hours old."""
    for path in paths:
        os.utime(path, (OLD, OLD), follow_symlinks=False)


def hand_made(server: Server, name: str = "hand", **layers: bytes) -> bytes:
    return install(server.models, f"{LOCAL}/{name}/latest", {"model": TINY, **layers}, CONFIG)


def manifest_of(server: Server, path: str) -> dict[str, object]:
    value = json.loads((server.models / "manifests" / path).read_bytes())
    assert isinstance(value, dict)
    return value


# What a server says of itself


def test_a_server_tells_its_version_and_where_its_models_come_from(either: Server) -> None:
    assert ask(either.url, "GET", "/").text == "Ollama is running"
    assert set(ask(either.url, "GET", "/api/version").value) == {"version"}
    assert ask(either.url, "GET", "/api/status").value["cloud"]["disabled"] is True
    assert ask(either.url, "GET", "/api/ps").value == {"models": []}
    assert ask(either.url, "GET", "/api/tags").value == {"models": []}


# Pulling


def test_a_pulled_model_is_stored_as_published_byte_for_byte(either: Server, registry: Registry) -> None:
    manifest = publish(registry, "tiny", "v1", namespace="acme")
    name = f"{registry.host}/acme/tiny:v1"
    said = pull(either.url, name)
    assert said.status == 200
    rest = [line["status"] for line in said.lines if "digest" not in line]
    assert rest == ["pulling manifest", "verifying sha256 digest", "writing manifest", "success"]
    assert (either.models / "manifests" / registry.host / "acme/tiny/v1").read_bytes() == manifest
    assert {blob(either.models, digest).name for digest in digests(manifest)} == {
        path.name for path in (either.models / "blobs").iterdir()
    }
    entry = listed(either.url)[name]
    layers = [*json.loads(manifest)["layers"], json.loads(manifest)["config"]]
    assert entry["digest"] == sha256(manifest)
    assert entry["size"] == sum(layer["size"] for layer in layers)
    assert entry["details"]["quantization_level"] == "Q4_K_M"
    assert entry["details"]["context_length"] == 2048


def test_a_second_pull_tells_of_each_blob_and_fetches_none(either: Server, registry: Registry) -> None:
    manifest = publish(registry, "tiny", "v1", namespace="acme")
    name = f"{registry.host}/acme/tiny:v1"
    pull(either.url, name)
    registry.reset_log()
    said = pull(either.url, name).lines
    told = [line for line in said if "digest" in line]
    assert [line["digest"] for line in told] == digests(manifest)
    assert all(line["total"] == line["completed"] for line in told)
    assert {request.path.split("/")[-2] for request in registry.log} == {"manifests"}


def test_without_a_stream_only_the_outcome_is_told(either: Server, registry: Registry) -> None:
    publish(registry, "tiny", "v1", namespace="acme")
    said = pull(either.url, f"{registry.host}/acme/tiny:v1", stream=False)
    assert (said.status, said.value) == (200, {"status": "success"})


def test_a_model_that_is_not_upstream_fails_inside_a_stream_of_status_200(either: Server, registry: Registry) -> None:
    said = pull(either.url, f"{registry.host}/acme/nope:v1")
    assert (said.status, said.error) == (200, "pull model manifest: file does not exist")
    plain = pull(either.url, f"{registry.host}/acme/nope:v1", stream=False)
    assert (plain.status, plain.error) == (500, "pull model manifest: file does not exist")


@pytest.mark.parametrize("name", ["acme/ti ny:v1", "acme/tiny@sha256:" + 64 * "0", "a/b/c/d", "x:", ".hidden"])
def test_a_name_that_is_none_is_refused_before_the_stream(either: Server, name: str) -> None:
    said = pull(either.url, name)
    assert (said.status, said.error) == (400, "invalid model name")


def test_plain_http_has_to_be_asked_for_a_scheme_in_the_name_is_lost(either: Server, registry: Registry) -> None:
    publish(registry, "tiny", "v1", namespace="acme")
    said = pull(either.url, f"http://{registry.host}/acme/tiny:v1", insecure=False)
    assert said.status == 200
    assert said.error.startswith(f'pull model manifest: Get "https://{registry.host}/v2/acme/tiny/manifests/v1"')
    assert pull(either.url, f"http://{registry.host}/acme/tiny:v1").error == ""


@pytest.mark.parametrize(("blobs", "error"), [
    ("redirect", ""), ("location", ""), ("plain", "http: no Location header in response"),
])  # fmt: skip
def test_a_registry_has_to_say_where_its_blobs_are(either: Server, blobs: str, error: str) -> None:
    with Registry.start(blobs=blobs) as registry:
        publish(registry, "tiny", "v1", namespace="acme")
        assert pull(either.url, f"{registry.host}/acme/tiny:v1").error == error


@pytest.mark.parametrize(
    ("code", "error"), [(307, ""), (302, "unexpected status code 302"), (308, "unexpected status code 308")]
)
def test_only_one_kind_of_redirect_leads_to_another_host(
    either: Server, registry: Registry, code: int, error: str
) -> None:
    digest = digests(publish(registry, "tiny", "v1", namespace="acme"))[0]
    answer = http.client.HTTPConnection(registry.host, timeout=20)
    answer.request("GET", f"/v2/acme/tiny/blobs/{digest}")
    location = answer.getresponse().headers["Location"]
    answer.close()
    registry.fault("redirect", origin="hub", path=digest, method="GET", code=code, location=location)
    assert pull(either.url, f"{registry.host}/acme/tiny:v1").error == error


def test_no_token_is_fetched_from_another_host(either: Server, registry: Registry) -> None:
    publish(registry, "tiny", "v1", namespace="acme")
    with Registry.start() as elsewhere:
        challenge = {"Www-Authenticate": f'Bearer realm="{elsewhere.url}/token",service="{elsewhere.host}",scope="x"'}
        registry.fault("answer", origin="hub", path="/manifests/", code=401, headers=challenge, body=b"{}")
        assert pull(either.url, f"{registry.host}/acme/tiny:v1").error.startswith("pull model manifest: ")
        assert elsewhere.log == []


def test_a_token_is_fetched_where_the_registry_says_and_stays_with_the_registry(either: Server) -> None:
    with Registry.start(auth=True) as registry:
        publish(registry, "tiny", "v1", namespace="acme")
        assert pull(either.url, f"{registry.host}/acme/tiny:v1").error == ""
        by_origin = {origin: [r for r in registry.log if r.origin == origin] for origin in ("hub", "cdn")}
        assert [request.path for request in by_origin["hub"]].count("/token") >= 1
        assert by_origin["cdn"]
        assert not [request for request in by_origin["cdn"] if "authorization" in request.headers]


def test_a_registry_that_gives_no_token_ends_the_pull(either: Server) -> None:
    with Registry.start(auth=True) as registry:
        registry.refuse_tokens = True
        publish(registry, "tiny", "v1", namespace="acme")
        assert pull(either.url, f"{registry.host}/acme/tiny:v1").error.startswith("pull model manifest: ")
        assert listed(either.url) == {}


@pytest.mark.faults
def test_a_new_blob_that_is_not_what_it_should_be_is_removed_again(either: Server, registry: Registry) -> None:
    manifest = publish(registry, "tiny", "v1", namespace="acme")
    wrong = digests(manifest)[1]
    registry.add_blob(b"something else", wrong)
    said = pull(either.url, f"{registry.host}/acme/tiny:v1")
    assert said.error == (
        f"digest mismatch, file must be downloaded again: want {wrong}, got sha256:{sha256(b'something else')}"
    )
    assert not blob(either.models, wrong).exists()
    assert listed(either.url) == {}


@pytest.mark.faults
def test_a_blob_that_is_there_already_is_never_looked_into(either: Server, registry: Registry) -> None:
    """So a corrupt blob survives a pull and an upload; only its removal lets the next pull mend it."""
    manifest = publish(registry, "tiny", "v1", namespace="acme")
    name, digest = f"{registry.host}/acme/tiny:v1", digests(manifest)[1]
    pull(either.url, name)
    blob(either.models, digest).write_bytes(b"rotten")
    assert pull(either.url, name).error == ""
    assert ask(either.url, "POST", f"/api/blobs/{digest}", TEMPLATE).status == 200
    assert blob(either.models, digest).read_bytes() == b"rotten"
    blob(either.models, digest).unlink()
    assert pull(either.url, name).error == ""
    assert f"sha256:{sha256(blob(either.models, digest).read_bytes())}" == digest


def test_a_tag_that_moved_replaces_the_model_and_takes_its_unused_layers(either: Server, registry: Registry) -> None:
    old = publish(registry, "tiny", "v1", namespace="acme", seed=1)
    name = f"{registry.host}/acme/tiny:v1"
    pull(either.url, name)
    new = publish(registry, "tiny", "v1", namespace="acme", seed=2)
    assert {"status": "removing unused layers"} in pull(either.url, name).lines
    assert listed(either.url)[name]["digest"] == sha256(new)
    assert not blob(either.models, digests(old)[0]).exists()
    assert all(blob(either.models, digest).exists() for digest in digests(new))


def test_a_copy_made_before_keeps_the_layers_of_a_tag_that_moved(either: Server, registry: Registry) -> None:
    old = publish(registry, "tiny", "v1", namespace="acme", seed=1)
    name = f"{registry.host}/acme/tiny:v1"
    pull(either.url, name)
    assert copy(either, name, "kept")[0] == 200
    publish(registry, "tiny", "v1", namespace="acme", seed=2)
    pull(either.url, name)
    assert all(blob(either.models, digest).exists() for digest in digests(old))
    assert listed(either.url)["kept:latest"]["digest"] == sha256(old)


def test_a_size_that_a_manifest_claims_is_believed(either: Server, registry: Registry) -> None:
    value = json.loads(publish(registry, "tiny", "v1", namespace="acme"))
    size = sum(layer["size"] for layer in [*value["layers"], value["config"]])
    value["layers"][0]["size"] += 999_999
    registry.add_manifest("acme", "tiny", "v2", json.dumps(value).encode())
    assert pull(either.url, f"{registry.host}/acme/tiny:v2").error == ""
    assert listed(either.url)[f"{registry.host}/acme/tiny:v2"]["size"] == size + 999_999


def test_layers_and_keys_that_nobody_knows_are_kept(either: Server, registry: Registry) -> None:
    value = json.loads(publish(registry, "tiny", "v1", namespace="acme"))
    strange = registry.add_blob(b"strange")
    value["layers"].append({"mediaType": "application/vnd.acme.strange", "digest": strange, "size": 7, "acme": [1]})
    manifest = registry.add_manifest("acme", "tiny", "v2", json.dumps(value, indent=2).encode())
    assert pull(either.url, f"{registry.host}/acme/tiny:v2").error == ""
    assert (either.models / "manifests" / registry.host / "acme/tiny/v2").read_bytes() == manifest
    assert blob(either.models, strange).read_bytes() == b"strange"


def test_a_tag_may_be_the_digest_of_its_manifest_which_pins_it(either: Server, registry: Registry) -> None:
    manifest = publish(registry, "tiny", "v1", namespace="acme")
    tag = f"sha256-{sha256(manifest)}"
    registry.add_manifest("acme", "tiny", tag, manifest)
    assert pull(either.url, f"{registry.host}/acme/tiny:{tag}").error == ""
    assert copy(either, f"{registry.host}/acme/tiny:{tag}", "pinned")[0] == 200
    assert listed(either.url)["pinned:latest"]["digest"] == sha256(manifest)


def test_a_model_of_tensors_needs_a_runtime_that_is_not_there(either: Server, registry: Registry) -> None:
    tensors = [("application/vnd.ollama.image.tensor", b"x"), ("application/vnd.ollama.image.json", b"{}")]
    registry.add("acme", "mlx", "v1", tensors, {"model_format": "safetensors"})
    said = pull(either.url, f"{registry.host}/acme/mlx:v1")
    assert said.error == "this model requires MLX support, but the MLX runtime is not available"


@pytest.mark.faults
def test_a_client_that_leaves_ends_the_pull_and_the_next_one_goes_on_where_it_was(
    either: Server, registry: Registry
) -> None:
    manifest = publish(registry, "big", "v1", namespace="acme", size=3_000_000)
    digest, name = digests(manifest)[0], f"{registry.host}/acme/big:v1"
    registry.fault("stall", path=digest, after=2_200_000)
    connection = http.client.HTTPConnection(urlsplit(either.url).netloc, timeout=30)
    connection.request("POST", "/api/pull", json.dumps({"model": name, "insecure": True}))
    answer = connection.getresponse()
    while json.loads(answer.readline()).get("completed", 0) < 1_000_000:
        pass
    answer.close()
    connection.close()
    assert listed(either.url) == {}
    registry.reset_log()
    errors = iter(lambda: pull(either.url, name).error, "")
    assert len(list(itertools.islice(errors, 3))) < 3  # a real server may have the next pull share the end of the first
    ranges = [r.headers["range"] for r in registry.log if r.origin == "cdn" and digest in r.path]
    assert [begin for begin in ranges if not begin.startswith("bytes=0-")] == ranges != []
    assert listed(either.url)[name]["digest"] == sha256(manifest)
    assert not [path for path in tree(either.models) if "partial" in path]


# Names


def test_a_name_takes_the_casing_of_what_exists_part_by_part(either: Server) -> None:
    hand_made(either, "base")
    assert copy(either, "BASE", "other:v1") == (200, "")
    assert copy(either, "base", "Case:V1") == (200, "")
    assert set(listed(either.url)) == {"base:latest", "other:v1", "Case:v1"}
    assert show(either, "CASE:v1")[0] == 200
    assert delete(either, "case:V1") == (200, "")
    assert set(listed(either.url)) == {"base:latest", "other:v1"}


@pytest.mark.parametrize(
    "name", [".hid", "-x", "a b", "a/b/c/d", "a:b:c", "x@y", "ns.dot/x", "h/ns.dot/x", "x:", "/x", "", 81 * "a"]
)
def test_a_copy_to_what_is_no_name_is_refused(either: Server, name: str) -> None:
    hand_made(either)
    assert copy(either, "hand", name) == (400, f'destination "{name}" is invalid')


def test_a_default_host_and_namespace_are_not_shown_and_others_are(either: Server) -> None:
    hand_made(either)
    for name in ("http://h/ns/x", "acme/x", "hf.co/someone/Some-Model:Q4_K_M"):
        assert copy(either, "hand", name) == (200, "")
    assert set(listed(either.url)) == {
        "hand:latest",
        "h/ns/x:latest",
        "acme/x:latest",
        "hf.co/someone/Some-Model:Q4_K_M",
    }
    assert (either.models / "manifests/hf.co/someone/Some-Model/Q4_K_M").is_file()


def test_what_is_not_there_is_told_in_three_ways(either: Server) -> None:
    assert show(either, "nope") == (404, {"error": "model 'nope:latest' not found"})
    assert copy(either, "nope", "x") == (404, 'model "nope" not found')
    assert delete(either, "nope") == (404, "model 'nope' not found")
    assert show(either, "") == (400, {"error": "model is required"})


def test_the_tag_local_can_be_copied_to_and_neither_shown_nor_deleted(either: Server) -> None:
    hand_made(either)
    assert show(either, "hand:local")[0] == 200  # a mark of where it runs, no tag
    assert copy(either, "hand", "foo:local") == (200, "")
    assert "foo:local" in listed(either.url)
    assert show(either, "foo:local") == (404, {"error": "model 'foo:latest' not found"})
    assert delete(either, "foo:local") == (404, "model 'foo:local' not found")
    assert show(either, "hand:7b-cloud")[0] == 403


# The store directory


def test_a_model_written_by_hand_is_a_model_without_a_restart(either: Server, tmp_path: Path) -> None:
    manifest = hand_made(either, template=TEMPLATE, params=PARAMS, license=LICENSE)
    mine = tmp_path / "mine.gguf"
    os.link(blob(either.models, TINY), mine)
    assert listed(either.url)["hand:latest"]["digest"] == sha256(manifest)
    status, told = show(either, "hand")
    assert status == 200
    assert f"FROM {blob(either.models, TINY)}\n" in str(told["modelfile"])
    assert (told["template"], told["license"]) == (TEMPLATE.decode(), LICENSE.decode())
    assert told["capabilities"] == ["completion"]
    assert str(told["parameters"]).split() == ["stop", '"</s>"', "temperature", "0.1"]
    assert copy(either, "hand", "twin")[0] == 200
    assert delete(either, "hand") == (200, "")
    assert blob(either.models, TINY).exists()  # twin has it
    assert delete(either, "twin") == (200, "")
    assert tree(either.models) == set()
    assert mine.read_bytes() == TINY


def test_show_tells_of_keys_and_tensors_and_of_arrays_only_when_asked(either: Server) -> None:
    hand_made(either)
    told = show(either, "hand")[1]
    info, tensors = told["model_info"], told["tensors"]
    assert isinstance(info, dict)
    assert isinstance(tensors, list)
    assert (info["general.architecture"], info["general.parameter_count"]) == ("llama", 1280)
    assert "general.name" not in info
    assert info["tokenizer.ggml.tokens"] is None
    assert {"name": "token_embd.weight", "type": "F16", "shape": [32, 16]} in tensors
    verbose = show(either, "hand", verbose=True)[1]["model_info"]
    assert isinstance(verbose, dict)
    assert verbose["tokenizer.ggml.tokens"][:3] == ["<unk>", "<s>", "</s>"]


@pytest.mark.parametrize(("length", "whole"), [(1536, True), (1537, False), (1538, True)])
def test_the_digest_of_a_model_may_leave_out_the_last_line_break(either: Server, length: int, whole: bool) -> None:
    manifest = json.loads(hand_made(either))
    manifest["filler"] = ""
    manifest["filler"] = (length - 1 - len(json.dumps(manifest))) * "x"
    data = json.dumps(manifest).encode() + b"\n"
    assert len(data) == length
    (either.models / "manifests" / LOCAL / "hand/latest").write_bytes(data)
    assert listed(either.url)["hand:latest"]["digest"] == sha256(data if whole else data[:-1])


def test_a_blob_that_went_is_not_noticed_by_the_list(either: Server) -> None:
    hand_made(either)
    assert listed(either.url)["hand:latest"]["capabilities"] == ["completion"]
    blob(either.models, TINY).unlink()
    assert "hand:latest" in listed(either.url)
    assert show(either, "hand") == (404, {"error": "model 'hand:latest' not found"})


@pytest.mark.parametrize(("content", "error"), [
    (b"", "EOF"), (b"{not json", "invalid character 'n' looking for beginning of object key string"),
])  # fmt: skip
def test_a_damaged_manifest_is_not_listed_and_cannot_be_removed(either: Server, content: bytes, error: str) -> None:
    hand_made(either)
    bad = either.models / "manifests" / LOCAL / "bad/latest"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(content)
    assert set(listed(either.url)) == {"hand:latest"}
    assert show(either, "bad") == (500, {"error": error})
    assert delete(either, "bad") == (500, error)
    assert bad.read_bytes() == content


def test_a_pull_mends_a_damaged_manifest(either: Server, registry: Registry) -> None:
    manifest = publish(registry, "tiny", "v1", namespace="acme")
    bad = either.models / "manifests" / registry.host / "acme/tiny/v1"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"{not json")
    assert pull(either.url, f"{registry.host}/acme/tiny:v1").error == ""
    assert bad.read_bytes() == manifest


def test_one_dangling_link_among_the_manifests_disables_the_server(either: Server) -> None:
    hand_made(either)
    link = either.models / "manifests" / LOCAL / "dang/latest"
    link.parent.mkdir()
    link.symlink_to("../hand/latest")
    assert set(listed(either.url)) == {"hand:latest", "dang:latest"}  # a link that leads somewhere is fine
    link.unlink()
    link.symlink_to("nowhere")
    error = f"stat {link}: no such file or directory"
    tags = ask(either.url, "GET", "/api/tags")
    assert (tags.status, tags.error) == (500, error)
    assert show(either, "hand") == (400, {"error": error})
    assert copy(either, "hand", "x") == (400, error)
    create = ask(either.url, "POST", "/api/create", {"model": "x", "from": "hand"})
    assert (create.status, create.error) == (400, error)
    assert delete(either, "hand") == (404, "model 'hand' not found")
    link.unlink()
    assert set(listed(either.url)) == {"hand:latest"}


def test_deleting_a_model_whose_manifest_is_a_link_removes_the_link(either: Server, tmp_path: Path) -> None:
    hand_made(either)
    manifest = either.models / "manifests" / LOCAL / "hand/latest"
    manifest.rename(tmp_path / "kept")
    manifest.symlink_to(tmp_path / "kept")
    assert delete(either, "hand") == (200, "")
    assert (tmp_path / "kept").exists()


def test_a_temporary_file_beside_a_manifest_is_listed_as_a_tag(either: Server) -> None:
    manifest = hand_made(either)
    (either.models / "manifests" / LOCAL / "hand/latest.tmp").write_bytes(manifest)
    assert set(listed(either.url)) == {"hand:latest", "hand:latest.tmp"}


# Pruning at the start


def orphans(server: Server, tmp_path: Path) -> set[str]:
    """Put among the blobs what nobody names, and return the names of what is old."""
    blobs = server.models / "blobs"
    old = [blobs / "README.txt", blobs / f"sha256-{64 * '1'}", blobs / f"sha256-{64 * '2'}-partial"]
    for path in (*old, blobs / f"sha256-{64 * '3'}"):
        path.write_bytes(b"x")
    (blobs / "subdir").mkdir()
    (tmp_path / "source").write_bytes(b"x")
    link = blobs / f"sha256-{64 * '4'}"
    link.symlink_to(tmp_path / "source")
    age(*old, link, blobs / "subdir")
    return {f"blobs/{path.name}" for path in (*old, link)}


def test_a_start_removes_what_nobody_names_after_an_hour_of_grace(either: Server, tmp_path: Path) -> None:
    hand_made(either)
    age(*(either.models / "blobs").iterdir())
    kept, (empty) = tree(either.models), either.models / "manifests" / LOCAL / "empty"
    empty.mkdir()
    gone = orphans(either, tmp_path)
    before = tree(either.models)
    either.restart()
    assert tree(either.models) == before - gone > kept
    assert not empty.exists()
    assert (either.models / "blobs/subdir").is_dir()
    assert (tmp_path / "source").exists()


@pytest.mark.parametrize("bad", [f"{LOCAL}/hand/.hidden", f"{LOCAL}/bad/latest"])
def test_while_one_manifest_is_bad_a_start_removes_nothing(either: Server, tmp_path: Path, bad: str) -> None:
    manifest = hand_made(either)
    path = either.models / "manifests" / bad
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(manifest if path.name == ".hidden" else b"{")
    orphans(either, tmp_path)
    before = tree(either.models)
    either.restart()
    assert tree(either.models) == before


# Blobs


def test_a_blob_is_taken_only_with_its_own_digest(either: Server) -> None:
    right, wrong = f"sha256:{sha256(b'bytes')}", f"sha256:{64 * '0'}"
    assert ask(either.url, "HEAD", f"/api/blobs/{right}").status == 404
    refused = ask(either.url, "POST", f"/api/blobs/{wrong}", b"bytes")
    assert (refused.status, refused.error) == (400, f'digest mismatch, expected "{wrong}", got "{right}"')
    assert ask(either.url, "POST", "/api/blobs/sha256:12", b"bytes").error == "invalid digest format"
    assert ask(either.url, "POST", f"/api/blobs/{right}", b"bytes").status == 201
    assert ask(either.url, "POST", f"/api/blobs/{right}", b"bytes").status == 200
    assert ask(either.url, "HEAD", f"/api/blobs/{right}").status == 200


# Making models


def create(server: Server, model: str, **body: object) -> list[dict[str, object]]:
    return ask(server.url, "POST", "/api/create", {"model": model, **body}).lines


def layers_of(server: Server, name: str) -> list[tuple[str, bytes, object]]:
    layers = manifest_of(server, f"{LOCAL}/{name}/latest")["layers"]
    assert isinstance(layers, list)
    return [
        (layer["mediaType"].rpartition(".")[2], blob(server.models, layer["digest"]).read_bytes(), layer.get("from"))
        for layer in layers
    ]


def test_a_derived_model_takes_the_layers_and_adds_its_own(either: Server) -> None:
    hand_made(either, "base", template=TEMPLATE, system=b"old", params=PARAMS, license=b"MIT")
    said = create(either, "derived", **{"from": "BASE"}, system="new", parameters={"num_ctx": 64}, license=["X"])
    assert said[-2:] == [{"status": "writing manifest"}, {"status": "success"}]
    assert [line["status"].split(" sha256:")[0] for line in said[:-2]] == [  # type: ignore[attr-defined]
        *3 * ["using existing layer"], *3 * ["creating new layer"],
    ]  # fmt: skip
    layers = layers_of(either, "derived")
    assert [(kind, data, origin) for kind, data, origin in layers if kind != "params"] == [
        ("model", TINY, "base:latest"), ("template", TEMPLATE, "base:latest"), ("license", b"MIT", "base:latest"),
        ("system", b"new", None), ("license", b"X", None),
    ]  # fmt: skip
    assert json.loads(layers[-1][1]) == {"num_ctx": 64, "stop": ["</s>"], "temperature": 0.1}
    raw = (either.models / "manifests" / LOCAL / "derived/latest").read_bytes()
    assert raw == json.dumps(json.loads(raw), separators=(",", ":")).encode() + b"\n"


def test_what_is_made_of_the_same_is_the_same_byte_for_byte(either: Server) -> None:
    hand_made(either, "base")
    asked = {"parameters": {"stop": ["a"], "temperature": 0.5, "num_ctx": 128}, "template": "{{ .Prompt }}"}
    said = {"messages": [{"role": "user", "content": "hi"}]}
    for name in ("one", "two"):
        assert create(either, name, **{"from": "base"}, **asked, **said)[-1] == {"status": "success"}
    assert manifest_of(either, f"{LOCAL}/one/latest") == manifest_of(either, f"{LOCAL}/two/latest")
    assert layers_of(either, "one")[1:] == [
        ("template", b"{{ .Prompt }}", None),
        ("params", b'{"num_ctx":128,"stop":["a"],"temperature":0.5}\n', None),
        ("messages", b'[{"role":"user","content":"hi"}]\n', None),
    ]


def test_making_a_model_of_another_touches_the_blobs_that_it_uses(either: Server, tmp_path: Path) -> None:
    """And through a hard link the user's own file."""
    hand_made(either, "base")
    os.link(blob(either.models, TINY), tmp_path / "mine.gguf")
    age(tmp_path / "mine.gguf")
    copy(either, "base", "copied")
    assert (tmp_path / "mine.gguf").stat().st_mtime == pytest.approx(OLD)
    create(either, "derived", **{"from": "base"}, system="x")
    assert (tmp_path / "mine.gguf").stat().st_mtime > OLD + 3600


def test_making_a_model_anew_takes_the_old_layers_and_copying_over_one_leaves_them(either: Server) -> None:
    hand_made(either, "base")
    for system in ("first", "second"):
        create(either, "derived", **{"from": "base"}, system=system)
    assert not blob(either.models, b"first").exists()
    copy(either, "base", "derived")
    assert blob(either.models, b"second").exists()  # until a start after an hour
    age(blob(either.models, b"second"))
    either.restart()
    assert not blob(either.models, b"second").exists()


def test_weights_that_a_user_sends_are_stored_as_other_bytes_and_the_sent_ones_stay(either: Server) -> None:
    if isinstance(either, RealServer):
        pytest.skip("a real server needs its llama-quantize, and an architecture's every tensor")
    sent = gguf("F16")
    digest = f"sha256:{sha256(sent)}"
    assert ask(either.url, "POST", f"/api/blobs/{digest}", sent).status == 201
    said = create(either, "made", files={"model.gguf": digest})
    assert [line["status"] for line in said][:2] == ["parsing GGUF", "verifying conversion"]
    [(kind, stored, origin)] = layers_of(either, "made")
    assert (kind, origin, stored != sent) == ("model", None, True)
    assert blob(either.models, sent).exists()
    again = create(either, "again", files={"model.gguf": f"sha256:{sha256(stored)}"})
    assert again[-1] == {"status": "success"}
    assert layers_of(either, "again") == layers_of(either, "made")
    delete(either, "again")
    delete(either, "made")
    assert tree(either.models) == {f"blobs/{blob(either.models, sent).name}"}


def test_what_cannot_be_made_is_told_in_the_stream_or_before_it(either: Server) -> None:
    nothing = ask(either.url, "POST", "/api/create", {"model": "x"})
    assert (nothing.status, nothing.error) == (400, "neither 'from' or 'files' was specified")
    missing = f"sha256:{64 * '0'}"
    absent = ask(either.url, "POST", "/api/create", {"model": "x", "files": {"m.gguf": missing}})
    path = blob(either.models, missing)
    assert (absent.status, absent.error) == (200, f"open {path}: no such file or directory")
    assert ask(either.url, "POST", f"/api/blobs/sha256:{sha256(b'text')}", b"text").status == 201
    wrong = ask(either.url, "POST", "/api/create", {"model": "x", "files": {"m.gguf": f"sha256:{sha256(b'text')}"}})
    assert (wrong.status, wrong.error) == (200, "supplied file was not in GGUF format")
    assert listed(either.url) == {}


def test_a_model_that_runs_elsewhere_is_a_stub_without_layers(either: Server) -> None:
    info = {"capabilities": ["completion"], "context_length": 131072, "parameter_size": "20B", "model_family": "gptoss"}
    said = create(
        either,
        "remote",
        **{"from": "gpt-oss:20b"},
        remote_host="http://127.0.0.1:9",
        info={**info, "quantization_level": "MXFP4"},
    )
    assert said == [{"status": "writing manifest"}, {"status": "success"}]
    assert manifest_of(either, f"{LOCAL}/remote/latest")["layers"] is None
    entry = listed(either.url)["remote:latest"]
    assert (entry["remote_model"], entry["remote_host"]) == ("gpt-oss:20b", "http://127.0.0.1:9")
    assert (entry["details"]["parameter_size"], entry["details"]["quantization_level"]) == ("20B", "MXFP4")
    assert entry["size"] < 400
    assert show(either, "remote")[0] == 403
    assert delete(either, "remote") == (200, "")
