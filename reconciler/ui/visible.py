"""Whether the loader of a kind would list a file: folder, extension, hidden directory, link, size. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from reconciler.paths import collision_key
from reconciler.ui.kinds import DRAWERS, WEIGHTS, Kind, Ui


def hidden_because(
    ui: Ui,
    kind: Kind,
    path: str,
    searched: Mapping[str, tuple[str, ...]],
    *,
    size: int | None = None,
    dangling: bool = False,
) -> str | None:
    """Say why the loader of `kind` would not list the file at `path` (absolute); None when it would.

    `searched` is `Places.searched` of the location, `size` is in bytes (None: unknown), `dangling` says that `path` is
    a symbolic link that leads nowhere. Links to files and directories are followed by all four.
    """
    drawer, folders = DRAWERS[ui].get(kind), searched.get(kind, ())
    name = path.rpartition("/")[2]
    if kind == "other":
        return None
    if drawer is None or not folders:
        return f"{ui} has no folder for the kind {kind}"
    folder = next((each for each in folders if path.startswith(f"{each}/")), None)
    if folder is None:
        return _elsewhere(ui, kind, path, folders)
    inside = path[len(folder) + 1 :].split("/")[:-1]
    if ".git" in inside and ui == "comfyui":
        return f"{ui} does not look into directories named .git"
    hidden = next((each for each in inside if each.startswith(".")), None)
    if hidden and ui != "comfyui":
        return f"{ui} passes over hidden directories ({hidden}) unless its settings say otherwise"
    suffix = posixpath.splitext(name)[1].lower()
    if suffix not in drawer.suffixes:
        return f"the loader of {kind} lists {', '.join(sorted(drawer.suffixes))} files, not {suffix or 'one without'}"
    if ui != "comfyui" and kind == "checkpoint" and name.lower().endswith((".vae.ckpt", ".vae.safetensors")):
        return f"{ui} takes {name} for the VAE of a checkpoint and leaves it out of the checkpoints"
    if dangling:
        return "it is a symbolic link that leads nowhere"
    if size == 0:
        return "it is empty"
    return None


def is_weights(path: str) -> bool:
    """Whether a file of this name is one that a loader of some kind could want."""
    return posixpath.splitext(path)[1].lower() in WEIGHTS


def _elsewhere(ui: Ui, kind: Kind, path: str, folders: tuple[str, ...]) -> str:
    near = next((each for each in folders if collision_key(path).startswith(collision_key(each) + "/")), None)
    if near is not None:
        return f"{ui} looks into {near}, and the case of letters counts"
    return f"{ui} looks for {kind} in {', '.join(folders)}"
