"""Which location a found thing belongs to: one that is declared already, or a new one under a name that is free."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from reconciler.home import expand, find
from reconciler.inert import inert
from reconciler.ollama.address import url_of

Said = Mapping[str, Any]
"""A location as the manifest says it: `store`, `root`, or `url` and `models`."""


class Places:
    """The locations so far, by name; those that were added are told apart, since they have to be written."""

    def __init__(self, declared: Mapping[str, Said], registry: str = "") -> None:
        self.declared = dict(declared)
        self.added: dict[str, Said] = {}
        self._registry = os.path.realpath(registry) if registry else ""

    def settle(self, wanted: str, said: Said) -> str:
        """Return the name of the location for `said`; raise ValueError, with the reason, where none can be declared.

        A location of the same store and place is used again, whatever its name.
        """
        everything = {**self.declared, **self.added}
        for name, other in everything.items():
            if is_same(said, other):
                return name
        root = root_of(said)
        for name, other in everything.items():
            if root and (theirs := root_of(other)) and _touch(root, theirs):
                what = "is" if root == theirs else "lies inside" if _is_below(root, theirs) else "holds"
                raise ValueError(f"{inert(root)} {what} the location `{name}`, which is arranged as {other['store']}")
        if root and self._registry and _touch(root, self._registry):
            raise ValueError(f"{inert(root)} and the registry {inert(self._registry)} lie in one another")
        name = _free(wanted, everything)
        self.added[name] = tilde(said)
        return name

    def said(self, name: str) -> Said:
        """Return a location as it is said, declared or added."""
        return self.declared[name] if name in self.declared else self.added[name]


def is_same(one: Said, other: Said) -> bool:
    """Whether two locations are one place, arranged alike."""
    if one.get("store") != other.get("store"):
        return False
    if one.get("store") != "ollama":
        return root_of(one) == root_of(other)
    if one.get("models") and other.get("models"):
        return root_of(one) == root_of(other)
    return _address(one) == _address(other)


def root_of(said: Said) -> str:
    """Return the real directory of a location, '' for one that has none."""
    root = said.get("root") or said.get("models")
    return os.path.realpath(expand(root)) if root else ""


def tilde(said: Said) -> Said:
    """Return a location with `~` for the home directory, so that the manifest fits another machine too."""
    home = (find() or "").rstrip("/")
    return {
        key: "~" + value[len(home) :]
        if key in ("root", "models", "extra_model_paths")
        and home
        and isinstance(value, str)
        and value.startswith(home + "/")
        else value
        for key, value in said.items()
    }


def _address(said: Said) -> tuple[str, int | None]:
    parts = urlsplit(url_of(said.get("url"), os.environ))
    host = "127.0.0.1" if parts.hostname in ("localhost", "::1") else parts.hostname or ""
    return host, parts.port


def _touch(one: str, other: str) -> bool:
    return one == other or _is_below(one, other) or _is_below(other, one)


def _is_below(path: str, above: str) -> bool:
    return path.startswith(above.rstrip("/") + "/")


def _free(wanted: str, taken: Mapping[str, Said]) -> str:
    folded = {name.casefold() for name in taken}
    name, number = wanted, 1
    while name.casefold() in folded:
        number += 1
        name = f"{wanted}-{number}"
    return name
