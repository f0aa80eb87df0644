"""The store of Ollama: blobs by digest, and manifests that name them. Pure.

    manifests/<host>/<namespace>/<model>/<tag>      the manifest, written last
    blobs/sha256-<hex>                              weights, texts and the config

The root is the directory that holds both (`~/.ollama/models`). https://github.com/ollama/ollama/blob/main/docs/faq.mdx
"""

from __future__ import annotations

import posixpath

from reconciler.ollama import names
from reconciler.ollama.compose import compose
from reconciler.state import Identity, Layout, Pin, Wish
from reconciler.stores import HOUSE

_SKIPPED = frozenset({HOUSE, ".git"})


def layout(pin: Pin, wish: Wish = Wish()) -> Layout:  # noqa: B008  a frozen value
    """Return the blobs, what we write ourselves as notes, and the manifest as the last of these; `home` is its path.

    Raise ValueError, with what to do, for what Ollama cannot hold.
    """
    model = compose(pin, wish)
    return Layout(model.name.path, model.files, notes=model.notes)


def identify(path: str) -> Identity | None:
    """Return name and tag of a manifest. A blob does not know whose it is."""
    name = names.from_path(path)
    if name is None:
        return None
    return Identity(name.short.removesuffix(f":{name.tag}"), name.tag, "")


def house(root: str) -> str:
    """Return `<root>/.reconciler`: the server looks into `blobs` and `manifests` only."""
    return posixpath.join(posixpath.normpath(root), HOUSE)


def skip(name: str) -> bool:
    """Our own house and git's are nobody's models."""
    return name in _SKIPPED
