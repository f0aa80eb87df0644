"""Import LM Studio's models: `<publisher>/<model>/<file>` below the directory that its settings name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from reconciler.detect import MalformedHeader, jsonbound
from reconciler.errors import InputError
from reconciler.home import expand
from reconciler.importing import shelves
from reconciler.importing.found import Found, Request, Row
from reconciler.importing.looking import hidden, look, several, sort_out
from reconciler.importing.parts import is_book, is_weight

_LARGEST = 1 << 20  # bytes of its settings


def gather(request: Request) -> Iterator[Found | Row]:
    """Yield a variant for each model and quant below `DIR`, or where LM Studio keeps its models."""
    root = _root(request)
    seen = look("lmstudio", "lmstudio", root)
    yield from hidden(seen)
    ours = (file for path, file in seen.files.items() if not is_book(path))
    unknown, known = shelves.without_declared(root, ours, request)
    rest, rows = sort_out(root, unknown)
    yield from rows
    yield from known
    shelved, loose = shelves.shelve(rest)
    weights = [file.path for file in loose if is_weight(file.path)]
    yield from several("", weights, "not two directories deep, where LM Studio looks", str(root))
    yield from shelves.gather(root, shelved, request, name="lmstudio", store="lmstudio")


def _root(request: Request) -> Path:
    """Return the directory of models: the one that is named, the one that LM Studio's settings name, the usual ones."""
    if len(request.args) > 1:
        raise InputError(f"unexpected {request.args[1]!r}", hint="`reconciler import lmstudio [DIR]`")
    if request.args:
        return expand(request.args[0]).absolute()
    home = expand("~")
    usual = (_pointed(home) / "models", home / ".cache/lm-studio/models")
    chosen = chosen_directory()
    for folder in (*([chosen] if chosen else []), *usual):
        if os.path.isdir(folder):  # noqa: PTH112  Path.is_dir raises where nobody may look
            return folder
    raise InputError(
        "no directory of LM Studio's models is where it usually is", where=str(usual[0]),
        hint="name it: `reconciler import lmstudio DIR`",
    )  # fmt: skip


def chosen_directory() -> Path | None:
    """Return the directory that LM Studio's settings name, None when they name none."""
    return _setting(_pointed(expand("~")) / "settings.json")


def _pointed(home: Path) -> Path:
    """Return LM Studio's home: `~/.lmstudio-home-pointer` says where, when it was moved."""
    try:
        said = Path(jsonbound.read(home / ".lmstudio-home-pointer", 4096).decode("utf-8", "replace").strip())
    except (OSError, MalformedHeader):
        return home / ".lmstudio"
    return said if said.is_absolute() else home / ".lmstudio"


def _setting(path: Path) -> Path | None:
    try:
        value = jsonbound.load(path, _LARGEST)
    except (OSError, MalformedHeader):
        return None
    said = value.get("downloadsFolder") if isinstance(value, dict) else None
    return Path(said) if isinstance(said, str) and said.startswith("/") and "\0" not in said else None
