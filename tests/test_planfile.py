from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import plan_kit as kit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler import planfile, planread
from reconciler.errors import InputError
from reconciler.plan import Action, Bytes, Facts, FileRow, Finding, Place, Plan, Reliance, Selection, Step, Stranger
from reconciler.state import Address, Artifact, Digest, Link, Note, Pin, Support

texts = st.text(max_size=12)
words = st.text(st.characters(codec="utf-8", exclude_characters="@"), min_size=1, max_size=8)
counts = st.integers(0, 2**62)
digests = st.integers(0, 2**64).map(kit.digest) | st.integers(0, 2**64).map(lambda n: Digest(f"git-sha1:{n:040x}"))
paths = st.lists(st.text("abc .é", min_size=1, max_size=5).filter(lambda part: part != ".."), min_size=1).map("/".join)
rows = st.builds(
    FileRow, paths, counts, st.none() | digests, st.sampled_from(["fetch", "link", "copy", "move", "none"]),
    texts, texts, st.booleans(), texts, st.booleans(),
)  # fmt: skip
maybe = st.none() | texts
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
facts = st.builds(
    Facts, maybe, maybe, maybe, maybe, maybe, maybe, maybe, maybe, maybe, st.booleans(),
    st.dictionaries(texts, counts, max_size=2), st.dictionaries(texts, json_values, max_size=2), gated=st.booleans(),
    told=st.dictionaries(texts, json_values, max_size=2),
)  # fmt: skip
addresses = st.builds(Address, texts, words)
some_rows = st.lists(rows, max_size=2).map(tuple)
steps = st.builds(
    Step, addresses, st.sampled_from(list(Action)), texts, st.none() | facts, st.none() | facts, some_rows,
    st.builds(Bytes, counts, counts, counts), maybe, some_rows,
    st.lists(st.builds(Link, texts, texts), max_size=1).map(tuple),
    st.lists(st.builds(Note, texts, texts), max_size=1).map(tuple), st.none() | addresses,
    entry=st.none() | st.fixed_dictionaries({"name": texts, "roles": st.lists(texts, max_size=1), "x": st.none()}),
)  # fmt: skip
URLS = st.sampled_from(["", "https://host/a?b"])
MEDIA = st.sampled_from(["", "application/vnd.ollama.image.model"])
ALSO = st.sampled_from([(), (("autov2", "0123456789"), ("blake3", "ab" * 32))])
pins = st.builds(
    Pin, texts, maybe,
    st.lists(st.builds(Artifact, texts, counts, digests, st.booleans(), URLS, MEDIA, ALSO), max_size=2).map(tuple),
    maybe, st.none() | st.builds(Support, texts, texts),
)  # fmt: skip
globs = st.lists(texts, max_size=2).map(tuple)
plans = st.builds(
    Plan, texts, texts, digests, texts, st.none() | digests, texts, counts,
    st.dictionaries(
        words,
        st.builds(Place, texts, texts, maybe, counts, st.booleans(), texts, counts, total_bytes=counts),
        max_size=2,
    ),
    st.lists(steps, max_size=3).map(tuple), counts, counts, st.dictionaries(words, pins, max_size=2),
    st.builds(Selection, globs, globs, globs),
    st.lists(st.builds(Reliance, texts, texts, st.none() | st.tuples(counts, counts, counts)), max_size=2).map(tuple),
    globs,
    strangers=st.lists(
        st.builds(Stranger, texts, st.sampled_from(["curated", "discovered"]), globs, globs), max_size=2
    ).map(tuple),
    findings=st.lists(
        st.builds(Finding, addresses, texts, st.sampled_from(["error", "warning", "info"]), texts), max_size=2
    ).map(tuple),
)  # fmt: skip


def reforged(document: dict[str, Any]) -> str:
    """The document with sums that fit: what somebody would do who knows how."""
    document["plan_id"] = planread.portable_id(document)
    document["checksum"] = planread.checksum(document)
    return json.dumps(document)


def refused(text: str | bytes) -> str:
    with pytest.raises(InputError) as caught:
        planfile.loads(text, "saved.plan")
    (problem,) = caught.value.problems
    assert problem.where == "saved.plan"
    assert problem.hint
    return problem.summary


@settings(max_examples=150, deadline=None)
@given(plans)
def test_every_plan_loads_back_equal_and_is_strict_ascii_json(plan: Plan) -> None:
    text = planfile.dumps(plan)
    assert text.isascii()
    assert json.loads(text, parse_constant=pytest.fail) == planfile.to_json(plan)
    loaded = planfile.loads(text, "a plan")
    assert loaded == plan
    assert planfile.dumps(loaded) == text
    assert planfile.plan_id(plan) == json.loads(text)["plan_id"]


def test_the_document_has_the_promised_keys() -> None:
    document = planfile.to_json(kit.workstation())
    assert list(document)[:7] == ["format_version", "plan_id", "manifest", "lock", "registry", "locations", "steps"]
    assert document["format_version"] == "1.0"
    assert document["unmanaged"] == {"files": 3, "bytes": 1_400_000_000}
    assert document["summary"]["blocked"] == 2
    first = document["steps"][0]
    assert list(first) == ["address", "action", "reason", "blocked", "before", "after", "files", "bytes"]
    assert first["address"] == "qwen2.5-vl-7b-instruct-vllm-awq@linux_wsl"
    assert first["after"] | {"revision": kit.REVISION_A, "roles": {"caption": 1}, "quant": "awq"} == first["after"]
    assert list(first["files"][0]) == ["path", "size", "digest", "method"]
    assert first["bytes"] == {"download": 6_900_000_000, "reuse": 0, "trash": 0}
    assert {"root", "id", "free_bytes", "readable"} <= set(document["locations"]["comfy"])


def test_the_saved_document_is_the_same_to_the_letter(snapshot: Any) -> None:
    assert planfile.dumps(kit.workstation()) == snapshot


def test_a_step_is_one_line_so_that_saved_plans_compare_well() -> None:
    one = planfile.dumps(kit.plan([kit.keep("a@x"), kit.keep("b@x")])).splitlines()
    two = planfile.dumps(kit.plan([kit.keep("a@x"), kit.download("b@x")])).splitlines()
    differing = [(old, new) for old, new in zip(one, two, strict=True) if old != new]
    assert len(differing) == 4  # the step, the summary, the id, the checksum


def test_numbers_that_are_none_and_line_separators_stay_strict_json() -> None:
    odd = {"nan": float("nan"), "inf": [float("inf")], "text": "a\u2028b"}
    text = planfile.dumps(kit.plan([kit.download("a@x", after=Facts(metadata=odd))]))
    assert "NaN" not in text
    assert "Infinity" not in text
    assert "\u2028" not in text
    loaded = planfile.loads(text, "a plan").steps[0].after
    assert loaded is not None
    assert loaded.metadata == {"nan": None, "inf": [None], "text": "a\u2028b"}


def test_a_file_name_that_is_not_utf8_survives() -> None:
    plan = kit.plan([kit.remove("a@x", trash=(kit.row("bad\udcff.gguf", method="none"),))])
    assert planfile.loads(planfile.dumps(plan), "a plan") == plan


def test_the_id_is_the_same_on_another_machine_and_a_minute_later() -> None:
    here = kit.workstation()
    there = replace(
        here,
        manifest_path="/elsewhere/reconciler.yaml",
        lock_path="/elsewhere/lock.json",
        registry_path="/elsewhere/registry",
        locations={
            location: replace(place, root="/other" + place.root, id="other", free_bytes=1, device=99)
            for location, place in here.locations.items()
        },
        steps=tuple(replace(step, blocked=step.blocked and "needs 3 GiB, 2 GiB free") for step in here.steps),
        relies_on=(Reliance("comfy", "a", (1, 2, 3)),),
        unmanaged_files=99,
    )
    assert planfile.plan_id(there) == planfile.plan_id(here)


@pytest.mark.parametrize(
    "change",
    [
        {"manifest_digest": kit.digest(9)},
        {"manifest_name": "other"},
        {"lock_digest": None},
        {"registry_serial": 8},
        {"steps": ()},
        {"resolved": {}},
        {"selection": Selection(allow=("remove:x",))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_id_changes_with_every_input(change: dict[str, Any]) -> None:
    plan = kit.workstation()
    assert planfile.plan_id(replace(plan, **change)) != planfile.plan_id(plan)


def test_the_id_changes_when_a_step_becomes_blocked() -> None:
    free = kit.plan([kit.download("a@x")])
    assert planfile.plan_id(kit.plan([kit.download("a@x", blocked="why")])) != planfile.plan_id(free)


def test_a_change_of_any_character_of_the_id_is_refused() -> None:
    text = planfile.dumps(kit.plan([kit.download("a@x")]))
    start = text.index("sha256:")
    for position in range(start, start + 71):
        other = "0" if text[position] != "0" else "1"
        assert "plan_id" in refused(text[:position] + other + text[position + 1 :])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"action": "download"', '"action": "prune"'),
        ("/srv/x", "/etc"),
        ('"serial": 7', '"serial": 8'),
        ('"path": "model.gguf"', '"path": "other.gguf"'),
        ('"readable": true', '"readable": false'),
        ('"why": "gone"', '"why": "here"'),
    ],
)
def test_a_change_by_hand_anywhere_is_refused(old: str, new: str) -> None:
    text = planfile.dumps(kit.plan([kit.download("a@x")], {"x": kit.place("/srv/x", why="gone")}))
    planfile.loads(text, "control: the plan itself is fine")
    assert old in text
    assert "changed" in refused(text.replace(old, new, 1))


def test_every_truncation_is_refused() -> None:
    text = planfile.dumps(kit.plan([kit.download("a@x")]))
    for length in range(0, len(text) - 2, 7):
        refused(text[:length])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe\x00",
        b"PK\x03\x04",
        b"[" * 200_000,
        b'{"format_version": NaN}',
        b"1" * 5000,
    ],
    ids=["empty", "null", "list", "object", "bytes", "zip", "deep", "nan", "long"],
)
def test_what_is_no_plan_is_refused_in_one_line(text: bytes) -> None:
    assert "\n" not in refused(text)


def test_a_key_that_stands_twice_is_refused() -> None:
    text = planfile.dumps(kit.plan())
    assert "twice" in refused(text.replace('"serial": 7', '"serial": 7, "serial": 7'))


def test_another_major_version_is_refused_and_a_minor_one_is_read() -> None:
    plan = kit.plan([kit.download("a@x")])
    document = planfile.to_json(plan)
    assert "another reconciler" in refused(reforged(document | {"format_version": "2.0"}))
    assert "MAJOR.MINOR" in refused(reforged(document | {"format_version": 1}))
    newer = document | {"format_version": "1.7", "weather": "fine"}
    newer["steps"][0]["mood"] = "good"
    assert planfile.loads(reforged(newer), "newer") == plan


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (("steps", 0, "action"), "explode", "steps[0].action"),
        (("steps", 0, "address"), "nowhere", "steps[0].address"),
        (("steps", 0, "files", 0, "size"), -1, "steps[0].files[0].size"),
        (("steps", 0, "files", 0, "size"), True, "steps[0].files[0].size"),
        (("steps", 0, "files", 0, "digest"), "sha256:../../x", "steps[0].files[0].digest"),
        (("steps", 0, "files", 0, "method"), "run", "steps[0].files[0].method"),
        (("steps", 0, "files", 0, "path"), "../../etc/passwd", "steps[0].files[0].path"),
        (("steps", 0, "files", 0, "path"), "/etc/passwd", "steps[0].files[0].path"),
        (("steps", 0, "files"), "none", "steps[0].files"),
        (("registry", "serial"), "7", "registry.serial"),
        (("relies_on",), [["x", "a", [1, 2]]], "relies_on[0]"),
        (("locations", "x", "root"), None, "locations.x.root"),
    ],
)
def test_a_wrong_value_is_refused_by_its_place_even_under_sums_that_fit(
    path: tuple[str | int, ...], value: object, where: str
) -> None:
    document = planfile.to_json(kit.plan([kit.download("a@x")]))
    target: Any = document
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    assert refused(reforged(document)).startswith(where + ":")


def test_a_saved_plan_is_for_its_owner_alone_and_reads_back(world: Path) -> None:
    path = world / "plan.json"
    path.write_text("an older one")
    path.chmod(0o644)
    planfile.write(path, kit.workstation())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert planfile.read(path) == kit.workstation()
    assert [entry.name for entry in world.iterdir()] == ["plan.json"]


def test_a_plan_file_that_is_not_there_is_an_input_error(world: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        planfile.read(world / "absent.json")


@pytest.mark.parametrize("layer", ["merged", "", 1, None])
def test_a_stranger_is_of_a_layer_that_there_is(layer: object) -> None:
    stranger = Stranger("old", "discovered", ("gone",), ("x",))
    document = planfile.to_json(replace(kit.workstation(), strangers=(stranger,)))
    document["strangers"][0]["layer"] = layer
    assert "strangers[0].layer: expected" in refused(reforged(document))
