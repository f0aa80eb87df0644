"""Drift beside the plan: which record belongs to which step, and what counts as worst."""

from __future__ import annotations

from plan_kit import keep, pin, plan, remove, step

from reconciler.content import Held
from reconciler.drift import counts, rows
from reconciler.plan import Action
from reconciler.state import Address, Attributes, Record
from reconciler.verify import Finding, Verdict


def held(address: str, location: str = "") -> Held:
    variant, _, place = address.partition("@")
    record = Record(Address(variant, place), "box", pin(), "home", (), (), (), Attributes())
    return Held(record, location or place)


def finding(address: str, verdict: Verdict, path: str = "model.gguf") -> Finding:
    variant, _, place = address.partition("@")
    return Finding(Address(variant, place), path, verdict)


def test_a_variant_is_what_the_worst_of_its_files_is() -> None:
    found = [finding("a@w", "ok"), finding("a@w", "corrupt", "x"), finding("a@w", "missing", "y")]

    [row] = rows(plan([keep("a@w")]), [held("a@w")], found)

    assert row.drift == "missing"
    assert [bad.path for bad in row.bad] == ["x", "y"]


def test_unreadable_is_worse_than_missing() -> None:
    [row] = rows(plan([keep("a@w")]), [held("a@w")], [finding("a@w", "missing"), finding("a@w", "unreadable")])

    assert row.drift == "unreadable"


def test_what_is_not_recorded_has_no_drift() -> None:
    [row] = rows(plan([step("a@w", Action.DOWNLOAD, "missing")]), [], [])

    assert (row.drift, row.has_drifted) == ("-", False)


def test_a_step_that_renames_speaks_of_the_record_under_its_old_name() -> None:
    renaming = step("new@w", Action.NORMALIZE, "rename", renamed_from=Address("old", "w"))

    [row] = rows(plan([renaming]), [held("old@w")], [finding("old@w", "corrupt")])

    assert (str(row.address), row.drift) == ("new@w", "modified")


def test_a_record_of_a_location_that_is_called_otherwise_now_is_found_by_its_label() -> None:
    [row] = rows(plan([keep("a@weights")]), [held("a@w", "weights")], [finding("a@w", "missing")])

    assert (str(row.address), row.drift) == ("a@weights", "missing")


def test_a_record_that_no_step_speaks_of_is_listed_too() -> None:
    found = rows(plan([keep("a@w")]), [held("a@w"), held("b@w")], [finding("a@w", "ok"), finding("b@w", "missing")])

    assert [(str(row.address), row.drift, row.step is None) for row in found] == [
        ("a@w", "ok", False),
        ("b@w", "missing", True),
    ]


def test_a_record_without_files_is_as_it_was() -> None:
    [row] = rows(plan([keep("a@w")]), [held("a@w")], [])

    assert row.drift == "ok"


def test_rows_stand_by_location_then_name_and_are_counted() -> None:
    steps = [remove("b@z"), keep("c@a"), keep("a@z")]

    found = rows(plan(steps), [held("b@z"), held("c@a")], [finding("b@z", "corrupt")])

    assert [str(row.address) for row in found] == ["c@a", "a@z", "b@z"]
    assert counts(found) == {"unreadable": 0, "missing": 0, "modified": 1, "ok": 1, "-": 1}


def test_debris_and_entries_of_others_are_no_variants() -> None:
    steps = [keep("a@w"), step(".reconciler@w", Action.PRUNE, "partial"), step("old@.registry", Action.PRUNE, "gone")]

    found = rows(plan(steps), [held("a@w")], [])

    assert len(found) == 3
    assert {kind: count for kind, count in counts(found).items() if count} == {"ok": 1}
