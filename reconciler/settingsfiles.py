"""Find and read the files that hold settings: the project's `pyproject.toml`, the user's `config.toml`; by line.

What is wrong with a file is told, never guessed around; a `pyproject.toml` without our table is nobody's business here.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.errors import Problem
from reconciler.inert import inert

PROJECT_FILE = "pyproject.toml"
_TABLE = ("tool", "reconciler")
_LARGEST = 4 << 20
"""Bytes of one file."""
_PLACE = re.compile(r"line (\d+), column (\d+)")


@dataclass(frozen=True, slots=True)
class Written:
    """What one file says: plain values of TOML by key, and on which line each stands. `path` is None for no file."""

    path: Path | None = None
    values: Mapping[str, object] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)

    def where(self, key: str) -> str:
        """Return `file:line` of a key, the file alone where nobody can tell the line."""
        line = self.lines.get(key)
        path = inert(str(self.path))
        return f"{path}:{line}" if line else path


def start_of(manifest: str | None) -> Path | None:
    """Return from where a project's settings are looked for; the manifest itself need not be sound, or there.

    None where there is no project: the current directory is gone.
    """
    from reconciler.manifestfiles import DEFAULT_DIRECTORY

    if manifest is not None:
        return Path(manifest) if Path(manifest).is_absolute() or here() else None
    return Path(DEFAULT_DIRECTORY) if Path(DEFAULT_DIRECTORY).is_dir() else here()


def here() -> Path | None:
    """Return the current directory, None when somebody removed it."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def read_user(path: Path, problems: list[Problem]) -> Written:
    """Return what the user's own file says, nothing when there is none; note in `problems` what is wrong with it."""
    return _read(path, (), problems) or Written(path)


def read_project(start: Path, problems: list[Problem]) -> Written:
    """Return what `[tool.reconciler]` says in the nearest `pyproject.toml` that has it, from `start` upward.

    `start` is a directory, or a manifest in it. As with other tools, a file without the table is passed by.
    """
    start = start.absolute()
    for directory in (start, *start.parents):
        found = _read(directory / PROJECT_FILE, _TABLE, problems)
        if found is not None:
            return found
    return Written()


def _read(path: Path, table: tuple[str, ...], problems: list[Problem]) -> Written | None:
    """Return what a table of a file says; None when there is no such file or table."""
    try:
        data = _bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if table:
            return None  # somebody else's project, above ours
        problems.append(
            Problem(inert(str(path)), f"cannot be read: {error.strerror}", "make it a file that you can read")
        )
        return Written(path)
    if table and table[-1].encode() not in data:
        return None
    try:
        if len(data) > _LARGEST:
            raise ValueError
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        values = _table(_parse(text), table)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        problems.append(_not_toml(inert(str(path)), len(data), error))
        return Written(path)
    if values is None:
        return None
    if not isinstance(values, dict):
        problems.append(Problem(str(path), f"expected a table [{'.'.join(table)}]"))
        return Written(path)
    return Written(path, values, _lines(text, table, values))


def _bytes(path: Path) -> bytes:
    # O_NONBLOCK: opening a FIFO must not wait for a writer.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        return file.read(_LARGEST + 1)


def _not_toml(path: str, size: int, error: Exception) -> Problem:
    """Say where a file ceases to be TOML."""
    if size > _LARGEST:
        return Problem(path, f"larger than {_LARGEST >> 20} MiB")
    if isinstance(error, UnicodeDecodeError):
        return Problem(path, "not UTF-8 text", "save it as UTF-8")
    if isinstance(error, RecursionError):
        return Problem(path, "not TOML: nested too deep")
    said, _, place = str(error).partition(" (at ")
    found = _PLACE.match(place)
    return Problem(f"{path}:{found[1]}:{found[2]}" if found else path, f"not TOML: {said.lower()}")


def _parse(text: str) -> dict[str, Any]:
    import tomllib

    return tomllib.loads(text)


def _table(value: Any, keys: Iterable[str]) -> Any:
    """Return what stands below some keys; None for nothing."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _lines(text: str, table: tuple[str, ...], keys: Iterable[str]) -> dict[str, int]:
    """Return the line of each key. The parser tells none, so it is asked which line makes a key appear."""
    lines = text.split("\n")
    found: dict[str, int] = {}
    for key in keys:
        word = re.compile(rf"(?<![\w-]){re.escape(key)}(?![\w-])")
        for number, line in enumerate(lines, 1):
            if word.search(line) and _begins(lines, number, table, key):
                found[key] = number
                break
    return found


def _begins(lines: list[str], number: int, table: tuple[str, ...], key: str) -> bool:
    """Whether a key stands in the first `number` lines; a value that goes on below them is taken for text."""
    for end in ("", "]", '"""', "'''"):
        try:
            said = _table(_parse("\n".join(lines[:number]) + end), table)
        except ValueError:
            continue
        return isinstance(said, dict) and key in said
    return False
