"""Names of files: upstream's or a template's, safe on every system; and what civitdl's names tell."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.paths import check_component
from reconciler.ui.filenames import check_template, civitdl_of, named, safe, split

CIVITDL = "{stem}-mid_{model}-vid_{version}"
FACTS = {"model": "1327644", "version": "1498986", "name": "Detail: Tweaker", "variant": "detail-tweaker"}


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("", "detail.v2.safetensors"),
        (CIVITDL, "detail.v2-mid_1327644-vid_1498986.safetensors"),
        ("{variant}", "detail-tweaker.safetensors"),
        ("{name} {version}", "Detail_ Tweaker 1498986.safetensors"),
        ("{{x}}{stem}", "{x}detail.v2.safetensors"),
    ],
)
def test_a_template_makes_the_stem_and_the_extension_stays(template: str, name: str) -> None:
    assert named(template, "detail.v2.safetensors", FACTS) == name


def test_where_the_source_knows_no_number_upstreams_name_stays() -> None:
    assert named(CIVITDL, "split_files/vae/wan.safetensors", {"variant": "x"}) == "wan.safetensors"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{name", "not a template"),
        ("{size}-{stem}", "`{size}` is not known in a template"),
        ("{stem!r}", "not known"),
        ("{stem:>9}", "not known"),
        ("{stem.real}", "not known"),
        ("fixed", "every file would have one name"),
        ("{name}", "every file would have one name"),
        ("{stem}/{version}", "cannot stand in a file name"),
        ("{stem}?", "cannot stand in a file name"),
    ],
)
def test_a_template_that_cannot_name_files_is_refused(template: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        check_template(template)
    assert why in str(caught.value)


def test_a_template_that_can_is_kept_as_it_is() -> None:
    assert [check_template(each) for each in (CIVITDL, "{variant}", "{version}")] == [CIVITDL, "{variant}", "{version}"]


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("a:b", "a_b"), ("a/b\\c", "a_b_c"), ('<x>|"?*', "_x_"), ("x. ", "x"), ("con", "con_"), ("NUL.x", "NUL_.x"),
        ("~home", "_home"), (".hidden", "_hidden"), ("a\u200bb\n", "ab"), ("e\u0301", "é"), ("布川", "布川"), ("", "_"),
        ("...", "_"), ("a  b", "a b"),
    ],
)  # fmt: skip
def test_what_some_system_refuses_becomes_an_underscore(stem: str, name: str) -> None:
    assert safe(stem) == name


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=400))
def test_whatever_upstream_calls_a_file_every_system_takes_the_name_with_all_that_lies_beside_it(stem: str) -> None:
    name = safe(stem)
    for ending in (".safetensors", ".preview.jpeg", ".civitai.info", ".metadata.json"):
        assert check_component(name + ending) == name + ending
    assert safe(name) == name


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("loras/x-mid_12-vid_345.safetensors", ("12", "345")),
        ("x-mid_12-vid_345.ckpt", ("12", "345")),
        ("x-mid_12-vid_3456.safetensors", ("12", "3456")),
        ("x_1498986.safetensors", None),
        ("x-vid_345.safetensors", None),
        ("xmid_12-vid_345.safetensors", None),
        ("x-mid_12-vid_345-v2.safetensors", None),
        ("x-mid_12-vid_345/y.safetensors", None),
    ],
)
def test_a_name_of_civitdl_tells_whole_numbers_at_the_end_of_the_stem(path: str, found: tuple[str, str] | None) -> None:
    assert civitdl_of(path) == found


def test_a_naive_search_for_the_number_finds_what_is_not_it() -> None:
    """The control: the substring by which others look."""
    path = "x-mid_12-vid_14989867.safetensors"
    assert "1498986" in path
    assert civitdl_of(path) == ("12", "14989867")


def test_a_stem_ends_at_the_last_dot() -> None:
    assert [split(name) for name in ("a.b.ckpt", ".ckpt", "a", "a.")] == [
        ("a.b", ".ckpt"), (".ckpt", ""), ("a", ""), ("a.", "")
    ]  # fmt: skip
