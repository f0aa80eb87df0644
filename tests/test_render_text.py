from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import plan_kit as kit
import pytest

from reconciler.plan import NOWHERE, Action, Bytes, Facts, Plan
from reconciler.render.lines import arrow, cells, changes, shorten
from reconciler.render.text import plan_text
from reconciler.state import Note

HOSTILE = [
    "esc\x1b[2Kape",
    "osc\x1b]8;;http://x\x07link",
    "c1\x9b31m",
    "cr\rback\x08bell\x07",
    "rtl\u202egpj",
    "zero\u200bwidth",
    "tag\U000e0041",
    "line\u2028sep",
    "new\n::set-env name=PATH::/evil",
    "::add-mask::x",
    "x" * 64 + "::add-mask::x",
    "word ::add-mask::x",
    "##[group]x",
    "sur\udcffrogate",
    "[v1] [red]markup[/red]",
    "漢字" * 30,
]


def shown(plan: Plan, width: int | None = None, colour: bool = False, verbose: bool = False) -> list[str]:
    return list(plan_text(plan, width=width, colour=colour, verbose=verbose))


def hostile_plan() -> Plan:
    steps = []
    for number, bad in enumerate(HOSTILE):
        before, after = Facts(path=bad, quant=bad), Facts(path=bad + "2", metadata={bad: {bad: bad}}, roles={bad: 1})
        files = (kit.row(bad, origin=f"x:{bad}"),)
        steps.append(kit.download(f"{bad}@x", reason=bad, before=before, after=after, files=files))
        steps.append(kit.remove(f"{bad}-{number}@{bad}", before=Facts(path=bad), blocked=bad))
    places = {bad: kit.place(bad, bad, readable=False, why=bad) for bad in HOSTILE}
    return kit.plan(
        steps, places, warnings=tuple(HOSTILE), manifest_name=HOSTILE[0], lock_path=f"/x/{HOSTILE[8]}",
        resolved={"a": kit.pin()},
    )  # fmt: skip


@pytest.mark.parametrize("width", [None, 80, 200])
def test_a_plan_reads_well(width: int | None, snapshot: Any) -> None:
    assert "\n".join(shown(kit.workstation(), width)) == snapshot


def test_a_plan_in_colour(snapshot: Any) -> None:
    assert "\n".join(shown(kit.workstation(), 120, colour=True)) == snapshot


def test_a_plan_told_in_full(snapshot: Any) -> None:
    assert "\n".join(shown(kit.workstation(), 120, verbose=True)) == snapshot


@pytest.mark.parametrize("width", [None, 80, 200])
def test_colour_adds_codes_and_nothing_else(width: int | None) -> None:
    plain, coloured = shown(kit.workstation(), width), shown(kit.workstation(), width, colour=True)
    assert "\x1b" not in "".join(plain)
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in coloured] == plain


def test_the_summary_line_is_the_promised_one() -> None:
    plan = kit.plan(
        [
            kit.download("a@x", 13_000_000_000),
            kit.download("b@x", 207_024_486),
            kit.step("c@x", Action.NORMALIZE, "adopt"),
            kit.remove("d@x"),
            kit.download("e@x", blocked="no room"),
            *(kit.keep(f"k{number}@x") for number in range(14)),
        ]
    )
    assert shown(plan)[-1] == (
        "Plan: 2 to download (12.3 GiB), 1 to normalize, 0 to prune, 1 to remove. 14 kept, 1 blocked."
    )


def test_what_is_adopted_is_told_with_its_size() -> None:
    files = (kit.row("a", 3 * kit.GIB, "none"), kit.row("b", kit.GIB, "none"))
    lines = shown(kit.plan([kit.step("m@x", Action.NORMALIZE, "adopt", before=None, after=kit.facts(), files=files)]))
    assert any("adopt" in line and "4.0 GiB" in line for line in lines)


def test_where_a_model_comes_from_is_where_its_largest_file_is() -> None:
    """Small files are the same in many models: one of them may be found in another store."""
    files = (
        kit.row("README.md", 10, "link", origin="cache:other/README.md"),
        kit.row("model", kit.GIB, "link", origin="x:old/repo/model"),
    )
    step = kit.step("m@x", Action.NORMALIZE, "link", before=None, after=kit.facts("new/repo"), files=files)
    assert any(line.endswith("x:old/repo -> new/repo") for line in shown(kit.plan([step])))


def test_a_picture_that_comes_with_a_normalize_is_not_counted_among_the_downloads() -> None:
    step = kit.step("detail@x", Action.NORMALIZE, "metadata", bytes=Bytes(1204, 0, 0))

    assert shown(kit.plan([step]))[-1] == (
        "Plan: 0 to download (0 B), 1 to normalize (1.2 KiB to fetch), 0 to prune, 0 to remove. 0 kept, 0 blocked."
    )


def test_no_changes_is_said_in_one_sentence() -> None:
    assert shown(kit.plan(kit.keep(f"k{n}@x") for n in range(14)))[-1] == "No changes. 14 variants are as declared."
    assert shown(kit.plan([kit.keep("k@x")]))[-1] == "No changes. 1 variant is as declared."


def test_no_changes_still_tells_what_is_blocked_and_why() -> None:
    lines = shown(kit.plan([kit.keep("k@x"), kit.remove("r@x", blocked="protected; lift with --allow remove:r@x")]))
    assert lines[-1] == ("Plan: 0 to download (0 B), 0 to normalize, 0 to prune, 0 to remove. 1 kept, 1 blocked.")
    assert any("--allow remove:r@x" in line for line in lines)


def test_what_only_the_lock_lacks_is_a_change() -> None:
    lines = shown(kit.plan([kit.keep("k@x")], resolved={"a": kit.pin(), "b": kit.pin(), "c": kit.pin()}))
    assert "3 entries will be added to workstation.lock.json." in lines
    assert lines[-1].startswith("Plan: 0 to download (0 B)")


def test_destructive_lines_stand_first_in_their_location_and_blocked_ones_last() -> None:
    replacing = kit.download("e@x", bytes=Bytes(5, 0, 5), files=(kit.row(replaces=True),))
    steps = [
        kit.step("a@x", Action.NORMALIZE, "adopt"),
        kit.download("b@x"),
        kit.step("c@x", Action.PRUNE, "partial"),
        kit.remove("d@x"),
        replacing,
        kit.download("f@x", blocked="why"),
    ]
    found = [match[1] for line in shown(kit.plan(steps)) if (match := re.match(r" [- ]\S \w+ +(\w)@x", line))]
    assert found == ["d", "c", "e", "b", "a", "f"]


def test_the_legend_names_the_symbols_in_use_and_no_others() -> None:
    assert shown(kit.plan([kit.download("a@x")]))[1].split() == ["+", "download"]
    assert shown(kit.plan([kit.remove("a@x"), kit.keep("b@x")]))[1].split() == ["-", "remove"]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_line_exceeds_the_terminal_and_none_loses_action_or_size(width: int) -> None:
    long = "a-very-long-variant-name-" * 8
    plan = kit.plan(
        [
            kit.download(f"{long}@x", 2**31, after=Facts(source="hf:" + long, path=long, quant=long), before=Facts()),
            kit.remove(f"{'漢字' * 40}@x", 2**32, blocked="because " * 30),
            kit.download("short@x", 2**30),
        ]
    )
    lines = shown(plan, width, verbose=True)[:-1]
    assert all(cells(line) <= width for line in lines), max(lines, key=cells)
    text = "\n".join(lines)
    for wanted in ("+ download", "! remove", "2.0 GiB", "4.0 GiB", "1.0 GiB", "short@x"):
        assert wanted in text


def test_nothing_wraps_or_is_cut_in_a_pipe() -> None:
    long = "x" * 500
    lines = shown(kit.plan([kit.download(f"{long}@x", blocked="y" * 500)]))
    assert any(f"{long}@x" in line and "1.0 GiB" in line and "hf:org/model" in line for line in lines)
    assert any(line.strip() == "blocked: " + "y" * 500 for line in lines)


@pytest.mark.parametrize("width", [None, 80])
@pytest.mark.parametrize("verbose", [False, True])
def test_names_of_others_are_inert(width: int | None, verbose: bool) -> None:
    for line in shown(hostile_plan(), width, verbose=verbose):
        assert line.isprintable(), line
        assert not line.strip().startswith("::"), line
        assert "##[" not in line
    assert any("[v1] [red]markup[/red]" in line for line in shown(hostile_plan(), None))


def test_changed_attributes_stand_below_the_step_in_short() -> None:
    before = kit.facts(revision=kit.REVISION_A, roles={"chat": 2}, metadata={"a": {"b": 1, "c": 2}})
    after = kit.facts(revision=kit.REVISION_B, roles={"chat": 1}, metadata={"a": {"b": 1, "c": 3}})
    lines = shown(kit.plan([kit.download("m@x", reason="new-revision", before=before, after=after)]))
    below = [" ".join(line.split()) for line in lines if line.startswith(" " * 15)]
    assert below == ["revision 3f2a1c9 -> 88b01de", "roles.chat 2 -> 1", "metadata.a.c 2 -> 3"]


def test_two_revisions_that_begin_alike_are_told_apart() -> None:
    before, after = kit.facts(revision="a" * 40), kit.facts(revision="a" * 39 + "b")
    text = "\n".join(shown(kit.plan([kit.download("m@x", before=before, after=after)])))
    assert f"{'a' * 40} -> {'a' * 39}b" in text


def test_room_is_told_for_each_file_system_and_not_for_each_location() -> None:
    places = {
        "a": kit.place("/a", device=1, free_bytes=10 * kit.GIB),
        "b": kit.place("/b", device=1, free_bytes=10 * kit.GIB),
        "c": kit.place("/c", device=2, free_bytes=1 * kit.GIB),
        "d": kit.place("/d", device=3, free_bytes=1 * kit.GIB),
    }
    copied = kit.step("v@c", Action.NORMALIZE, "copy", files=(kit.row(size=2 * kit.GIB, method="copy", origin="a:m"),))
    linked = kit.step("v@d", Action.NORMALIZE, "link", files=(kit.row(size=2 * kit.GIB, method="link", origin="d:m"),))
    steps = [kit.download("u@a"), kit.download("u@b"), kit.download("w@b", blocked="why"), copied, linked]
    lines = shown(kit.plan(steps, places))
    start = next(position for position, line in enumerate(lines) if line.startswith("Free space"))
    assert [line.split() for line in lines[start + 1 : start + 4]] == [
        ["10.0", "GiB", "2.0", "GiB", "8.0", "GiB", "a,", "b"],
        ["1.0", "GiB", "2.0", "GiB", "-1.0", "GiB", "c", "(not", "enough)"],
        [],
    ]


def test_an_unreadable_location_is_shown_even_without_steps() -> None:
    lines = shown(kit.plan([], {"usb": kit.place("/media/usb", readable=False, why="not mounted")}))
    assert any("unreadable: not mounted" in line for line in lines)


def test_variants_of_which_nobody_knows_where_they_go_stand_under_a_heading_that_says_so() -> None:
    steps = [kit.download(f"chat@{NOWHERE}", blocked="no format is known")]
    lines = shown(kit.plan(steps, {"weights": kit.place("/w")}))
    assert "?  where these go is not known yet" in lines


def test_a_name_that_goes_while_others_use_its_bytes_says_so() -> None:
    note = Note("manifests/x/y/again", "{}")
    [line] = [
        line for line in shown(kit.plan([kit.remove("a@ollama", 0, trash=(), notes=(note,))])) if "a@ollama" in line
    ]
    assert line.endswith("(the name alone; its bytes are shared)")
    assert "shared" not in "".join(shown(kit.plan([kit.remove("a@ollama", notes=(note,))])))


def test_the_variants_of_a_disk_that_is_not_there_are_one_line_and_verbose_names_them() -> None:
    away = [kit.step(f"m{n}@usb", Action.KEEP, "unreadable", blocked="usb: not mounted") for n in range(20)]
    plan = kit.plan([*away, kit.download("a@x")], {"usb": kit.place("/usb", readable=False, why="not mounted")})
    short = shown(plan)
    assert "  ! keep       20 variants, unreadable (--verbose names them)" in short
    assert sum("not mounted" in line for line in short) == 2
    assert sum("m1" in line for line in short) == 0
    assert sum("! keep" in line for line in shown(plan, verbose=True)) == 20


def test_a_file_that_leaves_is_listed_once() -> None:
    row = kit.row("gone.gguf", method="none")
    lines = shown(kit.plan([kit.remove("a@x", files=(row,), trash=(row,))]), verbose=True)
    assert [line.split()[0] for line in lines if "gone.gguf" in line] == ["trash"]


def test_a_quant_that_the_new_bytes_will_tell_is_no_change_yet() -> None:
    before, after = kit.facts(quant="bf16", revision="a" * 40), kit.facts(revision="b" * 40)
    assert [change.name for change in changes(kit.download("a@x", before=before, after=after))] == ["revision"]
    record = kit.step("a@x", Action.NORMALIZE, "record", before=before, after=after)
    assert [change.name for change in changes(record)] == ["revision", "quant"]


def test_deepdiff_and_rich_stay_away_where_no_record_changed() -> None:
    code = (
        "import sys, plan_kit as kit\n"
        "from reconciler.render.text import plan_text\n"
        "from reconciler.render import markdown, progress, receipt, tables, errors\n"
        "import reconciler.settings, reconciler.planfile\n"
        "list(plan_text(kit.plan([kit.download('a@x'), kit.keep('b@x')]), width=80, colour=True, verbose=True))\n"
        "print([m for m in ('deepdiff', 'rich', 'pydantic') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=kit.__file__.rpartition("/")[0]
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("text", ["", "short", "a-long-name-in-the-middle", "漢字漢字漢字漢字漢字漢字"])
@pytest.mark.parametrize("width", range(1, 14))
def test_a_name_cut_in_the_middle_fits_and_keeps_both_ends(text: str, width: int) -> None:
    cut = shorten(text, width)
    assert cells(cut) <= width
    if cells(text) <= width:
        assert cut == text
    elif width > 8:
        assert cut[0] == text[0]
        assert cut[-1] == text[-1]


def test_what_one_side_of_an_arrow_does_not_need_the_other_may_have() -> None:
    assert arrow("a" * 30, "b", 20) == shorten("a" * 30, 15) + " -> b"
    assert len(arrow("a" * 30, "b" * 30, 20)) <= 20
