"""The source `civitai:` against a loopback Civitai: what is locked, what is refused and why, where the token goes."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from civitai_kit import FULL, HALF, LORA, NEWER, NOBODY, TOKEN, VAE, populate, world_of
from sources_kit import Heard, a_world, ask

from reconciler import lockfile, sources
from reconciler.errors import AccessError, NotFoundError, OfflineError, RateLimitedError, SourceError
from reconciler.hub.assets import AssetFile, Preview
from reconciler.hub.civitai import Civitai
from reconciler.hub.diffusion import image_model, webp
from reconciler.hub.repos import Blob
from reconciler.hub.server import Hub
from reconciler.lockfile import Lock
from reconciler.secrets import Secret
from reconciler.sources import civitai as source
from reconciler.sources import civitaiapi, civitaitold, tokens
from reconciler.state import Artifact, Digest, Pin


@pytest.fixture
def civitai() -> Iterator[Civitai]:
    with Civitai(token=TOKEN) as running:
        populate(running)
        yield running


def resolve(civitai: Civitai, reference: str, *files: str, **more: object) -> Pin:
    return sources.resolve(ask(reference, *files, **more), world_of(civitai))


def paths(pin: Pin) -> list[str]:
    return [file.path for file in pin.files]


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def fetch(civitai: Civitai, pin: Pin, at: int = 0) -> bytes:
    from reconciler.sources import wire

    found = sources.locate(pin.source, pin.revision, pin.files[at], world_of(civitai))
    return wire.send("GET", found.url, world_of(civitai), found.headers, limit=1 << 24).body


# -- what is locked ---------------------------------------------------------------------------------------------------


def test_a_version_is_locked_with_its_file_its_size_and_every_digest(civitai: Civitai) -> None:
    pin = resolve(civitai, "civitai:7@71")
    (file,) = pin.files

    assert (pin.source, pin.revision) == ("civitai:7@71", "71")
    assert (file.path, file.size, file.digest) == ("story.safetensors", len(LORA), sha256(LORA))
    assert dict(file.also)["autov2"] == file.digest[7:17]
    assert [kind for kind, _ in file.also] == ["autov2", "autov3", "crc32"]
    assert all(text == text.lower() for _, text in file.also)


def test_the_hash_of_nothing_that_short_files_share_is_no_identity(civitai: Civitai) -> None:
    assert civitai.versions[71].files[0].hashes["AutoV1"] == "E3B0C442"
    assert "autov1" not in dict(resolve(civitai, "civitai:7@71").files[0].also)
    assert source.by_hash(["e3b0c442", "", hashlib.sha256().hexdigest()], world_of(civitai)) == {}
    long = image_model("lora", 9, size=(1 << 20) + 70_000)
    civitai.add_version(7, 74, {"long.safetensors": long})
    found = dict(resolve(civitai, "civitai:7@74").files[0].also)
    assert found["autov1"] == hashlib.sha256(long[0x100000:0x110000]).hexdigest()[:8]


def test_a_model_without_a_version_is_locked_at_the_newest_and_stays_there(civitai: Civitai) -> None:
    pin = resolve(civitai, "civitai:7")
    assert (pin.revision, paths(pin)) == ("72", ["story_v2.safetensors"])

    civitai.add_version(7, 73, {"story_v3.safetensors": LORA})
    assert resolve(civitai, "civitai:7", revision="72").revision == "72"
    assert source.current(ask("civitai:7"), world_of(civitai)) == "73"
    assert source.current(ask("civitai:7@71"), world_of(civitai)) == "71"


def test_the_primary_file_is_meant_unless_a_number_or_globs_say_otherwise(civitai: Civitai) -> None:
    assert [file.digest for file in resolve(civitai, "civitai:9@91").files] == [sha256(HALF)]
    assert [file.digest for file in resolve(civitai, "civitai:9@91+2").files] == [sha256(FULL)]
    assert paths(resolve(civitai, "civitai:9@91", "*.pt")) == ["all.vae.pt"]
    everything = resolve(civitai, "civitai:9@91", "*")
    assert paths(everything) == ["all-2.safetensors", "all.safetensors", "all.vae.pt"]
    assert {file.digest for file in everything.files} == {sha256(data) for data in (HALF, FULL, VAE)}


def test_a_file_number_that_is_not_there_is_refused_with_those_that_are(civitai: Civitai) -> None:
    with pytest.raises(NotFoundError, match=r"no file 5 .*\+2 \(all-2.safetensors\), \+1 .*\+3"):
        resolve(civitai, "civitai:9@91+5")


def test_a_version_of_another_model_is_refused_with_what_was_meant(civitai: Civitai) -> None:
    with pytest.raises(NotFoundError, match=r"one of model 9 .*did you mean civitai:9@91"):
        resolve(civitai, "civitai:7@91")


def test_an_air_is_the_same_as_its_numbers(civitai: Civitai) -> None:
    plain, named = resolve(civitai, "civitai:9@91+2"), resolve(civitai, "urn:air:sdxl:checkpoint:civitai:9@91+2")

    assert named.files == plain.files
    assert named.about["civitai"]["air"] == "urn:air:sd1:checkpoint:civitai:9@91", "the API knows better"
    found = sources.locate(named.source, named.revision, named.files[0], world_of(civitai))
    assert found.size == len(FULL)
    assert sources.access(named, world_of(civitai)) is None


def test_where_the_api_names_no_air_one_is_made_of_what_is_known(civitai: Civitai) -> None:
    civitai.versions[71].air = None
    assert resolve(civitai, "civitai:7@71").about["civitai"]["air"] == "urn:air:other:lora:civitai:7@71"
    named = resolve(civitai, "urn:air:flux1:lora:civitai:7@71")
    assert named.about["civitai"]["air"] == "urn:air:flux1:lora:civitai:7@71"


def test_an_air_of_the_hub_selects_its_file(civitai: Civitai) -> None:
    with Hub() as hub:
        commit = hub.add("acme/parts", {"a/model.safetensors": LORA, "b/model.safetensors": NEWER}, license="mit")
        reference = "urn:air:flux1:vae:huggingface:acme/parts@main/b/model.safetensors"
        pin = sources.resolve(ask(reference), a_world(hub))
        assert (pin.source, pin.revision, pin.license) == (reference, commit, "mit")
        assert [(file.path, file.digest) for file in pin.files] == [("b/model.safetensors", sha256(NEWER))]
        assert sources.locate(pin.source, pin.revision, pin.files[0], a_world(hub)).size == len(NEWER)
        assert sources.source_of(reference).current(ask(reference), a_world(hub)) == commit
        assert sources.access(pin, a_world(hub)) is None
        with pytest.raises(NotFoundError, match=r"did you mean b/model.safetensors"):
            sources.resolve(ask(reference.replace("/model.", "/modle.")), a_world(hub))


def test_what_companions_need_is_in_the_lock_and_the_same_on_another_day(civitai: Civitai) -> None:
    pin = resolve(civitai, "civitai:7")
    about = pin.about["civitai"]

    assert about["air"] == "urn:air:sdxl:lora:civitai:7@72"
    assert (about["model"], about["version"], about["type"], about["base_model"]) == (
        "Storybook", "v2", "LORA", "SDXL 1.0",
    )  # fmt: skip
    assert about["trained_words"] == ["storybook", "warm"]
    assert about["description"] == "Style\nSoft & warm."
    assert [(each["nsfw_level"], each["type"]) for each in about["previews"]] == [(4, "image"), (1, "image")]
    assert about["files"][0]["name"] == "story_v2.safetensors"
    assert about["tags"] == ["book", "style"]
    civitai.advance(86_400 * 3)  # the counters move
    assert resolve(civitai, "civitai:7") == pin
    assert "stats" not in json.dumps(about)


def test_a_lock_of_it_reads_back_and_names_no_mirror(civitai: Civitai) -> None:
    pin = resolve(civitai, "civitai:9@91", "*", exclude=("*.pt",))
    text = lockfile.dumps(Lock(1, {"all": replace(pin, about={})}))

    assert lockfile.loads(lockfile.dumps(Lock(1, {"all": pin})), "x").pins["all"] == pin
    assert "127.0.0.1" not in text
    assert {file.url for file in pin.files} == {
        "https://civitai.com/api/download/models/91?fileId=1",
        "https://civitai.com/api/download/models/91?type=Model&format=SafeTensor&fp=fp32&fileId=2",
    }


def test_the_license_says_what_the_creator_permits(civitai: Civitai) -> None:
    assert resolve(civitai, "civitai:7@71").license == (
        "civitai: as SDXL 1.0; commercial use: image, rentcivit; credit required"
    )


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"allowCommercialUse": []}, "no commercial use"),
        ({"allowCommercialUse": "None"}, "no commercial use"),
        ({"allowCommercialUse": "Sell"}, "commercial use: sell"),
        ({"allowCommercialUse": ["Sell", 3], "allowDerivatives": False}, "commercial use: sell; no derivatives"),
        ({"allowDifferentLicense": False}, "no commercial use; same permissions when shared"),
    ],
)
def test_permissions_are_read_in_every_shape_that_they_have_had(said: dict[str, object], words: str) -> None:
    assert civitaitold.permissions(said) == words


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>a<p>b<br>c", "a\nb\nc"), ("&lt;b&gt; &amp; more", "<b> & more"), ("<style>x</style>y", "y"),
        ("<![bad[ x", ""), ("<p>a</p><![bad[ x ]]>b", "a\nb"), ("</script>a", "a"), (None, ""), (3, ""),
        ("x" * 5000, "x" * 1999 + "…"),
    ],
)  # fmt: skip
def test_descriptions_become_plain_text_whatever_their_markup(markup: object, text: str) -> None:
    assert civitaitold.plain(markup) == text


def test_a_page_of_the_guard_before_civitai_is_told_as_such(civitai: Civitai) -> None:
    civitai.fault("answer", origin="hub", code=403, body=b"<!DOCTYPE html><title>Just a moment...</title>", times=-1)
    with pytest.raises(AccessError, match=r"\(403\): with a web page"):
        resolve(civitai, "civitai:7@71")


@pytest.mark.parametrize(
    ("told", "exact"),
    [(18829.1484375, 19281048), (151494.275390625, 155130138), (6775430.35, None), (336.0, None), (1.5, None),
     (None, None), (True, None), (-1, None)],
)  # fmt: skip
def test_a_size_is_exact_when_it_is_not_rounded(told: object, exact: int | None) -> None:
    assert civitaitold._size(told)[0] == exact


def test_a_rounded_size_is_asked_for_and_taken_as_told_where_that_is_refused(civitai: Civitai) -> None:
    data = image_model("embedding", 1)
    claims = {"sizeKB": round(len(data) / 1024, 2)}
    civitai.add_version(7, 74, [AssetFile(8, "e.safetensors", Blob(data), primary=True, claims=claims)])

    assert resolve(civitai, "civitai:7@74").files[0].size == len(data)
    anonymous = sources.resolve(ask("civitai:7@74"), world_of(civitai, token=None))
    assert abs(anonymous.files[0].size - len(data)) < 1024


def test_a_file_without_a_sha256_needs_one_by_hand(civitai: Civitai) -> None:
    civitai.add_version(7, 74, [AssetFile(8, "new.safetensors", Blob(LORA), primary=True, claims={"hashes": {}})])

    with pytest.raises(SourceError, match=r"tells no SHA256 of new.safetensors"):
        resolve(civitai, "civitai:7@74")
    pin = resolve(civitai, "civitai:7@74", sha256=sha256(LORA)[7:])
    assert pin.files[0].digest == sha256(LORA)


def test_a_digest_by_hand_that_is_not_civitais_is_refused(civitai: Civitai) -> None:
    with pytest.raises(SourceError, match="the manifest pins sha256:000"):
        resolve(civitai, "civitai:7@71", sha256="0" * 64)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("../../etc/passwd", ".._.._etc_passwd"),
        ('a<b>:c"d.safetensors', "a_b__c_d.safetensors"),
        ("aux.pt", "_aux.pt"),
        ("trailing. ", "trailing"),
        ("\u202eevil\x00.pt", "evil .pt"),
        ("e\u0301.pt", "\u00e9.pt"),
        ("~x.pt", "x.pt"),
        ("...", "file-8"),
        ("n" * 300 + ".safetensors", "n" * 188 + ".safetensors"),
    ],
)
def test_names_of_uploaders_become_names_that_every_system_takes(civitai: Civitai, name: str, path: str) -> None:
    civitai.add_version(7, 74, [AssetFile(8, name, Blob(LORA), primary=True)])
    assert paths(resolve(civitai, "civitai:7@74")) == [path]


def test_a_pattern_that_means_nothing_is_told_with_what_there_is(civitai: Civitai) -> None:
    with pytest.raises(NotFoundError, match="no file matches"):
        resolve(civitai, "civitai:9@91", "*.gguf")


def test_what_a_scan_calls_dangerous_is_a_warning(civitai: Civitai) -> None:
    heard = Heard()
    file = AssetFile(8, "bad.pt", Blob(b"x" * 2100), primary=True, claims={"pickleScanResult": "Danger"})
    civitai.add_version(7, 74, [file])
    sources.resolve(ask("civitai:7@74"), world_of(civitai, heard=heard))
    assert any("calls bad.pt dangerous" in text for text in heard.warnings)


@pytest.mark.parametrize("revision", ["main", "0x47", ""])
def test_a_version_by_hand_is_a_number(civitai: Civitai, revision: str) -> None:
    with pytest.raises(SourceError, match="a version of Civitai is a number"):
        resolve(civitai, "civitai:7", revision=revision)


def test_two_versions_at_once_are_refused(civitai: Civitai) -> None:
    with pytest.raises(SourceError, match=r"the source names version 71, and lock.revision 72"):
        resolve(civitai, "civitai:7@71", revision="72")


# -- where it is ------------------------------------------------------------------------------------------------------


def test_the_address_that_is_handed_on_is_signed_expires_and_carries_nothing(civitai: Civitai) -> None:
    pin = resolve(civitai, "civitai:7@71")
    found = sources.locate(pin.source, pin.revision, pin.files[0], world_of(civitai))

    assert found.url.startswith(civitai.cdn_url)
    assert (dict(found.headers), found.shareable, found.size) == ({}, True, len(LORA))
    assert found.expires is not None
    assert 86_000 < found.expires - civitai.now() < 86_401
    assert fetch(civitai, pin) == LORA


def test_an_address_that_has_expired_is_had_anew(civitai: Civitai) -> None:
    pin, world = resolve(civitai, "civitai:7@71"), world_of(civitai)
    first = sources.locate(pin.source, pin.revision, pin.files[0], world)
    civitai.advance(86_500)
    second = sources.locate(pin.source, pin.revision, pin.files[0], world)

    assert first.url != second.url
    assert second.expires is not None
    assert second.expires > civitai.now()


def test_what_the_account_likes_better_does_not_change_which_file_comes(civitai: Civitai) -> None:
    civitai.preferences = {"fp": "fp32"}
    pin = resolve(civitai, "civitai:9@91")
    assert fetch(civitai, pin) == HALF


def test_a_file_that_belongs_to_another_version_comes_by_the_address_that_the_api_gives(civitai: Civitai) -> None:
    pin = resolve(civitai, "civitai:9@91", "*.pt")
    civitai.reset_log()
    civitai.fault("status", origin="hub", code=404, times=1, path="/api/download/models/91")

    assert fetch(civitai, pin) == VAE
    asked = [request.query for request in civitai.requests if request.path.startswith("/api/download")]
    assert asked == ["fileId=3", "type=VAE&format=PickleTensor"]


def test_a_bare_address_is_never_a_second_try_for_a_file(civitai: Civitai) -> None:
    pin = resolve(civitai, "civitai:7@71")
    civitai.versions[71].files.clear()
    with pytest.raises(NotFoundError):
        source.locate(pin.source, pin.revision, pin.files[0], world_of(civitai))
    asked = [request.query for request in civitai.requests if request.path.startswith("/api/download")]
    assert len(asked) == 1


def test_bytes_that_upstream_rewrote_are_an_error_that_names_both(civitai: Civitai) -> None:
    pin = resolve(civitai, "civitai:7@71")
    civitai.replace_file(71, "story.safetensors", NEWER)

    with pytest.raises(SourceError) as caught:
        sources.locate(pin.source, pin.revision, pin.files[0], world_of(civitai))
    assert sha256(LORA) in str(caught.value)
    assert sha256(NEWER) in str(caught.value)
    assert "lock --upgrade" in str(caught.value)


def test_another_size_than_the_locked_one_is_an_error_also_where_the_api_is_silent(civitai: Civitai) -> None:
    pin = resolve(civitai, "civitai:7@71")
    longer = AssetFile(civitai.versions[71].files[0].number, "story.safetensors", Blob(LORA + b"x"), primary=True)
    civitai.versions[71].files = [replace(longer, claims={"hashes": {}})]

    with pytest.raises(SourceError, match=f"now {len(LORA) + 1} bytes"):
        sources.locate(pin.source, pin.revision, pin.files[0], world_of(civitai))


@pytest.mark.parametrize("manners", ["login", "page"])
def test_a_login_that_answers_200_is_no_file(civitai: Civitai, manners: str) -> None:
    pin = resolve(civitai, "civitai:7@71")
    civitai.manners = manners  # type: ignore[assignment]

    with pytest.raises(AccessError, match=r"a web page \(a login\?\) instead of the file, and no token is set"):
        source.locate(pin.source, pin.revision, pin.files[0], world_of(civitai, token=None))
    with pytest.raises(AccessError, match="is CIVITAI_TOKEN right"):
        source.locate(pin.source, pin.revision, pin.files[0], world_of(civitai, token="another"))


def test_a_page_where_the_bytes_should_be_is_no_file(civitai: Civitai) -> None:
    pin = resolve(civitai, "civitai:7@71")
    civitai.fault("html", times=-1)
    with pytest.raises(AccessError, match="a web page"):
        source.locate(pin.source, pin.revision, pin.files[0], world_of(civitai))


def test_a_server_that_ignores_ranges_still_tells_the_size(civitai: Civitai) -> None:
    pin = resolve(civitai, "civitai:7@71")
    civitai.fault("no_range", times=-1)
    assert source.locate(pin.source, pin.revision, pin.files[0], world_of(civitai)).size == len(LORA)


def test_a_redirect_to_a_private_address_is_not_followed_from_a_public_civitai() -> None:
    world = a_world(NOBODY, civitai="https://civitai.com")
    with pytest.raises(SourceError, match="private address"):
        civitaiapi.hop("https://civitai.com/api/download/models/1", "https://192.168.0.1/x", world, "here")
    with pytest.raises(SourceError, match="plain http"):
        civitaiapi.hop("https://civitai.com/api/download/models/1", "http://example.org/x", world, "here")


def test_previews_are_learnt_with_the_type_that_their_bytes_have(civitai: Civitai) -> None:
    pin = resolve(civitai, "civitai:7@72", preview="", rating="pg")
    (shown,) = [file for file in pin.files if file.media_type]

    assert (shown.path, shown.media_type) == ("preview.png", "image/png")
    assert shown.url.endswith("/502.png"), "the first is not for this rating"
    found = sources.locate(pin.source, pin.revision, shown, world_of(civitai))
    assert (found.size, found.url) == (shown.size, shown.url)
    plain = source.locate(pin.source, pin.revision, shown._replace(media_type=""), world_of(civitai))
    assert plain.url == shown.url, "a plan's row says no media type"

    civitai.versions[71].previews.append(Preview(503, webp(1), told="jpeg"))
    (webp_shown,) = [file for file in resolve(civitai, "civitai:7@71", preview="").files if file.media_type]
    assert webp_shown.path == "preview.webp"


def test_pictures_made_to_measure_are_asked_for_as_they_were_uploaded() -> None:
    said = {"url": "https://image.civitai.com/x/u/width=450/1.jpeg", "nsfwLevel": 1, "type": "image"}
    assert civitaitold._preview(said).url == "https://image.civitai.com/x/u/original=true/1.jpeg"


# -- whether it may be had --------------------------------------------------------------------------------------------


def why(civitai: Civitai, pin: Pin, token: str | None = TOKEN) -> str | None:
    return sources.access(pin, world_of(civitai, token=token))


def test_what_may_be_had_has_no_reason_and_no_token_is_one(civitai: Civitai) -> None:
    pin = resolve(civitai, "civitai:7@71")
    assert why(civitai, pin) is None
    told = why(civitai, pin, token=None)
    assert told is not None
    assert "no token is set" in told
    assert "set CIVITAI_TOKEN" in told


def test_a_token_that_is_not_known_is_told(civitai: Civitai) -> None:
    told = why(civitai, resolve(civitai, "civitai:7@71"), token="another")
    assert told is not None
    assert "is CIVITAI_TOKEN right" in told


def test_early_access_is_told_with_its_end_and_over_when_it_ends_or_was_paid_for(civitai: Civitai) -> None:
    pin = resolve(civitai, "civitai:7@71")
    ends = civitai.now() + 86_400
    civitai.versions[71].early_access = ends

    told = why(civitai, pin)
    assert told is not None
    assert f"early access until {datetime.fromtimestamp(ends, UTC):%Y-%m-%d %H:%M} UTC" in told
    assert f"{civitai.url}/models/7?modelVersionId=71" in told
    assert "no token is set" in (why(civitai, pin, token=None) or "")
    civitai.bought.add(71)
    assert why(civitai, pin) is None
    civitai.bought.clear()
    civitai.advance(86_401)
    assert why(civitai, pin) is None


def test_what_is_sold_is_told_until_it_is_bought(civitai: Civitai) -> None:
    pin = resolve(civitai, "civitai:7@71")
    civitai.versions[71].paid = True
    assert "it is sold: pay for access at" in (why(civitai, pin) or "")
    civitai.bought.add(71)
    assert why(civitai, pin) is None


def test_archived_taken_down_and_not_permitted_are_told_without_asking_for_the_file(civitai: Civitai) -> None:
    pin = resolve(civitai, "civitai:7@71")
    civitai.reset_log()
    civitai.models[7].mode = "Archived"
    assert "archived" in (why(civitai, pin) or "")
    civitai.models[7].mode = "TakenDown"
    assert "taken down" in (why(civitai, pin) or "")
    civitai.models[7].mode = None
    civitai.versions[71].usage = "Generation"
    assert "no downloads" in (why(civitai, pin) or "")
    assert not [request for request in civitai.requests if request.path.startswith("/api/download")]


@pytest.mark.parametrize(("status", "says"), [(404, "not published"), (410, "gone"), (451, "taken down")])
def test_what_is_gone_is_told(civitai: Civitai, status: int, says: str) -> None:
    pin = resolve(civitai, "civitai:7@71")
    civitai.models[7].gone = status
    assert says in (why(civitai, pin) or "")
    with pytest.raises(NotFoundError, match=says):
        resolve(civitai, "civitai:7@71")


def test_an_archived_model_cannot_be_locked_anew_and_says_so(civitai: Civitai) -> None:
    civitai.models[7].mode = "Archived"
    with pytest.raises(NotFoundError, match="archived: Civitai keeps its page and gives its files to nobody"):
        resolve(civitai, "civitai:7@71")


def test_trouble_of_the_moment_is_a_warning_and_no_reason(civitai: Civitai) -> None:
    pin, heard = resolve(civitai, "civitai:7@71"), Heard()
    civitai.fault("status", origin="hub", code=500, times=-1)
    assert sources.access(pin, world_of(civitai, heard=heard)) is None
    assert any("is not known" in text for text in heard.warnings)


def test_access_is_asked_once_for_a_file_however_many_want_it(civitai: Civitai) -> None:
    pin, world = resolve(civitai, "civitai:7@71"), world_of(civitai)
    civitai.reset_log()
    for _ in range(5):
        assert sources.access(pin, world) is None
    assert len([request for request in civitai.requests if request.path.startswith("/api/download")]) == 1


def test_offline_nobody_is_asked(civitai: Civitai) -> None:
    pin = resolve(civitai, "civitai:7@71")
    civitai.reset_log()
    offline = world_of(civitai, offline=True)
    assert sources.access(pin, offline) is None
    with pytest.raises(OfflineError):
        sources.resolve(ask("civitai:7"), offline)
    with pytest.raises(OfflineError):
        sources.locate(pin.source, pin.revision, pin.files[0], offline)
    assert civitai.requests == []


# -- the API ----------------------------------------------------------------------------------------------------------


def test_a_busy_civitai_is_waited_for_as_it_asks(civitai: Civitai) -> None:
    heard = Heard()
    civitai.fault("status", origin="hub", code=429, retry_after=7, times=2)
    pin = sources.resolve(ask("civitai:7@71"), world_of(civitai, heard=heard))
    assert pin.revision == "71"
    assert len(heard.slept) == 2
    assert min(heard.slept) >= 7


def test_one_that_asks_for_too_much_patience_is_told_without_a_word_of_the_hubs_token(civitai: Civitai) -> None:
    civitai.fault("status", origin="hub", code=429, retry_after=3600, times=-1)
    with pytest.raises(RateLimitedError) as caught:
        resolve(civitai, "civitai:7@71")
    assert "HF_TOKEN" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "application/json"), (b"[]", "application/json"), (b"{}", "application/json"),
        (b'{"id": "71"}', "application/json"), (b"{" * 5000, "application/json"),
        (b'{"id": 71, "modelId": 7, "files": [{}]}', "application/json"),
        (b'{"id": 71, "modelId": -7, "files": []}', "application/json"),
        (b"<html>maintenance</html>", "text/html"), (b"\xff\xfe", "application/json"), (b"null", "application/json"),
    ],
)  # fmt: skip
def test_answers_of_another_shape_are_one_error_and_no_traceback(civitai: Civitai, body: bytes, kind: str) -> None:
    civitai.fault("answer", origin="hub", body=body, headers={"Content-Type": kind}, times=-1)
    with pytest.raises(SourceError, match=r"not what we understand|a web page"):
        resolve(civitai, "civitai:7@71")


def test_an_answer_without_end_is_cut_off(civitai: Civitai, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(civitaiapi, "_MAX_BODY", 100)
    with pytest.raises(SourceError, match="larger than"):
        resolve(civitai, "civitai:7@71")


def test_the_words_of_a_refusal_are_inert_and_hold_no_token(civitai: Civitai) -> None:
    words = json.dumps({"error": "no\x1b[31m", "message": f"your {TOKEN} is bad"}).encode()
    civitai.fault("answer", origin="hub", code=403, body=words, times=-1)
    with pytest.raises(AccessError) as caught:
        resolve(civitai, "civitai:7@71")
    assert "\x1b" not in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert "your *** is bad" in str(caught.value)


def test_reading_shows_no_token_unless_it_is_refused_without_one(civitai: Civitai) -> None:
    resolve(civitai, "civitai:7@71")
    assert not [request for request in civitai.requests if "authorization" in request.headers]

    civitai.fault("status", origin="hub", code=401, times=1, path="/model-versions/72")
    assert resolve(civitai, "civitai:7@72").revision == "72"
    shown = [request.path for request in civitai.requests if "authorization" in request.headers]
    assert shown == ["/api/v1/model-versions/72"]


def test_many_variants_of_one_version_cost_one_question(civitai: Civitai) -> None:
    world = world_of(civitai)
    for _ in range(4):
        sources.resolve(ask("civitai:7@71"), world)
    assert [request.path for request in civitai.requests] == ["/api/v1/model-versions/71", "/api/v1/models/7"]


# -- by hash ----------------------------------------------------------------------------------------------------------


def test_files_are_found_by_their_digests_in_batches_and_what_is_unknown_is_left_out(civitai: Civitai) -> None:
    asked = [sha256(LORA), hashlib.sha256(FULL).hexdigest().upper(), "0" * 64]
    found = source.by_hash(asked, world_of(civitai))

    assert set(found) == {asked[0], asked[1]}
    assert (found[asked[0]].model, found[asked[0]].version, found[asked[0]].name) == (7, 71, "story.safetensors")
    assert (found[asked[1]].source, found[asked[1]].type) == ("civitai:9@91+2", "Checkpoint")
    assert resolve(civitai, found[asked[1]].source).files[0].digest == sha256(FULL)
    assert [request.path for request in civitai.requests[:2]] == [
        "/api/v1/model-versions/by-hash/ids", "/api/v1/model-versions/by-hash",
    ]  # fmt: skip


def test_a_whole_disk_is_asked_ten_thousand_at_a_time_and_what_is_known_a_hundred(civitai: Civitai) -> None:
    for number in range(101):
        data = b"weights %d" % number
        civitai.add_version(7, 1000 + number, [AssetFile(2000 + number, f"{number}.bin", Blob(data), primary=True)])
    wanted = [hashlib.sha256(b"weights %d" % number).hexdigest() for number in range(10_001)]
    found = source.by_hash(wanted, world_of(civitai))

    assert len(found) == 101
    paths = [request.path.rpartition("/")[2] for request in civitai.requests]
    assert paths == ["ids", "ids", "by-hash", "by-hash"]


def test_short_hashes_are_asked_one_by_one_and_the_oldest_of_twins_is_meant(civitai: Civitai) -> None:
    civitai.add_version(7, 70, {"again.safetensors": LORA})
    short = civitai.versions[91].files[0].hashes["AutoV3"]
    found = source.by_hash([short, "0123456789", sha256(LORA)], world_of(civitai))
    assert (found[short].version, found[sha256(LORA)].version) == (91, 70)
    assert "0123456789" not in found


def test_no_hashes_cost_nothing(civitai: Civitai) -> None:
    assert source.by_hash([], world_of(civitai)) == {}
    assert civitai.requests == []


# -- the token --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://civitai.com/api/x", True), ("https://civitai.red/api/x", True), ("https://civitai.green/x", True),
        ("https://CIVITAI.COM/x", True), ("https://civitai.com./x", True),
        ("http://civitai.com/x", False), ("https://civitai.com:8443/x", False), ("https://image.civitai.com/x", False),
        ("https://civitai.com.evil.org/x", False), ("https://evilcivitai.com/x", False),
        ("https://huggingface.co/x", False), ("https://user@evil.org/civitai.com", False),
    ],
)  # fmt: skip
def test_the_token_is_for_civitais_own_hosts_over_https(url: str, own: bool) -> None:
    world = a_world(NOBODY, civitai="https://civitai.com", civitai_token=Secret(TOKEN))
    assert bool(civitaiapi.headers_for(url, world)) is own


def test_a_mirror_gets_the_token_and_then_civitai_does_not() -> None:
    world = a_world(NOBODY, civitai="https://mirror.example.org", civitai_token=Secret(TOKEN))
    assert civitaiapi.headers_for("https://mirror.example.org/x", world)
    assert not civitaiapi.headers_for("https://civitai.com/x", world)


def test_the_token_is_in_headers_of_the_site_only_and_nowhere_else(
    civitai: Civitai, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    heard = Heard()
    world = world_of(civitai, heard=heard)
    pin = sources.resolve(ask("civitai:7@72", preview=""), world)
    located = [sources.locate(pin.source, pin.revision, file, world) for file in pin.files]
    fetch(civitai, pin, at=1)
    sources.access(pin, world)

    seen = [request for request in civitai.requests if TOKEN in repr(request)]
    assert seen, "the token was never used, so that nothing was tested"
    assert {(request.origin, TOKEN in request.query, TOKEN in request.path) for request in seen} == {
        ("hub", False, False)
    }
    assert all(request.path.startswith("/api/download/models/") for request in seen)
    for text in (repr(world), repr(located), lockfile.dumps(Lock(1, {"x": pin})), caplog.text, repr(heard)):
        assert TOKEN not in text


def test_the_hubs_token_never_goes_to_civitai_and_civitais_never_to_the_hub(civitai: Civitai) -> None:
    with Hub(token="hf_other") as hub:
        hub.add("acme/tiny", {"m.gguf": b"x" * 100}, gated="manual")
        world = replace(world_of(civitai), endpoint=hub.url, token=Secret("hf_other"))
        for pin in (sources.resolve(ask("civitai:7@71"), world), sources.resolve(ask("hf:acme/tiny"), world)):
            sources.locate(pin.source, pin.revision, pin.files[0], world)
        assert not [request for request in civitai.requests if "hf_other" in repr(request)]
        assert not [request for request in hub.requests if TOKEN in repr(request)]


def test_a_token_comes_from_the_environment_else_from_a_file(world: Path) -> None:
    warnings: list[str] = []
    environ = {"HOME": str(world)}
    assert tokens.of_civitai(environ, warnings.append) is None
    usual = tokens.civitai_path(environ)
    usual.parent.mkdir(parents=True)
    usual.write_text("fromfile\n")
    usual.chmod(0o600)
    assert tokens.of_civitai(environ, warnings.append) == Secret("fromfile")
    assert tokens.of_civitai(environ | {"CIVITAI_TOKEN": "said"}, warnings.append) == Secret("said")
    (world / "mine").write_text("other")
    (world / "mine").chmod(0o644)
    assert tokens.of_civitai(environ | {"CIVITAI_TOKEN_FILE": "~/mine"}, warnings.append) == Secret("other")
    assert ["chmod 600" in text for text in warnings] == [True]


def test_a_lock_that_was_tampered_with_leads_the_token_nowhere(civitai: Civitai) -> None:
    pin = resolve(civitai, "civitai:7@71")
    with Civitai(token=TOKEN) as evil:
        bad = pin.files[0]._replace(url=f"{evil.url}/api/download/models/71?fileId=1")
        with pytest.raises(SourceError):
            source.locate(pin.source, pin.revision, bad, world_of(civitai))
        assert evil.requests == [], "only the path of a locked address counts"


def test_artifacts_without_an_address_are_found_by_their_version(civitai: Civitai) -> None:
    artifact = Artifact("story.safetensors", len(LORA), Digest(sha256(LORA)))
    assert source.locate("civitai:7@71", "71", artifact, world_of(civitai)).size == len(LORA)


# -- pins by hand -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["civitai:7", "urn:air:sdxl:lora:civitai:7"])
def test_a_version_pinned_by_hand_is_the_whole_number(civitai: Civitai, reference: str) -> None:
    from reconciler.resolve import fits

    pin = resolve(civitai, reference)
    assert fits(pin, ask(reference))
    assert fits(pin, ask(reference, revision="72"))
    assert not fits(pin, ask(reference, revision="71")), "short numbers count too"
    assert not fits(replace(pin, revision="1234567890"), ask(reference, revision="12345678")), "no prefixes"
