"""Carry out the steps of an Ollama location that only its server's API reaches: pull, copy, create, delete.

A server keeps one manifest a name, and throws away at once what no name holds. So whatever a step would replace or
remove gets a second name first, in the namespace `reconciler-trash`; that is this location's trash. The journal holds
those names, and `restore` puts back what a step that was cut off had taken away.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reconciler.apply.deed import done
from reconciler.apply.record import record_of
from reconciler.apply.work import Work
from reconciler.errors import DigestError, ReconcilerError, SourceError, StaleError
from reconciler.ollama import names
from reconciler.ollama.names import Name
from reconciler.ollama.places import inode_of, trash_name
from reconciler.plan import FileRow, Step
from reconciler.state import Digest, Record

if TYPE_CHECKING:
    from reconciler.download import Phase
    from reconciler.ollama.api import Api, Listed, Progress

_FROM = re.compile(r"^FROM .*sha256-([0-9a-f]{64})$", re.MULTILINE)

INTENT = "api"
"""Kind of the journal's entry. `guards` are pairs of names: where something is kept, and whose it is. `made` are pairs
too: where to put what a name holds that held nothing when the step began, and the name.
"""

Pairs = Sequence[tuple[str, str]]


def serve(work: Work, step: Step) -> None:
    """Do one step through the server, and write down its outcome. Raise SourceError, DigestError, StaleError."""
    from reconciler.ollama.api import Api

    api = Api(work.plan.locations[step.address.location].root)
    listed = _listed(api)
    _check_unmoved(work, step, listed)
    if step.after is None:
        _remove(work, step, api, listed)
    else:
        _bring(work, step, api, listed)


def restore(url: str, guards: Pairs, made: Pairs = (), *, late: bool = False) -> None:
    """Put back what a step that was cut off may have taken: names hold what they held. Raise SourceError.

    What stands under a name that was free goes into the trash: it may be somebody else's by now. `late`: there has
    been time for others, so that only names that hold nothing get back what they held; what was kept stays in the
    trash.
    """
    from reconciler.ollama.api import Api

    api = Api(url)
    listed = _listed(api)
    for trash, name in () if late else made:
        if _key(name) in listed and _key(trash) not in listed:
            api.copy(name, trash)
        if _key(name) in listed:
            api.delete(name)
    for guard, name in guards:
        kept, there = listed.get(_key(guard)), listed.get(_key(name))
        if kept is not None:
            if late and there is not None and there.digest != kept.digest:
                continue
            if there is None or there.digest != kept.digest:
                api.copy(guard, name)
            api.delete(guard)


def _remove(work: Work, step: Step, api: Api, listed: Mapping[str, Listed]) -> None:
    rows = [row for row in step.trash if _name(row).key in listed]
    guards = [(_trash(work, _name(row)), _name(row).short) for row in rows]
    number = _intend(work, step, api, guards)
    try:
        for guard, name in guards:
            api.copy(name, guard)
            api.delete(name)
    except BaseException:
        _put_back(work, number, api, guards)
        raise
    drop = step.renamed_from or step.address
    work.journal.write("done", **done(number, None, drop))
    work.unfinished.discard(-number)
    work.drop.append(drop)
    work.finish(step, "done")


def _bring(work: Work, step: Step, api: Api, listed: Mapping[str, Listed]) -> None:
    (row,) = step.files
    target = _name(row)
    trashed = _trash(work, target) if row.method != "none" and target.key in listed else ""
    guards = [(trashed, target.short)] if trashed else []
    leaving = [(_trash(work, name), name.short) for name in map(_name, step.trash) if name.key in listed]
    # What is made anew has a digest that no plan knows: left behind, the next one would take it for somebody else's.
    anew = row.method == "fetch" and step.after is not None and step.after.modelfile and target.key not in listed
    made = [(_trash(work, target), target.short)] if anew else []
    number = _intend(work, step, api, [*guards, *leaving], made) if row.method != "none" or leaving else None
    try:
        if trashed:
            api.copy(target.short, trashed)
        digest = _place(work, step, row, api, listed)
        for trash, name in leaving:  # the names that the variant had before; what replaces them stands by now
            api.copy(name, trash)
            api.delete(name)
    except BaseException:
        _put_back(work, number, api, [*guards, *leaving], () if target.key in listed else (target,))
        raise
    record = _record(work, step, row, digest, _listed(api).get(target.key))
    if number is not None:
        work.journal.write("done", **done(number, record, step.renamed_from))
        work.unfinished.discard(-number)
    work.record(record)
    if step.renamed_from is not None:
        work.drop.append(step.renamed_from)
    work.finish(step, "done")


def _place(work: Work, step: Step, row: FileRow, api: Api, listed: Mapping[str, Listed]) -> Digest:
    """Give the target what it should hold, and return the digest of it."""
    assert step.after is not None
    assert row.digest is not None
    target = _name(row)
    if row.method == "link":
        api.copy(_name_at(row.origin.partition(":")[2]).short, target.short)
    elif row.method == "move":
        api.copy(row.origin.partition(":trash/")[2], target.short)
    elif row.method == "fetch" and step.after.modelfile:
        return _create(work, step, api, listed, target)
    elif row.method == "fetch":
        _pull(work, step, api, listed, row.digest, target)
    now = _listed(api).get(target.key)
    if now is None or now.digest != row.digest:
        raise DigestError(f"the server holds {now.digest if now else 'nothing'}, wanted is {row.digest}",
                          where=target.short, hint="plan again")  # fmt: skip
    if row.method == "move":
        api.delete(row.origin.partition(":trash/")[2])
    return row.digest


def _pull(work: Work, step: Step, api: Api, listed: Mapping[str, Listed], digest: Digest, target: Name) -> None:
    """Let the server pull the locked model, and give it its name. The name it is pulled under holds what it held."""
    source = _source(step)
    there = listed.get(source.key)
    if there is None or there.digest != digest:
        _refuse_moved(work, step, digest)
        if source.key == target.key:
            _pull_checked(work, step, api, source, digest)
        else:
            _borrow(work, step, api, listed, digest, target)
    elif source.key != target.key:
        api.copy(source.short, target.short)


def _borrow(work: Work, step: Step, api: Api, listed: Mapping[str, Listed], digest: Digest, target: Name) -> None:
    """Pull under the source's own name, and leave that as it was found."""
    source = _source(step)
    pair = (_trash(work, source), source.short)
    guards, made = ([pair], []) if source.key in listed else ([], [pair])
    number = _intend(work, step, api, guards, made)
    try:
        if guards:
            api.copy(source.short, pair[0])
        _pull_checked(work, step, api, source, digest)
        api.copy(source.short, target.short)
    except BaseException:
        _put_back(work, number, api, guards, (source,) if made else ())
        raise
    _put_back(work, number, api, guards, (source,) if made else ())


def _pull_checked(work: Work, step: Step, api: Api, source: Name, digest: Digest) -> None:
    """Let the server pull, and see that it lists what was locked."""
    _run_pull(work, step, api, source)
    now = _listed(api).get(source.key)
    if now is None:  # a blob of it was spoilt, and the server does not read again what it has
        with contextlib.suppress(ReconcilerError):
            api.delete(source.short)
        raise SourceError("the server does not list what it pulled", where=source.short,
                          hint="it was deleted: apply again, so that its blobs are fetched anew")  # fmt: skip
    if now.digest != digest:
        raise _moved(step, now.digest, digest)


def _refuse_moved(work: Work, step: Step, digest: Digest) -> None:
    """Raise SourceError when the registry says that the tag is another by now: hours of pulling would be for nothing.

    A registry that only the server reaches is not asked by us; what was pulled is judged in any case.
    """
    from reconciler.sources import Request, source_of

    name = _source(step)
    assert step.after is not None
    assert step.after.source is not None
    request = Request(step.address.variant, "", step.after.source, insecure=_is_insecure(work, name))
    try:
        now = source_of(step.after.source).current(request, work.tools.sources)
    except ReconcilerError:
        return
    if now is not None and now != digest:
        raise _moved(step, now, digest)


def _moved(step: Step, now: str, digest: Digest) -> SourceError:
    assert step.after is not None
    return SourceError(
        f"upstream moved: the tag is {now} now, locked is {digest}", where=step.after.source or "",
        hint=f"`reconciler lock --upgrade {step.address.variant}` takes the new one",
    )  # fmt: skip


def _run_pull(work: Work, step: Step, api: Api, source: Name) -> None:
    begun: dict[str, int] = {}
    done_by: dict[str, int] = {}

    def watch(progress: Progress) -> None:
        if not progress.digest:
            return
        from reconciler.download import Progress as Told

        begun.setdefault(progress.digest, progress.completed)
        done_by[progress.digest] = progress.completed
        key = f"{step.address.variant}: {progress.digest[:19]}"
        phase: Phase = "done" if progress.completed == progress.total else "downloading"
        told = Told(key, progress.completed, progress.total, progress.completed - begun[progress.digest], phase)
        work.show(lambda display: display.file(told))

    api.pull(source.short, insecure=_is_insecure(work, source), watch=watch)
    # A blob that the server had already is told whole at once: nothing of it came.
    work.received[id(step)] = sum(size - begun[digest] for digest, size in done_by.items())


def _is_insecure(work: Work, name: Name) -> bool:
    """Whether the manifest allows plain http for the registry of a name."""
    return name.host.partition(":")[0].lower() in work.tools.sources.insecure


def _create(work: Work, step: Step, api: Api, listed: Mapping[str, Listed], target: Name) -> Digest:
    """Let the server derive a model from the locked one; which digest it has, only the server can say."""
    facts = step.after
    assert facts is not None
    assert facts.revision is not None
    if "adapters" in facts.modelfile:
        raise SourceError("adapters cannot be added by the API", where=str(step.address),
                          hint="name the store's directory with `models`")  # fmt: skip
    base = next((model for model in listed.values() if model.digest == facts.revision), None)
    brought: Name | None = None
    if base is None:
        brought = names.parse(_trash(work, target))
        _pull(work, step, api, listed, Digest(facts.revision), brought)
    origin = base.name if base is not None else brought.short if brought is not None else ""
    try:
        said = {key: facts.modelfile[key] for key in ("template", "system", "parameters") if key in facts.modelfile}
        licence = {"license": facts.license} if facts.license else {}
        api.create({"model": target.short, "from": origin, **said, **licence})
        made, was = api.show(target.short), api.show(origin)
        if _weights(made) != _weights(was):
            raise DigestError("the server wrote the weights anew", where=target.short, hint="its version does that")
    finally:
        if brought is not None:
            with contextlib.suppress(ReconcilerError):
                api.delete(brought.short)
    now = _listed(api).get(target.key)
    if now is None:
        raise SourceError("the server does not list what it made", where=target.short)
    return Digest(now.digest)


# -- names and guards -------------------------------------------------------------------------------------------------


def _intend(work: Work, step: Step, api: Api, guards: Pairs, made: Pairs = ()) -> int:
    """Write down what is kept where, and which free names are about to be taken, before anything happens."""
    fields: dict[str, Any] = {
        "address": list(step.address), "url": api.url,
        "guards": [list(pair) for pair in guards], "made": [list(pair) for pair in made],
    }  # fmt: skip
    number = work.journal.write(INTENT, **fields)
    work.unfinished.add(-number)
    return number


def _put_back(work: Work, number: int | None, api: Api, guards: Pairs, new: Iterable[Name] = ()) -> None:
    """Leave every name as it was found: after a step that failed, or one that only borrowed it.

    Where the server does not let us, the journal stays, and its next reader tries again.
    """
    with contextlib.suppress(ReconcilerError):
        restore(api.url, guards)
        listed = _listed(api)
        for name in new:
            if name.key in listed:
                api.delete(name.short)
        if number is not None:
            work.unfinished.discard(-number)


def _check_unmoved(work: Work, step: Step, listed: Mapping[str, Listed]) -> None:
    for row in (*step.files, *step.trash):
        then = work.stats.get((step.address.location, row.path), ())
        model = listed.get(_name(row).key)
        now = (model.size, 0, inode_of(model.digest)) if model is not None else None
        if then not in ((), now):
            raise StaleError("changed since the plan was made", where=f"{step.address}: {row.path}", hint="plan again")


def _weights(show: Mapping[str, Any]) -> str | None:
    """Return the blob that a shown model is made from, by the digest in its name."""
    found = _FROM.search(str(show.get("modelfile", "")))
    return found[1] if found else None


def _listed(api: Api) -> dict[str, Listed]:
    return {_key(model.name): model for model in api.tags()}


def _key(name: str) -> str:
    try:
        return names.parse(name).key
    except ValueError:
        return name.lower()


def _source(step: Step) -> Name:
    """Return the name under which the registry of a step's source has the model."""
    from reconciler.sources.ollama import name_of

    assert step.after is not None
    return name_of(step.after.source or "")


def _name(row: FileRow) -> Name:
    return _name_at(row.path)


def _name_at(path: str) -> Name:
    name = names.from_path(path)
    if name is None:
        raise StaleError("no name of a model", where=path, hint="plan again")
    return name


def _trash(work: Work, name: Name) -> str:
    number = int(work.sites.trash_name().rpartition("-")[2])
    return trash_name(name.model, work.generation, number, int(work.tools.now()))


def _record(work: Work, step: Step, row: FileRow, digest: Digest, model: Listed | None) -> Record:
    root = work.plan.locations[step.address.location].root
    size = model.size if model is not None else row.size
    stat = (size, 0, inode_of(digest))
    held = replace(step, files=(row._replace(size=size, digest=digest),))
    return record_of(held, {row.path: stat}, manifest=work.tools.manifest, root=root, generation=work.generation)
