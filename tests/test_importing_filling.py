"""What a record adds to a variant that is declared already, and how the text of the manifest grows by it."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.editing import fill_variants
from reconciler.importing.filling import brought, filling, orders
from reconciler.importing.found import Found

TEXT = """\
version: 1
variants:
  one:            # the first
    source: hf:a/one
    backend: vllm   # mine
    metadata:
      notes: mine   # stays

  # above two
  two: {source: hf:a/two, metadata: {x: 1}}
  three:
    source: hf:a/three
"""


def of_record(**record: Any) -> Found:
    return Found({"source": "hf:a/one"}, record=record, roles=("chat",), name="old name")


def test_a_variant_grows_by_what_it_lacks_and_every_other_byte_stays() -> None:
    filled = {
        "one": {"backend": "sglang", "license": "mit", "metadata": {"notes": "theirs", "more": [1, 2]}},
        "two": {"license": "mit", "metadata": {"w": 2}},
        "three": {"metadata": {"z": {"deep": True}}},
        "elsewhere": {"license": "mit"},
    }

    after = fill_variants(TEXT, filled)

    assert after == TEXT.replace(
        "      notes: mine   # stays\n", "      notes: mine   # stays\n      more: [1, 2]\n    license: mit\n"
    ).replace("{x: 1}}", "{x: 1, w: 2}, license: mit}").replace(
        "    source: hf:a/three\n", "    source: hf:a/three\n    metadata:\n      z:\n        deep: true\n"
    )
    assert fill_variants(after, filled) == after


def test_what_the_manifest_says_stays_and_the_difference_is_told() -> None:
    more = filling("one", of_record(backend="vllm", license="mit"), {"backend": "sglang"}, "huggingface", None)

    assert more.added == {"license": "mit"}
    assert more.differs == ("its record says backend vllm, the manifest sglang; the manifest stays as it is",)


@pytest.mark.parametrize(
    ("store", "source", "taken"),
    [
        ("huggingface", "hf:a/one", {"served_as", "license"}),
        ("ollama", "hf:a/one", set()),  # the name and a layer of the model there
        ("ollama", "ollama:one", {"license"}),  # taken whole: the licence is a word in the record
        ("comfyui", "hf:a/one", {"license"}),  # the name of the file
    ],
)
def test_nothing_is_taken_that_would_move_bytes(store: str, source: str, taken: set[str]) -> None:
    more = filling("one", of_record(served_as="uno", license="mit"), {"source": source}, store, None)

    assert set(more.added) == taken


def test_what_the_lock_or_the_name_says_already_is_nothing_new() -> None:
    assert filling("one", of_record(served_as="one", license="mit"), {}, "huggingface", "mit").added == {}


def test_a_person_is_told_what_came_of_which_record() -> None:
    assert brought(of_record(license="mit"), {"license": "mit"}, {}, "one") == (
        "; it gets license, the role chat of its record old name"
    )
    assert brought(of_record(), {}, {"chat": ["one"]}, "one") == ""


def test_an_order_that_the_records_would_turn_around_is_told_and_the_same_order_is_not() -> None:
    ranks = {("chat", "a"): 10, ("chat", "b"): 90, ("chat", "c"): 5}

    assert [row.what for row in orders({"chat": ["a", "b", "c"]}, ranks, "m")] == ["role chat"]
    assert list(orders({"chat": ["b", "mine", "a", "c"]}, ranks, "m")) == []
