"""A machine in memory on which plans are carried out to the letter: it refuses whatever an apply must refuse."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from reconciler.apply.order import runnable
from reconciler.content import Contents, Held
from reconciler.decide import settle
from reconciler.diff import questions
from reconciler.plan import Action, FileRow, Plan, Selection, Step
from reconciler.safety import Limits
from reconciler.state import (
    Attributes,
    Desired,
    Digest,
    ObservedFile,
    ObservedLocation,
    Pin,
    Placed,
    Record,
    Trashed,
    identity_key,
)
from reconciler.world import World, address_of
from tests.world_kit import ME, ROOMY, digest, size, word_of

EVERYTHING = frozenset(action for action in Action if action is not Action.KEEP)


@dataclass
class Inode:
    """Bytes, told by a word, and the number that tells them from other bytes."""

    word: str
    number: int


@dataclass
class Disk:
    """One location."""

    device: int
    files: dict[str, Inode] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    trash: dict[str, tuple[Inode, Digest | None]] = field(default_factory=dict)
    readable: bool = True


@dataclass
class Machine:
    """Disks by location, the registry, and what reading files has taught."""

    disks: dict[str, Disk]
    records: list[Record] = field(default_factory=list)
    known: dict[tuple[int, int, int, int], dict[str, Digest]] = field(default_factory=dict)
    count: int = 0
    manifest: str = ME
    ours: dict[str, set[str]] = field(default_factory=dict)
    """Paths that some record spoke of when the apply began, by location."""

    def write(self, where: str, path: str, word: str) -> None:
        """Do what a user does behind our back."""
        self.disks[where].files[path] = self._inode(word)

    def plan(self, desired: Iterable[Desired], selection: Selection = Selection(), **more: object) -> Plan:
        """Look, read what must be read, and plan."""
        world = World(tuple(desired), self._contents(), **more)  # type: ignore[arg-type]
        for _ in range(2):
            for question in questions(world):
                inode = self.disks[question.location].files[question.file.path]
                self.known.setdefault(identity_key(question.file), {})[question.algorithm] = digest(inode.word)
            world = replace(world, contents=replace(world.contents, known=dict(self.known)))  # type: ignore[arg-type]
        assert not questions(world)
        _, steps = settle(world, Limits(1.0, 0), selection, lambda _: {})
        return Plan("", "", Digest(""), "", None, "", 0, {}, steps)

    def apply(self, plan: Plan) -> None:
        """Carry out the unblocked steps, in the order in which apply would."""
        self.ours = {name: self.managed(name) for name in self.disks}
        for step in runnable(plan, EVERYTHING):
            if step.after is None:
                self._take_away(step)
            else:
                self._bring_in(step)

    def managed(self, where: str) -> set[str]:
        """Every path that some record speaks of."""
        return {
            item.path
            for record in self.records
            if record.root == f"/srv/{where}"
            for item in (*record.files, *record.links, *record.notes)
        }

    def _inode(self, word: str) -> Inode:
        self.count += 1
        return Inode(word, self.count)

    def _observe(self, name: str) -> ObservedLocation:
        disk = self.disks[name]
        told = ObservedLocation(name, "flat", f"/srv/{name}", name, device=disk.device, free_bytes=ROOMY)
        if not disk.readable:
            return replace(told, readable=False, why="is the disk mounted?")
        files = {path: self._file(name, path) for path in disk.files}
        trash = tuple(Trashed(key, "", size(inode.word), said, 0.0, 1, "") for key, (inode, said) in disk.trash.items())
        return replace(told, files=files, links=dict(disk.links), trash=trash)

    def _file(self, name: str, path: str) -> ObservedFile:
        disk = self.disks[name]
        inode = disk.files[path]
        return ObservedFile(path, size(inode.word), inode.number, inode.number, disk.device)

    def _contents(self) -> Contents:
        held = [Held(record, record.root.removeprefix("/srv/")) for record in self.records]
        return Contents(
            {name: self._observe(name) for name in self.disks},
            tuple(h for h in held if h.record.manifest == self.manifest),
            tuple(h for h in held if h.record.manifest != self.manifest),
            dict(self.known),  # type: ignore[arg-type]
        )

    def _bring_in(self, step: Step) -> None:
        disk = self.disks[step.address.location]
        staged = {row.path: self._stage(step, row) for row in step.files if row.method != "none"}
        ours = self.ours[step.address.location]
        for row in step.files:
            if row.path in staged:
                assert (row.path in disk.files) == row.replaces, (
                    f"{step.address}: {row} over {disk.files.get(row.path)}"
                )
                if row.replaces:
                    assert row.path in ours
                    self._trash(step, row.path)
                disk.files[row.path] = staged[row.path]
        for link in step.links:
            assert link.path not in disk.files
            assert disk.links.get(link.path) in (None, link.target) or link.path in ours
            disk.links[link.path] = link.target
        for note in step.notes:
            old = disk.files.get(note.path)
            if old is None or old.word != note.text:
                assert old is None or note.path in ours
                disk.files[note.path] = self._inode(note.text)
        for link in step.unlinks:
            assert disk.links.pop(link.path) == link.target
        for note in step.unnotes:
            if disk.files[note.path].word == note.text:
                del disk.files[note.path]
        for row in step.trash:
            self._leave(step, row)
        self._record(step)

    def _stage(self, step: Step, row: FileRow) -> Inode:
        assert row.digest is not None
        word = word_of(row.digest)
        if row.method == "fetch":
            return self._inode(word)
        where, _, path = row.origin.partition(":")
        if row.method == "move":
            inode, _ = self.disks[where].trash.pop(path.removeprefix("trash/"))
        elif any(other.path == path and other.method != "none" for other in step.files) and (
            where == step.address.location
        ):
            return self._inode(word)  # the same bytes twice in one step: a twin of what is staged
        else:
            inode = self.disks[where].files[path]
        assert inode.word == word, f"{step.address}: {row} finds {inode.word}"
        if row.method == "copy":
            return self._inode(word)
        assert self.disks[where].device == self.disks[step.address.location].device
        return inode

    def _trash(self, step: Step, path: str) -> None:
        disk = self.disks[step.address.location]
        inode = disk.files.pop(path)
        self.count += 1
        disk.trash[f"{self.count:06}"] = (inode, digest(inode.word))

    def _leave(self, step: Step, row: FileRow) -> None:
        disk = self.disks[step.address.location]
        assert row.path in self.ours[step.address.location]
        assert digest(disk.files[row.path].word) == row.digest, "only as it was recorded"
        self._trash(step, row.path)

    def _record(self, step: Step) -> None:
        assert step.after is not None
        disk, root = self.disks[step.address.location], f"/srv/{step.address.location}"
        placed = []
        for row in step.files:
            inode = disk.files[row.path]
            assert row.digest == digest(inode.word)
            placed.append(Placed(row.path, row.size, row.digest, inode.number, inode.number, row.artifact))
        facts = step.after
        attributes = Attributes(
            facts.backend, facts.format, facts.quant, facts.served_as, facts.license, facts.protect,
            tuple(sorted(facts.roles.items())), facts.metadata,
        )  # fmt: skip
        pin = Pin(facts.source or "", facts.revision, ())
        record = Record(
            step.address, self.manifest, pin, facts.path or "", tuple(placed), step.links, step.notes, attributes,
            root=root,
        )  # fmt: skip
        self._drop(step, {step.address, step.renamed_from})
        self.records.append(record)

    def _take_away(self, step: Step) -> None:
        disk = self.disks[step.address.location]
        for link in step.links:
            assert disk.links.pop(link.path) == link.target
        for note in step.notes:
            if disk.files[note.path].word == note.text:
                del disk.files[note.path]
        for row in step.trash:
            self._leave(step, row)
        self._drop(step, {step.renamed_from or step.address})

    def _drop(self, step: Step, addresses: set[object]) -> None:
        self.records = [r for r in self.records if r.manifest != self.manifest or r.address not in addresses]

    def stray(self) -> list[Held]:
        """Records of the manifest that speaks whose files are not as they say."""
        found = []
        for held in self._contents().ours:
            disk = self.disks[held.location]
            for placed in held.record.files:
                inode = disk.files.get(placed.path)
                if inode is None or digest(inode.word) != placed.digest:
                    found.append(held)
        return found


__all__ = ["Disk", "Inode", "Machine", "address_of"]
