"""From manifest and lock to complete pins: what the lock lacks is asked upstream, what it has stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from reconciler import sources
from reconciler.abreast import abreast
from reconciler.agreement import asked_source, fits, mismatch, pins_another
from reconciler.desired import route
from reconciler.errors import LockfileError, Problem, ReconcilerError, SourceError
from reconciler.inert import inert, suggest
from reconciler.lockfile import Lock
from reconciler.routing import may_reach
from reconciler.sources import Request, World, headers, selection
from reconciler.state import GATED, Artifact, Digest, Pin
from reconciler.ui.kinds import ui_of
from reconciler.ui.previews import is_preview

if TYPE_CHECKING:
    from reconciler.manifest import Loaded, Location, Manifest, Variant

__all__ = [
    "Moved", "Resolution", "ask", "check", "complete", "fits", "gaps", "mismatch", "requests", "trusting", "upgrade",
]  # fmt: skip

T = TypeVar("T")

_THREADS = 8


@dataclass(frozen=True, slots=True)
class Resolution:
    """Pins of every variant that has one; which of them the lock lacked; and why the others have none."""

    pins: Mapping[str, Pin] = field(default_factory=dict)
    resolved: Mapping[str, Pin] = field(default_factory=dict)
    problems: Mapping[str, Problem] = field(default_factory=dict)


class Moved(NamedTuple):
    """A variant for which upstream has something else than the lock. `bytes` of the files that are new or changed."""

    variant: str
    from_revision: str | None
    to_revision: str | None
    bytes: int
    files: tuple[str, ...]
    """Paths that are new, changed or gone, sorted."""
    size_before: int = 0
    size_after: int = 0
    """Bytes of all files, as locked and as upstream has them."""


def requests(loaded: Loaded) -> tuple[Request, ...]:
    """Return what the manifest asks of each variant's source, sorted by variant."""
    found = []
    for name, variant in sorted(loaded.manifest.variants.items()):
        pin = variant.lock
        # A model from a registry of Ollama brings what the headers of its files say with it.
        own = sources.scheme_of(variant.source) == "ollama"
        wants_headers = not own and may_reach(loaded.manifest, variant, "ollama", "gguf")
        place = _place(loaded.manifest, variant)
        found.append(
            Request(
                name,
                loaded.where("variants", name),
                variant.source,
                tuple(variant.files),
                tuple(variant.exclude),
                variant.support,
                pin.revision if pin else None,
                pin.sha256 if pin else None,
                variant.insecure,
                headers=wants_headers,
                preview=_preview(variant, place),
                rating=place.rating if place else "pg",
            )
        )
    return tuple(found)


def gaps(loaded: Loaded, pins: Mapping[str, Pin]) -> Iterator[Problem]:
    """Yield a problem for every declared variant that the lock lacks, or has otherwise than the manifest asks."""
    from reconciler.manifestfiles import command

    hint = f"run `{command('lock', loaded.path)}` and commit the result"
    for request in requests(loaded):
        pin = pins.get(request.variant)
        if pin is None:
            yield Problem(request.where, f"{request.variant} is not in the lock", hint)
        elif why := mismatch(pin, request):
            yield Problem(request.where, f"{request.variant} is outdated in the lock: {why}", hint)


def _preview(variant: Variant, place: Location | None) -> str | None:
    """Return the address of a variant's preview, '' for the first allowed one of upstream, None for none."""
    if place is None or ui_of(place.store) is None or variant.preview == "none":
        return None
    return variant.preview or ("" if "preview" in place.companions else None)


def _place(manifest: Manifest, variant: Variant) -> Location | None:
    """Return where a variant goes, as far as the manifest alone tells."""
    location = variant.location or route(manifest, variant, variant.format, variant.quant)
    return manifest.locations.get(location or "")


def trusting(loaded: Loaded, world: World) -> World:
    """Return `world` with the hosts allowed for which a variant says `insecure: true`; `locate` needs it."""
    return _trusting(requests(loaded), world)


def ask(request: Request, world: World) -> Pin:
    """Ask upstream what one variant means now; raise ValueError or SourceError when it cannot be told."""
    return _resolve(request, _trusting((request,), world))


def complete(
    loaded: Loaded, lock: Lock | None, world: World, *, locked: bool = False, relist: bool = False
) -> Resolution:
    """Return pins for the whole manifest: the lock's where they fit, upstream's where it lacks one.

    A variant that cannot be resolved has a problem, and the others go on. An outdated entry whose source is the same
    stays at its locked commit: a branch that moved never changes what is locked. So does a variant that the lock has
    under a name which the manifest no longer has; while upstream cannot be asked, that entry is taken. With `locked`,
    raise LockfileError naming every variant that the lock lacks or has otherwise, and ask nobody. What the lock has
    beyond the manifest does no harm, and is not among the pins. With `relist`, the Hub is asked again what the globs
    mean at the locked commits, so that a glob that became wider shows; `resolved` then holds what differs.
    """
    asked = requests(loaded)
    known = lock.pins if lock is not None else {}
    kept = {name: known[name] for name, each in _by_name(asked) if name in known and fits(known[name], each)}
    lacking = [each for each in asked if each.variant not in kept]
    if locked and lacking:
        raise LockfileError(gaps(loaded, known))
    if relist and not world.offline:
        lacking += [each for each in asked if each.variant in kept and sources.scheme_of(each.source) == "hf"]
    former = _former(lacking, {name: pin for name, pin in known.items() if name not in loaded.manifest.variants})
    held = {**former, **known}
    found, problems = _resolve_all([_held(each, held.get(each.variant)) for each in lacking], known, world)
    found = _sorted({**{name: pin for name, pin in former.items() if name in problems}, **found})
    problems = {name: problem for name, problem in problems.items() if name not in former}
    if world.offline:
        problems = {name: each if name in known else _unlocked(name, each) for name, each in problems.items()}
    resolved = {name: pin for name, pin in found.items() if name not in kept or not _is_same(kept[name], pin)}
    return Resolution(_sorted({**kept, **resolved}), resolved, problems)


def _unlocked(name: str, problem: Problem) -> Problem:
    return problem._replace(summary=f"{name}: not in the lock; {problem.summary.removeprefix(f'{name}: ')}")


def _former(lacking: Iterable[Request], others: Mapping[str, Pin]) -> dict[str, Pin]:
    """Return what the lock has of variants that were renamed: of the `others` exactly one content answers each."""
    found: dict[str, Pin] = {}
    for request in lacking:
        pins = [pin for pin in others.values() if fits(pin, request)] if others else []
        if pins and all(pin == pins[0] for pin in pins):
            found[request.variant] = pins[0]
    return found


def _is_same(locked: Pin, now: Pin) -> bool:
    """Whether upstream has what is locked, byte for byte, whatever it says of that (a licence, who must agree to it).

    A pin of what was found on this machine may lack what only upstream tells; `upgrade` takes it.
    """
    ours, theirs = ((pin.source, pin.revision, pin.support, _bytes(pin)) for pin in (locked, now))
    return ours == theirs


def _bytes(pin: Pin) -> list[tuple[str, int, Digest]]:
    """Return the files that a pin means; a picture that upstream has beside them is none of the bytes."""
    return sorted((file.path, file.size, file.digest) for file in pin.files if not is_preview(file))


def _by_name(asked: Iterable[Request]) -> Iterable[tuple[str, Request]]:
    return ((each.variant, each) for each in asked)


def upgrade(loaded: Loaded, lock: Lock | None, world: World, names: Iterable[str] = ()) -> Resolution:
    """Return pins of what upstream has now for `names` (none: all variants), and for what the lock lacks.

    `resolved` holds those that differ from the lock. A variant that cannot be resolved keeps its locked pin and has a
    problem. Raise LockfileError for a name that is not in the manifest.
    """
    asked = requests(loaded)
    wanted = set(names)
    variants = [each.variant for each in asked]
    for name in sorted(wanted - set(variants)):
        near = suggest(name, variants)
        raise LockfileError(
            f"no variant {inert(name)!r} in the manifest",
            where=str(loaded.path),
            hint=f"did you mean {near}?" if near else "",
        )
    base = complete(loaded, lock, world) if wanted and wanted != set(variants) else Resolution()
    chosen = [each for each in asked if not wanted or each.variant in wanted]
    fresh, problems = _resolve_all(chosen, {}, world)
    known = lock.pins if lock is not None else {}
    old = {name: known[name] for name in problems if name in known}
    changed = {name: pin for name, pin in fresh.items() if known.get(name) != pin}
    resolved = {name: pin for name, pin in base.resolved.items() if name not in fresh and name not in problems}
    pending = {name: problem for name, problem in base.problems.items() if name not in fresh}
    return Resolution(
        _sorted({**base.pins, **old, **fresh}), _sorted({**resolved, **changed}), _sorted({**pending, **problems})
    )


def check(loaded: Loaded, lock: Lock | None, world: World) -> tuple[Moved, ...]:
    """Return the variants for which upstream has moved away from the lock, sorted by name.

    What the lock lacks or has otherwise counts as moved. Raise SourceError with every variant that could not be asked.
    """
    moved, problems = compared(loaded, lock, world)
    if problems:
        raise SourceError(problems.values())
    return moved


def compared(loaded: Loaded, lock: Lock | None, world: World) -> tuple[tuple[Moved, ...], Mapping[str, Problem]]:
    """Return what `check` does, and by name why variants could not be asked; the others go on."""
    known = lock.pins if lock is not None else {}
    world = _trusting(requests(loaded), world)

    def look(request: Request) -> Moved | None:
        request = request._replace(headers=False)  # the bytes decide, and what their headers say follows from them
        pin = known.get(request.variant)
        same = pin is not None and fits(pin, request)
        if pin is not None and same and pin.revision is not None and pin.support is None:
            now = sources.source_of(request.source).current(_effective(request), world)
            if now == pin.revision:
                return None
        return _moved(request.variant, pin, _resolve(request, world))

    answers = sorted(_in_parallel(requests(loaded), look).items())
    moved = tuple(answer for _, answer in answers if isinstance(answer, Moved))
    return moved, {name: answer for name, answer in answers if isinstance(answer, Problem)}


def _moved(variant: str, old: Pin | None, new: Pin) -> Moved | None:
    if old is not None and _compared(old) == _compared(new):
        return None
    before = {_identity(file): file for file in old.files} if old else {}
    after = {_identity(file): file for file in new.files}
    changed = {key for key in before.keys() | after.keys() if _bytes_of(before.get(key)) != _bytes_of(after.get(key))}
    size = sum(after[key].size for key in changed if key in after)
    paths = sorted({(after.get(key) or before[key]).path for key in changed})
    sizes = [sum(file.size for file in pin.files) if pin else 0 for pin in (old, new)]
    return Moved(variant, old.revision if old else None, new.revision, size, tuple(paths), sizes[0], sizes[1])


def _compared(pin: Pin) -> Pin:
    """Return a pin without what changes while the bytes stand still: headers not asked for, who must agree to what."""
    return replace(pin, about={key: value for key, value in pin.about.items() if key not in (headers.KEY, GATED)})


def _identity(file: Artifact) -> str:
    """Return what a file goes on being when its bytes change: its path; a layer of an Ollama model is its bytes."""
    return file.digest if file.media_type else file.path


def _bytes_of(file: Artifact | None) -> tuple[int, Digest] | None:
    return (file.size, file.digest) if file is not None else None


def _effective(request: Request) -> Request:
    source = asked_source(request)
    return request if source == request.source else request._replace(source=source)


def _held(request: Request, pin: Pin | None) -> Request:
    """Keep a request at what is locked already: the commit of its source, and of its support repository."""
    if pin is None:
        return request
    if pin.source == asked_source(request) and pin.revision is not None and not pins_another(request, pin):
        request = _effective(request)._replace(revision=pin.revision)
    if pin.support is not None and pin.support.source == request.support:
        request = request._replace(support_revision=pin.support.revision)
    return request


def _resolve_all(
    asked: Iterable[Request], known: Mapping[str, Pin], world: World
) -> tuple[dict[str, Pin], dict[str, Problem]]:
    asked = tuple(asked)
    world = _trusting(asked, world)

    def look(request: Request) -> Pin:
        pin = _resolve(request, world)
        _refuse_changed(known.get(request.variant), pin, request)
        return pin

    answers = _in_parallel(asked, look)
    pins = {name: answer for name, answer in answers.items() if isinstance(answer, Pin)}
    problems = {name: answer for name, answer in answers.items() if isinstance(answer, Problem)}
    return _sorted(pins), _sorted(problems)


def _resolve(request: Request, world: World) -> Pin:
    return sources.resolve(_effective(request), world)


def _refuse_changed(old: Pin | None, new: Pin, request: Request) -> None:
    """Raise SourceError when a file that is locked at this very source and revision has other bytes now."""
    if old is None or (old.source, old.revision) != (new.source, new.revision):
        return
    locked = {file.path: file for file in old.files if not file.support and not is_preview(file)}
    for file in new.files:
        was = locked.get(file.path)
        given = selection.hand_digest(file.path, request, len(new.files))
        if was is not None and not file.support and file.digest not in {was.digest, given}:
            raise SourceError(
                f"upstream has changed the bytes of a locked file: {inert(file.path)} is locked as {was.digest}, "
                f"now {file.digest}",
                where=request.source,
                hint=f"take the new ones on purpose, with `reconciler lock --upgrade {request.variant}`",
            )


def _in_parallel(
    asked: Iterable[Request], look: Callable[[Request], Pin | Moved | None]
) -> dict[str, Pin | Moved | Problem]:
    """Return what `look` says of each variant, or why it cannot; sources side by side, the variants of each in turn."""
    groups: dict[str, list[Request]] = {}
    for request in asked:
        groups.setdefault(request.source, []).append(request)

    def look_at(group: list[Request]) -> list[tuple[str, Pin | Moved | Problem]]:
        found: list[tuple[str, Pin | Moved | Problem]] = []
        for request in group:
            try:
                answer = look(request)
            except (ReconcilerError, ValueError) as error:
                found.append((request.variant, _problem(request, error)))
            else:
                if answer is not None:
                    found.append((request.variant, answer))
        return found

    return dict(pair for pairs in abreast(look_at, groups.values(), _THREADS, "resolve") for pair in pairs)


def _problem(request: Request, error: ReconcilerError | ValueError) -> Problem:
    """Return why a variant could not be resolved, with where it is declared."""
    if not isinstance(error, ReconcilerError):
        return Problem(request.where, f"{request.variant}: {error}")
    told = error.problems
    summary = "; ".join(f"{each.where}: {each.summary}" if each.where else each.summary for each in told[:3])
    more = f" (and {len(told) - 3} more)" if len(told) > 3 else ""
    return Problem(request.where, f"{request.variant}: {summary}{more}", told[0].hint if told else "")


def _trusting(asked: Iterable[Request], world: World) -> World:
    return world.trusting({_host(each.source) for each in asked if each.insecure} - {""})


def _host(source: str) -> str:
    """Return the host that a source names, '' where it names none."""
    from reconciler.sources.ollama import host_of
    from reconciler.sources.urls import origin

    return host_of(source) if sources.scheme_of(source) == "ollama" else origin(source)[1] if "://" in source else ""


def _sorted(values: Mapping[str, T]) -> dict[str, T]:
    return {name: values[name] for name in sorted(values)}
