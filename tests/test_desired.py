from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.desired import Desires, desire, role_positions, settle_destinations
from reconciler.errors import Problem
from reconciler.manifest import load
from reconciler.state import Link, Note, Pin
from tests.world_kit import artifact, want

COMMIT = "c" * 40


def pin(source: str, *paths: str) -> Pin:
    return Pin(source, COMMIT, tuple(artifact(path, path) for path in sorted(paths)), "mit")


@pytest.fixture
def desires(world: Path):  # type: ignore[no-untyped-def]
    def make(variants: Mapping[str, Any], pins: Mapping[str, Pin], **more: Any) -> Desires:
        spec = {
            "version": 1, "variants": variants,
            "locations": {
                "hf": {"store": "huggingface", "root": str(world / "hf")},
                "gguf": {"store": "lmstudio", "root": str(world / "gguf")},
                "cache": {"store": "hf-cache", "root": str(world / "cache")},
            },
        } | more  # fmt: skip
        manifest = world / "ws.yaml"
        manifest.write_text(yaml.safe_dump(spec, sort_keys=False))
        return desire(load(manifest), pins, {"lost": Problem("", "no such repository", "check the name")})

    return make


ROUTES = [{"format": "gguf", "location": "gguf"}, {"backend": "vllm", "location": "cache"}]


def test_routes_place_by_what_is_declared_or_told_by_names(desires) -> None:  # type: ignore[no-untyped-def]
    made = desires(
        {
            "a": {"source": "hf:o/a"}, "b": {"source": "hf:o/b", "backend": "vllm"},
            "c": {"source": "hf:o/c", "location": "hf"}, "d": {"source": "hf:o/d"},
        },
        {n: pin(f"hf:o/{n}", "x-Q4_K_M.gguf" if n == "a" else "model.safetensors") for n in "abcd"},
        routes=ROUTES,
    )  # fmt: skip
    assert [str(d.address) for d in made.variants] == ["a@gguf", "b@cache", "c@hf"]
    assert [(u.variant, u.location, u.source) for u in made.undecided] == [("d", "", "hf:o/d")]
    assert "no route matches" in made.undecided[0].why
    assert (made.variants[0].format, made.variants[0].quant) == ("gguf", "q4_k_m")


def test_what_has_no_pin_or_does_not_fit_its_store_is_undecided_with_the_reason(desires) -> None:  # type: ignore[no-untyped-def]
    made = desires(
        {
            "lost": {"source": "hf:o/l", "location": "hf"},
            "web": {"source": "https://example.org/x.gguf", "location": "cache"},
        },
        {"web": pin("https://example.org/x.gguf", "x.gguf")},
    )
    assert {u.variant: u.why for u in made.undecided}["lost"] == "no such repository (check the name)"
    assert "only holds what comes from the Hub" in {u.variant: u.why for u in made.undecided}["web"]
    assert {u.source for u in made.undecided} == {"hf:o/l", "https://example.org/x.gguf"}


def test_pickles_are_left_out_beside_safe_weights_and_block_alone(desires) -> None:  # type: ignore[no-untyped-def]
    variants = {name: {"source": f"hf:o/{name}", "location": "hf"} for name in ("both", "only")}
    pins = {"both": pin("hf:o/both", "model.safetensors", "model.bin"), "only": pin("hf:o/only", "model.bin")}
    made = desires(variants, pins)
    assert [p.artifact.path for p in made.variants[0].layout.files] == ["model.safetensors"]
    assert "left out model.bin" in made.warnings[0]
    assert "policy.pickle: allow" in str(made.variants[1].blocked)
    allowed = desires(variants, pins, policy={"pickle": "allow"})
    assert [len(d.layout.files) for d in allowed.variants] == [2, 1]
    assert [d.blocked for d in allowed.variants] == [None, None]


def test_a_claim_that_the_names_contradict_is_blocked(desires) -> None:  # type: ignore[no-untyped-def]
    made = desires(
        {"m": {"source": "hf:o/m", "location": "gguf", "quant": "q8_0"}}, {"m": pin("hf:o/m", "x-Q4_K_M.gguf")}
    )
    assert "claims quant q8_0, the files say q4_k_m" in str(made.variants[0].blocked)


def test_the_first_of_a_role_has_position_one() -> None:
    assert role_positions({"chat": ["a", "b"], "caption": ["b"]}) == {
        "a": (("chat", 1),),
        "b": (("caption", 1), ("chat", 2)),
    }


# -- destinations ------------------------------------------------------------------------------------------------------


def _blocked(*wants) -> list[str | None]:  # type: ignore[no-untyped-def]
    return [one.blocked for one in settle_destinations(wants)[0]]


def test_two_variants_may_want_the_same_bytes_at_one_path() -> None:
    assert _blocked(want("m", {"p": "1"}), want("n", {"p": "1"})) == [None, None]


def test_two_variants_that_want_different_bytes_at_one_path_are_both_blocked() -> None:
    said = _blocked(want("m", {"p": "1"}), want("n", {"p": "2"}), want("o", {"p": "1"}, at="b"))
    assert "n@disk wants other bytes at p" in str(said[0])
    assert "m@disk wants other bytes at p" in str(said[1])
    assert said[2] is None


@pytest.mark.parametrize(
    ("one", "other"), [("Model.gguf", "model.gguf"), ("\u00e9.gguf", "e\u0301.gguf"), ("straße", "STRASSE")]
)
def test_names_that_are_one_file_on_some_file_systems_collide(one: str, other: str) -> None:
    said = _blocked(want("m", {one: "1"}), want("n", {other: "1"}))
    assert all("one file on some file systems" in str(why) for why in said)
    within = _blocked(want("m", {one: "1", other: "1"}))
    assert "two files of one variant" in str(within[0])


def test_a_file_where_another_needs_a_directory_collides() -> None:
    said = _blocked(want("m", {"a/b": "1"}), want("n", {"A": "2"}))
    assert all("the directory of the other" in str(why) for why in said)
    assert _blocked(want("m", {"a/b": "1"}), want("n", {"ab": "2"})) == [None, None]


def test_links_collide_like_files() -> None:
    links = (Link("s/README", "../b/1"),), (Link("s/readme", "../b/2"),)
    said = _blocked(*(want(name, {f"b/{name}": name}, links=each) for name, each in zip("mn", links, strict=True)))
    assert all(said)


def test_the_first_variant_says_what_a_shared_note_holds() -> None:
    first = want("m", {"p": "1"}, notes=(Note("refs/main", "c1"),), source="hf:o/r")
    second = want("n", {"q": "2"}, notes=(Note("refs/main", "c2"),), source="hf:o/r")
    settled, warnings = settle_destinations([first, second])
    assert [one.layout.notes for one in settled] == [(Note("refs/main", "c1"),), ()]
    assert "locked at another commit of main" in warnings[0]
    assert not any(one.blocked for one in settled)
