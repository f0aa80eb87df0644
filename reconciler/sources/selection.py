"""Choose the files of a listing that a manifest asks for, and refuse a listing that could do harm. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from reconciler.errors import NotFoundError, Problem, SourceError
from reconciler.globs import matches
from reconciler.inert import few, inert
from reconciler.paths import check_relative, collision_key
from reconciler.sources import Request
from reconciler.state import Artifact, Digest, parse_digest

MAX_FILES = 100_000
"""Files of one repository; the Hub advises to stay below this."""

_UNASKED = frozenset({".gitattributes", ".gitignore"})
_QUANT = re.compile(r"(?i)(?<![a-z0-9])((?:UD-)?I?Q\d+(?:_[A-Z0-9]+)*|TQ\d_\d|MXFP\d(?:_MOE)?|B?F16|F32)(?![a-z0-9])")
_SHOWN = 12


class Entry(NamedTuple):
    """One entry of a listing as upstream gives it. `kind` is `file`, `directory` or whatever else it says."""

    path: str
    kind: str
    size: int = 0
    digest: str = ""


def accept(entries: Iterable[Entry], where: str) -> tuple[Artifact, ...]:
    """Return the files of a listing, sorted by path; raise SourceError naming every entry that we do not accept.

    One bad name spoils the whole listing: who writes `../x` once is not trusted with the rest.
    """
    problems: list[Problem] = []
    files: dict[str, Artifact] = {}
    seen = 0
    for entry in entries:
        seen += 1
        if seen > MAX_FILES:
            raise SourceError(f"more than {MAX_FILES} entries are listed", where=where)
        try:
            artifact = _artifact(entry)
            if entry.path in files:
                raise ValueError("listed twice")
        except ValueError as error:
            problems.append(Problem(where, f"upstream lists {_quoted(entry.path)}: {error}", _HINT))
            continue
        if artifact is not None:
            files[entry.path] = artifact
    problems += [
        Problem(where, f"upstream lists {_quoted(path)} both as a file and as a directory", _HINT)
        for path in sorted(files.keys() & _parents(files))
    ]
    if problems:
        raise SourceError(problems[:_SHOWN])
    return tuple(files[path] for path in sorted(files))


_HINT = "nothing of this repository is taken; tell its owner"


def select(files: Sequence[Artifact], request: Request) -> tuple[Artifact, ...]:
    """Return the files that `request` asks for, with digests given by hand put in.

    Raise NotFoundError for each pattern that means nothing, with what it may have meant, and SourceError when two
    chosen files would be one where names ignore case.
    """
    chosen = tuple(file for file in files if is_selected(file.path, request))
    problems = [_nothing(pattern, files, request) for pattern in request.files if not _any(pattern, chosen)]
    if not problems and not chosen:
        what = "leaves nothing after exclude" if files else "holds no files"
        problems.append(Problem(request.source, f"the source {what}", "look at files and exclude of this variant"))
    if problems:
        raise NotFoundError(problems)
    _refuse_collisions(chosen, request)
    return _with_hand_digests(chosen, request)


def is_selected(path: str, request: Request) -> bool:
    """Whether the globs of `request` mean `path`. Git's own files are taken only when they are named."""
    if any(matches(pattern, path) for pattern in request.exclude):
        return False
    if request.files:
        wanted = [pattern for pattern in request.files if matches(pattern, path)]
        return any(not _is_for_all(pattern) for pattern in wanted) if _is_unasked(path) else bool(wanted)
    return not _is_unasked(path)


def hand_digest(path: str, request: Request, count: int) -> Digest | None:
    """Return the digest that the manifest gives for `path`, one of `count` selected files; None when it gives none."""
    if request.sha256 is None:
        return None
    if isinstance(request.sha256, str):
        return _hand(request.sha256, request) if count == 1 else None
    given = request.sha256.get(path)
    return _hand(given, request) if given is not None else None


def _hand(text: str, request: Request) -> Digest:
    try:
        return parse_digest(f"sha256:{text.removeprefix('sha256:').lower()}")
    except ValueError as error:
        raise SourceError(f"lock.sha256: {error}", where=request.where or request.variant) from None


def _with_hand_digests(chosen: tuple[Artifact, ...], request: Request) -> tuple[Artifact, ...]:
    where = request.where or request.variant
    if isinstance(request.sha256, str) and len(chosen) != 1:
        raise SourceError(
            f"lock.sha256 gives one digest, and {len(chosen)} files are selected",
            where=where,
            hint="give one for each path: sha256: {path: digest}",
        )
    if isinstance(request.sha256, Mapping):
        for path in sorted(request.sha256.keys() - {file.path for file in chosen}):
            told = f"lock.sha256 names {_quoted(path)}, which is not selected"
            raise SourceError(told, where=where, hint=f"selected: {few(sorted(file.path for file in chosen))}")
    return tuple(_with_hand_digest(file, request, len(chosen)) for file in chosen)


def _with_hand_digest(file: Artifact, request: Request, count: int) -> Artifact:
    given = hand_digest(file.path, request, count)
    if given is None or given == file.digest:
        return file
    if file.digest.startswith("sha256:"):
        raise SourceError(
            f"{request.source}: {inert(file.path)} is {file.digest} upstream, and the manifest pins {given}",
            where=request.where or request.variant,
            hint="the bytes upstream are not the ones that were pinned; do not take them unless you know why",
        )
    return file._replace(digest=given)


def _artifact(entry: Entry) -> Artifact | None:
    if not isinstance(entry.path, str):
        raise ValueError("its path is no text")
    check_relative(entry.path)
    if entry.kind == "directory":
        return None
    if entry.kind != "file":
        raise ValueError(f"neither a file nor a directory but {inert(str(entry.kind))[:40]!r}")
    if not isinstance(entry.size, int) or isinstance(entry.size, bool) or not 0 <= entry.size < 1 << 50:
        raise ValueError(f"its size is {str(entry.size)[:40]!r}")
    return Artifact(entry.path, entry.size, parse_digest(entry.digest))


def _parents(paths: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in found:
            found.add(path)
    return found


def _refuse_collisions(chosen: Iterable[Artifact], request: Request) -> None:
    seen: dict[str, str] = {}
    for file in chosen:
        other = seen.setdefault(collision_key(file.path), file.path)
        if other != file.path:
            raise SourceError(
                f"{_quoted(other)} and {_quoted(file.path)} are one file where names ignore case",
                where=request.source,
                hint="exclude one of them",
            )


def _any(pattern: str, files: Iterable[Artifact]) -> bool:
    return any(matches(pattern, file.path) for file in files)


def _nothing(pattern: str, files: Sequence[Artifact], request: Request) -> Problem:
    if _any(pattern, files):
        summary = f"every file that matches {_quoted(pattern)} is left out"
        return Problem(request.source, summary, "drop the pattern, or change exclude")
    names = [file.path for file in files if not _is_unasked(file.path)]
    return Problem(request.source, f"no file matches {_quoted(pattern)}", _near(pattern, names))


def _near(pattern: str, names: Sequence[str]) -> str:
    plain = re.sub(r"[*?\[\]]+", "", pattern)
    bases = {name.rsplit("/", 1)[-1]: name for name in names}
    near = [inert(bases[name]) for name in get_close_matches(plain, list(bases)[:2000], n=3, cutoff=0.6)]
    if near and plain == pattern:
        return f"did you mean {' or '.join(near)}?"
    quants = {found.group(1) for name in names for found in [_QUANT.search(name)] if found}
    if len(quants) > 1 and (_QUANT.search(pattern.replace("*", " ")) or pattern.endswith(".gguf")):
        return f"there are: {_listed(sorted(quants))}"
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"there are: {_listed(names)}" if names else "the repository is empty"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(inert(name) for name in names[:_SHOWN]) + more


def _is_unasked(path: str) -> bool:
    return path.rsplit("/", 1)[-1] in _UNASKED


def _is_for_all(pattern: str) -> bool:
    return not re.sub(r"[*?/]", "", pattern)


def _quoted(path: object) -> str:
    return f"`{inert(str(path))[:200]}`"
