"""What root places in the store of another user is that user's: the server must be able to change and remove it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.apply.owners import give, owner_of
from reconciler.disk import Root

SOMEBODY = (12345, 12345)

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "manifests/host/ns/model").mkdir(parents=True)
    (tmp_path / "manifests/host/ns/model/tag").write_text("{}")
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/shared").write_text("weights")
    os.link(tmp_path / "blobs/shared", tmp_path / "elsewhere.gguf")
    return tmp_path


@root_only
def test_files_and_the_directories_above_them_are_given_to_the_owner_of_the_store(store: Path) -> None:
    os.chown(store, *SOMEBODY)
    owner = owner_of(str(store), "ollama")
    with Root.open(store) as root:
        give(root, owner, ["manifests/host/ns/model/tag"])

    for path in ("manifests", "manifests/host/ns", "manifests/host/ns/model/tag"):
        found = (store / path).stat()
        assert (found.st_uid, found.st_gid) == SOMEBODY


@root_only
def test_a_file_that_has_another_name_elsewhere_keeps_its_owner(store: Path) -> None:
    with Root.open(store) as root:
        give(root, SOMEBODY, ["blobs/shared"])

    assert (store / "elsewhere.gguf").stat().st_uid == 0
    assert (store / "blobs").stat().st_uid == SOMEBODY[0]


@root_only
def test_other_stores_and_a_store_of_roots_own_stay_as_they_are(store: Path) -> None:
    assert owner_of(str(store), "ollama") is None
    os.chown(store, *SOMEBODY)
    assert owner_of(str(store), "lmstudio") is None


def test_who_is_not_root_keeps_what_he_makes(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert owner_of(str(store), "ollama") is None
