from __future__ import annotations

import re
from typing import Any

import plan_kit as kit
import pytest
from test_render_text import HOSTILE, hostile_plan

from reconciler.plan import Action, Facts, Plan
from reconciler.planfile import plan_id
from reconciler.render.markdown import marker, plan_markdown

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
    plan = big_plan(removes=150, others=600)
    assert len(plan_markdown(plan, limit=10**9)) > 70_000
    text = plan_markdown(plan)
    assert len(text) <= 60_000
    assert text.count("\n- remove") == 150
    assert text.count("\n! download") == 3
    shown, kept = text.count("\n+ download"), text.count("\n= keep")
    assert f"{600 - shown} rows not shown: {600 - shown} download." in text
    assert f"{600 - kept} rows not shown: {600 - kept} keep." in text
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
        bare = re.sub(r"`[^`]*`|</?code>|</?details>|</?summary>|^<!-- reconciler plan: [\w.-]* -->$", "", line)
        assert not re.search(r"[<>|*~\[\]@]|#\d|https?:", bare.replace("**", "").replace("&#", "")), line


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
