"""The client and the look against a server that behaves as the real one: a pull, a copy, a derived model, a store."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from ollama_kit import ask, blob, digests, ollama, publish, registry, serve
from ollama_store_kit import do_as_told

from reconciler.errors import OllamaError
from reconciler.hub.ollama_registry import Registry
from reconciler.hub.ollama_server import OllamaServer
from reconciler.ollama.api import Api, Progress, blob_directory
from reconciler.ollama.look import Seen, by_api, look, root_of
from reconciler.ollama.storage import blob_files, bytes_on_disk, orphans, read_store

__all__ = ["ollama", "registry"]

HOUR = 3600.0


def at(server: OllamaServer, tmp_path: Path, models: Path | None = None) -> Seen:
    """Look as somebody whose home holds nothing."""
    return look("box", server.url, models and str(models), {"HOME": str(tmp_path / "home")}, timeout=10.0, system=())


def test_a_pulled_model_is_listed_shown_and_found_on_disk(
    registry: Registry, ollama: OllamaServer, tmp_path: Path
) -> None:
    text = publish(registry, "tiny", "v1")
    api = Api(ollama.url, 10.0)
    told: list[Progress] = []

    api.pull("tiny:v1", watch=told.append)
    [listed] = api.tags()

    assert (told[0].status, told[-1].status) == ("pulling manifest", "success")
    assert listed.name == "tiny:v1"
    assert listed.digest == "sha256:" + hashlib.sha256(text).hexdigest()
    assert blob_directory(api.show("tiny:v1")) == str(ollama.models)
    seen = at(ollama, tmp_path)
    assert (seen.mode, seen.directory, seen.warnings) == ("api+store", str(ollama.models), ())
    assert seen.stored is not None
    assert [(each.digest, each.data) for each in seen.stored.models] == [(listed.digest, text)]


def test_a_model_that_the_registry_lacks_is_an_error_though_the_status_was_200(ollama: OllamaServer) -> None:
    with pytest.raises(OllamaError, match="file does not exist") as caught:
        Api(ollama.url, 10.0).pull("nope")

    assert caught.value.status == 200


def test_names_with_ports_and_upper_case_are_joined(registry: Registry, ollama: OllamaServer, tmp_path: Path) -> None:
    publish(registry, "Tiny", "Q4_K_M", namespace="Acme")
    api = Api(ollama.url, 10.0)

    api.pull(f"{registry.host}/Acme/Tiny:Q4_K_M", insecure=True)
    api.copy(f"{registry.host}/acme/tiny:q4_k_m", "Mine:V1")
    seen = at(ollama, tmp_path)

    assert sorted(each.name for each in seen.listed) == sorted([f"{registry.host}/Acme/Tiny:Q4_K_M", "Mine:V1"])
    assert (seen.mode, seen.warnings) == ("api+store", ())


def test_a_copy_shares_blobs_and_what_it_names_stays_when_the_first_goes(
    registry: Registry, ollama: OllamaServer
) -> None:
    text = publish(registry)
    api = Api(ollama.url, 10.0)
    api.pull("tiny")
    before, _ = bytes_on_disk(ollama.models)
    api.copy("tiny", "second")

    assert bytes_on_disk(ollama.models)[0] == before + len(text)  # a manifest more, and not one blob
    users = read_store(ollama.models).users
    api.delete("tiny")

    assert all(len(users[f"blobs/{each.replace(':', '-')}"]) == 2 for each in digests(text))
    assert [each.name.short for each in read_store(ollama.models).models] == ["second:latest"]
    assert all(blob(ollama.models, each).exists() for each in digests(text))


def test_a_derived_model_is_made_beside_the_one_it_is_made_from(registry: Registry, ollama: OllamaServer) -> None:
    publish(registry)
    api = Api(ollama.url, 10.0)
    api.pull("tiny")

    api.create({"model": "brief", "from": "tiny", "system": "Be brief."})

    assert {each.name for each in api.tags()} == {"tiny:latest", "brief:latest"}


def test_what_the_server_would_prune_is_what_we_call_orphans(registry: Registry, ollama: OllamaServer) -> None:
    """Held against the server's own start: it deletes exactly what was foretold, and spares what was not."""
    text = publish(registry)
    Api(ollama.url, 10.0).pull("tiny")
    lost, fresh, partial = (ollama.models / "blobs" / f"sha256-{letter * 64}" for letter in "abc")
    partial = partial.with_name(partial.name + "-partial")
    for path in (lost, fresh, partial):
        path.write_bytes(b"x")
    now = time.time()
    for path in (ollama.models / "blobs").iterdir():
        if path != fresh:
            os.utime(path, (now - 2 * HOUR, now - 2 * HOUR))

    foretold = orphans(read_store(ollama.models), blob_files(ollama.models), now)
    ollama.restart()

    assert foretold == (f"blobs/{lost.name}", f"blobs/{partial.name}")
    assert (lost.exists(), partial.exists(), fresh.exists()) == (False, False, True)
    assert all(blob(ollama.models, each).exists() for each in digests(text))


def test_while_one_manifest_is_bad_neither_the_server_nor_we_call_anything_an_orphan(
    registry: Registry, ollama: OllamaServer
) -> None:
    publish(registry)
    Api(ollama.url, 10.0).pull("tiny")
    lost = ollama.models / "blobs" / f"sha256-{'a' * 64}"
    lost.write_bytes(b"x")
    os.utime(lost, (0, 0))
    (ollama.models / "manifests/registry.ollama.ai/library/tiny/.hidden").write_bytes(b"{}")

    foretold = orphans(read_store(ollama.models), blob_files(ollama.models), 2e9)
    ollama.restart()

    assert (foretold, lost.exists()) == ((), True)


def test_a_dangling_manifest_disables_everything_until_our_command_has_run(
    registry: Registry, ollama: OllamaServer, tmp_path: Path
) -> None:
    publish(registry)
    Api(ollama.url, 10.0).pull("tiny")
    dangling = ollama.models / "manifests/registry.ollama.ai/library/dang/latest"
    dangling.parent.mkdir()
    dangling.symlink_to("nowhere")
    broken = at(ollama, tmp_path)

    assert (broken.mode, broken.version, broken.directory) == ("store-only", "0.32.15", str(ollama.models))
    assert broken.stored is not None
    [bad] = broken.stored.broken
    do_as_told(bad.remedy)
    mended = at(ollama, tmp_path)

    assert (mended.mode, mended.warnings) == ("api+store", ())


@pytest.mark.parametrize("data", [b"", b"{nonsense"])
def test_a_damaged_manifest_is_one_to_both(
    registry: Registry, ollama: OllamaServer, tmp_path: Path, data: bytes
) -> None:
    publish(registry)
    api = Api(ollama.url, 10.0)
    api.pull("tiny")
    api.copy("tiny", "bad")
    (ollama.models / "manifests/registry.ollama.ai/library/bad/latest").write_bytes(data)

    seen = at(ollama, tmp_path)

    assert seen.stored is not None
    assert [each.name for each in seen.listed] == [each.name.short for each in seen.stored.models] == ["tiny:latest"]
    assert len(seen.stored.broken) == len(seen.warnings) == 1
    with pytest.raises(OllamaError, match=r"\(500\)"):
        api.delete("bad")


def test_a_tag_that_is_a_mark_is_listed_and_cannot_be_deleted(registry: Registry, ollama: OllamaServer) -> None:
    publish(registry)
    api = Api(ollama.url, 10.0)
    api.pull("tiny")
    api.copy("tiny", "foo:local")

    with pytest.raises(OllamaError) as caught:
        api.delete("foo:local")

    assert caught.value.status == 404
    assert "foo:local" in {each.name for each in api.tags()}


def test_a_server_behind_the_path_of_a_proxy_is_seen_the_same(registry: Registry, tmp_path: Path) -> None:
    publish(registry)
    with serve(tmp_path / "models", registry, prefix="/team") as server:
        url = server.url if server.url.endswith("/team") else f"{server.url}/team"
        Api(url, 10.0).pull("tiny")
        seen = look("box", url, None, {"HOME": str(tmp_path)}, timeout=10.0, system=())

    assert (seen.url, seen.mode, len(seen.listed)) == (url, "api+store", 1)


def test_a_server_that_was_stopped_leaves_its_directory(
    registry: Registry, ollama: OllamaServer, tmp_path: Path
) -> None:
    publish(registry)
    Api(ollama.url, 10.0).pull("tiny")
    ollama.close()

    seen = at(ollama, tmp_path, models=ollama.models)

    assert (seen.mode, by_api(seen), root_of(seen)) == ("store-only", False, str(ollama.models))


def test_models_put_there_by_hand_are_seen_at_once_without_asking_twice(
    registry: Registry, ollama: OllamaServer, tmp_path: Path
) -> None:
    publish(registry)
    Api(ollama.url, 10.0).pull("tiny")
    there = ollama.models / "manifests/registry.ollama.ai/library"
    (there / "byhand").mkdir()
    (there / "byhand/latest").write_bytes((there / "tiny/latest").read_bytes())

    seen = at(ollama, tmp_path)

    assert sorted(each.name for each in seen.listed) == ["byhand:latest", "tiny:latest"]
    assert seen.warnings == ()


def test_the_server_knows_its_version(ollama: OllamaServer) -> None:
    assert Api(ollama.url, 10.0).version() == ask(ollama.url, "GET", "/api/version").value["version"]
