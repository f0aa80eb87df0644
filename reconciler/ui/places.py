"""Where the files of each kind go below a location's root, and where its loaders look. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from reconciler.ui.extra_paths import ExtraPaths, own_models, search
from reconciler.ui.kinds import DRAWERS, Drawer, Kind, Ui


class Places(NamedTuple):
    """For one location: kind -> folder below its root for new files, and kind -> absolute folders of its loader."""

    placed: Mapping[str, str]
    searched: Mapping[str, tuple[str, ...]]


@lru_cache(maxsize=512)
def places(ui: Ui, root: str, extra: ExtraPaths | None = None) -> Places:
    """Return the folders of a web interface at `root` (absolute).

    `root` is ComfyUI's `models` directory; of the others the directory that holds `models`, or `models` itself, where
    what they keep beside it (`embeddings` of A1111 and Forge) then has no place. With `extra`, ComfyUI also looks
    where that file says, and the first such folder below `root` takes new files: a location of store `comfyui` may so
    be the tree of another web interface.
    """
    if extra is not None:
        return _extended(root, extra)
    if ui == "comfyui":
        whole = DRAWERS[ui]
        return Places(
            {kind: drawer.folder for kind, drawer in whole.items()},
            {kind: tuple(posixpath.join(root, each) for each in drawer.searched) for kind, drawer in whole.items()},
        )
    inner = posixpath.basename(root).lower() == "models"
    base = posixpath.dirname(root) if inner else root
    placed: dict[str, str] = {}
    searched: dict[str, tuple[str, ...]] = {}
    for kind, drawer in DRAWERS[ui].items():
        searched[kind] = tuple(posixpath.join(base, each) for each in drawer.searched)
        below = _below(root, posixpath.join(base, drawer.folder))
        if below is not None:
            placed[kind] = below
    return Places(placed, searched)


def _extended(root: str, extra: ExtraPaths) -> Places:
    drawers = DRAWERS["comfyui"]
    own = {
        drawer.type: tuple(posixpath.join(own_models(extra.file), each) for each in drawer.searched)
        for drawer in drawers.values()
    }
    found = search(extra, own)
    placed: dict[str, str] = {}
    searched: dict[str, tuple[str, ...]] = {}
    for kind, drawer in drawers.items():
        searched[kind] = found[drawer.type]
        placed[kind] = _chosen(root, drawer, found[drawer.type])
    return Places(placed, searched)


def _chosen(root: str, drawer: Drawer, searched: tuple[str, ...]) -> str:
    """Return the folder below `root` for new files: the usual one where it is looked into, else the first that is.

    Where ComfyUI looks nowhere below `root`, the usual one all the same: the plan then says that nobody will see it.
    """
    below = [each for each in (_below(root, folder) for folder in searched) if each is not None]
    return drawer.folder if drawer.folder in below or not below else below[0]


def _below(root: str, folder: str) -> str | None:
    return folder[len(root) + 1 :] if folder.startswith(f"{root}/") else None


def kind_of_place(path: str, searched: Mapping[str, tuple[str, ...]], root: str) -> Kind | None:
    """Return the kind whose loader looks into the folder of `path` (below `root`); the deepest such folder decides."""
    whole = posixpath.join(root, path)
    best: tuple[int, str] | None = None
    for kind, folders in searched.items():
        for folder in folders:
            if whole.startswith(f"{folder}/") and (best is None or len(folder) > best[0]):
                best = (len(folder), kind)
    return next((kind for kind in DRAWERS["comfyui"] if best and kind == best[1]), None)
