from __future__ import annotations

import pytest

from reconciler.errors import InputError
from reconciler.plan import Selection
from reconciler.selecting import check_selection, is_selected_undecided, left_out, scope
from reconciler.state import Address, Desired, Undecided
from tests.world_kit import have, plan, recorded, told, want


def _selected(selection: Selection, desired: list[Desired], places, records):  # type: ignore[no-untyped-def]
    from reconciler.selecting import is_selected

    return told(
        plan(
            [one for one in desired if is_selected(selection, one.address)], places, records,
            scope=scope(desired, (), selection), unselected=tuple(left_out(desired, selection)), whole=False,
        )
    )  # fmt: skip


@pytest.mark.parametrize("pattern", ["m", "m@disk", "*@gone", "gone", "wait", "wait@disk", "open@anywhere", "o*"])
def test_a_pattern_may_name_what_is_declared_recorded_or_undecided(pattern: str) -> None:
    waiting = [Undecided("wait", "disk", "?"), Undecided("open", "", "?")]
    check_selection(Selection((pattern,), (pattern,), (pattern,)), [want("m", "1")], waiting, [Address("gone", "gone")])


def test_a_pattern_that_names_nothing_is_an_error_with_a_hint() -> None:
    with pytest.raises(InputError) as caught:
        check_selection(Selection(("lama",), ("m@elsewhere",), ("zzz",)), [want("llama", "1"), want("m", "1")], [], [])
    said = str(caught.value)
    assert "--target lama: names no variant (did you mean llama?)" in said
    assert "--exclude m@elsewhere: names no variant (it is m@disk)" in said
    assert "--allow-remove zzz: names no variant (there are: llama, m)" in said


def test_what_is_excluded_does_not_count_as_undeclared() -> None:
    m = want("m", {"p": "1"})
    n = want("n", {"q": "2"})
    place = have(files={"p": "1", "q": "2"})
    assert _selected(Selection(exclude=("m",)), [m, n], [place], [recorded(m), recorded(n)]) == {
        "n@disk": "keep as declared"
    }
    assert _selected(Selection(exclude=("n",)), [], [place], [recorded(m), recorded(n)]) == {
        "m@disk": "remove undeclared"
    }


def test_an_old_copy_does_not_leave_before_its_new_place_is_selected() -> None:
    old, new = want("m", {"p": "1"}, at="a"), want("m", {"p": "1"}, at="b")
    places = [have("a", {"p": "1"}), have("b")]
    assert _selected(Selection(target=("m@a",)), [new], places, [recorded(old)]) == {}
    assert _selected(Selection(target=("m@b",)), [new], places, [recorded(old)]) == {"m@b": "normalize link"}
    assert _selected(Selection(target=("m",)), [new], places, [recorded(old)]) == {
        "m@b": "normalize move",
        "m@a": "remove superseded",
    }


def test_what_a_variant_that_is_left_out_wants_is_not_taken_away() -> None:
    gone, wanted = want("gone", {"p": "1", "q": "2"}), want("m", {"p": "1"})
    steps = _selected(Selection(target=("gone",)), [wanted], [have(files={"p": "1"})], [recorded(gone)])
    assert steps == {"gone@disk": "prune duplicate-record"}


def test_a_variant_without_a_place_is_selected_by_its_name() -> None:
    entry = Undecided("m", "", "offline")
    assert is_selected_undecided(Selection(target=("m@disk",)), entry)
    assert not is_selected_undecided(Selection(exclude=("m",)), entry)
    assert not is_selected_undecided(Selection(target=("m@a",)), entry._replace(location="b"))
