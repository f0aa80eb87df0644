"""The embedded registry, as whoever speaks its protocol sees it."""

from __future__ import annotations

import http.client
import json
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import ollama_kit
import pytest
from ollama_kit import digests, publish

from reconciler.hub.ggufs import gguf
from reconciler.hub.ollama_registry import Registry
from reconciler.ollama import manifests

registry = ollama_kit.registry

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def get(url: str, method: str = "GET", **headers: str) -> Answer:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, headers={"Accept": MANIFEST, **headers})
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def blob_url(registry: Registry, digest: str) -> str:
    return f"{registry.url}/v2/library/tiny/blobs/{digest}"


def test_a_manifest_is_served_as_published_by_tag_and_by_digest(registry: Registry) -> None:
    published = publish(registry)
    digest = f"sha256:{sha256(published).hexdigest()}"
    for reference in ("latest", digest):
        answer = get(f"{registry.url}/v2/library/tiny/manifests/{reference}")
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, published, MANIFEST)
    head = get(f"{registry.url}/v2/library/tiny/manifests/latest", "HEAD")
    assert (head.status, head.body, head.headers["ollama-content-digest"]) == (200, b"", digest)
    registry.digest_header = False
    assert "ollama-content-digest" not in get(f"{registry.url}/v2/library/tiny/manifests/latest", "HEAD").headers


def test_it_may_refuse_digests_as_the_real_one_does(registry: Registry) -> None:
    digest = f"sha256:{sha256(publish(registry)).hexdigest()}"
    registry.by_digest = False
    assert get(f"{registry.url}/v2/library/tiny/manifests/{digest}").status == 500


def test_what_it_publishes_is_a_manifest_that_a_lock_can_hold(registry: Registry) -> None:
    """And the config that it makes fits the weights."""
    published = publish(registry, quant="IQ4_XS")
    read = manifests.read(published)
    assert [layer.kind for layer in read.blobs] == ["model", "template", "license", "params", "config"]
    config = json.loads(get(get(blob_url(registry, read.config.digest)).headers["location"]).body)
    assert (config["model_format"], config["model_family"], config["file_type"]) == ("gguf", "llama", "IQ4_XS")


def test_a_blob_is_at_another_host_under_a_signed_address_that_takes_ranges(registry: Registry) -> None:
    digest = digests(publish(registry))[0]
    weights = gguf("Q4_K_M", name="tiny")
    head = get(blob_url(registry, digest), "HEAD")
    assert (head.status, head.headers["content-length"]) == (200, str(len(weights)))
    sent = get(blob_url(registry, digest))
    location = sent.headers["location"]
    assert sent.status == 307
    assert urlsplit(location).hostname == "localhost" != urlsplit(registry.url).hostname
    assert get(location).body == weights
    part = get(location, Range="bytes=100-199")
    assert (part.status, part.body) == (206, weights[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(weights)}"


def test_an_address_ends_and_is_good_for_one_blob_and_takes_no_token(registry: Registry) -> None:
    first, second = digests(publish(registry))[:2]
    location = get(blob_url(registry, first)).headers["location"]
    assert get(location.replace(first, second)).status == 403
    assert get(location, Authorization="Bearer x").status == 400
    assert get(blob_url(registry, first)).headers["location"] != location
    registry.advance(registry.url_ttl + 1)
    assert get(location).status == 403
    assert get(get(blob_url(registry, first)).headers["location"]).status == 200


def test_a_token_is_asked_for_given_to_anybody_and_expires(registry: Registry) -> None:
    publish(registry)
    registry.auth = True
    url = f"{registry.url}/v2/library/tiny/manifests/latest"
    refused = get(url)
    told = refused.headers["www-authenticate"]
    assert refused.status == 401
    assert told == (
        f'Bearer realm="{registry.url}/token",service="{registry.host}",scope="repository:library/tiny:pull"'
    )
    query = f"service={registry.host}&scope=repository:library/tiny:pull"
    token = json.loads(get(f"{registry.url}/token?{query}").body)["token"]
    assert get(url, Authorization=f"Bearer {token}").status == 200
    assert get(f"{registry.url}/token?service=elsewhere&scope=x").status == 401
    registry.expire_tokens()
    assert get(url, Authorization=f"Bearer {token}").status == 401


def test_a_tag_moves_and_what_it_named_stays_within_reach(registry: Registry) -> None:
    old = publish(registry, seed=1)
    new = registry.move("library", "tiny", "latest", [("model", gguf("Q4_K_M", seed=2))])
    assert get(f"{registry.url}/v2/library/tiny/manifests/latest").body == new
    assert get(f"{registry.url}/v2/library/tiny/manifests/sha256:{sha256(old).hexdigest()}").body == old
    with pytest.raises(KeyError):
        registry.move("library", "tiny", "no-such-tag", [])
    registry.remove("library", "tiny", "latest")
    assert get(f"{registry.url}/v2/library/tiny/manifests/latest").status == 404


@pytest.mark.parametrize(
    "path", ["/v2/library/nope/manifests/latest", "/v2/library/tiny/manifests/nope", "/x", "/v2/a/b"]
)
def test_what_is_not_there_is_a_404(registry: Registry, path: str) -> None:
    publish(registry)
    assert get(f"{registry.url}{path}").status == 404


def test_a_hub_of_quantisations_refuses_a_tag_that_is_none(registry: Registry) -> None:
    publish(registry, "Some-GGUF", "Q4_K_M", namespace="someone")
    registry.quants_only = True
    assert get(f"{registry.url}/v2/someone/Some-GGUF/manifests/Q4_K_M").status == 200
    refused = get(f"{registry.url}/v2/someone/Some-GGUF/manifests/nope")
    assert (refused.status, "not a valid quantization scheme" in refused.body.decode()) == (400, True)


@pytest.mark.parametrize(("blobs", "status", "location"), [("location", 200, True), ("plain", 200, False)])
def test_blobs_may_come_from_the_registry_itself(blobs: str, status: int, location: bool) -> None:
    with Registry.start(blobs=blobs) as registry:
        digest = digests(publish(registry))[1]
        answer = get(blob_url(registry, digest))
        assert (answer.status, "location" in answer.headers, answer.body) == (status, location, ollama_kit.TEMPLATE)


@pytest.mark.faults
def test_faults_spoil_blobs_unless_told_otherwise(registry: Registry) -> None:
    digest = digests(publish(registry))[0]
    weights = gguf("Q4_K_M", name="tiny")
    location = get(blob_url(registry, digest)).headers["location"]
    registry.fault("corrupt", offset=1000)
    spoilt = get(location).body
    assert [index for index, byte in enumerate(spoilt) if byte != weights[index]] == [1000]
    assert get(location).body == weights  # the control: once only
    registry.fault("status", origin="hub", path="/manifests/", code=429, retry_after=7)
    busy = get(f"{registry.url}/v2/library/tiny/manifests/latest")
    assert (busy.status, busy.headers["retry-after"]) == (429, "7")
    registry.fault("html", path=digest)
    assert get(location).body.startswith(b"<!DOCTYPE html>")
    registry.fault("truncate", path=digest)
    with pytest.raises(http.client.IncompleteRead):
        get(location)
    registry.fault("expire", requests=1)
    assert [get(location).status for _ in range(2)] == [200, 403]


def test_the_log_tells_who_asked_what(registry: Registry) -> None:
    digest = digests(publish(registry))[1]
    get(get(blob_url(registry, digest)).headers["location"], X_Canary="1")
    first, second = registry.log
    assert (first.origin, first.method, first.status) == ("hub", "GET", 307)
    assert (second.origin, second.status, second.bytes_sent) == ("cdn", 200, len(ollama_kit.TEMPLATE))
    assert second.headers["x_canary"] == "1"
    assert set(parse_qs(second.query)) == {"Expires", "Signature"}
    registry.reset_log()
    assert registry.log == []


def test_bytes_on_disk_are_served_from_there(registry: Registry, tmp_path: ollama_kit.Path) -> None:
    weights = tmp_path / "weights.gguf"
    weights.write_bytes(gguf("Q8_0"))
    manifest = registry.add("library", "tiny", "latest", [("model", weights)])
    location = get(blob_url(registry, digests(manifest)[0])).headers["location"]
    assert get(location).body == weights.read_bytes()
