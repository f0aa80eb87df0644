from __future__ import annotations

import hashlib
import socket

import pytest
from sources_kit import CANARY, Heard, a_world, ask

from reconciler import sources
from reconciler.errors import AccessError, NotFoundError, OfflineError, SourceError
from reconciler.hub.server import Hub
from reconciler.sources import wire
from reconciler.state import Digest

WEIGHTS = b"GGUF" + b"w" * 5000
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12\n"


@pytest.fixture
def hub():
    with Hub() as running:
        yield running


def web(hub: Hub, **more: object):
    """A world in which the hub's CDN, at a private address and over plain http, may be used."""
    return a_world(hub, **more).trusting(["127.0.0.1"])  # type: ignore[arg-type]


def test_a_file_on_the_web_has_no_revision_and_keeps_its_address(hub):
    url = hub.serve("models/model-q4.gguf", WEIGHTS)
    pin = sources.resolve(ask(url, insecure=True), a_world(hub))
    assert (pin.source, pin.revision) == (url, None)
    assert pin.files == (sources.resolve(ask(url), web(hub)).files[0],)
    file = pin.files[0]
    assert (file.path, file.size, file.digest, file.url) == ("model-q4.gguf", 5004, f"sha256:{SHA256}", url)


def test_without_a_digest_the_body_is_read_once_and_a_large_one_is_told(hub):
    heard = Heard()
    url = hub.serve("m.gguf", WEIGHTS)
    sources.resolve(ask(url), web(hub, heard=heard))
    assert hub.bytes_served() == len(WEIGHTS)
    assert heard.warnings == []
    large = hub.serve("large.gguf", b"w" * (2 << 20))
    sources.resolve(ask(large), web(hub, heard=heard))
    assert ["2.0 MiB is read once" in warning for warning in heard.warnings] == [True]


@pytest.mark.parametrize("how", ["header", "hand"])
def test_a_digest_in_a_header_or_by_hand_spares_reading(hub, how):
    body = b"w" * (8 << 20)
    url = hub.serve("large.gguf", body, digest_header=how == "header")
    digest = hashlib.sha256(body).hexdigest()
    pin = sources.resolve(ask(url, sha256=digest if how == "hand" else None), web(hub))
    assert pin.files[0].digest == f"sha256:{digest}"
    assert hub.bytes_served() < 8 << 20


def test_a_digest_by_hand_that_is_not_the_one_upstream_is_an_error(hub):
    small = hub.serve("small.gguf", b"w" * 100)
    with pytest.raises(SourceError, match="manifest pins"):
        sources.resolve(ask(small, sha256="0" * 64), web(hub))


@pytest.mark.parametrize(
    ("body", "says"),
    [(POINTER, "Git LFS pointer"), (b"", "empty"), (b"<!DOCTYPE html><html>" + b" " * 2000, "web page")],
)
def test_what_is_no_weights_is_refused(hub, body, says):
    for digest in (None, hashlib.sha256(body).hexdigest()):
        with pytest.raises(SourceError, match=says):
            sources.resolve(ask(hub.serve("m.gguf", body), sha256=digest), web(hub))


def test_a_login_page_is_refused_by_its_type(hub):
    url = hub.serve("m.gguf", WEIGHTS)
    hub.fault("html", times=-1)
    with pytest.raises(SourceError, match="web page") as error:
        sources.resolve(ask(url), web(hub))
    assert "hf:owner/repo" in error.value.problems[0].hint


@pytest.mark.parametrize(
    ("code", "kind"), [(401, AccessError), (403, AccessError), (404, NotFoundError), (410, NotFoundError)]
)
def test_refusals_have_their_kind(hub, code, kind):
    url = hub.serve("m.gguf", WEIGHTS)
    hub.fault("status", code=code, times=-1)
    with pytest.raises(kind, match=str(code)) as refused:
        sources.resolve(ask(url), web(hub))
    assert refused.value.problems[0].hint


def test_a_server_without_head_is_asked_for_one_byte(hub):
    url = hub.serve("m.gguf", WEIGHTS)
    hub.fault("status", code=405, method="HEAD", times=-1)
    pin = sources.resolve(ask(url, sha256=SHA256), web(hub))
    assert pin.files[0].size == len(WEIGHTS)
    assert sources.locate(url, None, pin.files[0], web(hub)).size == len(WEIGHTS)


def test_a_body_shorter_than_promised_is_not_locked(hub):
    url = hub.serve("m.gguf", WEIGHTS)
    hub.fault("truncate", after=1000)
    with pytest.raises(SourceError, match=r"broke off|1000 came"):
        sources.resolve(ask(url), web(hub))


def test_the_name_comes_from_the_server_where_the_address_has_none(hub):
    url = hub.serve("download/12345", WEIGHTS)
    disposition = {"Content-Disposition": 'attachment; filename="detail tweaker.gguf"', "Content-Length": "5004"}
    hub.fault("answer", method="HEAD", headers=disposition, body=WEIGHTS)
    assert sources.resolve(ask(url, sha256=SHA256), web(hub)).files[0].path == "detail tweaker.gguf"


@pytest.mark.parametrize("name", ["../../evil.gguf", "..\\evil.gguf", "nul.gguf", "a:b.gguf"])
def test_a_name_of_the_server_that_leads_elsewhere_stays_a_plain_name_or_is_refused(hub, name):
    url = hub.serve("download/12345", WEIGHTS)
    hub.fault("answer", method="HEAD", headers={"Content-Disposition": f'attachment; filename="{name}"'}, body=WEIGHTS)
    if name.endswith("evil.gguf"):
        assert sources.resolve(ask(url), web(hub)).files[0].path == "evil.gguf"
    else:
        with pytest.raises(SourceError, match="cannot be used"):
            sources.resolve(ask(url), web(hub))


def test_redirects_are_followed_hop_by_hop_and_no_token_goes_along(hub):
    target = hub.serve("real/model.gguf", WEIGHTS)
    url = hub.redirect("short.gguf", target)
    world = web(hub, token=CANARY)
    pin = sources.resolve(ask(url), world)
    assert (pin.files[0].path, pin.files[0].url) == ("short.gguf", url)
    found = sources.locate(url, None, pin.files[0], world)
    assert (found.url, found.shareable, dict(found.headers)) == (target, True, {})
    assert not any("authorization" in request.headers for request in hub.requests)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "http://127.0.0.2:8009/x"])
def test_redirects_lead_only_where_the_manifest_could_have_gone(hub, location):
    url = hub.redirect("m.gguf", location)
    with Hub() as inner:  # the same redirect inside what is allowed is fine: it is the target that counts
        allowed = hub.redirect("n.gguf", inner.serve("n.gguf", WEIGHTS))
        assert sources.resolve(ask(allowed), web(hub)).files
    with pytest.raises(SourceError, match=r"not http|no answer|private|redirect"):
        sources.resolve(ask(url), web(hub))


def test_a_circle_of_redirects_ends(hub):
    with pytest.raises(SourceError, match="redirects"):
        sources.resolve(ask(hub.redirect("m.gguf", f"{hub.cdn_url}/files/m.gguf")), web(hub))


def test_a_locked_file_that_has_another_size_or_digest_now_is_an_error(hub):
    url = hub.serve("m.gguf", WEIGHTS)
    locked = sources.resolve(ask(url), web(hub)).files[0]
    hub.serve("m.gguf", WEIGHTS + b"!")
    with pytest.raises(SourceError, match=r"changed the bytes.*5004.*5005"):
        sources.locate(url, None, locked, web(hub))
    other = b"X" * len(WEIGHTS)
    hub.serve("m.gguf", other, digest_header=True)
    with pytest.raises(SourceError, match=f"{SHA256}.*{hashlib.sha256(other).hexdigest()}"):
        sources.locate(url, None, locked, web(hub))


def test_plain_http_and_private_addresses_need_insecure(hub):
    url = hub.serve("m.gguf", WEIGHTS)
    with pytest.raises(SourceError, match="insecure: true"):
        sources.resolve(ask(url), a_world(hub))
    with pytest.raises(SourceError, match="insecure: true"):
        sources.locate(url, None, sources.resolve(ask(url, insecure=True), a_world(hub)).files[0], a_world(hub))
    for reference in ("http://host/x.gguf", "https://localhost/x.gguf", "https://2130706433/x.gguf"):
        with pytest.raises(ValueError, match="insecure: true"):
            sources.check(reference)
        sources.check(reference, insecure=True)


def test_a_public_name_that_leads_into_a_private_network_is_seen_at_the_connection(hub, monkeypatch):
    port = int(hub.cdn_url.rpartition(":")[2])
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: real("127.0.0.1", *rest, **more))
    hub.serve("m.gguf", WEIGHTS)
    address = f"http://weights.example:{port}/files/m.gguf"
    assert wire.send("HEAD", address, a_world(hub)).status == 200  # the control: without the check it is reached
    hub.reset_log()
    with pytest.raises(SourceError, match=r"weights\.example is at 127\.0\.0\.1"):
        wire.send("HEAD", address, a_world(hub), public=True)
    assert hub.requests == []


@pytest.mark.parametrize(
    "reference",
    [
        "https://host/x.gguf#sha256=1",
        "https://user:pass@host/x.gguf",
        "https://host/x.gguf?token=abc",
        "https://host/x.gguf?X-Amz-Signature=abc",
        "https://host/",
        "https://host/a/",
        "https://host:22/x.gguf",
        "https://h\u043est/x.gguf",
        "https://host/x\r\n.gguf",
    ],
)
def test_addresses_that_a_manifest_must_not_hold(reference):
    with pytest.raises(ValueError, match=r"\w") as error:
        sources.check(reference)
    assert "abc" not in str(error.value)


def test_offline_nobody_is_asked(hub):
    url = hub.serve("m.gguf", WEIGHTS)
    with pytest.raises(OfflineError):
        sources.resolve(ask(url), web(hub, offline=True))
    assert hub.requests == []


def test_globs_of_the_variant_must_mean_the_file(hub):
    url = hub.serve("m.gguf", WEIGHTS)
    assert sources.resolve(ask(url, "*.gguf"), web(hub)).files
    with pytest.raises(NotFoundError, match="safetensors"):
        sources.resolve(ask(url, "*.safetensors"), web(hub))


def test_digests_are_digests(hub):
    pin = sources.resolve(ask(hub.serve("m.gguf", WEIGHTS)), web(hub))
    assert pin.files[0].digest == Digest(f"sha256:{SHA256}")


def test_a_proxy_of_the_environment_is_used_except_for_hosts_that_go_without(hub, monkeypatch):
    monkeypatch.setenv("http_proxy", hub.cdn_url)
    wire.send("HEAD", "http://weights.example/m.gguf", a_world(hub))
    assert [request.path for request in hub.requests] == ["http://weights.example/m.gguf"]
    hub.reset_log()
    wire.send("HEAD", f"{hub.url}/m.gguf", a_world(hub))
    assert [(request.origin, request.path) for request in hub.requests] == [("hub", "/m.gguf")]


@pytest.mark.parametrize(
    ("page", "is_meant"),
    [
        ("https://huggingface.co/owner/repo", "hf:owner/repo?"),
        ("https://hf.co/owner/repo/tree/v2", "hf:owner/repo@v2?"),
        ("https://huggingface.co/owner/repo/blob/main/a/b.gguf", "hf:owner/repo with `files: [a/b.gguf]`?"),
        ("https://civitai.com/models/1/name?modelVersionId=2", "civitai:1@2?"),
    ],
)
def test_the_page_of_a_model_is_no_file_and_the_source_that_it_means_is_named(page, is_meant):
    with pytest.raises(ValueError, match="a page for people") as refused:
        sources.check(page)
    assert str(refused.value).endswith(f"did you mean {is_meant}")


@pytest.mark.parametrize(
    "file",
    [
        "https://huggingface.co/owner/repo/resolve/main/a.gguf",
        "https://civitai.com/api/download/models/2",
        "https://example.org/owner/repo",
    ],
)
def test_the_address_of_a_file_is_taken_wherever_it_lies(file):
    sources.check(file)
