"""The loopback Civitai, as a plain HTTP client sees it: shapes and refusals as the real one has them."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest

from reconciler.detect.kinds import kind_of
from reconciler.detect.safetensors import read_header
from reconciler.hub.assets import AssetFile, Preview
from reconciler.hub.civitai import Civitai
from reconciler.hub.diffusion import KINDS, image_model, jpeg, mp4, png, webp
from reconciler.hub.repos import Blob

TOKEN = "civitai-canary-of-the-hub-tests"
LORA = image_model("lora", 1)
JSON = {"Content-Type": "application/json"}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


@pytest.fixture
def civitai() -> Iterator[Civitai]:
    with Civitai(token=TOKEN) as running:
        running.add_model(7, "Storybook")
        running.add_version(7, 71, {"story.safetensors": LORA}, previews=[Preview(5, png(5), level=2)])
        yield running


def download(civitai: Civitai, version: int = 71, query: str = "", token: str = TOKEN) -> Answer:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return ask(f"{civitai.url}/api/download/models/{version}{query}", **headers, **JSON)


def test_a_version_is_told_with_its_air_its_files_and_hashes_in_capitals(civitai: Civitai) -> None:
    told = ask(f"{civitai.url}/api/v1/model-versions/71").json
    (file,) = told["files"]
    sha256 = hashlib.sha256(LORA).hexdigest().upper()

    assert (told["modelId"], told["air"]) == (7, "urn:air:sdxl:lora:civitai:7@71")
    assert (file["hashes"]["SHA256"], file["hashes"]["AutoV2"]) == (sha256, sha256[:10])
    assert file["sizeKB"] * 1024 == len(LORA)
    assert file["downloadUrl"] == f"{civitai.url}/api/download/models/71"
    assert told["images"][0]["nsfwLevel"] == 2


def test_a_model_lists_its_versions_newest_first_and_names_no_air(civitai: Civitai) -> None:
    civitai.add_version(7, 72, {"story.safetensors": image_model("lora", 2)}, name="v2")
    civitai.add_version(7, 73, {"story.safetensors": LORA}, name="draft", status="Draft")

    told = ask(f"{civitai.url}/api/v1/models/7").json

    assert [version["id"] for version in told["modelVersions"]] == [72, 71]
    assert "air" not in told["modelVersions"][0]


def test_what_is_not_there_is_a_404_in_json(civitai: Civitai) -> None:
    assert ask(f"{civitai.url}/api/v1/models/8").json == {"error": "No model with id 8"}
    assert ask(f"{civitai.url}/api/v1/model-versions/8").status == 404
    assert ask(f"{civitai.url}/api/v1/model-versions/x").status == 400


@pytest.mark.parametrize("status", [404, 410, 451])
def test_what_was_taken_away_answers_so_everywhere(civitai: Civitai, status: int) -> None:
    civitai.models[7].gone = status
    assert ask(f"{civitai.url}/api/v1/models/7").status == status
    assert ask(f"{civitai.url}/api/v1/model-versions/71").status == status
    assert download(civitai).status == status


def test_an_archived_model_lists_no_files_and_one_taken_down_no_pictures(civitai: Civitai) -> None:
    civitai.models[7].mode = "Archived"
    archived = ask(f"{civitai.url}/api/v1/model-versions/71").json
    assert (archived["files"], len(archived["images"]), "downloadUrl" in archived) == ([], 1, False)
    assert download(civitai).status == 410
    civitai.models[7].mode = "TakenDown"
    assert ask(f"{civitai.url}/api/v1/model-versions/71").json["images"] == []


def test_a_download_leads_to_a_signed_address_on_another_origin_that_serves_ranges(civitai: Civitai) -> None:
    answer = download(civitai)
    where = answer.headers["location"]

    assert answer.status == 307
    assert where.startswith(civitai.cdn_url)
    assert parse_qs(urlsplit(where).query)["X-Amz-Expires"] == ["86400"]
    assert ask(where).body == LORA
    part = ask(where, Range="bytes=10-19")
    assert (part.status, part.body) == (206, LORA[10:20])


def test_a_signed_address_takes_no_other_credentials_no_head_and_ends(civitai: Civitai) -> None:
    where = download(civitai).headers["location"]

    assert ask(where, Authorization=f"Bearer {TOKEN}").status == 400
    assert ask(where, "HEAD").status == 403
    assert ask(where.replace("X-Amz-Signature=", "X-Amz-Signature=0")).status == 403
    civitai.advance(86_500)
    assert ask(where).status == 403


def test_every_download_wants_a_token_and_says_so_in_three_ways(civitai: Civitai) -> None:
    assert download(civitai, token="").json["error"] == "Unauthorized"
    assert download(civitai, token="another").status == 401
    civitai.manners = "login"
    answer = download(civitai, token="")
    assert (answer.status, answer.headers["location"].partition("?")[0]) == (307, "/login")
    assert ask(civitai.url + answer.headers["location"]).body.startswith(b"<!DOCTYPE html>")
    civitai.manners = "page"
    page = download(civitai, token="")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")


def test_early_access_paid_and_disabled_downloads_are_refused_until_they_are_bought(civitai: Civitai) -> None:
    version = civitai.versions[71]
    version.early_access = civitai.now() + 3600
    early = download(civitai)
    assert (early.status, early.json["error"], early.json["deadline"][-1]) == (403, "Early Access", "Z")
    civitai.bought.add(71)
    assert download(civitai).status == 307
    civitai.bought.clear()
    civitai.advance(3601)
    assert download(civitai).status == 307
    version.paid = True
    assert download(civitai).status == 401
    version.paid, version.usage = False, "Generation"
    assert "disabled downloads" in download(civitai).json["message"]


def test_a_bare_address_gives_what_the_account_likes_and_a_file_id_the_file(civitai: Civitai) -> None:
    half, full = (
        AssetFile(number, "m.safetensors", Blob(image_model("lora", number)), primary=number == 1, metadata={"fp": fp})
        for number, fp in ((1, "fp16"), (2, "fp32"))
    )
    civitai.add_version(7, 74, [half, full])
    civitai.preferences = {"fp": "fp32"}

    def got(query: str) -> bytes:
        return ask(download(civitai, 74, query).headers["location"]).body

    assert got("") == got("?fileId=2") == got("?type=Model&fp=fp32") != got("?fileId=1")
    assert download(civitai, 74, "?type=VAE").status == 404
    assert download(civitai, 74, "?fileId=3").status == 404


def test_a_head_of_a_download_is_refused_whoever_asks(civitai: Civitai) -> None:
    url = f"{civitai.url}/api/download/models/71"
    assert ask(url, "HEAD", Authorization=f"Bearer {TOKEN}").status == 401


def test_versions_are_found_by_any_hash_in_any_case(civitai: Civitai) -> None:
    for text in civitai.versions[71].files[0].hashes.values():
        assert ask(f"{civitai.url}/api/v1/model-versions/by-hash/{text.lower()}").json["id"] == 71
    assert ask(f"{civitai.url}/api/v1/model-versions/by-hash/0000000000").status == 404


def test_batches_find_what_there_is_and_have_their_sizes(civitai: Civitai) -> None:
    sha256 = hashlib.sha256(LORA).hexdigest()
    url = f"{civitai.url}/api/v1/model-versions/by-hash"

    def post(path: str, hashes: list[str]) -> Answer:
        return ask(url + path, "POST", json.dumps(hashes).encode(), **JSON)

    assert post("/ids", [sha256, "0" * 64]).json == [{"modelVersionId": 71, "hash": sha256.upper()}]
    assert [version["id"] for version in post("", [sha256]).json] == [71]
    assert post("/ids", ["0" * 64] * 10_000).json == []
    assert (post("/ids", ["0" * 64] * 10_001).status, post("", ["0" * 64] * 101).status) == (400, 400)
    assert post("/ids", ["short"]).status == 400
    assert ask(f"{url}/ids", "POST", b"{", **JSON).status == 400


def test_pictures_are_served_without_a_token_under_the_type_that_their_name_tells(civitai: Civitai) -> None:
    (image,) = ask(f"{civitai.url}/api/v1/model-versions/71").json["images"]
    answer = ask(image["url"])
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
    assert answer.body == png(5)


def test_faults_and_the_log_are_those_of_every_service(civitai: Civitai) -> None:
    civitai.fault("status", origin="hub", code=429, retry_after=7, path="/api/v1/")
    assert ask(f"{civitai.url}/api/v1/models/7").headers["retry-after"] == "7"
    assert ask(f"{civitai.url}/api/v1/models/7").status == 200
    civitai.fault("expire", requests=1)
    where = download(civitai).headers["location"]
    assert [ask(where).status, ask(where).status] == [200, 403]
    assert [request.status for request in civitai.requests] == [429, 200, 307, 200, 403]
    assert civitai.requests[2].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("kind", KINDS)
def test_small_models_are_what_they_say_to_a_detector(kind: str, tmp_path: Any) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(image_model(kind, 3))
    header = read_header(path)
    known = {"checkpoint": "diffusion", "embedding": None}
    assert kind_of((), tensors=header.names) == known.get(kind, kind)
    assert image_model(kind, 3) == path.read_bytes() != image_model(kind, 4)
    assert len(image_model(kind, 3, size=200_000)) > 200_000


def test_previews_have_the_magic_of_their_format() -> None:
    assert png().startswith(b"\x89PNG\r\n\x1a\n")
    assert jpeg(1).startswith(b"\xff\xd8\xff")
    assert (webp(1)[:4], webp(1)[8:12]) == (b"RIFF", b"WEBP")
    assert mp4(1)[4:8] == b"ftyp"
    assert all(make(1) != make(2) for make in (png, jpeg, webp, mp4))
