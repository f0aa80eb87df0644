from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.content import Question
from reconciler.diff import questions
from reconciler.plan import Action, Bytes
from reconciler.state import Address, Attributes, Link, Note, Seen, Undecided
from tests.world_kit import MIB, file, have, methods, plan, recorded, told, want, world

BIG = f"big*{3 * MIB}"


# -- what comes --------------------------------------------------------------------------------------------------------


def test_what_is_not_there_is_downloaded() -> None:
    steps = plan([want("m", BIG)])
    assert told(steps) == {"m@disk": "download missing"}
    assert methods(steps["m@disk"]) == {"m.gguf": "fetch"}
    assert steps["m@disk"].bytes == Bytes(download=3 * MIB)


def test_what_stands_as_recorded_is_kept() -> None:
    m = want("m", BIG)
    steps = plan([m], [have(files={"m.gguf": BIG})], [recorded(m)])
    assert told(steps) == {"m@disk": "keep as declared"}


def test_the_wanted_bytes_at_the_wanted_path_are_adopted() -> None:
    steps = plan([want("m", BIG)], [have(files={"m.gguf": BIG})], reads={"disk:m.gguf": BIG})
    assert told(steps) == {"m@disk": "normalize adopt"}
    assert steps["m@disk"].bytes == Bytes()


def test_other_bytes_at_the_wanted_path_are_blocked_and_never_replaced() -> None:
    steps = plan([want("m", "mine")], [have(files={"m.gguf": "other"})])
    assert told(steps) == {"m@disk": "download missing!"}
    assert not steps["m@disk"].files[0].replaces
    assert "not ours" in str(steps["m@disk"].blocked)


def test_a_half_downloaded_file_of_another_program_is_named_so() -> None:
    steps = plan([want("m", "mine")], [have(files={"m.gguf": "m", "m.gguf.aria2": "?"})])
    assert "half downloaded by another program" in str(steps["m@disk"].blocked)


def test_a_new_revision_replaces_ours_and_the_old_one_goes_to_the_trash() -> None:
    old, new = want("m", "old", revision="r1"), want("m", "newer", revision="r2")
    step = plan([new], [have(files={"m.gguf": "old"})], [recorded(old)])["m@disk"]
    assert (step.action, step.reason, step.files[0].replaces) == (Action.DOWNLOAD, "new-revision", True)
    assert step.bytes == Bytes(download=5, trash=3)


def test_bytes_that_are_neither_recorded_nor_wanted_are_corrupt() -> None:
    m = want("m", "abc")
    steps = plan([m], [have(files={"m.gguf": "abX"})], [recorded(m)], {"disk:m.gguf": "abX"})
    assert told(steps) == {"m@disk": "download corrupt"}


def test_a_touched_file_with_the_recorded_bytes_is_kept() -> None:
    m = want("m", "abc")
    touched = replace(have(), files={"m.gguf": file("m.gguf", "abc", mark=1)})
    assert questions(world([m], [touched], [recorded(m)])) == (
        Question("disk", file("m.gguf", "abc", mark=1), "sha256"),
    )
    assert told(plan([m], [touched], [recorded(m)], {"disk:m.gguf": "abc"})) == {"m@disk": "keep as declared"}


def test_a_file_that_cannot_be_read_blocks_and_is_not_called_somebody_elses() -> None:
    steps = plan([want("m", "abc")], [have(files={"m.gguf": "abc"})])  # nobody answered: it could not be read
    assert "cannot be read" in str(steps["m@disk"].blocked)


def test_what_is_staged_is_not_downloaded_again() -> None:
    step = plan([want("m", BIG)], [have(staged={BIG: MIB})])["m@disk"]
    assert (step.reason, step.bytes.download) == ("incomplete", 2 * MIB)


def test_a_variant_that_must_not_come_is_blocked() -> None:
    assert plan([want("m", "abc", blocked="pickle files")])["m@disk"].blocked == "pickle files"
    assert plan([want("m", "abc")], refused={"m": "gated"})["m@disk"].blocked == "gated"


def test_a_claim_that_the_recorded_bytes_contradict_is_blocked() -> None:
    m = want("m", "abc", format="gguf", quant="Q4_K_M")
    record = recorded(m, format="gguf", quant="q8_0")
    assert "the bytes say q8_0" in str(plan([m], [have(files={"m.gguf": "abc"})], [record])["m@disk"].blocked)
    fine = recorded(m, format="GGUF", quant="q4_k_m")
    assert told(plan([m], [have(files={"m.gguf": "abc"})], [fine])) == {"m@disk": "keep as declared"}


def test_a_claim_about_which_the_bytes_said_nothing_is_recorded() -> None:
    m = want("m", "abc", quant="awq")
    steps = plan([m], [have(files={"m.gguf": "abc"})], [recorded(m, backend=None)])
    assert told(steps) == {"m@disk": "normalize metadata"}


@pytest.mark.parametrize(
    ("said", "reason"),
    [({"roles": (("chat", 2),)}, "role"), ({"backend": "vllm"}, "metadata"), ({"metadata": {"k": [1]}}, "metadata")],
)
def test_changed_attributes_change_the_record_alone(said: dict[str, object], reason: str) -> None:
    m = want("m", "abc")
    steps = plan([replace(m, attributes=Attributes(**said))], [have(files={"m.gguf": "abc"})], [recorded(m)])  # type: ignore[arg-type]
    assert told(steps) == {"m@disk": f"normalize {reason}"}
    assert steps["m@disk"].bytes == Bytes()


def test_a_widened_policy_brings_the_files_that_were_left_out() -> None:
    had, has = want("m", {"m.safetensors": "a"}), want("m", {"m.safetensors": "a", "m.bin": "bb"})
    steps = plan([has], [have(files={"m.safetensors": "a"})], [recorded(had)])
    assert told(steps) == {"m@disk": "download incomplete"}
    assert steps["m@disk"].bytes.download == 2


# -- what a variant drops ----------------------------------------------------------------------------------------------


def test_files_that_a_variant_does_not_ask_for_any_more_leave() -> None:
    had, has = want("m", {"a": "1", "b": "22"}), want("m", {"a": "1"})
    steps = plan([has], [have(files={"a": "1", "b": "22"})], [recorded(had)])
    assert told(steps) == {"m@disk": "remove superseded"}
    assert steps["m@disk"].after is not None
    assert [row.path for row in steps["m@disk"].trash] == ["b"]


def test_a_dropped_file_that_was_changed_stays_and_blocks() -> None:
    had, has = want("m", {"a": "1", "b": "22"}), want("m", {"a": "1"})
    steps = plan([has], [have(files={"a": "1", "b": "2X"})], [recorded(had)], {"disk:b": "2X"})
    assert told(steps) == {"m@disk": "remove superseded!"}
    assert "changed since it was placed: b" in str(steps["m@disk"].blocked)


def test_a_dropped_file_that_another_variant_wants_stays() -> None:
    had, has, other = want("m", {"a": "1", "b": "22"}), want("m", {"a": "1"}), want("n", {"b": "22"})
    steps = plan([has, other], [have(files={"a": "1", "b": "22"})], [recorded(had)])
    assert told(steps) == {"m@disk": "normalize record", "n@disk": "normalize adopt"}


# -- what goes ---------------------------------------------------------------------------------------------------------


def test_what_nobody_declares_any_more_goes_to_the_trash() -> None:
    m = want("m", "abc")
    steps = plan([], [have(files={"m.gguf": "abc", "mine": "x"})], [recorded(m)])
    assert told(steps) == {"m@disk": "remove undeclared"}
    assert [row.path for row in steps["m@disk"].trash] == ["m.gguf"]


def test_what_is_not_managed_is_in_no_step() -> None:
    assert plan([], [have(files={"mine": "x"})]) == {}


def test_a_changed_file_is_not_removed() -> None:
    steps = plan([], [have(files={"m.gguf": "abX"})], [recorded(want("m", "abc"))], {"disk:m.gguf": "abX"})
    assert told(steps) == {"m@disk": "remove undeclared!"}


def test_a_record_whose_files_are_gone_is_pruned() -> None:
    assert told(plan([], [have()], [recorded(want("m", "abc"))])) == {"m@disk": "prune stale-record"}


def test_a_record_whose_files_others_hold_is_pruned_and_the_files_stay() -> None:
    m, n = want("m", {"p": "1"}), want("n", {"p": "1"})
    steps = plan([n], [have(files={"p": "1"})], [recorded(m), recorded(n)])
    assert told(steps) == {"m@disk": "prune duplicate-record", "n@disk": "keep as declared"}
    assert not steps["m@disk"].trash


def test_a_file_of_two_records_that_both_leave_is_trashed_once() -> None:
    m, n = want("m", {"p": "1"}), want("n", {"p": "1"})
    steps = plan([], [have(files={"p": "1"})], [recorded(m), recorded(n)])
    assert [len(step.trash) for step in steps.values()].count(1) == 1
    assert not any(step.blocked for step in steps.values())


def test_a_file_of_two_records_stays_while_one_of_them_is_protected() -> None:
    m, n = want("m", {"p": "1"}, protect=True), want("n", {"p": "1"})
    for first, second in ((m, n), (replace(n, attributes=m.attributes), replace(m, attributes=n.attributes))):
        steps = plan([], [have(files={"p": "1"})], [recorded(first), recorded(second)])
        assert sum(bool(step.blocked) for step in steps.values()) == 1
        assert not [step for step in steps.values() if step.trash and not step.blocked]


def test_a_blocked_removal_still_provides_bytes() -> None:
    m, n = want("m", {"p": BIG}, protect=True), want("n", {"q": BIG})
    steps = plan([n], [have(files={"p": BIG})], [recorded(m)])
    assert told(steps) == {"m@disk": "remove undeclared!", "n@disk": "normalize link"}


def test_a_record_of_the_same_source_as_a_variant_that_cannot_be_planned_stays() -> None:
    m = want("m", "abc", source="hf:own/x")
    unplanned = Undecided("renamed", "disk", "offline", "hf:own/x")
    steps = plan([], [have(files={"m.gguf": "abc"})], [recorded(m)], undecided=(unplanned,))
    assert told(steps) == {"m@disk": "remove undeclared!", "renamed@disk": "download missing!"}
    other = Undecided("another", "disk", "offline", "hf:own/y")
    steps = plan([], [have(files={"m.gguf": "abc"})], [recorded(m)], undecided=(other,))
    assert told(steps)["m@disk"] == "remove undeclared"


def test_an_undecided_variant_never_counts_as_undeclared() -> None:
    m = want("m", "abc")
    steps = plan([], [have(files={"m.gguf": "abc"})], [recorded(m)], undecided=(Undecided("m", "", "offline"),))
    assert told(steps) == {"m@disk": "keep undecided!"}


def test_the_manifest_may_be_empty() -> None:
    records = [recorded(want(name, name)) for name in "abc"]
    steps = plan([], [have(files={f"{name}.gguf": name for name in "abc"})], records)
    assert {step.action for step in steps.values()} == {Action.REMOVE}


# -- moves and names ---------------------------------------------------------------------------------------------------


def test_a_variant_that_moved_is_linked_and_its_old_copy_leaves_after() -> None:
    old, new = want("m", {"p": BIG}, at="a"), want("m", {"p": BIG}, at="b")
    steps = plan([new], [have("a", {"p": BIG}), have("b")], [recorded(old)])
    assert told(steps) == {"m@a": "remove superseded", "m@b": "normalize move"}
    assert methods(steps["m@b"]) == {"p": "link a:p"}


def test_a_copy_on_another_file_system_is_a_copy() -> None:
    steps = plan(
        [want("m", {"p": BIG}, at="b")],
        [have("a", {"p": BIG}), have("b", device=2)],
        [recorded(want("m", {"p": BIG}, at="a"))],
    )
    assert methods(steps["m@b"]) == {"p": "copy a:p"}


def test_the_old_copy_stays_while_the_new_place_is_blocked() -> None:
    old, new = want("m", {"p": "1"}, at="a"), want("m", {"p": "1"}, at="b")
    steps = plan([new], [have("a", {"p": "1"}), have("b", {"p": "theirs"})], [recorded(old)])
    assert told(steps) == {"m@a": "remove superseded!", "m@b": "download missing!"}


def test_a_new_name_for_the_same_content_in_the_same_place_is_a_rename() -> None:
    old, new = want("m", {"p": "1"}), want("n", {"p": "1"})
    steps = plan([new], [have(files={"p": "1"})], [recorded(old)])
    assert told(steps) == {"n@disk": "normalize rename"}
    assert steps["n@disk"].renamed_from == Address("m", "disk")


def test_a_location_renamed_in_the_manifest_moves_records_only() -> None:
    record = recorded(want("m", {"p": "1"}, at="was"), root="/srv/now")
    place = replace(have("now"), files={"p": file("p", "1", at="was")})
    steps = plan([want("m", {"p": "1"}, at="now")], [place], [record])
    assert told(steps) == {"m@now": "normalize record"}
    assert steps["m@now"].renamed_from == Address("m", "was")


def test_a_location_below_the_root_it_had_does_not_lose_its_files() -> None:
    old = recorded(want("m", {"sub/p": "1"}, at="was"), root="/srv")
    new = want("m", {"p": "1"}, at="now")
    upper = replace(have("was", {"sub/p": "1"}), root="/srv")
    lower = replace(have("now", {"p": "1"}), root="/srv/sub")
    steps = plan([new], [upper, lower], [old], {"now:p": "1"})
    assert told(steps) == {"m@now": "normalize adopt", "m@was": "prune duplicate-record"}


# -- what cannot be seen -----------------------------------------------------------------------------------------------


def test_an_unreadable_location_is_neither_empty_nor_emptied() -> None:
    m, n = want("m", "abc"), want("n", "def")
    away = have(readable=False, why="is the disk mounted?")
    steps = plan([m], [away], [recorded(m), recorded(n)])
    assert told(steps) == {"m@disk": "keep unreadable!", "n@disk": "keep unreadable!"}


HIDDEN = {"dir": "cannot be read: Permission denied"}


def test_below_a_directory_that_cannot_be_read_nothing_is_downloaded_removed_or_pruned() -> None:
    wanted, undeclared = want("m", {"dir/a": "1"}), want("n", {"dir/sub/b": "2", "c": "3"})
    steps = plan([wanted], [have(files={"c": "3"}, others=HIDDEN)], [recorded(wanted), recorded(undeclared)])
    assert told(steps) == {"m@disk": "keep unreadable!", "n@disk": "keep unreadable!"}
    assert "dir cannot be read: Permission denied" in str(steps["n@disk"].blocked)
    assert told(plan([want("new", {"dir/x": "1"})], [have(others=HIDDEN)])) == {"new@disk": "keep unreadable!"}


def test_dropped_files_below_a_directory_that_cannot_be_read_keep_their_record() -> None:
    had, has = want("m", {"a": "1", "dir/b": "2"}), want("m", {"a": "1"})
    assert told(plan([has], [have(files={"a": "1"}, others=HIDDEN)], [recorded(had)])) == {"m@disk": "keep unreadable!"}


def test_a_pipe_is_in_the_way_and_hides_nothing() -> None:
    steps = plan([want("m", {"p": "1"})], [have(others={"p": "a pipe"})])
    assert "in the way is a pipe" in str(steps["m@disk"].blocked)


@pytest.mark.parametrize(
    "place", [have(files={"p/x": "1"}), have(files={}, links={"p": "/etc"}), have(files={}, empty_dirs=("p",))]
)
def test_what_stands_in_the_way_is_named(place: object) -> None:
    assert "in the way" in str(plan([want("m", {"p": "1"})], [place])["m@disk"].blocked)  # type: ignore[list-item]


# -- shared stores -----------------------------------------------------------------------------------------------------


def _cached(variant: str, blobs: dict[str, str], commit: str = "c1", **more: object):  # type: ignore[no-untyped-def]
    links = tuple(Link(f"m/snapshots/{commit}/{path}", f"../../blobs/{path}") for path in blobs)
    notes = more.pop("notes", (Note("m/refs/main", commit),))
    files = {f"m/blobs/{path}": word for path, word in blobs.items()}
    return want(variant, files, links=links, notes=notes, revision=commit, **more)  # type: ignore[arg-type]


def _lying(*variants: object) -> dict[str, object]:
    links = {link.path: link.target for v in variants for link in v.layout.links}  # type: ignore[attr-defined]
    return {"links": links}


def test_removing_one_variant_of_a_cache_keeps_what_the_others_need() -> None:
    m, n = _cached("m", {"a": "1", "shared": "2"}), _cached("n", {"b": "3", "shared": "2"})
    files = {"m/blobs/a": "1", "m/blobs/b": "3", "m/blobs/shared": "2", "m/refs/main": "c1"}
    step = plan(
        [n], [have(files=files, **_lying(m, n))], [recorded(m), recorded(n)], {"disk:m/refs/main": "c1"}
    )["m@disk"]  # fmt: skip
    assert [row.path for row in step.trash] == ["m/blobs/a"]
    assert [link.path for link in step.links] == ["m/snapshots/c1/a"]
    assert step.notes == ()


def test_a_new_commit_takes_its_old_links_along() -> None:
    old, new = _cached("m", {"a": "1"}), _cached("m", {"b": "2"}, "c2")
    place = have(files={"m/blobs/a": "1", "m/refs/main": "c1"}, **_lying(old))
    step = plan([new], [place], [recorded(old)], {"disk:m/refs/main": "c1"})["m@disk"]
    assert [row.path for row in step.trash] == ["m/blobs/a"]
    assert [link.path for link in step.unlinks] == ["m/snapshots/c1/a"]
    assert step.unnotes == ()  # the branch now names the new commit


def test_a_note_that_is_not_ours_is_not_overwritten() -> None:
    m = _cached("m", {"a": "1"})
    steps = plan([m], [have(files={"m/refs/main": "cX"})], reads={"disk:m/refs/main": "cX"})
    assert "m/refs/main already holds other bytes that are not ours" in str(steps["m@disk"].blocked)
    steps = plan([m], [have(files={"m/refs/main": "c1"})], reads={"disk:m/refs/main": "c1"})
    assert told(steps) == {"m@disk": "download missing"}


def test_a_link_that_is_not_ours_is_not_replaced() -> None:
    m = _cached("m", {"a": "1"})
    steps = plan([m], [have(links={"m/snapshots/c1/a": "/somewhere"})])
    assert "a symbolic link to /somewhere" in str(steps["m@disk"].blocked)


def test_a_missing_link_or_an_outdated_note_of_ours_is_mended() -> None:
    m = _cached("m", {"a": "1"})
    files = {"m/blobs/a": "1", "m/refs/main": "c1"}
    reads = {"disk:m/refs/main": "c1"}
    assert told(plan([m], [have(files=files, **_lying(m))], [recorded(m)], reads)) == {"m@disk": "keep as declared"}
    assert told(plan([m], [have(files=files)], [recorded(m)], reads)) == {"m@disk": "normalize link"}
    other = have(files=files | {"m/refs/main": "cX"}, **_lying(m))
    assert told(plan([m], [other], [recorded(m)], {"disk:m/refs/main": "cX"})) == {"m@disk": "normalize link"}


# -- two manifests -----------------------------------------------------------------------------------------------------


def test_what_another_manifest_placed_is_shared_when_it_is_what_we_want() -> None:
    theirs = recorded(want("x", {"p": "1"}), manifest="you")
    assert told(plan([want("m", {"p": "1"})], [have(files={"p": "1"})], [theirs])) == {"m@disk": "normalize adopt"}
    blocked = plan([want("m", {"p": "2"})], [have(files={"p": "1"})], [theirs])["m@disk"].blocked
    assert "managed by manifest you" in str(blocked)


def test_what_two_manifests_hold_is_neither_removed_nor_replaced_by_one() -> None:
    old, new = want("m", {"p": "1"}), want("m", {"p": "2"}, revision="r2")
    records = [recorded(old), recorded(old, manifest="you")]
    assert told(plan([], [have(files={"p": "1"})], records)) == {"m@disk": "prune duplicate-record"}
    step = plan([new], [have(files={"p": "1"})], records)["m@disk"]
    assert "held by manifest you too" in str(step.blocked)


def test_a_stage_that_another_manifest_shares_is_not_swept() -> None:
    place = have(files={"p": "1"}, staged={"partial": 3})
    assert told(plan([], [place])) == {".reconciler@disk": "prune partial"}
    assert told(plan([], [place], [recorded(want("x", {"p": "1"}), manifest="you")])) == {}


# -- the plan as a whole -----------------------------------------------------------------------------------------------


def test_the_order_of_declarations_changes_nothing() -> None:
    desired = [want(name, {f"{name}/p": BIG, f"{name}/q": name}) for name in "dbca"]
    records = [recorded(want(name, {f"{name}/p": "x"})) for name in "zx"]
    place = have(files={"z/p": "x", "x/p": "x"})
    assert list(plan(desired, [place], records).items()) == list(plan(desired[::-1], [place], records[::-1]).items())


def test_nothing_in_a_step_tells_of_the_machine() -> None:
    m, n, gone = want("m", {"p": BIG}), want("n", {"q": BIG}), want("gone", {"g": "1"})
    here = plan([m, n], [have(files={"p": BIG, "g": "1"})], [recorded(m), recorded(gone)])
    there = have(files={"p": BIG, "g": "1"}, device=77, root="/mnt/other", free_bytes=1 << 40)
    moved = plan([m, n], [there], [recorded(m, root="/mnt/other"), recorded(gone, root="/mnt/other")])
    assert here == moved


def test_digests_of_git_are_asked_for_as_such() -> None:
    m = want("m", "abc")
    small = m.layout.files[0].artifact._replace(digest="git-sha1:" + "0" * 40)
    layout = replace(m.layout, files=(m.layout.files[0]._replace(artifact=small),))
    asked = questions(world([replace(m, layout=layout)], [have(files={"m.gguf": "abc"})]))
    assert [question.algorithm for question in asked] == ["git-sha1"]


# -- records that are looked at again ----------------------------------------------------------------------------------


def test_what_a_newer_detector_reads_is_metadata_and_moves_no_byte() -> None:
    m = want("m", BIG)
    before = {"detector": 1, "kind": "llm", "size_label": "8B"}
    old = replace(recorded(m, quant="awq", format="safetensors"), told=before)
    now = Seen(None, "gptq", {"detector": 2, "kind": "llm", "context_length": 4096})
    steps = plan([m], [have(files={"m.gguf": BIG})], [old], seen={m.address: now})
    step = steps["m@disk"]
    assert told(steps) == {"m@disk": "normalize metadata"}
    assert methods(step) == {"m.gguf": "none"}
    assert step.bytes == Bytes()
    assert step.before is not None
    assert step.after is not None
    assert (step.before.format, step.after.format) == ("safetensors", "safetensors")  # nothing told it: it stays
    assert (step.before.quant, step.after.quant) == ("awq", "gptq")
    assert step.before.told == {"detector": 1, "size_label": "8B"}
    assert step.after.told == {"detector": 2, "context_length": 4096}


def test_a_change_of_roles_says_what_the_bytes_tell_too() -> None:
    m = want("m", BIG, roles=(("chat", 1),))
    seen = {m.address: Seen(None, None, {"kind": "llm"})}
    steps = plan([m], [have(files={"m.gguf": BIG})], [recorded(m, backend=None)], seen=seen)
    assert told(steps) == {"m@disk": "normalize role"}
    assert steps["m@disk"].after is not None
    assert steps["m@disk"].after.told == {"kind": "llm"}


def test_a_claim_is_held_against_what_the_bytes_tell_now() -> None:
    m = want("m", BIG, quant="awq")
    seen = {m.address: Seen("safetensors", "gptq", {"detector": 2})}
    steps = plan([m], [have(files={"m.gguf": BIG})], [recorded(m, quant="awq")], seen=seen)
    assert steps["m@disk"].blocked == "the manifest claims quant awq, the bytes say gptq (correct `quant` or `files`)"
    right = want("m", BIG, quant="gptq")
    assert told(plan([right], [have(files={"m.gguf": BIG})], [recorded(m, quant="awq")], seen=seen)) == {
        "m@disk": "normalize metadata"
    }


def test_an_entry_that_others_changed_is_a_record_to_put_right() -> None:
    m = want("m", BIG)
    misstated = {m.address: {"quantization": ("None", "awq"), "license": (None, "mit")}}
    steps = plan([m], [have(files={"m.gguf": BIG})], [recorded(m)], misstated=misstated)
    step = steps["m@disk"]
    assert told(steps) == {"m@disk": "normalize record"}
    assert step.before is not None
    assert step.after is not None
    assert step.before.told == {"entry.quantization": "None"}
    assert step.after.told == {"entry.quantization": "awq", "entry.license": "mit"}


def test_an_ordinary_step_tells_nothing_of_what_the_bytes_say() -> None:
    m = want("m", BIG, backend="vllm")
    old = replace(recorded(m, backend="sglang"), told={"detector": 1, "kind": "llm"})
    step = plan([m], [have(files={"m.gguf": BIG})], [old])["m@disk"]
    assert step.before is not None
    assert step.after is not None
    assert (step.before.told, step.after.told) == ({}, {})
