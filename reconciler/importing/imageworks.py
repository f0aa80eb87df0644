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
from reconciler.home import expand
from reconciler.importing import oldbooks, ollama, shelves
from reconciler.importing.adopting import Place, declared, enriched, known_as, store_of
from reconciler.importing.found import Found, Request, Row
from reconciler.importing.looking import look, sort_out
from reconciler.importing.oldrecords import INCLUDE_KEY, Told, repository_files, tell
from reconciler.importing.parts import is_book, is_weight
from reconciler.importing.shelves import Shelf
from reconciler.inert import few, inert
from reconciler.ollama import names
from reconciler.strangers import PATTERNS, bad_patterns

_RUN = re.compile(r"(/private)?/tmp/pytest-of-")
_GONE = "`--include-missing` declares it all the same, to be fetched"


def gather(request: Request) -> Iterator[Found | Row]:
    """Yield a variant for each record of the registry in `DIR` (or of one file), or why there is none."""
    if len(request.args) != 1:
        raise InputError("expected one directory", hint="`reconciler import imageworks DIR`")
    books = oldbooks.read(expand(request.args[0]).absolute())
    yield from books.rows
    yield from (Row("finding", PATTERNS, why, "") for why in bad_patterns(request.environ))
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
        yield Row("finding", "1 record" if len(held) == 1 else f"{len(held)} records", why, "")


def _is_there(path: Path | str) -> bool:
    return os.path.exists(path)  # noqa: PTH110  Path.exists raises where nobody may look


def _unwanted(told: Told, request: Request) -> str:
    """Return why a record is not taken, whatever its files are; '' when it is."""
    testing = "testing" in request.also or request.environ.get(INCLUDE_KEY, "").lower() in ("1", "true", "yes", "on")
    why = told.test
    if not why and _RUN.match(told.path) and not any(map(_is_there, list(Path(told.path).parents)[:2])):
        why = "its path is of a test run that is over"
    if why and not testing:
        return f"the record of a test: {why}; `--include-testing` takes it"
    if told.deprecated:
        there = "; its files stay where they are, unmanaged" if told.path and _is_there(told.path) else ""
        return f"marked as deprecated{_served(told)}{there}"
    if not told.source and not told.path:
        return f"neither a source nor a path: a placeholder{_served(told)}"
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
        if told.reference:
            why = f"of {inert(told.reference)}, which is no repository of the Hub{_served(told)}"
            yield Row("left-out", told.name, f"{why}; `reconciler add` declares it", told.file)
        elif home is None:
            nameless.append(told)
        else:
            by_root[home.root].append((home, told))
    for root, held in by_root.items():
        if os.path.isdir(root):  # noqa: PTH112  Path.is_dir raises where nobody may look
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
    yield from _known(root, known, wanted, request)
    done = {_shelf_of(row, root) for row in known}
    shelved = [shelf for shelf in shelves.shelve(rest)[0] if shelf.path in wanted]
    place = _place(root, [told for _, told in held], request)
    yield from _shelved(root, shelved, wanted, place, request)
    fresh = {shelf.path for shelf in shelved}
    for told in (told for shelf in sorted(done - fresh) for told in wanted[shelf]):
        yield from _lost(told, place, f"none of the files in {inert(told.path)} is of it", request)
    for shelf in wanted.keys() - fresh - done:
        there = os.path.isdir(root / shelf)  # noqa: PTH112
        why = (
            f"no weights in {inert(str(root / shelf))}" if there else f"its files are gone: {inert(str(root / shelf))}"
        )
        for told in wanted[shelf]:
            yield from _lost(told, place, why, request)


def _known(root: Path, rows: Sequence[Row], wanted: dict[str, list[Told]], request: Request) -> Iterator[Found | Row]:
    """Yield what the records say of variants that the manifest has already; those records are taken out of `wanted`."""
    held = {row.what: _held(root, row, request) for row in rows}
    chosen = _chosen(list(held.values()), root, wanted)
    for row in rows:
        told = chosen.get(id(held[row.what]))
        yield row if told is None else known_as(row.what, told, row.where)


def _held(root: Path, row: Row, request: Request) -> Found:
    """Return a declared variant with the names of its files, which tell its quantisation."""
    folder = f"{os.path.realpath(root)}/{_shelf_of(row, root)}/"
    names = [path for path, holder in request.declared.items() if holder == row.what and path.startswith(folder)]
    return Found({"source": "", "files": [path.removeprefix(folder) for path in names]}, where=row.where)


def _shelved(
    root: Path, shelved: Sequence[Shelf], wanted: Mapping[str, Sequence[Told]], place: Place, request: Request
) -> Iterator[Found | Row]:
    untold = {shelves.untold(root, shelf): shelf for shelf in shelved}
    answers = list(shelves.gather(root, shelved, request, name=place[0]))
    place = next((each.location for each in answers if isinstance(each, Found) and each.location), place)
    left = {path: list(records) for path, records in wanted.items()}
    chosen = _chosen([each for each in answers if isinstance(each, Found)], root, left)
    for each in answers:
        shelf = _shelf_of(each, root)
        if isinstance(each, Found):
            told = chosen.get(id(each))
            yield enriched(each, told, root / shelf) if told is not None else each
        elif each in untold and (unlocked := _unlocked(untold[each], left[shelf], place)):
            yield from unlocked
        else:
            records = left.get(shelf, [])
            told_of = f" (recorded as {few([told.name for told in records])})" if records else ""
            hint = "; `--local` takes it as it lies" if each.what.startswith("hf:") and each.kind == "left-out" else ""
            yield each._replace(why=each.why + told_of + ("" if request.local else hint))


def _shelf_of(each: Found | Row, root: Path) -> str:
    return "/".join(Path(each.where).relative_to(root).parts[:2]) if each.where else ""


def _chosen(found: Sequence[Found], root: Path, left: Mapping[str, list[Told]]) -> dict[int, Told]:
    """Return by the id of a variant the record that it is, and take that out of `left`.

    Of the variants in one directory each gets the record of its quantisation, whatever their order; then what is left
    goes to what is left, as a record may be wrong in this.
    """
    chosen: dict[int, Told] = {}
    for is_sure in (True, False):
        for each in found:
            held = left.get(_shelf_of(each, root), [])
            told = None if id(each) in chosen else next((told for told in held if not is_sure or _is(told, each)), None)
            if told is not None:
                held.remove(told)
                chosen[id(each)] = told
    return chosen


def _is(told: Told, found: Found) -> bool:
    """Whether a record names the quantisation of a variant."""
    paths = [file.path for file in found.pin.files] if found.pin else []
    return bool(told.quant) and told.quant in f"{found.variant} {paths}".lower()


def _unlocked(shelf: Shelf, records: Sequence[Told], place: Place) -> list[Found]:
    """Return variants as the records say them, for files whose commit nobody can tell without the Hub."""
    why, files = "not locked: its commit is not known; `reconciler lock` asks the Hub", repository_files(shelf.files)
    return [
        declared(told, place, why, files)
        for told in records if told.repository == shelf.repository and any(map(is_weight, files))
    ]  # fmt: skip


def _lost(told: Told, place: Place, why: str, request: Request) -> Iterator[Found | Row]:
    """Leave out a record without files, unless the user wants them to be fetched again."""
    if "missing" in request.also and told.source:
        yield declared(told, place, why)
        return
    hint = f"; {_GONE}" if told.source else ""
    yield Row("left-out", told.name, f"{why}{_served(told)}{hint}", told.file)


def _served(told: Told) -> str:
    """Say which roles the manifest does not get with a record."""
    return f"; it served {few(told.roles)}" if told.roles else ""
