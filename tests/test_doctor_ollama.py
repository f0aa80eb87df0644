"""What the doctor says of an Ollama: every finding with the command or the word that mends it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_kit import Box, a_box
from ollama_http_kit import Speaker
from ollama_store_kit import age, blob, model

from reconciler.doctor import Check
from reconciler.doctor import ollama as doctor
from reconciler.ollama.look import Seen, look

NOW = 1_900_000_000.0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    where = tmp_path / "store"
    model(where, "tiny:v1")
    return where


@pytest.fixture
def down() -> Iterator[str]:
    """An address at which nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def seen_at(url: str, models: Path | None = None) -> Seen:
    return look("box", url, models and str(models), {"HOME": "/nonexistent"}, timeout=5.0, system=())


def told(url: str, models: Path | None = None) -> list[Check]:
    checks = list(doctor.told("ollama box", seen_at(url, models), NOW))
    assert {check.name for check in checks} == {"ollama box"}
    return checks


def bad(checks: list[Check]) -> list[Check]:
    return [check for check in checks if check.state != "ok"]


def test_a_server_and_its_store_that_are_well(root: Path) -> None:
    with Speaker(root) as server:
        server_, directory, tidying = told(server.url)

    assert server_.found == f"Ollama 0.32.15 at {server.url}, 1 model listed"
    assert directory.found.startswith(f"{root}: 1 model, ")
    assert directory.found.endswith("on disk, writable by you")
    assert "OLLAMA_NOPRUNE" in tidying.found
    assert {check.state for check in (server_, directory, tidying)} == {"ok"}


def test_bytes_that_models_share_are_told_both_ways(root: Path) -> None:
    weights = root / "blobs" / blob(root, b"x" * 3_000_000).replace(":", "-")
    os.link(weights, root / "blobs" / "again")

    with Speaker(root) as server:
        directory = told(server.url)[1]

    assert "2.9 MiB on disk, 5.7 MiB by name" in directory.found


def test_a_server_that_is_down_is_a_warning_where_its_directory_is_there(root: Path, down: str) -> None:
    [warning] = bad(told(down, root))

    assert (warning.state, "Connection refused (start it with `ollama serve`" in warning.found) == ("warning", True)


def test_neither_server_nor_directory_is_a_problem(down: str) -> None:
    [problem] = told(down)

    assert (problem.state, problem.hint) == ("problem", "or name the directory of its models with `models`")


def test_a_server_whose_directory_is_elsewhere_is_used_by_its_api(root: Path) -> None:
    with Speaker(root, says="/in/a/container") as server:
        checks = told(server.url)

    assert [check.state for check in checks] == ["ok", "ok", "warning"]
    assert "API alone is used" in checks[1].found
    assert "is it in a container?" in checks[2].found


def test_a_dangling_manifest_is_a_problem_with_the_command_that_mends_it(root: Path) -> None:
    path = root / "manifests/registry.ollama.ai/library/dang/latest"
    path.parent.mkdir()
    path.symlink_to("nowhere")

    with Speaker(root) as server:
        first, second = bad(told(server.url))

    assert "runs, and cannot list its models" in first.found
    assert "disables the whole server" in second.found
    assert (first.state, second.state, second.hint) == ("problem", "problem", f"remove it: rm -- {path}")


def test_each_bad_manifest_is_told_with_its_command(root: Path) -> None:
    paths = [model(root, "bad"), model(root, "worse")]
    for path in paths:
        path.write_bytes(b"")
    hidden = paths[0].parent / ".hidden"
    hidden.write_bytes(b"{}")

    with Speaker(root) as server:
        checks = told(server.url)

    assert [check.hint.removeprefix("remove it: rm -- ") for check in bad(checks)] == [
        str(hidden), str(paths[0]), str(paths[1])
    ]  # fmt: skip
    assert "while a manifest is bad" in checks[-1].found


def test_a_model_with_a_reserved_tag_can_be_removed_by_hand_only(root: Path) -> None:
    path = model(root, "foo:local")
    model(root, "gpt-oss:20b-cloud", {})  # a stub of a remote model is meant to be called so

    with Speaker(root) as server:
        [warning] = bad(told(server.url))

    assert warning.found.startswith("foo:local: its tag is a mark")
    assert warning.hint.endswith(f"rm -- {path}")


def test_blobs_that_nothing_names_are_counted(root: Path) -> None:
    lost = root / "blobs" / blob(root, b"lost").replace(":", "-")
    age(lost, 5, NOW)

    with Speaker(root) as server:
        tidying = told(server.url)[-1]

    assert tidying.found.startswith("1 blob that no manifest names (4 B: sha256-")
    assert "cannot be seen from here" in tidying.found


def test_a_store_of_another_user_is_a_warning(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    with Speaker(root) as server:
        [warning] = bad(told(server.url))

    assert "cannot be derived from by `ollama create`" in warning.found


def test_a_store_that_we_cannot_write_is_told_once_with_the_way_out(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **how: not mode & os.W_OK and access(path, mode, **how))

    with Speaker(root) as server:
        [warning] = bad(told(server.url))

    assert "everything goes through the server's API" in warning.found
    assert "write access to blobs/ and manifests/" in warning.hint


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Box]:
    with a_box(tmp_path, monkeypatch, capsys) as made:
        yield made


def rows(box: Box, *arguments: str) -> list[dict[str, str]]:
    checks = box.run("doctor", *arguments, "--json").json["checks"]
    return [check for check in checks if check["name"].startswith("ollama")]


def test_every_ollama_location_of_a_manifest_is_looked_at(box: Box, root: Path) -> None:
    with Speaker(root) as server:
        box.write({"routes:": f"  here: {{ store: ollama, url: '{server.url}', models: '{root}' }}\nroutes:"})
        found = rows(box, "box.yaml")

    assert [row["name"] for row in found] == ["ollama here"] * 3
    assert found[0]["found"].startswith("Ollama 0.32.15 at ")


def test_offline_only_a_server_on_this_machine_is_asked(box: Box, root: Path) -> None:
    with Speaker(root) as server:
        far, here = (f"{{ store: ollama, url: '{url}' }}" for url in ("http://gpu.example:11434", server.url))
        box.write({"routes:": f"  far: {far}\n  here: {here}\nroutes:"})
        found = rows(box, "box.yaml", "--offline")

    assert found[0] == {
        "name": "ollama far", "state": "ok", "found": "http://gpu.example:11434 was not asked (--offline)", "hint": "",
    }  # fmt: skip
    assert found[1]["found"].startswith("Ollama 0.32.15 at ")


def test_without_a_manifest_the_server_of_this_machine_is_looked_at_where_there_is_one(
    box: Box, root: Path, down: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.manifest.unlink()
    monkeypatch.setenv("OLLAMA_HOST", down)
    assert list(doctor.examine_default(os.environ, system=())) == []

    with Speaker(root) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        assert rows(box)[0]["found"].startswith("Ollama 0.32.15 at ")


def test_without_a_manifest_a_server_of_another_machine_is_none_of_our_business() -> None:
    assert list(doctor.examine_default({"OLLAMA_HOST": "gpu.example", "HOME": "/nonexistent"}, system=())) == []
