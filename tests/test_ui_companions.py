"""What lies beside a model: notes from the lock alone, previews by rating, and what users wrote."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.state import Artifact, Digest, Note, Pin
from reconciler.ui.beside import broken, is_companion
from reconciler.ui.companions import notes
from reconciler.ui.previews import allowed, is_allowed, is_preview, may_be_shown, media_of

SHA = "ab" * 32
ABOUT: dict[str, Any] = {
    "air": "urn:air:sdxl:lora:civitai:12@345", "model": "Detail Tweaker", "model_id": 12, "version": "v1.0",
    "version_id": 345, "type": "LORA", "base_model": "SDXL 1.0", "trained_words": ["detail", 'say "hi"'],
    "published": "2024-05-01T00:00:00.000Z", "creator": "ada", "description": "Makes details.\n# not a heading",
    "previews": [
        {"url": "https://i.example/a.jpeg?token=canary", "type": "image", "nsfw_level": 1, "width": 8, "height": 9}
    ],
    "files": [{"name": "detail.safetensors", "id": 7, "type": "Model", "fp": "fp16"}],
}  # fmt: skip
FILE = Artifact(
    "detail.safetensors", 1536, Digest(f"sha256:{SHA}"), url="https://civitai.com/api/download/models/345?token=canary",
    also=(("autov1", "0badcafe"), ("autov3", "0123456789ab")),
)  # fmt: skip
PIN = Pin("civitai:12@345", "345", (FILE,), about={"civitai": ABOUT})
ALL = ("civitai-info", "metadata-json", "markdown")


def texts(pin: Pin = PIN, wanted: tuple[str, ...] = ALL, preview: str = "detail.preview.jpeg") -> dict[str, str]:
    found = notes(pin, pin.files[0], "loras/detail.safetensors", "lora", wanted, preview)
    return {note.path: note.text for note in found}


def test_each_format_lies_beside_the_model_under_its_stem() -> None:
    assert list(texts()) == [
        "loras/detail.civitai.info", "loras/detail.metadata.json", "loras/detail.md"
    ]  # fmt: skip
    assert list(texts(wanted=("markdown", "preview"))) == ["loras/detail.md"]


def test_civitai_info_has_the_shape_of_the_api() -> None:
    info = json.loads(texts()["loras/detail.civitai.info"])
    assert (info["id"], info["modelId"], info["model"]["type"], info["baseModel"]) == (345, 12, "LORA", "SDXL 1.0")
    assert info["trainedWords"] == ["detail", 'say "hi"']
    [file] = info["files"]
    assert (file["sizeKB"] * 1024, file["id"], file["metadata"]) == (1536, 7, {"fp": "fp16"})
    assert file["hashes"] == {
        "AutoV1": "0BADCAFE", "AutoV2": SHA[:10].upper(), "AutoV3": "0123456789AB", "SHA256": SHA.upper()
    }  # fmt: skip
    assert info["images"] == [
        {"url": "https://i.example/a.jpeg", "nsfwLevel": 1, "type": "image", "width": 8, "height": 9}
    ]


def test_metadata_json_has_every_field_without_which_lora_manager_hides_the_model() -> None:
    said = json.loads(texts()["loras/detail.metadata.json"])
    required = {"file_name": str, "model_name": str, "file_path": str, "size": int, "modified": float, "sha256": str,
                "base_model": str, "preview_url": str}  # fmt: skip
    assert {key: type(said[key]) for key in required} == required
    assert (said["sha256"], said["from_civitai"], said["civitai"]["modelId"]) == (SHA, True, 12)


def test_a_page_has_front_matter_trigger_words_and_what_upstream_says() -> None:
    import yaml  # type: ignore[import-untyped]

    page = texts()["loras/detail.md"]
    _, front, body = page.split("---\n", 2)
    said = yaml.safe_load(front)
    assert (said["title"], said["type"], said["AIR"]) == ("Detail Tweaker", "lora", ABOUT["air"])
    assert said["modelPage"] == "https://civitai.com/models/12?modelVersionId=345"
    assert said["hashes"]["SHA256"] == SHA.upper()
    assert said["preview"] == "detail.preview.jpeg"
    assert '# Trigger Words\n\n- `detail`\n- `say "hi"`\n' in body
    assert "# About this version\n\nMakes details.\n\\# not a heading\n" in body


def test_no_secret_and_no_path_of_a_machine_comes_in() -> None:
    local = replace(PIN, source="file:/home/ada/secret/detail.safetensors", about={})
    everything = "".join([*texts().values(), *texts(local).values()])
    assert "canary" not in everything
    assert "/home/ada" not in everything


def test_where_upstream_is_gone_the_facts_of_the_file_remain() -> None:
    found = texts(Pin("hf:o/r", "0" * 40, (FILE,)))
    assert list(found) == ["loras/detail.metadata.json", "loras/detail.md"]
    said = json.loads(found["loras/detail.metadata.json"])
    assert (said["size"], said["sha256"], said["from_civitai"], said["base_model"]) == (1536, SHA, False, "Unknown")
    assert 'type: "lora"' in found["loras/detail.md"]
    assert "civitai" not in found["loras/detail.md"].lower()


def test_a_file_that_is_known_by_git_alone_has_no_sha256() -> None:
    small = replace(
        PIN, source="hf:o/r", files=(FILE._replace(digest=Digest("git-sha1:" + "c" * 40), also=()),), about={}
    )
    assert json.loads(texts(small)["loras/detail.metadata.json"])["sha256"] == ""
    assert "GitSHA1" in texts(small)["loras/detail.md"]


def test_the_same_lock_makes_the_same_bytes() -> None:
    shuffled = replace(PIN, about={"civitai": dict(reversed(ABOUT.items()))})
    assert texts() == texts(shuffled)


HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.fixed_dictionaries({}, optional=dict.fromkeys([*ABOUT, "version_description"], HOSTILE)))
def test_whatever_upstream_said_the_notes_can_be_read_again(about: dict[str, Any]) -> None:
    import yaml

    found = texts(replace(PIN, about={"civitai": about}))
    assert json.loads(found["loras/detail.civitai.info"])["id"] == 345
    assert json.loads(found["loras/detail.metadata.json"])["size"] == 1536
    assert yaml.safe_load(found["loras/detail.md"].split("---\n", 2)[1])["size"] == 1536
    assert all(broken(path, text.encode()) is None for path, text in found.items())


# -- previews ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "rating", "shown"),
    [(1, "pg", True), (2, "pg", False), (2, "pg-13", True), (4, "r", True), (8, "r", False), (16, "xxx", True),
     (32, "xxx", False), (0, "pg", False), (0, "xxx", True), (None, "r", False), (3, "pg-13", True),
     (True, "pg", False)],
)  # fmt: skip
def test_a_picture_is_shown_up_to_the_rating(level: Any, rating: Any, shown: bool) -> None:
    assert is_allowed(level, rating) is shown


def test_the_first_allowed_picture_or_video_is_taken_in_upstreams_order() -> None:
    told = [
        {"url": "https://i/r.png", "nsfw_level": 4}, {"url": "ftp://i/x.png", "nsfw_level": 1}, "nonsense",
        {"url": "https://i/v.mp4", "type": "video", "nsfw_level": 1}, {"url": "https://i/a.png", "nsfw_level": 1},
        {"url": "https://i/s.mp3", "type": "audio", "nsfw_level": 1},
    ]  # fmt: skip
    assert [each["url"] for each in allowed(told, "pg")] == ["https://i/v.mp4", "https://i/a.png"]
    assert list(allowed(None, "pg")) == []


def test_a_locked_preview_above_a_rating_that_was_lowered_is_not_shown() -> None:
    preview = Artifact("preview.png", 1, Digest(f"sha256:{SHA}"), url="https://i/r.png", media_type="image/png")
    told = [{"url": "https://i/r.png", "nsfw_level": 4}]
    assert [may_be_shown(preview, told, rating) for rating in ("r", "pg", "")] == [True, False, True]
    assert may_be_shown(preview._replace(url="https://mine/x.png"), told, "pg")


@pytest.mark.parametrize(
    ("head", "media"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "image/png"), (b"\xff\xd8\xff\xe0", "image/jpeg"), (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"), (b"\0\0\0\x18ftypmp42", "video/mp4"), (b"\x1aE\xdf\xa3", "video/webm"),
        (b"\0\0\0\x18ftypavif", "image/avif"), (b"<!DOCTYPE html>", None), (b"<svg xmlns=", None), (b"", None),
        (b"RIFF\0\0\0\0WAVE", None),
    ],
)  # fmt: skip
def test_bytes_tell_what_a_preview_is_and_names_do_not(head: bytes, media: str | None) -> None:
    assert media_of(head) == media


def test_a_picture_of_a_repository_is_no_preview() -> None:
    assert not is_preview(Artifact("preview.png", 1, Digest(f"sha256:{SHA}")))
    assert is_preview(Artifact("preview.png", 1, Digest(f"sha256:{SHA}"), url="https://i/a.png"))


# -- what is there already --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "data", "why"),
    [
        ("x.civitai.info", b"{}", None), ("x.civitai.info", b"<html>", "not JSON"),
        ("x.metadata.json", b"[]", "object"),
        ("x.md", b"\xff\xfe", "not UTF-8"), ("x.md", b"anything", None), ("x.preview.png", b"<html>", "no picture"),
        ("x.preview.png", b"\xff\xd8\xff", "image/jpeg, not .png"), ("x.preview.jpg", b"\xff\xd8\xff\xff\xd9", None),
        ("x.preview.jpg", b"\xff\xd8\xff", "ends"), ("x.md", b" \n", "empty"),
    ],
)  # fmt: skip
def test_a_companion_that_cannot_be_what_its_name_says_is_broken(path: str, data: bytes, why: str | None) -> None:
    found = broken(path, data)
    assert (found is None) == (why is None)
    assert why is None or why in (found or "")


def test_companions_are_known_by_name() -> None:
    assert all(is_companion(Note(path, "").path) for path in ("a/x.civitai.info", "x.metadata.json", "x.preview.MP4"))
    assert not is_companion("x.safetensors")
