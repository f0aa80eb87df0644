"""Present, absent, unknown; and the short hashes of image people."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.state import ObservedFile, ObservedLocation
from reconciler.ui.detection import Names, Sighting, Wanted, detect, together, unread
from reconciler.ui.hashes import data_of, kinship, read

SHA, OTHER = "ab" * 32, "cd" * 32


def place(*files: tuple[str, int], **facts: object) -> ObservedLocation:
    found = {path: ObservedFile(path, size, 1, number, 1) for number, (path, size) in enumerate(files)}
    return ObservedLocation("comfy", "comfyui", "/c/models", files=found, **facts)  # type: ignore[arg-type]


def sighted(wanted: Wanted, *places: ObservedLocation, known: Mapping[str, Names] | None = None) -> Sighting:
    [found] = detect([wanted], places, lambda _, file: (known or {}).get(file.path, {}))
    return found


LOCKED = Wanted("detail", "345", 10, (("sha256", SHA), ("autov3", "0123456789ab")))


def test_a_file_with_the_locked_digest_is_present_under_any_name() -> None:
    found = sighted(
        LOCKED, place(("loras/renamed.safetensors", 10)), known={"loras/renamed.safetensors": {"sha256": SHA}}
    )
    assert (found.verdict, found.how, found.path) == ("present", "digest", "loras/renamed.safetensors")


def test_a_file_where_it_was_recorded_is_present_unless_its_bytes_say_otherwise() -> None:
    wanted = LOCKED._replace(paths=(("comfy", "loras/a.safetensors"),))
    assert sighted(wanted, place(("loras/a.safetensors", 10))).how == "record"
    known = {"loras/a.safetensors": {"sha256": OTHER}}
    assert sighted(wanted, place(("loras/a.safetensors", 10)), known=known).verdict == "absent"


def test_a_name_of_civitdl_with_the_whole_version_is_believed_while_nothing_contradicts() -> None:
    path = "loras/x-mid_12-vid_345.safetensors"
    assert sighted(LOCKED, place((path, 10))).how == "name"
    assert sighted(Wanted("x", "345"), place((path, 99))).how == "name"
    assert sighted(LOCKED, place((path, 99))).verdict == "absent"
    assert "other bytes" in sighted(LOCKED, place((path, 99))).why


def test_a_longer_number_is_another_version() -> None:
    found = sighted(Wanted("x", "149898"), place(("x-mid_1-vid_1498986.safetensors", 1)))
    assert (found.verdict, found.why) == ("absent", "no such file")


def test_a_rewritten_header_is_told_as_such() -> None:
    path = "x-mid_12-vid_345.safetensors"
    known = {path: {"sha256": OTHER, "autov3": "0123456789ab"}}
    found = sighted(LOCKED, place((path, 12)), known=known)
    assert (found.verdict, found.how) == ("present", "rewritten")
    assert "tensors are the same" in found.why


def test_the_first_ten_digits_are_enough_where_no_more_are_known() -> None:
    wanted = Wanted("x", "", None, (("autov2", SHA[:10].upper()),))
    assert sighted(wanted, place(("a.safetensors", 1)), known={"a.safetensors": {"sha256": SHA}}).verdict == "present"
    assert sighted(wanted, place(("a.safetensors", 1)), known={"a.safetensors": {"sha256": OTHER}}).verdict == "absent"


@pytest.mark.parametrize(
    "there",
    [
        place(readable=False, why="is the disk mounted?"),
        place(others={"loras": "cannot be read: Permission denied"}),
        place(("anything.bin", 10)),
    ],
)
def test_nothing_is_absent_because_somebody_could_not_look(there: ObservedLocation) -> None:
    found = sighted(LOCKED, there)
    assert found.verdict == "unknown"
    assert found.why


def test_a_file_of_another_size_need_not_be_read() -> None:
    assert sighted(LOCKED, place(("a.safetensors", 11))).verdict == "absent"
    assert unread([LOCKED], [place(("a", 10), ("b", 11))], lambda *_: {}) == (
        ("comfy", ObservedFile("a", 10, 1, 0, 1)),
    )  # fmt: skip


def test_nothing_is_read_once_the_digest_is_found() -> None:
    known = {"a": {"sha256": SHA}}
    assert unread([LOCKED], [place(("a", 10), ("b", 10))], lambda _, file: known.get(file.path, {})) == ()


def test_many_models_of_one_size_ask_for_each_file_once() -> None:
    there = place(*((f"{number}.safetensors", 10) for number in range(3)))
    wanted = [LOCKED._replace(name=str(number), names=(("sha256", f"{number:064x}"),)) for number in range(5)]
    assert [file.path for _, file in unread(wanted, [there], lambda *_: {})] == [f"{n}.safetensors" for n in range(3)]


def test_a_wanted_thing_without_any_identity_stays_unknown() -> None:
    assert sighted(Wanted("slug"), place()).verdict == "unknown"


def test_a_pair_is_present_only_when_both_are() -> None:
    high, low = Wanted("high", "1"), Wanted("low", "2")
    both = place(("h-mid_9-vid_1.safetensors", 1), ("l-mid_9-vid_2.safetensors", 1))
    half = place(("h-mid_9-vid_1.safetensors", 1))
    blind = place(("h-mid_9-vid_1.safetensors", 1), others={"x": "cannot be read: no"})
    verdicts = [
        together("pair", detect([high, low], [each], lambda *_: {})).verdict for each in (both, half, blind)
    ]  # fmt: skip
    assert verdicts == ["present", "absent", "unknown"]
    assert "1 of 2 present; low: no such file" in together("pair", detect([high, low], [half], lambda *_: {})).why
    assert together("nothing", ()).verdict == "unknown"


def test_of_two_files_of_a_version_the_one_of_the_upstream_name_is_meant() -> None:
    there = place(("high-mid_9-vid_1.safetensors", 1), ("low-mid_9-vid_1.safetensors", 1))
    assert sighted(Wanted("x", "1", file="low.safetensors"), there).path == "low-mid_9-vid_1.safetensors"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.sampled_from(["a", "x-mid_1-vid_345.safetensors", "b.safetensors"]), st.integers(9, 11))),
    st.dictionaries(st.sampled_from(["a", "b.safetensors"]), st.sampled_from([SHA, OTHER])),
    st.booleans(),
)
def test_absent_is_never_said_while_a_file_that_could_be_it_was_not_read(
    files: list[tuple[str, int]], digests: dict[str, str], blind: bool
) -> None:
    there = place(*files, others={"x": "cannot be read: no"} if blind else {})
    known: dict[str, Names] = {path: {"sha256": digest} for path, digest in digests.items()}
    found = sighted(LOCKED, there, known=known)
    if any(file.size == 10 and known.get(path, {}).get("sha256") == SHA for path, file in there.files.items()):
        assert found.verdict == "present"
    elif found.verdict == "absent":
        assert not blind
        assert all(path in known for path, file in there.files.items() if file.size == 10)


# -- hashes -----------------------------------------------------------------------------------------------------------


def safetensors(data: bytes, **notes: str) -> bytes:
    header = json.dumps(
        {"__metadata__": notes, "w": {"dtype": "U8", "shape": [len(data)], "data_offsets": [0, len(data)]}}
    )
    return len(header).to_bytes(8, "little") + header.encode() + data


def test_a_note_in_the_header_changes_everything_but_autov3() -> None:
    data = bytes(range(256)) * 8192
    one, two = read(io.BytesIO(safetensors(data))), read(io.BytesIO(safetensors(data, title="mine")))
    assert (one.sha256 != two.sha256, one.autov2 != two.autov2) == (True, True)
    assert one.autov3 == two.autov3 == hashlib.sha256(data).hexdigest()[:12]
    assert kinship(one.named(), two.named()) == "rewritten"


def test_autov1_is_of_sixty_four_kibibytes_at_one_mebibyte() -> None:
    data = bytes(range(256)) * 8192
    assert read(io.BytesIO(data)).autov1 == hashlib.sha256(data[0x100000:0x110000]).hexdigest()[:8]
    assert read(io.BytesIO(b"short")).autov1 == ""


def test_autov2_is_the_beginning_of_the_sha256() -> None:
    found = read(io.BytesIO(b"abc"))
    assert (found.autov2, found.autov3) == (hashlib.sha256(b"abc").hexdigest()[:10], "")


@pytest.mark.parametrize(
    "data", [b"", b"short", b"\xff" * 64, (200).to_bytes(8, "little") + b"{", (2).to_bytes(8, "little") + b"[]"]
)
def test_what_is_no_safetensors_file_has_no_tensors(data: bytes) -> None:
    assert data_of(io.BytesIO(data)) is None


def test_a_header_that_is_longer_than_one_reading_is_found_too() -> None:
    whole = safetensors(b"data", long="x" * (3 << 20))
    assert data_of(io.BytesIO(whole)) == len(whole) - 4
    assert read(io.BytesIO(whole)).autov3 == hashlib.sha256(b"data").hexdigest()[:12]


@pytest.mark.parametrize(
    ("one", "two", "kin"),
    [
        ({"sha256": SHA}, {"sha256": SHA.upper()}, "same"),
        ({"sha256": SHA}, {"autov2": SHA[:10]}, "same"),
        ({"blake3": "11"}, {"blake3": "11"}, "same"),
        ({"sha256": SHA}, {"sha256": OTHER}, "other"),
        ({"sha256": SHA, "autov3": "1" * 64}, {"sha256": OTHER, "autov3": "1" * 12}, "rewritten"),
        ({"autov1": "aa"}, {"autov1": "aa"}, "unknown"),
        ({}, {"sha256": SHA}, "unknown"),
    ],
)
def test_kinship_is_told_by_the_longest_names_that_both_have(one: Names, two: Names, kin: str) -> None:
    assert kinship(one, two) == kin
