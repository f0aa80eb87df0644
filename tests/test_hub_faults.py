"""Every fault that the embedded hub can be asked for: what it does, to whom, and how often."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from reconciler.hub import Hub
from reconciler.hub.faults import KINDS
from reconciler.hub.weights import filler
from reconciler.hub.wire import Call, Response

SIZE = 300_000
DATA = filler(SIZE, 1)
HALF = SIZE // 2

pytestmark = pytest.mark.faults


class Line:
    """One keep-alive connection, for those who want to see how a body ends."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.target = f"{parts.path}?{parts.query}"
        self.connection = http.client.HTTPConnection(parts.netloc, timeout=20)

    def get(self, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
        self.connection.request(method, self.target, headers={k.replace("_", "-"): v for k, v in headers.items()})
        return self.connection.getresponse()


def fetch(url: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """Return status, the bytes that came (however they ended), and headers."""
    line = Line(url)
    try:
        answer = line.get(**headers)
        told = {name.lower(): value for name, value in answer.getheaders()}
        try:
            return answer.status, answer.read(), told
        except http.client.IncompleteRead as short:
            return answer.status, short.partial, told
    finally:
        line.connection.close()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        hub.add("acme/tiny", {"model.safetensors": DATA, "config.json": b"{}"})
        yield hub


@pytest.fixture
def url(hub: Hub) -> str:
    return signed(hub)


def signed(hub: Hub) -> str:
    return fetch(f"{hub.url}/acme/tiny/resolve/main/model.safetensors")[2]["location"]


def test_without_a_fault_the_bytes_are_right(url: str) -> None:
    assert fetch(url)[:2] == (200, DATA)


@pytest.mark.parametrize("code", [403, 404, 429, 500, 503])
def test_status(hub: Hub, url: str, code: int) -> None:
    hub.fault("status", code=code, retry_after=7)
    status, _, headers = fetch(url)
    assert (status, headers["retry-after"]) == (code, "7")
    assert fetch(url)[:2] == (200, DATA), "once is once"


def test_a_rate_limit_at_the_hub_says_when_to_come_back(hub: Hub) -> None:
    hub.fault("status", code=429, retry_after=5, origin="hub")
    assert fetch(f"{hub.url}/api/models/acme/tiny")[2]["ratelimit"] == '"api";r=0;t=5'


def test_truncate(hub: Hub, url: str) -> None:
    hub.fault("truncate", after=1000)
    status, body, headers = fetch(url)
    assert (status, body, headers["content-length"]) == (200, DATA[:1000], str(SIZE))
    hub.fault("truncate", after=1000, declare=False)
    status, body, headers = fetch(url)
    assert (body, headers.get("content-length")) == (DATA[:1000], None)


@pytest.mark.parametrize("wanted", ["bytes=0-", "bytes=100-299999"])
def test_corrupt_flips_one_byte_wherever_the_range_begins(hub: Hub, url: str, wanted: str) -> None:
    hub.fault("corrupt", offset=12_345)
    body = fetch(url, Range=wanted)[1]
    start = SIZE - len(body)
    differing = [start + at for at, (one, two) in enumerate(zip(body, DATA[start:], strict=True)) if one != two]
    assert differing == [12_345]


def test_corrupt_waits_for_a_range_that_holds_the_byte(hub: Hub, url: str) -> None:
    hub.fault("corrupt", offset=200_000)
    assert fetch(url, Range="bytes=0-99")[1] == DATA[:100]
    assert hub.faults_served == 0
    assert fetch(url, Range="bytes=200000-200000")[1] != DATA[200_000:200_001]
    assert hub.faults_served == 1


def test_corrupt_reaches_a_file_on_disk(hub: Hub, world: Path) -> None:
    (world / "x").write_bytes(DATA)
    plain = hub.serve("x", world / "x")
    hub.fault("corrupt")
    assert fetch(plain)[1] != DATA
    assert fetch(plain)[1] == DATA


def test_html(hub: Hub, url: str) -> None:
    hub.fault("html")
    status, body, headers = fetch(url)
    assert (status, headers["content-type"].split(";")[0]) == (200, "text/html")
    assert body.startswith(b"<!DOCTYPE html>")


def test_reset_comes_before_the_answer_or_in_the_middle(hub: Hub, url: str) -> None:
    hub.fault("reset")
    with pytest.raises(ConnectionResetError):
        fetch(url)
    hub.fault("reset", after=1000)
    line = Line(url)
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        line.get().read()
    line.connection.close()


def test_stall_lasts_until_released(hub: Hub, url: str) -> None:
    hub.fault("stall", after=1000)
    line = Line(url)
    answer = line.get()
    assert answer.read(1000) == DATA[:1000]
    line.connection.sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        line.connection.sock.recv(1, socket.MSG_PEEK)
    line.connection.sock.settimeout(20)
    hub.release()
    assert answer.read() == DATA[1000:]
    line.connection.close()


@pytest.mark.parametrize("head", [True, False])
def test_a_release_is_not_missed_once_the_fault_is_counted(
    hub: Hub, url: str, monkeypatch: pytest.MonkeyPatch, head: bool
) -> None:
    """Here it comes as early as can be: before a byte of the answer is sent."""
    real = hub.answer

    def answer(call: Call) -> Response:
        response = real(call)
        assert hub.faults_served == 1
        hub.release()
        return response

    hub.fault("stall", after=1000, head=head)
    monkeypatch.setattr(hub, "answer", answer)
    assert fetch(url)[:2] == (200, DATA)


def test_stall_can_hold_back_the_whole_answer(hub: Hub) -> None:
    hub.fault("stall", origin="hub", head=False)
    line = Line(f"{hub.url}/api/models/acme/tiny")
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(line.get().status))
    thread.start()
    while not hub.faults_served:
        pass
    thread.join(0.05)
    assert answers == []
    hub.release()
    thread.join(20)
    assert answers == [200]


def test_a_stalled_body_ends_when_the_hub_closes(hub: Hub, url: str) -> None:
    hub.fault("stall", after=10, times=-1)
    answer = Line(url).get()
    hub.close()
    with pytest.raises(http.client.IncompleteRead):
        answer.read()


def test_drip_sends_a_byte_at_a_time_until_released(hub: Hub, url: str) -> None:
    hub.fault("drip", after=1000, rate=0.01)
    line = Line(url)
    answer = line.get()
    assert answer.read(1001) == DATA[:1001]
    line.connection.sock.settimeout(0.05)
    with pytest.raises(TimeoutError):
        line.connection.sock.recv(1, socket.MSG_PEEK)
    line.connection.sock.settimeout(20)
    hub.release()
    assert answer.read() == DATA[1001:]


def test_expire_after_bytes_cuts_and_then_refuses_until_resolved_again(hub: Hub, url: str) -> None:
    hub.fault("expire", after=100_000)
    assert fetch(url, Range="bytes=0-49999")[0] == 206
    status, body, _ = fetch(url, Range="bytes=50000-")
    assert (status, body) == (206, DATA[50_000:100_000])
    assert fetch(url, Range="bytes=100000-")[0] == 403
    assert fetch(signed(hub), Range="bytes=100000-")[:2] == (206, DATA[100_000:]), "the next signature lives"


def test_expire_after_requests(hub: Hub, url: str) -> None:
    hub.fault("expire", requests=2, times=2)
    for signature in (url, signed(hub)):
        assert [fetch(signature)[0] for _ in range(3)] == [200, 200, 403]
    assert [fetch(signed(hub))[0] for _ in range(3)] == [200] * 3


def test_expire_can_let_running_bodies_run(hub: Hub, url: str) -> None:
    hub.fault("expire", after=1000, cut=False)
    assert fetch(url)[:2] == (200, DATA)
    assert fetch(url)[0] == 403


def test_etag_change_mixes_versions_for_those_who_do_not_ask(hub: Hub, url: str) -> None:
    hub.fault("etag_change")
    _, first, told = fetch(url)
    assert first == DATA[:HALF]
    status, rest, other = fetch(url, Range=f"bytes={HALF}-")
    assert (status, len(first + rest)) == (206, SIZE)
    assert first + rest != DATA, "the size is right, the bytes are of two versions"
    assert other["etag"] != told["etag"]
    assert fetch(url)[:2] == (200, DATA)


def test_etag_change_is_seen_by_those_who_ask_with_if_range(hub: Hub, url: str) -> None:
    hub.fault("etag_change", times=2)
    old = fetch(url)[2]["etag"]
    status, other, told = fetch(url, Range=f"bytes={HALF}-", If_Range=old)
    assert (status, len(other)) == (200, SIZE)
    assert all(one != two for one, two in zip(other, DATA, strict=True)), "the other version, whole"
    assert fetch(url, Range="bytes=10-", If_Range=told["etag"])[:2] == (206, other[10:])


def test_no_range(hub: Hub, url: str) -> None:
    hub.fault("no_range")
    assert fetch(url)[0] == 200
    status, body, headers = fetch(url, Range="bytes=10-19")
    assert (status, body) == (200, DATA)
    assert not {"accept-ranges", "content-range"} & set(headers)


@pytest.mark.parametrize("wanted", ["bytes=10-19", "bytes=299990-"])
def test_wrong_range(hub: Hub, url: str, wanted: str) -> None:
    right = fetch(url, Range=wanted)
    hub.fault("wrong_range", shift=5)
    status, body, headers = fetch(url, Range=wanted)
    assert (status, len(body)) == (206, 10)
    assert headers["content-range"] != right[2]["content-range"]
    assert body != right[1]


@pytest.mark.parametrize("chunked", [True, False])
def test_endless_goes_on_after_the_file(hub: Hub, url: str, chunked: bool) -> None:
    hub.fault("endless", chunked=chunked)
    line = Line(url)
    answer = line.get()
    assert answer.getheader("content-length") is None
    assert answer.read(SIZE) == DATA
    assert len(answer.read(1 << 20)) == 1 << 20
    line.connection.close()


def test_wrong_length_promises_more_than_there_is(hub: Hub, url: str) -> None:
    hub.fault("wrong_length", delta=100)
    _, body, headers = fetch(url)
    assert (body, headers["content-length"]) == (DATA, str(SIZE + 100))
    hub.fault("wrong_length", length=1 << 50)
    line = Line(url)
    answer = line.get()
    assert (answer.length, answer.read(SIZE), answer.read(1)) == (1 << 50, DATA, b"")
    line.connection.close()


def test_wrong_length_promises_less_or_twice(hub: Hub, url: str) -> None:
    hub.fault("wrong_length", delta=-100)
    assert fetch(url)[1] == DATA[:-100]
    hub.fault("wrong_length", twice=True)
    line = Line(url)
    assert line.get().msg.get_all("content-length") == [str(SIZE + 100), str(SIZE)]
    line.connection.close()


def test_any_answer_and_any_redirect_can_be_given(hub: Hub) -> None:
    tree = f"{hub.url}/api/models/acme/tiny/tree/main"
    hub.fault("answer", origin="hub", path="/tree/", body=b"[" * 1000, headers={"Link": '<http://evil/>; rel="next"'})
    status, body, headers = fetch(tree)
    assert (status, body, headers["link"]) == (200, b"[" * 1000, '<http://evil/>; rel="next"')
    hub.fault("redirect", origin="hub", location="http://evil.example/", code=301)
    assert (fetch(tree)[0], fetch(tree)[0]) == (301, 200)


def test_a_fault_strikes_only_what_it_was_meant_for(hub: Hub, url: str) -> None:
    hub.fault("status", path="*.gguf")
    hub.fault("status", path="config.json", origin="any")
    hub.fault("status", method="HEAD")
    hub.fault("status", skip=2, code=500)
    assert [fetch(url)[0] for _ in range(4)] == [200, 200, 500, 200]
    assert fetch(f"{hub.url}/acme/tiny/resolve/main/config.json")[0] == 503
    assert Line(url).get("HEAD").status == 503


def test_times_counts_answers_and_clear_ends_it(hub: Hub, url: str) -> None:
    hub.fault("status", times=2)
    assert [fetch(url)[0] for _ in range(3)] == [503, 503, 200]
    hub.fault("status", times=-1)
    assert [fetch(url)[0] for _ in range(5)] == [503] * 5
    hub.clear_faults()
    assert fetch(url)[0] == 200
    assert hub.faults_served == 7


def test_what_does_not_exist_cannot_be_asked_for(hub: Hub) -> None:
    with pytest.raises(ValueError, match="no fault 'flood'"):
        hub.fault("flood")
    with pytest.raises(ValueError, match="takes no offset"):
        hub.fault("truncate", offset=1)


def test_every_kind_of_fault_has_a_test() -> None:
    source = Path(__file__).read_text()
    assert [kind for kind in KINDS if f'hub.fault("{kind}"' not in source] == []


def test_what_was_sent_is_counted_even_where_it_was_cut(hub: Hub, url: str) -> None:
    hub.reset_log()
    hub.fault("truncate", after=1000)
    fetch(url)
    fetch(url, Range="bytes=0-99")
    assert [request.bytes_sent for request in hub.requests] == [1000, 100]
    assert (hub.bytes_served("cdn"), hub.bytes_served("hub"), hub.bytes_served()) == (1100, 0, 1100)


def test_rate_slows_a_body_down(hub: Hub, url: str) -> None:
    hub.rate = SIZE * 5
    began = time.monotonic()
    assert fetch(url)[1] == DATA
    assert time.monotonic() - began >= 0.15, "300 kB at 1.5 MB/s"


def test_the_client_that_checks_no_digest_takes_a_flipped_byte_for_good(hub: Hub, world: Path) -> None:
    """The control: why downloads are verified, and that the hub's faults reach real clients."""
    from huggingface_hub import hf_hub_download

    hub.fault("corrupt", times=-1)
    path = hf_hub_download("acme/tiny", "model.safetensors", endpoint=hub.url, token=False, cache_dir=world)
    assert len(Path(path).read_bytes()) == SIZE
    assert Path(path).read_bytes() != DATA
