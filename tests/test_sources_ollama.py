"""Models of a registry of Ollama: locked by their manifest, fetched by digest, whatever their tag means today."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request as Get
from urllib.request import urlopen

import pytest
from sources_kit import CANARY, Heard, a_world, ask

from reconciler import manifest, resolve, sources
from reconciler.errors import AccessError, NotFoundError, OfflineError, RateLimitedError, SourceError
from reconciler.hub.ggufs import gguf
from reconciler.hub.ollama_registry import Registry
from reconciler.lockfile import Lock, dumps, loads
from reconciler.ollama import manifests, names
from reconciler.secrets import Secret
from reconciler.sources import Located, Request, World, ollama, ollamaregistry
from reconciler.sources.patience import Answer
from reconciler.state import Artifact, Digest

NOWHERE = "http://127.0.0.1:9"
WEIGHTS, TEMPLATE = gguf("Q4_K_M"), b"{{ .Prompt }}"
LAYERS = [("model", WEIGHTS), ("template", TEMPLATE), ("license", b"MIT License\n\nCopyright (c) 2026 acme")]


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry.start() as running:
        running.add("acme", "tiny", "v1", LAYERS)
        yield running


def want(registry: Registry, name: str = "acme/tiny:v1", **more: object) -> Request:
    return ask(f"ollama:{registry.host}/{name}", insecure=True, **more)


def trusted(heard: Heard | None = None, **more: object) -> World:
    return a_world(NOWHERE, heard=heard, **more).trusting(["127.0.0.1"])  # type: ignore[arg-type]


def sha256(content: bytes) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(content).hexdigest()}")


def bytes_at(found: Located) -> bytes:
    with urlopen(Get(found.url, headers=dict(found.headers))) as answer:
        return bytes(answer.read())


def asked(registry: Registry) -> list[tuple[str, str, int]]:
    """What was asked: method, path below /v2/acme/tiny or of the other origin, status."""
    return [(call.method, call.path.removeprefix("/v2/acme/tiny/"), call.status) for call in registry.log]


# What is locked


def test_a_model_is_locked_as_its_manifest_says_and_given_back_byte_for_byte(registry):
    told = registry.add("acme", "tiny", "v2", LAYERS)
    pin = sources.resolve(want(registry, "acme/tiny:v2"), a_world(NOWHERE))
    assert (pin.source, pin.revision) == (f"ollama:{registry.host}/acme/tiny:v2", sha256(told))
    assert [(file.path, file.size, file.digest) for file in pin.files[:3]] == [
        ("1.model", len(WEIGHTS), sha256(WEIGHTS)),
        ("2.template", len(TEMPLATE), sha256(TEMPLATE)),
        ("3.license", len(LAYERS[2][1]), sha256(LAYERS[2][1])),
    ]
    assert [file.media_type.rpartition(".")[2] for file in pin.files[:3]] == ["model", "template", "license"]
    assert pin.files[3].path == "config"
    assert loads(dumps(Lock(1, {"tiny": pin})), "x").pins["tiny"] == pin
    assert manifests.text_of(pin).encode() == told


def test_the_first_licence_layer_names_the_licence(registry):
    assert sources.resolve(want(registry), a_world(NOWHERE)).license == "mit"
    registry.add("acme", "tiny", "v1", [("model", WEIGHTS), ("license", b"Our own terms.")])
    assert sources.resolve(want(registry), a_world(NOWHERE)).license is None


def test_a_licence_that_cannot_be_read_is_a_warning_and_a_large_one_is_not_asked_for(registry):
    heard = Heard()
    registry.remove_blob(sha256(LAYERS[2][1]))
    assert sources.resolve(want(registry), a_world(NOWHERE, heard=heard)).license is None
    assert ["licence" in warning for warning in heard.warnings] == [True]
    registry.add("acme", "tiny", "v1", [("license", b"MIT License" + b" " * (64 << 10))])
    registry.reset_log()
    sources.resolve(want(registry), a_world(NOWHERE))
    assert asked(registry) == [("GET", "manifests/v1", 200)]


def test_a_licence_with_other_bytes_than_its_digest_says_is_not_believed(registry):
    heard = Heard()
    registry.add_blob(b"MIT License, but forged", digest=sha256(LAYERS[2][1]))
    assert sources.resolve(want(registry), a_world(NOWHERE, heard=heard)).license is None
    assert len(heard.warnings) == 1


def test_a_model_of_many_tensors_is_locked_with_their_names(registry):
    kind = "application/vnd.ollama.image.tensor"
    tensors = [
        {"mediaType": kind, "digest": sha256(b"t%d" % n), "size": 2, "name": f"blk.{n}.weight"} for n in range(12)
    ]
    config = {"mediaType": manifests.CONFIG_TYPE, "digest": sha256(b"{}"), "size": 2}
    told = registry.add_manifest("acme", "mlx", "v1", json.dumps({"config": config, "layers": tensors}).encode())
    pin = sources.resolve(want(registry, "acme/mlx:v1"), a_world(NOWHERE))
    assert [file.path for file in pin.files] == [*(f"{n:02}.tensor" for n in range(1, 13)), "config"]
    assert manifests.text_of(pin).encode() == told


def test_a_model_that_runs_elsewhere_is_locked_as_it_is_and_cannot_be_downloaded(registry):
    stub = json.dumps({"remote_host": "https://ollama.com:443", "remote_model": "gpt-oss:20b"}).encode()
    registry.add_blob(stub)
    config = {"mediaType": manifests.CONFIG_TYPE, "digest": sha256(stub), "size": len(stub)}
    registry.add_manifest("acme", "far", "20b", json.dumps({"config": config, "layers": None}).encode())
    pin = sources.resolve(want(registry, "acme/far:20b"), a_world(NOWHERE))
    assert [file.path for file in pin.files] == ["config"]
    assert pin.about["remote"] == {"host": "https://ollama.com:443", "model": "gpt-oss:20b"}
    reason = sources.access(pin, trusted())
    assert reason is not None
    assert "runs at https://ollama.com:443" in reason
    assert sources.access(sources.resolve(want(registry), a_world(NOWHERE)), trusted()) is None  # the control


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"config": {"mediaType": "x", "digest": "y"}}'])
def test_a_damaged_manifest_is_told(registry, body):
    registry.add_manifest("acme", "tiny", "bad", body)
    with pytest.raises(SourceError, match="cannot be used"):
        sources.resolve(want(registry, "acme/tiny:bad"), a_world(NOWHERE))


def test_a_web_page_is_no_manifest(registry):
    registry.fault("html", origin="hub")
    with pytest.raises(SourceError, match="web page"):
        sources.resolve(want(registry), a_world(NOWHERE))


# What a manifest may say


@pytest.mark.parametrize(
    "reference",
    ["ollama:llama3.2", "ollama:me/tiny:V9", "ollama:hf.co/owner/repo-GGUF:Q4_K_M", "ollama:reg.example:5000/a/b:c"],
)
def test_names_of_the_server_are_sources(reference):
    sources.check(reference)


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("ollama:", "not an Ollama name"),
        ("ollama:../x", "not an Ollama name"),
        ("ollama:a/b/c/d", "more than host, namespace and model"),
        ("ollama:m@sha256:0", "not an Ollama name"),
        ("ollama:http://host/ns/m", "not an Ollama name"),
        ("ollama:foo:local", "reserved"),
        ("ollama:gpt-oss:20b-cloud", "reserved"),
        ("ollama:127.0.0.1:5000/ns/m:v1", "private address.*insecure: true"),
        ("ollama:models.internal/ns/m:v1", "private address"),
        ("ollama:reg.example:99999/ns/m", "port"),
        ("ollama:reg.example:22/ns/m", "port 22"),
    ],
)
def test_other_names_are_refused_with_the_reason(reference, says):
    with pytest.raises(ValueError, match=says):
        sources.check(reference)


def test_a_private_registry_is_asked_when_the_variant_says_so_and_else_not_at_all(registry):
    sources.check(f"ollama:{registry.host}/acme/tiny:v1", insecure=True)
    with pytest.raises(SourceError, match="private address"):
        sources.resolve(ask(f"ollama:{registry.host}/acme/tiny:v1"), a_world(NOWHERE))
    assert registry.log == []


def test_only_what_is_declared_insecure_is_asked_without_tls():
    name = names.parse("Reg.Example:5000/ns/m")
    assert ollamaregistry.model_of(name, trusted=False).base == "https://reg.example:5000"
    assert ollamaregistry.model_of(name, trusted=True).base == "http://reg.example:5000"


@pytest.mark.parametrize(
    ("more", "key"),
    [({"exclude": ("*.x",)}, "exclude"), ({"support": "hf:acme/base"}, "support"), ({"files": ("*.gguf",)}, "files")],
)
def test_a_model_is_taken_whole(registry, more, key):
    request = want(registry)._replace(**more)
    with pytest.raises(ValueError, match=f"{key} does not go with .*remove {key}"):
        sources.resolve(request, a_world(NOWHERE))
    assert registry.log == []


def test_offline_nobody_is_asked(registry):
    pin = sources.resolve(want(registry), a_world(NOWHERE))
    registry.reset_log()
    world = trusted(offline=True)
    with pytest.raises(OfflineError):
        sources.resolve(want(registry), world)
    with pytest.raises(OfflineError):
        sources.locate(pin.source, pin.revision, pin.files[0], world)
    assert sources.access(pin, world) is None
    assert registry.log == []


# What is not there


def test_a_tag_that_is_missing_is_told_as_the_registry_does(registry):
    with pytest.raises(NotFoundError, match=r"no model .*acme/tiny:v9 \(404: manifest unknown\)"):
        sources.resolve(want(registry, "acme/tiny:v9"), a_world(NOWHERE))


def test_the_pages_of_the_two_public_registries_are_named():
    world = a_world(NOWHERE)
    for source, page in (
        ("nope:7b", "ollama.com/library/nope/tags"),
        ("hf.co/o/r:Q9", "GGUF Q9 at https://huggingface.co/o/r"),
    ):
        model = ollamaregistry.model_of(names.parse(source), trusted=False)
        told = ollamaregistry._refused(Answer(model.base, 404, {}, b""), model, "manifest x", world)
        assert page in told.problems[0].hint


def test_a_quantisation_that_the_hub_does_not_have_is_told_in_its_words(registry):
    registry.quants_only = True
    with pytest.raises(SourceError, match=r"answers 400 Bad Request.*not a valid quantization scheme: Q9"):
        sources.resolve(want(registry, "acme/tiny:Q9"), a_world(NOWHERE))


def test_a_registry_in_trouble_is_asked_again_and_one_that_is_busy_not_for_ever(registry):
    heard = Heard()
    registry.fault("status", code=503, origin="hub", times=2)
    assert sources.resolve(want(registry), a_world(NOWHERE, heard=heard)).revision
    assert len(heard.slept) == 2
    registry.fault("status", code=429, retry_after=3600, origin="hub", times=-1)
    with pytest.raises(RateLimitedError, match="asks to wait 36") as error:
        sources.resolve(want(registry), a_world(NOWHERE))
    assert "HF_TOKEN" not in str(error.value)


# Tags that move


def test_a_tag_that_moved_changes_nothing_until_it_is_asked_for(registry, load):
    loaded = load(f"tiny: {{ source: 'ollama:{registry.host}/acme/tiny:v1', insecure: true }}")
    lock = Lock(1, resolve.complete(loaded, None, a_world(NOWHERE)).pins)
    old = lock.pins["tiny"].revision
    assert resolve.check(loaded, lock, a_world(NOWHERE)) == ()
    new = sha256(
        registry.move(
            "acme", "tiny", "v1", [("model", WEIGHTS), ("template", b"other"), ("system", b"be kind"), LAYERS[2]]
        )
    )
    registry.reset_log()
    assert resolve.complete(loaded, lock, a_world(NOWHERE)).resolved == {}
    assert registry.log == []
    [moved] = resolve.check(loaded, lock, a_world(NOWHERE))
    assert (moved.variant, moved.from_revision, moved.to_revision) == ("tiny", old, new)
    assert moved.bytes == len(b"otherbe kind")  # the weights and the licence are the same, at whatever place they stand
    assert moved.size_after == moved.size_before + len(b"otherbe kind") - len(TEMPLATE)
    assert list(moved.files) == ["2.template", "3.system"]
    assert resolve.upgrade(loaded, lock, a_world(NOWHERE)).pins["tiny"].revision == new


def test_what_is_locked_can_be_fetched_after_its_tag_has_moved_or_gone(registry):
    pin = sources.resolve(want(registry), a_world(NOWHERE))
    registry.move("acme", "tiny", "v1", [("model", b"another")])
    for tagged in (True, False):
        if not tagged:
            registry.remove("acme", "tiny", "v1")
        assert sources.access(pin, trusted()) is None
        got = [bytes_at(sources.locate(pin.source, pin.revision, file, trusted())) for file in pin.files[:2]]
        assert got == [WEIGHTS, TEMPLATE]


def test_a_locked_digest_is_asked_for_by_itself_where_the_tag_means_another(registry):
    pin = sources.resolve(want(registry), a_world(NOWHERE))
    registry.move("acme", "tiny", "v1", [("model", b"another")])
    assert sources.resolve(want(registry, revision=pin.revision), a_world(NOWHERE)) == pin
    registry.remove("acme", "tiny", "v1")
    assert sources.resolve(want(registry, revision=pin.revision), a_world(NOWHERE)) == pin


def test_a_registry_that_gives_nothing_by_digest_leaves_it_at_upstream_moved(registry):
    heard = Heard()
    pin = sources.resolve(want(registry), a_world(NOWHERE))
    new = sha256(registry.move("acme", "tiny", "v1", [("model", b"another")]))
    registry.by_digest = False
    with pytest.raises(SourceError, match=f"upstream moved from {pin.revision} to {new}") as error:
        sources.resolve(want(registry, revision=pin.revision), a_world(NOWHERE, heard=heard))
    assert "lock --upgrade tiny" in error.value.problems[0].hint
    assert heard.slept == []  # its internal error is no trouble that passes
    registry.remove("acme", "tiny", "v1")
    with pytest.raises(SourceError, match="to nothing: the tag is gone"):
        sources.resolve(want(registry, revision=pin.revision), a_world(NOWHERE))


def test_what_upstream_means_now_costs_one_request_and_a_pin_by_hand_none(registry):
    world = a_world(NOWHERE)
    pin = sources.resolve(want(registry), world)
    registry.reset_log()
    assert ollama.current(want(registry), world) == pin.revision
    assert registry.log == []  # this run knows it already
    assert ollama.current(want(registry), a_world(NOWHERE)) == pin.revision
    assert asked(registry) == [("GET", "manifests/v1", 200)]
    registry.reset_log()
    assert ollama.current(want(registry, revision="sha256:" + "a" * 64), a_world(NOWHERE)) == "sha256:" + "a" * 64
    assert registry.log == []


# Pins by hand


def test_a_pin_by_hand_is_the_digest_of_the_manifest(registry, load):
    pin = sources.resolve(want(registry), a_world(NOWHERE))
    for text in (pin.revision, pin.revision.removeprefix("sha256:")):
        loaded = load(f"tiny: {{ source: '{pin.source}', insecure: true, lock: {{ revision: '{text}' }} }}")
        found = resolve.complete(loaded, None, a_world(NOWHERE))
        assert found.pins == {"tiny": pin}
        assert resolve.complete(loaded, Lock(1, found.pins), a_world(NOWHERE)).resolved == {}


def test_a_pin_by_hand_makes_another_lock_outdated_and_is_not_given_up_for_it(registry, load):
    old = sources.resolve(want(registry), a_world(NOWHERE))
    new = registry.move("acme", "tiny", "v1", [("model", b"another")])
    loaded = load(f"tiny: {{ source: '{old.source}', insecure: true, lock: {{ revision: '{sha256(new)}' }} }}")
    assert "the manifest pins" in (resolve.mismatch(old, resolve.requests(loaded)[0]) or "")
    found = resolve.complete(loaded, Lock(1, {"tiny": old}), a_world(NOWHERE))
    assert found.resolved["tiny"].revision == sha256(new)


@pytest.mark.parametrize("revision", ["v1", "4627716856ee", "sha256:abc"])
def test_a_pin_by_hand_that_is_no_digest_is_told(registry, revision):
    with pytest.raises(ValueError, match="expected sha256:<64 hex>"):
        sources.resolve(want(registry, revision=revision), a_world(NOWHERE))


def test_a_blob_may_be_pinned_by_hand_by_its_place_in_the_manifest(registry):
    digest = sha256(WEIGHTS).removeprefix("sha256:")
    assert sources.resolve(want(registry, sha256={"1.model": digest}), a_world(NOWHERE)).files[0].size == len(WEIGHTS)
    with pytest.raises(SourceError, match="manifest pins"):
        sources.resolve(want(registry, sha256={"1.model": "0" * 64}), a_world(NOWHERE))


def test_a_tag_that_names_its_digest_is_held_to_it(registry):
    told = registry.add("acme", "tiny", "v1", LAYERS)
    tag = sha256(told).replace(":", "-")
    registry.add("acme", "tiny", tag, LAYERS)
    assert sources.resolve(want(registry, f"acme/tiny:{tag}"), a_world(NOWHERE)).revision == sha256(told)
    registry.move("acme", "tiny", tag, [("model", b"another")])
    with pytest.raises(SourceError, match="upstream moved"):
        sources.resolve(want(registry, f"acme/tiny:{tag}"), a_world(NOWHERE))
    with pytest.raises(ValueError, match="drop one"):
        sources.resolve(want(registry, f"acme/tiny:{tag}", revision="0" * 64), a_world(NOWHERE))


# Where the bytes are


def test_a_blob_on_another_origin_is_told_by_its_signed_address_alone(registry):
    pin = sources.resolve(want(registry), a_world(NOWHERE))
    found = sources.locate(pin.source, pin.revision, pin.files[0], trusted())
    assert found.url.startswith(f"{registry.blob_url}/blobs/sha256:")
    assert (found.shareable, found.headers, found.size) == (True, {}, len(WEIGHTS))
    assert found.etag
    assert bytes_at(found) == WEIGHTS


def test_a_small_blob_is_not_asked_for_twice(registry):
    pin = sources.resolve(want(registry), a_world(NOWHERE))
    registry.reset_log()
    found = sources.locate(pin.source, pin.revision, pin.files[1], trusted(small=1 << 20))
    assert [(call.method, call.origin) for call in registry.log] == [("GET", "hub")]
    assert found.shareable
    assert bytes_at(found) == TEMPLATE


@pytest.mark.parametrize("how", ["location", "plain"])
def test_a_registry_that_sends_blobs_itself_is_the_address(registry, how):
    registry.blobs = how
    pin = sources.resolve(want(registry), a_world(NOWHERE))
    found = sources.locate(pin.source, pin.revision, pin.files[0], trusted())
    assert found.url == f"{registry.url}/v2/acme/tiny/blobs/{pin.files[0].digest}"
    assert (found.shareable, bytes_at(found)) == (True, WEIGHTS)
    registry.auth = True
    guarded = sources.locate(pin.source, pin.revision, pin.files[0], trusted())
    assert (guarded.shareable, list(guarded.headers)) == (False, ["Authorization"])
    assert bytes_at(guarded) == WEIGHTS


def test_an_address_that_expired_is_asked_for_anew(registry):
    pin = sources.resolve(want(registry), a_world(NOWHERE))
    world = trusted()
    first = sources.locate(pin.source, pin.revision, pin.files[0], world)
    registry.advance(7200)
    second = sources.locate(pin.source, pin.revision, pin.files[0], world)
    assert first.url != second.url
    assert bytes_at(second) == WEIGHTS
    with pytest.raises(OSError, match="403"):
        bytes_at(first)


@pytest.mark.parametrize("how", ["redirect", "plain"])
def test_a_blob_of_another_size_than_the_locked_one_is_an_error(registry, how):
    registry.blobs = how
    pin = sources.resolve(want(registry), a_world(NOWHERE))
    with pytest.raises(SourceError, match="locked with 1 bytes"):
        sources.locate(pin.source, pin.revision, pin.files[0]._replace(size=1), trusted())


def test_a_blob_that_upstream_has_thrown_away_is_told_with_what_helps(registry):
    pin = sources.resolve(want(registry), a_world(NOWHERE))
    registry.remove_blob(pin.files[0].digest)
    with pytest.raises(NotFoundError, match="any more") as error:
        sources.locate(pin.source, pin.revision, pin.files[0], trusted())
    assert "lock --upgrade" in error.value.problems[0].hint
    assert "any more" in (sources.access(pin, trusted()) or "")


def test_redirects_end(registry):
    pin = sources.resolve(want(registry), a_world(NOWHERE))
    registry.fault("redirect", location=f"{registry.url}/v2/", code=307, origin="hub", times=-1)
    with pytest.raises(SourceError, match="more than 5 redirects"):
        sources.locate(pin.source, pin.revision, pin.files[0], trusted())


def test_a_digest_that_is_no_sha256_names_no_blob(registry):
    odd = Artifact("config", 1, Digest("git-sha1:" + "a" * 40))
    with pytest.raises(SourceError, match="names no blob"):
        sources.locate(want(registry).source, None, odd, trusted())


# Tokens


def test_a_registry_that_wants_a_token_gives_one_to_anybody_and_no_other_origin_sees_it(registry):
    registry.auth = True
    world = trusted()
    pin = sources.resolve(want(registry), world)
    for file in pin.files:
        assert bytes_at(sources.locate(pin.source, pin.revision, file, world))
    assert sum(call.path == "/token" for call in registry.log) == 1
    assert {call.origin for call in registry.log if "authorization" in call.headers} == {"hub"}


def test_a_token_whose_time_is_over_is_renewed(registry):
    registry.auth = True
    world = trusted()
    pin = sources.resolve(want(registry), world)
    registry.expire_tokens()
    assert bytes_at(sources.locate(pin.source, pin.revision, pin.files[0], world)) == WEIGHTS


def test_many_threads_may_ask_where_blobs_are_while_tokens_end(registry):
    registry.auth = True
    world = trusted()
    pin = sources.resolve(want(registry), world)

    def look(number: int) -> bytes:
        if number % 8 == 0:
            registry.expire_tokens()
        return bytes_at(sources.locate(pin.source, pin.revision, pin.files[number % 3], world))

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(look, range(0, 24, 3))) == {WEIGHTS}


def test_a_private_model_is_told_as_one(registry):
    registry.auth = registry.refuse_tokens = True
    with pytest.raises(AccessError, match="gives strangers no token") as error:
        sources.resolve(want(registry), a_world(NOWHERE))
    assert "ollama pull" in error.value.problems[0].hint


@pytest.mark.parametrize("code", [401, 403])
def test_what_upstream_refuses_is_known_when_the_plan_is_made(registry, code):
    pin = sources.resolve(want(registry), a_world(NOWHERE))
    registry.fault("status", code=code, origin="hub", times=-1)
    assert f"refuses it ({code})" in (sources.access(pin, trusted()) or "")


def test_trouble_of_the_moment_is_no_reason_to_block(registry):
    heard = Heard()
    pin = sources.resolve(want(registry), a_world(NOWHERE))
    registry.fault("status", code=503, origin="hub", times=-1)
    assert sources.access(pin, trusted(heard)) is None
    assert ["is not known" in warning for warning in heard.warnings] == [True]
    registry.clear_faults()
    registry.fault("status", code=405, origin="hub", times=-1)
    assert sources.access(pin, trusted()) is None  # a registry without HEAD


@pytest.mark.parametrize(
    ("realm", "says"),
    [
        ("http://localhost:9999/token", "not its own"),
        ("ftp://127.0.0.1/token", "where we do not go"),
        ("", "refuses it"),
        ("Authentication required", "refuses it"),
    ],
)
def test_a_token_is_fetched_from_the_registry_only(registry, realm, says):
    challenge = {"Www-Authenticate": f'Bearer realm="{realm}",service="x",scope="y"'}
    registry.fault("answer", code=401, headers=challenge, body=b"{}", origin="hub", times=-1)
    with pytest.raises(SourceError, match=says):
        sources.resolve(want(registry), a_world(NOWHERE))


@pytest.mark.parametrize(
    ("host", "registry", "good"),
    [
        ("reg.example.org", "reg.example.org", True),
        ("auth.example.org", "reg.example.org", True),
        ("example.org", "reg.example.org", True),
        ("evil.org", "reg.example.org", False),
        ("evilexample.org", "reg.example.org", False),
        ("evil.com", "ollama.com", False),
        ("127.0.0.2", "127.0.0.1", False),
        ("0.0.1", "127.0.0.1", False),
    ],
)
def test_a_token_comes_from_a_host_of_the_registrys_own_site(host, registry, good):
    assert ollamaregistry.is_of_one_site(host, registry) is good


@pytest.mark.parametrize(
    ("url", "endpoint", "sent"),
    [
        ("https://hf.co/v2/o/r/manifests/Q4_K_M", "https://huggingface.co", True),
        ("https://huggingface.co/v2/o/r/manifests/Q4_K_M", "https://huggingface.co", True),
        ("http://hf.co/v2/o/r/manifests/Q4_K_M", "https://huggingface.co", False),
        ("https://hf.co:8443/v2/o/r/manifests/Q4_K_M", "https://huggingface.co", False),
        ("https://cdn.hf.co/x", "https://huggingface.co", False),
        ("https://hf.co.evil.org/v2/o/r/manifests/x", "https://huggingface.co", False),
        ("https://registry.ollama.ai/v2/library/m/manifests/x", "https://huggingface.co", False),
        ("https://hf.co/v2/o/r/manifests/Q4_K_M", "https://mirror.example.org", False),
    ],
)
def test_the_hubs_token_goes_to_the_hub_over_tls_and_nowhere_else(url, endpoint, sent):
    model = ollamaregistry.model_of(names.parse("hf.co/o/r:Q4_K_M"), trusted=False)
    world = World(endpoint, Secret(CANARY))
    assert bool(ollamaregistry._credentials(url, model, world)) is sent


def test_the_hubs_token_is_never_sent_to_a_registry(registry):
    registry.auth = True
    world = trusted(token=CANARY)
    pin = sources.resolve(want(registry), world)
    bytes_at(sources.locate(pin.source, pin.revision, pin.files[0], world))
    assert CANARY not in repr(registry.log)


# The command


@pytest.fixture
def load(world: Path):
    def write(variants: str) -> manifest.Loaded:
        path = world / "ws.yaml"
        path.write_text(
            f"version: 1\nlocations:\n  here: {{ store: ollama, models: {world}/models }}\nvariants:\n  {variants}\n"
        )
        return manifest.load(path)

    return write


def test_a_moved_tag_is_told_with_digests_and_sizes(registry, load, capsys):
    from reconciler.cli import run

    path = load(f"tiny: {{ source: 'ollama:{registry.host}/acme/tiny:v1', insecure: true }}").path
    assert run(["lock", str(path)]) == 0
    lock = path.with_name("ws.lock.json").read_text()
    old = json.loads(lock)["variants"]["tiny"]["revision"]
    assert run(["lock", str(path), "--check"]) == 0
    new = sha256(registry.move("acme", "tiny", "v1", [*LAYERS, ("system", b"be kind")]))
    capsys.readouterr()
    assert run(["lock", str(path), "--check"]) == 2
    told = capsys.readouterr().out.splitlines()[0]
    assert told.startswith(f"tiny: the tag moved, {old[7:19]} -> {new[7:19]}, 7 B new (")
    assert path.with_name("ws.lock.json").read_text() == lock
    assert run(["lock", str(path), "--upgrade"]) == 0
    assert json.loads(path.with_name("ws.lock.json").read_text())["variants"]["tiny"]["revision"] == new


def test_an_old_lock_is_applied_after_its_tag_has_moved(registry, world, monkeypatch, capsys):
    from reconciler.cli import run

    registry.auth = True
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")  # no server listens: the source asks none, the store needs none
    (world / "models").mkdir()
    path = world / "ws.yaml"
    path.write_text(
        "version: 1\n"
        f"registry: {world}/registry\n"
        f"locations:\n  server: {{ store: ollama, url: 'http://127.0.0.1:1', models: {world}/models }}\n"
        "variants:\n"
        f"  tiny: {{ source: 'ollama:{registry.host}/acme/tiny:v1', insecure: true, served_as: 'tiny:v1' }}\n"
    )
    assert run(["lock", str(path)]) == 0
    lock = path.with_name("ws.lock.json").read_text()
    registry.move("acme", "tiny", "v1", [("model", b"another"), ("template", b"other")])
    registry.reset_log()
    assert run(["apply", str(path), "--yes"]) == 0, capsys.readouterr().err
    assert path.with_name("ws.lock.json").read_text() == lock
    assert not [call for call in registry.log if "/manifests/" in call.path]
    placed = Path(world / "models/manifests/registry.ollama.ai/library/tiny/v1").read_bytes()
    assert sha256(placed) == json.loads(lock)["variants"]["tiny"]["revision"]
    for blob in manifests.read(placed).blobs:
        assert sha256((world / "models" / manifests.blob_path(blob.digest)).read_bytes()) == blob.digest
    capsys.readouterr()
    assert run(["plan", str(path), "--detailed-exitcode"]) == 0
    assert CANARY not in capsys.readouterr().out
