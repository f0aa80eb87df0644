"""Whatever is declared, lies around, was recorded or tampered with: plans touch nothing of others, and converge."""

from __future__ import annotations

from collections.abc import Iterable
from graphlib import CycleError
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.desired import settle_destinations
from reconciler.plan import Action, Plan, Selection
from reconciler.state import Desired, Link, Note
from tests.sandbox_kit import Disk, Machine
from tests.world_kit import want

VARIANTS = ("a", "b", "c", "d")
PLACES = ("x", "y", "z")
PATHS = ("p", "q", "d/r")
WORDS = ("one", "two", "eno", "big*2000000", "gib*2000000")

_files = st.dictionaries(st.sampled_from(PATHS), st.sampled_from(WORDS), min_size=1, max_size=3)
_extras = st.sampled_from(
    [
        ((), ()),
        ((Link("s/c1/p", "../../p"),), (Note("refs/main", "c1"),)),
        ((Link("s/c2/p", "../../p"), Link("s/c2/q", "../../q")), (Note("refs/main", "c2"),)),
    ]
)
_variant = st.sampled_from(VARIANTS)
_place = st.sampled_from(PLACES)
_declare = st.tuples(st.just("declare"), _variant, _place, _files, _extras, st.sampled_from([False, False, True]))
_apply = st.tuples(
    st.just("apply"), st.sampled_from(["me", "me", "you"]), st.sampled_from([(), (), ("a",), ("b@*", "c")])
)
_change = st.one_of(
    _declare,
    _declare,
    _declare,
    _apply,
    _apply,
    _apply,
    st.tuples(st.just("undeclare"), _variant),
    st.tuples(st.just("rename"), _variant, _variant),
    st.tuples(st.just("write"), _place, st.sampled_from([*PATHS, "refs/main"]), st.sampled_from([*WORDS, "c1"])),
    st.tuples(st.just("touch"), _place, st.sampled_from(PATHS)),
    st.tuples(st.just("delete"), _place, st.sampled_from(PATHS)),
    st.tuples(st.just("link"), _place, st.sampled_from(["s/c1/p", "q"]), st.sampled_from(["../../p", "/etc"])),
    st.tuples(st.just("mount"), _place, st.booleans()),
)


class Story:
    """A machine and two manifests that share its registry and its disks."""

    def __init__(self) -> None:
        self.machine = Machine({"x": Disk(1), "y": Disk(2), "z": Disk(1)})
        self.declared: dict[str, dict[str, Desired]] = {"me": {}, "you": {}}
        self.who = "me"

    def tell(self, change: tuple[Any, ...]) -> None:
        match change:
            case ("declare", variant, place, files, (links, notes), protect):
                free = not any(self.machine.disks[place].links.get(path) for path in files)
                if free:
                    self.declared[self.who][variant] = want(
                        variant, files, at=place, links=links, notes=notes, revision=str(len(files)), protect=protect
                    )
            case ("undeclare", variant):
                self.declared[self.who].pop(variant, None)
            case ("rename", old, new) if new not in self.declared[self.who] and old in self.declared[self.who]:
                one = self.declared[self.who].pop(old)
                files = {p.path: _word(p.artifact.digest) for p in one.layout.files}
                self.declared[self.who][new] = want(
                    new, files, at=one.address.location, links=one.layout.links, notes=one.layout.notes
                )
            case ("apply", who, selected):
                self.who = who
                self.converge(selected)
            case ("write", place, path, word) if path not in self.machine.disks[place].links:
                self.machine.write(place, path, word)
            case ("touch", place, path) if path in self.machine.disks[place].files:
                self.machine.write(place, path, self.machine.disks[place].files[path].word)
            case ("delete", place, path):
                self.machine.disks[place].files.pop(path, None)
            case ("link", place, path, target) if path not in self.machine.disks[place].files:
                self.machine.disks[place].links[path] = target
            case ("mount", place, readable):
                self.machine.disks[place].readable = readable

    def desired(self) -> tuple[Desired, ...]:
        return settle_destinations(self.declared[self.who].values())[0]

    def plan(self, selected: tuple[str, ...] = (), allow: tuple[str, ...] = ()) -> Plan:
        from reconciler.selecting import is_selected, left_out, scope

        selection = Selection(target=selected, allow=allow)
        desired = self.desired()
        return self.machine.plan(
            [wanted for wanted in desired if is_selected(selection, wanted.address)],
            selection,
            scope=scope(desired, (), selection),
            unselected=tuple(left_out(desired, selection)),
            whole=not selected,
        )

    def converge(self, selected: tuple[str, ...] = (), allow: tuple[str, ...] = ()) -> None:
        machine = self.machine
        machine.manifest = self.who
        theirs = [record for record in machine.records if record.manifest != self.who]
        unmanaged = self.unmanaged()
        plan = self.plan(selected, allow)
        again = self.plan(selected, allow)
        assert plan == again, "the same world, the same plan"
        told = {address for step in plan.steps for address in (step.address, step.renamed_from)}
        bystanders = [r for r in machine.records if r.address not in told and r.manifest == self.who]
        intact = {id(record) for record in (*theirs, *bystanders) if self.stands(record)}
        machine.apply(plan)
        now = self.unmanaged(all_of_it=True)
        for key, word in unmanaged.items():
            assert now.get(key) == word, f"{key} is nobody's of ours"
        assert [record for record in machine.records if record.manifest != self.who] == theirs
        for record in (*theirs, *bystanders):
            assert id(record) not in intact or self.stands(record), f"{record.address} lost a file"
        left = self.plan(selected, allow)
        changes = [(str(s.address), s.action, s.reason, s.files, s.trash) for s in left.changes]
        assert not changes, f"{changes} after {[(str(s.address), s.action, s.reason) for s in plan.changes]}"
        blocked = {step.address for step in plan.blocked}
        assert {step.address for step in left.blocked} <= blocked | {step.address for step in left.blocked}

    def stands(self, record: Any) -> bool:
        disk = self.machine.disks[record.root.removeprefix("/srv/")]
        return all(p.path in disk.files and _word(p.digest) == disk.files[p.path].word for p in record.files)

    def unmanaged(self, *, all_of_it: bool = False) -> dict[tuple[str, str], str]:
        found: dict[tuple[str, str], str] = {}
        for name, disk in self.machine.disks.items():
            ours = set() if all_of_it else self.machine.managed(name)
            found |= {(name, path): inode.word for path, inode in disk.files.items() if path not in ours}
            found |= {(name, path): target for path, target in disk.links.items() if path not in ours}
        return found


def _word(known: Any) -> str:
    from tests.world_kit import word_of

    return word_of(known)


def _told(changes: Iterable[tuple[Any, ...]]) -> Story:
    story = Story()
    for change in changes:
        story.tell(change)
    return story


@settings(max_examples=300, deadline=None)
@given(st.lists(_change, min_size=5, max_size=25))
def test_any_story_ends_in_a_plan_without_changes(changes: list[tuple[Any, ...]]) -> None:
    story = _told(changes)
    for who in ("me", "you"):
        story.who = who
        story.converge()


@settings(max_examples=100, deadline=None)
@given(st.lists(_change, min_size=5, max_size=20))
def test_what_is_removed_and_declared_again_comes_back(changes: list[tuple[Any, ...]]) -> None:
    story = _told(changes)
    story.who = "me"
    story.converge()
    kept = {step.address for step in story.plan().steps if step.action is Action.KEEP and not step.blocked}
    declared = dict(story.declared["me"])
    story.declared["me"] = {}
    story.converge(allow=("*",))
    story.declared["me"] = declared
    story.converge()
    after = {step.address for step in story.plan().steps if step.action is Action.KEEP and not step.blocked}
    assert kept <= after


_NONE: Any = ((), ())
_SWAP = [
    ("declare", "a", "x", {"p": "one"}, _NONE, False),
    ("declare", "b", "x", {"q": "two"}, _NONE, False),
    ("apply", "me", ()),
    ("declare", "a", "x", {"p": "two"}, _NONE, False),
    ("declare", "b", "x", {"q": "one"}, _NONE, False),
]
_SHARED = [
    ("declare", "a", "x", {"p": "one", "q": "two"}, _NONE, False),
    ("declare", "b", "x", {"p": "one"}, _NONE, False),
    ("apply", "me", ()),
    ("undeclare", "a"),
]
_OTHERS = [
    ("declare", "a", "x", {"p": "one"}, _NONE, False),
    ("apply", "me", ()),
    ("apply", "you", ()),
    ("declare", "b", "x", {"p": "one"}, _NONE, False),
    ("apply", "you", ()),
    ("apply", "me", ()),
    ("declare", "a", "x", {"p": "two"}, _NONE, False),
]


@pytest.mark.parametrize(
    ("story", "broken", "how"),
    [
        (_SWAP, "reconciler.diff._leaving_origins", lambda *_: {}),
        (_SHARED, "reconciler.world.World.keeps", lambda *_: False),
        (_OTHERS, "reconciler.world.World.holder", lambda *_: None),
    ],
    ids=["takes bytes that are being replaced", "removes what others hold", "replaces what another manifest holds"],
)
def test_the_model_catches_a_planner_that(
    story: list[tuple[Any, ...]], broken: str, how: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _told(story).converge()
    monkeypatch.setattr(broken, how)
    with pytest.raises((AssertionError, KeyError, CycleError)):
        _told(story).converge()
