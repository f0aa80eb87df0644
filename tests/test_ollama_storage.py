"""An Ollama store directory is read as its server reads it, and told better."""

from __future__ import annotations

import errno
import json
import os
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from ollama_store_kit import age, blob, do_as_told, files_below, manifest_text, model

from reconciler.ollama import manifests, storage
from reconciler.ollama.storage import bytes_on_disk, environment_directory, orphans, read_store, usual_directories

NOW = 1_800_000_000.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "my models"


def names_in(root: Path) -> list[str]:
    return [each.name.short for each in read_store(root).models]


def old(root: Path, hours: float = 2.0) -> None:
    for path in (root / "blobs").iterdir():
        age(path, hours, NOW)


# -- what is there ----------------------------------------------------------------------------------------------------


def test_models_are_named_as_the_server_lists_them(root: Path) -> None:
    for name in ("llama3.2:1b", "me/tiny", "hf.co/Someone/Big-GGUF:Q4_K_M", "127.0.0.1:18500/acme/tiny:v1"):
        model(root, name)

    assert sorted(names_in(root)) == sorted(
        ["llama3.2:1b", "me/tiny:latest", "hf.co/Someone/Big-GGUF:Q4_K_M", "127.0.0.1:18500/acme/tiny:v1"]
    )


def test_a_model_has_its_manifests_digest_and_the_size_that_it_declares(root: Path) -> None:
    path = model(root, "tiny", {"model": b"x" * 100, "template": b"{{ .Prompt }}"}, config=b"{}")

    [found] = read_store(root).models

    assert found.digest == manifests.digest_of(path.read_bytes())
    assert found.size == 100 + 13 + 2
    assert (found.data, found.mtime_ns) == (path.read_bytes(), path.stat().st_mtime_ns)
    assert found.path == "manifests/registry.ollama.ai/library/tiny/latest"


def test_who_names_a_blob_is_known_whoever_wrote_the_manifest(root: Path) -> None:
    model(root, "one", {"model": b"shared", "system": b"alone"})
    model(root, "two", {"model": b"shared"})
    users = read_store(root).users

    shared, alone = (manifests.blob_path(blob(root, data)) for data in (b"shared", b"alone"))

    one, two = (f"manifests/registry.ollama.ai/library/{name}/latest" for name in ("one", "two"))
    assert users[shared] == {one, two}
    assert users[alone] == {one}


def test_two_names_that_differ_by_case_are_two_files_and_both_are_told(root: Path) -> None:
    model(root, "case:V1")
    model(root, "Case:v1")

    found = read_store(root).models

    assert [each.name.short for each in found] == ["Case:v1", "case:V1"]
    assert len({each.name.key for each in found}) == 1


def test_a_stub_of_a_remote_model_is_a_model_without_layers(root: Path) -> None:
    path = model(root, "gpt-oss:20b-cloud", {}, config=b'{"remote_host":"https://ollama.com"}')
    path.write_text(path.read_text().replace('"layers":[]', '"layers":null'))

    [found] = read_store(root).models

    assert (found.manifest.layers, found.size) == ((), 36)


def test_a_model_of_many_tensors_names_every_one(root: Path) -> None:
    rows = [("tensor", blob(root, b"tensor %d" % n), 8) for n in range(300)]
    path = root / "manifests/registry.ollama.ai/library/mlx/latest"
    path.parent.mkdir(parents=True)
    path.write_text(manifest_text(rows, (blob(root, b"{}"), 2)))

    stored = read_store(root)

    assert len(stored.models[0].manifest.layers) == 300
    assert len(stored.users) == 301


def test_a_manifest_by_way_of_a_link_that_leads_somewhere_is_a_model(root: Path, tmp_path: Path) -> None:
    path = model(root, "tiny")
    kept = tmp_path / "kept.json"
    path.rename(kept)
    path.symlink_to(kept)

    [found] = read_store(root).models

    assert (found.name.short, found.link) == ("tiny:latest", str(kept))
    assert found.mtime_ns == kept.stat().st_mtime_ns
    assert read_store(root).broken == ()


def test_models_below_a_linked_directory_use_their_blobs_too(root: Path, tmp_path: Path) -> None:
    path = model(root, "elsewhere", {"model": b"precious"})
    path.parent.rename(tmp_path / "moved")
    path.parent.symlink_to(tmp_path / "moved")

    stored = read_store(root)

    assert [each.name.short for each in stored.models] == ["elsewhere:latest"]
    assert manifests.blob_path(blob(root, b"precious")) in stored.users


def test_what_stands_at_another_depth_means_nothing(root: Path) -> None:
    path = model(root, "tiny")
    (path.parents[1] / "junk.json").write_text("{nonsense")
    (path.parents[3] / ".DS_Store").write_bytes(b"\0")
    (path.parent / "directory").mkdir()
    (path.parent / "directory" / "deeper").write_text("{nonsense")

    stored = read_store(root)

    assert (len(stored.models), stored.broken) == (1, ())


def test_a_directory_that_is_not_there_holds_nothing(root: Path) -> None:
    stored = read_store(root)

    assert (stored.exists, stored.models, stored.broken, stored.why) == (False, (), (), "")


def test_a_store_that_was_never_used_holds_nothing(root: Path) -> None:
    (root / "blobs").mkdir(parents=True)

    assert (read_store(root).exists, read_store(root).models, read_store(root).v2) == (True, (), False)


def test_a_file_instead_of_a_directory_is_told(root: Path) -> None:
    root.write_text("not a store")

    assert "cannot be read: Not a directory" in read_store(root).why


def test_manifests_that_cannot_be_listed_make_the_store_unreadable(root: Path) -> None:
    root.mkdir()
    (root / "manifests").write_text("a file")

    assert "manifests cannot be read" in read_store(root).why


def test_a_later_layout_is_read_and_its_default_host_is_ours(root: Path) -> None:
    path = model(root, "tiny", {"model": b"weights"})
    data = path.read_bytes()
    named = root / "manifests-v2/ollama.com/library/other/latest"
    named.parent.mkdir(parents=True)
    named.symlink_to(root / manifests.blob_path(blob(root, data)))

    stored = read_store(root)

    assert stored.v2
    assert sorted(each.name.key for each in stored.models) == [
        "registry.ollama.ai/library/other:latest",
        "registry.ollama.ai/library/tiny:latest",
    ]
    weights = manifests.blob_path(blob(root, b"weights"))
    assert "manifests-v2/ollama.com/library/other/latest" in stored.users[weights]
    assert manifests.blob_path(manifests.digest_of(data)) in stored.users  # the manifest is a blob there


def test_a_name_in_both_layouts_is_one_model(root: Path) -> None:
    path = model(root, "tiny")
    named = root / "manifests-v2/ollama.com/library/tiny/latest"
    named.parent.mkdir(parents=True)
    named.write_bytes(path.read_bytes())

    assert names_in(root) == ["tiny:latest"]


# -- what is wrong ----------------------------------------------------------------------------------------------------


def broken(root: Path) -> storage.Broken:
    [found] = read_store(root).broken
    return found


def runs(root: Path, remedy: str) -> bool:
    """Whether the command at the end of a remedy, as a shell takes it, mends the store."""
    do_as_told(remedy)
    return read_store(root).broken == ()


def test_a_dangling_manifest_disables_the_server_and_the_command_that_helps_is_told(root: Path) -> None:
    path = model(root, "dang")
    path.unlink()
    path.symlink_to(root / "gone")

    found = broken(root)

    assert "disables the whole server" in found.what
    assert shlex.quote(str(path)) in found.remedy
    assert runs(root, found.remedy)


@pytest.mark.parametrize(("data", "word"), [(b"", "empty"), (b"{nonsense", "not JSON"), (b"{}", "names no config")])
def test_a_damaged_manifest_can_only_be_removed_by_hand(root: Path, data: bytes, word: str) -> None:
    model(root, "good")
    model(root, "bad").write_bytes(data)

    found = broken(root)

    assert (found.path, word in found.what) == ("manifests/registry.ollama.ai/library/bad/latest", True)
    assert names_in(root) == ["good:latest"]
    assert runs(root, found.remedy)


@pytest.mark.parametrize("tag", [".hidden", "-x", "white space", "quo'te", "line\nbreak", "t" * 81, "ä"])
def test_an_invalid_tag_keeps_the_server_from_tidying_up(root: Path, tag: str) -> None:
    good = model(root, "good")
    (good.parent / tag).write_bytes(good.read_bytes())

    found = broken(root)

    assert "never tidies up" in found.what
    assert "\n" not in str(found)
    assert runs(root, found.remedy)


def test_a_name_that_is_no_text_can_still_be_removed_by_the_command(root: Path) -> None:
    good = model(root, "good")
    bad = os.fsencode(good.parent) + b"/\xff\x1b'\\"
    with open(bad, "wb") as file:
        file.write(b"{}")

    found = broken(root)

    assert "\x1b" not in str(found)
    assert runs(root, found.remedy)


def test_the_temporary_file_beside_a_manifest_is_a_tag_like_any_other(root: Path) -> None:
    """The server lists it: whoever writes manifests must not make temporary files there."""
    good = model(root, "good")
    (good.parent / "latest.tmp").write_bytes(good.read_bytes())

    assert sorted(names_in(root)) == ["good:latest", "good:latest.tmp"]


def test_a_pipe_is_told_and_not_waited_for(root: Path) -> None:
    good = model(root, "good")
    os.mkfifo(good.parent / "pipe")

    assert "not a regular file" in broken(root).what


def test_a_manifest_beyond_any_size_is_not_read(root: Path) -> None:
    path = model(root, "huge")
    with path.open("r+b") as file:
        file.truncate(manifests.LARGEST + 1)

    assert str(manifests.LARGEST + 1) in broken(root).what


def test_a_circle_of_links_is_a_link_that_leads_nowhere(root: Path) -> None:
    path = model(root, "round")
    path.unlink()
    path.symlink_to(path)

    assert "leads nowhere" in broken(root).what


def test_a_folder_that_cannot_be_read_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = str(model(root, "secret").parent)
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path == closed:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # the user who runs the tests may be allowed everything

    assert "cannot be read: Permission denied" in broken(root).what


def test_a_linked_folder_that_is_gone_makes_its_models_unknown(root: Path, tmp_path: Path) -> None:
    path = model(root, "away")
    path.parent.rename(tmp_path / "moved")
    path.parent.symlink_to(tmp_path / "unmounted")

    assert "which models it held is unknown" in broken(root).what


def test_a_truncated_manifest_still_protects_the_blobs_that_it_shows(root: Path) -> None:
    path = model(root, "cut", {"model": b"weights"})
    data = path.read_bytes()
    path.write_bytes(data[:-4])

    stored = read_store(root)

    assert stored.models == ()
    assert stored.users[manifests.blob_path(blob(root, b"weights"))] == {str(path.relative_to(root))}


def test_a_later_layout_that_we_do_not_know_is_left_alone(root: Path) -> None:
    named = root / "manifests-v2/ollama.com/library/listed/latest"
    named.parent.mkdir(parents=True)
    child = "sha256:" + "a" * 64
    named.write_text(json.dumps({"mediaType": "list", "manifests": [{"digest": child}]}))

    found = broken(root)

    assert ("layout that we do not know" in found.what, found.remedy) == (True, "it is left alone")
    assert f"blobs/sha256-{'a' * 64}" in read_store(root).users


# -- orphans ----------------------------------------------------------------------------------------------------------


def seen_orphans(root: Path, now: float = NOW) -> tuple[str, ...]:
    return orphans(read_store(root), files_below(root), now)


def test_a_blob_that_no_manifest_names_for_an_hour_is_an_orphan(root: Path) -> None:
    model(root, "tiny")
    lost = manifests.blob_path(blob(root, b"lost"))
    old(root)

    assert seen_orphans(root) == (lost,)


def test_a_young_blob_is_none_since_somebody_may_be_about_to_name_it(root: Path) -> None:
    model(root, "tiny")
    lost = root / manifests.blob_path(blob(root, b"lost"))
    age(lost, 0.99, NOW)

    assert seen_orphans(root) == ()
    age(lost, 1.01, NOW)
    assert len(seen_orphans(root)) == 1


def test_partial_downloads_of_long_ago_are_orphans_all_parts_of_them(root: Path) -> None:
    model(root, "tiny")
    stem = f"blobs/sha256-{'2' * 64}-partial"
    for name in (stem, f"{stem}-0", f"{stem}-15"):
        (root / name).write_bytes(b"")
    old(root)

    assert seen_orphans(root) == (stem, f"{stem}-0", f"{stem}-15")


def test_while_a_pull_may_be_running_nothing_is_an_orphan(root: Path) -> None:
    model(root, "tiny")
    blob(root, b"lost")
    old(root)
    assert seen_orphans(root) != ()  # the control

    partial = root / f"blobs/sha256-{'2' * 64}-partial-3"
    partial.write_bytes(b"")
    age(partial, 0.1, NOW)

    assert seen_orphans(root) == ()


@pytest.mark.parametrize("data", [b"", b"{nonsense"])
def test_while_any_manifest_is_damaged_nothing_is_an_orphan(root: Path, data: bytes) -> None:
    model(root, "tiny")
    blob(root, b"lost")
    model(root, "bad").write_bytes(data)
    old(root)

    assert seen_orphans(root) == ()


def test_in_a_store_without_any_model_nothing_is_an_orphan(root: Path) -> None:
    blob(root, b"lost")
    old(root)

    assert seen_orphans(root) == ()


def test_with_a_later_layout_beside_it_nothing_is_an_orphan(root: Path) -> None:
    model(root, "tiny")
    blob(root, b"lost")
    old(root)
    (root / "manifests-v2").mkdir()

    assert seen_orphans(root) == ()


def test_what_others_put_among_the_blobs_is_none_of_ours(root: Path) -> None:
    model(root, "tiny")
    for name in ("README.txt", "sha256-123", f"sha256-{'A' * 64}", f"sha256-{'2' * 64}.bak", "sha1-" + "2" * 40):
        (root / "blobs" / name).write_bytes(b"")
    old(root)

    assert seen_orphans(root) == ()


def test_a_linked_blob_is_no_regular_file_and_no_orphan(root: Path, tmp_path: Path) -> None:
    model(root, "tiny")
    link = root / f"blobs/sha256-{'3' * 64}"
    link.symlink_to(tmp_path)
    age(link, 5, NOW)

    assert seen_orphans(root) == ()


def test_a_clock_that_was_set_back_makes_nothing_an_orphan(root: Path) -> None:
    model(root, "tiny")
    blob(root, b"lost")
    old(root)

    assert seen_orphans(root, NOW - 86400) == ()


def test_an_unreadable_store_has_no_orphans(root: Path) -> None:
    model(root, "tiny")
    blob(root, b"lost")
    old(root)
    stored = read_store(root)

    assert orphans(replace(stored, why="gone"), files_below(root), NOW) == ()


# -- where it is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["/data/my models", ' "/data/my models" ', "'/data/my models'"])
def test_quotes_and_spaces_around_the_directory_mean_nothing(said: str) -> None:
    assert environment_directory({"OLLAMA_MODELS": said, "HOME": "/home/me"}) == "/data/my models"


def test_without_a_variable_it_is_the_users_own_or_the_systems(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "OLLAMA_MODELS": ""}

    assert environment_directory(environ) == ""
    assert usual_directories(environ, ["/usr/share"]) == (f"{tmp_path}/.ollama/models", "/usr/share")


# -- how much ---------------------------------------------------------------------------------------------------------


def test_bytes_that_two_names_share_are_counted_once(root: Path) -> None:
    blob(root, b"x" * 8192)
    os.link(root / manifests.blob_path(blob(root, b"x" * 8192)), root / "blobs" / "second")
    (root / "blobs" / "link").symlink_to("second")

    assert bytes_on_disk(root) == (8192, 16384)


def test_holes_occupy_nothing(root: Path) -> None:
    root.mkdir()
    with (root / "sparse").open("wb") as file:
        file.truncate(1 << 20)

    assert bytes_on_disk(root) == (0, 1 << 20)


def test_nothing_is_where_nothing_is(root: Path) -> None:
    assert bytes_on_disk(root) == (0, 0)


def test_five_hundred_models_are_read_and_nothing_but_their_manifests(root: Path) -> None:
    for number in range(500):
        model(root, f"ns{number % 7}/model{number}:q4", {"model": b"%d" % number, "template": b"t", "params": b"{}"})
    for path in (root / "blobs").iterdir():
        path.unlink()
        os.mkfifo(path)  # whoever opened one to read it would wait for ever

    stored = read_store(root)

    assert (len(stored.models), len(stored.users), stored.broken) == (500, 503, ())
