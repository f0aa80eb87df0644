"""What an import shows about the whole: the same bytes kept twice, and one name with two contents."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from reconciler.importing.claims import paths_of, place_of
from reconciler.importing.found import Row
from reconciler.importing.parts import is_weight
from reconciler.importing.places import root_of
from reconciler.inert import few, human_bytes
from reconciler.state import Digest, Pin

if TYPE_CHECKING:
    from reconciler.manifest import Loaded

_LAYER = re.compile(r"\d+\.(model|projector|adapter)")
"""How the lock of an Ollama model names the layers that hold weights."""
_COMMON = re.compile(
    r"(model|pytorch_model|tf_model|flax_model|diffusion_pytorch_model|adapter_model|gptq_model|ggml-model|open_clip_model"
    r"|mmproj|weights|consolidated|ae|vae|unet|clip)([-_.].*)?\.[a-z0-9]+",
    re.IGNORECASE,
)
"""Names that say nothing of what is in a file: every other repository has one."""


class Held(NamedTuple):
    """One file of weights that a variant has in its place: `path` is absolute, `name` as its source calls it."""

    variant: str
    source: str
    name: str
    path: str
    size: int
    digest: Digest


def declared(loaded: Loaded, pins: Mapping[str, Pin]) -> Iterator[Held]:
    """Yield the files of weights that a manifest and its lock put into directories of this machine."""
    for variant, said in loaded.manifest.variants.items():
        pin = pins.get(variant)
        place = place_of(loaded, said, pin)
        if pin is None or place is None or not (root := root_of(place)):
            continue
        named = {file.digest: file for file in pin.files if _holds_weights(file.path)}
        for path, digest in paths_of(said.model_dump(), place, pin):
            file = named.get(Digest(digest))
            if file is not None and file.size:
                yield Held(variant, pin.source, file.path, f"{root}/{path}", file.size, file.digest)


def findings(held: Iterable[Held], about: Collection[str]) -> list[Row]:
    """Return what is to be told of these files, where at least one of the variants in `about` is concerned."""
    files = list(held)
    return [*_twice(files, about), *_ambiguous(files, about)]


def _holds_weights(path: str) -> bool:
    return is_weight(path) or _LAYER.fullmatch(path) is not None


def _twice(files: Iterable[Held], about: Collection[str]) -> Iterator[Row]:
    """Yield one row for each set of variants that keep the same bytes at several places, unlinked."""
    by_digest: dict[Digest, list[Held]] = defaultdict(list)
    for file in files:
        by_digest[file.digest].append(file)
    together: dict[tuple[str, ...], list[list[Held]]] = defaultdict(list)
    for same in by_digest.values():
        if len(same) < 2:
            continue
        first = {file.path: file for file in reversed(same)}
        if len(first) < 2 or len({_inode(path) for path in first}) < 2:
            continue
        names = tuple(sorted({file.variant for file in same}))
        if any(name in about for name in names):
            together[names].append(list(first.values()))
    for names, groups in sorted(together.items()):
        freed = sum(group[0].size * (len({_inode(file.path) for file in group}) - 1) for group in groups)
        what = " = ".join(names) if len(names) > 1 else names[0]
        most = max(len({file.path for file in group}) for group in groups)
        number = "two" if most == 2 else str(most)
        why = f"the same bytes at {number} places; to link them would free {human_bytes(freed)}"
        yield Row("finding", what, why, few(sorted(file.path for file in groups[0])))


def _ambiguous(files: Iterable[Held], about: Collection[str]) -> Iterator[Row]:
    """Yield one row for each name that stands for two contents."""
    by_base: dict[str, list[Held]] = defaultdict(list)
    for file in files:
        by_base[file.name.rpartition("/")[2].casefold()].append(file)
    for base, same in by_base.items():
        if len({file.digest for file in same}) < 2 or _LAYER.fullmatch(base):
            continue
        groups: dict[tuple[str, str], list[Held]] = defaultdict(list)
        for file in same:
            groups[(file.source, file.name) if _COMMON.fullmatch(base) else ("", base)].append(file)
        for group in groups.values():
            yield from _told(group, about)


def _told(same: Sequence[Held], about: Collection[str]) -> Iterator[Row]:
    contents: dict[Digest, Held] = {}
    for file in same:
        contents.setdefault(file.digest, file)
    if len(contents) > 1 and any(file.variant in about for file in same):
        told = "; ".join(f"{file.variant} has {digest[:19]}" for digest, file in sorted(contents.items()))
        where = few(sorted(file.path for file in contents.values()))
        yield Row("finding", same[0].name, f"one name with {len(contents)} contents: {told}", where)


def _inode(path: str) -> object:
    try:
        facts = os.stat(path)  # noqa: PTH116  many of them
    except OSError:
        return path
    return facts.st_dev, facts.st_ino
