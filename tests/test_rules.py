"""Rules of the policy: what arrives or changes, and what may."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_kit import Box, a_box
from manifest_kit import HEAD, loaded, mistakes

from reconciler.plan import Step
from reconciler.rules import Rule, findings, rules_of
from reconciler.safety import Limits
from tests.world_kit import MIB, have, plan, recorded, told, want

AT = "box.yaml:7:5"


def rule(kind: str, **more: Any) -> Rule:
    return Rule(kind, where=AT, **more)


def judged(*rules: Rule, **more: Any) -> dict[str, Step]:
    """The steps of a plan that brings `m`, and changes nothing else."""
    wanted = want("m", more.pop("files", {"own/m/m.gguf": "abc"}), **more)
    return plan([wanted], [have()], limits=Limits(1.0, 0, rules))


def blocked(*rules: Rule, **more: Any) -> str:
    return judged(*rules, **more)["m@disk"].blocked or ""


# -- license ----------------------------------------------------------------------------------------------------------


def test_a_license_that_is_not_allowed_blocks_the_step_and_says_what_lifts_it() -> None:
    assert blocked(rule("license", allow=("apache-2.0", "mit")), license="cc-by-nc-4.0") == (
        "policy rule license: license cc-by-nc-4.0 is not among apache-2.0, mit "
        f"(add it to `allow`, or `exempt: [m]` at {AT})"
    )


@pytest.mark.parametrize(
    ("stated", "allow", "deny", "passes"),
    [
        ("mit", ("mit",), (), True),
        ("MIT", ("mit",), (), True),
        ("mit", (), ("*-nc-*",), True),
        ("cc-by-nc-4.0", (), ("*-nc-*",), False),
        ("mit", ("*",), ("mit",), False),
        (None, ("mit",), (), False),
        (None, ("mit", "unknown"), (), True),
        (None, (), ("unknown",), False),
        ("apache-2.0, mit", ("apache-2.0", "mit"), (), True),
        ("apache-2.0, other", ("apache-2.0", "mit"), (), False),
        ("apache-2.0, cc-by-nc-4.0", (), ("cc-*",), False),
        ("civitai: as SDXL; no images, no rent", ("civitai: *",), (), True),
        ("gpl-3.0", (), ("GPL-3.0-only",), False),
        ("gpl-3.0", (), ("GPL-3.0-or-later",), False),
        ("GPL-3.0-or-later", (), ("gpl-3.0",), False),
        ("GPL-3.0-or-later", (), ("gpl-3.0-only",), True),
        ("lgpl-3.0", (), ("gpl-3.0-only",), True),
        ("agpl-3.0", ("AGPL-3.0-only",), (), True),
        ("apache-2.0, gpl-3.0", ("apache-2.0", "GPL-3.0-only"), (), True),
        ("odbl", (), ("ODbL-1.0",), False),
        ("ODC-By-1.0", ("odc-by",), (), True),
        (None, (), ("cc-by-nc-*",), True),
    ],
)
def test_licenses_are_judged_by_globs_and_the_absent_one_is_called_unknown(
    stated: str | None, allow: tuple[str, ...], deny: tuple[str, ...], passes: bool
) -> None:
    assert (blocked(rule("license", allow=allow, deny=deny), license=stated) == "") is passes


# -- namespace --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "deny"),
    [
        ("hf:evil/model", "hf:evil/*"),
        ("hf:Evil/model@branch", "hf:evil/*"),
        ("urn:air:flux1:lora:huggingface:evil/model", "hf:evil/*"),
        ("ollama:hf.co/evil/model:Q4_K_M", "hf:evil/*"),
        ("https://huggingface.co/evil/model/resolve/main/x.gguf", "hf:evil/*"),
        ("ollama:llama3.2", "ollama:registry.ollama.ai/library/*"),
        ("ollama:registry.ollama.ai/library/llama3.2:3b", "ollama:registry.ollama.ai/*"),
        ("ollama:registry.ollama.ai/library/llama3.2:3b", "ollama:llama3.2:3b"),
        ("ollama:llama3.2:3b", "ollama:llama3.2"),
        ("ollama:registry.ollama.ai/evil/model", "ollama:evil/*"),
        ("ollama:intra.example:8080/evil/model:q4", "ollama:intra.example:8080/evil/model"),
        ("urn:air:sdxl:lora:civitai:1327644@1498986", "civitai:1327644"),
    ],
)
def test_a_denied_namespace_is_denied_however_it_is_written(source: str, deny: str) -> None:
    assert "is denied by" in blocked(rule("namespace", deny=(deny,)), source=source)
    assert not blocked(rule("namespace", deny=("hf:other/*",)), source=source)


def test_a_namespace_that_is_not_allowed_is_blocked() -> None:
    only = rule("namespace", allow=("hf:Qwen/*", "ollama:*"))
    assert not blocked(only, source="hf:qwen/x")
    assert not blocked(only, source="ollama:llama3.2")
    assert "source hf:QwenEvil/x is not among hf:Qwen/*, ollama:*" in blocked(only, source="hf:QwenEvil/x")


def test_a_repository_that_lends_support_files_is_a_source_too() -> None:
    from reconciler.rules import _namespace
    from tests.plan_kit import facts

    lent = facts(source="hf:good/m", support="hf:evil/m at abc")
    assert _namespace(lent, (), rule("namespace", deny=("hf:evil/*",))) is not None
    assert _namespace(lent, (), rule("namespace", allow=("hf:good/*",))) is not None


# -- format, size, what runs, gated -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "held"),
    [("m.gguf", "gguf"), ("m.safetensors", "safetensors"), ("m.onnx", "onnx"), ("pytorch_model.bin", "pickle"),
     ("m.weights", "unknown")],
)  # fmt: skip
def test_the_format_is_what_the_files_say(path: str, held: str) -> None:
    files = {f"own/m/{path}": "abc"}
    assert not blocked(rule("format", allow=(held,)), files=files)
    assert f"format {held} is denied by `{held}`" in blocked(rule("format", deny=(held,)), files=files)


def test_a_claim_does_not_hide_a_format() -> None:
    allow = rule("format", allow=("safetensors",))
    assert "format pickle" in blocked(allow, files={"own/m/m.bin": "abc"}, format="safetensors")


def test_the_size_of_a_variant_is_that_of_all_its_files() -> None:
    files = {"own/m/1.gguf": f"a*{3 * MIB}", "own/m/2.gguf": f"b*{3 * MIB}"}
    assert "6.0 MiB, and a variant may have 5.0 MiB" in blocked(rule("size", max=5 * MIB), files=files)
    assert not blocked(rule("size", max=6 * MIB), files=files)


def test_pickles_and_programs_are_told_by_name_and_single_ones_may_be_allowed() -> None:
    files = {"own/m/a.bin": "1", "own/m/m.safetensors": "2", "own/m/modeling_x.py": "3", "own/m/run.sh": "4"}
    assert "pickle files come with it: own/m/a.bin" in blocked(rule("pickle"), files=files)
    assert "programs come with it: own/m/modeling_x.py, own/m/run.sh" in blocked(rule("code"), files=files)
    assert not blocked(rule("pickle", allow=("a.bin",)), files=files)
    assert "come with it: own/m/run.sh" in blocked(rule("code", allow=("modeling_*.py",)), files=files)


def test_a_gated_source_is_told_from_what_the_lock_holds() -> None:
    wanted = want("m", "abc")
    gated = replace(wanted, pin=replace(wanted.pin, about={"gated": "manual"}))
    for one, mark in ((wanted, ""), (gated, "!")):
        steps = plan([one], [have()], limits=Limits(1.0, 0, (rule("gated"),)))
        assert told(steps) == {"m@disk": f"download missing{mark}"}


# -- free space -------------------------------------------------------------------------------------------------------


def test_free_space_is_counted_step_by_step_and_as_a_share_of_the_file_system() -> None:
    wants = [want("a", f"a*{5 * MIB}"), want("b", f"b*{50 * MIB}"), want("c", f"c*{4 * MIB}")]
    place = have(free_bytes=20 * MIB, total_bytes=100 * MIB)
    steps = plan(wants, [place], limits=Limits(1.0, 0, (rule("free_space", min=0.1),)))
    assert {where: bool(step.blocked) for where, step in steps.items()} == {
        "a@disk": False, "b@disk": True, "c@disk": False,
    }  # fmt: skip
    tight = plan(wants[:1], [place], limits=Limits(1.0, 0, (rule("free_space", min=16 * MIB),)))
    assert "15.0 MiB would be left of the file system of disk, less than 16.0 MiB" in str(tight["a@disk"].blocked)
    share = plan(wants[:1], [place], limits=Limits(1.0, 0, (rule("free_space", min=0.5),)))
    assert "less than 50.0 MiB (50% of 100.0 MiB)" in str(share["a@disk"].blocked)


def test_what_takes_no_room_breaks_no_rule_of_free_space() -> None:
    wanted = want("m", "abc")
    place = have(files={"m.gguf": "abc"}, free_bytes=0, total_bytes=100)
    full = Limits(1.0, 0, (rule("free_space", min=0.5),))
    steps = plan([wanted], [place], reads={"disk:m.gguf": "abc"}, limits=full)
    assert told(steps) == {"m@disk": "normalize adopt"}


# -- whom a rule is about ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "passes"),
    [
        ({}, False),
        ({"only": ("x*",)}, True),
        ({"only": ("m",)}, False),
        ({"only": ("*@disk",)}, False),
        ({"only": ("*@other",)}, True),
        ({"exempt": ("m",)}, True),
        ({"exempt": ("m@disk",)}, True),
        ({"exempt": ("m@other",)}, False),
        ({"only": ("m",), "exempt": ("m",)}, True),
    ],
)
def test_a_rule_is_about_the_variants_it_names(more: dict[str, Any], passes: bool) -> None:
    assert (blocked(rule("license", allow=("mit",), **more)) == "") is passes


def test_what_is_there_already_and_what_leaves_breaks_no_rule() -> None:
    was, same = want("was", {"p": "1"}), want("same", {"q": "2"})
    strict = Limits(1.0, 0, (rule("license", allow=("mit",)), rule("size", max=0)))
    steps = plan([same], [have(files={"p": "1", "q": "2"})], [recorded(was), recorded(same)], limits=strict)
    assert told(steps) == {"was@disk": "remove undeclared", "same@disk": "keep as declared"}


def test_a_variant_that_changes_is_judged_as_it_would_be() -> None:
    now = want("m", {"p": "1"}, license="other")
    strict = Limits(1.0, 0, (rule("license", deny=("other",)),))
    steps = plan([now], [have(files={"p": "1"})], [recorded(want("m", {"p": "1"}, license="mit"))], limits=strict)
    assert told(steps) == {"m@disk": "normalize metadata!"}


def test_every_broken_error_is_in_the_reason_and_the_other_variants_go_on() -> None:
    rules = (rule("license", allow=("mit",)), rule("size", max=1))
    bad, good = want("bad", "abc"), want("good", "x", license="mit")
    steps = plan([bad, good], [have()], limits=Limits(1.0, 0, rules))
    assert told(steps) == {"bad@disk": "download missing!", "good@disk": "download missing"}
    assert "policy rule license" in str(steps["bad@disk"].blocked)
    assert "policy rule size" in str(steps["bad@disk"].blocked)


def test_a_copy_stays_in_its_old_place_while_a_rule_keeps_it_from_the_new_one() -> None:
    was, now = want("m", {"p": "1"}, at="a"), want("m", {"p": "1"}, at="b")
    places = [have("a", files={"p": "1"}), have("b", device=2)]
    steps = plan([now], places, [recorded(was)], limits=Limits(1.0, 0, (rule("license", allow=("mit",)),)))
    assert told(steps) == {"m@b": "normalize move!", "m@a": "remove superseded!"}


# -- severity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("severity", ["warning", "info"])
def test_only_an_error_blocks(severity: str) -> None:
    assert not blocked(rule("license", allow=("mit",), severity=severity))


def test_findings_tell_every_severity_also_of_steps_that_are_blocked_for_something_else() -> None:
    place = have(free_bytes=0, total_bytes=10)
    rules = (
        rule("license", allow=("mit",)),
        rule("size", max=1, severity="warning"),
        rule("free_space", min=1, severity="info"),
    )
    steps = tuple(plan([want("m", "abc")], [place], limits=Limits(1.0, 0, rules)).values())
    assert [(f.rule, f.severity) for f in findings(steps, {"disk": place}, rules)] == [
        ("license", "error"), ("size", "warning"),
    ]  # fmt: skip
    roomy = have(free_bytes=3, total_bytes=10)
    free = tuple(plan([want("m", "abc")], [roomy], limits=Limits(1.0, 0, rules[1:])).values())
    assert [(f.rule, f.severity) for f in findings(free, {"disk": roomy}, rules[1:])] == [
        ("size", "warning"), ("free_space", "info"),
    ]  # fmt: skip


def test_a_step_that_is_blocked_for_free_space_is_a_finding_and_takes_none() -> None:
    place = have(free_bytes=20 * MIB, total_bytes=100 * MIB)
    rules = (rule("free_space", min=0.1),)
    wants = [want("big", f"b*{15 * MIB}"), want("small", f"s*{4 * MIB}")]
    steps = tuple(plan(wants, [place], limits=Limits(1.0, 0, rules)).values())
    [found] = findings(steps, {"disk": place}, rules)
    assert (str(found.address), found.severity) == ("big@disk", "error")
    assert found.text == next(step.blocked for step in steps if step.blocked)


def test_without_rules_there_are_no_findings() -> None:
    steps = tuple(judged().values())
    assert findings(steps, {"disk": have()}, ()) == ()


# -- in the manifest --------------------------------------------------------------------------------------------------

RULES = """\
variants: {}
policy:
  rules:
    - { rule: license, allow: [apache-2.0, mit], severity: warning }
    - { rule: free_space, min: 10% }
    - { rule: free_space, min: 20GiB, only: ["*@here"] }
    - { rule: size, max: 50GiB, exempt: [big-one] }
    - { rule: code }
"""


def test_rules_are_read_with_their_place(world: Path) -> None:
    found = rules_of(loaded(world, HEAD + RULES))
    assert [each.kind for each in found] == ["license", "free_space", "free_space", "size", "code"]
    assert found[0] == Rule("license", "warning", ("apache-2.0", "mit"), where=found[0].where)
    assert found[0].where.endswith(f"m.yaml:{HEAD.count(chr(10)) + 4}:7")
    assert [found[1].min, found[2].min, found[3].max] == [0.1, 20 * 2**30, 50 * 2**30]
    assert (found[2].only, found[3].exempt) == (("*@here",), ("big-one",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{ rule: licence, allow: [mit] }", "did you mean `license`?"),
        ("{ rule: license }", "without `allow` or `deny` says nothing"),
        ("{ rule: license, allow: [] }", "expected 1 to 256 globs, found 0"),
        ("{ rule: license, allow: [mit], max: 3GiB }", "`max` does not go with a `license` rule"),
        ("{ rule: size }", "a `size` rule says `max`"),
        ("{ rule: free_space, min: 1.5 }", "expected a share such as `10%` or a size such as `20GiB`"),
        ("{ rule: free_space, min: 110% }", "expected a share such as"),
        ("{ rule: gated, allow: [x] }", "it has neither lists nor limits"),
        ("{ rule: pickle, severity: warn }", "did you mean `warning`?"),
        ("{ rule: pickle, onyl: [x] }", "did you mean `only`?"),
        ("{ allow: [x] }", "`rule` is missing"),
        ("nonsense", "expected a map"),
    ],
)
def test_a_rule_that_says_something_else_is_told_where_it_stands(
    monkeypatch: pytest.MonkeyPatch, world: Path, text: str, expected: str
) -> None:
    [found] = mistakes(monkeypatch, world, f"{HEAD}variants: {{}}\npolicy:\n  rules:\n    - {text}\n")
    assert expected in found
    assert found.startswith(f"m.yaml:{HEAD.count(chr(10)) + 4}:")


# -- patterns that mean nothing ---------------------------------------------------------------------------------------

AT_FIRST = f"m.yaml:{HEAD.count(chr(10)) + 4}:"


def said_of(monkeypatch: pytest.MonkeyPatch, world: Path, rules: str, variants: str = "{}") -> tuple[str, ...]:
    """The warnings of a manifest with one rule, each without the way to its file."""
    monkeypatch.chdir(world)
    found = loaded(world, f"{HEAD}variants: {variants}\npolicy:\n  rules:\n    - {{ {rules} }}\n").warnings
    return tuple(each[each.index("m.yaml:") :] for each in found)


@pytest.mark.parametrize(
    ("pattern", "summary", "hint"),
    [
        ("acme/*", "`acme/*` matches no source", "did you mean `hf:acme/*`?"),
        ("acme", "`acme` matches no source", "did you mean `hf:acme/*`?"),
        ("acme/model", "`acme/model` matches no source", "did you mean `hf:acme/model`?"),
        ("huggingface.co/acme/*", "matches no source", "begin it with the kind of source"),
        ("hf:acme", "`hf:acme` names no repository", "say `hf:acme/*`"),
        ("HF:acme/", "`HF:acme/` names no repository", "say `HF:acme/*`"),
    ],
)
def test_a_pattern_that_no_source_can_match_is_refused_where_it_stands(
    monkeypatch: pytest.MonkeyPatch, world: Path, pattern: str, summary: str, hint: str
) -> None:
    """As a `deny` it would let everything pass, and nobody would notice."""
    for key in ("allow", "deny"):
        text = f"{HEAD}variants: {{}}\npolicy:\n  rules:\n    - {{ rule: namespace, {key}: ['hf:x/*', '{pattern}'] }}\n"
        [found] = mistakes(monkeypatch, world, text)
        assert found.startswith(AT_FIRST)
        assert summary in found
        assert hint in found


@pytest.mark.parametrize(
    "pattern", ["*", "h*", "*acme*", "[h]f:acme/*", "hf:*", "urn:air:*:civitai:*", "https://*", "file:*"]
)
def test_a_pattern_that_some_source_may_match_is_taken(world: Path, pattern: str) -> None:
    text = f"{HEAD}variants: {{}}\npolicy:\n  rules:\n    - {{ rule: namespace, deny: ['{pattern}'] }}\n"
    assert rules_of(loaded(world, text))[0].deny == (pattern,)


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("apache2", "apache-2.0"), ("Apache 2.0", "apache-2.0"), ("Apache License 2.0", "apache-2.0"),
        ("gplv3", "gpl-3.0"), ("apache", "apache*"), ("cc-by-nc", "cc-by-nc*"), ("lama3", "llama3"),
        ("none", "unknown"), ("unknwon", "unknown"),
    ],
)  # fmt: skip
def test_a_licence_that_is_nearly_a_known_one_is_told(
    monkeypatch: pytest.MonkeyPatch, world: Path, pattern: str, meant: str
) -> None:
    [warning] = said_of(monkeypatch, world, f"rule: license, deny: [mit, '{pattern}']")
    assert warning.startswith(AT_FIRST)
    assert f"`{pattern}` names no licence that is known; did you mean `{meant}`?" in warning


@pytest.mark.parametrize(
    "pattern", ["MIT", "GPL-3.0-only", "ODbL-1.0", "cc", "flux-1-dev-*", "qwen-research", "our-own"]
)
def test_a_licence_that_is_known_or_like_no_other_is_taken(
    monkeypatch: pytest.MonkeyPatch, world: Path, pattern: str
) -> None:
    assert said_of(monkeypatch, world, f"rule: license, deny: ['{pattern}']") == ()


def test_a_licence_that_a_variant_declares_is_known(monkeypatch: pytest.MonkeyPatch, world: Path) -> None:
    variants = "{ m: { source: 'hf:acme/m', license: apache2 } }"
    assert said_of(monkeypatch, world, "rule: license, allow: [apache2]", variants) == ()


@pytest.mark.parametrize(("pattern", "meant"), [("safetensor", "safetensors"), (".gguf", "gguf"), ("*.bin", "pickle")])
def test_a_format_that_is_told_of_nothing_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, world: Path, pattern: str, meant: str
) -> None:
    [warning] = said_of(monkeypatch, world, f"rule: format, deny: ['{pattern}', GGUF]")
    assert f"`{pattern}` names no format that is told" in warning
    assert warning.endswith(f"did you mean `{meant}`?")


def test_a_name_under_only_or_exempt_that_nobody_has_is_a_warning(monkeypatch: pytest.MonkeyPatch, world: Path) -> None:
    variants = "{ chat: { source: 'hf:acme/m' } }"
    rule = "rule: gated, only: ['*@weights', chat, 'new-*'], exempt: [chta, 'chat@qqq']"
    found = said_of(monkeypatch, world, rule, variants)
    told = [each.partition(": ")[2] for each in found if "`*@weights`" not in each]
    assert told == ["`chta` names no variant; did you mean `chat`?", "`chat@qqq` names no location"]


def test_the_schema_says_the_same() -> None:
    import jsonschema

    from reconciler.manifest import json_schema

    def valid(**said: Any) -> bool:
        value = {"version": 1, "policy": {"rules": [said]}}
        return jsonschema.Draft202012Validator(json_schema()).is_valid(value)

    assert valid(rule="license", allow=["mit"])
    assert valid(rule="free_space", min="10%")
    assert valid(rule="gated")
    assert not valid(rule="license")
    assert not valid(rule="license", allow=[])
    assert not valid(rule="license", allow=["mit"], max=3)
    assert not valid(rule="size")
    assert not valid(rule="gated", allow=["x"])
    assert not valid(allow=["x"])


# -- on a machine -----------------------------------------------------------------------------------------------------


@pytest.fixture
def box(world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Box]:
    with a_box(world, monkeypatch, capsys) as found:
        yield found


def with_rules(box: Box, *rules: str) -> None:
    lines = "".join(f"    - {{ {each} }}\n" for each in rules)
    box.write({"roles:\n": f"policy:\n  rules:\n{lines}roles:\n"})


def test_a_broken_rule_ends_the_plan_with_3_and_apply_runs_the_others(box: Box) -> None:
    box.hub.add("acme/Tiny-Chat", {"config.json": b"{}"}, license="cc-by-nc-4.0")
    with_rules(box, "rule: license, deny: ['*-nc-*']", "rule: size, max: 1, severity: warning, only: [tiny-chat]")
    told = box.run("plan", "box.yaml")
    assert told.code == 3
    assert "blocked: policy rule license: license cc-by-nc-4.0 is denied by `*-nc-*` (choose another, or" in told.out
    assert f"`exempt: [tiny-chat]` at {box.manifest.name}:" in told.out
    assert "Warning: tiny-chat@weights: policy rule size: 2 B, and a variant may have 1 B" in told.out
    assert box.run("apply", "box.yaml", "--yes").code == 3
    assert [path.suffix for path in box.here.rglob("*.*") if path.suffix in (".gguf", ".safetensors")] == [".gguf"] * 2
    with_rules(box, "rule: license, deny: ['*-nc-*'], exempt: [tiny-chat]")
    assert box.run("plan", "box.yaml").code == 0


def test_findings_are_in_the_document_and_in_a_saved_plan(box: Box) -> None:
    with_rules(box, "rule: license, allow: [mit], only: [tiny-chat]", "rule: size, max: 1, severity: info")
    told = box.run("plan", "box.yaml", "--json", "-o", "plan.json")
    assert [(f["address"], f["rule"], f["severity"]) for f in told.json["findings"]] == [
        ("tiny-chat@weights", "license", "error"), ("tiny-chat@weights", "size", "info"),
        ("tiny-gguf-iq4_xs@lmstudio", "size", "info"), ("tiny-gguf-q4_k_m@lmstudio", "size", "info"),
    ]  # fmt: skip
    assert box.run("show", "plan.json", "--json").json["findings"] == told.json["findings"]
    assert "Policy, info: tiny-gguf-q4_k_m@lmstudio: policy rule size" in box.run("show", "plan.json").out


def test_undo_brings_back_what_a_new_rule_would_refuse(box: Box) -> None:
    box.apply()
    box.without("tiny-chat")
    assert box.run("apply", "box.yaml", "--yes").code == 0
    text = box.manifest.read_text()
    box.manifest.write_text(text + "policy: { rules: [{ rule: license, allow: [mit] }] }\n")
    assert box.run("undo", "box.yaml", "--yes").code == 0
    assert box.weight("model.safetensors").exists()


def test_a_gated_repository_is_known_from_the_lock_without_asking(box: Box) -> None:
    box.hub.token = "t"
    box.hub.add("acme/Tiny-Chat", {"config.json": b"{}"}, gated="manual")
    assert box.run("lock", "box.yaml").code == 0
    assert '"about": {"gated": "manual"}' in (box.here / "box.lock.json").read_text()
    assert box.run("lock", "box.yaml", "--check").code == 0
    told = box.run("plan", "box.yaml", "--offline", "--locked", "--markdown")
    assert told.out.count("gated: upstream asks everybody to agree to something first") == 1
    with_rules(box, "rule: gated")
    assert box.run("plan", "box.yaml", "--offline", "--locked").code == 3
