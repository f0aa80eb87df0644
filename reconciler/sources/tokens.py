"""Find the tokens of this user: in the environment, else in a file that only the user should read."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from reconciler import home
from reconciler.errors import InputError
from reconciler.secrets import Secret

_LARGEST = 4096
"""Bytes of a token file that are looked at."""


def of_hub(environ: Mapping[str, str], warn: Callable[[str], None]) -> Secret | None:
    """Return the Hub's token as huggingface_hub finds it; None when there is none."""
    return _first(environ, ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"), hub_path(environ), warn)


def of_civitai(environ: Mapping[str, str], warn: Callable[[str], None], path: Path | None = None) -> Secret | None:
    """Return Civitai's token: CIVITAI_TOKEN, else what `path` (None: CIVITAI_TOKEN_FILE, else the usual file) holds."""
    return _first(environ, ("CIVITAI_TOKEN",), path or civitai_path(environ), warn)


def civitai_path(environ: Mapping[str, str]) -> Path:
    """Return where Civitai's token file is: `$CIVITAI_TOKEN_FILE`, else beside the settings."""
    if given := environ.get("CIVITAI_TOKEN_FILE"):
        return home.expand(given, environ)
    return home.base(environ, "XDG_CONFIG_HOME", ".config") / "reconciler" / "civitai-token"


def hub_path(environ: Mapping[str, str]) -> Path:
    """Return where the token file of `hf auth login` is, as huggingface_hub looks for it."""
    if given := environ.get("HF_TOKEN_PATH"):
        return home.expand(given, environ)
    if given := environ.get("HF_HOME"):
        return home.expand(given, environ) / "token"
    return home.expand(environ.get("XDG_CACHE_HOME") or "~/.cache", environ) / "huggingface" / "token"


def _first(
    environ: Mapping[str, str], names: tuple[str, ...], path: Path, warn: Callable[[str], None]
) -> Secret | None:
    for name in names:
        if value := _clean(environ.get(name, ""), name):
            return Secret(value)
    try:
        with open(path, encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            value = _clean(file.read(_LARGEST), str(path))
    except (OSError, UnicodeDecodeError):
        return None
    if value and stat.S_IMODE(mode) & 0o077:
        warn(f"{path}: others on this machine can read this token; `chmod 600` it")
    return Secret(value) if value else None


def _clean(text: str, where: str) -> str:
    value = text.strip()
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise InputError("a token is one word of ASCII characters; this is something else", where=where)
    return value
