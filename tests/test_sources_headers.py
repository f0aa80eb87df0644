"""What the headers of GGUF files say goes into the lock where an Ollama will want it, for the price of first bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from detect_kit import F32, gguf, model_gguf
from sources_kit import CANARY, Heard, a_world, ask

from reconciler import manifest, resolve, sources
from reconciler.errors import LockfileError
from reconciler.hub.ggufs import gguf as real_gguf
from reconciler.hub.server import Hub
from reconciler.lockfile import Lock, dumps, loads
from reconciler.sources import headers
from reconciler.state import Pin

Load = Callable[..., manifest.Loaded]
TOLD = {"architecture": "llama", "file_type": 15, "size_label": "", "parameters": 288, "type": ""}


def wordy(words: int) -> bytes:
    """A model with a vocabulary of 16 bytes a word, and with its type behind it."""
    said = {"general.architecture": "llama", "general.type": "model", "general.size_label": "8B"}
    tokens = {"tokenizer.ggml.tokens": [f"{n:08x}" for n in range(words)], "general.file_type": 15}
    return gguf(said | tokens, [("w", (32,), F32, 128)])


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub(token=CANARY) as running:
        yield running


def facts(pin: Pin) -> dict[str, object]:
    return dict(pin.about.get("gguf", {}))


def test_the_header_of_a_file_on_the_hub_is_in_the_pin_and_in_the_lock(hub):
    hub.add("acme/tiny", {"sub/a.gguf": model_gguf(), "README.md": b"x"})
    pin = sources.resolve(ask("hf:acme/tiny", headers=True), a_world(hub))
    assert facts(pin) == {"sub/a.gguf": TOLD}
    assert loads(dumps(Lock(1, {"v": pin})), "x").pins["v"] == pin
    assert sources.resolve(ask("hf:acme/tiny"), a_world(hub)).about == {}  # the control: nobody wants it


def test_every_kind_of_source_is_read(hub, world):
    (world / "a.gguf").write_bytes(model_gguf())
    url = hub.serve("a.gguf", model_gguf())
    for source in (f"file:{world}/a.gguf", f"file:{world}", url):
        pin = sources.resolve(ask(source, insecure=True, headers=True), a_world(hub).trusting(["127.0.0.1"]))
        assert facts(pin) == {"a.gguf": TOLD}


def test_a_real_header_tells_its_size_and_quant(hub):
    hub.add("acme/tiny", {"a.gguf": real_gguf("Q4_K_M")})
    pin = sources.resolve(ask("hf:acme/tiny", headers=True), a_world(hub))
    named = {"architecture": "llama", "size_label": "869.6K", "type": "model"}
    assert facts(pin) == {"a.gguf": {**named, "file_type": 15, "parameters": 869_632}}


def test_only_the_first_bytes_are_read(hub):
    large = model_gguf() + bytes(8 << 20)
    hub.add("acme/tiny", {"a.gguf": large})
    pin = sources.resolve(ask("hf:acme/tiny", headers=True), a_world(hub))
    assert facts(pin)["a.gguf"] == TOLD
    assert hub.bytes_served("cdn") <= headers.FIRST


def test_a_type_behind_the_vocabulary_costs_one_more_look_and_no_third(hub):
    hub.add("acme/tiny", {"a.gguf": wordy(20_000), "b.gguf": wordy(200_000)})
    pin = sources.resolve(ask("hf:acme/tiny", headers=True), a_world(hub))
    told = {path: (said["file_type"], said["parameters"], said["size_label"]) for path, said in facts(pin).items()}  # type: ignore[index]
    assert told == {"a.gguf": (15, 32, "8B"), "b.gguf": (None, None, "8B")}
    assert hub.bytes_served("cdn") <= 2 * (headers.FIRST + headers.MOST)


def test_a_guarded_repository_is_read_with_the_token_which_goes_to_the_hub_only(hub):
    hub.add("acme/tiny", {"a.gguf": model_gguf()}, gated="manual")
    pin = sources.resolve(ask("hf:acme/tiny", headers=True), a_world(hub, token=CANARY))
    assert facts(pin) == {"a.gguf": TOLD}
    assert not [call for call in hub.requests if call.origin == "cdn" and "authorization" in call.headers]


@pytest.mark.parametrize(
    "content", [b"<html>", b"GGUF" + bytes(40), b"GGUF\x03\0\0\0" + b"\xff" * 16, model_gguf()[:60]]
)
def test_a_damaged_header_is_left_out_with_a_warning(hub, content):
    heard = Heard()
    hub.add("acme/tiny", {"a.gguf": content, "good.gguf": model_gguf()})
    pin = sources.resolve(ask("hf:acme/tiny", headers=True), a_world(hub, heard=heard))
    assert [file.path for file in pin.files] == ["a.gguf", "good.gguf"]
    assert facts(pin) == {"good.gguf": TOLD}
    assert ["a.gguf cannot be read" in warning for warning in heard.warnings] == [True]


def test_a_server_that_fails_is_no_reason_not_to_lock(hub):
    heard = Heard()
    hub.add("acme/tiny", {"a.gguf": model_gguf()})
    hub.fault("status", code=404, times=-1)
    pin = sources.resolve(ask("hf:acme/tiny", headers=True), a_world(hub, heard=heard, token=CANARY))
    assert (len(pin.files), facts(pin)) == (1, {})
    assert len(heard.warnings) == 1
    assert CANARY not in heard.warnings[0]


def test_a_server_without_ranges_is_read_from_its_beginning_and_left(hub):
    url = hub.serve("a.gguf", model_gguf() + bytes(32 << 20))
    hub.fault("no_range", times=-1)
    body = model_gguf() + bytes(32 << 20)
    request = ask(url, insecure=True, headers=True, sha256=hashlib.sha256(body).hexdigest())
    pin = sources.resolve(request, a_world(hub).trusting(["127.0.0.1"]))
    assert facts(pin) == {"a.gguf": TOLD}


def test_lent_files_and_others_are_not_read(hub):
    hub.add("acme/tiny", {"model.safetensors": b"x" * 100})
    assert sources.resolve(ask("hf:acme/tiny", headers=True), a_world(hub)).about == {}


# Who asks for it


@pytest.fixture
def load(world: Path) -> Load:
    def write(variant: str, routes: str = "[]", locations: str = "server here lm") -> manifest.Loaded:
        places = {
            "server": f"{{ store: ollama, models: {world}/models }}",
            "here": f"{{ store: flat, root: {world}/here }}",
            "lm": f"{{ store: lmstudio, root: {world}/lm }}",
        }
        path = world / "ws.yaml"
        declared = "".join(f"  {name}: {places[name]}\n" for name in locations.split())
        path.write_text(f"version: 1\nlocations:\n{declared}routes: {routes}\nvariants:\n  v: {{ {variant} }}\n")
        return manifest.load(path)

    return write


@pytest.mark.parametrize(
    ("variant", "routes", "asks"),
    [
        ("source: 'hf:a/b', location: server", "[]", True),
        ("source: 'hf:a/b', location: here", "[{ location: server }]", False),
        ("source: 'ollama:b', location: server", "[]", False),
        ("source: 'hf:a/b'", "[{ location: server }]", True),
        ("source: 'hf:a/b'", "[{ location: here }, { location: server }]", False),
        ("source: 'hf:a/b'", "[{ format: gguf, location: lm }, { location: server }]", False),
        ("source: 'hf:a/b'", "[{ format: safetensors, location: here }, { location: server }]", True),
        ("source: 'hf:a/b', format: gptq", "[{ format: gptq, location: here }, { location: server }]", False),
        ("source: 'hf:a/b'", "[{ format: gguf, quant: 'q8*', location: lm }, { location: server }]", True),
        ("source: 'hf:a/b', quant: q8_0", "[{ quant: 'q8*', location: lm }, { location: server }]", False),
        ("source: 'hf:a/b'", "[{ quant: 'q8*', location: server }, { location: here }]", True),
        ("source: 'hf:a/b', quant: q4_0", "[{ quant: 'q8*', location: server }, { location: here }]", False),
        ("source: 'hf:a/b'", "[{ backend: ollama, location: server }, { location: here }]", False),
        ("source: 'hf:a/b', backend: ollama", "[{ backend: ollama, location: server }, { location: here }]", True),
        ("source: 'hf:a/b'", "[{ source: 'hf:c/*', location: server }, { location: here }]", False),
    ],
)  # fmt: skip
def test_only_what_may_go_to_an_ollama_asks(load, variant, routes, asks):
    assert resolve.requests(load(variant, routes))[0].headers is asks


def test_the_only_location_there_is_counts(load):
    assert resolve.requests(load("source: 'hf:a/b'", locations="server"))[0].headers
    assert not resolve.requests(load("source: 'hf:a/b'", locations="here"))[0].headers


def test_a_lock_without_it_is_outdated_when_a_gguf_goes_to_an_ollama_and_only_then(hub, load):
    commit = hub.add("acme/tiny", {"a.gguf": model_gguf()})
    plain = resolve.complete(load("source: 'hf:acme/tiny', location: here"), None, a_world(hub)).pins["v"]
    hub.update("acme/tiny", {"a.gguf": model_gguf(7)})
    loaded, lock = load("source: 'hf:acme/tiny', location: server"), Lock(1, {"v": plain})
    with pytest.raises(LockfileError, match="headers of the GGUF files"):
        resolve.complete(loaded, lock, a_world(hub), locked=True)
    pin = resolve.complete(loaded, lock, a_world(hub)).resolved["v"]
    assert (pin.revision, pin.files, facts(pin)) == (commit, plain.files, {"a.gguf": TOLD})  # at the locked commit
    assert resolve.complete(loaded, Lock(1, {"v": pin}), a_world(hub)).resolved == {}
    elsewhere = load("source: 'hf:acme/tiny', location: lm")
    for either in (plain, pin):
        assert resolve.complete(elsewhere, Lock(1, {"v": either}), a_world(hub)).resolved == {}


def test_what_could_not_be_read_once_does_not_make_the_lock_outdated_for_ever(hub, load):
    hub.add("acme/tiny", {"a.gguf": b"no gguf at all"})
    loaded = load("source: 'hf:acme/tiny', location: server")
    pin = resolve.complete(loaded, None, a_world(hub)).pins["v"]
    assert pin.about == {"gguf": {}}
    assert resolve.complete(loaded, Lock(1, {"v": pin}), a_world(hub), locked=True).resolved == {}


def test_safetensors_in_an_ollama_location_need_no_header(hub, load):
    hub.add("acme/tiny", {"model.safetensors": b"x"})
    loaded = load("source: 'hf:acme/tiny', location: server")
    pin = resolve.complete(loaded, None, a_world(hub)).pins["v"]
    assert resolve.complete(loaded, Lock(1, {"v": pin}), a_world(hub), locked=True).resolved == {}


def test_looking_for_what_moved_reads_no_headers(hub, load, world):
    (world / "x").mkdir()
    (world / "x/a.gguf").write_bytes(model_gguf())
    loaded = load(f"source: 'file:{world}/x', location: server")
    pin = resolve.complete(loaded, None, a_world(hub)).pins["v"]
    assert facts(pin)
    assert resolve.check(loaded, Lock(1, {"v": pin}), a_world(hub)) == ()
    (world / "x/a.gguf").write_bytes(model_gguf(7))
    assert [moved.files for moved in resolve.check(loaded, Lock(1, {"v": pin}), a_world(hub))] == [("a.gguf",)]
