from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.content import Situation
from reconciler.state import Link, Note
from tests.world_kit import contents, digest, file, have, recorded, want

M = want("m", {"p": "abc"})
P = M.layout.files[0]


@pytest.mark.parametrize(
    ("lies", "records", "reads", "situation"),
    [
        ({}, [], {}, Situation.MISSING),
        ({"p": "abc"}, [recorded(M)], {}, Situation.RIGHT),
        ({"p": "abc"}, [], {"disk:p": "abc"}, Situation.RIGHT),
        ({"p": "abc"}, [], {}, None),
        ({"p": "abX"}, [], {"disk:p": "abX"}, Situation.FOREIGN),
        ({"p": "longer"}, [], {}, Situation.FOREIGN),
        ({"p": "longer"}, [recorded(want("m", {"p": "longer"}))], {}, Situation.OLD),
        ({"p": "abX"}, [recorded(want("m", {"p": "abX"}))], {}, Situation.OLD),
        ({"p": "abX"}, [recorded(M)], {"disk:p": "abX"}, Situation.CORRUPT),
        ({"p": "abX"}, [recorded(M)], {}, None),
        ({"p": "abX"}, [recorded(want("m", {"p": "abX"}), manifest="you")], {}, Situation.FOREIGN),
    ],
)
def test_what_lies_at_a_wanted_path(lies, records, reads, situation) -> None:  # type: ignore[no-untyped-def]
    assert contents([have(files=lies)], records, reads).situation("disk", P) is situation


def test_what_was_read_counts_more_than_what_was_recorded() -> None:
    known = contents([have(files={"p": "abc"})], [recorded(M)], {"disk:p": "rot"})
    assert known.digest_of("disk", file("p", "abc"), "sha256") == digest("rot")
    assert known.situation("disk", P) is Situation.CORRUPT


def test_one_file_of_two_records_is_known_by_either() -> None:
    stale = replace(recorded(M), files=(recorded(M).files[0]._replace(inode=1),))
    other = recorded(want("n", {"p": "abc"}))
    for records in ([stale, other], [other, stale]):
        assert contents([have(files={"p": "abc"})], records).situation("disk", P) is Situation.RIGHT


def test_a_record_says_nothing_of_a_file_of_the_same_name_elsewhere() -> None:
    known = contents([have(), have("other", {"p": "abc"})], [recorded(M)])
    assert known.situation("other", P) is None


def test_links_and_notes_are_told_apart_from_those_of_others() -> None:
    link, note = Link("s/p", "../p"), Note("refs/main", "c1")
    ours = recorded(want("m", {"p": "abc"}, links=(Link("s/p", "../was"),), notes=(Note("refs/main", "c0"),)))
    free = contents([have()])
    assert free.link_situation("disk", link) is free.note_situation("disk", note) is Situation.MISSING
    lies = have(files={"refs/main": "c0"}, links={"s/p": "../was"})
    reads = {"disk:refs/main": "c0"}
    mine, foreign = contents([lies], [ours], reads), contents([lies], [], reads)
    assert mine.link_situation("disk", link) is mine.note_situation("disk", note) is Situation.OLD
    assert foreign.link_situation("disk", link) is foreign.note_situation("disk", note) is Situation.FOREIGN
    assert contents([lies]).note_situation("disk", note) is None


def test_only_what_cannot_be_read_hides() -> None:
    place = have(others={"dir": "cannot be read: Permission denied", "pipe": "a pipe"})
    known = contents([place])
    assert known.hidden("disk", "dir/sub/p") == "dir cannot be read: Permission denied"
    assert known.hidden("disk", "pipe") is known.hidden("disk", "directory") is None
