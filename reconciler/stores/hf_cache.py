"""The cache of huggingface_hub: blobs by digest, and snapshots of links to them. Pure.

    models--<owner>--<repo>/blobs/<sha256 of an LFS file, or git sha1 of a small one>
    models--<owner>--<repo>/snapshots/<commit>/<path> -> ../../blobs/<digest>
    models--<owner>--<repo>/refs/<branch>               the commit, without a newline

https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import posixpath
import re

from reconciler.paths import check_relative
from reconciler.references import is_commit, parse
from reconciler.state import Identity, Layout, Link, Note, Pin, Placement, Wish
from reconciler.stores import HOUSE

_FOLDER = re.compile(r"models--([^/]+?)--([^/]+)/(blobs|snapshots)/([^/]+)(?:/(.+))?")
_ETAG = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")
_SKIPPED = frozenset({HOUSE, ".git", ".locks"})


def layout(pin: Pin, wish: Wish = Wish()) -> Layout:  # noqa: B008  a frozen value
    """Return blobs, the links of the snapshot and the note of the branch.

    Two files of one content are one blob and two links. A pin by commit has no note: no branch is claimed to be there.
    Raises ValueError for what does not come from the Hub, or has no commit.
    """
    reference = parse(pin.source)
    if reference.scheme != "hf":
        raise ValueError(
            f"the HF cache only holds what comes from the Hub; {pin.source[:200]!r} needs another location"
        )
    if not is_commit(pin.revision):
        raise ValueError(f"the HF cache names snapshots by commit; {pin.source[:200]!r} is locked to {pin.revision!r}")
    folder = "models--" + reference.repository.replace("/", "--")
    home = check_relative(f"{folder}/snapshots/{pin.revision}")
    blobs: dict[str, Placement] = {}
    links: list[Link] = []
    for file in pin.files:
        etag = file.digest.partition(":")[2]
        if etag not in blobs:
            blobs[etag] = Placement(f"{folder}/blobs/{etag}", file)
        depth = file.path.count("/")
        links.append(Link(f"{home}/{_checked(file.path)}", "../" * (2 + depth) + f"blobs/{etag}"))
    notes = () if is_commit(reference.revision) else (_note(folder, reference.revision or "main", str(pin.revision)),)
    return Layout(home, tuple(blobs.values()), tuple(links), notes)


def identify(path: str) -> Identity | None:
    """Return the repository of a blob, and the path of a file that stands in a snapshot without a link.

    A blob does not know its path, and neither knows its branch.
    """
    found = _FOLDER.fullmatch(path)
    if found is None:
        return None
    owner, name, kind, first, rest = found.groups()
    if kind == "blobs":
        return Identity(f"{owner}/{name}", "", "") if rest is None and _ETAG.fullmatch(first) else None
    return Identity(f"{owner}/{name}", "", rest) if rest and is_commit(first) else None


def house(root: str) -> str:
    """Return `<parent>/.reconciler-<name of the root>`, beside the root.

    `scan_cache_dir`, and so `hf cache ls`, warns of every entry in the root that is not one of its own.
    """
    parent, name = posixpath.split(posixpath.normpath(root))
    return posixpath.join(parent, f"{HOUSE}-{name}")


def skip(name: str) -> bool:
    """Our house, git's, and the lock files of huggingface_hub, which are nobody's models."""
    return name in _SKIPPED


def _checked(path: str) -> str:
    if not _SKIPPED.isdisjoint(path.split("/")):
        raise ValueError(f"{path[:200]!r} leads into a directory that no observer enters")
    return check_relative(path)


def _note(folder: str, branch: str, commit: str) -> Note:
    return Note(check_relative(f"{folder}/refs/{branch}"), commit)
