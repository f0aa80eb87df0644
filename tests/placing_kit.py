"""Put a layout on disk by hand, and take it away again, as apply would."""

from __future__ import annotations

from pathlib import Path

from reconciler.hashing import hash_bytes
from reconciler.state import Artifact, Layout, Pin


def pin_of(source: str, revision: str, contents: dict[str, bytes], *, large: tuple[str, ...] = ()) -> Pin:
    """Return the pin of a repository that holds these files; those named `large` are LFS files."""
    files = tuple(
        Artifact(path, len(data), hash_bytes(data, "sha256" if path in large else "git-sha1"))
        for path, data in sorted(contents.items())
    )
    return Pin(source, revision, files)


def put(root: Path, layout: Layout, contents: dict[str, bytes]) -> None:
    for path, artifact in layout.files:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(contents[artifact.path])
    for path, target in layout.links:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).symlink_to(target)
    for path, text in layout.notes:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def take(root: Path, layout: Layout, *, but: Layout | None = None) -> None:
    """Remove a layout, except what `but` wants too; directories that are left empty go as well."""
    paths, kept = _paths(layout), _paths(but) if but else set()
    for path in sorted(paths - kept):
        (root / path).unlink()
        for parent in (root / path).parents:
            if parent == root or any(parent.iterdir()):
                break
            parent.rmdir()


def _paths(layout: Layout) -> set[str]:
    return {item.path for item in (*layout.files, *layout.links, *layout.notes)}
