"""Bytes that stand for weights: pseudo-random, the same for a seed on any machine, made as fast as memory copies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

BLOCK = 1 << 20
_STRIDE = 7919  # a prime: how far each block turns against the one before, so that no two are alike


def filler(size: int, seed: int | str = 0) -> bytes:
    """Return `size` pseudo-random bytes."""
    return b"".join(filler_blocks(size, seed))


def filler_blocks(size: int, seed: int | str = 0) -> Iterator[bytes]:
    """Yield the bytes of `filler(size, seed)` in blocks of at most 1 MiB, at several GB/s.

    Each block is the same pseudo-random MiB turned a little further, behind its own number: a block at a wrong place
    or of another seed changes every digest.
    """
    if size <= BLOCK // 16:
        yield _pseudo_random(size, seed)
        return
    twice = _twice(seed)
    for index in range((size + BLOCK - 1) // BLOCK):
        start = index * _STRIDE % BLOCK
        block = index.to_bytes(8, "little") + twice[start : start + BLOCK - 8]
        yield block[: size - index * BLOCK]


def write_filler(path: Path, size: int, seed: int | str = 0) -> Path:
    """Write `filler(size, seed)` to `path` without holding it in memory; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb", buffering=0) as file:
        for block in filler_blocks(size, seed):
            file.write(block)
    return path


@lru_cache(maxsize=4)
def _twice(seed: int | str) -> bytes:
    return _pseudo_random(BLOCK, seed) * 2


def _pseudo_random(size: int, seed: int | str) -> bytes:
    return hashlib.shake_128(f"filler {seed}".encode()).digest(size)
