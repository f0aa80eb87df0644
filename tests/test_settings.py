from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from reconciler import settings, settingvalues
from reconciler.errors import InputError

MIB = 2**20


@pytest.fixture
def environ(world: Path) -> dict[str, str]:
    return {"HOME": str(world), "XDG_CONFIG_HOME": str(world / "config"), "XDG_CACHE_HOME": str(world / "cache")}


def write(environ: dict[str, str], text: str) -> Path:
    path = settings.user_file(environ)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def refused(environ: dict[str, str], **flags: object) -> list[str]:
    with pytest.raises(InputError) as caught:
        settings.load(environ, flags)
    return [str(problem) for problem in caught.value.problems]


def test_without_anything_the_defaults_hold_and_say_so(environ: dict[str, str], world: Path) -> None:
    found = settings.load(environ)
    assert found.endpoint == "https://huggingface.co"
    assert found.registry == world / ".local/share/reconciler/registry"
    assert found.cache == world / "cache/reconciler"
    assert (found.limit_rate, found.token, found.color, found.downloader) == (None, False, "auto", "auto")
    assert set(found.origins.values()) == {"default"}


def test_flag_beats_environment_beats_file_beats_default(environ: dict[str, str]) -> None:
    path = write(environ, 'limit_rate = "1MiB"\nfiles = 3\nconnections = 2\n')
    environ |= {"RECONCILER_LIMIT_RATE": "2MiB", "RECONCILER_FILES": "5"}
    found = settings.load(environ, {"limit_rate": "3MiB", "files": None})
    assert (found.limit_rate, found.files, found.connections, found.retries) == (3 * MIB, 5, 2, 5)
    origins = [found.origins[key] for key in ("limit_rate", "files", "connections", "retries")]
    assert origins == ["--limit-rate", "RECONCILER_FILES", f"{path}:3", "default"]


def test_every_field_has_an_origin_and_a_row(environ: dict[str, str]) -> None:
    found = settings.load(environ)
    fields = [key for key in settings.Settings.__dataclass_fields__ if key != "origins"]
    assert list(found.origins) == fields
    assert [row[0] for row in settings.rows(found)] == fields
    assert list(settings.to_json(found)) == fields


@pytest.mark.parametrize("variable", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_of_a_token_only_its_being_there_is_said(environ: dict[str, str], variable: str) -> None:
    found = settings.load(environ | {variable: "hf_CANARY"})
    assert (found.token, found.origins["token"]) == (True, variable)
    for told in (repr(found), repr(list(settings.rows(found))), repr(settings.to_json(found))):
        assert "CANARY" not in told
    assert ("token", "set", variable) in list(settings.rows(found))


@pytest.mark.parametrize("where", ["HF_TOKEN_PATH", "HF_HOME", ""])
def test_a_token_file_is_named_and_never_read(environ: dict[str, str], world: Path, where: str) -> None:
    path = {"HF_TOKEN_PATH": world / "mine", "HF_HOME": world / "hf/token"}.get(
        where, world / "cache/huggingface/token"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("hf_CANARY")
    if where:
        environ[where] = str(path if where == "HF_TOKEN_PATH" else path.parent)
    found = settings.load(environ)
    assert (found.token, found.origins["token"]) == (True, str(path))
    assert "CANARY" not in repr(found)


def test_a_token_in_the_file_is_refused_without_being_repeated(environ: dict[str, str]) -> None:
    write(environ, 'token = "hf_CANARY"')
    (problem,) = refused(environ)
    assert "HF_TOKEN" in problem
    assert "CANARY" not in problem


def test_everything_wrong_is_found_in_one_run_with_its_place(environ: dict[str, str]) -> None:
    path = write(environ, 'limit_rat = "1MiB"\nfiles = "many"\nconnections = true\ndownloader = "aria2"\n')
    environ["RECONCILER_RETRIES"] = "-1"
    problems = refused(environ, color="sometimes")
    assert len(problems) == 6
    assert f"{path}:1: unknown setting 'limit_rat' (did you mean limit_rate?)" in problems
    assert any(problem.startswith(f"{path}:2: files: expected a whole number from 1 to 64") for problem in problems)
    assert any("did you mean aria2c?" in problem for problem in problems)
    assert any(problem.startswith("RECONCILER_RETRIES: ") for problem in problems)
    assert any(problem.startswith("--color: ") for problem in problems)


# -- a project's file -------------------------------------------------------------------------------------------------


def project(at: Path, text: str) -> Path:
    path = at / "pyproject.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_each_place_is_stronger_than_the_one_before_it(environ: dict[str, str], world: Path) -> None:
    path = project(world, "[tool.reconciler]\nfiles = 2\nretries = 1\nconnections = 3\nlimit_rate = '1KiB'\n")
    mine = write(environ, "files = 3\nretries = 2\nconnections = 4\n")
    environ |= {"RECONCILER_FILES": "4", "RECONCILER_RETRIES": "3"}
    found = settings.load(environ, {"files": 5}, world)
    told = {key: (getattr(found, key), found.origins[key]) for key in ("files", "retries", "connections", "limit_rate")}
    assert told == {
        "files": (5, "--files"),
        "retries": (3, "RECONCILER_RETRIES"),
        "connections": (4, f"{mine}:3"),
        "limit_rate": (1024, f"{path}:5"),
    }


def test_a_project_is_looked_for_from_the_manifest_upward_and_the_nearest_with_our_table_counts(
    environ: dict[str, str], world: Path
) -> None:
    project(world, "[tool.reconciler]\nfiles = 2\n")
    near = project(world / "a", "[tool.reconciler]\nfiles = 3\n")
    project(world / "a/b", "[tool.other]\nname = 'reconciler'\n")
    project(world / "a/b/manifests", "not toml, and not ours [")
    manifest = world / "a/b/manifests/box.yaml"
    manifest.write_text("version: 1\n")
    found = settings.load(environ, project=manifest)
    assert (found.files, found.origins["files"]) == (3, f"{near}:2")
    assert settings.load(environ).files == 4, "nobody asked for a project"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[project]\nname = "files = 1"\n\n[tool.reconciler]\n# files = 7\nfiles = 2\n', 6),
        ("tool.reconciler.files = 2\n", 1),
        ("[tool]\nreconciler = { retries = 1, files = 2 }\n", 2),
        ('[tool.x]\ntext = """\n[tool.reconciler]\nfiles = 9\n"""\n[tool.reconciler]\n"files" = 2\n', 7),
    ],
)
def test_the_line_of_a_setting_is_found_however_toml_says_it(
    environ: dict[str, str], world: Path, text: str, line: int
) -> None:
    path = project(world, text)
    found = settings.load(environ, project=world)
    assert (found.files, found.origins["files"]) == (2, f"{path}:{line}")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("token", "hf_CANARY", "HF_TOKEN"),
        ("civitai_token", "CANARY", "CIVITAI_TOKEN"),
        ("hf_token", "hf_CANARY", "HF_TOKEN"),
        ("civitai_api_key", "CANARY", "CIVITAI_TOKEN"),
        ("password", "CANARY", "a secret is not a setting"),
    ],
)
def test_no_file_may_hold_a_secret_and_none_is_repeated(
    environ: dict[str, str], world: Path, key: str, value: str, said: str
) -> None:
    path = project(world, f'[tool.reconciler]\n{key} = "{value}"\n')
    mine = write(environ, f'{key} = "{value}"\n')
    with pytest.raises(InputError) as caught:
        settings.load(environ, project=world)
    told = [str(problem) for problem in caught.value.problems]
    assert [problem.partition(": ")[0] for problem in told] == [f"{mine}:1", f"{path}:2"]
    assert all(said in problem and "CANARY" not in problem for problem in told)


def test_a_repository_does_not_decide_where_tokens_go_or_what_is_run(environ: dict[str, str], world: Path) -> None:
    """Whoever may open a pull request could send the token of its plan elsewhere, or have a program started."""
    values = {
        "endpoint": "https://evil.example", "civitai_endpoint": "https://evil.example", "aria2c": "/tmp/evil",
        "cache": "/tmp/c", "registry": "/tmp/r", "log_dir": "/tmp/l", "civitai_token_file": "/tmp/t",
    }  # fmt: skip
    assert set(values) == {key for key, setting in settings._SETTINGS.items() if not setting.shared}
    path = project(world, "[tool.reconciler]\n" + "".join(f'{key} = "{value}"\n' for key, value in values.items()))
    with pytest.raises(InputError) as caught:
        settings.load(environ, project=world)
    told = [str(problem) for problem in caught.value.problems]
    assert [problem.split(": ")[:2] for problem in told] == [[f"{path}:{n}", key] for n, key in enumerate(values, 2)]
    assert "HF_ENDPOINT" in told[0]
    write(environ, "".join(f'{key} = "{value}"\n' for key, value in values.items()))
    assert settings.load(environ).endpoint == "https://evil.example", "the control: the user's own file may"


def test_an_unknown_key_of_a_project_is_refused_with_what_is_near(environ: dict[str, str], world: Path) -> None:
    path = project(world, "[tool.reconciler]\nconections = 4\n")
    with pytest.raises(InputError) as caught:
        settings.load(environ, project=world)
    assert [str(each) for each in caught.value.problems] == [
        f"{path}:2: unknown setting 'conections' (did you mean connections?)"
    ]


def test_a_table_that_is_none_is_refused(environ: dict[str, str], world: Path) -> None:
    path = project(world, "[tool]\nreconciler = 3\n")
    with pytest.raises(InputError) as caught:
        settings.load(environ, project=world)
    assert str(caught.value) == f"{path}: expected a table [tool.reconciler]"


def test_a_byte_order_mark_is_no_reason_to_refuse_a_file(environ: dict[str, str]) -> None:
    path = write(environ, "\ufefffiles = 2\n")
    found = settings.load(environ)
    assert (found.files, found.origins["files"]) == (2, f"{path}:1")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"files = 2\nbad ==\n", "{path}:2:6: not TOML: invalid value"),
        (b"files = 2\nfiles = 3\n", "{path}:2:10: not TOML: cannot overwrite a value"),
        ("files = 2\n".encode("utf-16"), "{path}: not UTF-8 text (save it as UTF-8)"),
        (b"a = " + b"[" * 100_000, "{path}: not TOML: nested too deep"),
        (b"#" * (5 << 20), "{path}: larger than 4 MiB"),
    ],
)
def test_a_file_that_is_not_toml_is_told_with_the_place_where_it_ceases_to_be(
    environ: dict[str, str], data: bytes, said: str
) -> None:
    path = write(environ, "")
    path.write_bytes(data)
    assert refused(environ) == [said.format(path=path)]


def test_what_is_no_regular_file_is_not_waited_for(environ: dict[str, str], world: Path) -> None:
    path = write(environ, "")
    path.unlink()
    os.mkfifo(path)
    assert refused(environ)[0].startswith(f"{path}: cannot be read: it is no regular file")
    path.unlink()
    path.mkdir()
    assert refused(environ)[0].startswith(f"{path}: cannot be read: Is a directory")
    path.rmdir()
    (world / "below").mkdir()
    os.mkfifo(world / "pyproject.toml")
    assert settings.load(environ, project=world / "below").files == 4, "somebody else's, above the project"


def test_a_table_in_ones_own_file_is_told_how_to_write_it(environ: dict[str, str]) -> None:
    write(environ, "[tool.reconciler]\nfiles = 2\n")
    assert "below no table" in refused(environ)[0]
    write(environ, "limit-rate = '1MiB'\nFILES = 2\n")
    assert ["did you mean limit_rate?" in refused(environ)[0], "did you mean files?" in refused(environ)[1]] == [
        True
    ] * 2


def test_many_mistakes_are_told_briefly(environ: dict[str, str]) -> None:
    write(environ, "".join(f"zz{number} = 1\n" for number in range(300)))
    told = refused(environ)
    assert len(told) == 21
    assert told[-1] == "and 280 more"
    assert sum("the settings are" in each for each in told) == 1


def test_what_looks_like_a_token_is_repeated_by_nobody(environ: dict[str, str]) -> None:
    token = "hf_abcdefghijklmnopqrstuvwxyz012345"
    write(environ, f"files = '{token}'\nendpoint = 'https://x?token=CANARY'\nlog_dir = '{token}'\n")
    told = " ".join(refused(environ))
    assert token not in told
    assert "CANARY" not in told
    write(environ, f"aria2c = '/opt/{token}/aria2c'\nlog_dir = '/var/{token}'\n")
    found = settings.load(environ)
    assert token not in repr([*settings.rows(found)]) + repr(settings.to_json(found))
    assert found.aria2c == f"/opt/{token}/aria2c", "the control: only what is shown is changed"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("aria2c = 'bin/aria2c'", "expected a name, or an absolute path"),
        ("registry = '~'", "this is the home directory itself"),
        ("registry = '/etc'", "is a system directory"),
        ("cache = '~other/x'", "expected an absolute path"),
        ("log_dir = ''", "expected text"),
    ],
)
def test_a_path_means_the_same_from_every_directory_and_is_one_of_ours(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    """A program named by a relative path would be that of whatever directory one happens to stand in."""
    monkeypatch.setenv("HOME", environ["HOME"])
    write(environ, text + "\n")
    (problem,) = refused(environ)
    assert said in problem


def test_a_variable_of_imageworks_is_read_as_that_program_does(
    environ: dict[str, str], world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world)
    assert settings.load(environ | {"IMAGEWORKS_LOG_DIR": "logs"}).log_dir == world / "logs"
    assert "absolute" in refused(environ | {"RECONCILER_LOG_DIR": "logs"})[0], "the control: ours is absolute"


@pytest.mark.parametrize("text", ["= 1", "a = [", "\x00", "limit_rate = 2024-01-01"])
def test_a_file_that_is_not_toml_or_of_wrong_types_is_refused(environ: dict[str, str], text: str) -> None:
    path = write(environ, text)
    assert refused(environ)[0].startswith(str(path))


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20MiB", 20 * MIB), ("20MiB/s", 20 * MIB), ("1.5 MB/s", 1_500_000), ("500K", 500 * 1024), ("500k", 500 * 1024),
        ("1024", 1024), ("7B", 7), ("2g", 2 * 2**30), ("0", None), (" 1 KiB ", 1024),
    ],
)  # fmt: skip
def test_a_rate_is_read_as_people_write_it(text: str, rate: int | None) -> None:
    assert settingvalues.parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "-1MiB", "20 parsecs", "0.1B", "1e9", "20MiB/h", "9" * 40, "\u0661MiB"])
def test_a_rate_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        settingvalues.parse_rate(text)


@pytest.mark.parametrize(
    "url", ["huggingface.co", "ftp://x", "https://user:CANARY@x", "https://", "https://x?token=CANARY", "https://x:y"]
)
def test_an_endpoint_is_a_plain_url_and_a_wrong_one_is_not_repeated_with_its_password(
    environ: dict[str, str], url: str
) -> None:
    (problem,) = refused(environ | {"HF_ENDPOINT": url})
    assert problem.startswith("HF_ENDPOINT: expected a URL")
    assert "user:CANARY" not in problem


@pytest.mark.parametrize("url", ["http://127.0.0.1:22", "https://hub.exa mple", "https://hüb.example"])
def test_an_endpoint_that_nobody_would_open_is_refused_where_it_is_said(environ: dict[str, str], url: str) -> None:
    path = write(environ, f"endpoint = '{url}'\n")
    assert refused(environ)[0].startswith(f"{path}:1: endpoint: ")


def test_an_endpoint_loses_its_last_slash(environ: dict[str, str]) -> None:
    assert settings.load(environ | {"HF_ENDPOINT": "http://127.0.0.1:8080/"}).endpoint == "http://127.0.0.1:8080"


def test_paths_know_the_home_directory_and_are_absolute_unless_typed(environ: dict[str, str], world: Path) -> None:
    write(environ, 'registry = "~/weights/registry"')
    assert settings.load(environ).registry == world / "weights/registry"
    assert settings.load(environ, {"registry": "here"}).registry == Path("here")
    write(environ, 'registry = "weights"')
    assert "absolute" in refused(environ)[0]


@pytest.mark.parametrize(
    ("variables", "flags", "is_terminal", "expected"),
    [
        ({}, {}, True, True),
        ({}, {}, False, False),
        ({"TERM": "dumb"}, {}, True, False),
        ({"NO_COLOR": "1"}, {}, True, False),
        ({"NO_COLOR": ""}, {}, True, True),
        ({"FORCE_COLOR": "1"}, {}, False, True),
        ({"NO_COLOR": "1"}, {"color": "always"}, False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, {}, True, False),
    ],
)
def test_colour_is_the_users_choice(
    environ: dict[str, str], variables: dict[str, str], flags: dict[str, Any], is_terminal: bool, expected: bool
) -> None:
    environ |= variables
    assert settings.wants_colour(settings.load(environ, flags), is_terminal, environ) is expected
