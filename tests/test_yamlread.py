"""YAML 1.2 with positions, and nothing that a manifest must not hold."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import ManifestError
from reconciler.yamlread import MAX_PROBLEMS, read


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read(text if isinstance(text, bytes) else text.encode(), "m.yaml")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0123456", 123456),
        ("0o17", 15),
        ("0xff", 255),
        ("-12", -12),
        ("+7", 7),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("yes", "yes"),
        ("on", "on"),
        ("NO", "NO"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("0b101", "0b101"),
        ("2001-01-01", "2001-01-01"),
        ("0o19", "0o19"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("hf:owner/repo@main", "hf:owner/repo@main"),
        ("-", "-"),
        (".", "."),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: Any) -> None:
    if text == "-":
        text = "'-'"
    found = read(f"a: {text}".encode(), "m.yaml").value["a"]
    assert found == value
    assert type(found) is type(value)


def test_the_source_text_of_a_number_is_kept() -> None:
    document = read(b"a: 0123456\nb: [1e5, x]\nc: {d: null}\n", "m.yaml")
    assert document.text(("a",)) == "0123456"
    assert document.text(("b", 0)) == "1e5"
    assert document.text(("b", 1)) is None
    assert document.text(("c", "d")) == "null"
    assert document.text(("nowhere",)) is None


def test_keys_are_text_as_it_is_written() -> None:
    assert read(b"1: a\n0x1: b\ntrue: c\n2001-01-01: d\n", "m.yaml").value == {
        "1": "a",
        "0x1": "b",
        "true": "c",
        "2001-01-01": "d",
    }


def test_a_colon_inside_flow_collections_is_no_separator() -> None:
    document = read(b"a: {source: hf:owner/repo, url: http://127.0.0.1:80}", "m.yaml")
    assert document.value == {"a": {"source": "hf:owner/repo", "url": "http://127.0.0.1:80"}}


def test_every_key_and_item_has_its_place() -> None:
    document = read("a:\n  b: 1\n  é: {c: [x,\n    y]}\nd:\n- e: 2\n- f\n".encode(), "dir/m.yaml")
    assert document.where(()) == "dir/m.yaml:1:1"
    assert document.where(("a",)) == "dir/m.yaml:1:1"
    assert document.where(("a", "b")) == "dir/m.yaml:2:3"
    assert document.where(("a", "é", "c")) == "dir/m.yaml:3:7"
    assert document.where(("a", "é", "c", 1)) == "dir/m.yaml:4:5"
    assert document.where(("d", 0, "e")) == "dir/m.yaml:6:3"
    assert document.where(("d", 1)) == "dir/m.yaml:7:3"


def test_what_is_not_there_is_placed_at_its_nearest_ancestor() -> None:
    document = read(b"a:\n  b: [1]\n", "m.yaml")
    assert document.where(("a", "b", 7)) == "m.yaml:2:3"
    assert document.where(("a", "b", 0, "deeper")) == "m.yaml:2:7"
    assert document.where(("a", "x", "y")) == "m.yaml:1:1"


@pytest.mark.parametrize("text", [b"", b"# only a comment\n", b"---\n", b"\xef\xbb\xbf"])
def test_an_empty_document_is_nothing(text: bytes) -> None:
    document = read(text, "m.yaml")
    assert document.value is None
    assert document.where(("a",)).startswith("m.yaml:")


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf", b"%YAML 1.2\n---\n", b"---\n"])
def test_what_may_stand_before_a_document(prefix: bytes) -> None:
    assert read(prefix + b"a: 1\r\nb: 2\r\n", "m.yaml").value == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &x 1\n", "m.yaml:1:4: the anchor `&x`"),
        ("a: 1\nb: *x\n", "m.yaml:2:4: an alias"),
        ("a: !!str 1\n", "m.yaml:1:4: the tag `tag:yaml.org,2002:str`"),
        ("a: !!python/object/apply:os.system [x]\n", "m.yaml:1:4: the tag `tag:yaml.org,2002:python"),
        ("a: ! x\n", "m.yaml:1:4: the tag `!`"),
        ("a:\n  <<: {b: 1}\n", "m.yaml:2:3: a merge key"),
        ("a: 1\n---\nb: 2\n", "m.yaml:2:1: a second document"),
        ("a: 1\n...\n---\n", "m.yaml:3:1: a second document"),
        ("%YAML 1.1\n---\na: 1\n", "m.yaml:1:1: another version of YAML"),
        ("%YAML 9.9\n---\na: 1\n", "another version of YAML"),
        ("%TAG ! tag:x,2000:\n---\na: 1\n", "m.yaml:1:1: a %TAG directive"),
        ("a: 1\nb: 2\na: 3\n", "m.yaml:3:1: `a` stands here a second time; the first is at m.yaml:1:1"),
        ('a: 1\n"a": 2\n', "m.yaml:2:1: `a` stands here a second time"),
        ('1: 1\n"1": 2\n', "m.yaml:2:1: `1` stands here a second time"),
        ("\u00e9: 1\ne\u0301: 2\n", "m.yaml:2:1: `e\u0301` stands here a second time"),
        ("\ufb01: 1\nfi: 2\n", "m.yaml:2:1: `fi` stands here a second time"),
        ("? [a]\n: 1\n", "m.yaml:1:3: a key that is not plain text"),
        ("? {a: 1}\n: 1\n", "m.yaml:1:3: a key that is not plain text"),
        ("? \n: 1\n", "an empty key"),
        ("a:\n\tb: 1\n", "m.yaml:2:1: not YAML: a tab where only spaces may indent (use spaces)"),
        ("a: b: c\n", "m.yaml:1:5: not YAML: mapping values"),
        ("a: [1,\n", "not YAML"),
        ("a: [*Q4.gguf]\n", 'm.yaml:1:5: not YAML: a `*` that is not quoted (quote a pattern: "*.gguf")'),
        ("a: *.gguf\n", "m.yaml:1:4: not YAML: a `*` that is not quoted"),
        ("a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> x\n", "m.yaml:2:1: not YAML: a conflict marker"),
        ("a: 1\x00\n", "m.yaml:1:5: the control character U+0000"),
        ("a: 1\n# \x1b[2K\n", "m.yaml:2:3: the control character U+001B"),
        ("a: 1 # x\u2028b: 2\n", "m.yaml:1:9: the control character U+2028"),
        ("a: 1 # x\rb: 2\n", "m.yaml:1:9: the control character U+000D"),
        ("a: \ufeffb\n", "m.yaml:1:4: the control character U+FEFF"),
        ('a: "\\0"\n', "m.yaml:1:4: NUL"),
        ('"a\\0": 1\n', "m.yaml:1:1: a key with NUL"),
        ('a: "\\ud800"\n', "m.yaml:1:"),
        ("a: " + "9" * 100_000, "m.yaml:1:4: a number of 100,000 characters"),
        ("a: 0x" + "f" * 100_000, "m.yaml:1:4: a number of 100,002 characters"),
    ],
)  # fmt: skip
def test_what_a_manifest_must_not_hold_is_refused_with_its_place(text: str, told: str) -> None:
    found = problems(text)
    assert any(told in line for line in found), found
    assert all(len(line) < 600 for line in found)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("a: 1".encode("utf-16"), "m.yaml:1:1: this is UTF-16"),
        ("a: 1".encode("utf-16-be"), "m.yaml:1:1: this is UTF-16"),
        ("a: 1".encode("utf-32"), "m.yaml:1:1: this is UTF-16"),
        (b"a: 1\nb: \xff\n", "m.yaml:2:4: the byte 0xff is not UTF-8"),
        (b"a: \xed\xa0\x80\n", "m.yaml:1:4: the byte 0xed is not UTF-8"),
        (b"#" * (4 * 1024 * 1024 + 1), "m.yaml: 4,194,305 bytes"),
    ],
)
def test_what_is_not_text_of_ours_is_refused_before_it_is_parsed(data: bytes, told: str) -> None:
    assert problems(data)[0].startswith(told)


def test_one_run_tells_all_that_it_can() -> None:
    found = problems("a: &x 1\nb: *x\nc: !t 1\na: 2\nd:\n  <<: 1\n")
    assert [line.split(": ")[0] for line in found] == [
        "m.yaml:1:4",
        "m.yaml:2:4",
        "m.yaml:3:4",
        "m.yaml:4:1",
        "m.yaml:6:3",
    ]


def test_a_flood_of_mistakes_is_cut_off() -> None:
    assert len(problems("a: 1\n" * 10_000)) == MAX_PROBLEMS + 1


def test_64_levels_are_enough_and_65_are_too_many() -> None:
    assert read(b"[" * 64 + b"]" * 64, "m.yaml").value is not None
    assert "nested more than 64 deep" in problems("[" * 65 + "]" * 65)[0]


def test_characters_that_hide_are_reported_and_not_refused() -> None:
    document = read("a: 1\nb: x\u202ey\u200b\n".encode(), "m.yaml")
    assert document.hidden == (("m.yaml:2:5", "\u202e"), ("m.yaml:2:7", "\u200b"))
    assert document.value["b"] == "x\u202ey\u200b"


_TEXTS = ["a: {b: [1, 'x']}\n", "- a\n- b: 0123\n", "", "a: &x 1", "a: 1\na: 2", "%YAML 1.1\n---\na: 1"]


@pytest.mark.parametrize("text", _TEXTS)
def test_without_libyaml_the_same_is_read_and_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    def outcome() -> Any:
        try:
            document = read(text.encode(), "m.yaml")
        except ManifestError as error:
            return [problem.where for problem in error.problems]
        return document.value, document.marks

    with_libyaml = outcome()
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert outcome() == with_libyaml


@given(
    st.one_of(
        st.binary(max_size=200), st.text(alphabet="ab:-[]{}&*!|>'\"%#?, \n\t01.<é\u202e", max_size=200).map(str.encode)
    )
)
def test_any_bytes_are_read_or_refused_in_words(data: bytes) -> None:
    try:
        document = read(data, "m.yaml")
    except ManifestError as error:
        places = [problem.where for problem in error.problems]
    else:
        places = [document.where(("a", 0))]
    assert places
    assert all(place.startswith("m.yaml") for place in places)


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(alphabet="ab \"'\\:#-é0", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcde"), inner, max_size=3),
    max_leaves=12,
)


@given(_PLAIN)
def test_json_is_yaml(value: Any) -> None:
    import json

    assert read(json.dumps(value).encode(), "m.yaml").value == value


def test_reading_needs_no_deep_recursion() -> None:
    limit = sys.getrecursionlimit()
    problems("[" * 100_000)
    assert sys.getrecursionlimit() == limit


def test_without_libyaml_the_same_document_is_read_by_ruamel_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    text = b"a: { store: ollama, url: http://127.0.0.1:1/x, list: [hf:x/y, 0123456, on] }\nb:\n  - c: 1\n"
    with_libyaml = read(text, "m.yaml")
    monkeypatch.delattr(yaml, "CSafeLoader")
    without = read(text, "m.yaml")
    assert without.value == with_libyaml.value
    assert without.where(("b", 0, "c")) == with_libyaml.where(("b", 0, "c")) == "m.yaml:3:5"
    assert "not YAML" in problems("a: [1\n")[0]
