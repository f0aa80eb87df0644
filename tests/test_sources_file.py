from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from sources_kit import Heard, a_world, ask

from reconciler import sources
from reconciler.errors import NotFoundError, SourceError

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def models(world: Path) -> Path:
    root = world / "my models"
    (root / "sub").mkdir(parents=True)
    (root / "b.gguf").write_bytes(b"bb")
    (root / "a.safetensors").write_bytes(b"aaa")
    (root / "sub/c.json").write_bytes(b"{}")
    (root / ".gitattributes").write_bytes(b"x")
    (root / ".git").mkdir()
    (root / ".git/config").write_bytes(b"x")
    return root


def test_a_directory_is_walked_in_order_and_every_file_has_size_digest_and_address(models):
    pin = sources.resolve(ask(f"file:{models}"), a_world(NOWHERE))
    assert [(file.path, file.size) for file in pin.files] == [("a.safetensors", 3), ("b.gguf", 2), ("sub/c.json", 2)]
    assert pin.files[0].digest == f"sha256:{hashlib.sha256(b'aaa').hexdigest()}"
    assert pin.files[0].url == (models / "a.safetensors").as_uri()
    assert pin.revision is None


def test_both_spellings_mean_the_same_files(models):
    plain = sources.resolve(ask(f"file:{models}"), a_world(NOWHERE))
    as_url = sources.resolve(ask(models.as_uri()), a_world(NOWHERE))
    assert plain.files == as_url.files


def test_one_file_is_a_source_too(models):
    pin = sources.resolve(ask(f"file:{models}/b.gguf", sha256=hashlib.sha256(b"bb").hexdigest()), a_world(NOWHERE))
    assert [file.path for file in pin.files] == ["b.gguf"]
    with pytest.raises(SourceError, match="manifest pins"):
        sources.resolve(ask(f"file:{models}/b.gguf", sha256="0" * 64), a_world(NOWHERE))


def test_only_what_is_selected_is_read(models):
    os.mkfifo(models / "pipe.gguf")
    (models / "secret.bin").write_bytes(b"x")
    pin = sources.resolve(ask(f"file:{models}", "*.gguf", exclude=("pipe*",)), a_world(NOWHERE))
    assert [file.path for file in pin.files] == ["b.gguf"]


def test_links_are_followed_inside_and_left_out_when_they_lead_outside(models, world):
    (world / "outside.gguf").write_bytes(b"secret")
    (models / "inside.gguf").symlink_to("b.gguf")
    (models / "out.gguf").symlink_to(world / "outside.gguf")
    (models / "up").symlink_to(world)
    (models / "dangling.gguf").symlink_to("nothing")
    heard = Heard()
    pin = sources.resolve(ask(f"file:{models}", "*.gguf"), a_world(NOWHERE, heard=heard))
    assert [file.path for file in pin.files] == ["b.gguf", "inside.gguf"]
    assert ["out.gguf" in warning and "up" in warning for warning in heard.warnings] == [True]


def test_what_is_not_there_is_not_found(world):
    with pytest.raises(NotFoundError, match="mounted"):
        sources.resolve(ask(f"file:{world}/nothing"), a_world(NOWHERE))


def test_a_file_is_located_where_it_lies_and_never_handed_to_another_program(models):
    pin = sources.resolve(ask(f"file:{models}"), a_world(NOWHERE))
    found = sources.locate(pin.source, None, pin.files[1], a_world(NOWHERE))
    assert (found.url, found.shareable, found.size) == ((models / "b.gguf").as_uri(), False, 2)


def test_a_file_that_is_gone_or_has_another_size_is_told(models):
    pin = sources.resolve(ask(f"file:{models}"), a_world(NOWHERE))
    (models / "b.gguf").write_bytes(b"more")
    with pytest.raises(SourceError, match=r"changed: locked 2 bytes.*now 4"):
        sources.locate(pin.source, None, pin.files[1], a_world(NOWHERE))
    (models / "b.gguf").unlink()
    with pytest.raises(NotFoundError, match="gone"):
        sources.locate(pin.source, None, pin.files[1], a_world(NOWHERE))
    assert sources.access(pin, a_world(NOWHERE)) is None


def test_a_disk_that_is_not_there_is_a_reason(models, world):
    pin = sources.resolve(ask(f"file:{models}"), a_world(NOWHERE))
    models.rename(world / "elsewhere")
    assert "not there" in (sources.access(pin, a_world(NOWHERE)) or "")


@pytest.mark.parametrize(
    "reference", ["file:relative/x", "file:/a/../b", "file:/a/./b", "file://other/x", "file:", "file:/a\nb"]
)
def test_paths_that_are_not_plain_and_absolute_are_refused(reference):
    with pytest.raises(ValueError, match=r"\w"):
        sources.check(reference)
