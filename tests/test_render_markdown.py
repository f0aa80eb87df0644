from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import Any

import plan_kit as kit
import pytest
from test_render_text import HOSTILE, hostile_plan

from reconciler.plan import Action, Bytes, Facts, Finding, Plan, Selection, Step
from reconciler.planfile import plan_id
from reconciler.render.markdown import marker, plan_markdown
from reconciler.state import Address

MARKUP = [
    "```\n# out",
    "a|b|c",
    "<img src=x onerror=alert(1)>",
    "<!-- hidden -->",
    "--> out",
    "[x](javascript:alert(1))",
    "@org/team",
    "#1",
    "</details>",
    "````````",
    "owner/repo#12 and https://evil.example",
    "*bold* _it_ ~~s~~",
]


def outside_code(text: str) -> list[str]:
    """The lines that a reader of Markdown interprets: all but those inside fences."""
    lines, fence = [], ""
    for line in text.splitlines():
        found = re.match(r"(`{3,})", line)
        if fence:
            if line == fence:
                fence = ""
        elif found:
            fence = found[1]
        else:
            lines.append(line)
    assert not fence, "a fence stays open"
    return lines


def big_plan(removes: int, others: int) -> Plan:
    name = "a-model-of-some-forty-characters-or-so-{}-{:05}@x"
    return kit.plan(
        [
            *(kit.download(name.format("d", number)) for number in range(others)),
            *(kit.remove(name.format("r", number)) for number in range(removes)),
            *(kit.download(name.format("b", number), blocked="no room") for number in range(3)),
            *(kit.keep(name.format("k", number)) for number in range(others)),
        ]
    )


def test_a_comment_reads_well(snapshot: Any) -> None:
    assert plan_markdown(kit.workstation()) == snapshot


def test_a_comment_about_nothing_reads_well(snapshot: Any) -> None:
    assert plan_markdown(kit.plan([kit.keep("a@x")])) == snapshot


def test_counts_and_bytes_come_first_and_the_id_last() -> None:
    lines = plan_markdown(kit.workstation()).splitlines()
    assert lines[0] == "<!-- reconciler plan: workstation -->"
    assert lines[1].startswith("### Plan for `workstation`: 1 to remove, 1 to prune, 2 to download, 2 to normalize")
    assert lines[3].startswith("8.3 GiB to download")
    assert plan_id(kit.workstation()) in lines[-1]


def test_destructive_and_blocked_rows_are_open_and_the_rest_is_folded() -> None:
    text = plan_markdown(kit.workstation())
    open_part, _, folded = text.partition("<details>")
    assert "mistral-7b-instruct-vllm-awq@linux_wsl" in open_part
    assert "blocked: protected" in open_part
    assert "detail-tweaker-xl@comfy" in folded
    assert text.count("<details>") == text.count("</details>") == 2


def test_a_plan_of_70_kb_keeps_every_destructive_and_blocked_row_and_counts_the_rest() -> None:
    plan = big_plan(removes=150, others=900)
    assert len(plan_markdown(plan, limit=10**9)) > 70_000
    text = plan_markdown(plan)
    assert len(text) <= 60_000
    assert text.count("\n- remove") == 150
    assert text.count("\n! download") == 3
    shown, kept = text.count("\n+ download"), text.count("\n= keep")
    assert shown > 400
    assert f"{900 - shown} rows not shown: {900 - shown} download." in text
    assert f"{900 - kept} rows not shown: {900 - kept} keep." in text
    outside_code(text)


def test_more_removals_than_a_comment_holds_are_cut_with_the_exact_count() -> None:
    plan = big_plan(removes=2000, others=10)
    text = plan_markdown(plan)
    assert len(text) <= 60_000
    shown = text.count("\n- remove")
    assert shown > 300
    assert f"{2000 - shown} rows not shown: {2000 - shown} remove." in text
    assert text.count("\n! download") == 3
    assert "1 to remove" not in text.splitlines()[1]
    assert "2000 to remove" in text.splitlines()[1]
    assert plan_id(plan) in text


def changed(number: int, **after: Any) -> Step:
    rows = (kit.row("m.bin" if after.pop("pickle", False) else "m.gguf", kit.GIB, replaces=True),)
    old, new = kit.facts(license="mit"), kit.facts(**{"license": "mit"} | after)
    return kit.download(f"a-model-of-some-forty-characters-or-so-{number:05}@x", reason="new-revision", before=old,
                        after=new, files=rows)  # fmt: skip


def test_among_ten_thousand_changes_those_that_must_not_be_missed_stand_first() -> None:
    """Whoever wants to hide one variant among thousands would name it last."""
    steps = [changed(number) for number in range(9_997)]
    steps += [changed(9_997, license="other"), changed(9_998, gated=True), changed(9_999, pickle=True)]
    text = plan_markdown(kit.plan(steps))
    assert len(text) <= 60_000
    assert text.count("\n- download") > 700
    first = text.index("so-00000@x")
    for row, told in ((9_997, "license: mit -> other"), (9_998, "gated: upstream"), (9_999, "content: 1 pickle file")):
        assert f"so-{row:05}@x" in text[:first]
        assert f"    {told}" in text[:first] or told in text[:first]
    assert "#### Into the trash (10000): 1 with another licence, 1 gated, 1 with active content\n" in text
    assert "among them" not in text
    outside_code(text)


def test_what_must_not_be_missed_is_counted_where_even_that_is_too_much() -> None:
    steps = [changed(number, license="other", gated=number % 2 == 0, pickle=True) for number in range(10_000)]
    text = plan_markdown(kit.plan(steps))
    assert len(text) <= 60_000
    shown = text.count("\n- download")
    gated = 5_000 - text.count("    gated: ")
    assert (
        f"{10_000 - shown} rows not shown: {10_000 - shown} download; among them {10_000 - shown} with another " in text
    )
    assert f"licence, {gated} gated, {10_000 - shown} with active content." in text


def test_rules_that_change_are_told_before_a_flood_of_roles() -> None:
    roles = {f"role-with-a-name-{number:05}": 1 for number in range(2_000)}
    plan = kit.plan([served("new@x", None, roles)], warnings=("policy.pickle changes: deny -> allow",))
    text = html.unescape(plan_markdown(plan)).replace("\u200b", "")
    assert "policy.pickle changes: deny -> allow" in text
    assert "notes not shown" in text


@pytest.mark.parametrize("limit", [3_000, 10_000, 60_000])
def test_no_limit_is_exceeded_whatever_the_names(limit: int) -> None:
    long = [kit.remove(f"{'`' * 500}{bad * 40}@x", blocked=bad * 100) for bad in MARKUP + HOSTILE]
    warnings = tuple(bad * 50 for bad in MARKUP)
    text = plan_markdown(kit.plan([*long, *big_plan(50, 50).steps], warnings=warnings), limit=limit)
    assert len(text) <= limit
    outside_code(text)


def test_hostile_names_are_only_ever_text() -> None:
    steps = [
        step
        for bad in MARKUP
        for step in (
            kit.remove(f"{bad}@{bad}", before=Facts(path=bad)),
            kit.download(f"{bad}@x", reason=bad, before=Facts(quant=bad), after=Facts(metadata={bad: bad})),
            kit.step(f"{bad}@y", Action.NORMALIZE, "adopt", blocked=bad),
        )
    ]
    places = {bad: kit.place(bad, device=number, free_bytes=0) for number, bad in enumerate(MARKUP, 1)}
    places |= {f"{bad}!": kit.place(bad, readable=False, why=bad) for bad in MARKUP}
    plan = kit.plan(steps, places, warnings=tuple(MARKUP), manifest_name="".join(MARKUP), resolved={"a": kit.pin()})
    text = plan_markdown(plan)
    for line in outside_code(text):
        if line.startswith("|"):
            assert len(line.strip("|").split("|")) == 5, line
        cells = line.replace("|", "") if line.startswith("|") else line
        bare = re.sub(r"`[^`]*`|</?code>|</?details>|</?summary>|^<!-- reconciler plan: [\w.-]* -->$", "", cells)
        assert not re.search(r"[<>|*~\[\]@]|#\d|https?:", bare.replace("**", "").replace("&#", "")), line


def arrival(address: str, *paths: str, **more: Any) -> Step:
    rows = tuple(kit.row(path, 10 * kit.GIB // len(paths), artifact=path) for path in paths)
    return kit.download(address, 10 * kit.GIB, files=rows, **more)


def row_of(text: str, address: str) -> str:
    """The lines of one step."""
    found = re.search(rf"^[-+~!=] .*{re.escape(address)}.*\n(?:    .*\n)*", text, re.MULTILINE)
    assert found, text
    return found[0]


def test_what_arrives_says_its_bytes_license_and_what_it_runs() -> None:
    after = kit.facts(license="other", gated=True)
    step = arrival("m@x", "model.bin", "modeling_m.py", "config.json", "setup.py", "tokenizer.bin", after=after)
    assert row_of(plan_markdown(kit.plan([step])), "m@x").splitlines()[1:] == [
        "    bytes: 5 files new (10.0 GiB)",
        "    license: other",
        "    gated: upstream asks everybody to agree to something first",
        "    active content: 1 pickle file (model.bin), 2 programs (modeling_m.py, setup.py)",
    ]


def test_what_a_folded_section_holds_is_told_outside_of_it() -> None:
    after = kit.facts(license="other", gated=True)
    steps = [arrival("m@x", "model.bin", after=after), arrival("n@x", "model.pt"), arrival("o@x", "m.gguf")]
    steps.append(kit.download("p@x", before=kit.facts(license="mit"), after=kit.facts(license="other")))
    text = plan_markdown(kit.plan(steps))
    assert "<summary>Other changes (4): 1 with another licence, 1 gated, 2 with active content</summary>" in text
    assert "<summary>Other changes (1)</summary>" in plan_markdown(kit.plan(steps[2:3]))


def test_what_changes_says_which_bytes_are_new_changed_and_removed_and_both_licenses() -> None:
    rows = (kit.row("a", 100), kit.row("b", 200, replaces=True), kit.row("c", 300, "none"), kit.row("d", 1, "link"))
    step = kit.download(
        "m@x", 300, "new-revision", before=kit.facts(license="mit"), after=kit.facts(license="cc-by-nc-4.0"),
        files=rows, trash=(kit.row("old", 50, "none"),), bytes=Bytes(300, 1, 250),
    )  # fmt: skip
    assert row_of(plan_markdown(kit.plan([step])), "m@x").splitlines()[1:] == [
        "    bytes: 2 files new (101 B), 1 file changed (200 B), 1 file removed (50 B)",
        "    license: mit -> cc-by-nc-4.0",
    ]


def test_an_absent_license_is_called_unknown_and_an_unchanged_one_stands_once() -> None:
    same = kit.facts(license="mit")
    steps = [kit.download("m@x"), kit.download("n@x", reason="new-revision", before=same, after=same)]
    text = plan_markdown(kit.plan(steps))
    assert "    license: unknown\n" in row_of(text, "m@x")
    assert row_of(text, "n@x").count("license") == 1


def test_kept_and_leaving_variants_have_no_such_lines() -> None:
    text = plan_markdown(kit.plan([kit.remove("gone@x", before=kit.facts(license="mit")), kit.keep("kept@x")]))
    assert "license" not in text
    assert "bytes:" not in text


def test_each_location_shows_its_disk_before_and_after() -> None:
    places = {
        "one": kit.place("/srv/one", device=1, free_bytes=20 * kit.GIB),
        "two": kit.place("/srv/two", device=1, free_bytes=20 * kit.GIB),
        "tight": kit.place("/srv/tight", device=2, free_bytes=kit.GIB),
        "server": kit.place("http://127.0.0.1:11434", "ollama", free_bytes=0),
        "untouched": kit.place("/srv/untouched", device=3),
    }
    steps = [
        kit.download("a@one", 5 * kit.GIB), kit.download("b@two", 3 * kit.GIB), kit.remove("c@two", 2 * kit.GIB),
        kit.download("d@tight", 3 * kit.GIB), kit.download("e@server", kit.GIB), kit.keep("f@untouched"),
        kit.download("g@one", 100 * kit.GIB, blocked="no room"),
    ]  # fmt: skip
    lines = plan_markdown(kit.plan(steps, places)).splitlines()
    start = lines.index("| location | new | to trash | free before | free after |")
    assert lines[start + 2 : start + 7] == [
        "| `one` | 5.0 GiB | 0 B | 20.0 GiB | 12.0 GiB |",
        "| `server` | 1.0 GiB | 0 B | not told | not told |",
        "| `tight` | 3.0 GiB | 0 B | 1.0 GiB | **2.0 GiB too little** |",
        "| `two` | 3.0 GiB | 2.0 GiB | 20.0 GiB | 12.0 GiB |",
        "",
    ]


def served(address: str, before: dict[str, int] | None, after: dict[str, int] | None, **more: Any) -> Step:
    old = None if before is None else kit.facts(roles=before)
    new = None if after is None else kit.facts(roles=after)
    return kit.step(address, Action.NORMALIZE, "role", before=old, after=new, **more)


def notes_of(plan: Plan) -> list[str]:
    return [line[2:] for line in plan_markdown(plan).splitlines() if line.startswith("- Role")]


def test_roles_that_change_hands_are_told() -> None:
    steps = [
        served("old@x", {"chat": 1, "draft": 2}, {"chat": 2, "draft": 2}),
        served("new@x", None, {"chat": 1, "vision": 1}),
        served("gone@x", {"caption": 1, "draft": 1}, None),
        served("third@x", {"draft": 3, "tools": 1}, {"draft": 1, "tools": 1}),
        served("fourth@x", {"tools": 2}, {"tools": 3}),
        served("fifth@x", {"tools": 3}, {"tools": 2}),
    ]
    assert notes_of(kit.plan(steps)) == [
        "Role `caption` changes hands: from `gone` to nobody",
        "Role `chat` changes hands: from `old` to `new`",
        "Role `draft` changes hands: from `gone` to `third`",
        "Role `tools`: in another order, `third`, `fifth`, `fourth`; before `third`, `fourth`, `fifth`",
        "Role `vision` changes hands: from nobody to `new`",
    ]


def test_a_role_stays_where_it_is_when_its_variant_is_renamed_moved_or_blocked() -> None:
    roles = {"chat": 1}
    renamed = served("new-name@x", roles, roles, renamed_from=Address("old-name", "x"))
    assert notes_of(kit.plan([renamed])) == []
    moved = [served("m@there", None, roles), served("m@here", roles, None)]
    assert notes_of(kit.plan(moved)) == []
    blocked = [served("new@x", None, roles, blocked="no room"), served("old@x", roles, {"chat": 1})]
    assert notes_of(kit.plan(blocked)) == []


def test_of_a_part_of_a_plan_nothing_is_said_about_roles() -> None:
    assert notes_of(kit.plan([served("new@x", None, {"chat": 1})], selection=Selection(target=("new",)))) == []


def test_warnings_and_roles_are_told_beside_a_long_list_of_steps() -> None:
    plan = replace(big_plan(100, 2000), warnings=("look at this",))
    plan = replace(plan, steps=(*plan.steps, served("new@x", None, {"chat": 1})))
    text = plan_markdown(plan)
    assert len(text) <= 60_000
    assert "Warning: `look at this`" in text
    assert "Role `chat` changes hands" in text


def test_findings_are_told_once() -> None:
    bad, held = Address("bad", "x"), Address("held", "x")
    findings = (
        Finding(bad, "license", "error", "policy rule license: other is denied"),
        Finding(bad, "size", "warning", "policy rule size: large"),
        Finding(bad, "code", "info", "policy rule code: programs come with it"),
        Finding(held, "license", "error", "policy rule license: other is denied too"),
    )
    steps = [kit.download("bad@x", blocked=findings[0].text), kit.download("held@x", blocked="no room")]
    text = plan_markdown(kit.plan(steps, findings=findings, warnings=("bad@x: policy rule size: large",)))
    text = html.unescape(text).replace("\u200b", "").replace("<code>", "`").replace("</code>", "`")
    assert text.count("other is denied") == 2
    assert "blocked: policy rule license: other is denied\n" in text
    assert text.count("policy rule size") == 1
    assert "Policy, info: `bad@x: policy rule code: programs come with it`" in text
    assert "Policy, error: `held@x: policy rule license: other is denied too`" in text


def test_more_locations_than_there_is_room_for_are_counted() -> None:
    steps = [kit.download(f"m{n}@place-with-a-rather-long-name-{n:03}") for n in range(250)]
    text = plan_markdown(kit.plan(steps), limit=10_000)
    assert len(text) <= 10_000
    shown = text.count("\n| `place")
    assert 0 < shown < 250
    assert f"{250 - shown} locations not shown" in text


def test_no_line_is_a_command_to_a_runner() -> None:
    for line in plan_markdown(hostile_plan()).splitlines():
        assert line.isprintable()
        assert not line.strip().startswith(("::", "##["))
        assert "##[" not in line


def test_the_marker_is_the_same_for_every_plan_of_a_manifest_and_cannot_end_early() -> None:
    assert marker(kit.workstation()) == marker(kit.plan())
    odd = marker(kit.plan(manifest_name="a-->b<!--\n--- x"))
    assert odd.count("--") == 2
    assert "\n" not in odd


def test_no_two_manifests_share_a_marker() -> None:
    names = ["gpu-server", "gpu_server", "gpu server", "gpu--server", "модель", "модели", "x" * 200, "x" * 201, ""]
    assert len({marker(kit.plan(manifest_name=name)) for name in names}) == len(names)
    assert marker(kit.plan(manifest_name="gpu-server")) == "<!-- reconciler plan: gpu-server -->"
