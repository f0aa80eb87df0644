"""Entries of the registry that no manifest manages: what is odd about each, and which of them a plan may prune.

Nothing is ever said of entries of ours, or of those of other manifests in the same registry; nothing is pruned unless
the policy says so (`stale_records: prune`), and then only what the tool's own layer holds and people do not speak of.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from reconciler.inert import inert
from reconciler.ollama import names
from reconciler.plan import REGISTRY, Action, Facts, Step, Stranger
from reconciler.registry.entry import block_of
from reconciler.registry.jsontext import Entry, canonical
from reconciler.registry.kinship import Index, best, key_of_files, kin_of, kin_of_wanted, preference
from reconciler.state import Address, ObservedLocation

if TYPE_CHECKING:
    from reconciler.registry import Registry
    from reconciler.world import World

PATTERNS = "IMAGEWORKS_TEST_MODEL_PATTERNS"
"""The environment variable of further patterns of test models: regular expressions, parted by commas or semicolons."""

_PLACEHOLDER = re.compile(
    r"testzzz|^(?:testmodel|mini-test|custom-family|synthetic-test|logical-only-test|demo-model"
    r"|model-(?:awq|fp16|ollama-gguf))(?![a-z0-9])"
)
_TEST_PATH = re.compile(r"/pytest-of-[^/]+/|/pytest-\d+/")


class Odd(NamedTuple):
    """An entry with what is odd about it, each word with its explanation; `duplicate_of` '' for none."""

    entry: Entry
    layer: str
    words: Mapping[str, str]

    @property
    def stranger(self) -> Stranger:
        """As a plan tells it."""
        layer = "curated" if self.layer == "curated" else "discovered"
        return Stranger(self.entry["name"], layer, tuple(self.words), tuple(self.words.values()))  # type: ignore[arg-type]


def look_at(registry: Registry, world: World, environ: Mapping[str, str] = os.environ) -> tuple[Odd, ...]:
    """Return the entries that are not ours, discovered ones first, each with what is odd about it."""
    foreign = [entry for entry in registry.discovered if block_of(entry) is None]
    known = {entry["name"] for entry in registry.discovered}
    curated = [entry for entry in registry.curated if entry["name"] not in known]
    if not foreign and not curated:
        return ()
    by_hand = {entry["name"] for entry in registry.curated}
    same = _same(foreign, world, by_hand)
    patterns = _patterns(environ)
    there = _There(world.locations)
    found = [_kept(Odd(entry, "discovered", _words(entry, there, same, patterns)), by_hand) for entry in foreign]
    found += [Odd(entry, "curated", _words(entry, there, {}, patterns)) for entry in curated]
    return tuple(found)


def _kept(odd: Odd, by_hand: Container[str]) -> Odd:
    """Say why an entry that might go stays: it is what people have written something over."""
    why = next((word for word in ("duplicate", "gone", "deprecated", "logical-only") if word in odd.words), None)
    if why is None or odd.entry["name"] not in by_hand:
        return odd
    return odd._replace(words={**odd.words, why: f"{odd.words[why]} (never pruned: the curated layer speaks of it)"})


def pruning(odd: Iterable[Odd], registry: Registry) -> Iterator[Step]:
    """Yield a step for every entry that may go: of nothing, marked as deprecated, or said by another one as well.

    Never one that people speak of in the curated layer.
    """
    by_hand = {entry["name"] for entry in registry.curated}
    for each in odd:
        name = each.entry["name"]
        if each.layer != "discovered" or name in by_hand or "declared" in each.words:
            continue
        reason = _reason(each)
        if reason:
            yield Step(
                Address(name, REGISTRY), Action.PRUNE, reason, facts_of_entry(each.entry), None, entry=each.entry
            )


def giving_back(before: Sequence[Entry], registry: Registry) -> Iterator[Step]:
    """Yield a step for every entry of somebody else that the layer had before and has no more, or has since.

    Of equal entries as many come or leave as are too few or too many.
    """
    now = Counter(canonical(entry) for entry in registry.discovered if block_of(entry) is None)
    for place, entry in enumerate(before):
        if block_of(entry) is not None:
            continue
        text, address = canonical(entry), Address(entry["name"], REGISTRY)
        if now[text]:
            now[text] -= 1
        else:
            yield Step(address, Action.NORMALIZE, "record", None, facts_of_entry(entry), entry=entry, place=place)
    for entry in registry.discovered:
        if block_of(entry) is None and now[canonical(entry)]:
            now[canonical(entry)] -= 1
            address = Address(entry["name"], REGISTRY)
            yield Step(address, Action.PRUNE, "stale-record", facts_of_entry(entry), None, entry=entry)


def facts_of_entry(entry: Entry) -> Facts:
    """Return what an entry of somebody else says, as a plan shows it."""
    source = entry.get("source")
    hub = source.get("huggingface_id") if isinstance(source, Mapping) else None
    return Facts(
        source=f"hf:{hub}" if isinstance(hub, str) and hub not in ("", "None") else None,
        format=_text(entry, "download_format"),
        quant=_text(entry, "quantization"),
        path=_text(entry, "download_path"),
        backend=_text(entry, "backend"),
        served_as=_text(entry, "served_model_id"),
        license=_text(entry, "license"),
    )


def _reason(odd: Odd) -> str:
    words = odd.words
    if "duplicate" in words:
        return "duplicate-record"
    if "unreachable" in words:  # a disk that is away says nothing; of a test nobody will mount one
        return "stale-record" if "placeholder" in words else ""
    return "" if words.keys().isdisjoint({"gone", "deprecated", "logical-only"}) else "stale-record"


def _same(foreign: Sequence[Entry], world: World, by_hand: set[str]) -> dict[int, tuple[str, str]]:
    """Return of entries (by id) that others speak for: (`declared` or `duplicate`, in words)."""
    found: dict[int, tuple[str, str]] = {}
    index = Index(foreign)
    for held in (*world.contents.ours, *world.contents.theirs) if index else ():
        for entry in index.of(kin_of(held.record)):
            found[id(entry)] = ("duplicate", f"of {held.record.address}, which manifest {held.record.manifest} manages")
    for wanted in sorted(world.desired, key=lambda each: each.address) if index else ():
        if world.record_of(wanted) is not None:
            continue
        kin = kin_of_wanted(wanted, world.locations[wanted.address.location].root)
        candidates = [entry for entry in index.of(kin) if id(entry) not in found]
        heir = best(candidates, wanted.address.variant)
        for entry in candidates:
            is_heir = entry is heir
            found[id(entry)] = (
                ("declared", f"{wanted.address} takes it over") if is_heir else ("duplicate", f"of {wanted.address}")
            )
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in foreign:
        key = key_of_files(entry)
        if key and id(entry) not in found:
            groups.setdefault((key, _said(entry, "backend"), _said(entry, "quantization")), []).append(entry)
    for group in groups.values():
        first, *others = sorted(group, key=lambda entry: (entry["name"] not in by_hand, *preference(entry)))
        for entry in others:
            found[id(entry)] = ("duplicate", f"of {first['name']}")
    return found


def _words(
    entry: Entry, there: _There, same: Mapping[int, tuple[str, str]], patterns: Sequence[re.Pattern[str]]
) -> dict[str, str]:
    words: dict[str, str] = {}
    if id(entry) in same:
        word, detail = same[id(entry)]
        words[word] = detail
    key = key_of_files(entry)
    where = _where(key, there) if key else ("logical-only", "it names no files and no model of a server")
    if where[0]:
        words[where[0]] = where[1]
    metadata = entry.get("metadata")
    is_testing = isinstance(metadata, Mapping) and metadata.get("testing") is True
    is_ours = there.place_of(key) is not None
    if is_testing or _is_placeholder(entry, patterns) or (not is_ours and _TEST_PATH.search(key)):
        words["placeholder"] = "an entry of tests"
    if entry.get("deprecated") is True:
        words["deprecated"] = "marked as deprecated"
    nones = sorted(field for field, value in entry.items() if value in ("None", "ollama://None", "ollama:/None"))
    if nones:
        words["none-text"] = f'the text "None" where nothing should stand: {", ".join(nones)}'
    path = entry.get("download_path")
    if isinstance(path, str) and re.match(r"ollama:/(?!/)", path):
        words["ollama-path"] = f"{path}: a tag that was taken for a path"
    return words


def _where(key: str, there: _There) -> tuple[str, str]:
    """Return (word, in words) of what became of an entry's files; ('', '') while they are there."""
    if key.startswith("ollama:"):
        return _in_ollama(key.removeprefix("ollama:"), there)
    place = there.place_of(key)
    if place is None:
        return ("", "") if os.path.lexists(key) else ("unreachable", f"{key} is not there, and in no declared location")
    # A mount point without its disk is an empty directory: only one that shows something can tell what is gone.
    if not place.readable or not (place.id or place.files or place.links):
        return "unreachable", f"{key}: {place.why or f'{place.name} is empty, or not mounted'}"
    return ("", "") if there.holds(place, key) else ("gone", f"{key} is not there any more")


def _in_ollama(key: str, there: _There) -> tuple[str, str]:
    if key in there.models:
        return "", ""
    shown = key.removeprefix(f"{names.HOST}/").removeprefix(f"{names.NAMESPACE}/")
    places = [place for place in there.locations.values() if place.store == "ollama"]
    if not places:
        return "unreachable", f"{shown}: no Ollama location is declared that could tell"
    if not all(place.readable and place.exists and place.observed for place in places):
        return "unreachable", f"{shown}: an Ollama cannot be read"
    return "gone", f"{shown} is in no declared Ollama any more"


@dataclass(frozen=True)
class _There:
    """What lies in the locations, each path with the directories above it; worked out once it is asked for."""

    locations: Mapping[str, ObservedLocation]

    def place_of(self, path: str) -> ObservedLocation | None:
        """Return the location below whose root an absolute path lies."""
        inside = (place for place in self.locations.values() if path.startswith(f"{place.root.rstrip('/')}/"))
        return next(inside, None)

    def holds(self, place: ObservedLocation, path: str) -> bool:
        """Whether a file, a link or a directory with something in it has this absolute path."""
        found = self._paths.get(place.name)
        if found is None:
            found = set()
            for each in (*place.files, *place.links):
                above = each
                while above and above not in found:
                    found.add(above)
                    above = above.rpartition("/")[0]
            self._paths[place.name] = found
        return path[len(place.root.rstrip("/")) + 1 :] in found

    @cached_property
    def models(self) -> frozenset[str]:
        """The keys of the models in every Ollama."""
        places = [place for place in self.locations.values() if place.store == "ollama"]
        found = (names.from_path(path) for place in places for path in (*place.files, *place.links))
        return frozenset(name.key for name in found if name is not None)

    @cached_property
    def _paths(self) -> dict[str, set[str]]:
        return {}


def _is_placeholder(entry: Entry, patterns: Sequence[re.Pattern[str]]) -> bool:
    name = entry["name"]
    return _PLACEHOLDER.search(name) is not None or any(pattern.search(name) for pattern in patterns)


def bad_patterns(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return a line for each pattern of the user's that is no regular expression, and means nothing."""
    return tuple(
        f"`{inert(text)}` is no regular expression, and means nothing: {found}"
        for text, found in _read_patterns(environ) if isinstance(found, re.error)
    )  # fmt: skip


def _patterns(environ: Mapping[str, str]) -> list[re.Pattern[str]]:
    return [found for _, found in _read_patterns(environ) if isinstance(found, re.Pattern)]


def _read_patterns(environ: Mapping[str, str]) -> Iterator[tuple[str, re.Pattern[str] | re.error]]:
    for part in re.split(r"[,;\n]", environ.get(PATTERNS, "")):
        if text := part.strip():
            try:
                yield text, re.compile(text, re.IGNORECASE)
            except re.error as error:
                yield text, error


def _text(entry: Entry, key: str) -> str | None:
    value = entry.get(key)
    return value if isinstance(value, str) and value not in ("", "None") else None


def _said(entry: Entry, key: str) -> str:
    """Return what an entry says in a field, whatever is there, as something to compare; '' for nothing."""
    value = entry.get(key)
    return "" if value in (None, "", "None") else repr(value)
