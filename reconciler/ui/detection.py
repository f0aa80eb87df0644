"""Whether what a page or manifest names is there: present, absent, or unknown. Pure over what was observed.

`absent` is said only when somebody could look everywhere and knows every file that could be it; a directory that
cannot be read, or a file that nobody has read, makes it `unknown`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from reconciler.state import ObservedFile, ObservedLocation
from reconciler.ui import filenames
from reconciler.ui.hashes import kinship
from reconciler.ui.visible import is_weights

Verdict = Literal["present", "absent", "unknown"]
How = Literal["digest", "record", "name", "rewritten", ""]

Names = Mapping[str, str]
"""`sha256`, `autov2`, `autov3`, … -> lower-case hex."""


_REWRITTEN = "the header was rewritten; the tensors are the same"


class Wanted(NamedTuple):
    """One file that should be somewhere. What nobody knows is '' or None or empty.

    `version` is Civitai's number of the version; `paths` are where it was recorded (location, path); `file` is the
    upstream name, which tells several files of a version apart.
    """

    name: str
    version: str = ""
    size: int | None = None
    names: tuple[tuple[str, str], ...] = ()
    paths: tuple[tuple[str, str], ...] = ()
    file: str = ""


class Sighting(NamedTuple):
    """What became of one wanted file: where it is, how it was recognised, and why, for people."""

    name: str
    verdict: Verdict
    location: str = ""
    path: str = ""
    how: How = ""
    why: str = ""


class _Candidate(NamedTuple):
    location: str
    file: ObservedFile


def detect(
    wanted: Iterable[Wanted], places: Iterable[ObservedLocation], known: Callable[[str, ObservedFile], Names]
) -> tuple[Sighting, ...]:
    """Return a sighting for each wanted file, in their order.

    `known(location, file)` says what hashing has taught of a file, now or earlier; nothing is read here. Digests
    decide first, then what was recorded, then names of civitdl's pattern; bytes that contradict a name win over it.
    """
    observed, asked = tuple(places), tuple(wanted)
    index = _indexed(observed, asked, known)
    blind = _blind(observed)
    return tuple(_sighted(each, index, blind, known) for each in asked)


def unread(
    wanted: Iterable[Wanted], places: Iterable[ObservedLocation], known: Callable[[str, ObservedFile], Names]
) -> tuple[tuple[str, ObservedFile], ...]:
    """Return (location, file) of the files that must be read before `detect` can tell of everything that is wanted."""
    wanted = tuple(wanted)
    index = _indexed(places, wanted, known)
    found: dict[_Candidate, None] = {}
    sizes: set[int] = set()
    for each in wanted:
        if each.names and each.size not in sizes and _same(each, index, known) is None:
            found.update(dict.fromkeys(index.unread_of(each)))
            sizes.update(() if each.size is None else (each.size,))
    return tuple((one.location, one.file) for one in found)


def doubtful(
    wanted: Iterable[Wanted], places: Iterable[ObservedLocation], known: Callable[[str, ObservedFile], Names]
) -> tuple[tuple[str, ObservedFile], ...]:
    """Return (location, file) of those that say they are wanted and hold other bytes: AutoV3 tells if a header changed.

    They are told by their record or their name; who has no AutoV3 to compare with needs none of them.
    """
    wanted = tuple(wanted)
    index = _indexed(places, wanted, known)
    found: dict[_Candidate, None] = {}
    for each in wanted:
        if dict(each.names).get("autov3") and _same(each, index, known) is None:
            recorded = (index.paths.get(path) for path in each.paths)
            said = (*filter(None, recorded), *index.named(each))
            found.update(dict.fromkeys(one for one in said if "autov3" not in known(*one)))
    return tuple((one.location, one.file) for one in found)


def together(name: str, sightings: Sequence[Sighting]) -> Sighting:
    """Return one sighting for what belongs together, a pair of high and low noise: present only when all are."""
    counts = {
        verdict: sum(each.verdict == verdict for each in sightings) for verdict in ("present", "absent", "unknown")
    }
    if sightings and (len(sightings) == 1 or counts["present"] == len(sightings)):
        return sightings[0]._replace(name=name)
    lacking = [each for each in sightings if each.verdict != "present"]
    why = f"{counts['present']} of {len(sightings)} present; " + "; ".join(
        f"{each.name}: {each.why}" for each in lacking
    )
    return Sighting(name, "absent" if counts["absent"] else "unknown", why=why)


class _Index(NamedTuple):
    """Files by what can be known without reading them, and by the digests that are known."""

    sizes: Mapping[int, list[_Candidate]]
    versions: Mapping[str, list[_Candidate]]
    paths: Mapping[tuple[str, str], _Candidate]
    weights: list[_Candidate]
    digests: Mapping[str, _Candidate]
    """SHA256 -> a file of a wanted size."""
    unread: Mapping[int, list[_Candidate]]
    """Size -> files whose SHA256 nobody knows."""

    def candidates(self, wanted: Wanted) -> list[_Candidate]:
        """Return the files that could be the wanted one: of its size, or of its name where nobody knows the size."""
        if wanted.size is not None:
            return self.sizes.get(wanted.size, [])
        return self.named(wanted) or (self.weights if wanted.names else [])

    def unread_of(self, wanted: Wanted) -> list[_Candidate]:
        """Return the candidates whose SHA256 nobody knows."""
        if wanted.size is not None:
            return self.unread.get(wanted.size, [])
        unread_ = {one for files in self.unread.values() for one in files}
        return [one for one in self.candidates(wanted) if one in unread_]

    def named(self, wanted: Wanted) -> list[_Candidate]:
        """Return the files whose name says the wanted version, whole."""
        found = self.versions.get(wanted.version, []) if wanted.version else []
        exact = [one for one in found if wanted.file and _stem(one.file.path) == filenames.split(wanted.file)[0]]
        return exact or found


def _indexed(
    places: Iterable[ObservedLocation], wanted: Sequence[Wanted], known: Callable[[str, ObservedFile], Names]
) -> _Index:
    sizes: dict[int, list[_Candidate]] = {}
    versions: dict[str, list[_Candidate]] = {}
    paths: dict[tuple[str, str], _Candidate] = {}
    all_weights: list[_Candidate] = []
    digests: dict[str, _Candidate] = {}
    unread_: dict[int, list[_Candidate]] = {}
    wanted_sizes = {each.size for each in wanted if each.names}
    for place in places:
        for file in place.files.values() if place.readable else ():
            one = _Candidate(place.name, file)
            paths[(place.name, file.path)] = one
            is_one = is_weights(file.path)
            if file.size in wanted_sizes or (is_one and None in wanted_sizes):
                sizes.setdefault(file.size, []).append(one)
                if sha256 := known(*one).get("sha256"):
                    digests.setdefault(sha256, one)
                else:
                    unread_.setdefault(file.size, []).append(one)
            if is_one:
                all_weights.append(one)
                if (told := filenames.civitdl_of(file.path)) is not None:
                    versions.setdefault(told[1], []).append(one)
    return _Index(sizes, versions, paths, all_weights, digests, unread_)


def _same(wanted: Wanted, index: _Index, known: Callable[[str, ObservedFile], Names]) -> _Candidate | None:
    """Return a file that holds the wanted bytes by what is known: where it was recorded, if it lies there."""
    if not wanted.names:
        return None
    recorded = filter(None, (index.paths.get(path) for path in wanted.paths))
    if (one := next((one for one in recorded if _is(wanted, known(*one)) == "same"), None)) is not None:
        return one
    if sha256 := dict(wanted.names).get("sha256"):
        return index.digests.get(sha256.lower())
    return next((one for one in index.candidates(wanted) if _is(wanted, known(*one)) == "same"), None)


def _sighted(wanted: Wanted, index: _Index, blind: str, known: Callable[[str, ObservedFile], Names]) -> Sighting:
    if (one := _same(wanted, index, known)) is not None:
        return _there(wanted, one, "digest")
    for one in filter(None, (index.paths.get(path) for path in wanted.paths)):
        kin = _is(wanted, known(*one))
        if kin == "rewritten":
            return _there(wanted, one, "rewritten", _REWRITTEN)
        if kin != "other" and wanted.size in (None, one.file.size):
            return _there(wanted, one, "record")
    contradicted = ""
    for one in index.named(wanted):
        kin = _is(wanted, known(*one))
        if kin == "rewritten":
            return _there(wanted, one, "rewritten", _REWRITTEN)
        if kin == "other" or (kin == "unknown" and wanted.size not in (None, one.file.size)):
            contradicted = f"{one.file.path} has its name and other bytes"
            continue
        return _there(wanted, one, "name")
    unread_ = index.unread_of(wanted) if wanted.names else []
    if unread_:
        return Sighting(wanted.name, "unknown", why=f"{len(unread_)} files that could be it have not been read")
    if blind:
        return Sighting(wanted.name, "unknown", why=blind)
    if not (wanted.names or wanted.version):
        return Sighting(wanted.name, "unknown", why="nobody knows its version or digest")
    return Sighting(wanted.name, "absent", why=contradicted or "no such file")


def _is(wanted: Wanted, found: Names) -> str:
    return kinship(dict(wanted.names), found) if wanted.names and found else "unknown"


def _there(wanted: Wanted, one: _Candidate, how: How, why: str = "") -> Sighting:
    return Sighting(wanted.name, "present", one.location, one.file.path, how, why)


def _blind(places: Iterable[ObservedLocation]) -> str:
    """Say what keeps anyone from saying that a file is nowhere; '' when everything could be looked through."""
    told = ""
    for place in places:
        if not place.readable:
            return f"{place.name}: {place.why}"
        for path, why in place.others.items():
            if why.startswith("cannot be read"):
                told = told or f"{place.name}: {path} {why}"
        for path, target in place.links.items():
            if (is_weights(path) or "." not in posixpath.basename(path)) and not _leads_inside(place, path, target):
                told = told or f"{place.name}: {path} is a link to {target}, and nobody looked there"
    return told


def _leads_inside(place: ObservedLocation, path: str, target: str) -> bool:
    """Whether a link leads to what was looked at anyway: a file below the same root, or a directory with such."""
    whole = posixpath.normpath(posixpath.join(place.root, posixpath.dirname(path), target))
    if not whole.startswith(f"{place.root}/"):
        return False
    inside = whole[len(place.root) + 1 :]
    return inside in place.files or any(each.startswith(f"{inside}/") for each in place.files)


def _stem(path: str) -> str:
    return posixpath.basename(path).partition("-mid_")[0]
