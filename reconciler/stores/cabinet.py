"""A cabinet with a drawer for each kind of image model, as ComfyUI, A1111, Forge and SD.Next have one. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

from reconciler.detect.rules import shards_of
from reconciler.paths import check_relative
from reconciler.references import parse as parse_reference
from reconciler.state import Artifact, Identity, Layout, Note, Pin, Placement, Wish
from reconciler.stores import HOUSE
from reconciler.stores.shelf import placed
from reconciler.ui import companions, filenames
from reconciler.ui.kinds import (
    DRAWERS,
    Kind,
    Ui,
    kind_named,
    kind_of_about,
    kind_of_air,
    kind_of_folder,
    kind_of_name,
)
from reconciler.ui.previews import is_preview, may_be_shown
from reconciler.ui.visible import is_weights

SKIPPED = frozenset(
    {
        HOUSE, ".git", ".venv", "venv", "__pycache__", "node_modules", "custom_nodes", "repositories", "extensions",
        "extensions-builtin",
    }
)  # fmt: skip
"""Directories beside models in which these programs keep code: nothing of ours is there, and much to walk through."""


def arrange(ui: Ui, pin: Pin, wish: Wish) -> Layout:
    """Return each file of weights in the folder of its kind, and what the location wants beside it.

    Other files of a repository (README, config) have no place in these folders and are left out. `home` is the file
    when there is one, else the folder that all share. Raises ValueError for what has no weights, no kind that can be
    told, or no folder in this web interface.
    """
    for file in pin.files:
        placed(file.path)
    _refuse_trees(ui, pin)
    weights = [file for file in pin.files if _is_wanted(file, wish) and not file.support]
    if not weights:
        raise ValueError(f"{pin.source[:200]!r} has no file that {ui} could load; choose another with `files`")
    previews = _previews(pin, wish)
    files: list[Placement] = []
    notes: dict[str, Note] = {}
    optional: set[str] = set()
    for file in weights:
        kind = kind_of_file(pin, wish, file)
        path = _checked(f"{_folder(ui, kind, wish)}/{_name(pin, wish, file, alone=len(weights) == 1)}")
        files.append(Placement(path, file))
        beside = [Placement(f"{filenames.split(path)[0]}.preview{filenames.split(p.path)[1]}", p) for p in previews[:1]]
        files += [each for each in beside if each.path not in optional]
        name = posixpath.basename(beside[0].path) if beside else ""
        for note in companions.notes(pin, file, path, kind, wish.companions, name):
            notes.setdefault(note.path, note)
        optional.update(each.path for each in beside)
    files += _configs(pin, files) if wish.kind != "config" else []
    return Layout(_home([each.path for each in files if each.path not in optional]), tuple(files), (),
                  tuple(notes.values()), frozenset({*optional, *notes}))  # fmt: skip


def _is_wanted(file: Artifact, wish: Wish) -> bool:
    return is_weights(file.path) or (wish.kind == "config" and file.path.endswith((".yaml", ".yml")))


def _previews(pin: Pin, wish: Wish) -> list[Artifact]:
    said = pin.about.get("civitai")
    told = said.get("previews") if isinstance(said, Mapping) else None
    wanted = "preview" in wish.companions
    return [f for f in pin.files if wanted and is_preview(f) and may_be_shown(f, told, wish.rating)]


def kind_of_file(pin: Pin, wish: Wish, file: Artifact) -> Kind:
    """Return what a file of a pin is for: as declared, else as its folder upstream, Civitai, its AIR or its name tells.

    Raises ValueError, asking for `kind`, when nothing tells.
    """
    if wish.kind is not None:
        return _declared(wish.kind)
    found = (
        kind_of_folder(file.path)
        or kind_of_about(pin.about, file.path)
        or kind_of_air(pin.source)
        or kind_of_name(file.path, pin.source)
    )
    if found is None:
        raise ValueError(
            f"nothing tells what {file.path[:200]!r} is for (give `kind: checkpoint`, `kind: diffusion-model`, "
            "`kind: lora`, …)"
        )
    return found


def identify(path: str) -> Identity | None:
    """Return Civitai's model and version that a name of civitdl's pattern tells, None for every other name."""
    if not SKIPPED.isdisjoint(path.split("/")):
        return None
    found = filenames.civitdl_of(path) if is_weights(path) else None
    return Identity(f"civitai/{found[0]}", found[1], path.rpartition("/")[2]) if found else None


def house(root: str) -> str:
    """Return `<root>/.reconciler`; its files have no extension that a loader lists."""
    return posixpath.join(posixpath.normpath(root), HOUSE)


def skip(name: str) -> bool:
    """Our house, git's, and the directories in which these programs keep code."""
    return name in SKIPPED


def folders_of(ui: Ui, wish: Wish) -> Mapping[str, str]:
    """Return kind -> folder below the root: the location's, else the usual ones of the web interface."""
    return wish.folders or {kind: drawer.folder for kind, drawer in DRAWERS[ui].items()}


def _declared(kind: str) -> Kind:
    if kind == "other":
        return "other"
    found = kind_named(kind)
    if found is None:
        raise ValueError(f"{kind!r} is no kind of image model")
    return found


def _folder(ui: Ui, kind: Kind, wish: Wish) -> str:
    if kind == "other":
        if not wish.subfolder:
            raise ValueError("`kind: other` has no folder of its own; give `subfolder`, which is then below the root")
        return wish.subfolder
    folder = folders_of(ui, wish).get(kind)
    if folder is None:
        if kind in DRAWERS[ui]:
            raise ValueError(
                f"{ui} keeps {kind} in {DRAWERS[ui][kind].folder}, which lies outside this location "
                "(set its root to the directory that holds `models`)"
            )
        raise ValueError(f"{ui} has no folder for the kind {kind} (`kind: other` with `subfolder` places it anywhere)")
    return f"{folder}/{wish.subfolder}" if wish.subfolder else folder


def _name(pin: Pin, wish: Wish, file: Artifact, *, alone: bool) -> str:
    suffix = filenames.split(file.path.rpartition("/")[2])[1]
    if wish.served_as and alone:
        return filenames.safe(wish.served_as.removesuffix(suffix)) + suffix
    reference = parse_reference(pin.source)
    said = pin.about.get("civitai")
    about = said if isinstance(said, Mapping) else {}
    facts = {"variant": wish.variant, "name": str(about.get("model") or ""), "title": str(about.get("version") or ""),
             "base": str(about.get("base_model") or "")}  # fmt: skip
    if reference.scheme == "civitai":
        facts |= {"model": reference.repository, "version": pin.revision or reference.revision or ""}
    return filenames.named(wish.names, file.path, facts)


def _configs(pin: Pin, files: Sequence[Placement]) -> list[Placement]:
    """Place `x.yaml` beside `x.safetensors`: A1111 and ComfyUI read a checkpoint's configuration there."""
    beside = {filenames.split(each.artifact.path)[0]: each.path for each in files}
    return [
        Placement(_checked(f"{filenames.split(beside[stem])[0]}.yaml"), file)
        for file in pin.files
        if file.path.endswith((".yaml", ".yml")) and (stem := filenames.split(file.path)[0]) in beside
    ]


def _checked(path: str) -> str:
    if not SKIPPED.isdisjoint(path.split("/")):
        raise ValueError(f"{path[:200]!r} leads into a directory that no observer enters")
    return check_relative(path)


def _home(paths: Sequence[str]) -> str:
    if len(paths) == 1:
        return paths[0]
    return posixpath.commonpath([posixpath.dirname(path) for path in paths]) or "."


def _refuse_trees(ui: Ui, pin: Pin) -> None:
    if any(file.path == "model_index.json" for file in pin.files):
        raise ValueError(
            f"{pin.source[:200]!r} is a tree in the form of diffusers, which is no file that {ui} loads "
            "(choose a single file with `files`, or a `huggingface` location)"
        )
    shards = [path for each in shards_of(file.path for file in pin.files) for path in each.present]
    if shards:
        raise ValueError(
            f"{shards[0][:200]!r} is a part of a model in several files, and no loader of {ui} joins the parts "
            "(choose a file that is whole, or a `huggingface` location)"
        )
    if pin.source.startswith("ollama:"):
        raise ValueError(f"{ui} does not read models of Ollama; {pin.source[:200]!r} needs an `ollama` location")
