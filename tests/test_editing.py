"""Editing a manifest's text: what was asked changes, every other byte stays."""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nasty_kit import marks, nasty

from reconciler import yamlwrite
from reconciler.editing import (
    add_locations,
    add_roles,
    add_variants,
    read_text,
    remove_variants,
    rename_variant,
    write_text,
)
from reconciler.errors import ManifestError
from reconciler.yamlread import read

TEXT = """\
# the box under the desk
version: 1   # the only one

locations:
  weights:  { store: huggingface, root: ~/weights }   # a comment behind

variants:   # what should be there
  # the first
  a-model:
    source: 'hf:owner/repo'     # quoted as its owner likes it
    files: ["*Q4_K_M.gguf",
            "README.md"]
  b-model:
    source: hf:owner/other
    metadata:
      note: |
        two lines

        of text
  # c-model: commented out

# preferences
roles:
  chat: [a-model, "b-model"]    # the first wins
  draft:
    - b-model   # only this
"""


def value(text: str) -> Any:
    return read(text.encode(), "m.yaml").value


def comments(text: str) -> list[str]:
    return re.findall(r"#.*", text)


def test_a_variant_comes_to_the_end_of_its_section_and_nothing_else_changes() -> None:
    after = add_variants(TEXT, {"new-one": {"source": "hf:o/r", "files": ["*.gguf"], "location": "weights"}})

    added = '  new-one:\n    source: hf:o/r\n    files: ["*.gguf"]\n    location: weights\n'
    assert after == TEXT.replace("  # c-model: commented out\n", "  # c-model: commented out\n" + added)


def test_a_section_that_is_not_there_comes_to_the_end_of_the_file() -> None:
    assert add_roles("version: 1\n", {"chat": ["a"]}) == "version: 1\n\nroles:\n  chat: [a]\n"


@pytest.mark.parametrize("empty", ["variants:\n", "variants: {}\n", "variants: ~\n", "variants:   # none yet\n"])
def test_an_empty_section_becomes_a_block(empty: str) -> None:
    after = add_variants(f"version: 1\n{empty}roles: {{}}\n", {"a": {"source": "hf:o/r"}})

    assert value(after)["variants"] == {"a": {"source": "hf:o/r"}}
    assert after.endswith("  a:\n    source: hf:o/r\nroles: {}\n")
    assert ("# none yet" in after) == ("# none yet" in empty)


def test_a_section_between_brackets_stays_between_brackets() -> None:
    text = "{version: 1, variants: {a: {source: 'hf:o/r'}}, roles: {chat: []}}\n"

    after = add_roles(add_variants(text, {"b": {"source": "hf:o/s"}}), {"chat": ["b"]})

    assert after == "{version: 1, variants: {a: {source: 'hf:o/r'}, b: {source: \"hf:o/s\"}}, roles: {chat: [b]}}\n"


def test_the_indentation_of_the_file_is_kept() -> None:
    text = "variants:\n    a:\n        source: hf:o/r\nversion: 1\n"

    after = add_variants(text, {"b": {"source": "hf:o/s"}})

    assert after == "variants:\n    a:\n        source: hf:o/r\n    b:\n        source: hf:o/s\nversion: 1\n"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("ending", [True, False], ids=["ends", "does not end"])
def test_line_endings_byte_order_mark_and_a_missing_last_newline_stay(newline: str, mark: str, ending: bool) -> None:
    text = mark + TEXT.replace("\n", newline)
    text = text if ending else text.removesuffix(newline)

    after = add_roles(text, {"caption": ["a-model"], "draft": ["a-model"]})

    assert after.startswith(mark + "# the box")
    assert after.count("\ufeff") == len(mark)
    assert after.count("\n") == after.count(newline)
    assert after.endswith(newline) == ending
    assert value(after)["roles"]["draft"] == ["b-model", "a-model"]
    assert comments(after.replace("\r", "")) == comments(TEXT)


def test_text_that_yaml_could_take_for_something_else_is_quoted() -> None:
    words = [
        "0123456",
        "on",
        "1e3",
        "no",
        "~",
        "null",
        "1_000",
        "12:30:00",
        "2024-01-01",
        "a: b",
        "a #b",
        "- x",
        ".inf",
    ]
    words += [
        "{x}",
        "[y",
        "*z",
        "&w",
        "!t",
        "%p",
        "@q",
        "`r",
        "' s",
        '"',
        "\\",
        "",
        " lead",
        "trail ",
        "é",
        "\u200b",
        "😀",
    ]

    after = add_variants("version: 1\n", {"a": {"source": "hf:o/r", "metadata": {"words": words}}})

    assert value(after)["variants"]["a"]["metadata"]["words"] == words
    assert yaml.safe_load(after)["variants"]["a"]["metadata"]["words"] == words


def test_a_long_line_is_never_folded() -> None:
    long = "x" * 3000 + " " + "y" * 3000

    after = add_variants("version: 1\n", {"a": {"source": "hf:o/r", "metadata": {"long": long}}})

    assert f"      long: {long}\n" in after


def test_what_stands_there_already_changes_nothing() -> None:
    same = {"a-model": {"source": "hf:owner/repo", "files": ["*Q4_K_M.gguf", "README.md"]}}

    assert add_variants(TEXT, same) == TEXT
    assert add_locations(TEXT, {"weights": {"store": "huggingface", "root": "~/weights"}}) == TEXT
    assert add_roles(TEXT, {"chat": ["b-model"]}) == TEXT


def test_a_name_that_says_something_else_is_refused() -> None:
    with pytest.raises(ManifestError, match="stands in `variants` already"):
        add_variants(TEXT, {"a-model": {"source": "hf:owner/else"}})


def test_one_and_true_are_not_the_same() -> None:
    text = "version: 1\nvariants:\n  a: { source: hf:o/r, metadata: { n: 1 } }\n"

    with pytest.raises(ManifestError, match="already"):
        add_variants(text, {"a": {"source": "hf:o/r", "metadata": {"n": True}}})


def test_a_variant_goes_with_its_place_in_every_role() -> None:
    after = remove_variants(TEXT, ["b-model"])

    assert value(after)["roles"] == {"chat": ["a-model"], "draft": []}
    assert list(value(after)["variants"]) == ["a-model"]
    assert "# c-model: commented out" in after
    assert "# the first\n" in after


def test_the_last_variant_leaves_an_empty_section() -> None:
    after = remove_variants("version: 1\nvariants:\n  # gone soon\n  a:\n    source: hf:o/r\n", ["a"])

    assert after == "version: 1\nvariants:\n  # gone soon\n"


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_one_of_several_between_brackets_goes_with_its_comma(name: str) -> None:
    text = "version: 1\nvariants: {a: {source: 'f:1'}, b: {source: 'f:2'}, c: {source: 'f:3'}}\nroles: {x: [a, b, c]}\n"

    after = remove_variants(text, [name])

    assert name not in value(after)["variants"]
    assert value(after)["roles"]["x"] == [each for each in "abc" if each != name]


def test_removing_what_is_not_there_changes_nothing() -> None:
    assert remove_variants(TEXT, ["nobody"]) == TEXT
    assert rename_variant(TEXT, "nobody", "somebody") == TEXT


def test_a_renamed_variant_keeps_its_place_its_quotes_and_its_roles() -> None:
    after = rename_variant(TEXT, "b-model", "better")

    assert after == TEXT.replace("  b-model:", "  better:").replace('"b-model"', '"better"').replace(
        "- b-model ", "- better "
    )


def test_a_name_that_is_taken_is_no_new_name() -> None:
    with pytest.raises(ManifestError, match="already"):
        rename_variant(TEXT, "a-model", "b-model")


@pytest.mark.parametrize(
    "text",
    ["- a\n", "version: 1\nversion: 1\n", "a: *b\n", "version: 1\nvariants: [a]\n", "version: 1\nvariants: text\n"],
)
def test_what_is_no_manifest_is_refused_and_never_guessed_at(text: str) -> None:
    with pytest.raises(ManifestError):
        add_variants(text, {"a": {"source": "hf:o/r"}})


def test_a_value_that_no_manifest_can_hold_is_refused() -> None:
    for bad in (float("inf"), object(), "\ud800"):
        with pytest.raises((ManifestError, TypeError)):
            add_variants("version: 1\n", {"a": {"source": "hf:o/r", "metadata": {"x": bad}}})


def test_a_file_is_written_only_when_it_changes_and_a_link_stays_a_link(world: Path) -> None:
    real, link = world / "real.yaml", world / "link.yaml"
    real.write_bytes(b"\xef\xbb\xbfversion: 1\r\n")
    link.symlink_to(real)
    before = real.stat().st_mtime_ns

    assert not write_text(link, read_text(link))
    assert real.stat().st_mtime_ns == before
    assert write_text(link, add_roles(read_text(link), {"chat": []}))
    assert link.is_symlink()
    assert real.read_bytes() == b"\xef\xbb\xbfversion: 1\r\n\r\nroles:\r\n  chat: []\r\n"


def test_an_edit_that_would_change_something_else_is_refused() -> None:
    """The text of a block ends with the file: a line below would give it a line break of its own."""
    text = "version: 1\nvariants:\n  a:\n    source: hf:o/r\n    metadata:\n      note: |\n        no line break"

    with pytest.raises(ManifestError, match="left as it is"):
        add_variants(text, {"b": {"source": "hf:o/s"}})


def test_a_round_trip_through_a_dumper_would_change_more() -> None:
    """The control: what the promise is about, done the simple way."""
    from ruamel.yaml import YAML

    yaml_ = YAML()
    loaded = yaml_.load(TEXT)
    loaded["variants"]["b"] = {"source": "hf:o/s"}
    out = io.StringIO()
    yaml_.dump(loaded, out)

    kept = [line for line in TEXT.splitlines() if line in out.getvalue().splitlines()]
    assert kept != TEXT.splitlines()
    after = add_variants(TEXT, {"b": {"source": "hf:o/s"}}).splitlines()
    assert [line for line in TEXT.splitlines() if line in after] == TEXT.splitlines()


# -- for any manifest -------------------------------------------------------------------------------------------------

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,12}", fullmatch=True)
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), min_size=1, max_size=12),
    st.sampled_from(["on", "0123", "1e3", "~", "null", "- a", "a: b", "# c", "{}", "'", "yes", "1:2", "=", "<<"]),
)
SCALARS = st.one_of(TEXTS, st.booleans(), st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6, allow_nan=False))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=5,
)
VARIANT = st.fixed_dictionaries(
    {"source": st.just("hf:o/r")},
    optional={"files": st.lists(TEXTS, min_size=1, max_size=3), "metadata": st.dictionaries(NAMES, VALUES, max_size=3)},
)
COMMENT = st.sampled_from(["", "  # said: here", "\t# tab", "   "])
BETWEEN = st.sampled_from(["", "\n", "# top\n", "  # deep\n", "    # deeper\n\n", "\n\n# a\n  # b\n"])


@st.composite
def manifests(draw: st.DrawFn) -> str:
    """Manifests as people write them: sections in any order and style, comments and blank lines anywhere."""
    variants = draw(st.dictionaries(NAMES, VARIANT, max_size=4))
    roles = (
        draw(st.dictionaries(NAMES, st.lists(st.sampled_from(sorted(variants)), unique=True), max_size=3))
        if variants
        else {}
    )
    step = draw(st.sampled_from([1, 2, 4]))
    said = []
    for key, held in (("version", 1), ("variants", variants), ("roles", roles), ("locations", {})):
        style = draw(st.sampled_from(["block", "flow", "nothing"] if not held else ["block", "flow"]))
        if style == "nothing" or held == 1:
            lines = [f"{key}: 1" if held == 1 else f"{key}:"]
        elif style == "flow":
            lines = [f"{key}: {yamlwrite.flow(held)}"]
        else:
            lines = yamlwrite.block(key, held, 0, step)
        comment = draw(COMMENT)
        said.append(draw(BETWEEN) + "\n".join(line + comment for line in lines) + "\n")
    text = "".join(draw(st.permutations(said))) + draw(BETWEEN)
    text = text if draw(st.booleans()) else text.rstrip("\n")
    return text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(manifests(), st.dictionaries(NAMES, VARIANT, min_size=1, max_size=3), NAMES)
def test_what_is_added_is_there_and_nothing_else_changed(text: str, fresh: dict[str, Any], role: str) -> None:
    before = value(text)
    held = before.get("variants") or {}
    fresh = {name: said for name, said in fresh.items() if name not in held}
    meant = copy.deepcopy(before)
    if fresh:
        meant["variants"] = {**held, **fresh}
    meant["roles"] = {**(before.get("roles") or {})}
    meant["roles"][role] = [*(meant["roles"].get(role) or []), *fresh]

    after = add_roles(add_variants(text, fresh), {role: list(fresh)})

    assert value(after) == meant
    assert not [line for line in text.splitlines() if line.strip().startswith("#") and line not in after.splitlines()]
    assert add_roles(add_variants(after, fresh), {role: list(fresh)}) == after


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(manifests(), NAMES, st.data())
def test_renamed_and_removed_it_is_as_if_it_had_been_called_so(text: str, new: str, data: st.DataObject) -> None:
    held = value(text).get("variants") or {}
    if not held or new in held:
        return
    old = data.draw(st.sampled_from(sorted(held)))

    renamed = rename_variant(text, old, new)

    assert list(value(renamed)["variants"].values()) == list(held.values())
    assert value(rename_variant(renamed, new, old)) == value(text)
    gone = value(remove_variants(renamed, [new]))
    assert new not in (gone["variants"] or {})
    assert not any(new in names for names in (gone.get("roles") or {}).values())


@settings(max_examples=250, deadline=None)
@given(st.integers(0, 2**32), st.data())
def test_however_nasty_a_manifest_is_no_comment_is_lost_but_those_of_what_goes(seed: int, data: st.DataObject) -> None:
    made = nasty(seed)
    before = value(made.text)
    fresh = {"fresh": {"source": "hf:o/n", "files": ["*x y.gguf"]}}

    added = _unless_refused(lambda: add_roles(add_variants(made.text, fresh), {"chat": ["fresh"]}), made.text)
    assert marks(added) == marks(made.text)
    assert _unless_refused(lambda: add_roles(add_variants(added, fresh), {"chat": ["fresh"]}), added) == added

    assert marks(_unless_refused(lambda: remove_variants(added, ["fresh"]), added)) == marks(made.text)
    if not made.names:
        return
    going = data.draw(st.sets(st.sampled_from(made.names), min_size=1))
    left = _unless_refused(lambda: remove_variants(made.text, going), made.text)
    staying = [each for each in marks(made.text) if made.owners[each] not in going]
    assert [each for each in marks(left) if each in staying] == staying
    assert _unless_refused(lambda: remove_variants(left, going), left) == left

    old = data.draw(st.sampled_from(made.names))
    renamed = _unless_refused(lambda: rename_variant(made.text, old, "new-name"), made.text)
    assert marks(renamed) == marks(made.text)
    assert value(_unless_refused(lambda: rename_variant(renamed, "new-name", old), renamed)) == before


def _unless_refused(edit: Callable[[], str], text: str) -> str:
    """Return the edited text; the same one where the edit is refused, as it may be, and everything is left as it is."""
    try:
        return edit()
    except ManifestError as error:
        if "left as it is" not in str(error):
            raise
        return text


def test_hardly_any_manifest_is_refused() -> None:
    """The control of the test above: an edit that refuses everything keeps every comment."""
    refused = 0
    for seed in range(200):
        made = nasty(seed)
        try:
            remove_variants(add_variants(made.text, {"fresh": {"source": "hf:o/n"}}), made.names[:1])
        except ManifestError:
            refused += 1
    assert refused <= 4


@pytest.mark.parametrize(
    ("text", "going", "after"),
    [
        ("{a: 1, b: 2, c: 3}", "a", "{b: 2, c: 3}"),
        ("{a: 1, b: 2, c: 3}", "bc", "{a: 1}"),
        ("{a: 1, b: 2, }", "ab", "{}"),
        ("{\n  a: 1,  # of a\n  b: 2   # of b\n  # end\n}", "b", "{\n  a: 1,  # of a\n  # end\n}"),
        ("{\n  a: 1,  # of a\n  b: 2   # of b\n  # end\n}", "a", "{\n  b: 2   # of b\n  # end\n}"),
        ("{a: 1,  # of a\n  # of b\n  b: 2, c: 3}", "b", "{a: 1,  # of a\n  # of b\n  c: 3}"),
        ("{a: 1,  # of a\n  # of b\n  b: 2, c: 3}", "a", "{  # of a\n  # of b\n  b: 2, c: 3}"),
        ("{a: 1, b: 2,\n  c: 3}", "b", "{a: 1,\n  c: 3}"),
        ("{a: 1\n  , b: 2\n  , c: 3}", "c", "{a: 1\n  , b: 2}"),
    ],
)
def test_what_goes_from_between_brackets_takes_its_comma_and_its_comment_with_it(
    text: str, going: str, after: str
) -> None:
    assert remove_variants(f"variants: {text}\n", going) == f"variants: {after}\n"


def test_a_role_that_loses_its_last_variant_stays_with_its_marks() -> None:
    text = "roles:\n  y:   # why\n  # on a\n  - a   # of a\n  # below\n  z: [\n    a, # of a\n  ]\n"

    assert remove_variants(text, ["a"]) == "roles:\n  y: []   # why\n  # on a\n  # below\n  z: [\n  ]\n"
