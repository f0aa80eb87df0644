from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from sources_kit import CANARY, Heard, a_world

from reconciler.errors import RateLimitedError, SourceError
from reconciler.sources import urls
from reconciler.sources.patience import Answer, UnreachableError, asked_to_wait, persist


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://host/x",
        "data:text/plain,x",
        "magnet:?xt=1",
        "https://huggingface.co@evil.example/x",
        "https://user:pass@host/x",
        "https://host:22/x",
        "https://host:99999/x",
        "https://host:x/x",
        "https:///x",
        "https://h\u043est/x",
        "https://host/a b",
        "https://host/a\r\nHost: evil",
        "https://host\\@evil/x",
        "https://-host/x",
        "https://ho..st/x",
        "https://host/" + "a" * 9000,
    ],
)
def test_what_is_not_the_address_of_a_public_file_is_refused(url):
    with pytest.raises(ValueError, match=r"\w"):
        urls.check(url)


@pytest.mark.parametrize("url", ["https://host/x", "https://host.example:8443/x?y=z", "http://[::1]:8080/x"])
def test_ordinary_addresses_are_taken(url):
    assert urls.check(url).hostname


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST.", "a.localhost", "nas.local", "127.0.0.1", "127.1", "2130706433", "0x7f000001",
        "0177.0.0.1", "0.0.0.0", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "::1", "[::1]", "::",
        "::ffff:127.0.0.1", "fe80::1", "fd00::1", "224.0.0.1",
    ],
)  # fmt: skip
def test_every_spelling_of_a_private_address_is_seen(host):
    assert urls.is_private(host)


@pytest.mark.parametrize("host", ["huggingface.co", "8.8.8.8", "2606:4700::1111", "localhost.example", "1e100.net"])
def test_public_hosts_are_not_private(host):
    assert not urls.is_private(host)


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("http://host/x", "https to plain http"),
        ("file:///etc/passwd", "not http"),
        ("ftp://host/x", "not http"),
        ("https://127.0.0.1/x", "private"),
        ("https://user:pass@host/x", "user name"),
        ("https://169.254.169.254/meta", "private"),
    ],
)
def test_a_redirect_does_not_lead_where_we_would_not_go(location, says):
    with pytest.raises(ValueError, match=says):
        urls.follow("https://start/x", location, private=False)


def test_a_redirect_may_be_relative_and_loses_its_fragment():
    assert urls.follow("https://start/a/b", "../c?d=1#e", private=False) == "https://start/c?d=1"
    assert urls.follow("http://127.0.0.1:8001/x", "http://127.0.0.1:8002/y", private=True) == "http://127.0.0.1:8002/y"


def test_an_origin_is_scheme_host_and_port():
    assert urls.origin("https://Host/x") == urls.origin("https://host.:443/y")
    assert len({urls.origin(u) for u in ("https://h/", "http://h/", "https://h:8443/", "https://h.evil/")}) == 4


def test_signed_addresses_say_when_they_end():
    assert urls.expires("https://cdn/x?Expires=1795244519&Signature=s") == 1795244519
    assert urls.expires("https://s3/x?X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600") == 1767229200
    assert urls.expires("https://gcs/x?X-Goog-Date=20260101T000000Z&X-Goog-Expires=60") == 1767225660
    for other in ("https://cdn/x", "https://cdn/x?Expires=never", "https://s3/x?X-Amz-Date=yesterday&X-Amz-Expires=1"):
        assert urls.expires(other) is None


def test_upstream_says_how_long_to_wait_in_three_ways():
    now = time.time()
    assert asked_to_wait({"retry-after": "7"}, now) == 7
    assert asked_to_wait({"ratelimit": '"api";r=0;t=55', "retry-after": "7"}, now) == 56
    assert asked_to_wait({"ratelimit": '"api";r=12;t=55'}, now) is None
    assert asked_to_wait({"retry-after": formatdate(now + 30, usegmt=True)}, now) == pytest.approx(30, abs=2)
    assert asked_to_wait({"retry-after": formatdate(now - 30, usegmt=True)}, now) == 0


@pytest.mark.parametrize("nonsense", ["-1", "soon", "1e9", "", "\u0663", "Wed, 99 Foo"])
def test_nonsense_about_waiting_is_no_wait(nonsense):
    assert asked_to_wait({"retry-after": nonsense}, 0.0) is None


def busy(status: int, **headers: str) -> Answer:
    return Answer(f"https://hub/x?token={CANARY}", status, headers)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(status):
    heard = Heard()
    answers = iter([busy(status), busy(status, **{"retry-after": "3"}), busy(200)])
    assert persist(lambda: next(answers), a_world("https://hub", heard=heard), "u").status == 200
    assert heard.slept == [0.5, 3.0]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 416, 451])
def test_a_refusal_is_not_asked_again(status):
    heard = Heard()
    answers = iter([busy(status)])
    assert persist(lambda: next(answers), a_world("https://hub", heard=heard), "u").status == status
    assert heard.slept == []


def test_who_asks_us_to_wait_an_hour_is_told_apart_and_not_waited_for():
    heard = Heard()
    with pytest.raises(RateLimitedError, match="3600 s") as error:
        persist(lambda: busy(429, **{"retry-after": "3600"}), a_world("https://hub", token=CANARY, heard=heard), "u")
    assert heard.slept == []
    assert CANARY not in str(error.value)


def test_patience_ends():
    heard = Heard()
    with pytest.raises(SourceError, match="in trouble \\(503\\)"):
        persist(lambda: busy(503), a_world("https://hub", heard=heard), "u")
    assert 0 < sum(heard.slept) <= 90


def test_a_dead_network_is_told_with_its_cause():
    heard = Heard()

    def dead() -> Answer:
        raise UnreachableError("no answer: connection refused")

    with pytest.raises(SourceError, match="connection refused"):
        persist(dead, a_world("https://hub", heard=heard), "https://hub/x")
    assert len(heard.slept) == 2


def test_a_proxy_that_does_not_answer_is_named_and_its_password_is_not(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://me:canary@proxy.example:3128")

    def dead():
        raise UnreachableError("no answer: connection refused", passing=False)

    with pytest.raises(SourceError) as refused:
        persist(dead, a_world("https://hub"), "https://hub/x")
    (problem,) = refused.value.problems
    assert "is the proxy proxy.example:3128 up (https_proxy, no_proxy)" in problem.hint
    assert "canary" not in str(refused.value)
    monkeypatch.setenv("no_proxy", "hub")
    with pytest.raises(SourceError) as refused:
        persist(dead, a_world("https://hub"), "https://hub/x")
    assert "is the network up" in refused.value.problems[0].hint
