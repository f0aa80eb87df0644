"""The layout of a manifest: one for all, words and order and comments stay, and texts keep what is in them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nasty_kit import marks, nasty

from reconciler.cli import run
from reconciler.errors import ManifestError
from reconciler.formatting import formatted
from reconciler.yamlread import read

ROOT = Path(__file__).parent.parent

MESSY = """\
\ufeff# top   \r
version:   1\r
\r
\r
locations:\r
    weights:        { store: flat, root: /a }\r
    lm:             { store: flat, root: /b }\r
    x:    { store: flat, root: /c }   # why\r
                                      # because\r
    # the last location\r
variants:\r
      a:\r
              source:   hf:a/b   \r
              files:\r
              -   "*.gguf"\r
              - b\r
              metadata:\r
                  list:\r
                    -  k: 1\r
                       l: 2\r
                    - - deep\r
                      - er\r
              # lock: commented out\r
      # b: later\r
      c: {source: hf:x/y,\r
          files: [a]}\r
routes:\r
- format: gguf\r
  location: lm\r
\r
\r
"""

NEAT = """\
# top
version: 1

locations:
  weights:        { store: flat, root: /a }
  lm:             { store: flat, root: /b }
  x: { store: flat, root: /c }   # why
                                 # because
  # the last location
variants:
  a:
    source: hf:a/b
    files:
      - "*.gguf"
      - b
    metadata:
      list:
        - k: 1
          l: 2
        - - deep
          - er
    # lock: commented out
  # b: later
  c: {source: hf:x/y,
      files: [a]}
routes:
  - format: gguf
    location: lm
"""


def value(text: str) -> Any:
    return read(text.encode(), "m.yaml").value


def test_a_messy_manifest_gets_the_one_layout() -> None:
    assert formatted(MESSY) == NEAT


def test_what_is_laid_out_stays_as_it_is() -> None:
    assert formatted(NEAT) == NEAT


@pytest.mark.parametrize("path", sorted([*ROOT.glob("examples/*.yaml"), *ROOT.glob("manifests/*/*.yaml")]), ids=str)
def test_our_own_manifests_are_laid_out(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert formatted(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "a:\n     b: |\n         two  \n\n\n           deeper\n     c: 1\n",
        "a:\n     b: >+\n         folded\n\n\n     c: 1\n",
        "a:\n     b: |2\n         an indented first line\n       and the second\n",
        'a:\n     b: "one \\\n       two\n\n\n       three"\n',
        "a:\n     b: plain\n        goes on\n\n        here\n",
        "a:\n     b: 'it''s:   so'\n     'c: d':   1\n",
        "a: [x,\n\n\n  y]\n",
        "a:\n- |\n  one\n\n-   two\n",
    ],
)
def test_a_text_of_several_lines_keeps_its_inside(text: str) -> None:
    after = formatted(text)
    assert value(after) == value(text)
    assert formatted(after) == after


def test_values_that_stand_below_each_other_keep_standing_so() -> None:
    text = "a:\n  long-name: 1\n  short:     2\n  x:         3\n\n  lone:    4\n"
    assert formatted(text) == text.replace("lone:    4", "lone: 4")


@pytest.mark.parametrize("text", ["", "\n\n", "# only this\n", "{version: 1}\n", "version: 1"])
def test_what_has_hardly_any_layout_is_left_or_ended(text: str) -> None:
    assert formatted(text) == (text.strip() + "\n" if text.strip() else "")


@pytest.mark.parametrize("text", ["a: [", "a: 1\na: 2\n", "a: &x 1\nb: *x\n", "a:\n\t- b\n"])
def test_what_is_no_yaml_of_ours_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(ManifestError) as caught:
        formatted(text, where="m.yaml")
    assert caught.value.problems[0].where.startswith("m.yaml:")


# -- any value, laid out in any way -----------------------------------------------------------------------------------

_KEYS = st.sampled_from(["a", "source", "files", "x-y", "'quoted: key'", "z9"])
_SCALARS = st.sampled_from(["1", "text", "'it''s'", '"a: b"', "hf:owner/repo@x", "[a, b]", "{k: v}", "", "~", "0123"])
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3), st.dictionaries(_KEYS, inner, min_size=1, max_size=3)
    ),
    max_leaves=12,
)


def _block(value: Any, column: int, dice: random.Random) -> list[str]:
    """Write a value in block style as a careless hand would."""
    lines: list[str] = []
    for key, inner in value.items() if isinstance(value, dict) else ((None, each) for each in value):
        lines += dice.choice([[], [], [""], ["", "  "], [" " * dice.randrange(9) + "# said"]])
        lead = " " * column + ("-" if key is None else f"{key}:")
        if isinstance(inner, str):
            lines.append(
                f"{lead}{' ' * dice.randint(1, 4)}{inner}{' ' * dice.randrange(3)}{dice.choice(['', ' # so'])}"
            )
        else:
            deeper = column + dice.randint(1 if key is None or isinstance(inner, dict) else 0, 5)
            lines += [lead + dice.choice(["", "  ", " # on"]), *_block(inner, max(deeper, column), dice)]
    return lines


@given(st.dictionaries(_KEYS, _VALUES, min_size=1, max_size=4), st.integers())
@settings(max_examples=150, deadline=None)
def test_any_layout_becomes_one_that_says_the_same_and_stays(said: dict[str, Any], seed: int) -> None:
    text = "\n".join(_block(said, 0, random.Random(seed))) + "\n"
    after = formatted(text)
    assert value(after) == value(text)
    assert "".join(after.split()) == "".join(text.split())
    assert formatted(after) == after
    assert not any(line != line.rstrip() for line in after.splitlines())


@given(st.dictionaries(_KEYS, _VALUES, min_size=1, max_size=4), st.integers(), st.integers())
@settings(max_examples=60, deadline=None)
def test_two_indentations_of_one_manifest_become_the_same(said: dict[str, Any], one: int, other: int) -> None:
    def written(seed: int) -> str:
        lines = _block(said, 0, random.Random(seed))
        return "\n".join(line.partition(" #")[0].rstrip() for line in lines if line.strip() and "# said" not in line)

    def collapsed(text: str) -> str:
        return "\n".join(" " * (len(line) - len(line.lstrip())) + " ".join(line.split()) for line in text.splitlines())

    assert collapsed(formatted(written(one))) == collapsed(formatted(written(other)))


# -- the command ------------------------------------------------------------------------------------------------------


def test_fmt_writes_what_changes_and_names_it(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (world / "a.yaml").write_text(MESSY, encoding="utf-8", newline="")
    (world / "b.yaml").write_text(NEAT, encoding="utf-8")
    before = (world / "b.yaml").stat().st_mtime_ns

    assert run(["fmt", str(world)]) == 0

    assert capsys.readouterr().out == f"{world / 'a.yaml'}\n"
    assert (world / "a.yaml").read_bytes().decode() == NEAT
    assert (world / "b.yaml").stat().st_mtime_ns == before
    assert run(["fmt", str(world)]) == 0
    assert capsys.readouterr().out == ""


def test_fmt_check_writes_nothing_and_tells_by_its_exit_code(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (world / "a.yaml").write_text(MESSY, encoding="utf-8", newline="")

    assert run(["fmt", "--check", str(world / "a.yaml")]) == 2
    assert capsys.readouterr().out == f"{world / 'a.yaml'}\n"
    assert (world / "a.yaml").read_bytes().decode() == MESSY
    (world / "a.yaml").write_text(NEAT)
    assert run(["fmt", "--check", str(world / "a.yaml")]) == 0


def test_when_one_file_cannot_be_read_none_is_written_and_all_are_told(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (world / "a.yaml").write_text(MESSY, encoding="utf-8", newline="")
    (world / "b.yaml").write_text("a: [")
    (world / "c.yaml").write_bytes(b"a: \xff\n")

    assert run(["fmt", str(world), str(world / "d.yaml")]) == 1

    told = capsys.readouterr()
    assert told.out == ""
    assert all(f"{world / name}" in told.err for name in ("b.yaml", "c.yaml", "d.yaml"))
    assert (world / "a.yaml").read_bytes().decode() == MESSY


@given(st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_however_nasty_a_manifest_is_no_comment_is_lost_and_a_second_run_changes_nothing(seed: int) -> None:
    text = nasty(seed).text
    try:
        after = formatted(text)
    except ManifestError:
        return  # a text that ends with the file and without a line break, say
    assert marks(after) == marks(text)
    assert formatted(after) == after


def test_a_value_on_the_line_below_its_key_goes_in_with_it() -> None:
    assert formatted("a:\n b:\n  c\n") == "a:\n  b:\n   c\n"
    assert formatted("a:\n b:\n  [c,\n   d]\n") == "a:\n  b:\n   [c,\n    d]\n"


@pytest.mark.parametrize("mark", ["|", "|-", ">", ">-"])
def test_blank_lines_below_a_text_that_does_not_keep_them_are_nobodys(mark: str) -> None:
    assert formatted(f"a: {mark}\n  x\n\n\nb: 1\n\n") == f"a: {mark}\n  x\n\nb: 1\n"
    assert formatted(f"a: {mark}\n  x\n\n\n") == f"a: {mark}\n  x\n"


def test_blank_lines_below_a_text_that_keeps_them_stay() -> None:
    assert formatted("a: |+\n  x\n\n\nb: 1\n") == "a: |+\n  x\n\n\nb: 1\n"
