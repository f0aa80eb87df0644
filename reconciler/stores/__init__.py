"""How each store arranges files: a table of modules, each a layout and its inverse. Pure.

A store is a module with the functions of `Store`; it is loaded when first asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, cast

from reconciler.state import Identity, Layout, Pin, Wish

HOUSE = ".reconciler"
"""Name of the directory in which a location's stage, trash and id live; no observer enters one."""

STORES: Mapping[str, str] = MappingProxyType(
    {
        "a1111": "reconciler.stores.a1111",
        "comfyui": "reconciler.stores.comfyui",
        "flat": "reconciler.stores.flat",
        "forge": "reconciler.stores.forge",
        "hf-cache": "reconciler.stores.hf_cache",
        "huggingface": "reconciler.stores.huggingface",
        "lmstudio": "reconciler.stores.lmstudio",
        "ollama": "reconciler.stores.ollama",
        "sdnext": "reconciler.stores.sdnext",
    }
)


class Store(Protocol):
    """One way to arrange files under a root. Every path is relative to the root and posix, unless said otherwise."""

    def layout(self, pin: Pin, wish: Wish = ...) -> Layout:
        """Return where the files of a pin belong; raise ValueError with the reason when this store cannot hold it.

        `wish` is what the manifest says besides, for stores whose files depend on it.
        """

    def identify(self, path: str) -> Identity | None:
        """Return what a regular file's path says about itself, the inverse of `layout`; None when it says nothing."""

    def house(self, root: str) -> str:
        """Return the absolute directory that holds our stage, trash and location.json, for an absolute root."""

    def skip(self, name: str) -> bool:
        """Whether an observer must not enter a directory of this name: it is ours or the store's own scratch."""


def store_of(name: str) -> Store:
    """Return the store of this name; raise ValueError naming the ones there are."""
    if name not in STORES:
        raise ValueError(f"no such store: {name!r}; expected one of {', '.join(sorted(STORES))}")
    return cast("Store", import_module(STORES[name]))


if TYPE_CHECKING:
    # The type checker holds every module of the table against the protocol.
    from reconciler.stores import a1111, comfyui, flat, forge, hf_cache, huggingface, lmstudio, ollama, sdnext

    _CHECKED: tuple[Store, ...] = (
        a1111, comfyui, flat, forge, hf_cache, huggingface, lmstudio, ollama, sdnext
    )  # fmt: skip
