"""Import the cache of huggingface_hub: every snapshot is a variant, and the names of its blobs are the digests.

The blobs are read, once: huggingface_hub never looks at them again, and the plan needs to know that they are right.
https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import os
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.errors import InputError
from reconciler.home import expand
from reconciler.importing.found import Found, Request, Row
from reconciler.importing.looking import UNREAD, license_in, spoilt
from reconciler.importing.parts import Part, denied, is_gits, lacks, parts, selection
from reconciler.inert import few, inert
from reconciler.references import is_commit
from reconciler.state import Artifact, Digest, ObservedFile, ObservedLocation, Pin

_SNAPSHOT = re.compile(r"(models--[^/]+)/snapshots/([0-9a-f]{40})/(.+)")
_REF = re.compile(r"(models--[^/]+)/refs/(.+)")
_CARD = "README.md"
_BLOB = re.compile(r"(models--[^/]+)/blobs/([0-9a-f]{64}|[0-9a-f]{40})")


@dataclass
class _Repository:
    """What the cache holds of one repository."""

    refs: dict[str, str] = field(default_factory=dict)
    """Branch -> commit."""
    snapshots: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    """Commit -> path -> name of the blob, '' for a file that is no link."""


class _Whole(NamedTuple):
    """A variant whose files are all there: path -> the blob that a snapshot has under it."""

    source: str
    commit: str
    part: Part
    blobs: Mapping[str, ObservedFile]
    card: ObservedFile | None
    """The README of the snapshot, which tells the licence."""
    where: str

    @property
    def held(self) -> tuple[ObservedFile, ...]:
        """What has to be read."""
        return (*self.blobs.values(), *([self.card] if self.card is not None else ()))


def gather(request: Request) -> Iterator[Found | Row]:
    """Yield a variant for each snapshot (and quant) of the cache at `DIR`, or where huggingface_hub has its own."""
    root = _housed(_root(request))
    from reconciler.observe import observe

    seen = observe("hf_cache", "hf-cache", str(root), expected_id=None)
    if not seen.readable or not seen.exists:
        raise InputError(
            seen.why or "there is no such directory", where=inert(str(root)), hint="name the cache's directory"
        )
    yield from _leftovers(seen)
    place = ("hf_cache", {"store": "hf-cache", "root": str(root)})
    wholes: list[_Whole] = []
    for folder, repository in sorted(_repositories(seen).items()):
        for commit, files in sorted(repository.snapshots.items()):
            for each in _snapshot(folder, commit, files, repository.refs, seen, request):
                if isinstance(each, Row):
                    yield each
                else:
                    wholes.append(each)
    real = os.path.realpath(root)
    unknown = [
        whole for whole in wholes if any(f"{real}/{blob.path}" not in request.declared for blob in whole.blobs.values())
    ]
    blobs = {blob.path: blob for whole in unknown for blob in whole.held}
    bad = spoilt(root, [(blob, _digest(blob)) for blob in blobs.values()], request)
    for whole in wholes:
        yield _variant(root, whole, bad, place)


def _root(request: Request) -> Path:
    if len(request.args) > 1:
        raise InputError(f"unexpected {request.args[1]!r}", hint="`reconciler import hf-cache [DIR]`")
    environ = request.environ
    if request.args:
        return expand(request.args[0]).absolute()
    if chosen := environ.get("HF_HUB_CACHE"):
        return expand(os.path.expandvars(chosen)).absolute()
    if home := environ.get("HF_HOME"):
        return expand(home).absolute() / "hub"
    cache = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expand(cache).absolute() / "huggingface" / "hub"


def _housed(root: Path) -> Path:
    """Return the root, or where it leads when that is another disk: our directory stands beside it, on its disk."""
    try:
        is_elsewhere = root.stat().st_dev != root.parent.stat().st_dev
    except OSError:
        return root
    return Path(os.path.realpath(root)) if is_elsewhere else root


def _repositories(seen: ObservedLocation) -> Mapping[str, _Repository]:
    found: dict[str, _Repository] = defaultdict(_Repository)
    for path in seen.files:
        if ref := _REF.fullmatch(path):
            commit = _note(Path(seen.root) / path)
            if is_commit(commit):
                found[ref[1]].refs[ref[2]] = commit
        elif inside := _SNAPSHOT.fullmatch(path):
            found[inside[1]].snapshots[inside[2]][inside[3]] = ""
    for path, target in seen.links.items():
        if inside := _SNAPSHOT.fullmatch(path):
            found[inside[1]].snapshots[inside[2]][inside[3]] = target.rpartition("/")[2]
    return found


def _note(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(64).decode("ascii", "replace")
    except OSError:
        return ""


def _snapshot(
    folder: str,
    commit: str,
    links: Mapping[str, str],
    refs: Mapping[str, str],
    seen: ObservedLocation,
    request: Request,
) -> Iterator[_Whole | Row]:
    """Yield the variants of a snapshot whose files are all there, and why the others are none."""
    repository = folder.removeprefix("models--").replace("--", "/", 1)
    where = f"{seen.root}/{folder}/snapshots/{commit}"
    branches = sorted((name for name, held in refs.items() if held == commit), key=lambda name: (name != "main", name))
    branch = branches[0] if branches else None
    source = f"hf:{repository}" + ("" if branch == "main" else f"@{branch or commit}")
    chosen = parts(path for path in links if not is_gits(path))
    if not chosen:
        yield Row("left-out", source, f"no weights in it, only {few(sorted(links))}", where)
    for part in chosen:
        if why := lacks(part.files) or denied(part.files, request.pickle) or _damage(part, folder, links, seen):
            yield Row("left-out", source, why, where)
        else:
            blobs = {path: seen.files[f"{folder}/blobs/{links[path]}"] for path in part.files}
            card = seen.files.get(f"{folder}/blobs/{links.get(_CARD)}")
            card = card if card is not None and _BLOB.fullmatch(card.path) else None
            yield _Whole(source, commit, part, blobs, card, where)


def _variant(root: Path, whole: _Whole, bad: Mapping[str, str], place: tuple[str, Mapping[str, Any]]) -> Found | Row:
    """Return the variant, or why it is none: a blob that does not hold what its name says."""
    spoiled = {path: bad[blob.path] for path, blob in whole.blobs.items() if blob.path in bad}
    if spoiled:
        return Row("problem", whole.source, _told(whole, spoiled), f"{whole.where}/{next(iter(spoiled))}")
    files = tuple(Artifact(path, blob.size, _digest(blob)) for path, blob in whole.blobs.items())
    told = license_in(root / whole.card.path) if whole.card is not None and whole.card.path not in bad else None
    return Found(
        {"source": whole.source, **selection(whole.part, None)}, Pin(whole.source, whole.commit, files, told),
        location=place, where=whole.where, identified="store",
    )  # fmt: skip


def _told(whole: _Whole, spoiled: Mapping[str, str]) -> str:
    """Say what is wrong with files of a variant, and what to do."""
    if UNREAD in spoiled.values():
        return f"{UNREAD}: {few(sorted(spoiled))}; look at its permissions, and run the same again"
    why = next(iter(spoiled.values()))
    repository = whole.source.removeprefix("hf:").partition("@")[0]
    command = f"hf download {repository} {shlex.join(spoiled)} --revision {whole.commit}"
    return f"damaged: {few(sorted(spoiled))}: {why}; delete what it leads to, then `{command}` fetches it anew"


def _damage(part: Part, folder: str, links: Mapping[str, str], seen: ObservedLocation) -> str:
    """Return why the files of a part are not all there as this store keeps them; '' when they are."""
    loose = [path for path in part.files if not links[path]]
    if loose:
        return f"{few(loose)} lies in the snapshot itself, not behind a link to a blob"
    blobs = {path: f"{folder}/blobs/{links[path]}" for path in part.files}
    shared = [path for path, blob in blobs.items() if blob in seen.links]
    if shared:
        return (
            f"{few(shared)} lies in the store that all repositories share, behind a second link; "
            "with HF_HUB_DISABLE_SHARED_BLOBS=1 it is kept in the repository's own"
        )
    missing = [path for path, blob in blobs.items() if blob not in seen.files or not _BLOB.fullmatch(blob)]
    return f"incomplete: {few(missing)} missing; `hf download` goes on with it" if missing else ""


def _digest(blob: ObservedFile) -> Digest:
    name = blob.path.rpartition("/")[2]
    return Digest(f"sha256:{name}" if len(name) == 64 else f"git-sha1:{name}")


def _leftovers(seen: ObservedLocation) -> Iterable[Row]:
    """Yield what no snapshot names: half downloads, blobs that lost their snapshot, data sets and spaces."""
    for path in seen.files:
        if path.endswith(".incomplete"):
            yield Row("left-out", path, "a half download", f"{seen.root}/{path}")
    used = {f"{path.split('/')[0]}/blobs/{target.rpartition('/')[2]}" for path, target in seen.links.items()}
    orphans = [path for path in seen.files if _BLOB.fullmatch(path) and path not in used]
    for path in orphans:
        yield Row("left-out", path, "no snapshot names this blob; `hf cache prune` removes such", f"{seen.root}/{path}")
    others = {path.split("/")[0] for path in seen.files if path.startswith(("datasets--", "spaces--"))}
    for name in sorted(others):
        yield Row("left-out", name, "no model: data sets and spaces are not managed", f"{seen.root}/{name}")
