"""Import a registry of the ImageWorks downloader: every record becomes a variant, or is told with the reason.

A record counts for what people decided: the name, roles and their order, backend, licence, notes. What the bytes are,
and of which commit, the files themselves say. The registry is read, and never written.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from reconciler.errors import InputError
from reconciler.importing import oldbooks, ollama, shelves
from reconciler.importing.adopting import Place, declared, enriched, store_of
from reconciler.importing.found import Found, Request, Row
from reconciler.importing.looking import look, sort_out
from reconciler.importing.oldrecords import INCLUDE_KEY, Told, tell
from reconciler.importing.parts import is_book, is_weight
from reconciler.importing.shelves import Shelf
from reconciler.inert import few, inert
from reconciler.ollama import names

_RUN = re.compile(r"(/private)?/tmp/pytest-of-")
_GONE = "`--include-missing` declares it all the same, to be fetched"


def gather(request: Request) -> Iterator[Found | Row]:
    """Yield a variant for each record of the registry in `DIR` (or of one file), or why there is none."""
    if len(request.args) != 1:
        raise InputError("expected one directory", hint="`reconciler import imageworks DIR`")
    books = oldbooks.read(Path(request.args[0]).expanduser().absolute())
    yield from books.rows
    records = [tell(entry, request.environ) for entry in books.entries]
    yield from _odd(records)
    for old in books.old:
        why = (
            "in a backup only: removed from the registry since; `reconciler import imageworks FILE` takes it from there"
        )
        yield Row("left-out", old.name, why, old.file)
    kept = []
    for told in records:
        if why := _unwanted(told, request):
            yield Row("left-out", told.name, why, told.file)
        else:
            kept.append(told)
    joined, doubles = _joined(kept)
    yield from doubles
    yield from _of_ollama([told for told in joined if told.model is not None], request)
    yield from _of_hub([told for told in joined if told.model is None], request)


def _odd(records: Iterable[Told]) -> Iterator[Row]:
    fields: dict[str, list[str]] = defaultdict(list)
    for told in records:
        for key in told.oddities:
            fields[key].append(told.name)
    for key, held in sorted(fields.items()):
        why = f"`{key}` is the word None, which says nothing: {few(held)}"
        yield Row("finding", f"{len(held)} records", why, "")


def _unwanted(told: Told, request: Request) -> str:
    """Return why a record is not taken, whatever its files are; '' when it is."""
    testing = "testing" in request.also or request.environ.get(INCLUDE_KEY, "").lower() in ("1", "true", "yes", "on")
    why = told.test
    if not why and _RUN.match(told.path) and not any(part.exists() for part in list(Path(told.path).parents)[:2]):
        why = "its path is of a test run that is over"
    if why and not testing:
        return f"the record of a test: {why}; `--include-testing` takes it"
    if told.deprecated:
        there = "; its files stay where they are, unmanaged" if told.path and Path(told.path).exists() else ""
        return f"marked as deprecated{there}"
    if not told.source and not told.path:
        return "neither a source nor a path: a placeholder"
    return ""


def _joined(records: Sequence[Told]) -> tuple[list[Told], list[Row]]:
    """Return one record for each model, and a row for each further one: roles are joined, the fullest one counts."""
    groups: dict[object, list[Told]] = {}
    for told in sorted(records, key=lambda each: not each.path):  # those of a name only come last, and may join others
        key: object = told.model.key if told.model else (told.path, told.quant if _is_gguf(told) else "")
        if not told.model and not told.path:
            key = next((key for key, held in groups.items() if held[0].source == told.source), told.source)
        groups.setdefault(key, []).append(told)
    order = {told.name: number for number, told in enumerate(records)}
    joined, rows = [], []
    for group in groups.values():
        best = max(group, key=lambda each: (bool(each.path), bool(each.roles), len(each.files), -order[each.name]))
        others = [each for each in sorted(group, key=lambda each: order[each.name]) if each is not best]
        joined.append(_whole(best, others))
        rows += [
            Row("finding", other.name, f"a second record of what {best.name} is; the roles are joined", other.file)
            for other in others
        ]
    return sorted(joined, key=lambda each: order[each.name]), rows


def _whole(best: Told, others: Iterable[Told]) -> Told:
    """Return a record with what the others of the same model say besides."""
    for other in others:
        ranks = {**other.ranks, **best.ranks}
        for role in other.ranks.keys() & best.ranks.keys():
            ranks[role] = max(other.ranks[role], best.ranks[role])
        roles = tuple(dict.fromkeys((*best.roles, *other.roles)))
        best = best._replace(roles=roles, ranks=ranks, variant={**other.variant, **best.variant})
    return best


def _is_gguf(told: Told) -> bool:
    return any(name.lower().endswith(".gguf") for name in told.files)


def _of_ollama(records: Sequence[Told], request: Request) -> Iterator[Found | Row]:
    """Yield the models of Ollama: as the one of this machine has them, or as said where there is none."""
    waiting = {told.model.key: told for told in records if told.model}
    if not waiting:
        return
    try:
        for each in ollama.gather(replace(request, args=())):
            key = _key(each)
            told = waiting.pop(key, None) if key is not None else None
            if told is not None:
                yield enriched(each, told) if isinstance(each, Found) else each
    except InputError:
        for told in waiting.values():
            yield declared(told, ("ollama", {"store": "ollama"}), "not seen: no Ollama is on this machine")
        return
    for told in waiting.values():
        place = ("ollama", {"store": "ollama"})
        yield from _lost(told, place, "the Ollama of this machine does not have it", request)


def _key(each: Found | Row) -> str | None:
    """Return the key of the model that an answer is of, None for none."""
    text = str(each.variant["source"]).removeprefix(names.SCHEME) if isinstance(each, Found) else each.what
    try:
        return names.parse(text).key
    except ValueError:
        return None


class _Home(NamedTuple):
    """Where a record's files lie: `<root>/<owner>/<model>`."""

    root: Path
    shelf: str


def _of_hub(records: Sequence[Told], request: Request) -> Iterator[Found | Row]:
    by_root: dict[Path, list[tuple[_Home, Told]]] = defaultdict(list)
    nameless: list[Told] = []
    for told in records:
        home = _home(told)
        if home is None:
            nameless.append(told)
        else:
            by_root[home.root].append((home, told))
    for root, held in by_root.items():
        if root.is_dir():
            yield from _of_root(root, held, request)
        else:
            place = _place(root, [told for _, told in held], request)
            for _, told in held:
                yield declared(told, place, f"not seen: {inert(str(root))} is not there")
    place = next(
        (_place(root, [told for _, told in held], request) for root, held in by_root.items()),
        ("weights", {"store": "huggingface", "root": "~/ai-models/weights"}),
    )
    for told in nameless:
        why = (
            f"{inert(told.path)} is not <owner>/<repo> below a root"
            if told.path
            else "a name only: no path is recorded"
        )
        yield from _lost(told, place, why, request)


def _home(told: Told) -> _Home | None:
    path = Path(told.path)
    if told.path and path.suffix == ".gguf":
        path = path.parent
    parts = path.parts
    return _Home(Path(*parts[:-2]), "/".join(parts[-2:])) if len(parts) > 3 else None


def _place(root: Path, records: Iterable[Told], request: Request) -> Place:
    label = next((told.location for told in records if told.location), "") or "weights"
    store = request.arranged.get(os.path.realpath(root)) or store_of(records)
    return label, {"store": store, "root": str(root)}


def _of_root(root: Path, held: Sequence[tuple[_Home, Told]], request: Request) -> Iterator[Found | Row]:
    """Yield what the directories of records hold, known by its bytes, with what the records say."""
    wanted: dict[str, list[Told]] = defaultdict(list)
    for home, told in held:
        wanted[home.shelf].append(told)
    seen = look("imageworks", "huggingface", root)
    below = [file for path, file in seen.files.items() if "/".join(path.split("/")[:2]) in wanted and not is_book(path)]
    kept, rows = sort_out(root, below)
    yield from rows
    rest, known = shelves.without_declared(root, kept, request)
    yield from known
    done = {"/".join(Path(row.where).relative_to(root).parts[:2]) for row in known}
    shelved = [shelf for shelf in shelves.shelve(rest)[0] if shelf.path in wanted]
    place = _place(root, [told for _, told in held], request)
    yield from _shelved(root, shelved, wanted, place, request)
    for shelf in wanted.keys() - {shelf.path for shelf in shelved} - done:
        there = (root / shelf).is_dir()
        why = (
            f"no weights in {inert(str(root / shelf))}" if there else f"its files are gone: {inert(str(root / shelf))}"
        )
        for told in wanted[shelf]:
            yield from _lost(told, place, why, request)


def _shelved(
    root: Path, shelved: Sequence[Shelf], wanted: Mapping[str, Sequence[Told]], place: Place, request: Request
) -> Iterator[Found | Row]:
    untold = {shelves.untold(root, shelf): shelf for shelf in shelved}
    answers = list(shelves.gather(root, shelved, request, name=place[0]))
    place = next((each.location for each in answers if isinstance(each, Found) and each.location), place)
    left = {path: list(records) for path, records in wanted.items()}
    for each in answers:
        shelf = "/".join(Path(each.where).relative_to(root).parts[:2]) if each.where else ""
        if isinstance(each, Found):
            told = _chosen(each, left.get(shelf, []))
            yield enriched(each, told, root / shelf) if told is not None else each
        elif each in untold and (unlocked := _unlocked(untold[each], left[shelf], place)):
            yield from unlocked
        else:
            records = left.get(shelf, [])
            told_of = f" (recorded as {few([told.name for told in records])})" if records else ""
            yield each._replace(why=each.why + told_of)


def _chosen(found: Found, left: list[Told]) -> Told | None:
    """Take the record that a variant of a directory is: the one of its quant, else the first that is left."""
    text = str(found.variant).lower() + str([file.path for file in found.pin.files] if found.pin else "").lower()
    told = next((told for told in left if told.quant and told.quant in text), left[0] if left else None)
    if told is not None:
        left.remove(told)
    return told


def _unlocked(shelf: Shelf, records: Sequence[Told], place: Place) -> list[Found]:
    """Return variants as the records say them, for files whose commit nobody can tell without the Hub."""
    return [
        declared(told, place, "not locked: its commit is not known; `reconciler lock` asks the Hub", list(shelf.files))
        for told in records if told.repository == shelf.repository and any(map(is_weight, shelf.files))
    ]  # fmt: skip


def _lost(told: Told, place: Place, why: str, request: Request) -> Iterator[Found | Row]:
    """Leave out a record without files, unless the user wants them to be fetched again."""
    if "missing" in request.also and told.source:
        yield declared(told, place, why)
        return
    roles = f"; it served {few(told.roles)}" if told.roles else ""
    yield Row("left-out", told.name, f"{why}{roles}; {_GONE}", told.file)
