from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler import decide
from reconciler.safety import Limits, selects
from reconciler.state import Address
from tests.world_kit import MIB, have, methods, plan, recorded, told, want

BIG = f"big*{3 * MIB}"
SHARE = Limits(0.3, 0)


def _managed(count: int):  # type: ignore[no-untyped-def]
    wants = [want(f"v{n}", f"bytes{n}") for n in range(count)]
    place = have(files={f"v{n}.gguf": f"bytes{n}" for n in range(count)})
    return wants, place, [recorded(one) for one in wants]


def test_a_protected_variant_is_not_removed_though_its_declaration_is_gone() -> None:
    m = want("m", "abc", protect=True)
    place = have(files={"m.gguf": "abc"})
    steps = plan([], [place], [recorded(m)])
    assert told(steps) == {"m@disk": "remove undeclared!"}
    assert "--allow-remove m@disk" in str(steps["m@disk"].blocked)
    assert told(plan([], [place], [recorded(m)], allow=("m",))) == {"m@disk": "remove undeclared"}


def test_protection_is_lifted_by_declaring_so() -> None:
    m = want("m", "abc")
    steps = plan([m], [have(files={"m.gguf": "abc"})], [recorded(m, protect=True)])
    assert told(steps) == {"m@disk": "normalize metadata"}


def test_a_protected_record_is_not_dropped_because_another_holds_its_files() -> None:
    m, n = want("m", {"p": "1"}, protect=True), want("n", {"p": "1"})
    steps = plan([n], [have(files={"p": "1"})], [recorded(m), recorded(n)])
    assert told(steps)["m@disk"] == "prune duplicate-record!"


def test_a_protected_record_whose_files_are_gone_protects_nothing() -> None:
    assert told(plan([], [have()], [recorded(want("m", "abc", protect=True))])) == {"m@disk": "prune stale-record"}


def test_a_protected_variant_keeps_its_files_when_it_is_declared_with_others() -> None:
    was, now = want("m", {"q4.gguf": "abc"}, protect=True), want("m", {"q8.gguf": "xyz"}, protect=True)
    place = have(files={"q4.gguf": "abc"})
    steps = plan([now], [place], [recorded(was)])
    assert told(steps) == {"m@disk": "download missing!"}
    assert "protected, and q4.gguf would go to the trash" in str(steps["m@disk"].blocked)
    assert told(plan([now], [place], [recorded(was)], allow=("m",))) == {"m@disk": "download missing"}
    freed = want("m", {"q8.gguf": "xyz"})
    assert told(plan([freed], [place], [recorded(was)])) == {"m@disk": "download missing"}


def test_a_variant_that_gives_up_all_its_files_counts_as_a_removal() -> None:
    was = [want(f"v{n}", {f"{n}-q4.gguf": f"old{n}"}) for n in range(4)]
    now = [want(f"v{n}", {f"{n}-q8.gguf": f"new{n}"}) for n in range(4)]
    place = have(files={f"{n}-q4.gguf": f"old{n}" for n in range(4)})
    steps = plan(now, [place], [recorded(one) for one in was], limits=SHARE)
    assert set(told(steps).values()) == {"download missing!"}
    assert "4 of 4 managed variants" in str(steps["v0@disk"].blocked)
    some = plan([now[0], *was[1:]], [place], [recorded(one) for one in was], limits=SHARE)
    assert told(some)["v0@disk"] == "download missing"


def test_too_many_removals_are_blocked_together_and_the_rest_goes_on() -> None:
    wants, place, records = _managed(4)
    steps = plan([*wants[2:], want("new", BIG)], [place], records, limits=SHARE)
    assert told(steps) == {
        "new@disk": "download missing", "v0@disk": "remove undeclared!", "v1@disk": "remove undeclared!",
        "v2@disk": "keep as declared", "v3@disk": "keep as declared",
    }  # fmt: skip
    assert "2 of 4 managed variants, more than policy.max_remove 30%" in str(steps["v0@disk"].blocked)


def test_as_many_removals_as_the_policy_allows_run() -> None:
    wants, place, records = _managed(4)
    assert told(plan(wants[1:], [place], records, limits=SHARE))["v0@disk"] == "remove undeclared"


def test_an_empty_manifest_removes_nothing_once_four_are_managed() -> None:
    for count, mark in ((3, ""), (4, "!")):
        _, place, records = _managed(count)
        steps = plan([], [place], records, limits=SHARE)
        assert set(told(steps).values()) == {f"remove undeclared{mark}"}


def test_removals_that_were_allowed_by_address_do_not_count() -> None:
    wants, place, records = _managed(4)
    steps = plan(wants[2:], [place], records, limits=SHARE, allow=("v0@*",))
    assert told(steps)["v0@disk"] == told(steps)["v1@disk"] == "remove undeclared"


def test_moves_and_records_without_files_do_not_count_as_removals() -> None:
    wants, place, records = _managed(4)
    moved = [want(f"v{n}", {f"v{n}.gguf": f"bytes{n}"}, at="b") for n in range(4)]
    steps = plan(moved, [place, have("b")], records, limits=SHARE)
    assert not any(step.blocked for step in steps.values())
    gone = plan(wants[2:], [replace(place, files={k: v for k, v in place.files.items() if k > "v1.gguf"})], records,
                limits=SHARE)  # fmt: skip
    assert not any(step.blocked for step in gone.values())


def test_what_does_not_fit_is_blocked_and_what_does_goes_on() -> None:
    wants = [want("a", f"a*{5 * MIB}"), want("b", f"b*{50 * MIB}"), want("c", f"c*{4 * MIB}")]
    steps = plan(wants, [have(free_bytes=20 * MIB)], limits=Limits(1.0, 10 * MIB))
    assert {where: bool(step.blocked) for where, step in steps.items()} == {
        "a@disk": False, "b@disk": True, "c@disk": False,
    }  # fmt: skip
    assert "needs 50.0 MiB, 15.0 MiB free with policy.min_free 10.0 MiB" in str(steps["b@disk"].blocked)


def test_room_is_counted_by_file_system_not_by_location() -> None:
    places = [have("x", free_bytes=6 * MIB), have("y", free_bytes=6 * MIB), have("z", free_bytes=6 * MIB, device=2)]
    wants = [want(name, f"{name}*{4 * MIB}", at=name) for name in "xyz"]
    assert [bool(step.blocked) for step in plan(wants, places).values()] == [False, True, False]


def test_links_take_no_room_and_copies_do() -> None:
    m = want("m", {"p": BIG})
    wants = [m, want("link", {"q": BIG}), want("copy", {"r": BIG}, at="far")]
    places = [have(files={"p": BIG}, free_bytes=0), have("far", device=2, free_bytes=0)]
    steps = plan(wants, places, [recorded(m)])
    assert told(steps) == {"copy@far": "normalize copy!", "link@disk": "normalize link", "m@disk": "keep as declared"}


def test_what_counted_on_a_download_that_does_not_fit_is_planned_anew() -> None:
    wants = [want("a", {"p": BIG}, at="full"), want("b", {"q": BIG})]
    steps = plan(wants, [have("full", free_bytes=0, device=2), have()])
    assert methods(steps["b@disk"]) == {"q": "fetch"}


def test_a_copy_that_fits_nowhere_else_stays_where_it_is() -> None:
    old, new = want("m", {"p": BIG}, at="a"), want("m", {"p": BIG}, at="b")
    roomy, full = have("b", device=2), have("b", device=2, free_bytes=0)
    assert told(plan([new], [have("a", {"p": BIG}), roomy], [recorded(old)])) == {
        "m@a": "remove superseded", "m@b": "normalize move",
    }  # fmt: skip
    steps = plan([new], [have("a", {"p": BIG}), full], [recorded(old)])
    assert told(steps) == {"m@a": "remove superseded!", "m@b": "normalize move!"}
    assert "new place is blocked" in str(steps["m@a"].blocked)


def test_a_copy_stays_while_upstream_refuses_what_its_new_place_needs() -> None:
    old, new = want("m", {"p": "1"}, at="a"), want("m", {"p": "2"}, at="b")
    chain = [want(f"v{n}", {"p": BIG}, at=f"d{n}") for n in range(7)]
    full = [have(f"d{n}", free_bytes=0, device=n + 3) for n in range(7)]
    steps = plan([new, *chain], [have("a", {"p": "1"}), have("b"), *full], [recorded(old)], refused={"m": "gated"})
    assert told(steps)["m@a"] == "remove superseded!"


def test_files_of_a_copy_that_stays_leave_with_nobody_else_also_where_the_rounds_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decide, "_ROUNDS", 1)
    old, new, other = want("m", {"p": "1"}, at="a"), want("m", {"p": "2"}, at="b"), want("x", {"p": "1"}, at="a")
    places, records = [have("a", {"p": "1"}), have("b")], [recorded(old), recorded(other)]
    control = plan([new], places, records)
    assert [row.path for row in control["x@a"].trash] == ["p"]
    assert not control["x@a"].blocked
    steps = plan([new], places, records, refused={"m": "gated"})
    assert "new place is blocked" in str(steps["m@a"].blocked)
    assert "counts on" in str(steps["x@a"].blocked)


def test_a_chain_of_full_disks_ends_in_blocked_steps_and_never_in_a_step_without_bytes() -> None:
    names = [f"d{n}" for n in range(7)]
    places = [have(name, free_bytes=0, device=n) for n, name in enumerate(names)]
    steps = plan([want(f"v{n}", {"p": BIG}, at=name) for n, name in enumerate(names)], places)
    assert all(step.blocked for step in steps.values())


def test_addresses_are_named_by_globs_over_the_whole_or_the_variant() -> None:
    address = Address("llama-3", "disk")
    assert all(selects([pattern], address) for pattern in ("llama-*", "*@disk", "llama-3@disk", "llama-3"))
    assert not any(selects([pattern], address) for pattern in ("disk", "llama", "*@other"))
