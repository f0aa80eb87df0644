"""Find aria2c and tell its version."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

OLDEST = (1, 36)
"""The oldest aria2c whose behaviour was measured; older ones are not used."""


class Aria2c(NamedTuple):
    """An aria2c on this machine; `origin` says how it was found, `usable` whether it is new enough."""

    path: Path
    version: tuple[int, ...]
    origin: str

    @property
    def usable(self) -> bool:
        """Whether it is at least the oldest version that we know."""
        return self.version >= OLDEST

    def __str__(self) -> str:
        return f"aria2c {'.'.join(map(str, self.version)) or '(unknown version)'}"


def find_aria2c(named: str | None = None) -> Aria2c | None:
    """Return the first aria2c that is new enough, else the first that answers at all, else None.

    `named` is a program that the user names, by path or as on PATH: it or none.
    """
    found: list[Aria2c] = []
    for path, origin in _candidates() if named is None else _named(named):
        version = _version(str(path))
        if version is not None:
            program = Aria2c(path, version, origin)
            if program.usable:
                return program
            found.append(program)
    return found[0] if found else None


def parse_version(text: str) -> tuple[int, ...] | None:
    """Return the version in the first line of `aria2c --version`; None when it is not aria2's. Pure."""
    match = re.match(r"aria2 version (\d+(?:\.\d+)*)", text)
    return tuple(int(part) for part in match[1].split(".")) if match else None


def _candidates() -> Iterator[tuple[Path, str]]:
    on_path = shutil.which("aria2c")
    # The `aria2` package puts a Python script of this name on PATH: start-up time, and one more process to kill.
    if on_path is not None and not _is_script(on_path):
        yield Path(on_path), "PATH"
    packaged = _packaged()
    if packaged is not None:
        yield packaged, "the aria2 package"
    if on_path is not None:
        yield Path(on_path), "PATH"
    beside = Path(sys.executable).with_name("aria2c")
    if beside.is_file():
        yield beside, "beside Python"


def _named(program: str) -> Iterator[tuple[Path, str]]:
    path = shutil.which(program)
    if path is not None:
        yield Path(path), "settings"


def _packaged() -> Path | None:
    spec = importlib.util.find_spec("aria2c")  # found, not imported: its module installs signal handling
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "bin" / ("aria2c.exe" if os.name == "nt" else "aria2c")
    return path if os.access(path, os.X_OK) else None


def _is_script(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"#!"
    except OSError:
        return True


@lru_cache(maxsize=16)
def _version(path: str) -> tuple[int, ...] | None:
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C"}
    try:
        answer = subprocess.run(
            [path, "--version"], env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_version(answer.stdout.decode("utf-8", "replace"))
