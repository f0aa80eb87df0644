"""Text of others cannot act; sizes, times and names read well."""

from __future__ import annotations

import html
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.inert import confusable, human_bytes, human_seconds, inert, inert_markdown, suggest


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name (v2) [fp16]", "plain name (v2) [fp16]"),
        ("日本語 \u2013 Übergröße\u00a0x", "日本語 \u2013 Übergröße\u00a0x"),
        ("\x1b[2K", "\\x1b[2K"),
        ("\x1b]8;;http://evil\x07x", "\\x1b]8;;http://evil\\x07x"),
        ("a\rb\nc\td\b", "a\\x0db\\x0ac\\x09d\\x08"),
        ("\x7f\x9b\x85", "\\x7f\\x9b\\x85"),
        ("gnp.\u202egguf", "gnp.\\u{202e}gguf"),
        ("\u2066\u200b\ufeff\u2028", "\\u{2066}\\u{200b}\\u{feff}\\u{2028}"),
        ("x\U000e0041", "x\\u{e0041}"),
        ("\u3164", "\\u{3164}"),
        ("\udc80", "\\u{dc80}"),
    ],
)
def test_what_steers_a_terminal_or_hides_is_shown_by_its_number(text: str, shown: str) -> None:
    assert inert(text) == shown


@given(st.text())
def test_inert_text_holds_no_control_and_encodes(text: str) -> None:
    shown = inert(text)
    shown.encode()
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert inert(shown) == shown


_HOSTILE = [
    "```", "`x`", "a|b", "a\\|b", "<img src=x>", "<!--", "-->", "[x](javascript:alert(1))", "![x](http://evil/x.png)",
    "@org/team", "x @user", "#1", "GH-1", "owner/repo#12", "</details>", "::set-env name=x::y",
    "##[error]x", "&lt;",
    "*b*", "_i_", "~~s~~", "http://evil", "www.evil.example", "a@b.example.com", "<script>", "# heading", "- item",
    "1. item",
    "\n::add-mask::x", "\\", "`", "$x$", ":smile:", "a\u202eb", "name ",
]  # fmt: skip


@pytest.mark.parametrize("text", _HOSTILE)
def test_hostile_text_becomes_one_piece_of_code_without_any_markup(text: str) -> None:
    shown = inert_markdown(text)
    assert "\n" not in shown
    assert "|" not in shown
    assert not shown.startswith("::")
    if shown.startswith("`"):
        assert re.fullmatch(r"`[\w .,+()/=@:-]+`", shown)
        assert not re.search(r"(?<![A-Za-z0-9)])@", shown)
    else:
        inside = re.fullmatch(r"<code>(.*)</code>", shown)
        assert inside is not None
        assert not re.search(r"[`*_~<>\[\]()!@#|:\\$]", re.sub(r"&#\d+;", "", inside[1]))
        assert re.sub("[@#:]\u200b", lambda found: found.group()[0], html.unescape(inside[1])).replace(
            "\u200b", ""
        ) == inert(text)


@given(st.text(min_size=1))
def test_any_text_keeps_its_words_and_loses_its_power(text: str) -> None:
    test_hostile_text_becomes_one_piece_of_code_without_any_markup(text)


def test_ordinary_addresses_stay_easy_to_copy() -> None:
    assert inert_markdown("llama-3.2-3b_(Q4_K_M)@linux_wsl") == "`llama-3.2-3b_(Q4_K_M)@linux_wsl`"
    assert inert_markdown("hf:owner/repo@main") == "`hf:owner/repo@main`"
    assert inert_markdown("") == ""


@pytest.mark.parametrize(
    ("n", "shown"),
    [
        (0, "0 B"),
        (812, "812 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (2019377696, "1.9 GiB"),
        (1024**2 - 1, "1.0 MiB"),
        (1024**4, "1.0 TiB"),
        (-2048, "-2.0 KiB"),
        (2**63, "8.0 EiB"),
    ],
)
def test_bytes_read_in_binary_units(n: int, shown: str) -> None:
    assert human_bytes(n) == shown


@pytest.mark.parametrize(
    ("s", "shown"),
    [
        (0, "0.0 s"),
        (0.42, "0.4 s"),
        (9.97, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (3 * 86400 + 4 * 3600, "3 d 4 h"),
        (float("inf"), "forever"),
        (-1, "0.0 s"),
    ],
)
def test_seconds_read_in_the_largest_useful_units(s: float, shown: str) -> None:
    assert human_seconds(s) == shown


def test_the_nearest_name_is_suggested_and_no_far_one() -> None:
    assert suggest("lmstdio", ["huggingface", "lmstudio", "flat"]) == "lmstudio"
    assert suggest("CHAT", ["chat"]) == "chat"
    assert suggest("zebra", ["huggingface", "lmstudio", "flat"]) is None
    assert suggest("x", []) is None


def test_the_nearest_of_ten_thousand_names_is_found() -> None:
    names = [f"model-{n}-7b-instruct" for n in range(10_000)]
    assert suggest("model-4711-7b-instuct", names) == "model-4711-7b-instruct"


def test_letters_of_another_alphabet_are_seen_through() -> None:
    assert confusable("\u0440\u0430ypal", ["paypal", "other"]) == "paypal"
    assert confusable("paypal", ["\u0440\u0430ypal"]) == "\u0440\u0430ypal"
    assert confusable("\u03bfllama", ["ollama"]) == "ollama"
    assert confusable("ollama", ["ollama2", "llama"]) is None
    assert confusable("модель", ["model"]) is None
    assert confusable("A", ["a"]) is None
