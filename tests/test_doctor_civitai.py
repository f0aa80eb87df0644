"""What `doctor` and `config` say of Civitai's token: whether it is there, whether it is known, never what it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from civitai_kit import TOKEN, world_of

from reconciler import settings
from reconciler.doctor import civitai as doctor
from reconciler.doctor import upstream
from reconciler.doctor.checks import Check
from reconciler.errors import InputError
from reconciler.hub.civitai import Civitai


@pytest.fixture
def civitai() -> Iterator[Civitai]:
    with Civitai(token=TOKEN) as running:
        yield running


def checks(civitai: Civitai, token: str | None = TOKEN, *, offline: bool = False) -> list[Check]:
    return list(doctor.examine(world_of(civitai, token=token), "CIVITAI_TOKEN", offline=offline))


def test_without_a_token_nobody_is_asked(civitai: Civitai) -> None:
    (check,) = checks(civitai, None)
    assert check.state == "ok"
    assert "nothing can be downloaded from Civitai" in check.found
    assert civitai.requests == []


def test_a_token_is_told_by_its_owner_and_never_shown(civitai: Civitai) -> None:
    told = checks(civitai)
    assert [check.found for check in told] == ["set, from CIVITAI_TOKEN", "Civitai knows it as 'demo'"]
    assert TOKEN not in repr(told)
    assert len(checks(civitai, offline=True)) == 1


def test_a_token_that_is_not_known_is_a_problem_with_the_way_out(civitai: Civitai) -> None:
    _, check = checks(civitai, "another")
    assert (check.state, check.found) == ("problem", "Civitai does not accept the token")
    assert "/user/account" in check.hint


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"<html>"])
def test_an_answer_that_names_nobody_is_a_warning(civitai: Civitai, body: bytes) -> None:
    civitai.fault("answer", origin="hub", body=body)
    _, check = checks(civitai)
    assert check.state == "warning"


def test_a_civitai_that_does_not_answer_is_a_problem(civitai: Civitai) -> None:
    civitai.close()
    _, check = checks(civitai)
    assert check.state == "problem"


def test_the_token_of_a_file_is_found_where_the_settings_say(civitai: Civitai, world: Path) -> None:
    (world / "token").write_text(TOKEN)
    (world / "token").chmod(0o600)
    config = world / "config/reconciler/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'civitai_token_file = "{world}/token"\ncivitai_endpoint = "{civitai.url}"\n')
    environ = {"HOME": str(world), "XDG_CONFIG_HOME": str(world / "config"), "HF_ENDPOINT": "http://127.0.0.1:65009"}
    chosen = settings.load(environ)
    told = list(upstream.examine(environ, chosen, offline=True, clock=lambda: 0.0))

    assert (chosen.civitai_token, chosen.origins["civitai_token"]) == (True, str(world / "token"))
    assert ("civitai_token", "set", str(world / "token")) in list(settings.rows(chosen))
    assert [check.found for check in told if check.name == "civitai token"] == [f"set, from {world}/token"]
    assert TOKEN not in repr((told, chosen))


def test_the_environment_goes_before_the_file(world: Path) -> None:
    found = settings.load({"HOME": str(world), "CIVITAI_TOKEN": TOKEN})
    assert (found.civitai_token, found.origins["civitai_token"]) == (True, "CIVITAI_TOKEN")
    assert TOKEN not in repr(found)


def test_a_token_in_the_settings_file_is_refused_without_being_repeated(world: Path) -> None:
    path = world / ".config/reconciler/config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(f'civitai_token = "{TOKEN}"\n')
    with pytest.raises(InputError) as caught:
        settings.load({"HOME": str(world)})
    assert "CIVITAI_TOKEN" in str(caught.value)
    assert TOKEN not in str(caught.value)
