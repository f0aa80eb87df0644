"""Where a ComfyUI, A1111, Forge or SD.Next keeps its models: its own tree, and what `extra_model_paths.yaml` adds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.errors import InputError, ManifestError
from reconciler.home import find as find_home
from reconciler.importing.found import Request, Row
from reconciler.inert import inert
from reconciler.ui.extra_paths import ExtraPaths
from reconciler.ui.kinds import Ui, ui_of

EXTRA = "extra_model_paths.yaml"
"""Beside ComfyUI's `main.py`: it reads this file without being told to."""
_COMFYUI = frozenset({"checkpoints", "loras", "diffusion_models", "text_encoders"})


class Home(NamedTuple):
    """One tree of image models: how it is arranged, its root, and the location as a manifest would say it."""

    ui: Ui
    root: Path
    said: Mapping[str, Any]
    extra: ExtraPaths | None = None
    """What ComfyUI is told of more folders, where that is about this tree."""
    only: tuple[str, ...] = ()
    """Absolute folders that alone are looked through; () for all of them."""

    def holds(self, path: str) -> bool:
        """Whether a file below the root is one to look at."""
        whole = f"{self.root}/{path}"
        return not self.only or any(whole.startswith(f"{folder}/") for folder in self.only)


def homes_of(directory: Path, request: Request) -> Iterator[Home | Row]:
    """Yield the tree of a web interface and those that its `extra_model_paths.yaml` names; raise InputError for none.

    What is wrong with that file, and folders that are in no tree of their own, are rows.
    """
    if not os.path.isdir(directory):  # noqa: PTH112  Path.is_dir raises where nobody may look
        raise InputError("there is no such directory", where=inert(str(directory)), hint="name the web interface's own")
    ui, root = tree_of(directory, request)
    file = extra_of(root) if ui == "comfyui" else None
    if file is None:
        yield Home(ui, root, {"store": ui, "root": str(root)})
        return
    from reconciler.manifest import read_extra

    try:
        extra, _ = read_extra(str(file))
    except ManifestError as error:
        yield Home(ui, root, {"store": ui, "root": str(root)})
        yield Row(
            "problem", EXTRA, f"{error.problems[0].summary}; its folders are not looked at", error.problems[0].where
        )
        return
    yield Home(ui, root, {"store": ui, "root": str(root), "extra_model_paths": str(file)}, extra)
    yield from (Row("finding", EXTRA, caution, str(file)) for caution in extra.cautions)
    yield from _added(extra, root, request)


def extra_of(root: Path) -> Path | None:
    """Return the file that tells a ComfyUI of more folders, by the root of its models; None where there is none."""
    file = root.parent / EXTRA
    return file if root.name == "models" and os.path.isfile(file) else None  # noqa: PTH113  as above


def extra_folders(directory: Path) -> tuple[Path, ...]:
    """Return the folders that the `extra_model_paths.yaml` of a ComfyUI leads to; none for what cannot be read."""
    from reconciler.manifest import read_extra

    file = extra_of(directory / "models")
    try:
        extra, _ = read_extra(str(file)) if file else (None, b"")
    except ManifestError:
        return ()
    return tuple(Path(path) for path in _folders(extra, directory / "models")) if extra else ()


def tree_of(directory: Path, request: Request) -> tuple[Ui, Path]:
    """Return which web interface a directory is of, and the root of its location; raise InputError for none.

    A location that the manifest has there decides; else the folders do: `models/UNET` is SD.Next's,
    `models/text_encoder` Forge's, `models/Stable-diffusion` A1111's, `checkpoints` ComfyUI's.
    """
    for root in (directory, directory / "models"):
        store = request.arranged.get(os.path.realpath(root))
        if store is not None and (ui := ui_of(store)) is not None:
            return ui, root
    inner = directory if directory.name.lower() == "models" else directory / "models"
    names = _names(inner)
    if "Stable-diffusion" in names:
        web: Ui = "sdnext" if names & {"UNET", "Text-encoder"} else "forge" if "text_encoder" in names else "a1111"
        return web, directory
    for root in (inner, directory):
        if _names(root) & _COMFYUI:
            return "comfyui", root
    raise InputError(
        "no ComfyUI, A1111, Forge or SD.Next keeps models here", where=inert(str(directory)),
        hint="name the directory that holds `models`, or ComfyUI's `models` itself",
    )  # fmt: skip


def _names(directory: Path) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(directory) if entry.is_dir()}
    except OSError:
        return set()


def _folders(extra: ExtraPaths, root: Path) -> list[str]:
    """Return the folders of a file that are there, and not in ComfyUI's own tree."""
    own = os.path.realpath(root)
    there = dict.fromkeys(each.path for each in extra.paths if os.path.isdir(each.path))  # noqa: PTH112  text
    return [path for path in there if not _is_in(os.path.realpath(path), own)]


def _added(extra: ExtraPaths, root: Path, request: Request) -> Iterator[Home | Row]:
    folders = _folders(extra, root)
    trees: dict[str, list[str]] = {}
    for folder in folders:
        tree = _tree(folder, [path for path in folders if path != folder], extra)
        if why := _unfit(tree, folders, root):
            yield Row("left-out", folder, f"{EXTRA} leads to it, and {why}", extra.file)
        else:
            outer = next((other for other in trees if _is_in(tree, other)), tree)
            trees.setdefault(outer, []).append(folder)
    for tree, held in trees.items():
        if any(_is_in(tree, other) for other in trees if other != tree):
            continue  # a tree around it came later
        inside = [path for other, paths in trees.items() if _is_in(other, tree) for path in paths]
        home = Path(tree).parent if Path(tree).name == "models" else Path(tree)
        try:
            ui, found = tree_of(home, request)
        except InputError:
            ui, found = "comfyui", Path(tree)
        if ui != "comfyui":
            yield Home(ui, found, {"store": ui, "root": str(found)})
        else:
            said = {"store": ui, "root": tree, "extra_model_paths": extra.file}
            yield Home(ui, Path(tree), said, extra, tuple(inside or held))


def _unfit(tree: str, folders: list[str], root: Path) -> str:
    """Return why a directory cannot be the root of a location for these folders, '' when it can."""
    from reconciler.importing.usual import weigh

    if tree in ("/", find_home()) or _is_in(str(root), tree):
        return f"it lies beside other things in {tree}: give it a directory of its own"
    others = [Path(tree) / name for name in _names(Path(tree))]
    others = [each for each in others if not any(_is_in(folder, str(each)) for folder in folders)]
    if any(weigh(each)[0] for each in others):
        return f"it lies beside other models in {tree}: `reconciler import tree {tree} --local` takes all of them"
    return ""


def _tree(folder: str, others: list[str], extra: ExtraPaths) -> str:
    """Return the root for a folder: what it has in common with the others of its section, else the directory above."""
    sections = {each.section for each in extra.paths if each.path == folder}
    beside = [each.path for each in extra.paths if each.section in sections and each.path in others]
    above = folder.rpartition("/")[0] or "/"
    return os.path.commonpath([above, *(path.rpartition("/")[0] for path in beside)])


def _is_in(path: str, above: str) -> bool:
    return path == above or path.startswith(above.rstrip("/") + "/")
