from __future__ import annotations

from dataclasses import replace

from reconciler.plan import Action, Reliance
from reconciler.stale import differences
from tests.plan_kit import digest, download, facts, keep, pin, place, plan, remove, row, step

SAVED = plan([download("m@disk"), remove("n@disk"), keep("k@disk")])


def _told(now, saved=SAVED, **more) -> str:  # type: ignore[no-untyped-def]
    return "; ".join(map(str, differences(saved, now, **more)))


def test_the_same_world_fits() -> None:
    assert differences(SAVED, SAVED) == ()


def test_a_changed_manifest_lock_or_registry_is_told() -> None:
    now = replace(SAVED, manifest_digest=digest(8), lock_digest=digest(9), registry_serial=8)
    said = _told(now)
    assert "the manifest changed" in said
    assert "the lock changed" in said
    assert "serial 7 then, serial 8 now" in said


def test_the_registry_may_move_on_by_the_plan_itself() -> None:
    assert _told(replace(SAVED, registry_serial=8), continued=True) == ""


def test_a_lock_that_the_plan_itself_completed_fits() -> None:
    saved = replace(SAVED, resolved={"m": pin()}, lock_digest=None)
    assert _told(SAVED, saved) == ""
    assert "the lock changed" in _told(replace(SAVED, resolved={"m": pin()}), saved)


def test_a_lock_that_was_changed_besides_does_not_fit() -> None:
    saved = replace(SAVED, resolved={"m": pin()}, lock_digest=None)
    other = step("k@disk", Action.DOWNLOAD, "new-revision", after=facts(revision="f" * 40), files=(row(),))
    assert "the lock changed" in _told(plan([*SAVED.steps[:2], other]), saved)


def test_a_step_whose_goal_is_reached_counts_as_done() -> None:
    assert _told(plan([keep("m@disk"), keep("k@disk")])) == ""


def test_a_step_that_would_be_another_now_is_told() -> None:
    now = plan([download("m@disk", reason="corrupt", files=(row(replaces=True),)), *SAVED.steps[1:]])
    assert "planned was download (missing), now it would be download (corrupt)" in _told(now)
    blocked = plan([download("m@disk", blocked="no room"), *SAVED.steps[1:]])
    assert "blocked: no room" in _told(blocked)
    assert "now it would be nothing" in _told(plan(SAVED.steps[1:]))


def test_a_removal_that_would_take_more_now_is_told() -> None:
    more = remove("n@disk", trash=(row("a", 1, "none"), row("b", 2, "none")))
    assert "n@disk: planned was remove" in _told(plan([SAVED.steps[0], more, SAVED.steps[2]]))


def test_what_is_left_of_a_step_that_was_cut_off_goes_on_only_for_the_same_apply() -> None:
    two = (row("a", 1), row("b", 2))
    saved = plan([download("m@disk", files=two)])
    rest = plan([download("m@disk", reason="incomplete", files=(two[0]._replace(method="none"), two[1]))])
    here = plan([replace(rest.steps[0], action=Action.NORMALIZE, files=tuple(r._replace(method="none") for r in two))])
    for now in (rest, here):
        assert _told(now, saved, continued=True) == ""
        assert "m@disk" in _told(now, saved)
    other = plan([download("m@disk", files=(two[0]._replace(replaces=True), two[1]))])
    assert "m@disk" in _told(other, saved, continued=True)


def test_a_file_that_a_step_relies_on_must_be_as_it_was() -> None:
    saved = replace(SAVED, relies_on=(Reliance("disk", "model.gguf", None), Reliance("disk", "elsewhere", (1, 2, 3))))
    now = replace(saved, relies_on=(Reliance("disk", "model.gguf", (1, 2, 3)), Reliance("disk", "elsewhere", None)))
    assert _told(now, saved) == "disk: model.gguf: the file is not as it was (plan again)"
    assert _told(replace(now, steps=(keep("m@disk"), keep("k@disk"))), saved) == ""


def test_another_disk_at_the_same_place_is_told() -> None:
    assert "id of another" not in _told(SAVED)
    swapped = replace(SAVED, locations={"disk": place("/srv/disk", id="another", device=7)})
    assert "the location changed since the plan was made: id id-of-/srv/disk then, id another now" in _told(swapped)
    elsewhere = replace(SAVED, locations={"disk": place("/mnt/disk", device=7)})
    assert "/srv/disk then, /mnt/disk now" in _told(elsewhere)
