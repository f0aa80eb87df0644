"""Looking at an Ollama: server and directory are joined, and where they do not fit together it is told."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from ollama_http_kit import Answer, Asked, Speaker, Stub, error
from ollama_store_kit import blob, manifest_text, model

from reconciler.ollama import finding, look
from reconciler.ollama.look import Seen, by_api, root_of, unwritable
from reconciler.ollama.storage import read_store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with two models, as a server keeps it."""
    where = tmp_path / "store of the server"
    model(where, "tiny:v1")
    model(where, "hf.co/Someone/Big-GGUF:Q4_K_M")
    return where


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home")}


@pytest.fixture
def down() -> Iterator[str]:
    """An address at which nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def at(url: str, environ: dict[str, str], models: Path | None = None, system: tuple[str, ...] = ()) -> Seen:
    return look.look("box", url, None if models is None else str(models), environ, timeout=5.0, system=system)


def names_of(seen: Seen) -> list[str]:
    return [each.name.short for each in seen.stored.models] if seen.stored else []


# -- both -------------------------------------------------------------------------------------------------------------


def test_the_server_gives_its_directory_away_and_both_tell_the_same(root: Path, environ: dict[str, str]) -> None:
    with Speaker(root) as server:
        seen = at(server.url, environ)

    assert (seen.mode, seen.directory, seen.version) == ("api+store", str(root), "0.32.15")
    assert [each.name for each in seen.listed] == names_of(seen)
    assert (seen.writable, seen.same_owner, seen.warnings) == (True, True, ())
    assert (root_of(seen), by_api(seen)) == (str(root), False)


def test_names_are_joined_whatever_their_case(root: Path, environ: dict[str, str]) -> None:
    def shout(asked: Asked) -> Answer | None:
        if asked.path != "/api/tags":
            return None
        answer = Speaker.answer(server_of_it, asked)
        return answer._replace(body=bytes(answer.body).replace(b"tiny:v1", b"TINY:V1"))

    server_of_it = Speaker(root)
    with Speaker(root, refuse=shout) as server:
        seen = at(server.url, environ)

    assert [each.name for each in seen.listed] == ["hf.co/Someone/Big-GGUF:Q4_K_M", "TINY:V1"]
    assert (seen.mode, seen.warnings) == ("api+store", ())


def test_two_models_that_differ_by_case_only_are_no_difference(root: Path, environ: dict[str, str]) -> None:
    model(root, "case:V1", {"model": b"one"})
    model(root, "Case:v1", {"model": b"two"})

    with Speaker(root) as server:
        assert at(server.url, environ).warnings == ()


def test_a_path_before_ours_is_kept(root: Path, environ: dict[str, str]) -> None:
    with Speaker(root) as server:
        plain, server.answer = server.answer, lambda asked: plain(asked._replace(path=asked.path[5:]))  # type: ignore[method-assign]
        seen = at(f"{server.url}/team/", environ)

    assert (seen.url, seen.mode) == (f"{server.url}/team", "api+store")
    assert all(asked.path.startswith("/team/api/") for asked in server.asked)


def test_stubs_and_models_of_many_tensors_are_seen_like_any_other(root: Path, environ: dict[str, str]) -> None:
    model(root, "gpt-oss:20b-cloud", {})
    rows = [("tensor", blob(root, b"tensor %d" % n), 8) for n in range(20)]
    path = root / "manifests/registry.ollama.ai/library/mlx/latest"
    path.parent.mkdir(parents=True)
    path.write_text(manifest_text(rows, (blob(root, b"{}"), 2)))

    with Speaker(root) as server:
        seen = at(server.url, environ)

    assert (seen.mode, len(seen.listed), seen.warnings) == ("api+store", 4, ())
    assert [each.name for each in seen.listed if each.remote_host] == ["gpt-oss:20b-cloud"]
    assert "gpt-oss:20b-cloud" not in [asked.json["model"] for asked in server.asked if asked.path == "/api/show"]


def test_five_hundred_models_cost_three_questions(root: Path, environ: dict[str, str]) -> None:
    for number in range(500):
        model(root, f"ns{number % 7}/model{number}:q4", {"model": b"%d" % number})

    with Speaker(root) as server:
        seen = at(server.url, environ)

    assert (len(seen.listed), seen.mode, seen.warnings) == (502, "api+store", ())
    assert [asked.path for asked in server.asked] == ["/api/version", "/api/tags", "/api/show"]


def test_a_model_that_cannot_be_shown_is_passed_over(root: Path, environ: dict[str, str]) -> None:
    failed: list[str] = []

    def first_fails(asked: Asked) -> Answer | None:
        if asked.path != "/api/show" or failed:
            return None
        failed.append(asked.json["model"])
        return error(f"model '{failed[0]}' not found", 404)

    with Speaker(root, refuse=first_fails) as server:
        assert at(server.url, environ).directory == str(root)

    assert failed


def test_reserved_tags_are_not_asked_about_since_the_server_means_something_else(
    root: Path, environ: dict[str, str]
) -> None:
    model(root, "foo:local", {"model": b""})  # the smallest of all: it would be asked about first

    with Speaker(root) as server:
        assert at(server.url, environ).mode == "api+store"

    assert "foo:local" not in [asked.json["model"] for asked in server.asked if asked.path == "/api/show"]


# -- they do not fit together -----------------------------------------------------------------------------------------


def test_a_declared_directory_of_another_server_is_told(root: Path, tmp_path: Path, environ: dict[str, str]) -> None:
    other = tmp_path / "other"
    model(other, "mine")

    with Speaker(root) as server:
        seen = at(server.url, environ, models=other)

    lacks, extra = seen.warnings
    assert "hf.co/Someone/Big-GGUF:Q4_K_M, tiny:v1, which" in lacks
    assert "lacks: is it another server's directory?" in lacks
    assert "holds mine:latest, which the server does not list" in extra
    assert root_of(seen) == str(other)


def test_a_model_with_another_digest_is_told(root: Path, tmp_path: Path, environ: dict[str, str]) -> None:
    other = tmp_path / "other"
    model(other, "tiny:v1", {"model": b"changed"})
    model(other, "hf.co/Someone/Big-GGUF:Q4_K_M")

    with Speaker(root) as server:
        [warning] = at(server.url, environ, models=other).warnings

    assert warning.startswith("tiny:v1: the server tells another digest")


def test_a_line_break_that_the_server_did_not_hash_makes_no_other_digest(root: Path, environ: dict[str, str]) -> None:
    def without_line_break(asked: Asked) -> Answer | None:
        if asked.path != "/api/tags":
            return None
        data = (root / "manifests/registry.ollama.ai/library/tiny/v1").read_bytes()
        digest = hashlib.sha256(data.rstrip(b"\n")).hexdigest()
        return Answer(body=json.dumps({"models": [{"name": "tiny:v1", "size": 1, "digest": digest}]}).encode())

    (root / "manifests/hf.co/Someone/Big-GGUF/Q4_K_M").unlink()
    with Speaker(root, refuse=without_line_break) as server:
        seen = at(server.url, environ)

    assert (seen.mode, seen.warnings) == ("api+store", ())


def test_a_declared_directory_that_is_not_there_while_the_server_runs_is_not_used(
    root: Path, tmp_path: Path, environ: dict[str, str]
) -> None:
    with Speaker(root) as server:
        seen = at(server.url, environ, models=tmp_path / "nowhere")

    assert (seen.mode, seen.stored, root_of(seen)) == ("api-only", None, server.url)
    assert "is not there, though the server runs" in seen.warnings[0]


def test_the_directory_of_a_container_is_not_taken_for_one_of_ours(
    root: Path, tmp_path: Path, environ: dict[str, str]
) -> None:
    with Speaker(root, says="/models-of-a-container/models") as server:
        seen = at(server.url, environ)

    assert (seen.mode, seen.directory, by_api(seen)) == ("api-only", None, True)
    assert "is not on this machine: is it in a container?" in seen.warnings[0]


def test_a_directory_of_the_same_name_with_other_models_is_not_believed(
    root: Path, tmp_path: Path, environ: dict[str, str]
) -> None:
    """What a container calls /root/.ollama/models may be there for us too, and be another store."""
    same_name = tmp_path / "ours"
    model(same_name, "tiny:v1", {"model": b"other bytes"})

    with Speaker(root, says=str(same_name)) as server:
        seen = at(server.url, environ)

    assert (seen.mode, seen.directory) == ("api-only", None)
    assert "holds other models on this machine" in seen.warnings[0]


def test_a_container_whose_store_is_mounted_from_a_usual_place_is_found_there(
    root: Path, environ: dict[str, str]
) -> None:
    usual = Path(environ["HOME"], ".ollama/models")
    usual.parent.mkdir(parents=True)
    root.rename(usual)

    with Speaker(usual, says="/container/models") as server:
        seen = at(server.url, environ)

    assert (seen.mode, seen.directory, seen.warnings) == ("api+store", str(usual), ())


# -- guesses ----------------------------------------------------------------------------------------------------------


def fail_to_show(asked: Asked) -> Answer | None:
    return error("no", 500) if asked.path == "/api/show" else None


def test_a_variable_of_our_shell_is_believed_when_the_models_are_there(root: Path, environ: dict[str, str]) -> None:
    with Speaker(root, refuse=fail_to_show) as server:
        seen = at(server.url, {**environ, "OLLAMA_MODELS": f' "{root}" '})

    assert (seen.mode, seen.directory, seen.warnings) == ("api+store", str(root), ())


def test_a_variable_of_our_shell_is_not_believed_otherwise(root: Path, tmp_path: Path, environ: dict[str, str]) -> None:
    other = tmp_path / "other"
    model(other, "mine")
    with Speaker(root, refuse=fail_to_show) as server:
        seen = at(server.url, {**environ, "OLLAMA_MODELS": str(other)})

    assert (seen.mode, seen.directory) == ("api-only", None)
    assert any("OLLAMA_MODELS says" in each and "does not hold what" in each for each in seen.warnings)


def test_the_systems_place_is_taken_where_its_models_are_those_of_the_server(
    root: Path, environ: dict[str, str]
) -> None:
    with Speaker(root, refuse=fail_to_show) as server:
        seen = at(server.url, environ, system=(str(root),))

    assert (seen.mode, seen.directory) == ("api+store", str(root))


def test_an_empty_server_is_found_by_the_directory_that_it_has_made(tmp_path: Path, environ: dict[str, str]) -> None:
    root = tmp_path / "fresh"
    with Speaker(root) as server:
        assert at(server.url, environ, system=(str(root),)).directory is None  # it runs, so its directory is elsewhere

        (root / "blobs").mkdir(parents=True)
        assert at(server.url, environ, system=(str(root),)).directory == str(root)


def test_a_place_with_models_is_not_that_of_an_empty_server(
    root: Path, tmp_path: Path, environ: dict[str, str]
) -> None:
    with Speaker(tmp_path / "fresh") as server:
        seen = at(server.url, environ, system=(str(root),))

    assert (seen.mode, seen.directory) == ("api-only", None)
    assert "name the directory with `models`" in seen.warnings[0]


def test_nothing_of_this_machine_is_taken_for_another_machines(root: Path, environ: dict[str, str]) -> None:
    """Not even when a server far away holds just the same models."""
    spoken = finding.Spoken("http://10.0.0.7:11434", "0.32.15")
    found = finding.find(None, spoken, {**environ, "OLLAMA_MODELS": str(root)}, 1.0, (str(root),))

    assert found == finding.Found()


def test_a_windows_path_is_looked_for_where_its_drive_is_mounted() -> None:
    assert finding.here("C:\\Users\\me\\.ollama\\models") == "/mnt/c/Users/me/.ollama/models"
    assert finding.here("/srv/models") == "/srv/models"


# -- one of them only -------------------------------------------------------------------------------------------------


def test_a_server_that_is_down_leaves_the_declared_directory(root: Path, environ: dict[str, str], down: str) -> None:
    seen = at(down, environ, models=root)

    assert (seen.mode, seen.api, len(names_of(seen)), seen.version) == ("store-only", False, 2, "")
    assert root_of(seen) == str(root)
    [warning] = seen.warnings
    assert warning.startswith(f"{down}: no answer: Connection refused (start it")
    assert warning.endswith("only its directory was read")


def test_a_server_that_is_down_is_looked_for_in_the_usual_places(
    root: Path, environ: dict[str, str], down: str
) -> None:
    assert at(down, {**environ, "OLLAMA_MODELS": str(root)}).directory == str(root)
    assert at(down, environ, system=(str(root),)).directory == str(root)


def test_of_two_usual_places_the_one_with_models_is_taken_and_told(
    root: Path, environ: dict[str, str], down: str
) -> None:
    Path(environ["HOME"], ".ollama/models/blobs").mkdir(parents=True)

    seen = at(down, environ, system=(str(root),))

    assert seen.directory == str(root)
    assert any(f"could be {environ['HOME']}/.ollama/models" in each for each in seen.warnings)


def test_neither_server_nor_directory_is_nothing(environ: dict[str, str], down: str) -> None:
    seen = at(down, environ)

    assert (seen.mode, seen.stored, seen.directory, seen.warnings) == ("", None, None, ())
    assert (root_of(seen), by_api(seen)) == (down, True)
    assert seen.why_no_api.startswith(f"{down}: no answer")


def test_a_declared_directory_that_is_not_there_yet_serves_while_the_server_is_down(
    tmp_path: Path, environ: dict[str, str], down: str
) -> None:
    seen = at(down, environ, models=tmp_path / "a/b/models")

    assert (seen.mode, seen.writable, root_of(seen)) == ("store-only", True, str(tmp_path / "a/b/models"))


def test_an_address_that_is_none_is_told(environ: dict[str, str], root: Path) -> None:
    seen = look.look("box", None, str(root), {**environ, "OLLAMA_HOST": "ftp://x"}, system=())

    assert (seen.mode, seen.api) == ("store-only", False)
    assert "OLLAMA_HOST: expected http or https" in seen.why_no_api


def test_another_server_at_the_address_is_no_ollama(environ: dict[str, str]) -> None:
    with Stub(Answer(404, b"<html>not found</html>")) as server:
        seen = at(server.url, environ)

    assert (seen.mode, seen.api) == ("", False)
    assert "is this the address of an Ollama server?" in seen.why_no_api


# -- a store that hurts the server ------------------------------------------------------------------------------------


def test_a_dangling_manifest_disables_the_server_and_gives_the_directory_away(
    root: Path, environ: dict[str, str]
) -> None:
    path = root / "manifests/registry.ollama.ai/library/dang/latest"
    path.parent.mkdir()
    path.symlink_to("nowhere")

    with Speaker(root) as server:
        seen = at(server.url, environ)

    assert (seen.mode, seen.api, seen.version, seen.directory) == ("store-only", False, "0.32.15", str(root))
    assert "stat " in seen.why_no_api
    assert "(500)" in seen.why_no_api
    assert any(f"rm -- '{path}'" in each for each in seen.warnings)
    assert len(names_of(seen)) == 2


def test_a_damaged_manifest_is_told_and_no_difference(root: Path, environ: dict[str, str]) -> None:
    model(root, "bad").write_bytes(b"")

    with Speaker(root) as server:
        seen = at(server.url, environ)

    [warning] = seen.warnings
    assert (seen.mode, "damaged manifest (empty)" in warning) == ("api+store", True)


def test_many_bad_entries_are_counted(root: Path, environ: dict[str, str]) -> None:
    for number in range(30):
        model(root, f"bad{number}").write_bytes(b"")

    with Speaker(root) as server:
        warnings = at(server.url, environ).warnings

    assert (len(warnings), warnings[-1]) == (21, "and 10 more entries like these")


def test_a_model_without_its_config_is_not_listed_and_the_directory_is_right_all_the_same(
    root: Path, environ: dict[str, str]
) -> None:
    rows = [("model", blob(root, b"weights"), 7)]
    path = root / "manifests/registry.ollama.ai/library/headless/latest"
    path.parent.mkdir(parents=True)
    path.write_text(manifest_text(rows, ("sha256:" + "c" * 64, 2)))

    def unlisted(asked: Asked) -> Answer | None:
        if asked.path != "/api/tags":
            return None
        listed = json.loads(bytes(Speaker.answer(server_of_it, asked).body))["models"]
        return Answer(body=json.dumps({"models": [m for m in listed if m["name"] != "headless:latest"]}).encode())

    server_of_it = Speaker(root)
    with Speaker(root, refuse=unlisted) as server:
        [warning] = at(server.url, {**environ, "OLLAMA_MODELS": str(root)}).warnings

    assert warning.startswith("headless:latest: the config is missing")


# -- whose it is ------------------------------------------------------------------------------------------------------


def deny(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """As for another user: whoever runs the tests may be allowed everything."""
    access = os.access

    def answer(path: Path | str, mode: int, **how: bool) -> bool:
        return not (mode & os.W_OK and str(path) == str(folder)) and access(path, mode, **how)

    monkeypatch.setattr(os, "access", answer)
    monkeypatch.setattr(os, "supports_effective_ids", {answer})


@pytest.mark.parametrize(
    "part",
    ["", "blobs", "manifests", "manifests/registry.ollama.ai/library", "manifests/registry.ollama.ai/library/tiny"],
)
def test_a_store_of_which_any_part_cannot_be_written_is_reached_by_the_api(
    root: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    deny(monkeypatch, root / part)

    with Speaker(root) as server:
        seen = at(server.url, environ)

    assert (seen.mode, seen.writable) == ("api+store", False)
    assert (root_of(seen), by_api(seen)) == (server.url, True)
    assert seen.warnings[0].startswith(f"{(root / part)} belongs to ")
    assert seen.warnings[0].endswith(" and cannot be written by you")


def test_while_the_server_is_down_a_store_that_cannot_be_written_is_read_all_the_same(
    root: Path, environ: dict[str, str], down: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deny(monkeypatch, root)

    seen = at(down, environ, models=root)

    assert (seen.writable, root_of(seen), by_api(seen)) == (False, str(root), False)


def test_what_is_not_there_yet_is_writable_as_what_is_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not unwritable(read_store(tmp_path / "a/b"))

    (tmp_path / "file").write_text("")
    assert unwritable(read_store(tmp_path / "file/models"))

    deny(monkeypatch, tmp_path)
    assert unwritable(read_store(tmp_path / "a/b"))


def test_a_store_of_another_user_is_told_since_its_server_cannot_touch_our_files(
    root: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    with Speaker(root) as server:
        seen = at(server.url, environ)

    assert (seen.writable, seen.same_owner) == (True, False)
    assert "cannot be derived from by `ollama create`" in seen.warnings[0]
    assert root_of(seen) == str(root)


def test_a_directory_that_cannot_be_read_is_known_and_not_used(
    root: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Speaker(root) as server:
        listed = at(server.url, environ).listed
        scandir = os.scandir

        def refuse(path: object) -> object:
            if str(path) == str(root):
                raise PermissionError(13, "Permission denied")
            return scandir(path)  # type: ignore[call-overload]

        server.answer = answers(server, listed[0].name, root)  # type: ignore[method-assign]
        monkeypatch.setattr(os, "scandir", refuse)
        seen = at(server.url, environ)

    assert (seen.mode, seen.directory, seen.stored, root_of(seen)) == ("api-only", str(root), None, server.url)
    assert "cannot be read: Permission denied" in seen.warnings[0]


def answers(server: Speaker, name: str, root: Path) -> object:
    """What the server says, said beforehand: it may read what we may not."""
    told = {
        path: Speaker.answer(server, Asked("GET", path, b'{"model":"%s"}' % name.encode(), {}))
        for path in ("/api/version", "/api/tags", "/api/show")
    }
    return lambda asked: told[asked.path]
