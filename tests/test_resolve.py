from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sources_kit import CANARY, Heard, a_world, ask

from reconciler import lockfile, manifest, resolve, sources
from reconciler.errors import LockfileError, SourceError
from reconciler.hub.server import Hub
from reconciler.lockfile import Lock
from reconciler.resolve import complete, fits, mismatch, upgrade
from reconciler.state import Artifact, Digest, Pin, Support

QUANTS = {f"model-{quant}.gguf": quant.encode() * 500 for quant in ("Q2_K", "Q4_K_M", "Q8_0")} | {"config.json": b"{}"}
Load = Callable[[str], manifest.Loaded]


@pytest.fixture
def hub():
    with Hub(token=CANARY) as running:
        yield running


@pytest.fixture
def load(world: Path) -> Load:
    """Write the variants of a manifest and load it."""

    def write(variants: str) -> manifest.Loaded:
        path = world / "ws.yaml"
        body = "\n".join(f"  {line}" for line in variants.strip("\n").splitlines())
        path.write_text(f"version: 1\nlocations:\n  here: {{ store: flat, root: {world}/here }}\nvariants:\n{body}\n")
        return manifest.load(path)

    return write


def paths(pin: Pin) -> list[str]:
    return [file.path for file in pin.files]


def locked(resolution: resolve.Resolution) -> Lock:
    return Lock(1, resolution.pins)


# What the manifest asks


def test_each_variant_asks_for_what_it_says(load):
    loaded = load("""
b:
  source: hf:acme/quants@v1
  files: ["*Q8_0.gguf"]
  exclude: ["x*"]
  support: hf:acme/base
  lock: { revision: 0123456, sha256: """ + "a" * 64 + """ }
a: { source: "hf:acme/tiny" }
""")  # fmt: skip
    first, second = resolve.requests(loaded)
    assert (first.variant, first.source, first.files, first.revision, first.sha256) == (
        "a",
        "hf:acme/tiny",
        (),
        None,
        None,
    )
    assert second == sources.Request(
        "b", second.where, "hf:acme/quants@v1", ("*Q8_0.gguf",), ("x*",), "hf:acme/base", "0123456", "a" * 64
    )
    assert "ws.yaml:5:" in second.where


# Whether the lock still answers it

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHA256 = Digest("sha256:" + "ab" * 32)


def a_pin(*names: str, source: str = "hf:acme/quants", support: Support | None = None) -> Pin:
    return Pin(source, COMMIT, tuple(Artifact(name, 1, SHA256) for name in names), None, support)


@pytest.mark.parametrize(
    "request_",
    [
        ask("hf:acme/quants"),
        ask("hf:acme/quants", "*"),
        ask("hf:acme/quants", "a.*"),
        ask("hf:acme/quants", "*.gguf", exclude=("b.*",)),
        ask("hf:acme/quants", revision=COMMIT),
        ask("hf:acme/quants", revision=COMMIT[:7]),
        ask("hf:acme/quants", sha256=SHA256[7:]),
        ask("hf:acme/quants", sha256={"a.gguf": SHA256[7:]}),
    ],
)
def test_a_pin_fits_what_it_was_made_for(request_):
    assert mismatch(a_pin("a.gguf"), request_) is None
    assert fits(a_pin("a.gguf"), request_)


@pytest.mark.parametrize(
    ("pin", "request_", "why"),
    [
        (a_pin("a.gguf"), ask("hf:acme/other"), "the lock is of hf:acme/quants"),
        (a_pin("a.gguf"), ask("hf:acme/quants@v2"), "the lock is of"),
        (a_pin("a.gguf"), ask("hf:acme/quants", revision="v2"), "the lock is of"),
        (a_pin("a.gguf"), ask("hf:acme/quants", revision="f" * 40), "pins ffff"),
        (a_pin("a.gguf", "b.gguf"), ask("hf:acme/quants", "a.*"), "b.gguf is locked and not selected"),
        (a_pin("a.gguf", "b.gguf"), ask("hf:acme/quants", exclude=("b.*",)), "b.gguf is locked and not selected"),
        (a_pin("a.gguf"), ask("hf:acme/quants", "a.*", "*.json"), "nothing that is locked matches"),
        (a_pin(), ask("hf:acme/quants"), "no files"),
        (a_pin("a.gguf"), ask("hf:acme/quants", sha256="0" * 64), "manifest pins sha256:000"),
        (a_pin("a.gguf"), ask("hf:acme/quants", sha256={"x": "0" * 64}), "not locked"),
        (a_pin("a.gguf", "b.gguf"), ask("hf:acme/quants", sha256="0" * 64), "several files"),
        (a_pin("a.gguf"), ask("hf:acme/quants", support="hf:acme/base"), "support"),
        (a_pin("a.gguf", support=Support("hf:acme/base", COMMIT)), ask("hf:acme/quants"), "support"),
    ],
)
def test_a_pin_that_does_not_fit_says_why(pin, request_, why):
    assert why in (mismatch(pin, request_) or "")
    assert not fits(pin, request_)


# Complete


def test_what_the_lock_lacks_is_resolved_and_what_it_has_is_not_asked_again(hub, load):
    hub.add("acme/quants", QUANTS)
    first = complete(load('a: { source: "hf:acme/quants", files: ["*Q8_0.gguf"] }'), None, a_world(hub))
    assert paths(first.pins["a"]) == ["model-Q8_0.gguf"]
    assert first.resolved == first.pins
    assert first.problems == {}
    hub.add("acme/tiny", {"a.gguf": b"a"})
    hub.reset_log()
    both = load('a: { source: "hf:acme/quants", files: ["*Q8_0.gguf"] }\nb: { source: "hf:acme/tiny" }')
    second = complete(both, locked(first), a_world(hub))
    assert list(second.pins) == ["a", "b"]
    assert list(second.resolved) == ["b"]
    assert all("quants" not in request.path for request in hub.requests)
    hub.reset_log()
    third = complete(both, locked(second), a_world(hub))
    assert (third.resolved, third.pins, hub.requests) == ({}, second.pins, [])


def test_a_branch_that_moved_does_not_change_what_is_locked(hub, load):
    commit = hub.add("acme/quants", QUANTS)
    lock = locked(complete(load('a: { source: "hf:acme/quants", files: ["*Q8_0.gguf"] }'), None, a_world(hub)))
    moved = hub.update("acme/quants", {"model-Q2_K.gguf": b"new" * 500, "model-Q8_0.gguf": b"new" * 500})
    assert (
        complete(load('a: { source: "hf:acme/quants", files: ["*Q8_0.gguf"] }'), lock, a_world(hub)).pins == lock.pins
    )
    more = load('a: { source: "hf:acme/quants", files: ["*Q8_0.gguf", "*Q2_K.gguf"] }')
    found = complete(more, lock, a_world(hub)).resolved["a"]
    assert (found.revision, paths(found)) == (commit, ["model-Q2_K.gguf", "model-Q8_0.gguf"])
    assert found.files[1] == lock.pins["a"].files[0]
    assert complete(more, None, a_world(hub)).resolved["a"].revision == moved  # the control: without the lock


Q8 = '{}: {{ source: "hf:acme/quants", files: ["*Q8_0.gguf"] }}\n'


@pytest.mark.parametrize("offline", [True, False])
def test_a_renamed_variant_stays_at_what_is_locked_and_needs_nobody(hub, load, offline):
    hub.add("acme/quants", QUANTS)
    lock = locked(complete(load(Q8.format("before")), None, a_world(hub)))
    hub.update("acme/quants", {"model-Q8_0.gguf": b"new" * 500})
    found = complete(load(Q8.format("after")), lock, a_world(hub, offline=offline))
    assert found.problems == {}
    assert found.pins == found.resolved == {"after": lock.pins["before"]}


def test_a_new_variant_beside_the_old_one_is_no_rename(hub, load):
    hub.add("acme/quants", QUANTS)
    lock = locked(complete(load(Q8.format("before")), None, a_world(hub)))
    moved = hub.update("acme/quants", {"model-Q8_0.gguf": b"new" * 500})
    found = complete(load(Q8.format("before") + Q8.format("after").replace("*Q8", "*-Q8")), lock, a_world(hub))
    assert found.pins["before"] == lock.pins["before"]
    assert found.pins["after"].revision == moved


def test_a_name_in_place_of_two_is_no_rename_of_either(hub, load):
    hub.add("acme/quants", QUANTS)
    lock = locked(complete(load(Q8.format("one")), None, a_world(hub)))
    hub.update("acme/quants", {"model-Q8_0.gguf": b"new" * 500})
    other = complete(load(Q8.format("two")), None, a_world(hub)).pins["two"]
    both = Lock(1, {**lock.pins, "two": other})
    assert complete(load(Q8.format("three")), both, a_world(hub)).pins["three"] == other  # what upstream has now
    assert complete(load(Q8.format("three")), both, a_world(hub, offline=True)).problems


def test_another_source_or_a_pin_by_hand_is_resolved_anew(hub, load):
    old = hub.add("acme/quants", QUANTS)
    lock = locked(complete(load('a: { source: "hf:acme/quants" }'), None, a_world(hub)))
    new = hub.update("acme/quants", {"model-Q2_K.gguf": b"new" * 500})
    hub.tag("acme/quants", "v2", new)
    for variant in (
        '{ source: "hf:acme/quants@v2" }',
        '{ source: "hf:acme/quants", lock: { revision: v2 } }',
        f'{{ source: "hf:acme/quants", lock: {{ revision: {new} }} }}',
    ):
        found = complete(load(f"a: {variant}"), lock, a_world(hub))
        assert found.resolved["a"].revision == new
        assert complete(load(f"a: {variant}"), locked(found), a_world(hub)).resolved == {}
    assert lock.pins["a"].revision == old


def test_support_stays_at_its_locked_commit(hub, load):
    hub.add("acme/quants", QUANTS)
    base = hub.add("acme/base", {"tokenizer.json": b"t"})
    variant = 'a: {{ source: "hf:acme/quants", support: "hf:acme/base", files: [{}] }}'
    lock = locked(complete(load(variant.format('"*Q8_0.gguf"')), None, a_world(hub)))
    hub.update("acme/base", {"tokenizer.json": b"other"})
    found = complete(load(variant.format('"*Q2_K.gguf"')), lock, a_world(hub)).resolved["a"]
    assert found.support == Support("hf:acme/base", base)
    assert found.files[1] == lock.pins["a"].files[1]


def test_a_support_repository_with_nothing_to_lend_is_locked_all_the_same(hub, load):
    hub.add("acme/tiny", {"config.json": b"{}"})
    hub.add("acme/base", {"config.json": b"{1}"})
    loaded = load('a: { source: "hf:acme/tiny", support: "hf:acme/base" }')
    lock = locked(complete(loaded, None, a_world(hub)))
    assert complete(loaded, lock, a_world(hub)).resolved == {}


def test_one_variant_that_cannot_be_resolved_does_not_stop_the_others(hub, load):
    hub.add("acme/quants", QUANTS)
    hub.add_raw("evil/repo", [{"path": "../../x", "content": b"x"}])
    loaded = load("""
bad: { source: "hf:evil/repo" }
good: { source: "hf:acme/quants", files: ["*Q8_0.gguf"] }
missing: { source: "hf:acme/nothing" }
typo: { source: "hf:acme/quants", files: ["*Q5_0.gguf"] }
""")
    found = complete(loaded, None, a_world(hub))
    assert list(found.pins) == ["good"]
    assert list(found.problems) == ["bad", "missing", "typo"]
    for name, problem in found.problems.items():
        assert problem.where == loaded.where("variants", name)
        assert problem.summary.startswith(f"{name}: ")
    assert "../../x" in found.problems["bad"].summary
    assert "Q2_K, Q4_K_M, Q8_0" in found.problems["typo"].hint
    assert "private" in found.problems["missing"].summary


def test_offline_a_complete_lock_is_enough_and_what_it_lacks_is_a_problem(hub, load):
    hub.add("acme/quants", QUANTS)
    lock = locked(complete(load('a: { source: "hf:acme/quants" }'), None, a_world(hub)))
    hub.reset_log()
    both = load('a: { source: "hf:acme/quants" }\nb: { source: "hf:acme/tiny" }')
    found = complete(both, lock, a_world(hub, offline=True))
    assert list(found.pins) == ["a"]
    assert "offline" in found.problems["b"].summary
    assert "b: not in the lock; " in found.problems["b"].summary
    moved = upgrade(both, lock, a_world(hub, offline=True))
    assert "not in the lock" not in moved.problems["a"].summary
    assert "reconciler lock" in found.problems["b"].hint
    assert hub.requests == []


def test_locked_refuses_an_incomplete_or_outdated_lock_naming_each_variant_and_asks_nobody(hub, load):
    hub.add("acme/quants", QUANTS)
    two = 'a: { source: "hf:acme/quants" }\nb: { source: "hf:acme/quants", files: ["*Q2_K*"] }'
    lock = locked(complete(load(two), None, a_world(hub)))
    hub.reset_log()
    loaded = load("""
a: { source: "hf:acme/quants", files: ["*Q8_0.gguf"] }
b: { source: "hf:acme/quants", files: ["*Q2_K*"] }
c: { source: "hf:acme/tiny" }
""")
    with pytest.raises(LockfileError) as error:
        complete(loaded, lock, a_world(hub), locked=True)
    told = [problem.summary for problem in error.value.problems]
    assert ["a is outdated" in told[0], "c is not in the lock" in told[1], len(told)] == [True, True, 2]
    with pytest.raises(LockfileError):
        complete(loaded, None, a_world(hub), locked=True)
    assert hub.requests == []
    right = load('a: { source: "hf:acme/quants" }')
    assert list(complete(right, lock, a_world(hub), locked=True).pins) == ["a"]


def test_a_wider_glob_shows_when_the_listing_is_asked_for_again(hub, load):
    commit = hub.add("acme/quants", QUANTS)
    narrow = load('a: { source: "hf:acme/quants", files: ["*Q8_0.gguf"] }')
    lock = locked(complete(narrow, None, a_world(hub)))
    hub.update("acme/quants", {"model-Q6_K.gguf": b"new" * 500})
    wide = load('a: { source: "hf:acme/quants", files: ["*.gguf"] }')
    assert complete(wide, lock, a_world(hub)).resolved == {}  # the lock holds no globs: its own paths still fit
    found = complete(wide, lock, a_world(hub), relist=True).resolved["a"]
    assert (found.revision, paths(found)) == (commit, ["model-Q2_K.gguf", "model-Q4_K_M.gguf", "model-Q8_0.gguf"])
    assert complete(narrow, lock, a_world(hub), relist=True).resolved == {}


def test_a_listing_that_cannot_be_asked_for_again_leaves_the_lock_as_it_is(hub, load):
    hub.add("acme/quants", QUANTS)
    loaded = load('a: { source: "hf:acme/quants" }')
    lock = locked(complete(loaded, None, a_world(hub)))
    hub.fault("status", code=503, origin="hub", times=-1)
    found = complete(loaded, lock, a_world(hub), relist=True)
    assert (found.pins, list(found.problems)) == (lock.pins, ["a"])
    assert complete(loaded, lock, a_world(hub, offline=True), relist=True).problems == {}


def test_the_bytes_of_a_locked_file_that_differ_upstream_are_an_error_with_both_digests(hub, load, world):
    (world / "weights").mkdir()
    (world / "weights/a.gguf").write_bytes(b"old")
    variant = 'a: {{ source: "file:{}/weights", files: [{}] }}'
    lock = locked(complete(load(variant.format(world, '"a.gguf"')), None, a_world(hub)))
    (world / "weights/a.gguf").write_bytes(b"new")
    (world / "weights/b.gguf").write_bytes(b"b")
    found = complete(load(variant.format(world, '"a.gguf", "b.gguf"')), lock, a_world(hub))
    assert found.pins == {}
    problem = found.problems["a"]
    assert lock.pins["a"].files[0].digest in problem.summary
    assert "now sha256:" in problem.summary
    assert "lock --upgrade a" in problem.hint
    fresh = upgrade(load(variant.format(world, '"a.gguf", "b.gguf"')), lock, a_world(hub), ["a"])
    assert len(fresh.pins["a"].files) == 2


def test_a_commit_whose_files_differ_now_is_an_error(hub, load):
    hub.add("acme/quants", QUANTS)
    lock = locked(complete(load('a: { source: "hf:acme/quants", files: ["*Q8_0.gguf"] }'), None, a_world(hub)))
    forged = lock.pins["a"].files[0]._replace(digest=SHA256)
    wrong = Lock(1, {"a": Pin("hf:acme/quants", lock.pins["a"].revision, (forged,), "apache-2.0")})
    found = complete(load('a: { source: "hf:acme/quants", files: ["*.gguf"] }'), wrong, a_world(hub))
    assert "a" not in found.problems  # the globs still fit what is locked: nothing is asked, apply will compare
    found = complete(load('a: { source: "hf:acme/quants", files: ["*.gguf", "*.json"] }'), wrong, a_world(hub))
    assert str(SHA256) in found.problems["a"].summary


def test_a_variant_may_use_plain_http_when_it_says_so(hub, load):
    url = hub.serve("m.gguf", b"GGUF" * 500)
    loaded = load(f'a: {{ source: "{url}", insecure: true }}')
    world = a_world(hub)
    pin = complete(loaded, None, world).pins["a"]
    assert sources.locate(url, None, pin.files[0], resolve.trusting(loaded, world)).url == url
    with pytest.raises(SourceError, match="insecure"):
        sources.locate(url, None, pin.files[0], world)


def test_the_answer_is_the_same_whatever_comes_first(hub, load):
    for n in range(12):
        hub.add(f"acme/r{n}", {"a.gguf": b"%d" % n})
    text = "\n".join(f'v{n}: {{ source: "hf:acme/r{n}" }}' for n in reversed(range(12)))
    texts = {lockfile.dumps(locked(complete(load(text), None, a_world(hub)))) for _ in range(4)}
    assert len(texts) == 1


# Upgrade and check


def test_upgrade_moves_the_named_variants_to_what_upstream_has_now(hub, load):
    old = {name: hub.add(f"acme/{name}", QUANTS) for name in ("a", "b")}
    loaded = load('a: { source: "hf:acme/a" }\nb: { source: "hf:acme/b" }')
    lock = locked(complete(loaded, None, a_world(hub)))
    new = {name: hub.update(f"acme/{name}", {"model-Q2_K.gguf": b"new" * 500}) for name in ("a", "b")}
    found = upgrade(loaded, lock, a_world(hub), ["a"])
    assert {name: pin.revision for name, pin in found.pins.items()} == {"a": new["a"], "b": old["b"]}
    assert list(found.resolved) == ["a"]
    every = upgrade(loaded, lock, a_world(hub), [])
    assert {name: pin.revision for name, pin in every.pins.items()} == new
    assert upgrade(loaded, locked(every), a_world(hub), []).resolved == {}


def test_upgrade_keeps_the_lock_of_what_cannot_be_asked(hub, load):
    hub.add("acme/a", QUANTS)
    loaded = load('a: { source: "hf:acme/a" }')
    lock = locked(complete(loaded, None, a_world(hub)))
    hub.fault("status", code=503, origin="hub", times=-1)
    found = upgrade(loaded, lock, a_world(hub), [])
    assert found.pins == lock.pins
    assert "503" in found.problems["a"].summary


def test_upgrade_of_a_name_that_is_not_there_is_an_error_with_what_is_near(hub, load):
    hub.add("acme/a", QUANTS)
    with pytest.raises(LockfileError, match="did you mean tiny-chat"):
        upgrade(load('tiny-chat: { source: "hf:acme/a" }'), None, a_world(hub), ["tiny-chta"])


def test_check_tells_what_moved_and_how_much_it_is(hub, load):
    old = hub.add("acme/a", QUANTS)
    hub.add("acme/b", QUANTS)
    loaded = load('a: { source: "hf:acme/a", exclude: ["*Q8_0*"] }\nb: { source: "hf:acme/b" }')
    lock = locked(complete(loaded, None, a_world(hub)))
    assert resolve.check(loaded, lock, a_world(hub)) == ()
    new = hub.update("acme/a", {"model-Q2_K.gguf": b"new" * 500, "extra.json": b"12345"}, delete=["config.json"])
    moved = resolve.check(loaded, lock, a_world(hub))
    sizes = (len(b"Q2_K" + b"Q4_K_M") * 500 + 2, (len(b"new") + len(b"Q4_K_M")) * 500 + 5)
    assert moved == (resolve.Moved("a", old, new, 1505, ("config.json", "extra.json", "model-Q2_K.gguf"), *sizes),)


def test_check_of_what_stands_still_costs_one_request_a_repository(hub, load):
    hub.add("acme/a", QUANTS)
    loaded = load('a: { source: "hf:acme/a", files: ["*Q8_0*"] }\nb: { source: "hf:acme/a", files: ["*Q2_K*"] }')
    lock = locked(complete(loaded, None, a_world(hub)))
    hub.reset_log()
    assert resolve.check(loaded, lock, a_world(hub)) == ()
    assert len(hub.requests) == 1


def test_check_does_not_pass_when_upstream_could_not_be_asked(hub, load):
    hub.add("acme/a", QUANTS)
    loaded = load('a: { source: "hf:acme/a" }')
    lock = locked(complete(loaded, None, a_world(hub)))
    hub.fault("status", code=503, origin="hub", times=-1)
    with pytest.raises(SourceError, match="503"):
        resolve.check(loaded, lock, a_world(hub))


def test_what_the_lock_lacks_has_moved(hub, load):
    new = hub.add("acme/a", {"a.gguf": b"abc"})
    loaded = load('a: { source: "hf:acme/a" }')
    assert resolve.check(loaded, None, a_world(hub)) == (resolve.Moved("a", None, new, 3, ("a.gguf",), 0, 3),)


def test_no_problem_warning_or_lock_holds_the_token(hub, load):
    hub.add("acme/a", QUANTS, private=True)
    heard = Heard()
    loaded = load('a: { source: "hf:acme/a" }\nb: { source: "hf:acme/none" }')
    hub.fault("status", code=429, retry_after=1, origin="hub")
    found = complete(loaded, None, a_world(hub, token=CANARY, heard=heard))
    assert list(found.pins) == ["a"]
    text = repr(found) + repr(heard) + lockfile.dumps(locked(found)) + "".join(map(str, found.problems.values()))
    assert CANARY not in text
    assert all("authorization" in request.headers for request in hub.requests)  # the control: it was in use
