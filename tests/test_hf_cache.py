"""What the hf-cache store lays out is found by huggingface_hub itself, offline, and its scan has nothing to say."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from placing_kit import pin_of, put, take

from reconciler.observe import observe, prepare
from reconciler.stores import hf_cache

COMMIT, NEWER = "1" * 40, "2" * 40
CONTENTS = {"config.json": b"{}", "empty.txt": b"", "model.safetensors": b"weights" * 99, "sub/dir/model.gguf": b"GGUF"}
LARGE = ("model.safetensors", "sub/dir/model.gguf")


@pytest.fixture
def cache(world: Path) -> Path:
    root = world / "hub"
    root.mkdir()
    return root


def test_a_variant_on_main_is_found_offline_by_branch_and_by_commit(cache: Path) -> None:
    layout = hf_cache.layout(pin_of("hf:owner/repo", COMMIT, CONTENTS, large=LARGE))
    put(cache, layout, CONTENTS)
    for path, data in CONTENTS.items():
        for revision in (None, "main", COMMIT):
            found = hf_hub_download("owner/repo", path, revision=revision, cache_dir=cache, local_files_only=True)
            assert Path(found).read_bytes() == data
            assert found == str(cache / layout.home / path)
    assert snapshot_download("owner/repo", cache_dir=cache, local_files_only=True) == str(cache / layout.home)


def test_a_variant_on_a_branch_is_found_by_that_branch_and_not_by_main(cache: Path) -> None:
    layout = hf_cache.layout(pin_of("hf:owner/repo@feature/x", COMMIT, CONTENTS, large=LARGE))
    put(cache, layout, CONTENTS)
    found = snapshot_download("owner/repo", revision="feature/x", cache_dir=cache, local_files_only=True)
    assert found == str(cache / layout.home)
    with pytest.raises(LocalEntryNotFoundError):
        snapshot_download("owner/repo", cache_dir=cache, local_files_only=True)


def test_a_variant_by_commit_is_found_by_that_commit_alone(cache: Path) -> None:
    layout = hf_cache.layout(pin_of(f"hf:owner/repo@{COMMIT}", COMMIT, CONTENTS, large=LARGE))
    put(cache, layout, CONTENTS)
    assert snapshot_download("owner/repo", revision=COMMIT, cache_dir=cache, local_files_only=True)
    with pytest.raises(LocalEntryNotFoundError):
        hf_hub_download("owner/repo", "config.json", cache_dir=cache, local_files_only=True)


def test_the_scan_of_the_library_sees_all_of_it_and_warns_of_nothing(cache: Path) -> None:
    layout = hf_cache.layout(pin_of("hf:owner/repo", COMMIT, CONTENTS, large=LARGE))
    put(cache, layout, CONTENTS)
    prepare(str(cache), "hf-cache", "cache")
    scan = scan_cache_dir(cache)
    assert scan.warnings == []
    (repo,) = scan.repos
    (revision,) = repo.revisions
    assert (repo.repo_id, revision.commit_hash, revision.refs) == ("owner/repo", COMMIT, {"main"})
    assert repo.size_on_disk == sum(map(len, CONTENTS.values()))


def test_a_house_inside_the_cache_would_make_the_scan_warn(cache: Path) -> None:
    """The control: why the house stands beside the root."""
    (cache / ".reconciler").mkdir()
    assert scan_cache_dir(cache).warnings


def test_a_removed_variant_leaves_nothing_to_warn_of(cache: Path) -> None:
    layout = hf_cache.layout(pin_of("hf:owner/repo", COMMIT, CONTENTS, large=LARGE))
    put(cache, layout, CONTENTS)
    prepare(str(cache), "hf-cache", "cache")
    take(cache, layout)
    assert scan_cache_dir(cache).warnings == []
    assert list(cache.iterdir()) == []


def test_one_of_two_revisions_goes_and_the_blobs_of_the_other_stay(cache: Path) -> None:
    newer = {**CONTENTS, "config.json": b'{"new": 1}'}
    old = hf_cache.layout(pin_of(f"hf:owner/repo@{COMMIT}", COMMIT, CONTENTS, large=LARGE))
    new = hf_cache.layout(pin_of("hf:owner/repo", NEWER, newer, large=LARGE))
    put(cache, old, CONTENTS)
    put(cache, new, newer)
    take(cache, old, but=new)
    assert scan_cache_dir(cache).warnings == []
    found = hf_hub_download("owner/repo", "model.safetensors", cache_dir=cache, local_files_only=True)
    assert Path(found).read_bytes() == newer["model.safetensors"]
    with pytest.raises(LocalEntryNotFoundError):
        snapshot_download("owner/repo", revision=COMMIT, cache_dir=cache, local_files_only=True)


def test_an_observer_reports_exactly_what_was_laid_out(cache: Path) -> None:
    layout = hf_cache.layout(pin_of("hf:owner/repo", COMMIT, CONTENTS, large=LARGE))
    put(cache, layout, CONTENTS)
    prepare(str(cache), "hf-cache", "cache")
    (cache / ".locks").mkdir()
    seen = observe("cache", "hf-cache", str(cache), expected_id=None)
    assert dict(seen.links) == {link.path: link.target for link in layout.links}
    assert set(seen.files) == {p.path for p in layout.files} | {note.path for note in layout.notes}
