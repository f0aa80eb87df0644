from __future__ import annotations

import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from sources_kit import CANARY, Heard, a_world, ask

from reconciler import sources
from reconciler.errors import AccessError, NotFoundError, OfflineError, RateLimitedError, SourceError
from reconciler.hub.server import Hub
from reconciler.sources import huggingface
from reconciler.state import Artifact, Digest, Pin

WEIGHTS = b"w" * 3000
TINY = {"config.json": b"{}", "model.safetensors": WEIGHTS, "tokenizer.json": b"{1}", ".gitattributes": b"*.gguf"}
GGUF = {f"model-{quant}.gguf": quant.encode() * 500 for quant in ("Q2_K", "Q4_K_M", "Q8_0")} | {"README.md": b"hello"}


@pytest.fixture
def hub():
    with Hub(token=CANARY) as running:
        yield running


def paths(pin: Pin) -> list[str]:
    return [file.path for file in pin.files]


def test_a_repository_is_resolved_to_its_commit_and_the_size_and_digest_of_every_file(hub):
    commit = hub.add("acme/tiny", TINY, license="mit")
    pin = sources.resolve(ask("hf:acme/tiny"), a_world(hub))
    assert (pin.source, pin.revision, pin.license) == ("hf:acme/tiny", commit, "mit")
    assert paths(pin) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert [file.size for file in pin.files] == [2, 3000, 3]
    assert [file.digest.partition(":")[0] for file in pin.files] == ["git-sha1", "sha256", "git-sha1"]


def test_many_variants_of_one_repository_cost_one_listing(hub):
    hub.add("acme/quants", GGUF)
    world = a_world(hub)
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(lambda quant: sources.resolve(ask("hf:acme/quants", f"*{quant}*"), world), ["Q2_K", "Q8_0"] * 20)
        )
    assert {tuple(paths(pin)) for pin in found} == {("model-Q2_K.gguf",), ("model-Q8_0.gguf",)}
    assert len(hub.requests) == 2


def test_a_listing_of_many_pages_is_whole(hub):
    hub.page_size = 7
    hub.add("acme/many", {f"d/{n:03}.json": b"%d" % n for n in range(50)})
    assert len(sources.resolve(ask("hf:acme/many"), a_world(hub)).files) == 50


def test_branches_tags_and_commits_are_revisions(hub):
    first = hub.add("acme/tiny", TINY)
    hub.tag("acme/tiny", "v1", first)
    second = hub.add("acme/tiny", {"model.safetensors": b"n" * 2000}, branch="next/one")
    for revision, commit in (("v1", first), ("next/one", second), (first, first), ("main", first)):
        assert sources.resolve(ask(f"hf:acme/tiny@{revision}"), a_world(hub)).revision == commit


def test_a_revision_given_by_hand_wins_over_the_one_in_the_source(hub):
    first = hub.add("acme/tiny", TINY)
    hub.update("acme/tiny", {"model.safetensors": b"n" * 2000})
    assert sources.resolve(ask("hf:acme/tiny@main", revision=first), a_world(hub)).revision == first


def test_gits_own_files_come_only_when_they_are_named(hub):
    hub.add("acme/tiny", TINY)
    assert ".gitattributes" not in paths(sources.resolve(ask("hf:acme/tiny", "*"), a_world(hub)))
    assert paths(sources.resolve(ask("hf:acme/tiny", ".gitattributes"), a_world(hub))) == [".gitattributes"]


def test_exclude_is_taken_from_files(hub):
    hub.add("acme/tiny", TINY)
    pin = sources.resolve(ask("hf:acme/tiny", "*.json", exclude=("tok*",)), a_world(hub))
    assert paths(pin) == ["config.json"]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("*Q5_K_M.gguf", "there are: Q2_K, Q4_K_M, Q8_0"),
        ("model-Q4_K_N.ggu", "model-Q4_K_M.gguf"),
        ("REDME.md", "did you mean README.md"),
        ("*.safetensors", "there are: README.md, model-Q2_K.gguf"),
    ],
)
def test_a_pattern_that_means_nothing_is_an_error_with_what_is_near(hub, pattern, says):
    hub.add("acme/quants", GGUF)
    with pytest.raises(NotFoundError) as error:
        sources.resolve(ask("hf:acme/quants", "README.md", pattern), a_world(hub))
    assert len(error.value.problems) == 1
    assert pattern in error.value.problems[0].summary
    assert says in error.value.problems[0].hint


def test_exclude_must_leave_something_of_each_pattern(hub):
    hub.add("acme/tiny", TINY)
    with pytest.raises(NotFoundError, match=r"every file that matches `tok\*` is left out"):
        sources.resolve(ask("hf:acme/tiny", "*.json", "tok*", exclude=("tokenizer.json",)), a_world(hub))
    with pytest.raises(NotFoundError, match="nothing after exclude"):
        sources.resolve(ask("hf:acme/tiny", exclude=("*",)), a_world(hub))


def test_a_support_repository_lends_the_config_and_tokenizer_files_that_are_missing(hub):
    hub.add("acme/quants", GGUF | {"config.json": b"own"})
    lender = hub.add("acme/base", TINY | {"vocab.json": b"v", "original/config.json": b"x", "README.md": b"r"})
    pin = sources.resolve(ask("hf:acme/quants", "*Q8_0.gguf", "config.json", support="hf:acme/base"), a_world(hub))
    assert pin.support == ("hf:acme/base", lender)
    assert [(file.path, file.support) for file in pin.files] == [
        ("config.json", False),
        ("model-Q8_0.gguf", False),
        ("tokenizer.json", True),
        ("vocab.json", True),
    ]
    lent = pin.files[2]
    assert pin.support is not None
    assert sources.locate(pin.support.source, pin.support.revision, lent, a_world(hub)).size == 3


# What a listing must not hold


@pytest.mark.parametrize(
    "entry",
    [
        {"path": "../../x"},
        {"path": "/abs"},
        {"path": "a\\..\\b"},
        {"path": "C:x"},
        {"path": "a//b"},
        {"path": "nul.gguf"},
        {"path": "evil\x1b[2J"},
        {"path": "link", "type": "symlink"},
        {"path": "sub", "type": "commit"},
        {"path": "model.safetensors"},
        {"path": "model.safetensors/x"},
        {"path": "negative.gguf", "size": -5, "content": b"x"},
        {"path": "bad.gguf", "sha256": "../../etc/passwd", "content": b"x" * 2000},
    ],
)
def test_one_bad_entry_spoils_the_whole_repository_and_is_named(hub, entry):
    hub.add_raw("evil/repo", [{"path": "model.safetensors", "content": WEIGHTS}, {"content": b"x", **entry}])
    hub.add("acme/tiny", TINY)
    world = a_world(hub)
    with pytest.raises(SourceError) as error:
        sources.resolve(ask("hf:evil/repo"), world)
    assert "upstream lists" in str(error.value)
    assert "\x1b" not in str(error.value)
    assert sources.resolve(ask("hf:acme/tiny"), world).files  # others go on


def test_names_that_differ_in_case_only_are_refused_when_both_are_wanted(hub):
    hub.add("acme/cases", {"A.gguf": b"a" * 2000, "a.gguf": b"b" * 2000})
    with pytest.raises(SourceError, match="ignore case"):
        sources.resolve(ask("hf:acme/cases"), a_world(hub))
    assert paths(sources.resolve(ask("hf:acme/cases", "A.gguf"), a_world(hub))) == ["A.gguf"]


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"{}",
        b"[1]",
        b'[{"type": "file"}]',
        b"[" * 100_000,
        b'[{"type":"file","path":1,"size":"x","oid":2}]',
        b"null",
    ],
)
def test_an_answer_that_is_no_listing_is_told_and_does_not_crash(hub, body):
    hub.add("acme/tiny", TINY)
    hub.fault("answer", path="/tree/", body=body, origin="hub", times=-1)
    with pytest.raises(SourceError, match=r"acme/tiny|not what we understand"):
        sources.resolve(ask("hf:acme/tiny"), a_world(hub))


def test_an_answer_without_end_is_cut(hub):
    hub.add("acme/tiny", TINY)
    hub.fault("endless", path="/api/models/", origin="hub", times=-1, limit=64 << 20)
    with pytest.raises(SourceError, match="larger than 32 MiB"):
        sources.resolve(ask("hf:acme/tiny"), a_world(hub))


def test_the_next_page_of_a_listing_must_be_at_the_same_host(hub):
    hub.add("acme/tiny", TINY)
    link = {"Link": '<http://127.0.0.2:8009/x>; rel="next"'}
    hub.fault("answer", path="/tree/", body=b"[]", headers=link, origin="hub")
    with pytest.raises(SourceError, match=r"another host, 127.0.0.2"):
        sources.resolve(ask("hf:acme/tiny"), a_world(hub, token=CANARY))


@pytest.mark.parametrize("location", ["http://127.0.0.2:8009/api/models/acme/tiny", "file:///etc/passwd", "ftp://x/y"])
def test_the_api_may_redirect_on_its_own_host_only(hub, location):
    hub.add("acme/tiny", TINY)
    hub.fault("redirect", location=location, code=307, origin="hub", times=-1)
    with pytest.raises(SourceError, match=r"another host|not http"):
        sources.resolve(ask("hf:acme/tiny"), a_world(hub, token=CANARY))


# Refusals, each with its own words


def refusal(hub: Hub, source: str = "hf:acme/tiny", **more: object) -> SourceError:
    with pytest.raises(SourceError) as error:
        sources.resolve(ask(source), a_world(hub, **more))  # type: ignore[arg-type]
    assert CANARY not in str(error.value)
    return error.value


def test_a_private_repository_without_a_token_cannot_be_told_from_a_missing_one(hub):
    hub.add("acme/tiny", TINY, private=True)
    for source in ("hf:acme/tiny", "hf:acme/nothing"):
        error = refusal(hub, source)
        assert isinstance(error, AccessError)
        assert "or it is private" in str(error)
        assert "HF_TOKEN" in error.problems[0].hint


def test_a_missing_repository_with_a_token_is_not_found(hub):
    error = refusal(hub, token=CANARY)
    assert isinstance(error, NotFoundError)
    assert f"{hub.url}/acme/tiny" in error.problems[0].hint


def test_a_private_repository_is_there_for_who_may_see_it(hub):
    hub.add("acme/tiny", TINY, private=True)
    world = a_world(hub, token=CANARY)
    pin = sources.resolve(ask("hf:acme/tiny"), world)
    assert sources.access(pin, world) is None


def test_a_token_that_the_hub_does_not_accept(hub):
    hub.add("acme/tiny", TINY)
    hub.fault(
        "answer", code=401, headers={"X-Error-Message": "Invalid credentials in Authorization header"}, origin="hub"
    )
    error = refusal(hub, token=CANARY)
    assert isinstance(error, AccessError)
    assert "does not accept the token" in str(error)
    assert "/settings/tokens" in error.problems[0].hint


def test_a_missing_revision_comes_with_those_that_are_near(hub):
    hub.tag("acme/tiny", "v1.0", hub.add("acme/tiny", TINY))
    error = refusal(hub, "hf:acme/tiny@v1.1")
    assert isinstance(error, NotFoundError)
    assert error.problems[0].where == "hf:acme/tiny@v1.1"
    assert "did you mean v1.0" in error.problems[0].hint
    assert "main, v1.0" in refusal(hub, "hf:acme/tiny@quantized").problems[0].hint


def test_a_renamed_repository_resolves_and_the_new_name_is_told(hub):
    commit = hub.add("acme/tiny", TINY)
    hub.rename("acme/tiny", "acme/small")
    heard = Heard()
    world = a_world(hub, heard=heard)
    pin = sources.resolve(ask("hf:acme/tiny"), world)
    assert (pin.source, pin.revision) == ("hf:acme/tiny", commit)
    assert ["acme/small" in warning for warning in heard.warnings] == [True]
    assert sources.locate(pin.source, pin.revision, pin.files[1], world).size == 3000


def test_a_busy_hub_is_asked_again_after_the_time_that_it_names(hub):
    hub.add("acme/tiny", TINY)
    hub.fault("status", code=429, retry_after=7, origin="hub", times=2)
    hub.fault("status", code=503, origin="hub", times=1)
    heard = Heard()
    assert sources.resolve(ask("hf:acme/tiny"), a_world(hub, heard=heard)).files
    assert heard.slept == [8.0, 8.0, 2.0]


def test_a_rate_limit_longer_than_our_patience_is_an_error_at_once(hub):
    hub.add("acme/tiny", TINY)
    hub.fault("status", code=429, retry_after=3600, origin="hub", times=-1)
    heard = Heard()
    error = refusal(hub, heard=heard)
    assert isinstance(error, RateLimitedError)
    assert heard.slept == []
    assert "HF_TOKEN" in error.problems[0].hint


def test_a_hub_that_is_down_is_told_once_for_many_variants(hub):
    hub.add("acme/tiny", TINY)
    hub.fault("status", code=503, origin="hub", times=-1)
    world = a_world(hub)
    for _ in range(3):
        with pytest.raises(SourceError, match="503"):
            sources.resolve(ask("hf:acme/tiny"), world)
    assert len(hub.requests) == 6


def test_no_hub_at_all_is_told_with_its_address():
    with Hub() as gone:
        address = gone.url
    with pytest.raises(SourceError, match=address) as error:
        sources.resolve(ask("hf:acme/tiny"), a_world(address))
    assert "network" in error.value.problems[0].hint


def test_offline_nobody_is_asked(hub):
    commit = hub.add("acme/tiny", TINY)
    world = a_world(hub, offline=True)
    pin = Pin("hf:acme/tiny", commit, (Artifact("x", 1, Digest("sha256:" + "a" * 64)),))
    with pytest.raises(OfflineError, match="offline"):
        sources.resolve(ask("hf:acme/tiny"), world)
    with pytest.raises(OfflineError):
        sources.locate(pin.source, commit, pin.files[0], world)
    assert sources.access(pin, world) is None
    assert hub.requests == []


# A digest given by hand


def test_a_digest_by_hand_must_be_the_one_upstream_has(hub):
    hub.add("acme/tiny", TINY)
    pin = sources.resolve(ask("hf:acme/tiny", "*.safetensors"), a_world(hub))
    right = pin.files[0].digest.removeprefix("sha256:")
    assert sources.resolve(ask("hf:acme/tiny", "*.safetensors", sha256=right), a_world(hub)) == pin
    by_path = {"model.safetensors": right, "config.json": "c" * 64}
    both = sources.resolve(ask("hf:acme/tiny", "*.safetensors", "config.json", sha256=by_path), a_world(hub))
    assert (
        both.files[0].digest == f"sha256:{'c' * 64}"
    )  # upstream tells only the git digest; the bytes must have this one
    with pytest.raises(SourceError, match=f"{right}.*manifest pins sha256:{'0' * 64}"):
        sources.resolve(ask("hf:acme/tiny", "*.safetensors", sha256="0" * 64), a_world(hub))
    with pytest.raises(SourceError, match="one digest, and 3 files"):
        sources.resolve(ask("hf:acme/tiny", sha256=right), a_world(hub))
    with pytest.raises(SourceError, match="not selected"):
        sources.resolve(ask("hf:acme/tiny", sha256={"other": right}), a_world(hub))


# Where the bytes are


def located(hub: Hub, index: int, **more: object) -> sources.Located:
    world = a_world(hub, **more)  # type: ignore[arg-type]
    pin = sources.resolve(ask("hf:acme/tiny"), world)
    return sources.locate(pin.source, pin.revision, pin.files[index], world)


def test_a_large_file_is_at_a_signed_address_that_needs_no_token(hub):
    hub.add("acme/tiny", TINY)
    found = located(hub, 1, token=CANARY)
    assert found.url.startswith(hub.cdn_url)
    assert found.shareable
    assert not found.headers
    assert found.expires is not None
    assert found.expires > hub.now()
    assert found.size == 3000


def test_a_small_file_is_on_the_hub_and_shareable_only_without_a_token(hub):
    hub.add("acme/tiny", TINY)
    found = located(hub, 0, token=CANARY)
    assert found.url.startswith(hub.url)
    assert found.headers == {"Authorization": f"Bearer {CANARY}"}
    assert not found.shareable
    assert CANARY not in repr(found)
    assert located(hub, 0).shareable


def test_a_file_below_the_worlds_measure_is_named_without_asking(hub):
    hub.add("acme/tiny", TINY)
    hub.reset_log()
    found = located(hub, 0, token=CANARY, small=1 << 20)
    assert found.url.startswith(f"{hub.url}/acme/tiny/resolve/")
    assert found.headers == {"Authorization": f"Bearer {CANARY}"}
    assert not found.shareable
    assert not [request for request in hub.requests if "/resolve/" in request.path]


def test_a_hub_that_sends_small_files_itself_is_as_good(hub):
    hub.small_redirect = False
    hub.add("acme/tiny", TINY)
    assert located(hub, 0).url.startswith(f"{hub.url}/acme/tiny/resolve/")


def test_the_token_is_sent_to_the_hub_and_to_nobody_else(hub, caplog):
    caplog.set_level(logging.DEBUG)
    hub.add("acme/tiny", TINY, private=True)
    hub.add("acme/gated", TINY, gated=True)
    world = a_world(hub, token=CANARY)
    for source in ("hf:acme/tiny", "hf:acme/gated"):
        pin = sources.resolve(ask(source), world)
        assert sources.access(pin, world) is None
        for file in pin.files:
            sources.locate(pin.source, pin.revision, file, world)
        assert CANARY not in repr(pin)
    for request in hub.requests:
        assert ("authorization" in request.headers) == (request.origin == "hub")
    assert all(request.headers["authorization"] == f"Bearer {CANARY}" for request in hub.requests)
    assert CANARY not in caplog.text


def test_a_redirect_of_the_hub_to_another_port_gets_no_token(hub):
    hub.add("acme/tiny", TINY)
    world = a_world(hub, token=CANARY)
    pin = sources.resolve(ask("hf:acme/tiny"), world)
    with Hub(token=CANARY) as other:
        hub.fault("redirect", location=f"{other.url}/acme/tiny/resolve/x", origin="hub")
        with pytest.raises(SourceError):
            sources.locate(pin.source, pin.revision, pin.files[1], world)
        assert [request.headers.get("authorization") for request in other.requests] == [None]


@pytest.mark.parametrize(
    ("location", "says"),
    [("file:///etc/passwd", "not http"), ("ftp://host/x", "not http"), ("http://a:b@127.0.0.1/x", "user name")],
)
def test_the_hub_cannot_send_us_just_anywhere(hub, location, says):
    hub.add("acme/tiny", TINY)
    world = a_world(hub)
    pin = sources.resolve(ask("hf:acme/tiny"), world)
    hub.fault("redirect", location=location, origin="hub")
    with pytest.raises(SourceError, match=says):
        sources.locate(pin.source, pin.revision, pin.files[1], world)


def test_a_circle_of_redirects_ends(hub):
    hub.add("acme/tiny", TINY)
    world = a_world(hub)
    pin = sources.resolve(ask("hf:acme/tiny"), world)
    hub.reset_log()
    hub.fault("redirect", location="/again", origin="hub", times=-1)
    with pytest.raises(SourceError, match="more than 5 redirects"):
        sources.locate(pin.source, pin.revision, pin.files[1], world)
    assert len(hub.requests) == 6


def test_a_locked_file_whose_bytes_upstream_has_changed_is_an_error_with_both_digests(hub):
    commit = hub.add("acme/tiny", TINY)
    world = a_world(hub)
    pin = sources.resolve(ask("hf:acme/tiny"), world)
    for file in pin.files:
        letter = "a" if file.digest[-1] != "a" else "b"
        other = file._replace(digest=Digest(file.digest[:-1] + letter))
        with pytest.raises(SourceError, match=f"locked {other.digest}.*now {file.digest}"):
            sources.locate(pin.source, commit, other, world)
        with pytest.raises(SourceError, match="changed the bytes"):
            sources.locate(pin.source, commit, file._replace(size=file.size + 1), world)


def test_an_answer_for_another_commit_or_for_none_is_refused(hub):
    commit = hub.add("acme/tiny", TINY)
    world = a_world(hub)
    pin = sources.resolve(ask("hf:acme/tiny"), world)
    hub.fault("answer", headers={"X-Repo-Commit": "0" * 40}, origin="hub")
    with pytest.raises(SourceError, match=f"instead of {commit}"):
        sources.locate(pin.source, commit, pin.files[0], world)
    hub.fault("html", origin="hub")
    with pytest.raises(SourceError, match="names no commit"):
        sources.locate(pin.source, commit, pin.files[0], world)


def test_a_file_or_commit_that_is_gone_is_not_found(hub):
    commit = hub.add("acme/tiny", TINY)
    gone = Artifact("gone.gguf", 1, Digest("sha256:" + "a" * 64))
    with pytest.raises(NotFoundError, match="no such file"):
        sources.locate("hf:acme/tiny", commit, gone, a_world(hub))
    with pytest.raises(NotFoundError, match="no such revision"):
        sources.locate("hf:acme/tiny", "f" * 40, gone, a_world(hub))


def test_a_busy_hub_delays_a_location_and_does_not_lose_it(hub):
    hub.add("acme/tiny", TINY)
    heard = Heard()
    world = a_world(hub, heard=heard)
    pin = sources.resolve(ask("hf:acme/tiny"), world)
    hub.fault("status", code=429, retry_after=2, origin="hub", times=1)
    hub.fault("status", code=500, origin="hub", times=1)
    assert sources.locate(pin.source, pin.revision, pin.files[1], world).shareable
    assert heard.slept == [3.0, 1.0]


def test_many_threads_may_ask_at_once(hub):
    hub.add("acme/tiny", TINY)
    world = a_world(hub, token=CANARY)
    pin = sources.resolve(ask("hf:acme/tiny"), world)
    with ThreadPoolExecutor(16) as pool:
        urls = list(
            pool.map(lambda n: sources.locate(pin.source, pin.revision, pin.files[n % 3], world).size, range(96))
        )
    assert urls == [2, 3000, 3] * 32


# Access


def test_a_gated_repository_can_be_locked_and_the_plan_says_that_it_cannot_be_had(hub):
    hub.add("acme/tiny", TINY, gated=True)
    world = a_world(hub)
    pin = sources.resolve(ask("hf:acme/tiny"), world)
    reason = sources.access(pin, world)
    assert reason is not None
    assert "gated" in reason
    assert f"{hub.url}/acme/tiny" in reason
    assert "HF_TOKEN" in reason


def test_a_token_without_access_to_a_gated_repository_is_told_so(hub):
    hub.add("acme/tiny", TINY, gated=True)
    hub.deny_gated = True
    world = a_world(hub, token=CANARY)
    reason = sources.access(sources.resolve(ask("hf:acme/tiny"), world), world)
    assert reason is not None
    assert "this token has no access" in reason


def test_access_is_asked_once_a_repository_and_never_for_one_that_is_open(hub):
    hub.add("acme/gated", TINY, gated=True)
    hub.add("acme/open", TINY)
    world = a_world(hub, token=CANARY)
    pins = [sources.resolve(ask(f"hf:acme/{name}"), world) for name in ("gated", "open")]
    hub.reset_log()
    for _ in range(3):
        assert [sources.access(pin, world) for pin in pins] == [None, None]
    assert [request.method for request in hub.requests] == ["HEAD"]


def test_access_of_a_locked_pin_needs_one_request(hub):
    hub.add("acme/open", TINY)
    pin = sources.resolve(ask("hf:acme/open"), a_world(hub))
    hub.reset_log()
    assert sources.access(pin, a_world(hub)) is None
    assert len(hub.requests) == 1


def test_a_support_repository_without_access_counts(hub):
    hub.add("acme/quants", GGUF)
    hub.add("acme/base", TINY, gated=True)
    world = a_world(hub)
    pin = sources.resolve(ask("hf:acme/quants", "*Q8_0.gguf", support="hf:acme/base"), world)
    assert "gated" in (sources.access(pin, world) or "")


def test_trouble_of_the_moment_is_a_warning_and_does_not_block(hub):
    hub.add("acme/tiny", TINY, gated=True)
    heard = Heard()
    world = a_world(hub, heard=heard)
    pin = sources.resolve(ask("hf:acme/tiny"), world)
    hub.fault("status", code=503, origin="hub", times=-1)
    assert sources.access(pin, world) is None
    assert len(heard.warnings) == 1


def test_huggingface_hub_outside_of_our_questions_works_as_ever(hub, world):
    hub.add("acme/tiny", TINY)
    sources.resolve(ask("hf:acme/tiny"), a_world(hub))
    from huggingface_hub import hf_hub_download

    path = hf_hub_download("acme/tiny", "model.safetensors", endpoint=hub.url, local_dir=world, token=False)
    with open(path, "rb") as file:
        assert file.read() == WEIGHTS


def test_the_commit_that_a_branch_means_now_is_one_question(hub):
    commit = hub.add("acme/tiny", TINY)
    assert huggingface.current(ask("hf:acme/tiny"), a_world(hub)) == commit
    assert len(hub.requests) == 1


def test_the_first_questions_of_many_threads_do_not_disturb_each_other(hub):
    for n in range(16):
        hub.add(f"acme/r{n}", {"a.gguf": b"%d" % n})
    hub.page_size = 1
    code = (
        "import sys, json; from concurrent.futures import ThreadPoolExecutor as Pool\n"
        "from reconciler.sources import Request, World, resolve\n"
        "world = World(sys.argv[1])\n"
        "with Pool(16) as pool:\n"
        "    print(sum(len(pin.files) for pin in pool.map(\n"
        "        lambda n: resolve(Request('v', '', f'hf:acme/r{n}'), world), range(16))))\n"
    )
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code, hub.url], capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == ("16\n", "")


def test_what_the_hub_wants_to_tell_people_is_a_warning_that_can_only_be_read(hub, capfd):
    hub.add("acme/tiny", TINY)
    heard = Heard()
    words = {"X-HF-Warning": "Outdated; \u009b31m update now", "Content-Type": "application/json"}
    hub.fault("answer", path="/tree/", headers=words, body=b"[]", origin="hub")
    with pytest.raises(NotFoundError, match="holds no files"):
        sources.resolve(ask("hf:acme/tiny"), a_world(hub, heard=heard))
    assert ["update now" in warning and "\\x9b" in warning for warning in heard.warnings] == [True]
    assert "update now" not in "".join(capfd.readouterr())
