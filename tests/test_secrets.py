from __future__ import annotations

import base64
import copy
import dataclasses
import json
import logging
import pickle
import traceback

import pytest
from sources_kit import CANARY

from reconciler.errors import InputError
from reconciler.secrets import Secret, redact
from reconciler.sources import World


@pytest.mark.parametrize(
    "show",
    [str, repr, "{}".format, "{:>60}".format, lambda s: f"{s!r}", lambda s: repr([s]), lambda s: repr({"token": s})],
)
def test_a_secret_never_shows_its_value(show):
    shown = show(Secret(CANARY))
    assert CANARY not in shown
    assert "***" in shown


def test_a_secret_is_not_written_anywhere():
    secret = Secret(CANARY)
    for write in (pickle.dumps, copy.copy):
        try:
            written = write(secret)
        except TypeError:
            continue
        assert CANARY.encode() not in repr(written).encode()
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)


def test_what_holds_a_secret_does_not_show_it_either(caplog):
    world = World(token=Secret(CANARY))
    assert CANARY not in repr(world)
    values = dataclasses.replace(world, memory=None, warn=None, sleep=None)  # type: ignore[arg-type]
    assert CANARY not in repr(dataclasses.asdict(values))
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("x").error("world %s %r", world, world)
    assert CANARY not in caplog.text


def test_the_value_is_there_for_who_asks():
    assert Secret(CANARY).reveal() == CANARY
    assert Secret(CANARY) == Secret(CANARY) != Secret("other")
    assert len({Secret(CANARY), Secret(CANARY)}) == 1


@pytest.mark.parametrize(
    ("text", "hidden", "kept"),
    [
        (f"GET failed with {CANARY}.", CANARY, "GET failed with "),
        ("Authorization: Bearer abcdefghij", "abcdefghij", "Authorization: "),
        ("{'authorization': 'Basic dXNlcjpwYXNz'}", "dXNlcjpwYXNz", "authorization"),
        ("Proxy-Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz", "Proxy-Authorization"),
        ("Cookie: session=abcdef; other=1", "abcdef", "Cookie: "),
        ("https://cdn/x?X-Amz-Signature=deadbeef&X-Amz-Expires=3600", "deadbeef", "X-Amz-Expires=3600"),
        ("https://cdn/x?Expires=12&Signature=dead~beef_&Key-Pair-Id=K1", "dead~beef_", "Expires=12"),
        ("https://cdn/x?a=1&token=abc123", "abc123", "a=1"),
        ("https://host/x?api_key=abc123#frag", "abc123", "https://host/x"),
        ("https://user:hunter2@host/x", "hunter2", "@host/x"),
        ("jwt eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.abc-DEF", "eyJhbGciOiJIUzI1", "jwt "),
    ],
)
def test_text_of_others_loses_what_looks_like_a_secret(text, hidden, kept):
    assert hidden in text  # the control: unfiltered, it shows
    found = redact(text)
    assert hidden not in found
    assert kept in found
    assert redact(found) == found


@pytest.mark.parametrize(
    "form", [CANARY, "p%40ss%2Fw0rd", base64.b64encode(b"p@ss/w0rd").decode(), "p@ss/w0rd"]
)  # fmt: skip
def test_a_known_secret_is_found_in_every_form(form):
    assert form.rstrip("=") not in redact(f"x {form} y", [Secret(CANARY), "p@ss/w0rd", None])


def test_ordinary_text_stays_as_it_is():
    text = "hf:owner/repo@main: 404, 3.2 GiB of model-Q4_K_M.gguf; see https://huggingface.co/owner/repo?tab=files"
    assert redact(text) == text


def test_an_exception_raised_beside_a_secret_does_not_hold_it():
    secret = Secret(CANARY)
    try:
        raise RuntimeError(f"with {secret} and {[secret]!r}")
    except RuntimeError:
        assert CANARY not in traceback.format_exc()


def test_the_environment_gives_endpoint_token_and_offline():
    world = World.from_environment(
        {"HF_TOKEN": f" {CANARY}\n", "HF_ENDPOINT": "https://hub.example/", "HF_HUB_OFFLINE": "1"}
    )
    assert (world.endpoint, world.token, world.offline) == ("https://hub.example", Secret(CANARY), True)
    plain = World.from_environment({"HOME": "/nonexistent"})
    assert (plain.endpoint, plain.token, plain.offline) == ("https://huggingface.co", None, False)


def test_the_token_file_of_huggingface_hub_is_read_and_an_open_one_is_told(world):
    (world / "token").write_text(f"{CANARY}\n")
    (world / "token").chmod(0o644)
    warnings: list[str] = []
    found = World.from_environment({"HF_HOME": str(world)}, warn=warnings.append)
    assert found.token == Secret(CANARY)
    assert len(warnings) == 1
    assert "chmod 600" in warnings[0]
    assert CANARY not in warnings[0]
    (world / "token").chmod(0o600)
    assert World.from_environment({"HF_HOME": str(world)}, warn=warnings.append).token == Secret(CANARY)
    assert len(warnings) == 1


def test_a_token_that_would_travel_in_the_clear_is_told():
    for endpoint, told in (("http://mirror.example", 1), ("http://127.0.0.1:8000", 0), ("https://mirror.example", 0)):
        warnings: list[str] = []
        World.from_environment({"HF_TOKEN": CANARY, "HF_ENDPOINT": endpoint}, warn=warnings.append)
        assert ["unencrypted" in warning for warning in warnings] == [True] * told


@pytest.mark.parametrize(
    "environ", [{"HF_ENDPOINT": "ftp://x"}, {"HF_ENDPOINT": "https://a:b@x"}, {"HF_TOKEN": "two words"}]
)
def test_an_environment_that_makes_no_sense_is_refused_without_showing_it(environ):
    with pytest.raises(InputError) as error:
        World.from_environment(environ)
    assert "two words" not in str(error.value)
    assert next(iter(environ)) in str(error.value)
