from __future__ import annotations

import pytest

from reconciler.errors import InputError, ManifestError, Problem
from reconciler.render.errors import error_text
from reconciler.render.lines import cells, folded
from reconciler.render.tables import table

ROWS = [
    ("qwen2.5-vl-7b-instruct-vllm-awq-with-a-long-name", "linux_wsl", "6.4 GiB", "kept"),
    ("llama", "windows_lmstudio", "12.9 MiB", None),
]
HEADERS = ("variant", "location", "size", "state")


def test_a_table_is_whole_in_a_pipe_and_sizes_stand_to_the_right() -> None:
    assert list(table(ROWS, HEADERS, width=None, colour=False)) == [
        "variant                                           location              size  state",
        "qwen2.5-vl-7b-instruct-vllm-awq-with-a-long-name  linux_wsl          6.4 GiB  kept",
        "llama                                             windows_lmstudio  12.9 MiB",
    ]


@pytest.mark.parametrize("width", [50, 60, 80])
def test_a_table_fits_the_terminal_by_cutting_its_widest_column(width: int) -> None:
    lines = list(table([*ROWS, ("漢字" * 30, "x", "1 B", "\x1b[31mred")], HEADERS, width=width, colour=False))
    assert all(cells(line) <= width for line in lines)
    assert any("6.4 GiB" in line for line in lines)
    assert all(line.isprintable() for line in lines)


def test_names_are_cut_last_and_columns_that_can_be_spared_go_first() -> None:
    [header, first, second] = table(ROWS, HEADERS, width=64, colour=False, names="variant", spare=("state", "size"))

    assert header.split() == ["variant", "location"]
    assert first.split() == [ROWS[0][0], "linux_wsl"]
    assert second.split()[1] != ROWS[1][1], "the place gives way to the names"
    [whole, *_] = table(ROWS, HEADERS, width=200, colour=False, spare=("state",))
    assert len(whole.split()) == 4


def test_a_table_without_rows_is_its_header() -> None:
    assert list(table([], HEADERS, width=80, colour=False)) == ["variant  location  size  state"]


def test_colour_is_for_the_header_alone() -> None:
    first, *rest = table(ROWS, HEADERS, width=None, colour=True)
    assert first.startswith("\x1b[1m")
    assert "\x1b" not in "".join(rest)


def test_an_error_says_where_what_and_what_to_try() -> None:
    assert error_text(ManifestError(Problem("a.yaml:3:5", "unknown key: souce", "did you mean source?"))) == [
        "error: a.yaml:3:5: unknown key: souce",
        "  hint: did you mean source?",
    ]


def test_every_problem_is_shown_and_counted() -> None:
    shown = error_text(InputError([Problem("", f"problem {number}") for number in range(30)]))
    assert len(shown) == 31
    assert shown[-1] == "30 problems."


def test_an_error_is_inert_and_colour_touches_the_labels_alone() -> None:
    hostile = InputError(Problem("a\x1b[2K\n::set-env::", "b\u202e\r##[x]", "c\n::d"))
    assert all(line.isprintable() and not line.strip().startswith("::") for line in error_text(hostile))
    coloured = error_text(hostile, colour=True)
    assert coloured[0].startswith("\x1b[1;31merror:\x1b[0m ")
    assert "\x1b[2K" not in coloured[0]


def test_a_column_that_folds_loses_nothing_where_the_others_are_cut() -> None:
    rows = [("ok", "a-rather-long-name-of-a-check", "not set: public repositories only, at the lower rate limit")]
    shown = list(table(rows, ("state", "check", "found"), width=50, colour=False, folds="found"))
    assert max(map(len, shown)) <= 50
    words = " ".join(" ".join(line.split()) for line in shown[1:])
    assert all(word in words for word in rows[0][2].split())
    cut = list(table(rows, ("state", "check", "found"), width=50, colour=False))
    assert len(cut) == 2
    assert "..." in cut[1]


def test_a_folded_line_keeps_a_size_together() -> None:
    assert folded("in the cache, 2.8 MiB of it", 17, "  ") == ["in the cache,", "  2.8 MiB of it"]
    assert folded("in the cache, 2.8 MiB", None) == ["in the cache, 2.8 MiB"]


def test_an_error_never_repeats_a_secret_that_somebody_pasted() -> None:
    url = "https://example.org/m.gguf?token=hf_canary0123456789"
    problem = Problem(url, f"{url}: the URL carries a secret (token=)", f"not {url}")

    assert "canary" not in "\n".join(error_text(InputError(problem)))
    assert "canary" in str(problem), "the control"
