"""Look through a directory: what lies there, which bytes they are, and what is no model though it looks like one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from reconciler.detect import MalformedHeader, check_magic, jsonbound, rules
from reconciler.detect.readme import LIMIT, read_readme
from reconciler.digests import Question
from reconciler.errors import InputError
from reconciler.importing.found import Request, Row
from reconciler.importing.parts import is_weight
from reconciler.inert import inert
from reconciler.observe import observe
from reconciler.state import Algorithm, Digest, ObservedFile, ObservedLocation, algorithm, identity_key

LARGE = 10 << 20
"""Bytes: the Hub keeps every file above this in LFS, by sha256 (https://huggingface.co/docs/hub/storage-limits)."""


UNREAD = "cannot be read, or changed meanwhile"
"""What is wrong with a file whose bytes nobody knows: that is no reason to delete it."""


def look(name: str, store: str, root: Path) -> ObservedLocation:
    """Return what lies below `root`; raise InputError when it is no directory that can be read."""
    seen = observe(name, store, str(root), expected_id=None)
    if seen.readable and seen.exists:
        return seen
    raise InputError(seen.why or "there is no such directory", where=inert(str(root)), hint="name the directory")


def digests_of(
    root: Path, files: Iterable[ObservedFile], request: Request, *, both: bool = True
) -> Mapping[str, Mapping[Algorithm, Digest]]:
    """Return path -> its digests: what is remembered, else read now, on all cores; files that cannot be read are out.

    With `both`, small files get the digest that git has of them, too: the Hub knows them by nothing else.
    """
    wanted: dict[str, tuple[ObservedFile, tuple[Algorithm, ...]]] = {
        file.path: (file, ("sha256", "git-sha1") if both and file.size <= LARGE else ("sha256",)) for file in files
    }
    return _digests(root, wanted, request)


def spoilt(root: Path, claims: Iterable[tuple[ObservedFile, Digest]], request: Request) -> Mapping[str, str]:
    """Return path -> what is wrong with it, for files of a store that names each by its digest: their bytes are read.

    What is remembered is not read again, and the plan right after needs the same digests.
    """
    told = {file.path: (file, digest) for file, digest in claims}
    wanted = {path: (file, (algorithm(digest),)) for path, (file, digest) in told.items()}
    known = _digests(root, wanted, request)
    found: dict[str, str] = {}
    for path, (_, digest) in told.items():
        if path not in known:
            found[path] = UNREAD
        elif known[path].get(algorithm(digest)) != digest:
            found[path] = "its bytes are not those that its name tells"
    return found


def license_in(readme: Path) -> str | None:
    """Return the licence that a model card tells, as the Hub would; None where it tells none, or cannot be read."""
    try:
        with jsonbound.open_regular(readme) as stream:
            text = stream.read(LIMIT).decode("utf-8", "replace")
    except (OSError, MalformedHeader):
        return None
    told = read_readme(text).get("license")
    return told if isinstance(told, str) and told.isprintable() else None


def _digests(
    root: Path, asked: Mapping[str, tuple[ObservedFile, tuple[Algorithm, ...]]], request: Request
) -> Mapping[str, Mapping[Algorithm, Digest]]:
    wanted = [file for file, _ in asked.values()]
    known = request.digests.known(wanted)
    questions = [
        Question(root / file.path, file, algorithms)
        for file, algorithms in asked.values()
        if not set(algorithms) <= known.get(identity_key(file), {}).keys()
    ]
    answers = request.digests.compute(questions, request.watch)
    found: dict[str, Mapping[Algorithm, Digest]] = {}
    for file in wanted:
        answer = answers.get(root / file.path)
        if answer is None:
            found[file.path] = known[identity_key(file)]
        elif not answer.problem:
            found[file.path] = answer.digests
    return found


def sort_out(root: Path, files: Iterable[ObservedFile]) -> tuple[list[ObservedFile], list[Row]]:
    """Return the files that may be of a model, and a row for each that looks like one and is none.

    Programs are none, whatever lies in them: a row for each directory. Others are half downloads, with the file that
    they belong to, and files whose content is not what their name says: a Git LFS pointer, a web page, nothing at all.
    """
    found = list(files)
    programs = _programs(file.path for file in found)
    everything = [file for file in found if programs.isdisjoint(_above(file.path))] if programs else found
    unfinished = [file for file in everything if rules.is_unfinished(file.path)]
    rows = [Row("left-out", folder, "programs, no models", str(root / folder)) for folder in sorted(programs)]
    rows += [Row("left-out", file.path, "a half download", str(root / file.path)) for file in unfinished]
    begun = {Path(file.path).with_suffix("").as_posix() for file in unfinished}
    kept: list[ObservedFile] = []
    for file in everything:
        if rules.is_unfinished(file.path):
            continue
        why = (
            "a half download: its `.aria2` lies beside it" if file.path in begun else _impostor(root / file.path, file)
        )
        if why:
            rows.append(Row("left-out", file.path, why, str(root / file.path)))
        else:
            kept.append(file)
    return kept, rows


def _programs(paths: Iterable[str]) -> frozenset[str]:
    """Return the outermost directories of programs: environments of Python, packages of Python and of Node."""
    found: set[str] = set()
    for path in paths:
        folder, _, name = path.rpartition("/")
        if name == "pyvenv.cfg" and folder:
            found.add(folder)
        elif "site-packages/" in path or "node_modules/" in path:
            found.update(each for each in _above(path) if each.rpartition("/")[2] in ("site-packages", "node_modules"))
    return frozenset(folder for folder in found if not any(above in found for above in _above(folder)))


def _above(path: str) -> Iterator[str]:
    """Yield the directories above a path, the nearest first."""
    while path := path.rpartition("/")[0]:
        yield path


def hidden(seen: ObservedLocation) -> Iterator[Row]:
    """Yield what could not be looked at, and links, which are never followed."""
    for path, why in seen.others.items():
        yield Row("problem", path or seen.root, why, f"{seen.root}/{path}")
    for path, target in seen.links.items():
        if why := _astray(seen.root, path, target):
            yield Row("left-out", path, why, f"{seen.root}/{path}")


def _astray(root: str, path: str, target: str) -> str:
    """Say where a link of weights, or to a directory outside, leads; '' for one that hides nothing of this place."""
    real = os.path.realpath(f"{root}/{path}")
    if is_weight(path):
        there = os.path.exists(real)  # noqa: PTH110  Path.exists raises where nobody may look
        return (
            f"a link to {target}; import the place that it leads to" if there else f"a link to {target}, which is gone"
        )
    outside = os.path.isdir(real) and not f"{real}/".startswith(f"{os.path.realpath(root)}/")  # noqa: PTH112
    return f"a link to a directory, {target}; import the place that it leads to" if outside else ""


def several(what: str, paths: Sequence[str], why: str, where: str) -> Iterator[Row]:
    """Yield one row for many small things of one kind."""
    if paths:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        yield Row("left-out", f"{what}{paths[0]}{more}", why, where)


def _impostor(path: Path, file: ObservedFile) -> str:
    if not is_weight(file.path):
        return ""
    if file.size == 0:
        return "an empty file: a placeholder"
    try:
        return check_magic(path) or ""
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except MalformedHeader as error:
        return f"cannot be read: {error}"
