"""The one path grammar: what may name a file below a root, and what may be a root. Pure.

A name must be safe on every operating system, wherever it came from, because weights move between machines.
Rules of Windows: https://learn.microsoft.com/windows/win32/fileio/naming-a-file
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from reconciler import home

MAX_COMPONENT = 255
"""Bytes of UTF-8 in one component; what ext4, XFS, APFS and NTFS take."""
MAX_PATH = 1024
"""Bytes of UTF-8 in a whole relative path; macOS takes 1024, Linux 4096."""

_FORBIDDEN = re.compile(r'[/:<>|?*"\\]')
_RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])[ ]*(?:\..*)?", re.IGNORECASE)
_ORDINARY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+-]*(?:\.[A-Za-z0-9_+-]+)*")
"""A component of which only length and reserved names are left to check."""
_DRIVE = re.compile(r"[A-Za-z]:")
_PORT = re.compile(r"^(manifests/[A-Za-z0-9_][A-Za-z0-9_.-]*):[0-9]{1,5}(?=/|$)")
"""The one place for a colon: Ollama files the models of a registry by its address, port and all."""
_VARIABLE = re.compile(r"\$|%[^/%]+%")

_TREES = (
    "/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sbin", "/sys", "/usr/bin",
    "/usr/include", "/usr/lib", "/usr/libexec", "/usr/sbin", "/Applications", "/Library", "/System", "/private/etc",
)  # fmt: skip
"""Directories of the system: nothing in them is ours."""
_TOPS = (
    "/", "/dev", "/home", "/media", "/mnt", "/opt", "/root", "/run", "/srv", "/tmp", "/usr", "/usr/local",  # noqa: S108
    "/usr/share", "/var", "/var/lib", "/var/log", "/var/tmp", "/Users", "/Volumes", "/private",  # noqa: S108
)  # fmt: skip
"""Directories that may hold a root, and must not be one."""
_FOREIGN = frozenset({".git", "custom_nodes", ".reconciler"})
"""Directories in which programs keep code or books."""


@lru_cache(maxsize=4096)  # ten thousand variants have the same dozen file names
def check_component(name: str) -> str:
    """Return `name` when it may be one component of a path on every system; raise ValueError with the reason."""
    if not name:
        raise ValueError("an empty path component (a doubled or trailing `/`?)")
    if not (_ORDINARY.fullmatch(name)):
        _check_characters(name)
        if name in {".", ".."}:
            raise ValueError(f"`{name}` is not allowed in a path")
        if name[-1] in ". ":
            raise ValueError(f"`{_shown(name)}` ends with a dot or a space, which Windows drops")
        if name[0] == "~":
            raise ValueError(f"`{_shown(name)}` starts with `~`, which names a home directory")
    if _RESERVED.fullmatch(name):
        raise ValueError(f"`{_shown(name)}` is a reserved name on Windows")
    if len(name) > MAX_COMPONENT or len(name.encode()) > MAX_COMPONENT:
        raise ValueError(f"a name of {len(name.encode())} bytes; a file system takes {MAX_COMPONENT}")
    return name


def check_relative(path: str) -> str:
    """Return `path` when it is a safe posix path relative to a source or a root; raise ValueError with the reason."""
    if not path:
        raise ValueError("an empty path")
    if path[0] == "/":
        raise ValueError(f"`{_shown(path)}` is absolute; expected a path relative to the source or root")
    if _DRIVE.match(path):
        raise ValueError(f"`{_shown(path)}` starts with a drive; expected a relative path with `/`")
    if len(path) > MAX_PATH or len(path.encode(errors="replace")) > MAX_PATH:
        raise ValueError(f"a path of {len(path.encode(errors='replace'))} bytes; {MAX_PATH} are allowed")
    for component in (_PORT.sub(r"\1", path, count=1) if ":" in path else path).split("/"):
        check_component(component)
    return path


def collision_key(path: str) -> str:
    """Return a key that is equal for paths that are one file where names ignore case or Unicode form."""
    if path.isascii():
        return path.lower()
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())
    # Turkish: NTFS and APFS differ on dotted and dotless i, so all four count as one.
    return folded.replace("i\u0307", "i").replace("\u0131", "i")


def check_root(text: str) -> str:
    """Return the absolute path of a location's root or a registry as a manifest writes it, `~` expanded.

    Raises ValueError with the reason for anything but an absolute path or one below `~`, and for directories that
    belong to the system, to other programs, or are the home directory itself. Nothing is looked up on disk.
    Raises InputError for `~` where nobody knows the home directory.
    """
    _check_root_text(text)
    known = home.home() if text[0] == "~" else home.find() or ""
    path = (known.rstrip("/") + text[1:] if text[0] == "~" else text).rstrip("/") or "/"
    parts = path.split("/")[1:]
    if path != "/" and not all(parts):
        raise ValueError(f"`{_shown(text)}` holds an empty component (a doubled `/`)")
    if {".", ".."} & set(parts):
        raise ValueError(f"`{_shown(text)}` holds `.` or `..`; write the path out")
    _check_whose(path, parts, known)
    return path


def _check_root_text(text: str) -> None:
    if not text:
        raise ValueError("an empty path; expected an absolute path or one that starts with `~/`")
    size = len(text.encode(errors="replace"))
    if size > MAX_PATH or any(len(part.encode(errors="replace")) > MAX_COMPONENT for part in text.split("/")):
        raise ValueError(f"a path too long: at most {MAX_COMPONENT} bytes a component, {MAX_PATH} in all")
    _check_characters(text, forbidden=False)
    if "\\" in text or _DRIVE.match(text):
        raise ValueError(f"`{_shown(text)}` is a Windows path; expected a posix one (in WSL, `D:\\x` is `/mnt/d/x`)")
    if _VARIABLE.search(text):
        raise ValueError(f"`{_shown(text)}` looks like it holds an environment variable; they are not read here")
    if text[0] == "~" and text[1:2] not in {"", "/"}:
        raise ValueError(f"`{_shown(text)}` names another user's home; expected `~/…` or an absolute path")
    if text[0] not in "/~":
        raise ValueError(f"`{_shown(text)}` is relative; expected an absolute path or one that starts with `~/`")


def _check_whose(path: str, parts: list[str], home: str) -> None:
    if path == home:
        raise ValueError("this is the home directory itself; name a directory in it")
    if path == "/" or home.startswith(path + "/"):
        raise ValueError(f"`{_shown(path)}` holds the home directory; name a directory of its own for weights")
    if path in _TOPS or path in _TREES or any(path.startswith(tree + "/") for tree in _TREES):
        raise ValueError(f"`{_shown(path)}` is a system directory")
    for part in parts:
        if part.casefold() in _FOREIGN:
            raise ValueError(f"`{part}` belongs to another program or to our own books; nothing is placed in it")


def _check_characters(text: str, *, forbidden: bool = True) -> None:
    if not text.isascii() or not text.isprintable():
        for character in text:
            if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} or _is_blank(character):
                raise ValueError(f"the invisible or control character U+{ord(character):04X} in `{_shown(text)}`")
        if not unicodedata.is_normalized("NFC", text):
            raise ValueError(f"`{_shown(text)}` is not in Unicode's composed form (NFC)")
    if forbidden and (found := _FORBIDDEN.search(text)):
        raise ValueError(f"`{found.group()}` in `{_shown(text)}`, which some system does not take in a name")


def _is_blank(character: str) -> bool:
    code = ord(character)
    nothing = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF  # Unicode's non-characters
    return nothing or character in "\u034f\u115f\u1160\u3164\uffa0" or 0xE0000 <= code <= 0xE0FFF


def _shown(text: str) -> str:
    from reconciler.inert import inert

    return inert(text if len(text) <= 120 else text[:117] + "…")
