from __future__ import annotations

from dataclasses import replace

from reconciler.diff import questions
from reconciler.reuse import WORTH_READING
from tests.world_kit import MIB, file, have, methods, plan, recorded, told, want, world

BIG = f"big*{3 * MIB}"


def test_one_download_serves_two_variants() -> None:
    steps = plan([want("m", {"p": BIG}), want("n", {"q": BIG})])
    assert methods(steps["m@disk"]) == {"p": "fetch"}
    assert methods(steps["n@disk"]) == {"q": "link disk:p"}
    assert steps["n@disk"].bytes.reuse == 3 * MIB


def test_one_variant_may_hold_the_same_bytes_twice() -> None:
    steps = plan([want("m", {"p": BIG, "q": BIG})])
    assert methods(steps["m@disk"]) == {"p": "fetch", "q": "link disk:p"}


def test_two_variants_may_share_a_path_with_the_same_bytes() -> None:
    steps = plan([want("m", {"p": BIG}), want("n", {"p": BIG, "q": BIG})])
    assert methods(steps["n@disk"]) == {"p": "none disk:p", "q": "link disk:p"}


def test_a_shared_path_is_placed_once_even_where_the_bytes_come_from_a_third() -> None:
    steps = plan([want("a", {"x": BIG}), want("b", {"p": BIG}), want("c", {"p": BIG})])
    assert methods(steps["b@disk"]) == {"p": "link disk:x"}
    assert methods(steps["c@disk"]) == {"p": "none disk:p"}


def test_a_shared_path_is_replaced_once() -> None:
    old, new = [want(v, {"p": "old"}) for v in "mn"], [want(v, {"p": "new!"}, revision="r2") for v in "mn"]
    steps = plan(new, [have(files={"p": "old"})], map(recorded, old))
    assert told(steps) == {"m@disk": "download new-revision", "n@disk": "normalize record"}
    assert [step.bytes.trash for step in steps.values()] == [3, 0] or steps["n@disk"].bytes.trash == 0


def test_a_shared_path_that_is_gone_comes_back_once_and_both_records_learn_of_it() -> None:
    both = [want("m", {"p": BIG}), want("n", {"p": BIG})]
    assert told(plan(both, [have()], map(recorded, both))) == {
        "m@disk": "download missing",
        "n@disk": "normalize record",
    }


def test_nobody_counts_on_a_blocked_step() -> None:
    steps = plan([want("m", {"p": BIG}, blocked="no"), want("n", {"q": BIG})])
    assert methods(steps["n@disk"]) == {"q": "fetch"}
    steps = plan([want("m", {"p": BIG}), want("n", {"q": BIG})], refused={"m": "gated"})
    assert methods(steps["n@disk"]) == {"q": "fetch"}


def test_bytes_come_back_from_the_trash() -> None:
    steps = plan([want("m", {"p": BIG}), want("n", {"q": BIG})], [have(trash=[BIG])])
    assert methods(steps["m@disk"]) == {"p": "move disk:trash/0000"}
    assert methods(steps["n@disk"]) == {"q": "link disk:p"}


def test_of_equal_files_in_the_trash_each_comes_back_to_its_own_place() -> None:
    place = have(trash=[BIG, BIG])
    old, new = place.trash
    place = replace(place, trash=(old._replace(path="p"), new._replace(path="q")))
    steps = plan([want("m", {"p": BIG}), want("n", {"q": BIG})], [place])
    assert methods(steps["m@disk"]) == {"p": f"move disk:trash/{old.name}"}
    assert methods(steps["n@disk"]) == {"q": f"move disk:trash/{new.name}"}


def test_a_blocked_variant_leaves_the_trash_to_others() -> None:
    steps = plan([want("m", {"p": BIG}, blocked="no"), want("n", {"q": BIG})], [have(trash=[BIG])])
    assert methods(steps["n@disk"]) == {"q": "move disk:trash/0000"}


def test_the_nearest_copy_is_taken_and_managed_ones_first() -> None:
    far = have("far", {"p": BIG}, device=2)
    near = have("near", {"z": BIG})
    records = [recorded(want("m", {"p": BIG}, at="far"))]
    both = [far, near, have()]
    wants = [want("m", {"p": BIG}, at="far"), want("n", {"q": BIG})]
    assert methods(plan(wants, both, records)["n@disk"]) == {"q": "copy far:p"}
    assert methods(plan(wants, both, records, {"near:z": BIG})["n@disk"]) == {"q": "link near:z"}
    more = [*records, recorded(want("k", {"zz": BIG}, at="near"))]
    both[1] = have("near", {"z": BIG, "zz": BIG})
    wants.append(want("k", {"zz": BIG}, at="near"))
    assert methods(plan(wants, both, more, {"near:z": BIG})["n@disk"]) == {"q": "link near:zz"}


def test_a_copy_that_was_just_made_is_linked_rather_than_copied_again() -> None:
    wants = [want("m", {"p": BIG}, at="far"), want("n", {"q": BIG}), want("o", {"r": BIG})]
    steps = plan(wants, [have("far", {"p": BIG}, device=2), have()], [recorded(wants[0])])
    assert methods(steps["n@disk"]) == {"q": "copy far:p"}
    assert methods(steps["o@disk"]) == {"r": "link disk:q"}


def test_bytes_that_are_about_to_be_replaced_serve_nobody() -> None:
    """A naive planner links each from the other: two steps that wait for each other, or that link the new bytes."""
    old = [want("m", {"p": "one"}), want("n", {"q": "two"})]
    new = [want("m", {"p": "two"}, revision="r2"), want("n", {"q": "one"}, revision="r2")]
    steps = plan(new, [have(files={"p": "one", "q": "two"})], map(recorded, old))
    assert [methods(step) for step in steps.values()] == [{"p": "fetch"}, {"q": "fetch"}]


def test_a_file_renamed_inside_a_variant_is_linked_before_the_old_name_leaves() -> None:
    old, new = want("m", {"a": BIG}), want("m", {"b": BIG, "c": "x"}, revision="r2")
    step = plan([new], [have(files={"a": BIG})], [recorded(old)])["m@disk"]
    assert methods(step) == {"b": "link disk:a", "c": "fetch"}
    assert [row.path for row in step.trash] == ["a"]


def test_another_variant_does_not_take_what_a_step_drops_while_it_brings_in() -> None:
    old, new = want("m", {"a": BIG}), want("m", {"c": "x"}, revision="r2")
    steps = plan([new, want("n", {"q": BIG})], [have(files={"a": BIG})], [recorded(old)])
    assert methods(steps["n@disk"]) == {"q": "fetch"}
    narrowed = plan([want("m", {"k": "1"}), want("n", {"q": BIG})], [have(files={"a": BIG, "k": "1"})],
                    [recorded(want("m", {"a": BIG, "k": "1"}))])  # fmt: skip
    assert methods(narrowed["n@disk"]) == {"q": "link disk:a"}  # removals come last


def test_a_local_source_is_copied() -> None:
    steps = plan([want("m", {"p": "abc"}, url="file:///models/p")])
    assert methods(steps["m@disk"]) == {"p": "copy file:///models/p"}


def test_files_of_the_right_size_are_read_when_they_are_worth_it() -> None:
    small, large = f"s*{WORTH_READING - 1}", f"l*{WORTH_READING}"
    place = have(files={"x": small, "y": large, "z": f"other*{WORTH_READING}"})
    asked = questions(world([want("m", {"p": small}), want("n", {"q": large})], [place]))
    assert [question.file.path for question in asked] == ["y", "z"]


def test_nothing_is_read_for_bytes_that_are_known_to_be_here() -> None:
    here = want("m", {"p": BIG})
    place = have(files={"p": BIG, "x": f"other*{3 * MIB}"})
    assert questions(world([here, want("n", {"q": BIG})], [place], [recorded(here)])) == ()


def test_an_unreadable_location_provides_nothing() -> None:
    away = replace(have("away", readable=False), files={})
    steps = plan([want("n", {"q": BIG})], [away, have()], [recorded(want("m", {"p": BIG}, at="away"))])
    assert methods(steps["n@disk"]) == {"q": "fetch"}


def test_a_changed_file_provides_nothing() -> None:
    place = replace(have(), files={"p": file("p", BIG, mark=1)})
    m = want("m", {"p": BIG})
    steps = plan([m, want("n", {"q": BIG})], [place], [recorded(m)], {"disk:p": f"rot*{3 * MIB}"})
    assert methods(steps["n@disk"]) == {"q": "link disk:p"}  # once m is mended
    assert told(steps)["m@disk"] == "download corrupt"
