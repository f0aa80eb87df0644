"""Run the steps of a plan: what is here first, then downloads as they arrive, then what leaves."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.apply.carry import carry_out
from reconciler.apply.order import dependencies
from reconciler.apply.work import Work
from reconciler.disk import disk_error
from reconciler.errors import ReconcilerError
from reconciler.inert import inert
from reconciler.plan import Action, FileRow, Step
from reconciler.state import Address, Artifact

if TYPE_CHECKING:
    from reconciler.download import Arrived, Downloader, Failed, HubFile, Progress, Wanted
    from reconciler.located import Located

_LEAVING = (Action.REMOVE, Action.PRUNE)


@dataclass(slots=True)
class _Waiting:
    """A step that has not run: the files that must still arrive, the addresses that must be done first."""

    step: Step
    files: int = 0
    after: set[Address] = field(default_factory=set)

    @property
    def is_ready(self) -> bool:
        return self.files == 0 and not self.after


class StoppedError(Exception):
    """The journal cannot be written: nothing may be done any more."""


class Schedule:
    """Which steps may run now. A failed step takes those that need it along; all others go on."""

    def __init__(self, work: Work, steps: Sequence[Step]) -> None:
        self._work = work
        needs = dependencies(steps)
        known = {step.address for step in steps if step.after is not None}
        self._waiting = {
            id(step): _Waiting(step, len(_fetched(work, step)), set(needs[id(step)] & known)) for step in steps
        }
        self._dependents: dict[Address, list[int]] = {}
        for key, waiting in self._waiting.items():
            for address in waiting.after:
                self._dependents.setdefault(address, []).append(key)

    def run(self, actions: Sequence[Action]) -> None:
        """Run every ready step of these actions, in order."""
        for waiting in list(self._waiting.values()):
            if waiting.step.action in actions and waiting.is_ready:
                self._run_with_followers(waiting)

    def arrived(self, step: Step) -> None:
        """Count one file of a step as staged; run the step when that was the last one."""
        waiting = self._waiting.get(id(step))
        if waiting is None:
            return  # failed meanwhile: the staged file waits for the next apply
        waiting.files -= 1
        if waiting.is_ready:
            self._run_with_followers(waiting)

    def fail(self, step: Step, error: ReconcilerError) -> None:
        """Give a step up, and skip the steps that need it."""
        if self._waiting.pop(id(step), None) is None:
            return
        problem = error.problems[0]
        where = f"{problem.where}: " if problem.where else ""
        self._work.finish(step, "failed", f"{where}{problem.summary}", problem.hint)
        self._skip_dependents(step)

    def skip_rest(self) -> None:
        """Skip what still waits for something that did not come."""
        for waiting in list(self._waiting.values()):
            if id(waiting.step) in self._waiting:
                del self._waiting[id(waiting.step)]
                names = ", ".join(sorted(map(str, waiting.after)))
                self._work.finish(waiting.step, "skipped", f"needs {names or 'files that did not come'}")

    def _skip_dependents(self, step: Step) -> None:
        if step.after is None:
            return
        for key in self._dependents.get(step.address, ()):
            waiting = self._waiting.pop(key, None)
            if waiting is not None:
                self._work.finish(waiting.step, "skipped", f"needs {step.address}, which failed")
                self._skip_dependents(waiting.step)

    def _run_with_followers(self, first: _Waiting) -> None:
        queue = deque([first])
        while queue:
            waiting = queue.popleft()
            if self._waiting.pop(id(waiting.step), None) is None:
                continue
            if not self._carry_out(waiting.step) or waiting.step.after is None:
                continue
            for key in self._dependents.get(waiting.step.address, ()):
                follower = self._waiting.get(key)
                if follower is not None:
                    follower.after.discard(waiting.step.address)
                    if follower.is_ready and follower.step.action not in _LEAVING:
                        queue.append(follower)

    def _carry_out(self, step: Step) -> bool:
        self._work.started(step)
        try:
            carry_out(self._work, step)
        except (ReconcilerError, OSError) as error:
            self._waiting[id(step)] = _Waiting(step)
            self.fail(step, error if isinstance(error, ReconcilerError) else disk_error(error, str(step.address)))
            if self._work.journal.broken:
                raise StoppedError from error
            return False
        return True


def run(work: Work, steps: Sequence[Step]) -> None:
    """Run `steps`, which stand in order. An interruption leaves the rest not started."""
    schedule = Schedule(work, steps)
    try:
        schedule.run((Action.NORMALIZE,))
        wanted = _wanted(work, steps, schedule)
        if wanted:
            with work.tools.open_downloader() as downloader:
                work.downloader = downloader.name
                _receive(work, schedule, downloader, wanted)
        schedule.run((Action.NORMALIZE, Action.DOWNLOAD))
        schedule.run((Action.REMOVE,))
        schedule.run((Action.PRUNE,))
        schedule.skip_rest()
    except KeyboardInterrupt:
        work.interrupted = True
    except StoppedError:
        pass  # the step that met it is told as failed, the others as not started


def _receive(work: Work, schedule: Schedule, downloader: Downloader, wanted: dict[Wanted, list[Step]]) -> None:
    from reconciler.download import Arrived

    def watch(progress: Progress) -> None:
        work.show(lambda display: display.file(progress))

    results: Iterator[Arrived | Failed] = iter(downloader.fetch(tuple(wanted), watch))
    try:
        for result in results:
            for step in wanted[result.wanted]:
                if isinstance(result, Arrived):
                    work.received[id(step)] = work.received.get(id(step), 0) + result.received
                    schedule.arrived(step)
                elif work.does_without(step, result.wanted.digest):
                    if id(step) not in work.outcomes:
                        why = result.error.problems[0].summary
                        work.say(f"{step.address}: done without {_called(step, result.wanted)}: {why}")
                    schedule.arrived(step)
                else:
                    schedule.fail(step, result.error)
    finally:
        close: Callable[[], None] | None = getattr(results, "close", None)
        if close is not None:
            close()


def _called(step: Step, wanted: Wanted) -> str:
    """Return the path that a file of a step would have had."""
    return inert(next(row.path for row in step.files if row.digest == wanted.digest))


def _wanted(work: Work, steps: Sequence[Step], schedule: Schedule) -> dict[Wanted, list[Step]]:
    """Return what must come over the network, each with the steps that wait for it: one request a digest and stage.

    A step whose location cannot be opened fails here.
    """
    from reconciler.download import Wanted

    found: dict[tuple[str, str], tuple[Wanted, list[Step]]] = {}
    for step in steps:
        rows = _fetched(work, step)
        if not rows or id(step) in work.outcomes:
            continue
        try:
            stage = work.sites.site(step.address.location).stage_path
        except ReconcilerError as error:
            schedule.fail(step, error)
            continue
        for row in rows:
            assert row.digest is not None
            key = (step.address.location, row.digest)
            if key not in found:
                name = inert(f"{step.address.variant}: {row.artifact}")
                hub = _hub_file(work, step, row)
                found[key] = (Wanted(name, row.size, row.digest, stage, _locator(work, step, row), hub), [])
            found[key][1].append(step)
    return dict(found.values())


def _fetched(work: Work, step: Step) -> list[FileRow]:
    """Return the files of a step that our downloader fetches; a server that we reach by its API fetches its own."""
    place = work.plan.locations.get(step.address.location)
    if place is not None and place.by_api:
        return []
    return [row for row in step.files if row.method == "fetch"]


def _origin(step: Step, row: FileRow) -> tuple[str, str | None]:
    """Return the source and revision that a row's bytes come from: the variant's own, or its support repository's."""
    assert step.after is not None
    if row.support and step.after.support:
        source, _, revision = step.after.support.partition(" at ")
        return source, revision
    return step.after.source or "", step.after.revision


def _locator(work: Work, step: Step, row: FileRow) -> Callable[[], Located]:
    from reconciler import sources

    source, revision = _origin(step, row)
    assert row.digest is not None
    artifact = Artifact(row.artifact, row.size, row.digest, row.support, row.url)
    return lambda: sources.locate(source, revision, artifact, work.tools.sources)


def _hub_file(work: Work, step: Step, row: FileRow) -> HubFile | None:
    from reconciler.download import HubFile
    from reconciler.references import parse

    source, revision = _origin(step, row)
    reference = parse(source)
    if reference.scheme != "hf" or revision is None:
        return None
    upstream = work.tools.sources
    return HubFile(upstream.endpoint, reference.repository, revision, row.artifact, upstream.token)
