"""The client of an Ollama server: what it asks, what it makes of answers, and what it says when there is none."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ollama_http_kit import Answer, Stub, error

from reconciler.errors import InputError, OllamaError, SourceError
from reconciler.ollama.api import Api, Listed, Progress, blob_directory, is_loopback, url_of
from reconciler.state import Digest

DIGEST = Digest("sha256:" + "6d" * 32)


@contextmanager
def serving(*answers: Answer) -> Iterator[tuple[Api, Stub]]:
    with Stub(*answers) as stub:
        yield Api(stub.url, 5.0), stub


def lines(*values: dict[str, Any]) -> list[bytes]:
    return [json.dumps(value).encode() + b"\n" for value in values]


def of(problem: pytest.ExceptionInfo[OllamaError]) -> str:
    return problem.value.problems[0].summary


# -- asking -----------------------------------------------------------------------------------------------------------


def test_the_list_says_name_digest_size_and_where_a_stub_runs() -> None:
    models = [
        {
            "name": "hf.co/u/R:Q4_K_M", "model": "hf.co/u/R:Q4_K_M", "modified_at": "2026-11-21T01:15:58Z",
            "size": 54069, "digest": "6d" * 32, "details": {"format": "gguf", "quantization_level": "Q4_K_M"},
        },
        {"name": "gpt-oss:20b-cloud", "size": 300, "digest": "ab" * 32, "remote_host": "https://ollama.com:443"},
    ]  # fmt: skip
    with serving(Answer(body=json.dumps({"models": models}).encode())) as (api, stub):
        listed = api.tags()

    assert listed == (
        Listed("hf.co/u/R:Q4_K_M", DIGEST, 54069, "", {"format": "gguf", "quantization_level": "Q4_K_M"}),
        Listed("gpt-oss:20b-cloud", Digest("sha256:" + "ab" * 32), 300, "https://ollama.com:443", {}),
    )
    assert [(each.method, each.path) for each in stub.asked] == [("GET", "/api/tags")]


def test_names_of_the_list_are_one_whatever_their_case() -> None:
    assert Listed("HF.co/U/R:q4", DIGEST, 1).key == Listed("hf.co/u/r:Q4", DIGEST, 1).key
    assert Listed("llama3", DIGEST, 1).key == "registry.ollama.ai/library/llama3:latest"
    assert Listed("no name at all!", DIGEST, 1).key == "no name at all!"


def test_an_empty_list_may_be_null() -> None:
    with serving(Answer(body=b'{"models":null}'), Answer(body=b'{"models":[]}')) as (api, _):
        assert (api.tags(), api.tags()) == ((), ())


def test_the_path_of_a_proxy_stays_before_ours() -> None:
    with serving(Answer(body=b'{"version":"0.32.15"}')) as (api, stub):
        assert Api(f"{api.url}/team/ollama", 5.0).version() == "0.32.15"

    assert stub.asked[0].path == "/team/ollama/api/version"


def test_copy_delete_and_show_name_what_they_mean() -> None:
    with serving(Answer(), Answer(), Answer(body=b'{"modelfile":"FROM x"}')) as (api, stub):
        api.copy("a:b", "c:d")
        api.delete("a:b")
        assert api.show("c:d") == {"modelfile": "FROM x"}

    assert [(each.method, each.path, each.json) for each in stub.asked] == [
        ("POST", "/api/copy", {"source": "a:b", "destination": "c:d"}),
        ("DELETE", "/api/delete", {"model": "a:b"}),
        ("POST", "/api/show", {"model": "c:d"}),
    ]


def test_no_token_of_ours_is_ever_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canary000000000")
    with serving(Answer(body=b'{"version":"1"}'), Answer(body=lines({"status": "success"}))) as (api, stub):
        api.version()
        api.pull("hf.co/u/r")

    assert "canary" not in repr(stub.asked)
    assert not {"authorization", "cookie"} & {name.lower() for each in stub.asked for name in each.headers}


def test_a_server_on_this_machine_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Answer(body=b'{"version":"1"}')) as (api, _), Stub(Answer(body=b'{"version":"proxied"}')) as proxy:
        monkeypatch.delenv("no_proxy")
        monkeypatch.setenv("http_proxy", proxy.url)
        assert api.version() == "1"
        assert proxy.asked == []
        assert Api("http://gpu.example:11434", 5.0).version() == "proxied"  # the control

    assert [each.path for each in proxy.asked] == ["http://gpu.example:11434/api/version"]


# -- streams ----------------------------------------------------------------------------------------------------------


def test_a_pull_tells_how_far_it_is() -> None:
    told: list[Progress] = []
    body = lines(
        {"status": "pulling manifest"},
        {"status": "pulling 6d6d", "digest": DIGEST, "total": 60, "completed": 20},
        {"status": "pulling 6d6d", "digest": DIGEST, "total": 60},
        {"status": "success"},
    )
    with serving(Answer(body=body)) as (api, stub):
        api.pull("127.0.0.1:5000/acme/tiny:v1", insecure=True, watch=told.append)

    assert told == [
        Progress("pulling manifest"),
        Progress("pulling 6d6d", DIGEST, 60, 20),
        Progress("pulling 6d6d", DIGEST, 60, 0),
        Progress("success"),
    ]
    assert stub.asked[0].json == {"model": "127.0.0.1:5000/acme/tiny:v1", "insecure": True, "stream": True}


def test_plain_http_is_asked_for_only_when_allowed() -> None:
    with serving(Answer(body=lines({"status": "success"}))) as (api, stub):
        api.pull("tiny")

    assert stub.asked[0].json == {"model": "tiny", "stream": True}


def test_lines_may_be_cut_anywhere_on_the_wire() -> None:
    whole = b"".join(lines({"status": "pulling manifest"}, {"status": "success"}))
    told: list[Progress] = []
    with serving(Answer(body=[whole[n : n + 7] for n in range(0, len(whole), 7)])) as (api, _):
        api.pull("tiny", watch=told.append)

    assert [each.status for each in told] == ["pulling manifest", "success"]


def test_an_error_after_status_200_is_an_error() -> None:
    body = lines({"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"})
    with serving(Answer(body=body)) as (api, _), pytest.raises(OllamaError) as caught:
        api.pull("nope")

    assert of(caught) == "asked to pull nope, it says pull model manifest: file does not exist"
    assert (caught.value.status, caught.value.problems[0].where) == (200, api.url)


@pytest.mark.parametrize("body", [lines({"status": "pulling manifest"}), [], [b"\n"]])
def test_a_stream_that_ends_without_success_is_an_error(body: list[bytes]) -> None:
    with serving(Answer(body=body)) as (api, _), pytest.raises(OllamaError, match="broke off"):
        api.pull("tiny")


def test_a_stream_that_is_hung_up_is_an_error() -> None:
    with (
        serving(Answer(body=[*lines({"status": "pulling manifest"}), b""])) as (api, _),
        pytest.raises(OllamaError, match="broke off"),
    ):
        api.pull("tiny")


@pytest.mark.parametrize("body", [[b"<html>\n"], [b"[1]\n"], [b"x" * (1 << 20), b"y" * 100]])
def test_a_stream_of_something_else_is_an_error(body: list[bytes]) -> None:
    with serving(Answer(body=body)) as (api, _), pytest.raises(OllamaError, match="what no Ollama does"):
        api.pull("tiny")


def test_a_bad_name_is_refused_before_the_stream_begins() -> None:
    with (
        serving(error("invalid model name", 400)) as (api, _),
        pytest.raises(OllamaError, match="invalid model name") as caught,
    ):
        api.pull("ti ny")

    assert caught.value.status == 400


def test_whoever_watches_can_end_it() -> None:
    class EnoughError(Exception):
        pass

    def stop(_: Progress) -> None:
        raise EnoughError

    with (
        serving(Answer(body=lines({"status": "pulling manifest"}, {"status": "success"}))) as (api, _),
        pytest.raises(EnoughError),
    ):
        api.pull("tiny", watch=stop)


def test_create_sends_what_it_was_given_as_a_stream() -> None:
    body = lines({"status": "using existing layer sha256:ab"}, {"status": "writing manifest"}, {"status": "success"})
    told: list[Progress] = []
    with serving(Answer(body=body)) as (api, stub):
        api.create({"model": "mine", "from": "tiny", "system": "Be brief."}, told.append)

    assert stub.asked[0].json == {"model": "mine", "from": "tiny", "system": "Be brief.", "stream": True}
    assert told[-1] == Progress("success")


def test_a_blob_of_another_user_is_explained() -> None:
    said = "chtimes /m/blobs/sha256-46: operation not permitted"
    with serving(error(said, 500)) as (api, _), pytest.raises(OllamaError, match="chtimes") as caught:
        api.create({"model": "mine", "from": "tiny"})

    assert "belongs to another user" in caught.value.problems[0].hint


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_a_refusal_says_what_was_asked_and_what_the_server_said() -> None:
    with serving(error('model "nope" not found', 404)) as (api, _), pytest.raises(SourceError) as caught:
        api.copy("nope", "x")

    assert isinstance(caught.value, OllamaError)
    assert of(caught) == 'asked to copy nope to x, it says model "nope" not found (404)'
    assert caught.value.status == 404


def test_a_server_that_is_down_says_how_to_start_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"  # bound, and nobody listens
        with pytest.raises(OllamaError) as caught:
            Api(url, 5.0).version()

    assert of(caught) == "no answer: Connection refused"
    assert "`ollama serve`" in caught.value.problems[0].hint
    assert (caught.value.status, caught.value.problems[0].where) == (0, url)


def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(OllamaError, match="no answer"):
            Api(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.05).version()


@pytest.mark.parametrize(
    "body",
    [b"<html>router</html>", b"[]", b'{"models":{}}', b'{"models":[1]}', b'{"models":[{"name":"x"}]}', b"[" * 9999],
)
def test_another_server_at_the_address_is_told_from_an_ollama(body: bytes) -> None:
    with serving(Answer(body=body)) as (api, _), pytest.raises(OllamaError, match="what no Ollama does") as caught:
        api.tags()

    assert "is this the address" in caught.value.problems[0].hint


def test_a_redirect_is_not_followed() -> None:
    with (
        serving(Answer(302, headers={"Location": "http://169.254.169.254/"})) as (api, stub),
        pytest.raises(OllamaError, match="302"),
    ):
        api.version()

    assert len(stub.asked) == 1


def test_an_answer_without_end_is_cut() -> None:
    with (
        serving(Answer(body=[b"x" * 65536] * 3)) as (api, _),
        pytest.raises(OllamaError, match="more than 65536 bytes"),
    ):
        api.version()


def test_text_of_the_server_is_inert() -> None:
    with serving(error("\x1b[2Jgone", 500)) as (api, _), pytest.raises(OllamaError) as caught:
        api.delete("\x1b]x")

    assert "\x1b" not in str(caught.value)


def test_an_html_page_of_a_proxy_is_no_refusal_of_a_server() -> None:
    with (
        serving(Answer(403, b"<html>Forbidden</html>")) as (api, _),
        pytest.raises(OllamaError, match="403") as caught,
    ):
        api.tags()

    assert "is this the address" in caught.value.problems[0].hint


# -- where the server is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("  ", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("http://0.0.0.0:11434", "http://127.0.0.1:11434"),
        (":8080", "http://127.0.0.1:8080"),
        ("[::]:8080", "http://[::1]:8080"),
        ("[::1]", "http://[::1]:11434"),
        ("::1", "http://[::1]:11434"),
        ("[2001:db8::1]:99", "http://[2001:db8::1]:99"),
        ("gpu-box", "http://gpu-box:11434"),
        ("GPU-Box:1234/", "http://gpu-box:1234"),
        ("https://ollama.example", "https://ollama.example"),
        ("http://ollama.example", "http://ollama.example"),
        ("HTTPS://ollama.example:8443/team/", "https://ollama.example:8443/team"),
        (' "http://127.0.0.1:11435" ', "http://127.0.0.1:11435"),
        ("'localhost'", "http://localhost:11434"),
    ],
)
def test_the_address_is_read_as_ollama_reads_it(said: str, url: str) -> None:
    assert url_of(None, {"OLLAMA_HOST": said}) == url
    assert url_of(url, {"OLLAMA_HOST": "elsewhere"}) == url  # what was read once reads the same again


def test_what_is_declared_wins() -> None:
    assert url_of("http://10.0.0.5:11434/", {"OLLAMA_HOST": "other"}) == "http://10.0.0.5:11434"
    assert url_of(None, {}) == "http://127.0.0.1:11434"


@pytest.mark.parametrize(
    "said",
    [
        "ftp://x",
        "http://u:p@x",
        "http://x:99999",
        "http://x:0",
        "http://x:y",
        "x y",
        "http://x?a=1",
        "http://[::1",
        "ä",
    ],
)
def test_what_is_no_address_is_refused(said: str) -> None:
    with pytest.raises(InputError) as caught:
        url_of(None, {"OLLAMA_HOST": said})

    assert caught.value.problems[0].where == "OLLAMA_HOST"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:11434", True),
        ("http://127.8.9.1", True),
        ("http://[::1]:1", True),
        ("http://LOCALHOST:11434/x", True),
        ("http://my.localhost", True),
        ("http://10.0.0.1:11434", False),
        ("http://localhost.example", False),
    ],
)
def test_a_server_on_this_machine_is_told_by_its_address(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


# -- what a Modelfile gives away --------------------------------------------------------------------------------------

HEAD = '# Modelfile generated by "ollama show"\n# To build a new one based on this, replace FROM with:\n# FROM x:y\n\n'
BLOB = "sha256-" + "4" * 64


@pytest.mark.parametrize(
    ("line", "directory"),
    [
        (f"FROM /srv/my models/blobs/{BLOB}", "/srv/my models"),
        (f'FROM "/srv/my models/blobs/{BLOB}"', "/srv/my models"),
        (f"FROM C:\\Users\\me\\.ollama\\models\\blobs\\{BLOB}", "C:\\Users\\me\\.ollama\\models"),
        ("FROM gpt-oss:20b", None),
        (f"FROM gpt-oss:20b\nSYSTEM x\nFROM /etc/blobs/{BLOB}", None),
        (f"SYSTEM x\nFROM /etc/blobs/{BLOB}", None),
    ],
)
def test_the_directory_is_where_the_weights_come_from(line: str, directory: str | None) -> None:
    assert blob_directory({"modelfile": f"{HEAD}{line}\nTEMPLATE {{{{ .Prompt }}}}\n"}) == directory


@pytest.mark.parametrize("show", [{}, {"modelfile": None}, {"modelfile": ""}, {"modelfile": HEAD}])
def test_without_a_modelfile_nothing_is_given_away(show: dict[str, Any]) -> None:
    assert blob_directory(show) is None
